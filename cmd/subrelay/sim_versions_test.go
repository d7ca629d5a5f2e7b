package main

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/natsjs/natstest"
	"subrelay/events"
	"subrelay/handlers"
)

// olderVersion makes a worker one of a version that does not know some kinds: neither their meaning, nor their subjects
// and consumers; nor does it tell anything of itself.
func (w *world) olderVersion(unknown ...events.Kind) func(*App) {
	return func(a *App) {
		a.topology = w.topologyWithout(unknown...)
		for _, s := range a.stations {
			s.families = slices.DeleteFunc(s.families, func(f handlers.Family) bool { return slices.Contains(unknown, f.Spec().Kind) })
		}
	}
}

func (w *world) topologyWithout(unknown ...events.Kind) *natsjs.Topology {
	w.Helper()
	settings := natsjs.TopologySettings{Partitions: w.config.Streams.Partitions}
	for _, spec := range events.Specs() {
		if !slices.Contains(unknown, spec.Kind) {
			settings.Specs = append(settings.Specs, spec)
		}
	}
	t, err := natsjs.NewTopology(settings)
	if err != nil {
		w.Fatal(err)
	}
	return t
}

// newVersionsWorld is a world of the upstream crmcom, in which an older version knows no swaps.
func newVersionsWorld(t *testing.T, seed uint64) *world {
	cfg := shortConfig()
	cfg.withCRMCOM()
	cfg.Netflix.API.Disabled = true
	cfg.CRMCOM.API.Reference.Enforced = true
	w := newWorld(t, seed, cfg)
	w.resolves = true
	w.putSubscriptions(false)
	return w
}

func (w *world) askSome(n int, kinds ...events.Kind) {
	w.Helper()
	w.kinds = kinds
	for range n {
		w.ask()
		time.Sleep(time.Duration(w.random.IntN(100)) * time.Millisecond)
	}
}

// nothingGivenUp checks that no command was taken for one that can never run.
func (w *world) nothingGivenUp() {
	w.Helper()
	open, err := w.cl.letters.Open(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	for _, reason := range []events.Reason{events.DeadUnknownType, events.DeadUndecodable, events.DeadSubjectMismatch, events.DeadExhausted} {
		if open[reason] > 0 {
			w.Errorf("%d commands were given up: %s", open[reason], reason)
		}
	}
}

// TestNewKindWaitsForAWorkerThatKnowsIt has commands of a kind that no worker knows: they wait, and the kinds that are
// known go on; a worker that knows it joins one that does not and runs what it gets, and the rest once the other leaves.
func TestNewKindWaitsForAWorkerThatKnowsIt(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T) {
		w := newVersionsWorld(t, 1)
		defer w.close()
		older := w.startAs(w.olderVersion(events.Swap))
		if _, err := w.topologyWithout().Apply(t.Context(), w.cl.js); err != nil { // as the first new worker does
			t.Fatal(err)
		}
		w.askSome(20, events.Swap)
		time.Sleep(time.Minute)
		if r := w.judge(); r.Unresolved != 20 || r.Calls > 0 {
			t.Errorf("nobody knows swaps: %s", r.String())
		}
		w.start()
		w.askSome(20, events.Amend)
		time.Sleep(time.Minute)
		if r := w.judge(); r.Unresolved == 0 || r.Unresolved >= 40 {
			t.Errorf("one of two workers knows swaps, and of 40 commands %d wait", r.Unresolved)
		}
		delete(w.workers, older.app.Name())
		older.stop()
		w.settle(time.Hour)
		w.nothingGivenUp()
		if r := w.verdict(); r.Commands != 40 {
			t.Errorf("%s", r.String())
		}
	})
}

// TestVersionsSideBySide replaces workers of an older version one by one, some of each, some killed, the streams made by
// the older or by the newer version first, while commands of both versions' kinds come in on the same keys.
func TestVersionsSideBySide(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T) { w := newVersionsWorld(t, seed); defer w.close(); w.roll(seed%2 == 0) })
		})
	}
}

func (w *world) roll(newerFirst bool) {
	older := w.olderVersion(events.Swap)
	kinds := []events.Kind{events.Amend}
	if newerFirst { // as 'topology apply' of the newer version before any worker of it
		if _, err := w.topologyWithout().Apply(w.Context(), w.cl.js); err != nil {
			w.Fatal(err)
		}
		kinds = append(kinds, events.Swap)
	}
	var olds []*simWorker
	for range 3 {
		olds = append(olds, w.startAs(older))
	}
	w.askSome(15, kinds...)
	for i, k := range olds {
		w.start()
		w.askSome(10, events.Amend, events.Swap)
		if i == 1 {
			olds = append(olds, w.startAs(older)) // one comes late, and applies its topology
		}
		delete(w.workers, k.app.Name())
		if w.random.IntN(3) == 0 {
			w.kill(k)
		} else {
			k.stop()
		}
		w.askSome(10, events.Amend, events.Swap)
	}
	k := olds[len(olds)-1]
	delete(w.workers, k.app.Name())
	k.stop()
	w.settle(4 * time.Hour)
	w.nothingGivenUp()
	r := w.verdict()
	w.Logf("%s%v", r.String(), w.settled())
}
