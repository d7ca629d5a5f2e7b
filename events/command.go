package events

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// The names of the CloudEvents extension attributes we read and write.
const (
	ExtExpiry      = "expirytime"
	ExtCorrelation = "correlationid"
	ExtCausation   = "causationid"
	ExtTraceParent = "traceparent"
	ExtTraceState  = "tracestate"
)

// MaxFuture is how far a command's time may lie after the moment it was stored.
const MaxFuture = 5 * time.Minute

// Command is a command as billing published it: who it is, what it wants, and until when.
type Command struct {
	ID      string
	Source  string
	Kind    Kind
	Subject string // the key as billing wrote it, such as "C-10042"
	Key     string // the key as a token of NATS subjects
	CID     string // see CID

	Time          time.Time // zero when absent
	Expiry        time.Time // zero when absent; not started after it
	CorrelationID string    // the command's own, or its cid
	TraceParent   string
	TraceState    string

	Data json.RawMessage
}

// ReadCommand reads a command from an event. Its errors are of kind Refused, with the codes undecodable, unknown_type
// or subject_mismatch: such an event can never run and has no identity. It does not look at the data.
func ReadCommand(e *event.Event) (Command, error) {
	if err := checkEvent(e); err != nil {
		return Command{}, unreadable(CodeUndecodable, "no valid CloudEvent: "+err.Error())
	}
	kind, ok := KindOfType(e.Type())
	if !ok {
		return Command{}, unreadable(CodeUnknownType, fmt.Sprintf("the type %.100q is not that of a command, subrelay.<kind>.v1", e.Type()))
	}
	key, err := KeyToken(e.Subject())
	if err != nil {
		return Command{}, unreadable(CodeSubjectMismatch, err.Error())
	}
	c := Command{
		ID: e.ID(), Source: e.Source(), Kind: kind, Subject: e.Subject(), Key: key,
		CID:  CID(e.Source(), e.ID(), e.Subject()),
		Time: e.Time(), Data: e.Data(),
	}
	if err := c.readExtensions(e.Extensions()); err != nil {
		return Command{}, err
	}
	return c, nil
}

// checkEvent checks the envelope: that it is complete, of version 1.0, and that the attributes of its identity hold no
// control characters, as CloudEvents has it (the cid joins them with NUL).
func checkEvent(e *event.Event) error {
	if err := e.Validate(); err != nil {
		lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
		slices.Sort(lines)
		return errors.New(strings.Join(lines, "; "))
	}
	if v := e.SpecVersion(); v != event.CloudEventsVersionV1 {
		return fmt.Errorf("its specversion is %q, and only 1.0 is understood", v)
	}
	for _, a := range [...]struct{ name, value string }{{"id", e.ID()}, {"source", e.Source()}, {"subject", e.Subject()}} {
		if !utf8.ValidString(a.value) || strings.ContainsFunc(a.value, unicode.IsControl) {
			return fmt.Errorf("its %s holds control characters or is no UTF-8", a.name)
		}
	}
	return nil
}

func (c *Command) readExtensions(ext map[string]any) error {
	c.CorrelationID = c.CID
	for _, a := range [...]struct {
		name   string
		target *string
	}{{ExtCorrelation, &c.CorrelationID}, {ExtTraceParent, &c.TraceParent}, {ExtTraceState, &c.TraceState}} {
		if v, ok := ext[a.name]; ok {
			if s, err := types.Format(v); err == nil && s != "" {
				*a.target = s
			}
		}
	}
	if v, ok := ext[ExtExpiry]; ok {
		t, err := types.ToTime(v)
		if err != nil {
			return unreadable(CodeUndecodable, fmt.Sprintf("the extension expirytime is no RFC 3339 time: %.60v", v))
		}
		c.Expiry = t
	}
	return nil
}

func unreadable(code, message string) error {
	return &Error{Kind: Refused, Code: code, Message: message}
}

