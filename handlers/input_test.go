package handlers_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"subrelay/events"
	"subrelay/handlers"
)

func data(text string) func(*event.Event) {
	return func(e *event.Event) { e.DataEncoded = []byte(text) }
}

// What can never run and has no identity: a dead letter, and no record.
func TestNoIdentity(t *testing.T) {
	at := func(ago time.Duration) func(*event.Event) {
		return func(e *event.Event) { e.SetTime(time.Now().Add(-ago)) }
	}
	for name, c := range map[string]struct {
		change func(*event.Event)
		want   events.Reason
	}{
		"no source":       {func(e *event.Event) { e.Context = &event.EventContextV1{ID: "x", Type: "subrelay.renew.v1"} }, events.DeadUndecodable},
		"foreign type":    {func(e *event.Event) { e.SetType("com.example.renew") }, events.DeadUnknownType},
		"unknown kind":    {func(e *event.Event) { e.SetType("subrelay.rename.v1") }, events.DeadUnknownType},
		"no subject":      {func(e *event.Event) { e.SetSubject("") }, events.DeadSubjectMismatch},
		"too old":         {at(46 * 24 * time.Hour), events.DeadStale},
		"from the future": {at(-6 * time.Minute), events.DeadStale},
		"expirytime":      {func(e *event.Event) { e.SetExtension(events.ExtExpiry, "tomorrow") }, events.DeadUndecodable},
		"huge attributes": {func(e *event.Event) { e.SetID(strings.Repeat("x", 20<<10)) }, events.DeadUndecodable},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, w *world) {
				w.refusedWhole(t, w.send(c.change), c.want)
			})
		})
	}
	t.Run("another key", func(t *testing.T) {
		inTime(t, func(t *testing.T, w *world) {
			d := w.send()
			d.Key = "C-2"
			w.refusedWhole(t, d, events.DeadSubjectMismatch)
		})
	})
	for name, err := range map[string]error{"undecodable": errors.New(`not JSON near "password": "hunter2"`), "without a reason": nil} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, w *world) {
				d := w.send()
				d.Event, d.Undecodable = nil, err
				w.sent[0] = d
				w.refusedWhole(t, d, events.DeadUndecodable)
				if e := w.dead.letters[0].Error; e.Code != events.CodeUndecodable || strings.Contains(e.Message, "hunter2") {
					t.Errorf("the dead letter says %+v", e)
				}
			})
		})
	}
}

func (w *world) refusedWhole(t *testing.T, d events.Delivery, want events.Reason) {
	t.Helper()
	worker := w.worker("a")
	if done, err := worker.Done(t.Context(), d); !done || err != nil {
		t.Errorf("Done is %v, %v", done, err)
	}
	end := w.driveJob(t.Context(), worker.Job(d), true)
	if diff := cmp.Diff([]events.Reason{want}, w.dead.reasons()); diff != "" || end != acked || len(w.ledger.records)+w.upstream.calls() != 0 {
		t.Errorf("%s, %v, %d calls, dead letters (-want +got):\n%s", end, w.ledger.statuses(), w.upstream.calls(), diff)
	}
}

// Understood but wrong: a dead letter and a rejection, before any call.
func TestInvalid(t *testing.T) {
	for name, c := range map[string]struct {
		data, code string
	}{
		"not JSON":    {`{"months":`, events.CodeSchema},
		"no data":     {``, events.CodeSchema},
		"null":        {`null`, events.CodeSchema},
		"schema":      {`{"customer_mapping_id":"C-1","months":-1,"dasy":3}`, events.CodeSchema},
		"credentials": {`{"customer_mapping_id":"C-1","months":1,"authToken":"s3cr3t"}`, events.CodeCredentials},
		"family":      {`{"customer_mapping_id":"C-9","months":1}`, events.CodeKeyMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, w *world) {
				if c.code == events.CodeKeyMismatch {
					w.family.open = func() error { return &events.Error{Kind: events.Refused, Code: events.CodeKeyMismatch, Message: "no"} }
				}
				end := w.drive(t.Context(), w.worker("a"), w.send(data(c.data)))
				last := w.ledger.last()
				if end != acked || last.Status != rejected || last.Attempt != 0 || last.Error.Code != c.code || w.upstream.calls() != 0 {
					t.Errorf("%s as %s of attempt %d, %+v", end, last.Status, last.Attempt, last.Error)
				}
				if strings.Contains(string(mustJSON(last)), "s3cr3t") {
					t.Error("the outcome shows the credential")
				}
				if name == "schema" && len(last.Error.Problems) < 2 {
					t.Errorf("not every problem is told: %q", last.Error.Problems)
				}
				if diff := cmp.Diff([]events.Reason{events.DeadInvalid}, w.dead.reasons()); diff != "" {
					t.Errorf("the dead letters differ (-want +got):\n%s", diff)
				}
				w.check()
			})
		})
	}
}

