package handlers

import (
	"context"
	"time"

	"subrelay/events"
)

func (j *Job) expire(ctx context.Context) events.Next {
	o := j.outcome(events.Expired, j.attempts(), j.d.Clock())
	o.Error = &events.Failure{Code: events.CodeExpired, Message: "not started before its expirytime, " + j.cmd.Expiry.UTC().Format(time.RFC3339)}
	return j.conclude(ctx, o)
}

// reject ends a command that is understood but wrong, or that the upstream will never accept. Dead letters come before
// outcomes, here as everywhere.
func (j *Job) reject(ctx context.Context, reason events.Reason, failure events.Failure) events.Next {
	if !j.putDead(ctx, reason, failure) {
		return j.poll()
	}
	o := j.outcome(events.Rejected, j.attempts(), j.d.Clock())
	o.Error = &failure
	return j.conclude(ctx, o)
}

// giveUp ends a command that has no attempt under way and for which nothing is left of its policy.
func (j *Job) giveUp(ctx context.Context, failure events.Failure) events.Next {
	failure = j.exhaustion(failure)
	if !j.putDead(ctx, events.DeadExhausted, failure) {
		return j.poll()
	}
	o := j.outcome(events.Failed, j.attempts(), j.d.Clock())
	o.Error = &failure
	return j.conclude(ctx, o)
}

// exhaustion is a last failure, told as the reason for giving up.
func (j *Job) exhaustion(last events.Failure) events.Failure {
	last.Message = "given up, the policy being " + j.policy().String() + "; last: " + last.Message
	return last
}

// bury ends a command that can never run and has no identity: dead letter, no outcome.
func (j *Job) bury(ctx context.Context, reason events.Reason, failure events.Failure) events.Next {
	if !j.putDead(ctx, reason, failure) {
		return j.poll()
	}
	return events.Next{Action: events.Ack}
}

func reasonOf(code string) events.Reason {
	switch code {
	case events.CodeUnknownType:
		return events.DeadUnknownType
	case events.CodeSubjectMismatch:
		return events.DeadSubjectMismatch
	}
	return events.DeadUndecodable
}

func (j *Job) putDead(ctx context.Context, reason events.Reason, failure events.Failure) bool {
	limited, cancel := context.WithTimeout(ctx, j.d.PublishTimeout)
	defer cancel()
	err := j.d.DeadLetters.Put(limited, events.DeadLetter{Delivery: j.delivery, Reason: reason, Error: failure, CID: j.cmd.CID})
	if err != nil {
		j.d.Logger.Warn("a dead letter could not be stored; trying again", "seq", j.delivery.Seq, "reason", reason, "error", err)
		return false
	}
	j.d.Observer.DeadLettered(reason)
	return true
}

// maxMessage is the longest message of a failure, in bytes: an upstream's prose must not make a record unstorable.
const maxMessage = 2048

func failureOf(err error) *events.Failure {
	e := events.AsError(err)
	f := &events.Failure{Code: e.Code, Message: cut(e.Message, maxMessage), UpstreamCode: cut(e.UpstreamCode, 64), Problems: e.Problems}
	if f.Code == "" {
		f.Code = events.CodeInternal
	}
	return f
}

// cut is s with at most n bytes, cut between characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}
