package upstream

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"subrelay/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "tok#en+with=chars/and%more"

// speak listens and gives each connection to f, which ends before the test does.
func speak(t testing.TB, f func(c net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// answer reads one request, and then says text.
func answer(text string) func(net.Conn) {
	return func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			io.WriteString(c, text)
		}
	}
}

// silence reads the request, says text, and then nothing until the client goes.
func silence(text string) func(net.Conn) {
	return func(c net.Conn) {
		answer(text)(c)
		io.Copy(io.Discard, c)
	}
}

func reset(c net.Conn) { c.(*net.TCPConn).SetLinger(0) }

func post(t testing.TB, address string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// failure is what a test compares of an *events.Error.
type failure struct {
	Kind     events.ErrorKind
	Code     string
	Upstream bool
	Status   string
}

func failureOf(err error) failure {
	var e *events.Error
	if !errors.As(err, &e) {
		return failure{Code: fmt.Sprint(err)}
	}
	return failure{e.Kind, e.Code, e.Upstream, e.UpstreamCode}
}

// keepsSecret checks everything that can be printed of err.
func keepsSecret(t *testing.T, err error) {
	t.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		shown := fmt.Sprintf("%v %+v %#v %q", e, e, e, e.Error())
		for _, form := range formsOf(token) {
			if strings.Contains(shown, form) {
				t.Errorf("%q is shown in %s", form, shown)
			}
		}
	}
}

var (
	unreachable = failure{events.Unavailable, events.CodeUnreachable, true, ""}
	timeout     = failure{events.Unknown, events.CodeTimeout, false, ""}
	broken      = failure{events.Unknown, events.CodeBroken, false, ""}
)

func (f failure) with(status string) failure { f.Status = status; return f }

func TestFaultsOfTheConnection(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	defer untrusted.Close()
	mute := speak(t, func(c net.Conn) { io.Copy(io.Discard, c) })

	for name, c := range map[string]struct {
		url  string
		dial Dial
		say  string
	}{
		"refused": {url: "http://" + closed.Addr().String(), say: "the connection was refused"},
		"no such host": {dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host " + token, Name: "tvms.example", IsNotFound: true}}
		}, say: "its host name could not be resolved"},
		"connect hangs": {dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, say: "no connection in time"},
		"certificate not trusted":     {url: untrusted.URL, say: "the TLS handshake failed"},
		"TLS handshake hangs":         {url: "https://" + mute, say: "the TLS handshake failed"},
		"TLS to a server without TLS": {url: "https://" + speak(t, answer("HTTP/1.1 400 Bad\r\n\r\n")), say: "the TLS handshake failed"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuard(t, Settings{DialContext: c.dial, ConnectTimeout: 50 * time.Millisecond, TLSTimeout: 50 * time.Millisecond,
				Secrets: []Secret{NewSecret(token)}})
			if c.url == "" {
				c.url = "http://tvms.example"
			}
			_, err := g.Do(t.Context(), post(t, c.url+"/x?authToken="+url.QueryEscape(token)))
			if diff := cmp.Diff(unreachable, failureOf(err)); diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
			if !strings.Contains(err.Error(), c.say) {
				t.Errorf("%q does not say %q", err, c.say)
			}
			keepsSecret(t, err)
		})
	}
}

