package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/sandbox"
	"subrelay/adapters/upstream"
	"subrelay/events"
	"subrelay/events/history"
	"subrelay/handlers"
)

// simWorker is one worker of a simulation, with a line to the broker of its own.
type simWorker struct {
	app   *App
	cable *natstest.Cable
	end   context.CancelFunc
	ended chan struct{}
	err   error
}

// stop ends a worker gracefully.
func (w *simWorker) stop() {
	w.end()
	<-w.ended
}

// world is a broker, imitations of the upstreams with one book, and any number of workers in virtual time.
type world struct {
	*testing.T
	random  *rand.Rand
	config  Config
	dir     string
	broker  *natsjs.Server
	cable   *natstest.Cable // billing's
	cl      *client
	book    *sandbox.Book
	tvms    *sandbox.TVMS
	crm     *sandbox.CRMCOM
	lines   map[string]*pipes // to the upstreams, by address
	servers []*http.Server
	workers map[string]*simWorker
	names   int
	sent    []event.Event
	log     *slog.Logger
	watch   time.Duration // AppOptions.WatchEvery of workers; 0: never

	kinds    []events.Kind       // that a simulation sends
	charges  map[string][]string // numbers, by customer
	began    map[string]string   // the state of each charge at first, by number
	made     int                 // charges
	resolves bool                // an operator resolves doubts
	reacts   bool                // billing acknowledges charges that it is told of
	told     uint64              // up to which sequence it has been told

	clocks map[string]*atomic.Int64 // by how much workers' clocks are wrong, by their names; none: they are right
}

// Where the imitations are.
const (
	tvmsAddr = "127.0.0.1:8481"
	crmAddr  = "127.0.0.1:8482"
)

// simConfig is a configuration of the upstream tvms alone, with short times, so that an hour holds many of them.
func simConfig() Config {
	cfg := shortConfig()
	cfg.withTVMS()
	return cfg
}

// shortConfig is a configuration with short times, and without upstreams.
func shortConfig() Config {
	var cfg Config
	cfg.Worker.HTTPAddr, cfg.Worker.Grace = noListen, 10*time.Second
	cfg.Worker.PublishTimeout, cfg.Worker.Election = 2*time.Second, 3*time.Second
	cfg.Streams.Partitions = 4
	for _, retry := range cfg.Retry.each() {
		*retry.policy = handlers.Policy{Initial: time.Second, Max: 10 * time.Second, Multiplier: 2, Attempts: 8}
	}
	return cfg
}

func (c *Config) withTVMS() {
	api := &c.TVMS.API
	api.BaseURL, api.AuthToken, api.CRMService = "http://"+tvmsAddr, upstream.NewSecret(sandboxToken), "demo_crm"
	c.TVMS.Guard = shortGuard()
}

// withCRMCOM adds the upstreams crmcom and netflix, without the feed of charges. An unclear amend or swap is in doubt.
func (c *Config) withCRMCOM() {
	c.CRMCOM.API.BaseURL, c.CRMCOM.API.Release = "http://"+crmAddr, "R18.0.0"
	c.CRMCOM.API.WebAPIKey = upstream.NewSecret(rigKey)
	c.CRMCOM.Guard, c.Netflix.Guard = shortGuard(), shortGuard()
	c.CRMCOM.API.SettleAfter, c.CRMCOM.API.GiveUpAfter = simSettleAfter, simGiveUp
	c.Netflix.API.SettleAfter, c.Netflix.API.GiveUpAfter = simSettleAfter, simGiveUp
	c.Netflix.API.Charges.Feed = new(bool)
	c.CRMCOM.API.Swap.Confirmed = true
	chargesShow(c)
}

func shortGuard() upstream.Settings {
	return upstream.Settings{CallTimeout: 4 * time.Second, OpenFor: 3 * time.Second, Concurrency: 8}
}

// The times of settling in a simulation.
const (
	simSettleAfter = 10 * time.Second
	simGiveUp      = 2 * time.Minute
)

// withReadBack lets unclear calls be settled by reading the expiry date.
func (c *Config) withReadBack() {
	r := &c.TVMS.API.ReadBack
	r.Enabled, r.ExpiryField, r.Format = true, "ExpireDate", "epoch_seconds"
	r.SettleAfter, r.GiveUpAfter = simSettleAfter, simGiveUp
}

