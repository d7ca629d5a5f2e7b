package handlers_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
	"subrelay/handlers"
)

const customerC1 = `{"billing_system_customer_identifier":"C-1"}`

// settleUnclear plans, calls with the reply lost, lets something happen, and settles.
func settleUnclear(t *testing.T, crm *crm, op handlers.Operation, applied bool, between func()) handlers.Finding {
	t.Helper()
	plan, err := op.Plan(t.Context(), handlers.Try{Number: 1})
	if err != nil {
		t.Fatal(err)
	}
	crm.script = []reply{{applies: applied, err: errUnclear}}
	if _, err := op.Call(t.Context(), handlers.Try{Number: 1, Plan: plan}); events.KindOf(err) != events.Unknown {
		t.Fatalf("the call says %v", err)
	}
	if between != nil {
		between()
	}
	calls := crm.calls()
	f, err := op.Settle(t.Context(), handlers.Try{Number: 1, Plan: plan})
	if err != nil || f.Detail == "" || crm.calls() != calls {
		t.Errorf("settling finds %+v, %v, with %d more calls", f, err, crm.calls()-calls)
	}
	return f
}

func checkFinding(t *testing.T, got handlers.Finding, want handlers.Verdict, result string) {
	t.Helper()
	if got.Verdict != want || want == handlers.Applied && string(got.Result) != result || want != handlers.Applied && got.Result != nil {
		t.Errorf("finds %d %q with %s; want %d with %s", got.Verdict, got.Detail, got.Result, want, result)
	}
}

func TestSettleNetflixCreate(t *testing.T) {
	cancelled := subscriber("N-0", events.NetflixEffective)
	cancelled.LifeCycleState = events.NetflixCancelled
	for name, c := range map[string]struct {
		before  []events.NetflixSubscription
		applied bool
		want    handlers.Verdict
	}{
		"created":                      {nil, true, handlers.Applied},
		"not created":                  {nil, false, handlers.Unchanged},
		"another, and one before":      {[]events.NetflixSubscription{subscriber("N-0", events.NetflixEffective)}, true, handlers.Unclear},
		"the one before":               {[]events.NetflixSubscription{subscriber("N-0", events.NetflixEffective)}, false, handlers.Unclear},
		"one before that is cancelled": {[]events.NetflixSubscription{cancelled}, true, handlers.Unclear},
	} {
		t.Run(name, func(t *testing.T) {
			crm := newCRM(events.NetflixCreate)
			crm.netflix["C-1"] = c.before
			f := settleUnclear(t, crm, crm.operation(t, events.NetflixCreate, "C-1", customerC1), c.applied, nil)
			checkFinding(t, f, c.want, `{"token_lost":true,"settled_by":"read_back"}`)
		})
	}
}

func TestNetflixCreateCall(t *testing.T) {
	crm := newCRM(events.NetflixCreate)
	op := crm.operation(t, events.NetflixCreate, "C-1", customerC1)
	got, err := op.Call(t.Context(), handlers.Try{Number: 1})
	if string(got) != `{"netflix_token":"the-token"}` || err != nil {
		t.Errorf("answers %s, %v", got, err)
	}
}

