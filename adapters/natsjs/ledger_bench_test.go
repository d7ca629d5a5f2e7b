package natsjs

import (
	"context"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"

	"subrelay/events"
)

func BenchmarkEncode(b *testing.B) {
	l := newTestLedger(b, nil, LedgerSettings{})
	o := record("C-10042", "a", events.Started, 1)
	b.Run("Ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := l.encode(&o); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("SDK", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			e, err := o.Event()
			if err != nil {
				b.Fatal(err)
			}
			if _, err := e.MarshalJSON(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkAppend compares Append with the bare conditional publish of the same bytes.
func BenchmarkAppend(b *testing.B) {
	b.Run("Bare", func(b *testing.B) {
		_, js, l := ledgerFixture(b)
		o := record("C-10042", "a", events.Started, 1)
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			i++
			cid := fmt.Sprint("cid", i)
			data, err := l.encode(&o)
			if err != nil {
				b.Fatal(err)
			}
			_, err = js.PublishMsg(context.Background(), &nats.Msg{
				Subject: "subrelay.ledger.renew.started.C-10042." + cid,
				Header: nats.Header{
					"Nats-Expected-Last-Subject-Sequence":         {"0"},
					"Nats-Expected-Last-Subject-Sequence-Subject": {"subrelay.outcome.*.*.C-10042." + cid},
				},
				Data: data,
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Ledger", func(b *testing.B) {
		_, _, l := ledgerFixture(b)
		o := record("C-10042", "a", events.Started, 1)
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			i++
			o.Command.CID = fmt.Sprint("cid", i)
			if _, err := l.Append(context.Background(), o, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
}