// newWorld makes a world without workers. crm are changes of how CRM.COM behaves; it knows every customer and
// subscription unless they say otherwise.
func newWorld(t *testing.T, seed uint64, cfg Config, crm ...func(*sandbox.CRMCOMOptions)) *world {
	t.Helper()
	w := &world{
		T: t, random: rand.New(rand.NewPCG(seed, 1)), config: cfg, dir: t.TempDir(),
		book: sandbox.NewBook(0), lines: map[string]*pipes{}, workers: map[string]*simWorker{}, charges: map[string][]string{}, began: map[string]string{}, log: slog.New(slog.DiscardHandler),
	}
	w.startBroker()
	w.tvms = sandbox.NewTVMS(sandbox.TVMSOptions{
		AuthToken: sandboxToken, Seed: seed, Latency: 5 * time.Millisecond, Book: w.book,
		AutoCreate: time.Now().UTC().AddDate(0, 1, 0).Truncate(time.Second),
	})
	options := sandbox.CRMCOMOptions{WebAPIKey: rigKey, AutoCreate: true, Seed: seed, Latency: 5 * time.Millisecond, Book: w.book}
	for _, change := range crm {
		change(&options)
	}
	w.crm = sandbox.NewCRMCOM(options)
	w.serve(tvmsAddr, w.tvms.Handler())
	w.serve(crmAddr, w.crm.Handler())
	w.cable = &natstest.Cable{Server: w.broker}
	conn := w.dialBroker(w.cable, natsjs.ConnectOptions{})
	var err error
	if w.cl, err = newClient(cfg.withDefaults(), conn); err != nil {
		t.Fatal(err)
	}
	return w
}

// serve lets an upstream be reached at an address.
func (w *world) serve(addr string, handler http.Handler) {
	line := newPipes()
	server := &http.Server{Handler: handler, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	w.lines[addr], w.servers = line, append(w.servers, server)
	go server.Serve(line) // ends with close
}

// dial connects to an upstream.
func (w *world) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return w.lines[addr].dial(ctx, network, addr)
}

func (w *world) startBroker() {
	w.Helper()
	broker, err := natsjs.StartServer(natsjs.ServerSettings{StoreDir: w.dir, LazySync: true})
	if err != nil {
		w.Fatal(err)
	}
	w.broker = broker
}

// restartBroker cuts everybody off, stops the broker for a while, and starts it on the same store. The lines go first,
// and what is under way ends first: the server sleeps with a lock held while it stops, and in a bubble nobody may then
// wait for that lock.
func (w *world) restartBroker(after time.Duration) { w.whileDown(func() { time.Sleep(after) }) }

// whileDown does something to the store, or lets time pass, while the broker is down.
func (w *world) whileDown(do func()) {
	w.Helper()
	cables := []*natstest.Cable{w.cable}
	for _, k := range w.workers {
		cables = append(cables, k.cable)
	}
	for _, c := range cables {
		c.Unplug()
	}
	synctest.Wait()
	w.broker.Shutdown()
	do()
	w.startBroker()
	for _, c := range cables {
		c.Use(w.broker)
		c.Plug()
	}
}

func (w *world) dialBroker(cable *natstest.Cable, o natsjs.ConnectOptions) *nats.Conn {
	w.Helper()
	conn, err := dialVia(cable, o)
	if err != nil {
		w.Fatal(err)
	}
	return conn
}

func dialVia(cable *natstest.Cable, o natsjs.ConnectOptions) (*nats.Conn, error) {
	o.Options = append(o.Options, nats.InProcessServer(cable))
	return natsjs.Connect(o)
}

// start adds a worker, and waits until it takes commands.
func (w *world) start() *simWorker { return w.startAs(func(*App) {}) }

// startAs is start with a worker that is changed before it runs.
func (w *world) startAs(change func(*App)) *simWorker {
	w.Helper()
	w.names++
	k := w.launch("w"+strconv.Itoa(w.names), change)
	select {
	case <-k.app.Ready():
	case <-k.ended:
		w.Fatalf("worker %s ended at its start: %v", k.app.Name(), k.err)
	case <-time.After(time.Minute):
		w.Fatalf("worker %s is not ready after a minute", k.app.Name())
	}
	w.workers[k.app.Name()] = k
	return k
}

// launch runs a worker of this name, changed before it runs, and does not wait for it.
func (w *world) launch(name string, change func(*App)) *simWorker {
	w.Helper()
	cfg := w.config
	cfg.Worker.Name = name
	k := &simWorker{cable: &natstest.Cable{Server: w.broker}, ended: make(chan struct{})}
	app, err := NewApp(AppOptions{
		Config: cfg, Dial: w.dial, Logger: w.log, WatchEvery: cmp.Or(w.watch, -1), Clock: w.clockOf(cfg.Worker.Name),
		Connect: func(o natsjs.ConnectOptions) (*nats.Conn, error) { return dialVia(k.cable, o) },
	})
	if err != nil {
		w.Fatal(err)
	}
	change(app)
	ctx, cancel := context.WithCancel(context.Background())
	k.app, k.end = app, cancel
	go func() {
		defer close(k.ended)
		k.err = app.Run(ctx)
	}()
	return k
}

