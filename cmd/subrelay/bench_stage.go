package main

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// benchStage is what the rounds of one mode run on: a broker, and a connection of the bench's own to it.
type benchStage struct {
	f      benchFlags
	kind   benchKind
	log    *slog.Logger
	config Config // of workers, but for prefix and base URL
	broker *natsjs.Servers
	conn   *nats.Conn
	js     jetstream.JetStream
	round  int
	run    string // part of every prefix
	sample *benchSample
}

func (c *cli) newBenchStage(ctx context.Context, f benchFlags, sync string, log *slog.Logger) (*benchStage, error) {
	s := &benchStage{f: f, kind: benchKinds()[f.kind], log: log, run: strings.ToLower(randomName())}
	if sync == benchSyncServer {
		loaded, err := c.loadConfig()
		if err != nil {
			return nil, err
		}
		s.config.NATS, s.config.Streams = loaded.NATS, loaded.Streams
		s.config.Streams.ManagedElsewhere = false
	} else {
		broker, err := natsjs.StartServers(f.replicas, natsjs.ServerSettings{Addr: "127.0.0.1:0", LazySync: sync == benchSyncDefault, Logger: log})
		if err != nil {
			return nil, err
		}
		s.broker, s.config.NATS.URL = broker, broker.URL()
	}
	s.config.Streams.Replicas = cmp.Or(f.replicas, s.config.Streams.Replicas)
	s.config.Worker.HTTPAddr = noListen
	s.kind.configure(&s.config, (f.concurrency+f.workers-1)/f.workers)
	if err := s.connect(); err != nil {
		s.close()
		return nil, hinted(err, "is it running there? Without --nats a server of its own is measured")
	}
	return s, ctx.Err()
}

func (s *benchStage) connect() error {
	options, err := s.config.NATS.connectOptions()
	if err != nil {
		return err
	}
	options.Name, options.Logger = "subrelay bench", s.log
	if s.conn, err = natsjs.Connect(options); err != nil {
		return err
	}
	s.js, err = jetstream.New(s.conn)
	return err
}

func (s *benchStage) close() {
	if s.conn != nil {
		s.conn.Close()
	}
	if s.broker != nil {
		s.broker.Shutdown()
	}
}

// benchSet is the streams, commands and upstream of one round.
type benchSet struct {
	stage    *benchStage
	config   Config
	names    natsjs.Names
	topology *natsjs.Topology
	book     *sandbox.Book // of the upstream
	server   *sandbox.Server
	stop     context.CancelFunc
	stopped  chan error
}

// newSet makes empty streams under a prefix of their own, and an upstream for n commands. The caller must end it. ackWait
// 0 is the default.
func (s *benchStage) newSet(ctx context.Context, n int, ackWait time.Duration) (*benchSet, error) {
	s.round++
	set := &benchSet{stage: s, config: s.config, stopped: make(chan error, 1)}
	set.config.Streams.AckWait = cmp.Or(ackWait, s.config.Streams.AckWait)
	set.config.Prefix = fmt.Sprintf("bench-%s-%d", s.run, s.round)
	set.config = set.config.withDefaults()
	set.names = set.config.names()
	var err error
	if set.topology, err = set.config.topology(); err != nil {
		return nil, err
	}
	imitation, book, err := s.kind.imitate(set, n, s.f.keys)
	if err != nil {
		return nil, err
	}
	set.book = book
	if set.server, err = sandbox.Listen("127.0.0.1:0", s.sample.watch(imitation)); err != nil {
		return nil, err
	}
	s.kind.point(&set.config, set.server.URL())
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	set.stop = stop
	go func() { set.stopped <- set.server.Run(serving) }()
	if _, err = set.topology.Apply(ctx, s.js); err != nil {
		set.end(ctx)
		return nil, err
	}
	return set, nil
}

