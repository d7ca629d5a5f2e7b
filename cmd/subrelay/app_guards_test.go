package main

import (
	"testing"
	"time"
)

// TestReconnectClosesTheGate cuts an idle worker's line for a moment. No message tells it that some may have been lost, so
// that the cut itself must close the gates (rule 2).
func TestReconnectClosesTheGate(t *testing.T) {
	badly(t, func(w *world) {
		w.good()
		time.Sleep(5 * time.Second)
		k := w.any()
		gated := func() int { return k.app.stations[0].lanes.Load().Depth().Gated }
		w.good()
		if n := gated(); n != 0 {
			t.Fatalf("%d gates are closed before the cut", n)
		}
		k.cable.Cut()
		time.Sleep(10 * time.Second)
		if n := gated(); n != 1 {
			t.Errorf("%d gates are closed after the cut", n)
		}
		w.good()
	})
}

// TestRateIsTakenLate has a second worker come and leave at once: what one gives up is taken later, when every other worker
// must know of it, so that the parts never sum to more than the whole.
func TestRateIsTakenLate(t *testing.T) {
	const rate = 20
	cfg := simConfig()
	cfg.TVMS.Guard.Rate = rate
	badlyAs(t, cfg, func(w *world) {
		first := w.any()
		rateOf := func(k *simWorker, want float64) {
			t.Helper()
			if got := k.app.Guard("tvms").Rate(); got != want {
				t.Errorf("%s has the rate %v, want %v", k.app.Name(), got, want)
			}
		}
		rateOf(first, rate)
		second := w.start()
		time.Sleep(200 * time.Millisecond) // until the first has looked
		rateOf(first, rate/2)
		rateOf(second, rate/4) // of one partition of four
		delete(w.workers, second.app.Name())
		second.stop()
		time.Sleep(200 * time.Millisecond)
		rateOf(first, rate/2)
		time.Sleep(10 * time.Second)
		rateOf(first, rate)
	})
}
