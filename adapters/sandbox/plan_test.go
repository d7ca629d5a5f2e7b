package sandbox_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/sandbox"
)

// kinds calls once per customer named, and returns the faults that the book has for them.
func (u *upstream) kinds(customers ...string) []string {
	u.t.Helper()
	from := len(u.Book().Effects())
	for _, c := range customers {
		u.renew("customermappingid", c, "userid", "0")
	}
	var got []string
	for _, e := range u.Book().Effects()[from:] {
		got = append(got, e.Detail["fault"])
	}
	return got
}

func TestScriptIsConsumedInOrderByWhoMatches(t *testing.T) {
	opts := options()
	opts.AutoCreate = expiry
	u := serve(t, opts)
	err := u.Faults().Set(sandbox.Plan{
		Script: []sandbox.Step{
			{Fault: sandbox.Fault{Kind: sandbox.ErrorBefore, Customer: "B"}},
			{Fault: sandbox.Fault{Kind: sandbox.Throttle}, Times: 2},
			{Fault: sandbox.Fault{Kind: sandbox.ErrorAfter, Route: v1}},
			{Fault: sandbox.Fault{Kind: sandbox.Refusal, Route: sandbox.Reads}},
		},
		Standing: []sandbox.Fault{{Kind: sandbox.Unavailable, Customer: "C"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := u.kinds("A", "C", "B", "C", "A")
	if d := cmp.Diff([]string{"throttle", "throttle", "error_before", "unavailable", ""}, got); d != "" {
		t.Errorf("faults (-want +got):\n%s", d)
	}
	if a := u.call(t.Context(), "GET", reading, params()); a.Body != `{"Message":"The operation was not completed."}` {
		t.Errorf("the read saw %+v", a)
	}
	want := sandbox.Plan{
		Script:   []sandbox.Step{{Fault: sandbox.Fault{Kind: sandbox.ErrorAfter, Route: v1}}},
		Standing: []sandbox.Fault{{Kind: sandbox.Unavailable, Customer: "C"}},
	}
	if d := cmp.Diff(want, u.Faults().Plan()); d != "" {
		t.Errorf("what is left (-want +got):\n%s", d)
	}
	if a := u.call(t.Context(), "POST", v1, params()); a.Status != 500 {
		t.Errorf("V1 saw %+v", a)
	}
	u.Faults().Lift()
	if d := cmp.Diff([]string{""}, u.kinds("C")); d != "" {
		t.Errorf("lifted (-want +got):\n%s", d)
	}
}

// The hits of a rate depend on seed, customer and the number of the customer's call, not on the interleaving.
func TestRatesAreSeeded(t *testing.T) {
	const each = 200
	hits := func(seed uint64, interleaved bool) map[string]string {
		opts := options()
		opts.AutoCreate, opts.Seed = expiry, seed
		u := serve(t, opts)
		if err := u.Faults().Set(sandbox.Plan{Rates: []sandbox.Rate{
			{Fault: sandbox.Fault{Kind: sandbox.ErrorBefore}, Rate: 0.2},
			{Fault: sandbox.Fault{Kind: sandbox.ErrorAfter}, Rate: 0.1},
		}}); err != nil {
			t.Fatal(err)
		}
		var order []string
		for i := range 2 * each {
			if interleaved {
				order = append(order, fmt.Sprint("C", i%2))
			} else {
				order = append(order, fmt.Sprint("C", i/each))
			}
		}
		got := map[string]string{}
		for i, kind := range u.kinds(order...) {
			got[order[i]] += kind + "\n"
		}
		return got
	}
	first := hits(7, true)
	if d := cmp.Diff(first, hits(7, false)); d != "" {
		t.Errorf("the interleaving counts (-want +got):\n%s", d)
	}
	if cmp.Equal(first, hits(8, true)) || first["C0"] == first["C1"] {
		t.Error("neither the seed nor the customer counts")
	}
	all := first["C0"] + first["C1"]
	before, after := strings.Count(all, "error_before"), strings.Count(all, "error_after")
	if before < 50 || before > 110 || after < 20 || after > 65 {
		t.Errorf("of %d calls %d met a rate of 0.2 and %d one of 0.1", 2*each, before, after)
	}
}

func TestDecodePlan(t *testing.T) {
	for _, tc := range []struct{ raw, problem string }{
		{raw: `{}`},
		{raw: `{"down":true,"seed":3}`},
		{raw: `{"script":[{"kind":"slow","delay":"1.5s","times":2,"customer":"C-1"},{"kind":"slow","delay":2}]}`},
		{raw: `{"standing":[{"kind":"unavailable","retry_after":"3s","route":"any"}]}`},
		{raw: `{"rates":[{"kind":"reset_after","rate":0.05}]}`},
		{raw: ``, problem: "the body is empty"},
		{raw: `{"down":true} {}`, problem: "something follows"},
		{raw: `{"downn":true}`, problem: `unknown field "downn"`},
		{raw: `{"script":[{"kind":"slow","delay":"1s","rate":1}]}`, problem: `unknown field "rate"`},
		{raw: `{"script":[{"kind":"explode"}]}`, problem: `script[0]: kind "explode" is none of slow,`},
		{raw: `{"script":[{"kind":"hang","times":-1}]}`, problem: "times is negative"},
		{raw: `{"standing":[{"kind":"slow"}]}`, problem: "standing[0]: slow: a delay is required"},
		{raw: `{"standing":[{"kind":"hang","delay":"1s"}]}`, problem: "a delay is required by slow, slow_after and slow_body, and by no other kind"},
		{raw: `{"standing":[{"kind":"slow","delay":"soon"}]}`, problem: `"soon" is no duration`},
		{raw: `{"standing":[{"kind":"slow","delay":-1}]}`, problem: "no duration from 0 to 24h"},
		{raw: `{"standing":[{"kind":"slow","delay":1e300}]}`, problem: "no duration from 0 to 24h"},
		{raw: `{"standing":[{"kind":"slow","delay":[]}]}`, problem: "neither a duration"},
		{raw: `{"standing":[{"kind":"hang","retry_after":"1s"}]}`, problem: "retry_after is for"},
		{raw: `{"standing":[{"kind":"throttle","status":500}]}`, problem: "a status is for"},
		{raw: `{"standing":[{"kind":"error_after","status":204}]}`, problem: "a status is for"},
		{raw: `{"rates":[{"kind":"hang"}]}`, problem: "rates[0]: rate 0 is not above 0"},
		{raw: `{"rates":[{"kind":"hang","rate":1.1}]}`, problem: "rate 1.1"},
	} {
		_, err := sandbox.DecodePlan([]byte(tc.raw))
		if (err != nil) != (tc.problem != "") || err != nil && !strings.Contains(err.Error(), tc.problem) {
			t.Errorf("%s: %v, want %q", tc.raw, err, tc.problem)
		}
	}
}

func TestAFaultNamesOnlyRoutesThatExist(t *testing.T) {
	f := sandbox.NewTVMS(options()).Faults()
	before := sandbox.Plan{Standing: []sandbox.Fault{{Kind: sandbox.Slow, Delay: sandbox.Duration(time.Second), Route: v2}}}
	if err := f.Set(before); err != nil {
		t.Fatal(err)
	}
	err := f.Next(sandbox.Fault{Kind: sandbox.Hang, Route: "/api/RenewCustomer/renewcustomerv2"})
	if err == nil || !strings.Contains(err.Error(), "script[0]: hang: route") {
		t.Errorf("a route that does not exist: %v", err)
	}
	if d := cmp.Diff(before, f.Plan()); d != "" {
		t.Errorf("a refused change changed the plan (-want +got):\n%s", d)
	}
}