// end removes everything that newSet and the round have made.
func (b *benchSet) end(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	b.stop()
	<-b.stopped //nolint:errcheck // it was told to stop: how it ended says nothing
	for _, name := range b.names.Streams() {
		_ = b.stage.js.DeleteStream(ctx, name) // what is not there need not be deleted
	}
	_ = b.stage.js.DeleteKeyValue(ctx, b.names.Workers())
}

// fill stores n commands.
func (b *benchSet) fill(ctx context.Context, n, keys int) error {
	publisher := natsjs.NewPublisher(b.stage.js, natsjs.PublisherSettings{Names: b.names, Timeout: 30 * time.Second})
	var failed error
	_, err := publisher.PublishAll(ctx, benchCommands(b.stage.kind, n, keys), natsjs.Batch{InFlight: 256, Report: func(p natsjs.Published) {
		if p.Err != nil {
			failed = p.Err
		}
	}})
	if err == nil {
		err = failed
	}
	return err
}

// benchCommandBytes is the size of a command's event.
const benchCommandBytes = 600

// benchCommands are n commands for customers in turn.
func benchCommands(kind benchKind, n, keys int) iter.Seq[event.Event] {
	began := time.Now()
	return func(yield func(event.Event) bool) {
		for i := range n {
			if !yield(benchCommand(kind, i, i%keys, began)) {
				return
			}
		}
	}
}

func benchCommand(kind benchKind, n, key int, at time.Time) event.Event {
	e := event.New()
	e.SetID(fmt.Sprintf("invoice-%08d", n))
	e.SetSource("/billing/bench")
	e.SetType(events.CommandType(kind.kind))
	e.SetSubject(fmt.Sprintf(kind.key, key))
	e.SetTime(at.UTC().Truncate(time.Millisecond))
	e.SetExtension(events.ExtCorrelation, fmt.Sprintf("order-%010d", n))
	e.SetExtension(events.ExtTraceParent, fmt.Sprintf("00-%032x-%016x-01", n+1, n+1))
	if err := e.SetData(event.ApplicationJSON, kind.data(e.Subject())); err != nil {
		panic(err) // data of ours that are no JSON
	}
	_, raw, err := natsjs.EncodeStructured(&e)
	if err != nil {
		panic(err)
	}
	e.SetExtension("note", strings.Repeat("x", max(1, benchCommandBytes-len(raw)-len(`,"note":""`))))
	return e
}

// measured runs work, which does n commands, with the process's allocations counted. work answers how long it took.
func measured(n int, work func() (time.Duration, error)) (benchRound, error) {
	var before, after runtime.MemStats
	runtime.GC() // what came before is not this round's
	runtime.ReadMemStats(&before)
	took, err := work()
	runtime.ReadMemStats(&after)
	return benchRound{
		Rate:   float64(n) / took.Seconds(),
		Allocs: float64(after.Mallocs-before.Mallocs) / float64(n),
		Bytes:  float64(after.TotalAlloc-before.TotalAlloc) / float64(n),
	}, err
}

// count makes sure that a round of n commands had n effects, and left two records of each.
func (b *benchSet) count(ctx context.Context, n int) error {
	info, err := b.stage.js.Stream(ctx, b.names.Outcomes())
	if err != nil {
		return err
	}
	if applied, records := b.book.Totals().Applied, info.CachedInfo().State.Msgs; applied != int64(n) || records != uint64(2*n) {
		return fmt.Errorf("%d commands had %d effects and left %d records: such a round says nothing", n, applied, records)
	}
	return nil
}

// benchStall is how long a round may stand still before it is given up.
const benchStall = 30 * time.Second

// awaitCount waits until counted has reached n.
func awaitCount(ctx context.Context, n int, counted func() int) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for last, moved := 0, time.Now(); ; {
		now := counted()
		if now >= n {
			return nil
		}
		if now != last {
			last, moved = now, time.Now()
		} else if time.Since(moved) > benchStall {
			return fmt.Errorf("%d of %d commands came to an outcome, and for %s no more did", now, n, benchStall)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
