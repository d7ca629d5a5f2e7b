package natsjs

import (
	"testing"
	"time"

	"subrelay/events"
)

// TestLanesHeedKindsOfAnotherVersion has a worker that does not know swaps take a partition over in which one is under
// way: it is a predecessor all the same, and the amendment behind it must wait.
func TestLanesHeedKindsOfAnotherVersion(t *testing.T) {
	inBubble(t, 1, func(w *laneWorld) {
		w.upstream, w.kinds = events.CRMCOM, []events.Kind{events.Amend, events.Swap}
		w.slow = func() time.Duration { return 10 * time.Second }
		newer := w.start("newer", 0)
		w.sendOne(events.Swap, "S-1")
		for w.book.startedBy(1) == "" {
			time.Sleep(10 * time.Millisecond)
		}
		w.kinds = []events.Kind{events.Amend}
		older := w.start("older", 0)
		time.Sleep(2 * time.Second) // it pulls, too
		stream, err := w.js.Stream(w.Context(), w.names.Commands())
		if err == nil {
			newer.cable.Mute() // it cannot pull, nor tell that it is done
			err = stream.UnpinConsumer(w.Context(), w.names.Consumer(w.upstream, 0), PinGroup)
		}
		if err != nil {
			w.Fatal(err)
		}
		w.sendOne(events.Amend, "S-1")
		time.Sleep(4 * time.Second)
		if by := w.book.startedBy(2); by != "" {
			w.Errorf("%s has begun with the amendment while the swap was under way", by)
		}
		newer.cable.Cut()
		older.stop() // it holds what it does not know
		delete(w.workers, "older")
		w.finish()
		w.settled()
	})
}
