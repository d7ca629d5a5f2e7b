package handlers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"subrelay/events"
	"subrelay/handlers"
)

// kindsOfCRM is every kind of CRM.COM and Netflix, with a command of it.
var kindsOfCRM = []struct {
	kind          events.Kind
	subject, data string
	like          bool // it differs from the one before by a word alone: where tests are many, some are enough
}{
	{events.Amend, "S-1", amendFilms, false},
	{events.Swap, "S-1", swapInstance, true},
	{events.NetflixCreate, "C-1", customerC1, false},
	{events.NetflixSuspend, "C-1", customerC1, false},
	{events.NetflixUnsuspend, "C-1", customerC1, true},
	{events.NetflixCancel, "C-1", customerC1, true},
	{events.NetflixAcknowledge, "C-1", threeCharges, false},
	{events.NetflixAccept, "C-1", threeCharges, false},
	{events.NetflixDecline, "C-1", threeCharges, true},
}

// kindWorld is a world whose upstream is CRM.COM.
type kindWorld struct {
	*world
	crm           *crm
	kind          events.Kind
	subject, data string
}

// newKindWorld is a world of one kind, where each command can have its effect. means says that the operator has
// confirmed what settling needs.
func newKindWorld(t *testing.T, kind events.Kind, means bool) *kindWorld {
	t.Helper()
	w := &kindWorld{world: newWorld(t), crm: newCRM(kind), kind: kind}
	for _, k := range kindsOfCRM {
		if k.kind == kind {
			w.subject, w.data = k.subject, k.data
		}
	}
	if !means {
		w.crm.refs = nil
	}
	w.upstream, w.serves = w.crm.upstream, w.crm.family(kind, means)
	switch kind {
	case events.NetflixSuspend, events.NetflixCancel:
		w.crm.netflix["C-1"] = []events.NetflixSubscription{subscriber("N-1", events.NetflixEffective)}
	case events.NetflixUnsuspend:
		w.crm.netflix["C-1"] = []events.NetflixSubscription{subscriber("N-1", events.NetflixNotEffective)}
	case events.NetflixAcknowledge, events.NetflixAccept, events.NetflixDecline:
		w.crm.charges = charges("I1:PENDING I2:PENDING I3:PENDING I9:PENDING")
	}
	return w
}

func (w *kindWorld) send(change ...func(*event.Event)) events.Delivery {
	w.t.Helper()
	e := event.New()
	e.SetID(fmt.Sprint("k-", len(w.sent)+1))
	e.SetSource("/billing")
	e.SetType(events.CommandType(w.kind))
	e.SetSubject(w.subject)
	if err := e.SetData(event.ApplicationJSON, json.RawMessage(w.data)); err != nil {
		w.t.Fatal(err)
	}
	for _, c := range change {
		c(&e)
	}
	return w.deliver(&e)
}

func (w *kindWorld) holds() bool { return w.serves.Spec().HoldsAfterDoubt }

// settles reports whether the kind's unclear attempts can be settled here.
func (w *kindWorld) settles() bool { return w.serves.Settling().Means }

// driveToEnd drives until the command is done with, or holds its key in doubt for a while.
func (w *kindWorld) driveToEnd(d *handlers.Dispatcher, delivery events.Delivery) ending {
	ctx, stop := context.WithTimeout(w.t.Context(), patience)
	defer stop()
	go func() {
		for held := 0; held < 10; held++ {
			select {
			case <-time.After(5 * time.Second):
			case <-ctx.Done():
				return
			}
			if w.ledger.last().Status != inDoubt {
				held = 0
			}
		}
		stop()
	}()
	return w.drive(ctx, d, delivery)
}

// resolve has an operator look, and say the truth.
func (w *kindWorld) resolve() {
	w.t.Helper()
	by := events.Resolution{By: "ann", Reason: "looked"}
	h := w.ledger.history(w.subject, w.ledger.last().Command.CID)
	if _, err := handlers.Resolve(w.t.Context(), w.ledger, "subrelay", h, w.upstream.effects() > 0, by); err != nil {
		w.t.Error(err)
	}
}

// inTimeOf runs a test of one kind in virtual time.
func inTimeOf(t *testing.T, kind events.Kind, means bool, test func(t *testing.T, w *kindWorld)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newKindWorld(t, kind, means)) })
}

