package handlers_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
	"subrelay/handlers"
)

const (
	subscriptionS1 = `"subscription_identifier":{"number":"S-1"}`
	amendFilms     = `{` + subscriptionS1 + `,"services_to_add_set":[{"service_identifier":{"code":"FILMS"}}],` +
		`"services_to_remove_set":[{"service_identifier":{"code":"SPORTS"}}]}`
	amendLater = `{` + subscriptionS1 + `,"scheduled_date":"2030-01-01T00:00:00Z","services_to_add_set":[{"service_identifier":{"code":"FILMS"}}]}`
	amendAway  = `{"accounts_receivable_identifier":{"number":"A-1"},"services_to_add_set":[{"service_identifier":{"code":"FILMS"}}]}`
	amendBox   = `{` + subscriptionS1 + `,"services_to_add_set":[{"service_identifier":{"code":"FILMS"},` +
		`"services_distribution_set":[{"provisioning_distributor_identifier":{"name":"STB-1"}}]}]}`
	amendSame = `{` + subscriptionS1 + `,"services_to_add_set":[{"service_identifier":{"code":"SPORTS"}}],` +
		`"services_to_remove_set":[{"service_identifier":{"code":"SPORTS"}}]}`
	boxLater = `{` + subscriptionS1 + `,"scheduled_date":"2030-01-01T00:00:00Z","services_to_remove_set":[{"service_identifier":{"code":"SPORTS"},` +
		`"services_distribution_set":[{"provisioning_distributor_identifier":{"name":"STB-1"}}]}]}`
	swapCode = `{` + subscriptionS1 + `,"services_to_swap_set":[{"from_service":{"service_identifier":{"code":"INTERNET_100"}},` +
		`"to_service":{"service_identifier":{"code":"INTERNET_200"}}}]}`
	swapInstance = `{` + subscriptionS1 + `,"services_to_swap_set":[{"from_service":{"subscription_service_id":"i1"},` +
		`"to_service":{"service_identifier":{"code":"INTERNET_200"}}}]}`
)

func traced(t *testing.T, attempt string) context.Context {
	return events.WithTrace(t.Context(), events.Trace{Ref: events.CID("/billing", "x", "S-1") + "." + attempt})
}

