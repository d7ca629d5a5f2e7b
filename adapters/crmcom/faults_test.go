package crmcom

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

// loggedIn gives the session a token without a login.
func (b both) loggedIn() {
	b.session.token, b.session.due = upstream.NewSecret(issued(1)), time.Now().Add(time.Hour)
}

// brokenConn is a connection that was closed by the other side before anything was written.
type brokenConn struct{ net.Conn }

func (b brokenConn) Write([]byte) (int, error) {
	return 0, &net.OpError{Op: "write", Err: net.ErrClosed}
}

// Every fault of the wire, at every kind of call: a change may have been made as soon as a byte of it was written; a
// read is asked again; a login has submitted nothing, whatever became of it.
func TestFaults(t *testing.T) {
	const (
		write = iota
		read
		login
	)
	type want [3]outcome
	down := func(code, said string) outcome {
		return outcome{Kind: "unavailable", Code: code, Upstream: true, Said: said}
	}
	retryAfter := func(status int) handle {
		return func(w http.ResponseWriter, _ *http.Request, _ map[string]any) {
			w.Header().Set("Retry-After", "7")
			w.Header().Set("Location", "/crmapi/rest/v2/elsewhere")
			w.WriteHeader(status)
		}
	}
	// doubtful is what follows where the request may have been acted upon.
	doubtful := func(code, said string) want {
		return want{{Kind: "unknown", Code: code, Said: said}, {Kind: "unavailable", Code: events.CodeRead, Said: said}, down(code, said)}
	}
	same := func(o outcome) want { return want{o, o, o} }
	for name, c := range map[string]struct {
		answer  handle
		dial    upstream.Dial
		timeout time.Duration
		want    want
		after   time.Duration
	}{
		"refused": {dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("connection refused") },
			want: same(down(events.CodeUnreachable, ""))},
		"no host": {dial: func(_ context.Context, _, addr string) (net.Conn, error) {
			return nil, &net.DNSError{Err: "no such host", Name: addr, IsNotFound: true}
		}, want: same(down(events.CodeUnreachable, ""))},
		"reset before the request": {dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return brokenConn{conn}, err
		}, want: same(down(events.CodeUnreachable, ""))},
		"reset after the request":  {answer: raw("", true), want: doubtful(events.CodeBroken, "")},
		"closed after the request": {answer: raw("", false), want: doubtful(events.CodeBroken, "")},
		"hang":                     {answer: hang, timeout: 400 * time.Millisecond, want: doubtful(events.CodeTimeout, "")},
		"half a header":            {answer: raw("HTTP/1.1 200 OK\r\nContent-", false), want: doubtful(events.CodeBroken, "")},
		"half a body":              {answer: raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"data\":{}", true), want: doubtful(events.CodeBroken, "200")},
		"a body that hangs": {answer: func(w http.ResponseWriter, r *http.Request, _ map[string]any) {
			w.Header().Set("Content-Length", "99")
			w.WriteHeader(http.StatusOK)
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, timeout: 400 * time.Millisecond, want: doubtful(events.CodeTimeout, "200")},
		"an OK cut off": {answer: raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"+coded("OK", ""), false), want: doubtful(events.CodeBroken, "200")},
		"no HTTP":       {answer: raw("+PONG\r\n", false), want: doubtful(events.CodeBroken, "")},
		"301":           {answer: retryAfter(301), want: doubtful(events.CodeRedirect, "301")},
		"302":           {answer: retryAfter(302), want: doubtful(events.CodeRedirect, "302")},
		"307":           {answer: retryAfter(307), want: doubtful(events.CodeRedirect, "307")},
		"308":           {answer: retryAfter(308), want: doubtful(events.CodeRedirect, "308")},
		"429":           {answer: retryAfter(429), want: same(down(events.CodeThrottled, "429")), after: 7 * time.Second},
		"500":           {answer: retryAfter(500), want: doubtful(events.CodeUpstreamError, "500")},
		"502":           {answer: replying(502, "<html>Bad Gateway</html>"), want: doubtful(events.CodeUpstreamError, "502")},
		"503":           {answer: retryAfter(503), want: doubtful(events.CodeUpstreamError, "503"), after: 7 * time.Second},
		"504":           {answer: retryAfter(504), want: doubtful(events.CodeUpstreamError, "504")},
	} {
		for _, method := range everyMethod {
			for kind := range method.kinds() {
				t.Run(name+" "+method.name+" "+[]string{"itself", "itself", "login"}[kind], func(t *testing.T) {
					t.Parallel()
					i := &issuer{}
					answer := func(w http.ResponseWriter, r *http.Request) {
						if strings.HasSuffix(r.URL.Path, "elsewhere") {
							t.Error("a redirect was followed")
						}
						c.answer(w, r, nil)
					}
					if c.answer != nil && kind == login {
						i.login = func(w http.ResponseWriter, r *http.Request, _ int) { answer(w, r) }
					} else if c.answer != nil {
						i.answer = func(w http.ResponseWriter, r *http.Request, _ string) { answer(w, r) }
					}
					limits := upstream.Settings{CallTimeout: 30 * time.Second}
					if c.timeout > 0 {
						limits.CallTimeout = c.timeout
					}
					var broken atomic.Bool
					limits.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
						if c.dial != nil && broken.Load() {
							return c.dial(ctx, network, addr)
						}
						return new(net.Dialer).DialContext(ctx, network, addr)
					}
					b := clients(t, settings(serve(t, i)), NetflixSettings{}, limits)
					if kind != login {
						b.loggedIn()
					}
					broken.Store(true)
					err := method.call(t.Context(), b)
					like(t, c.want[kind], err)
					if e := events.AsError(err); e.RetryAfter != c.after {
						t.Errorf("RetryAfter %s, want %s", e.RetryAfter, c.after)
					}
					logins, calls := i.seen()
					want := 1
					if kind == login || c.dial != nil {
						want = 0
					}
					if len(calls) != want {
						t.Errorf("%d calls, want %d", len(calls), want)
					}
					if kind == login && c.dial == nil && logins != 1 {
						t.Errorf("%d logins", logins)
					}
				})
			}
		}
	}
}

