package main

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// away lets a long time pass with everything down but the upstreams, as every timer that ticks would have to tick
// through it, and starts it again on the same store.
func (w *world) away(d time.Duration) {
	w.Helper()
	for _, name := range sortedKeys(w.workers) {
		w.workers[name].stop()
		delete(w.workers, name)
	}
	w.cl.close()
	synctest.Wait()
	w.broker.Shutdown()
	time.Sleep(d)
	w.startBroker()
	w.cable = &natstest.Cable{Server: w.broker}
	var err error
	if w.cl, err = newClient(w.config.withDefaults(), w.dialBroker(w.cable, natsjs.ConnectOptions{})); err != nil {
		w.Fatal(err)
	}
	w.start()
}

// publishes sends an event once; duplicate says that the stream took it for a duplicate.
func (w *world) publishes(e event.Event, options ...natsjs.PublishOption) (duplicate bool) {
	w.Helper()
	r, err := w.cl.publisher.Publish(w.Context(), e, options...)
	if err != nil {
		w.Fatal(err)
	}
	return r.Duplicate
}

// TestDuplicatesForLong publishes a command again, and its id with other data, while the duplicate window knows it, long
// after, for as long as the ledger remembers, and beyond: it has one effect.
func TestDuplicatesForLong(t *testing.T) {
	day := 24 * time.Hour
	for _, tc := range []struct {
		name   string
		change func(*Config)
		ahead  time.Duration // of the command's time before the moment it is published
	}{
		{"renew", func(*Config) {}, 0},
		{"renew, from a billing system whose clock is ahead", func(*Config) {}, events.MaxFuture - time.Second},
		{"renew, remembered for 5 days", func(c *Config) { c.Streams.OutcomesMaxAge = 5 * day }, events.MaxFuture - time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T) {
				cfg := simConfig()
				cfg.Streams.Partitions = 1
				tc.change(&cfg)
				w := newWorld(t, 1, cfg)
				defer w.close()
				w.start()
				w.repeatFor(cfg.withDefaults().Streams.OutcomesMaxAge, tc.ahead)
			})
		})
	}
}

func (w *world) repeatFor(memory, ahead time.Duration) {
	w.Helper()
	e := w.renewal("one", "C-1")
	e.SetTime(time.Now().Add(ahead))
	began := time.Now()
	w.publishes(e)
	first := w.outcomeOf(e)
	elapse := func(at time.Duration) {
		if left := time.Until(began.Add(at)); left > time.Hour {
			w.away(left)
		} else {
			time.Sleep(left)
		}
	}
	letters := 0
	for n, at := range []time.Duration{time.Second, 11 * time.Minute, memory * 2 / 3, memory - 24*time.Hour, memory - 3*time.Hour} {
		elapse(at)
		if within := at < 10*time.Minute; w.publishes(e) != within {
			w.Errorf("after %s: the duplicate window knows it: %v", at, !within)
		}
		w.publishes(e, natsjs.Requeue(fmt.Sprint(n))) // past the window
		w.publishes(w.other(e))                       // its id, with other data
		letters++
		w.waitForLetters(letters, events.DeadIDReused)
		w.settle(time.Minute)
		if again := w.outcomeOf(e); again.Seq != first.Seq {
			w.Errorf("after %s: the outcome is record %d, and was %d", at, again.Seq, first.Seq)
		}
	}
	w.verdict() // before the ledger forgets
	for _, at := range []time.Duration{memory - time.Minute, memory + time.Minute, memory + 24*time.Hour} {
		elapse(at)
		w.publishes(e, natsjs.Requeue(at.String()))
		if at > memory { // before that, it is known that it was done
			letters++
			w.waitForLetters(letters, events.DeadStale)
		}
		w.quiet()
	}
	if n := w.effectsOf(e); n != 1 {
		w.Errorf("%d effects", n)
	}
	if n := len(w.letters()); n != letters {
		w.Errorf("%d dead letters, want %d", n, letters)
	}
}

// other is another request under the id of e.
func (w *world) other(e event.Event) event.Event {
	o := w.renewal(e.ID(), e.Subject())
	o.SetTime(e.Time())
	if err := o.SetData(event.ApplicationJSON, events.RenewData{CustomerMappingID: e.Subject(), Months: 12}); err != nil {
		w.Fatal(err)
	}
	return o
}

// waitForLetters waits until there are so many dead letters; the last must be for this reason.
func (w *world) waitForLetters(n int, reason events.Reason) {
	w.Helper()
	for range 100 {
		if all := w.letters(); len(all) >= n {
			if last := all[len(all)-1]; last.Reason != reason {
				w.Errorf("the last dead letter is for %s, want %s", last.Reason, reason)
			}
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.Errorf("there are %d dead letters after 10 s, want %d, the last for %s", len(w.letters()), n, reason)
}

// quiet waits until nothing is left to be acknowledged.
func (w *world) quiet() {
	w.Helper()
	for range 100 {
		if n, err := w.open(); err == nil && n == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.Error("something is not acknowledged after 10 s")
}

// TestDuplicatesOfEveryUpstream repeats commands of all upstreams, with faults, at random distances.
func TestDuplicatesOfEveryUpstream(t *testing.T) {
	for seed := range uint64(max(2, *simSeeds/20)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T) {
				cfg := shortConfig()
				cfg.Streams.Partitions = 2
				cfg.withTVMS()
				cfg.withCRMCOM()
				cfg.CRMCOM.API.Reference.Enforced = true
				w := newWorld(t, seed, cfg, func(o *sandbox.CRMCOMOptions) { o.AutoServices = []string{"A1", "B1"} })
				defer w.close()
				w.kinds = []events.Kind{events.Renew, events.Swap, events.NetflixCreate, events.NetflixSuspend}
				w.putSubscribers()
				w.start()
				w.faults(w.tvms.Faults(), sandbox.Any)
				w.faults(w.crm.Faults(), sandbox.Any)
				w.resolves = true
				gaps := []time.Duration{time.Second, 11 * time.Minute, 20 * 24 * time.Hour}
				for _, gap := range gaps {
					for range 10 {
						w.ask()
						w.again()
					}
					time.Sleep(min(gap, time.Minute))
					if gap > time.Minute {
						w.away(gap)
					}
					for _, e := range w.sent {
						w.publishes(e)
					}
				}
				w.recover()
				w.settle(4 * time.Hour)
				w.verdict()
			})
		})
	}
}
