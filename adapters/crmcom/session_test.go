package crmcom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

// issuer plays a CRM.COM that gives another token at every login. login and answer may stand in for what it does itself;
// both know how many tokens there have been, the one asked for included.
type issuer struct {
	login  func(w http.ResponseWriter, r *http.Request, n int)
	answer func(w http.ResponseWriter, r *http.Request, token string)

	mu     sync.Mutex
	logins int
	calls  []string // the tokens of all but logins
}

func issued(n int) string { return fmt.Sprintf("eyJ0eXAi.%d+/one=", n) }

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct{ Token string }
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			panic(err)
		}
	} else {
		body.Token = r.URL.Query().Get("token")
	}
	i.mu.Lock()
	login := strings.Contains(r.URL.Path, "/authentication/")
	if login {
		i.logins++
	} else {
		i.calls = append(i.calls, body.Token)
	}
	n := i.logins
	i.mu.Unlock()
	switch {
	case login && i.login != nil:
		i.login(w, r, n)
	case login:
		give(w, n)
	case i.answer != nil:
		i.answer(w, r, body.Token)
	default:
		ok(w, "{}")
	}
}

func give(w io.Writer, n int) { ok(w, `{"token":`+quoted(issued(n))+`}`) }

// only answers OK to the calls with that token, and with refusal to all others.
func only(token func() string, refusal handle) func(http.ResponseWriter, *http.Request, string) {
	return func(w http.ResponseWriter, r *http.Request, got string) {
		if got != token() {
			refusal(w, r, nil)
			return
		}
		ok(w, "{}")
	}
}

// seen is how many logins there were, and the tokens of the calls.
func (i *issuer) seen() (logins int, calls []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.logins, slices.Clone(i.calls)
}

func (i *issuer) expect(t *testing.T, logins int, tokens ...int) {
	t.Helper()
	var want []string
	for _, n := range tokens {
		want = append(want, issued(n))
	}
	got, calls := i.seen()
	if got != logins {
		t.Errorf("%d logins, want %d", got, logins)
	}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Error("tokens of the calls:", diff)
	}
}

// pauseFor is for d, or until the client goes.
func pauseFor(r *http.Request, d time.Duration) {
	select {
	case <-r.Context().Done():
	case <-time.After(d):
	}
}

// memory accepts connections in memory, so that waits are those of the virtual clock.
type memory struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error   { m.once.Do(func() { close(m.closed) }); return nil }
func (m *memory) Addr() net.Addr { return &net.TCPAddr{} }

func (m *memory) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case m.conns <- server:
		return client, nil
	case <-m.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// inMemory is the clients of a CRM.COM within a bubble of synctest.
