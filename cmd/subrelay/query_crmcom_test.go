package main

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/sandbox"
	"subrelay/adapters/upstream"
	"subrelay/events"
)

// strictCRMCOM is a rig whose CRM.COM knows one subscription and one Netflix customer, and a worker that serves it alone.
func strictCRMCOM(t *testing.T) (*rig, *sandbox.CRMCOM) {
	t.Helper()
	r := newRigWithoutWorker(t)
	crm := sandbox.NewCRMCOM(sandbox.CRMCOMOptions{
		WebAPIKey: rigKey,
		Subscriptions: []sandbox.Subscription{{Number: "S1", ID: "id-1", Services: []sandbox.Service{
			{ID: "s-1", Product: events.ServiceIdentifier{ID: "p-1", Code: "INTERNET_100"}},
		}}},
		Netflix: []sandbox.NetflixCustomer{{Customer: "cust-77", PAI: "PAI=7/x", Subscriptions: []events.NetflixSubscription{{SubscriptionNumber: "4711", Prices: []string{"EUR 9.99"}}}}},
	})
	server := httptest.NewServer(crm.Handler())
	t.Cleanup(server.Close)
	t.Cleanup(crm.Faults().Lift)
	r.config.TVMS.API.BaseURL = ""
	r.config.CRMCOM = workingCRMCOM(server.URL)
	r.config.CRMCOM.API.WebAPIKey = upstream.NewSecret(rigKey)
	r.config.CRMCOM.API.Codes.NotFound = []string{"NOT_FOUND"}
	r.config.CRMCOM.Guard.CallTimeout, r.config.Netflix.Guard.CallTimeout = time.Second, time.Second
	r.app = r.startWorker()
	return r, crm
}

func TestQueriesOfCRMCOM(t *testing.T) {
	r, _ := strictCRMCOM(t)
	for _, tt := range []struct{ args, stdout, table string }{
		{"subscription subscription=S1", `{"id":"id-1","number":"S1","life_cycle_state":"EFFECTIVE","services":[` +
			`{"id":"s-1","life_cycle_state":"EFFECTIVE","product":{"id":"p-1","code":"INTERNET_100"}}]}`, "subscription S1 (id id-1): EFFECTIVE"},
		{"subscription id=id-1", `"number":"S1"`, "INTERNET_100"},
		{"netflix-subscription customer=cust-77", `{"subscriptions":[{"subscription_number":"4711","netflix_state":"EFFECTIVE","life_cycle_state":"EFFECTIVE","prices":["EUR 9.99"]}]}`, "EUR 9.99"},
		{"netflix-subscription pai=PAI=7/x", `{"subscriptions":[{"subscription_number":"4711"`, "EUR 9.99"},
		{"netflix-subscription pai=cust-77", `{"subscriptions":[]}`, "no Netflix subscription"},
		{"netflix-subscription customer=nobody", `{"subscriptions":[]}`, "no Netflix subscription"},
		{"netflix-promotions", `{"promotions":[{"code":"14","name":"Spring","effective_from":"`, "Spring"},
	} {
		args := append([]string{"query"}, strings.Fields(tt.args)...)
		r.run(append(args, "-o", "json")...).want(t, exitDone, tt.stdout, "")
		r.run(args...).want(t, exitDone, tt.table, "")
	}
	r.run("query", "subscription", "subscription=S404").want(t, exitRejected, "", "subscription: ")
	if _, f := r.asker()("subscription", `{"subscription":"S404"}`); f.Code != events.CodeNotFound || f.UpstreamCode != "NOT_FOUND" {
		t.Errorf("%+v", f)
	}
	r.run("query", "tvms-customer", "customer=C-1").want(t, exitError, "", "serves the upstream tvms?")
	list := r.run("query", "-o", "json").lines(t)
	answered := map[string]int{}
	for _, q := range list {
		answered[fmt.Sprint(q["query"])] = len(q["workers"].([]any))
	}
	want := map[string]int{"netflix-promotions": 1, "netflix-subscription": 1, "subscription": 1, "tvms-customer": 0}
	if diff := cmp.Diff(want, answered); diff != "" {
		t.Error(diff)
	}
}

