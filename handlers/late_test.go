package handlers_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"subrelay/events"
	"subrelay/handlers"
)

// ends checks how a command of one kind ended.
func (w *kindWorld) ends(effects int, want ...events.Status) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.ledger.statuses()); diff != "" {
		w.t.Errorf("%s: the history differs (-want +got):\n%s\n%+v", w.kind, diff, w.ledger.last().Error)
	}
	if n := w.upstream.effects(); n != effects {
		w.t.Errorf("%s: %d effects, want %d", w.kind, n, effects)
	}
}

// waits sets the pause before a second attempt.
func (w *kindWorld) waits(pause time.Duration) {
	w.config = func(c *handlers.Config) {
		c.Policies = map[events.Kind]handlers.Policy{w.kind: {Initial: pause}}
	}
}

// The upstream has said that it knows the reference. What it says to the next repetition cannot make that unsaid: the
// attempt was probably done, and is never denied.
func TestSeenBeforeAndThenRefused(t *testing.T) {
	inTimeOf(t, events.Amend, true, func(t *testing.T, w *kindWorld) {
		calls := 0
		w.upstream.onCall = func(string) *reply {
			switch calls++; calls {
			case 1:
				return &reply{err: errUnclear}
			case 2:
				return &reply{err: errDuplicate}
			}
			return &refused
		}
		w.driveToEnd(w.worker("a"), w.send())
		w.ends(0, started, inDoubt)
		if last := w.ledger.last(); !strings.Contains(last.Error.Message, "its reference is known there") {
			t.Errorf("the doubt says %+v", last.Error)
		}
	})
}

// An effect that comes later than it could be believed, after the attempt was settled as not applied, is not had twice,
// and not denied.
func TestEffectAfterItWasSettled(t *testing.T) {
	late := reply{applies: true, effect: 75 * time.Second, err: errUnclear}
	for _, kind := range []events.Kind{events.NetflixCreate, events.NetflixSuspend} {
		inTimeOf(t, kind, true, func(t *testing.T, w *kindWorld) {
			w.waits(30 * time.Second)
			w.upstream.script = []reply{late}
			w.driveToEnd(w.worker("a"), w.send())
			w.ends(1, started, deferred, succeeded)
			if n := w.upstream.calls(); n != 1 {
				t.Errorf("%s: %d calls", kind, n)
			}
			w.check()
		})
	}
	inTimeOf(t, events.NetflixAcknowledge, true, func(t *testing.T, w *kindWorld) { // the second call is refused, and is no denial
		w.waits(30 * time.Second)
		w.upstream.script = []reply{late}
		w.upstream.onCall = func(ref string) *reply {
			if strings.HasSuffix(ref, ".2") {
				w.crm.decline = map[string]string{"I1": "GONE", "I2": "GONE", "I3": "GONE"}
			}
			return nil
		}
		w.driveToEnd(w.worker("a"), w.send())
		w.ends(1, started, deferred, started, succeeded) // by reading: all are gone
		w.check()
	})
	inTimeOf(t, events.NetflixSuspend, true, func(t *testing.T, w *kindWorld) {
		w.waits(30 * time.Second)
		w.upstream.script = []reply{{err: errUnclear}}
		time.AfterFunc(75*time.Second, func() { // neither as before nor the target
			w.crm.mu.Lock()
			defer w.crm.mu.Unlock()
			w.crm.netflix["C-1"] = []events.NetflixSubscription{subscriber("N-9", events.NetflixEffective)}
		})
		w.driveToEnd(w.worker("a"), w.send())
		w.ends(0, started, deferred, inDoubt)
		w.check()
	})
	inTimeOf(t, events.Swap, true, func(t *testing.T, w *kindWorld) { // and its repetition is refused, since it was done
		w.waits(20 * time.Second)
		calls := 0
		w.upstream.possible = func() bool { return w.crm.services["S-1"][0].Live() }
		w.upstream.onCall = func(ref string) *reply {
			switch calls++; {
			case calls == 1:
				return &reply{applies: true, effect: 70 * time.Second, took: time.Hour}
			case strings.HasSuffix(ref, ".1"):
				return &refused
			}
			return nil
		}
		w.driveToEnd(w.worker("a"), w.send())
		w.ends(1, started, deferred, started, succeeded)
		w.check()
	})
}

