package sandbox_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/sandbox"
	"subrelay/events"
)

const jsonType = "application/json; charset=utf-8"

// TestFaults plays each kind once: what the client sees, and what the book says. After it a call goes through.
func TestFaults(t *testing.T) {
	second := sandbox.Duration(time.Second)
	milli := sandbox.Duration(time.Millisecond)
	html := func(a answer) bool { return a.Type == "text/html; charset=utf-8" && strings.Contains(a.Body, "<html>") }
	for _, tc := range []struct {
		fault  sandbox.Fault
		want   answer // compared unless sees is set
		sees   func(answer) bool
		status string // in the book
	}{
		{fault: sandbox.Fault{Kind: sandbox.Slow, Delay: milli}, want: answer{Status: 200, Type: jsonType, Body: "{}"}, status: "200"},
		{fault: sandbox.Fault{Kind: sandbox.SlowAfter, Delay: milli}, want: answer{Status: 200, Type: jsonType, Body: "{}"}, status: "200"},
		{fault: sandbox.Fault{Kind: sandbox.Hang}, sees: timedOut, status: "0"},
		{fault: sandbox.Fault{Kind: sandbox.HangAfter}, sees: timedOut, status: "0"},
		{fault: sandbox.Fault{Kind: sandbox.Refuse}, sees: ended, status: "0"},
		{fault: sandbox.Fault{Kind: sandbox.ResetBefore}, sees: reset, status: "0"},
		{fault: sandbox.Fault{Kind: sandbox.ResetAfter}, sees: reset, status: "0"},
		{fault: sandbox.Fault{Kind: sandbox.ErrorBefore}, want: answer{Status: 500, Type: jsonType, Body: `{"Message":"An error has occurred."}`}, status: "500"},
		{fault: sandbox.Fault{Kind: sandbox.ErrorAfter, Status: 502, Message: "bad"}, want: answer{Status: 502, Type: jsonType, Body: `{"Message":"bad"}`}, status: "502"},
		{fault: sandbox.Fault{Kind: sandbox.HalfBody}, want: answer{Status: 200, Type: jsonType, Body: "{", Err: io.ErrUnexpectedEOF}, status: "200"},
		{fault: sandbox.Fault{Kind: sandbox.Throttle, RetryAfter: second + milli}, want: answer{Status: 429, Type: jsonType, After: "2", Body: `{"Message":"Too Many Requests"}`}, status: "429"},
		{fault: sandbox.Fault{Kind: sandbox.Unavailable, RetryAfter: second}, want: answer{Status: 503, Type: jsonType, After: "1", Body: `{"Message":"Service Unavailable"}`}, status: "503"},
		{fault: sandbox.Fault{Kind: sandbox.HTMLBefore, Status: 404}, sees: func(a answer) bool { return a.Status == 404 && html(a) }, status: "404"},
		{fault: sandbox.Fault{Kind: sandbox.HTMLAfter}, sees: func(a answer) bool { return a.Status == 200 && html(a) }, status: "200"},
		{fault: sandbox.Fault{Kind: sandbox.Refusal, Message: "No."}, want: answer{Status: 200, Type: jsonType, Body: `{"Message":"No."}`}, status: "200"},
		{fault: sandbox.Fault{Kind: sandbox.ExpireToken}, want: answer{Status: 401, Type: jsonType, Body: `{"Message":"Authorization has been denied for this request."}`}, status: "401"},
		{fault: sandbox.Fault{Kind: sandbox.GzipBomb}, sees: func(a answer) bool { return a.Status == 200 && a.Body == "{}" && a.Long > 64<<20 }, status: "200"},
		{fault: sandbox.Fault{Kind: sandbox.HugeHeader}, sees: says("headers exceeded"), status: "200"},
		{fault: sandbox.Fault{Kind: sandbox.RedirectLoop}, sees: func(a answer) bool { return a.Status == 307 && html(a) }, status: "307"},
		{fault: sandbox.Fault{Kind: sandbox.InfoFlood}, sees: says("headers exceeded"), status: "200"},
		{fault: sandbox.Fault{Kind: sandbox.Upgrade}, want: answer{Status: 101}, status: "101"},
		{fault: sandbox.Fault{Kind: sandbox.ShortLength}, want: answer{Status: 200, Type: jsonType, Body: "{"}, status: "200"},
		{fault: sandbox.Fault{Kind: sandbox.TrailingGarbage}, want: answer{Status: 200, Type: jsonType, Body: "{}\n<!-- 17 ms -->{}"}, status: "200"},
		{fault: sandbox.Fault{Kind: sandbox.DoubleReply}, want: answer{Status: 200, Type: jsonType, Body: "{}"}, status: "200"},
		{fault: sandbox.Fault{Kind: sandbox.SlowBody, Delay: milli}, want: answer{Status: 200, Type: jsonType, Body: "{}"}, status: "200"},
		{fault: sandbox.Fault{Kind: sandbox.Refusal, Status: 400}, want: answer{Status: 400, Type: jsonType, Body: `{"Message":"The operation was not completed."}`}, status: "400"},
	} {
		t.Run(string(tc.fault.Kind), func(t *testing.T) {
			u := serve(t, options())
			if err := u.Faults().Next(tc.fault); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if tc.fault.Kind == sandbox.Hang || tc.fault.Kind == sandbox.HangAfter {
				ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
			}
			defer cancel()
			got := u.call(ctx, "POST", v2, params())
			if tc.sees != nil && !tc.sees(got) {
				t.Errorf("the client saw %+v", got)
			}
			if tc.sees == nil {
				if !errors.Is(got.Err, tc.want.Err) {
					t.Errorf("the client got the error %v, want %v", got.Err, tc.want.Err)
				}
				got.Err, tc.want.Err = nil, nil
				if d := cmp.Diff(tc.want, got); d != "" {
					t.Errorf("the client saw (-want +got):\n%s", d)
				}
			}
			checkBooked(t, u, tc.fault.Kind, tc.status)
			u.client.CloseIdleConnections() // a second reply that waits there is not for the next call
			if a := u.renew(); a.Status != 200 || a.Body != "{}" {
				t.Errorf("after the fault the client saw %+v", a)
			}
		})
	}
}

