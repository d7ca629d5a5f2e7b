package natsjs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

func TestHistory(t *testing.T) {
	_, _, l := ledgerFixture(t)
	key, cid := "C%2E1", events.CID("/billing", "a", "C.1")
	if h, err := l.History(t.Context(), key, cid); err != nil || len(h) != 0 {
		t.Fatalf("before anything was written: %v, %v", h, err)
	}
	var want events.History
	after := uint64(0)
	for i, s := range []events.Status{events.Started, events.Deferred, events.Started, events.InDoubt, events.Succeeded} {
		o := record("C.1", "a", s, i/2+1)
		after = mustAppend(t, l, o, after)
		want = append(want, events.Record{Outcome: o, Seq: after})
		mustAppend(t, l, record("C.1", fmt.Sprint("other", i), events.Started, 1), 0)
	}
	got, err := l.History(t.Context(), key, cid)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestHistoryNeverTruncated(t *testing.T) {
	t.Run("ErrUnreadableRecord", func(t *testing.T) {
		_, js, l := ledgerFixture(t)
		o := record("C1", "a", events.Started, 1)
		mustAppend(t, l, o, 0)
		if _, err := js.Publish(t.Context(), Names{}.Ledger(events.Renew, events.Succeeded, "C1", o.Command.CID), []byte("{")); err != nil {
			t.Fatal(err)
		}
		if h, err := l.History(t.Context(), "C1", o.Command.CID); events.KindOf(err) != events.Internal || err == nil || h != nil {
			t.Errorf("got %v, %v; want an Internal error", h, err)
		}
	})
	t.Run("ErrAllowDirect", func(t *testing.T) {
		_, _, l := ledgerFixture(t, func(c *jetstream.StreamConfig) { c.AllowDirect = true })
		if _, err := l.History(t.Context(), "C1", "x"); err == nil || !strings.Contains(err.Error(), "allow_direct") {
			t.Errorf("got %v, want a refusal of a stream whose replicas answer reads", err)
		}
	})
	t.Run("ErrBrokerDown", func(t *testing.T) {
		b, _, l := ledgerFixture(t)
		mustAppend(t, l, record("C1", "a", events.Started, 1), 0)
		b.stop()
		h, err := l.History(within(t, 100*time.Millisecond), "C1", events.CID("/billing", "a", "C1"))
		if err == nil || events.KindOf(err) != events.Unavailable {
			t.Errorf("got %v, %v; want Unavailable", h, err)
		}
	})
}

func TestAppendConflicts(t *testing.T) {
	_, _, l := ledgerFixture(t)
	first := record("C1", "a", events.Started, 1)
	seq := mustAppend(t, l, first, 0)
	rival := first
	rival.Token = "rival"
	for name, after := range map[string]uint64{"no history expected": 0, "a record that never was": seq + 10} {
		_, err := l.Append(within(t, 5*time.Second), rival, after)
		if events.KindOf(err) != events.Conflict {
			t.Errorf("%s: got %v, want a conflict", name, err)
		}
	}
	next := mustAppend(t, l, record("C1", "a", events.Succeeded, 1), seq)
	if _, err := l.Append(within(t, 5*time.Second), record("C1", "a", events.Deferred, 1), seq); events.KindOf(err) != events.Conflict {
		t.Errorf("behind an older record: got %v, want a conflict", err)
	}
	again, err := l.Append(within(t, 5*time.Second), first, 0)
	if err != nil || again != seq {
		t.Errorf("the same record again: got %d, %v; want its sequence %d", again, err, seq)
	}
	h, err := l.History(t.Context(), "C1", first.Command.CID)
	if err != nil || len(h) != 2 || h.LastSeq() != next {
		t.Errorf("history %v, %v; want two records", h, err)
	}
}

func TestAppendOneWinner(t *testing.T) {
	b, js, _ := ledgerFixture(t)
	const rounds, writers = 100, 8
	ledgers := make([]*Ledger, writers)
	for i := range ledgers {
		ledgers[i] = newTestLedger(t, b.connect(), LedgerSettings{})
	}
	plain, err := js.Conn().SubscribeSync("subrelay.outcome.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := js.Conn().Flush(); err != nil { // the server knows of the subscription before anybody writes
		t.Fatal(err)
	}
	for round := range rounds {
		var wg sync.WaitGroup
		var mu sync.Mutex
		won, conflicts := 0, 0
		for w, l := range ledgers {
			wg.Go(func() {
				o := record("C1", fmt.Sprint(round), events.Started, 1)
				o.Token = fmt.Sprint("writer", w)
				// Different statuses make different subjects: only the common filter keeps them apart.
				o.Status = []events.Status{events.Started, events.Rejected, events.Expired}[w%3]
				_, err := l.Append(within(t, 20*time.Second), o, 0)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won++
				case events.KindOf(err) == events.Conflict:
					conflicts++
				default:
					t.Errorf("round %d, writer %d: %v", round, w, err)
				}
			})
		}
		wg.Wait()
		if won != 1 || conflicts != writers-1 {
			t.Fatalf("round %d: %d winners, %d conflicts", round, won, conflicts)
		}
	}
	// Republished copies may come a little after the acknowledgement of their record: wait for each.
	for i := range rounds {
		msg, err := plain.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatalf("subscriber: record %d: %v", i, err)
		}
		if msg.Header.Get("Nats-Sequence") != fmt.Sprint(i+1) {
			t.Fatalf("subscriber: got the stored record %q, want %d", msg.Header.Get("Nats-Sequence"), i+1)
		}
	}
	if n, _, _ := plain.Pending(); n != 0 {
		t.Errorf("plain subscribers saw %d records that were refused", n)
	}
}

