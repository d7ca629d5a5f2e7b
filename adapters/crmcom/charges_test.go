package crmcom

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

var chargeKinds = []events.Kind{events.NetflixAcknowledge, events.NetflixAccept, events.NetflixDecline}

// someCharges are n of them.
func someCharges(n int) (charges []events.ChargeIdentifier) {
	for i := range n {
		charges = append(charges, events.ChargeIdentifier{Number: "I" + strconv.Itoa(i+1), BillingSystemCustomerIdentifier: "cust-77"})
	}
	return charges
}

// failing is data that say so of these.
func failing(items ...string) string {
	return `{"failed_charges_set":[` + strings.Join(items, ",") + `]}`
}

// Replies of every shape to taking three charges, by each of the methods.
func TestTakeCharges(t *testing.T) {
	all := outcome{Kind: "conflict", Code: events.CodeDuplicate, Said: "DUPLICATE_REFERENCE", Message: "CRM.COM has seen the reference of every charge before"}
	some := func(n int) outcome {
		return outcome{Kind: "conflict", Code: events.CodeDuplicate, Said: "DUPLICATE_REFERENCE",
			Message: fmt.Sprintf("CRM.COM has seen the references of %d of 3 charges before", n)}
	}
	unreadable := func(why string) outcome {
		return outcome{Kind: "unknown", Code: events.CodeUnreadable, Message: "CRM.COM answered OK, but does not say clearly which charges failed: " + why}
	}
	item := func(n int, code string) string {
		return fmt.Sprintf(`{"number":"I%d","reference_number":"%s-%d","error_code":%q,"error_description":"no"}`, n, cid, n, code)
	}
	failed := func(n int, code string) events.FailedCharge {
		return events.FailedCharge{Number: "I" + strconv.Itoa(n), ErrorCode: code, ErrorDescription: "no"}
	}
	const foreign = "one is none of those that were sent"
	for name, c := range map[string]struct {
		data   string
		failed []events.FailedCharge
		want   outcome
	}{
		"null":                        {data: `null`},
		"nothing":                     {data: `{}`},
		"no items":                    {data: `[]`},
		"a list that is null":         {data: `{"failed_charges_set":null}`},
		"an empty list":               {data: failing()},
		"other members":               {data: `{"failed_charges":[]}`, want: unreadable("data hold other things than failed_charges_set: is netflix.charges.failed_field right?")},
		"one":                         {data: failing(item(2, "E1")), failed: []events.FailedCharge{failed(2, "E1")}},
		"two, in another order":       {data: failing(item(3, "E3"), item(1, "E1")), failed: []events.FailedCharge{failed(3, "E3"), failed(1, "E1")}},
		"all":                         {data: failing(item(1, "E"), item(2, "E"), item(3, "E")), failed: []events.FailedCharge{failed(1, "E"), failed(2, "E"), failed(3, "E")}},
		"one, twice":                  {data: failing(item(2, "E1"), item(2, "E1")), failed: []events.FailedCharge{failed(2, "E1")}},
		"without reference":           {data: failing(`{"number":"I2"}`), failed: []events.FailedCharge{{Number: "I2"}}},
		"with null members":           {data: failing(`{"number":"I2","reference_number":null,"error_code":null,"error_description":null}`), failed: []events.FailedCharge{{Number: "I2"}}},
		"by reference alone":          {data: failing(`{"reference_number":"` + cid + `-3","error_code":7}`), failed: []events.FailedCharge{{Number: "I3", ErrorCode: "7"}}},
		"by reference, number null":   {data: failing(`{"number":null,"reference_number":"` + cid + `-3"}`), failed: []events.FailedCharge{{Number: "I3"}}},
		"a date as description":       {data: failing(`{"number":"I1","error_description":"2024-03-01T10:15:00"}`), failed: []events.FailedCharge{{Number: "I1", ErrorDescription: "2024-03-01T10:15:00"}}},
		"every reference seen":        {data: failing(item(1, "DUPLICATE_REFERENCE"), item(2, "DUPLICATE_REFERENCE"), item(3, "DUPLICATE_REFERENCE")), want: all},
		"one reference seen":          {data: failing(item(2, "DUPLICATE_REFERENCE")), want: some(1)},
		"one seen, the others not":    {data: failing(item(1, "E"), item(2, "DUPLICATE_REFERENCE"), item(3, "E")), want: some(1)},
		"two of them seen":            {data: failing(item(1, "DUPLICATE_REFERENCE"), item(2, "DUPLICATE_REFERENCE")), want: some(2)},
		"seen, beside another code":   {data: failing(item(1, "E"), item(1, "DUPLICATE_REFERENCE")), want: unreadable("one is named twice, and not alike")},
		"another's number":            {data: failing(`{"number":"I4"}`), want: unreadable(foreign)},
		"another's reference":         {data: failing(`{"number":"I1","reference_number":"` + cid + `-2"}`), want: unreadable(foreign)},
		"an unknown reference":        {data: failing(`{"reference_number":"x"}`), want: unreadable(foreign)},
		"neither number nor more":     {data: failing(`{"error_code":"E"}`), want: unreadable(foreign)},
		"empty texts":                 {data: failing(`{"number":"","reference_number":""}`), want: unreadable(foreign)},
		"an item that is no object":   {data: failing(`"I1"`), want: unreadable("a failed charge is no JSON object")},
		"an item with a member twice": {data: failing(`{"number":"I1","number":"I2"}`), want: unreadable("a failed charge holds a member twice")},
		"no list":                     {data: `{"failed_charges_set":{"number":"I1"}}`, want: unreadable("failed_charges_set is no JSON array")},
		"a list of something":         {data: `[{"number":"I1"}]`, want: unreadable("data is no JSON object")},
		"the list twice":              {data: `{"failed_charges_set":[],"failed_charges_set":[` + item(1, "E") + `]}`, want: unreadable("data holds a member twice")},
	} {
		t.Run(name, func(t *testing.T) {
			b := against(t, settings(""), data(c.data))
			for _, kind := range chargeKinds {
				got, err := b.netflix.TakeCharges(t.Context(), kind, cid, someCharges(3))
				like(t, c.want, err)
				if diff := cmp.Diff(c.failed, got); c.want.Kind == "" && diff != "" {
					t.Errorf("%s: %s", kind, diff)
				}
			}
		})
	}
}

