package crmcom

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
)

const (
	plainAmend = `{"subscription_identifier":{"number":"S1"},"services_to_remove_set":[{"service_identifier":{"code":"X"}}]}`
	laterAmend = `{"subscription_identifier":{"number":"S1"},"scheduled_date":"2030-01-01T00:00:00Z","services_to_remove_set":[{"service_identifier":{"code":"X"}}]}`
)

// Replies of every shape to an action: nothing, the subscription, the action, or both, however they are put together.
func TestActed(t *testing.T) {
	subscription := events.ActionResult{SubscriptionID: "0F3A", SubscriptionNumber: "S1", LifeCycleState: "EFFECTIVE"}
	action := events.ActionResult{ActionID: "B7", ActionNumber: "A9", ActionState: "EXECUTED"}
	with := func(r events.ActionResult, change func(r *events.ActionResult)) events.ActionResult {
		change(&r)
		return r
	}
	together := with(subscription, func(r *events.ActionResult) {
		r.ActionID, r.ActionNumber, r.ActionState = action.ActionID, action.ActionNumber, action.ActionState
	})
	waiting := with(action, func(r *events.ActionResult) { r.ActionState, r.Scheduled = "SCHEDULED", true })
	const (
		s = `{"id":"0F3A","number":"S1","life_cycle_state":"EFFECTIVE","termed_services_set":[]}`
		a = `{"id":"B7","number":"A9","life_cycle_state":"EXECUTED","behavior_code":"AMEND_SERVICES_INSTALLED_ITEMS"}`
	)
	for name, c := range map[string]struct {
		data string
		want events.ActionResult
	}{
		"null":                        {`null`, events.ActionResult{}},
		"nothing":                     {`{}`, events.ActionResult{}},
		"no items":                    {`[]`, events.ActionResult{}},
		"other things":                {`{"result":{"id":"7"},"count":3,"text":"done"}`, events.ActionResult{}},
		"the reference's example":     {`{"id":"0F3A","number":"S1","life_cycle_state":"EFFECTIVE"}`, subscription},
		"a subscription":              {s, subscription},
		"a subscription in an array":  {`[` + s + `]`, subscription},
		"a named subscription":        {`{"subscription":` + s + `}`, subscription},
		"named, without marks":        {`{"subscription":{"id":"0F3A","number":"S1","life_cycle_state":"EFFECTIVE"}}`, subscription},
		"numbers as numbers":          {`{"id":17,"number":12345,"life_cycle_state":"EFFECTIVE","free":false}`, events.ActionResult{SubscriptionID: "17", SubscriptionNumber: "12345", LifeCycleState: "EFFECTIVE"}},
		"null members":                {`{"id":"0F3A","number":null,"life_cycle_state":null,"termed_services_set":null}`, events.ActionResult{SubscriptionID: "0F3A"}},
		"members of other types":      {`{"id":{"x":1},"number":["S1"],"life_cycle_state":true}`, events.ActionResult{}},
		"a cancelled subscription":    {`{"number":"S1","life_cycle_state":"CANCELLED","termed_services_set":[]}`, events.ActionResult{SubscriptionNumber: "S1", LifeCycleState: "CANCELLED"}},
		"one cancelled, named":        {`{"subscription":{"number":"S1","life_cycle_state":"CANCELLED"}}`, events.ActionResult{SubscriptionNumber: "S1", LifeCycleState: "CANCELLED"}},
		"a subscription to be proved": {`{"number":"S1","life_cycle_state":"PENDING_VERIFICATION","billing_terms":{}}`, events.ActionResult{SubscriptionNumber: "S1", LifeCycleState: "PENDING_VERIFICATION"}},
		"an action":                   {a, action},
		"an action in an array":       {`[` + a + `]`, action},
		"an action by its state":      {`{"id":"B7","number":"A9","life_cycle_state":"EXECUTED"}`, action},
		"an action by its reference":  {`{"id":"B7","transaction_reference_number":"` + cid + `"}`, events.ActionResult{ActionID: "B7"}},
		"one to be proved, it may be": {`{"number":"S1","life_cycle_state":"PENDING_VERIFICATION"}`, events.ActionResult{SubscriptionNumber: "S1", LifeCycleState: "PENDING_VERIFICATION"}},
		"a scheduled action":          {`{"id":"B7","number":"A9","life_cycle_state":"SCHEDULED"}`, waiting},
		"an action of a subscription": {strings.TrimSuffix(a, "}") + `,"subscription":` + s + `}`, together},
		"its subscription by id":      {strings.TrimSuffix(a, "}") + `,"subscription":{"id":"0F3A","number":"S1"}}`, with(together, func(r *events.ActionResult) { r.LifeCycleState = "" })},
		"side by side":                {`{"subscription":` + s + `,"subscription_action":` + a + `}`, together},
		"side by side in an array":    {`[` + a + `,` + s + `]`, together},
		"two, only one of them ours": {`{"subscription":` + s + `,"actions_set":[{"number":"A1","life_cycle_state":"REJECTED","transaction_reference_number":"other"},` +
			`{"id":"B7","number":"A9","life_cycle_state":"EXECUTED","transaction_reference_number":"` + cid + `"}]}`, together},
		"ours beside a bare one": {`[{"number":"S1","life_cycle_state":"CANCELLED"},{"number":"A9","life_cycle_state":"EXECUTED","transaction_reference_number":"` + cid + `"}]`,
			events.ActionResult{SubscriptionNumber: "S1", LifeCycleState: "CANCELLED", ActionNumber: "A9", ActionState: "EXECUTED"}},
		"only others, all done": {`{"actions_set":[{"number":"A9","life_cycle_state":"EXECUTED","transaction_reference_number":"other"}]}`, events.ActionResult{}},
		"another's, scheduled": {`{"number":"S1","free":true,"actions_set":[{"number":"A9","life_cycle_state":"SCHEDULED","transaction_reference_number":"other"}]}`,
			events.ActionResult{SubscriptionNumber: "S1"}},
		"another's, and a bare one": {`{"actions_set":[{"number":"A8","life_cycle_state":"SCHEDULED","transaction_reference_number":"other"},{"number":"A9","life_cycle_state":"EXECUTED"}]}`,
			events.ActionResult{ActionNumber: "A9", ActionState: "EXECUTED"}},
		"long words": {`{"number":"` + strings.Repeat("9", 300) + `","free":true}`, events.ActionResult{SubscriptionNumber: strings.Repeat("9", 100)}},
	} {
		t.Run(name, func(t *testing.T) {
			b := against(t, settings(""), data(c.data))
			got, err := b.client.Amend(t.Context(), cid, decode[events.AmendData](t, plainAmend))
			like(t, outcome{}, err)
			want := with(c.want, func(r *events.ActionResult) { r.Reference = cid })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("amend: %s", diff)
			}
			got, err = b.client.Swap(t.Context(), cid, decode[events.SwapData](t, plainSwap))
			like(t, outcome{}, err)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("swap: %s", diff)
			}
			got, err = b.client.Amend(t.Context(), cid, decode[events.AmendData](t, laterAmend))
			like(t, outcome{}, err)
			if diff := cmp.Diff(with(want, func(r *events.ActionResult) { r.Scheduled = true }), got); diff != "" {
				t.Errorf("scheduled: %s", diff)
			}
		})
	}
}

