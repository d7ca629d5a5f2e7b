package handlers_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
	"subrelay/handlers"
)

func TestHoldAfterDoubt(t *testing.T) {
	for name, c := range map[string]struct {
		applied bool
		want    events.Status
	}{"applied": {true, succeeded}, "not applied": {false, failed}} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, w *world) {
				w.upstream.script = []reply{{applies: c.applied, err: errUnclear}}
				w.family.spec.HoldsAfterDoubt = true
				delivery := w.send()
				d := w.worker("a")
				end := make(chan ending, 1)
				go func() { end <- w.drive(t.Context(), d, delivery) }()
				time.Sleep(time.Hour)
				if done, err := d.Done(t.Context(), delivery); done || err != nil || len(end) != 0 || w.ledger.last().Status != inDoubt {
					t.Fatalf("after an hour: done %v (%v), %d ends, last %s; want the key held by the doubt", done, err, len(end), w.ledger.last().Status)
				}
				by := events.Resolution{By: "ann", Reason: "looked at TVMS"}
				h := w.ledger.history("C-1", w.ledger.last().Command.CID)
				if _, err := handlers.Resolve(t.Context(), w.ledger, "subrelay", h, c.applied, by); err != nil {
					t.Fatal(err)
				}
				resolved := time.Now()
				if got := <-end; got != acked || time.Since(resolved) > time.Second || w.ledger.last().Status != c.want {
					t.Errorf("%s %s after the resolution, as %s", got, time.Since(resolved), w.ledger.last().Status)
				}
				w.check()
			})
		})
	}
}

func TestResolve(t *testing.T) {
	by := events.Resolution{By: "ann", Reason: "looked"}
	doubted := func(t *testing.T, w *world) events.History {
		w.upstream.script = []reply{lost}
		w.drive(t.Context(), w.worker("a"), w.send())
		return w.ledger.history("C-1", w.ledger.last().Command.CID)
	}
	t.Run("OK", func(t *testing.T) {
		inTime(t, func(t *testing.T, w *world) {
			h := doubted(t, w)
			got, err := handlers.Resolve(t.Context(), w.ledger, "/ops", h, true, by)
			if err != nil {
				t.Fatal(err)
			}
			now := time.Now().UTC()
			want := *h.Last()
			want.Seq, want.Status, want.FinishedAt, want.Error, want.IfApplied, want.Source = 3, succeeded, &now, nil, nil, "/ops"
			want.Result, want.Resolution = []byte(`{"settled_by":"operator"}`), &by
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the resolution differs (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want, w.ledger.last()); diff != "" {
				t.Errorf("the record differs (-want +got):\n%s", diff)
			}
			again, err := handlers.Resolve(t.Context(), w.ledger, "/ops", w.ledger.history("C-1", h.Last().Command.CID), true, by)
			if diff := cmp.Diff(want, again); diff != "" || err != nil || len(w.ledger.records) != 3 {
				t.Errorf("the repeat: %v, %d records (-want +got):\n%s", err, len(w.ledger.records), diff)
			}
			w.check()
		})
	})
	t.Run("Errors", func(t *testing.T) {
		inTime(t, func(t *testing.T, w *world) {
			h := doubted(t, w)
			resolve := func(h events.History, applied bool, by events.Resolution) error {
				_, err := handlers.Resolve(t.Context(), w.ledger, "/ops", h, applied, by)
				return err
			}
			for name, err := range map[string]error{
				"no name": resolve(h, true, events.Resolution{Reason: "x"}), "no reason": resolve(h, true, events.Resolution{By: "x"}),
				"unknown command": resolve(nil, true, by), "not in doubt": resolve(h[:1], true, by),
			} {
				if events.KindOf(err) != events.Refused {
					t.Errorf("%s: %v, want an error of kind Refused", name, err)
				}
			}
			if err := resolve(h, false, by); err != nil {
				t.Fatal(err)
			}
			if err := resolve(h, true, by); events.KindOf(err) != events.Conflict {
				t.Errorf("somebody else was first: %v, want Conflict", err)
			}
			if err := resolve(w.ledger.records, true, by); events.KindOf(err) != events.Refused {
				t.Errorf("resolved otherwise: %v, want Refused", err)
			}
		})
	})
}

