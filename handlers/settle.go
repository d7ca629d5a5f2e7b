package handlers

import (
	"context"
	"encoding/json"
	"time"

	"subrelay/events"
)

// interrupted goes on from a "started" without a result: our own whose call was unclear or never began, or another's.
// Another's call may still be under way, for as long as its worker may take, counted from our first sight of the
// record: clocks of other machines prove nothing.
func (j *Job) interrupted(ctx context.Context, last *events.Record) events.Next {
	if j.uncalled(last.Token) {
		return j.unapplied(ctx, last, errTooLate, false, j.conclude)
	}
	if j.start.token != last.Token {
		ready := time.Now().Add(j.d.settleWait())
		j.start = start{token: last.Token, ready: ready, called: ready}
	}
	if time.Now().Before(j.start.ready) {
		return j.waitUnlessMoved(j.start.ready)
	}
	return j.unclear(ctx, last)
}

// waitUnlessMoved waits until then, but looks at the ledger now and again: the attempt's own worker may report.
func (j *Job) waitUnlessMoved(until time.Time) events.Next {
	next := j.poll()
	if until.Before(next.At) {
		next.At = until
	}
	return next
}

// unclear settles an attempt that may have had its effect, or puts it in doubt where nothing can tell. Reading back is
// given up only by time during which the breaker was closed: while it is open, nobody could have read.
func (j *Job) unclear(ctx context.Context, record *events.Record) events.Next {
	settling := j.family.Settling()
	closed := max(j.d.ClosedFor(j.family.Spec().Upstream), 1)
	if j.start.mark == 0 {
		j.start.mark = closed
	}
	switch {
	case !settling.Means:
		return j.doubt(ctx, record, events.CodeNoMeans, "nothing can tell whether the effect happened")
	case closed-j.start.mark > settling.GiveUp:
		return j.doubt(ctx, record, events.CodeRead, "the state could not be read in time")
	case time.Now().Before(j.start.readAt):
		return j.waitUnlessMoved(j.start.readAt)
	}
	if failure := j.check(); failure != nil { // only if another version let it pass
		return j.doubt(ctx, record, failure.Code, failure.Message)
	}
	return events.Next{Action: events.Call}
}

// settle reads the state back and concludes.
func (j *Job) settle(ctx context.Context, record *events.Record) (events.Next, error) {
	limited, cancel := context.WithTimeout(j.trace(ctx, record.Attempt), j.d.callLimit())
	defer cancel()
	finding, err := j.operation.Settle(limited, planOf(record))
	if err != nil {
		if ctx.Err() != nil {
			return events.Next{Action: events.Release}, err
		}
		j.reads++
		j.start.readAt = time.Now().Add(max(j.policy().Delay(j.reads), events.AsError(err).RetryAfter))
		return j.waitUnlessMoved(j.start.readAt), err
	}
	j.reads = 0
	switch finding.Verdict {
	case Applied:
		return j.finish(ctx, j.succeeded(record, finding.Result)), nil
	case Unchanged:
		if late := j.start.called.Add(j.family.Settling().After); time.Now().Before(late) {
			j.start.readAt = late
			return j.waitUnlessMoved(late), nil
		}
		return j.unapplied(ctx, record, &events.Error{Kind: events.Unavailable, Code: events.CodeNotApplied,
			Message: "the attempt was unclear, and the state read back shows that it changed nothing"}, !j.start.probe, j.finish), nil
	}
	return j.doubt(ctx, record, events.CodeUnclear, "the state read back is neither that before nor the target: "+finding.Detail), nil
}

// planOf is what a started record keeps for settling.
func planOf(record *events.Record) json.RawMessage {
	if record.Start == nil {
		return nil
	}
	return record.Start.Settle
}

// doubt records that nobody can tell. The command is copied to the dead letters first.
func (j *Job) doubt(ctx context.Context, record *events.Record, code, message string) events.Next {
	failure := events.Failure{Code: code, Message: message}
	switch cause := j.start.cause; {
	case cause != nil:
		failure = *failureOf(cause)
		failure.Message += "; " + message
	case code == events.CodeNoMeans && record.Start != nil:
		failure = events.Failure{Code: events.CodeInterrupted,
			Message: "worker " + record.Start.Worker + " did not report on its call; " + message}
	}
	if !j.putDead(ctx, events.DeadInDoubt, failure) {
		return j.poll()
	}
	return j.conclude(ctx, j.ended(events.InDoubt, record, &failure))
}
