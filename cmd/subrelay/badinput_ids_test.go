package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// statusesOf are the statuses of a command's history, in order.
func (w *world) statusesOf(e event.Event) (all []events.Status) {
	w.Helper()
	h, err := w.cl.outcomes.ByCID(w.Context(), events.CID(e.Source(), e.ID(), e.Subject()))
	if err != nil {
		w.Fatal(err)
	}
	for _, r := range h {
		all = append(all, r.Status)
	}
	return all
}

func (w *world) wantStatuses(e event.Event, want ...events.Status) {
	w.Helper()
	if diff := cmp.Diff(want, w.statusesOf(e)); diff != "" {
		w.Errorf("the history of %s differs (-want +got):\n%s", e.ID(), diff)
	}
}

func (w *world) wantNoLetters() {
	w.Helper()
	for _, l := range w.letters() {
		w.Errorf("a dead letter: %s, %+v", l.Reason, l.Error)
	}
}

// A command sent again is done once, whenever and however it comes.
func TestBadInputDuplicates(t *testing.T) {
	for name, again := range map[string]func(w *world, e event.Event){
		"the same minute": func(w *world, e event.Event) {
			r, err := w.cl.publisher.Publish(w.Context(), e)
			if err != nil || !r.Duplicate {
				w.Errorf("the publisher is told %+v, %v", r, err)
			}
		},
		"the same minute, without a message id": func(w *world, e event.Event) {
			_, data, err := natsjs.EncodeStructured(&e)
			if err != nil {
				w.Fatal(err)
			}
			if r := w.mustRaw(toC1, inStructured, string(data)); r.Duplicate {
				w.Error("the duplicate window took it: the test tests nothing")
			}
		},
		"in the other mode": func(w *world, e event.Event) {
			header, data, err := natsjs.EncodeBinary(&e)
			if err != nil {
				w.Fatal(err)
			}
			w.mustRaw(toC1, header, string(data))
		},
		"spelt otherwise": func(w *world, e event.Event) {
			e.DataEncoded = []byte("{ \"months\": 1,\n \"customer_mapping_id\" : \"C-1\" }")
			w.send(e)
		},
		"after the duplicate window": func(w *world, e event.Event) {
			time.Sleep(15 * time.Minute)
			w.send(e)
		},
		"after a restart of worker and broker": func(w *world, e event.Event) {
			w.any().stop()
			w.workers = map[string]*simWorker{}
			w.restartBroker(15 * time.Minute)
			w.start()
			w.send(e)
		},
	} {
		t.Run(name, func(t *testing.T) {
			badly(t, func(w *world) {
				e := w.renewal("twice", "C-1")
				w.send(e)
				first := w.outcomeOf(e)
				w.between(func() { again(w, e) })
				w.settle(time.Minute)
				w.wantStatuses(e, events.Started, events.Succeeded)
				if n := w.applied("C-1"); first.Status != events.Succeeded || n != 1 {
					w.Errorf("%s with %d effects", first.Status, n)
				}
				w.wantNoLetters()
			})
		})
	}
}

// The same id for another key is another command; with other data it never runs, and the first use stands.
func TestBadInputReusedID(t *testing.T) {
	t.Run("with another key", func(t *testing.T) {
		badly(t, func(w *world) {
			for _, customer := range []string{"C-1", "C-2"} {
				e := w.renewal("same", customer)
				w.between(func() { w.send(e) })
				if r := w.outcomeOf(e); r.Status != events.Succeeded || w.applied(customer) != 1 {
					w.Errorf("%s with %d effects", r.Status, w.applied(customer))
				}
			}
			w.wantNoLetters()
		})
	})
	for name, pause := range map[string]time.Duration{"with other data, at once": 0, "with other data, past the duplicate window": 15 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			badly(t, func(w *world) {
				e := w.renewal("same", "C-1")
				w.send(e)
				first := w.outcomeOf(e)
				time.Sleep(pause)
				other := e.Clone()
				if err := other.SetData(event.ApplicationJSON, events.RenewData{CustomerMappingID: "C-1", Months: 2}); err != nil {
					w.Fatal(err)
				}
				_, data, err := natsjs.EncodeStructured(&other)
				if err != nil {
					w.Fatal(err)
				}
				w.between(func() {
					receipt, err := w.cl.publisher.Publish(w.Context(), other)
					if err != nil || receipt.Duplicate {
						w.Fatalf("published as %+v, %v", receipt, err)
					}
					cid := first.Command.CID
					w.wantLetter(receipt.Seq, telling{
						Reason: events.DeadIDReused, Kind: events.Renew, Key: "C-1", CID: cid, Data: string(data),
						Error: events.Failure{Code: events.CodeIDReused,
							Message: `the id "same" of source "test" was used before with other data: the first use stands (cid ` + cid + `)`},
					})
				})
				w.wantStatuses(e, events.Started, events.Succeeded)
				if w.applied("C-1") != 1 || len(w.letters()) != 1 {
					w.Errorf("%d effects, %d dead letters", w.applied("C-1"), len(w.letters()))
				}
			})
		})
	}
}

