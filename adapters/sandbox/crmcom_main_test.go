package sandbox_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"subrelay/adapters/sandbox"
	"subrelay/events"
	"subrelay/events/history"
)

const (
	api     = "/crmapi/rest/v2/"
	webKey  = "KEY-that-must-not-appear"
	amend   = "subscriptions/amend"
	show    = "subscriptions/show"
	byKey   = "authentication/web_api_key/token"
	byLogin = "authentication/token"
	list    = "netflix/charges/list"
)

// crmOptions has the subscription S-1 with three services and an item, the Netflix customer N-1, and four charges.
func crmOptions() sandbox.CRMCOMOptions {
	at := func(day int) *time.Time { t := now.AddDate(0, 0, day-10); return &t }
	charge := func(number, status string, day int) sandbox.Charge {
		return sandbox.Charge{NetflixCharge: events.NetflixCharge{
			Number: number, BillingSystemCustomerIdentifier: "N-1", Amount: "9.99", Currency: "EUR", ChargeStatus: status, ReceivedOn: at(day),
		}}
	}
	return sandbox.CRMCOMOptions{
		WebAPIKey: webKey, Seed: 1, CancelPath: "netflix/subscriptions/cancel",
		Clock: func() time.Time { return now },
		Subscriptions: []sandbox.Subscription{{
			Number: "S-1", ID: "ID1", Account: &sandbox.Account{Number: "AR-1", Name: "Jane Personal", Identifier: "card", PassCode: "1234"},
			Services: []sandbox.Service{
				{ID: "I1", Product: events.ServiceIdentifier{Code: "NET_100"}, Distributors: []string{"STB-1", "STB-2"}},
				{ID: "I2", Product: events.ServiceIdentifier{Code: "SPORTS"}},
				{ID: "I3", Product: events.ServiceIdentifier{Code: "OLD"}, LifeCycleState: "SWAPPED"},
			},
			Items: []sandbox.Item{{Item: events.ItemIdentifier{SerialNumber: "SN1"}, Distributors: []string{"STB-1"}}},
		}},
		Netflix: []sandbox.NetflixCustomer{{
			Customer: "N-1", PAI: "PAI1",
			Subscriptions: []events.NetflixSubscription{{SubscriptionNumber: "S0901", Prices: []string{"EUR 9.99"}}},
		}},
		Charges: []sandbox.Charge{charge("C1", "APPROVED", 1), charge("C2", "PENDING", 2), charge("C3", "DECLINED", 3), charge("C4", "PENDING", 4)},
	}
}

// crm is an imitation behind a real address, with a token.
type crm struct {
	*sandbox.CRMCOM
	*upstream // its calls go to the same address
	base      string
	token     string
}

// Book, Faults, Control and Handler are those of the imitation of CRM.COM.
func (c *crm) Book() *sandbox.Book     { return c.CRMCOM.Book() }
func (c *crm) Faults() *sandbox.Faults { return c.CRMCOM.Faults() }

func serveCRM(t testing.TB, opts sandbox.CRMCOMOptions) *crm {
	t.Helper()
	c := serveUnknown(t, opts)
	c.login()
	return c
}

// serveUnknown is serveCRM without a token.
func serveUnknown(t testing.TB, opts sandbox.CRMCOMOptions) *crm {
	t.Helper()
	c := sandbox.NewCRMCOM(opts)
	srv := httptest.NewServer(c.Handler())
	client := newClient()
	t.Cleanup(func() {
		client.CloseIdleConnections()
		srv.CloseClientConnections()
		srv.Close()
	})
	return &crm{base: api, CRMCOM: c, upstream: &upstream{t: t, url: srv.URL, client: client}}
}

// crmInBubble runs test with an imitation behind pipes, in virtual time.
func crmInBubble(t *testing.T, opts sandbox.CRMCOMOptions, test func(*testing.T, *crm)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		opts.Clock = nil
		c := sandbox.NewCRMCOM(opts)
		overPipes(t, c.Handler(), func(client *http.Client) {
			u := &crm{base: api, CRMCOM: c, upstream: &upstream{t: t, url: "http://crm.test", client: client}}
			u.login()
			test(t, u)
		})
	})
}

// login gets a token by the Web API key.
func (c *crm) login() {
	c.t.Helper()
	a := c.send(c.t.Context(), byKey, "{}", func(r *http.Request) { r.SetBasicAuth(webKey, "") })
	var got struct{ Data struct{ Token string } }
	if err := json.Unmarshal([]byte(a.Body), &got); err != nil || len(got.Data.Token) <= 32 {
		c.t.Fatalf("no token: %+v", a)
	}
	c.token = got.Data.Token
}

// send posts a body as it is.
func (c *crm) send(ctx context.Context, path, body string, change func(*http.Request)) answer {
	c.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Request-ID", "ref.1")
	if change != nil {
		change(req)
	}
	return c.do(req)
}

// post posts the members of an object, with the token before them.
func (c *crm) post(path, members string) answer {
	c.t.Helper()
	return c.postWithin(c.t.Context(), path, members)
}

func (c *crm) postWithin(ctx context.Context, path, members string) answer {
	c.t.Helper()
	return c.send(ctx, path, `{"token":"`+c.token+`",`+members+`}`, nil)
}

// get reads, with the token.
func (c *crm) get(path, query string) answer {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.url+c.base+path+"?token="+c.token+query, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.do(req)
}

// code is the status.code of an answer, or what is wrong with it.
func code(a answer) string {
	var got struct {
		Data   json.RawMessage
		Status struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(a.Body), &got); err != nil || a.Status != 200 || a.Type != jsonType || len(got.Data) == 0 {
		return "no envelope"
	}
	if (got.Status.Code == "OK") != (got.Status.Message == "") {
		return "a message with the wrong code"
	}
	return got.Status.Code
}

// services is the live services of S-1 by product, each with its distributors.
func (c *crm) services(number string) string {
	c.t.Helper()
	sub, ok := c.Subscription(number)
	if !ok {
		return "none"
	}
	var out []string
	for _, s := range sub.Services {
		if s.Live() {
			out = append(out, strings.TrimSpace(s.Product.Code+" "+strings.Join(s.Distributors, "+")))
		}
	}
	for _, i := range sub.Items {
		out = append(out, strings.TrimSpace("item "+i.Item.SerialNumber+" "+strings.Join(i.Distributors, "+")))
	}
	return strings.Join(out, ", ")
}

// booked waits until the last of n calls is over, and returns its entry.
func (c *crm) booked(n int) history.Effect {
	c.t.Helper()
	return bookedIn(c.t, c.Book(), n)
}
