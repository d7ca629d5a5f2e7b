package handlers

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"subrelay/events"
)

// Resolve writes the truth about a command in doubt behind its last record: succeeded where the effect was applied,
// else failed with code not_applied. Repeating it with the same answer returns the record that is there already.
// Kinds of error: Refused where the command is not in doubt, or resolved otherwise; Conflict where somebody else was
// first.
func Resolve(ctx context.Context, ledger Ledger, source string, h events.History, applied bool, by events.Resolution) (events.Record, error) {
	want := events.Failed
	if applied {
		want = events.Succeeded
	}
	last := h.Last()
	switch {
	case by.By == "" || by.Reason == "":
		return events.Record{}, &events.Error{Kind: events.Refused, Code: "resolution_incomplete", Message: "a resolution needs a name and a reason"}
	case last == nil:
		return events.Record{}, &events.Error{Kind: events.Refused, Code: "not_found", Message: "no such command is known"}
	case last.Status == want && last.Resolution != nil:
		return *last, nil
	case last.Status != events.InDoubt:
		return events.Record{}, &events.Error{Kind: events.Refused, Code: "not_in_doubt",
			Message: fmt.Sprintf("command %s is not in doubt: its last record says %s", last.Command.CID, last.Status)}
	}
	o := resolution(last, want, source, by)
	seq, err := ledger.Append(ctx, o, last.Seq)
	if err != nil {
		return events.Record{}, err
	}
	return events.Record{Outcome: o, Seq: seq}, nil
}

func resolution(last *events.Record, status events.Status, source string, by events.Resolution) events.Outcome {
	now := time.Now().UTC()
	o := last.Outcome
	o.Status, o.FinishedAt, o.Source, o.Resolution, o.Error, o.IfApplied = status, &now, source, &by, nil, nil
	if status == events.Succeeded {
		if o.Result = last.IfApplied; o.Result == nil {
			o.Result = settledByOperator(o.Command.Kind)
		}
	} else {
		o.Error = &events.Failure{Code: events.CodeNotApplied, Message: "the doubt was settled as not applied by " + by.By + ": " + by.Reason}
	}
	return o
}

// settledByOperator is the result of a command of which nothing is known but that an operator says it was applied.
func settledByOperator(kind events.Kind) json.RawMessage {
	if kind == events.NetflixCreate { // the token came with a reply that nobody has
		return json.RawMessage(`{"token_lost":true,"settled_by":"operator"}`)
	}
	return json.RawMessage(`{"settled_by":"operator"}`)
}
