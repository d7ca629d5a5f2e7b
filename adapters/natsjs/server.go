package natsjs

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// The limits of an embedded server. Streams reserve their MaxBytes against DefaultMaxStore; a reservation takes no
// room on the disk.
const (
	DefaultMaxStore = 64 << 30
	embeddedMaxMem  = 256 << 20
	startTimeout    = 30 * time.Second
	storeLockName   = "subrelay.lock"
	storeDirMode    = 0o755
)

// ServerSettings are the settings of an embedded server. The zero value is an in-process server on a temporary
// directory that flushes every write to the disk before it acknowledges it.
type ServerSettings struct {
	// StoreDir is where streams are kept. It is created where it does not exist, and locked: a second server on the
	// same directory would destroy it. Default: a temporary directory, removed by Shutdown.
	StoreDir string
	// Addr is the "host:port" to listen on; port 0 picks a free one. Default "": no network at all, Server.Connect only.
	Addr string
	// LazySync leaves flushing to the server's default, once in two minutes: for measurements only, because a power
	// loss then loses acknowledged writes. Default: every write is flushed before it is acknowledged.
	LazySync bool
	// MaxStore is the most bytes that all streams together may reserve. Default DefaultMaxStore.
	MaxStore int64
	// Logger gets the server's warnings and errors, and its notices at debug level. Default: discarded.
	Logger *slog.Logger
}

// Server is a NATS server with JetStream inside this process. It may be shared by goroutines.
//
// It runs inside a testing/synctest bubble too, with Addr empty, provided that ats.Register (package server/ats) was
// called outside of the bubble, connections are made with Connect, and both are closed before the bubble ends.
type Server struct {
	ns      *server.Server
	lock    *flock.Flock
	tempDir string
	once    sync.Once
}

// StartServer starts an embedded server and returns when it accepts connections. The caller must call Shutdown.
// Its errors say in plain words what is wrong: the directory cannot be written or is in use, the address is taken.
func StartServer(settings ServerSettings) (*Server, error) { return startMember(settings, nil) }

// startMember starts one server, perhaps as a member of a cluster.
func startMember(settings ServerSettings, m *member) (*Server, error) {
	s := &Server{}
	if err := s.start(settings, m); err != nil {
		s.Shutdown()
		return nil, err
	}
	return s, nil
}

func (s *Server) start(settings ServerSettings, m *member) error {
	opts, err := serverOptions(settings)
	if err != nil {
		return err
	}
	m.join(opts)
	if opts.StoreDir, err = s.claimStore(settings.StoreDir); err != nil {
		return err
	}
	logger := &serverLogger{log: cmp.Or(settings.Logger, slog.New(slog.DiscardHandler))}
	ns, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("the embedded NATS server cannot start: %w", err)
	}
	s.ns = ns
	ns.SetLoggerV2(logger, false, false, false)
	ns.Start()
	if fatal := logger.fatalError(); fatal != "" {
		return startError(settings, fatal)
	}
	if !ns.ReadyForConnections(startTimeout) {
		return fmt.Errorf("the embedded NATS server was not ready after %s", startTimeout)
	}
	return nil
}

func serverOptions(settings ServerSettings) (*server.Options, error) {
	opts := &server.Options{
		JetStream: true, JetStreamMaxStore: cmp.Or(settings.MaxStore, DefaultMaxStore), JetStreamMaxMemory: embeddedMaxMem,
		SyncAlways: !settings.LazySync, NoSigs: true, DontListen: settings.Addr == "",
	}
	if opts.DontListen {
		return opts, nil
	}
	host, port, err := net.SplitHostPort(settings.Addr)
	if err != nil {
		return nil, fmt.Errorf("the address to listen on must be host:port, and %q is not", settings.Addr)
	}
	number, err := strconv.Atoi(port)
	if err != nil || number < -1 || number > 65535 {
		return nil, fmt.Errorf("the address to listen on must be host:port, and %q has no port of 0 to 65535", settings.Addr)
	}
	if number == 0 {
		number = server.RANDOM_PORT
	}
	opts.Host, opts.Port = cmp.Or(host, server.DEFAULT_HOST), number
	return opts, nil
}

// claimStore makes the store directory and locks it, and returns its path.
func (s *Server) claimStore(dir string) (string, error) {
	if dir == "" {
		temp, err := os.MkdirTemp("", "subrelay-store-")
		if err != nil {
			return "", fmt.Errorf("no temporary store directory can be made: %w", err)
		}
		s.tempDir, dir = temp, temp
	}
	if err := os.MkdirAll(dir, storeDirMode); err != nil {
		return "", fmt.Errorf("the store directory %s cannot be made: %w", dir, err)
	}
	lock := flock.New(filepath.Join(dir, storeLockName))
	got, err := lock.TryLock()
	if err != nil {
		return "", fmt.Errorf("the store directory %s cannot be written: %w", dir, err)
	}
	if !got {
		return "", fmt.Errorf("the store directory %s is in use by another server: stop it, or choose another directory", dir)
	}
	s.lock = lock
	return dir, nil
}

func startError(settings ServerSettings, fatal string) error {
	if strings.Contains(fatal, "Error listening on port") && strings.Contains(fatal, "in use") {
		return fmt.Errorf("the address %s is already in use: choose another, or port 0 for a free one", settings.Addr)
	}
	return fmt.Errorf("the embedded NATS server cannot start: %s", fatal)
}

// URL is where the server can be reached over the network, or "" where it does not listen.
func (s *Server) URL() string {
	if addr := s.ns.Addr(); addr != nil {
		return "nats://" + addr.String()
	}
	return ""
}

// InProcessConn is a connection to the server that takes no network; see nats.InProcessServer.
func (s *Server) InProcessConn() (net.Conn, error) {
	if !s.ns.Running() {
		return nil, errors.New("the embedded NATS server is not running")
	}
	return s.ns.InProcessConn()
}

// Connect connects in-process, with the options of Connect and opts after them.
func (s *Server) Connect(opts ...nats.Option) (*nats.Conn, error) {
	return Connect(ConnectOptions{InProcess: s, Options: opts})
}

// Shutdown stops the server, waits until it has stopped, and gives the store directory free. It may be called again.
func (s *Server) Shutdown() {
	s.once.Do(func() {
		if s.ns != nil {
			s.ns.Shutdown()
			s.ns.WaitForShutdown()
		}
		if s.lock != nil {
			_ = s.lock.Unlock()
		}
		if s.tempDir != "" {
			_ = os.RemoveAll(s.tempDir)
		}
	})
}

// serverLogger hands the server's log to slog, and keeps what would have ended the process.
type serverLogger struct {
	log   *slog.Logger
	mu    sync.Mutex
	fatal string
}

func (l *serverLogger) fatalError() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

func (l *serverLogger) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fatal = cmp.Or(l.fatal, fmt.Sprintf(format, v...))
}

func (l *serverLogger) Errorf(format string, v ...any) {
	l.log.Error("nats: " + fmt.Sprintf(format, v...))
}
func (l *serverLogger) Warnf(format string, v ...any) {
	l.log.Warn("nats: " + fmt.Sprintf(format, v...))
}
func (l *serverLogger) Noticef(format string, v ...any) {
	l.log.Debug("nats: " + fmt.Sprintf(format, v...))
}
func (l *serverLogger) Debugf(string, ...any) {}
func (l *serverLogger) Tracef(string, ...any) {}
