package main

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// clockOf is a worker's clock: right, or wrong by w.clocks, which may change while it runs. It has no monotonic reading,
// as a time that was read from a record has none.
func (w *world) clockOf(worker string) func() time.Time {
	wrong := w.clocks[worker]
	if wrong == nil {
		return nil
	}
	return func() time.Time { return time.Now().Round(0).Add(time.Duration(wrong.Load())) }
}

// withClocks gives the next workers clocks that are wrong by so much.
func (w *world) withClocks(by ...time.Duration) {
	w.clocks = map[string]*atomic.Int64{}
	for i, d := range by {
		wrong := &atomic.Int64{}
		wrong.Store(int64(d))
		w.clocks[fmt.Sprintf("w%d", i+1)] = wrong
	}
}

// recordsOf is a command's records with the moments at which the broker stored them, which no worker's clock touches.
func (w *world) recordsOf(e event.Event) (all []natsjs.Stored) {
	w.Helper()
	cid := events.CID(e.Source(), e.ID(), e.Subject())
	if err := w.cl.outcomes.Read(w.Context(), natsjs.Query{}, func(s natsjs.Stored) error {
		if s.Command.CID == cid {
			all = append(all, s)
		}
		return nil
	}); err != nil {
		w.Fatal(err)
	}
	return all
}

// clockJumps is what becomes of a clock while a call hangs: of a worker's own, and of the one that takes over.
var clockJumps = []time.Duration{-time.Hour, 0, time.Hour}

// TestClockJumps lets the clocks of workers be wrong, or jump, by an hour while a call hangs. Whoever settles it waits as
// long as with right clocks, no less, and not much more.
func TestClockJumps(t *testing.T) {
	for _, jump := range clockJumps {
		for _, up := range testedUpstreams() {
			name := fmt.Sprintf("%s %v", up.name, jump)
			t.Run(name+", another's call", func(t *testing.T) {
				natstest.Bubble(t, func(t *testing.T) { up.takenOver(t, jump) })
			})
			t.Run(name+", its own call", func(t *testing.T) {
				natstest.Bubble(t, func(t *testing.T) { up.jumpsInTheCall(t, jump) })
			})
		}
	}
}

// takenOver kills a worker in its call; another, whose clock is wrong, settles it.
func (up testedUpstream) takenOver(t *testing.T, wrong time.Duration) {
	w := up.world(t, true)
	defer w.close()
	w.withClocks(0, wrong)
	first := w.start()
	e := up.first(w, "K-1")
	w.breaks(up.name, faulty{fault: sandbox.Fault{Kind: sandbox.HangAfter}}, "K-1")
	w.send(e)
	for len(w.book.Effects()) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	killed := time.Now()
	w.kill(first)
	w.start()
	r := w.outcomeOf(e)
	all := w.recordsOf(e)
	settled := all[len(all)-1].Time.Sub(killed)
	// call time-out and slack, publish time-out, election: see shortConfig; the call began moments before.
	if least := 9 * time.Second; r.Status != events.Succeeded || settled < least || settled > least+time.Minute {
		t.Errorf("%s, settled %s after the kill, and must be no earlier than %s\n%s", r.Status, settled, least, w.story())
	}
	w.settle(time.Minute)
	w.verdict()
}

// jumpsInTheCall has the clock of a worker jump while its call hangs that will have changed nothing.
func (up testedUpstream) jumpsInTheCall(t *testing.T, jump time.Duration) {
	w := up.world(t, true)
	defer w.close()
	w.withClocks(0)
	w.start()
	e := up.first(w, "K-1")
	w.breaks(up.name, faulty{fault: sandbox.Fault{Kind: sandbox.Hang}}, "K-1")
	w.send(e)
	for len(w.book.Effects()) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	began := time.Now()
	w.clocks["w1"].Add(int64(jump))
	r := w.outcomeOf(e)
	all := w.recordsOf(e)
	told := all[1].Time.Sub(began) // what was found out: not applied, or applied by repeating it
	least := simSettleAfter - 100*time.Millisecond
	if up.repeats {
		least = shortGuard().CallTimeout - 100*time.Millisecond
	}
	if r.Status != events.Succeeded || told < least || told > least+time.Minute {
		t.Errorf("%s, %s %s after the call began, and must be no earlier than %s\n%s", r.Status, all[1].Status, told, least, w.story())
	}
	if took := time.Since(began); took > 3*time.Minute {
		t.Errorf("it took %s", took)
	}
	w.settle(time.Minute)
	w.verdict()
}

// TestDeferralUnderAnotherClock has a worker defer whose clock is wrong, and another take over: it waits as long as was
// meant, and not an hour.
func TestDeferralUnderAnotherClock(t *testing.T) {
	for _, wrong := range clockJumps {
		t.Run(wrong.String(), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T) {
				up := testedUpstreams()[0]
				w := up.world(t, false)
				defer w.close()
				w.withClocks(wrong, 0)
				first := w.start()
				e := up.first(w, "K-1")
				w.breaks(up.name, faulty{fault: sandbox.Fault{Kind: sandbox.Throttle, RetryAfter: sandbox.Duration(30 * time.Second)}}, "K-1")
				w.send(e)
				for len(w.recordsOf(e)) < 2 {
					time.Sleep(10 * time.Millisecond)
				}
				first.stop()
				delete(w.workers, first.app.Name())
				began := time.Now()
				w.start()
				if r := w.outcomeOf(e); r.Status != events.Succeeded || time.Since(began) > 2*time.Minute {
					t.Errorf("%s after %s", r.Status, time.Since(began))
				}
				w.settle(time.Minute)
				w.verdict()
			})
		})
	}
}

// TestWrongClocks is a short simulation in which every worker's clock is wrong by up to an hour, and jumps.
func TestWrongClocks(t *testing.T) {
	for seed := range uint64(max(2, *simSeeds/10)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T) {
				choices := setUp(seed)
				w := newWorld(t, seed, choices.cfg, choices.crm)
				defer w.close()
				w.kinds, w.reacts, w.resolves = choices.kinds, choices.reacts, true
				w.putSubscriptions(choices.onSight)
				w.putSubscribers()
				wrong := func() time.Duration { return time.Duration(w.random.IntN(3)-1) * time.Hour }
				w.withClocks(wrong(), wrong(), wrong(), wrong(), wrong(), wrong(), wrong(), wrong())
				w.start()
				w.start()
				for range 10 {
					for range w.random.IntN(6) {
						w.ask()
					}
					w.trouble()
					if clock := w.clocks[fmt.Sprintf("w%d", 1+w.random.IntN(w.names))]; clock != nil {
						clock.Store(int64(wrong()))
					}
					time.Sleep(time.Duration(w.random.IntN(3000)) * time.Millisecond)
				}
				w.recover()
				w.settle(4 * time.Hour)
				w.verdict()
			})
		})
	}
}