// What follows a call of each kind.
func TestLifeOfEachKind(t *testing.T) {
	const once, never = 1, 0
	for _, c := range []struct {
		name      string
		script    []reply
		settled   []events.Status // where the kind can settle
		unsettled []events.Status // where it cannot
		effects   int
	}{
		{"confirmed", nil, list(started, succeeded), list(started, succeeded), once},
		{"refused", []reply{refused}, list(started, rejected), list(started, rejected), never},
		{"upstream away, then back", []reply{unreachable}, list(started, deferred, started, succeeded), list(started, deferred, started, succeeded), once},
		{"reply lost", []reply{lost}, list(started, succeeded), list(started, inDoubt), once},
		{"worker dies after the effect", []reply{{applies: true, dies: true}}, list(started, succeeded), list(started, inDoubt), once},
		{"request lost", []reply{lostBefore}, nil, list(started, inDoubt), -1},
		{"request lost, and refused then", []reply{lostBefore, refused, refused, refused}, list(started, deferred, started, rejected), list(started, inDoubt), never},
	} {
		for _, k := range kindsOfCRM {
			for _, means := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, %s, means %v", c.name, k.kind, means), func(t *testing.T) {
					inTimeOf(t, k.kind, means, func(t *testing.T, w *kindWorld) {
						w.upstream.script = c.script
						delivery := w.send()
						if w.driveToEnd(w.worker("a"), delivery) == died {
							w.driveToEnd(w.worker("b"), delivery)
						}
						want, effects := c.unsettled, c.effects
						if w.settles() {
							want = c.settled
						}
						if want == nil && w.serves.Settling().Repeats { // the request was lost: the repetition has the effect
							want, effects = list(started, succeeded), once
						} else if want == nil {
							want, effects = list(started, deferred, started, succeeded), once
						} else if effects < 0 {
							effects = never
						}
						if diff := cmp.Diff(want, w.ledger.statuses()); diff != "" || w.upstream.effects() != effects {
							t.Errorf("%d effects, want %d; the history differs (-want +got):\n%s", w.upstream.effects(), effects, diff)
						}
						w.check()
					})
				})
			}
		}
	}
}

// What the outcome says where the reply was clear, where an unclear call was settled, and where an operator did.
func TestResultOfEachKind(t *testing.T) {
	cid := func(subject string) string { return events.CID("/billing", "k-1", subject) }
	clear := map[events.Kind]string{
		events.Amend: `{"reference":"` + cid("S-1") + `"}`, events.Swap: `{"reference":"` + cid("S-1") + `"}`,
		events.NetflixCreate: `{"netflix_token":"the-token"}`, events.NetflixAcknowledge: `{"taken":["I1","I2","I3"]}`,
		events.NetflixAccept: `{"taken":["I1","I2","I3"]}`, events.NetflixDecline: `{"taken":["I1","I2","I3"]}`,
	}
	byReference := `{"reference":"` + cid("S-1") + `","subscription_id":"id-S-1","subscription_number":"S-1","life_cycle_state":"EFFECTIVE","settled_by":"reference"}`
	settled := map[events.Kind]string{
		events.Amend: byReference, events.Swap: byReference, events.NetflixCreate: `{"token_lost":true,"settled_by":"read_back"}`,
		events.NetflixSuspend: `{"settled_by":"read_back"}`, events.NetflixUnsuspend: `{"settled_by":"read_back"}`,
		events.NetflixAcknowledge: `{"taken":["I1","I2","I3"],"settled_by":"read_back"}`,
		events.NetflixAccept:      `{"taken":["I1","I2","I3"],"settled_by":"read_back"}`,
		events.NetflixDecline:     `{"taken":["I1","I2","I3"],"settled_by":"read_back"}`,
	}
	for _, k := range kindsOfCRM {
		t.Run(string(k.kind), func(t *testing.T) {
			inTimeOf(t, k.kind, true, func(t *testing.T, w *kindWorld) {
				want := clear[k.kind]
				if want == "" {
					want = `{}`
				}
				w.drive(t.Context(), w.worker("a"), w.send())
				if got := w.ledger.last(); string(got.Result) != want {
					t.Errorf("confirmed: %s %s, want %s", got.Status, got.Result, want)
				}
			})
			inTimeOf(t, k.kind, true, func(t *testing.T, w *kindWorld) {
				if !w.settles() {
					return
				}
				w.upstream.script = []reply{lost}
				w.drive(t.Context(), w.worker("a"), w.send())
				if got := w.ledger.last(); string(got.Result) != settled[k.kind] {
					t.Errorf("settled: %s %s, want %s", got.Status, got.Result, settled[k.kind])
				}
			})
			inTimeOf(t, k.kind, false, func(t *testing.T, w *kindWorld) {
				want := `{"settled_by":"operator"}`
				if k.kind == events.NetflixCreate {
					want = `{"token_lost":true,"settled_by":"operator"}`
				}
				w.upstream.script = []reply{lost}
				delivery := w.send()
				w.driveToEnd(w.worker("a"), delivery)
				w.resolve() // the ledger checks the schema
				if got := w.ledger.last(); string(got.Result) != want || got.Status != succeeded {
					t.Errorf("resolved: %s %s, want %s", got.Status, got.Result, want)
				}
				w.check()
			})
		})
	}
}