func inMemory(t *testing.T, h http.Handler, limits upstream.Settings) both {
	t.Helper()
	m := &memory{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	served := make(chan struct{})
	go func() { defer close(served); server.Serve(m) }()
	t.Cleanup(func() { server.Close(); <-served })
	limits.DialContext, limits.AllowPlainHTTP = m.dial, true
	return clients(t, settings("http://crm.example"), NetflixSettings{}, limits)
}

var (
	smallAmend = &events.AmendData{
		ActionData:       events.ActionData{SubscriptionIdentifier: &events.SubscriptionIdentifier{Number: "S1"}},
		ServicesToAddSet: []events.ServiceToAdd{{ServiceIdentifier: events.ServiceIdentifier{Code: "SPORTS"}}},
	}
	tooLate   = outcome{Kind: "unavailable", Code: events.CodeLate, Upstream: true}
	leftEarly = outcome{Kind: "internal", Code: events.CodeShutdown}
	badToken  = outcome{Kind: "unavailable", Code: events.CodeUnauthorized, Upstream: true}
)

func (b both) amend(ctx context.Context) error {
	_, err := b.client.Amend(ctx, cid, smallAmend)
	return err
}

// wayOf is one of the ways to use the session: a write and a read of either client.
type wayOf struct {
	name string
	use  func(context.Context, both) error
}

var waysOfUse = []wayOf{
	{"amend", func(ctx context.Context, b both) error { return b.amend(ctx) }},
	{"suspend", func(ctx context.Context, b both) error { return b.netflix.SetNetflix(ctx, events.NetflixSuspend, "c") }},
	{"promotions", func(ctx context.Context, b both) error { _, err := b.netflix.Promotions(ctx); return err }},
	{"scheduled", func(ctx context.Context, b both) error {
		_, err := b.client.Scheduled(ctx, cid, events.SubscriptionIdentifier{ID: "s"})
		return err
	}},
}

func TestLogins(t *testing.T) {
	user := Settings{Release: "R14.3.0", Username: "ann", Password: upstream.NewSecret(secret), Organisation: "org"}
	withUnit := func(s Settings) Settings { s.Unit = "U1"; return s }
	for name, c := range map[string]struct {
		settings        Settings
		path, key, body string
	}{
		"key":           {settings(""), pathWebAPIKey, apiKey, `{}`},
		"key and unit":  {withUnit(settings("")), pathWebAPIKey, apiKey, `{"unit":"U1"}`},
		"user":          {user, pathLogin, "", `{"username":"ann","password":` + quoted(secret) + `,"organisation":"org"}`},
		"user and unit": {withUnit(user), pathLogin, "", `{"username":"ann","password":` + quoted(secret) + `,"organisation":"org","unit":"U1"}`},
	} {
		t.Run(name, func(t *testing.T) {
			logins := 0
			c.settings.BaseURL = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.Contains(r.URL.Path, "authentication") {
					ok(w, "{}")
					return
				}
				logins++
				body, _ := io.ReadAll(r.Body)
				key, password, basic := r.BasicAuth()
				got := []any{r.Method, r.URL.RequestURI(), key, password, basic, string(body)}
				if diff := cmp.Diff([]any{"POST", "/crmapi/rest/v2/" + c.path, c.key, "", c.key != "", c.body}, got); diff != "" {
					t.Error(diff)
				}
				give(w, 1)
			}))
			like(t, outcome{}, clients(t, c.settings, NetflixSettings{}, upstream.Settings{}).amend(t.Context()))
			if logins != 1 {
				t.Errorf("%d logins", logins)
			}
		})
	}
}

// The lifetime counts from before the login was sent: CRM.COM may have issued the token at any time since.
func TestTokenIsRenewedByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slow = 10 * time.Second
		i := &issuer{login: func(w http.ResponseWriter, _ *http.Request, n int) { time.Sleep(slow); give(w, n) }}
		b := inMemory(t, i, upstream.Settings{})
		like(t, outcome{}, b.amend(t.Context()))
		i.expect(t, 1, 1)
		time.Sleep(2*time.Hour - 5*time.Minute - slow - time.Nanosecond)
		_, err := b.netflix.Promotions(t.Context())
		like(t, outcome{}, err)
		i.expect(t, 1, 1, 1)
		time.Sleep(time.Nanosecond)
		like(t, outcome{}, b.amend(t.Context()))
		i.expect(t, 2, 1, 1, 2)
	})
}

// While the login alone is away, the token from before serves until its end; who would renew it does not hold up the
// others, and tries again now and then.
func TestFailedRenewalKeepsTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := false
		i := &issuer{login: func(w http.ResponseWriter, _ *http.Request, n int) {
			if away {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			give(w, n)
		}}
		b := inMemory(t, i, upstream.Settings{})
		like(t, outcome{}, b.amend(t.Context()))
		away = true
		time.Sleep(2*time.Hour - 5*time.Minute)
		like(t, outcome{}, b.amend(t.Context())) // tries, and goes on with the first
		like(t, outcome{}, b.amend(t.Context())) // does not try
		i.expect(t, 2, 1, 1, 1)
		time.Sleep(renewAgain)
		like(t, outcome{}, b.amend(t.Context()))
		i.expect(t, 3, 1, 1, 1, 1)
		time.Sleep(5*time.Minute - renewAgain)
		if err := b.amend(t.Context()); events.KindOf(err) != events.Unavailable {
			t.Errorf("with a token that has ended: %v", err)
		}
		away = false
		like(t, outcome{}, b.amend(t.Context()))
		i.expect(t, 5, 1, 1, 1, 1, 5)
	})
}

