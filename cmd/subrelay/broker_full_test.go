package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// TestStreamsFull lets one stream after another run out of room, in any order, while commands come and a worker dies:
// publishers are told, nothing is called whose result might find no room, a worker's health says what is short, and with
// room again everything goes on by itself.
func TestStreamsFull(t *testing.T) {
	for seed := range 3 {
		t.Run(strconv.Itoa(seed+1), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T) { fullOneByOne(t, uint64(seed+1)) })
		})
	}
}

func fullOneByOne(t *testing.T, seed uint64) {
	cfg := simConfig()
	cfg.Streams.Partitions = 2
	w := newWorld(t, seed, cfg)
	defer w.close()
	w.resolves = true
	for range 3 { // none later: a worker sets the streams right when it starts
		w.startAs(func(a *App) { a.WatchEvery = shortageEvery })
	}
	w.fill(300 << 10)
	streams := []string{w.cl.names.Commands(), w.cl.names.Outcomes(), w.cl.names.DeadLetters(), w.cl.names.Tasks()}
	w.random.Shuffle(len(streams), func(i, j int) { streams[i], streams[j] = streams[j], streams[i] })
	for _, stream := range streams {
		w.load(stream, 8)
		w.whileFull(stream)
		w.settle(time.Hour)
	}
	w.verdict()
}

// fill puts as many bytes into the ledger, so that its last twentieth has room for some records, and into the tasks.
func (w *world) fill(bytes int) {
	w.Helper()
	for filler := strings.Repeat("x", 50<<10); bytes > 0; bytes -= len(filler) {
		w.mustRaw("subrelay.event.filler", noHeader, filler)
	}
	w.mustRaw("subrelay.task.filler", noHeader, strings.Repeat("x", 1<<10))
}

// load sends renewals, some of which are refused, or end in doubt, and so need a dead letter.
func (w *world) load(name string, n int) (sent []event.Event) {
	w.Helper()
	for i := range n {
		customer := fmt.Sprintf("L-%d", w.random.IntN(20))
		if kind := []sandbox.FaultKind{sandbox.Refusal, sandbox.ErrorAfter, sandbox.Throttle, "", "", ""}[w.random.IntN(6)]; kind != "" {
			if err := w.tvms.Faults().Next(sandbox.Fault{Kind: kind, Customer: customer}); err != nil {
				w.Fatal(err)
			}
		}
		e := w.renewal(fmt.Sprintf("%s-%d-%d", name, len(w.sent), i), customer)
		w.send(e)
		sent = append(sent, e)
		time.Sleep(time.Duration(w.random.IntN(100)) * time.Millisecond)
	}
	return sent
}

// whileFull takes a stream's room, looks at what then happens, and gives it back.
func (w *world) whileFull(stream string) {
	w.Helper()
	w.limit(stream, func(i jetstream.StreamInfo) int64 { // anything between nearly full and full; COMMANDS has no reserve
		reserve := w.random.Float64() * 0.045
		if stream == w.cl.names.Commands() {
			reserve = 0
		}
		return int64(i.State.Bytes) + 1 + int64(float64(i.State.Bytes)*reserve)
	})
	time.Sleep(2 * shortageEvery)
	full := time.Now()
	w.health(stream, true)
	if len(w.workers) > 1 && w.random.IntN(2) == 0 {
		w.kill(w.any())
	}
	waiting := w.sendFull(stream)
	time.Sleep(time.Minute)
	w.health(stream, true)
	w.called(stream, full, waiting)
	w.room(stream)
	for _, e := range waiting {
		w.send(e)
		if r := w.outcomeOf(e); r.Status != events.Succeeded || w.applied(e.Subject()) != 1 {
			w.Errorf("%s, with room again in %s: %s with %d effects", e.ID(), stream, r.Status, w.applied(e.Subject()))
		}
	}
	time.Sleep(2 * shortageEvery)
	w.health(stream, false)
}

// sendFull publishes while a stream is full. Of COMMANDS the publisher is told; the others are not its concern.
func (w *world) sendFull(stream string) (all []event.Event) {
	w.Helper()
	for i := range 5 {
		name := fmt.Sprintf("full-%s-%d", stream, i)
		e := w.renewal(name, name)
		_, err := w.cl.publisher.Publish(w.Context(), e)
		if isFull := stream == w.cl.names.Commands(); isFull != (err != nil) || isFull && events.AsError(err).Code != events.CodeStorageFull {
			w.Errorf("publishing while %s is full: %v", stream, err)
		}
		all = append(all, e)
	}
	return all
}

// called makes sure of who was called since a stream was full: nobody without room in the ledger, everybody without a
// need of another stream.
func (w *world) called(stream string, since time.Time, waiting []event.Event) {
	w.Helper()
	for _, e := range w.book.Effects() {
		if stream == w.cl.names.Outcomes() && !e.Begin.Before(since) {
			w.Errorf("%s was called %s after the ledger was full", e.Key, e.Begin.Sub(since))
		}
	}
	for _, e := range waiting {
		want := 1
		if stream == w.cl.names.Commands() || stream == w.cl.names.Outcomes() {
			want = 0
		}
		if n := w.applied(e.Subject()); n != want {
			w.Errorf("%s has %d effects while %s is full", e.ID(), n, stream)
		}
	}
}

// health makes sure that every worker says that a stream is short, or that none is.
func (w *world) health(stream string, short bool) {
	w.Helper()
	for _, name := range sortedKeys(w.workers) {
		r := w.workers[name].app.readiness()
		blocks := stream == w.cl.names.Outcomes() || stream == w.cl.names.DeadLetters()
		if r.Ready == (short && blocks) {
			w.Errorf("%s is ready: %v, because of %q", name, r.Ready, r.Reasons)
		}
		told := slices.ContainsFunc(slices.Concat(r.Reasons, r.Warnings), func(s string) bool { return strings.Contains(s, stream) })
		if told != short {
			w.Errorf("%s tells of %s: %v, want %v: %q %q", name, stream, told, short, r.Reasons, r.Warnings)
		}
	}
}
