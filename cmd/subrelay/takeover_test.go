package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// The longest that a command waits for another worker: after a kill until the pin ends (3 s), the entry of the one that has
// gone ends (3 s), and the others look; after a graceful end only for those who look. They are written out here: a longer
// pin is a longer standstill.
const (
	takeoverAfterKill = 8 * time.Second
	takeoverAfterEnd  = 1500 * time.Millisecond
)

// TestTakeoverIsBounded ends one of two workers, by a kill and gracefully, and sends at once what has to go to another.
func TestTakeoverIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		end   func(w *world, k *simWorker)
		limit time.Duration
	}{
		"kill":     {func(w *world, k *simWorker) { w.kill(k) }, takeoverAfterKill},
		"graceful": {func(w *world, k *simWorker) { delete(w.workers, k.app.Name()); k.end() }, takeoverAfterEnd},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range 4 {
				natstest.Bubble(t, func(t *testing.T) {
					w := newWorld(t, uint64(seed+1), simConfig())
					defer w.close()
					w.start()
					w.start()
					time.Sleep(10 * time.Second) // until the partitions have their owners
					w.oneEach("before", time.Second)
					k := w.any()
					c.end(w, k)
					w.oneEach("after", c.limit)
					<-k.ended
					w.settle(time.Minute)
					w.verdict()
				})
			}
		})
	}
}

// oneEach sends a command to each of so many customers that every partition has some, and wants each done within a limit.
func (w *world) oneEach(name string, limit time.Duration) {
	w.Helper()
	began := time.Now()
	var sent []event.Event
	for n := range 24 {
		e := w.renewal(fmt.Sprint(name, n), fmt.Sprintf("C-%d", n))
		w.send(e)
		sent = append(sent, e)
	}
	for _, e := range sent {
		if r := w.outcomeOf(e); r.Status != events.Succeeded || r.FinishedAt.Sub(began) > limit {
			w.Errorf("%s: %s after %s", e.ID(), r.Status, r.FinishedAt.Sub(began))
		}
	}
}

// TestRollingRestart restarts one worker after the other under load, while calls are slow and nothing can settle an unclear
// one: nothing is lost, nothing is in doubt, no call is made twice, and order is kept.
func TestRollingRestart(t *testing.T) {
	for seed := range 3 {
		t.Run(fmt.Sprint(seed+1), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T) {
				w := newWorld(t, uint64(seed+1), simConfig())
				defer w.close()
				for range 3 {
					w.start()
				}
				slow := sandbox.Plan{Seed: uint64(seed), Rates: []sandbox.Rate{
					{Fault: sandbox.Fault{Kind: sandbox.Slow, Delay: sandbox.Duration(time.Second)}, Rate: 0.2},
					{Fault: sandbox.Fault{Kind: sandbox.SlowAfter, Delay: sandbox.Duration(3 * time.Second)}, Rate: 0.2},
				}}
				if err := w.tvms.Faults().Set(slow); err != nil {
					t.Fatal(err)
				}
				sent := 0
				load := func(n int) {
					for range n {
						sent++
						w.send(w.renewal(fmt.Sprint("load-", sent), fmt.Sprintf("C-%d", w.random.IntN(40))))
						time.Sleep(time.Duration(w.random.IntN(100)) * time.Millisecond)
					}
				}
				load(60)
				for _, name := range sortedKeys(w.workers) {
					k := w.workers[name]
					delete(w.workers, name)
					k.end()
					for !k.over() {
						load(1)
					}
					if k.err != nil {
						t.Errorf("%s ended with: %v", name, k.err)
					}
					load(w.random.IntN(20))
					w.start()
					load(w.random.IntN(60))
				}
				w.settle(10 * time.Minute)
				r := w.verdict()
				if r.Commands != sent || r.Succeeded != sent || r.InDoubt != 0 || r.Effects != sent || r.Calls != sent {
					t.Errorf("%d were sent: %s", sent, r.String())
				}
			})
		})
	}
}

// over reports whether a worker has ended.
func (w *simWorker) over() bool {
	select {
	case <-w.ended:
		return true
	default:
		return false
	}
}
