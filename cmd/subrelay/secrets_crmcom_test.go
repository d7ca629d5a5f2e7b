package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"subrelay/adapters/sandbox"
	"subrelay/adapters/upstream"
	"subrelay/events"
)

// gossip stands before an imitation of CRM.COM. It remembers every token, and answers calls of the key ECHO by repeating
// what they carried; of a login, likewise.
type gossip struct {
	next http.Handler

	mu     sync.Mutex
	tokens map[string]bool
	echoes int
}

// ServeHTTP implements http.Handler.
func (g *gossip) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	var sent struct{ Token, Password string }
	_ = json.Unmarshal(body, &sent)
	token := sent.Token + r.URL.Query().Get("token")
	g.mu.Lock()
	if token != "" {
		g.tokens[token] = true
	}
	echo := sent.Password != "" || strings.Contains(string(body)+r.URL.RawQuery, "ECHO")
	if echo {
		g.echoes++
	}
	g.mu.Unlock()
	if !echo {
		g.next.ServeHTTP(w, r)
		return
	}
	said := fmt.Sprintf("no: %s, %s, %s %s, %v", r.URL, body, token, sent.Password, r.Header)
	_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{}, "status": map[string]string{
		"code": "CODE " + token + sent.Password, "description": url.QueryEscape(said), "message": said}})
}

func (g *gossip) heard() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Keys(g.tokens))
}

// secretCRMCOM adds a CRM.COM whose key is a secret, and that gossips.
func (r *rig) secretCRMCOM() (*sandbox.CRMCOM, *gossip) {
	r.t.Helper()
	key := testSecrets["the web API key of CRM.COM"]
	crm := sandbox.NewCRMCOM(sandbox.CRMCOMOptions{WebAPIKey: key, AutoCreate: true})
	g := &gossip{next: crm.Handler(), tokens: map[string]bool{}}
	server := httptest.NewServer(g)
	r.t.Cleanup(server.Close)
	r.t.Cleanup(crm.Faults().Lift)
	r.config.CRMCOM = workingCRMCOM(server.URL)
	chargesShow(&r.config)
	api := &r.config.CRMCOM.API
	api.WebAPIKey, api.Reference.Enforced = upstream.NewSecret(key), true
	api.SettleAfter, api.GiveUpAfter = 400*time.Millisecond, time.Second
	r.config.Netflix.API.SettleAfter, r.config.Netflix.API.GiveUpAfter = 400*time.Millisecond, time.Second
	for _, guard := range []*upstream.Settings{&r.config.CRMCOM.Guard, &r.config.Netflix.Guard} {
		guard.CallTimeout, guard.ConsecutiveFailures, guard.MinRequests = 300*time.Millisecond, 1000, 1000
	}
	r.config.Retry.Swap.Attempts, r.config.Retry.NetflixSuspend.Attempts = 1, 1
	return crm, g
}