func TestSettleNetflixState(t *testing.T) {
	on, off := events.NetflixEffective, events.NetflixNotEffective
	subs := func(states ...string) (out []events.NetflixSubscription) {
		for i, s := range states {
			out = append(out, subscriber("N-"+string(rune('1'+i)), s))
		}
		return out
	}
	withCancelled := func(state string, s []events.NetflixSubscription) []events.NetflixSubscription {
		gone := subscriber("N-9", state)
		gone.LifeCycleState = events.NetflixCancelled
		return append(s, gone)
	}
	for name, c := range map[string]struct {
		kind        events.Kind
		before, now []events.NetflixSubscription
		want        handlers.Verdict
	}{
		"suspended":                        {events.NetflixSuspend, subs(on), subs(off), handlers.Applied},
		"unsuspended":                      {events.NetflixUnsuspend, subs(off), subs(on), handlers.Applied},
		"both suspended":                   {events.NetflixSuspend, subs(on, on), subs(off, off), handlers.Applied},
		"the other was suspended":          {events.NetflixSuspend, subs(on, off), subs(off, off), handlers.Applied},
		"one of two suspended":             {events.NetflixSuspend, subs(on, on), subs(off, on), handlers.Unclear},
		"not suspended":                    {events.NetflixSuspend, subs(on), subs(on), handlers.Unchanged},
		"it was suspended":                 {events.NetflixSuspend, subs(off), subs(off), handlers.Unchanged},
		"it was suspended, and is not now": {events.NetflixSuspend, subs(off), subs(on), handlers.Unclear},
		"it was suspended, and others are": {events.NetflixSuspend, subs(off), subs(off, off), handlers.Unclear},
		"another has come":                 {events.NetflixSuspend, subs(on), subs(off, off), handlers.Unclear},
		"one has gone":                     {events.NetflixSuspend, subs(on, on), subs(off), handlers.Unclear},
		"nobody":                           {events.NetflixSuspend, nil, nil, handlers.Unclear},
		"only cancelled ones":              {events.NetflixSuspend, withCancelled(on, nil), withCancelled(on, nil), handlers.Unclear},
		"a cancelled one stays":            {events.NetflixSuspend, withCancelled(on, subs(on)), withCancelled(on, subs(off)), handlers.Applied},
		"cancelled meanwhile":              {events.NetflixSuspend, subs(on), withCancelled(off, nil), handlers.Unclear},
	} {
		t.Run(name, func(t *testing.T) {
			crm := newCRM(c.kind)
			crm.netflix["C-1"] = c.before
			f := settleUnclear(t, crm, crm.operation(t, c.kind, "C-1", customerC1), false, func() { crm.netflix["C-1"] = c.now })
			checkFinding(t, f, c.want, `{"settled_by":"read_back"}`)
		})
	}
}

func TestNetflixStateCall(t *testing.T) {
	for kind, state := range map[events.Kind]string{
		events.NetflixSuspend: events.NetflixNotEffective, events.NetflixUnsuspend: events.NetflixEffective,
	} {
		crm := newCRM(kind)
		crm.netflix["C-1"] = []events.NetflixSubscription{subscriber("N-1", "")}
		got, err := crm.operation(t, kind, "C-1", customerC1).Call(t.Context(), handlers.Try{Number: 1})
		if string(got) != `{}` || err != nil || crm.netflix["C-1"][0].NetflixState != state {
			t.Errorf("%s answers %s, %v; the state is %q", kind, got, err, crm.netflix["C-1"][0].NetflixState)
		}
	}
}

const threeCharges = `{"charges_set":[{"number":"I1","billing_system_customer_identifier":"C-1"},` +
	`{"number":"I2","billing_system_customer_identifier":"C-1"},{"number":"I3","billing_system_customer_identifier":"C-2"}]}`

// charges reads "I1:PENDING I2:APPROVED".
func charges(text string) map[string]events.NetflixCharge {
	out := map[string]events.NetflixCharge{}
	for _, word := range strings.Fields(text) {
		number, status, _ := strings.Cut(word, ":")
		out[number] = events.NetflixCharge{Number: number, ChargeStatus: status}
	}
	return out
}