// An unclear attempt is not forgotten over one that surely changed nothing: its effect is looked for before each attempt
// that follows.
func TestEffectBehindASureFailure(t *testing.T) {
	for _, kind := range []events.Kind{events.NetflixCreate, events.NetflixSuspend} {
		inTimeOf(t, kind, true, func(t *testing.T, w *kindWorld) {
			w.waits(10 * time.Second)
			w.upstream.script = []reply{{applies: true, effect: 90 * time.Second, err: errUnclear}, busy}
			w.driveToEnd(w.worker("a"), w.send())
			w.ends(1, started, deferred, started, deferred, succeeded)
			if n := w.upstream.calls(); n != 2 {
				t.Errorf("%s: %d calls", kind, n)
			}
		})
	}
	inTimeOf(t, events.NetflixAcknowledge, true, func(t *testing.T, w *kindWorld) { // it takes two late, and the third then
		w.waits(10 * time.Second)
		w.upstream.script = []reply{{err: errUnclear}, busy}
		w.upstream.onCall = func(ref string) *reply {
			if strings.HasSuffix(ref, ".3") {
				w.crm.decline = map[string]string{"I1": "GONE", "I2": "GONE"}
			}
			return nil
		}
		time.AfterFunc(75*time.Second, func() {
			w.crm.mu.Lock()
			defer w.crm.mu.Unlock()
			w.crm.charges = charges("I3:PENDING I9:PENDING")
		})
		w.driveToEnd(w.worker("a"), w.send())
		if last := w.ledger.last(); last.Status != succeeded || string(last.Result) != `{"taken":["I1","I2","I3"],"settled_by":"read_back"}` {
			t.Errorf("%s %s %+v", last.Status, last.Result, last.Error)
		}
	})
}

// A charge that is refused behind an unclear attempt, and is listed still, was refused; the others were taken all the same.
func TestPartialRefusalBehindAnUnclearAttempt(t *testing.T) {
	inTimeOf(t, events.NetflixAcknowledge, true, func(t *testing.T, w *kindWorld) {
		w.waits(10 * time.Second)
		w.upstream.script = []reply{{err: errUnclear}}
		w.crm.decline = map[string]string{"I3": "NOT_YOURS"}
		w.driveToEnd(w.worker("a"), w.send())
		w.ends(1, started, deferred, started, succeeded)
		const want = `{"taken":["I1","I2"],"failed":[{"number":"I3","error_code":"NOT_YOURS","error_description":"not taken"}]}`
		if got := w.ledger.last().Result; string(got) != want {
			t.Errorf("got %s", got)
		}
		w.check()
	})
}

// What was done late is why the next attempt is refused: the refusal is no end of the command.
func TestRefusalForALateEffect(t *testing.T) {
	for kind, want := range map[events.Kind]string{
		events.NetflixCreate:  `{"token_lost":true,"settled_by":"read_back"}`,
		events.NetflixSuspend: `{"settled_by":"read_back"}`,

		events.NetflixAcknowledge: `{"taken":["I1","I2","I3"],"settled_by":"read_back"}`,
	} {
		inTimeOf(t, kind, true, func(t *testing.T, w *kindWorld) {
			w.upstream.onCall = func(ref string) *reply {
				if strings.HasSuffix(ref, ".1") {
					return &reply{err: errUnclear}
				}
				// It comes just before. The lock is held.
				w.crm.charges = nil
				state := map[events.Kind]string{events.NetflixCreate: events.NetflixEffective, events.NetflixSuspend: events.NetflixNotEffective}[kind]
				w.crm.netflix["C-1"] = []events.NetflixSubscription{subscriber("N-1", state)}
				return &refused
			}
			w.driveToEnd(w.worker("a"), w.send())
			w.ends(0, started, deferred, started, succeeded)
			if last := w.ledger.last(); string(last.Result) != want {
				t.Errorf("%s: %s", kind, last.Result)
			}
		})
		inTimeOf(t, kind, true, func(t *testing.T, w *kindWorld) { // and without one it is
			w.upstream.script = []reply{{err: errUnclear}, refused}
			w.driveToEnd(w.worker("a"), w.send())
			w.ends(0, started, deferred, started, rejected)
			w.check()
		})
	}
}