func TestFaultsOfTheReply(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	z.Write(bytes.Repeat([]byte(" "), 4<<20))
	z.Close()
	ok := "HTTP/1.1 200 OK\r\n"
	for name, c := range map[string]struct {
		serve func(net.Conn)
		want  failure
	}{
		"silence":                  {silence(""), timeout},
		"silence in the headers":   {silence(ok + "Content-Le"), timeout},
		"silence after headers":    {silence(ok + "Content-Length: 10\r\n\r\n"), timeout.with("200")},
		"a body that drips":        {drip, timeout.with("200")},
		"closed without a word":    {answer(""), broken},
		"reset without a word":     {func(c net.Conn) { answer("")(c); reset(c) }, broken},
		"reset before reading":     {func(c net.Conn) { bufio.NewReader(c).ReadByte(); reset(c) }, broken},
		"half a header":            {answer(ok + "Content-Le"), broken},
		"half a body":              {answer(ok + "Content-Length: 10\r\n\r\n{\"a\""), broken.with("200")},
		"half a chunk":             {answer(ok + "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"a"), broken.with("200")},
		"no HTTP":                  {answer("220 " + token + " ESMTP\r\n"), broken},
		"a strange status line":    {answer("HTTP/1.1 banana " + token + "\r\n\r\n"), broken},
		"a broken gzip":            {answer(ok + "Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"), broken.with("200")},
		"a huge header":            {answer(ok + "X-A: " + strings.Repeat("a", 1<<20) + "\r\n\r\n"), broken},
		"a reply too long":         {answer(ok + "\r\n" + strings.Repeat("x", 70000)), failure{events.Unknown, events.CodeResponseTooLarge, false, "200"}},
		"a reply said too long":    {answer(ok + "Content-Length: 70000\r\n\r\n"), failure{events.Unknown, events.CodeResponseTooLarge, false, "200"}},
		"a gzip bomb":              {answer(fmt.Sprintf("%sContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", ok, bomb.Len(), bomb.String())), failure{events.Unknown, events.CodeResponseTooLarge, false, "200"}},
		"half a 503":               {answer("HTTP/1.1 503 X\r\nContent-Length: 10\r\n\r\nabc"), broken.with("503")},
		"informational, then gone": {answer("HTTP/1.1 103 Early Hints\r\n\r\n"), broken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit := 30 * time.Second
			if c.want.Code == events.CodeTimeout {
				limit = 100 * time.Millisecond
			}
			g := newGuard(t, Settings{CallTimeout: limit, MaxResponse: 64 << 10, Secrets: []Secret{NewSecret(token)}})
			_, err := g.Do(t.Context(), post(t, "http://"+speak(t, c.serve)+"/x?authToken=abc"))
			if diff := cmp.Diff(c.want, failureOf(err)); diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
			keepsSecret(t, err)
		})
	}
}

func drip(c net.Conn) {
	answer("HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")(c)
	gone := make(chan struct{})
	go func() { io.Copy(io.Discard, c); close(gone) }()
	for {
		select {
		case <-gone:
			return
		case <-time.After(5 * time.Millisecond):
			io.WriteString(c, "x")
		}
	}
}

func TestHeaderTimeout(t *testing.T) {
	g := newGuard(t, Settings{HeaderTimeout: 30 * time.Millisecond})
	_, err := g.Do(t.Context(), post(t, "http://"+speak(t, silence(""))))
	if diff := cmp.Diff(timeout, failureOf(err)); diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

// What is clear by its status needs no whole body.
func TestClearStatusWithBrokenBody(t *testing.T) {
	for _, status := range []int{401, 403, 429} {
		g := newGuard(t, Settings{})
		reply, err := g.Do(t.Context(), post(t, "http://"+speak(t, answer(fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: 10\r\n\r\nab", status)))))
		if err != nil || reply.Status != status {
			t.Errorf("%d: %d, %v", status, reply.Status, err)
		}
	}
}

// faulty is a connection that writes only a part, or nothing, once it is armed.
type faulty struct {
	net.Conn
	armed *atomic.Bool
	part  int
}

func (f *faulty) Write(b []byte) (int, error) {
	if !f.armed.Load() {
		return f.Conn.Write(b)
	}
	n, _ := f.Conn.Write(b[:min(f.part, len(b))])
	return n, errors.New("broken pipe")
}

// Whether a byte of the request left decides, in plain and in TLS.
func TestWhatWasWrittenDecides(t *testing.T) {
	handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	plain, secure := httptest.NewServer(handler), httptest.NewUnstartedServer(handler)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer plain.Close()
	defer secure.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, server := range []*httptest.Server{plain, secure} {
		for part, want := range map[int]failure{0: unreachable, 1: broken} {
			t.Run(fmt.Sprintf("%s, %d bytes", server.URL[:5], part), func(t *testing.T) {
				var armed atomic.Bool
				g := newGuard(t, Settings{TLSCAFile: ca, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
					c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
					return &faulty{c, &armed, part}, err
				}})
				if reply, err := g.Do(t.Context(), post(t, server.URL)); err != nil || reply.Status != 200 {
					t.Fatal(reply.Status, err)
				}
				armed.Store(true)
				_, err := g.Do(t.Context(), post(t, server.URL))
				if diff := cmp.Diff(want, failureOf(err)); diff != "" {
					t.Errorf("%v\n%s", err, diff)
				}
			})
		}
	}
}

func TestMeter(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	m := &meter{Conn: a}
	wrote := make(chan error)
	go func() { _, err := m.Write([]byte("hello")); wrote <- err }()
	io.ReadFull(b, make([]byte, 2))
	if m.count.Load() != 5 {
		t.Errorf("while a write is under way: %d, want 5", m.count.Load())
	}
	a.Close()
	if err := <-wrote; err == nil || m.count.Load() != 2 {
		t.Errorf("after it broke: %d, %v, want 2", m.count.Load(), err)
	}
	if _, err := m.Write([]byte("more")); err == nil || m.count.Load() != 2 {
		t.Errorf("a write that wrote nothing counts: %d, %v", m.count.Load(), err)
	}
	t.Run("over TLS that may have sent something", func(t *testing.T) {
		m := &meter{below: &meter{}}
		m.Conn = writerConn(func(b []byte) (int, error) { m.below.count.Add(1); return 0, io.ErrClosedPipe })
		m.Write([]byte("abc"))
		if m.count.Load() == 0 {
			t.Error("a byte left below, and nothing was counted")
		}
		m = &meter{below: &meter{}}
		m.Conn = writerConn(func([]byte) (int, error) { return 0, io.ErrClosedPipe })
		m.Write([]byte("abc"))
		if m.count.Load() != 0 {
			t.Error("nothing left below, and something was counted")
		}
	})
}

// What an earlier connection carried is not forgotten when the transport takes another.
func TestFlightOverTwoConnections(t *testing.T) {
	first, second := &meter{}, &meter{}
	first.count.Store(100)
	var f flight
	f.gotConn(httptrace.GotConnInfo{Conn: first})
	if f.mayHaveWritten() {
		t.Error("what other requests wrote before counts")
	}
	first.count.Add(1)
	f.gotConn(httptrace.GotConnInfo{Conn: second})
	if !f.mayHaveWritten() {
		t.Error("what the first connection carried is forgotten")
	}
}

type writeOnly struct {
	net.Conn
	f func([]byte) (int, error)
}

func (w writeOnly) Write(b []byte) (int, error)              { return w.f(b) }
func writerConn(f func([]byte) (int, error)) (conn net.Conn) { return writeOnly{f: f} }

func TestTheCallersContext(t *testing.T) {
	t.Run("over before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := newGuard(t, Settings{}).Do(ctx, post(t, "http://tvms.example"))
		if diff := cmp.Diff(failure{Code: events.CodeShutdown}, failureOf(err)); diff != "" || !errors.Is(err, context.Canceled) {
			t.Error(err, diff)
		}
	})
	t.Run("late before", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), -1)
		defer cancel()
		_, err := newGuard(t, Settings{}).Do(ctx, post(t, "http://tvms.example"))
		if diff := cmp.Diff(failure{Code: events.CodeLate}, failureOf(err)); diff != "" || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err, diff)
		}
	})
	t.Run("cancelled while connecting", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		g := newGuard(t, Settings{DialContext: func(dial context.Context, _, _ string) (net.Conn, error) {
			cancel()
			<-dial.Done()
			return nil, dial.Err()
		}, ConnectTimeout: 50 * time.Millisecond})
		_, err := g.Do(ctx, post(t, "http://tvms.example"))
		if diff := cmp.Diff(failure{Code: events.CodeShutdown}, failureOf(err)); diff != "" || verdictOn(err) != silent {
			t.Error(err, diff)
		}
	})
	for name, text := range map[string]string{"": "", "200": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"} {
		t.Run("cancelled after writing "+name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			g := newGuard(t, Settings{})
			_, err := g.Do(ctx, post(t, "http://"+speak(t, func(c net.Conn) {
				answer(text)(c)
				time.AfterFunc(20*time.Millisecond, cancel)
				io.Copy(io.Discard, c)
			})))
			if diff := cmp.Diff(broken.with(name), failureOf(err)); diff != "" || verdictOn(err) != silent {
				t.Error(err, diff)
			}
		})
	}
}

