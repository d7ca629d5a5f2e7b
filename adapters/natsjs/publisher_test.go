package natsjs

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

// renewal is a renew command of a customer.
func renewal(id, customer, data string) event.Event {
	e := event.New()
	e.SetID(id)
	e.SetSource("/billing")
	e.SetType(events.CommandType(events.Renew))
	e.SetSubject(customer)
	return withData(e, "application/json", data)
}

// publisher makes a publisher on a server with small streams.
func publisher(t testing.TB, edit func(*TopologySettings)) (*Publisher, jetstream.JetStream) {
	t.Helper()
	_, js := connect(t, startServer(t))
	apply(t, js, topology(t, edit))
	return NewPublisher(js, PublisherSettings{}), js
}

// fails fails the test unless err is of kind and code and says words.
func fails(t testing.TB, err error, kind events.ErrorKind, code string, words ...string) {
	t.Helper()
	var e *events.Error
	if !errors.As(err, &e) {
		t.Fatalf("no *events.Error: %v", err)
	}
	if e.Kind != kind || e.Code != code {
		t.Errorf("the error is %s, %s, want %s, %s: %v", e.Kind, e.Code, kind, code, e)
	}
	for _, w := range words {
		if !strings.Contains(e.Message, w) {
			t.Errorf("the message does not say %q: %s", w, e.Message)
		}
	}
}