// What an unclear action turns out to be, by what the upstream says to its repetition and what reads show.
func TestSettleByReference(t *testing.T) {
	gone := func(c *crm) { c.services["S-1"] = c.services["S-1"][:1] }
	other := func(c *crm) { c.put("S-1", events.ServiceIdentifier{Code: "NEWS"}) }
	rejects := func(c *crm) { // the reference is used up, and nothing was done
		c.refs[events.CID("/billing", "x", "S-1")] = true
	}
	refuses := func(c *crm) { c.script = []reply{refused} }
	both := func(steps ...func(*crm)) func(*crm) {
		return func(c *crm) {
			for _, s := range steps {
				s(c)
			}
		}
	}
	for _, c := range []struct {
		name    string
		data    string
		first   reply
		between func(*crm)
		want    handlers.Verdict
		detail  string
	}{
		{"amend, nothing was done", amendFilms, lostBefore, nil, handlers.Applied, "accepted the repetition"},
		{"amend, done", amendFilms, lost, nil, handlers.Applied, "exactly those foreseen"},
		{"amend, seen and not visible", amendFilms, lostBefore, rejects, handlers.Pending, "as before the call"},
		{"amend, done and then somebody else", amendFilms, lost, other, handlers.Unclear, "neither those before"},
		{"amend, refused and as before", amendFilms, lostBefore, refuses, handlers.Unchanged, "refused the repetition (unknown customer)"},
		{"amend, refused and done", amendFilms, lost, refuses, handlers.Applied, "exactly those foreseen"},
		{"amend, refused and otherwise", amendFilms, lostBefore, both(gone, refuses), handlers.Unclear, "neither those before"},
		{"scheduled, nothing was done", amendLater, lostBefore, nil, handlers.Applied, "accepted"},
		{"scheduled, done", amendLater, lost, nil, handlers.Applied, "is scheduled"},
		{"scheduled, done and executed since", amendLater, lost, func(c *crm) {
			clear(c.scheduled)
			c.put("S-1", events.ServiceIdentifier{Code: "FILMS"})
		}, handlers.Applied, "exactly those foreseen"},
		{"scheduled, seen and not visible", amendLater, lostBefore, rejects, handlers.Pending, "as before the call"},
		{"scheduled, refused and not there", amendLater, lostBefore, refuses, handlers.Unchanged, "refused"},
		{"scheduled, refused and there", amendLater, lost, refuses, handlers.Applied, "is scheduled"},
		{"scheduled, refused and otherwise", amendLater, lostBefore, both(other, refuses), handlers.Unclear, "neither"},
		{"scheduled on a distributor, done", boxLater, lost, nil, handlers.Applied, "is scheduled"},
		{"scheduled on a distributor, not visible", boxLater, lostBefore, rejects, handlers.Pending, "not among the scheduled"},
		{"scheduled on a distributor, refused", boxLater, lostBefore, refuses, handlers.Unclear, "not among the scheduled"},
		{"by account, nothing was done", amendAway, lostBefore, nil, handlers.Applied, "accepted"},
		{"by account, done", amendAway, lost, nil, handlers.Unclear, "named by its account"},
		{"by account, refused", amendAway, lostBefore, refuses, handlers.Unclear, "named by its account"},
		{"on a distributor, nothing was done", amendBox, lostBefore, nil, handlers.Applied, "accepted"},
		{"on a distributor, done", amendBox, lost, nil, handlers.Unclear, "distributors"},
		{"on a distributor, refused", amendBox, lostBefore, refuses, handlers.Unclear, "distributors"},
		{"for the same, nothing was done", amendSame, lostBefore, nil, handlers.Applied, "accepted"},
		{"for the same, seen and as before", amendSame, lostBefore, rejects, handlers.Unclear, "could not be foreseen"},
		{"for the same, done", amendSame, lost, nil, handlers.Unclear, "neither"},
		{"for the same, refused", amendSame, lostBefore, refuses, handlers.Unchanged, "refused"},
		{"swap by product, done", swapCode, lost, nil, handlers.Applied, "exactly those foreseen"},
		{"swap by product, nothing was done", swapCode, lostBefore, nil, handlers.Applied, "accepted"},
		{"swap of an instance, done", swapInstance, lost, nil, handlers.Applied, "exactly those foreseen"},
		{"swap of an instance, done, not listed any more", swapInstance, lost, func(c *crm) {
			c.services["S-1"] = c.services["S-1"][1:]
		}, handlers.Unclear, "neither"},
	} {
		t.Run(c.name, func(t *testing.T) {
			kind, subject := events.Amend, "S-1"
			if strings.Contains(c.data, "swap") {
				kind = events.Swap
			}
			if strings.Contains(c.data, "A-1") {
				subject = "A-1"
			}
			crm := newCRM(kind)
			op := crm.operation(t, kind, subject, c.data)
			plan, err := op.Plan(traced(t, "1"), handlers.Try{Number: 1})
			if err != nil {
				t.Fatal(err)
			}
			crm.script = []reply{c.first}
			if _, err := op.Call(traced(t, "1"), handlers.Try{Number: 1, Plan: plan}); events.KindOf(err) != events.Unknown {
				t.Fatalf("the call says %v", err)
			}
			if c.between != nil {
				c.between(crm)
			}
			f, err := op.Settle(traced(t, "1"), handlers.Try{Number: 1, Plan: plan})
			if err != nil || f.Verdict != c.want || !strings.Contains(f.Detail, c.detail) {
				t.Errorf("finds %d %q, %v; want %d %q", f.Verdict, f.Detail, err, c.want, c.detail)
			}
			checkActionResult(t, f, c.data)
			if n := crm.effects(); n > 1 {
				t.Errorf("%d effects", n)
			}
		})
	}
}

func checkActionResult(t *testing.T, f handlers.Finding, data string) {
	t.Helper()
	if f.Verdict != handlers.Applied {
		if f.Result != nil {
			t.Errorf("a result without an effect: %s", f.Result)
		}
		return
	}
	var got events.ActionResult
	if err := json.Unmarshal(f.Result, &got); err != nil {
		t.Fatal(err)
	}
	want := events.ActionResult{Reference: "cid", SettledBy: "reference", Scheduled: strings.Contains(data, "scheduled_date")}
	if strings.Contains(f.Detail, "exactly those foreseen") {
		want.SubscriptionID, want.SubscriptionNumber, want.LifeCycleState = "id-S-1", "S-1", "EFFECTIVE"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the result differs (-want +got):\n%s", diff)
	}
}

// Where nothing says under which reference the first call went out, a repetition might be a second action: nothing is
// sent, and the attempt is in doubt.
func TestNoRepetitionUnderAnUnknownReference(t *testing.T) {
	for name, without := range map[string]string{"no plan": "null", "an empty one": "{}", "none that we can": `"x"`} {
		t.Run(name, func(t *testing.T) {
			crm := newCRM(events.Amend)
			op := crm.operation(t, events.Amend, "S-1", amendFilms)
			plan, err := op.Plan(traced(t, "1"), handlers.Try{Number: 1})
			if err != nil {
				t.Fatal(err)
			}
			crm.script = []reply{lost}
			if _, err := op.Call(traced(t, "1"), handlers.Try{Number: 1, Plan: plan}); events.KindOf(err) != events.Unknown {
				t.Fatalf("the call says %v", err)
			}
			f, err := op.Settle(traced(t, "1"), handlers.Try{Number: 1, Plan: json.RawMessage(without)})
			if err != nil || f.Verdict != handlers.Unclear || !strings.Contains(f.Detail, "under which reference") {
				t.Errorf("finds %+v, %v", f, err)
			}
			if n := crm.calls(); n != 1 {
				t.Errorf("%d calls, want the first alone", n)
			}
		})
	}
}