// Stale says why the command's time makes it impossible to know whether it was done, or "" if it does not. memory is
// how long the ledger remembers; stored is when the broker stored the command, and counts for one without a time: it may
// have waited so long, in doubt, that its history is forgotten. What is stale stays stale.
func (c *Command) Stale(now, stored time.Time, memory time.Duration) string {
	switch {
	case c.Time.IsZero() && memory > 0 && !stored.IsZero() && stored.Before(now.Add(-memory)):
		return fmt.Sprintf("it was stored %s, before the %s that outcomes are remembered: whether it was done, nobody can know",
			stored.UTC().Format(time.RFC3339), memory)
	case c.Time.IsZero():
		return ""
	case c.Time.After(stored.Add(MaxFuture)):
		return fmt.Sprintf("time %s is more than %s after the moment the command was stored, %s",
			c.Time.UTC().Format(time.RFC3339), MaxFuture, stored.UTC().Format(time.RFC3339))
	case memory > 0 && c.Time.Before(now.Add(-memory)):
		return fmt.Sprintf("time %s is older than the %s that outcomes are remembered: whether it was done, nobody can know",
			c.Time.UTC().Format(time.RFC3339), memory)
	}
	return ""
}

// Ref is how outcomes name the command.
func (c *Command) Ref() Ref {
	r := Ref{ID: c.ID, Source: c.Source, Kind: c.Kind, Key: c.Subject, CID: c.CID}
	if !c.Time.IsZero() {
		t := c.Time.UTC()
		r.Time = &t
	}
	return r
}

// HashData is the hash by which the same id with other data is told apart: hex SHA-256 (first 32 characters) over the
// type and the data with its keys sorted and its white space gone. value is the data as decoded with json.Number.
func HashData(typ string, value any) (string, error) {
	canonical, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	h.Write([]byte(typ))
	h.Write([]byte{0})
	h.Write(canonical)
	return hex.EncodeToString(h.Sum(nil))[:32], nil
}

// Again is a deliberate repetition of a command's event: the same request under the id "<base>~<n>", caused by e. base
// is e's id, or, where e is a repetition itself, the id of the first of them, so that a base's repetitions are numbered
// through. It is a new command with a cid of its own; the same n gives the same command, so that repeating the verb is
// harmless. The expirytime, which would end it at once, is dropped, and so is the time.
func Again(e event.Event, n int) event.Event {
	base, _ := Repetition(e)
	next := e.Clone()
	next.SetID(RepetitionID(base, n))
	next.SetExtension(ExtCausation, CID(e.Source(), e.ID(), e.Subject()))
	next.SetExtension(ExtExpiry, nil)
	next.Context = withoutTime(next.Context)
	return next
}

// RepetitionID is the id of the n-th repetition of the command with the id base.
func RepetitionID(base string, n int) string { return fmt.Sprintf("%s~%d", base, n) }

// maxRepetitions is more repetitions than any command can have: no larger number is taken for one.
const maxRepetitions = 10_000

// Repetition reports which repetition e is, and of the command with which id; n is 0 where e is none. Only what Again
// has made counts: an id of billing's own that ends with "~5", and was not caused by a command of this base, is a base.
func Repetition(e event.Event) (base string, n int) {
	id := e.ID()
	i := strings.LastIndexByte(id, '~')
	cause, ok := e.Extensions()[ExtCausation].(string)
	if i <= 0 || !ok {
		return id, 0
	}
	n, err := strconv.Atoi(id[i+1:])
	if err != nil || n < 1 || n > maxRepetitions || RepetitionID(id[:i], n) != id {
		return id, 0
	}
	base = id[:i]
	if cause == CID(e.Source(), base, e.Subject()) {
		return base, n
	}
	for k := range n - 1 {
		if cause == CID(e.Source(), RepetitionID(base, k+1), e.Subject()) {
			return base, n
		}
	}
	return id, 0
}

func withoutTime(ctx event.EventContext) event.EventContext {
	if v1, ok := ctx.(*event.EventContextV1); ok {
		v1.Time = nil
	}
	return ctx
}
