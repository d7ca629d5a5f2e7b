package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/natsjs/natstest"
	"subrelay/events"
)

// promptly is the longest that a good command takes, whatever bad ones are about.
const promptly = time.Second

// badly runs a story with one worker and one partition, through which everything must pass, in virtual time. After the
// story all must be acknowledged, and the history in order.
func badly(t *testing.T, story func(w *world)) {
	t.Helper()
	cfg := simConfig()
	cfg.Streams.Partitions = 1
	badlyAs(t, cfg, story)
}

func badlyAs(t *testing.T, cfg Config, story func(w *world)) {
	t.Helper()
	natstest.Bubble(t, func(t *testing.T) {
		w := newWorld(t, 1, cfg)
		defer w.close()
		w.start()
		story(w)
		w.settle(10 * time.Minute)
		w.verdict()
	})
}

// good sends a good command of a key of its own, which must succeed promptly.
func (w *world) good() {
	w.Helper()
	w.names++
	e := w.renewal(fmt.Sprintf("good-%d", w.names), fmt.Sprintf("GOOD-%d", w.names))
	began := time.Now()
	w.send(e)
	r := w.outcomeOf(e)
	if took := time.Since(began); r.Status != events.Succeeded || took > promptly {
		w.Errorf("a good command: %s after %s", r.Status, took)
	}
}

// between runs something between two good commands.
func (w *world) between(bad func()) {
	w.Helper()
	w.good()
	bad()
	w.good()
}

// atLast is the longest, in virtual time, that an outcome is waited for: without a limit virtual time would pass for ever.
const atLast = 24 * time.Hour

// outcomeOf waits for the final outcome.
func (w *world) outcomeOf(e event.Event) events.Record {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), atLast)
	defer cancel()
	key, err := events.KeyToken(e.Subject())
	if err != nil {
		w.Fatal(err)
	}
	r, err := w.cl.outcomes.Wait(ctx, key, events.CID(e.Source(), e.ID(), e.Subject()))
	if err != nil {
		w.Fatalf("no outcome of %s for %s: %v", e.ID(), e.Subject(), err)
	}
	return r
}

func (w *world) raw(subject string, header nats.Header, data string) (natsjs.Receipt, error) {
	return w.cl.publisher.PublishRaw(w.Context(), subject, header, []byte(data))
}

// mustRaw stores bytes as they are.
func (w *world) mustRaw(subject string, header nats.Header, data string) natsjs.Receipt {
	w.Helper()
	r, err := w.raw(subject, header, data)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

// letters are all dead letters.
func (w *world) letters() (all []natsjs.Letter) {
	w.Helper()
	err := w.cl.letters.List(w.Context(), natsjs.DeadQuery{}, func(l natsjs.Letter) error {
		all = append(all, l)
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	return all
}

// records are all records about the command with this sequence.
func (w *world) records(seq uint64) (all []events.Record) {
	w.Helper()
	err := w.cl.outcomes.Read(w.Context(), natsjs.Query{}, func(s natsjs.Stored) error {
		if s.Command.Seq == seq {
			all = append(all, s.Record)
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	return all
}

// telling is what a dead letter tells, beside times and sequences.
type telling struct {
	Reason events.Reason
	Error  events.Failure
	Kind   events.Kind
	Key    string
	CID    string
	Data   string
}

// wantLetter checks that there is exactly one letter about the command with this sequence, whole, and returns it.
func (w *world) wantLetter(seq uint64, want telling) natsjs.Letter {
	w.Helper()
	w.settle(10 * time.Minute)
	letters, err := w.cl.letters.Get(w.Context(), seq)
	for until := time.Now().Add(time.Minute); isNotFound(err) && time.Now().Before(until); {
		time.Sleep(100 * time.Millisecond) // no history says that an id is reused, and the server counts late: see settle
		letters, err = w.cl.letters.Get(w.Context(), seq)
	}
	if err != nil {
		w.Fatal(err)
	}
	l := letters[0]
	got := telling{Reason: l.Reason, Error: l.Error, Kind: l.Kind, Key: l.Key, CID: l.CID, Data: string(l.Data)}
	if diff := cmp.Diff(want, got); diff != "" || len(letters) != 1 || l.Stored.IsZero() || l.Cut != 0 {
		w.Errorf("%d letters, stored %s, cut %d, differing (-want +got):\n%s", len(letters), l.Stored, l.Cut, diff)
	}
	return l
}

// wantEnd checks the one outcome of a command that was never called.
func (w *world) wantEnd(seq uint64, status events.Status, failure events.Failure) {
	w.Helper()
	w.settle(10 * time.Minute)
	records := w.records(seq)
	if len(records) != 1 {
		w.Fatalf("command %d has %d records: %+v", seq, len(records), records)
	}
	r := records[0]
	if diff := cmp.Diff(&failure, r.Error); diff != "" || r.Status != status || r.Attempt != 0 || r.Result != nil || r.FinishedAt == nil {
		w.Errorf("%s of attempt %d with %s; the error differs (-want +got):\n%s", r.Status, r.Attempt, r.Result, diff)
	}
}

// noRecord checks that the ledger says nothing about the command with this sequence.
func (w *world) noRecord(seq uint64) {
	w.Helper()
	if records := w.records(seq); len(records) != 0 {
		w.Errorf("the ledger knows of command %d: %+v", seq, records)
	}
}

// applied is how many effects a customer's book holds.
func (w *world) applied(customer string) (n int) {
	for _, e := range w.book.Effects() {
		if e.Applied && e.Key == customer {
			n++
		}
	}
	return n
}

// limit changes how many bytes a stream may hold.
func (w *world) limit(stream string, bytes func(jetstream.StreamInfo) int64) {
	w.Helper()
	s, err := w.cl.js.Stream(w.Context(), stream)
	if err != nil {
		w.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.MaxBytes = bytes(*s.CachedInfo())
	cfg.MaxAge = 0 // an update looks for what is too old, by the clock outside of the bubble
	if _, err := w.cl.js.UpdateStream(w.Context(), cfg); err != nil {
		w.Fatal(err)
	}
}

// noRoom leaves a stream no room, as if it had filled up.
func (w *world) noRoom(stream string) {
	w.Helper()
	w.limit(stream, func(i jetstream.StreamInfo) int64 { return int64(i.State.Bytes) + 1 })
}

// room gives a stream room again.
func (w *world) room(stream string) {
	w.Helper()
	w.limitTo(stream, 64<<20)
}

func (w *world) limitTo(stream string, most int64) {
	w.Helper()
	w.limit(stream, func(jetstream.StreamInfo) int64 { return most })
}

func (w *world) sizeOf(stream string) uint64 {
	w.Helper()
	s, err := w.cl.js.Stream(w.Context(), stream)
	if err != nil {
		w.Fatal(err)
	}
	return s.CachedInfo().State.Bytes
}
