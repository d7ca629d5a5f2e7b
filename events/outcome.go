package events

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// MaxResult is the most a result may take in an outcome, in bytes of JSON. What is longer is replaced by a note.
const MaxResult = 64 << 10

// Ref names a command in an outcome.
type Ref struct {
	ID     string     `json:"id"`
	Source string     `json:"source"`
	Kind   Kind       `json:"kind"`
	Key    string     `json:"key"` // the command's subject, uncoded
	CID    string     `json:"cid"`
	Time   *time.Time `json:"time,omitempty"`
	Hash   string     `json:"hash,omitempty"` // see HashData
	Seq    uint64     `json:"seq,omitempty"`  // the command's sequence in its stream
}

// Failure is the error of an outcome.
type Failure struct {
	Code         string   `json:"code"`
	Message      string   `json:"message"`
	UpstreamCode string   `json:"upstream_code,omitempty"`
	Problems     []string `json:"problems,omitempty"` // every schema violation, each with its JSON pointer; or every item that was refused, and why
}

// Start is what a started record adds: who calls, until when, and what settling the attempt will need.
type Start struct {
	Worker   string    `json:"worker"`
	Deadline time.Time `json:"deadline"`
	// Settle is the state read before the call and the exact target, as the kind's family writes them.
	Settle json.RawMessage `json:"settle,omitempty"`
}

// Deferral is what a deferred record adds.
type Deferral struct {
	NotBefore time.Time `json:"not_before"`
}

// Spent is what a command has used of its retry policy. It travels in started and deferred records.
type Spent struct {
	Attempts int   `json:"attempts"` // attempts used up
	Millis   int64 `json:"millis"`   // time used up while the breaker was closed
}

// Resolution says who settled a doubt by hand, and why.
type Resolution struct {
	By     string `json:"by"`
	Reason string `json:"reason"`
}

// Outcome is the data of an outcome event: one record of the ledger. The frame is the same for all kinds.
type Outcome struct {
	Command  Ref             `json:"command"`
	Status   Status          `json:"status"`
	Attempt  int             `json:"attempt"` // counts calls, from 1; 0 where none was made
	Upstream Upstream        `json:"upstream"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    *Failure        `json:"error,omitempty"`
	// StartedAt is when the attempt began; FinishedAt when this record was made.
	StartedAt  *time.Time `json:"started_at,omitempty"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`

	// Token is the attempt's own mark, by which its writer knows its records again.
	Token    string    `json:"token,omitempty"`
	Start    *Start    `json:"start,omitempty"`
	Deferral *Deferral `json:"deferral,omitempty"`
	// IfApplied is the result that the command gets if its doubt is settled as applied, by hand; in_doubt alone has it.
	IfApplied  json.RawMessage `json:"if_applied,omitempty"`
	Spent      *Spent          `json:"spent,omitempty"`
	Resolution *Resolution     `json:"resolution,omitempty"`

	// CorrelationID, TraceParent and TraceState are attributes of the event, not part of its data.
	CorrelationID string `json:"-"`
	TraceParent   string `json:"-"`
	TraceState    string `json:"-"`
	// Source is the event's source, a setting of the worker.
	Source string `json:"-"`
}

// NotApplied reports whether the record says that an unclear attempt was settled as having changed nothing: what it called
// may have its effect later still.
func (o *Outcome) NotApplied() bool {
	return o.Status == Deferred && o.Error != nil && o.Error.Code == CodeNotApplied
}

// EventID is the id of the outcome's event, "<cid>.<status>.<attempt>".
func (o *Outcome) EventID() string {
	return o.Command.CID + "." + string(o.Status) + "." + strconv.Itoa(o.Attempt)
}

// Time is when the record was made.
func (o *Outcome) Time() time.Time {
	switch {
	case o.FinishedAt != nil:
		return *o.FinishedAt
	case o.StartedAt != nil:
		return *o.StartedAt
	}
	return time.Time{}
}

// Event writes the outcome as a CloudEvent.
func (o *Outcome) Event() (event.Event, error) {
	e := event.New()
	e.SetID(o.EventID())
	e.SetSource(o.Source)
	e.SetType(OutcomeType(o.Command.Kind, o.Status))
	e.SetSubject(o.Command.Key)
	if t := o.Time(); !t.IsZero() {
		e.SetTime(t)
	}
	e.SetExtension(ExtCorrelation, cmp.Or(o.CorrelationID, o.Command.CID))
	e.SetExtension(ExtCausation, o.Command.CID)
	if o.TraceParent != "" {
		e.SetExtension(ExtTraceParent, o.TraceParent)
	}
	if o.TraceState != "" {
		e.SetExtension(ExtTraceState, o.TraceState)
	}
	return e, e.SetData(event.ApplicationJSON, o)
}

// ReadOutcome reads an outcome from its event.
func ReadOutcome(e *event.Event) (Outcome, error) {
	var o Outcome
	if err := json.Unmarshal(e.Data(), &o); err != nil {
		return o, fmt.Errorf("the data of outcome %s: %w", e.ID(), err)
	}
	if want := OutcomeType(o.Command.Kind, o.Status); want != e.Type() {
		return o, fmt.Errorf("outcome %s: its type is %s and its data say %s", e.ID(), e.Type(), want)
	}
	o.Source = e.Source()
	o.CorrelationID, _ = e.Extensions()[ExtCorrelation].(string)
	o.TraceParent, _ = e.Extensions()[ExtTraceParent].(string)
	o.TraceState, _ = e.Extensions()[ExtTraceState].(string)
	return o, nil
}

// CutResult is result, or a note in its place when it is longer than MaxResult.
func CutResult(result json.RawMessage) json.RawMessage {
	if len(result) <= MaxResult {
		return result
	}
	note, _ := json.Marshal(map[string]any{"cut": true, "bytes": len(result)})
	return note
}

// Record is an outcome as the ledger holds it.
type Record struct {
	Outcome
	Seq uint64 // its sequence in the ledger
}

// History is all records of one command, in order.
type History []Record

// Last is the newest record, or nil.
func (h History) Last() *Record {
	if len(h) == 0 {
		return nil
	}
	return &h[len(h)-1]
}

// LastSeq is the sequence of the newest record, 0 where there is none.
func (h History) LastSeq() uint64 {
	if last := h.Last(); last != nil {
		return last.Seq
	}
	return 0
}

// Done reports whether nothing more will happen to the command by itself: the last record is final, or a doubt of a
// kind that goes on after doubts. Done never reverts.
func (h History) Done(spec Spec) bool {
	last := h.Last()
	if last == nil {
		return false
	}
	return last.Status.Final() || last.Status == InDoubt && !spec.HoldsAfterDoubt
}

// Hash is the hash of the data the history was begun with, "" where there is none.
func (h History) Hash() string {
	if len(h) == 0 {
		return ""
	}
	return h[0].Command.Hash
}
