package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// reach is how far deliveries have come and how far back the ledger remembers, as of one moment. It tells what is lost
// from what is only late. It may be shared.
type reach struct {
	client *client
	last   uint64           // the last command at that moment
	memory time.Time        // of commands stored before, the ledger may have forgotten the outcome
	dead   jetstream.Stream // the dead letters

	mu     sync.Mutex
	floors map[string]floor // by consumer
}

// floor is up to where a consumer's messages are acknowledged.
type floor struct {
	seq  uint64
	none bool // there is no such consumer
}

func (cl *client) newReach(ctx context.Context) (*reach, error) {
	r := &reach{client: cl, floors: map[string]floor{}}
	commands, err := cl.js.Stream(ctx, cl.names.Commands())
	if err != nil {
		return nil, noStream(cl.names.Commands(), err)
	}
	r.last = commands.CachedInfo().State.LastSeq
	outcomes, err := cl.js.Stream(ctx, cl.names.Outcomes())
	if err != nil {
		return nil, noStream(cl.names.Outcomes(), err)
	}
	r.memory = memoryOf(outcomes.CachedInfo())
	if r.dead, err = cl.js.Stream(ctx, cl.names.DeadLetters()); err != nil {
		return nil, noStream(cl.names.DeadLetters(), err)
	}
	return r, nil
}

// memoryOf is since when the ledger has every record: since its beginning, unless records were removed, by age or by
// hand.
func memoryOf(info *jetstream.StreamInfo) time.Time {
	s := info.State
	switch {
	case s.LastSeq == 0 || s.FirstSeq <= 1 && s.Msgs > 0:
		return info.Created
	case s.Msgs == 0:
		return info.TimeStamp // all was removed
	}
	return s.FirstTime
}

// classify says how a stored command stands. The floor is read before the ledger: what was acknowledged by then is in
// the ledger, or in the dead letters, if it was not lost.
func (r *reach) classify(ctx context.Context, m natsjs.StoredCommand) (missingLine, error) {
	l := missingLine{Seq: m.Seq, Kind: m.Kind, Key: m.Key, same: fingerprint(m)}
	if key, err := events.KeyOfToken(m.Key); err == nil {
		l.Key = key
	}
	at, err := r.floor(ctx, m)
	if err != nil {
		return l, err
	}
	var last *events.Record
	if ref, ok := refOf(m); ok {
		l.ID, l.CID = ref.ID, ref.CID
		if last, err = r.client.outcomes.Last(ctx, m.Key, ref.CID); err != nil {
			return l, err
		}
	}
	if last != nil {
		l.Status = string(last.Status)
	}
	if last == nil && l.CID != "" {
		begun, err := r.client.outcomes.Begun(ctx, m.Key, l.CID)
		if begun || err != nil {
			l.State, l.Note = stateDamaged, "its newest record is damaged on the server's disk: look it up at its upstream"
			return l, err
		}
	}
	l.State, err = r.state(ctx, m, at, last)
	return l, err
}

// fingerprint is equal for messages that say the same on the same subject: a requeued one and its first.
func fingerprint(m natsjs.StoredCommand) string {
	h := sha256.New()
	part := func(b string) { _, _ = fmt.Fprintf(h, "%d:%s", len(b), b) } // a hash takes everything
	part(string(m.Kind))
	part(m.Key)
	for _, name := range slices.Sorted(maps.Keys(m.Header)) {
		if !strings.HasPrefix(strings.ToLower(name), "nats-") { // the broker's own differ
			part(name)
			part(strings.Join(m.Header[name], "\x00"))
		}
	}
	part(string(m.Data))
	return string(h.Sum(nil))
}

func (r *reach) state(ctx context.Context, m natsjs.StoredCommand, at floor, last *events.Record) (string, error) {
	switch {
	case last != nil && last.Status.Final():
		return stateDone, nil
	case last != nil && last.Status == events.InDoubt:
		return stateInDoubt, nil
	case at.none:
		return stateNoConsumer, nil
	case m.Seq > at.seq:
		return stateWaiting, nil
	case last != nil:
		return stateUnfinished, nil
	}
	_, err := r.dead.GetLastMsgForSubject(ctx, r.client.names.DeadOf(m.Seq))
	switch {
	case err == nil:
		return stateDead, nil
	case !errors.Is(err, jetstream.ErrMsgNotFound):
		return "", fmt.Errorf("the dead letters of command %d: %w", m.Seq, err)
	case m.Time.Before(r.memory):
		return stateUnknowable, nil
	}
	return stateMissing, nil
}

// floor is how far the consumer of a command has come. With nothing unacknowledged that is what it has delivered.
func (r *reach) floor(ctx context.Context, m natsjs.StoredCommand) (floor, error) {
	spec, ok := events.SpecOf(events.Specs(), m.Kind)
	if !ok {
		return floor{none: true}, nil // another version's
	}
	name := r.client.names.Consumer(spec.Upstream, m.Partition)
	r.mu.Lock()
	defer r.mu.Unlock()
	if f, known := r.floors[name]; known {
		return f, nil
	}
	consumer, err := r.client.js.Consumer(ctx, r.client.names.Commands(), name)
	var f floor
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		f.none = true
	case err != nil:
		return f, fmt.Errorf("the consumer %s: %w", name, err)
	default:
		f.seq = floorOf(consumer.CachedInfo())
	}
	r.floors[name] = f
	return f, nil
}

// floorOf does not go by the number of pending messages, which the server counts a little late.
func floorOf(info *jetstream.ConsumerInfo) uint64 {
	if info.NumAckPending == 0 {
		return max(info.AckFloor.Stream, info.Delivered.Stream)
	}
	return info.AckFloor.Stream
}
