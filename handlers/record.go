package handlers

import (
	"context"
	"encoding/json"
	"time"

	"subrelay/events"
)

// outcome is the frame of a record about the command.
func (j *Job) outcome(status events.Status, attempt int, at time.Time) events.Outcome {
	at = at.UTC()
	ref := j.cmd.Ref()
	ref.Hash, ref.Seq = j.hash, j.delivery.Seq
	return events.Outcome{
		Command: ref, Status: status, Attempt: attempt, Upstream: j.family.Spec().Upstream,
		StartedAt: &at, FinishedAt: &at, Source: j.d.Source,
		CorrelationID: j.cmd.CorrelationID, TraceParent: j.cmd.TraceParent, TraceState: j.cmd.TraceState,
	}
}

func (j *Job) succeeded(record *events.Record, result json.RawMessage) events.Outcome {
	o := j.outcome(events.Succeeded, record.Attempt, time.Now())
	o.Token, o.StartedAt, o.Result = record.Token, record.StartedAt, events.CutResult(result)
	return o
}

// append stores a record behind the last one known, once.
func (j *Job) append(ctx context.Context, o events.Outcome) (*events.Record, error) {
	seq, err := j.d.Ledger.Append(ctx, o, j.history.LastSeq())
	if err != nil {
		return nil, err
	}
	j.d.Observer.Recorded(o.Command.Kind, o.Status)
	j.history = append(j.history, events.Record{Outcome: o, Seq: seq})
	return j.history.Last(), nil
}

// The pauses between tries to store what must be stored.
const (
	storeMin = 100 * time.Millisecond
	storeMax = 5 * time.Second
)

