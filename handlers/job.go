package handlers

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"subrelay/events"
	"subrelay/schemas"
)

// Job is the life of one delivered command in this worker. Its two steps, Prepare and Attempt, never wait: they answer
// what to do next. A Job keeps across steps what it has learnt; everything that must survive is in the ledger.
type Job struct {
	d        *Dispatcher
	delivery events.Delivery

	cmd       events.Command
	family    Family
	value     any   // the data, decoded, until they are checked
	unparsed  error // why they could not be
	hash      string
	checked   bool // the data were checked and Operation opened
	operation Operation

	known   bool // history is what we know of the ledger: read, or taken to be empty
	assumed bool // it was taken to be empty, since nobody else can have had the command
	reread  bool // somebody else may have moved the history
	history events.History

	name   string // the beginning of the tokens of this Job's starts
	starts int    // how many it has made
	called string // the token of its last start whose call began
	start  start  // the attempt that the last record begins, as far as this worker knows it
	own    struct {
		token    string    // of the last start that was made here
		deadline time.Time // its deadline, by the clock that does not jump
	}
	deferral struct {
		seq   uint64 // of the deferral that was seen last
		until time.Time
	}

	mark  time.Duration // reading of ClosedFor up to which time has been charged; 0 before the first attempt
	spent events.Spent  // charged so far
	late  *events.Failure

	reads    int // failed reads before a call in a row
	unstored int // starts in a row that could not be stored
	panics   int
}

// start is what this worker knows of an attempt whose result is not recorded.
type start struct {
	token  string
	ready  time.Time     // not to be settled before: the call may still be under way
	called time.Time     // when, at the latest, the call began
	readAt time.Time     // when to settle next
	reads  int           // tries to settle in a row that have shown nothing
	seen   bool          // the upstream has said that it knows the attempt's reference
	mark   time.Duration // reading of ClosedFor when settling began
	probe  bool          // our call was the probe of a half-open breaker
	cause  *events.Error // why our own call was unclear; nil for another's
	last   string        // what the last try to settle has shown, for people; "" before the first
	// refusal is the upstream's answer to our call where it may be one to an attempt before: it counts once a read shows
	// that nothing has changed.
	refusal *events.Error
}

// newToken is the token for a start. One of ours that is not j.called was never called, whether or not it was stored,
// and will not be: so a start that the ledger reports late is known to have changed nothing.
func (j *Job) newToken() string {
	if j.name == "" {
		j.name = crand.Text()
	}
	j.starts++
	return j.name + "-" + strconv.Itoa(j.starts)
}

func (j *Job) uncalled(token string) bool {
	return j.name != "" && strings.HasPrefix(token, j.name+"-") && token != j.called
}

// foreignPause is how long a kind that this worker does not serve is held before the next look: another version's
// workers will take it.
const foreignPause = 5 * time.Second

// Prepare does what needs no upstream: it decodes and checks the command, reads its history where fresh does not say
// that there can be none, and settles what the ledger alone can settle. It answers Ack when the command is done, Call
// when it is the upstream's turn, and Wait otherwise. It never waits itself.
func (j *Job) Prepare(ctx context.Context, fresh bool) (next events.Next) {
	defer j.recovered(func(n events.Next) { next = n })
	if _, ok := j.d.families[j.delivery.Kind]; !ok {
		return events.Next{Action: events.Wait, At: time.Now().Add(foreignPause)}
	}
	if j.family == nil && j.panics >= maxPanics {
		return j.bury(ctx, events.DeadUndecodable, events.Failure{Code: events.CodeInternal, Message: "it cannot be read without a crash"})
	}
	if err := j.read(); err != nil {
		failure := failureOf(err)
		return j.bury(ctx, reasonOf(failure.Code), *failure)
	}
	if !j.putLate(ctx) {
		return j.poll()
	}
	if err := j.look(ctx, fresh && j.stale() == ""); err != nil {
		return j.poll()
	}
	return j.proceed(ctx)
}

// look reads the history, unless there can be none or nobody else can have moved it.
func (j *Job) look(ctx context.Context, fresh bool) error {
	if !j.known && fresh {
		j.known, j.assumed = true, true
		return nil
	}
	if j.known && !j.reread && !j.open() {
		return nil
	}
	h, err := j.readHistory(ctx)
	if err != nil {
		return err
	}
	j.history, j.known, j.assumed, j.reread = h, true, false, false
	return nil
}

// open reports whether the last record asks for another that somebody else may write.
func (j *Job) open() bool {
	last := j.history.Last()
	return last != nil && (last.Status == events.InDoubt || last.Status == events.Started)
}

