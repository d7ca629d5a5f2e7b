package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// audience is everybody who can be told of outcomes: a plain subscriber, one of a durable consumer, and the stream itself.
type audience struct {
	t     testing.TB
	js    jetstream.JetStream
	names natsjs.Names
	plain *nats.Subscription
}

// listen subscribes to all outcomes.
func listen(t testing.TB, cl *client) *audience {
	t.Helper()
	a := &audience{t: t, js: cl.js, names: cl.names}
	var err error
	if a.plain, err = cl.js.Conn().SubscribeSync(a.names.AllOutcomes()); err != nil {
		t.Fatal(err)
	}
	if err := a.plain.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	_, err = a.js.CreateConsumer(t.Context(), a.names.Outcomes(), jetstream.ConsumerConfig{
		Durable: "subscriber", FilterSubject: a.names.AllOutcomes(), AckPolicy: jetstream.AckExplicitPolicy})
	if err == nil {
		err = cl.js.Conn().FlushTimeout(time.Minute)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// agree makes sure that each subscriber was told of what is stored, once and in order, and of nothing else. Nobody may
// write meanwhile. It answers how many records there are.
func (a *audience) agree() int {
	a.t.Helper()
	stored := a.stored()
	if diff := differ(stored, a.heardPlain(len(stored))); diff != "" {
		a.t.Errorf("a plain subscriber: %s", diff)
	}
	if diff := differ(stored, a.heardDurable(len(stored))); diff != "" {
		a.t.Errorf("a durable subscriber: %s", diff)
	}
	return len(stored)
}

func differ(stored, heard []string) string {
	if slices.Equal(stored, heard) {
		return ""
	}
	for _, h := range heard {
		if !slices.Contains(stored, h) {
			return fmt.Sprintf("%d records are stored and %d were seen, one of them not stored: %.300s", len(stored), len(heard), h)
		}
	}
	return fmt.Sprintf("%d records are stored and %d were seen", len(stored), len(heard))
}

func told(subject string, data []byte) string { return subject + " " + string(data) }

func (a *audience) stored() (all []string) {
	a.t.Helper()
	stream, err := a.js.Stream(a.t.Context(), a.names.Outcomes())
	if err != nil {
		a.t.Fatal(err)
	}
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		msg, err := stream.GetMsg(a.t.Context(), seq)
		if err != nil {
			a.t.Fatal(err)
		}
		all = append(all, told(msg.Subject, msg.Data))
	}
	return all
}

// heardPlain reads until nothing more can be on its way: what the connection itself sends comes behind it.
func (a *audience) heardPlain(n int) (all []string) {
	a.t.Helper()
	for len(all) < n {
		msg, err := a.plain.NextMsg(30 * time.Second)
		if err != nil {
			a.t.Errorf("after %d of %d records: %v", len(all), n, err)
			return all
		}
		all = append(all, told(msg.Subject, msg.Data))
	}
	for { // and what should not be there
		msg, err := a.plain.NextMsg(500 * time.Millisecond)
		if errors.Is(err, nats.ErrTimeout) {
			return all
		}
		if err != nil {
			a.t.Fatal(err)
		}
		all = append(all, told(msg.Subject, msg.Data))
	}
}

func (a *audience) heardDurable(n int) (all []string) {
	a.t.Helper()
	consumer, err := a.js.Consumer(a.t.Context(), a.names.Outcomes(), "subscriber")
	if err != nil {
		a.t.Fatal(err)
	}
	for wait := 30 * time.Second; ; {
		if len(all) >= n {
			wait = 500 * time.Millisecond
		}
		msg, err := consumer.Next(jetstream.FetchMaxWait(wait))
		if err != nil {
			return all
		}
		if err := msg.Ack(); err != nil {
			a.t.Fatal(err)
		}
		all = append(all, told(msg.Subject(), msg.Data()))
	}
}

// rivals are writers of one command's history, each with a connection of its own.
type rivals []*natsjs.Ledger

// race lets all of them write the same record after a sequence, each with a token of its own, and answers the sequence
// of the one that was stored. All others must be told of a conflict.
func (r rivals) race(t testing.TB, o events.Outcome, after uint64) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var won, at atomic.Uint64
	var all sync.WaitGroup
	for n, ledger := range r {
		all.Go(func() {
			mine := o
			mine.Token = fmt.Sprintf("%s-%d", o.Token, n)
			seq, err := ledger.Append(ctx, mine, after)
			switch {
			case err == nil:
				won.Add(1)
				at.Store(seq)
			case events.KindOf(err) != events.Conflict:
				t.Errorf("writer %d is told %v", n, err)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d writers have won", won.Load())
	}
	return at.Load()
}

// contend has eight writers contend for the start and for the end of some commands, while one that was fenced earlier
// goes on trying.
func contend(t testing.TB, a *audience, r rivals, rounds int) {
	t.Helper()
	for n := range rounds {
		id, key := fmt.Sprint("contended-", n), "C-1"
		now := time.Now().UTC()
		started := events.Outcome{
			Command: events.Ref{ID: id, Source: "billing", Kind: events.Renew, Key: key, CID: events.CID("billing", id, key), Hash: "h", Seq: uint64(n + 1)},
			Status:  events.Started, Attempt: 1, Upstream: events.TVMS, StartedAt: &now, Token: "start",
			Start: &events.Start{Worker: "w", Deadline: now.Add(time.Minute)},
		}
		after := r.race(t, started, 0)
		ended := started
		ended.Status, ended.Start, ended.FinishedAt, ended.Token = events.Succeeded, nil, &now, "end"
		r.race(t, ended, after)
		late := ended
		late.Status, late.Token = events.Failed, "late"
		if _, err := r[n%len(r)].Append(t.Context(), late, after); events.KindOf(err) != events.Conflict {
			t.Errorf("a fenced writer is told %v", err)
		}
	}
	if got := a.agree(); got != 2*rounds {
		t.Errorf("%d records are stored of %d commands", got, rounds)
	}
}

// TestRefusedRecordUnseen: a record that the expected sequence refuses reaches nobody.
func TestRefusedRecordUnseen(t *testing.T) {
	g := newRigWithoutWorker(t)
	conn, err := g.server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	cl, err := newClient(g.config.withDefaults(), conn)
	if err != nil {
		t.Fatal(err)
	}
	cfg := g.config.withDefaults()
	topology, err := cfg.topology()
	if err == nil {
		_, err = topology.Apply(t.Context(), cl.js)
	}
	if err != nil {
		t.Fatal(err)
	}
	a := listen(t, cl)
	var writers rivals
	for range 8 {
		conn, err := g.server.Connect()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		writers = append(writers, ledgerOn(t, conn))
	}
	contend(t, a, writers, 25)
}

func ledgerOn(t testing.TB, conn *nats.Conn) *natsjs.Ledger {
	t.Helper()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	ledger, err := natsjs.NewLedger(js, natsjs.LedgerSettings{})
	if err != nil {
		t.Fatal(err)
	}
	return ledger
}

// TestFencedRecordUnseen cuts a worker off in its calls until another has settled them: what it then wants to record is
// refused, and nobody sees it.
func TestFencedRecordUnseen(t *testing.T) {
	for seed := range 3 {
		t.Run(strconv.Itoa(seed+1), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T) { fenced(t, uint64(seed+1)) })
		})
	}
}

