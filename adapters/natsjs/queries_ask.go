package natsjs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"subrelay/events"
)

// MetadataWorker is the key of the service's metadata that holds the worker's name.
const MetadataWorker = "worker"

const (
	answerSlack   = time.Second            // for the way of an answer that says that time is over
	firstWorkerIn = 2 * time.Second        // the first worker answers within
	nextWorkerIn  = 300 * time.Millisecond // each further one within
)

// Ask asks a query and returns the answer, a JSON object. Errors are *events.Error: what the worker has answered, of
// kind Refused for the codes 400 and 404 of QueryStatus; no_worker where nobody serves the query; not_permitted; and
// deadline_exceeded where no answer came in time.
func Ask(ctx context.Context, conn *nats.Conn, names Names, name events.QueryName, request []byte, timeout time.Duration) ([]byte, error) {
	msg := nats.NewMsg(names.Query(name))
	msg.Data = request
	msg.Header.Set(HeaderTimeout, timeout.String())
	ctx, cancel := context.WithTimeout(ctx, timeout+answerSlack)
	defer cancel()
	reply, err := conn.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return nil, unanswered(conn, msg.Subject, timeout, err)
	}
	if code := reply.Header.Get(micro.ErrorCodeHeader); code != "" {
		return nil, answeredError(code, reply)
	}
	return reply.Data, nil
}

// unanswered is the error of a query without an answer.
func unanswered(conn *nats.Conn, subject string, timeout time.Duration, err error) error {
	e := &events.Error{Kind: events.Unavailable, Code: events.CodeDeadline, Op: "query", Cause: err,
		Message: "no answer within " + timeout.String()}
	last := conn.LastError()
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		e.Code, e.Message = events.CodeNoWorker, "no worker answers on "+subject
	case errors.Is(last, nats.ErrPermissionViolation) && strings.Contains(last.Error(), `"`+subject+`"`):
		e.Kind, e.Code, e.Message = events.Refused, events.CodeNotPermitted, "this NATS user may not publish to "+subject
	case errors.Is(err, context.Canceled):
		e.Code, e.Message = events.CodeInterrupted, "interrupted"
	case !conn.IsConnected():
		e.Code, e.Message = events.CodeStorage, "there is no connection to NATS"
	}
	return e
}

// answeredError is the error that a worker has answered.
func answeredError(code string, reply *nats.Msg) error {
	e := &events.Error{Kind: events.Unavailable, Code: events.CodeInternal, Message: reply.Header.Get(micro.ErrorHeader), Op: "query"}
	if status, err := strconv.Atoi(code); err == nil && status >= 400 && status < 500 && status != 429 {
		e.Kind = events.Refused
	}
	var f events.QueryFailure
	if json.Unmarshal(reply.Data, &f) == nil && f.Code != "" {
		e.Code, e.Message, e.UpstreamCode = f.Code, cmp.Or(f.Message, e.Message), f.UpstreamCode
		e.RetryAfter = time.Duration(f.RetryAfter) * time.Second
	}
	return e
}

// QueryWorker is a worker that answers queries.
type QueryWorker struct {
	Worker  string                          `json:"worker"`
	Version string                          `json:"version"`
	Started time.Time                       `json:"started"`
	Queries map[events.QueryName]QueryStats `json:"queries"`
}

// QueryWorkers finds the workers that answer queries under our prefix now, by name.
func QueryWorkers(ctx context.Context, conn *nats.Conn, names Names) ([]QueryWorker, error) {
	subject, err := micro.ControlSubject(micro.StatsVerb, QueryService, "")
	if err != nil {
		return nil, err
	}
	inbox := conn.NewInbox()
	sub, err := conn.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("looking for workers: %w", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection may be gone
	if err := conn.PublishRequest(subject, inbox, nil); err != nil {
		return nil, fmt.Errorf("looking for workers: %w", err)
	}
	var workers []QueryWorker
	for within := firstWorkerIn; ; within = nextWorkerIn {
		msg, err := nextWithin(ctx, sub, within)
		if err != nil || msg == nil {
			return workers, err
		}
		if w, ok := queryWorker(names, msg.Data); ok {
			workers = append(workers, w)
			slices.SortFunc(workers, func(a, b QueryWorker) int { return cmp.Compare(a.Worker, b.Worker) })
		}
	}
}

// nextWithin is the next message, nil where there is none within d, or nobody is there.
func nextWithin(ctx context.Context, sub *nats.Subscription, d time.Duration) (*nats.Msg, error) {
	limited, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	msg, err := sub.NextMsgWithContext(limited)
	switch {
	case err == nil:
		return msg, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrNoResponders):
		return nil, nil
	}
	return nil, fmt.Errorf("looking for workers: %w", err)
}

// queryWorker reads a worker's statistics. A service of another prefix is not ours.
func queryWorker(names Names, raw []byte) (QueryWorker, bool) {
	var s micro.Stats
	if json.Unmarshal(raw, &s) != nil {
		return QueryWorker{}, false
	}
	w := QueryWorker{Worker: cmp.Or(s.Metadata[MetadataWorker], s.ID), Version: s.Version, Started: s.Started, Queries: make(map[events.QueryName]QueryStats)}
	for _, e := range s.Endpoints {
		var stats QueryStats
		if name := events.QueryName(e.Name); e.Subject == names.Query(name) && json.Unmarshal(e.Data, &stats) == nil {
			w.Queries[name] = stats
		}
	}
	return w, len(w.Queries) > 0
}
