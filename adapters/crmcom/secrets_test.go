package crmcom

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

// secretForms lists every way a secret may be spelled in output, worked out here and not by the code under test.
func secretForms(secret string) []string {
	quoted, _ := json.Marshal(secret)
	upper := url.QueryEscape(secret)
	forms := []string{
		secret, upper, strings.ReplaceAll(upper, "+", "%20"), url.PathEscape(secret), url.QueryEscape(upper),
		strings.Trim(string(quoted), `"`), html.EscapeString(secret), strings.Trim(fmt.Sprintf("%q", secret), `"`),
		fmt.Sprintf("%x", secret), base64.StdEncoding.EncodeToString([]byte(secret)),
	}
	for _, form := range forms {
		forms = append(forms, strings.ToLower(form))
	}
	return forms
}

// basicOf is the web API key as HTTP Basic sends it.
var basicOf = base64.StdEncoding.EncodeToString([]byte(apiKey + ":"))

// keeper searches what leaves a client for secrets.
type keeper struct {
	logged bytes.Buffer
	out    bytes.Buffer
	secret []string
}

func (k *keeper) show(things ...any) {
	for _, thing := range things {
		fmt.Fprintf(&k.out, "%+v\n", thing)
		if err, failed := thing.(error); failed && err != nil {
			k.out.WriteString(travels(err))
			thing = events.AsError(err)
			slog.New(slog.NewJSONHandler(&k.logged, nil)).Info("shown", "thing", thing)
			slog.New(slog.NewTextHandler(&k.logged, nil)).Info("shown", "thing", thing)
		}
		encoded, _ := json.Marshal(thing)
		k.out.Write(encoded)
	}
}

func (k *keeper) search(t *testing.T) {
	t.Helper()
	shown := k.out.String() + k.logged.String()
	for _, secret := range k.secret {
		for _, form := range secretForms(secret) {
			if i := strings.Index(shown, form); i >= 0 {
				t.Fatalf("%q is shown in …%s…", form, shown[max(0, i-300):min(len(shown), i+300)])
			}
		}
	}
}

// inEverySpelling repeats texts as an upstream might.
func inEverySpelling(texts ...string) string {
	var echo strings.Builder
	for _, text := range texts {
		quoted, _ := json.Marshal(text)
		for _, spelled := range []string{text, url.QueryEscape(text), url.PathEscape(text), html.EscapeString(text), string(quoted)} {
			echo.WriteString(spelled + " ")
		}
	}
	return echo.String()
}

// echoing fills everything that a reply may hold with echo.
func echoing(r *http.Request, code, echo string) string {
	e := quoted(echo)
	data := strings.ReplaceAll(`{"id":E,"number":"S1","life_cycle_state":E,
		"termed_services_set":[{"id":E,"life_cycle_state":E,"product":{"id":E,"code":E,"alternative_code":E}}],
		"action":{"id":E,"number":E,"life_cycle_state":E,"transaction_reference_number":E},
		"subscription_number":E,"netflix_sate":E,
		"promotions_set":[{"code":E,"name":E,"description":E,"expires_on":null}],"prices_set":[{"FormattedPrice":E}],
		"charges_set":[{"number":E,"billing_system_customer_identifier":E,"charge_status":E,"currency":E,"amount":1}],
		"failed_charges_set":[{"number":"I1","error_code":E,"error_description":E}]}`, "E", e)
	if strings.HasSuffix(r.URL.Path, "promotions/list") {
		data = strings.ReplaceAll(`[{"code":E,"name":E,"description":E,"effective_from":"2024-01-01T00:00:00","expires_on":E}]`, "E", e)
	}
	return `{"data":` + data + `,"status":{"code":` + quoted(code) + `,"message":` + e + `,"description":` + e + `}}`
}

