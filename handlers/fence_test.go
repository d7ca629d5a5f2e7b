package handlers_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
)

// Another record came before our result. What follows depends on both.
func TestFenced(t *testing.T) {
	for _, c := range []struct {
		ours  reply
		when  events.Status // our record that is too late
		there events.Status
		own   bool            // there is a record of our own attempt
		want  []events.Status // the history at last
		late  bool
	}{
		{confirmed, succeeded, succeeded, true, list(started, succeeded), false},
		{confirmed, succeeded, inDoubt, true, list(started, inDoubt, succeeded), false},
		{confirmed, succeeded, deferred, true, list(started, deferred, succeeded), false},
		{confirmed, succeeded, deferred, false, list(started, deferred, succeeded), false},
		{confirmed, succeeded, failed, true, list(started, failed), true},
		{confirmed, succeeded, rejected, true, list(started, rejected), true},
		{confirmed, succeeded, succeeded, false, list(started, succeeded), true},
		{confirmed, succeeded, inDoubt, false, list(started, inDoubt), true},
		{confirmed, succeeded, started, false, list(started, started, inDoubt), true},
		{refused, rejected, inDoubt, true, list(started, inDoubt, rejected), false},
		{refused, rejected, inDoubt, false, list(started, inDoubt), false},
		{refused, rejected, deferred, true, list(started, deferred, rejected), false},
		{refused, rejected, succeeded, true, list(started, succeeded), true},
		{refused, rejected, succeeded, false, list(started, succeeded), false},
		{busy, deferred, inDoubt, true, list(started, inDoubt, failed), false},
		{busy, deferred, inDoubt, false, list(started, inDoubt), false},
		{busy, deferred, deferred, true, list(started, deferred, started, succeeded), false},
		{busy, deferred, succeeded, true, list(started, succeeded), false},
		{busy, deferred, expired, false, list(started, expired), false},
	} {
		t.Run(fmt.Sprintf("%s behind %s, own %v", c.when, c.there, c.own), func(t *testing.T) {
			inTime(t, func(t *testing.T, w *world) {
				w.upstream.script = []reply{c.ours}
				done := false
				w.ledger.first = func(o events.Outcome) *events.Outcome {
					if done || o.Status != c.when {
						return nil
					}
					done = true
					return anothers(c.there, c.own)(o)
				}
				if c.late { // the alarm must be kept, even if that fails at first
					at := nth(1, failsBefore)
					w.dead.onPut = func(l events.DeadLetter) fault {
						if l.Reason == events.DeadLateResult {
							return at()
						}
						return works
					}
				}
				if end := w.drive(t.Context(), w.worker("a"), w.send()); end != acked {
					t.Errorf("the command was %s", end)
				}
				if diff := cmp.Diff(c.want, w.ledger.statuses()); diff != "" {
					t.Errorf("the history differs (-want +got):\n%s", diff)
				}
				letters := 0
				for _, r := range w.dead.reasons() {
					if r == events.DeadLateResult {
						letters++
					}
				}
				if got := w.observer.late; (got == 1) != c.late || letters != got {
					t.Errorf("%d alarms and %d letters of a late result; want them: %v", got, letters, c.late)
				}
			})
		})
	}
}

func list(s ...events.Status) []events.Status { return s }

// anothers makes the record of another writer from ours; own says that it is of the same attempt.
func anothers(s events.Status, own bool) func(o events.Outcome) *events.Outcome {
	return func(o events.Outcome) *events.Outcome {
		o.Status, o.Result, o.Start, o.Error, o.Deferral, o.Spent = s, nil, nil, nil, nil, nil
		if !own {
			o.Token = "theirs"
			if s != deferred {
				o.Attempt++
			}
		}
		switch s {
		case started:
			o.Start, o.FinishedAt = &events.Start{Worker: "b", Deadline: time.Now()}, nil
		case deferred:
			o.Deferral = &events.Deferral{NotBefore: time.Now()}
			o.Error = &events.Failure{Code: events.CodeNotApplied}
		case succeeded:
			o.Result = []byte(`{}`)
		default:
			o.Error = &events.Failure{Code: events.CodeInterrupted}
		}
		return &o
	}
}
