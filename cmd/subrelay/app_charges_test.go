package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// chargeWorld is a world whose upstream is CRM.COM with Netflix charges, and whose billing reads their events durably.
type chargeWorld struct {
	*world
	billing jetstream.Consumer
	answer  func(e *event.Event) // what billing does with an event; nil: nothing
	heard   []string             // the subjects' ends, in order
	logged  *watched
}

func inChargeWorld(t *testing.T, story func(w *chargeWorld)) {
	t.Helper()
	natstest.Bubble(t, func(t *testing.T) {
		cfg := shortConfig()
		cfg.withCRMCOM()
		cfg.Netflix.API.Charges.Feed, cfg.Netflix.API.Charges.PageSize = nil, 2
		w := &chargeWorld{world: newWorld(t, 1, cfg), logged: &watched{}}
		defer w.close()
		w.log = slog.New(slog.NewTextHandler(w.logged, nil))
		top, err := cfg.topology()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := top.Apply(t.Context(), w.cl.js); err != nil {
			t.Fatal(err)
		}
		w.billing, err = w.cl.js.CreateConsumer(t.Context(), w.cl.names.Outcomes(), jetstream.ConsumerConfig{
			Durable: "billing", FilterSubject: "subrelay.event.netflix-charge.>", AckPolicy: jetstream.AckExplicitPolicy,
		})
		if err != nil {
			t.Fatal(err)
		}
		story(w)
	})
}

// charged adds charges that are pending.
func (w *chargeWorld) charged(numbers ...string) {
	w.Helper()
	for _, n := range numbers {
		c := events.NetflixCharge{Number: n, BillingSystemCustomerIdentifier: "cust-" + n, Amount: "9.99", Currency: "EUR"}
		if err := w.crm.PutCharges(sandbox.Charge{NetflixCharge: c}); err != nil {
			w.Fatal(err)
		}
	}
}

// listen has billing read what is new.
func (w *chargeWorld) listen() {
	w.Helper()
	info, err := w.billing.Info(w.Context())
	for ; err != nil; info, err = w.billing.Info(w.Context()) {
		if w.cl.conn.IsConnected() {
			w.Fatal(err)
		}
		time.Sleep(time.Second)
	}
	for range info.NumPending {
		msg, err := w.billing.Next()
		if err != nil {
			w.Fatal(err)
		}
		tokens := strings.Split(msg.Subject(), ".")
		w.heard = append(w.heard, tokens[5]+" "+tokens[3])
		var e event.Event
		if err := e.UnmarshalJSON(msg.Data()); err != nil {
			w.Fatal(err)
		}
		if w.answer != nil {
			w.answer(&e)
		}
		if err := msg.DoubleAck(w.Context()); err != nil {
			w.Fatal(err)
		}
	}
}

// hears waits until billing has heard so many events in all, and two rounds more, and wants exactly these, in any order.
func (w *chargeWorld) hears(want ...string) {
	w.Helper()
	limit := time.Now().Add(time.Hour)
	for w.listen(); len(w.heard) < len(want) && time.Now().Before(limit); w.listen() {
		time.Sleep(time.Second)
	}
	time.Sleep(150 * time.Second)
	w.listen()
	got := slices.Sorted(slices.Values(w.heard))
	if diff := cmp.Diff(slices.Sorted(slices.Values(want)), got); diff != "" {
		w.Errorf("what billing hears: -want +got\n%s\n%s", diff, w.logged)
	}
}