func TestIDReused(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		d := w.worker("a")
		w.drive(t.Context(), d, w.send())
		same := w.send(data(` {"months" : 1, "customer_mapping_id":"C-1"}`))
		other := w.send(data(`{"customer_mapping_id":"C-1","months":2}`))
		if end := w.drive(t.Context(), d, same); end != acked || len(w.dead.letters) != 0 {
			t.Errorf("the same data in another spelling: %s, %v", end, w.dead.reasons())
		}
		if done, err := d.Done(t.Context(), other); !done || err != nil {
			t.Errorf("Done of what never runs is %v, %v", done, err)
		}
		if end := w.driveJob(t.Context(), d.Job(other), true); end != acked || w.upstream.calls() != 1 {
			t.Errorf("other data: %s after %d calls", end, w.upstream.calls())
		}
		if diff := cmp.Diff([]events.Reason{events.DeadIDReused}, w.dead.reasons()); diff != "" {
			t.Errorf("the dead letters differ (-want +got):\n%s", diff)
		}
		invalid := w.send(data(`{"zzz":1}`))
		if end := w.driveJob(t.Context(), d.Job(invalid), true); end != acked {
			t.Errorf("other data that are invalid: %s", end)
		}
		if diff := cmp.Diff([]events.Reason{events.DeadIDReused, events.DeadIDReused}, w.dead.reasons()); diff != "" {
			t.Errorf("the dead letters with invalid data differ (-want +got):\n%s", diff)
		}
		w.check()
	})
}

// A command is never dropped as stale once the ledger knows it.
func TestStaleButStarted(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.config = func(c *handlers.Config) { c.Memory = 10 * time.Second }
		w.upstream.script = []reply{{applies: true, dies: true}}
		d, delivery := w.worker("a"), w.send(func(e *event.Event) { e.SetTime(time.Now()) })
		w.drive(t.Context(), d, delivery)
		time.Sleep(time.Minute)
		if done, err := d.Done(t.Context(), delivery); done || err != nil {
			t.Errorf("Done while the attempt is open: %v, %v", done, err)
		}
		if end := w.driveJob(t.Context(), d.Job(delivery), true); end != acked || w.ledger.last().Status != inDoubt {
			t.Errorf("%s as %s", end, w.ledger.last().Status)
		}
		w.check()
	})
}

func TestStaleButDeferred(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.config = func(c *handlers.Config) { c.Memory = time.Second }
		w.upstream.script = []reply{busy}
		w.drive(t.Context(), w.worker("a"), w.send(func(e *event.Event) { e.SetTime(time.Now()) }))
		if diff := cmp.Diff([]events.Status{started, deferred, started, succeeded}, w.ledger.statuses()); diff != "" || len(w.dead.letters) != 0 {
			t.Errorf("dead letters %v; the history differs (-want +got):\n%s", w.dead.reasons(), diff)
		}
		w.check()
	})
}

func TestStaleWhileWaiting(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.config = func(c *handlers.Config) { c.Memory = time.Minute }
		delivery := w.send(func(e *event.Event) { e.SetTime(time.Now()) })
		j := w.worker("a").Job(delivery)
		j.Prepare(t.Context(), true)
		w.upstream.script = []reply{{applies: true, dies: true}}
		w.drive(t.Context(), w.worker("b"), delivery) // a worker that nobody knew of
		time.Sleep(time.Hour)
		if next, _ := j.Attempt(t.Context(), false); next.Action != events.Wait || len(w.dead.letters) != 0 {
			t.Errorf("Attempt answers %+v, dead letters %v", next, w.dead.reasons())
		}
		if end := w.driveJob(t.Context(), j, true); end != acked || w.ledger.last().Status != inDoubt {
			t.Errorf("%s as %s", end, w.ledger.last().Status)
		}
		w.check()
	})
}