// The server's check is free of races on a replicated stream only if every writer names the same filter: the one of
// Names.History, byte for byte, over the stored subject.
func TestAppendNamesTheHistoryFilter(t *testing.T) {
	_, js, l := ledgerFixture(t)
	o := record("C.1", "a", events.Started, 1)
	mustAppend(t, l, o, 0)
	s, err := js.Stream(t.Context(), Names{}.Outcomes())
	if err != nil {
		t.Fatal(err)
	}
	msg, err := s.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	cid := o.Command.CID
	if want := "subrelay.outcome.renew.started.C%2E1." + cid; msg.Subject != want {
		t.Errorf("stored on %s, want %s", msg.Subject, want)
	}
	want := nats.Header{
		"Content-Type":                                {"application/cloudevents+json"},
		"Nats-Expected-Last-Subject-Sequence":         {"0"},
		"Nats-Expected-Last-Subject-Sequence-Subject": {"subrelay.outcome.*.*.C%2E1." + cid},
	}
	if diff := cmp.Diff(want, msg.Header); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestAppendLostAcknowledgement(t *testing.T) {
	for name, fate := range map[string]replyFate{"Swallowed": swallowReply, "Cut": cutAtReply} {
		t.Run(name, func(t *testing.T) {
			b, js, _ := ledgerFixture(t)
			l := newTestLedger(t, js, LedgerSettings{PublishTimeout: 200 * time.Millisecond})
			o := record("C1", "a", events.Started, 1)
			if _, err := l.History(t.Context(), "C1", o.Command.CID); err != nil {
				t.Fatal(err)
			}
			b.tamper(times(1, fate))
			seq := mustAppend(t, l, o, 0)
			b.tamper(times(1, fate))
			last := mustAppend(t, l, record("C1", "a", events.Succeeded, 1), seq)
			h, err := l.History(t.Context(), "C1", o.Command.CID)
			if err != nil || len(h) != 2 || h[0].Seq != seq || h[1].Seq != last {
				t.Errorf("history %v, %v; want the two records once each", h, err)
			}
		})
	}
}

// Behind a lost acknowledgement somebody else may already have gone on: the record is stored all the same.
func TestFindOwnRecordBehindWhichOthersFollow(t *testing.T) {
	own, other := record("C1", "a", events.Started, 1), record("C1", "a", events.InDoubt, 1)
	h := events.History{{Outcome: own, Seq: 3}, {Outcome: other, Seq: 9}}
	w := write{o: &own}
	if stored, seq, err := w.find(h, true); !stored || seq != 3 || err != nil {
		t.Errorf("got %v, %d, %v", stored, seq, err)
	}
	foreign := own
	foreign.Token = "foreign"
	w = write{o: &foreign}
	if stored, _, err := w.find(h, true); stored || events.KindOf(err) != events.Conflict {
		t.Errorf("same event id, another token: got %v, %v; want a conflict", stored, err)
	}
}

func TestAppendOverRestart(t *testing.T) {
	b, js, _ := ledgerFixture(t)
	l := newTestLedger(t, js, LedgerSettings{PublishTimeout: 300 * time.Millisecond})
	seq := mustAppend(t, l, record("C1", "a", events.Started, 1), 0)
	b.stop()
	done := make(chan error, 1)
	var stored uint64
	go func() {
		var err error
		stored, err = l.Append(within(t, 30*time.Second), record("C1", "a", events.Succeeded, 1), seq)
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("answered while the broker was down: %v", err)
	case <-time.After(500 * time.Millisecond): // more than one try
	}
	b.start()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	h, err := l.History(within(t, 10*time.Second), "C1", events.CID("/billing", "a", "C1"))
	if err != nil || len(h) != 2 || h[1].Seq != stored {
		t.Errorf("history %v, %v", h, err)
	}
}

func TestAppendEndsWithContext(t *testing.T) {
	b, js, _ := ledgerFixture(t)
	l := newTestLedger(t, js, LedgerSettings{PublishTimeout: 50 * time.Millisecond})
	b.stop()
	_, err := l.Append(within(t, 200*time.Millisecond), record("C1", "a", events.Succeeded, 1), 0)
	if e := events.AsError(err); e.Kind != events.Unavailable || e.Code != events.CodeStorage {
		t.Errorf("got %v, want Unavailable, %s", err, events.CodeStorage)
	}
	js.Conn().Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := l.Append(ctx, record("C1", "a", events.Succeeded, 1), 0); events.KindOf(err) != events.Unavailable || !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("closed for good: got %v, want Unavailable at once", err)
	}
}

func TestAppendTooLarge(t *testing.T) {
	_, _, l := ledgerFixture(t, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 4096 })
	o := record("C1", "a", events.Succeeded, 1)
	o.Result = json.RawMessage(`"` + strings.Repeat("x", 5000) + `"`)
	if _, err := l.Append(within(t, 5*time.Second), o, 0); err == nil || events.KindOf(err) != events.Internal {
		t.Errorf("got %v, want an Internal error at once", err)
	}
}

func TestAppendGivesTokens(t *testing.T) {
	_, _, l := ledgerFixture(t)
	o := record("C1", "a", events.Rejected, 0)
	o.Token, o.Source = "", ""
	mustAppend(t, l, o, 0)
	if _, err := l.Append(within(t, 5*time.Second), o, 0); events.KindOf(err) != events.Conflict {
		t.Errorf("another writer's record without a token was taken for our own: %v", err)
	}
	h, err := l.History(t.Context(), "C1", o.Command.CID)
	if err != nil || h[0].Token == "" || h[0].Source != defaultSource {
		t.Errorf("history %v, %v; want a token and a source", h, err)
	}
}