// What an operator finds applied has the result that was known before any reply: that an action is only scheduled, by
// which reference it was sent, and that a token is lost.
func TestResultOfAResolvedDoubt(t *testing.T) {
	for _, c := range []struct {
		kind  events.Kind
		data  string
		means bool
		want  string
	}{
		{events.Amend, amendLater, false, `{"scheduled":true,"settled_by":"operator"}`},
		{events.Amend, amendLater, true, `{"reference":"REFERENCE","scheduled":true,"settled_by":"operator"}`},
		{events.Swap, swapInstance, false, `{"settled_by":"operator"}`},
		{events.NetflixCreate, customerC1, false, `{"token_lost":true,"settled_by":"operator"}`},
		{events.NetflixAccept, threeCharges, false, `{"settled_by":"operator"}`},
	} {
		t.Run(fmt.Sprintf("%s, means %v", c.kind, c.means), func(t *testing.T) {
			inTimeOf(t, c.kind, c.means, func(t *testing.T, w *kindWorld) {
				w.data = c.data
				w.upstream.script = []reply{lost}
				if c.means { // the effect is there, and nothing shows it any more
					w.upstream.script = append(w.upstream.script, slices.Repeat([]reply{{err: errUnclear}}, 10_000)...)
				}
				delivery := w.send()
				w.driveToEnd(w.worker("a"), delivery)
				want := strings.ReplaceAll(c.want, "REFERENCE", w.ledger.last().Command.CID)
				if got := w.ledger.last(); got.Status != inDoubt || string(got.IfApplied) != want {
					t.Fatalf("%s, if applied %s, want %s", got.Status, got.IfApplied, want)
				}
				w.resolve()
				if got := w.ledger.last(); got.Status != succeeded || string(got.Result) != want || got.IfApplied != nil {
					t.Errorf("%s %s (%s), want %s", got.Status, got.Result, got.IfApplied, want)
				}
			})
		})
	}
}

// The worker that doubts need not be the one that has called.
func TestResultOfAnInterruptedDoubt(t *testing.T) {
	for _, c := range []struct {
		kind       events.Kind
		data, want string
	}{
		{events.Amend, amendLater, `{"scheduled":true,"settled_by":"operator"}`},
		{events.NetflixCreate, customerC1, `{"token_lost":true,"settled_by":"operator"}`},
	} {
		inTimeOf(t, c.kind, false, func(t *testing.T, w *kindWorld) {
			w.data = c.data
			w.upstream.script = []reply{{applies: true, took: time.Hour}}
			delivery := w.send()
			ctx, die := context.WithTimeout(t.Context(), time.Second)
			defer die()
			w.drive(ctx, w.worker("a"), delivery)
			w.driveToEnd(w.worker("b"), delivery)
			if got := w.ledger.last(); got.Status != inDoubt || string(got.IfApplied) != c.want {
				t.Errorf("%s: %s, if applied %s", c.kind, got.Status, got.IfApplied)
			}
		})
	}
}

// After a doubt these kinds hold their key until somebody says what became of it; the charge kinds go on.
func TestHoldOfEachKind(t *testing.T) {
	for _, k := range kindsOfCRM {
		for _, applied := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, applied %v", k.kind, applied), func(t *testing.T) {
				inTimeOf(t, k.kind, false, func(t *testing.T, w *kindWorld) {
					w.upstream.script = []reply{{applies: applied, err: errUnclear}}
					delivery, d := w.send(), w.worker("a")
					end := make(chan ending, 1)
					go func() { end <- w.drive(t.Context(), d, delivery) }()
					time.Sleep(time.Hour)
					done, err := d.Done(t.Context(), delivery)
					if w.ledger.last().Status != inDoubt || done == w.holds() || err != nil || (len(end) == 0) != w.holds() {
						t.Fatalf("after an hour: done %v (%v), %d ends, last %s", done, err, len(end), w.ledger.last().Status)
					}
					w.resolve()
					want := failed
					if applied {
						want = succeeded
					}
					if got := <-end; got != acked || w.ledger.last().Status != want {
						t.Errorf("%s as %s, want %s", got, w.ledger.last().Status, want)
					}
					w.check()
				})
			})
		}
	}
}