// A token that is refused is not kept, whatever the clock says.
func TestRefusedTokenIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logins := 0
		refusing := false
		b := inMemory(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.Contains(r.URL.Path, "authentication/"):
				if logins++; logins > 1 {
					w.WriteHeader(http.StatusBadGateway)
					return
				}
				give(w, logins)
			case refusing:
				replying(200, coded("INVALID_TOKEN", "no"))(w, r, nil)
			default:
				ok(w, `{}`)
			}
		}), upstream.Settings{})
		like(t, outcome{}, b.amend(t.Context()))
		refusing = true
		for range 2 {
			if err := b.amend(t.Context()); events.KindOf(err) != events.Unavailable {
				t.Errorf("%v", err)
			}
		}
		if logins != 3 {
			t.Errorf("%d logins", logins)
		}
	})
}

// Whatever says that a token is not valid gets another one, and the call is made again.
func TestInvalidTokenIsRenewedOnce(t *testing.T) {
	configured := settings("")
	configured.Codes.InvalidToken, configured.Codes.HTTPInvalidToken = []string{"E17", "E18"}, []int{401, 403}
	for name, c := range map[string]struct {
		settings Settings
		refusal  handle
		said     string
	}{
		"INVALID_TOKEN":          {settings(""), replying(200, coded("INVALID_TOKEN", "no")), "INVALID_TOKEN"},
		"TOKEN_EXPIRED":          {settings(""), replying(200, coded("TOKEN_EXPIRED", "no")), "TOKEN_EXPIRED"},
		"401":                    {settings(""), replying(401, ""), "401"},
		"401 with another code":  {settings(""), replying(401, coded("WHATEVER", "")), "401"},
		"401 with OK":            {settings(""), replying(401, coded("OK", "")), "401"},
		"a code with a 500":      {settings(""), replying(500, coded("INVALID_TOKEN", "")), "INVALID_TOKEN"},
		"a code without data":    {settings(""), replying(200, `{"status":{"code":"INVALID_TOKEN"}}`), "INVALID_TOKEN"},
		"first code configured":  {configured, replying(200, coded("E17", "")), "E17"},
		"second code configured": {configured, replying(200, coded("E18", "")), "E18"},
		"403 configured":         {configured, replying(403, "<html>"), "403"},
	} {
		for _, way := range waysOfUse {
			t.Run(name+" "+way.name, func(t *testing.T) {
				var valid atomic.Int32
				valid.Store(1)
				i := &issuer{answer: only(func() string { return issued(int(valid.Load())) }, c.refusal)}
				c.settings.BaseURL = serve(t, i)
				b := clients(t, c.settings, NetflixSettings{}, upstream.Settings{})
				like(t, outcome{}, way.use(t.Context(), b))
				i.expect(t, 1, 1)

				valid.Store(2) // and so the first one is not any more
				like(t, outcome{}, way.use(t.Context(), b))
				i.expect(t, 2, 1, 1, 2)

				valid.Store(0) // none is
				want := badToken
				want.Said = c.said
				like(t, want, way.use(t.Context(), b))
				i.expect(t, 3, 1, 1, 2, 2, 3)
			})
		}
	}
}

