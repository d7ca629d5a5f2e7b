package main

import (
	"fmt"
	"testing"
	"time"

	"subrelay/adapters/natsjs/natstest"
	"subrelay/events/history"
)

// TestRateIsOfAllWorkers has workers come, leave and die under a load that waits for the rate. At no time may the upstream
// be called more often than one worker alone might call it, nor much less often.
func TestRateIsOfAllWorkers(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T) {
		const rate, burst, commands = 20, 5, 500
		cfg := simConfig()
		cfg.Streams.Partitions = 8
		cfg.TVMS.Guard.Rate, cfg.TVMS.Guard.Burst = rate, burst
		w := newWorld(t, *simSeed, cfg)
		defer w.close()
		first := w.start()
		for n := range commands {
			w.send(w.renewal(fmt.Sprint(n), fmt.Sprintf("C-%d", w.random.IntN(100))))
		}
		pause := func() { time.Sleep(3500*time.Millisecond + time.Duration(w.random.IntN(2000))*time.Millisecond) }
		pause()
		second := w.start()
		pause()
		w.start()
		pause()
		delete(w.workers, first.app.Name())
		first.stop()
		pause()
		w.kill(second)
		w.settle(10 * time.Minute)
		r := w.verdict()
		if r.Succeeded+r.InDoubt != commands { // a call that was cut by the kill is in doubt
			t.Errorf("%s", r.String())
		}
		paced(t, w.book.Effects(), rate, burst)
	})
}

// paced checks that no span of time has more calls than rate and burst allow, and that the whole has not many less. Each
// of several workers may make one call at once, however small its part of the burst; and who has just come may have the
// rate of a partition before the others have less.
func paced(t *testing.T, calls []history.Effect, rate, burst float64) {
	t.Helper()
	for i := range calls {
		for j := i; j < len(calls); j++ {
			span := calls[j].Begin.Sub(calls[i].Begin).Seconds()
			if made := float64(j - i + 1); made > rate*span+burst+2 {
				t.Fatalf("%v calls in %.3f s, at %v/s with a burst of %v", made, span, rate, burst)
			}
		}
	}
	span := calls[len(calls)-1].Begin.Sub(calls[0].Begin).Seconds()
	t.Logf("%d calls in %.1f s: %.1f/s", len(calls), span, float64(len(calls))/span)
	if float64(len(calls)) < 0.6*rate*span { // more is taken 3 s after others have less, and what one had who died, after 6 s
		t.Errorf("only %d calls in %.1f s", len(calls), span)
	}
}

func TestRatePartsSumToOne(t *testing.T) {
	for partitions := 1; partitions <= 32; partitions++ {
		for workers := 1; workers <= 40; workers++ {
			sum := 0.0
			for n := range workers {
				own := partitions / workers
				if n < partitions%workers {
					own++
				}
				sum += ratePart(own, partitions, workers)
			}
			if sum < 0.999999 || sum > 1.000001 {
				t.Errorf("%d workers and %d partitions: the parts sum to %v", workers, partitions, sum)
			}
		}
	}
}
