package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"regexp"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"subrelay/events"
)

// Reply is a whole reply of the upstream.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte // decompressed
}

// Do makes one call, at most once on the wire, and reads the whole reply. req becomes the guard's; a body that it has
// must not be read elsewhere. The trace that ctx carries goes along in headers (events.WithTrace).
//
// Any status is a reply, not an error; see Classify. Errors are *events.Error:
//
//   - Unavailable, with Upstream set: there was no connection, or it broke before any byte of the request was written
//   - Unknown: anything later, which includes the end of ctx, a reply cut off, and one longer than MaxResponse. With
//     statuses that are clear without their body (401, 403, 429) such a reply is taken as it is. And a reply that was
//     there before the request went out: it answers another
//   - Internal: the request cannot be sent, or ctx ended before any byte was written (the chain then holds its error)
func (g *Guard) Do(ctx context.Context, req *http.Request) (Reply, error) {
	if ctx.Err() != nil {
		return Reply{}, g.notSent(ctx)
	}
	g.pace.spend()
	call, cancel := context.WithTimeout(ctx, g.settings.CallTimeout)
	defer cancel()
	f := &flight{}
	req = req.WithContext(httptrace.WithClientTrace(call, &httptrace.ClientTrace{GotConn: f.gotConn, GotFirstResponseByte: f.firstByte}))
	g.prepare(req, events.TraceOf(ctx))
	resp, err := g.transport.RoundTrip(req)
	if err != nil {
		return Reply{}, g.lost(ctx, f, err)
	}
	reply := Reply{Status: resp.StatusCode, Header: resp.Header}
	if f.early.Load() {
		_ = resp.Body.Close() // and with it the connection
		return Reply{}, g.ofNobody(reply)
	}
	g.heed(reply)
	reply.Body, err = g.readBody(resp)
	if err != nil && !clearByStatus(reply.Status) {
		return reply, g.cutOff(ctx, reply, err)
	}
	return reply, nil
}

// prepare makes sure that the transport cannot repeat req, and adds our headers. net/http repeats what has no body,
// or one it can get again, if the method is GET, HEAD, OPTIONS or TRACE, or one of two headers claims it to be safe.
func (g *Guard) prepare(req *http.Request, t events.Trace) {
	if req.Header == nil {
		req.Header = make(http.Header)
	}
	req.GetBody = nil
	req.Header.Del("Idempotency-Key")
	req.Header.Del("X-Idempotency-Key")
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		if req.Body == nil || req.Body == http.NoBody {
			req.Body = nothing{}
		}
	}
	req.Header.Set("User-Agent", "subrelay")
	if name := *g.settings.RequestIDHeader; name != "" && plainHeader(t.Ref) {
		req.Header.Set(name, t.Ref)
	}
	if traceParent.MatchString(t.Parent) {
		req.Header.Set("Traceparent", t.Parent)
		if plainHeader(t.State) {
			req.Header.Set("Tracestate", t.State)
		}
	}
}

// nothing is an empty body that net/http does not know to be empty, and so never sends twice.
type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, io.EOF }
func (nothing) Close() error             { return nil }

var traceParent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// plainHeader reports whether value, which may come from a command, can be sent as a header.
func plainHeader(value string) bool {
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			return false
		}
	}
	return value != "" && len(value) <= 512
}

// flight watches what one request may have written, and when its reply began. Its methods run in the goroutine of Do,
// but for firstByte.
type flight struct {
	conn   *meter
	before int64
	wrote  bool        // on an earlier connection
	early  atomic.Bool // the reply is to no request of ours
}

func (f *flight) gotConn(info httptrace.GotConnInfo) {
	f.wrote = f.mayHaveWritten()
	conn, _ := info.Conn.(*meter)
	f.take(conn)
}

func (f *flight) take(conn *meter) {
	if f.conn = conn; conn != nil {
		f.before = conn.count.Load()
		conn.heard.Store(unheard)
	}
}

// firstByte is called when net/http begins to read a reply. One that was read before the call took the connection, or
// before a byte of its request was written, answers an earlier request, or none: net/http tells such a reply only if it
// comes while nobody calls.
func (f *flight) firstByte() {
	if f.conn != nil && f.conn.heard.Load() <= f.before {
		f.early.Store(true)
	}
}

