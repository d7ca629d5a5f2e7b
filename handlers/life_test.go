package handlers_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
	"subrelay/handlers"
)

const (
	started   = events.Started
	deferred  = events.Deferred
	inDoubt   = events.InDoubt
	succeeded = events.Succeeded
	rejected  = events.Rejected
	failed    = events.Failed
	expired   = events.Expired
)

func repeat(r reply, n int) []reply {
	out := make([]reply, n)
	for i := range out {
		out[i] = r
	}
	return out
}

// TestLife is the table of what a call may show, and what follows.
func TestLife(t *testing.T) {
	internal := reply{err: &events.Error{Kind: events.Internal, Code: events.CodeRequestNotPossible, Message: "the request could not be built"}}
	throttled := reply{err: &events.Error{Kind: events.Unavailable, Upstream: true, Code: events.CodeThrottled, RetryAfter: time.Hour}}
	conflict := reply{applies: true, err: &events.Error{Kind: events.Conflict, Code: events.CodeConflict}}
	s := func(statuses ...events.Status) []events.Status { return statuses }
	dead := func(reasons ...events.Reason) []events.Reason { return reasons }
	for _, c := range []struct {
		name     string
		script   []reply
		settling handlers.Settling
		want     []events.Status
		dead     []events.Reason
		code     string
		effects  int
	}{
		{"confirmed", nil, handlers.Settling{}, s(started, succeeded), nil, "", 1},
		{"refused for good", []reply{refused}, handlers.Settling{}, s(started, rejected), dead(events.DeadRefused), events.CodeRefused, 0},
		{"upstream away, then back", []reply{unreachable, unreachable}, handlers.Settling{},
			s(started, deferred, started, deferred, started, succeeded), nil, "", 1},
		{"throttled", []reply{throttled}, handlers.Settling{}, s(started, deferred, started, succeeded), nil, "", 1},
		{"busy for this command, until used up", repeat(busy, 9), handlers.Settling{},
			s(started, deferred, started, deferred, started, deferred, started, deferred, started, deferred, started, failed),
			dead(events.DeadExhausted), events.CodeUnavailable, 0},
		{"our own fault, nothing sent", []reply{internal}, handlers.Settling{}, s(started, deferred, started, succeeded), nil, "", 1},
		{"lost reply, nothing can tell", []reply{lost}, handlers.Settling{}, s(started, inDoubt), dead(events.DeadInDoubt), events.CodeBroken, 1},
		{"an error that says nothing", []reply{{applies: true, err: errPlain}}, handlers.Settling{}, s(started, inDoubt),
			dead(events.DeadInDoubt), events.CodeInternal, 1},
		{"an error of a kind that no call has", []reply{conflict}, handlers.Settling{}, s(started, inDoubt),
			dead(events.DeadInDoubt), events.CodeConflict, 1},
		{"panic after the effect", []reply{{applies: true, panics: true}}, handlers.Settling{}, s(started, inDoubt),
			dead(events.DeadInDoubt), events.CodeInterrupted, 1},
		{"time-out", []reply{{applies: true, effect: 40 * time.Second, took: time.Hour}}, handlers.Settling{}, s(started, inDoubt),
			dead(events.DeadInDoubt), events.CodeTimeout, 1},
		{"lost reply, read back: applied", []reply{lost}, readBack, s(started, succeeded), nil, "", 1},
		{"lost request, read back: unchanged", []reply{lostBefore}, readBack, s(started, deferred, started, succeeded), nil, "", 1},
		{"effect long after the time-out, read back too early first", []reply{{applies: true, effect: 45 * time.Second, took: time.Hour}},
			readBack, s(started, succeeded), nil, "", 1},
		{"unchanged until used up", repeat(lostBefore, 9), readBack,
			s(started, deferred, started, deferred, started, deferred, started, deferred, started, deferred, started, failed),
			dead(events.DeadExhausted), events.CodeNotApplied, 0},
		{"panic after the effect, read back", []reply{{applies: true, panics: true}}, readBack, s(started, succeeded), nil, "", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			inTime(t, func(t *testing.T, w *world) {
				w.upstream.script, w.family.settling = c.script, c.settling
				if end := w.drive(t.Context(), w.worker("a"), w.send()); end != acked {
					t.Fatalf("the command was %s", end)
				}
				if diff := cmp.Diff(c.want, w.ledger.statuses()); diff != "" {
					t.Errorf("the history differs (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(c.dead, w.dead.reasons()); diff != "" {
					t.Errorf("the dead letters differ (-want +got):\n%s", diff)
				}
				code := ""
				if e := w.ledger.last().Error; e != nil {
					code = e.Code
				}
				if code != c.code {
					t.Errorf("the last record has the code %q, want %q", code, c.code)
				}
				time.Sleep(time.Minute)
				if got := w.upstream.effects(); got != c.effects {
					t.Errorf("%d effects, want %d", got, c.effects)
				}
				w.check()
			})
		})
	}
}

