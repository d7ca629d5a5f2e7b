package handlers_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"subrelay/events"
	"subrelay/handlers"
)

var (
	stormSeed = flag.Uint64("storm.seed", 0, "run only this seed of TestStorm")
	storms    = flag.Int("storm.count", 200, "how many seeds TestStorm runs")
)

// Three workers at a time, each of which believes that the command is its own, on ports and an upstream that do
// whatever a seed says. At most one effect per stored start, one final outcome, nothing behind it; and once the faults
// stop, an end.
func TestStorm(t *testing.T) {
	seeds := make([]uint64, 0, *storms)
	for n := range *storms {
		seeds = append(seeds, uint64(n)+1)
	}
	if *stormSeed != 0 {
		seeds = []uint64{*stormSeed}
	}
	ends := map[events.Status]int{}
	for _, seed := range seeds {
		if t.Failed() {
			return
		}
		inTime(t, func(t *testing.T, w *world) {
			s := &storm{world: w, rand: rand.New(rand.NewPCG(seed, 1))}
			s.run()
			ends[w.ledger.last().Status]++
			if report := w.check(); !report.OK() || t.Failed() {
				t.Errorf("seed %d, settling %+v, holds %v", seed, w.family.settling, w.family.spec.HoldsAfterDoubt)
			}
		})
	}
	if *stormSeed == 0 && *storms >= 200 && (ends[succeeded] == 0 || ends[rejected] == 0 || ends[failed] == 0 || ends[inDoubt] == 0) {
		t.Errorf("the storm did not see every end: %v", ends)
	}
}

type storm struct {
	*world
	rand    *rand.Rand
	calm    bool
	busy    bool // mostly
	refuses bool // where steady, always
}

// pick chooses a fault, mostly none. It runs under the scheduler of the bubble, so that a seed repeats only roughly.
func (s *storm) pick() fault {
	s.observer.mu.Lock()
	defer s.observer.mu.Unlock()
	if s.calm || s.rand.IntN(10) < 7 {
		return works
	}
	f := fault(s.rand.IntN(int(diesAfter) + 1))
	if f == storesLate && s.steady() {
		f = storesSoon
	}
	return f
}

// steady says that this upstream's references are relied on: then it must not refuse one call and accept the same a
// moment later, and the broker must store what it stores within the time allowed. Either, together with a worker's end
// at the wrong moment, could hide an effect.
func (s *storm) steady() bool { return s.served().Settling().Repeats }

func (s *storm) answer(string) *reply {
	s.observer.mu.Lock()
	defer s.observer.mu.Unlock()
	if s.calm {
		return nil
	}
	replies := []reply{
		confirmed, confirmed, refused, unreachable, busy, busy, lost, lostBefore,
		{applies: true, took: 10 * time.Second}, {applies: true, effect: 20 * time.Second, took: time.Hour},
		{applies: true, effect: 40 * time.Second, took: time.Hour}, {applies: true, panics: true}, {panics: true},
		{applies: true, dies: true}, {dies: true}, {applies: true, err: errPlain},
		{applies: true, freezes: true}, {freezes: true, err: busy.err}, {freezes: true, err: refused.err},
	}
	if s.busy && s.rand.IntN(5) > 0 {
		return &busy
	}
	r := replies[s.rand.IntN(len(replies))]
	switch {
	case s.steady() && s.refuses:
		if r.applies = false; r.err == nil {
			r.err = refused.err
		}
	case s.steady() && r.err == refused.err:
		r = confirmed
	}
	return &r
}

func (s *storm) run() {
	s.faults()
	if s.rand.IntN(2) == 0 {
		s.family.settling = readBack
	}
	s.busy = s.rand.IntN(3) == 0
	s.config = func(c *handlers.Config) { c.Policies = map[events.Kind]handlers.Policy{events.Renew: {Attempts: 3}} }
	s.family.spec.HoldsAfterDoubt = s.rand.IntN(4) == 0
	s.blow(s.send())
}

