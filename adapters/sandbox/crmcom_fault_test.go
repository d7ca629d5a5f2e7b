package sandbox_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// swapSPORTS is a swap of S-1 with a reference.
func swapSPORTS(reference string) string {
	return `"subscription_identifier":{"number":"S-1"},"transaction_reference_number":"` + reference + `","services_to_swap_set":[
		{"from_service":{"service_identifier":{"code":"SPORTS"}},"to_service":{"service_identifier":{"code":"SPORTS_PLUS"}}}]`
}

// TestCRMCOMFaults plays each kind once to a swap: what the client sees, what the book says, and what is so afterwards.
// Then the same swap is sent again, as a client does that does not know: it is refused where the first was done.
func TestCRMCOMFaults(t *testing.T) {
	const ok = `{"data":{"id":"ID1","number":"S-1","life_cycle_state":"EFFECTIVE"},"status":{"code":"OK","description":"","message":""}}`
	failed := func(code, text string) string {
		return `{"data":{},"status":{"code":"` + code + `","description":"","message":"` + text + `"}}`
	}
	status := func(want int, body string) func(answer) bool {
		return func(a answer) bool { return a.Err == nil && a.Status == want && a.Type == jsonType && a.Body == body }
	}
	html := func(a answer) bool { return a.Status == 200 && strings.Contains(a.Body, "<html>") }
	sees := map[sandbox.FaultKind]func(answer) bool{
		sandbox.Slow:        status(200, ok),
		sandbox.SlowAfter:   status(200, ok),
		sandbox.Hang:        timedOut,
		sandbox.HangAfter:   timedOut,
		sandbox.Refuse:      ended,
		sandbox.ResetBefore: reset,
		sandbox.ResetAfter:  reset,
		sandbox.ErrorBefore: status(500, failed("SYSTEM_ERROR", "An error has occurred.")),
		sandbox.ErrorAfter:  status(500, failed("SYSTEM_ERROR", "An error has occurred.")),
		sandbox.HalfBody:    func(a answer) bool { return a.Err == io.ErrUnexpectedEOF && a.Body == ok[:len(ok)/2] },
		sandbox.Throttle:    status(429, failed("SYSTEM_ERROR", "Too Many Requests")),
		sandbox.Unavailable: status(503, failed("SYSTEM_ERROR", "Service Unavailable")),
		sandbox.HTMLBefore:  html,
		sandbox.HTMLAfter:   html,
		sandbox.Refusal:     status(200, failed("NOT_ALLOWED", "The operation was not completed.")),
		sandbox.ExpireToken: status(200, failed("INVALID_TOKEN", "The token is not valid or has expired.")),

		sandbox.GzipBomb:        func(a answer) bool { return a.Status == 200 && a.Body == "{}" && a.Long > 64<<20 },
		sandbox.HugeHeader:      says("headers exceeded"),
		sandbox.RedirectLoop:    func(a answer) bool { return a.Status == 307 && strings.Contains(a.Body, "<html>") },
		sandbox.InfoFlood:       says("headers exceeded"),
		sandbox.Upgrade:         func(a answer) bool { return a.Status == 101 },
		sandbox.ShortLength:     status(200, ok[:len(ok)/2]),
		sandbox.TrailingGarbage: status(200, ok+"\n<!-- 17 ms -->{}"),
		sandbox.DoubleReply:     status(200, ok),
		sandbox.SlowBody:        status(200, ok),
	}
	for _, doc := range sandbox.FaultKinds() {
		t.Run(string(doc.Kind), func(t *testing.T) {
			c := serveCRM(t, crmOptions())
			fault := sandbox.Fault{Kind: doc.Kind, Customer: "S-1"}
			if doc.Kind.Delayed() {
				fault.Delay = sandbox.Duration(time.Millisecond)
			}
			if err := c.Faults().Next(fault); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if doc.Kind == sandbox.Hang || doc.Kind == sandbox.HangAfter {
				ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
			}
			defer cancel()
			if got := c.postWithin(ctx, amend, swapSPORTS("R1")); !sees[doc.Kind](got) {
				t.Errorf("the client saw %+v", got)
			}
			e := c.booked(1)
			if e.Applied != doc.Effect || (e.Order != 0) != doc.Effect || e.Detail["fault"] != string(doc.Kind) ||
				e.Key != "S-1" || e.Ref != "ref.1" || e.Upstream != events.CRMCOM || e.Kind != events.Swap {
				t.Errorf("the book says %+v", e)
			}
			if done := strings.Contains(c.services("S-1"), "SPORTS_PLUS"); done != doc.Effect {
				t.Errorf("afterwards there are %s", c.services("S-1"))
			}
			c.client.CloseIdleConnections() // a second reply that waits there is not for the next call
			c.login()
			again := map[bool]string{true: "DUPLICATE_REFERENCE", false: "OK"}[doc.Effect]
			if got := code(c.post(amend, swapSPORTS("R1"))); got != again {
				t.Errorf("sent again, it got %s", got)
			}
			if n := c.Book().Totals(); n.Applied != 1 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// A fault meets the routes it is for: those that change something, those that read, or those of authentication.
func TestCRMCOMFaultRoutes(t *testing.T) {
	for route, want := range map[string]string{
		"": "write", "read": "read", "auth": "auth", "any": "write read auth", api + show: "read", api + byKey: "auth",
	} {
		c := serveCRM(t, crmOptions())
		err := c.Faults().Set(sandbox.Plan{Standing: []sandbox.Fault{{Kind: sandbox.Refusal, Route: route, Status: 202, Code: "MADE_UP"}}})
		if err != nil {
			t.Fatal(err)
		}
		var met []string
		for name, a := range [...]answer{
			c.post(amend, swapSPORTS("R1")), c.get(show, "&subscription_identifier=number=S-1"), c.send(t.Context(), byKey, "{}", nil),
		} {
			if a.Status == 202 && strings.Contains(a.Body, "MADE_UP") {
				met = append(met, [...]string{"write", "read", "auth"}[name])
			}
		}
		if got := strings.Join(met, " "); got != want {
			t.Errorf("route %q: %s, want %s", route, got, want)
		}
	}
	if err := serveCRM(t, crmOptions()).Faults().Next(sandbox.Fault{Kind: sandbox.Hang, Route: amend}); err == nil {
		t.Error("a route without its path was accepted")
	}
}

// All tokens expire on command, and a call for a token gets one all the same.
func TestTokensExpireOnCommand(t *testing.T) {
	c := serveCRM(t, crmOptions())
	if err := c.Faults().Next(sandbox.Fault{Kind: sandbox.ExpireToken, Route: sandbox.Auth}); err != nil {
		t.Fatal(err)
	}
	old := c.token
	c.login()
	if c.token == old {
		t.Error("the same token was given twice")
	}
	if got := code(c.get("netflix/promotions/list", "")); got != "OK" {
		t.Errorf("the new token: %s", got)
	}
	for name, expire := range map[string]func(){
		"the fault":    func() { _ = c.Faults().Next(sandbox.Fault{Kind: sandbox.ExpireToken, Route: sandbox.Reads}) },
		"the method":   c.ExpireTokens,
		"the endpoint": func() { c.control("DELETE", "/_tokens", "", nil) },
	} {
		expire()
		if got := code(c.get("netflix/promotions/list", "")); got != "INVALID_TOKEN" {
			t.Errorf("after %s: %s", name, got)
		}
		c.login()
	}
}

// The key of a fault is the identifier as it was sent.
func TestCRMCOMFaultsByCustomer(t *testing.T) {
	c := serveCRM(t, crmOptions())
	const charge = `"acknowledged_charges_set":[{"number":"C1","billing_system_customer_identifier":"N-1"}]`
	calls := map[string]func() answer{
		"S-1": func() answer { return c.post(amend, swapSPORTS("")) },
		"ID1": func() answer {
			return c.post(amend, strings.Replace(swapSPORTS(""), `"number":"S-1"`, `"id":"ID1"`, 1))
		},
		"AR-1": func() answer {
			return c.post(amend, strings.Replace(swapSPORTS(""), `"subscription_identifier":{"number":"S-1"}`, `"accounts_receivable_identifier":{"number":"AR-1"}`, 1))
		},
		"N-1": func() answer { return c.post("netflix/charges/acknowledge", charge) },
		"N-2": func() answer { return c.get("netflix/subscriptions/show", "&billing_system_customer_identifier=N-2") },
	}
	for key := range calls {
		if err := c.Faults().Set(sandbox.Plan{Standing: []sandbox.Fault{{Kind: sandbox.Throttle, Route: sandbox.Any, Customer: key}}}); err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for each, call := range calls {
			got[each] = call().Status == 429
		}
		if d := cmp.Diff(map[string]bool{"S-1": key == "S-1", "ID1": key == "ID1", "AR-1": key == "AR-1", "N-1": key == "N-1", "N-2": key == "N-2"}, got); d != "" {
			t.Errorf("a fault for %s (-want +got):\n%s", key, d)
		}
	}
	if s := fmt.Sprint(c.Book().Effects()); strings.Contains(s, c.token) || strings.Contains(s, webKey) {
		t.Error("the book holds a secret")
	}
}
