package history

import "subrelay/events"

// Command is one command as the command stream accepted it.
type Command struct {
	// CID is the command's identity; "" where none could be read from it.
	CID      string
	Key      string // the command's subject, uncoded
	Kind     events.Kind
	Upstream events.Upstream // default: the upstream of the kind
	// Seq is its sequence in the command stream. Several with one CID are the same command, sent again.
	Seq uint64
}

// Accepted is c as the command stream accepted it under seq.
func Accepted(c *events.Command, seq uint64) Command {
	return Command{CID: c.CID, Key: c.Subject, Kind: c.Kind, Seq: seq}
}

// Dead is one dead letter.
type Dead struct {
	Reason events.Reason
	CID    string // default: that of the command with this Seq
	Seq    uint64 // the command's sequence in the command stream
}

// Evidence is all that Check judges by. It must be complete: what is not in it did not happen.
type Evidence struct {
	Commands []Command
	// Effects are the upstreams' books: all calls that change state, in any order. Ticks are compared only within one
	// upstream.
	Effects []Effect
	// Records is the ledger, in any order.
	Records []events.Record
	Dead    []Dead
	// Specs are the kinds; nil means events.Specs().
	Specs []events.Spec
}
