package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"subrelay/adapters/natsjs/natstest"
	"subrelay/events"
)

// TestPoisonFlood mixes good commands into many that nobody can read, of many sorts and on all partitions, while a worker
// that has not acknowledged its share is killed: each has exactly one dead letter, and no good one waits for them.
func TestPoisonFlood(t *testing.T) {
	for seed, n := range []int{10_000, 1000, 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T) { flood(t, uint64(seed+1), n) })
		})
	}
}

// The longest that a good command takes among poison: where its partition stays with a worker, and where it must be taken
// over, and what was delivered there comes again.
const (
	amongPoison = 3 * time.Second
	slowly      = 20 * time.Second
)

func flood(t *testing.T, seed uint64, n int) {
	w := newWorld(t, seed, simConfig())
	defer w.close()
	w.start()
	w.start()
	time.Sleep(10 * time.Second) // until the partitions have their owners
	seqs, good := w.poison(n/2, nil)
	w.wantDone(good, amongPoison, 0)
	w.good()
	struck := w.any()
	struck.cable.Watch(func(sent []byte) (bool, func()) { return !hits(sent, writesAck), func() {} })
	seqs, good = w.poison(n/4, seqs)
	w.kill(struck)
	seqs, more := w.poison(n-len(seqs), seqs)
	w.wantDone(append(good, more...), slowly, w.config.TVMS.Guard.Concurrency)
	w.settle(10 * time.Minute)
	w.good()
	w.verdict()
	slices.Sort(seqs)
	w.onceEach(seqs)
}

// goodOne is a command that must not wait for what is sent with it.
type goodOne struct {
	event.Event
	sent time.Time
}

// poison publishes n messages that nobody can read, and a good one with every fortieth.
func (w *world) poison(n int, seqs []uint64) ([]uint64, []goodOne) {
	w.Helper()
	var good []goodOne
	for i := range n {
		subject := fmt.Sprintf("subrelay.cmd.renew.P-%d", w.random.IntN(50))
		header, data := w.anyPoison(len(seqs))
		seqs = append(seqs, w.mustRaw(subject, header, data).Seq)
		if i%40 == 0 { // of a key with poison, and of one without
			key := []string{fmt.Sprintf("P-%d", w.random.IntN(50)), fmt.Sprintf("G-%d", len(seqs))}[w.random.IntN(2)]
			e := w.renewal(fmt.Sprint("good-", len(seqs)), key)
			good = append(good, goodOne{e, time.Now()})
			w.send(e)
		}
		if w.random.IntN(10) == 0 {
			time.Sleep(time.Duration(w.random.IntN(10)) * time.Millisecond)
		}
	}
	return seqs, good
}

// wantDone waits for good commands, each of which must have succeeded within a limit; or be in doubt, as so many may be
// whose call was cut.
func (w *world) wantDone(good []goodOne, limit time.Duration, doubts int) {
	w.Helper()
	until, cancel := context.WithTimeout(w.Context(), limit) // from now on, as a backstop; each is judged by its own time
	defer cancel()
	for _, g := range good {
		r, err := w.cl.outcomes.Wait(until, g.Subject(), events.CID(g.Source(), g.ID(), g.Subject()))
		if err != nil {
			w.Fatalf("a good command among poison is not done %s after it was sent: %v", time.Since(g.sent), err)
		}
		late := r.FinishedAt != nil && r.FinishedAt.Sub(g.sent) > limit
		if late || r.Status != events.Succeeded && (r.Status != events.InDoubt || doubts == 0) {
			w.Fatalf("a good command among poison, sent %s: %+v", g.sent, r)
		}
		if r.Status == events.InDoubt {
			doubts--
		}
	}
}

// anyPoison is a message that can never run, of any sort.
func (w *world) anyPoison(n int) (nats.Header, string) {
	id := fmt.Sprintf(`"id":"poison-%d"`, n)
	for {
		switch w.random.IntN(8) {
		case 0:
			return noHeader, fmt.Sprintf("renew %d, please", n)
		case 1:
			return noHeader, ""
		case 2:
			return inStructured, structured()[:30+w.random.IntN(60)]
		case 3:
			return inStructured, structured("billing", "b\xffling", `"id":"bad"`, id)
		case 4:
			return inStructured, structured(`"1.0"`, `"0.3"`, `"id":"bad"`, id)
		case 5:
			return nats.Header{"Content-Type": {"application/cloudevents-batch+json"}}, "[" + structured() + "]"
		case 6:
			return inStructured, strings.Repeat("[", 1+w.random.IntN(5000))
		case 7:
			bytes := make([]byte, w.random.IntN(300))
			for i := range bytes {
				bytes[i] = byte(w.random.IntN(256))
			}
			return binary("ce-id", ""), string(bytes)
		}
	}
}

// onceEach makes sure that these commands, and no others, have one dead letter each.
func (w *world) onceEach(seqs []uint64) {
	w.Helper()
	var got []uint64
	for _, l := range w.letters() {
		got = append(got, l.Command)
		if l.Reason != events.DeadUndecodable {
			w.Errorf("command %d is %s: %+v", l.Command, l.Reason, l.Error)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(seqs, got); diff != "" {
		w.Errorf("the commands with dead letters differ (-want +got):\n%s", diff)
	}
	stream, err := w.cl.js.Stream(w.Context(), w.cl.names.DeadLetters())
	if err != nil {
		w.Fatal(err)
	}
	if s := stream.CachedInfo().State; s.Msgs != uint64(len(seqs)) {
		w.Errorf("%d messages are in the dead letters, for %d poisoned ones", s.Msgs, len(seqs))
	}
}