// A token that was got for this very call, and is refused, is not renewed again.
func TestFreshTokenThatIsRefused(t *testing.T) {
	i := &issuer{answer: only(func() string { return "" }, replying(200, coded("INVALID_TOKEN", "")))}
	b := clients(t, settings(serve(t, i)), NetflixSettings{}, upstream.Settings{})
	want := badToken
	want.Said = "INVALID_TOKEN"
	like(t, want, b.amend(t.Context()))
	i.expect(t, 1, 1)
}

func TestOtherRefusalsKeepTheToken(t *testing.T) {
	for _, answer := range []handle{
		replying(200, coded("NO", "")), replying(403, ""), replying(429, ""), replying(500, coded("NO", "")), replying(200, "<html>"), raw("", true),
		replying(400, coded("invalid_token", "")),
	} {
		i := &issuer{answer: only(func() string { return "" }, answer)}
		b := clients(t, settings(serve(t, i)), NetflixSettings{}, upstream.Settings{})
		for range 2 {
			if b.amend(t.Context()) == nil {
				t.Error("no error")
			}
		}
		i.expect(t, 1, 1, 1)
	}
}

// crowd starts n calls at the same time, in turn by either client, and returns what gathers their errors.
func crowd(ctx context.Context, b both, n int) (gather func() []error) {
	errs := make([]error, n)
	var done sync.WaitGroup
	for c := range n {
		done.Go(func() { errs[c] = waysOfUse[c%2].use(ctx, b) })
	}
	return func() []error { done.Wait(); return errs }
}

func allAre(t *testing.T, want outcome, errs []error) {
	t.Helper()
	for _, err := range errs {
		like(t, want, err)
	}
}

func TestOneRenewalAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		i := &issuer{login: func(w http.ResponseWriter, _ *http.Request, n int) { <-let; give(w, n) }}
		b := inMemory(t, i, upstream.Settings{})
		first := crowd(t.Context(), b, 100)
		synctest.Wait()
		i.expect(t, 1)
		close(let)
		allAre(t, outcome{}, first())
		logins, calls := i.seen()
		if logins != 1 || len(calls) != 100 {
			t.Errorf("%d logins, %d calls", logins, len(calls))
		}
	})
}

// Many calls are under way when the token ends. However their refusals come in, one login follows, also where some of
// them come when there is another token already.
func TestStormOfInvalidTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		early, later := make(chan struct{}), make(chan struct{})
		var n atomic.Int32
		i := &issuer{}
		i.answer = func(w http.ResponseWriter, _ *http.Request, token string) {
			if token != issued(1) {
				ok(w, "{}")
				return
			}
			if n.Add(1)%2 == 0 {
				<-early
			} else {
				<-later
			}
			io.WriteString(w, coded("INVALID_TOKEN", ""))
		}
		b := inMemory(t, i, upstream.Settings{})
		_, _, err := b.session.get(t.Context(), b.client.wire, "")
		like(t, outcome{}, err)
		gather := crowd(t.Context(), b, 100)
		synctest.Wait()
		close(early)
		synctest.Wait()
		if logins, calls := i.seen(); logins != 2 || len(calls) != 150 {
			t.Errorf("%d logins, %d calls", logins, len(calls))
		}
		close(later)
		allAre(t, outcome{}, gather())
		if logins, calls := i.seen(); logins != 2 || len(calls) != 200 {
			t.Errorf("%d logins, %d calls", logins, len(calls))
		}
	})
}

func TestCallersLeaveAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		i := &issuer{login: func(w http.ResponseWriter, _ *http.Request, n int) { <-let; give(w, n) }}
		b := inMemory(t, i, upstream.Settings{})
		others := crowd(t.Context(), b, 10)
		synctest.Wait()
		leaving, leave := context.WithCancel(t.Context())
		gone := crowd(leaving, b, 10)
		hurried, end := context.WithTimeout(t.Context(), time.Second)
		defer end()
		outOfTime := crowd(hurried, b, 10)
		synctest.Wait()
		leave()
		allAre(t, leftEarly, gone())
		allAre(t, tooLate, outOfTime())
		i.expect(t, 1)
		close(let)
		allAre(t, outcome{}, others())
		if logins, calls := i.seen(); logins != 1 || len(calls) != 10 {
			t.Errorf("%d logins, %d calls", logins, len(calls))
		}
	})
}

