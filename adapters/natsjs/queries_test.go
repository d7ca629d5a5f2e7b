package natsjs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"subrelay/adapters/natsjs/natstest"
	"subrelay/events"
)

const someQuery = events.TVMSCustomerQuery

type answerFunc func(ctx context.Context, request []byte, until time.Time) (any, error)

// ask runs a service that answers one query until the test ends, and stop ends it before.
func startQueries(t *testing.T, conn *nats.Conn, answer answerFunc, change ...func(*QuerySettings)) (q *Queries, stop func()) {
	t.Helper()
	s := QuerySettings{
		Conn: conn, Version: "v1.2.3", Metadata: map[string]string{MetadataWorker: "w1"}, Logger: slog.New(slog.DiscardHandler),
		Queries: []Question{{
			Name: someQuery, Metadata: map[string]string{"request": "{}"}, Room: NewQueryRoom(4, 4), MaxTimeout: 20 * time.Second, Answer: answer,
		}},
	}
	for _, c := range change {
		c(&s)
	}
	q, err := NewQueries(s)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	flushed(t, conn)
	return q, stop
}

func flushed(t *testing.T, conn *nats.Conn) {
	t.Helper()
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
}

func always(v any, err error) answerFunc {
	return func(context.Context, []byte, time.Time) (any, error) { return v, err }
}

// ask asks with a second's patience.
func ask(t *testing.T, conn *nats.Conn, request string) (string, *events.Error) {
	t.Helper()
	return askFor(t, conn, request, time.Second)
}

func askFor(t *testing.T, conn *nats.Conn, request string, timeout time.Duration) (string, *events.Error) {
	t.Helper()
	raw, err := Ask(context.Background(), conn, Names{}, someQuery, []byte(request), timeout)
	if err == nil {
		return string(raw), nil
	}
	var e *events.Error
	if !errors.As(err, &e) {
		t.Fatalf("%T: %v", err, err)
	}
	return "", e
}

func wantCode(t *testing.T, e *events.Error, code string) {
	t.Helper()
	if e == nil || e.Code != code {
		t.Errorf("got %v, want %s", e, code)
	}
}

func TestQueryAnswers(t *testing.T) {
	server := startServer(t)
	worker, _ := connect(t, server)
	asker, _ := connect(t, server)
	startQueries(t, worker, func(ctx context.Context, request []byte, until time.Time) (any, error) {
		trace := events.TraceOf(ctx)
		return map[string]any{"request": string(request), "parent": trace.Parent, "patience": time.Until(until).Round(time.Second).Seconds()}, nil
	})
	msg := nats.NewMsg("subrelay.query.tvms-customer")
	msg.Data = []byte(`{"customer":"C-1"}`)
	msg.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	for header, patience := range map[string]float64{"": 10, "3s": 3, "1h": 20} {
		msg.Header.Set(HeaderTimeout, header)
		reply, err := asker.RequestMsg(msg, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`{"parent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","patience":%v,"request":"{\"customer\":\"C-1\"}"}`, patience)
		if diff := cmp.Diff(want, string(reply.Data)); diff != "" || len(reply.Header) > 0 {
			t.Errorf("header %v, -want +got:\n%s", reply.Header, diff)
		}
	}
}