// kill makes a worker vanish: nothing of it reaches broker or upstream any more.
func (w *world) kill(k *simWorker) {
	delete(w.workers, k.app.Name())
	k.cable.Unplug()
	k.app.Kill()
	<-k.ended
}

func (w *world) any() *simWorker {
	names := sortedKeys(w.workers)
	if len(names) == 0 {
		return nil
	}
	return w.workers[names[w.random.IntN(len(names))]]
}

// close ends everything, and waits for it, as the bubble demands.
func (w *world) close() {
	for _, name := range sortedKeys(w.workers) {
		w.workers[name].stop()
	}
	w.cl.close()
	for _, server := range w.servers {
		_ = server.Close()
	}
	w.broker.Shutdown()
}

// send publishes one renewal as billing does: again, until it knows that it is stored.
func (w *world) send(e event.Event, options ...natsjs.PublishOption) {
	w.Helper()
	for range 100 {
		_, err := w.cl.publisher.Publish(w.Context(), e, options...)
		if err == nil {
			return
		}
		if events.KindOf(err) == events.Refused {
			w.Fatalf("publishing %s: %v", e.ID(), err)
		}
		time.Sleep(200 * time.Millisecond)
	}
	w.Fatalf("%s could not be published", e.ID())
}

func (w *world) renewal(id, customer string) event.Event {
	w.Helper()
	return w.command(events.Renew, id, customer, events.RenewData{CustomerMappingID: customer, Months: 1})
}

// again sends a command that was sent before, past the broker's duplicate window.
func (w *world) again() {
	if len(w.sent) > 0 {
		w.send(w.sent[w.random.IntN(len(w.sent))], natsjs.Requeue(strconv.Itoa(w.random.Int())))
	}
}

// settle waits until the broker holds nothing that is not done. What is pending the server counts a little late, so the
// histories are asked too.
func (w *world) settle(limit time.Duration) {
	w.Helper()
	deadline := time.Now().Add(limit)
	for round := 0; ; round++ {
		if round%20 == 19 {
			w.tend()
		}
		open, err := w.open()
		if err == nil && open == 0 && w.judge().Unresolved == 0 {
			return
		}
		if time.Now().After(deadline) {
			for _, name := range sortedKeys(w.workers) {
				for _, s := range w.workers[name].app.stations {
					w.Logf("%s for %s: %+v, breaker %s", name, s.name, s.lanes.Load().Depth(), s.guard.State())
				}
			}
			w.Fatalf("%d commands are not done after %s (%v)\n%s", open, limit, err, w.judge().String())
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// open is how many commands are not acknowledged.
func (w *world) open() (int, error) {
	ctx, cancel := context.WithTimeout(w.Context(), 5*time.Second)
	defer cancel()
	open := 0
	stream, err := w.cl.js.Stream(ctx, w.cl.names.Commands())
	if err != nil {
		return 0, err
	}
	for _, upstream := range w.upstreams() {
		for n := range w.config.Streams.Partitions {
			consumer, err := stream.Consumer(ctx, w.cl.names.Consumer(upstream, n))
			if err != nil {
				return 0, err
			}
			info := consumer.CachedInfo()
			open += int(info.NumPending) + info.NumAckPending
		}
	}
	return open, nil
}

// upstreams is those that the workers serve.
func (w *world) upstreams() (all []events.Upstream) {
	if w.config.TVMS.API.BaseURL != "" {
		all = append(all, events.TVMS)
	}
	if w.config.CRMCOM.API.BaseURL != "" {
		all = append(all, events.CRMCOM)
		if !w.config.Netflix.API.Disabled {
			all = append(all, events.Netflix)
		}
	}
	return all
}

// judge checks the history.
func (w *world) judge() *history.Report {
	w.Helper()
	evidence, err := w.cl.evidence(w.Context(), w.book.Effects()...)
	if err != nil {
		w.Fatal(errors.Join(errors.New("gathering the evidence"), err))
	}
	report := history.Check(evidence)
	return &report
}

// verdict fails the test for every violation.
func (w *world) verdict() *history.Report {
	w.Helper()
	r := w.judge()
	if !r.OK() {
		w.Error(r.String())
	}
	return r
}
