package main

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/sandbox"
	"subrelay/events"
	"subrelay/events/history"
)

// seeds runs a story in virtual time once for each of some seeds, with two partitions and short times.
func seeds(t *testing.T, n int, story func(w *world)) {
	t.Helper()
	for seed := range n {
		t.Run(strconv.Itoa(seed+1), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T) {
				cfg := simConfig()
				cfg.Streams.Partitions = 2
				w := newWorld(t, uint64(seed+1), cfg)
				defer w.close()
				story(w)
			})
		})
	}
}

// renewals sends n renewals of a few customers, with random pauses.
func (w *world) renewals(name string, n int) (sent []event.Event) {
	w.Helper()
	for i := range n {
		e := w.renewal(fmt.Sprintf("%s-%d", name, i), fmt.Sprintf("C-%d", w.random.IntN(6)))
		w.send(e)
		sent = append(sent, e)
		time.Sleep(time.Duration(w.random.IntN(60)) * time.Millisecond)
	}
	return sent
}

// consumer is the name of a random consumer of TVMS.
func (w *world) consumer() string {
	return w.cl.names.Consumer(events.TVMS, w.random.IntN(w.config.Streams.Partitions))
}

func (w *world) deleteConsumer(name string) {
	w.Helper()
	if err := w.cl.js.DeleteConsumer(w.Context(), w.cl.names.Commands(), name); err != nil {
		w.Fatal(err)
	}
}

// byHand makes a consumer as the topology has it, but for a change.
func (w *world) byHand(name string, change func(*jetstream.ConsumerConfig)) {
	w.Helper()
	c, err := w.cl.js.Consumer(w.Context(), w.cl.names.Commands(), name)
	if err != nil {
		w.Fatal(err)
	}
	cfg := c.CachedInfo().Config
	w.deleteConsumer(name)
	change(&cfg)
	if _, err := w.cl.js.CreateConsumer(w.Context(), w.cl.names.Commands(), cfg); err != nil {
		w.Fatal(err)
	}
}

// each fails unless every command has succeeded with one effect.
func (w *world) each(sent []event.Event) {
	w.Helper()
	effects := map[string]int{}
	for _, e := range w.book.Effects() {
		if cid, _, ok := e.Attempt(); ok && e.Applied {
			effects[cid]++
		}
	}
	for _, e := range sent {
		cid := events.CID(e.Source(), e.ID(), e.Subject())
		if status := w.statusOf(e); status != events.Succeeded || effects[cid] != 1 {
			w.Errorf("%s is %q with %d effects", e.ID(), status, effects[cid])
		}
	}
}

// A consumer that is deleted under a working worker, also while that is cut off, is made again, and delivers everything
// from the first command on: what is done is acknowledged, and nothing else.
func TestConsumerDeleted(t *testing.T) {
	seeds(t, 4, func(w *world) {
		w.start()
		sent := w.renewals("first", 40)
		w.start()
		for i := range 3 {
			cut := w.random.IntN(2) == 0
			if cut {
				w.cutWorkers()
			}
			w.deleteConsumer(w.consumer())
			if cut {
				time.Sleep(time.Duration(w.random.IntN(4000)) * time.Millisecond)
				w.plugWorkers()
			}
			sent = append(sent, w.renewals(fmt.Sprint("more", i), 20)...)
		}
		w.settle(10 * time.Minute)
		w.verdict()
		w.each(sent)
	})
}

func (w *world) cutWorkers() {
	for _, k := range w.workers {
		k.cable.Unplug()
	}
}

func (w *world) plugWorkers() {
	for _, k := range w.workers {
		k.cable.Plug()
	}
}

// A consumer that was made again by hand begins anew, in the middle of the work too. Everything that was done comes
// once more, to workers whose call may be under way, and to others.
func TestConsumerReset(t *testing.T) {
	seeds(t, 4, func(w *world) {
		w.start()
		w.start()
		sent := w.renewals("first", 30)
		for i := range 3 {
			if err := w.tvms.Faults().Next(sandbox.Fault{Kind: sandbox.SlowAfter, Delay: sandbox.Duration(3 * time.Second)}); err != nil {
				w.Fatal(err)
			}
			sent = append(sent, w.renewals(fmt.Sprint("more", i), 20)...)
			w.byHand(w.consumer(), func(c *jetstream.ConsumerConfig) { c.DeliverPolicy = jetstream.DeliverAllPolicy })
		}
		w.settle(10 * time.Minute)
		w.verdict()
		w.each(sent)
	})
}

