package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
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

// world is a broker, an imitation of TVMS and any number of workers in virtual time.
type world struct {
	*testing.T
	random  *rand.Rand
	config  Config
	dir     string
	broker  *natsjs.Server
	cable   *natstest.Cable // billing's
	cl      *client
	tvms    *sandbox.TVMS
	pipes   *pipes
	http    *http.Server
	workers map[string]*simWorker
	names   int
	sent    []event.Event
	log     *slog.Logger
}

// simConfig is a configuration with short times, so that an hour holds many of them.
func simConfig() Config {
	var cfg Config
	cfg.Worker.HTTPAddr, cfg.Worker.Grace = noListen, 10*time.Second
	cfg.Worker.PublishTimeout, cfg.Worker.Election = 2*time.Second, 3*time.Second
	cfg.Streams.Partitions = 4
	cfg.Retry.Renew = handlers.Policy{Initial: time.Second, Max: 10 * time.Second, Multiplier: 2, Attempts: 8}
	api := &cfg.TVMS.API
	api.BaseURL, api.AuthToken, api.CRMService = "http://127.0.0.1", upstream.NewSecret(sandboxToken), "demo_crm"
	guard := &cfg.TVMS.Guard
	guard.CallTimeout, guard.OpenFor, guard.Concurrency = 4*time.Second, 3*time.Second, 8
	return cfg
}

// withReadBack lets unclear calls be settled by reading the expiry date.
func (c *Config) withReadBack() {
	r := &c.TVMS.API.ReadBack
	r.Enabled, r.ExpiryField, r.Format = true, "ExpireDate", "epoch_seconds"
	r.SettleAfter, r.GiveUpAfter = 10*time.Second, 2*time.Minute
}

func newWorld(t *testing.T, seed uint64, cfg Config) *world {
	t.Helper()
	w := &world{
		T: t, random: rand.New(rand.NewPCG(seed, 1)), config: cfg, dir: t.TempDir(),
		pipes: newPipes(), workers: map[string]*simWorker{}, log: slog.New(slog.DiscardHandler),
	}
	w.startBroker()
	w.tvms = sandbox.NewTVMS(sandbox.TVMSOptions{
		AuthToken: sandboxToken, Seed: seed, Latency: 5 * time.Millisecond,
		AutoCreate: time.Now().UTC().AddDate(0, 1, 0).Truncate(time.Second),
	})
	w.http = &http.Server{Handler: w.tvms.Handler(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go w.http.Serve(w.pipes) // ends with close
	w.cable = &natstest.Cable{Server: w.broker}
	conn := w.dialBroker(w.cable, natsjs.ConnectOptions{})
	var err error
	if w.cl, err = newClient(cfg.withDefaults(), conn); err != nil {
		t.Fatal(err)
	}
	return w
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
func (w *world) restartBroker(after time.Duration) {
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
	time.Sleep(after)
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
func (w *world) start() *simWorker {
	w.Helper()
	w.names++
	cfg := w.config
	cfg.Worker.Name = "w" + strconv.Itoa(w.names)
	k := &simWorker{cable: &natstest.Cable{Server: w.broker}, ended: make(chan struct{})}
	app, err := NewApp(AppOptions{
		Config: cfg, Dial: w.pipes.dial, Logger: w.log, WatchEvery: -1,
		Connect: func(o natsjs.ConnectOptions) (*nats.Conn, error) { return dialVia(k.cable, o) },
	})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.app, k.end = app, cancel
	go func() {
		defer close(k.ended)
		k.err = app.Run(ctx)
	}()
	select {
	case <-app.Ready():
	case <-k.ended:
		w.Fatalf("worker %s ended at its start: %v", app.Name(), k.err)
	case <-time.After(time.Minute):
		w.Fatalf("worker %s is not ready after a minute", app.Name())
	}
	w.workers[app.Name()] = k
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
	_ = w.http.Close()
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

// renew sends a renewal of a random customer.
func (w *world) renew(customers int) {
	w.Helper()
	customer := "C-" + strconv.Itoa(w.random.IntN(customers))
	e := w.renewal(fmt.Sprintf("r%d", len(w.sent)), customer)
	if w.random.IntN(20) == 0 {
		e.SetExtension(events.ExtExpiry, time.Now().Add(time.Duration(w.random.IntN(20))*time.Second).UTC().Format(time.RFC3339))
	}
	w.sent = append(w.sent, e)
	w.send(e)
}

func (w *world) renewal(id, customer string) event.Event {
	w.Helper()
	e := event.New()
	e.SetID(id)
	e.SetSource("test")
	e.SetType(events.CommandType(events.Renew))
	e.SetSubject(customer)
	e.SetTime(time.Now())
	if err := e.SetData(event.ApplicationJSON, events.RenewData{CustomerMappingID: customer, Months: 1}); err != nil {
		w.Fatal(err)
	}
	return e
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
	for {
		open, err := w.open()
		if err == nil && open == 0 && w.judge().Unresolved == 0 {
			return
		}
		if time.Now().After(deadline) {
			for _, name := range sortedKeys(w.workers) {
				w.Logf("%s: %+v, breaker %s", name, w.workers[name].app.stations[0].lanes.Load().Depth(), w.workers[name].app.stations[0].guard.State())
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
	for n := range w.config.Streams.Partitions {
		consumer, err := stream.Consumer(ctx, w.cl.names.Consumer(events.TVMS, n))
		if err != nil {
			return 0, err
		}
		info := consumer.CachedInfo()
		open += int(info.NumPending) + info.NumAckPending
	}
	return open, nil
}

// judge checks the history.
func (w *world) judge() *history.Report {
	w.Helper()
	evidence, err := w.cl.evidence(w.Context(), w.tvms.Book().Effects()...)
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
