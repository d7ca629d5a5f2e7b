package main

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// TestCutDuringCall cuts the only worker's line while it calls, and loses the acknowledgement of a start, of a result, or
// of both, again and again: each record is recognised by its token, so that nothing is doubted, called twice, or
// recorded twice.
func TestCutDuringCall(t *testing.T) {
	for seed := range 8 {
		t.Run(strconv.Itoa(seed+1), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T) { cutDuringCalls(t, uint64(seed+1)) })
		})
	}
}

func cutDuringCalls(t *testing.T, seed uint64) {
	cfg := simConfig()
	cfg.Streams.Partitions = 2
	w := newWorld(t, seed, cfg)
	defer w.close()
	k := w.start()
	lost := w.losesAnswers(k)
	var sent []event.Event
	for i := range 12 {
		customer := fmt.Sprintf("C-%d", w.random.IntN(4))
		takes := time.Duration(1+w.random.IntN(1500)) * time.Millisecond
		if err := w.tvms.Faults().Next(sandbox.Fault{Kind: sandbox.Slow, Customer: customer, Delay: sandbox.Duration(takes)}); err != nil {
			t.Fatal(err)
		}
		e := w.renewal(fmt.Sprint("cut-", i), customer)
		w.send(e)
		sent = append(sent, e)
		if w.random.IntN(3) == 0 {
			time.Sleep(takes / 2)
			k.cable.Unplug() // in the call
			time.Sleep(time.Duration(w.random.IntN(1500)) * time.Millisecond)
			k.cable.Plug()
		}
		time.Sleep(time.Duration(w.random.IntN(2000)) * time.Millisecond)
	}
	w.settle(time.Hour)
	w.verdict()
	w.wantNoLetters()
	for _, e := range sent {
		w.wantOneCall(e)
	}
	if n := len(w.book.Effects()); n != len(sent) {
		t.Errorf("%d calls for %d commands", n, len(sent))
	}
	if lost.Load() == 0 {
		t.Error("no acknowledgement was lost: the test tests nothing")
	}
}

// losesAnswers has a worker lose the acknowledgement of some of its starts and results: what it writes is stored, and
// nothing comes back until its line is cut a little later.
func (w *world) losesAnswers(k *simWorker) *atomic.Int64 {
	w.Helper()
	seen, lost := new(atomic.Int64), new(atomic.Int64)
	first := int64(w.random.IntN(3)) // a start, a result, or the next start
	k.cable.Watch(func(sent []byte) (bool, func()) {
		if !hits(sent, writes(events.Renew, events.Started)) && !hits(sent, writes(events.Renew, events.Succeeded)) || seen.Add(1)%3 != first {
			return true, func() {}
		}
		lost.Add(1)
		k.cable.Deafen()
		return true, func() { time.AfterFunc(time.Second, k.cable.Cut) }
	})
	return lost
}

// wantOneCall makes sure that a command had one call, and one end. A start that was acknowledged too late for a call is
// deferred, and another follows.
func (w *world) wantOneCall(e event.Event) {
	w.Helper()
	got := w.statusesOf(e)
	var want []events.Status
	for range len(got)/2 - 1 {
		want = append(want, events.Started, events.Deferred)
	}
	w.wantStatuses(e, append(want, events.Started, events.Succeeded)...)
}