// Where the one that gets the token for all leaves, another one does; how it leaves is its own affair.
func TestTheMakerOfARenewalLeaves(t *testing.T) {
	for name, c := range map[string]struct {
		leave func(context.Context) (context.Context, context.CancelFunc)
		want  outcome
	}{
		"cancelled": {context.WithCancel, leftEarly},
		"out of time": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 5*time.Second)
		}, tooLate},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				let := make(chan struct{})
				i := &issuer{login: func(w http.ResponseWriter, r *http.Request, n int) {
					if n == 1 {
						<-r.Context().Done()
						return
					}
					<-let
					give(w, n)
				}}
				b := inMemory(t, i, upstream.Settings{})
				ctx, leave := c.leave(t.Context())
				defer leave()
				maker := crowd(ctx, b, 1)
				synctest.Wait()
				others := crowd(t.Context(), b, 20)
				synctest.Wait()
				i.expect(t, 1)
				if c.want == leftEarly {
					leave()
				}
				allAre(t, c.want, maker())
				synctest.Wait()
				i.expect(t, 2)
				close(let)
				allAre(t, outcome{}, others())
				if logins, calls := i.seen(); logins != 2 || len(calls) != 20 || calls[0] != issued(2) {
					t.Errorf("%d logins, calls %q", logins, calls)
				}
			})
		})
	}
}

// explosive panics at the first line that is logged.
type explosive struct {
	slog.Handler
	lit *atomic.Bool
}

func (e explosive) Handle(context.Context, slog.Record) error {
	if e.lit.CompareAndSwap(true, false) {
		panic("no room on the disk")
	}
	return nil
}

// Whatever happens to the one that gets the token, nobody waits for it in vain.
func TestTheMakerOfARenewalPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lit atomic.Bool
		let := make(chan struct{})
		i := &issuer{login: func(w http.ResponseWriter, _ *http.Request, n int) {
			if n > 1 {
				give(w, n)
				return
			}
			<-let
			w.Header().Set("Retry-After", "1") // which is logged
			w.WriteHeader(http.StatusTooManyRequests)
		}}
		b := inMemory(t, i, upstream.Settings{Logger: slog.New(explosive{slog.NewTextHandler(io.Discard, nil), &lit})})
		lit.Store(true)
		panicked := make(chan any)
		go func() {
			defer func() { panicked <- recover() }()
			b.amend(t.Context())
		}()
		synctest.Wait()
		others := crowd(t.Context(), b, 10)
		synctest.Wait()
		close(let)
		if got := <-panicked; got == nil {
			t.Error("no panic: the case tests nothing")
		}
		allAre(t, outcome{}, others())
	})
}

