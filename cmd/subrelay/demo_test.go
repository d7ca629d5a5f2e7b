package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/natsjs"
	"subrelay/events"
	"subrelay/events/history"
	"subrelay/handlers"
	"subrelay/schemas"
)

var demoBegan = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func scriptOf(seed uint64) *demoScript {
	return newDemoScript(demoFlags{commands: 1000, customers: 300, seed: seed}, natsjs.Names{}, demoBegan)
}

func (w *sending) line(t *testing.T) string {
	t.Helper()
	if w.raw != nil {
		return w.subject + " " + string(w.raw)
	}
	e, err := json.Marshal(&w.event)
	if err != nil {
		t.Fatal(err)
	}
	return w.mark + " " + string(e)
}

// lines is everything that a script will ever send.
func (s *demoScript) lines(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, w := range s.sendings {
		all = append(all, w.line(t))
	}
	for _, c := range s.charges {
		answer := s.answer(&c)
		all = append(all, answer.line(t))
	}
	return all
}

func TestDemoScriptFollowsFromItsSeed(t *testing.T) {
	first := scriptOf(7).lines(t)
	if diff := cmp.Diff(first, scriptOf(7).lines(t)); diff != "" {
		t.Errorf("the same seed sends something else (-first +second):\n%s", diff)
	}
	if cmp.Equal(first, scriptOf(8).lines(t)) {
		t.Error("another seed sends the same")
	}
}

func TestDemoScriptSendsWhatItSays(t *testing.T) {
	for _, f := range []demoFlags{{commands: 50, customers: 10, seed: 1}, {commands: 1000, customers: 300, seed: 2}, {commands: 3000, customers: 20, seed: 3}} {
		s := newDemoScript(f, natsjs.Names{}, demoBegan)
		orders, wrong, again := map[string]bool{}, 0, map[events.Kind]bool{}
		for _, w := range s.sendings {
			switch id := w.event.ID(); {
			case w.duplicate && !orders[id]:
				t.Errorf("%s is sent again before it is sent", id)
			case w.duplicate:
				again[w.kind()] = true
			case w.raw != nil || strings.HasPrefix(id, "wrong-") || orders[id]:
				wrong++
			default:
				orders[id] = true
			}
		}
		if got := len(orders) + s.answers(); got != f.commands {
			t.Errorf("%+v: %d orders and answers", f, got)
		}
		if wrong < 20 {
			t.Errorf("%+v: only %d are wrong", f, wrong)
		}
		for _, kind := range []events.Kind{events.Renew, events.Amend, events.Swap, events.NetflixCreate, events.NetflixSuspend} {
			if !again[kind] {
				t.Errorf("%+v: no %s is sent twice", f, kind)
			}
		}
	}
}

// invalid says why a command would be rejected before any call, "" if it would not.
func invalid(t *testing.T, set *schemas.Set, w *sending) string {
	t.Helper()
	value, err := schemas.Decode(w.event.Data())
	if err != nil {
		t.Fatal(err)
	}
	if at := events.FindSecret(value); at != "" {
		return "a credential at " + at
	}
	if problems := set.Validate(w.event.Type(), value); len(problems) > 0 {
		return problems[0].String()
	}
	for _, f := range handlers.Unconnected() {
		if f.Spec().Kind == w.kind() {
			if _, err := f.Open(&events.Command{Kind: w.kind(), Subject: w.key(), Data: w.event.Data()}); err != nil {
				return err.Error()
			}
			return ""
		}
	}
	return "there is no such kind"
}

// Those that are wrong though they look right: the upstream, its release or its settings refuse them, or their time does.
var demoLooksRight = []string{
	"wrong-renew-customer", "wrong-amend-release", "wrong-amend-subscription", "wrong-swap-service", "wrong-netflix-create-promotion",
	"wrong-netflix-suspend-customer", "wrong-netflix-cancel-not-configured", "wrong-netflix-accept-charge", "wrong-netflix-decline-charge",
	"wrong-renew-expired", "wrong-swap-expired", "wrong-netflix-suspend-expired", "wrong-renew-stale", "wrong-netflix-unsuspend-stale",
}