func TestQueryErrors(t *testing.T) {
	server := startServer(t)
	asker, _ := connect(t, server)
	kept := &events.Error{
		Kind: events.Unavailable, Code: events.CodeUnreachable, Message: "tvms: the connection\nwas refused", UpstreamCode: "503",
		RetryAfter: 1500 * time.Millisecond, Op: "call tvms", Cause: errors.New("dial s3cr3t"),
	}
	for name, c := range map[string]struct {
		err    error
		status string
		body   string
	}{
		"whole":     {kept, "503", `{"code":"upstream_unreachable","message":"tvms: the connection\nwas refused","upstream_code":"503","retry_after":2}`},
		"wrapped":   {fmt.Errorf("reading s3cr3t: %w", kept), "503", `{"code":"upstream_unreachable","message":"tvms: the connection\nwas refused","upstream_code":"503","retry_after":2}`},
		"bad":       {badQuery("no"), "400", `{"code":"bad_request","message":"no"}`},
		"too late":  {&events.Error{Kind: events.Unavailable, Code: events.CodeDeadline}, "504", `{"code":"deadline_exceeded","message":"the time given, 10s, was over before it was its turn at the upstream"}`},
		"not found": {&events.Error{Kind: events.Refused, Code: events.CodeNotFound, Message: "none"}, "404", `{"code":"not_found","message":"none"}`},
		"refused":   {&events.Error{Kind: events.Refused, Code: events.CodeRefused, Message: "none"}, "404", `{"code":"upstream_refused","message":"none"}`},
		"unclear":   {&events.Error{Kind: events.Unknown, Code: events.CodeUpstreamError, Message: "500"}, "503", `{"code":"upstream_error","message":"500"}`},
		"too many":  {&events.Error{Kind: events.Unavailable, Code: events.CodeBusy, Message: "later"}, "429", `{"code":"busy","message":"later"}`},
		"time-out":  {&events.Error{Kind: events.Unknown, Code: events.CodeTimeout, Message: "slow"}, "504", `{"code":"upstream_timeout","message":"slow"}`},
		"cut off":   {&events.Error{Code: events.CodeShutdown, Message: "off"}, "503", `{"code":"worker_stopping","message":"off"}`},
		"plain":     {errors.New("open /etc/s3cr3t"), "500", `{"code":"internal","message":"an internal error; see the worker's log"}`},
	} {
		t.Run(name, func(t *testing.T) {
			worker, _ := connect(t, server)
			var told error
			var log bytes.Buffer
			_, stop := startQueries(t, worker, always(nil, c.err), func(s *QuerySettings) {
				s.Answered = func(_ events.QueryName, _ time.Duration, err error) { told = err }
				s.Logger = slog.New(slog.NewTextHandler(&log, nil))
			})
			reply, err := asker.Request("subrelay.query.tvms-customer", nil, 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if got := reply.Header.Get(micro.ErrorCodeHeader); got != c.status {
				t.Errorf("code %s, want %s", got, c.status)
			}
			if diff := cmp.Diff(c.body, string(reply.Data)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if text := reply.Header.Get(micro.ErrorHeader); text == "" || strings.ContainsAny(text, "\r\n") || strings.Contains(text+string(reply.Data), "s3cr3t") {
				t.Errorf("the header says %q", text)
			}
			stop()
			if events.KindOf(told) != events.KindOf(c.err) || told == nil {
				t.Errorf("told %v", told)
			}
			if logged := strings.Contains(log.String(), "reason of our own"); logged != (c.status == "500" || name == "cut off") {
				t.Errorf("the log: %s", &log)
			}
		})
	}
}

func TestQueryIsRefused(t *testing.T) {
	server := startServer(t)
	worker, _ := connect(t, server)
	asker, _ := connect(t, server)
	startQueries(t, worker, always(struct{}{}, nil))
	msg := nats.NewMsg("subrelay.query.tvms-customer")
	for _, header := range []string{"soon", "-1s", "0", "5"} {
		msg.Header.Set(HeaderTimeout, header)
		reply, err := asker.RequestMsg(msg, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if reply.Header.Get(micro.ErrorCodeHeader) != "400" || !strings.Contains(string(reply.Data), HeaderTimeout) {
			t.Errorf("%s: %v %s", header, reply.Header, reply.Data)
		}
	}
}

func TestQueryPanics(t *testing.T) {
	server := startServer(t)
	worker, _ := connect(t, server)
	asker, _ := connect(t, server)
	var log lockedBuffer
	startQueries(t, worker, func(context.Context, []byte, time.Time) (any, error) { panic("s3cr3t") }, func(s *QuerySettings) {
		s.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	for range 10 { // more than there is room for
		_, e := ask(t, asker, "")
		wantCode(t, e, events.CodeInternal)
		if strings.Contains(e.Message, "s3cr3t") {
			t.Errorf("it says %s", e.Message)
		}
	}
	if !strings.Contains(log.String(), "queries_test.go") {
		t.Errorf("no stack in the log: %s", log.String())
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestQueryAnswerTooLarge(t *testing.T) {
	server := startServer(t)
	worker, _ := connect(t, server)
	asker, _ := connect(t, server)
	startQueries(t, worker, always(strings.Repeat("x", int(worker.MaxPayload())), nil))
	_, e := ask(t, asker, "")
	wantCode(t, e, events.CodeResponseTooLarge)
}

func TestQueryNobodyThere(t *testing.T) {
	server := startServer(t)
	asker, _ := connect(t, server)
	_, e := ask(t, asker, "")
	wantCode(t, e, events.CodeNoWorker)
	workers, err := QueryWorkers(t.Context(), asker, Names{})
	if err != nil || len(workers) > 0 {
		t.Errorf("%v, %v", workers, err)
	}
}

// A query of little patience is answered in time, and what it set going keeps its place until it has ended.
func TestQueryDeadline(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T) {
		server := startServer(t)
		worker, _ := connect(t, server)
		asker, _ := connect(t, server)
		running := atomic.Int32{}
		q, _ := startQueries(t, worker, func(ctx context.Context, _ []byte, _ time.Time) (any, error) {
			running.Add(1)
			defer running.Add(-1)
			select {
			case <-time.After(30 * time.Second):
			case <-ctx.Done():
			}
			return struct{}{}, ctx.Err()
		}, func(s *QuerySettings) { s.Queries[0].Room = NewQueryRoom(1, 1) })
		begin := time.Now()
		_, e := askFor(t, asker, "", 5*time.Second)
		wantCode(t, e, events.CodeDeadline)
		if took := time.Since(begin); took != 5*time.Second || !strings.Contains(e.Message, "5s") || running.Load() != 1 {
			t.Errorf("after %s: %s; %d running", took, e.Message, running.Load())
		}
		_, e = askFor(t, asker, "", 5*time.Second) // waits for its turn
		wantCode(t, e, events.CodeDeadline)
		if !strings.Contains(e.Message, "its turn") || running.Load() != 1 {
			t.Errorf("%s; %d running", e.Message, running.Load())
		}
		time.Sleep(time.Minute)
		begin = time.Now()
		_, e = askFor(t, asker, "", time.Hour)
		wantCode(t, e, events.CodeDeadline)
		if took := time.Since(begin); took != 20*time.Second || !strings.Contains(e.Message, "the longest time a worker allows, 20s,") {
			t.Errorf("after %s: %s", took, e.Message)
		}
		time.Sleep(time.Minute)
		if running.Load() != 0 || len(q.Queries[0].Room.admitted) != 0 || len(q.Queries[0].Room.places) != 0 {
			t.Errorf("%d running, room %v", running.Load(), q.Queries[0].Room)
		}
	})
}

func TestQueryBusy(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T) {
		server := startServer(t)
		worker, _ := connect(t, server)
		asker, _ := connect(t, server)
		startQueries(t, worker, func(context.Context, []byte, time.Time) (any, error) {
			time.Sleep(time.Second)
			return struct{}{}, nil
		}, func(s *QuerySettings) { s.Queries[0].Room = NewQueryRoom(2, 3) })
		var busy, ok atomic.Int32
		var askers sync.WaitGroup
		begin := time.Now()
		for range 8 {
			askers.Go(func() {
				_, e := askFor(t, asker, "", 5*time.Second)
				switch {
				case e == nil:
					ok.Add(1)
				case e.Code == events.CodeBusy && time.Since(begin) == 0 && e.RetryAfter > 0:
					busy.Add(1)
				default:
					t.Errorf("%v after %s", e, time.Since(begin))
				}
			})
		}
		askers.Wait()
		if ok.Load() != 5 || busy.Load() != 3 {
			t.Errorf("%d answered, %d busy", ok.Load(), busy.Load())
		}
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("5 queries, 2 at a time, took %s", took)
		}
	})
}

// A worker that stops answers what it has, and nothing new.
func TestQueryServiceStops(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T) {
		server := startServer(t)
		worker, _ := connect(t, server)
		asker, _ := connect(t, server)
		_, stop := startQueries(t, worker, func(ctx context.Context, request []byte, _ time.Time) (any, error) {
			d, _ := time.ParseDuration(string(request))
			select {
			case <-time.After(d):
				return struct{}{}, nil
			case <-ctx.Done():
				return nil, stoppedQuery()
			}
		}, func(s *QuerySettings) { s.Grace = 5 * time.Second })
		type got struct {
			answer string
			err    *events.Error
			after  time.Duration
		}
		results := make(map[string]chan got)
		begin := time.Now()
		for _, d := range []string{"3s", "1m"} {
			result := make(chan got, 1)
			results[d] = result
			go func() {
				answer, e := askFor(t, asker, d, 20*time.Second)
				result <- got{answer, e, time.Since(begin)}
			}()
		}
		synctest.Wait()
		time.AfterFunc(time.Second, func() {
			_, e := askFor(t, asker, "1s", time.Second)
			wantCode(t, e, events.CodeNoWorker)
		})
		stop()
		if took := time.Since(begin); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("it took %s to stop", took)
		}
		worker.Close() // as the worker does then: answers must be out
		if g := <-results["3s"]; g.answer != "{}" || g.after != 3*time.Second {
			t.Errorf("in time: %+v", g)
		}
		if g := <-results["1m"]; g.err == nil || g.err.Code != events.CodeShutdown {
			t.Errorf("over the grace period: %+v", g)
		}
	})
}