// A login that fails, however it does, has submitted nothing: Unavailable, of the installation as a whole, and counted
// by the breaker. The next call tries again.
func TestFailingLogins(t *testing.T) {
	down := func(code, said string) outcome {
		return outcome{Kind: "unavailable", Code: code, Upstream: true, Said: said}
	}
	token := func(value string) handle { return data(`{"token":` + value + `}`) }
	withRetryAfter := func(status int) handle {
		return func(w http.ResponseWriter, _ *http.Request, _ map[string]any) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
		}
	}
	for name, c := range map[string]struct {
		login handle
		want  outcome
	}{
		"refused":              {replying(200, coded("BAD_KEY", "no such key")), down(events.CodeUnauthorized, "BAD_KEY")},
		"refused with a 400":   {replying(400, coded("BAD_KEY", "no such key")), down(events.CodeUnauthorized, "BAD_KEY")},
		"duplicate":            {replying(200, coded("DUPLICATE_REFERENCE", "")), down(events.CodeUnauthorized, "DUPLICATE_REFERENCE")},
		"not found":            {replying(200, coded("NOT_FOUND", "")), down(events.CodeUnauthorized, "NOT_FOUND")},
		"invalid token":        {replying(200, coded("INVALID_TOKEN", "")), down(events.CodeUnauthorized, "INVALID_TOKEN")},
		"401":                  {replying(401, ""), down(events.CodeUnauthorized, "401")},
		"403":                  {replying(403, coded("X", "")), down(events.CodeUnauthorized, "403")},
		"429":                  {withRetryAfter(429), down(events.CodeThrottled, "429")},
		"404":                  {replying(404, "<html>"), down(events.CodeUnreadable, "404")},
		"302":                  {replying(302, ""), down(events.CodeRedirect, "302")},
		"500":                  {replying(500, coded("X", "")), down(events.CodeUpstreamError, "500")},
		"503":                  {withRetryAfter(503), down(events.CodeUpstreamError, "503")},
		"HTML":                 {replying(200, "<html>"), down(events.CodeUnreadable, "200")},
		"empty":                {replying(200, ""), down(events.CodeUnreadable, "200")},
		"half":                 {replying(200, `{"data":{"token":"eyJ0`), down(events.CodeUnreadable, "200")},
		"no data":              {data("null"), down(events.CodeUnreadable, "200")},
		"no token":             {data("{}"), down(events.CodeUnreadable, "200")},
		"an array":             {data(`[{"token":"eyJ0eXAi"}]`), down(events.CodeUnreadable, "200")},
		"token null":           {token("null"), down(events.CodeUnreadable, "200")},
		"token empty":          {token(`""`), down(events.CodeUnreadable, "200")},
		"token of three":       {token(`"abc"`), down(events.CodeUnreadable, "200")},
		"token an object":      {token(`{"value":"eyJ0eXAi"}`), down(events.CodeUnreadable, "200")},
		"token too long":       {token(quoted(strings.Repeat("x", maxToken+1))), down(events.CodeUnreadable, "200")},
		"two tokens":           {data(`{"token":"eyJ0eXAi","token":"eyJ0eXAj"}`), down(events.CodeUnreadable, "200")},
		"a token, and a 500":   {replying(500, `{"data":{"token":"eyJ0eXAi"},"status":{"code":"OK"}}`), down(events.CodeUpstreamError, "500")},
		"a token, and a 400":   {replying(400, `{"data":{"token":"eyJ0eXAi"},"status":{"code":"OK"}}`), down(events.CodeUnreadable, "400")},
		"a token, and refused": {replying(200, `{"data":{"token":"eyJ0eXAi"},"status":{"code":"NO"}}`), down(events.CodeUnauthorized, "NO")},
		"closed":               {raw("", false), down(events.CodeBroken, "")},
		"reset":                {raw("", true), down(events.CodeBroken, "")},
		"half a reply":         {raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", false), down(events.CodeBroken, "200")},
		"hang":                 {hang, down(events.CodeTimeout, "")},
	} {
		for _, way := range waysOfUse {
			t.Run(name+" "+way.name, func(t *testing.T) {
				var mended atomic.Bool
				i := &issuer{login: func(w http.ResponseWriter, r *http.Request, n int) {
					if !mended.Load() {
						c.login(w, r, nil)
						return
					}
					give(w, n)
				}}
				timeout := 30 * time.Second
				if name == "hang" {
					timeout = 300 * time.Millisecond
				}
				b := clients(t, settings(serve(t, i)), NetflixSettings{}, upstream.Settings{CallTimeout: timeout, ConsecutiveFailures: 1})
				g := b.client.guard
				if way.name == "suspend" || way.name == "promotions" {
					g = b.netflix.guard
				}
				p, err := g.Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				err = way.use(t.Context(), b)
				p.Done(err)
				like(t, c.want, err)
				if e := events.AsError(err); !strings.Contains(e.Message, "no token could be had: ") {
					t.Error(e.Message)
				} else if name == "429" || name == "503" {
					if e.RetryAfter != 7*time.Second {
						t.Errorf("RetryAfter %s", e.RetryAfter)
					}
				}
				if g.State() != "open" {
					t.Error("the breaker has not counted it")
				}
				i.expect(t, 1)
				mended.Store(true)
				like(t, outcome{}, way.use(t.Context(), b))
				i.expect(t, 2, 2)
			})
		}
	}
}