// An OK is not always one: an action may have been recorded and rejected.
func TestActedButNotDone(t *testing.T) {
	rejected := func(state string) outcome {
		return outcome{Kind: "refused", Code: events.CodeRefused, Said: state, Message: "CRM.COM recorded the action as " + state}
	}
	unclear := func(state string) outcome {
		return outcome{Kind: "unknown", Code: events.CodeUpstreamError, Said: state,
			Message: "CRM.COM recorded the action as " + state + ", which leaves open what was done"}
	}
	twice := outcome{Kind: "unknown", Code: events.CodeUnreadable, Message: "CRM.COM answered OK, but its data holds a member twice"}
	action := func(number, state, reference string) string {
		return fmt.Sprintf(`{"number":%q,"life_cycle_state":%q,"transaction_reference_number":%s}`, number, state, reference)
	}
	own := quoted(cid)
	states := func(change func(a *AmendSettings)) func(s *Settings) {
		return func(s *Settings) { change(&s.Amend) }
	}
	for name, c := range map[string]struct {
		data   string
		change func(s *Settings)
		want   outcome
	}{
		"rejected":                    {`{"number":"A9","life_cycle_state":"REJECTED"}`, nil, rejected("REJECTED")},
		"rejected by the system":      {`{"number":"A9","life_cycle_state":"REJECTEDSYSTEMFAILURE"}`, nil, rejected("REJECTEDSYSTEMFAILURE")},
		"rejected by validation":      {`{"number":"A9","life_cycle_state":"REJECTEDSYSTEMVALIDATION"}`, nil, rejected("REJECTEDSYSTEMVALIDATION")},
		"cancelled":                   {action("A9", "CANCELLED", own), nil, rejected("CANCELLED")},
		"cancelled, an action's name": {`{"action":{"life_cycle_state":"CANCELLED"}}`, nil, rejected("CANCELLED")},
		"cancelled, whatever it is":   {`{"number":"A9","life_cycle_state":"CANCELLED"}`, nil, unclear("CANCELLED")},
		"with errors":                 {`{"number":"A9","life_cycle_state":"EXECUTEDWITHERRORS"}`, nil, unclear("EXECUTEDWITHERRORS")},
		"an action to be proved":      {`{"action":{"number":"A9","life_cycle_state":"PENDING_VERIFICATION"}}`, nil, unclear("PENDING_VERIFICATION")},
		"nested beyond all reason": {strings.Repeat(`{"action":`, 1000) + `{}` + strings.Repeat(`}`, 1000), nil,
			outcome{Kind: "unknown", Code: events.CodeUnreadable, Message: "CRM.COM answered OK, but its data is nested too deep"}},
		"deep within": {`[{"subscription":{"number":"S1","termed_services_set":[],"actions":[{"subscription_action":` + action("A9", "REJECTED", own) + `}]}}]`,
			nil, rejected("REJECTED")},
		"all rejected":                 {`[` + action("A9", "REJECTED", "null") + `,` + action("A8", "CANCELLED", "null") + `]`, nil, rejected("REJECTED")},
		"one rejected, one done":       {`[` + action("A8", "EXECUTED", "null") + `,` + action("A9", "REJECTED", "null") + `]`, nil, unclear("REJECTED")},
		"rejected beside a bare one":   {`[` + action("A9", "REJECTED", "null") + `,{"number":"S1","life_cycle_state":"EFFECTIVE"}]`, nil, unclear("REJECTED")},
		"ours rejected, others done":   {`[` + action("A8", "EXECUTED", `"other"`) + `,` + action("A9", "REJECTED", own) + `]`, nil, rejected("REJECTED")},
		"ours rejected, beside a bare": {`[` + action("A9", "REJECTED", own) + `,{"number":"S1","life_cycle_state":"EFFECTIVE"}]`, nil, rejected("REJECTED")},
		"another's rejected":           {`{"subscription":{"number":"S1","actions_set":[` + action("A1", "REJECTED", `"other"`) + `]}}`, nil, unclear("REJECTED")},
		"a state that was listed": {action("A9", "PENDING_VERIFICATION", own),
			states(func(a *AmendSettings) { a.UnclearStates = []string{"PENDING_VERIFICATION"} }), unclear("PENDING_VERIFICATION")},
		"a state that is fine":        {action("A9", "PENDING_VERIFICATION", own), states(func(a *AmendSettings) { a.UnclearStates = []string{} }), outcome{}},
		"a rejection that was listed": {action("A9", "FAILED", own), states(func(a *AmendSettings) { a.RejectedStates = []string{"FAILED"} }), rejected("FAILED")},
		"no state is listed":          {action("A9", "REJECTED", own), states(func(a *AmendSettings) { a.RejectedStates = []string{} }), outcome{}},
		"one with errors is fine":     {action("A9", "EXECUTEDWITHERRORS", own), states(func(a *AmendSettings) { a.UnclearStates = []string{} }), outcome{}},
		"a member twice":              {`{"number":"S1","number":"S2"}`, nil, twice},
		"twice within":                {`{"subscription":{"id":"1"},"action":[{"number":"A9","life_cycle_state":"EXECUTED","life_cycle_state":"REJECTED"}]}`, nil, twice},
	} {
		t.Run(name, func(t *testing.T) {
			s := settings("")
			if c.change != nil {
				c.change(&s)
			}
			b := against(t, s, data(c.data))
			got, err := b.client.Amend(t.Context(), cid, decode[events.AmendData](t, plainAmend))
			like(t, c.want, err)
			if got.Reference != cid {
				t.Errorf("amend: the result does not name the reference: %+v", got)
			}
			got, err = b.client.Swap(t.Context(), cid, decode[events.SwapData](t, plainSwap))
			like(t, c.want, err)
			if got.Reference != cid {
				t.Errorf("swap: the result does not name the reference: %+v", got)
			}
		})
	}
}