// Between the look before an attempt and the attempt's own read an effect can come, too.
func TestEffectBetweenTwoReads(t *testing.T) {
	inTimeOf(t, events.NetflixCreate, true, func(t *testing.T, w *kindWorld) {
		w.upstream.script = []reply{{err: errUnclear}}
		reads := 0
		w.crm.onRead = func() {
			if reads++; reads == 5 { // one before the first, two to settle it, one before the second, and its own
				w.crm.netflix["C-1"] = []events.NetflixSubscription{subscriber("N-1", events.NetflixEffective)}
			}
		}
		w.driveToEnd(w.worker("a"), w.send())
		w.ends(0, started, deferred, succeeded)
		if n := w.upstream.calls(); n != 1 {
			t.Errorf("%d calls", n)
		}
	})
}

// A refusal behind an attempt that was settled as not applied is one, where the state is still that before.
func TestRefusalBehindAnUnclearAttempt(t *testing.T) {
	inTimeOf(t, events.Amend, true, func(t *testing.T, w *kindWorld) {
		calls := 0
		w.upstream.onCall = func(string) *reply {
			if calls++; calls == 1 {
				return &reply{err: errUnclear}
			}
			return &refused
		}
		w.driveToEnd(w.worker("a"), w.send())
		w.ends(0, started, deferred, started, rejected)
	})
}

// The settings may change while a command is under way: every attempt and every repetition goes out under the reference
// of the first.
func TestReferenceOfTheFirstAttempt(t *testing.T) {
	for _, kind := range []events.Kind{events.Amend, events.Swap} {
		inTimeOf(t, kind, true, func(t *testing.T, w *kindWorld) {
			w.upstream.onCall = func(string) *reply { w.crm.format = "NEW-"; return nil }
			w.upstream.script = []reply{busy, lost}
			w.driveToEnd(w.worker("a"), w.send())
			w.ends(1, started, deferred, started, succeeded)
			first := w.crm.references[0]
			if len(w.crm.references) < 3 || slices.ContainsFunc(w.crm.references, func(r string) bool { return r != first }) {
				t.Errorf("%s was sent under %q", kind, w.crm.references)
			}
			w.check()
		})
	}
}

// A doubt that nobody resolves is forgotten with the ledger's records. Its command is not taken for a new one.
func TestForgottenDoubt(t *testing.T) {
	for _, dated := range []bool{false, true} {
		inTimeOf(t, events.NetflixCreate, false, func(t *testing.T, w *kindWorld) {
			w.config = func(c *handlers.Config) { c.Memory = 10 * time.Minute }
			w.upstream.script = []reply{lost}
			d := w.send(func(e *event.Event) {
				if dated {
					e.SetTime(time.Now())
				}
			})
			time.AfterFunc(11*time.Minute, func() {
				w.ledger.mu.Lock()
				defer w.ledger.mu.Unlock()
				if last := w.ledger.records[len(w.ledger.records)-1]; last.Status != inDoubt {
					t.Errorf("its last record was %s", last.Status)
				}
				w.ledger.records = nil
			})
			w.drive(t.Context(), w.worker("a"), d)
			if n := w.upstream.calls(); n != 1 || len(w.ledger.statuses()) != 0 {
				t.Errorf("dated %v: %d calls, %v", dated, n, w.ledger.statuses())
			}
			if reasons := w.dead.reasons(); !slices.Contains(reasons, events.DeadStale) {
				t.Errorf("dated %v: the dead letters are %v", dated, reasons)
			}
		})
	}
}

// What CRM.COM says that it has only scheduled is told so, whether or not the command asked for it.
func TestScheduledByTheUpstream(t *testing.T) {
	inTimeOf(t, events.Amend, false, func(t *testing.T, w *kindWorld) {
		w.crm.schedules = true
		w.drive(t.Context(), w.worker("a"), w.send())
		var r events.ActionResult
		if err := json.Unmarshal(w.ledger.last().Result, &r); err != nil || !r.Scheduled {
			t.Errorf("the result is %s, %v", w.ledger.last().Result, err)
		}
	})
}

