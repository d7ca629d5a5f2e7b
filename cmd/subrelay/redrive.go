package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	"golang.org/x/sync/errgroup"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// rerun is a command that is to run again, as a new one.
type rerun struct {
	old   events.Ref  // what runs again, with its sequence in COMMANDS
	event event.Event // the request; with numberReruns the new command
	later []laterCommand
	asIs  bool   // the event keeps its id: what it stands for has no outcome
	sent  uint64 // the sequence of the new command where the same was done before; 0: not yet
}

// laterCommand is a command of the same key that came after the one that is to run again.
type laterCommand struct {
	Seq    uint64      `json:"seq"`
	Kind   events.Kind `json:"kind"`
	ID     string      `json:"id"`
	CID    string      `json:"cid"`
	Status string      `json:"status"` // of its last record, or "waiting"
}

// newCommand is what the verbs say of a command that they have published.
type newCommand struct {
	ID        string `json:"id"`
	CID       string `json:"cid"`
	Seq       uint64 `json:"seq"`
	Duplicate bool   `json:"duplicate,omitempty"` // it was there already
}

// original reads a stored command's event, from its message as it came. A command stream that was restored from a backup
// may have another command under the sequence by now.
func (cl *client) original(ctx context.Context, seq uint64, cid string) (*event.Event, error) {
	m, err := cl.commands.Get(ctx, seq)
	if isNotFound(err) {
		return nil, hinted(fmt.Errorf("command %d is no longer stored", seq),
			"commands are kept for streams.commands_keep once they are done; send it again from billing, under a new id")
	}
	if err != nil {
		return nil, err
	}
	e, err := natsjs.DecodeMessage(m.Header, m.Data)
	if err == nil && cid != "" && events.CID(e.Source(), e.ID(), e.Subject()) != cid {
		return nil, hinted(fmt.Errorf("command %d is another one now, %s from %s: the command stream was restored from a backup", seq, e.ID(), e.Source()),
			"send it again from billing, under a new id")
	}
	return e, err
}

func isNotFound(err error) bool {
	return err != nil && events.KindOf(err) == events.Refused && events.AsError(err).Code == natsjs.CodeNotFound
}

// sighting is a command as it was met in the stream.
type sighting struct {
	ref   events.Ref
	cause string // its causationid
	hash  string // of its data; only where it was caused by one of those that are to run again
}

// sightings is what the stream holds of some keys.
type sightings struct {
	byCID map[string]sighting
	byKey map[string][]sighting // in order, each command once
}

// numberReruns gives each its new command, and the later ones of its key, by one pass through COMMANDS. The same command
// gets the same new one again, as long as that is stored, so that repeating a verb is harmless.
func (cl *client) numberReruns(ctx context.Context, reruns []rerun) error {
	check, err := newChecker()
	if err != nil {
		return err
	}
	met, err := cl.sight(ctx, reruns, check)
	if err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(doubtsAtOnce)
	for i := range reruns {
		r := &reruns[i]
		if !r.asIs {
			if err := r.number(met, check); err != nil {
				return errors.Join(err, group.Wait())
			}
		}
		group.Go(func() (err error) {
			r.later, err = cl.laterThan(groupCtx, met, r.old, r.sent)
			return err
		})
	}
	return group.Wait()
}

// sight collects the commands of all keys concerned. check may be nil where nothing is to be numbered.
func (cl *client) sight(ctx context.Context, reruns []rerun, check *checker) (sightings, error) {
	met := sightings{byCID: map[string]sighting{}, byKey: map[string][]sighting{}}
	keys, causes := map[string]bool{}, map[string]bool{}
	var q natsjs.CommandQuery
	for _, r := range reruns {
		keys[r.old.Key], keys[cmp.Or(r.event.Subject(), r.old.Key)], causes[r.old.CID] = true, true, true
		q.Key = r.old.Key
	}
	if len(keys) > 1 {
		q.Key = "" // all
	}
	return met, cl.commands.Scan(ctx, q, func(m natsjs.StoredCommand) error {
		if key, err := events.KeyOfToken(m.Key); err != nil || !keys[key] {
			return nil
		}
		e, err := natsjs.DecodeMessage(m.Header, m.Data)
		if err != nil {
			return nil // no command
		}
		cmd, err := events.ReadCommand(e)
		if _, before := met.byCID[cmd.CID]; err != nil || before {
			return nil
		}
		s := sighting{ref: cmd.Ref()}
		s.ref.Seq = m.Seq
		if s.cause, _ = e.Extensions()[events.ExtCausation].(string); s.cause != "" && causes[s.cause] && check != nil {
			s.hash = check.check(0, e, nil).checked.Hash
		}
		met.byCID[cmd.CID] = s
		met.byKey[cmd.Subject] = append(met.byKey[cmd.Subject], s)
		return nil
	})
}

// number makes r's event the new command: the one that r was published as before, or the first that is free.
func (r *rerun) number(met sightings, check *checker) error {
	hash := check.check(0, &r.event, nil).checked.Hash
	_, n := events.Repetition(r.event)
	for {
		n++
		next := events.Again(r.event, n)
		next.SetExtension(events.ExtCausation, r.old.CID)
		cid := cidOf(&next)
		there, taken := met.byCID[cid]
		switch {
		case taken && there.cause != r.old.CID:
			continue
		case taken && there.hash != hash:
			return hinted(fmt.Errorf("command %s ran again before, with other data, as %s", r.old.CID, cid), "'subrelay show %s' tells how that ended", cid)
		case taken:
			r.sent = there.ref.Seq
		default:
			met.byCID[cid] = sighting{ref: events.Ref{ID: next.ID(), CID: cid}, cause: r.old.CID, hash: hash}
		}
		r.event = next
		return nil
	}
}

func cidOf(e *event.Event) string { return events.CID(e.Source(), e.ID(), e.Subject()) }

// laterThan lists the commands of the same key that came after old, with how they stand; but not that of sequence but.
func (cl *client) laterThan(ctx context.Context, met sightings, old events.Ref, but uint64) ([]laterCommand, error) {
	token, err := events.KeyToken(old.Key)
	if err != nil {
		return nil, err
	}
	var all []laterCommand
	for _, s := range met.byKey[old.Key] {
		if s.ref.Seq <= old.Seq || s.ref.CID == old.CID || s.ref.Seq == but {
			continue
		}
		last, err := cl.outcomes.Last(ctx, token, s.ref.CID)
		if err != nil {
			return nil, err
		}
		all = append(all, laterCommand{Seq: s.ref.Seq, Kind: s.ref.Kind, ID: s.ref.ID, CID: s.ref.CID, Status: statusOf(last)})
	}
	return all, nil
}

// statusOf is a command's status by its last record.
func statusOf(last *events.Record) string {
	if last == nil {
		return statusWaiting
	}
	return string(last.Status)
}

// publish publishes the new command, unless it is in the stream already.
func (r *rerun) publish(ctx context.Context, cl *client) (newCommand, error) {
	n := newCommand{ID: r.event.ID(), CID: cidOf(&r.event), Seq: r.sent, Duplicate: r.sent != 0}
	if n.Duplicate {
		return n, nil
	}
	receipt, err := cl.publisher.Publish(ctx, r.event)
	n.Seq, n.Duplicate = receipt.Seq, receipt.Duplicate
	return n, err
}

// redrivenAs begins the reason for which a letter is closed whose command runs again.
const redrivenAs = "redriven as "
