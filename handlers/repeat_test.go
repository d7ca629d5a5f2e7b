package handlers_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"subrelay/events"
)

// What follows an unclear call where settling repeats it.
func TestLifeByReference(t *testing.T) {
	duplicate := reply{err: errDuplicate} // and no effect
	for _, c := range []struct {
		name           string
		script         []reply
		want           []events.Status
		code           string
		calls, effects int
	}{
		{"reply lost", []reply{lost}, list(started, succeeded), "", 2, 1},
		{"request lost", []reply{lostBefore}, list(started, succeeded), "", 2, 1},
		{"the repetition's reply lost too", []reply{lost, lost, lost}, list(started, succeeded), "", 4, 1},
		{"upstream away after it", []reply{lost, unreachable, busy}, list(started, succeeded), "", 4, 1},
		{"effect during the repetitions", []reply{{applies: true, effect: 40 * time.Second, took: time.Hour}, lostBefore, lostBefore},
			list(started, succeeded), "", 4, 1},
		{"effect after the repetition's", []reply{{applies: true, effect: 45 * time.Second, took: time.Hour}}, list(started, succeeded), "", 2, 1},
		{"refused after a lost request", []reply{lostBefore, refused, refused, refused}, list(started, deferred, started, rejected), events.CodeRefused, 4, 0},
		{"accepted after all", []reply{lostBefore, refused}, list(started, succeeded), "", 3, 1},
		{"refused though it was done", []reply{lost, refused}, list(started, succeeded), "", 2, 1},
		{"used by somebody else", []reply{duplicate}, list(started, rejected), events.CodeDuplicate, 1, 0},
		{"used by a rejected attempt", []reply{busy, duplicate, lostBefore, duplicate}, list(started, deferred, started, succeeded), "", 5, 1},
		{"panic after the effect", []reply{{applies: true, panics: true}}, list(started, succeeded), "", 2, 1},
		{"panic in the repetition", []reply{lostBefore, {applies: true, panics: true}}, list(started, succeeded), "", 3, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			inTime(t, func(t *testing.T, w *world) {
				w.repeats()
				w.upstream.script = c.script
				if end := w.drive(t.Context(), w.worker("a"), w.send()); end != acked {
					t.Fatalf("the command was %s as %s", end, w.ledger.last().Status)
				}
				if diff := cmp.Diff(c.want, w.ledger.statuses()); diff != "" {
					t.Errorf("the history differs (-want +got):\n%s", diff)
				}
				code := ""
				if e := w.ledger.last().Error; e != nil {
					code = e.Code
				}
				time.Sleep(time.Minute)
				if code != c.code || w.upstream.calls() != c.calls || w.upstream.effects() != c.effects {
					t.Errorf("ended with the code %q after %d calls and %d effects, want %q, %d and %d",
						code, w.upstream.calls(), w.upstream.effects(), c.code, c.calls, c.effects)
				}
				if w.observer.called != w.upstream.calls() && !strings.HasPrefix(c.name, "panic") {
					t.Errorf("the observer was told of %d calls, and there were %d", w.observer.called, w.upstream.calls())
				}
				w.check()
			})
		})
	}
}

// An effect that does not show is looked for again until it is given up; meanwhile the breaker hears that the upstream
// lives, also where only a probe would close it again.
func TestPendingUntilGivenUp(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.repeats()
		w.upstream.script = []reply{lostBefore}
		w.upstream.refs[events.CID("/billing", "r-1", "C-1")] = true // rejected, and the reference used up
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		began := time.Now()
		w.drive(ctx, w.worker("a"), w.send())
		last := w.ledger.last()
		if took := last.FinishedAt.Sub(began); last.Status != inDoubt || took < 10*time.Minute || took > 15*time.Minute {
			t.Fatalf("ended as %s after %s, want a doubt after 10m", last.Status, took)
		}
		if !strings.Contains(last.Error.Message, "as before") {
			t.Errorf("the doubt does not say what was seen last: %q", last.Error.Message)
		}
		for i, err := range w.verdicts {
			if i > 0 && err != nil {
				t.Errorf("verdict %d is %v, want none", i, err)
			}
		}
		if len(w.verdicts) < 5 {
			t.Errorf("only %d verdicts", len(w.verdicts))
		}
		w.check()
	})
}

// An unchanged state counts from the last call that may still be under way: a repetition may be the one.
func TestUnchangedAfterTheLastRepetition(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.repeats()
		slow := reply{took: 25 * time.Second, err: errUnclear}
		w.upstream.script = []reply{lostBefore, slow, slow, slow, refused, refused, refused, refused}
		w.drive(t.Context(), w.worker("a"), w.send())
		if diff := cmp.Diff(list(started, deferred, started, rejected), w.ledger.statuses()); diff != "" {
			t.Fatalf("the history differs (-want +got):\n%s", diff)
		}
		lastUnclear, said := w.upstream.book[3].Begin, w.ledger.records[1].FinishedAt
		if after := said.Sub(lastUnclear); after < time.Minute || after > 62*time.Second {
			t.Errorf("not applied was concluded %s after the last unclear call, want a minute", after)
		}
		w.check()
	})
}

