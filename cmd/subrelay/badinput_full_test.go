package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// A full command stream is the publisher's to know. What is stored goes on, and so does everything once there is room.
func TestFullCommands(t *testing.T) {
	badly(t, func(w *world) {
		w.good()
		slow := w.slow("under-way", "C-1", 3*time.Second)
		w.send(slow)
		w.noRoom(w.cl.names.Commands())
		e := w.renewal("refused", "C-2")
		_, err := w.cl.publisher.Publish(w.Context(), e)
		if told := events.AsError(err); err == nil || told.Kind != events.Unavailable || told.Code != events.CodeStorageFull ||
			told.Message != "the stream is full: nothing was stored; publish again when there is room" {
			w.Errorf("the publisher is told %v", err)
		}
		if r := w.outcomeOf(slow); r.Status != events.Succeeded {
			w.Errorf("what was stored before: %s", r.Status)
		}
		w.room(w.cl.names.Commands())
		w.send(e)
		if r := w.outcomeOf(e); r.Status != events.Succeeded {
			w.Errorf("published again: %s", r.Status)
		}
		w.good()
		w.wantNoLetters()
	})
}

// slow is a renewal whose call takes a while.
func (w *world) slow(id, customer string, takes time.Duration) event.Event {
	w.Helper()
	if err := w.tvms.Faults().Next(sandbox.Fault{Kind: sandbox.Slow, Customer: customer, Delay: sandbox.Duration(takes)}); err != nil {
		w.Fatal(err)
	}
	return w.renewal(id, customer)
}

// A full ledger starts nothing new. A result that finds no room is kept, and stored once there is.
func TestFullOutcomes(t *testing.T) {
	cfg := simConfig()
	cfg.Streams.Partitions = 1
	cfg.TVMS.Guard.CallTimeout = 10 * time.Second
	badlyAs(t, cfg, func(w *world) {
		w.good()
		slow := w.slow("under-way", "C-1", 5*time.Second)
		w.send(slow)
		for len(w.statusesOf(slow)) == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		w.noRoom(w.cl.names.Outcomes())
		time.Sleep(2 * time.Second) // the worker looks at the stream's size once a second
		var waiting []event.Event
		for i := range 5 {
			e := w.renewal(fmt.Sprint("waiting-", i), fmt.Sprint("W-", i))
			w.send(e)
			waiting = append(waiting, e)
		}
		time.Sleep(time.Minute)
		w.wantStatuses(slow, events.Started)
		if w.applied("C-1") != 1 {
			w.Error("the call under way has not had its effect: the test tests nothing")
		}
		for _, e := range waiting {
			w.wantStatuses(e)
		}
		if n := len(w.tvms.Book().Effects()); n != 2 {
			w.Errorf("%d calls, want the good one and that under way", n)
		}
		w.room(w.cl.names.Outcomes())
		for _, e := range append(waiting, slow) {
			if r := w.outcomeOf(e); r.Status != events.Succeeded || w.applied(e.Subject()) != 1 {
				w.Errorf("%s: %s with %d effects", e.ID(), r.Status, w.applied(e.Subject()))
			}
			w.wantStatuses(e, events.Started, events.Succeeded)
		}
		w.good()
		w.wantNoLetters()
	})
}

// At 95 % the ledger has room for results, and starts nothing new all the same.
func TestNearlyFullOutcomes(t *testing.T) {
	badly(t, func(w *world) {
		w.good()
		size := w.sizeOf(w.cl.names.Outcomes())
		w.limitTo(w.cl.names.Outcomes(), 1<<20)
		filler := strings.Repeat("x", 64<<10)
		for size < 1<<20*95/100 {
			part := min(len(filler), 1<<20*95/100-int(size)+512)
			w.mustRaw("subrelay.event.filler", noHeader, filler[:part])
			size = w.sizeOf(w.cl.names.Outcomes())
		}
		time.Sleep(2 * time.Second)
		e := w.renewal("waiting", "C-1")
		w.send(e)
		expired := w.renewal("expired", "C-2")
		expired.SetExtension(events.ExtExpiry, time.Now().Add(-time.Minute).UTC().Format(time.RFC3339))
		w.send(expired)
		if r := w.outcomeOf(expired); r.Status != events.Expired { // an end is no start
			w.Errorf("what ends without a call: %s", r.Status)
		}
		time.Sleep(time.Minute)
		w.wantStatuses(e)
		w.room(w.cl.names.Outcomes())
		if r := w.outcomeOf(e); r.Status != events.Succeeded {
			w.Errorf("with room again: %s", r.Status)
		}
		w.good()
	})
}

// Full dead letters hold up the bad commands alone, and lose none, whoever works on them by then.
func TestFullDeadLetters(t *testing.T) {
	badly(t, func(w *world) {
		w.start()                    // two workers for one partition: the other is to take over
		time.Sleep(10 * time.Second) // until the partition has its owner
		w.good()
		w.mustRaw(toC1, noHeader, "no event at all")
		w.settle(time.Minute)
		w.noRoom(w.cl.names.DeadLetters())
		seqs := []uint64{
			w.mustRaw("subrelay.cmd.renew.B-1", noHeader, "not JSON").Seq,
			w.mustRaw("subrelay.cmd.renew.*", inStructured, structured("C-1", "*")).Seq,
			w.mustRaw("subrelay.cmd.renew.>", inStructured, structured("C-1", ">")).Seq,
			w.mustRaw(toC1, inStructured, structured(`"months":1`, `"months":-1`)).Seq,
		}
		refused := w.renewal("refused", "B-2")
		if err := w.tvms.Faults().Next(sandbox.Fault{Kind: sandbox.Refusal, Customer: "B-2"}, sandbox.Fault{Kind: sandbox.Refusal, Customer: "B-2"},
			sandbox.Fault{Kind: sandbox.Refusal, Customer: "B-2"}, sandbox.Fault{Kind: sandbox.Refusal, Customer: "B-2"}); err != nil {
			w.Fatal(err)
		}
		for range 3 {
			w.good()
		}
		time.Sleep(time.Minute)
		if n := len(w.letters()); n != 1 {
			w.Errorf("%d dead letters in a full stream", n)
		}
		if n, err := w.open(); err != nil || n != len(seqs) {
			w.Errorf("%d commands are open, %v; want those that wait for their dead letters", n, err)
		}
		w.kill(w.owner())
		after := w.renewal("after", "GOOD-after")
		w.send(after)
		w.outcomeOf(after) // through the gate
		w.send(refused)
		time.Sleep(5 * time.Second)
		w.room(w.cl.names.DeadLetters())
		if r := w.outcomeOf(refused); r.Status != events.Rejected {
			w.Errorf("what TVMS refuses: %s", r.Status)
		}
		w.settle(10 * time.Minute)
		for _, seq := range seqs {
			if letters, err := w.cl.letters.Get(w.Context(), seq); err != nil || len(letters) != 1 {
				w.Errorf("command %d has %d dead letters, %v", seq, len(letters), err)
			}
		}
		w.good()
	})
}

// owner is the worker that has the one partition.
func (w *world) owner() *simWorker {
	w.Helper()
	for _, k := range w.workers {
		if len(k.app.stations[0].lanes.Load().Depth().Partitions) > 0 {
			return k
		}
	}
	w.Fatal("nobody has the partition")
	return nil
}