// finish stores the result of an attempt and answers how the command goes on. What cannot be stored is kept and tried
// again until it is, or until the worker must end: then whoever comes next settles the attempt.
func (j *Job) finish(ctx context.Context, o events.Outcome) events.Next {
	for pause := storeMin; ; pause = min(2*pause, storeMax) {
		_, err := j.append(ctx, o)
		switch {
		case err == nil:
			return j.proceed(ctx)
		case events.KindOf(err) == events.Conflict:
			if next, again := j.fenced(ctx, &o); !again {
				return next
			}
		default:
			j.d.Logger.Warn("a result could not be stored; trying again", "cid", o.Command.CID, "status", o.Status, "error", err)
		}
		if !sleep(ctx, pause) {
			return events.Next{Action: events.Release}
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// fenced decides what becomes of our result when another record came first. It answers again=true where o, perhaps
// changed, is to be stored behind what is there now.
func (j *Job) fenced(ctx context.Context, o *events.Outcome) (next events.Next, again bool) {
	h, err := j.d.Ledger.History(ctx, j.cmd.Key, j.cmd.CID)
	if err != nil {
		return events.Next{}, true
	}
	j.history = h
	last := h.Last()
	switch {
	case last == nil, last.Token == o.Token && last.Status == events.Started:
		return events.Next{}, true
	case last.Token == o.Token && last.Status == o.Status:
		return j.proceed(ctx), false
	case last.Status == events.InDoubt && o.Status == events.InDoubt, last.Status.Final() && last.Status == o.Status:
		return j.proceed(ctx), false
	case last.Status == events.InDoubt:
		if o.Status == events.Deferred { // the message may be gone: only a final record ends the doubt
			o.Status, o.Deferral = events.Failed, nil
		}
		return events.Next{}, true
	case last.Status == events.Deferred && o.Status.Final() && o.Status != events.Failed:
		return events.Next{}, true
	case o.Status == events.Succeeded:
		return j.late(ctx, last, o)
	}
	return j.proceed(ctx), false
}

// late raises the alarm: an effect is certain, and the ledger says otherwise or is about to have it again.
func (j *Job) late(ctx context.Context, last *events.Record, o *events.Outcome) (events.Next, bool) {
	failure := events.Failure{Code: events.CodeLateResult, Message: "attempt " + o.EventID() +
		" succeeded, but was recorded otherwise meanwhile: " + last.EventID()}
	if !j.putDead(ctx, events.DeadLateResult, failure) {
		return events.Next{}, true
	}
	j.d.Observer.Late(j.cmd.Kind)
	j.d.Logger.Error("ALARM: a late result disagrees with the record", "cid", o.Command.CID, "key", o.Command.Key,
		"ours", o.EventID(), "recorded", last.EventID())
	return j.proceed(ctx), false
}

// conclude stores a record that follows no start of ours: rejected, expired, failed. Dead letters come first.
func (j *Job) conclude(ctx context.Context, o events.Outcome) events.Next {
	if _, err := j.append(ctx, o); err != nil {
		if events.KindOf(err) == events.Conflict {
			return j.soon()
		}
		j.reread = true
		return j.poll()
	}
	return j.proceed(ctx)
}

func (j *Job) expire(ctx context.Context) events.Next {
	o := j.outcome(events.Expired, j.attempts(), time.Now())
	o.Error = &events.Failure{Code: events.CodeExpired, Message: "not started before its expirytime, " + j.cmd.Expiry.UTC().Format(time.RFC3339)}
	return j.conclude(ctx, o)
}

func (j *Job) reject(ctx context.Context, reason events.Reason, failure events.Failure) events.Next {
	if !j.putDead(ctx, reason, failure) {
		return j.poll()
	}
	o := j.outcome(events.Rejected, j.attempts(), time.Now())
	o.Error = &failure
	return j.conclude(ctx, o)
}

// refused records the upstream's refusal of an attempt.
func (j *Job) refused(ctx context.Context, record *events.Record, e *events.Error) events.Next {
	failure := failureOf(e)
	o := j.outcome(events.Rejected, record.Attempt, time.Now())
	o.Token, o.StartedAt, o.Error = record.Token, record.StartedAt, failure
	return j.finishDead(ctx, events.DeadRefused, *failure, o)
}

// giveUp records that attempts or their time are used up.
func (j *Job) giveUp(ctx context.Context, e *events.Error) events.Next {
	failure := failureOf(e)
	failure.Message = "given up after " + j.policy().String() + ": " + failure.Message
	o := j.outcome(events.Failed, j.attempts(), time.Now())
	if last := j.history.Last(); last != nil && last.Status == events.Started {
		o.Token, o.StartedAt = last.Token, last.StartedAt
	}
	o.Error = failure
	return j.finishDead(ctx, events.DeadExhausted, *failure, o)
}

// finishDead copies the command to the dead letters, then stores the record of its attempt.
func (j *Job) finishDead(ctx context.Context, reason events.Reason, failure events.Failure, o events.Outcome) events.Next {
	for pause := storeMin; !j.putDead(ctx, reason, failure); pause = min(2*pause, storeMax) {
		if !sleep(ctx, pause) {
			return events.Next{Action: events.Release}
		}
	}
	return j.finish(ctx, o)
}

// unreadable ends a command that can never run and has no identity: dead letter, no outcome.
func (j *Job) unreadable(ctx context.Context, err error) events.Next {
	failure := failureOf(err)
	return j.bury(ctx, reasonOf(failure.Code), *failure)
}

func reasonOf(code string) events.Reason {
	switch code {
	case events.CodeUnknownType:
		return events.DeadUnknownType
	case events.CodeSubjectMismatch:
		return events.DeadSubjectMismatch
	case events.CodeStale:
		return events.DeadStale
	}
	return events.DeadUndecodable
}

func (j *Job) bury(ctx context.Context, reason events.Reason, failure events.Failure) events.Next {
	if !j.putDead(ctx, reason, failure) {
		return j.poll()
	}
	return events.Next{Action: events.Ack}
}

func (j *Job) putDead(ctx context.Context, reason events.Reason, failure events.Failure) bool {
	err := j.d.DeadLetters.Put(ctx, events.DeadLetter{Delivery: j.delivery, Reason: reason, Error: failure, CID: j.cmd.CID})
	if err != nil {
		j.d.Logger.Warn("a dead letter could not be stored; trying again", "seq", j.delivery.Seq, "reason", reason, "error", err)
		return false
	}
	j.d.Observer.DeadLettered(reason)
	return true
}
