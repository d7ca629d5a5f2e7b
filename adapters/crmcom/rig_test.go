package crmcom

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	base   = "https://crm.example"
	apiKey = "0123456789ABCDEF+/key"
	secret = `p@ss"word=1+$`
	jwt    = "eyJ0eXAi.token+/one=" // needs encoding in a query
	cid    = "abcdefghijklmnopqrstuvwx23"
)

// settings are those of an installation at base.
func settings(base string) Settings {
	return Settings{BaseURL: base, Release: "R14.3.0", WebAPIKey: upstream.NewSecret(apiKey), Swap: SwapSettings{Confirmed: true}}
}

// enforced are settings by which doubts can be settled.
func enforced(s Settings) Settings {
	s.Reference.Enforced = true
	return s
}

func guard(t testing.TB, s upstream.Settings) *upstream.Guard {
	t.Helper()
	if s.Name == "" {
		s.Name = events.CRMCOM
	}
	g, err := upstream.New(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// both are the two clients of one installation, each with a guard of its own.
type both struct {
	session *Session
	client  *Client
	netflix *Netflix
}

func clients(t testing.TB, s Settings, n NetflixSettings, limits upstream.Settings) both {
	t.Helper()
	session, err := NewSession(s)
	if err != nil {
		t.Fatal(err)
	}
	client, _, err := New(s, session, guard(t, limits))
	if err != nil {
		t.Fatal(err)
	}
	limits.Name = events.Netflix
	netflix, _, err := NewNetflix(s, n, session, guard(t, limits))
	if err != nil {
		t.Fatal(err)
	}
	return both{session, client, netflix}
}

// handle is how a test answers one request; args is its parameters, from body or query.
type handle func(w http.ResponseWriter, r *http.Request, args map[string]any)

// installation plays CRM.COM: it gives tokens, and leaves the rest to a test.
type installation struct {
	t      testing.TB
	answer handle

	mu     sync.Mutex
	logins int
	calls  []string // paths of all but logins
}

func (i *installation) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/crmapi/rest/v2/")
	if strings.HasPrefix(path, "authentication/") {
		i.mu.Lock()
		i.logins++
		i.mu.Unlock()
		ok(w, `{"token":`+quoted(jwt)+`}`)
		return
	}
	i.mu.Lock()
	i.calls = append(i.calls, path)
	i.mu.Unlock()
	args := make(map[string]any)
	for name, values := range r.URL.Query() {
		args[name] = values[0]
	}
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&args); err != nil {
			i.t.Error(err)
		}
	}
	if args["token"] != jwt {
		i.t.Errorf("%s: token %q", path, args["token"])
	}
	i.answer(w, r, args)
}

func quoted(text string) string {
	b, _ := json.Marshal(text)
	return string(b)
}

// ok answers OK with data.
func ok(w io.Writer, data string) {
	io.WriteString(w, `{"data":`+data+`,"status":{"code":"OK","description":"","message":""}}`)
}

// coded is the envelope of a failure.
func coded(code, message string) string {
	return `{"data":{},"status":{"code":` + quoted(code) + `,"description":"","message":` + quoted(message) + `}}`
}

func replying(status int, body string) handle {
	return func(w http.ResponseWriter, _ *http.Request, _ map[string]any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// data answers OK with these data.
func data(data string) handle {
	return func(w http.ResponseWriter, _ *http.Request, _ map[string]any) { ok(w, data) }
}

func hang(_ http.ResponseWriter, r *http.Request, _ map[string]any) { <-r.Context().Done() }

// raw says text after having read the request, and breaks the connection off.
func raw(text string, reset bool) handle {
	return func(w http.ResponseWriter, _ *http.Request, _ map[string]any) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		io.WriteString(c, text)
		if reset {
			c.(*net.TCPConn).SetLinger(0)
		}
		c.Close()
	}
}

// serve starts a server without a voice.
func serve(t testing.TB, h http.Handler) string {
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// against is the clients of a CRM.COM that answers so.
func against(t testing.TB, s Settings, answer handle) both {
	return within(t, 30*time.Second, s, answer)
}

func within(t testing.TB, timeout time.Duration, s Settings, answer handle) both {
	t.Helper()
	s.BaseURL = serve(t, &installation{t: t, answer: answer})
	return clients(t, s, NetflixSettings{}, upstream.Settings{CallTimeout: timeout})
}

// outcome is what a test compares of an error; the zero value is success.
type outcome struct {
	Kind     string
	Code     string
	Upstream bool
	Said     string // the upstream's code
	Message  string
}

// like compares an error; a message that is not wanted is not compared.
func like(t *testing.T, want outcome, err error) {
	t.Helper()
	var got outcome
	if err != nil {
		var e *events.Error
		if !errors.As(err, &e) {
			t.Fatalf("%v is no *events.Error", err)
		}
		got = outcome{e.Kind.String(), e.Code, e.Upstream, e.UpstreamCode, e.Message}
		if want.Message == "" {
			got.Message = ""
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

// decode reads a command's data as a worker does.
func decode[T any](t testing.TB, text string) *T {
	t.Helper()
	var v T
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return &v
}

func traced(ctx context.Context) context.Context {
	return events.WithTrace(ctx, events.Trace{Ref: cid + ".1", Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
}
