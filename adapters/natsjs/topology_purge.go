package natsjs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Purged says what Purge did.
type Purged struct {
	Messages uint64 `json:"messages"`
	// First is the lowest sequence that was to be kept.
	First uint64 `json:"first"`
	// LimitedBy says why no more was purged: the age, or which consumer has not finished with what.
	LimitedBy string `json:"limited_by"`
}

// bound is a sequence up to which, exclusively, may be purged as far as by is concerned.
type bound struct {
	seq uint64
	by  string
}

// Purge removes from the command stream what is older than CommandsKeep and done. The stream has no age limit of its
// own, because that would drop unfinished commands. Done is what lies below the first message that any consumer,
// whoever made it, has above its ack floor; a consumer that has nothing pending and nothing unacknowledged limits
// nothing. A command that no consumer of workers delivers is not done, and what lies behind it stays, too.
//
// It may be called by several workers at once, once an hour or so. Errors are *events.Error.
func (t *Topology) Purge(ctx context.Context, js jetstream.JetStream) (Purged, error) {
	name := t.settings.Names.Commands()
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return Purged{}, brokerError("reading stream "+name, err)
	}
	before := stream.CachedInfo().State
	limit, err := t.purgeLimit(ctx, stream)
	if err != nil {
		return Purged{}, err
	}
	done := Purged{First: max(limit.seq, before.FirstSeq), LimitedBy: limit.by}
	if before.Msgs == 0 || limit.seq <= before.FirstSeq {
		return done, nil
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSequence(limit.seq)); err != nil {
		return Purged{}, brokerError("purging "+name, err)
	}
	after, err := stream.Info(ctx)
	if err != nil {
		return Purged{}, brokerError("reading stream "+name, err)
	}
	done.Messages = before.Msgs + (after.State.LastSeq - before.LastSeq) - after.State.Msgs
	return done, nil
}

// purgeLimit is the lowest of all bounds. The age comes first: the server counts what a consumer has still to deliver a
// moment late, and whatever it gets after it was looked at is younger than that.
func (t *Topology) purgeLimit(ctx context.Context, stream jetstream.Stream) (bound, error) {
	lowest, err := t.oldest(ctx, stream)
	if err != nil {
		return bound{}, err
	}
	consumers, err := consumersOf(ctx, stream)
	if err != nil {
		return bound{}, err
	}
	for name, c := range consumers {
		b, err := floorOf(ctx, stream, name, c)
		if err != nil {
			return bound{}, err
		}
		if b.seq < lowest.seq {
			lowest = b
		}
	}
	orphan, err := t.orphan(ctx, stream, consumers)
	if err != nil {
		return bound{}, err
	}
	if orphan.seq < lowest.seq {
		lowest = orphan
	}
	return lowest, nil
}

// oldest finds the first message that is young enough to be kept, by bisection: the server finds a message by
// sequence, not by time.
func (t *Topology) oldest(ctx context.Context, stream jetstream.Stream) (bound, error) {
	state, cutoff := stream.CachedInfo().State, time.Now().Add(-t.settings.CommandsKeep)
	var failed error
	n := sort.Search(int(state.LastSeq+1-state.FirstSeq), func(i int) bool {
		msg, err := stream.GetMsg(ctx, state.FirstSeq+uint64(i), jetstream.WithGetMsgSubject(">"))
		if errors.Is(err, jetstream.ErrMsgNotFound) || failed != nil {
			return true
		}
		if err != nil {
			failed = brokerError("reading a command", err)
			return true
		}
		return !msg.Time.Before(cutoff)
	})
	return bound{state.FirstSeq + uint64(n), fmt.Sprintf("age: younger than %s", t.settings.CommandsKeep)}, failed
}

// floorOf is the bound that a consumer sets: the first message above its ack floor that passes its filters, which an
// idle one does not have. (The floor itself stands still while the commands of other consumers go by.)
func floorOf(ctx context.Context, stream jetstream.Stream, name string, c *jetstream.ConsumerInfo) (bound, error) {
	none := bound{seq: ^uint64(0)}
	if c.NumPending == 0 && c.NumAckPending == 0 {
		return none, nil
	}
	filters := filtersOf(&c.Config)
	if len(filters) == 0 {
		filters = []string{">"}
	}
	lowest := none
	for _, f := range filters {
		seq, err := nextOn(ctx, stream, f, c.AckFloor.Stream+1)
		if err != nil {
			return none, err
		}
		lowest.seq = min(lowest.seq, seq)
	}
	lowest.by = fmt.Sprintf("consumer %s: %d not delivered, %d not acknowledged", name, c.NumPending, c.NumAckPending)
	return lowest, nil
}

// nextOn is the sequence of the first message on a subject, which may have wildcards, from a sequence on; the highest
// there can be where there is none.
func nextOn(ctx context.Context, stream jetstream.Stream, subject string, from uint64) (uint64, error) {
	msg, err := stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(subject))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return ^uint64(0), nil
	}
	if err != nil {
		return 0, brokerError("looking for commands on "+subject, err)
	}
	return msg.Sequence, nil
}

// orphan finds the first command on a subject of the stream that no consumer of ours delivers.
func (t *Topology) orphan(ctx context.Context, stream jetstream.Stream, consumers map[string]*jetstream.ConsumerInfo) (bound, error) {
	n, cfg := t.settings.Names, stream.CachedInfo().Config
	var delivered []string
	for _, c := range consumers {
		if runsCommands(&c.Config) {
			delivered = append(delivered, filtersOf(&c.Config)...)
		}
	}
	first := bound{seq: ^uint64(0)}
	for _, subject := range cfg.Subjects {
		kind, ok := n.kindOfCommand(subject)
		if !ok {
			continue
		}
		for p := range t.settings.Partitions {
			for _, filter := range n.Filters(p, kind) {
				if slices.Contains(delivered, filter) {
					continue
				}
				seq, err := nextOn(ctx, stream, filter, 1)
				if err != nil {
					return bound{}, err
				}
				if seq < first.seq {
					first = bound{seq, "no consumer delivers " + filter}
				}
			}
		}
	}
	return first, nil
}