func TestSettleNetflixCharges(t *testing.T) {
	ack, accept, decline := events.NetflixAcknowledge, events.NetflixAccept, events.NetflixDecline
	const all = `{"taken":["I1","I2","I3"],"settled_by":"read_back"}`
	const two = `{"taken":["I1","I3"],"failed":[{"number":"I2","error_description":"it could not be taken, as read before the call"}],"settled_by":"read_back"}`
	for name, c := range map[string]struct {
		kind        events.Kind
		before, now string
		want        handlers.Verdict
		result      string
	}{
		"acknowledged":                     {ack, "I1:APPROVED I2:DECLINED I3:APPROVED", "", handlers.Applied, all},
		"those there were":                 {ack, "I1:APPROVED I3:APPROVED", "", handlers.Applied, two},
		"not acknowledged":                 {ack, "I1:APPROVED I2:DECLINED I3:APPROVED", "I1:APPROVED I2:DECLINED I3:APPROVED", handlers.Unchanged, ""},
		"not acknowledged, a status moved": {ack, "I1:PENDING I2:DECLINED I3:APPROVED", "I1:APPROVED I2:DECLINED I3:APPROVED", handlers.Unchanged, ""},
		"some acknowledged":                {ack, "I1:APPROVED I2:DECLINED I3:APPROVED", "I2:DECLINED", handlers.Unclear, ""},
		"none was there":                   {ack, "", "", handlers.Unclear, ""},
		"accepted":                         {accept, "I1:PENDING I2:PENDING I3:PENDING", "I1:APPROVED I2:APPROVED I3:APPROVED", handlers.Applied, all},
		"those that were pending":          {accept, "I1:PENDING I2:REJECTED I3:PENDING", "I1:APPROVED I2:REJECTED I3:APPROVED", handlers.Applied, two},
		"declined":                         {decline, "I1:PENDING I2:PENDING I3:PENDING", "I1:DECLINED I2:DECLINED I3:DECLINED", handlers.Applied, all},
		"declined, and accepted elsewhere": {decline, "I1:PENDING I2:PENDING I3:PENDING", "I1:APPROVED I2:APPROVED I3:APPROVED", handlers.Unclear, ""},
		"not accepted":                     {accept, "I1:PENDING I2:PENDING I3:PENDING", "I1:PENDING I2:PENDING I3:PENDING", handlers.Unchanged, ""},
		"some accepted":                    {accept, "I1:PENDING I2:PENDING I3:PENDING", "I1:APPROVED I2:PENDING I3:PENDING", handlers.Unclear, ""},
		"accepted and gone":                {accept, "I1:PENDING I2:PENDING I3:PENDING", "I1:APPROVED I2:APPROVED", handlers.Unclear, ""},
		"none was pending":                 {accept, "I1:APPROVED I2:REJECTED", "I1:APPROVED I2:REJECTED", handlers.Unclear, ""},
	} {
		t.Run(name, func(t *testing.T) {
			crm := newCRM(c.kind)
			crm.charges = charges(c.before + " I9:PENDING")
			f := settleUnclear(t, crm, crm.operation(t, c.kind, "any", threeCharges), false, func() { crm.charges = charges(c.now + " I9:PENDING") })
			checkFinding(t, f, c.want, c.result)
		})
	}
}

// The operator may name other states of charges that were taken.
func TestChargeStates(t *testing.T) {
	for kind, state := range map[events.Kind]string{events.NetflixAccept: "ACCEPTED", events.NetflixDecline: "TURNED_DOWN"} {
		crm := newCRM(kind)
		crm.charges = charges("I1:PENDING")
		f := crm.family(kind, true).(handlers.NetflixCharges)
		f.States = []string{"X", state}
		op, err := f.Open(&events.Command{Subject: "any", Data: json.RawMessage(threeCharges)})
		if err != nil {
			t.Fatal(err)
		}
		found := settleUnclear(t, crm, op, false, func() { crm.charges = charges("I1:" + state) })
		if found.Verdict != handlers.Applied {
			t.Errorf("%s: finds %+v", kind, found)
		}
	}
}