// Where no reference is sent, no action can be told to be ours.
func TestActedWithoutReference(t *testing.T) {
	s := settings("")
	s.Reference.Omit = true
	for text, want := range map[string]outcome{
		`[{"number":"A9","life_cycle_state":"REJECTED"},{"number":"S1","life_cycle_state":"EFFECTIVE"}]`: {Kind: "unknown", Code: events.CodeUpstreamError, Said: "REJECTED"},
		`[{"number":"A9","life_cycle_state":"EXECUTED"},{"number":"A8","life_cycle_state":"CANCELLED"}]`: {Kind: "unknown", Code: events.CodeUpstreamError, Said: "CANCELLED"},
		`{"number":"A9","life_cycle_state":"REJECTED","transaction_reference_number":null}`:              {Kind: "refused", Code: events.CodeRefused, Said: "REJECTED"},
		`{"number":"A9","life_cycle_state":"REJECTED","transaction_reference_number":"X"}`:               {Kind: "unknown", Code: events.CodeUpstreamError, Said: "REJECTED"},
	} {
		_, err := against(t, s, data(text)).client.Amend(t.Context(), cid, decode[events.AmendData](t, plainAmend))
		like(t, want, err)
	}
}

// Every name under which an action may stand is looked into, and no other.
func TestActedNames(t *testing.T) {
	for _, name := range append(slices.Clone(actionNames), "job", "performed_by", "results") {
		b := against(t, settings(""), data(`{"`+name+`":{"number":"A9","life_cycle_state":"REJECTED"}}`))
		_, err := b.client.Amend(t.Context(), cid, decode[events.AmendData](t, plainAmend))
		if known := slices.Contains(actionNames, name); known != (events.KindOf(err) == events.Refused && err != nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, mark := range actionMarks {
		b := against(t, settings(""), data(`{"number":"A9","`+mark+`":null}`))
		got, err := b.client.Amend(t.Context(), cid, decode[events.AmendData](t, plainAmend))
		if err != nil || got.ActionNumber != "A9" || got.SubscriptionNumber != "" {
			t.Errorf("%s: %+v, %v", mark, got, err)
		}
	}
	for _, mark := range subscriptionMarks {
		b := against(t, settings(""), data(`{"number":"S1","life_cycle_state":"CANCELLED","`+mark+`":null}`))
		got, err := b.client.Amend(t.Context(), cid, decode[events.AmendData](t, plainAmend))
		if err != nil || got.SubscriptionNumber != "S1" || got.ActionNumber != "" {
			t.Errorf("%s: %+v, %v", mark, got, err)
		}
	}
}

// A reference that was seen before is told of, and so is the reference.
func TestActedBefore(t *testing.T) {
	b := against(t, settings(""), replying(200, coded("DUPLICATE_REFERENCE", "seen")))
	for name, act := range map[string]func() (events.ActionResult, error){
		"amend": func() (events.ActionResult, error) {
			return b.client.Amend(t.Context(), cid, decode[events.AmendData](t, plainAmend))
		},
		"swap": func() (events.ActionResult, error) {
			return b.client.Swap(t.Context(), cid, decode[events.SwapData](t, plainSwap))
		},
	} {
		got, err := act()
		like(t, outcome{Kind: "conflict", Code: events.CodeDuplicate, Said: "DUPLICATE_REFERENCE", Message: "CRM.COM answered DUPLICATE_REFERENCE: seen"}, err)
		if diff := cmp.Diff(events.ActionResult{Reference: cid}, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
