package sandbox_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"subrelay/adapters/sandbox"
	"subrelay/events/history"
)

func TestBooks(t *testing.T) {
	opts := options()
	opts.AutoCreate = expiry
	u := serve(t, opts)
	for i := range 7 {
		u.renew("customermappingid", fmt.Sprint("K-", i%2), "userid", "0")
	}
	u.renew("authToken", "wrong "+token)

	var paged []history.Effect
	query := "limit=3"
	for {
		var page sandbox.BookPage
		u.control("GET", "/_books?"+query, "", &page)
		if len(page.Effects) > 3 || page.Calls != 8 || page.Applied != 7 || page.InProgress != 0 || page.Dropped != 0 {
			t.Errorf("%+v", page)
		}
		paged = append(paged, page.Effects...)
		if page.Next == 0 {
			break
		}
		query = fmt.Sprint("limit=3&after=", page.Next)
	}
	if d := cmp.Diff(u.Book().Effects(), paged); d != "" || len(paged) != 8 {
		t.Errorf("pages (-want +got):\n%s", d)
	}
	var one sandbox.BookPage
	u.control("GET", "/_books?customer=K-1", "", &one)
	if len(one.Effects) != 3 || one.Effects[0].Key != "K-1" {
		t.Errorf("customer K-1: %+v", one)
	}
	if _, body := u.control("GET", "/_books", "", nil); strings.Contains(body, token) || strings.Contains(body, secret) {
		t.Errorf("the book holds a secret: %s", body)
	}
	var totals sandbox.Totals
	u.control("DELETE", "/_books", "", &totals)
	if d := cmp.Diff(sandbox.Totals{}, totals); d != "" || len(u.Book().Effects()) != 0 {
		t.Errorf("cleared: %s, %d entries", d, len(u.Book().Effects()))
	}
	u.renew()
	if e := u.booked(1); e.BeginOrder <= paged[7].EndOrder {
		t.Errorf("after clearing the ticks begin again: %+v", e)
	}
}

func TestBooksRefuse(t *testing.T) {
	u := serve(t, options())
	for _, query := range []string{"after=x", "limit=0", "limit=x", "limit=100001"} {
		if code, body := u.control("GET", "/_books?"+query, "", nil); code != 400 || !strings.Contains(body, `{"error":"`) {
			t.Errorf("%s: %d %s", query, code, body)
		}
	}
}

func TestFaultsEndpoint(t *testing.T) {
	u := serve(t, options())
	const plan = `{"script":[{"kind":"slow","delay":"1.5s","times":2}],"rates":[{"kind":"throttle","retry_after":"2s","rate":0.5}],"seed":9}`
	if code, body := u.control("PUT", "/_faults", plan, nil); code != 200 || body != plan {
		t.Errorf("PUT: %d %s", code, body)
	}
	for _, tc := range []struct{ body, problem string }{
		{`{"scripts":[]}`, `unknown field \"scripts\"`},
		{`{"standing":[{"kind":"hang","route":"/nowhere"}]}`, `route \"/nowhere\" is no route`},
		{strings.Repeat(" ", 8<<20) + "{}", "larger than"},
	} {
		if code, body := u.control("PUT", "/_faults", tc.body, nil); code != 400 || !strings.Contains(body, tc.problem) {
			t.Errorf("PUT %.50s: %d %s", tc.body, code, body)
		}
	}
	if _, body := u.control("GET", "/_faults", "", nil); body != plan {
		t.Errorf("a refused plan changed the plan: %s", body)
	}
	if _, body := u.control("DELETE", "/_faults", "", nil); body != "{}" {
		t.Errorf("DELETE left %s", body)
	}
	var kinds []sandbox.KindDoc
	u.control("GET", "/_faults/kinds", "", &kinds)
	if d := cmp.Diff(sandbox.FaultKinds(), kinds); d != "" {
		t.Errorf("kinds (-want +got):\n%s", d)
	}
}

func TestCustomersEndpoint(t *testing.T) {
	u := serve(t, options())
	code, body := u.control("PUT", "/_customers", `{"customers":[
		{"customer_mapping_id":"C-1","user_id":"tv9","expires":"2026-05-01T00:00:00Z"},
		{"user_id":"only","status":"Trial","expires":"2026-01-01T02:00:00+02:00"}]}`, nil)
	if code != 200 {
		t.Errorf("PUT: %d %s", code, body)
	}
	var list sandbox.CustomerList
	u.control("GET", "/_customers", "", &list)
	want := []sandbox.Customer{
		{UserID: "only", Status: "Trial", Expires: now.AddDate(0, -2, -9).Add(-12 * 3600e9)},
		{MappingID: "C-1", UserID: "tv9", Status: "Active", Expires: now.AddDate(0, 1, 21).Add(-12 * 3600e9)},
	}
	if d := cmp.Diff(want, list.Customers, cmpopts.EquateApproxTime(0)); d != "" {
		t.Errorf("customers (-want +got):\n%s", d)
	}
	if a := u.renew(); a.Status != 400 {
		t.Errorf("the replaced customer still has its user id: %+v", a)
	}
	u.control("GET", "/_customers?customer=tv9", "", &list)
	if len(list.Customers) != 1 || list.Customers[0].MappingID != "C-1" {
		t.Errorf("?customer=tv9: %+v", list)
	}
	// what GET says can be put again, and a date in the past then makes the customer Expired
	u.control("PUT", "/_customers", `{"customers":[{"customer_mapping_id":"C-1","status":"Active","expires":"2026-01-01T00:00:00Z"}]}`, nil)
	if c, _ := u.Customer("C-1"); c.Status != sandbox.Expired {
		t.Errorf("%+v", c)
	}
	for _, bad := range []string{
		`{"customers":[{"expires":"2026-05-01T00:00:00Z"}]}`,
		`{"customers":[{"user_id":"u"}]}`,
		`{"customers":[{"user_id":"new","expires":"2026-05-01T00:00:00Z"},{"user_id":"u","status":"Odd","expires":"2026-05-01T00:00:00Z"}]}`,
		`{"customers":[{"user_id":"u","password":"p","expires":"2026-05-01T00:00:00Z"}]}`,
	} {
		if code, body := u.control("PUT", "/_customers", bad, nil); code != 400 {
			t.Errorf("%s: %d %s", bad, code, body)
		}
	}
	if _, ok := u.Customer("new"); ok {
		t.Error("a refused list was taken in part")
	}
}

// Control serves the control endpoints and nothing of the API.
func TestControl(t *testing.T) {
	tvms := sandbox.NewTVMS(options())
	for path, want := range map[string]int{"/_health": 200, "/_nothing": 404, v2: 404} {
		w := httptest.NewRecorder()
		tvms.Control().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}
