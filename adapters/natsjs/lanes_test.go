package natsjs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs/natstest"
	"subrelay/events"
)

// book is what the lanes' tests use in place of ledger and upstream: who started what and when, and what is done.
type book struct {
	mu      sync.Mutex
	started map[uint64]string
	done    map[uint64]bool
	running map[string]uint64 // key: sequence under way
	last    map[string]uint64 // key: sequence done last
	faults  []string
}

func newBook() *book {
	return &book{started: map[uint64]string{}, done: map[uint64]bool{}, running: map[string]uint64{}, last: map[string]uint64{}}
}

func (b *book) begin(d events.Delivery, worker string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.started[d.Seq] != "" {
		return false
	}
	b.started[d.Seq] = worker
	if other, ok := b.running[d.Key]; ok {
		b.faults = append(b.faults, fmt.Sprintf("key %s: %d began while %d was under way", d.Key, d.Seq, other))
	}
	if b.last[d.Key] > d.Seq {
		b.faults = append(b.faults, fmt.Sprintf("key %s: %d began after %d", d.Key, d.Seq, b.last[d.Key]))
	}
	b.running[d.Key] = d.Seq
	return true
}

func (b *book) end(d events.Delivery) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done[d.Seq] = true
	b.last[d.Key] = max(b.last[d.Key], d.Seq)
	if b.running[d.Key] == d.Seq {
		delete(b.running, d.Key)
	}
}

func (b *book) isDone(seq uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.done[seq]
}

func (b *book) startedBy(seq uint64) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.started[seq]
}

func (b *book) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.done)
}

// bookJob is a command whose attempt takes some time, and which another worker takes for done once it was started long
// enough ago.
type bookJob struct {
	*book
	d      events.Delivery
	worker string
	slow   func() time.Duration
	ended  func(events.Delivery)
	sight  time.Time
}

func (j *bookJob) Prepare(_ context.Context, fresh bool) events.Next {
	switch by := j.startedBy(j.d.Seq); {
	case j.isDone(j.d.Seq):
		return events.Next{Action: events.Ack}
	case by == "" || fresh && by == j.worker:
		return events.Next{Action: events.Call}
	case j.sight.IsZero():
		j.sight = time.Now()
	case time.Since(j.sight) > 2*time.Second: // settled
		j.end(j.d)
		return events.Next{Action: events.Ack}
	}
	return events.Next{Action: events.Wait, At: time.Now().Add(100 * time.Millisecond)}
}

func (j *bookJob) Attempt(ctx context.Context, _ bool) (events.Next, error) {
	if !j.begin(j.d, j.worker) {
		return events.Next{Action: events.Wait, At: time.Now()}, nil
	}
	pause(ctx, j.slow())
	if ctx.Err() != nil {
		return events.Next{Action: events.Release}, ctx.Err()
	}
	j.end(j.d)
	if j.ended != nil {
		j.ended(j.d)
	}
	return events.Next{Action: events.Ack}, nil
}

// heldJob is a command of a kind that the worker does not know.
type heldJob struct{ Job }

func (heldJob) Prepare(context.Context, bool) events.Next {
	return events.Next{Action: events.Wait, At: time.Now().Add(time.Second)}
}

type freePermit struct{}

func (freePermit) Probe() bool { return false }
func (freePermit) Done(error)  {}
func (freePermit) Cancel()     {}

// laneWorker is one worker of a lanes' test, with a line of its own.
type laneWorker struct {
	name  string
	cable *natstest.Cable
	nc    *nats.Conn
	lanes *Lanes
	end   context.CancelFunc
	ended chan struct{}
}

// laneWorld is a broker, a book and some workers, in virtual time.
type laneWorld struct {
	*testing.T
	names      Names
	server     *Server
	js         jetstream.JetStream
	book       *book
	partitions int
	slow       func() time.Duration
	workers    map[string]*laneWorker
	sent       int
	keySlots   int
	upstream   events.Upstream
	kinds      []events.Kind         // that workers know; others' commands they hold
	ended      func(events.Delivery) // told of each attempt that has ended
	settings   func(*LaneSettings)   // changes those of workers
	untold     bool                  // the lanes are not told of reconnects: the gap in the consumer's sequence must tell
}

