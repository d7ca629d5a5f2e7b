package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// backup copies what the broker has of a stream, its consumers included, while the broker is down for a moment. The answer
// puts the copy in the place of what is there then, and does something before the broker starts again.
func (w *world) backup(stream string) (restore func()) {
	w.Helper()
	from, copied := w.storeOf(stream), filepath.Join(w.TempDir(), stream)
	w.whileDown(func() { w.copyDir(from, copied) })
	return func() {
		w.Helper()
		w.whileDown(func() {
			if err := os.RemoveAll(from); err != nil {
				w.Fatal(err)
			}
			w.copyDir(copied, from)
		})
	}
}

func (w *world) storeOf(stream string) string {
	w.Helper()
	found, err := filepath.Glob(filepath.Join(w.dir, "jetstream", "*", "streams", stream))
	if err != nil || len(found) != 1 {
		w.Fatalf("the store of %s is at %v (%v)", stream, found, err)
	}
	return found[0]
}

func (w *world) copyDir(from, to string) {
	w.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		w.Fatal(err)
	}
}

// An older copy of the command stream, with its consumers, is put back under working workers that hold commands which it
// does not have. What was done since the copy comes again, and is not done again; what the stream has lost is not called;
// and what comes later, under the sequences of what was lost, is done.
func TestCommandsRestored(t *testing.T) {
	seeds(t, 4, func(w *world) {
		w.servers[0].SetKeepAlivesEnabled(false) // TVMS: a line that is down lets nothing pass
		w.start()
		w.start()
		done := w.renewals("before", 20)
		w.settle(time.Minute)
		unfinished := w.renewals("unfinished", 6)
		restore := w.backup(w.cl.names.Commands())
		since := w.renewals("since", 20)
		w.settle(time.Minute)
		w.lines[tvmsAddr].down.Store(true)
		lost := w.renewals("lost", 20)
		time.Sleep(time.Duration(w.random.IntN(5000)) * time.Millisecond)
		restore()
		time.Sleep(30 * time.Second)
		w.lines[tvmsAddr].down.Store(false)
		after := w.renewals("after", 20)
		for _, e := range after {
			w.outcomeOf(e)
		}
		time.Sleep(time.Minute)
		w.each(append(append(append(done, unfinished...), since...), after...))
		w.uncalled(lost)
		for _, e := range lost { // billing sends again what has no outcome
			w.send(e)
		}
		w.settle(10 * time.Minute)
		w.each(lost)
	})
}

// An older copy of the ledger is put back under working workers. What it has forgotten was acknowledged, and is not called
// by itself; the result of a call under way is stored all the same; what it knows is not done again. That is all that is
// promised: what it has forgotten is done again where somebody sends it again, as the README says.
func TestLedgerRestored(t *testing.T) {
	seeds(t, 4, func(w *world) {
		w.start()
		w.start()
		known := w.renewals("known", 20)
		w.settle(time.Minute)
		restore := w.backup(w.cl.names.Outcomes())
		forgotten := w.renewals("forgotten", 20)
		w.settle(time.Minute)
		inCall := w.slow("in the call", "C-1", 3*time.Second)
		w.send(inCall)
		time.Sleep(time.Second)
		restore()
		time.Sleep(time.Duration(w.random.IntN(60)) * time.Second)
		if w.random.IntN(2) == 0 {
			w.kill(w.any())
			w.start()
		}
		time.Sleep(time.Minute)
		w.each(append(known, inCall))
		w.effects(1, forgotten)
		w.repeat(append(known[:10:10], forgotten[:10]...))
		w.each(append(known, inCall))
		w.effects(2, forgotten[:10])
		w.effects(1, forgotten[10:])
	})
}

// effects fails for each of these that has not had n effects.
func (w *world) effects(n int, sent []event.Event) {
	w.Helper()
	for _, e := range sent {
		if got := w.effectsOf(e); got != n {
			w.Errorf("%s has had %d effects, want %d", e.ID(), got, n)
		}
	}
}

// repeat sends commands again, past the broker's duplicate window, and waits for their outcomes and for what follows.
func (w *world) repeat(sent []event.Event) {
	w.Helper()
	for _, e := range sent {
		w.send(e, natsjs.Requeue("again"))
	}
	for _, e := range sent {
		w.outcomeOf(e)
	}
	time.Sleep(time.Minute)
}

// uncalled fails for every effect of these.
func (w *world) uncalled(sent []event.Event) {
	w.Helper()
	lost := map[string]bool{}
	for _, e := range sent {
		lost[events.CID(e.Source(), e.ID(), e.Subject())] = true
	}
	for _, e := range w.book.Effects() {
		if cid, _, ok := e.Attempt(); ok && lost[cid] {
			w.Errorf("what the stream has lost was called: %s", cid)
		}
	}
}