// Requests that are under way to a worker when it stops are answered too.
func TestQueryServiceStopsUnderLoad(t *testing.T) {
	server := startServer(t)
	asker, _ := connect(t, server)
	staying, _ := connect(t, server)
	startQueries(t, staying, always("staying", nil), roomy)
	for range 5 {
		leaving, _ := connect(t, server)
		_, stop := startQueries(t, leaving, always("leaving", nil), roomy)
		var askers sync.WaitGroup
		for range 100 {
			askers.Go(func() {
				if _, e := askFor(t, asker, "", 5*time.Second); e != nil {
					t.Error(e)
				}
			})
		}
		stop()
		leaving.Close()
		askers.Wait()
	}
}

func roomy(s *QuerySettings) { s.Queries[0].Room = NewQueryRoom(100, 100) }

func TestQueryKilled(t *testing.T) {
	server := startServer(t)
	worker, _ := connect(t, server)
	asker, _ := connect(t, server)
	killed, kill := context.WithCancel(context.Background())
	begun := make(chan bool)
	q, err := NewQueries(QuerySettings{Conn: worker, Killed: killed, Queries: []Question{{
		Name: someQuery, Room: NewQueryRoom(1, 1), MaxTimeout: time.Hour,
		Answer: func(ctx context.Context, _ []byte, _ time.Time) (any, error) {
			begun <- true
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- q.Run(context.Background()) }()
	flushed(t, worker)
	if err := asker.PublishRequest("subrelay.query.tvms-customer", asker.NewInbox(), nil); err != nil {
		t.Fatal(err)
	}
	<-begun
	worker.Close()
	kill()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A query must not become a command: the answer is published with the worker's rights.
func TestQueryAnswersOnlyToTheAsker(t *testing.T) {
	server := startServer(t)
	worker, js := connect(t, server)
	asker, _ := connect(t, server)
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"subrelay.cmd.>"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "subrelay.cmd.x", nil); err != nil {
		t.Fatal(err)
	}
	refused := make(chan bool, 10)
	startQueries(t, worker, always(struct{}{}, nil), func(s *QuerySettings) {
		s.Answered = func(_ events.QueryName, _ time.Duration, err error) { refused <- err != nil }
	})
	for _, reply := range []string{"$JS.API.STREAM.PURGE.S", "subrelay.cmd.y", ""} {
		if err := asker.PublishMsg(&nats.Msg{Subject: "subrelay.query.tvms-customer", Reply: reply}); err != nil {
			t.Fatal(err)
		}
		if !<-refused {
			t.Errorf("answered to %q", reply)
		}
	}
	flushed(t, worker)
	info, err := stream.Info(t.Context())
	if err != nil || info.State.Msgs != 1 || info.State.LastSeq != 1 {
		t.Errorf("the stream: %+v, %v", info.State, err)
	}
}

func TestQueryOneWorkerAnswers(t *testing.T) {
	server := startServer(t)
	asker, _ := connect(t, server)
	var answered [2]atomic.Int32
	for i := range answered {
		worker, _ := connect(t, server)
		startQueries(t, worker, func(context.Context, []byte, time.Time) (any, error) {
			answered[i].Add(1)
			return struct{}{}, nil
		}, func(s *QuerySettings) { s.Metadata = map[string]string{MetadataWorker: fmt.Sprintf("w%d", i)} })
	}
	for range 50 {
		if _, e := ask(t, asker, ""); e != nil {
			t.Fatal(e)
		}
	}
	a, b := answered[0].Load(), answered[1].Load()
	if a+b != 50 || a == 0 || b == 0 {
		t.Errorf("%d and %d answers to 50 queries", a, b)
	}
	workers, err := QueryWorkers(t.Context(), asker, Names{})
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, w := range workers {
		total += w.Queries[someQuery].Answered
	}
	if len(workers) != 2 || workers[0].Worker != "w0" || total != 50 {
		t.Errorf("%+v", workers)
	}
}

func TestQueriesCanBeDiscovered(t *testing.T) {
	server := startServer(t)
	worker, _ := connect(t, server)
	asker, _ := connect(t, server)
	var fail atomic.Bool
	startQueries(t, worker, func(context.Context, []byte, time.Time) (any, error) {
		if fail.Load() {
			return nil, &events.Error{Kind: events.Refused, Code: events.CodeNotFound, UpstreamCode: "NO_SUCH", Message: "Anna is not known"}
		}
		return struct{}{}, nil
	})
	other, _ := connect(t, server)
	startQueries(t, other, always(nil, nil), func(s *QuerySettings) { s.Names = Names{Prefix: "elsewhere"} })
	if _, e := ask(t, asker, ""); e != nil {
		t.Fatal(e)
	}
	fail.Store(true)
	_, e := ask(t, asker, "")
	wantCode(t, e, events.CodeNotFound)

	workers, err := QueryWorkers(t.Context(), asker, Names{})
	if err != nil || len(workers) != 1 {
		t.Fatalf("%+v, %v", workers, err)
	}
	got := workers[0].Queries[someQuery]
	if got.AverageSeconds <= 0 || workers[0].Started.IsZero() {
		t.Errorf("%+v", workers)
	}
	got.AverageSeconds = 0
	want := QueryStats{Answered: 1, Failed: map[string]int{"not_found": 1}, LastError: "not_found: NO_SUCH"}
	if diff := cmp.Diff(want, got); diff != "" || workers[0].Worker != "w1" || workers[0].Version != "1.2.3" {
		t.Errorf("%+v, -want +got:\n%s", workers[0], diff)
	}

	sub, err := asker.SubscribeSync(asker.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	if err := asker.PublishRequest("$SRV.INFO."+QueryService, sub.Subject, nil); err != nil {
		t.Fatal(err)
	}
	found := false
	for range 2 {
		msg, err := sub.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var info micro.Info
		if err := json.Unmarshal(msg.Data, &info); err != nil {
			t.Fatal(err)
		}
		endpoint := micro.EndpointInfo{
			Name: "tvms-customer", Subject: "subrelay.query.tvms-customer", QueueGroup: "subrelay-query", Metadata: map[string]string{"request": "{}"},
		}
		found = found || cmp.Equal([]micro.EndpointInfo{endpoint}, info.Endpoints) && info.Description != ""
	}
	if !found {
		t.Error("the endpoint is not shown")
	}
}

func TestQueriesOutlastALostConnection(t *testing.T) {
	server := startServer(t)
	cable := &natstest.Cable{Server: server}
	worker, err := Connect(ConnectOptions{Options: []nats.Option{nats.InProcessServer(cable)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(worker.Close)
	asker, _ := connect(t, server)
	startQueries(t, worker, always(struct{}{}, nil))
	cable.Cut()
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, e := ask(t, asker, ""); e == nil {
			return
		} else if time.Now().After(deadline) {
			t.Fatal(e)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestQueryNotPermitted(t *testing.T) {
	s := server.New(&server.Options{
		DontListen: true, NoSigs: true,
		Users: []*server.User{{Username: "u", Password: "p", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{"x"}}}}},
	})
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(5 * time.Second) {
		t.Fatal("the server is not ready")
	}
	conn, err := Connect(ConnectOptions{User: "u", Password: "p", Options: []nats.Option{nats.InProcessServer(s)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	_, e := askFor(t, conn, "", 10*time.Millisecond)
	wantCode(t, e, events.CodeNotPermitted)
}

func TestSemanticVersion(t *testing.T) {
	for version, want := range map[string]string{
		"": "0.0.0", "(devel)": "0.0.0", "unknown": "0.0.0", "v1.2.3": "1.2.3", "1.2.3-rc.1": "1.2.3-rc.1", "1.2.3-01": "0.0.0",
		"v0.0.0-20260102030405-abcdef123456+dirty": "0.0.0-20260102030405-abcdef123456+dirty",
	} {
		if got := semantic(version); got != want {
			t.Errorf("%s: %s, want %s", version, got, want)
		}
	}
}