func TestDemoOrdersAreValidAndTheWrongOnesAreNot(t *testing.T) {
	set, err := schemas.New()
	if err != nil {
		t.Fatal(err)
	}
	s := scriptOf(1)
	all := slices.Clone(s.sendings)
	for _, c := range s.charges {
		all = append(all, s.answer(&c))
	}
	seen := map[string]bool{}
	for _, w := range all {
		id := w.event.ID()
		if w.raw != nil || seen[id] {
			continue // no event, a duplicate, or an id used again
		}
		seen[id] = true
		why := invalid(t, set, &w)
		if right := !strings.HasPrefix(id, "wrong-") || slices.Contains(demoLooksRight, id); right != (why == "") {
			t.Errorf("%s %s: %q", id, w.event.Data(), why)
		}
	}
	for _, id := range demoLooksRight {
		if !seen[id] {
			t.Errorf("%s is not sent", id)
		}
	}
}

// evidenceOfSuccess is a renewal and a swap that went well.
func evidenceOfSuccess() history.Evidence {
	var e history.Evidence
	for i, kind := range []events.Kind{events.Renew, events.Swap} {
		spec, _ := events.SpecOf(events.Specs(), kind)
		seq, cid := uint64(i+1), events.CID(demoSource, string(kind), "K")
		e.Commands = append(e.Commands, history.Command{CID: cid, Key: "K", Kind: kind, Seq: seq})
		for j, status := range []events.Status{events.Started, events.Succeeded} {
			o := events.Outcome{Command: events.Ref{CID: cid, Key: "K", Kind: kind}, Status: status, Attempt: 1, Upstream: spec.Upstream}
			if status == events.Succeeded {
				o.Result = json.RawMessage(`{"settled_by":"read_back"}`)
			}
			e.Records = append(e.Records, events.Record{Outcome: o, Seq: 2*seq + uint64(j)})
		}
		at := int64(3 * i)
		e.Effects = append(e.Effects, history.Effect{
			Upstream: spec.Upstream, Kind: kind, Key: "K", Ref: cid + ".1", BeginOrder: at + 1, Order: at + 2, EndOrder: at + 3, Applied: true})
	}
	return e
}

func TestDemoVerdict(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(*history.Evidence)
		open  int // charges
		code  int
		says  string
	}{
		"OK":                        {func(*history.Evidence) {}, 0, exitDone, "OK: every command"},
		"effect twice in a book":    {func(e *history.Evidence) { twice(e, events.CRMCOM) }, 0, exitError, "VIOLATION  double_effect"},
		"effect missing in a book":  {func(e *history.Evidence) { e.Effects = e.Effects[:1] }, 0, exitError, "VIOLATION  lost_effect"},
		"effect of an unknown call": {func(e *history.Evidence) { e.Effects[0].Ref = "" }, 0, exitError, "VIOLATION  stray_call"},
		"outcome missing":           {func(e *history.Evidence) { e.Records = e.Records[:3] }, 0, exitError, "VIOLATION  unresolved"},
		"charge not answered":       {func(*history.Evidence) {}, 2, exitError, "FAILED: 2 charges"},
	} {
		t.Run(name, func(t *testing.T) {
			e := evidenceOfSuccess()
			tt.spoil(&e)
			r := verdictOn(e)
			r.ChargesOpen = tt.open
			r.OK = r.OK && r.ChargesOpen == 0
			var stdout, stderr bytes.Buffer
			c := newCLI(strings.NewReader(""), &stdout, &stderr, nil)
			if code := exitCode(c.demoVerdict(c.newNarrator(demoBegan), &r)); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if !strings.Contains(stdout.String(), tt.says) {
				t.Errorf("no %q in\n%s", tt.says, stdout.String())
			}
		})
	}
}