// A command that the upstream knows no subscription of is refused before it is called, where settling reads first.
func TestUnknownSubscription(t *testing.T) {
	inTimeOf(t, events.Amend, true, func(t *testing.T, w *kindWorld) {
		w.upstream.reads = []error{&events.Error{Kind: events.Refused, Code: events.CodeNotFound, Message: "no such subscription"}}
		w.drive(t.Context(), w.worker("a"), w.send())
		last := w.ledger.last()
		if last.Status != rejected || last.Attempt != 0 || last.Error.Code != events.CodeNotFound || w.upstream.calls() != 0 {
			t.Errorf("ended as %s of attempt %d with %+v after %d calls", last.Status, last.Attempt, last.Error, w.upstream.calls())
		}
		w.check()
	})
}

// An amend with a scheduled date whose reply was lost is found among the scheduled actions.
func TestScheduledAmend(t *testing.T) {
	for name, script := range map[string][]reply{"confirmed": nil, "reply lost": {lost}, "request lost": {lostBefore}} {
		t.Run(name, func(t *testing.T) {
			inTimeOf(t, events.Amend, true, func(t *testing.T, w *kindWorld) {
				w.data, w.upstream.script = amendLater, script
				w.drive(t.Context(), w.worker("a"), w.send())
				var got events.ActionResult
				if err := json.Unmarshal(w.ledger.last().Result, &got); err != nil {
					t.Fatal(err)
				}
				want := events.ActionResult{Reference: events.CID("/billing", "k-1", "S-1"), Scheduled: true}
				if name != "confirmed" {
					want.SettledBy = "reference"
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("the result differs (-want +got):\n%s", diff)
				}
				w.check()
			})
		})
	}
}

// An upstream may look whether a call is possible before it looks at its reference. Then the repetition of what was done
// is refused, and the state tells.
func TestUpstreamThatChecksFirst(t *testing.T) {
	inTimeOf(t, events.Swap, true, func(t *testing.T, w *kindWorld) {
		w.upstream.script = []reply{lost}
		w.upstream.possible = func() bool { return w.crm.services["S-1"][0].Live() }
		w.drive(t.Context(), w.worker("a"), w.send())
		if last := w.ledger.last(); last.Status != succeeded || last.Attempt != 1 || w.upstream.calls() != 2 {
			t.Errorf("ended as %s of attempt %d after %d calls", last.Status, last.Attempt, w.upstream.calls())
		}
		w.check()
	})
}

// An upstream may take a charge and show no change of it for long. When it then says that it knows the reference, the
// attempt before must not be denied: the command is in doubt, and does not fail.
func TestChargesWhoseTakingDoesNotShow(t *testing.T) {
	inTimeOf(t, events.NetflixAccept, true, func(t *testing.T, w *kindWorld) {
		w.upstream.refs = map[string]bool{}
		w.upstream.script = []reply{lost}
		before := charges("I1:PENDING I2:PENDING I3:PENDING")
		w.upstream.onRead = func() error { w.crm.charges = maps.Clone(before); return nil }
		w.drive(t.Context(), w.worker("a"), w.send())
		last := w.ledger.last()
		if diff := cmp.Diff(list(started, deferred, started, inDoubt), w.ledger.statuses()); diff != "" || last.Error.Code != events.CodeDuplicate {
			t.Errorf("%+v; the history differs (-want +got):\n%s", last.Error, diff)
		}
	})
}

// What is read before a call may be larger than any record. An action goes on without it; what cannot is given up,
// and nothing is called: else it would try to start for ever.
func TestPlanThatNoRecordHolds(t *testing.T) {
	long := strings.Repeat("<", 60_000) // six times as long as JSON
	inTimeOf(t, events.Amend, true, func(t *testing.T, w *kindWorld) {
		w.crm.put("S-1", events.ServiceIdentifier{Code: long})
		w.drive(t.Context(), w.worker("a"), w.send())
		if last := w.ledger.last(); last.Status != succeeded || len(w.ledger.records[0].Start.Settle) > 1000 {
			t.Errorf("ended as %s, after a plan of %d bytes", last.Status, len(w.ledger.records[0].Start.Settle))
		}
		w.check()
	})
	inTimeOf(t, events.NetflixAcknowledge, true, func(t *testing.T, w *kindWorld) {
		w.crm.charges["I1"] = events.NetflixCharge{Number: "I1", ChargeStatus: long}
		w.drive(t.Context(), w.worker("a"), w.send())
		last := w.ledger.last()
		if last.Status != failed || last.Error.Code != events.CodeRead || w.upstream.calls() != 0 {
			t.Errorf("ended as %s with %+v after %d calls", last.Status, last.Error, w.upstream.calls())
		}
		w.check()
	})
}

