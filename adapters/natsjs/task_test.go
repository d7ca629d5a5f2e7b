package natsjs

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs/natstest"
)

// taskRound is a round that some worker did.
type taskRound struct {
	worker     string
	began      time.Time
	ended      time.Time
	overlapped bool // another was under way when it began
}

// taskWorld is a broker and workers that take turns in a task, in virtual time.
type taskWorld struct {
	*testing.T
	dir     string
	server  *Server
	js      jetstream.JetStream
	top     *Topology
	workers map[string]*taskWorker
	do      func(ctx context.Context, worker string) error // a round; nil takes a second

	mu     sync.Mutex
	rounds []taskRound
	under  int
}

type taskWorker struct {
	cable *natstest.Cable
	nc    *nats.Conn
	end   context.CancelFunc
	ended chan struct{}
}

func inTaskBubble(t *testing.T, story func(w *taskWorld)) {
	t.Helper()
	natstest.Bubble(t, func(t *testing.T) {
		w := &taskWorld{T: t, dir: t.TempDir(), workers: map[string]*taskWorker{}}
		w.open()
		w.top, _ = NewTopology(TopologySettings{Partitions: 1})
		if _, err := w.top.Apply(t.Context(), w.js); err != nil {
			t.Fatal(err)
		}
		defer func() {
			for name := range w.workers {
				w.stop(name)
			}
			w.js.Conn().Close()
			w.server.Shutdown()
		}()
		story(w)
	})
}

// open starts the broker, on what it has stored before.
func (w *taskWorld) open() {
	w.Helper()
	var err error
	if w.server, err = StartServer(ServerSettings{LazySync: true, StoreDir: w.dir}); err != nil {
		w.Fatal(err)
	}
	nc, err := w.server.Connect()
	if err != nil {
		w.Fatal(err)
	}
	w.js, _ = jetstream.New(nc)
}

// restart restarts the broker, which is away for the given time.
func (w *taskWorld) restart(away time.Duration) {
	w.Helper()
	w.js.Conn().Close()
	for _, k := range w.workers {
		k.cable.Unplug()
	}
	w.server.Shutdown()
	time.Sleep(away)
	w.open()
	for _, k := range w.workers {
		k.cable.Use(w.server)
		k.cable.Plug()
	}
}

func (w *taskWorld) start(name string) {
	w.Helper()
	k := &taskWorker{cable: &natstest.Cable{Server: w.server}, ended: make(chan struct{})}
	var err error
	if k.nc, err = Connect(ConnectOptions{InProcess: w.server, Options: []nats.Option{nats.InProcessServer(k.cable)}}); err != nil {
		w.Fatal(err)
	}
	js, _ := jetstream.New(k.nc)
	task := Task{
		JetStream: js, Name: ChargesTask, Do: func(ctx context.Context) error { return w.round(ctx, name) },
		Repair: func(ctx context.Context) error { _, err := w.top.Apply(ctx, js); return err },
		Logger: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(w.Context())
	k.end = cancel
	go func() {
		defer close(k.ended)
		if err := task.Run(ctx); err != nil {
			w.Error(err)
		}
	}()
	w.workers[name] = k
}

func (w *taskWorld) round(ctx context.Context, worker string) (err error) {
	w.mu.Lock()
	at := len(w.rounds)
	w.rounds = append(w.rounds, taskRound{worker: worker, began: time.Now(), overlapped: w.under > 0})
	w.under++
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.rounds[at].ended = time.Now()
		w.under--
		w.mu.Unlock()
	}()
	if w.do != nil {
		return w.do(ctx, worker)
	}
	pause(ctx, time.Second)
	return ctx.Err()
}

func (w *taskWorld) seen() []taskRound {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]taskRound(nil), w.rounds...)
}