// A plan that keeps the reference alone: only a clear answer to the repetition counts.
func TestSettleByReferenceWithoutPlan(t *testing.T) {
	for _, plan := range []string{`{"reference":"cid"}`, `{"reference":"cid","before":null}`} {
		for name, c := range map[string]struct {
			replies []reply
			want    handlers.Verdict
		}{
			"accepted": {nil, handlers.Applied}, "seen": {[]reply{lost}, handlers.Unclear}, "refused": {[]reply{refused}, handlers.Unclear},
		} {
			crm := newCRM(events.Amend)
			op := crm.operation(t, events.Amend, "S-1", amendFilms)
			try := handlers.Try{Number: 1, Plan: json.RawMessage(plan)}
			if name == "seen" {
				crm.refs[events.CID("/billing", "x", "S-1")] = true
			} else {
				crm.script = c.replies
			}
			if f, err := op.Settle(traced(t, "1"), try); f.Verdict != c.want || err != nil {
				t.Errorf("%s, plan %q: finds %+v, %v", name, plan, f, err)
			}
		}
	}
}

// Errors of the repetition and of the reads that confirm it leave all open.
func TestSettleByReferenceErrors(t *testing.T) {
	for name, c := range map[string]struct {
		data   string
		script []reply
		reads  []error
		want   error
	}{
		"unclear again":              {amendFilms, []reply{lost}, nil, errUnclear},
		"unreachable":                {amendFilms, []reply{unreachable}, nil, unreachable.err},
		"the read fails":             {amendFilms, nil, []error{errRead}, errRead},
		"the read of schedules":      {amendLater, nil, []error{errRead}, errRead},
		"the read after it":          {amendLater, nil, []error{nil, errRead}, errRead},
		"the read after the refusal": {amendFilms, []reply{refused}, []error{errRead}, errRead},
	} {
		t.Run(name, func(t *testing.T) {
			crm := newCRM(events.Amend)
			op := crm.operation(t, events.Amend, "S-1", c.data)
			plan, err := op.Plan(traced(t, "1"), handlers.Try{Number: 1})
			if err != nil {
				t.Fatal(err)
			}
			crm.refs[events.CID("/billing", "x", "S-1")] = true
			crm.script, crm.reads = c.script, c.reads
			f, err := op.Settle(traced(t, "1"), handlers.Try{Number: 1, Plan: plan})
			if err != c.want || f.Verdict != handlers.Unclear {
				t.Errorf("finds %+v, %v; want the error %v", f, err, c.want)
			}
		})
	}
}

var errRead error = &events.Error{Kind: events.Unavailable, Code: events.CodeRead, Message: "no state"}