// TestNoSecretOfCRMCOMLeavesTheProcess plays every fault to calls and to logins, has CRM.COM repeat what it was sent, and
// searches everything that comes out for the credentials and for every token that was ever used.
func TestNoSecretOfCRMCOMLeavesTheProcess(t *testing.T) {
	r := newRigWithoutWorker(t)
	crm, g := r.secretCRMCOM()
	log := &watched{}
	first := r.startLogging(log)
	l := &leaks{t: t}
	conn, err := nats.Connect(r.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cl, err := newClient(r.config.withDefaults(), conn)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, cl: cl, config: r.config}

	var sent []event.Event
	send := func(key string) {
		for _, e := range []event.Event{crmCommand(t, events.Swap, key), crmCommand(t, events.NetflixSuspend, key)} {
			w.send(e)
			sent = append(sent, e)
		}
	}
	key := testSecrets["the web API key of CRM.COM"]
	said := "no: " + key + ", " + url.QueryEscape(key) + ", " + base64.StdEncoding.EncodeToString([]byte(key+":"))
	for i, k := range sandbox.FaultKinds() {
		for _, route := range []string{sandbox.Writes, sandbox.Reads, sandbox.Auth} {
			fault := sandbox.Fault{Kind: k.Kind, Route: route, Customer: fmt.Sprintf("F-%d%s", i, route)}
			if k.Kind.Delayed() {
				fault.Delay = sandbox.Duration(time.Second)
			}
			if k.Kind == sandbox.Refusal {
				fault.Message, fault.Code = said, "CODE "+key
			}
			name := fault.Customer
			if route == sandbox.Auth { // logins are for nobody in particular
				fault.Customer = ""
				crm.ExpireTokens()
			}
			if err := crm.Faults().Next(fault, fault); err != nil {
				t.Fatal(err)
			}
			send(name)
		}
	}
	send("ECHO")
	eventually(t, "all is done, or in doubt", func() bool { return w.allTold(sent) })

	first.Kill()
	app := meetWrongPassword(r, w, log)
	for _, page := range []string{"/metrics", "/healthz", "/readyz"} {
		_, body := fetch(t, "http://"+app.HTTPAddr()+page)
		l.search(page, body)
	}
	l.searchTools(r, cl)
	l.streams(cl.js)
	l.search("the log", log.String())
	tokens := g.heard()
	for i, token := range tokens {
		for _, s := range l.said {
			l.searchFor(fmt.Sprintf("token %d", i), token, s.where, s.text)
		}
	}
	if l.seen < 100 || len(log.String()) < 2000 || len(tokens) < 3 || g.echoes < 3 {
		t.Errorf("only %d places were searched for %d tokens, a log of %d bytes among them, and CRM.COM has repeated %d calls", l.seen, len(tokens), len(log.String()), g.echoes)
	}
}

// crmCommand is a command whose kind and key make its id.
func crmCommand(t *testing.T, kind events.Kind, key string) event.Event {
	t.Helper()
	e := event.New()
	e.SetID(string(kind) + "-" + key)
	e.SetSource("test")
	e.SetType(events.CommandType(kind))
	e.SetSubject(key)
	data := map[string]any{netflixCustomer: key}
	if kind == events.Swap {
		data = map[string]any{"subscription_identifier": map[string]any{"number": key},
			"services_to_swap_set": []any{map[string]any{"from_service": product("INTERNET_100"), "to_service": product("INTERNET_200")}}}
	}
	if err := e.SetData(event.ApplicationJSON, data); err != nil {
		t.Fatal(err)
	}
	return e
}

// allTold reports whether each command has an outcome or is in doubt.
func (w *world) allTold(sent []event.Event) bool {
	for _, e := range sent {
		key, _ := events.KeyToken(e.Subject())
		last, err := w.cl.outcomes.Last(w.Context(), key, events.CID(e.Source(), e.ID(), e.Subject()))
		if err != nil || last == nil || !last.Status.Final() && last.Status != events.InDoubt {
			return false
		}
	}
	return true
}

// meetWrongPassword replaces the worker by one whose password CRM.COM repeats, and refuses.
func meetWrongPassword(r *rig, w *world, log *watched) *App {
	r.t.Helper()
	r.config.Worker.Name = "wrong-worker"
	api := &r.config.CRMCOM.API
	api.WebAPIKey = upstream.Secret{}
	api.Username, api.Password, api.Organisation = "relay", upstream.NewSecret(testSecrets["the password of CRM.COM"]), "1"
	api.Reference.Enforced = false // so that the login is refused after the start
	app := r.startLogging(log)
	e := crmCommand(r.t, events.Swap, "W-1")
	w.send(e)
	eventually(r.t, "the password is refused", func() bool {
		last, err := w.cl.outcomes.Last(r.t.Context(), "W-1", events.CID("test", e.ID(), "W-1"))
		return err == nil && last != nil && last.Error != nil && last.Error.Code == events.CodeUnauthorized
	})
	return app
}