func checkBooked(t *testing.T, u *upstream, kind sandbox.FaultKind, status string) {
	t.Helper()
	e := u.booked(1)
	doc, _ := kind.Doc()
	want := map[string]string{"status": status, "fault": string(kind)}
	expires := expiry
	if doc.Effect {
		want["months"], want["days"], want["from"] = "1", "0", "expiry"
		want["before"], want["after"] = "2026-03-31T23:59:59Z", "2026-04-30T23:59:59Z"
		expires = events.AddMonths(expiry, 1)
	}
	if e.Applied != doc.Effect || (e.Order != 0) != doc.Effect {
		t.Errorf("applied: %v at %d, want %v", e.Applied, e.Order, doc.Effect)
	}
	if d := cmp.Diff(want, e.Detail); d != "" {
		t.Errorf("the book's detail (-want +got):\n%s", d)
	}
	if e.Key != "C-1" || e.Ref != "ref.1" || e.Upstream != events.TVMS || e.Kind != events.Renew {
		t.Errorf("the book's entry is %+v", e)
	}
	if e.BeginOrder == 0 || e.EndOrder <= max(e.BeginOrder, e.Order) || e.Begin.IsZero() || e.End.IsZero() {
		t.Errorf("the entry is out of order: %+v", e)
	}
	if got := u.expires("C-1"); !got.Equal(expires) {
		t.Errorf("C-1 expires %s, want %s", got, expires)
	}
}

func says(text string) func(answer) bool {
	return func(a answer) bool { return a.Err != nil && strings.Contains(a.Err.Error(), text) }
}

func timedOut(a answer) bool { return errors.Is(a.Err, context.DeadlineExceeded) }
func ended(a answer) bool    { return errors.Is(a.Err, io.EOF) }
func reset(a answer) bool    { return errors.Is(a.Err, syscall.ECONNRESET) }

// Every kind is in TestFaults' table and in the list, and the default of an unknown kind is: refused.
func TestFaultKindsAreListed(t *testing.T) {
	seen := map[sandbox.FaultKind]bool{}
	for _, d := range sandbox.FaultKinds() {
		if seen[d.Kind] || d.Does == "" {
			t.Errorf("%q is listed twice or without a description", d.Kind)
		}
		seen[d.Kind] = true
	}
	if err := sandbox.NewFaults(0).Next(sandbox.Fault{Kind: "explode"}); err == nil {
		t.Error("an unknown kind was accepted")
	}
}

func TestDown(t *testing.T) {
	u := serve(t, options())
	var turns []bool
	u.Faults().OnDown(func(down bool) { turns = append(turns, down) })
	u.Faults().SetDown(true)
	if a := u.renew(); !ended(a) {
		t.Errorf("a renewal saw %+v", a)
	}
	if a := u.call(t.Context(), "GET", reading, params()); a.Err == nil {
		t.Errorf("a read saw %+v", a)
	}
	if code, body := u.control("GET", "/_health", "", nil); code != 200 || !strings.Contains(body, `"down"`) {
		t.Errorf("health: %d %s", code, body)
	}
	u.Faults().SetDown(true) // no turn
	u.Faults().SetDown(false)
	if a := u.renew(); a.Status != 200 {
		t.Errorf("up again, a renewal saw %+v", a)
	}
	if d := cmp.Diff([]bool{true, false}, turns); d != "" {
		t.Errorf("turns (-want +got):\n%s", d)
	}
}

// A call's end is booked before its client can know of it: what a client does next begins later in the book, even where
// the reply leaves before the handler has returned.
func TestTheEndIsBookedBeforeTheReply(t *testing.T) {
	u := serve(t, options())
	err := u.Faults().Set(sandbox.Plan{Rates: []sandbox.Rate{
		{Fault: sandbox.Fault{Kind: sandbox.HalfBody}, Rate: 0.4},
		{Fault: sandbox.Fault{Kind: sandbox.ResetAfter}, Rate: 0.4},
	}})
	if err != nil {
		t.Fatal(err)
	}
	const calls = 300
	for range calls {
		u.renew()
	}
	u.booked(calls)
	all := u.Book().Effects()
	for i := 1; i < len(all); i++ {
		if all[i].BeginOrder < all[i-1].EndOrder {
			t.Fatalf("%+v\nbegan before this was over:\n%+v", all[i], all[i-1])
		}
	}
}