func TestStaleBeforePermission(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.config = func(c *handlers.Config) { c.Memory = time.Minute }
		j := w.worker("a").Job(w.send(func(e *event.Event) { e.SetTime(time.Now()) }))
		j.Prepare(t.Context(), true)
		time.Sleep(time.Hour)
		j.Attempt(t.Context(), false) // the breaker's
		end := w.driveJob(t.Context(), j, true)
		if diff := cmp.Diff([]events.Reason{events.DeadStale}, w.dead.reasons()); diff != "" || end != acked || w.upstream.calls() != 0 {
			t.Errorf("%s after %d calls; the dead letters differ (-want +got):\n%s", end, w.upstream.calls(), diff)
		}
	})
}

// What holds its key does not hold a reused id, which never runs.
func TestDoneOfReusedID(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.upstream.script = []reply{{applies: true, dies: true}}
		d, first := w.worker("a"), w.send()
		w.drive(t.Context(), d, first)
		other := w.send(data(`{"customer_mapping_id":"C-1","months":2}`))
		for name, c := range map[string]struct {
			delivery events.Delivery
			want     bool
		}{"the first": {first, false}, "the other": {other, true}} {
			if done, err := d.Done(t.Context(), c.delivery); done != c.want || err != nil {
				t.Errorf("%s: Done is %v, %v; want %v", name, done, err, c.want)
			}
		}
		w.ledger.onHistory = func() fault { return failsBefore }
		if done, err := d.Done(t.Context(), first); done || err == nil {
			t.Errorf("with the ledger away: %v, %v; want an error", done, err)
		}
		w.ledger.onHistory = func() fault { return panics }
		if done, err := d.Done(t.Context(), first); done || err == nil {
			t.Errorf("with a panic: %v, %v; want an error", done, err)
		}
	})
}

func TestExpiry(t *testing.T) {
	in := func(d time.Duration) func(*event.Event) {
		return func(e *event.Event) { e.SetExtension(events.ExtExpiry, time.Now().Add(d)) }
	}
	for name, c := range map[string]struct {
		expiry time.Duration
		set    func(w *world)
		want   []events.Status
		after  time.Duration
	}{
		"past":                       {-time.Second, func(*world) {}, []events.Status{expired}, 0},
		"in time":                    {time.Hour, func(*world) {}, []events.Status{started, succeeded}, 0},
		"waiting for permission":     {time.Minute, func(w *world) { w.allow = make(chan struct{}) }, []events.Status{expired}, time.Minute},
		"while deferred":             {time.Second, func(w *world) { w.upstream.script = []reply{busy} }, []events.Status{started, deferred, expired}, time.Second},
		"during a call that is done": {time.Second, func(w *world) { w.upstream.script = []reply{{applies: true, took: time.Minute / 2}} }, []events.Status{started, succeeded}, time.Minute / 2},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, w *world) {
				c.set(w)
				began := time.Now()
				end := w.drive(t.Context(), w.worker("a"), w.send(in(c.expiry)))
				if took := time.Since(began).Truncate(10 * time.Millisecond); end != acked || took != c.after {
					t.Errorf("%s after %s, want %s", end, took, c.after)
				}
				if diff := cmp.Diff(c.want, w.ledger.statuses()); diff != "" || len(w.dead.letters) != 0 {
					t.Errorf("dead letters %v; the history differs (-want +got):\n%s", w.dead.reasons(), diff)
				}
				w.check()
			})
		})
	}
	// Permission may come after the end, before anybody has looked.
	inTime(t, func(t *testing.T, w *world) {
		j := w.worker("a").Job(w.send(in(time.Minute)))
		if next := j.Prepare(t.Context(), true); next.Action != events.Call || !next.At.Equal(time.Now().Add(time.Minute)) {
			t.Errorf("Prepare answers %+v, want Call until the end", next)
		}
		time.Sleep(time.Hour)
		if next, err := j.Attempt(t.Context(), false); next.Action != events.Ack || err == nil || w.upstream.calls() != 0 {
			t.Errorf("Attempt answers %+v, %v after %d calls", next, err, w.upstream.calls())
		}
	})
}

