package natstest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Configured is a server with JetStream in this process, with a configuration of its own, such as accounts or TLS.
type Configured struct {
	*server.Server
	t          testing.TB
	file, head string

	mu         sync.Mutex
	violations []string
}

// StartConfigured starts a server on a free port of loopback with this configuration, in the server's own language, and
// ends it with the test. It does not flush what it stores.
func StartConfigured(t testing.TB, config string) *Configured {
	t.Helper()
	dir := t.TempDir()
	c := &Configured{
		t: t, file: filepath.Join(dir, "server.conf"),
		head: fmt.Sprintf("listen: 127.0.0.1:-1\njetstream { store_dir: %q, max_file_store: 64GB }\n", dir),
	}
	c.write(config)
	opts, err := server.ProcessConfigFile(c.file)
	if err != nil {
		t.Fatalf("%v\n%s", err, config)
	}
	opts.NoSigs, opts.NoLog = true, false
	if c.Server, err = server.NewServer(opts); err != nil {
		t.Fatalf("%v\n%s", err, config)
	}
	c.SetLoggerV2(&configuredLog{c}, false, false, false)
	c.Start()
	t.Cleanup(func() {
		c.Shutdown()
		c.WaitForShutdown()
	})
	if !c.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server is not ready")
	}
	return c
}

// URL is where clients reach it.
func (c *Configured) URL() string { return c.ClientURL() }

// Violations is what the server has logged of permissions that were violated.
func (c *Configured) Violations() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.violations)
}

// configuredLog keeps what Violations returns.
type configuredLog struct{ c *Configured }

func (l *configuredLog) Errorf(format string, v ...any) {
	if line := fmt.Sprintf(format, v...); strings.Contains(line, "Violation") {
		l.c.mu.Lock()
		l.c.violations = append(l.c.violations, line)
		l.c.mu.Unlock()
	}
}
func (l *configuredLog) Fatalf(format string, v ...any) { l.Errorf(format, v...) }
func (*configuredLog) Warnf(string, ...any)             {}
func (*configuredLog) Noticef(string, ...any)           {}
func (*configuredLog) Debugf(string, ...any)            {}
func (*configuredLog) Tracef(string, ...any)            {}

// Reconfigure has the running server take another configuration.
func (c *Configured) Reconfigure(config string) {
	c.t.Helper()
	c.write(config)
	if err := c.Reload(); err != nil {
		c.t.Fatalf("%v\n%s", err, config)
	}
}

func (c *Configured) write(config string) {
	c.t.Helper()
	if err := os.WriteFile(c.file, []byte(c.head+config), 0o600); err != nil {
		c.t.Fatal(err)
	}
}