// aMethod is one of the calls.
type aMethod struct {
	name string
	read bool
	call func(context.Context, both) error
}

// kinds yields the places where a call may fail: itself, as a change (0) or a read (1), and its login (2).
func (m aMethod) kinds() func(func(int) bool) {
	return func(yield func(int) bool) {
		first := 0
		if m.read {
			first = 1
		}
		_ = yield(first) && yield(2)
	}
}

var everyMethod = []aMethod{
	{"amend", false, func(ctx context.Context, b both) error { return b.amend(ctx) }},
	{"swap", false, func(ctx context.Context, b both) error {
		_, err := b.client.Swap(ctx, cid, &events.SwapData{ActionData: smallAmend.ActionData, ServicesToSwapSet: make([]events.ServiceSwap, 1)})
		return err
	}},
	{"create", false, func(ctx context.Context, b both) error {
		_, err := b.netflix.CreateNetflix(ctx, &events.NetflixCreateData{BillingSystemCustomerIdentifier: "c"})
		return err
	}},
	{"suspend", false, func(ctx context.Context, b both) error { return b.netflix.SetNetflix(ctx, events.NetflixSuspend, "c") }},
	{"acknowledge", false, func(ctx context.Context, b both) error {
		_, err := b.netflix.TakeCharges(ctx, events.NetflixAcknowledge, cid, []events.ChargeIdentifier{{Number: "1"}})
		return err
	}},
	{"subscription", true, func(ctx context.Context, b both) error {
		_, err := b.client.Subscription(ctx, events.SubscriptionIdentifier{ID: "s"})
		return err
	}},
	{"scheduled", true, func(ctx context.Context, b both) error {
		_, err := b.client.Scheduled(ctx, cid, events.SubscriptionIdentifier{ID: "s"})
		return err
	}},
	{"netflix subscriptions", true, func(ctx context.Context, b both) error {
		_, err := b.netflix.NetflixSubscriptions(ctx, "c")
		return err
	}},
	{"promotions", true, func(ctx context.Context, b both) error { _, err := b.netflix.Promotions(ctx); return err }},
	{"charges", true, func(ctx context.Context, b both) error { _, err := b.netflix.ListCharges(ctx); return err }},
	{"some charges", true, func(ctx context.Context, b both) error {
		_, err := b.netflix.FindCharges(ctx, []string{"1"})
		return err
	}},
}

// No request is made twice on the wire, whatever net/http thinks of reads: not even one on a connection that served
// another call before, the login, and breaks.
func TestEveryCallIsSentOnce(t *testing.T) {
	for _, method := range everyMethod {
		t.Run(method.name, func(t *testing.T) {
			i := &issuer{answer: func(w http.ResponseWriter, r *http.Request, _ string) { raw("", true)(w, r, nil) }}
			b := clients(t, settings(serve(t, i)), NetflixSettings{}, upstream.Settings{})
			if method.call(t.Context(), b) == nil {
				t.Error("no error")
			}
			if _, calls := i.seen(); len(calls) != 1 {
				t.Errorf("%d requests arrived", len(calls))
			}
		})
	}
}

// A call that ends because its caller does is a doubt as soon as it was sent, and the caller's own affair before.
func TestCancelledCalls(t *testing.T) {
	for _, method := range everyMethod {
		for _, deadline := range []bool{false, true} {
			t.Run(method.name+" "+strconv.FormatBool(deadline), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithCancel(t.Context())
				if deadline {
					ctx, cancel = context.WithTimeout(t.Context(), 400*time.Millisecond)
				}
				defer cancel()
				i := &issuer{answer: func(_ http.ResponseWriter, r *http.Request, _ string) {
					if !deadline {
						cancel()
					}
					<-r.Context().Done()
				}}
				b := clients(t, settings(serve(t, i)), NetflixSettings{}, upstream.Settings{})
				b.loggedIn()
				err := method.call(ctx, b)
				want := outcome{Kind: "unknown", Code: events.CodeBroken}
				if deadline {
					want.Code = events.CodeTimeout
				}
				if method.read {
					want = outcome{Kind: "unavailable", Code: events.CodeRead}
				}
				like(t, want, err)
				if !errors.Is(err, ctx.Err()) {
					t.Errorf("the chain has lost %v, by which the breaker tells whose fault it was", ctx.Err())
				}
			})
		}
	}
}
