package natsjs

import (
	"bytes"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestMain keeps the server's clock service outside of every synctest bubble.
func TestMain(m *testing.M) {
	ats.Register()
	os.Exit(m.Run())
}

// startServer starts a server for the test. Flushing is lazy: tests that need the real policy start their own.
func startServer(t testing.TB) *Server {
	t.Helper()
	s, err := StartServer(ServerSettings{StoreDir: t.TempDir(), LazySync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// connect connects to the test's server.
func connect(t testing.TB, s *Server, opts ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := s.Connect(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

func TestServerKeepsWhatItStored(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "store")
	for round := range 2 {
		s, err := StartServer(ServerSettings{StoreDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		nc, js := connect(t, s)
		stream, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), "s", nil); err != nil {
			t.Fatal(err)
		}
		info, err := stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := int(info.State.Msgs); got != round+1 {
			t.Errorf("round %d: the stream holds %d messages", round, got)
		}
		nc.Close()
		s.Shutdown()
		s.Shutdown()
	}
}

func TestServerFlushesEveryWriteUnlessAskedNotTo(t *testing.T) {
	for _, lazy := range []bool{false, true} {
		opts, err := serverOptions(ServerSettings{LazySync: lazy})
		if err != nil {
			t.Fatal(err)
		}
		if opts.SyncAlways == lazy {
			t.Errorf("LazySync %v: SyncAlways is %v", lazy, opts.SyncAlways)
		}
	}
}

func TestServerListens(t *testing.T) {
	s, err := StartServer(ServerSettings{StoreDir: t.TempDir(), Addr: "127.0.0.1:0", LazySync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()
	nc, err := Connect(ConnectOptions{URL: s.URL()})
	if err != nil {
		t.Fatalf("connecting to %s: %v", s.URL(), err)
	}
	nc.Close()
}

func TestServerWithoutStoreDirLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s, err := StartServer(ServerSettings{})
	if err != nil {
		t.Fatal(err)
	}
	if s.URL() != "" {
		t.Errorf("it listens on %s", s.URL())
	}
	dir := s.tempDir
	s.Shutdown()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the temporary directory is still there: %v", err)
	}
}

func TestServerErrorsSayWhatToDo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	locked := t.TempDir()
	first, err := StartServer(ServerSettings{StoreDir: locked})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Shutdown()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		settings ServerSettings
		want     string
	}{
		"port in use":          {ServerSettings{StoreDir: t.TempDir(), Addr: taken.Addr().String()}, "already in use"},
		"directory in use":     {ServerSettings{StoreDir: locked}, "in use by another server"},
		"directory is file":    {ServerSettings{StoreDir: file}, "cannot be made"},
		"address without port": {ServerSettings{StoreDir: t.TempDir(), Addr: "localhost"}, "must be host:port"},
		"port is no number":    {ServerSettings{StoreDir: t.TempDir(), Addr: "localhost:nats"}, "must be host:port"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := StartServer(tt.settings)
			if err == nil {
				s.Shutdown()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %q, and does not say %q", err, tt.want)
			}
		})
	}
}

func TestServerStoreDirIsFreeAfterShutdown(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		s, err := StartServer(ServerSettings{StoreDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		s.Shutdown()
	}
}

func TestServerRunsInVirtualTime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := StartServer(ServerSettings{StoreDir: dir, LazySync: true})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Shutdown()
		nc, err := s.Connect()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b", TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.PutString(t.Context(), "k", "v"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour) // virtual
		if _, err := kv.Get(t.Context(), "k"); err == nil {
			t.Error("after two virtual hours the value of one hour is still there")
		}
	})
}

func TestServerLogsToSlog(t *testing.T) {
	var out bytes.Buffer
	log := &serverLogger{log: slog.New(slog.NewTextHandler(&out, nil))}
	log.Noticef("a notice")
	log.Warnf("a warning %d", 1)
	log.Fatalf("first %s", "end")
	log.Fatalf("second")
	if got := out.String(); !strings.Contains(got, "a warning 1") || strings.Contains(got, "a notice") {
		t.Errorf("logged: %s", got)
	}
	if got := log.fatalError(); got != "first end" {
		t.Errorf("the fatal error is %q", got)
	}
}
