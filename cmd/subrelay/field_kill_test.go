//go:build cluster

package main

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"subrelay/events/history"
)

// crew is workers of a field by name. Each has a name of its own, so that the ledger says which process it was.
type crew struct {
	f       *field
	workers map[string]*fieldWorker
	all     []*fieldWorker // that were ever there
	strikes []strike
}

func (f *field) crew(n int) *crew {
	f.t.Helper()
	c := &crew{f: f, workers: map[string]*fieldWorker{}}
	for range n {
		c.add()
	}
	return c
}

func (c *crew) add(env ...string) *fieldWorker {
	c.f.t.Helper()
	w := c.f.start(fmt.Sprintf("w%d", len(c.all)+1), env...)
	c.workers[w.name], c.all = w, append(c.all, w)
	return w
}

// kill kills the named workers at once, all where none is named.
func (c *crew) kill(names ...string) {
	c.f.t.Helper()
	if len(names) == 0 {
		names = sortedKeys(c.workers)
	}
	s := strike{what: fmt.Sprintf("kill -9 of %d of %d workers", len(names), len(c.workers)), from: time.Now()}
	for _, name := range names {
		c.workers[name].kill()
		delete(c.workers, name)
		s.workers += name + ","
	}
	s.to = time.Now()
	c.strikes = append(c.strikes, s)
}

// TestFieldKill kills workers of a real cluster at random moments, and while they are known to be in a call; one at a
// time, and all. Nothing can settle an unclear call here, so that every call that a kill has cut is a doubt, and
// nothing else is.
func TestFieldKill(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	f := newField(t, fieldOptions{change: shortWaits})
	f.topology()
	crew := f.crew(3)
	flow := f.flow(50, 20*time.Millisecond)
	held := 0
	for round := range 5 {
		f.calls(60)
		sleep(t.Context(), time.Duration(random.IntN(1500))*time.Millisecond)
		names := sortedKeys(crew.workers)
		switch round {
		case 0, 2: // in the call: one, and all
			_, worker := f.hold(fmt.Sprint("held", round), 1+random.IntN(50))
			held++
			if round == 2 {
				crew.kill()
			} else {
				crew.kill(worker)
			}
		case 1:
			crew.kill(names[random.IntN(3)])
		case 3:
			at := random.IntN(3)
			crew.kill(names[at], names[(at+1)%3])
		case 4:
			crew.kill()
		}
		for len(crew.workers) < 3 {
			crew.add()
		}
	}
	f.calls(60)
	flow.stop()
	r := f.settle(3 * time.Minute)
	past := f.past()
	past.startedFirst(t)
	doubts := past.doubtsStruck(t, crew.strikes)
	if doubts < held {
		t.Errorf("%d doubts; %d calls were cut for sure", doubts, held)
	}
	wantAll(t, r, doubts)
	past.tookOver(t, crew.strikes)
	t.Logf("FIGURE kills: %d commands, %d effects, %d succeeded, %d in doubt, %d violations", r.Commands, r.Effects, r.Succeeded, r.InDoubt, len(r.Violations))
}

// wantAll makes sure that every command has succeeded, but for those in doubt.
func wantAll(t *testing.T, r history.Report, doubts int) {
	t.Helper()
	if r.InDoubt > doubts || r.Succeeded+r.InDoubt != r.Commands {
		t.Errorf("%d commands, %d succeeded, %d in doubt (%d doubts): %s", r.Commands, r.Succeeded, r.InDoubt, doubts, r.String())
	}
}
