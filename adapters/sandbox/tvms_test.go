package sandbox_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/sandbox"
	"subrelay/events"
	"subrelay/events/history"
)

var update = flag.Bool("update", false, "write the golden files")

// TestRoutes asks every route by every method, well and badly, and compares the whole conversation with a golden file.
func TestRoutes(t *testing.T) {
	var out strings.Builder
	ask := func(what, method, path string, q url.Values) {
		u := serve(t, options())
		a := u.call(t.Context(), method, path, q)
		fmt.Fprintf(&out, "%s: %s %s\n\t%d %s %s\n", what, method, path, a.Status, a.Type, a.Body)
		for _, e := range u.Book().Effects() {
			detail, _ := json.Marshal(e.Detail)
			fmt.Fprintf(&out, "\tbook: %s applied=%v %s\n", e.Key, e.Applied, detail)
		}
	}
	for _, path := range []string{v1, v2, v2Async, status, reading, "/api/GetProducts/getProducts_V2", "/api/RenewCustomer/renewCustomerV3"} {
		for _, method := range []string{"GET", "POST", "PUT"} {
			ask("well", method, path, params())
		}
	}
	for _, tc := range []struct {
		what  string
		pairs []string
	}{
		{"days from now", []string{"months", "0", "days", "10", "fromExpireDate", "False"}},
		{"months absent", []string{"months", "", "days", "10"}},
		{"both", []string{"days", "3"}},
		{"neither", []string{"months", "0"}},
		{"no number", []string{"months", "one"}},
		{"negative", []string{"months", "-1"}},
		{"too many", []string{"months", "1201"}},
		{"no fromExpireDate", []string{"fromExpireDate", ""}},
		{"fromExpireDate misspelled", []string{"fromExpireDate", "yes"}},
		{"user id only", []string{"customermappingid", "0"}},
		{"mapping id only", []string{"userid", ""}},
		{"ids of two customers", []string{"userid", "tv2"}},
		{"no customer", []string{"customermappingid", "0", "userid", "0"}},
		{"unknown customer", []string{"customermappingid", "C-2"}},
		{"wrong token", []string{"authToken", "wrong"}},
		{"no token", []string{"authToken", ""}},
		{"wrong CRM", []string{"crmServices", "other"}},
		{"CRM in the singular", []string{"crmServices", ""}},
	} {
		ask(tc.what, "POST", v2, params(tc.pairs...))
	}
	ask("wrong CRM", "GET", reading, params("crmService", "other"))
	ask("unknown customer", "GET", reading, params("customermappingid", "C-2"))
	ask("no password", "GET", status, params("password", ""))
	golden(t, "routes.golden", out.String())
	if strings.Contains(out.String(), token) || strings.Contains(out.String(), secret) {
		t.Error("a secret is in the conversation")
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

func TestBadQuery(t *testing.T) {
	u := serve(t, options())
	for _, raw := range []string{"%zz=1", "months=%", "a;b=1"} {
		resp, err := u.client.Post(u.url+v2+"?"+raw, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %d", raw, resp.StatusCode)
		}
	}
}

// A body says nothing, and does no harm.
func TestABodyIsIgnored(t *testing.T) {
	u := serve(t, options())
	resp, err := u.client.Post(u.url+v2+"?"+params().Encode(), "application/json", strings.NewReader(strings.Repeat("x", 1<<20)))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if e := u.booked(1); resp.StatusCode != http.StatusOK || !e.Applied {
		t.Errorf("%d, %+v", resp.StatusCode, e)
	}
}

// A client that leaves a hanging call is noticed though its request had a body.
func TestABodyDoesNotHideThatTheClientLeft(t *testing.T) {
	u := serve(t, options())
	if err := u.Faults().Next(sandbox.Fault{Kind: sandbox.Hang}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	body := strings.NewReader(strings.Repeat("x", 1<<20))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.url+v2+"?"+params().Encode(), body)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := u.client.Do(req); err == nil {
		_ = resp.Body.Close()
		t.Errorf("the client saw %d", resp.StatusCode)
	}
	if e := u.booked(1); e.Applied {
		t.Errorf("%+v", e)
	}
}

// A request that breaks off in its body is not acted upon.
func TestABrokenRequestHasNoEffect(t *testing.T) {
	u := serve(t, options())
	conn, err := net.Dial("tcp", strings.TrimPrefix(u.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Fprintf(conn, "POST %s?%s HTTP/1.1\r\nHost: tvms\r\nContent-Length: 10\r\n\r\nhalf", v2, params().Encode())
	_ = conn.Close()
	if e := u.booked(1); e.Applied || e.Detail["status"] != "0" {
		t.Errorf("%+v", e)
	}
}

func TestMonthEnds(t *testing.T) {
	for _, tc := range []struct {
		expires, months, days, from, want string
	}{
		{"2026-01-31T23:59:59Z", "1", "0", "true", "2026-02-28T23:59:59Z"},
		{"2028-01-31T23:59:59Z", "1", "0", "true", "2028-02-29T23:59:59Z"},
		{"2026-01-31T23:59:59Z", "0", "1", "true", "2026-02-01T23:59:59Z"},
		{"2020-01-31T00:00:00Z", "1", "0", "true", "2020-02-29T00:00:00Z"}, // expired: still from its old end
		{"2020-01-31T00:00:00Z", "1", "0", "false", "2026-04-10T12:00:00Z"},
		{"2030-01-31T00:00:00Z", "0", "5", "false", "2026-03-15T12:00:00Z"}, // from now, though that is earlier
	} {
		opts := options()
		expires, _ := time.Parse(time.RFC3339, tc.expires)
		opts.Customers = []sandbox.Customer{{MappingID: "C-1", Expires: expires}}
		u := serve(t, opts)
		u.renew("months", tc.months, "days", tc.days, "fromExpireDate", tc.from)
		if got := u.expires("C-1").Format(time.RFC3339); got != tc.want {
			t.Errorf("%+v: %s", tc, got)
		}
	}
}

// Months are counted in the zone of the installation: 31 January 00:30 in Athens is 30 January in UTC.
func TestMonthsInAZone(t *testing.T) {
	opts := options()
	opts.ExpiryZone = time.FixedZone("EET", 2*60*60)
	opts.ExpiryField, opts.ExpiryFormat = "endDate", "2006-01-02 15:04"
	opts.Customers = []sandbox.Customer{{MappingID: "C-1", Expires: time.Date(2026, 1, 30, 22, 30, 0, 0, time.UTC)}}
	u := serve(t, opts)
	u.renew()
	a := u.call(t.Context(), "GET", reading, params())
	if want := `{"Status":"Expired","customermappingid":"C-1","endDate":"2026-02-28 00:30","userid":""}`; a.Body != want {
		t.Errorf("got %s, want %s", a.Body, want)
	}
}

func TestAutoCreate(t *testing.T) {
	opts := options()
	opts.AutoCreate, opts.ExpiryFormat = expiry, "unix_ms"
	u := serve(t, opts)
	u.renew("customermappingid", "new", "userid", "tv-new")
	a := u.call(t.Context(), "GET", reading, params("customermappingid", "0", "userid", "tv-new"))
	want := fmt.Sprintf(`{"ExpireDate":%d,"Status":"Active","customermappingid":"new","userid":"tv-new"}`, events.AddMonths(expiry, 1).UnixMilli())
	if a.Body != want {
		t.Errorf("got %s, want %s", a.Body, want)
	}
	if a := u.renew("customermappingid", "other", "userid", "tv-new"); a.Status != 400 {
		t.Errorf("a new mapping id with a known user id: %+v", a)
	}
}

// Concurrent renewals all count, and their ticks order them.
func TestConcurrentRenewals(t *testing.T) {
	const clients, each = 8, 25
	u := serve(t, options())
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for range each {
				u.renew()
				u.Book().Page(sandbox.BookQuery{After: 10, Limit: 3})
				if err := u.PutCustomers(sandbox.Customer{MappingID: "C-2", Expires: expiry}); err != nil {
					t.Error(err)
				}
				u.Customers()
				u.Faults().Lift()
			}
		})
	}
	group.Wait()
	if got, want := u.expires("C-1"), events.AddMonths(expiry, 0); got.Year() != want.Year()+clients*each/12 {
		t.Errorf("C-1 expires %s after %d months", got, clients*each)
	}
	checkTicks(t, u.Book().Effects(), clients*each)
}

// checkTicks proves that every tick was drawn once, and that each entry began where the one before in effect ended.
func checkTicks(t *testing.T, effects []history.Effect, n int) {
	t.Helper()
	if len(effects) != n {
		t.Fatalf("%d entries, want %d", len(effects), n)
	}
	ticks := map[int64]bool{}
	before := map[string]int64{} // the order of the effect that left this expiry date
	for _, e := range effects {
		if e.BeginOrder >= e.Order || e.Order >= e.EndOrder {
			t.Errorf("%+v", e)
		}
		ticks[e.BeginOrder], ticks[e.Order], ticks[e.EndOrder] = true, true, true
		before[e.Detail["after"]] = e.Order
	}
	if len(ticks) != 3*n {
		t.Errorf("%d ticks, want %d", len(ticks), 3*n)
	}
	for _, e := range effects {
		if before[e.Detail["before"]] >= e.Order {
			t.Errorf("the effect at %d rests on a later one at %d", e.Order, before[e.Detail["before"]])
		}
	}
}
