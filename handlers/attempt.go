package handlers

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"

	"subrelay/events"
)

// Attempt does what needs the upstream: an attempt, or the settling of one. The caller holds the upstream's permission;
// probe says that it is the one probe of a half-open breaker. The error is what the breaker shall count: nil where the
// upstream answered, or was not asked (then it is an events.Internal error).
func (j *Job) Attempt(ctx context.Context, probe bool) (next events.Next, err error) {
	defer j.recovered(func(n events.Next) { next, err = n, errNotAsked })
	if last := j.history.Last(); last != nil && last.Status == events.Started {
		return j.settle(ctx, last, probe)
	}
	if j.expired() {
		return j.expire(ctx), errNotAsked
	}
	plan, err := j.plan(ctx)
	if err != nil {
		return j.unplanned(ctx, events.AsError(err)), err
	}
	began := time.Now()
	j.charge()
	record, next, ok := j.writeStart(ctx, plan, began)
	if !ok {
		return next, errNotAsked
	}
	if time.Since(began) > j.d.PublishTimeout {
		j.uncalled = append(j.uncalled, record.Token)
		return j.interrupted(ctx, record), errNotAsked
	}
	return j.call(ctx, record, plan, probe)
}

// errNotAsked tells the breaker that the upstream was not called.
var errNotAsked error = &events.Error{Kind: events.Internal, Code: events.CodeInternal, Message: "the upstream was not called"}

func (j *Job) policy() Policy { return j.d.Policies[j.cmd.Kind] }

// plan reads what settling will need, where settling needs it.
func (j *Job) plan(ctx context.Context) (json.RawMessage, error) {
	if !j.family.Settling().Means {
		return nil, nil
	}
	return j.operation.Plan(j.trace(ctx))
}

// unplanned waits after a failed read before a call: nothing was written, so no attempt is used. A read that fails for
// this command alone is tried as often as its policy allows.
func (j *Job) unplanned(ctx context.Context, err *events.Error) events.Next {
	if ctx.Err() != nil {
		return events.Next{Action: events.Release}
	}
	if !err.Upstream {
		j.reads++
	}
	if j.policy().Exhausted(j.reads, 0) {
		return j.giveUp(ctx, &events.Error{Kind: events.Unavailable, Code: events.CodeRead,
			Message: "the read before the call keeps failing: " + err.Message, UpstreamCode: err.UpstreamCode})
	}
	return events.Next{Action: events.Wait, At: time.Now().Add(max(j.policy().Delay(j.reads), err.RetryAfter))}
}

// charge adds the time since the last charge during which the breaker was closed to what the command has used up.
func (j *Job) charge() {
	now := j.d.ClosedFor(j.family.Spec().Upstream)
	if j.mark == 0 {
		if last := j.history.Last(); last != nil && last.Spent != nil {
			j.spent, j.used = time.Duration(last.Spent.Millis)*time.Millisecond, last.Spent.Attempts
		}
	} else if now > j.mark {
		j.spent += now - j.mark
	}
	j.mark = max(now, 1)
}

// writeStart stores "started". Where it could not, ok is false and next says how to go on.
func (j *Job) writeStart(ctx context.Context, plan json.RawMessage, began time.Time) (*events.Record, events.Next, bool) {
	o := j.outcome(events.Started, j.attempts()+1, began)
	o.FinishedAt = nil
	o.Token = rand.Text()
	o.Spent = &events.Spent{Attempts: j.used, Millis: j.spent.Milliseconds()}
	o.Start = &events.Start{Worker: j.d.Worker, Deadline: began.Add(j.d.PublishTimeout + j.d.CallTimeout).UTC(), Settle: plan}
	j.start = start{token: o.Token}
	limited, cancel := context.WithTimeout(ctx, j.d.PublishTimeout)
	defer cancel()
	record, err := j.append(limited, o)
	if err == nil {
		return record, events.Next{}, true
	}
	j.uncalled = append(j.uncalled, o.Token) // should it turn out to be stored
	j.reread = true
	if events.KindOf(err) == events.Conflict {
		return nil, j.soon(), false
	}
	return nil, events.Next{Action: events.Wait, At: time.Now().Add(time.Second)}, false
}

// attempts is how many calls the history knows of.
func (j *Job) attempts() int {
	if last := j.history.Last(); last != nil {
		return last.Attempt
	}
	return 0
}

// call calls the upstream once and records what came of it.
func (j *Job) call(ctx context.Context, record *events.Record, plan json.RawMessage, probe bool) (events.Next, error) {
	limited, cancel := context.WithTimeout(j.trace(ctx), j.d.CallTimeout)
	defer cancel()
	began := time.Now()
	j.start.called, j.start.ready = began, began
	result, err := j.operation.Call(limited, plan)
	j.d.Observer.Called(j.cmd.Kind, time.Since(began), err)
	if err == nil {
		return j.finish(ctx, j.succeeded(record, result)), nil
	}
	if ctx.Err() != nil {
		return events.Next{Action: events.Release}, err
	}
	e := events.AsError(err)
	switch e.Kind {
	case events.Refused:
		return j.refused(ctx, record, e), err
	case events.Unknown:
		j.start.cause = e
		return j.unclear(ctx, record), err
	}
	return j.postpone(ctx, record, e, probe), err
}

// trace puts the attempt's reference and the command's trace context on a call.
func (j *Job) trace(ctx context.Context) context.Context {
	return events.WithTrace(ctx, events.Trace{
		Ref: fmt.Sprintf("%s.%d", j.cmd.CID, j.attempts()), Parent: j.cmd.TraceParent, State: j.cmd.TraceState,
	})
}

// postpone records that the attempt changed nothing: deferred, or failed once the policy is used up. A failure that
// speaks of the upstream as a whole, and any failed probe, uses up no attempt.
func (j *Job) postpone(ctx context.Context, record *events.Record, e *events.Error, probe bool) events.Next {
	j.charge()
	if !e.Upstream && !probe {
		j.used++
	}
	if j.policy().Exhausted(j.used, j.spent) {
		return j.giveUp(ctx, e)
	}
	o := j.outcome(events.Deferred, record.Attempt, time.Now())
	o.Token, o.StartedAt = record.Token, record.StartedAt
	o.Error = failureOf(e)
	o.Spent = &events.Spent{Attempts: j.used, Millis: j.spent.Milliseconds()}
	o.Deferral = &events.Deferral{NotBefore: time.Now().Add(max(j.policy().Delay(j.used), e.RetryAfter)).UTC()}
	return j.finish(ctx, o)
}
