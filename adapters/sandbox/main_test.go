package sandbox_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"subrelay/adapters/sandbox"
	"subrelay/events/history"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	token   = "TOKEN-that-must-not-appear"
	secret  = "device#password"
	v1      = "/api/RenewCustomer/renewCustomer"
	v2      = "/api/RenewCustomer/renewCustomerV2"
	v2Async = "/api/RenewCustomer/renewCustomerV2Async"
	status  = "/api/CustomerStatus/GetCustomerStatus"
	reading = "/api/GetCustomer/getCustomer_V2"
)

// now is the imitations' clock, and expiry the first expiry date of customer C-1 (user tv1).
var (
	now    = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	expiry = time.Date(2026, 3, 31, 23, 59, 59, 0, time.UTC)
)

func options() sandbox.TVMSOptions {
	return sandbox.TVMSOptions{
		AuthToken:   token,
		CRMServices: []string{"demo_crm"},
		Clock:       func() time.Time { return now },
		Customers:   []sandbox.Customer{{MappingID: "C-1", UserID: "tv1", Expires: expiry}},
	}
}

// params is a renewal of C-1 by one month; pairs of name and value change it, and an empty value takes the name out.
func params(pairs ...string) url.Values {
	q := url.Values{
		"customermappingid": {"C-1"}, "userid": {"tv1"}, "months": {"1"}, "days": {"0"}, "crmServices": {"demo_crm"},
		"crmService": {"demo_crm"}, "fromExpireDate": {"true"}, "authToken": {token}, "password": {secret},
	}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
		if pairs[i+1] == "" {
			q.Del(pairs[i])
		}
	}
	return q
}

// upstream is an imitation behind a real address, and a client without repeats.
type upstream struct {
	*sandbox.TVMS
	t      testing.TB
	url    string
	client *http.Client
}

func serve(t testing.TB, opts sandbox.TVMSOptions) *upstream {
	t.Helper()
	tvms := sandbox.NewTVMS(opts)
	srv := httptest.NewServer(tvms.Handler())
	client := newClient()
	t.Cleanup(func() {
		client.CloseIdleConnections()
		srv.CloseClientConnections()
		srv.Close()
	})
	return &upstream{TVMS: tvms, t: t, url: srv.URL, client: client}
}

// newClient is a client that follows no redirects.
func newClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{MaxResponseHeaderBytes: 256 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// answer is what a client sees of one call.
type answer struct {
	Status int
	Type   string
	After  string // Retry-After
	Body   string // without the white space around it
	Long   int    // how long it is with that, where it is over 1 MiB
	Err    error
}

func (u *upstream) call(ctx context.Context, method, path string, q url.Values) answer {
	u.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, u.url+path+"?"+q.Encode(), nil)
	if err != nil {
		u.t.Fatal(err)
	}
	req.Header.Set("X-Request-ID", "ref.1")
	return u.do(req)
}

func (u *upstream) do(req *http.Request) answer {
	resp, err := u.client.Do(req)
	if err != nil {
		return answer{Err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	a := answer{Status: resp.StatusCode, Type: resp.Header.Get("Content-Type"), After: resp.Header.Get("Retry-After")}
	if a.Status == http.StatusSwitchingProtocols {
		return a // what follows is no body
	}
	body, err := io.ReadAll(resp.Body)
	a.Body, a.Err = strings.TrimSpace(string(body)), err
	if len(body) > 1<<20 {
		a.Long = len(body)
	}
	return a
}

func (u *upstream) renew(pairs ...string) answer {
	u.t.Helper()
	return u.call(context.Background(), http.MethodPost, v2, params(pairs...))
}

// control calls a control endpoint and reads its JSON into "into" if that is not nil.
func (u *upstream) control(method, path, body string, into any) (int, string) {
	u.t.Helper()
	req, err := http.NewRequest(method, u.url+path, strings.NewReader(body))
	if err != nil {
		u.t.Fatal(err)
	}
	resp, err := u.client.Do(req)
	if err != nil {
		u.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		u.t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(raw, into); err != nil {
			u.t.Fatalf("%s %s: %v in %s", method, path, err, raw)
		}
	}
	return resp.StatusCode, string(raw)
}

// booked waits until the last of n calls is over, and returns its entry.
func (u *upstream) booked(n int) history.Effect {
	u.t.Helper()
	return bookedIn(u.t, u.Book(), n)
}

func bookedIn(t testing.TB, book *sandbox.Book, n int) history.Effect {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); <-time.After(time.Millisecond) {
		if totals := book.Totals(); totals.Calls == int64(n) && totals.InProgress == 0 {
			all := book.Effects()
			return all[len(all)-1]
		}
	}
	t.Fatalf("%d calls did not end: %+v", n, book.Totals())
	return history.Effect{}
}

func (u *upstream) expires(id string) time.Time {
	u.t.Helper()
	c, ok := u.Customer(id)
	if !ok {
		u.t.Fatalf("no customer %s", id)
	}
	return c.Expires
}