func TestNetflixChargesCall(t *testing.T) {
	for name, c := range map[string]struct {
		listed  string
		decline map[string]string
		reply   reply
		want    string
		fail    *events.Error
	}{
		"all taken": {"I1:APPROVED I2:APPROVED I3:APPROVED", nil, confirmed, `{"taken":["I1","I2","I3"]}`, nil},
		"some taken": {"I1:APPROVED I2:APPROVED I3:APPROVED", map[string]string{"I2": "NOT_YOURS"}, confirmed,
			`{"taken":["I1","I3"],"failed":[{"number":"I2","error_code":"NOT_YOURS","error_description":"not taken"}]}`, nil},
		"none taken": {"I1:APPROVED", map[string]string{"I1": "FIRST", "I2": "SECOND"}, confirmed, "", &events.Error{Kind: events.Refused,
			Code: events.CodeItemsRefused, UpstreamCode: "FIRST",
			Message:  "every charge was refused: I1 (FIRST not taken), I2 (SECOND not taken), I3 (not taken)",
			Problems: []string{"I1 (FIRST not taken)", "I2 (SECOND not taken)", "I3 (not taken)"}}},
		"refused": {"", nil, refused, "", refused.err.(*events.Error)},
		"every reference was seen": {"I1:APPROVED", nil, reply{err: errDuplicate}, "",
			&events.Error{Kind: events.Refused, Code: events.CodeDuplicate, Message: "the reference was used before"}},
	} {
		t.Run(name, func(t *testing.T) {
			crm := newCRM(events.NetflixAcknowledge)
			crm.charges, crm.script, crm.decline = charges(c.listed), []reply{c.reply}, c.decline
			got, err := crm.operation(t, events.NetflixAcknowledge, "any", threeCharges).Call(t.Context(), handlers.Try{Number: 1})
			if string(got) != c.want {
				t.Errorf("answers %s, want %s", got, c.want)
			}
			var want error
			if c.fail != nil {
				want = c.fail
			}
			if diff := cmp.Diff(want, err); diff != "" {
				t.Errorf("the error differs (-want +got):\n%s", diff)
			}
		})
	}
	crm := newCRM(events.NetflixAccept)
	crm.onCall = func(string) *reply { return nil }
	crm.charges = charges("I1:PENDING I2:PENDING I3:PENDING")
	for name, failed := range map[string][]events.FailedCharge{"of nobody": {{Number: "I7"}}, "twice": {{Number: "I1"}, {Number: "I1"}}} {
		f := crm.family(events.NetflixAccept, true).(handlers.NetflixCharges)
		f.Taker = taker{crm, failed, nil}
		op, err := f.Open(&events.Command{Subject: "any", Data: json.RawMessage(threeCharges)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := op.Call(t.Context(), handlers.Try{Number: 1}); events.KindOf(err) != events.Unknown {
			t.Errorf("a failure %s: %v", name, err)
		}
	}
}

// A start of a version or a setting without a plan, and reads that fail.
func TestNetflixWithoutPlan(t *testing.T) {
	for kind, data := range map[events.Kind]string{
		events.NetflixCreate: customerC1, events.NetflixSuspend: customerC1, events.NetflixAccept: threeCharges,
	} {
		crm := newCRM(kind)
		op := crm.operation(t, kind, "C-1", data)
		for _, plan := range []string{"", "{}", "null", `"x"`, `{"before":null}`} {
			if f, err := op.Settle(t.Context(), handlers.Try{Number: 1, Plan: json.RawMessage(plan)}); f.Verdict != handlers.Unclear || err != nil {
				t.Errorf("%s, plan %q: finds %+v, %v", kind, plan, f, err)
			}
		}
		crm.reads = []error{errRead}
		if _, err := op.Plan(t.Context(), handlers.Try{Number: 1}); err != errRead {
			t.Errorf("%s: Plan says %v", kind, err)
		}
		plan, err := op.Plan(t.Context(), handlers.Try{Number: 1})
		crm.reads = []error{errRead}
		if f, failed := op.Settle(t.Context(), handlers.Try{Number: 1, Plan: plan}); failed != errRead || err != nil || f.Verdict != handlers.Unclear {
			t.Errorf("%s: Settle says %+v, %v", kind, f, failed)
		}
	}
}
