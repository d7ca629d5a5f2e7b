package main

import (
	"context"

	"subrelay/adapters/natsjs"
	"subrelay/events"
	"subrelay/events/history"
)

// evidence gathers all that the checker of histories judges by: what the streams hold, and the upstreams' books.
func (cl *client) evidence(ctx context.Context, books ...history.Effect) (history.Evidence, error) {
	e := history.Evidence{Effects: books}
	err := cl.commands.Scan(ctx, natsjs.CommandQuery{}, func(s natsjs.StoredCommand) error {
		e.Commands = append(e.Commands, accepted(s))
		return nil
	})
	if err != nil {
		return e, err
	}
	err = cl.outcomes.Read(ctx, natsjs.Query{}, func(s natsjs.Stored) error {
		e.Records = append(e.Records, s.Record)
		return nil
	})
	if err != nil {
		return e, err
	}
	err = cl.letters.List(ctx, natsjs.DeadQuery{}, func(l natsjs.Letter) error {
		e.Dead = append(e.Dead, history.Dead{Reason: l.Reason, CID: l.CID, Seq: l.Command})
		return nil
	})
	return e, err
}

// accepted is a stored command as the checker knows it: without identity where none can be read.
func accepted(s natsjs.StoredCommand) history.Command {
	unreadable := history.Command{Seq: s.Seq, Kind: s.Kind, Key: s.Key}
	e, err := natsjs.DecodeMessage(s.Header, s.Data)
	if err != nil {
		return unreadable
	}
	cmd, err := events.ReadCommand(e)
	if err != nil {
		return unreadable
	}
	return history.Accepted(&cmd, s.Seq)
}
