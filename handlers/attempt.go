package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"subrelay/events"
)

// Attempt does what needs the upstream: an attempt, or the settling of one. The caller holds the upstream's permission;
// probe says that it is the one probe of a half-open breaker. The error is what the breaker shall count: nil where the
// upstream answered, or was not asked (then it is an events.Internal error).
//
// It waits for nothing but the upstream and the ledger: a result of a call that cannot be stored is kept and tried
// again here, since nobody else knows it.
func (j *Job) Attempt(ctx context.Context, probe bool) (next events.Next, err error) {
	defer j.recovered(func(n events.Next) { next, err = n, errNotAsked })
	if last := j.history.Last(); last != nil && last.Status == events.Started {
		return j.settle(ctx, last)
	}
	if next := j.begin(ctx); next.Action != events.Call { // permission may have been long in coming
		return next, errNotAsked
	}
	if next, done, err := j.recheck(ctx, probe); done {
		return next, err
	}
	plan, err := j.plan(ctx)
	if err != nil {
		return j.unplanned(ctx, events.AsError(err), probe), err
	}
	if ctx.Err() != nil {
		return events.Next{Action: events.Release}, errNotAsked
	}
	if j.expired() { // while the read took its time
		return j.expire(ctx), errNotAsked
	}
	began := time.Now()
	record, next, ok := j.writeStart(ctx, plan, began)
	switch {
	case !ok:
		return next, errNotAsked
	case j.contested(record):
		return j.join(ctx, record), errNotAsked
	case ctx.Err() != nil:
		lasting, end := outlive(ctx, j.d.PublishTimeout)
		defer end()
		return j.unapplied(lasting, record, errStopping, false, j.finish), errNotAsked
	case time.Since(began) > j.d.PublishTimeout:
		return j.unapplied(ctx, record, errTooLate, false, j.finish), errNotAsked
	}
	return j.call(ctx, record, plan, probe)
}

// errNotAsked tells the breaker that the upstream was not called.
var errNotAsked error = &events.Error{Kind: events.Internal, Code: events.CodeInternal, Message: "the upstream was not called"}

// errStopping is why an attempt that a stopping worker had begun did not reach the upstream.
var errStopping = &events.Error{Kind: events.Unavailable, Code: events.CodeShutdown, Message: "the worker stopped before it called"}

// errTooLate is why an attempt was not called whose start was stored, or was seen to be stored, too late.
var errTooLate = &events.Error{Kind: events.Unavailable, Code: events.CodeLate,
	Message: "the start was stored too late to call in time; nothing was called"}

func (j *Job) policy() Policy { return j.d.Policies[j.cmd.Kind] }

// maxPlan is the most that what Operation.Plan answers may take, in bytes. With more a start could become a record that no
// broker takes, and the command would try to start for ever.
const maxPlan = 256 << 10

// plan reads what settling will need, where settling needs it.
func (j *Job) plan(ctx context.Context) (json.RawMessage, error) {
	if !j.family.Settling().Means {
		return nil, nil
	}
	limited, cancel := context.WithTimeout(j.trace(ctx, j.attempts()+1), j.d.callLimit())
	defer cancel()
	plan, err := j.operation.Plan(limited, j.try(j.attempts()+1, nil))
	if err == nil && len(plan) > maxPlan {
		err = &events.Error{Kind: events.Unavailable, Code: events.CodeRead, Message: fmt.Sprintf(
			"the state before the call takes %d bytes, and a record has room for %d", len(plan), maxPlan)}
	}
	if err == nil {
		j.reads = 0
	}
	return plan, err
}

// try is an attempt, as the operation is told of it.
func (j *Job) try(number int, plan json.RawMessage) Try {
	t := Try{Number: number, Plan: plan}
	var current json.RawMessage // of the attempt whose records are being read
	for i := range j.history {
		switch r := &j.history[i]; {
		case r.Attempt >= number:
		case r.Status == events.Started:
			if current = planOf(r); !t.Unsure && current != nil {
				t.Last = current
			}
		case r.NotApplied():
			t.Last, t.Unsure = current, true
		}
	}
	return t
}

// doubtful reports whether an unclear attempt before this one, though settled as not applied, may have had its effect
// late, which a read would show.
func (j *Job) doubtful(try Try) bool {
	s := j.family.Settling()
	return s.Means && !s.Repeats && try.Unsure && try.Last != nil
}