// proceed decides by the last record of the history.
func (j *Job) proceed(ctx context.Context) events.Next {
	last := j.history.Last()
	if last == nil {
		return j.begin(ctx)
	}
	if last.Command.Hash != j.hash {
		return j.bury(ctx, events.DeadIDReused, events.Failure{Code: events.CodeIDReused, Message: fmt.Sprintf(
			"the id %q of source %q was used before with other data: the first use stands (cid %s)", j.cmd.ID, j.cmd.Source, j.cmd.CID)})
	}
	switch {
	case j.history.Done(j.family.Spec()):
		return events.Next{Action: events.Ack}
	case last.Status == events.InDoubt:
		return j.poll()
	case last.Status == events.Started:
		return j.interrupted(ctx, last)
	case last.Deferral != nil && j.due(last).After(time.Now()):
		return j.waitDeferred(ctx, j.due(last))
	}
	return j.begin(ctx)
}

// begin leads to the next attempt, unless the command is stale, invalid, expired or used up.
func (j *Job) begin(ctx context.Context) events.Next {
	if why := j.stale(); why != "" && len(j.history) == 0 {
		if j.assumed { // it has become stale while it waited: make sure
			return j.soon()
		}
		return j.bury(ctx, events.DeadStale, events.Failure{Code: events.CodeStale, Message: why})
	}
	if j.panics >= maxPanics {
		return j.giveUp(ctx, events.Failure{Code: events.CodeInternal, Message: "it cannot be tried without a crash; see the worker's log"})
	}
	if failure := j.check(); failure != nil {
		if j.assumed { // its id may have been used before with other data, of which alone its dead letter must tell
			return j.soon()
		}
		return j.reject(ctx, events.DeadInvalid, *failure)
	}
	if j.expired() {
		return j.expire(ctx)
	}
	if last := j.history.Last(); last != nil && last.Spent != nil && j.exhausted(*last.Spent) {
		return j.giveUp(ctx, lastFailure(last))
	}
	return events.Next{Action: events.Call, At: j.end()}
}

func lastFailure(r *events.Record) events.Failure {
	if r.Error == nil {
		return events.Failure{Code: events.CodeExhausted, Message: "attempts or their total time are used up"}
	}
	return *r.Error
}

// stale says why whether the command was done cannot be known, if the ledger does not know it, or "".
func (j *Job) stale() string { return j.cmd.Stale(j.d.Clock(), j.delivery.Stored, j.d.Memory) }

func (j *Job) expired() bool { return !j.cmd.Expiry.IsZero() && !j.d.Clock().Before(j.cmd.Expiry) }

// due is when a deferral's time has come: as its record says, but no later than its writer meant it to last, counted from
// our first sight of it. The writer's clock may be an hour ahead of ours.
func (j *Job) due(r *events.Record) time.Time {
	if j.deferral.seq != r.Seq {
		pause := min(r.Deferral.NotBefore.Sub(r.Time()), r.Deferral.NotBefore.Sub(j.d.Clock()))
		j.deferral.seq, j.deferral.until = r.Seq, time.Now().Add(max(pause, 0))
	}
	return j.deferral.until
}

// end is when the command expires, counted from now by the clock that does not jump; zero where it never does.
func (j *Job) end() time.Time {
	if j.cmd.Expiry.IsZero() {
		return time.Time{}
	}
	return time.Now().Add(j.cmd.Expiry.Sub(j.d.Clock()))
}

// waitDeferred waits for a deferral's time, or for the command's end if that comes first.
func (j *Job) waitDeferred(ctx context.Context, until time.Time) events.Next {
	if j.expired() {
		return j.expire(ctx)
	}
	if end := j.end(); !end.IsZero() && end.Before(until) {
		until = end
	}
	return events.Next{Action: events.Wait, At: until}
}

// maxAttributes is the most that the attributes which we repeat in outcomes may take, in bytes. What is longer could
// become a record that no broker takes.
const maxAttributes = 16 << 10

