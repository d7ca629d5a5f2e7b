package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// crowd is how many commands are sent to each upstream, each of a key of its own: far more than may be called at once.
const crowd = 100

// sick is how one upstream can be, while the others are as they should be.
type sick struct {
	name     string
	upstream events.Upstream // that is sick
	make     func(w *world)
	// open says that the breaker opens, so that its commands are not called but wait.
	open bool
}

var sicknesses = []sick{
	{"TVMS is down", events.TVMS, func(w *world) {
		w.lines[tvmsAddr].down.Store(true)
		time.Sleep(5 * time.Minute) // until no connection is left that was idle
	}, true},
	{"TVMS hangs", events.TVMS, func(w *world) { w.hangs(w.tvms.Faults(), sandbox.Any) }, true},
	{"amendments hang", events.CRMCOM, func(w *world) { w.hangs(w.crm.Faults(), crmRoute("subscriptions/amend")) }, true},
	{"Netflix hangs", events.Netflix, func(w *world) { // its reads too: else they keep the breaker closed
		w.hangs(w.crm.Faults(), crmRoute("netflix/subscriptions/suspend"), crmRoute("netflix/subscriptions/show"))
	}, true},
	{"Netflix refuses everybody", events.Netflix, func(w *world) {
		w.stands(w.crm.Faults(), sandbox.Fault{Kind: sandbox.Throttle, Route: crmRoute("netflix/subscriptions/suspend")})
	}, true},
	{"amendments hang, and the breaker is closed", events.CRMCOM, func(w *world) { w.hangs(w.crm.Faults(), crmRoute("subscriptions/amend")) }, false},
	{"amendments are slow", events.CRMCOM, func(w *world) {
		w.stands(w.crm.Faults(), sandbox.Fault{Kind: sandbox.Slow, Route: crmRoute("subscriptions/amend"), Delay: sandbox.Duration(3 * time.Second)})
	}, false},
}

func crmRoute(method string) string { return "/crmapi/rest/v2/" + method }

func (w *world) hangs(faults *sandbox.Faults, routes ...string) {
	w.Helper()
	var all []sandbox.Fault
	for _, route := range routes {
		all = append(all, sandbox.Fault{Kind: sandbox.Hang, Route: route})
	}
	w.stands(faults, all...)
}

func (w *world) stands(faults *sandbox.Faults, all ...sandbox.Fault) {
	w.Helper()
	if err := faults.Set(sandbox.Plan{Standing: all}); err != nil {
		w.Fatal(err)
	}
}

// TestUpstreamsAreIndependent sends a crowd of commands to every upstream while one of them is sick, with a breaker that
// is open or with every place of its concurrency taken: those of the others must take no longer than when all are well.
func TestUpstreamsAreIndependent(t *testing.T) {
	well := map[events.Upstream]latency{}
	natstest.Bubble(t, func(t *testing.T) { well = latencies(t, nil) })
	for upstream, l := range well {
		t.Logf("all well: %s %s", upstream, l)
		if l.done != crowd {
			t.Fatalf("all well: %d commands of %s are done", l.done, upstream)
		}
	}
	for _, s := range sicknesses {
		t.Run(s.name, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T) {
				for upstream, got := range latencies(t, &s) {
					t.Logf("%s %s", upstream, got)
					if upstream == s.upstream {
						if got.done > 0 && got.longest <= 10*well[upstream].longest {
							t.Errorf("%s is not sick at all: the test tests nothing", upstream)
						}
						continue
					}
					if got.done != crowd || got.median > well[upstream].median+slack || got.longest > well[upstream].longest+slack {
						t.Errorf("%s: %s; when all are well: %s", upstream, got, well[upstream])
					}
				}
			})
		})
	}
}

// slack is what a latency may differ by: what the scheduler makes of the order of things, in multiples of the time that
// a call takes.
const slack = 15 * time.Millisecond

// latency is how long a crowd of commands took, from sending to their outcome.
type latency struct {
	done            int
	median, longest time.Duration
}

func (l latency) String() string {
	return fmt.Sprintf("%d done, median %s, longest %s", l.done, l.median, l.longest)
}

// latencies sends the crowds, and measures those that are done within 20 seconds. Then everything is made well, and must
// end.
func latencies(t *testing.T, s *sick) map[events.Upstream]latency {
	cfg := simConfig()
	cfg.withCRMCOM()
	w := newWorld(t, 1, cfg)
	defer w.close()
	w.start()
	for n := range 20 { // until there is a token, and every gate is open
		for _, upstream := range w.upstreams() {
			w.send(w.crowding(upstream, n+500))
		}
	}
	w.settle(time.Minute)
	if s != nil {
		s.make(w)
		if s.open {
			w.opens(s.upstream)
		}
	}
	var sent []event.Event
	for n := range crowd {
		for _, upstream := range w.upstreams() {
			e := w.crowding(upstream, n+1000)
			e.SetTime(time.Now())
			w.send(e)
			sent = append(sent, e)
		}
	}
	time.Sleep(20 * time.Second)
	found := w.measure(sent)
	w.recover()
	w.resolves = true
	w.settle(2 * time.Hour)
	w.verdict()
	return found
}

// crowding is the nth command to an upstream.
func (w *world) crowding(upstream events.Upstream, n int) event.Event {
	id := fmt.Sprintf("%s-%d", upstream, n)
	switch upstream {
	case events.TVMS:
		return w.renewal(id, id)
	case events.CRMCOM:
		d := amendOf("SPORTS")
		d.SubscriptionIdentifier.Number = id
		return w.command(events.Amend, id, id, d)
	}
	return w.command(events.NetflixSuspend, id, id, events.NetflixCustomerData{BillingSystemCustomerIdentifier: id})
}

// opens sends commands until the breaker is open.
func (w *world) opens(upstream events.Upstream) {
	w.Helper()
	guard := w.any().app.Guard(string(upstream))
	for n := 1; guard.State() != "open"; n++ {
		if n > 60 {
			w.Fatalf("the breaker of %s stays %s", upstream, guard.State())
		}
		w.send(w.crowding(upstream, n))
		time.Sleep(time.Second)
	}
}

// measure finds out which of the commands are done, and how long they took.
func (w *world) measure(sent []event.Event) map[events.Upstream]latency {
	w.Helper()
	took := map[events.Upstream][]time.Duration{}
	for _, e := range sent {
		h, err := w.cl.outcomes.ByCID(w.Context(), events.CID(e.Source(), e.ID(), e.Subject()))
		if err != nil {
			w.Fatal(err)
		}
		if last := h.Last(); last != nil && last.Status == events.Succeeded {
			took[last.Upstream] = append(took[last.Upstream], last.FinishedAt.Sub(e.Time()))
		}
	}
	found := map[events.Upstream]latency{}
	for _, upstream := range w.upstreams() {
		all := took[upstream]
		slices.Sort(all)
		l := latency{done: len(all)}
		if l.done > 0 {
			l.median, l.longest = all[l.done/2], all[l.done-1]
		}
		found[upstream] = l
	}
	return found
}