// recheck looks once more, before another attempt, whether one that was settled as having changed nothing has had its
// effect since: then it ends here, corrected or in doubt, and nothing is called. Where a repetition is harmless, nobody
// looks.
func (j *Job) recheck(ctx context.Context, probe bool) (next events.Next, done bool, err error) {
	last, try := j.history.Last(), j.try(j.attempts()+1, nil)
	if !j.doubtful(try) || j.family.Settling().Idempotent {
		return events.Next{}, false, nil
	}
	limited, cancel := context.WithTimeout(j.trace(ctx, last.Attempt), j.d.callLimit())
	defer cancel()
	finding, err := j.operation.Settle(limited, Try{Number: last.Attempt, Plan: try.Last})
	lasting, end := outlive(ctx, j.d.PublishTimeout)
	defer end()
	switch {
	case err != nil:
		return j.unplanned(ctx, events.AsError(err), probe), true, err
	case finding.Verdict == Unchanged:
		return events.Next{}, false, nil
	case finding.Verdict == Applied:
		j.d.Logger.Warn("an attempt that was settled as not applied has had its effect after all", "cid", j.cmd.CID, "kind", j.cmd.Kind)
		return j.finish(lasting, j.succeeded(last, finding.Result)), true, nil
	}
	return j.doubt(lasting, last, events.CodeUnclear, "an attempt that was settled as not applied may have had its effect after all: "+
		cut(finding.Detail, maxMessage)), true, nil
}

// errMoved is why an attempt is not begun whose own read shows another state than before an unclear one: the next look
// tells what that means. It says nothing of the upstream, and uses nothing up.
func errMoved(detail string) error {
	return &events.Error{Kind: events.Internal, Code: events.CodeRead, Op: "read", Upstream: true,
		Message: "the state has changed since an unclear attempt: " + detail}
}

// unplanned waits after a failed read before a call: nothing was written, so no attempt is used. A read that fails for
// this command alone is tried as often as its policy allows. One that says no ends the command.
func (j *Job) unplanned(ctx context.Context, err *events.Error, probe bool) events.Next {
	if ctx.Err() != nil {
		return events.Next{Action: events.Release}
	}
	if err.Kind == events.Refused {
		return j.reject(ctx, events.DeadRefused, *failureOf(err))
	}
	if !err.Upstream && !probe {
		j.reads++
	}
	if j.policy().Exhausted(j.reads, 0) {
		failure := failureOf(err)
		failure.Code, failure.Message = events.CodeRead, "the read before the call keeps failing: "+failure.Message
		return j.giveUp(ctx, *failure)
	}
	return events.Next{Action: events.Wait, At: time.Now().Add(max(j.policy().Delay(j.reads), err.RetryAfter))}
}

// charge is what the command has used of its policy: what the ledger says, and the time since then during which the
// breaker was closed.
func (j *Job) charge() events.Spent {
	now := max(j.d.ClosedFor(j.family.Spec().Upstream), 1)
	if j.mark > 0 && now > j.mark {
		j.spent.Millis += (now - j.mark).Milliseconds()
	}
	j.mark = now
	if last := j.history.Last(); last != nil && last.Spent != nil {
		j.spent.Attempts = max(j.spent.Attempts, last.Spent.Attempts)
		j.spent.Millis = max(j.spent.Millis, last.Spent.Millis)
	}
	return j.spent
}

func (j *Job) exhausted(s events.Spent) bool {
	return j.policy().Exhausted(s.Attempts, time.Duration(s.Millis)*time.Millisecond)
}

// attempts is how many attempts the history knows of.
func (j *Job) attempts() int {
	if last := j.history.Last(); last != nil {
		return last.Attempt
	}
	return 0
}

// The pauses after a start that could not be stored.
const (
	startMin = time.Second
	startMax = 16 * time.Second
)

// writeStart stores "started". Where it could not, ok is false and next says how to go on. A stopping worker waits for
// the ledger's answer all the same: a start that nobody knows to be stored costs the command a doubt.
func (j *Job) writeStart(ctx context.Context, plan json.RawMessage, began time.Time) (*events.Record, events.Next, bool) {
	spent := j.charge()
	now := j.d.Clock()
	o := j.outcome(events.Started, j.attempts()+1, now)
	o.FinishedAt = nil
	o.Token = j.newToken()
	o.Spent = &spent
	o.Start = &events.Start{Worker: j.d.Worker, Deadline: now.Add(j.d.PublishTimeout + j.d.callLimit()).UTC(), Settle: plan}
	j.own.token, j.own.deadline = o.Token, began.Add(j.d.PublishTimeout+j.d.callLimit())
	record, err := j.append(context.WithoutCancel(ctx), o)
	if err == nil {
		j.unstored = 0
		j.start = start{token: o.Token}
		return record, events.Next{}, true
	}
	j.reread = true // it may be stored, now or later; newToken's promise says that it was not called
	if events.KindOf(err) == events.Conflict {
		return nil, j.soon(), false
	}
	pause := min(startMin<<min(j.unstored, 10), startMax)
	j.unstored++
	j.d.Logger.Warn("a start could not be stored; trying again", "cid", o.Command.CID, "error", err, "pause", pause)
	return nil, events.Next{Action: events.Wait, At: time.Now().Add(pause)}, false
}