// What was done long ago comes again to a worker that was not there: no call, and no read of the upstream either.
func TestFullRedelivery(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T) {
		cfg := simConfig()
		cfg.withReadBack()
		w := newWorld(t, 1, cfg)
		defer w.close()
		first := w.start()
		sent := w.renewals("done", 60)
		w.settle(time.Minute)
		first.stop()
		delete(w.workers, first.app.Name())
		var requests atomic.Int64
		w.serve(tvmsAddr, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			w.tvms.Handler().ServeHTTP(rw, r)
		}))
		for n := range cfg.Streams.Partitions {
			w.deleteConsumer(w.cl.names.Consumer(events.TVMS, n))
		}
		w.start()
		w.settle(10 * time.Minute)
		w.verdict()
		w.each(sent)
		if n := requests.Load(); n != 0 {
			t.Errorf("%d requests to TVMS for what was done", n)
		}
	})
}

// A consumer that would pass over unfinished commands is not used, until somebody has put it right.
func TestUnfitConsumer(t *testing.T) {
	for name, change := range map[string]func(*jetstream.ConsumerConfig){
		"new":    func(c *jetstream.ConsumerConfig) { c.DeliverPolicy = jetstream.DeliverNewPolicy },
		"no pin": func(c *jetstream.ConsumerConfig) { c.PriorityPolicy, c.PriorityGroups, c.PinnedTTL = 0, nil, 0 },
	} {
		t.Run(name, func(t *testing.T) {
			badly(t, func(w *world) {
				w.good()
				w.lines[tvmsAddr].down.Store(true)
				waiting := w.renewal("waiting", "C-1")
				w.send(waiting)
				k := w.any()
				k.cable.Unplug()
				consumer := w.cl.names.Consumer(events.TVMS, 0)
				w.byHand(consumer, change)
				k.cable.Plug()
				w.lines[tvmsAddr].down.Store(false)
				after := w.renewal("after", "C-1")
				w.send(after)
				time.Sleep(time.Minute)
				if name == "new" {
					w.wantReason(k, consumer+": the consumer is not as the topology has it")
					w.wantUnowned(consumer)
					w.deleteConsumer(consumer)
				}
				for _, e := range []event.Event{waiting, after} {
					if r := w.outcomeOf(e); r.Status != events.Succeeded {
						w.Errorf("%s: %s", e.ID(), r.Status)
					}
				}
				time.Sleep(time.Minute)
				w.wantReason(k, "")
				w.good()
			})
		})
	}
}

