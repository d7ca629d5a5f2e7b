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

// ended is what became of the attempt that record began.
func (j *Job) ended(status events.Status, record *events.Record, failure *events.Failure) events.Outcome {
	o := j.outcome(status, record.Attempt, j.d.Clock())
	o.Token, o.StartedAt, o.Error = record.Token, record.StartedAt, failure
	return o
}

func (j *Job) succeeded(record *events.Record, result json.RawMessage) events.Outcome {
	o := j.ended(events.Succeeded, record, nil)
	o.Result = events.CutResult(result)
	return o
}

// append stores a record behind the last one known, in PublishTimeout or not at all as far as we know.
func (j *Job) append(ctx context.Context, o events.Outcome) (*events.Record, error) {
	limited, cancel := context.WithTimeout(ctx, j.d.PublishTimeout)
	defer cancel()
	seq, err := j.d.Ledger.Append(limited, o, j.history.LastSeq())
	if err != nil {
		return nil, err
	}
	j.history = append(j.history, events.Record{Outcome: o, Seq: seq})
	j.d.Observer.Recorded(o.Command.Kind, o.Status)
	return j.history.Last(), nil
}

func (j *Job) readHistory(ctx context.Context) (events.History, error) {
	limited, cancel := context.WithTimeout(ctx, j.d.PublishTimeout)
	defer cancel()
	return j.d.Ledger.History(limited, j.cmd.Key, j.cmd.CID)
}

// conclude stores what the next step would find out again, should it not be stored now.
func (j *Job) conclude(ctx context.Context, o events.Outcome) events.Next {
	_, err := j.append(ctx, o)
	switch {
	case err == nil:
		return j.proceed(ctx)
	case events.KindOf(err) == events.Conflict:
		return j.soon()
	}
	j.reread = true
	return j.poll()
}

// deny stores that an attempt changed nothing, of a kind whose settling calls again. Where another was first, that one
// knows of more calls than we do, and ours is dropped. Where it is not known to be stored, the attempt is settled, but not
// before it surely never will be: a call that had its effect meanwhile would be denied.
func (j *Job) deny(ctx context.Context, o events.Outcome) events.Next {
	_, err := j.append(ctx, o)
	switch {
	case err == nil:
		return j.proceed(ctx)
	case events.KindOf(err) == events.Conflict:
		return j.soon()
	}
	j.d.Logger.Warn("a result could not be stored; settling the attempt", "cid", o.Command.CID, "status", o.Status, "error", err)
	j.reread, j.start.readAt = true, time.Now().Add(j.d.Election)
	return j.poll()
}

// The pauses between tries to store what must be stored.
const (
	storeMin = 100 * time.Millisecond
	storeMax = 5 * time.Second
)

// finish stores what only we know, the result of an attempt, and answers how the command goes on. What cannot be
// stored is kept and tried again until it is, or until the worker must end: then whoever comes next settles the attempt.
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
	h, err := j.readHistory(ctx)
	if err != nil {
		return events.Next{}, true // behind the record last known: a conflict again
	}
	j.history = h
	switch compare(o, h.Last()) {
	case behind:
		if last := h.Last(); last != nil && last.Status == events.InDoubt && o.Status == events.Deferred {
			// The message may be gone by now: only a final record ends the doubt.
			o.Status, o.Deferral, o.Spent = events.Failed, nil, nil
		}
		return events.Next{}, true
	case disagrees:
		return j.alarm(ctx, h.Last(), o), false
	}
	return j.proceed(ctx), false
}

// standing is how our result stands to a record that came first.
type standing int

const (
	superseded standing = iota // what is there is as good as ours, or better
	behind                     // ours belongs behind it
	disagrees                  // an effect is certain that the record denies, or does not know of
)

// compare decides how our result o stands to the last record of a history that has moved. Nothing ever goes behind a
// final record, and only the attempt's own result ends its doubt. A success goes behind "deferred" too, and corrects it: an
// effect came later than it could, or was that of a repetition which the worker that deferred did not know of.
func compare(o *events.Outcome, last *events.Record) standing {
	if last == nil {
		return behind
	}
	same := o.Token != "" && o.Token == last.Token
	succeeded := o.Status == events.Succeeded
	switch {
	case same && last.Status == o.Status:
		return superseded
	case same && (last.Status == events.Started || last.Status == events.InDoubt):
		return behind
	case last.Status == events.Deferred && (succeeded || o.Status == events.Rejected):
		return behind // nobody is calling, and nobody will
	case succeeded, same && last.Status == events.Succeeded && o.Status == events.Rejected:
		return disagrees
	}
	return superseded
}

// alarm tells of a result that disagrees with the record, and keeps it in the dead letters.
func (j *Job) alarm(ctx context.Context, last *events.Record, o *events.Outcome) events.Next {
	j.late = &events.Failure{Code: events.CodeLateResult,
		Message: "our result " + o.EventID() + " came after another was recorded: " + last.EventID()}
	j.d.Logger.Error("ALARM: a late result disagrees with the record", "cid", o.Command.CID, "key", o.Command.Key,
		"ours", o.EventID(), "recorded", last.EventID())
	j.d.Observer.Late(j.cmd.Kind)
	if !j.putLate(ctx) {
		return j.poll()
	}
	return j.proceed(ctx)
}

// putLate puts the late result, if there is one, into the dead letters, and reports whether none is left.
func (j *Job) putLate(ctx context.Context) bool {
	if j.late != nil && j.putDead(ctx, events.DeadLateResult, *j.late) {
		j.late = nil
	}
	return j.late == nil
}
