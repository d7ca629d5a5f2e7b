package handlers_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
	"subrelay/handlers"
)

// tvms is both ports of the renew family on one customer.
type tvms struct {
	expiry time.Time
	err    error
	add    func(time.Time, int) time.Time // how it counts months
	asked  []events.RenewData
}

func (f *tvms) Renew(_ context.Context, r events.RenewData) error {
	f.asked = append(f.asked, r)
	if f.err == nil {
		f.expiry = f.add(f.expiry, r.Months).AddDate(0, 0, r.Days)
	}
	return f.err
}

func (f *tvms) Expiry(context.Context, events.RenewData) (time.Time, error) { return f.expiry, f.err }

func day(text string) time.Time {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		panic(err)
	}
	return t
}

func open(t *testing.T, f handlers.Renew, data string) handlers.Operation {
	t.Helper()
	op, err := f.Open(&events.Command{Subject: "C-1", Data: json.RawMessage(data)})
	if err != nil {
		t.Fatal(err)
	}
	return op
}

func TestRenew(t *testing.T) {
	addDate := func(t time.Time, n int) time.Time { return t.AddDate(0, n, 0) } // 31 January + 1 month is 3 March
	for name, c := range map[string]struct {
		data, before string
		add          func(time.Time, int) time.Time
		calls        int
		want         handlers.Verdict
		after        string
	}{
		"applied":                 {`{"customer_mapping_id":"C-1","months":1}`, "2026-01-15", events.AddMonths, 1, handlers.Applied, "2026-02-15"},
		"applied, by days":        {`{"customer_mapping_id":"C-1","days":10}`, "2026-01-25", events.AddMonths, 1, handlers.Applied, "2026-02-04"},
		"applied at a month end":  {`{"customer_mapping_id":"C-1","months":1}`, "2026-01-31", events.AddMonths, 1, handlers.Applied, "2026-02-28"},
		"not called":              {`{"customer_mapping_id":"C-1","months":1}`, "2026-01-31", events.AddMonths, 0, handlers.Unchanged, ""},
		"another's arithmetic":    {`{"customer_mapping_id":"C-1","months":1}`, "2026-01-31", addDate, 1, handlers.Unclear, ""},
		"twice":                   {`{"customer_mapping_id":"C-1","months":1}`, "2026-01-15", events.AddMonths, 2, handlers.Unclear, ""},
		"counted from now":        {`{"customer_mapping_id":"C-1","months":1,"from_expire_date":false}`, "2026-01-15", events.AddMonths, 1, handlers.Unclear, ""},
		"target equal to before":  {`{"customer_mapping_id":"C-1"}`, "2026-01-15", events.AddMonths, 0, handlers.Unclear, ""},
		"a user without a number": {`{"user_id":"C-1","months":12}`, "2026-01-15", events.AddMonths, 1, handlers.Applied, "2027-01-15"},
	} {
		t.Run(name, func(t *testing.T) {
			up := &tvms{expiry: day(c.before), add: c.add}
			op := open(t, handlers.Renew{Renewer: up, Reader: up}, c.data)
			plan, err := op.Plan(t.Context(), handlers.Try{Number: 1})
			if err != nil {
				t.Fatal(err)
			}
			for range c.calls {
				if _, err := op.Call(t.Context(), handlers.Try{Number: 1, Plan: plan}); err != nil {
					t.Fatal(err)
				}
			}
			f, err := op.Settle(t.Context(), handlers.Try{Number: 1, Plan: plan})
			if err != nil || f.Verdict != c.want || f.Verdict == handlers.Unclear && f.Detail == "" {
				t.Errorf("settling finds %+v, %v; want %v", f, err, c.want)
			}
			if c.want != handlers.Applied {
				return
			}
			var got events.RenewResult
			if err := json.Unmarshal(f.Result, &got); err != nil {
				t.Fatal(err)
			}
			before, after := day(c.before), day(c.after)
			want := events.RenewResult{Months: up.asked[0].Months, Days: up.asked[0].Days, ExpiresBefore: &before, ExpiresAt: &after, SettledBy: "read_back"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the result differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRenewWithoutReader(t *testing.T) {
	up := &tvms{add: events.AddMonths}
	f := handlers.Renew{Renewer: up, SettleAfter: time.Minute, GiveUp: time.Hour}
	if s := f.Settling(); s != (handlers.Settling{}) {
		t.Errorf("settling is %+v, want none", s)
	}
	f.Reader = up
	if diff := cmp.Diff(handlers.Settling{Means: true, After: time.Minute, GiveUp: time.Hour}, f.Settling()); diff != "" {
		t.Errorf("settling differs (-want +got):\n%s", diff)
	}
	op := open(t, handlers.Renew{Renewer: up}, `{"customer_mapping_id":"C-1","months":1}`)
	result, err := op.Call(t.Context(), handlers.Try{Number: 1})
	if err != nil || string(result) != `{"months":1}` { // no date that nobody has read
		t.Errorf("the result is %s, %v", result, err)
	}
}

func TestRenewErrors(t *testing.T) {
	_, err := handlers.Renew{}.Open(&events.Command{Subject: "C-1", Data: json.RawMessage(`{"customer_mapping_id":"C-2","months":1}`)})
	if e := events.AsError(err); e.Kind != events.Refused || e.Code != events.CodeKeyMismatch {
		t.Errorf("another customer's data: %v", err)
	}
	away := &events.Error{Kind: events.Unavailable, Upstream: true}
	up := &tvms{err: away, add: events.AddMonths}
	op := open(t, handlers.Renew{Renewer: up, Reader: up}, `{"customer_mapping_id":"C-1","months":1}`)
	if _, err := op.Plan(t.Context(), handlers.Try{Number: 1}); events.AsError(err) != away {
		t.Errorf("Plan: %v", err)
	}
	if _, err := op.Call(t.Context(), handlers.Try{Number: 1}); events.AsError(err) != away {
		t.Errorf("Call: %v", err)
	}
	good := mustJSON(map[string]time.Time{"before": day("2026-01-15"), "target": day("2026-02-15")})
	if _, err := op.Settle(t.Context(), handlers.Try{Number: 1, Plan: good}); events.AsError(err) != away {
		t.Errorf("Settle: %v", err)
	}
	up.err = nil
	for _, plan := range []string{"", "{}", "null", `"x"`} { // a start of a version or setting without reads
		if f, err := op.Settle(t.Context(), handlers.Try{Number: 1, Plan: json.RawMessage(plan)}); f.Verdict != handlers.Unclear || err != nil {
			t.Errorf("settling without a plan (%q) finds %+v, %v", plan, f, err)
		}
	}
}