// before is the evidence as it stands, to be judged together with what comes after a loss.
func (w *world) before() history.Evidence {
	w.Helper()
	e, err := w.cl.evidence(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return e
}

// verdictWith judges what there is together with commands that the stream has lost.
func (w *world) verdictWith(lost history.Evidence) {
	w.Helper()
	now, err := w.cl.evidence(w.Context(), w.book.Effects()...)
	if err != nil {
		w.Fatal(err)
	}
	known := map[uint64]bool{}
	for _, c := range now.Commands {
		known[c.Seq] = true
	}
	for _, c := range lost.Commands {
		if !known[c.Seq] {
			now.Commands = append(now.Commands, c)
		}
	}
	report := history.Check(now)
	if !report.OK() {
		w.Error(report.String())
	}
}

// The command stream is deleted under working workers. They make it again and go on, with calls of before under way,
// and nothing of the old stream is taken for something of the new one.
func TestCommandsDeleted(t *testing.T) {
	seeds(t, 4, func(w *world) {
		w.start()
		w.start()
		done := w.renewals("done", 20)
		w.settle(time.Minute)
		if err := w.tvms.Faults().Next(sandbox.Fault{Kind: sandbox.SlowAfter, Delay: sandbox.Duration(3 * time.Second)}); err != nil {
			w.Fatal(err)
		}
		w.renewals("lost", 10)
		lost := w.before()
		cut := w.random.IntN(2) == 0
		if cut {
			w.cutWorkers()
		}
		if err := w.cl.js.DeleteStream(w.Context(), w.cl.names.Commands()); err != nil {
			w.Fatal(err)
		}
		if cut {
			time.Sleep(time.Duration(w.random.IntN(4000)) * time.Millisecond)
			w.plugWorkers()
		}
		after := w.renewals("after", 20)
		for _, e := range after {
			w.outcomeOf(e)
		}
		time.Sleep(time.Minute)
		lost.Commands = finished(w, lost.Commands)
		w.verdictWith(lost)
		w.each(append(done, after...))
	})
}

// One command is taken out of the stream while it waits in a worker, behind another of its key. Those behind it go on.
func TestCommandRemoved(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T) {
		cfg := simConfig()
		cfg.Streams.Partitions = 1
		w := newWorld(t, 1, cfg)
		defer w.close()
		w.start()
		w.start()
		time.Sleep(10 * time.Second)
		w.good()
		first := w.slow("first", "C-1", 3*time.Second)
		w.send(first)
		for len(w.statusesOf(first)) == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		removed, last := w.renewal("removed", "C-1"), w.renewal("last", "C-1")
		receipt, err := w.cl.publisher.Publish(w.Context(), removed)
		if err != nil {
			w.Fatal(err)
		}
		w.send(last)
		w.kill(w.owner())
		other := w.renewal("other", "C-2")
		w.send(other)
		w.outcomeOf(other) // somebody has taken over
		lost := w.before()
		stream, err := w.cl.js.Stream(w.Context(), w.cl.names.Commands())
		if err != nil {
			w.Fatal(err)
		}
		if err := stream.DeleteMsg(w.Context(), receipt.Seq); err != nil {
			w.Fatal(err)
		}
		if r := w.outcomeOf(last); r.Status != events.Succeeded {
			w.Errorf("what was behind it: %s", r.Status)
		}
		w.settle(time.Minute)
		lost.Commands = finished(w, lost.Commands)
		w.verdictWith(lost)
	})
}

// An operator purges the stream while commands wait for an upstream that is away. Nothing runs twice, and what comes
// after runs.
func TestCommandsPurged(t *testing.T) {
	seeds(t, 4, func(w *world) {
		w.start()
		w.start()
		done := w.renewals("done", 20)
		w.settle(time.Minute)
		w.lines[tvmsAddr].down.Store(true)
		w.renewals("waiting", 20)
		lost := w.before()
		stream, err := w.cl.js.Stream(w.Context(), w.cl.names.Commands())
		if err != nil {
			w.Fatal(err)
		}
		if err := stream.Purge(w.Context()); err != nil {
			w.Fatal(err)
		}
		if w.random.IntN(2) == 0 {
			w.kill(w.any())
		}
		w.lines[tvmsAddr].down.Store(false)
		after := w.renewals("after", 20)
		w.settle(10 * time.Minute)
		for _, e := range after {
			w.outcomeOf(e)
		}
		lost.Commands = finished(w, lost.Commands)
		w.verdictWith(lost)
		w.each(append(done, after...))
	})
}

// finished is those of the commands that the ledger knows.
func finished(w *world, commands []history.Command) (known []history.Command) {
	w.Helper()
	cids := map[string]bool{}
	err := w.cl.outcomes.Read(w.Context(), natsjs.Query{}, func(s natsjs.Stored) error {
		cids[s.Command.CID] = true
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	for _, c := range commands {
		if cids[c.CID] {
			known = append(known, c)
		}
	}
	return known
}

// wantUnowned checks that whoever looks at the workers is told that partition 0 delivers nothing, and why.
func (w *world) wantUnowned(consumer string) {
	w.Helper()
	o, err := w.cl.overview(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	for _, u := range o.Upstreams {
		if u.Upstream == events.TVMS && !slices.Equal(u.Unowned, []int{0}) {
			w.Errorf("nobody owns %v", u.Unowned)
		}
	}
	if said := strings.Join(o.Remarks, "\n"); !strings.Contains(said, "is delivered nothing of "+consumer+": the consumer is not as the topology has it") {
		w.Errorf("the remarks are: %s", said)
	}
}

// wantReason checks what /readyz of a worker says: nothing, or a reason that holds the text.
func (w *world) wantReason(k *simWorker, want string) {
	w.Helper()
	r := k.app.readiness()
	found := slices.ContainsFunc(r.Reasons, func(reason string) bool { return strings.Contains(reason, want) })
	if found != (want != "") || r.Ready != (want == "") {
		w.Errorf("ready %t, reasons %q; want %q", r.Ready, r.Reasons, want)
	}
}
