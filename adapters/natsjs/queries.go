package natsjs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"subrelay/events"
)

// QueryService is the name under which workers answer queries, for `nats micro` and $SRV discovery. It is also the queue
// group: one worker answers.
const QueryService = "subrelay-query"

// HeaderTimeout is the header of a query that says how long whoever asks will wait, as a Go duration such as "5s".
const HeaderTimeout = "Subrelay-Timeout"

// DefaultQueryTimeout is how long a query may take that names no time.
const DefaultQueryTimeout = 10 * time.Second

// drainFor is how long after its subscriptions have ended requests may still come out of the client's buffers: package
// micro does not tell when they are empty.
const drainFor = 100 * time.Millisecond

// Question is one query that a worker answers.
type Question struct {
	Name     events.QueryName
	Metadata map[string]string // shown to whoever discovers the service
	// Room bounds how many are answered and wait at the same time; queries may share one.
	Room *QueryRoom
	// MaxTimeout is the longest that an asker's time-out counts for.
	MaxTimeout time.Duration
	// Answer answers a request with what JSON can hold. until is when the asker will have left: Answer need not begin
	// after that, and its result then goes nowhere. ctx ends when the worker must. Errors are *events.Error, fit to be
	// shown; what is not is logged instead.
	Answer func(ctx context.Context, request []byte, until time.Time) (any, error)
}

// QueryRoom bounds queries. Answers under way hold a place until they have ended, though the asker may have left.
type QueryRoom struct {
	places   chan struct{} // those who are answered
	admitted chan struct{} // those who wait, too
}

// NewQueryRoom has room for so many queries that are answered at the same time, and so many that wait.
func NewQueryRoom(answered, waiting int) *QueryRoom {
	return &QueryRoom{places: make(chan struct{}, answered), admitted: make(chan struct{}, answered+waiting)}
}

// QuerySettings is what Queries needs. Fields without a default must be set.
type QuerySettings struct {
	Names    Names
	Conn     *nats.Conn
	Version  string            // as Semantic Versioning has it, with or without "v"; default 0.0.0
	Metadata map[string]string // of the whole service
	Queries  []Question
	Grace    time.Duration // how long what was asked may take on shutdown; default 30s
	// Killed, when it ends, ends everything at once. Default: never.
	Killed context.Context
	Logger *slog.Logger
	// Answered is told of each query. err is nil or an *events.Error. Default: nothing.
	Answered func(name events.QueryName, took time.Duration, err error)
}

// Queries answers queries over request-reply, as a service of nats.go's package micro: discoverable, with statistics.
//
// Answers come from goroutines of their own, for otherwise one slow customer would hold up all others of that query.
// Package micro therefore sees only the taking of a request: its num_requests is right, but its num_errors and times are
// of what was refused at once. What became of all is in the data of each endpoint's statistics (QueryStats).
//
// What NATS users need: whoever asks, to publish to <prefix>.query.> and to subscribe to _INBOX.>; for discovery, to
// publish to $SRV.>; a worker, to subscribe to <prefix>.query.> and $SRV.>, and to publish to _INBOX.>. An answer goes
// where the request says, with the rights of the worker. So no request is answered whose reply subject lies under our
// prefix or begins with "$", such as the JetStream API: a query must not become a command. Package micro has no such
// guard for $SRV; leave that to operators.
type Queries struct {
	QuerySettings
	service micro.Service
	work    context.Context // ends when the worker must
	stop    context.CancelFunc

	mu      sync.Mutex
	tallies map[string]*tally // by subject
	running int
	idle    chan struct{} // closed while nothing runs and the service has stopped
	ending  bool
}

// NewQueries begins to answer. The caller must call Run.
func NewQueries(s QuerySettings) (*Queries, error) {
	if s.Logger == nil {
		s.Logger = slog.Default()
	}
	if s.Grace == 0 {
		s.Grace = 30 * time.Second
	}
	q := &Queries{QuerySettings: s, tallies: make(map[string]*tally), idle: make(chan struct{})}
	q.work, q.stop = context.WithCancel(context.Background())
	for _, query := range s.Queries {
		q.tallies[s.Names.Query(query.Name)] = &tally{}
	}
	service, err := micro.AddService(s.Conn, micro.Config{
		Name: QueryService, Version: semantic(s.Version), Metadata: maps.Clone(s.Metadata), QueueGroup: QueryService,
		Description:  "subrelay's answers about the present state of its upstreams. Requests and replies are JSON, as the metadata of each endpoint says",
		StatsHandler: func(e *micro.Endpoint) any { return q.tallies[e.Subject].stats() },
	})
	if err != nil {
		q.stop()
		return nil, fmt.Errorf("queries: %w", err)
	}
	q.service = service
	for _, query := range s.Queries {
		take := micro.HandlerFunc(func(r micro.Request) { q.take(&query, r) })
		err := service.AddEndpoint(string(query.Name), take,
			micro.WithEndpointSubject(s.Names.Query(query.Name)), micro.WithEndpointMetadata(query.Metadata))
		if err != nil {
			q.stop()
			return nil, errors.Join(fmt.Errorf("query %s: %w", query.Name, err), service.Stop())
		}
	}
	return q, nil
}