// everyCall makes every call there is, and keeps what it shows.
func everyCall(ctx context.Context, k *keeper, b both) (failed int) {
	keep := func(result any, err error) {
		k.show(result, err)
		if err != nil {
			failed++
		}
	}
	id := events.SubscriptionIdentifier{Number: "S1"}
	amended, err := b.client.Amend(ctx, cid, smallAmend)
	keep(amended, err)
	swapped, err := b.client.Swap(ctx, cid, &events.SwapData{ActionData: smallAmend.ActionData, ServicesToSwapSet: make([]events.ServiceSwap, 1)})
	keep(swapped, err)
	subscription, err := b.client.Subscription(ctx, id)
	keep(subscription, err)
	scheduled, err := b.client.Scheduled(ctx, cid, id)
	keep(scheduled, err)
	created, err := b.netflix.CreateNetflix(ctx, &events.NetflixCreateData{BillingSystemCustomerIdentifier: "c", CustomerFirstName: "Ann"})
	keep(created, err)
	for _, kind := range []events.Kind{events.NetflixSuspend, events.NetflixUnsuspend, events.NetflixCancel} {
		keep(nil, b.netflix.SetNetflix(ctx, kind, "c"))
	}
	for _, kind := range []events.Kind{events.NetflixAcknowledge, events.NetflixAccept, events.NetflixDecline} {
		taken, err := b.netflix.TakeCharges(ctx, kind, cid, []events.ChargeIdentifier{{Number: "I1"}, {Number: "I2"}})
		keep(taken, err)
	}
	subscriptions, err := b.netflix.NetflixSubscriptions(ctx, "c")
	keep(subscriptions, err)
	promotions, err := b.netflix.Promotions(ctx)
	keep(promotions, err)
	charges, err := b.netflix.ListCharges(ctx)
	keep(charges, err)
	found, err := b.netflix.FindCharges(ctx, []string{"I1"})
	keep(found, err)
	return failed
}

// way is one of the two ways to log in, and the secrets that go with it.
type way struct {
	name    string
	change  func(*Settings)
	secrets []string
}

var waysToLogin = []way{
	{"key", func(*Settings) {}, []string{apiKey, basicOf, strings.TrimRight(basicOf, "=")}},
	{"user", func(s *Settings) {
		s.WebAPIKey, s.Username, s.Password, s.Organisation = upstream.Secret{}, "user", upstream.NewSecret(secret), "org"
	}, []string{secret}},
}

