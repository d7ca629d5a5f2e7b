package events_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"subrelay/events"
)

func outcome(status events.Status) events.Outcome {
	began := time.Date(2026, 11, 22, 1, 2, 3, 456789000, time.UTC)
	return events.Outcome{
		Command: events.Ref{ID: "inv-42", Source: "/billing", Kind: events.Renew, Key: "C 1", CID: events.CID("/billing", "inv-42", "C 1"),
			Time: &began, Hash: "h", Seq: 7},
		Status: status, Attempt: 2, Upstream: events.TVMS, StartedAt: &began, FinishedAt: ptr(began.Add(time.Second)),
		Token: "w1-9", CorrelationID: "order-7", TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", TraceState: "a=b",
		Source: "/subrelay",
	}
}

// wire sends an event through its JSON format, as the broker would.
func wire(t *testing.T, e event.Event) *event.Event {
	t.Helper()
	if err := e.Validate(); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	back := event.New()
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	return &back
}

func TestOutcomeRoundTrip(t *testing.T) {
	succeeded := outcome(events.Succeeded)
	succeeded.Result = json.RawMessage(`{"months":1}`)
	succeeded.Resolution = &events.Resolution{By: "ann", Reason: "seen"}
	started := outcome(events.Started)
	started.FinishedAt = nil
	started.Start = &events.Start{Worker: "w1", Deadline: *started.StartedAt, Settle: json.RawMessage(`{"target":"2027-01-31T00:00:00Z"}`)}
	started.Spent = &events.Spent{Attempts: 1, Millis: 250}
	deferred := outcome(events.Deferred)
	deferred.Deferral = &events.Deferral{NotBefore: *started.StartedAt}
	deferred.Error = &events.Failure{Code: events.CodeThrottled, Message: "later", UpstreamCode: "429", Problems: []string{"#/a: b"}}
	bare := events.Outcome{Command: events.Ref{Kind: events.Renew, Key: "k", CID: events.CID("s", "1", "k")}, Status: events.Expired,
		Upstream: events.TVMS, Source: "/subrelay", CorrelationID: "x"}
	for _, want := range []events.Outcome{succeeded, started, deferred, bare} {
		t.Run(string(want.Status), func(t *testing.T) {
			e, err := want.Event()
			if err != nil {
				t.Fatal(err)
			}
			got, err := events.ReadOutcome(wire(t, e))
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestOutcomeEvent(t *testing.T) {
	o := outcome(events.Deferred)
	e, err := o.Event()
	if err != nil {
		t.Fatal(err)
	}
	cid := o.Command.CID
	got := map[string]any{
		"id": e.ID(), "source": e.Source(), "type": e.Type(), "subject": e.Subject(), "time": e.Time().Format(time.RFC3339Nano),
		"specversion": e.SpecVersion(), "datacontenttype": e.DataContentType(), "extensions": e.Extensions(),
	}
	want := map[string]any{
		"id": cid + ".deferred.2", "source": "/subrelay", "type": "subrelay.renew.deferred.v1", "subject": "C 1",
		"time": "2026-11-22T01:02:04.456789Z", "specversion": "1.0", "datacontenttype": "application/json",
		"extensions": map[string]any{"correlationid": "order-7", "causationid": cid, "traceparent": o.TraceParent, "tracestate": "a=b"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	o.CorrelationID, o.TraceParent, o.TraceState, o.StartedAt, o.FinishedAt = "", "", "", nil, nil
	if e, err = o.Event(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"correlationid": cid, "causationid": cid}, e.Extensions()); diff != "" {
		t.Errorf("without a correlation of its own (-want +got):\n%s", diff)
	}
	if !e.Time().IsZero() {
		t.Errorf("an unknown time became %s", e.Time())
	}
}

func TestReadOutcomeRefuses(t *testing.T) {
	o := outcome(events.Succeeded)
	e, err := o.Event()
	if err != nil {
		t.Fatal(err)
	}
	other := e.Clone()
	other.SetType("subrelay.renew.failed.v1")
	empty := e.Clone()
	empty.DataEncoded = nil
	broken := e.Clone()
	broken.DataEncoded = []byte(`{"command":7}`)
	for name, e := range map[string]event.Event{"another type": other, "no data": empty, "odd data": broken} {
		if got, err := events.ReadOutcome(&e); err == nil {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
}

func TestCutResult(t *testing.T) {
	whole := json.RawMessage(`"` + strings.Repeat("x", events.MaxResult-2) + `"`)
	if got := events.CutResult(whole); string(got) != string(whole) {
		t.Error("a result of the greatest length was cut")
	}
	long := json.RawMessage(`"` + strings.Repeat("x", events.MaxResult-1) + `"`)
	if got, want := string(events.CutResult(long)), `{"bytes":65537,"cut":true}`; got != want {
		t.Errorf("CutResult = %.40s, want %s", got, want)
	}
	if events.CutResult(nil) != nil {
		t.Error("no result became one")
	}
}

func TestHistory(t *testing.T) {
	going, holding := events.Spec{Kind: events.Renew}, events.Spec{Kind: "swap", HoldsAfterDoubt: true}
	record := func(seq uint64, s events.Status) events.Record { return events.Record{Outcome: outcome(s), Seq: seq} }
	for _, tc := range []struct {
		name        string
		history     events.History
		seq         uint64
		hash        string
		done, holds bool // Done for a kind that goes on after doubts, and for one that holds
	}{
		{"empty", nil, 0, "", false, false},
		{"started", events.History{record(3, events.Started)}, 3, "h", false, false},
		{"deferred", events.History{record(3, events.Started), record(9, events.Deferred)}, 9, "h", false, false},
		{"in doubt", events.History{record(3, events.Started), record(9, events.InDoubt)}, 9, "h", true, false},
		{"resolved", events.History{record(3, events.Started), record(9, events.InDoubt), record(11, events.Failed)}, 11, "h", true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := tc.history
			if h.LastSeq() != tc.seq || h.Hash() != tc.hash || h.Done(going) != tc.done || h.Done(holding) != tc.holds {
				t.Errorf("LastSeq %d, Hash %q, Done %v and %v", h.LastSeq(), h.Hash(), h.Done(going), h.Done(holding))
			}
		})
	}
	for _, s := range events.Statuses() {
		h := events.History{record(1, s)}
		if s.Final() != h.Done(holding) {
			t.Errorf("%s: Final %v, Done %v", s, s.Final(), h.Done(holding))
		}
	}
}

func TestErrors(t *testing.T) {
	cause := errors.New("dial tcp: refused")
	e := &events.Error{Kind: events.Unavailable, Code: events.CodeUnreachable, Message: "no connection", Op: "renew", Cause: cause}
	wrapped := fmt.Errorf("attempt 1: %w", e)
	if events.KindOf(wrapped) != events.Unavailable || events.AsError(wrapped) != e || !errors.Is(wrapped, cause) {
		t.Errorf("%v lost its kind, itself or its cause", wrapped)
	}
	if got, want := wrapped.Error(), "attempt 1: renew: no connection (dial tcp: refused)"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if events.KindOf(cause) != events.Internal || events.KindOf(nil) != events.Internal {
		t.Error("what has no kind is not internal")
	}
	if got := events.AsError(cause); got.Kind != events.Internal || strings.Contains(got.Message, "refused") || !errors.Is(got, cause) {
		t.Errorf("AsError(%v) = %+v", cause, got)
	}
	if got := (&events.Error{Code: events.CodeTimeout}).Error(); got != "upstream_timeout" {
		t.Errorf("without a message: %q", got)
	}
	names := map[string]bool{}
	for k := events.Internal; k <= events.Conflict; k++ {
		names[k.String()] = true
	}
	if len(names) != 5 {
		t.Errorf("the kinds have the names %v", names)
	}
}