// What a plan keeps, word for word: it stands in outcomes.
func TestActionPlan(t *testing.T) {
	for name, c := range map[string]struct{ data, want string }{
		"amend": {amendFilms, `{"reference":"cid","before":[{"id":"i1","life_cycle_state":"EFFECTIVE","product":{"id":"p-INTERNET_100","code":"INTERNET_100"}},` +
			`{"id":"i2","life_cycle_state":"EFFECTIVE","product":{"id":"p-SPORTS","code":"SPORTS"}}],` +
			`"target":{"live":[{"product":{"code":"FILMS"},"live":1},{"product":{"code":"SPORTS"},"live":0}]}}`},
		"swap": {swapInstance, `{"reference":"cid","before":[{"id":"i1","life_cycle_state":"EFFECTIVE","product":{"id":"p-INTERNET_100","code":"INTERNET_100"}},` +
			`{"id":"i2","life_cycle_state":"EFFECTIVE","product":{"id":"p-SPORTS","code":"SPORTS"}}],` +
			`"target":{"live":[{"product":{"code":"INTERNET_200"},"live":1}],"swapped":["i1"]}}`},
		"on a distributor": {amendBox, `{"reference":"cid","before":null,"unforeseen":"services are put on or taken off distributors, which the services read do not show"}`},
		"by account":       {amendAway, `{"reference":"cid","before":null,"unforeseen":"the subscription is named by its account, and cannot be read"}`},
	} {
		kind, subject := events.Amend, "S-1"
		if name == "swap" {
			kind = events.Swap
		}
		if name == "by account" {
			subject = "A-1"
		}
		plan, err := newCRM(kind).operation(t, kind, subject, c.data).Plan(t.Context(), handlers.Try{Number: 1})
		if diff := cmp.Diff(c.want, string(plan)); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	crm := newCRM(events.Amend)
	crm.reads = []error{refused.err}
	if _, err := crm.operation(t, events.Amend, "S-1", amendFilms).Plan(t.Context(), handlers.Try{Number: 1}); events.KindOf(err) != events.Refused {
		t.Errorf("an unknown subscription: %v", err)
	}
}

func TestActionCall(t *testing.T) {
	for name, c := range map[string]struct {
		number int
		used   bool
		script []reply
		kind   events.ErrorKind
		code   string
	}{
		"confirmed":              {1, false, nil, -1, ""},
		"refused":                {1, false, []reply{refused}, events.Refused, events.CodeRefused},
		"refused later":          {2, false, []reply{refused}, events.Refused, events.CodeRefused},
		"seen in a first call":   {1, true, nil, events.Refused, events.CodeDuplicate},
		"seen in a later one":    {2, true, nil, events.Unknown, events.CodeDuplicate},
		"unclear":                {1, false, []reply{lost}, events.Unknown, events.CodeBroken},
		"surely nothing applied": {2, false, []reply{busy}, events.Unavailable, events.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			crm := newCRM(events.Amend)
			crm.script, crm.refs[events.CID("/billing", "x", "S-1")] = c.script, c.used
			got, err := crm.operation(t, events.Amend, "S-1", amendLater).Call(traced(t, "1"), handlers.Try{Number: c.number})
			if c.kind < 0 {
				if string(got) != `{"reference":"cid","scheduled":true}` || err != nil {
					t.Errorf("answers %s, %v", got, err)
				}
				return
			}
			if e := events.AsError(err); e.Kind != c.kind || e.Code != c.code || got != nil {
				t.Errorf("answers %s, %+v; want an error of kind %v and code %s", got, e, c.kind, c.code)
			}
		})
	}
}

func TestSettlingOfFamilies(t *testing.T) {
	after, giveUp := time.Minute, 10*time.Minute
	read := handlers.Settling{Means: true, After: after, GiveUp: giveUp}
	repeat, charges := read, read
	repeat.Repeats, charges.Idempotent = true, true
	want := map[events.Kind]handlers.Settling{
		events.Amend: repeat, events.Swap: repeat,
		events.NetflixCreate: read, events.NetflixSuspend: read, events.NetflixUnsuspend: read, events.NetflixCancel: {},
		events.NetflixAcknowledge: charges, events.NetflixAccept: charges, events.NetflixDecline: charges,
	}
	for kind, s := range want {
		if diff := cmp.Diff(s, newCRM(kind).family(kind, true).Settling()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
		if diff := cmp.Diff(handlers.Settling{}, newCRM(kind).family(kind, false).Settling()); diff != "" {
			t.Errorf("%s, where nothing is confirmed (-want +got):\n%s", kind, diff)
		}
	}
}

// Every kind has a family that can check its commands without its upstream; with one, the upstream's own check counts.
func TestUnconnected(t *testing.T) {
	data := map[events.Kind]string{
		events.Renew: `{"customer_mapping_id":"S-1","months":1}`, events.Amend: amendFilms, events.Swap: swapCode,
	}
	for _, f := range handlers.Unconnected() {
		kind := f.Spec().Kind
		text, subscription := data[kind]
		if !subscription {
			text = `{"billing_system_customer_identifier":"S-1","charges_set":[{"number":"I1","billing_system_customer_identifier":"S-1"}]}`
		}
		command := &events.Command{Subject: "S-1", CID: "cid", Kind: kind, Data: json.RawMessage(text)}
		if _, err := f.Open(command); err != nil || f.Settling() != (handlers.Settling{}) {
			t.Errorf("%s: %v, settling %+v", kind, err, f.Settling())
		}
		other := *command
		if other.Subject = "S-2"; kind == events.NetflixAcknowledge || kind == events.NetflixAccept || kind == events.NetflixDecline {
			other.Data = json.RawMessage(`"x"`) // any subject may name charges
		}
		if _, err := f.Open(&other); events.KindOf(err) != events.Refused {
			t.Errorf("%s of another subject: %v", kind, err)
		}
		if kind == events.Renew {
			continue
		}
		crm := newCRM(kind)
		crm.refuse = &events.Error{Kind: events.Refused, Code: events.CodeRelease}
		if _, err := crm.family(kind, true).Open(command); events.AsError(err).Code != events.CodeRelease {
			t.Errorf("%s: the upstream's check says %v", kind, err)
		}
	}
}