// faults has the ports and the upstream do whatever the seed says.
func (s *storm) faults() {
	s.ledger.onAppend = func(events.Outcome) fault { return s.pick() }
	s.ledger.onHistory = s.pick
	s.dead.onPut = func(events.DeadLetter) fault { return s.pick() }
	s.upstream.onCall = s.answer
}

// blow has workers compete for a command until the calm, in which it must come to its end.
func (s *storm) blow(delivery events.Delivery) {
	for round := range 4 {
		s.compete(delivery, round)
	}
	s.observer.mu.Lock()
	s.calm = true
	s.observer.mu.Unlock()
	time.Sleep(5 * time.Minute) // late records, late effects
	end := s.drivePatiently(delivery)
	last := s.ledger.last().Status
	if end == acked && (last.Final() || last == inDoubt) || end == stuck && last == inDoubt && s.served().Spec().HoldsAfterDoubt {
		return
	}
	s.t.Errorf("in the calm the command was %s as %s", end, last)
}

func (s *storm) upTo(seconds int) time.Duration {
	s.observer.mu.Lock()
	defer s.observer.mu.Unlock()
	return time.Duration(1+s.rand.IntN(seconds)) * time.Second
}

// compete has three workers at the command for a while, some of them replaced as they die, some of them stopped.
func (s *storm) compete(delivery events.Delivery, round int) {
	done := make(chan struct{})
	for n := range 3 {
		delay, life := s.upTo(20), s.upTo(300)
		d := s.worker(fmt.Sprintf("%d-%d", round, n))
		go func() {
			defer func() { done <- struct{}{} }()
			time.Sleep(delay)
			ctx, stop := context.WithTimeout(s.t.Context(), life)
			defer stop()
			for s.drive(ctx, d, delivery) == died && ctx.Err() == nil {
				time.Sleep(time.Second)
			}
		}()
	}
	for range 3 {
		<-done
	}
}

// drivePatiently leaves a command that is held.
func (s *storm) drivePatiently(delivery events.Delivery) ending {
	ctx, stop := context.WithTimeout(s.t.Context(), 20*time.Minute)
	defer stop()
	end := s.drive(ctx, s.worker("last"), delivery)
	if end == released {
		return stuck
	}
	return end
}

// The same for each kind of CRM.COM and Netflix, whose reads fail too. In the end an operator says the truth about a
// doubt.
func TestStormOfEachKind(t *testing.T) {
	for _, k := range kindsOfCRM {
		for _, means := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, means %v", k.kind, means), func(t *testing.T) {
				ends := map[events.Status]int{}
				count := *storms / 5
				if k.like || !means {
					count = *storms / 20
				}
				for n := range count {
					seed := uint64(n) + 1
					if *stormSeed != 0 {
						seed = *stormSeed
					}
					inTimeOf(t, k.kind, means, func(t *testing.T, w *kindWorld) {
						s := &storm{world: w.world, rand: rand.New(rand.NewPCG(seed, 2))}
						s.faults()
						s.busy, s.refuses = s.rand.IntN(3) == 0, s.rand.IntN(5) == 0
						s.upstream.onRead = s.readFails
						s.config = func(c *handlers.Config) { c.Policies = map[events.Kind]handlers.Policy{k.kind: {Attempts: 3}} }
						s.blow(w.send())
						if w.ledger.last().Status == inDoubt {
							w.resolve()
							ends[inDoubt]++
						}
						ends[w.ledger.last().Status]++
						if report := w.check(); !report.OK() || w.ledger.last().Status == started {
							t.Errorf("seed %d: %v", seed, w.ledger.statuses())
						}
					})
					if t.Failed() || *stormSeed != 0 {
						return
					}
				}
				t.Log(ends)
			})
		}
	}
}

func (s *storm) readFails() error {
	s.observer.mu.Lock()
	defer s.observer.mu.Unlock()
	if s.calm || s.rand.IntN(4) > 0 {
		return nil
	}
	return errRead
}