func TestRequestThatCannotBeSent(t *testing.T) {
	r := post(t, "ftp://tvms.example/?authToken="+url.QueryEscape(token))
	_, err := newGuard(t, Settings{Secrets: []Secret{NewSecret(token)}}).Do(t.Context(), r)
	if diff := cmp.Diff(failure{Code: events.CodeRequestNotPossible}, failureOf(err)); diff != "" {
		t.Error(err, diff)
	}
	keepsSecret(t, err)
}

func TestRedirectsAreNotFollowedAndCookiesNotKept(t *testing.T) {
	var calls atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if len(r.Cookies()) > 0 {
			t.Error("a cookie came back")
		}
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	g := newGuard(t, Settings{})
	for i := range int32(3) {
		reply, err := g.Do(t.Context(), post(t, server.URL+"/loop"))
		if err != nil || reply.Status != 307 || calls.Load() != i+1 {
			t.Fatalf("%d, %v, %d calls", reply.Status, err, calls.Load())
		}
		if got := failureOf(g.Classify(reply)); got != (failure{events.Unknown, events.CodeRedirect, false, "307"}) {
			t.Errorf("%+v", got)
		}
	}
}

func TestHeaders(t *testing.T) {
	var got http.Header
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	defer server.Close()
	parent := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	send := func(g *Guard, trace events.Trace) http.Header {
		t.Helper()
		r := post(t, server.URL)
		r.Header.Set("Idempotency-Key", "1")
		r.Header.Set("X-Idempotency-Key", "1")
		if _, err := g.Do(events.WithTrace(t.Context(), trace), r); err != nil {
			t.Fatal(err)
		}
		return got
	}
	header, none := "X-Ref", ""
	full := events.Trace{Ref: "abc.1", Parent: parent, State: "a=b"}
	base := http.Header{"Accept-Encoding": {"gzip"}, "Content-Length": {"0"}, "User-Agent": {"subrelay"}}
	with := func(pairs ...string) http.Header {
		h := base.Clone()
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	for name, c := range map[string]struct {
		header *string
		trace  events.Trace
		want   http.Header
	}{
		"all":            {nil, full, with("X-Request-ID", "abc.1", "Traceparent", parent, "Tracestate", "a=b")},
		"another header": {&header, full, with("X-Ref", "abc.1", "Traceparent", parent, "Tracestate", "a=b")},
		"switched off":   {&none, full, with("Traceparent", parent, "Tracestate", "a=b")},
		"no trace":       {nil, events.Trace{}, base},
		"a hostile one":  {nil, events.Trace{Ref: "a\r\nX: y", Parent: parent + "\n", State: "x"}, base},
		"a hostile state": {nil, events.Trace{Ref: "abc.1", Parent: parent, State: "a=b\r\nX: y"},
			with("X-Request-ID", "abc.1", "Traceparent", parent)},
	} {
		if diff := cmp.Diff(c.want, send(newGuard(t, Settings{RequestIDHeader: c.header}), c.trace)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	var opened atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, strings.Repeat("x", 10000))
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	g := newGuard(t, Settings{Concurrency: 8})
	for range 20 {
		results := make(chan error, 8)
		for range 8 {
			go func() {
				reply, err := g.Do(t.Context(), post(t, server.URL))
				if err == nil && len(reply.Body) != 10000 {
					err = fmt.Errorf("%d bytes", len(reply.Body))
				}
				results <- err
			}()
		}
		for range 8 {
			if err := <-results; err != nil {
				t.Fatal(err)
			}
		}
	}
	// A few more than 8 are usual: a connection is idle a moment after its reply was read.
	if n := opened.Load(); n > 80 {
		t.Errorf("%d connections for 160 calls, 8 at a time", n)
	}
}

func TestTLSWithClientCertificate(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) != 1 || r.ProtoMajor != 1 {
			t.Errorf("%d client certificates over %s", len(r.TLS.PeerCertificates), r.Proto)
		}
	}))
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	defer server.Close()
	cert, key := writePair(t, server)
	g := newGuard(t, Settings{TLSCAFile: cert, TLSCertFile: cert, TLSKeyFile: key})
	if reply, err := g.Do(t.Context(), post(t, server.URL)); err != nil || reply.Status != 200 {
		t.Fatal(reply.Status, err)
	}
	insecure := newGuard(t, Settings{TLSCertFile: cert, TLSKeyFile: key, TLSInsecureSkipVerify: true})
	if reply, err := insecure.Do(t.Context(), post(t, server.URL)); err != nil || reply.Status != 200 {
		t.Fatal(reply.Status, err)
	}
}