// metric is the sum of a worker's series whose name and labels begin so.
func (k *simWorker) metric(t *testing.T, name string) (sum float64) {
	t.Helper()
	families, err := k.app.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			series := f.GetName()
			for _, l := range m.GetLabel() {
				series += " " + l.GetValue()
			}
			if strings.HasPrefix(series, metricsPrefix+name) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func TestChargesFeed(t *testing.T) {
	inChargeWorld(t, func(w *chargeWorld) {
		a, b := w.start(), w.start()
		w.charged("1", "2", "3")
		w.hears("1 pending", "2 pending", "3 pending")
		for n, state := range map[string]string{"1": "APPROVED", "2": "REJECTED"} {
			if err := w.crm.SetCharge(n, state); err != nil {
				t.Fatal(err)
			}
		}
		w.charged("4")
		all := []string{"1 pending", "2 pending", "3 pending", "1 approved", "2 rejected", "4 pending"}
		w.hears(all...)
		sum := func(name string) float64 { return a.metric(t, name) + b.metric(t, name) }
		if got := sum("charges_published_total"); got != 6 {
			t.Errorf("%v published", got)
		}
		if got := sum("charges_published_total pending"); got != 4 {
			t.Errorf("%v published that are pending", got)
		}
		if got := sum("charge_rounds_total complete"); got < 4 || got > 8 {
			t.Errorf("%v rounds in about 6 minutes", got)
		}
		if got := sum("charge_rounds_total failed"); got != 0 {
			t.Errorf("%v rounds failed", got)
		}
		last := max(a.metric(t, "charges_complete"), b.metric(t, "charges_complete"))
		if age := float64(time.Now().Unix()) - last; age < 0 || age > 70 {
			t.Errorf("the last complete round was %v s ago", age)
		}
		w.kill(a)
		w.kill(b)
		w.start()
		w.charged("5")
		w.hears(append(all, "5 pending")...)
		if text := w.logged.String(); strings.Contains(text, "cust-") || !strings.Contains(text, "Netflix charges were published") {
			t.Errorf("the log:\n%s", text)
		}
	})
}

// Billing acknowledges each charge as soon as it hears of it, while the pages behind are being read and new charges come.
// None is missed.
func TestChargesFeedAmongAcknowledgements(t *testing.T) {
	inChargeWorld(t, func(w *chargeWorld) {
		w.start()
		w.start()
		w.answer = func(e *event.Event) { w.send(acknowledge(t, e)) }
		var want []string
		for i := range 40 {
			n := fmt.Sprintf("I%03d", i)
			want = append(want, n+" pending")
			w.charged(n)
			if i%4 == 3 {
				time.Sleep(25 * time.Second)
			}
			w.listen()
		}
		w.hears(want...)
		for _, c := range w.crm.Charges() {
			if !c.Acknowledged {
				t.Errorf("charge %s was not acknowledged", c.Number)
			}
		}
	})
}

// chargeWrites are the writes of a round, as they stand on the wire.
var chargeWrites = map[string]string{
	"asking for the tick":     "$JS.API.CONSUMER.MSG.NEXT.SUBRELAY_TASKS.",
	"asking what is there":    "$JS.API.STREAM.MSG.GET.SUBRELAY_OUTCOMES",
	"publishing the first":    ".event.netflix-charge.pending.cust-1.",
	"publishing in the midst": ".event.netflix-charge.pending.cust-3.",
	"publishing the last":     ".event.netflix-charge.pending.cust-5.",
	"giving the tick back":    "-NAK",
}

// TestChargesFeedCrashPoints has a worker die, or lose its line while another is there, at every write of a round. Each
// charge is told of once.
func TestChargesFeedCrashPoints(t *testing.T) {
	for name, write := range chargeWrites {
		for _, m := range mishaps {
			t.Run(name+"/"+m.name, func(t *testing.T) {
				inChargeWorld(t, func(w *chargeWorld) { w.crashAt(write, m) })
			})
		}
	}
}

func (w *chargeWorld) crashAt(write string, m mishap) {
	w.charged("1", "2", "3", "4", "5")
	first := w.start()
	struck := make(chan struct{})
	var once atomic.Bool
	first.cable.Watch(func(sent []byte) (bool, func()) {
		if !bytes.Contains(sent, []byte(write)) || !once.CompareAndSwap(false, true) {
			return true, func() {}
		}
		first.cable.Deafen()
		if m.dies || !m.pass {
			first.cable.Mute()
		}
		return m.pass, func() { close(struck) }
	})
	select {
	case <-struck:
	case <-time.After(10 * time.Minute):
		w.Fatalf("nothing was written that holds %q", write)
	}
	w.start()
	if m.dies {
		w.kill(first)
	} else {
		time.Sleep(20 * time.Second) // as a freeze: the other has taken over
		first.cable.Cut()
	}
	w.hears("1 pending", "2 pending", "3 pending", "4 pending", "5 pending")
}

func TestChargesFeedOutlastsTheBrokerAndTheUpstream(t *testing.T) {
	inChargeWorld(t, func(w *chargeWorld) {
		a, b := w.start(), w.start()
		w.charged("1", "2")
		w.hears("1 pending", "2 pending")
		w.restartBroker(20 * time.Second)
		w.charged("3")
		w.hears("1 pending", "2 pending", "3 pending")
		w.lines[crmAddr].down.Store(true)
		w.charged("4")
		time.Sleep(20 * time.Minute)
		if a.metric(t, "charge_rounds_total failed")+b.metric(t, "charge_rounds_total failed") == 0 {
			t.Error("no round failed while the upstream was away")
		}
		w.lines[crmAddr].down.Store(false)
		w.hears("1 pending", "2 pending", "3 pending", "4 pending")
	})
}

func TestChargesFeedSwitchedOff(t *testing.T) {
	inChargeWorld(t, func(w *chargeWorld) {
		off := false
		w.config.Netflix.API.Charges.Feed = &off
		w.start()
		w.charged("1")
		w.hears()
		if len(w.heard) > 0 {
			t.Errorf("heard %v", w.heard)
		}
		on := true
		w.config.Netflix.API.Charges.Feed = &on
		w.start()
		w.hears("1 pending")
	})
}
