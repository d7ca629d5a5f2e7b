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
	if j.uncalled(last.Token) && !j.contested(last) {
		return j.unapplied(ctx, last, errTooLate, false, j.conclude)
	}
	if j.start.token != last.Token {
		ready := time.Now().Add(j.d.SettleWait())
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

// contested reports whether another worker may by now be settling the attempt by calling again. Then what we know of
// our own call says nothing of the attempt: the other's call may have its effect, and may be why ours was refused. Our
// own record of it would deny that. Another begins no earlier than Election after the deadline, so that what we write
// before the deadline is stored by then, or never will be.
func (j *Job) contested(record *events.Record) bool {
	if !j.family.Settling().Repeats || record.Start == nil {
		return false
	}
	if record.Token == j.own.token && time.Now().After(j.own.deadline) {
		return true // whatever the clock says by which the record was made, and which may have been put back
	}
	return j.d.Clock().After(record.Start.Deadline)
}

// join settles an attempt of ours that others may be settling too. What they have called, they may have called just now.
func (j *Job) join(ctx context.Context, record *events.Record) events.Next {
	now := time.Now()
	j.start.token, j.start.ready, j.start.called = record.Token, now, now
	return j.unclear(ctx, record)
}

// unclear settles an attempt that may have had its effect, or puts it in doubt where nothing can tell. Settling is given
// up only by time during which the breaker was closed: while it is open, nobody could have asked. It does not look at
// the command's expirytime: that ends what was not started.
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
		return j.doubt(ctx, record, events.CodeRead, "it could not be found out in time what became of it"+j.start.last)
	case time.Now().Before(j.start.readAt):
		return j.waitUnlessMoved(j.start.readAt)
	}
	if failure := j.check(); failure != nil { // only if another version let it pass
		return j.doubt(ctx, record, failure.Code, failure.Message)
	}
	return events.Next{Action: events.Call}
}

// settle finds out what became of an attempt, by reading or by calling again, and concludes.
func (j *Job) settle(ctx context.Context, record *events.Record) (events.Next, error) {
	repeats := j.family.Settling().Repeats
	if repeats {
		if moved, err := j.moved(ctx); err != nil || moved {
			return j.soon(), errNotAsked
		}
	}
	finding, err := j.ask(ctx, record, repeats)
	if err != nil && ctx.Err() != nil {
		return events.Next{Action: events.Release}, err
	}
	if err != nil || finding.Verdict == Pending {
		return j.askAgain(finding, err), err
	}
	j.start.reads = 0
	lasting, end := outlive(ctx, j.d.PublishTimeout)
	defer end()
	switch finding.Verdict {
	case Applied:
		if cause := j.start.cause; cause != nil {
			j.d.Logger.Info("an unclear attempt is settled as applied", "cid", j.cmd.CID, "kind", j.cmd.Kind, "unclear", cause.Message)
		}
		return j.finish(lasting, j.succeeded(record, finding.Result)), nil
	case Unchanged:
		if j.seen(record) {
			return j.doubt(lasting, record, events.CodeUnclear, "its reference is known there, and its effect does not show: "+
				cut(finding.Detail, maxMessage)), nil
		}
		if late := j.start.called.Add(j.family.Settling().After); time.Now().Before(late) {
			j.start.readAt = late
			return j.waitUnlessMoved(late), nil
		}
		if j.start.refusal != nil {
			return j.refused(lasting, record, j.start.refusal), nil
		}
		return j.unapplied(lasting, record, &events.Error{Kind: events.Unavailable, Code: events.CodeNotApplied,
			Message: "the attempt was unclear, and the state read back shows that it changed nothing"}, !j.start.probe, j.finish), nil
	}
	return j.doubt(lasting, record, events.CodeUnclear, "nothing clear was found: "+cut(finding.Detail, maxMessage)), nil
}

// seen reports whether the upstream has said that it knows the reference: of this attempt, or of an earlier one, which was
// taken to have changed nothing. Probably it did, and what shows no effect now has shown none before.
func (j *Job) seen(record *events.Record) bool {
	return j.start.seen || record.Attempt > 1 && j.start.cause != nil && j.start.cause.Code == events.CodeDuplicate
}

// moved reports whether another worker has written since we looked. Waiting for permission may have taken long, and an
// attempt that is settled must not be called again: the command may have ended by now.
func (j *Job) moved(ctx context.Context) (bool, error) {
	h, err := j.readHistory(ctx)
	return err == nil && h.LastSeq() != j.history.LastSeq(), err
}

// ask has the operation settle an attempt. A repetition whose reply is lost is the last call that may still be under way.
func (j *Job) ask(ctx context.Context, record *events.Record, repeats bool) (Finding, error) {
	limit := j.d.callLimit()
	if repeats {
		limit *= 2 // a call, and the reads that confirm it
	}
	limited, cancel := context.WithTimeout(j.trace(ctx, record.Attempt), limit)
	defer cancel()
	began := time.Now()
	finding, err := j.operation.Settle(limited, j.try(record.Attempt, planOf(record)))
	j.start.seen = j.start.seen || finding.Seen
	if repeats {
		j.d.Observer.Called(j.cmd.Kind, time.Since(began), err)
		if err != nil && callError(err).Kind == events.Unknown {
			j.start.called = began
		}
	}
	return finding, err
}

// askAgain waits before the next try to settle.
func (j *Job) askAgain(f Finding, err error) events.Next {
	pause := time.Duration(0)
	if j.start.last = "; last: " + f.Detail; err != nil {
		e := events.AsError(err)
		j.start.last, pause = "; last: "+e.Message, e.RetryAfter
	}
	j.start.reads++
	j.start.readAt = time.Now().Add(max(j.policy().Delay(j.start.reads), pause))
	return j.waitUnlessMoved(j.start.readAt)
}

// planOf is what a started record keeps for settling.
func planOf(record *events.Record) json.RawMessage {
	if record.Start == nil {
		return nil
	}
	return record.Start.Settle
}

// readPlan reads what Operation.Plan answered; a start of a version or setting without a plan has the zero one.
func readPlan[T any](raw json.RawMessage) (plan T) {
	if json.Unmarshal(raw, &plan) != nil {
		return *new(T)
	}
	return plan
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
	o := j.ended(events.InDoubt, record, &failure)
	o.IfApplied = j.ifApplied(record)
	return j.conclude(ctx, o)
}

// ifApplied is the result that the command gets if an operator settles its doubt as applied.
func (j *Job) ifApplied(record *events.Record) json.RawMessage {
	if failure := j.check(); failure == nil { // it opens the operation, where another worker has called
		if f, ok := j.operation.(foreseer); ok {
			if result, err := f.IfApplied(j.try(record.Attempt, planOf(record))); err == nil {
				return result
			}
		}
	}
	return settledByOperator(j.cmd.Kind)
}
