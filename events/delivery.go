package events

import (
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// Delivery is one command as the broker side hands it to the meaning.
type Delivery struct {
	Seq    uint64    // its sequence in the command stream
	Stored time.Time // when the broker stored it
	Kind   Kind      // the kind token of its subject
	Key    string    // the key token of its subject
	Event  *event.Event
	// Undecodable says why Event is nil.
	Undecodable error
	// Raw and Header are the message's original bytes and headers, for the dead letters.
	Raw    []byte
	Header map[string][]string
}

// Action is what the broker side is to do with a delivery next.
type Action int

// The actions.
const (
	// Wait asks to be called again at Next.At. The lane stays held.
	Wait Action = iota
	// Ack says that the command is done in the ledger or dead-lettered, and will be acknowledged.
	Ack
	// Call says that the next step needs the upstream, and so its permission.
	Call
	// Release hands the command back, for another worker to take.
	Release
)

// Next is the answer to a step.
type Next struct {
	Action Action
	// At is when to step again: for Wait the due time; for Call, if not zero, the time at which to step without the
	// upstream if permission has not come (the command's expirytime).
	At time.Time
}

// Reason says why a command lies in the dead letters.
type Reason string

// The reasons, which are tokens of the dead letters' subjects.
const (
	DeadUndecodable     Reason = "undecodable"
	DeadUnknownType     Reason = "unknown_type"
	DeadSubjectMismatch Reason = "subject_mismatch"
	DeadStale           Reason = "stale"
	DeadIDReused        Reason = "id_reused"
	DeadInvalid         Reason = "invalid"
	DeadRefused         Reason = "refused"
	DeadExhausted       Reason = "exhausted"
	DeadInDoubt         Reason = "in_doubt"
	DeadLateResult      Reason = "late_result"
)

// Reasons lists every reason.
func Reasons() []Reason {
	return []Reason{
		DeadUndecodable, DeadUnknownType, DeadSubjectMismatch, DeadStale, DeadIDReused,
		DeadInvalid, DeadRefused, DeadExhausted, DeadInDoubt, DeadLateResult,
	}
}

// DeadLetter is a command that can never run or was given up, as it came, and why.
type DeadLetter struct {
	Delivery Delivery
	Reason   Reason
	Error    Failure
	CID      string // "" where no identity could be read
}

// EndsWithoutOutcome reports whether a dead letter of this reason is all that becomes of its command.
func (r Reason) EndsWithoutOutcome() bool {
	switch r {
	case DeadUndecodable, DeadUnknownType, DeadSubjectMismatch, DeadStale, DeadIDReused:
		return true
	}
	return false
}