func TestPublish(t *testing.T) {
	for _, binary := range []bool{false, true} {
		p, js := publisher(t, nil)
		p.settings.Binary = binary
		e := renewal("1", "C 10042", `{"customer_mapping_id":"C 10042","months":1}`)
		got, err := p.Publish(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		want := Receipt{Stream: "SUBRELAY_COMMANDS", Seq: 1, CID: events.CID("/billing", "1", "C 10042"), Subject: "subrelay.cmd.renew.C%2010042"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("binary %v: the receipt:\n%s", binary, diff)
		}
		msg, err := stream(t, js, want.Stream).GetMsg(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeMessage(msg.Header, msg.Data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e.String(), back.String()); diff != "" {
			t.Errorf("binary %v: what is stored:\n%s", binary, diff)
		}
	}
}

func TestPublishTwice(t *testing.T) {
	p, _ := publisher(t, nil)
	send := func(e event.Event, opts ...PublishOption) Receipt {
		t.Helper()
		r, err := p.Publish(t.Context(), e, opts...)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := send(renewal("1", "C-1", `{"months":1}`))
	if again := send(renewal("1", "C-1", `{"months":1}`)); !again.Duplicate || again.Seq != first.Seq {
		t.Errorf("the same command again: %+v", again)
	}
	if other := send(renewal("1", "C-1", `{"months":2}`)); other.Duplicate {
		t.Error("the same id with other data was swallowed: nobody would notice it")
	}
	if requeued := send(renewal("1", "C-1", `{"months":1}`), Requeue("r1")); requeued.Duplicate {
		t.Error("the requeued command was swallowed")
	}
	if requeued := send(renewal("1", "C-1", `{"months":1}`), Requeue("r1")); !requeued.Duplicate {
		t.Error("the same requeue was stored twice")
	}
	if redriven := send(events.Again(renewal("1", "C-1", `{"months":1}`), 1)); redriven.Duplicate || redriven.CID == first.CID {
		t.Errorf("the redriven command: %+v", redriven)
	}
}

func TestPublishRaw(t *testing.T) {
	p, js := publisher(t, nil)
	if _, err := p.Publish(t.Context(), renewal("1", "C-1", "{}")); err != nil {
		t.Fatal(err)
	}
	msg, err := stream(t, js, "SUBRELAY_COMMANDS").GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	subject := Names{}.Command("renew", "C-1")
	for range 2 {
		r, err := p.PublishRaw(t.Context(), subject, msg.Header, msg.Data, MsgID("1"), Requeue("seq-1"))
		if err != nil {
			t.Fatal(err)
		}
		if r.Seq != 2 {
			t.Errorf("stored with sequence %d", r.Seq)
		}
	}
	copied, err := stream(t, js, "SUBRELAY_COMMANDS").GetMsg(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	want := nats.Header{"Content-Type": {"application/cloudevents+json"}, "Nats-Msg-Id": {"1.seq-1"}}
	if diff := cmp.Diff(want, copied.Header); diff != "" {
		t.Errorf("the headers of the copy:\n%s", diff)
	}
	_, err = p.PublishRaw(t.Context(), "nobody.home", nil, nil)
	fails(t, err, events.Refused, events.CodeStorage, "no stream listens on nobody.home")
}

func TestPublishErrors(t *testing.T) {
	big := renewal("1", "C-1", `"`+strings.Repeat("x", 300<<10)+`"`)
	huge := renewal("1", "C-1", `"`+strings.Repeat("x", 2<<20)+`"`)
	gift := renewal("1", "C-1", "{}")
	gift.SetType(events.CommandType("gift"))
	outcome := renewal("1", "C-1", "{}")
	outcome.SetType("subrelay.renew.started.v1")
	unnamed := renewal("", "C-1", "{}")
	tests := map[string]struct {
		event event.Event
		kind  events.ErrorKind
		code  string
		say   string
	}{
		"a kind that nobody knows": {gift, events.Refused, events.CodeUnknownType, "known are amend, netflix-accept,"},
		"not a command":            {outcome, events.Refused, events.CodeUnknownType, "subrelay.renew.started.v1"},
		"too large for the stream": {big, events.Refused, events.CodeTooLarge, "at most 262144 bytes"},
		"too large for NATS":       {huge, events.Refused, events.CodeTooLarge, "too large"},
		"no subject":               {renewal("1", "", "{}"), events.Refused, events.CodeSubjectMismatch, "empty"},
		"a subject of 10 kB":       {renewal("1", strings.Repeat("k", 10_000), "{}"), events.Refused, events.CodeSubjectMismatch, "128"},
		"no id":                    {unnamed, events.Refused, events.CodeUndecodable, "id"},
	}
	p, _ := publisher(t, nil)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := p.Publish(t.Context(), tt.event)
			fails(t, err, tt.kind, tt.code, tt.say)
		})
	}
}

func TestPublishIntoAFullStream(t *testing.T) {
	p, _ := publisher(t, func(s *TopologySettings) { s.CommandsMaxBytes = 2000 })
	var err error
	for i := 0; err == nil; i++ {
		_, err = p.Publish(t.Context(), renewal(fmt.Sprint(i), "C-1", "{}"))
	}
	fails(t, err, events.Unavailable, events.CodeStorageFull, "full")
}

func TestPublishWithoutTopology(t *testing.T) {
	_, js := connect(t, startServer(t))
	_, err := NewPublisher(js, PublisherSettings{}).Publish(t.Context(), renewal("1", "C-1", "{}"))
	fails(t, err, events.Unavailable, events.CodeStorage, "no stream SUBRELAY_COMMANDS yet")
}

func TestPublishWithoutConnection(t *testing.T) {
	s := startServer(t)
	nc, js := connect(t, s)
	p := NewPublisher(js, PublisherSettings{Timeout: 50 * time.Millisecond})
	s.Shutdown()
	_, err := p.Publish(t.Context(), renewal("1", "C-1", "{}"))
	fails(t, err, events.Unavailable, events.CodeStorage, "safe")
	nc.Close()
	_, err = p.Publish(t.Context(), renewal("1", "C-1", "{}"))
	fails(t, err, events.Unavailable, events.CodeStorage, "no connection")
}

func TestPublishUnconfirmed(t *testing.T) {
	_, js := connect(t, startServer(t))
	mute, err := js.Conn().Subscribe(Names{}.Command("renew", "*"), func(*nats.Msg) {}) // takes it, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mute.Unsubscribe() }()
	_, err = NewPublisher(js, PublisherSettings{Timeout: 20 * time.Millisecond}).Publish(t.Context(), renewal("1", "C-1", "{}"))
	fails(t, err, events.Unavailable, events.CodeStorage, "did not confirm", "done once")
}

func TestPublishNotPermitted(t *testing.T) {
	ns, err := server.NewServer(&server.Options{
		DontListen: true, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		Users: []*server.User{{Username: "reader", Password: "x", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Deny: []string{"subrelay.cmd.>"}},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	defer ns.Shutdown()
	if !ns.ReadyForConnections(startTimeout) {
		t.Fatal("the server is not ready")
	}
	nc, err := Connect(ConnectOptions{User: "reader", Password: "x", Options: []nats.Option{nats.InProcessServer(ns)}})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	_, err = NewPublisher(js, PublisherSettings{Timeout: 200 * time.Millisecond}).Publish(t.Context(), renewal("1", "C-1", "{}"))
	fails(t, err, events.Refused, events.CodeNotPermitted, "subrelay.cmd.renew.C-1")
}

func sequence(all []event.Event) iter.Seq[event.Event] { return slices.Values(all) }

func TestPublishAllKeepsTheOrderOfEachKey(t *testing.T) {
	p, js := publisher(t, nil)
	var all []event.Event
	for i := range 600 {
		all = append(all, renewal(fmt.Sprint(i), fmt.Sprintf("C-%d", i%7), "{}"))
	}
	all = append(all, all[0]) // sent twice
	reported := 0
	result, err := p.PublishAll(t.Context(), sequence(all), Batch{Report: func(Published) { reported++ }})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(BatchResult{Stored: 600, Duplicates: 1}, result); diff != "" || reported != 601 {
		t.Errorf("%d reported; the result:\n%s", reported, diff)
	}
	last := map[string]int{}
	for seq := range uint64(600) {
		msg, err := stream(t, js, "SUBRELAY_COMMANDS").GetMsg(t.Context(), seq+1)
		if err != nil {
			t.Fatal(err)
		}
		e, err := DecodeMessage(msg.Header, msg.Data)
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if _, err := fmt.Sscan(e.ID(), &n); err != nil {
			t.Fatal(err)
		}
		if before, ok := last[e.Subject()]; ok && n < before {
			t.Errorf("key %s: %d is stored behind %d", e.Subject(), n, before)
		}
		last[e.Subject()] = n
	}
}

func TestPublishAllHoldsBackWhatWouldOvertake(t *testing.T) {
	p, _ := publisher(t, nil)
	gift := renewal("2", "C-1", "{}")
	gift.SetType(events.CommandType("gift"))
	all := []event.Event{renewal("1", "C-1", "{}"), gift, renewal("3", "C-1", "{}"), renewal("4", "C-2", "{}"), renewal("5", "C-1", "{}")}
	codes := map[int]string{}
	result, err := p.PublishAll(t.Context(), sequence(all), Batch{InFlight: 1, Report: func(p Published) {
		codes[p.Index] = ""
		if p.Err != nil {
			codes[p.Index] = events.AsError(p.Err).Code
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[int]string{0: "", 1: events.CodeUnknownType, 2: events.CodeHeldBack, 3: "", 4: events.CodeHeldBack}
	if diff := cmp.Diff(want, codes); diff != "" {
		t.Errorf("reported:\n%s", diff)
	}
	if diff := cmp.Diff(BatchResult{Stored: 2, Failed: 1, HeldBack: 2}, result); diff != "" {
		t.Errorf("the result:\n%s", diff)
	}
}

func TestPublishAllEndsWithItsContext(t *testing.T) {
	p, _ := publisher(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	taken, reported := 0, 0
	endless := func(yield func(event.Event) bool) {
		for yield(renewal(fmt.Sprint(taken), fmt.Sprint("C-", taken), "{}")) {
			if taken++; taken == 50 {
				cancel()
			}
		}
	}
	_, err := p.PublishAll(ctx, endless, Batch{Report: func(Published) { reported++ }})
	if !errors.Is(err, context.Canceled) || reported == 0 || reported > taken {
		t.Errorf("%d taken, %d reported: %v", taken, reported, err)
	}
}

// restarting is a server that a connection finds again after a restart.
type restarting struct {
	mu sync.Mutex
	*Server
}

func (r *restarting) InProcessConn() (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Server.InProcessConn()
}

func (r *restarting) replace(s *Server) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Server = s
}

func TestPublishAllOverARestart(t *testing.T) {
	dir := t.TempDir()
	start := func() *Server {
		s, err := StartServer(ServerSettings{StoreDir: dir, LazySync: true})
		if err != nil {
			t.Error(err)
		}
		return s
	}
	broker := &restarting{Server: start()}
	nc, js := connect(t, broker.Server, nats.InProcessServer(broker))
	defer nc.Close()
	apply(t, js, topology(t, nil))
	p := NewPublisher(js, PublisherSettings{Timeout: 500 * time.Millisecond})
	var all []event.Event
	for i := range 400 {
		all = append(all, renewal(fmt.Sprint(i), fmt.Sprintf("C-%d", i%20), "{}"))
	}
	reported := 0
	result, err := p.PublishAll(t.Context(), sequence(all), Batch{InFlight: 4, Tries: 20, Pause: 50 * time.Millisecond, Report: func(Published) {
		if reported++; reported == 100 {
			broker.Shutdown()
			broker.replace(start())
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Shutdown()
	if result.Stored+result.Duplicates != 400 {
		t.Errorf("the result: %+v", result)
	}
	if state := stream(t, js, "SUBRELAY_COMMANDS").CachedInfo().State; state.Msgs != 400 {
		t.Errorf("%d are stored", state.Msgs)
	}
}

func BenchmarkPublish(b *testing.B) {
	p, _ := publisher(b, nil)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := p.Publish(b.Context(), renewal(fmt.Sprint(i), "C-1", `{"customer_mapping_id":"C-1","months":1}`)); err != nil {
			b.Fatal(err)
		}
	}
}

// An earlier try of the same message may be under way, where a stream's leader was lost: then nothing is known yet.
func TestPublishInProcess(t *testing.T) {
	p, _ := publisher(t, nil)
	for code, want := range map[jetstream.ErrorCode]events.ErrorKind{10158: events.Unavailable, 10060: events.Refused} {
		err := p.publishError(t.Context(), "subrelay.cmd.renew.K", &jetstream.APIError{Code: 409, ErrorCode: code})
		if got := events.KindOf(err); got != want {
			t.Errorf("the server's error %d is %s, want %s: %v", code, got, want, err)
		}
	}
}
