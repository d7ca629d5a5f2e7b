package main

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	gocmp "github.com/google/go-cmp/cmp"

	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// mishap is what happens to a worker at the moment it writes something.
type mishap struct {
	name string
	pass bool // the write reaches the broker
	dies bool // the worker is killed at once; else its line is cut a second later
}

var mishaps = []mishap{
	{name: "dies before", dies: true},
	{name: "dies after", pass: true, dies: true},
	{name: "loses the write"},
	{name: "loses the answer", pass: true},
}

// The writes of a command's life, as they stand on the wire.
const (
	writesDead = "subrelay.dead."
	writesAck  = "$JS.ACK."
)

// writes is the write of a record.
func writes(kind events.Kind, status events.Status) string {
	return fmt.Sprintf(".ledger.%s.%s.", kind, status)
}

// crashPoint is a write in the life of one command, what the upstream does with its call, and what must come of it.
type crashPoint struct {
	status   events.Status  // of the record that is written, or
	write    string         // what is
	fault    *sandbox.Fault // of the first call; of all calls with standing
	standing bool
	settled  bool                     // what the upstream offers to settle unclear calls is used
	want     map[string]events.Status // by mishap; "" is all others
	repeated map[string]events.Status // where the kind is settled by repeating its call: in place of want, by mishap
}

// wants is what must become of the command.
func (p *crashPoint) wants(kind events.Kind, m mishap) events.Status {
	spec, _ := events.SpecOf(events.Specs(), kind)
	if want, ok := p.repeated[m.name]; ok && spec.Referenced {
		return want
	}
	if want, ok := p.want[m.name]; ok {
		return want
	}
	return p.want[""]
}

func crashPoints() map[string]crashPoint {
	var (
		succeeded = map[string]events.Status{"": events.Succeeded}
		inDoubt   = map[string]events.Status{"": events.InDoubt}
		refusal   = &sandbox.Fault{Kind: sandbox.Refusal}
		throttle  = &sandbox.Fault{Kind: sandbox.Throttle}
		lost      = &sandbox.Fault{Kind: sandbox.ErrorAfter}  // the reply to a call that had its effect
		unclear   = &sandbox.Fault{Kind: sandbox.ErrorBefore} // the same without an effect
	)
	return map[string]crashPoint{
		"started":          {status: events.Started, want: map[string]events.Status{"": events.Succeeded, "dies after": events.InDoubt}},
		"started, settled": {status: events.Started, settled: true, want: succeeded},
		"result":           {status: events.Succeeded, want: map[string]events.Status{"": events.Succeeded, "dies before": events.InDoubt}},
		"result, settled":  {status: events.Succeeded, settled: true, want: succeeded},
		"settled result":   {status: events.Succeeded, settled: true, fault: lost, want: succeeded},
		"acknowledgement":  {write: writesAck, settled: true, want: succeeded}, // the next one's start may go out with it
		"deferral":         {status: events.Deferred, fault: throttle, want: map[string]events.Status{"": events.Succeeded, "dies before": events.InDoubt}},
		"settled deferral": {status: events.Deferred, settled: true, fault: unclear, want: succeeded},
		"rejection":        {status: events.Rejected, fault: refusal, want: map[string]events.Status{"": events.Rejected, "dies before": events.InDoubt}},
		"rejection, settled": {
			status: events.Rejected, settled: true, fault: refusal, want: map[string]events.Status{"": events.Rejected, "dies before": events.Succeeded},
			// Whether a refusal that could not be stored still holds is asked anew: another may have called meanwhile.
			repeated: map[string]events.Status{"loses the write": events.Succeeded},
		},
		"rejection's copy":        {write: writesDead, fault: refusal, standing: true, want: map[string]events.Status{"": events.Rejected, "dies before": events.InDoubt, "dies after": events.InDoubt}},
		"doubt":                   {status: events.InDoubt, fault: lost, want: inDoubt},
		"doubt without an effect": {status: events.InDoubt, fault: unclear, want: inDoubt},
		"doubt's copy":            {write: writesDead, fault: lost, want: inDoubt},
	}
}

// TestCrashPoints has a worker die, or lose its line, at every write in the life of a command. Another worker takes
// over. The next commands of the key must follow, in order, after a doubt that holds the key as soon as it is resolved,
// and the history must hold.
func TestCrashPoints(t *testing.T) {
	for _, l := range livedKinds() {
		for name, point := range crashPoints() {
			for _, m := range mishaps {
				if l.tries(name, m) {
					t.Run(string(l.kind)+"/"+name+"/"+m.name, func(t *testing.T) {
						natstest.Bubble(t, func(t *testing.T) { point.play(t, l, m) })
					})
				}
			}
		}
	}
}