func TestWhatRecordsSay(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.upstream.script, w.family.settling = []reply{busy}, readBack
		w.config = func(c *handlers.Config) { c.Source = "/subrelay" }
		began := time.Now().UTC()
		delivery := w.send()
		w.drive(t.Context(), w.worker("a"), delivery)
		command := events.Ref{ID: "r-1", Source: "/billing", Kind: events.Renew, Key: "C-1",
			CID: events.CID("/billing", "r-1", "C-1"), Seq: 1, Hash: w.ledger.last().Command.Hash}
		frame := func(status events.Status, attempt int, token string) events.Outcome {
			return events.Outcome{Command: command, Status: status, Attempt: attempt, Upstream: events.TVMS, Token: token,
				CorrelationID: command.CID, Source: "/subrelay"}
		}
		second := w.ledger.records[2].StartedAt
		if wait := second.Sub(began); wait < 2*time.Second || wait > 2400*time.Millisecond {
			t.Errorf("the second attempt came after %s, want 2s and up to a fifth of it", wait)
		}
		token := func(i int) string { return w.ledger.records[i].Token }
		deadline := func(t time.Time) time.Time { return t.Add(36 * time.Second) }
		settle := mustJSON(plan{Before: 0, Target: 1})
		first := frame(started, 1, token(0))
		first.StartedAt, first.Start, first.Spent = &began, &events.Start{Worker: "a", Deadline: deadline(began), Settle: settle}, &events.Spent{}
		pause := frame(deferred, 1, token(0))
		pause.StartedAt, pause.FinishedAt, pause.Deferral = &began, &began, &events.Deferral{NotBefore: *second}
		pause.Error = &events.Failure{Code: events.CodeUnavailable, Message: "listed as not applied", UpstreamCode: "503"}
		pause.Spent = &events.Spent{Attempts: 1}
		again := frame(started, 2, token(2))
		again.StartedAt, again.Start = second, &events.Start{Worker: "a", Deadline: deadline(*second), Settle: settle}
		again.Spent = &events.Spent{Attempts: 1, Millis: second.Sub(began).Milliseconds()}
		end := frame(succeeded, 2, token(2))
		end.StartedAt, end.FinishedAt, end.Result = second, second, []byte(`{"months":1}`)
		want := []events.Record{{Outcome: first, Seq: 1}, {Outcome: pause, Seq: 2}, {Outcome: again, Seq: 3}, {Outcome: end, Seq: 4}}
		if diff := cmp.Diff(want, w.ledger.records); diff != "" {
			t.Errorf("the records differ (-want +got):\n%s", diff)
		}
		if token(0) == token(2) || token(0) == "" {
			t.Errorf("two attempts have the tokens %q and %q", token(0), token(2))
		}
		if diff := cmp.Diff(map[events.Status]int{started: 2, deferred: 1, succeeded: 1}, w.observer.recorded); diff != "" || w.observer.called != 2 {
			t.Errorf("the observer was told of %d calls and (-want +got):\n%s", w.observer.called, diff)
		}
	})
}

