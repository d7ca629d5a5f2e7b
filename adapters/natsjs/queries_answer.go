package natsjs

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"subrelay/events"
)

// asked is one request.
type asked struct {
	*Queries
	query   *Question
	request micro.Request
	began   time.Time
	until   time.Time
	capped  bool // until is as late as a worker allows, and the asker would have waited longer
}

// result is what became of a request.
type result struct {
	body []byte
	err  error
}

// answer answers once: what was read, or at the latest when the asker will have left. It returns when the reading has
// ended too.
func (a *asked) answer() {
	gone := time.NewTimer(time.Until(a.until))
	defer gone.Stop()
	select {
	case a.query.Room.places <- struct{}{}:
		defer func() { <-a.query.Room.places }()
	case <-gone.C:
		a.reply(result{err: a.tooLate("before it was its turn")})
		return
	case <-a.work.Done():
		a.reply(result{err: stoppedQuery()})
		return
	}
	found := make(chan result, 1)
	go func() { found <- a.read() }()
	select {
	case r := <-found:
		a.reply(r)
	case <-gone.C:
		a.reply(result{err: a.tooLate("while " + string(a.query.Name) + " was being read")})
		<-found // the place stays taken until the upstream has answered
	}
}

// read has the answer made, and written as JSON.
func (a *asked) read() (r result) {
	defer func() {
		if p := recover(); p != nil {
			a.Logger.Error("answering a query panicked", "query", a.query.Name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			r = result{err: events.AsError(nil)}
		}
	}()
	h := a.request.Headers()
	ctx := events.WithTrace(a.work, events.Trace{Parent: h.Get("traceparent"), State: h.Get("tracestate")})
	answer, err := a.query.Answer(ctx, a.request.Data(), a.until)
	if err != nil {
		var known *events.Error
		ours := !errors.As(err, &known) || known.Kind == events.Internal
		switch {
		case !ours && known.Code == events.CodeDeadline:
			err = a.tooLate("before it was its turn at the upstream")
		case ours && a.work.Err() != nil:
			err = stoppedQuery()
		case ours:
			a.Logger.Error("a query failed for a reason of our own", "query", a.query.Name, "error", err)
		}
		return result{err: err}
	}
	body, err := json.Marshal(answer)
	if err == nil && int64(len(body)) > a.Conn.MaxPayload() {
		err = &events.Error{Kind: events.Unavailable, Code: events.CodeResponseTooLarge, Message: "the answer is larger than NATS takes"}
	}
	return result{body: body, err: err}
}

func (a *asked) tooLate(when string) error {
	given := "the time given, "
	if a.capped {
		given = "the longest time a worker allows, "
	}
	return &events.Error{Kind: events.Unavailable, Code: events.CodeDeadline,
		Message: given + a.until.Sub(a.began).Round(time.Millisecond).String() + ", was over " + when}
}

func stoppedQuery() error {
	return &events.Error{Kind: events.Unavailable, Code: events.CodeShutdown, Message: "the worker is stopping; ask again"}
}

// refuse answers in the goroutine of the subscription, where package micro may see the error.
func (a *asked) refuse(err error) {
	e := a.note(err)
	_ = a.request.Error(strconv.Itoa(QueryStatus(e)), headerText(e.Message, maxDeadMessage), failureBody(e)) // the asker waits in vain
}

// reply answers in another goroutine. Package micro reads a request's error without a lock, so that it must not write it.
func (a *asked) reply(r result) {
	msg := &nats.Msg{Subject: a.request.Reply(), Data: r.body}
	if e := a.note(r.err); e != nil {
		msg.Header = nats.Header{
			micro.ErrorHeader:     []string{headerText(e.Message, maxDeadMessage)},
			micro.ErrorCodeHeader: []string{strconv.Itoa(QueryStatus(e))},
		}
		msg.Data = failureBody(e)
	}
	if err := a.Conn.PublishMsg(msg); err != nil {
		a.Logger.Debug("an answer could not be sent", "query", a.query.Name, "error", err)
	}
}

// note counts what became of a request.
func (a *asked) note(err error) *events.Error {
	var e *events.Error
	if err != nil {
		e = events.AsError(err)
	}
	took := time.Since(a.began)
	a.tallies[a.Names.Query(a.query.Name)].note(took, e)
	switch {
	case a.Answered == nil:
	case e == nil:
		a.Answered(a.query.Name, took, nil) // a nil *events.Error would be no nil error
	default:
		a.Answered(a.query.Name, took, e)
	}
	return e
}

func failureBody(e *events.Error) []byte {
	body, _ := json.Marshal(events.QueryFailure{ // strings and a number can always be written
		Code: e.Code, Message: e.Message, UpstreamCode: e.UpstreamCode, RetryAfter: int(math.Ceil(e.RetryAfter.Seconds())),
	})
	return body
}

// QueryStatus is the code of a query's error for the header Nats-Service-Error-Code: 400 for what was asked wrongly, 404
// for what the upstream does not know or refuses to show, 429 where too many ask, 503 where the upstream or the worker
// is away, 504 where time was over, else 500.
func QueryStatus(e *events.Error) int {
	switch e.Code {
	case events.CodeBadRequest:
		return http.StatusBadRequest
	case events.CodeBusy:
		return http.StatusTooManyRequests
	case events.CodeDeadline, events.CodeTimeout:
		return http.StatusGatewayTimeout
	case events.CodeShutdown:
		return http.StatusServiceUnavailable
	}
	switch e.Kind {
	case events.Refused:
		return http.StatusNotFound
	case events.Unavailable, events.Unknown:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// QueryStats is what became of the requests for one query in one worker, since it began.
type QueryStats struct {
	Answered int            `json:"answered"`
	Failed   map[string]int `json:"failed"` // by code
	// AverageSeconds is how long answers took, failures too, from the taking of the request.
	AverageSeconds float64 `json:"average_seconds"`
	// LastError is the last failure's code and, behind it, the upstream's own. The upstream's text is for the asker alone:
	// it may hold what is personal.
	LastError string `json:"last_error,omitempty"`
}

// tally counts.
type tally struct {
	mu     sync.Mutex
	failed map[string]int
	good   int
	bad    int
	took   time.Duration
	last   string
}

func (t *tally) note(took time.Duration, e *events.Error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.took += took
	if e == nil {
		t.good++
		return
	}
	if t.failed == nil {
		t.failed = make(map[string]int)
	}
	t.bad++
	t.failed[e.Code]++
	t.last = e.Code
	if e.UpstreamCode != "" {
		t.last += ": " + e.UpstreamCode
	}
}

func (t *tally) stats() QueryStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := QueryStats{Answered: t.good, Failed: make(map[string]int, len(t.failed)), LastError: t.last}
	for code, n := range t.failed {
		s.Failed[code] = n
	}
	if all := t.good + t.bad; all > 0 {
		s.AverageSeconds = (t.took / time.Duration(all)).Seconds()
	}
	return s
}

// semanticVersion is the expression that semver.org suggests, and package micro uses.
var semanticVersion = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)` +
	`(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?` +
	`(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$`)

// semantic is a version as package micro demands it; 0.0.0 for what is none.
func semantic(version string) string {
	if v := strings.TrimPrefix(version, "v"); semanticVersion.MatchString(v) {
		return v
	}
	return "0.0.0"
}