// drive makes every call, twice, so that what one leaves in mind is seen by the other.
func drive(t *testing.T, base string, login way, i *issuer, limits upstream.Settings, atLeast int) {
	k := &keeper{secret: login.secrets}
	limits.Logger = slog.New(slog.NewJSONHandler(&k.logged, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
	limits.ConsecutiveFailures = 1
	s := settings(base)
	login.change(&s)
	b := clients(t, s, NetflixSettings{CancelPath: "netflix/cancel"}, limits)
	ctx := traced(t.Context())
	for range 2 {
		if failed := everyCall(ctx, k, b); failed < atLeast {
			t.Errorf("%d calls failed, want %d: the case tests nothing", failed, atLeast)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	everyCall(ended, k, b)
	k.show(s, &s, b.client, b.netflix, *b.client, *b.netflix, b.client.wire, *b.client.wire, b.session, b.client.guard, b.client.guard.Logger())
	fmt.Fprintf(&k.out, "%+v %#v %#v %#v", b, s, b.session, b.client)
	logins, _ := i.seen()
	for n := range logins {
		k.secret = append(k.secret, issued(n+1))
	}
	k.search(t)
}

// Every failure there is, with secrets in addresses and bodies, and a CRM.COM that repeats them wherever it can: nothing
// that leaves the clients, be it a result, an error, a field of one or a line of the log, holds a secret in any spelling.
func TestSecretsStayInside(t *testing.T) {
	for _, login := range waysToLogin {
		for name, reply := range repliesWith(login.secrets) {
			t.Run(login.name+", calls "+name, func(t *testing.T) {
				t.Parallel()
				i := &issuer{}
				i.answer = func(w http.ResponseWriter, r *http.Request, token string) {
					n, _ := i.seen()
					reply(w, r, token, issued(n), issued(max(1, n-1)))
				}
				atLeast := manyCalls
				if strings.HasPrefix(name, "200 with OK") {
					atLeast = 1
				}
				drive(t, serve(t, i), login, i, upstream.Settings{}, atLeast)
			})
			t.Run(login.name+", logins "+name, func(t *testing.T) {
				t.Parallel()
				i := &issuer{login: func(w http.ResponseWriter, r *http.Request, _ int) { reply(w, r) }}
				drive(t, serve(t, i), login, i, upstream.Settings{}, manyCalls)
			})
		}
		t.Run(login.name+", hang", func(t *testing.T) {
			t.Parallel()
			i := &issuer{answer: func(_ http.ResponseWriter, r *http.Request, _ string) { hang(nil, r, nil) }}
			drive(t, serve(t, i), login, i, upstream.Settings{CallTimeout: 30 * time.Millisecond}, manyCalls)
		})
		echo := inEverySpelling(login.secrets...)
		for name, dial := range map[string]upstream.Dial{
			"refused": func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("refused: " + echo) },
			"no host": func(_ context.Context, _, addr string) (net.Conn, error) {
				return nil, &net.DNSError{Err: echo, Name: addr, IsNotFound: true}
			},
		} {
			t.Run(login.name+", "+name, func(t *testing.T) {
				t.Parallel()
				drive(t, "https://crm.example", login, &issuer{}, upstream.Settings{DialContext: dial}, manyCalls)
			})
		}
	}
}

// manyCalls is how many of everyCall fail at least where all should. The others are refused without a call, or have
// nothing to tell.
const manyCalls = 10

// repliesWith is replies that repeat secrets, and what else they are told.
func repliesWith(secrets []string) map[string]func(w http.ResponseWriter, r *http.Request, more ...string) {
	replies := make(map[string]func(http.ResponseWriter, *http.Request, ...string))
	for name, text := range map[string]string{
		"nothing": "", "no HTTP": "SMTP E\r\n\r\n", "bad status": "HTTP/1.1 x E\r\n\r\n", "bad header": "HTTP/1.1 200 OK\r\nE\r\n\r\n",
		"bad length": "HTTP/1.1 200 OK\r\nContent-Length: E\r\n\r\n", "half a body": "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nE",
		"bad encoding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: E\r\n\r\n",
		"huge header":  "HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("E", 500) + "\r\n\r\n",
	} {
		replies[name] = func(w http.ResponseWriter, r *http.Request, more ...string) {
			raw(strings.ReplaceAll(text, "E", inEverySpelling(append(more, secrets...)...)), text == "")(w, r, nil)
		}
	}
	for _, status := range []int{200, 307, 401, 403, 429, 500} {
		replies[fmt.Sprintf("%d with text", status)] = func(w http.ResponseWriter, r *http.Request, more ...string) {
			w.Header().Set("Retry-After", "1")
			w.Header().Set("Location", "/elsewhere?"+r.URL.RawQuery)
			w.WriteHeader(status)
			io.WriteString(w, "you asked for "+r.RequestURI+" with "+inEverySpelling(append(more, secrets...)...))
		}
	}
	for _, c := range []struct {
		status int
		code   string
	}{{200, "OK"}, {200, "NO"}, {400, "NO"}, {200, "NO E"}, {200, "INVALID_TOKEN"}, {200, "DUPLICATE_REFERENCE"}, {404, "NOT_FOUND"}} {
		replies[fmt.Sprintf("%d with %s", c.status, c.code)] = func(w http.ResponseWriter, r *http.Request, more ...string) {
			echo := inEverySpelling(append(more, append(secrets, r.RequestURI, r.Header.Get("Authorization"))...)...)
			w.WriteHeader(c.status)
			io.WriteString(w, echoing(r, strings.Replace(c.code, " E", " "+echo, 1), echo))
		}
	}
	return replies
}

// Calls may be under way with tokens that were refused since, and their replies repeat those. A session whose tokens are
// refused again and again, as where somebody else logs in with the same key, forgets none too early.
func TestSecretsAfterRotation(t *testing.T) {
	k := &keeper{secret: []string{issued(1), issued(2), issued(3), issued(4)}}
	asked, answered := make(chan string, 1), make(chan struct{})
	i := &issuer{answer: func(w http.ResponseWriter, r *http.Request, token string) {
		switch {
		case token == issued(1) && r.Method == http.MethodGet:
			asked <- token
			<-answered
			io.WriteString(w, coded("NO", "the token "+token+" and "+url.QueryEscape(token)))
		case token == issued(4):
			ok(w, "{}")
		default:
			io.WriteString(w, coded("INVALID_TOKEN", "the token "+token))
		}
	}}
	b := clients(t, settings(serve(t, i)), NetflixSettings{}, upstream.Settings{})
	done := make(chan error)
	go func() {
		_, err := b.client.Scheduled(t.Context(), cid, events.SubscriptionIdentifier{ID: "s"})
		done <- err
	}()
	<-asked
	for range 3 {
		k.show(b.amend(t.Context()))
	}
	i.expect(t, 4, 1, 1, 2, 2, 3, 3, 4)
	close(answered)
	err := <-done
	if err == nil {
		t.Fatal("no error")
	}
	k.show(err, b.client, b.session)
	k.search(t)
}

// A client that joins a session later knows the token that is there already.
func TestSecretsOfALaterClient(t *testing.T) {
	i := &issuer{answer: func(w http.ResponseWriter, _ *http.Request, token string) {
		io.WriteString(w, coded("NO", "with "+token))
	}}
	s := settings(serve(t, i))
	session, err := NewSession(s)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		client, _, err := New(s, session, guard(t, upstream.Settings{}))
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Amend(t.Context(), cid, smallAmend)
		like(t, outcome{Kind: "refused", Code: events.CodeRefused, Said: "NO", Message: "CRM.COM answered NO: with ***"}, err)
	}
	i.expect(t, 1, 1, 1)
}

// A panic shows what it holds to whoever recovers it.
func TestSecretsInAPanic(t *testing.T) {
	var lit atomic.Bool
	k := &keeper{secret: []string{apiKey, strings.TrimRight(basicOf, "="), issued(1)}}
	i := &issuer{answer: func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	}}
	limits := upstream.Settings{Logger: slog.New(explosive{slog.NewTextHandler(io.Discard, nil), &lit})}
	b := clients(t, settings(serve(t, i)), NetflixSettings{}, limits)
	lit.Store(true)
	defer func() {
		panicked := recover()
		if panicked == nil {
			t.Error("no panic: the case tests nothing")
		}
		k.show(panicked, string(debug.Stack()))
		k.search(t)
	}()
	_, _ = b.netflix.Promotions(t.Context())
}

// A secret that is set in a file, or too short or doubled, is not shown by the error that refuses it.
func TestSecretsInSettings(t *testing.T) {
	k := &keeper{secret: []string{apiKey + ":" + secret, apiKey}}
	for _, change := range []func(*Settings){
		func(s *Settings) { s.Username = "user" },
		func(s *Settings) { s.WebAPIKey = upstream.NewSecret(apiKey + ":" + secret) },
		func(s *Settings) { s.Password = upstream.NewSecret(apiKey) },
		func(s *Settings) { s.WebAPIKeyFile = "/nowhere" },
		func(s *Settings) { s.TokenMargin = -1 },
		func(s *Settings) { s.Path = "crmapi" },
	} {
		s := settings(base)
		change(&s)
		_, err := NewSession(s)
		if err == nil {
			t.Error("no error")
		}
		k.show(err, s)
	}
	k.search(t)
}