// twice adds another call with an effect to the upstream's entry in the book.
func twice(e *history.Evidence, name events.Upstream) {
	for _, effect := range e.Effects {
		if effect.Upstream == name {
			effect.BeginOrder, effect.Order, effect.EndOrder = effect.BeginOrder+100, effect.Order+100, effect.EndOrder+100
			e.Effects = append(e.Effects, effect)
			return
		}
	}
}

func TestDemoTallies(t *testing.T) {
	e := evidenceOfSuccess()
	e.Commands = append(e.Commands, e.Commands[0], history.Command{Seq: 9}) // a duplicate, and no command at all
	r := verdictOn(e)
	for _, tally := range slices.Concat(r.Kinds, r.Upstreams) {
		want := demoTally{Name: tally.Name}
		if slices.Contains([]string{"renew", "swap", "tvms", "crmcom"}, tally.Name) {
			want = demoTally{Name: tally.Name, Commands: 1, Succeeded: 1, Settled: 1, Effects: 1}
		}
		if diff := cmp.Diff(want, tally); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if len(r.Kinds) != len(events.Specs()) || len(r.Upstreams) != 3 || r.Settled != 2 {
		t.Errorf("%d kinds, %d upstreams, %d settled", len(r.Kinds), len(r.Upstreams), r.Settled)
	}
}

func TestDemoOutageMeasuresTheOthers(t *testing.T) {
	at := func(ms int) time.Time { return demoBegan.Add(time.Duration(ms) * time.Millisecond) }
	o := &demoOutage{Down: []events.Upstream{events.CRMCOM, events.Netflix}, from: at(1000), to: at(2000)}
	times := map[string]*demoTime{
		"calm":         {events.TVMS, at(100), at(107)},
		"calm too":     {events.TVMS, at(200), at(205)},
		"calm, other":  {events.CRMCOM, at(100), at(900)},
		"between":      {events.TVMS, at(600), at(800)},
		"in it":        {events.TVMS, at(1100), at(1103)},
		"out of it":    {events.TVMS, at(1900), at(2900)},
		"never":        {events.TVMS, at(1200), time.Time{}},
		"it was down":  {events.Netflix, at(1100), at(2100)},
		"after all":    {events.TVMS, at(2100), at(2200)},
		"in it, early": {events.TVMS, at(1001), at(1003)},
	}
	for range 2 { // measuring again changes nothing
		o.measure(times, at(500))
	}
	want := demoOutage{
		Down: o.Down, DownMS: 1000, Others: []events.Upstream{events.TVMS}, Sent: 3, Done: 2,
		P50: 3, P95: 1000, Max: 1000, P50Before: 5, P95Before: 7, from: o.from, to: o.to,
	}
	if diff := cmp.Diff(want, *o, cmp.AllowUnexported(demoOutage{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Only failures of an upstream as a whole must use up no attempt.
func TestSpentByOutages(t *testing.T) {
	record := func(seq uint64, cid string, status events.Status, attempts int, code string) events.Record {
		r := events.Record{Seq: seq, Outcome: events.Outcome{Command: events.Ref{CID: cid}, Status: status, Spent: &events.Spent{Attempts: attempts}}}
		if code != "" {
			r.Error = &events.Failure{Code: code}
		}
		return r
	}
	own := []events.Record{
		record(1, "a", events.Started, 0, ""), record(2, "a", events.Deferred, 1, events.CodeNotApplied),
		record(3, "a", events.Started, 1, ""), record(4, "a", events.Deferred, 1, events.CodeUnreachable),
	}
	if got := spentByOutages(own); got != 0 {
		t.Errorf("%d attempts, none of them the outage's", got)
	}
	if got := spentByOutages(append(own, record(6, "a", events.Deferred, 2, events.CodeUnreachable), record(5, "a", events.Started, 1, ""))); got != 1 {
		t.Errorf("%d attempts, one of them the outage's", got)
	}
}