// call calls the upstream once and records what came of it.
func (j *Job) call(ctx context.Context, record *events.Record, plan json.RawMessage, probe bool) (events.Next, error) {
	limited, cancel := context.WithTimeout(j.trace(ctx, record.Attempt), j.d.callLimit())
	defer cancel()
	began := time.Now()
	j.called = record.Token
	j.start.called, j.start.ready, j.start.probe = began, began, probe
	try := j.try(record.Attempt, plan)
	result, err := j.operation.Call(limited, try)
	took := time.Since(began)
	defer func() { j.d.Observer.Called(j.cmd.Kind, took, err) }()
	lasting, end := outlive(ctx, j.d.PublishTimeout)
	defer end()
	if err == nil {
		return j.finish(lasting, j.succeeded(record, result)), nil
	}
	e := callError(err)
	if j.contested(record) { // we were frozen: whatever came of our call, another may have called since
		e, j.start.called = asUnknown(e), time.Now()
	}
	switch {
	case e.Kind == events.Refused && j.doubtful(try): // because an attempt before it has been done after all?
		j.start.refusal, j.start.cause = e, asUnknown(e)
		return j.unclear(lasting, record), err
	case e.Kind == events.Refused:
		return j.refused(lasting, record, e), err
	case e.Kind == events.Unknown && ctx.Err() != nil: // we cut it short: whoever comes next settles it
		return events.Next{Action: events.Release}, err
	case e.Kind == events.Unknown:
		j.start.cause = e
		return j.unclear(lasting, record), err
	case ctx.Err() != nil:
		return j.unapplied(lasting, record, errStopping, false, j.finish), err
	}
	return j.unapplied(lasting, record, e, !e.Upstream && !probe, j.finish), err
}

// callError is what an error of Operation.Call means. One that does not say that nothing was sent may hide an effect.
func callError(err error) *events.Error {
	e := events.AsError(err)
	var typed *events.Error
	switch {
	case e.Kind == events.Refused, e.Kind == events.Unavailable, e.Kind == events.Internal && errors.As(err, &typed):
		return e
	}
	return asUnknown(e)
}

func asUnknown(e *events.Error) *events.Error {
	unclear := *e
	unclear.Kind = events.Unknown
	return &unclear
}

// outlive is ctx, made to last for d beyond its end: what is known when a worker stops is worth a moment to store it.
func outlive(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return lasting, func() { stop(); cancel() }
}

// unapplied records, by store, that an attempt changed nothing: deferred, or failed once the policy is used up. counts
// says that the attempt counts. A command that cannot be copied to the dead letters is deferred first, and given up
// when its time has come.
func (j *Job) unapplied(ctx context.Context, record *events.Record, e *events.Error, counts bool, store storing) events.Next {
	if j.family.Settling().Repeats {
		store = j.deny
	}
	spent := j.charge()
	if counts {
		spent.Attempts++
	}
	if j.exhausted(spent) {
		failure := j.exhaustion(*failureOf(e))
		if j.putDead(ctx, events.DeadExhausted, failure) {
			return store(ctx, j.ended(events.Failed, record, &failure))
		}
	}
	return store(ctx, j.deferred(record, e, spent))
}

// storing stores a record and answers how to go on: conclude, finish or deny.
type storing func(context.Context, events.Outcome) events.Next

func (j *Job) deferred(record *events.Record, e *events.Error, spent events.Spent) events.Outcome {
	o := j.ended(events.Deferred, record, failureOf(e))
	o.Spent = &spent
	o.Deferral = &events.Deferral{NotBefore: o.FinishedAt.Add(max(j.policy().Delay(spent.Attempts), e.RetryAfter))}
	return o
}

// refused records the upstream's refusal of an attempt. Where the command cannot be copied to the dead letters, it is
// deferred: asking again is harmless, since a refusal changes nothing, and keeping the refusal here would keep the
// upstream's permission.
func (j *Job) refused(ctx context.Context, record *events.Record, e *events.Error) events.Next {
	store := j.finish
	if j.family.Settling().Repeats {
		store = j.deny
	}
	failure := failureOf(e)
	if !j.putDead(ctx, events.DeadRefused, *failure) {
		o := j.deferred(record, e, j.charge())
		o.Deferral.NotBefore = o.FinishedAt.Add(j.policy().Max)
		return store(ctx, o)
	}
	return store(ctx, j.ended(events.Rejected, record, failure))
}
