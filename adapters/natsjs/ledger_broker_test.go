package natsjs

import (
	"bytes"
	"context"
	"errors"
	"net"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

// ledgerBroker is a broker with our streams whose connections can be tampered with, and which can be restarted.
type ledgerBroker struct {
	t   testing.TB
	dir string

	mu     sync.Mutex
	server *Server

	// onReply says what to do with bytes from the server that hold an acknowledgement; nil lets them pass.
	onReply atomic.Pointer[func() replyFate]
	// onDelivery says whether bytes from the server that hold a consumer's message get lost; nil lets them pass.
	onDelivery atomic.Pointer[func() bool]
}

// replyFate is what happens to bytes from the server.
type replyFate int

const (
	passReply replyFate = iota
	swallowReply
	cutAtReply
)

func startLedgerBroker(t testing.TB) *ledgerBroker {
	t.Helper()
	b := &ledgerBroker{t: t, dir: t.TempDir()}
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *ledgerBroker) start() {
	b.t.Helper()
	s, err := StartServer(ServerSettings{StoreDir: b.dir, LazySync: true})
	if err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	b.server = s
	b.mu.Unlock()
}

func (b *ledgerBroker) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server != nil {
		b.server.Shutdown()
	}
	b.server = nil
}

// InProcessConn implements nats.InProcessConnProvider over restarts of the server.
func (b *ledgerBroker) InProcessConn() (net.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server == nil {
		return nil, errors.New("the broker is down")
	}
	c, err := b.server.InProcessConn()
	if err != nil {
		return nil, err
	}
	return &tamperedConn{Conn: c, broker: b}, nil
}

// connect opens a connection that reconnects for ever.
func (b *ledgerBroker) connect() jetstream.JetStream {
	b.t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(b), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond),
		nats.ReconnectJitter(0, 0), nats.ReconnectBufSize(-1))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		b.t.Fatal(err)
	}
	return js
}

// createStreams applies the topology, and then edits the stream of outcomes.
func (b *ledgerBroker) createStreams(js jetstream.JetStream, edit ...func(*jetstream.StreamConfig)) {
	b.t.Helper()
	apply(b.t, js, topology(b.t, kinds(renewSpec, swapSpec)))
	for _, e := range edit {
		editOutcomes(b.t, js, e)
	}
}

// editOutcomes changes the stream of outcomes.
func editOutcomes(t testing.TB, js jetstream.JetStream, edit func(*jetstream.StreamConfig)) {
	t.Helper()
	s, err := js.Stream(t.Context(), Names{}.Outcomes())
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	edit(&cfg)
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

// tamper lets decide see every acknowledgement of a record that comes from the server.
func (b *ledgerBroker) tamper(decide func() replyFate) { b.onReply.Store(&decide) }

// times is a decision that befalls the first n acknowledgements.
func times(n int64, fate replyFate) func() replyFate {
	var seen atomic.Int64
	return func() replyFate {
		if seen.Add(1) <= n {
			return fate
		}
		return passReply
	}
}

// loseDelivery loses the next message that a consumer is sent, and closes the channel when it is lost.
func (b *ledgerBroker) loseDelivery() <-chan struct{} {
	lost := make(chan struct{})
	var once atomic.Bool
	lose := func() bool {
		if !once.CompareAndSwap(false, true) {
			return false
		}
		close(lost)
		return true
	}
	b.onDelivery.Store(&lose)
	return lost
}

type tamperedConn struct {
	net.Conn
	broker *ledgerBroker
	skip   int // bytes of a lost message that are still to come
}

// dropDelivery removes a consumer's message that gets lost from p, all of it and nothing else, and returns how many
// bytes are left.
func (c *tamperedConn) dropDelivery(p []byte) int {
	at := 0
	if lose := c.broker.onDelivery.Load(); c.skip == 0 && lose != nil {
		line := deliveryLine.FindSubmatchIndex(p)
		if line == nil || !(*lose)() {
			return len(p)
		}
		size, _ := strconv.Atoi(string(p[line[2]:line[3]]))
		at, c.skip = line[0], line[1]-line[0]+size+len("\r\n")
	}
	dropped := min(c.skip, len(p)-at)
	c.skip -= dropped
	return at + copy(p[at:], p[at+dropped:])
}

// deliveryLine is the line that begins a consumer's message; its group is the size of what follows.
var deliveryLine = regexp.MustCompile(`H?MSG \S+ \S+ \$JS\.ACK\.\S+ (?:\d+ )?(\d+)\r\n`)

func (c *tamperedConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if n = c.dropDelivery(p[:n]); n == 0 && err == nil {
			continue
		}
		decide := c.broker.onReply.Load()
		if decide == nil || !bytes.Contains(p[:n], []byte(`{"stream":"SUBRELAY_`)) {
			return n, err
		}
		switch (*decide)() {
		case swallowReply:
			continue
		case cutAtReply:
			_ = c.Close()
			return 0, net.ErrClosed
		}
		return n, err
	}
}

// ledgerFixture is a broker with streams and a ledger on it.
func ledgerFixture(t testing.TB, edit ...func(*jetstream.StreamConfig)) (*ledgerBroker, jetstream.JetStream, *Ledger) {
	t.Helper()
	b := startLedgerBroker(t)
	js := b.connect()
	b.createStreams(js, edit...)
	return b, js, newTestLedger(t, js, LedgerSettings{})
}

func newTestLedger(t testing.TB, js jetstream.JetStream, s LedgerSettings) *Ledger {
	t.Helper()
	l, err := NewLedger(js, s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// record is an outcome of the command id of the customer key.
func record(key, id string, status events.Status, attempt int) events.Outcome {
	now := time.Date(2026, 5, 4, 3, 2, 1, 123456789, time.UTC)
	o := events.Outcome{
		Command: events.Ref{ID: id, Source: "/billing", Kind: events.Renew, Key: key, CID: events.CID("/billing", id, key), Hash: "h1", Seq: 7},
		Status:  status, Attempt: attempt, Upstream: events.TVMS, StartedAt: &now,
		Token: id + "-" + string(status), CorrelationID: events.CID("/billing", id, key), Source: defaultSource,
	}
	if status == events.Started {
		o.Start = &events.Start{Worker: "w1", Deadline: now.Add(time.Minute), Settle: []byte(`{"before":"2026-01-31T00:00:00Z"}`)}
	} else {
		o.FinishedAt = &now
	}
	return o
}

// mustAppend writes o behind after.
func mustAppend(t testing.TB, l *Ledger, o events.Outcome, after uint64) uint64 {
	t.Helper()
	seq, err := l.Append(within(t, 20*time.Second), o, after)
	if err != nil {
		t.Fatalf("append %s: %v", o.EventID(), err)
	}
	return seq
}

// within is a context of the test that ends after d.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
