package natsjs

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs/natstest"
	"subrelay/events"
)

// charge is a charge of a customer.
func charge(number, customer, state string) *events.NetflixCharge {
	at := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	return &events.NetflixCharge{
		Number: number, BillingSystemCustomerIdentifier: customer, ChargeStatus: state, Amount: "9.99", Currency: "EUR", ReceivedOn: &at,
	}
}

// mustPublish publishes a charge, and fails where it is not stored, or was, otherwise than want says.
func mustPublish(t testing.TB, c *Charges, ch *events.NetflixCharge, want bool) {
	t.Helper()
	stored, err := c.Publish(within(t, 20*time.Second), ch)
	if stored != want || err != nil {
		t.Fatalf("charge %s %s: stored %v, %v; want %v", ch.Number, ch.ChargeStatus, stored, err, want)
	}
}

// chargeLines reads what q selects.
func chargeLines(t testing.TB, c *Charges, q ChargeQuery) (got []string) {
	t.Helper()
	err := c.Read(within(t, 20*time.Second), q, func(s StoredCharge) error {
		got = append(got, s.Number+" "+s.ChargeStatus)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// delivered is the subjects that a new durable reader of all events is given.
func delivered(t testing.TB, js jetstream.JetStream) (got []string) {
	t.Helper()
	c, err := js.CreateConsumer(t.Context(), Names{}.Outcomes(), jetstream.ConsumerConfig{
		Durable: "billing", FilterSubject: "subrelay.event.netflix-charge.>", AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	for pending := c.CachedInfo().NumPending; pending > 0; pending-- {
		msg, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, msg.Subject())
		if err := msg.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

func TestChargesAreStoredOncePerState(t *testing.T) {
	_, js, l := ledgerFixture(t)
	heard, err := js.Conn().SubscribeSync(Names{}.AllEvents())
	if err != nil {
		t.Fatal(err)
	}
	c := NewCharges(l)
	mustPublish(t, c, charge("I.1", "cust 7", "PENDING"), true)
	mustPublish(t, c, charge("I.1", "cust 7", "PENDING"), false)
	mustPublish(t, c, charge("I.1", "cust 7", "APPROVED"), true)
	mustPublish(t, NewCharges(newTestLedger(t, js, LedgerSettings{})), charge("I.1", "cust 7", "APPROVED"), false)
	mustPublish(t, c, charge("I.1", "cust 8", "APPROVED"), true)
	mustPublish(t, c, charge("I.1", "cust 8", "ON HOLD"), true)
	want := []string{
		"subrelay.event.netflix-charge.pending.cust%207.I%2E1", "subrelay.event.netflix-charge.approved.cust%207.I%2E1",
		"subrelay.event.netflix-charge.approved.cust%208.I%2E1", "subrelay.event.netflix-charge.onhold.cust%208.I%2E1",
	}
	if diff := cmp.Diff(want, delivered(t, js)); diff != "" {
		t.Errorf("a durable reader: -want +got\n%s", diff)
	}
	var plain []string
	for range want {
		msg, err := heard.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		plain = append(plain, msg.Subject)
	}
	if n, _, _ := heard.Pending(); n > 0 {
		t.Errorf("a plain subscriber gets %d more", n)
	}
	if diff := cmp.Diff(want, plain); diff != "" {
		t.Errorf("a plain subscriber: -want +got\n%s", diff)
	}
	msg, err := stream(t, js, Names{}.Outcomes()).GetMsg(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(msg.Data, &got); err != nil {
		t.Fatal(err)
	}
	wanted := map[string]any{
		"specversion": "1.0", "id": "I.1.approved", "source": "subrelay", "type": "subrelay.netflix-charge.approved.v1",
		"subject": "cust 7", "datacontenttype": "application/json",
		"data": map[string]any{"number": "I.1", "billing_system_customer_identifier": "cust 7", "amount": 9.99, "currency": "EUR",
			"charge_status": "APPROVED", "received_on": "2026-03-01T02:00:00Z"},
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("the event: -want +got\n%s", diff)
	}
}

// However many workers publish the same charges at once, a durable reader gets each once.
func TestChargesRace(t *testing.T) {
	b, js, _ := ledgerFixture(t)
	const workers, charges = 6, 40
	var stored atomic.Int64
	var group sync.WaitGroup
	for range workers {
		c := NewCharges(newTestLedger(t, b.connect(), LedgerSettings{}))
		group.Go(func() {
			for i := range charges {
				ok, err := c.Publish(t.Context(), charge(fmt.Sprint(i), "c", "APPROVED"))
				if err != nil {
					t.Error(err)
				}
				if ok {
					stored.Add(1)
				}
			}
		})
	}
	group.Wait()
	seen := map[string]int{}
	for _, s := range delivered(t, js) {
		seen[s]++
	}
	for s, n := range seen {
		if n != 1 {
			t.Errorf("%s: %d times", s, n)
		}
	}
	if len(seen) != charges || stored.Load() != charges {
		t.Errorf("%d charges are there and %d were said to be stored, of %d", len(seen), stored.Load(), charges)
	}
}

func TestChargesOutlastALostAnswer(t *testing.T) {
	for name, fate := range map[string]replyFate{"Swallowed": swallowReply, "Cut": cutAtReply} {
		t.Run(name, func(t *testing.T) {
			b, js, _ := ledgerFixture(t)
			c := NewCharges(newTestLedger(t, js, LedgerSettings{PublishTimeout: 100 * time.Millisecond}))
			b.tamper(times(1, fate))
			stored := false
			for range 200 { // while the line is down it is not known; ask again, as the next round does
				ok, err := c.Publish(t.Context(), charge("1", "c", "PENDING"))
				if stored = stored || ok; err == nil {
					break
				}
				if events.KindOf(err) != events.Unavailable {
					t.Fatal(err)
				}
				<-time.After(10 * time.Millisecond)
			}
			b.tamper(times(0, fate))
			mustPublish(t, c, charge("1", "c", "PENDING"), false)
			if got := delivered(t, js); len(got) != 1 {
				t.Errorf("a durable reader gets %v", got)
			}
			if name == "Swallowed" && !stored {
				t.Error("it was not said to be stored")
			}
		})
	}
}

func TestChargesOutlastTheBroker(t *testing.T) {
	b, js, l := ledgerFixture(t)
	c := NewCharges(l)
	mustPublish(t, c, charge("1", "c", "PENDING"), true)
	before := js.Conn().Stats().Reconnects
	b.stop()
	b.start()
	eventuallyConnected(t, js, before)
	mustPublish(t, c, charge("1", "c", "PENDING"), false)
	mustPublish(t, c, charge("2", "c", "PENDING"), true)
}

// eventuallyConnected waits until the client has connected again: at first it may not have noticed that it must.
func eventuallyConnected(t *testing.T, js jetstream.JetStream, before uint64) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for js.Conn().Stats().Reconnects == before || js.Conn().Status() != nats.CONNECTED {
		select {
		case <-limit:
			t.Fatal("no connection")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// busyJetStream answers publishes with an error first, as a replicated stream does while another's is in flight.
type busyJetStream struct {
	jetstream.JetStream
	left atomic.Int64
	err  error
}

func (b *busyJetStream) PublishMsg(ctx context.Context, m *nats.Msg, o ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if b.left.Add(-1) >= 0 {
		return nil, b.err
	}
	return b.JetStream.PublishMsg(ctx, m, o...)
}

func TestChargesTryAgain(t *testing.T) {
	_, js, _ := ledgerFixture(t)
	inFlight := &jetstream.APIError{Code: 400, ErrorCode: jetstream.JSErrCodeStreamWrongLastSequenceConstant, Description: "wrong last sequence"}
	for name, tt := range map[string]struct {
		err    error
		times  int64
		stored bool
		kind   events.ErrorKind // 0: no error
	}{
		"InFlight":        {inFlight, 2, true, 0},
		"InFlightForLong": {inFlight, 100, false, events.Unavailable},
		"NoLeader":        {jetstream.ErrNoStreamResponse, 3, true, 0},
		"Refused":         {&jetstream.APIError{Code: 400, ErrorCode: 10109, Description: "no"}, 1, false, events.Refused},
		"Busy":            {&jetstream.APIError{Code: 503, ErrorCode: 10008, Description: "unavailable"}, 1, true, 0},
		"TooLarge":        {nats.ErrMaxPayload, 1, false, events.Refused},
	} {
		t.Run(name, func(t *testing.T) {
			busy := &busyJetStream{JetStream: js, err: tt.err}
			busy.left.Store(tt.times)
			stored, err := NewCharges(newTestLedger(t, busy, LedgerSettings{})).Publish(t.Context(), charge(name, "c", "PENDING"))
			if stored != tt.stored || (err != nil) != (tt.kind != 0) || err != nil && events.KindOf(err) != tt.kind {
				t.Errorf("stored %v, %v", stored, err)
			}
		})
	}
}

func TestChargesRefuseWhatCannotBeASubject(t *testing.T) {
	_, js, l := ledgerFixture(t)
	long := strings.Repeat("x", 200)
	broken := charge("1", "c", "PENDING")
	broken.Amount = "nine"
	for name, ch := range map[string]*events.NetflixCharge{
		"NoNumber": charge("", "c", "PENDING"), "NoCustomer": charge("1", "", "PENDING"), "LongNumber": charge(long, "c", "PENDING"),
		"LongCustomer": charge("1", long, "PENDING"), "LongStatus": charge("1", "c", long), "NoAmount": broken,
	} {
		if stored, err := NewCharges(l).Publish(t.Context(), ch); stored || err == nil || events.KindOf(err) != events.Refused {
			t.Errorf("%s: stored %v, %v; want Refused", name, stored, err)
		}
	}
	mustPublish(t, NewCharges(l), charge("*", ">", ""), true)
	if diff := cmp.Diff([]string{"subrelay.event.netflix-charge.unknown.%3E.%2A"}, delivered(t, js)); diff != "" {
		t.Error(diff)
	}
}

// A stream that is nearly full takes no charges, so that there stays room for results.
func TestChargesLeaveRoom(t *testing.T) {
	_, js, l := ledgerFixture(t, func(c *jetstream.StreamConfig) { c.MaxMsgs = 100 })
	for i := range 94 {
		mustAppend(t, l, record("C1", fmt.Sprint(i), events.Rejected, 0), 0)
	}
	c := NewCharges(newTestLedger(t, js, LedgerSettings{FullEvery: time.Nanosecond}))
	mustPublish(t, c, charge("1", "c", "PENDING"), true)
	_, err := c.Publish(t.Context(), charge("2", "c", "PENDING"))
	fails(t, err, events.Unavailable, events.CodeStorageFull)
	mustPublish(t, c, charge("1", "c", "PENDING"), false) // nothing new, no complaint
	editOutcomes(t, js, func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 })
	mustPublish(t, c, charge("2", "c", "PENDING"), true)
}

// A charge that nobody acknowledges for longer than the stream remembers is told again.
func TestChargesComeAgainWhenForgotten(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T) {
		s, err := StartServer(ServerSettings{StoreDir: t.TempDir(), LazySync: true})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Shutdown()
		nc, err := s.Connect()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		js, _ := jetstream.New(nc)
		apply(t, js, topology(t, func(s *TopologySettings) { s.OutcomesMaxAge = time.Hour }))
		c := NewCharges(newTestLedger(t, js, LedgerSettings{}))
		mustPublish(t, c, charge("1", "c", "PENDING"), true)
		time.Sleep(50 * time.Minute)
		mustPublish(t, c, charge("1", "c", "PENDING"), false)
		time.Sleep(15 * time.Minute)
		mustPublish(t, c, charge("1", "c", "PENDING"), true)
	})
}

func TestChargesRead(t *testing.T) {
	_, l, _ := outcomesFixture(t)
	c := NewCharges(l)
	for _, ch := range []*events.NetflixCharge{
		charge("1", "c.1", "PENDING"), charge("2", "c2", "DECLINED"), charge("1", "c.1", "APPROVED"), charge("3", "c2", "BAD_REQUEST"),
	} {
		mustPublish(t, c, ch, true)
		mustAppend(t, l, record("C1", ch.Number+ch.ChargeStatus, events.Rejected, 0), 0)
	}
	for name, tt := range map[string]struct {
		q    ChargeQuery
		want []string
	}{
		"All":      {ChargeQuery{}, []string{"1 PENDING", "2 DECLINED", "1 APPROVED", "3 BAD_REQUEST"}},
		"Status":   {ChargeQuery{Statuses: []string{"approved", "BAD_REQUEST", "Approved"}}, []string{"1 APPROVED", "3 BAD_REQUEST"}},
		"Customer": {ChargeQuery{Customer: "c.1"}, []string{"1 PENDING", "1 APPROVED"}},
		"Number":   {ChargeQuery{Number: "3"}, []string{"3 BAD_REQUEST"}},
		"From":     {ChargeQuery{FromSeq: 4}, []string{"1 APPROVED", "3 BAD_REQUEST"}},
		"Limit":    {ChargeQuery{Limit: 1}, []string{"1 PENDING"}},
		"Future":   {ChargeQuery{Since: time.Now().Add(time.Hour)}, nil},
		"Past":     {ChargeQuery{Until: time.Now().Add(-time.Hour)}, nil},
		"None":     {ChargeQuery{Customer: "nobody"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, chargeLines(t, c, tt.q)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
	t.Run("Whole", func(t *testing.T) {
		err := c.Read(t.Context(), ChargeQuery{Limit: 1}, func(s StoredCharge) error {
			if diff := cmp.Diff(*charge("1", "c.1", "PENDING"), s.NetflixCharge); diff != "" || s.Seq != 1 || s.Time.IsZero() || !json.Valid(s.Raw) {
				t.Errorf("%+v %s", s, diff)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("ErrCustomer", func(t *testing.T) {
		if err := c.Read(t.Context(), ChargeQuery{Customer: strings.Repeat("x", 200)}, nil); events.KindOf(err) != events.Refused || err == nil {
			t.Errorf("got %v, want Refused", err)
		}
	})
	t.Run("Follow", func(t *testing.T) {
		ctx, cancel := context.WithCancel(within(t, 20*time.Second))
		var got []string
		err := c.Read(ctx, ChargeQuery{FromSeq: 7, Follow: true}, func(s StoredCharge) error {
			if got = append(got, s.Number); len(got) == 1 {
				mustPublish(t, c, charge("4", "c", "PENDING"), true)
			} else {
				cancel()
			}
			return nil
		})
		if diff := cmp.Diff([]string{"3", "4"}, got); diff != "" || err == nil {
			t.Errorf("%v %s", err, diff)
		}
	})
}

// Who reads the ledger sees nothing of the charges beside it.
func TestChargesAreNoOutcomes(t *testing.T) {
	read := func(t *testing.T, disturb func(c *Charges)) map[string][]string {
		_, l, o := outcomesFixture(t)
		c := NewCharges(l)
		disturb(c)
		a := mustAppend(t, l, record("C1", "a", events.Started, 1), 0)
		disturb(c)
		mustAppend(t, l, record("C1", "a", events.Succeeded, 1), a)
		mustAppend(t, l, record("C1", "b", events.InDoubt, 1), 0)
		disturb(c)
		got := map[string][]string{}
		got["all"] = lines(t, o, Query{})
		got["key"] = lines(t, o, Query{Key: "C1", Statuses: []events.Status{events.InDoubt}})
		for r, err := range o.Doubts(within(t, 20*time.Second), Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			got["doubts"] = append(got["doubts"], line(r))
		}
		if err := o.Latest(within(t, 20*time.Second), Query{}, func(s Stored) error {
			got["latest"] = append(got["latest"], line(s.Record))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		h, err := o.ByCID(t.Context(), events.CID("/billing", "a", "C1"))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range h {
			got["history"] = append(got["history"], line(r))
		}
		r, err := o.Wait(within(t, 20*time.Second), "C1", events.CID("/billing", "a", "C1"))
		if err != nil {
			t.Fatal(err)
		}
		got["wait"] = []string{line(r)}
		ctx, cancel := context.WithCancel(within(t, 20*time.Second))
		if err := o.Read(ctx, Query{Follow: true}, func(s Stored) error {
			got["follow"] = append(got["follow"], line(s.Record))
			if s.Pending == 0 {
				disturb(c)
				cancel()
			}
			return nil
		}); ctx.Err() == nil {
			t.Fatal(err)
		}
		return got
	}
	n := 0
	want := read(t, func(*Charges) {})
	got := read(t, func(c *Charges) {
		for range 3 {
			n++
			mustPublish(t, c, charge(fmt.Sprint(n), "C1", "PENDING"), true)
		}
	})
	if len(want["all"]) != 3 || len(want["doubts"]) != 1 {
		t.Fatalf("the undisturbed: %v", want)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-undisturbed +among charges\n%s", diff)
	}
}
