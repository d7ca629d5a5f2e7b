package handlers_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/events"
	"subrelay/handlers"
)

// point is a point of a command's life where a worker ends, or its port fails in some other way.
type point struct {
	name   string
	set    func(w *world)
	stores events.Status // the status that the record must have which is being stored; "" at other points
}

func crashPoints() []point {
	var points []point
	faults := map[string]fault{
		"fails before": failsBefore, "fails after": failsAfter, "hangs": hangs, "is stored late": storesLate, "freezes": freezes,
		"panics before": panics, "panics after": panicsAfter, "dies before": dies, "dies after": diesAfter,
	}
	for name, f := range faults {
		for _, s := range []events.Status{started, deferred, succeeded, rejected, failed, inDoubt} {
			points = append(points, point{fmt.Sprintf("storing %s %s", s, name), func(w *world) { w.ledger.onAppend = once(1, f, status(s)) }, s})
		}
		points = append(points,
			point{"reading the history " + name, func(w *world) { w.ledger.onHistory = nth(1, f) }, ""},
			point{"reading it again " + name, func(w *world) { w.ledger.onHistory = nth(2, f) }, ""},
			point{"the dead letter " + name, func(w *world) {
				at := nth(1, f)
				w.dead.onPut = func(events.DeadLetter) fault { return at() }
			}, ""})
	}
	return points
}

// A worker ends, or its port fails in some other way, at each point of a command's life in turn; then another worker
// takes over. The history must keep the promise, and the command must come to its end.
func TestEveryCrashPoint(t *testing.T) {
	points := crashPoints()
	scripts := map[string][]reply{
		"confirmed": {confirmed}, "refused": {refused}, "busy once": {busy}, "busy to the end": repeat(busy, 6),
		"reply lost": {lost}, "request lost": {lostBefore},
		"dying after the effect": {{applies: true, dies: true}}, "dying before the effect": {{dies: true}},
	}
	for scriptName, script := range scripts {
		for settlingName, settling := range map[string]handlers.Settling{"no means": {}, "read back": readBack} {
			t.Run(scriptName+", "+settlingName, func(t *testing.T) {
				for _, p := range points {
					inTime(t, func(t *testing.T, w *world) {
						w.upstream.script, w.family.settling = append([]reply(nil), script...), settling
						p.set(w)
						crashAndTakeOver(t, w, p.name)
					})
				}
			})
		}
	}
}

func nth(n int, f fault) func() fault {
	return func() fault {
		n--
		if n == 0 {
			return f
		}
		return works
	}
}

func crashAndTakeOver(t *testing.T, w *world, point string) {
	delivery := w.send()
	end := w.drive(t.Context(), w.worker("a"), delivery)
	for _, name := range []string{"b", "c"} { // a script and a point may each cost a worker
		if end == died {
			end = w.drive(t.Context(), w.worker(name), delivery)
		}
	}
	time.Sleep(3 * time.Minute) // what is stored late
	w.ledger.onHistory, w.ledger.onAppend, w.dead.onPut = nil, nil, nil
	last := w.ledger.last()
	if end != acked || !last.Status.Final() && last.Status != inDoubt {
		t.Errorf("%s: the command was %s as %s", point, end, last.Status)
	}
	if again := w.drive(t.Context(), w.worker("d"), delivery); again != acked || w.ledger.last().Seq != last.Seq {
		t.Errorf("%s: a redelivery of what is done was %s, and the last record is %d, not %d", point, again, w.ledger.last().Seq, last.Seq)
	}
	if report := w.check(); !report.OK() {
		t.Errorf("%s: see above", point)
	}
}

// Where nothing was called, or what came of a call is known, there is no doubt, however the ledger behaves.
func TestNoNeedlessDoubt(t *testing.T) {
	for name, f := range map[string]fault{
		"not known to be stored": failsAfter, "stored late": storesLate, "frozen": freezes, "panic": panicsAfter, "not stored": failsBefore,
	} {
		for _, at := range []events.Status{started, succeeded} {
			t.Run(string(at)+" "+name, func(t *testing.T) {
				inTime(t, func(t *testing.T, w *world) {
					if at == succeeded && f == panicsAfter {
						t.Skip("covered by the crash points: the record is there")
					}
					w.ledger.onAppend = once(1, f, status(at))
					w.drive(t.Context(), w.worker("a"), w.send())
					if got := w.ledger.last().Status; got != succeeded {
						t.Errorf("it ended as %s: %v", got, w.ledger.statuses())
					}
					w.check()
				})
			})
		}
	}
}

