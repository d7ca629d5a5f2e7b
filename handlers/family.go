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
	// After is how long after the call "not applied" may first be concluded.
	After time.Duration
	// GiveUp is after how long a settling without a clear answer becomes a doubt. Time counts only while the
	// upstream's breaker is closed. Longer than After.
	GiveUp time.Duration
}

// Operation is one command as its family understands it. Its methods that take a context call the upstream, each with
// the upstream's permission; their errors are *events.Error.
type Operation interface {
	// Plan reads what settling will need and fixes the exact target. It changes nothing upstream, and is called only
	// where Settling.Means. An error means that the read failed.
	Plan(ctx context.Context) (json.RawMessage, error)
	// Call has the effect, once. It returns the result for the outcome. plan is nil where there was none. An
	// *events.Error of kind Internal says, as Unavailable does, that nothing was sent; any other error that is not of
	// kind Refused or Unavailable says that the effect may have happened.
	Call(ctx context.Context, plan json.RawMessage) (json.RawMessage, error)
	// Settle finds out whether the call that plan belongs to had its effect. An error means that the read failed.
	Settle(ctx context.Context, plan json.RawMessage) (Finding, error)
}

// Finding is what settling found.
type Finding struct {
	Verdict Verdict
	Result  json.RawMessage // of an applied call
	Detail  string          // for people: what was seen; no secrets
}

// Verdict says whether a call had its effect.
type Verdict int

// The verdicts. The zero value is the safe one.
const (
	// Unclear says that the state is neither that before nor the target: a doubt.
	Unclear Verdict = iota
	// Applied says that the state is exactly the target.
	Applied
	// Unchanged says that the state is exactly what it was before. It counts as not applied once Settling.After has
	// passed since the call.
	Unchanged
)
