package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/upstream"
	"subrelay/handlers"
	"subrelay/schemas"
)

// AppOptions are what an App needs beside its configuration. The zero value of a field stands for its default.
type AppOptions struct {
	// Config is used with its defaults filled in.
	Config Config
	// Connect connects to NATS with the options that the App needs, such as its reactions to a reconnect. It may change
	// them, to connect in-process or through a wrapper. The App closes the connection. Default natsjs.Connect.
	Connect func(natsjs.ConnectOptions) (*nats.Conn, error)
	// Dial opens connections to upstreams. Default: a net.Dialer.
	Dial upstream.Dial
	// Clock is what time it is, see handlers.Config. Default time.Now.
	Clock func() time.Time
	// Logger gets what the worker has to say. Default slog.Default.
	Logger *slog.Logger
	// WatchEvery is how often open doubts and dead letters are counted for the metrics. Default 1 minute; negative
	// never.
	WatchEvery time.Duration
}

// App is the whole worker: it serves the commands of every upstream that is configured, from NATS, with health and metrics beside. It is made by
// NewApp and run once. It has no signal handling, and listens nowhere where worker.http_addr is "none"; it runs inside a
// testing/synctest bubble, given connections that do.
type App struct {
	AppOptions
	name     string
	began    time.Time
	stations []*station // one per upstream that is configured
	clients  clients    // of theirs
	topology *natsjs.Topology
	schemas  *schemas.Set
	metrics  *metrics
	charges  *natsjs.Task // nil where this worker does not tell of charges
	listener net.Listener // nil: no health and metrics over HTTP
	dials    *dials
	refusals *refusals
	shortage shortage

	ready     chan struct{}
	readyOnce sync.Once
	namesake  atomic.Pointer[natsjs.NameTakenError] // another worker of this one's name; nil: none
	stored    atomic.Int64                          // when NATS last stored something for this worker, in nanoseconds since 1970; 0: not yet
	killed    context.Context
	kill      context.CancelFunc

	mu       sync.Mutex
	conn     *nats.Conn
	stopping bool
	dead     bool // Kill was called
}

// NewApp checks the whole configuration and builds what needs no broker. It opens the listener for health and metrics,
// which Run or Close closes.
func NewApp(o AppOptions) (*App, error) {
	o.Config = o.Config.withDefaults()
	if err := o.Config.check(); err != nil {
		return nil, err
	}
	if o.Connect == nil {
		o.Connect = natsjs.Connect
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	o.Logger = cmp.Or(o.Logger, slog.Default())
	o.WatchEvery = cmp.Or(o.WatchEvery, time.Minute)
	a := &App{
		AppOptions: o, name: cmp.Or(o.Config.Worker.Name, workerName(randomName())), began: time.Now(),
		ready: make(chan struct{}), dials: newDials(o.Dial), refusals: newRefusals(o.Config.names(), o.Logger),
	}
	a.killed, a.kill = context.WithCancel(context.Background())
	return a, a.build()
}

func (a *App) build() (err error) {
	if a.topology, err = a.Config.topology(); err != nil {
		return err
	}
	if a.schemas, err = schemas.New(); err != nil {
		return err
	}
	if err := a.Config.Retry.check(); err != nil {
		return err
	}
	if err := a.buildStations(); err != nil {
		return err
	}
	a.metrics = newMetrics(a.stations)
	if a.tellsCharges() {
		a.metrics.charges = newChargeMetrics(a.metrics.registry)
	}
	if addr := a.Config.Worker.HTTPAddr; addr != noListen {
		if a.listener, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr); err != nil {
			return hinted(fmt.Errorf("worker.http_addr: %w", err), "choose another address, port 0 for a free one, or \"none\"")
		}
	}
	return nil
}

// Close gives free what NewApp took, for an App that is never run.
func (a *App) Close() {
	if a.listener != nil {
		_ = a.listener.Close()
	}
}

// Name is the worker's name.
func (a *App) Name() string { return a.name }

// Ready is closed when the worker has connected, found its streams as they must be, and begun to take commands.
func (a *App) Ready() <-chan struct{} { return a.ready }

// HTTPAddr is where health and metrics are served, "" for nowhere.
func (a *App) HTTPAddr() string {
	if a.listener == nil {
		return ""
	}
	return a.listener.Addr().String()
}

// Registry holds the worker's metrics.
func (a *App) Registry() *prometheus.Registry { return a.metrics.registry }

// Guard is the guard before the first upstream of this name, nil where there is none.
func (a *App) Guard(name string) *upstream.Guard {
	for _, s := range a.stations {
		if string(s.name) == name {
			return s.guard
		}
	}
	return nil
}

// Kill ends the worker as a crash would: its connections break at once, nothing is handed back, unpinned or recorded
// any more. For tests of what comes after. Run returns an error that says so.
func (a *App) Kill() {
	a.mu.Lock()
	conn := a.conn
	a.dead = true
	a.mu.Unlock()
	if conn != nil {
		conn.Close() // first, so that nothing more gets out
	}
	a.dials.cut()
	a.kill()
}

var errKilled = errors.New("the worker was killed")

// Run works until ctx ends, and then ends gracefully: it takes nothing new, hands back what has not started, and lets
// what has finish, for worker.grace at most. It returns nil after such an end.
func (a *App) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.killed, cancel)()
	stopHTTP := a.serveHTTP()
	err := a.work(ctx)
	stopHTTP()
	a.dials.cut()
	for _, s := range a.stations {
		s.guard.Close()
	}
	if a.isDead() {
		return errKilled
	}
	return err
}

func (a *App) isDead() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.dead
}

// work connects and serves until ctx ends.
func (a *App) work(ctx context.Context) error {
	lost := make(chan error, 1)
	conn, err := a.connect(ctx, lost)
	if err != nil || conn == nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	if err := a.checkProduction(ctx, js); err != nil {
		return endedBy(ctx, err)
	}
	if err := a.applyTopology(ctx, js); err != nil {
		return endedBy(ctx, err)
	}
	if err := a.assemble(js); err != nil {
		return err
	}
	return a.deliver(ctx, js, lost)
}

// endedBy is nil where err only says that ctx has ended.
func endedBy(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (a *App) markReady() { a.readyOnce.Do(func() { close(a.ready) }) }

func (a *App) setConn(conn *nats.Conn) {
	a.mu.Lock()
	a.conn = conn
	dead := a.dead
	a.mu.Unlock()
	if dead {
		conn.Close()
	}
}

func (a *App) setStopping() {
	a.mu.Lock()
	a.stopping = true
	a.mu.Unlock()
}

func (a *App) state() (conn *nats.Conn, stopping bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.conn, a.stopping
}

var (
	_ handlers.Observer = (*metrics)(nil)
	_ http.Handler      = (*health)(nil)
)