// A start whose acknowledgement came too late must not be called: somebody else may be settling it.
func TestDeadline(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.ledger.onAppend = once(1, freezes, status(started))
		w.upstream.onCall = func(ref string) *reply {
			if ref == events.CID("/billing", "r-1", "C-1")+".1" {
				t.Error("the first attempt was called after its deadline")
			}
			return nil
		}
		w.drive(t.Context(), w.worker("a"), w.send())
		if got := w.ledger.records[1]; got.Status != deferred || got.Error.Code != events.CodeLate || got.Spent.Attempts != 0 {
			t.Errorf("the first attempt ended as %+v", got)
		}
	})
}

// A worker that thaws while another has taken its attempt for unclear does not call, and ends the other's doubt.
func TestThawedWorkerEndsTheDoubt(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.ledger.onAppend = once(1, freezes, status(started))
		delivery := w.send()
		thawed := make(chan ending)
		go func() { thawed <- w.drive(t.Context(), w.worker("a"), delivery) }()
		time.Sleep(time.Second)
		if end := w.drive(t.Context(), w.worker("b"), delivery); end != acked || w.ledger.last().Status != inDoubt {
			t.Errorf("b was done with %s as %s", end, w.ledger.last().Status)
		}
		if end := <-thawed; end != acked || w.ledger.last().Status != failed || w.upstream.calls() != 0 {
			t.Errorf("a was done with %s as %s after %d calls", end, w.ledger.last().Status, w.upstream.calls())
		}
		w.check()
	})
}

// Another's call may be under way: until its time is up, nothing is settled, and its result is taken.
func TestAnothersStart(t *testing.T) {
	for _, c := range []struct {
		name string
		took time.Duration
		want events.Status
	}{{"reports in time", 25 * time.Second, succeeded}, {"never reports", 0, inDoubt}} {
		t.Run(c.name, func(t *testing.T) {
			inTime(t, func(t *testing.T, w *world) {
				w.upstream.script = []reply{{applies: true, took: c.took, dies: c.took == 0}}
				delivery := w.send()
				first := make(chan ending, 1)
				go func() { first <- w.drive(t.Context(), w.worker("a"), delivery) }()
				time.Sleep(time.Second)
				began := time.Now()
				if end := w.drive(t.Context(), w.worker("b"), delivery); end != acked {
					t.Fatalf("b was done with %s", end)
				}
				waited := time.Since(began)
				if w.ledger.last().Status != c.want {
					t.Errorf("it ended as %s, want %s", w.ledger.last().Status, c.want)
				}
				// call time-out, its slack, publish time-out, election
				if c.want == inDoubt && (waited < 51*time.Second || waited > 52*time.Second) {
					t.Errorf("b waited %s, want 51s from its first sight", waited)
				}
				<-first
				w.check()
			})
		})
	}
}

// Where there can be no history, none is read; where there is one after all, the first write tells.
func TestFreshDuplicate(t *testing.T) {
	for name, expiry := range map[string]time.Duration{"in time": time.Hour, "expired": time.Minute} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, w *world) {
				set := func(e *event.Event) { e.SetExtension(events.ExtExpiry, time.Now().Add(expiry)) }
				reads := 0
				w.ledger.onHistory = func() fault { reads++; return works }
				first := w.send(set)
				if end := w.driveJob(t.Context(), w.worker("a").Job(first), true); end != acked || reads != 0 {
					t.Errorf("the first was %s after %d reads, want acked after none", end, reads)
				}
				again := w.deliver(first.Event)
				time.Sleep(2 * time.Minute)
				if end := w.driveJob(t.Context(), w.worker("a").Job(again), true); end != acked || reads != 1 || w.upstream.calls() != 1 {
					t.Errorf("the duplicate was %s after %d reads and %d calls, want acked after 1 and 1", end, reads, w.upstream.calls())
				}
				w.check()
			})
		})
	}
}

