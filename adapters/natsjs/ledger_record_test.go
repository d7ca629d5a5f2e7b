package natsjs

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
)

func TestEncodeAsTheSDKDoes(t *testing.T) {
	full := record("C-1", "a", events.Started, 3)
	full.TraceParent, full.TraceState = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "k=v,<x>"
	odd := record("Kunde \"Ä\" <1>", "a\n", events.Failed, 1)
	odd.Error = &events.Failure{Code: "c", Message: "<&> \u2028 é \"x\""}
	odd.TraceState = `a="b\c"`
	spaces := record(" C1 ", "a", events.Succeeded, 1)
	offset := record("C1", "a", events.Succeeded, 1)
	local := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 7200))
	offset.FinishedAt = &local
	timeless := record("C1", "a", events.Expired, 0)
	timeless.StartedAt, timeless.FinishedAt = nil, nil
	uncorrelated := record("C1", "a", events.Expired, 0)
	uncorrelated.CorrelationID = ""
	sourced := record("C1", "a", events.Expired, 0)
	sourced.Source = "https://example.com/ä b?x=<1>"

	l := newTestLedger(t, nil, LedgerSettings{})
	urn := newTestLedger(t, nil, LedgerSettings{Source: "urn:subrelay:<1>"})
	for name, o := range map[string]events.Outcome{
		"full": full, "odd": odd, "spaces": spaces, "offset": offset, "timeless": timeless, "uncorrelated": uncorrelated, "sourced": sourced,
	} {
		for _, l := range []*Ledger{l, urn} {
			if name != "sourced" {
				o.Source = l.settings.Source
			}
			got, err := l.encode(&o)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			e, err := o.Event()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			want, err := e.MarshalJSON()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s: -SDK +ours\n%s", name, diff)
			}
		}
	}
	if !plainAttributes(&full) || plainAttributes(&odd) {
		t.Error("the short way is not taken, or taken where it must not be")
	}
}

func FuzzEncodeAsTheSDKDoes(f *testing.F) {
	f.Add("C-1", "subrelay", "k=v", int64(0))
	f.Add("C 1", "urn:x", "\"", int64(1))
	f.Fuzz(func(t *testing.T, key, source, state string, nanos int64) {
		o := record(key, "a", events.Succeeded, 1)
		at := time.Unix(0, nanos)
		o.Source, o.TraceState, o.FinishedAt = source, state, &at
		l, err := NewLedger(nil, LedgerSettings{Source: source})
		if err != nil || source == "" {
			return
		}
		e, err1 := o.Event()
		got, err2 := l.encode(&o)
		if err1 != nil || err2 != nil {
			if (err1 == nil) != (err2 == nil) && plainAttributes(&o) {
				t.Fatalf("event: %v, encode: %v", err1, err2)
			}
			return
		}
		want, err := e.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if string(want) != string(got) {
			t.Errorf("SDK  %s\nours %s", want, got)
		}
	})
}