// An upstream whose breaker is open refuses its own queries, not its neighbour's.
func TestQueriesMeetTheirOwnBreaker(t *testing.T) {
	r, crm := strictCRMCOM(t)
	ask := r.asker()
	if err := crm.Faults().Set(sandbox.Plan{Standing: []sandbox.Fault{{Kind: sandbox.ErrorBefore, Route: "/crmapi/rest/v2/subscriptions/show"}}}); err != nil {
		t.Fatal(err)
	}
	failures := 0
	eventually(t, "the breaker opens", func() bool {
		_, f := ask("subscription", `{"subscription":"S1"}`)
		failures++
		return f.Code == events.CodeUnavailable && strings.Contains(f.Message, "crmcom is not called")
	})
	if failures < 6 {
		t.Errorf("it opened after %d", failures)
	}
	if answer, f := ask("netflix-promotions", ``); f.Code != "" || !strings.Contains(answer, "Spring") {
		t.Errorf("%s %+v", answer, f)
	}
}

// TestNoSecretOfCRMCOMInAnswers has every read fail in every way, with a CRM.COM that repeats what it was sent.
func TestNoSecretOfCRMCOMInAnswers(t *testing.T) {
	r := newRigWithoutWorker(t)
	crm, g := r.secretCRMCOM()
	r.config.Netflix.API.Charges.Feed = new(bool) // it would meet the faults that are meant for queries
	log := &watched{}
	r.startLogging(log)
	l := &leaks{t: t}
	queries := [][]string{{"subscription", "subscription=%s"}, {"netflix-subscription", "customer=%s"}, {"netflix-subscription", "pai=%s"}, {"netflix-promotions"}}
	ask := func(key string) (failed int) {
		for _, q := range queries {
			args := []string{"--nats", r.config.NATS.URL, "query"}
			for _, a := range q {
				args = append(args, strings.ReplaceAll(a, "%s", key))
			}
			if l.run(nil, append(args, "-o", "json")...).code != exitDone {
				failed++
			}
		}
		return failed
	}
	key := testSecrets["the web API key of CRM.COM"]
	for i, k := range sandbox.FaultKinds() {
		fault := sandbox.Fault{Kind: k.Kind, Route: sandbox.Reads}
		if k.Kind.Delayed() {
			fault.Delay = sandbox.Duration(5 * time.Second) // well beyond the call time-out
		}
		if k.Kind == sandbox.Refusal {
			fault.Message, fault.Code = "no: "+key+", "+url.QueryEscape(key), "CODE "+key
		}
		for range queries {
			if err := crm.Faults().Next(fault); err != nil {
				t.Fatal(err)
			}
		}
		if failed := ask(fmt.Sprintf("Q-%d", i)); failed != len(queries) && k.Kind != sandbox.ExpireToken && k.Kind != sandbox.DoubleReply { // which are mended, or harmless
			t.Errorf("%s: %d of %d queries fail", k.Kind, failed, len(queries))
		}
		crm.Faults().Lift()
	}
	ask("ECHO")
	if failed := ask("fine"); failed > 0 {
		t.Errorf("%d queries fail without a fault", failed)
	}
	l.run(nil, "--nats", r.config.NATS.URL, "query", "--stats", "-o", "json")
	l.search("the log", log.String())
	tokens := g.heard()
	for i, token := range tokens {
		for _, s := range l.said {
			l.searchFor(fmt.Sprintf("token %d", i), token, s.where, s.text)
		}
	}
	if len(tokens) == 0 || g.echoes < 2 || l.seen < 40 {
		t.Errorf("%d tokens, %d echoes, %d places", len(tokens), g.echoes, l.seen)
	}
}