// The expirytime says until when a command may be started. An attempt that was is settled all the same.
func TestSettledAfterExpiry(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.repeats()
		w.upstream.script = []reply{lostBefore, lostBefore}
		delivery := w.send(func(e *event.Event) { e.SetExtension(events.ExtExpiry, time.Now().Add(time.Second)) })
		w.drive(t.Context(), w.worker("a"), delivery)
		if last := w.ledger.last(); last.Status != succeeded || !last.FinishedAt.After(time.Now().Add(-time.Minute)) || w.upstream.effects() != 1 {
			t.Errorf("ended as %s with %d effects", last.Status, w.upstream.effects())
		}
		w.check()
	})
	inTime(t, func(t *testing.T, w *world) { // what is known to have changed nothing is not started again
		w.repeats()
		w.upstream.script = []reply{lostBefore, refused, refused}
		delivery := w.send(func(e *event.Event) { e.SetExtension(events.ExtExpiry, time.Now().Add(time.Second)) })
		w.drive(t.Context(), w.worker("a"), delivery)
		if diff := cmp.Diff(list(started, deferred, expired), w.ledger.statuses()); diff != "" {
			t.Errorf("the history differs (-want +got):\n%s", diff)
		}
		w.check()
	})
}

// Permission may be long in coming. An attempt that another worker has settled meanwhile is not called again: the
// command may have ended, and then nothing may have an effect any more.
func TestNoRepetitionOfWhatIsSettled(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.repeats()
		w.upstream.script = []reply{{dies: true}}
		delivery := w.send(func(e *event.Event) { e.SetExtension(events.ExtExpiry, time.Now().Add(10*time.Minute)) })
		w.drive(t.Context(), w.worker("a"), delivery)
		waiting := w.worker("b").Job(delivery)
		next := waiting.Prepare(t.Context(), false)
		for next.Action == events.Wait {
			time.Sleep(time.Until(next.At))
			next = waiting.Prepare(t.Context(), false)
		}
		if next.Action != events.Call {
			t.Fatalf("b is to %v", next.Action)
		}
		w.upstream.script = repeat(refused, 100)
		w.upstream.onCall = func(ref string) *reply {
			if !strings.HasSuffix(ref, ".1") {
				return &busy
			}
			return nil
		}
		w.drive(t.Context(), w.worker("c"), delivery)
		if w.ledger.last().Status != failed && w.ledger.last().Status != expired {
			t.Fatalf("c ended it as %s", w.ledger.last().Status)
		}
		calls := w.upstream.calls()
		w.upstream.script, w.upstream.onCall = nil, nil
		if next, err := waiting.Attempt(t.Context(), false); w.upstream.calls() != calls || events.KindOf(err) != events.Internal || err == nil {
			t.Errorf("b made %d calls and says %+v, %v", w.upstream.calls()-calls, next, err)
		}
		if end := w.driveJob(t.Context(), waiting, false); end != acked || w.upstream.effects() != 0 {
			t.Errorf("b was done with %s, and there are %d effects", end, w.upstream.effects())
		}
		w.check()
	})
}

// The same where the ledger cannot be read.
func TestNoRepetitionBlindly(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.repeats()
		w.upstream.script = []reply{lostBefore}
		at := nth(2, failsBefore) // the first is the look before permission
		w.upstream.onCall = func(string) *reply { w.ledger.onHistory = at; return nil }
		w.drive(t.Context(), w.worker("a"), w.send())
		if len(w.verdicts) != 3 || events.KindOf(w.verdicts[1]) != events.Internal || w.upstream.calls() != 2 {
			t.Errorf("%d calls, verdicts %v; want the ledger asked first", w.upstream.calls(), w.verdicts)
		}
		w.check()
	})
}

// zombie has worker a begin, and freeze somewhere; meanwhile worker b, and c after it, takes over. It answers how a and the last of the others were done with the command.
func zombie(t *testing.T, w *world, delivery events.Delivery) (a, other ending) {
	t.Helper()
	thawed := make(chan ending, 1)
	ctx, stop := context.WithTimeout(t.Context(), time.Hour)
	defer stop()
	go func() { thawed <- w.drive(ctx, w.worker("a"), delivery) }()
	time.Sleep(time.Second)
	other = w.drive(ctx, w.worker("b"), delivery)
	if other == died {
		time.Sleep(2 * time.Minute)
		other = w.drive(ctx, w.worker("c"), delivery)
	}
	return <-thawed, other
}