// A worker's grace period ends at different points.
func TestShutdown(t *testing.T) {
	hang := reply{applies: true, effect: time.Millisecond, took: 20 * time.Second}
	for _, c := range []struct {
		name     string
		script   []reply
		append   fault
		at       time.Duration
		want     []events.Status
		handover ending
		after    events.Status
		calls    int
	}{
		{"while the start is being stored", nil, hangsThenWorks, time.Second, []events.Status{started, deferred}, released, succeeded, 1},
		{"during the call", []reply{hang}, works, time.Second, []events.Status{started}, released, inDoubt, 1},
		{"while waiting for the next attempt", []reply{busy}, works, time.Second, []events.Status{started, deferred}, released, succeeded, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			inTime(t, func(t *testing.T, w *world) {
				w.upstream.script = c.script
				if c.append == hangsThenWorks {
					w.ledger.first = once1(func(o events.Outcome) { time.Sleep(2 * time.Second) })
				}
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				time.AfterFunc(c.at, stop)
				delivery := w.send()
				if end := w.drive(ctx, w.worker("a"), delivery); end != c.handover {
					t.Errorf("the command was %s, want %s", end, c.handover)
				}
				got := w.ledger.statuses()
				if fmt.Sprint(got) != fmt.Sprint(c.want) || len(w.dead.reasons()) != 0 {
					t.Errorf("the stop left %v and the dead letters %v, want %v and none", got, w.dead.reasons(), c.want)
				}
				if last := w.ledger.last(); c.append == hangsThenWorks &&
					(last.Error == nil || last.Error.Code != events.CodeShutdown || last.Spent.Attempts != 0) {
					t.Errorf("the attempt that was not called ended as %+v with %+v", last.Error, last.Spent)
				}
				w.drive(t.Context(), w.worker("b"), delivery)
				if w.ledger.last().Status != c.after || w.upstream.calls() != c.calls {
					t.Errorf("the next worker ended it as %s after %d calls, want %s after %d", w.ledger.last().Status, w.upstream.calls(), c.after, c.calls)
				}
				w.check()
			})
		})
	}
}

const hangsThenWorks fault = -1

func once1(do func(events.Outcome)) func(events.Outcome) *events.Outcome {
	done := false
	return func(o events.Outcome) *events.Outcome {
		if !done {
			done = true
			do(o)
		}
		return nil
	}
}

// What a call has shown is stored even though the worker ends at that moment.
func TestResultAtTheEnd(t *testing.T) {
	for _, c := range []struct {
		name  string
		reply reply
		want  events.Status
	}{
		{"confirmed", confirmed, succeeded}, {"refused", refused, rejected},
		{"not sent", reply{err: &events.Error{Kind: events.Internal, Code: events.CodeShutdown, Cause: context.Canceled}}, deferred},
	} {
		t.Run(c.name, func(t *testing.T) {
			inTime(t, func(t *testing.T, w *world) {
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				w.upstream.onCall = func(string) *reply { stop(); return &c.reply }
				w.drive(ctx, w.worker("a"), w.send())
				if last := w.ledger.last(); last.Status != c.want || last.Spent != nil && last.Spent.Attempts != 0 {
					t.Errorf("the ledger ends with %s, %+v, want %s and no attempt used", last.Status, last.Spent, c.want)
				}
			})
		})
	}
}

func TestNoAttemptBeginsAtTheEnd(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		j := w.worker("a").Job(w.send())
		j.Prepare(t.Context(), true)
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if next, err := j.Attempt(ctx, false); next.Action != events.Release || err == nil || len(w.ledger.records) != 0 {
			t.Errorf("Attempt answers %+v, %v; the ledger has %v", next, err, w.ledger.statuses())
		}
	})
}

// Nothing at all is written by a worker that is ending already.
func TestNothingBeginsAtTheEnd(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"good":    func(*world) {},
		"expired": func(w *world) { w.sent[0].Event.SetExtension(events.ExtExpiry, time.Now().Add(-time.Hour)) },
		"invalid": func(w *world) { _ = w.sent[0].Event.SetData("application/json", []byte(`{}`)) },
		"unread":  func(w *world) { w.sent[0].Event.SetSource("") },
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, w *world) {
				w.send()
				change(w)
				ctx, stop := context.WithCancel(t.Context())
				stop()
				if end := w.drive(ctx, w.worker("a"), w.sent[0]); end != released || len(w.ledger.records)+len(w.dead.letters)+w.upstream.calls() != 0 {
					t.Errorf("%s, %v, %v, %d calls", end, w.ledger.statuses(), w.dead.reasons(), w.upstream.calls())
				}
			})
		})
	}
}