// Run answers until ctx ends, and then takes nothing new and answers what it has, within the grace period. It returns
// nil after such an end.
func (q *Queries) Run(ctx context.Context) error {
	defer q.stop()
	if q.Killed != nil {
		defer context.AfterFunc(q.Killed, q.stop)()
	}
	select {
	case <-ctx.Done():
	case <-q.work.Done():
	}
	if err := q.service.Stop(); err != nil {
		q.Logger.Debug("the query service did not stop in order", "error", err)
	}
	grace := time.AfterFunc(q.Grace, q.stop)
	defer grace.Stop()
	q.drain()
	select {
	case <-q.end():
	case <-q.work.Done():
		<-q.end() // what is answered ends with its context
	}
	q.flush() // or the last answers would be lost with the connection
	return nil
}

// drain waits until what the server has sent us was taken.
func (q *Queries) drain() {
	q.flush()
	pause(q.work, drainFor)
}

func (q *Queries) flush() {
	ctx, cancel := context.WithTimeout(q.work, time.Second)
	defer cancel()
	_ = q.Conn.FlushWithContext(ctx) // where there is no connection, nobody waits for an answer
}

// end is closed when nothing runs any more. What comes after end was called is refused.
func (q *Queries) end() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ending = true
	q.endOnce()
	return q.idle
}

// endOnce closes idle where it is time to. It needs the lock.
func (q *Queries) endOnce() {
	if q.ending && q.running == 0 {
		select {
		case <-q.idle:
		default:
			close(q.idle)
		}
	}
}

func (q *Queries) begin() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ending {
		return false
	}
	q.running++
	return true
}

func (q *Queries) done() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running--
	q.endOnce()
}

// take takes a request, in the goroutine of its subscription: it must not wait.
func (q *Queries) take(query *Question, r micro.Request) {
	a := &asked{Queries: q, query: query, request: r, began: time.Now()}
	if subject := r.Reply(); subject == "" || strings.HasPrefix(subject, "$") || q.Names.Owns(subject) {
		_ = a.note(badQuery("a query needs a reply subject of the asker's own")) // counted; there is nobody to tell
		q.Logger.Warn("a query was not answered, because of its reply subject", "query", query.Name, "reply", headerText(subject, maxDeadToken))
		return
	}
	var err error
	if a.until, a.capped, err = q.until(query, r.Headers().Get(HeaderTimeout)); err != nil {
		a.refuse(err)
		return
	}
	select {
	case query.Room.admitted <- struct{}{}:
	default:
		a.refuse(&events.Error{Kind: events.Unavailable, Code: events.CodeBusy,
			Message: "too many queries wait already; ask again later", RetryAfter: time.Second})
		return
	}
	if !q.begin() {
		<-query.Room.admitted
		a.refuse(&events.Error{Kind: events.Unavailable, Code: events.CodeShutdown, Message: "the worker is stopping; ask again"})
		return
	}
	go func() {
		defer q.done()
		defer func() { <-query.Room.admitted }()
		a.answer()
	}()
}

// until reads when the asker will have left, or is taken to have left; capped says the latter.
func (q *Queries) until(query *Question, header string) (until time.Time, capped bool, err error) {
	timeout := DefaultQueryTimeout
	if header != "" {
		d, err := time.ParseDuration(header)
		if err != nil || d <= 0 {
			return time.Time{}, false, badQuery("the header " + HeaderTimeout + ` must be a duration such as "5s"`)
		}
		timeout = d
	}
	return time.Now().Add(min(timeout, query.MaxTimeout)), timeout > query.MaxTimeout, nil
}

func badQuery(message string) *events.Error {
	return &events.Error{Kind: events.Refused, Code: events.CodeBadRequest, Message: message}
}
