package main

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
	writesStarted   = ".ledger.renew.started."
	writesSucceeded = ".ledger.renew.succeeded."
	writesDeferred  = ".ledger.renew.deferred."
	writesRejected  = ".ledger.renew.rejected."
	writesInDoubt   = ".ledger.renew.in_doubt."
	writesDead      = "subrelay.dead."
	writesAck       = "$JS.ACK."
)

// crashPoint is a write in the life of one command, what TVMS does with its call, and what must come of it.
type crashPoint struct {
	write    string
	fault    *sandbox.Fault // of the first call; of all calls with standing
	standing bool
	readBack bool
	want     map[string]events.Status // by mishap; "" is all others
}

func crashPoints() map[string]crashPoint {
	succeeded := map[string]events.Status{"": events.Succeeded}
	return map[string]crashPoint{
		"started": {write: writesStarted, want: map[string]events.Status{"": events.Succeeded, "dies after": events.InDoubt}},
		"started, with read-back": {
			write: writesStarted, readBack: true, want: succeeded,
		},
		"result": {write: writesSucceeded, want: map[string]events.Status{"": events.Succeeded, "dies before": events.InDoubt}},
		"result, with read-back": {
			write: writesSucceeded, readBack: true, want: succeeded,
		},
		"acknowledgement":  {write: writesAck, want: succeeded},
		"deferral":         {write: writesDeferred, fault: &sandbox.Fault{Kind: sandbox.Throttle}, want: map[string]events.Status{"": events.Succeeded, "dies before": events.InDoubt}},
		"rejection":        {write: writesRejected, fault: &sandbox.Fault{Kind: sandbox.Refusal}, want: map[string]events.Status{"": events.Rejected, "dies before": events.InDoubt}},
		"rejection's copy": {write: writesDead, fault: &sandbox.Fault{Kind: sandbox.Refusal}, standing: true, want: map[string]events.Status{"": events.Rejected, "dies before": events.InDoubt, "dies after": events.InDoubt}},
		"doubt":            {write: writesInDoubt, fault: &sandbox.Fault{Kind: sandbox.ErrorAfter}, want: map[string]events.Status{"": events.InDoubt}},
		"doubt's copy":     {write: writesDead, fault: &sandbox.Fault{Kind: sandbox.ErrorAfter}, want: map[string]events.Status{"": events.InDoubt}},
	}
}

// TestCrashPoints has a worker die, or lose its line, at every write in the life of a command. Another worker takes
// over. The customer's next renewals must follow, in order, and the history must hold.
func TestCrashPoints(t *testing.T) {
	for name, point := range crashPoints() {
		for _, m := range mishaps {
			t.Run(name+"/"+m.name, func(t *testing.T) {
				natstest.Bubble(t, func(t *testing.T) { point.play(t, m) })
			})
		}
	}
}

func (p *crashPoint) play(t *testing.T, m mishap) {
	cfg := simConfig()
	if p.readBack {
		cfg.withReadBack()
	}
	w := newWorld(t, 1, cfg)
	defer w.close()
	first := w.start()
	w.send(w.renewal("before", "C-1"))
	w.settle(time.Minute)
	struck := p.strike(first, m)
	if p.fault != nil {
		plan := sandbox.Plan{Script: []sandbox.Step{{Fault: *p.fault}}}
		if p.standing {
			plan = sandbox.Plan{Standing: []sandbox.Fault{*p.fault}}
		}
		if err := w.tvms.Faults().Set(plan); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"a", "b", "c"} {
		w.send(w.renewal(id, "C-1"))
	}
	select {
	case <-struck:
	case <-time.After(time.Minute):
		t.Fatalf("nothing was written that holds %q", p.write)
	}
	if m.dies {
		w.kill(first)
		w.start()
	} else {
		time.Sleep(time.Second)
		first.cable.Cut()
	}
	w.settle(time.Hour)
	w.verdict()
	want, ok := p.want[m.name]
	if !ok {
		want = p.want[""]
	}
	then := events.Succeeded
	if p.standing {
		then = p.want[""]
	}
	got := map[string]events.Status{"a": w.statusOf("a", "C-1"), "b": w.statusOf("b", "C-1"), "c": w.statusOf("c", "C-1")}
	if diff := cmp.Diff(map[string]events.Status{"a": want, "b": then, "c": then}, got); diff != "" {
		t.Errorf("what became of the customer's renewals (-want +got):\n%s\n%s", diff, w.story())
	}
}

// strike arms the mishap for the first write of the point. The channel is closed when it has happened.
func (p *crashPoint) strike(k *simWorker, m mishap) <-chan struct{} {
	struck := make(chan struct{})
	var once atomic.Bool
	k.cable.Watch(func(sent []byte) (bool, func()) {
		if !p.hits(sent) || !once.CompareAndSwap(false, true) {
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

// hits reports whether a write is the point's. A heartbeat is sent like an acknowledgement, but says +WPI.
func (p *crashPoint) hits(sent []byte) bool {
	at := bytes.Index(sent, []byte(p.write))
	return at >= 0 && (p.write != writesAck || bytes.Contains(sent[at:], []byte("+ACK")))
}

// statusOf is what the last record of one of the test's renewals says.
func (w *world) statusOf(id, customer string) events.Status {
	w.Helper()
	h, err := w.cl.outcomes.ByCID(w.Context(), events.CID("test", id, customer))
	if err != nil {
		w.Fatal(err)
	}
	if len(h) == 0 {
		return ""
	}
	return h.Last().Status
}

// story tells all records and calls, for the reader of a failure.
func (w *world) story() string {
	e, err := w.cl.evidence(w.Context(), w.tvms.Book().Effects()...)
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