// read decodes the command once. Its error says why it can never run; it depends on the message's bytes alone.
func (j *Job) read() error {
	if j.family != nil {
		return nil
	}
	if j.delivery.Event == nil {
		return undecodable(j.delivery.Undecodable)
	}
	cmd, err := events.ReadCommand(j.delivery.Event)
	if err != nil {
		return err
	}
	j.cmd = cmd
	family, ok := j.d.families[cmd.Kind]
	_, known := events.SpecOf(events.Specs(), cmd.Kind) // a kind that only other workers serve is under the wrong subject here
	if !ok && (!known || cmd.Kind == j.delivery.Kind) {
		return &events.Error{Kind: events.Refused, Code: events.CodeUnknownType, Message: fmt.Sprintf(
			"the type %q names no kind that this worker serves", j.delivery.Event.Type())}
	}
	if cmd.Kind != j.delivery.Kind || cmd.Key != j.delivery.Key {
		return &events.Error{Kind: events.Refused, Code: events.CodeSubjectMismatch, Message: fmt.Sprintf(
			"published for kind %q and key %q, but the event is of kind %q and key %q", j.delivery.Kind, j.delivery.Key, cmd.Kind, cmd.Key)}
	}
	if n := len(cmd.ID) + len(cmd.Source) + len(cmd.CorrelationID) + len(cmd.TraceParent) + len(cmd.TraceState); n > maxAttributes {
		return &events.Error{Kind: events.Refused, Code: events.CodeUndecodable, Message: fmt.Sprintf(
			"id, source, correlationid, traceparent and tracestate take %d bytes, and %d is the most", n, maxAttributes)}
	}
	j.hashData()
	j.family = family
	j.delivery.Event = nil // it has said everything, and a command may wait long
	return nil
}

// undecodable is why no event could be read, with a code of ours.
func undecodable(err error) error {
	var e *events.Error
	if errors.As(err, &e) {
		return err
	}
	message := "no CloudEvent could be read"
	if err != nil {
		message += ": " + string(events.Mask([]byte(err.Error())))
	}
	return &events.Error{Kind: events.Refused, Code: events.CodeUndecodable, Message: message}
}

// hashData decodes the data for the schema and takes their hash. Data that are no JSON are hashed as they are; the
// check will refuse them.
func (j *Job) hashData() {
	value, err := schemas.Decode(j.cmd.Data)
	if j.value, j.unparsed = value, err; err != nil {
		value = string(j.cmd.Data)
	}
	j.hash, _ = events.HashData(events.CommandType(j.cmd.Kind), value)
}

// check checks the data once, and opens the operation. It answers what is wrong with them.
func (j *Job) check() *events.Failure {
	if j.checked {
		return nil
	}
	if j.unparsed != nil {
		return &events.Failure{Code: events.CodeSchema, Message: "the data are not JSON: " + cut(string(events.Mask([]byte(j.unparsed.Error()))), maxMessage)}
	}
	if at := events.FindSecret(j.value); at != "" {
		return &events.Failure{Code: events.CodeCredentials, Message: "the data carry a credential at " + at +
			"; credentials belong into the worker's configuration, never into a command"}
	}
	typ := events.CommandType(j.cmd.Kind)
	if problems := j.d.Schemas.Validate(typ, j.value); len(problems) > 0 {
		return schemaFailure(typ, problems)
	}
	operation, err := j.family.Open(&j.cmd)
	if err != nil {
		return failureOf(err)
	}
	j.operation, j.checked, j.value = operation, true, nil
	return nil
}

func schemaFailure(typ string, problems []schemas.Problem) *events.Failure {
	f := &events.Failure{Code: events.CodeSchema}
	for _, p := range problems {
		f.Problems = append(f.Problems, p.String())
	}
	f.Message = fmt.Sprintf("the data do not satisfy the schema of %s: %s", typ, f.Problems[0])
	if more := len(problems) - 1; more > 0 {
		f.Message += fmt.Sprintf(" (and %d more)", more)
	}
	return f
}

// The pauses between looks at a ledger that somebody else must move, or that cannot be reached.
const (
	pollMin = 100 * time.Millisecond
	pollMax = 400 * time.Millisecond
)

func (j *Job) poll() events.Next {
	return events.Next{Action: events.Wait, At: time.Now().Add(pollMin + rand.N(pollMax-pollMin))}
}

// soon steps again at once, on a fresh view of the history.
func (j *Job) soon() events.Next {
	j.reread = true
	return events.Next{Action: events.Wait, At: time.Now()}
}

// maxPanics is how often a step of a command with no attempt under way may panic before the command is given up.
const maxPanics = 6

// recovered is the one place where a panic ends. What the step had begun is found in the ledger by the next one.
func (j *Job) recovered(answer func(events.Next)) {
	r := recover()
	if r == nil {
		return
	}
	j.panics++
	j.d.Logger.Error("a step of a command panicked; it will be tried again", "kind", j.delivery.Kind, "cid", j.cmd.CID,
		"seq", j.delivery.Seq, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
	j.reread = true
	answer(events.Next{Action: events.Wait, At: time.Now().Add(time.Second << min(j.panics, 6))})
}

// trace puts an attempt's reference and the command's trace context on a call.
func (j *Job) trace(ctx context.Context, attempt int) context.Context {
	return events.WithTrace(ctx, events.Trace{
		Ref: j.cmd.CID + "." + strconv.Itoa(attempt), Parent: j.cmd.TraceParent, State: j.cmd.TraceState,
	})
}