// Codes that mean a duplicate are a setting for charges too. An envelope that says so of the whole call says it of all.
func TestTakeChargesSeenBefore(t *testing.T) {
	s := settings("")
	s.Codes.Duplicate = []string{"D1", "D2"}
	both := failing(`{"number":"I1","error_code":"D1"}`, `{"number":"I2","error_code":"D2"}`)
	_, err := against(t, s, data(both)).netflix.TakeCharges(t.Context(), events.NetflixAcknowledge, cid, someCharges(2))
	like(t, outcome{Kind: "conflict", Code: events.CodeDuplicate, Said: "D2"}, err)

	_, err = against(t, s, replying(200, coded("D1", "seen"))).netflix.TakeCharges(t.Context(), events.NetflixAcknowledge, cid, someCharges(2))
	like(t, outcome{Kind: "conflict", Code: events.CodeDuplicate, Said: "D1", Message: "CRM.COM answered D1: seen"}, err)

	s.Codes.Duplicate = []string{}
	failed, err := against(t, s, data(failing(`{"number":"I1","error_code":"DUPLICATE_REFERENCE"}`))).netflix.TakeCharges(t.Context(), events.NetflixAcknowledge, cid, someCharges(1))
	like(t, outcome{}, err)
	if diff := cmp.Diff([]events.FailedCharge{{Number: "I1", ErrorCode: "DUPLICATE_REFERENCE"}}, failed); diff != "" {
		t.Error(diff)
	}
}

