package handlers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
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
	value     any // the data, decoded
	hash      string
	checked   bool // the data were checked and Operation opened
	operation Operation

	known   bool // history is what we know of the ledger: read, or taken to be empty
	reread  bool // somebody else may have moved the history
	history events.History

	start start // the attempt that the last record begins, as far as this worker knows it
	// uncalled are the tokens of our own starts whose calls never began, stored or not.
	uncalled []string
	mark     time.Duration // reading of ClosedFor up to which time has been charged; 0 before the first attempt
	spent    time.Duration // charged so far
	used     int           // attempts used up so far

	reads  int // failed reads in a row
	panics int
}

// start is what this worker knows of an attempt whose result is not recorded.
type start struct {
	token  string
	ready  time.Time     // not to be settled before: the call may still be under way
	called time.Time     // when, at the latest, the call began
	readAt time.Time     // when to read next
	mark   time.Duration // reading of ClosedFor when settling began
	cause  *events.Error // why our own call was unclear; nil for another's
}

// foreignPause is how long a kind that this worker does not serve is held before the next look: another version's
// workers will take it.
const foreignPause = 5 * time.Second

// Prepare does what needs no upstream: it decodes and checks the command, reads its history where fresh does not say
// that there can be none, and settles what the ledger alone can settle. It answers Ack when the command is done, Call
// when it is the upstream's turn, and Wait otherwise.
func (j *Job) Prepare(ctx context.Context, fresh bool) (next events.Next) {
	defer j.recovered(func(n events.Next) { next = n })
	if _, ok := j.d.families[j.delivery.Kind]; !ok {
		return events.Next{Action: events.Wait, At: time.Now().Add(foreignPause)}
	}
	if err := j.read(); err != nil {
		return j.unreadable(ctx, err)
	}
	if err := j.look(ctx, fresh); err != nil {
		return j.poll()
	}
	return j.proceed(ctx)
}

// look reads the history, unless there can be none or nobody else can have moved it.
func (j *Job) look(ctx context.Context, fresh bool) error {
	if !j.known && fresh {
		j.known = true
		return nil
	}
	if j.known && !j.reread && !j.open() {
		return nil
	}
	h, err := j.d.Ledger.History(ctx, j.cmd.Key, j.cmd.CID)
	if err != nil {
		return err
	}
	j.history, j.known, j.reread = h, true, false
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
	case last.Deferral != nil && last.Deferral.NotBefore.After(time.Now()):
		return j.waitDeferred(ctx, last.Deferral.NotBefore)
	}
	return j.begin(ctx)
}

// begin leads to the next attempt, unless the command is invalid or expired.
func (j *Job) begin(ctx context.Context) events.Next {
	if failure := j.check(); failure != nil {
		return j.reject(ctx, events.DeadInvalid, *failure)
	}
	if j.expired() {
		return j.expire(ctx)
	}
	return events.Next{Action: events.Call, At: j.cmd.Expiry}
}

func (j *Job) expired() bool { return !j.cmd.Expiry.IsZero() && !time.Now().Before(j.cmd.Expiry) }

// waitDeferred waits for a deferral's time, or for the command's end if that comes first.
func (j *Job) waitDeferred(ctx context.Context, until time.Time) events.Next {
	if j.expired() {
		return j.expire(ctx)
	}
	if !j.cmd.Expiry.IsZero() && j.cmd.Expiry.Before(until) {
		until = j.cmd.Expiry
	}
	return events.Next{Action: events.Wait, At: until}
}

// read decodes the command once. Its error says why it can never run.
func (j *Job) read() error {
	if j.family != nil {
		return nil
	}
	if j.delivery.Event == nil {
		return j.delivery.Undecodable
	}
	cmd, err := events.ReadCommand(j.delivery.Event)
	if err != nil {
		return err
	}
	j.cmd = cmd
	family, ok := j.d.families[cmd.Kind]
	if !ok {
		return &events.Error{Kind: events.Refused, Code: events.CodeUnknownType, Message: fmt.Sprintf(
			"the type %q names no kind that this worker serves", j.delivery.Event.Type())}
	}
	if cmd.Kind != j.delivery.Kind || cmd.Key != j.delivery.Key {
		return &events.Error{Kind: events.Refused, Code: events.CodeSubjectMismatch, Message: fmt.Sprintf(
			"published for kind %q and key %q, but the event is of kind %q and key %q", j.delivery.Kind, j.delivery.Key, cmd.Kind, cmd.Key)}
	}
	if why := cmd.Stale(time.Now(), j.delivery.Stored, j.d.Memory); why != "" {
		return &events.Error{Kind: events.Refused, Code: events.CodeStale, Message: why}
	}
	j.hashData()
	j.family = family
	return nil
}

// hashData decodes the data for the schema and takes their hash. Data that are no JSON are hashed as they are; the
// check will refuse them.
func (j *Job) hashData() {
	value, err := schemas.Decode(j.cmd.Data)
	if err == nil {
		j.value = value
	} else {
		value = string(j.cmd.Data)
	}
	j.hash, _ = events.HashData(events.CommandType(j.cmd.Kind), value)
}

// check checks the data once, and opens the operation. It answers what is wrong with them.
func (j *Job) check() *events.Failure {
	if j.checked {
		return nil
	}
	if j.value == nil {
		return &events.Failure{Code: events.CodeSchema, Message: "the data are not JSON"}
	}
	if at := events.FindSecret(j.value); at != "" {
		return &events.Failure{Code: events.CodeCredentials, Message: "the data carry a credential at " + at +
			": credentials belong into the worker's configuration, never into a command"}
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

func failureOf(err error) *events.Failure {
	e := events.AsError(err)
	return &events.Failure{Code: e.Code, Message: e.Message, UpstreamCode: e.UpstreamCode}
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
