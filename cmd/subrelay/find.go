package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// idFlags say which command an ID argument means: a cid, or an event id with its source and, to save a search, its key.
type idFlags struct {
	source, key string
}

func (f *idFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.source, "source", "", "ID is an event's id, and this its source")
	flags.StringVar(&f.key, "key", "", "the command's key, such as the customer's id")
}

func (f *idFlags) check(id string) error {
	if f.source == "" && !events.IsCID(id) {
		return usagef("%q is no cid (%d characters of a-z and 2-7); is it an event's id? Then give --source too", id, events.CIDLength)
	}
	return nil
}

// found is a command as it was found.
type found struct {
	ref      events.Ref
	history  events.History
	messages []natsjs.StoredCommand // every message that carries it, in order
}

// sequences lists the sequences under which the command is, or was, stored.
func (k *found) sequences() []uint64 {
	var all []uint64
	for _, m := range k.messages {
		all = append(all, m.Seq)
	}
	for _, r := range k.history {
		if r.Command.Seq > 0 {
			all = append(all, r.Command.Seq)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// find finds a command by what the arguments say of it. It is an error where there is none, or more than one.
func (cl *client) find(ctx context.Context, id string, f idFlags) (found, error) {
	match := func(r events.Ref) bool { return r.CID == id }
	if f.source != "" {
		match = func(r events.Ref) bool { return r.ID == id && r.Source == f.source && (f.key == "" || r.Key == f.key) }
	}
	k := found{}
	var err error
	switch {
	case f.source != "" && f.key != "":
		k.ref = events.Ref{ID: id, Source: f.source, Key: f.key, CID: events.CID(f.source, id, f.key)}
	case f.source == "":
		k.history, err = cl.outcomes.ByCID(ctx, id)
		if len(k.history) > 0 {
			k.ref = k.history.Last().Command
		}
	default:
		k.ref, err = cl.searchLedger(ctx, match)
	}
	if err != nil {
		return k, err
	}
	return cl.complete(ctx, k, id, f.key, match)
}

// complete adds the messages, and what is missing of the history.
func (cl *client) complete(ctx context.Context, k found, id, key string, match func(events.Ref) bool) (found, error) {
	if key == "" {
		key = k.ref.Key
	}
	err := cl.commands.Scan(ctx, natsjs.CommandQuery{Key: key}, func(m natsjs.StoredCommand) error {
		ref, ok := refOf(m)
		if !ok || !match(ref) || k.ref.CID != "" && ref.CID != k.ref.CID {
			return nil
		}
		k.ref, k.messages = ref, append(k.messages, m)
		return nil
	})
	if err != nil {
		return k, err
	}
	if len(k.history) == 0 && k.ref.Key != "" {
		token, err := events.KeyToken(k.ref.Key)
		if err != nil {
			return k, usagef("--key: %w", err)
		}
		if k.history, err = cl.ledger.History(ctx, token, k.ref.CID); err != nil {
			return k, err
		}
	}
	if len(k.history) == 0 && len(k.messages) == 0 {
		return k, notFound(id)
	}
	return k, nil
}

// refOf names the command that a stored message carries, if one can be read.
func refOf(m natsjs.StoredCommand) (events.Ref, bool) {
	e, err := natsjs.DecodeMessage(m.Header, m.Data)
	if err != nil {
		return events.Ref{}, false
	}
	cmd, err := events.ReadCommand(e)
	return cmd.Ref(), err == nil
}

// searchLedger looks through the ledger for the one command that matches; zero where there is none.
func (cl *client) searchLedger(ctx context.Context, match func(events.Ref) bool) (events.Ref, error) {
	hits := make(map[string]events.Ref)
	err := cl.outcomes.Read(ctx, natsjs.Query{}, func(s natsjs.Stored) error {
		if match(s.Command) {
			hits[s.Command.CID] = s.Command
		}
		return nil
	})
	if err != nil || len(hits) == 0 {
		return events.Ref{}, err
	}
	var keys []string
	var ref events.Ref
	for _, ref = range hits {
		keys = append(keys, ref.Key)
	}
	if len(hits) > 1 {
		slices.Sort(keys)
		return ref, usagef("several commands have this id and source, with the keys %s: say which by --key", strings.Join(keys, ", "))
	}
	return ref, nil
}