// A command is not started after its expirytime, whatever it waited for.
func TestBadInputExpired(t *testing.T) {
	const life = 30 * time.Second
	for name, c := range map[string]struct {
		in   time.Duration
		set  func(w *world) (undo func())
		want []events.Status
	}{
		"past": {-time.Second, func(*world) func() { return func() {} }, []events.Status{events.Expired}},
		"while the breaker is open": {life, func(w *world) func() {
			if err := w.tvms.Faults().Set(sandbox.Plan{Standing: []sandbox.Fault{{Kind: sandbox.Throttle}}}); err != nil {
				w.Fatal(err)
			}
			w.send(w.renewal("opener", "C-2"))
			for guard := w.any().app.Guard("tvms"); guard.State() != "open"; {
				time.Sleep(time.Second)
			}
			return w.tvms.Faults().Lift
		}, []events.Status{events.Expired}},
		"while deferred": {life, func(w *world) func() {
			if err := w.tvms.Faults().Next(sandbox.Fault{Kind: sandbox.Throttle, Customer: "C-1", RetryAfter: sandbox.Duration(time.Hour)}); err != nil {
				w.Fatal(err)
			}
			return func() {}
		}, []events.Status{events.Started, events.Deferred, events.Expired}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := simConfig()
			cfg.TVMS.Guard.OpenFor = 2 * life // so that nobody probes before the end
			badlyAs(t, cfg, func(w *world) {
				w.good()
				undo := c.set(w)
				e := w.renewal("late", "C-1")
				expiry := time.Now().Add(c.in).UTC().Truncate(time.Second)
				e.SetExtension(events.ExtExpiry, expiry.Format(time.RFC3339))
				w.send(e)
				r := w.outcomeOf(e)
				want := events.Failure{Code: events.CodeExpired, Message: "not started before its expirytime, " + expiry.Format(time.RFC3339)}
				if diff := cmp.Diff(&want, r.Error); diff != "" || r.Status != events.Expired {
					w.Errorf("%s; the error differs (-want +got):\n%s", r.Status, diff)
				}
				if late := time.Since(expiry); c.in > 0 && (late < 0 || late > promptly) {
					w.Errorf("the outcome came %s after the end", late)
				}
				w.wantStatuses(e, c.want...)
				undo()
				probe := w.renewal("probe", "C-3") // which closes the breaker, if it is open
				w.send(probe)
				w.outcomeOf(probe)
				w.good()
				if w.applied("C-1") != 0 {
					w.Error("it had its effect after all")
				}
				w.wantNoLetters()
			})
		})
	}
}

// Whether a command of an impossible time was done, nobody can know: dead letter, no outcome.
func TestBadInputStale(t *testing.T) {
	memory := remembered(45 * 24 * time.Hour)
	for name, c := range map[string]struct {
		off     time.Duration
		message string // with the command's time and that of storing it
	}{
		"older than the ledger": {-memory - time.Minute, "time %[1]s is older than the 1077h55m0s that outcomes are remembered: whether it was done, nobody can know"},
		"in the future":         {6 * time.Minute, "time %[1]s is more than 5m0s after the moment the command was stored, %[2]s"},
	} {
		t.Run(name, func(t *testing.T) {
			badly(t, func(w *world) {
				w.between(func() {
					at := time.Now().Add(c.off).UTC().Format(time.RFC3339)
					data := structured(`"subject"`, `"time":"`+at+`","subject"`)
					receipt := w.mustRaw(toC1, inStructured, data)
					stored := time.Now().UTC().Format(time.RFC3339)
					message := fmt.Sprintf(c.message+"%.0[2]s", at, stored)
					w.wantLetter(receipt.Seq, telling{
						Reason: events.DeadStale, Error: events.Failure{Code: events.CodeStale, Message: message},
						Kind: events.Renew, Key: "C-1", CID: badCID, Data: data,
					})
					w.noRecord(receipt.Seq)
				})
			})
		})
	}
	t.Run("just young enough", func(t *testing.T) {
		badly(t, func(w *world) {
			for i, off := range []time.Duration{-memory + time.Minute, 4 * time.Minute} {
				e := w.renewal(fmt.Sprint(i), "C-1")
				e.SetTime(time.Now().Add(off))
				w.send(e)
				if r := w.outcomeOf(e); r.Status != events.Succeeded {
					w.Errorf("%s: %s", off, r.Status)
				}
			}
		})
	})
}