// mayHaveWritten reports whether a byte of the request may have left.
func (f *flight) mayHaveWritten() bool {
	return f.wrote || f.conn != nil && f.conn.count.Load() != f.before
}

// notSent is the error of a call whose ctx ended before anything was written.
func (g *Guard) notSent(ctx context.Context) error {
	e := g.fail(events.Internal, events.CodeShutdown, "the call was cancelled before it was sent")
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.Code, e.Message = events.CodeLate, "the time for the call was over before it was sent"
	}
	e.Cause = ctx.Err()
	return e
}

// lost is the error of a request without a reply.
func (g *Guard) lost(ctx context.Context, f *flight, err error) error {
	if f.mayHaveWritten() {
		return g.unanswered(ctx, "after the request began to go out, ", err)
	}
	if ctx.Err() != nil {
		return g.notSent(ctx)
	}
	e := g.fail(events.Unavailable, events.CodeUnreachable, "")
	e.Upstream = true
	var u *unconnected
	switch {
	case errors.As(err, &u):
		e.Message = u.stage
	case f.conn != nil:
		e.Message = "the connection broke before any of the request was written"
	case timedOut(err):
		e.Message = "no connection within the call time-out"
	default: // no connection was even asked for
		e.Kind, e.Code, e.Upstream = events.Internal, events.CodeRequestNotPossible, false
		e.Message = "the request could not be built"
	}
	e.Message = string(g.settings.Name) + ": " + e.Message
	e.Cause = g.redactor.cause(err, nil)
	return e
}

// unanswered is the error of a call that may have had its effect.
func (g *Guard) unanswered(ctx context.Context, when string, err error) *events.Error {
	e := g.fail(events.Unknown, events.CodeBroken, when+"the connection broke")
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		e.Message = when + "the call was cancelled"
	case timedOut(err) || ctx.Err() != nil:
		e.Code, e.Message = events.CodeTimeout, when+"the time-out came before the reply was whole"
	}
	e.Message = string(g.settings.Name) + ": " + e.Message
	e.Cause = g.redactor.cause(err, ctx.Err())
	return e
}

// ofNobody is the error of a call to which the reply of no request of ours came. Nothing is known of it, and what it
// says is not to be believed, its Retry-After included.
func (g *Guard) ofNobody(r Reply) error {
	e := g.fail(events.Unknown, events.CodeUnreadable, string(g.settings.Name)+": a reply came before the request went out; it answers none of ours")
	e.UpstreamCode = strconv.Itoa(r.Status)
	return e
}

// cutOff is the error of a reply whose body could not be read.
func (g *Guard) cutOff(ctx context.Context, r Reply, err error) error {
	e := g.unanswered(ctx, "in the middle of the reply, ", err)
	if errors.Is(err, errTooLong) {
		e.Code = events.CodeResponseTooLarge
		e.Message = string(g.settings.Name) + ": the reply is longer than " + strconv.FormatInt(g.settings.MaxResponse, 10) + " bytes"
	}
	e.UpstreamCode = strconv.Itoa(r.Status)
	e.RetryAfter = g.retryAfter(r)
	return e
}

func (g *Guard) fail(kind events.ErrorKind, code, message string) *events.Error {
	return &events.Error{Kind: kind, Code: code, Message: message, Op: "call " + string(g.settings.Name)}
}

var errTooLong = errors.New("the reply is too long")

// readBody reads the body to its end, which lets the connection be used again, or gives it up. Behind a 101 there is no
// body but another protocol, which has no end, and whose reading ends with no time-out.
func (g *Guard) readBody(resp *http.Response) ([]byte, error) {
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil, nil
	}
	limit := g.settings.MaxResponse
	if resp.ContentLength > limit {
		return nil, errTooLong
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err == nil && int64(len(body)) > limit {
		return body[:limit], errTooLong
	}
	return body, err
}

func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// connectStage tells people why there was no connection.
func connectStage(err error) string {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return "its host name could not be resolved"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused"
	case timedOut(err):
		return "no connection in time"
	}
	return "there is no connection"
}

// heed begins the pause that a reply asks for.
func (g *Guard) heed(r Reply) {
	d := g.retryAfter(r)
	if d > 0 && g.gate.pause(d) {
		g.settings.Logger.Warn("the upstream asks us to wait", "upstream", g.settings.Name,
			"status", r.Status, "retry_after", d.Round(time.Millisecond))
	}
}