func TestLoginMessages(t *testing.T) {
	for want, login := range map[string]handle{
		"no token could be had: CRM.COM refused our credentials with 401":                        replying(401, ""),
		"no token could be had: CRM.COM answered BAD_KEY: no such key":                           replying(200, coded("BAD_KEY", "no such key")),
		"no token could be had: CRM.COM answered 200, OK, but no token":                          data("{}"),
		"no token could be had: crmcom: after the request began to go out, the connection broke": raw("", true),
	} {
		i := &issuer{login: func(w http.ResponseWriter, r *http.Request, _ int) { login(w, r, nil) }}
		err := clients(t, settings(serve(t, i)), NetflixSettings{}, upstream.Settings{}).amend(t.Context())
		if got := events.AsError(err).Message; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestLoginWithoutAConnection(t *testing.T) {
	b := clients(t, settings("https://crm.example"), NetflixSettings{}, upstream.Settings{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no route") }})
	for _, way := range waysOfUse {
		like(t, outcome{Kind: "unavailable", Code: events.CodeUnreachable, Upstream: true}, way.use(t.Context(), b))
	}
}

// Everybody who waited for a login that failed hears of it at once: nobody tries again in the same breath.
func TestFailingLoginForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{login: func(w http.ResponseWriter, _ *http.Request, _ int) {
			time.Sleep(time.Second)
			w.WriteHeader(http.StatusInternalServerError)
		}}
		b := inMemory(t, i, upstream.Settings{})
		gather := crowd(t.Context(), b, 100)
		allAre(t, outcome{Kind: "unavailable", Code: events.CodeUpstreamError, Upstream: true, Said: "500"}, gather())
		i.expect(t, 1)
	})
}

// The dispatcher gives a call its time-out and a second more. What a slow login leaves of that must be enough to await
// the reply, or the call is not made; a doubt is worse than a pause.
func TestSlowLogins(t *testing.T) {
	const limit = 31 * time.Second
	unclear := outcome{Kind: "unknown", Code: events.CodeTimeout}
	for name, c := range map[string]struct {
		login, reply time.Duration
		want         outcome
		calls        int
	}{
		"quick":                     {login: time.Second, reply: 20 * time.Second, want: outcome{}, calls: 1},
		"slow, and the reply quick": {login: 16 * time.Second, reply: 14 * time.Second, want: outcome{}, calls: 1},
		"slow, and the reply too":   {login: 16 * time.Second, reply: 16 * time.Second, want: unclear, calls: 1},
		"too slow":                  {login: 16*time.Second + time.Millisecond, want: tooLate},
		"nearly as long as it may":  {login: 30*time.Second - time.Millisecond, want: tooLate},
		"longer than a call":        {login: time.Minute, want: outcome{Kind: "unavailable", Code: events.CodeTimeout, Upstream: true}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := &issuer{
					login: func(w http.ResponseWriter, r *http.Request, n int) { pauseFor(r, c.login); give(w, n) },
				}
				i.answer = func(w http.ResponseWriter, r *http.Request, _ string) {
					if _, calls := i.seen(); len(calls) == 1 {
						pauseFor(r, c.reply)
					}
					ok(w, "{}")
				}
				b := inMemory(t, i, upstream.Settings{})
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				began := time.Now()
				like(t, c.want, b.amend(ctx))
				if took := time.Since(began); took > limit {
					t.Errorf("it took %s", took)
				}
				if _, calls := i.seen(); len(calls) != c.calls {
					t.Errorf("%d calls, want %d", len(calls), c.calls)
				}
				if c.login > 30*time.Second {
					return
				}
				next, cancel := context.WithTimeout(t.Context(), 20*time.Second) // the token is kept: it has all the time
				defer cancel()
				like(t, outcome{}, b.amend(next))
				if logins, _ := i.seen(); logins != 1 {
					t.Errorf("%d logins", logins)
				}
			})
		})
	}
}

