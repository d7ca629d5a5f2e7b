package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/sandbox"
	"subrelay/adapters/upstream"
)

// rig is a whole installation: a broker, the imitation of TVMS, and a worker between them.
type rig struct {
	t      *testing.T
	server *natsjs.Server
	tvms   *sandbox.TVMS
	config Config // of workers
	app    *App   // the first worker
}

// knownCustomers are the customers that the rig's TVMS knows.
var knownCustomers = []string{"C-1", "C-2", "C-3", "C-4", "C-5"}

// newRig starts everything, and ends it with the test. A worker in it calls for a second at most, and nothing can
// settle an unclear call.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := newRigWithoutWorker(t)
	r.app = r.startWorker()
	return r
}

func newRigWithoutWorker(t *testing.T) *rig {
	t.Helper()
	server, err := natsjs.StartServer(natsjs.ServerSettings{StoreDir: t.TempDir(), Addr: "127.0.0.1:0", LazySync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	var customers []sandbox.Customer
	for _, id := range knownCustomers {
		customers = append(customers, sandbox.Customer{MappingID: id, Expires: time.Date(2030, 1, 31, 0, 0, 0, 0, time.UTC)})
	}
	r := &rig{t: t, server: server, tvms: sandbox.NewTVMS(sandbox.TVMSOptions{AuthToken: rigToken, Customers: customers})}
	http := httptest.NewServer(r.tvms.Handler())
	t.Cleanup(http.Close)
	t.Cleanup(r.tvms.Faults().Lift) // lets go of calls that hang
	r.config.NATS.URL = server.URL()
	r.config.Worker.HTTPAddr, r.config.Worker.Grace = "127.0.0.1:0", 5*time.Second
	r.config.Streams.Partitions = 4
	r.config.TVMS.API.BaseURL, r.config.TVMS.API.AuthToken, r.config.TVMS.API.CRMService = http.URL, upstream.NewSecret(rigToken), "crm"
	r.config.TVMS.Guard.CallTimeout, r.config.TVMS.Guard.OpenFor = time.Second, 100*time.Millisecond
	r.config.Retry.Renew.Attempts, r.config.Retry.Renew.Initial = 2, time.Second
	return r
}

const rigToken = "rig-s3cr3t-token"

// startWorker runs a worker until the test ends.
func (r *rig) startWorker() *App {
	r.t.Helper()
	app, err := NewApp(AppOptions{Config: r.config, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, errKilled) {
			r.t.Errorf("the worker ended with: %v", err)
		}
	})
	select {
	case <-app.Ready():
	case err := <-done:
		done <- err
		r.t.Fatalf("the worker ended: %v", err)
	case <-time.After(20 * time.Second):
		r.t.Fatal("the worker does not become ready")
	}
	return app
}

// ran is what a command line came to.
type ran struct {
	code           int
	stdout, stderr string
}

// runLine runs a command line outside of any installation.
func runLine(t *testing.T, stdin string, args ...string) ran {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c := newCLI(strings.NewReader(stdin), &stdout, &stderr, nil)
	code := c.run(t.Context(), args)
	return ran{code: code, stdout: stdout.String(), stderr: stderr.String()}
}

// run runs a command line against the rig's broker, without any input.
func (r *rig) run(args ...string) ran {
	r.t.Helper()
	return runLine(r.t, "", append([]string{"--nats", r.server.URL()}, args...)...)
}

// lines reads the JSON lines on stdout, and fails where there is anything else.
func (o ran) lines(t *testing.T) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(o.stdout) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("stdout holds a line that is no JSON object: %q", line)
		}
		all = append(all, v)
	}
	return all
}

// want checks the exit code, and what must be somewhere on the streams.
func (o ran) want(t *testing.T, code int, stdout, stderr string) {
	t.Helper()
	if o.code != code {
		t.Errorf("exit code %d, want %d", o.code, code)
	}
	if !strings.Contains(o.stdout, stdout) {
		t.Errorf("stdout lacks %q", stdout)
	}
	if !strings.Contains(o.stderr, stderr) {
		t.Errorf("stderr lacks %q", stderr)
	}
	if t.Failed() {
		t.Logf("stdout:\n%s\nstderr:\n%s", o.stdout, o.stderr)
	}
}

// fails plays a fault to a customer's next renewal.
func (r *rig) fails(customer string, kind sandbox.FaultKind) {
	r.t.Helper()
	if err := r.tvms.Faults().Next(sandbox.Fault{Kind: kind, Customer: customer}); err != nil {
		r.t.Fatal(err)
	}
}

// file writes a file and returns its name.
func file(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// eventually waits until ok, looking again and again.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("it never came to be: %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// content is what a file holds.
func content(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