// A worker that was taken for dead thaws. What it knows of its own call no longer speaks for the attempt, which another
// has repeated: neither that nothing was called, nor that the call was refused, least of all for its reference.
func TestThawedAfterARepetition(t *testing.T) {
	answers := map[string]reply{
		"confirmed": confirmed, "refused": refused, "busy": busy, "unreachable": unreachable, "reply lost": lost, "request lost": lostBefore,
	}
	for name, first := range answers {
		for how, second := range map[string][]reply{
			"repetition accepted": {confirmed}, "repetition dies after its effect": {{applies: true, dies: true}},
			"repetition is under way": {{applies: true, effect: 20 * time.Second, took: 25 * time.Second}},
		} {
			for _, at := range []string{"before its call", "after its call"} {
				t.Run(name+", "+how+", frozen "+at, func(t *testing.T) {
					inTime(t, func(t *testing.T, w *world) {
						w.repeats()
						first, second := first, second
						if at == "before its call" {
							w.ledger.onAppend = once(1, freezes, status(started))
						}
						calls := 0
						w.upstream.onCall = func(string) *reply {
							calls++
							switch {
							case calls == 1 && at == "after its call":
								r := first
								r.freezes = true
								return &r
							case len(second) > 0:
								r := second[0]
								second = second[1:]
								return &r
							case at == "before its call" && first.err != nil:
								r := first
								first = confirmed
								return &r
							}
							return nil
						}
						a, other := zombie(t, w, w.send())
						time.Sleep(10 * time.Minute)
						if last := w.ledger.last(); a != acked || other != acked || last.Status != succeeded || w.upstream.effects() != 1 {
							t.Errorf("a was done with %s and the other with %s: %v, with %d effects", a, other, w.ledger.statuses(), w.upstream.effects())
						}
						if w.observer.late != 0 {
							t.Errorf("%d false alarms", w.observer.late)
						}
						w.check()
					})
				})
			}
		}
	}
}

// Another record came before our result, and others may have called for the attempt: only a success says something of
// it. A success behind "deferred" is that of a repetition which the worker that deferred did not know of.
func TestFencedByReference(t *testing.T) {
	for _, c := range []struct {
		ours  reply
		when  events.Status
		there events.Status
		own   bool
		want  []events.Status
	}{
		{confirmed, succeeded, inDoubt, true, list(started, inDoubt, succeeded)},
		{confirmed, succeeded, deferred, true, list(started, deferred, succeeded)},
		{confirmed, succeeded, deferred, false, list(started, deferred, succeeded)},
		{refused, rejected, inDoubt, true, list(started, inDoubt)},
		{busy, deferred, inDoubt, true, list(started, inDoubt)},
		{busy, deferred, deferred, true, list(started, deferred, started, succeeded)},
	} {
		t.Run(string(c.when)+" behind "+string(c.there), func(t *testing.T) {
			inTime(t, func(t *testing.T, w *world) {
				w.repeats()
				w.family.spec.HoldsAfterDoubt = false // so that the test need not resolve it
				w.upstream.script = []reply{c.ours}
				done := false
				w.ledger.first = func(o events.Outcome) *events.Outcome {
					if done || o.Status != c.when {
						return nil
					}
					done = true
					if c.there == inDoubt {
						w.dead.letters = append(w.dead.letters, events.DeadLetter{Delivery: w.sent[0], Reason: events.DeadInDoubt, CID: o.Command.CID})
					}
					return anothers(c.there, c.own)(o)
				}
				if end := w.drive(t.Context(), w.worker("a"), w.send()); end != acked {
					t.Errorf("the command was %s", end)
				}
				if diff := cmp.Diff(c.want, w.ledger.statuses()); diff != "" {
					t.Errorf("the history differs (-want +got):\n%s", diff)
				}
				w.check()
			})
		})
	}
}

// That an attempt changed nothing may be stored although nobody hears of it. Until it surely is not, nothing is called
// again: an effect that came before it would be denied by it.
func TestNoRepetitionBeforeADenialIsSurelyLost(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault fault
		want  []events.Status
		calls int
		after time.Duration // of the second call
	}{
		{"stored in time", storesSoon, list(started, deferred, started, succeeded), 2, 0},
		{"stored at once", failsAfter, list(started, deferred, started, succeeded), 2, 0},
		{"never stored", failsBefore, list(started, succeeded), 2, 15 * time.Second},
		{"never stored, after a while", hangs, list(started, succeeded), 2, 20 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			inTime(t, func(t *testing.T, w *world) {
				w.repeats()
				w.upstream.script = []reply{busy}
				w.ledger.onAppend = once(1, c.fault, status(deferred))
				began := time.Now()
				w.drive(t.Context(), w.worker("a"), w.send())
				if diff := cmp.Diff(c.want, w.ledger.statuses()); diff != "" || w.upstream.calls() != c.calls {
					t.Fatalf("%d calls, want %d; the history differs (-want +got):\n%s", w.upstream.calls(), c.calls, diff)
				}
				if after := w.upstream.book[1].Begin.Sub(began); after < c.after {
					t.Errorf("called again after %s, want %s at least", after, c.after)
				}
				w.check()
			})
		})
	}
	inTime(t, func(t *testing.T, w *world) { // a refusal too
		w.repeats()
		w.upstream.script = []reply{refused, refused, refused}
		w.ledger.onAppend = once(1, storesSoon, status(rejected))
		w.drive(t.Context(), w.worker("a"), w.send())
		if diff := cmp.Diff(list(started, rejected), w.ledger.statuses()); diff != "" || w.upstream.calls() != 1 {
			t.Errorf("%d calls; the history differs (-want +got):\n%s", w.upstream.calls(), diff)
		}
		w.check()
	})
}