// A call takes from 1 to 50 charges; each goes out once, in its place, under a reference of its own that stays.
func TestTakeChargesLimits(t *testing.T) {
	var sent []map[string]any
	b := against(t, settings(""), func(w http.ResponseWriter, _ *http.Request, args map[string]any) {
		sent = append(sent, args)
		ok(w, `{}`)
	})
	for _, n := range []int{0, events.MaxCharges + 1} {
		_, err := b.netflix.TakeCharges(t.Context(), events.NetflixAcknowledge, cid, someCharges(n))
		like(t, outcome{Kind: "refused", Code: events.CodeRequestNotPossible, Message: fmt.Sprintf("%d charges: a call takes from 1 to 50", n)}, err)
	}
	if len(sent) != 0 {
		t.Fatalf("%d calls were made", len(sent))
	}
	for _, n := range []int{1, events.MaxCharges, events.MaxCharges} {
		_, err := b.netflix.TakeCharges(t.Context(), events.NetflixAcknowledge, cid, someCharges(n))
		like(t, outcome{}, err)
	}
	var references []string
	for i, item := range sent[1]["acknowledged_charges_set"].([]any) {
		charge := item.(map[string]any)
		if want := "I" + strconv.Itoa(i+1); charge["number"] != want {
			t.Errorf("in place %d is %v", i, charge["number"])
		}
		references = append(references, charge["reference_number"].(string))
	}
	if slices.Sort(references); len(slices.Compact(references)) != events.MaxCharges {
		t.Errorf("references: %q", references)
	}
	if diff := cmp.Diff(sent[1], sent[2]); diff != "" {
		t.Errorf("a second attempt differs:\n%s", diff)
	}
}

// The states that show that a call has taken a charge are settings, each of its own kind.
func TestTakenStates(t *testing.T) {
	b := clients(t, settings(base), NetflixSettings{AcceptedStates: []string{"A", "B"}, DeclinedStates: []string{"D"}}, upstream.Settings{})
	for kind, want := range map[events.Kind][]string{
		events.NetflixAccept: {"A", "B"}, events.NetflixDecline: {"D"}, events.NetflixAcknowledge: nil,
	} {
		if diff := cmp.Diff(want, b.netflix.TakenStates(kind)); diff != "" {
			t.Errorf("%s: %s", kind, diff)
		}
	}
}

// What no method or release offers is refused before a call, by name.
func TestCheckCharges(t *testing.T) {
	early := settings("")
	early.Release = "R14.0.999"
	installed := settings("")
	installed.Release = "R14.1.0"
	known := early
	known.KnownParameters = []string{"netflix/charges/decline"}
	unknown := func(method string) outcome {
		return outcome{Kind: "refused", Code: events.CodeRelease,
			Message: "the installed release R14.0.999 does not know " + method + " (from R14.1.0); see crmcom.release"}
	}
	none := func(kind events.Kind) outcome {
		return outcome{Kind: "refused", Code: events.CodeNotConfigured, Message: string(kind) + " has no method"}
	}
	for _, c := range []struct {
		settings Settings
		kind     events.Kind
		want     outcome
	}{
		{early, events.NetflixAcknowledge, outcome{}},
		{early, events.NetflixAccept, unknown("netflix/charges/accept")},
		{early, events.NetflixDecline, unknown("netflix/charges/decline")},
		{known, events.NetflixAccept, unknown("netflix/charges/accept")},
		{known, events.NetflixDecline, outcome{}},
		{installed, events.NetflixAccept, outcome{}},
		{installed, events.NetflixDecline, outcome{}},
		{installed, events.NetflixSuspend, none(events.NetflixSuspend)},
		{installed, events.Amend, none(events.Amend)},
	} {
		b := against(t, c.settings, data(`{}`))
		like(t, c.want, b.netflix.CheckCharges(c.kind))
		_, err := b.netflix.TakeCharges(t.Context(), c.kind, cid, someCharges(1))
		like(t, c.want, err)
	}
}