// Settling by read-back, in detail.
func TestReadBack(t *testing.T) {
	away := &events.Error{Kind: events.Unavailable, Upstream: true, Code: events.CodeUnreachable}
	t.Run("Unchanged counts only after its time", func(t *testing.T) {
		inTime(t, func(t *testing.T, w *world) {
			w.upstream.script, w.family.settling = []reply{lostBefore}, readBack
			began := time.Now()
			w.drive(t.Context(), w.worker("a"), w.send())
			if at := w.ledger.records[1].FinishedAt.Sub(began); at < time.Minute || at > 61*time.Second {
				t.Errorf("not applied was concluded after %s, want a minute", at)
			}
			if spent := w.ledger.records[1].Spent.Attempts; spent != 1 {
				t.Errorf("%d attempts used, want 1", spent)
			}
		})
	})
	t.Run("Unclear", func(t *testing.T) {
		inTime(t, func(t *testing.T, w *world) {
			w.upstream.script, w.family.settling = []reply{lost}, readBack
			w.upstream.onCall = func(string) *reply { w.upstream.count["C-1"]++; return nil } // somebody else renews too
			w.drive(t.Context(), w.worker("a"), w.send())
			if last := w.ledger.last(); last.Status != inDoubt || last.Error.Code != events.CodeBroken {
				t.Errorf("ended as %s, %+v", last.Status, last.Error)
			}
		})
	})
	t.Run("Failing for long", func(t *testing.T) {
		inTime(t, func(t *testing.T, w *world) {
			w.upstream.script, w.family.settling = []reply{lost}, readBack
			w.upstream.reads = append([]error{nil}, repeatError(away, 1000)...)
			began := time.Now()
			w.drive(t.Context(), w.worker("a"), w.send())
			took := time.Since(began)
			if last := w.ledger.last(); last.Status != inDoubt || took < 10*time.Minute || took > 15*time.Minute {
				t.Errorf("ended as %s after %s, want a doubt after 10m of failing reads", last.Status, took)
			}
			w.check()
		})
	})
	t.Run("Breaker open for long", func(t *testing.T) {
		inTime(t, func(t *testing.T, w *world) {
			w.upstream.script, w.family.settling = []reply{lost}, readBack
			w.upstream.reads = append([]error{nil}, repeatError(away, 100)...)
			w.config = func(c *handlers.Config) { c.ClosedFor = func(events.Upstream) time.Duration { return time.Second } }
			w.drive(t.Context(), w.worker("a"), w.send())
			if last := w.ledger.last(); last.Status != succeeded {
				t.Errorf("ended as %s, want succeeded once the upstream is back", last.Status)
			}
			w.check()
		})
	})
	t.Run("The read before the call fails", func(t *testing.T) {
		inTime(t, func(t *testing.T, w *world) {
			w.family.settling = readBack
			w.upstream.reads = repeatError(away, 100)
			w.drive(t.Context(), w.worker("a"), w.send())
			if diff := cmp.Diff([]events.Status{started, succeeded}, w.ledger.statuses()); diff != "" {
				t.Errorf("the history differs (-want +got):\n%s", diff)
			}
		})
	})
	t.Run("The read before the call fails for this command alone", func(t *testing.T) {
		inTime(t, func(t *testing.T, w *world) {
			w.family.settling = readBack
			w.upstream.reads = repeatError(&events.Error{Kind: events.Unavailable, Code: events.CodeUnreadable}, 100)
			w.drive(t.Context(), w.worker("a"), w.send())
			if last := w.ledger.last(); last.Status != failed || last.Error.Code != events.CodeRead || last.Attempt != 0 || w.upstream.read != 6 {
				t.Errorf("ended as %s, %+v, after %d reads", last.Status, last.Error, w.upstream.read)
			}
			w.check()
		})
	})
	t.Run("Reads fail between attempts", func(t *testing.T) { // only failures in a row count
		inTime(t, func(t *testing.T, w *world) {
			w.family.settling = readBack
			alone := &events.Error{Kind: events.Unavailable, Code: events.CodeUnreadable}
			w.upstream.script = []reply{busy, busy, busy}
			for range 3 {
				w.upstream.reads = append(w.upstream.reads, alone, alone, alone, nil)
			}
			if w.drive(t.Context(), w.worker("a"), w.send()); w.ledger.last().Status != succeeded {
				t.Errorf("ended as %s", w.ledger.last().Status)
			}
		})
	})
	t.Run("Reads that never answer", func(t *testing.T) { // a permission is not held for good
		inTime(t, func(t *testing.T, w *world) {
			w.family.settling, w.upstream.hangs = readBack, 2
			began := time.Now()
			w.drive(t.Context(), w.worker("a"), w.send())
			if took := time.Since(began); w.ledger.last().Status != succeeded || took < 62*time.Second || took > 72*time.Second {
				t.Errorf("ended as %s after %s, want succeeded after two time-outs of 31s and their pauses", w.ledger.last().Status, took)
			}
		})
	})
	t.Run("A probe that was lost", func(t *testing.T) { // uses no attempt, even if settled by an ordinary read
		inTime(t, func(t *testing.T, w *world) {
			w.family.settling, w.probe = readBack, true
			w.upstream.script = []reply{lostBefore}
			w.upstream.onCall = func(string) *reply { w.probe = false; return nil }
			w.drive(t.Context(), w.worker("a"), w.send())
			if spent := w.ledger.records[1].Spent.Attempts; spent != 0 {
				t.Errorf("%d attempts used, want 0", spent)
			}
		})
	})
}

func repeatError(err error, n int) []error {
	out := make([]error, n)
	for i := range out {
		out[i] = err
	}
	return out
}
