package sandbox_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/sandbox"
	"subrelay/events"
)

func TestCRMCOMEndpoints(t *testing.T) {
	c := serveCRM(t, crmOptions())
	for _, tc := range []struct{ method, path, body, want string }{
		{"PUT", "/_subscriptions", `{"subscriptions":[{"number":"S-2","services":[{"product":{"code":"NET_100"},"distributors":["D"]}]},
			{"number":"S-1","id":"ID9","life_cycle_state":"CANCELLED"}]}`, `{"subscriptions":2}`},
		{"GET", "/_subscriptions?number=S-1", "", `{"subscriptions":[{"number":"S-1","id":"ID9","life_cycle_state":"CANCELLED"}]}`},
		{"GET", "/_subscriptions?number=S-9", "", `{"subscriptions":[]}`},
		{"PUT", "/_netflix", `{"customers":[{"billing_system_customer_identifier":"N-2","subscriptions":[{"subscription_number":"S9","netflix_state":"NOT_EFFECTIVE"}]}]}`, `{"customers":1}`},
		{"GET", "/_netflix?customer=N-2", "", `{"customers":[{"billing_system_customer_identifier":"N-2","subscriptions":[{"subscription_number":"S9","netflix_state":"NOT_EFFECTIVE","life_cycle_state":"EFFECTIVE"}]}]}`},
		{"GET", "/_netflix?customer=N-9", "", `{"customers":[]}`},
		{"PUT", "/_charges", `{"charges":[{"number":"D1","billing_system_customer_identifier":"N-2","amount":9.99,"currency":"EUR","fails":"X"},
			{"number":"C1","billing_system_customer_identifier":"N-1","acknowledged":true,"received_on":"2026-01-01T00:00:00Z"}]}`, `{"charges":2}`},
		{"GET", "/_charges?customer=N-2", "", `{"charges":[{"number":"D1","billing_system_customer_identifier":"N-2","amount":9.99,"currency":"EUR","charge_status":"PENDING","received_on":"2026-03-10T12:00:00Z","fails":"X"}]}`},
		{"DELETE", "/_tokens", "", `{}`},
	} {
		if status, body := c.control(tc.method, tc.path, tc.body, nil); status != 200 || body != tc.want {
			t.Errorf("%s %s: %d %s", tc.method, tc.path, status, body)
		}
	}
	c.login()
	if got := code(c.post(amend, swapSPORTS("R1"))); got != "NOT_ALLOWED" {
		t.Errorf("the cancelled subscription: %s", got)
	}
	if got := code(c.get(show, "&subscription_identifier=id=ID1")); got != "NOT_FOUND" {
		t.Errorf("the replaced subscription still has its id: %s", got)
	}
	for path, bad := range map[string]string{
		"/_subscriptions": `{"subscriptions":[{"number":"new"},{"id":"1"}]}`, "/_netflix": `{"customers":[{"billing_system_customer_identifier":"new"},{}]}`,
		"/_charges": `{"charges":[{"number":"1"}]}`, "/_customers": `{}`,
	} {
		for _, body := range []string{bad, `{"unknown":1}`, "", strings.Repeat(" ", 8<<20) + "{}"} {
			if status, said := c.control("PUT", path, body, nil); status != 400 && (status != 404 || path != "/_customers") {
				t.Errorf("PUT %s %.60s: %d %s", path, body, status, said)
			}
		}
	}
	if _, ok := c.Netflix("new"); ok || c.services("new") != "none" {
		t.Error("a refused list was taken in part")
	}
}

// What the endpoints show can be put again, and is the same.
func TestWhatIsShownCanBePut(t *testing.T) {
	a, b := serveCRM(t, crmOptions()), serveCRM(t, sandbox.CRMCOMOptions{WebAPIKey: webKey, Clock: crmOptions().Clock})
	a.post(amend, swapSPORTS("R1"))
	a.post("netflix/charges/acknowledge", chargeC1)
	a.post("netflix/subscriptions/suspend", n1)
	for _, path := range []string{"/_subscriptions", "/_netflix", "/_charges"} {
		_, shown := a.control("GET", path, "", nil)
		if status, said := b.control("PUT", path, shown, nil); status != 200 {
			t.Errorf("%s: %s", path, said)
		}
	}
	for name, d := range map[string]string{
		"subscriptions": cmp.Diff(a.Subscriptions(), b.Subscriptions()), "netflix": cmp.Diff(a.NetflixCustomers(), b.NetflixCustomers()),
		"charges": cmp.Diff(a.Charges(), b.Charges()),
	} {
		if d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// Both imitations at one address, with one book and one plan.
func TestJoin(t *testing.T) {
	opts := options()
	opts.Book, opts.Faults = sandbox.NewBook(0), sandbox.NewFaults(1)
	tvms := sandbox.NewTVMS(opts)
	with := crmOptions()
	with.Book, with.Faults = opts.Book, opts.Faults
	crmcom := sandbox.NewCRMCOM(with)
	all, control := sandbox.Join(tvms, crmcom)
	srv := httptest.NewServer(all)
	t.Cleanup(srv.Close)
	u := &upstream{TVMS: tvms, t: t, url: srv.URL, client: srv.Client()}
	c := &crm{CRMCOM: crmcom, upstream: u, base: api}
	c.login()
	if a := u.renew(); a.Status != 200 {
		t.Errorf("TVMS: %+v", a)
	}
	if got := code(c.post(amend, swapSPORTS("R1"))); got != "OK" {
		t.Errorf("CRM.COM: %s", got)
	}
	if err := opts.Faults.Next(sandbox.Fault{Kind: sandbox.Throttle, Route: v2}, sandbox.Fault{Kind: sandbox.Throttle, Route: api + amend}); err != nil {
		t.Fatal(err)
	}
	if a, b := u.renew(), c.post(amend, swapSPORTS("R2")); a.Status != 429 || b.Status != 429 {
		t.Errorf("%+v, %+v", a, b)
	}
	var ups []events.Upstream
	for _, e := range opts.Book.Effects() {
		ups = append(ups, e.Upstream)
	}
	if d := cmp.Diff([]events.Upstream{events.TVMS, events.CRMCOM, events.TVMS, events.CRMCOM}, ups); d != "" {
		t.Errorf("the book (-want +got):\n%s", d)
	}
	for path, want := range map[string]int{"/_customers": 200, "/_charges": 200, "/_books": 200, "/_health": 200, api + show: 404, v2: 404} {
		w := httptest.NewRecorder()
		control.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
		if path[1] == '_' {
			if status, _ := u.control("GET", path, "", nil); status != want {
				t.Errorf("%s at the API's address: %d", path, status)
			}
		}
	}
}