// waitFor waits until so many rounds have begun, and returns them.
func (w *taskWorld) waitFor(n int) []taskRound {
	w.Helper()
	limit := time.After(time.Hour)
	for len(w.seen()) < n {
		select {
		case <-limit:
			w.Fatalf("%d of %d rounds after an hour", len(w.seen()), n)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return w.seen()
}

// stop ends a worker gracefully.
func (w *taskWorld) stop(name string) {
	k := w.workers[name]
	delete(w.workers, name)
	k.end()
	<-k.ended
	k.nc.Close()
}

// kill ends a worker as a crash does.
func (w *taskWorld) kill(name string) {
	k := w.workers[name]
	delete(w.workers, name)
	k.cable.Unplug()
	k.nc.Close()
	k.end()
	<-k.ended
}

// other is the worker of the two that is not name.
func other(name string) string {
	if name == "a" {
		return "b"
	}
	return "a"
}

// between fails where the time from one moment to another is not in the bounds.
func (w *taskWorld) between(what string, from, to time.Time, least, most time.Duration) {
	w.Helper()
	if d := to.Sub(from); d < least || d > most {
		w.Errorf("%s: %s, want %s to %s", what, d, least, most)
	}
}

func TestTaskIsDoneByOneWorkerAtATime(t *testing.T) {
	inTaskBubble(t, func(w *taskWorld) {
		for _, name := range []string{"a", "b", "c"} {
			w.start(name)
		}
		rounds := w.waitFor(20)
		for i, r := range rounds {
			if r.overlapped {
				t.Errorf("round %d began while another was under way", i)
			}
			if i > 0 {
				w.between("from round to round", rounds[i-1].ended, r.began, time.Minute-time.Second, time.Minute+2*time.Second)
			}
		}
	})
}

func TestTaskHoldsTheTickForAsLongAsARoundTakes(t *testing.T) {
	inTaskBubble(t, func(w *taskWorld) {
		w.do = func(ctx context.Context, _ string) error { pause(ctx, 10*time.Minute); return ctx.Err() }
		w.start("a")
		w.start("b")
		for i, r := range w.waitFor(4) {
			if r.overlapped {
				t.Errorf("round %d began while another was under way", i)
			}
		}
	})
}

func TestTaskComesSoonerAfterAFailure(t *testing.T) {
	inTaskBubble(t, func(w *taskWorld) {
		w.do = func(context.Context, string) error { return errors.New("the upstream is away") }
		w.start("a")
		rounds := w.waitFor(3)
		w.between("after a failure", rounds[1].ended, rounds[2].began, 14*time.Second, 17*time.Second)
	})
}

func TestTaskGoesToAnotherWorker(t *testing.T) {
	for name, tt := range map[string]struct {
		end         func(w *taskWorld, holder string)
		least, most time.Duration
	}{
		"AfterACrash":            {func(w *taskWorld, holder string) { w.kill(holder) }, 3 * time.Second, 7 * time.Second},
		"AfterAFreeze":           {func(w *taskWorld, holder string) { w.workers[holder].cable.Mute() }, 3 * time.Second, 7 * time.Second},
		"AtOnceAfterAnEnd":       {func(w *taskWorld, holder string) { w.stop(holder) }, 0, time.Second},
		"NeverWhileALineIsCut":   {func(w *taskWorld, holder string) { w.workers[holder].cable.Cut() }, time.Minute, 2 * time.Minute},
		"AfterALineIsCutForLong": {func(w *taskWorld, holder string) { w.workers[holder].cable.Unplug() }, 3 * time.Second, 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inTaskBubble(t, func(w *taskWorld) {
				w.do = func(ctx context.Context, _ string) error { pause(ctx, 30*time.Second); return ctx.Err() }
				w.start("a")
				w.start("b")
				holder := w.waitFor(1)[0].worker
				time.Sleep(10 * time.Second)
				at := time.Now()
				tt.end(w, holder)
				next := w.waitFor(2)[1]
				w.between("until the next round", at, next.began, tt.least, tt.most)
				if tt.most < time.Minute && next.worker != other(holder) {
					t.Errorf("%s did the next round too", next.worker)
				}
			})
		})
	}
}

// A thawed worker goes on with a tick that another has by now. What it sends about it disturbs nothing.
func TestTaskOutlastsAThawedHolder(t *testing.T) {
	inTaskBubble(t, func(w *taskWorld) {
		w.do = func(ctx context.Context, _ string) error { pause(ctx, 20*time.Second); return ctx.Err() }
		w.start("a")
		w.start("b")
		holder := w.waitFor(1)[0].worker
		w.workers[holder].cable.Mute()
		if got := w.waitFor(2)[1]; !got.overlapped || got.worker != other(holder) {
			t.Errorf("the second round: %+v", got)
		}
		w.workers[holder].cable.Cut() // it reconnects, and heartbeats again
		rounds := w.waitFor(6)
		for i, r := range rounds[2:] {
			if r.overlapped {
				t.Errorf("round %d began while another was under way", i+2)
			}
		}
		w.between("from round to round", rounds[4].ended, rounds[5].began, time.Minute-time.Second, time.Minute+2*time.Second)
	})
}

func TestTaskOutlastsTheBroker(t *testing.T) {
	t.Run("BetweenRounds", func(t *testing.T) {
		inTaskBubble(t, func(w *taskWorld) {
			w.start("a")
			w.start("b")
			w.waitFor(1)
			time.Sleep(20 * time.Second)
			w.restart(10 * time.Second)
			rounds := w.waitFor(3)
			w.between("over the restart", rounds[0].ended, rounds[1].began, time.Minute-2*time.Second, time.Minute+8*time.Second)
			w.between("after the restart", rounds[1].ended, rounds[2].began, time.Minute-2*time.Second, time.Minute+2*time.Second)
		})
	})
	t.Run("WithinARound", func(t *testing.T) {
		inTaskBubble(t, func(w *taskWorld) {
			w.do = func(ctx context.Context, _ string) error { pause(ctx, 30*time.Second); return ctx.Err() }
			w.start("a")
			w.start("b")
			w.waitFor(1)
			time.Sleep(5 * time.Second)
			w.restart(10 * time.Second)
			rounds := w.waitFor(6)
			w.between("later on", rounds[4].ended, rounds[5].began, time.Minute-2*time.Second, time.Minute+2*time.Second)
		})
	})
}

func TestTaskMakesALostTickAgain(t *testing.T) {
	ctx := func(t *testing.T) context.Context { return t.Context() }
	for name, lose := range map[string]func(w *taskWorld) error{
		"Purged": func(w *taskWorld) error { return stream(w.T, w.js, Names{}.Tasks()).Purge(ctx(w.T)) },
		"Deleted": func(w *taskWorld) error {
			s := stream(w.T, w.js, Names{}.Tasks())
			return s.DeleteMsg(ctx(w.T), s.CachedInfo().State.LastSeq)
		},
		"StreamDeleted":   func(w *taskWorld) error { return w.js.DeleteStream(ctx(w.T), Names{}.Tasks()) },
		"ConsumerDeleted": func(w *taskWorld) error { return w.js.DeleteConsumer(ctx(w.T), Names{}.Tasks(), ChargesTask) },
		"Acknowledged": func(w *taskWorld) error {
			c, err := w.js.Consumer(ctx(w.T), Names{}.Tasks(), ChargesTask)
			if err != nil {
				return err
			}
			time.Sleep(time.Minute - 2*time.Second) // so that the tick is to be had soon
			for {
				if msg, err := c.Next(jetstream.FetchMaxWait(time.Second)); err == nil {
					return msg.Ack()
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inTaskBubble(t, func(w *taskWorld) {
				w.start("a")
				w.start("b")
				w.waitFor(1)
				time.Sleep(2 * time.Second)
				if name == "Acknowledged" {
					w.stop("a")
					w.stop("b")
				}
				if err := lose(w); err != nil {
					t.Fatal(err)
				}
				if name == "Acknowledged" {
					w.start("a")
					w.start("b")
				}
				at, had := time.Now(), len(w.seen())
				rounds := w.waitFor(had + 3)
				w.between("until the next round", at, rounds[had].began, 0, 75*time.Second)
				for _, r := range rounds[had:] {
					if r.overlapped {
						t.Errorf("two at once: %+v", rounds)
					}
				}
				w.between("from round to round", rounds[had+1].ended, rounds[had+2].began, time.Minute-time.Second, time.Minute+2*time.Second)
			})
		})
	}
}

// The server takes no second tick, whoever publishes it.
func TestTaskHasOneTick(t *testing.T) {
	_, js := connect(t, startServer(t))
	apply(t, js, topology(t, nil))
	if _, err := js.Publish(t.Context(), Names{}.Task(ChargesTask), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), Names{}.Task(ChargesTask), nil); err == nil {
		t.Error("a second tick was stored")
	}
}

func TestTaskRefusesBadSettings(t *testing.T) {
	_, js := connect(t, startServer(t))
	do := func(context.Context) error { return nil }
	for name, task := range map[string]*Task{
		"NoName":   {JetStream: js, Do: do},
		"NoDo":     {JetStream: js, Name: ChargesTask},
		"Negative": {JetStream: js, Name: ChargesTask, Do: do, Interval: -1},
	} {
		if err := task.Run(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