// Every key that can be coded works, whatever is in it.
func TestOddKeys(t *testing.T) {
	badly(t, func(w *world) {
		for i, customer := range []string{
			"C 1", "C.1", ".", "*", ">", "a.*.>", "C%2f1", "C%2F1", "%", "😀", "Ω≈ç", `"quoted"`, "a/b\\c", "$JS.API", "_INBOX",
			strings.Repeat("k", 128), strings.Repeat("😀", 10),
		} {
			e := w.renewal(fmt.Sprint(i), customer)
			w.send(e)
			if r := w.outcomeOf(e); r.Status != events.Succeeded || r.Command.Key != customer || w.applied(customer) != 1 {
				w.Errorf("%q: %s for %q with %d effects: %+v", customer, r.Status, r.Command.Key, w.applied(customer), r.Error)
			}
		}
		w.wantNoLetters()
	})
}

// What the broker cannot take, the publisher is told at once, in words.
func TestBadInputPublishFails(t *testing.T) {
	badly(t, func(w *world) {
		large := structured(`"months":1`, `"months":1,"crm_service":"`+strings.Repeat("x", 256<<10)+`"`)
		for name, c := range map[string]struct {
			subject, data string
			code, message string
		}{
			"a kind that does not exist": {"subrelay.cmd.gift.C-1", structured(), events.CodeUnknownType, "no worker knows the kind gift: known are amend, netflix-accept, netflix-acknowledge, netflix-cancel, netflix-create, netflix-decline, " +
				"netflix-suspend, netflix-unsuspend, renew, swap"},
			"a key of two tokens":             {"subrelay.cmd.renew.C.1", structured(), events.CodeStorage, "no stream listens on subrelay.cmd.renew.C.1"},
			"no key":                          {"subrelay.cmd.renew", structured(), events.CodeStorage, "no stream listens on subrelay.cmd.renew"},
			"a space in the subject":          {"subrelay.cmd.renew.C 1", structured(), events.CodeSubjectMismatch, `"subrelay.cmd.renew.C 1" is no subject to publish to`},
			"an empty token":                  {"subrelay.cmd.renew.", structured(), events.CodeSubjectMismatch, `"subrelay.cmd.renew." is no subject to publish to`},
			"where only the stream publishes": {"subrelay.cmdp.0.renew.C-1", structured(), events.CodeStorage, "no stream listens on subrelay.cmdp.0.renew.C-1"},
			"over the size limit":             {toC1, large, events.CodeTooLarge, "the command is too large: at most 262144 bytes with its headers"},
			"over the size limit of NATS":     {toC1, strings.Repeat("x", 2<<20), events.CodeTooLarge, "the command is too large: at most 262144 bytes with its headers"},
		} {
			w.between(func() {
				began := time.Now()
				_, err := w.raw(c.subject, inStructured, c.data)
				e := events.AsError(err)
				if err == nil || e.Code != c.code || e.Message != c.message || time.Since(began) > promptly {
					w.Errorf("%s: after %s %s: %s", name, time.Since(began), e.Code, e.Message)
				}
			})
		}
		for name, change := range map[string]func(*event.Event){
			"a key of 10 kB": func(e *event.Event) { e.SetSubject(strings.Repeat("k", 10_000)) },
			"no key":         func(e *event.Event) { e.SetSubject("") },
			"no kind":        func(e *event.Event) { e.SetType("com.example.renew") },
		} {
			e := w.renewal("x", "C-1")
			change(&e)
			if _, err := w.cl.publisher.Publish(w.Context(), e); events.KindOf(err) != events.Refused {
				w.Errorf("%s: %v", name, err)
			}
		}
		w.wantNoLetters()
	})
}