func (p *crashPoint) play(t *testing.T, l lived, m mishap) {
	w := l.world(t, p.settled)
	defer w.close()
	first := w.start()
	w.send(l.next(w, "before"))
	w.settle(time.Minute)
	struck := p.strike(first, l.kind, m)
	if p.fault != nil {
		plan := sandbox.Plan{Script: []sandbox.Step{{Fault: *p.fault}}}
		if p.standing {
			plan = sandbox.Plan{Standing: []sandbox.Fault{*p.fault}}
		}
		if err := w.faultsOf(l.kind).Set(plan); err != nil {
			t.Fatal(err)
		}
	}
	a, b, c := w.command(l.kind, "a", l.key, l.data), l.next(w, "b"), l.next(w, "c")
	for _, e := range []event.Event{a, b, c} {
		w.send(e)
	}
	select {
	case <-struck:
	case <-time.After(time.Minute):
		t.Fatalf("nothing was written of %s %s", p.status, p.write)
	}
	if m.dies {
		w.kill(first)
		w.start()
	} else {
		time.Sleep(time.Second)
		first.cable.Cut()
	}
	want, then := p.wants(l.kind, m), events.Succeeded
	if p.standing {
		then = p.want[""]
	}
	if spec, _ := events.SpecOf(events.Specs(), l.kind); want == events.InDoubt && spec.HoldsAfterDoubt {
		want = w.resolveHeld(a, b, c)
	}
	w.settle(time.Hour)
	w.verdict()
	got := map[string]events.Status{"a": w.statusOf(a), "b": w.statusOf(b), "c": w.statusOf(c)}
	if diff := gocmp.Diff(map[string]events.Status{"a": want, "b": then, "c": then}, got); diff != "" {
		t.Errorf("what became of the key's commands (-want +got):\n%s\n%s", diff, w.story())
	}
}

// resolveHeld waits for a doubt, sees that it holds those behind it for as long as nobody resolves it, and resolves it.
// It answers what then becomes of the command.
func (w *world) resolveHeld(doubted event.Event, held ...event.Event) events.Status {
	w.Helper()
	for limit := time.Now().Add(time.Hour); w.statusOf(doubted) != events.InDoubt; time.Sleep(time.Second) {
		if time.Now().After(limit) {
			w.Fatalf("it does not come into doubt:\n%s", w.story())
		}
	}
	time.Sleep(30 * time.Second)
	for _, e := range held {
		if status := w.statusOf(e); status != "" {
			w.Errorf("%s is %s while the one before it is in doubt", e.ID(), status)
		}
	}
	w.resolves = true
	w.tend()
	if wasApplied(w.book.Effects(), events.CID(doubted.Source(), doubted.ID(), doubted.Subject())) {
		return events.Succeeded
	}
	return events.Failed
}

// strike arms the mishap for the first write of the point. The channel is closed when it has happened.
func (p *crashPoint) strike(k *simWorker, kind events.Kind, m mishap) <-chan struct{} {
	write := cmp.Or(p.write, writes(kind, p.status))
	struck := make(chan struct{})
	var once atomic.Bool
	k.cable.Watch(func(sent []byte) (bool, func()) {
		if !hits(sent, write) || !once.CompareAndSwap(false, true) {
			return true, func() {}
		}
		k.cable.Deafen()
		if m.dies || !m.pass {
			k.cable.Mute() // from the next write on
		}
		return m.pass, func() { close(struck) }
	})
	return struck
}

// hits reports whether it is this write that is sent. A heartbeat is sent like an acknowledgement, but says +WPI.
func hits(sent []byte, write string) bool {
	at := bytes.Index(sent, []byte(write))
	return at >= 0 && (write != writesAck || bytes.Contains(sent[at:], []byte("+ACK")))
}

// statusOf is what the last record of one of the test's commands says.
func (w *world) statusOf(e event.Event) events.Status {
	w.Helper()
	all := w.statusesOf(e)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// story tells all records and calls, for the reader of a failure.
func (w *world) story() string {
	e, err := w.cl.evidence(w.Context(), w.book.Effects()...)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, r := range e.Records {
		fmt.Fprintf(&b, "record %d %s %s attempt %d at %s %+v\n", r.Seq, r.Command.ID, r.Status, r.Attempt, r.Time().Format(time.TimeOnly), r.Error)
	}
	for _, c := range e.Effects {
		fmt.Fprintf(&b, "call %s applied %t at %s %v\n", c.Ref, c.Applied, c.Begin.Format(time.TimeOnly), c.Detail)
	}
	for _, d := range e.Dead {
		fmt.Fprintf(&b, "dead %d %s\n", d.Seq, d.Reason)
	}
	return b.String()
}

// An operator has listed a status as one that says nothing was done, and it was: the attempt after it meets its own
// reference. That is no refusal, and no other reading tells what was done before: a doubt, which holds those behind it.
func TestReferenceOutlivesAMistake(t *testing.T) {
	for _, l := range livedKinds() {
		if spec, _ := events.SpecOf(events.Specs(), l.kind); !spec.Referenced {
			continue
		}
		t.Run(string(l.kind), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T) {
				w := l.world(t, true)
				defer w.close()
				w.config.CRMCOM.API.Codes.HTTPNotApplied = []int{500}
				w.start()
				if err := w.crm.Faults().Next(sandbox.Fault{Kind: sandbox.ErrorAfter}); err != nil {
					t.Fatal(err)
				}
				a, b := w.command(l.kind, "a", l.key, l.data), l.next(w, "b")
				w.send(a)
				w.send(b)
				w.resolves = true
				w.settle(time.Hour)
				w.verdict()
				w.wantStatuses(a, events.Started, events.Deferred, events.Started, events.InDoubt, events.Succeeded)
				w.wantStatuses(b, events.Started, events.Succeeded)
			})
		})
	}
}
