package natsjs

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

func TestNearlyFull(t *testing.T) {
	for _, c := range []struct {
		maxBytes, maxMsgs int64
		bytes, msgs       uint64
		want              bool
	}{
		{1000, -1, 949, 10, false},
		{1000, -1, 950, 10, true},
		{-1, 100, 1 << 40, 94, false},
		{-1, 100, 1, 95, true},
		{-1, -1, 1 << 40, 1 << 40, false},
		{0, 0, 5, 5, false},
	} {
		info := &jetstream.StreamInfo{Config: jetstream.StreamConfig{MaxBytes: c.maxBytes, MaxMsgs: c.maxMsgs},
			State: jetstream.StreamState{Bytes: c.bytes, Msgs: c.msgs}}
		if got := nearlyFull(info, 0.95); got != c.want {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

func TestStartedRefusedWhenNearlyFull(t *testing.T) {
	_, js, _ := ledgerFixture(t, func(c *jetstream.StreamConfig) {
		c.MaxMsgs = 100
	})
	const every = 20 * time.Millisecond
	l := newTestLedger(t, js, LedgerSettings{FullEvery: every})
	for i := range 95 {
		mustAppend(t, l, record("C1", fmt.Sprint("a", i), events.Rejected, 0), 0)
	}
	refuse := func(what string) {
		t.Helper()
		_, err := l.Append(within(t, 5*time.Second), record("C1", "new", events.Started, 1), 0)
		if e := events.AsError(err); err == nil || e.Kind != events.Unavailable || e.Code != events.CodeStorageFull {
			t.Fatalf("%s: got %v, want Unavailable, %s", what, err, events.CodeStorageFull)
		}
	}
	refuse("at 95 of 100")
	for i := range 5 {
		mustAppend(t, l, record("C1", fmt.Sprint("b", i), events.Succeeded, 1), 0)
	}
	refuse("at 100 of 100")

	// A result is not refused by the check but by the stream; it is kept until there is room.
	done := make(chan error, 1)
	go func() {
		_, err := l.Append(within(t, 20*time.Second), record("C1", "kept", events.Succeeded, 1), 0)
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("a result in a full stream: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	editOutcomes(t, js, func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 })
	if err := <-done; err != nil {
		t.Fatalf("the result, once there was room: %v", err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err := l.Append(within(t, 5*time.Second), record("C1", "new", events.Started, 1), 0)
		if err == nil {
			break
		}
		if events.AsError(err).Code != events.CodeStorageFull || time.Now().After(deadline) {
			t.Fatalf("a start, once there was room: %v", err)
		}
	}
}

// The stream's own refusal counts at once, however fresh the last look.
func TestStartedRefusedByTheStream(t *testing.T) {
	_, js, _ := ledgerFixture(t, func(c *jetstream.StreamConfig) {
		c.MaxBytes = 20000
	})
	l := newTestLedger(t, js, LedgerSettings{FullEvery: time.Hour})
	if l.room.full(t.Context()) {
		t.Fatal("an empty stream is full")
	}
	big := record("C1", "a", events.Started, 1)
	big.Start.Settle = []byte(`"` + strings.Repeat("x", 30000) + `"`)
	for _, o := range []events.Outcome{big, record("C1", "b", events.Started, 1)} {
		_, err := l.Append(within(t, 5*time.Second), o, 0)
		if e := events.AsError(err); err == nil || e.Kind != events.Unavailable || e.Code != events.CodeStorageFull {
			t.Errorf("%s: got %v, want storage_full", o.Command.ID, err)
		}
	}
	mustAppend(t, l, record("C1", "b", events.Rejected, 0), 0)
}