func fenced(t *testing.T, seed uint64) {
	cfg := simConfig()
	cfg.Streams.Partitions, cfg.TVMS.Guard.CallTimeout = 2, time.Minute
	cfg.withReadBack()
	cfg.TVMS.API.ReadBack.SettleAfter, cfg.TVMS.API.ReadBack.GiveUpAfter = 2*time.Minute, 10*time.Minute
	w := newWorld(t, seed, cfg)
	defer w.close()
	first := w.start()
	a := listen(t, w.cl)
	for n := range 4 {
		customer := fmt.Sprint("C-", n)
		fault := sandbox.Fault{Kind: sandbox.Slow, Customer: customer, Delay: sandbox.Duration(time.Duration(1+w.random.IntN(50)) * time.Second)}
		if err := w.tvms.Faults().Next(fault); err != nil {
			t.Fatal(err)
		}
		w.send(w.renewal(fmt.Sprint("fenced-", n), customer))
	}
	time.Sleep(500 * time.Millisecond)
	first.cable.Unplug()
	w.start()
	time.Sleep(time.Duration(60+w.random.IntN(300)) * time.Second) // the other waits for the deadlines
	first.cable.Plug()
	w.settle(time.Hour)
	time.Sleep(time.Minute)
	w.verdict()
	a.agree()
}