func newLaneWorld(t *testing.T, partitions int) *laneWorld {
	t.Helper()
	w := &laneWorld{T: t, book: newBook(), partitions: partitions, workers: map[string]*laneWorker{}, keySlots: 40, upstream: events.TVMS, kinds: []events.Kind{events.Renew}}
	w.slow = func() time.Duration { return time.Millisecond + rand.N(20*time.Millisecond) }
	var err error
	if w.server, err = StartServer(ServerSettings{LazySync: true, StoreDir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	nc, err := w.server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	w.js, _ = jetstream.New(nc)
	topology, _ := NewTopology(TopologySettings{Partitions: partitions, Specs: events.Specs()})
	if _, err := topology.Apply(t.Context(), w.js); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *laneWorld) close() {
	for _, worker := range w.workers {
		worker.stop()
	}
	w.js.Conn().Close()
	w.server.Shutdown()
}

// start adds a worker that serves the given partitions.
func (w *laneWorld) start(name string, own ...int) *laneWorker {
	w.Helper()
	worker := &laneWorker{name: name, cable: &natstest.Cable{Server: w.server}, ended: make(chan struct{})}
	nc, err := Connect(ConnectOptions{
		InProcess: w.server, Options: []nats.Option{nats.InProcessServer(worker.cable)},
		OnReconnect: func() {
			if !w.untold {
				worker.lanes.Reconnected()
			}
		},
	})
	if err != nil {
		w.Fatal(err)
	}
	js, _ := jetstream.New(nc)
	worker.nc = nc
	kinds := w.kinds
	settings := LaneSettings{
		Upstream: w.upstream, Kinds: kinds, JetStream: js, Partitions: w.partitions,
		NewJob: func(d events.Delivery) Job {
			if !slices.Contains(kinds, d.Kind) {
				return heldJob{}
			}
			return &bookJob{book: w.book, d: d, worker: name, slow: w.slow, ended: w.ended}
		},
		Done: func(_ context.Context, d events.Delivery) (bool, error) {
			return slices.Contains(kinds, d.Kind) && w.book.isDone(d.Seq), nil
		},
		Acquire: func(ctx context.Context) (Permit, error) {
			return freePermit{}, ctx.Err()
		},
		Concurrency: 8, Grace: 5 * time.Second, Logger: slog.New(slog.DiscardHandler),
	}
	if w.settings != nil {
		w.settings(&settings)
	}
	if worker.lanes, err = NewLanes(settings); err != nil {
		w.Fatal(err)
	}
	worker.lanes.Own(own)
	ctx, cancel := context.WithCancel(w.Context())
	worker.end = cancel
	go func() {
		defer close(worker.ended)
		if err := worker.lanes.Run(ctx); err != nil {
			w.Error(err)
		}
	}()
	w.workers[name] = worker
	return worker
}

// stop leaves gracefully.
func (k *laneWorker) stop() {
	k.end()
	<-k.ended
	k.nc.Close()
}

// kill makes a worker vanish as a killed process does: its line dies with what was on it. (The goroutines that remain
// can reach nobody any more; they are waited for.)
func (w *laneWorld) kill(name string) {
	worker := w.workers[name]
	delete(w.workers, name)
	worker.cable.Unplug()
	worker.nc.Close()
	worker.lanes.Grace = time.Nanosecond
	worker.end()
	<-worker.ended
}

// send publishes n commands over the keys.
func (w *laneWorld) send(n int) {
	w.Helper()
	for range n {
		w.sendOne(events.Renew, "K-"+strconv.Itoa(rand.IntN(w.keySlots)))
	}
}

func (w *laneWorld) sendOne(kind events.Kind, key string) {
	w.Helper()
	w.sent++
	if _, err := w.js.Publish(w.Context(), w.names.Command(kind, key), []byte(`{}`)); err != nil {
		w.Fatal(err)
	}
}

// finish waits until everything sent is done, and fails where it never is or where order broke.
func (w *laneWorld) finish() {
	w.Helper()
	limit := time.After(5 * time.Minute)
	for w.book.count() < w.sent {
		select {
		case <-limit:
			w.report()
			w.Fatalf("%d of %d commands are done after 5 minutes", w.book.count(), w.sent)
		case <-time.After(50 * time.Millisecond):
		}
	}
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	for i, fault := range w.book.faults {
		if i == 5 {
			w.Errorf("... %d violations in all", len(w.book.faults))
			break
		}
		w.Error(fault)
	}
}

func (w *laneWorld) report() {
	for name, worker := range w.workers {
		w.Logf("%s: %+v", name, worker.lanes.Depth())
	}
}

// settled waits until the broker holds nothing unacknowledged.
func (w *laneWorld) settled() {
	w.Helper()
	limit := time.After(time.Minute)
	for n := range w.partitions {
		for {
			c, err := w.js.Consumer(w.Context(), w.names.Commands(), w.names.Consumer(w.upstream, n))
			if err != nil {
				w.Fatal(err)
			}
			info, err := c.Info(w.Context())
			if err != nil {
				w.Fatal(err)
			}
			if info.NumAckPending == 0 && info.NumPending == 0 {
				break
			}
			select {
			case <-limit:
				w.Fatalf("%s: %d pending, %d unacknowledged", info.Name, info.NumPending, info.NumAckPending)
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

func inBubble(t *testing.T, partitions int, story func(w *laneWorld)) {
	t.Helper()
	natstest.Bubble(t, func(t *testing.T) {
		w := newLaneWorld(t, partitions)
		defer w.close()
		story(w)
	})
}

func TestLanesDeliverEverythingInOrder(t *testing.T) {
	inBubble(t, 2, func(w *laneWorld) {
		w.start("a", 0, 1)
		w.send(500)
		w.finish()
		w.settled()
	})
}

func TestLanesOfDifferentKeysRunAtTheSameTime(t *testing.T) {
	inBubble(t, 1, func(w *laneWorld) {
		w.slow = func() time.Duration { return 10 * time.Second }
		w.keySlots = 1 << 30
		w.send(16)
		began := time.Now()
		w.start("a", 0)
		w.finish()
		if took := time.Since(began); took > 25*time.Second {
			t.Errorf("16 commands of 10 s each, 8 at a time, took %s", took)
		}
		w.settled()
	})
}

func TestLanesHeartbeatKeepsALongCallOurs(t *testing.T) {
	inBubble(t, 1, func(w *laneWorld) {
		w.slow = func() time.Duration { return 2 * time.Minute }
		w.keySlots = 1
		w.start("a", 0)
		w.send(2)
		w.finish()
		c, _ := w.js.Consumer(w.Context(), w.names.Commands(), w.names.Consumer(events.TVMS, 0))
		w.settled()
		info, err := c.Info(w.Context())
		if err != nil || info.Delivered.Consumer != 2 {
			t.Errorf("%d deliveries of 2 commands (%v): the heartbeats did not hold them", info.Delivered.Consumer, err)
		}
	})
}

func TestLanesHandOver(t *testing.T) {
	inBubble(t, 4, func(w *laneWorld) {
		a, b := w.start("a", 0, 1, 2, 3), w.start("b")
		for range 10 {
			w.send(60)
			time.Sleep(100 * time.Millisecond)
			var left, right []int
			for n := range 4 {
				if rand.IntN(2) == 0 {
					left = append(left, n)
				} else {
					right = append(right, n)
				}
			}
			a.lanes.Own(left)
			b.lanes.Own(right)
		}
		w.finish()
		w.settled()
	})
}

func TestLanesSurviveAKill(t *testing.T) {
	for seed := range 6 {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			inBubble(t, 2, func(w *laneWorld) {
				w.start("a", 0, 1)
				w.send(150)
				time.Sleep(time.Duration(seed*37) * time.Millisecond)
				w.start("b", 0, 1)
				w.kill("a")
				w.send(150)
				w.finish()
				w.settled()
			})
		})
	}
}

func TestLanesSurviveCutLines(t *testing.T) {
	for seed := range 6 {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			inBubble(t, 2, func(w *laneWorld) {
				w.untold = seed%2 == 0
				a := w.start("a", 0, 1)
				for range 8 {
					w.send(60)
					a.cable.Deafen() // what is under way to the client is lost
					w.send(20)
					time.Sleep(rand.N(50 * time.Millisecond))
					a.cable.Cut()
					time.Sleep(rand.N(2 * time.Second))
				}
				w.finish()
				w.settled()
			})
		})
	}
}

func TestLanesSurviveEverythingTogether(t *testing.T) {
	for seed := range 8 {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			inBubble(t, 4, func(w *laneWorld) {
				names := 0
				for range 3 {
					names++
					w.start("w"+strconv.Itoa(names), rand.Perm(4)[:2]...)
				}
				for range 12 {
					w.send(40)
					time.Sleep(rand.N(700 * time.Millisecond))
					for name, worker := range w.workers {
						switch rand.IntN(5) {
						case 0:
							worker.cable.Deafen()
							w.send(10)
							worker.cable.Cut()
						case 1:
							worker.lanes.Own(rand.Perm(4)[:1+rand.IntN(4)])
						case 2:
							if rand.IntN(2) == 0 {
								w.kill(name)
								names++
								w.start("w"+strconv.Itoa(names), rand.Perm(4)...)
							}
						}
					}
				}
				w.start("last", 0, 1, 2, 3)
				w.finish()
				w.settled()
			})
		})
	}
}

func TestLanesNeedTheirSettings(t *testing.T) {
	if _, err := NewLanes(LaneSettings{}); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("NewLanes without settings: %v", err)
	}
}