// A wrong verdict would open the breaker for nothing, or not at all.
func TestWhatTheBreakerIsTold(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.upstream.script = []reply{unreachable, busy, lost}
		w.drive(t.Context(), w.worker("a"), w.send())
		want := []error{unreachable.err, busy.err, errUnclear}
		if len(w.verdicts) != 3 {
			t.Fatalf("%d verdicts: %v", len(w.verdicts), w.verdicts)
		}
		for i, err := range w.verdicts {
			if !errors.Is(err, want[i]) {
				t.Errorf("verdict %d is %v, want %v", i, err, want[i])
			}
		}
	})
	inTime(t, func(t *testing.T, w *world) { // a start that is not stored was not asked of the upstream
		w.ledger.onAppend = once(1, failsBefore, status(started))
		w.drive(t.Context(), w.worker("a"), w.send())
		if len(w.verdicts) != 2 || events.KindOf(w.verdicts[0]) != events.Internal || w.verdicts[0] == nil || w.verdicts[1] != nil {
			t.Errorf("the verdicts are %v, want one of kind Internal and none", w.verdicts)
		}
	})
}

// A start that is stored after all is found by reading, not by asking for another permission.
func TestStoredAfterAll(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.ledger.onAppend = once(1, failsAfter, status(started))
		w.drive(t.Context(), w.worker("a"), w.send())
		if len(w.verdicts) != 2 || w.ledger.last().Status != succeeded {
			t.Errorf("it ended as %s after %d permissions, want 2", w.ledger.last().Status, len(w.verdicts))
		}
		w.check()
	})
}

func TestFailuresOfTheUpstreamUseNoAttempt(t *testing.T) {
	for _, c := range []struct {
		name  string
		reply reply
		probe bool
	}{{"the whole upstream", unreachable, false}, {"a failed probe", busy, true}} {
		t.Run(c.name, func(t *testing.T) {
			inTime(t, func(t *testing.T, w *world) {
				w.upstream.script, w.probe = repeat(c.reply, 50), c.probe
				if end := w.drive(t.Context(), w.worker("a"), w.send()); end != acked || w.ledger.last().Status != succeeded {
					t.Errorf("the command was %s as %s", end, w.ledger.last().Status)
				}
				w.check()
			})
		})
	}
}

// The clock of the total time runs only while the breaker is closed.
func TestTotalTime(t *testing.T) {
	t.Run("Closed", func(t *testing.T) {
		inTime(t, func(t *testing.T, w *world) {
			w.upstream.script = repeat(unreachable, 1000)
			w.config = func(c *handlers.Config) {
				c.Policies = map[events.Kind]handlers.Policy{events.Renew: {Total: 2 * time.Minute}}
			}
			began := time.Now()
			w.drive(t.Context(), w.worker("a"), w.send())
			if took := time.Since(began); w.ledger.last().Status != failed || took < 2*time.Minute || took > 3*time.Minute {
				t.Errorf("ended as %s after %s, want failed after 2m", w.ledger.last().Status, took)
			}
			w.check()
		})
	})
	t.Run("Open", func(t *testing.T) {
		inTime(t, func(t *testing.T, w *world) {
			w.upstream.script = repeat(unreachable, 100)
			w.config = func(c *handlers.Config) {
				c.Policies = map[events.Kind]handlers.Policy{events.Renew: {Total: 2 * time.Minute}}
				c.ClosedFor = func(events.Upstream) time.Duration { return time.Minute }
			}
			if w.drive(t.Context(), w.worker("a"), w.send()); w.ledger.last().Status != succeeded {
				t.Errorf("ended as %s, want succeeded", w.ledger.last().Status)
			}
		})
	})
}

// What was used up survives the worker, and a worker that comes back does not forget what others have used.
func TestAttemptsAreCountedAcrossWorkers(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.upstream.script = repeat(busy, 100)
		delivery := w.send()
		jobs := []*handlers.Job{w.worker("a").Job(delivery), w.worker("b").Job(delivery)}
		for i := 0; w.ledger.last().Status != failed && i < 1000; i++ {
			j := jobs[i%2]
			for next := j.Prepare(t.Context(), false); next.Action != events.Ack; next = j.Prepare(t.Context(), false) {
				if next.Action == events.Call {
					j.Attempt(t.Context(), false) // the breaker's
					break
				}
				time.Sleep(time.Until(next.At))
			}
		}
		if got := w.upstream.calls(); got != 6 {
			t.Errorf("%d calls, want 6", got)
		}
		w.check()
	})
}