// Where the upstream knows the references of some charges, it is ours that it knows, unless this is the first attempt:
// then others have used them, and these charges failed like any others.
func TestSomeChargesSeenBefore(t *testing.T) {
	crm := newCRM(events.NetflixAcknowledge)
	failed := []events.FailedCharge{{Number: "I2", ErrorCode: "DUPLICATE"}}
	seen := &events.Error{Kind: events.Conflict, Code: events.CodeDuplicate, Message: "seen 1 of 3"}
	f := handlers.NetflixCharges{Kind: events.NetflixAcknowledge, Taker: taker{crm, failed, seen}}
	op, err := f.Open(&events.Command{Subject: "C-1", CID: "cid", Kind: f.Kind, Data: json.RawMessage(threeCharges)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := op.Call(t.Context(), handlers.Try{Number: 1})
	if want := `{"taken":["I1","I3"],"failed":[{"number":"I2","error_code":"DUPLICATE"}]}`; err != nil || string(got) != want {
		t.Errorf("the first attempt answers %s, %v", got, err)
	}
	if got, err := op.Call(t.Context(), handlers.Try{Number: 2}); events.KindOf(err) != events.Unknown {
		t.Errorf("the second attempt answers %s, %v", got, err)
	}
}

// What shows of an acceptance, only the operator can know: Netflix processes charges by itself too.
func TestChargesProcessedByNetflix(t *testing.T) {
	for _, kind := range []events.Kind{events.NetflixAccept, events.NetflixDecline} {
		f := newCRM(kind).family(kind, true).(handlers.NetflixCharges)
		f.States = nil
		if got := f.Settling(); got.Means {
			t.Errorf("%s is settled by %+v, where no state shows it", kind, got)
		}
	}
}

// The read before a call may take long. A command that has expired by then is not started.
func TestExpiredDuringTheRead(t *testing.T) {
	inTimeOf(t, events.NetflixSuspend, true, func(t *testing.T, w *kindWorld) {
		w.upstream.onRead = func() error { time.Sleep(20 * time.Second); return nil }
		w.drive(t.Context(), w.worker("a"), w.send(func(e *event.Event) {
			e.SetExtension(events.ExtExpiry, time.Now().Add(10*time.Second))
		}))
		w.ends(0, events.Expired)
		if n := w.upstream.calls(); n != 0 {
			t.Errorf("%d calls", n)
		}
	})
}

// Where neither a target nor the services' ids could show that a change was made, that nothing shows proves nothing.
func TestUnchangedWhereNothingCouldShow(t *testing.T) {
	inTimeOf(t, events.Amend, true, func(t *testing.T, w *kindWorld) {
		w.crm.services["S-1"] = []events.SubscribedService{service("", "SPORTS")}
		w.data = `{"subscription_identifier":{"number":"S-1"},"services_to_add_set":[{"service_identifier":{"code":"SPORTS"}}],` +
			`"services_to_remove_set":[{"service_identifier":{"code":"SPORTS"}}]}`
		calls := 0
		w.upstream.onCall = func(string) *reply {
			if calls++; calls == 1 {
				return &reply{err: errUnclear}
			}
			return &refused
		}
		w.driveToEnd(w.worker("a"), w.send())
		w.ends(0, started, inDoubt)
	})
}

// A wall clock that is put back does not make our own old attempt young: another may be settling it by now.
func TestOwnAttemptUnderAClockThatIsPutBack(t *testing.T) {
	inTimeOf(t, events.Amend, true, func(t *testing.T, w *kindWorld) {
		back := time.Duration(0)
		w.config = func(c *handlers.Config) { c.Clock = func() time.Time { return time.Now().Add(-back) } }
		calls := 0
		w.upstream.onCall = func(string) *reply {
			if calls++; calls == 1 {
				back = time.Hour // and we were frozen meanwhile, while another repeated the call
				w.crm.put("S-1", events.ServiceIdentifier{Code: "FILMS"})
				return &reply{err: refused.err, freezes: true}
			}
			return nil
		}
		w.driveToEnd(w.worker("a"), w.send())
		if last := w.ledger.last(); last.Status == rejected {
			t.Errorf("our refusal counts, long after our deadline: %+v", last.Error)
		}
	})
}
