package handlers

import (
	"context"
	"encoding/json"
	"time"

	"subrelay/events"
)

// Family is the meaning of one kind of command.
type Family interface {
	Spec() events.Spec
	// Open understands a command whose data satisfy their schema. Its errors, of kind Refused, reject the command.
	Open(c *events.Command) (Operation, error)
	// Settling says what the upstream offers to settle an unclear attempt.
	Settling() Settling
}

// Settling says how unclear attempts of a kind are settled. The zero value says that nothing can tell: every unclear
// attempt is in doubt.
type Settling struct {
	// Means says that Operation.Settle can tell something, and that Operation.Plan must be asked before a call.
	Means bool
	// Repeats says that Operation.Settle calls again, under the reference by which the upstream knows the call. The
	// upstream has at most one effect under it; but that an attempt's first call changed nothing then says nothing of
	// the attempt, as soon as another worker may be settling it.
	Repeats bool
	// Idempotent says that a call behind one that had its effect changes nothing more: before another attempt nobody looks
	// whether the one before has had its effect late.
	Idempotent bool
	// After is how long after the call "not applied" may first be concluded.
	After time.Duration
	// GiveUp is after how long a settling without a clear answer becomes a doubt. Time counts only while the
	// upstream's breaker is closed. Longer than After.
	GiveUp time.Duration
}

// Try is one attempt, as an Operation is told of it.
type Try struct {
	Number int             // counts attempts, from 1
	Plan   json.RawMessage // what Operation.Plan answered; nil where it was not asked, or is being asked
	// Last is the plan of the attempt before, or, where Unsure, of the last one that was unclear; nil where there is none.
	Last json.RawMessage
	// Unsure says that an attempt before was unclear, and was then seen to have changed nothing: what it called may have
	// come later still, and may come yet.
	Unsure bool
}

// Operation is one command as its family understands it. Its methods that take a context call the upstream, each with
// the upstream's permission; their errors are *events.Error.
type Operation interface {
	// Plan reads what settling will need and fixes the exact target. It changes nothing upstream, and is called only
	// where Settling.Means. An error of kind Refused says that the upstream will never accept the command, because it
	// knows no such customer, say; any other that the read failed.
	Plan(ctx context.Context, try Try) (json.RawMessage, error)
	// Call has the effect, once. It returns the result for the outcome. An *events.Error of kind Internal says, as
	// Unavailable does, that nothing was sent; any other error that is not of kind Refused or Unavailable says that the
	// effect may have happened.
	Call(ctx context.Context, try Try) (json.RawMessage, error)
	// Settle finds out whether the attempt had its effect. It calls again only where Settling.Repeats. An error means
	// that nothing was found out yet; its kind is for the breaker.
	Settle(ctx context.Context, try Try) (Finding, error)
}

// foreseer is an Operation that knows more of the result of an attempt whose reply is lost than that an operator settled it.
type foreseer interface {
	// IfApplied is the result of the attempt if an operator finds that it was applied.
	IfApplied(try Try) (json.RawMessage, error)
}

// Finding is what settling found.
type Finding struct {
	Verdict Verdict
	Result  json.RawMessage // of an applied call
	Detail  string          // for people: what was seen; no secrets
	// Seen says that the upstream knows the attempt's reference: probably the call was done, and "not applied" is not
	// believed of it any more.
	Seen bool
}

// Verdict says whether a call had its effect.
type Verdict int

// The verdicts. The zero value is the safe one.
const (
	// Unclear says that the state is neither that before nor the target, or that nothing can tell: a doubt.
	Unclear Verdict = iota
	// Applied says that the state is exactly the target.
	Applied
	// Unchanged says that the state is exactly what it was before. It counts as not applied once Settling.After has
	// passed since the call.
	Unchanged
	// Pending says that the upstream knows of the call, and that its effect does not show yet: asked again.
	Pending
)