// Charges that were not taken are told of; where none was, the command is refused.
func TestChargesThatWereNotTaken(t *testing.T) {
	inTimeOf(t, events.NetflixAccept, true, func(t *testing.T, w *kindWorld) {
		w.crm.decline["I2"] = "NOT_YOURS"
		w.drive(t.Context(), w.worker("a"), w.send())
		want := `{"taken":["I1","I3"],"failed":[{"number":"I2","error_code":"NOT_YOURS","error_description":"not taken"}]}`
		if last := w.ledger.last(); last.Status != succeeded || string(last.Result) != want {
			t.Errorf("ended as %s, %s", last.Status, last.Result)
		}
		w.check()
	})
	inTimeOf(t, events.NetflixAccept, true, func(t *testing.T, w *kindWorld) {
		w.crm.charges = charges("")
		w.drive(t.Context(), w.worker("a"), w.send())
		if last := w.ledger.last(); last.Status != rejected || last.Error.Code != events.CodeItemsRefused {
			t.Errorf("ended as %s, %+v", last.Status, last.Error)
		}
		w.check()
	})
}

// A worker ends, or its port fails in some other way, at each point of the life of each kind's command; then another
// takes over. Where a doubt is left, an operator says the truth.
func TestEveryCrashPointOfEachKind(t *testing.T) {
	points := crashPoints()
	for n := range 3 {
		points = append(points, point{fmt.Sprintf("the read %d fails", n+1), func(w *world) {
			w.upstream.reads = append(make([]error, n), errRead, errRead)
		}, ""})
	}
	died, diedBefore := reply{applies: true, dies: true}, reply{dies: true}
	scripts := map[string][]reply{
		"confirmed": {confirmed}, "refused": {refused}, "busy once": {busy},
		"reply lost": {lost}, "request lost": {lostBefore}, "lost twice": {lost, lost}, "refused then": {lostBefore, refused, refused},
		"dying after the effect": {died}, "dying before the effect": {diedBefore},
		"dying in the second call, after its effect": {lostBefore, died}, "dying in the second call, after the first's": {lost, diedBefore},
	}
	for _, k := range kindsOfCRM {
		for _, means := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, means %v", k.kind, means), func(t *testing.T) {
				for name, script := range scripts {
					if k.like && !means && name != "reply lost" && name != "dying before the effect" {
						continue
					}
					if !means && len(script) > 1 || !means && name == "busy once" {
						continue // nothing is called again, and this is as with means
					}
					var seen []events.Status // without a fault
					inTimeOf(t, k.kind, means, func(_ *testing.T, w *kindWorld) {
						w.upstream.script = append([]reply(nil), script...)
						w.crashAndTakeOver(name)
						seen = w.ledger.statuses()
					})
					for _, p := range points {
						if p.stores != "" && !slices.Contains(seen, p.stores) {
							continue
						}
						inTimeOf(t, k.kind, means, func(t *testing.T, w *kindWorld) {
							if means && !w.settles() {
								return // as where it does not mean to
							}
							w.upstream.script = append([]reply(nil), script...)
							p.set(w.world)
							w.crashAndTakeOver(name + ", " + p.name)
						})
					}
				}
			})
		}
	}
}

func (w *kindWorld) crashAndTakeOver(point string) {
	delivery := w.send()
	end := w.driveToEnd(w.worker("a"), delivery)
	for _, name := range []string{"b", "c"} {
		if end == died {
			end = w.driveToEnd(w.worker(name), delivery)
		}
	}
	time.Sleep(3 * time.Minute) // what is stored late
	w.ledger.onHistory, w.ledger.onAppend, w.dead.onPut = nil, nil, nil
	if w.ledger.last().Status == inDoubt {
		if w.settles() && w.upstream.refs != nil {
			w.t.Errorf("%s: a doubt, where a repetition tells all", point)
		}
		w.resolve()
	}
	last := w.ledger.last()
	if again := w.driveToEnd(w.worker("d"), delivery); again != acked || w.ledger.last().Seq != last.Seq || !last.Status.Final() {
		w.t.Errorf("%s: the command was %s as %s; a redelivery was %s, and the last record is %d, not %d",
			point, end, last.Status, again, w.ledger.last().Seq, last.Seq)
	}
	if report := w.check(); !report.OK() || w.observer.late > 0 {
		w.t.Errorf("%s: see above; %d alarms", point, w.observer.late)
	}
}