// A kind of another version is held, not dead-lettered: that version's workers will take it.
func TestForeignKind(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		d := w.send()
		d.Kind = "amend"
		worker := w.worker("a")
		next := worker.Job(d).Prepare(t.Context(), true)
		if next.Action != events.Wait || !next.At.After(time.Now()) || len(w.dead.letters)+len(w.ledger.records) != 0 {
			t.Errorf("Prepare answers %+v, dead letters %v", next, w.dead.reasons())
		}
		if done, err := worker.Done(t.Context(), d); done || err != nil {
			t.Errorf("Done is %v, %v", done, err)
		}
	})
}

// A command that crashes a step is given up in the end instead of holding its key for good.
func TestPoison(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.family.open = func() error { panic("poison") }
		if end := w.drive(t.Context(), w.worker("a"), w.send()); end != acked || w.ledger.last().Status != failed {
			t.Errorf("%s as %s", end, w.ledger.last().Status)
		}
		if diff := cmp.Diff([]events.Reason{events.DeadExhausted}, w.dead.reasons()); diff != "" {
			t.Errorf("the dead letters differ (-want +got):\n%s", diff)
		}
		w.check()
	})
}

// Nothing is given up without its dead letter, and what waits for one holds no permission.
func TestDeadLettersFull(t *testing.T) {
	for name, c := range map[string]struct {
		script []reply
		change func(*event.Event)
		want   events.Status
	}{
		"refused":   {repeat(refused, 100), func(*event.Event) {}, rejected},
		"exhausted": {repeat(busy, 100), func(*event.Event) {}, failed},
		"in doubt":  {[]reply{lost}, func(*event.Event) {}, inDoubt},
		"invalid":   {nil, data(`{}`), rejected},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, w *world) {
				w.upstream.script = c.script
				full := true
				w.dead.onPut = func(events.DeadLetter) fault {
					if full {
						return failsBefore
					}
					return works
				}
				j := w.worker("a").Job(w.send(c.change))
				for until := time.Now().Add(10 * time.Minute); time.Now().Before(until); {
					next := j.Prepare(t.Context(), false)
					if next.Action == events.Call {
						began := time.Now()
						next, _ = j.Attempt(t.Context(), false)
						if held := time.Since(began); held > 0 {
							t.Fatalf("the attempt held its permission for %s", held)
						}
					}
					if next.Action == events.Ack {
						t.Fatalf("acknowledged as %s without its dead letter", w.ledger.last().Status)
					}
					time.Sleep(max(time.Until(next.At), time.Millisecond))
				}
				full = false
				if calls := w.upstream.calls(); name == "exhausted" && calls != 6 {
					t.Errorf("%d calls, want the 6 of the policy", calls)
				}
				if end := w.driveJob(t.Context(), j, false); end != acked || w.ledger.last().Status != c.want {
					t.Errorf("%s as %s, want %s", end, w.ledger.last().Status, c.want)
				}
				w.check()
			})
		})
	}
}

// A call carries the attempt as its reference, and outcomes the trace and correlation of the command.
func TestTrace(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.upstream.script = []reply{busy}
		w.drive(t.Context(), w.worker("a"), w.send(func(e *event.Event) {
			e.SetExtension(events.ExtTraceParent, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
			e.SetExtension(events.ExtCorrelation, "order-7")
		}))
		cid := events.CID("/billing", "r-1", "C-1")
		var refs []string
		for _, e := range w.upstream.book {
			refs = append(refs, e.Ref)
		}
		if diff := cmp.Diff([]string{cid + ".1", cid + ".2"}, refs); diff != "" {
			t.Errorf("the references differ (-want +got):\n%s", diff)
		}
		if last := w.ledger.last(); last.CorrelationID != "order-7" || !strings.HasPrefix(last.TraceParent, "00-4bf9") {
			t.Errorf("the outcome carries %q and %q", last.CorrelationID, last.TraceParent)
		}
	})
}