// The same holds for a second login, after a refusal of the token that itself was long in coming.
func TestSlowRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{answer: func(w http.ResponseWriter, _ *http.Request, token string) {
			if token == issued(1) {
				time.Sleep(17 * time.Second)
				io.WriteString(w, coded("INVALID_TOKEN", ""))
				return
			}
			ok(w, "{}")
		}}
		b := inMemory(t, i, upstream.Settings{})
		_, _, err := b.session.get(t.Context(), b.client.wire, "")
		like(t, outcome{}, err)
		ctx, cancel := context.WithTimeout(t.Context(), 31*time.Second)
		defer cancel()
		like(t, tooLate, b.amend(ctx))
		i.expect(t, 2, 1)
	})
}

// A caller that takes over from one that left may have too little time for the login. That speaks of the installation,
// not of its command: it uses up no attempt.
func TestTakingOverTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{login: func(_ http.ResponseWriter, r *http.Request, _ int) { <-r.Context().Done() }}
		b := inMemory(t, i, upstream.Settings{})
		query, end := context.WithTimeout(t.Context(), 5*time.Second)
		defer end()
		maker := crowd(query, b, 1)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 31*time.Second)
		defer cancel()
		allAre(t, tooLate, crowd(ctx, b, 2)())
		allAre(t, tooLate, maker())
		i.expect(t, 2)
	})
}

func TestEndedBeforeAToken(t *testing.T) {
	i := &issuer{}
	b := clients(t, settings(serve(t, i)), NetflixSettings{}, upstream.Settings{})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	like(t, leftEarly, b.amend(ended))
	past, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	like(t, outcome{Kind: "internal", Code: events.CodeLate}, b.amend(past))
	if _, err := b.netflix.Promotions(ended); !errors.Is(err, context.Canceled) {
		t.Error("the chain has lost the cancellation, which the breaker must see")
	}
	i.expect(t, 0)
}

// Many callers, tokens that end at any time, and clients that come and go, for the race detector: every call either has
// its effect, or says that it had none.
func TestTokensUnderLoad(t *testing.T) {
	var uses sync.Map
	i := &issuer{}
	i.answer = func(w http.ResponseWriter, _ *http.Request, token string) {
		count, _ := uses.LoadOrStore(token, new(atomic.Int32))
		if count.(*atomic.Int32).Add(1) > 20 {
			io.WriteString(w, coded("TOKEN_EXPIRED", ""))
			return
		}
		ok(w, "{}")
	}
	s := settings(serve(t, i))
	b := clients(t, s, NetflixSettings{}, upstream.Settings{})
	var done sync.WaitGroup
	var effects atomic.Int32
	for c := range 40 {
		done.Go(func() {
			for n := range 10 {
				switch err := waysOfUse[(c+n)%2].use(t.Context(), b); {
				case err == nil:
					effects.Add(1)
				case events.KindOf(err) != events.Unavailable || !errors.Is(err, errToken):
					t.Error(err)
				}
			}
			if _, _, err := New(s, b.session, guard(t, upstream.Settings{})); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	logins, calls := i.seen()
	if refused := len(calls) - int(effects.Load()); effects.Load() == 0 || logins < 2 || refused < 1 {
		t.Errorf("%d effects, %d logins, %d refused: nothing was tested", effects.Load(), logins, refused)
	}
}
