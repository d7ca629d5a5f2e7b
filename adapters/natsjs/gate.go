package natsjs

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

// gate says whether this worker can have missed a predecessor of what it holds. An epoch is a run of messages with one
// pin id and contiguous consumer sequence (rule 2): within it, nothing went elsewhere. The gate is open once everything
// before the epoch's first new message is done (rule 3). While it is closed, commands pass one by one (rule 4).
//
// Its fields need the partition's lock.
type gate struct {
	pin      string
	sequence uint64 // the consumer sequence seen last
	broken   bool   // the next message begins a new epoch, whatever it carries
	bounded  bool   // bound is known
	bound    uint64 // stream sequence of the epoch's first message of delivery count 1, minus 1
	floor    uint64 // the ack floor; all commands up to it are done. A stale one is only conservative
	asked    bool   // floor and filters have been read in this epoch
	open     bool
	epoch    int
	examined uint64 // the floor for which the gap up to bound was looked through, plus 1
	// filters are the consumer's. They may name kinds of another version, whose commands are predecessors like any other.
	// Those of an earlier epoch do not do: they may have been widened, and a command of the new kind gone elsewhere.
	filters []string
}

// restart closes the gate: a new epoch begins with the next message.
func (g *gate) restart() { g.begin("", true) }

func (g *gate) begin(pin string, broken bool) {
	*g = gate{pin: pin, broken: broken, floor: g.floor, epoch: g.epoch + 1}
}

// saw takes note of a delivered message.
func (g *gate) saw(pin string, meta *jetstream.MsgMetadata) {
	if g.broken || pin != g.pin || meta.Sequence.Consumer != g.sequence+1 {
		g.begin(pin, false)
	}
	g.sequence = meta.Sequence.Consumer
	if !g.bounded && meta.NumDelivered == 1 {
		g.bounded, g.bound = true, meta.Sequence.Stream-1
	}
}

// learn takes a floor read in the given epoch, and reports whether it has opened the gate.
func (g *gate) learn(floor uint64, epoch int) bool {
	g.floor = max(g.floor, floor)
	if epoch != g.epoch {
		return false
	}
	g.asked = true
	if g.open || !g.bounded || g.floor < g.bound {
		return false
	}
	g.open = true
	return true
}

// watchFloor asks for the ack floor while the gate is closed: now and again, and soon after something was acknowledged.
// At the start of an epoch without a backlog one acknowledgement opens the gate, and until then every command costs
// reads of its own.
func (p *partition) watchFloor(ctx context.Context) {
	tick := time.NewTicker(infoEvery)
	defer tick.Stop()
	for {
		p.mu.Lock()
		closed, epoch, holds := !p.gate.open, p.gate.epoch, len(p.bySeq) > 0
		p.mu.Unlock()
		if closed && holds {
			p.askFloor(ctx, epoch)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-p.acked:
			pause(ctx, infoSoon)
		}
	}
}

// noteAcked tells watchFloor of an acknowledgement, if the gate is closed. It needs the lock.
func (p *partition) noteAcked() {
	if p.gate.open {
		return
	}
	select {
	case p.acked <- struct{}{}:
	default:
	}
}

func (p *partition) askFloor(ctx context.Context, epoch int) {
	limited, cancel := context.WithTimeout(ctx, infoTimeout)
	defer cancel()
	if !p.sameStream(limited, epoch) {
		return
	}
	info, err := p.consumer.Info(limited)
	if err != nil {
		if ctx.Err() == nil {
			p.lanes.Logger.Debug("the ack floor could not be read", "consumer", p.name(), "error", err)
		}
		return
	}
	p.mu.Lock()
	if epoch == p.gate.epoch {
		p.gate.filters = filtersOf(&info.Config)
	}
	p.mu.Unlock()
	if !p.take(info) {
		p.suspicious()
		return
	}
	if p.learn(info.AckFloor.Stream, epoch) {
		p.examineGap(limited, epoch)
	}
}

// learn takes a floor, and reports whether it is worth looking whether there is anything at all between it and the
// bound: the gate is closed still, and for this floor that was not done.
func (p *partition) learn(floor uint64, epoch int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gate.learn(floor, epoch) {
		for _, ln := range p.byKey {
			ln.verified = 0
		}
	}
	g := &p.gate
	if g.open || !g.bounded || g.epoch != epoch || g.examined == g.floor+1 {
		return false
	}
	g.examined = g.floor + 1
	return true
}

// examineGap raises the floor to the bound where the partition has no command between them, so that "all up to the bound
// are done" holds for want of any. The floor itself stands at the partition's last finished command, or at 0, while other
// partitions' commands raise the bound: a worker that starts without a backlog would else pass its first commands one
// by one. Only a command found beyond the bound counts, since it proves that whoever answers knows all before it.
func (p *partition) examineGap(ctx context.Context, epoch int) {
	p.mu.Lock()
	from, bound, filters := p.gate.floor+1, p.gate.bound, p.gate.filters
	p.mu.Unlock()
	next, err := p.nextIn(ctx, filters, from)
	if err == nil && next.Sequence > bound {
		p.learn(bound, epoch)
	}
}

// mayStart reports whether the head of a lane may be worked on (rule 4), and whether the gate is open. Where it answers
// false, somebody else has to finish a predecessor first, or the view is not sure yet: poll.
func (p *partition) mayStart(ctx context.Context, ln *lane, it *item) (ok, open bool) {
	p.mu.Lock()
	open, asked, epoch := p.gate.open, p.gate.asked, p.gate.epoch
	from := max(p.gate.floor, ln.verified)
	p.mu.Unlock()
	switch {
	case p.mustWait():
		return false, false
	case open:
		return true, true
	case !asked:
		p.askFloorThrottled(ctx, epoch)
		p.mu.Lock()
		asked, open, from = p.gate.asked, p.gate.open, max(p.gate.floor, ln.verified)
		p.mu.Unlock()
		if open || !asked {
			return open, open
		}
	}
	select {
	case p.lanes.reads <- struct{}{}:
		defer func() { <-p.lanes.reads }()
	case <-ctx.Done():
		return false, false
	}
	return p.walk(ctx, ln, it, from), false
}

// askFloorThrottled leaves asking to watchFloor where somebody is already reading for the gate.
func (p *partition) askFloorThrottled(ctx context.Context, epoch int) {
	select {
	case p.lanes.reads <- struct{}{}:
		p.askFloor(ctx, epoch)
		<-p.lanes.reads
	default:
	}
}

// walk follows the stream's commands of the lane's key after from until it reaches it, with every one on the way done.
func (p *partition) walk(ctx context.Context, ln *lane, it *item, from uint64) bool {
	for from < it.seq {
		next, err := p.nextOf(ctx, ln.key, from+1)
		if err != nil {
			if !errors.Is(err, jetstream.ErrMsgNotFound) && ctx.Err() == nil {
				p.lanes.Logger.Debug("a predecessor could not be looked for", "key", ln.key, "error", err)
			}
			return false
		}
		if next.Sequence >= it.seq {
			return next.Sequence == it.seq
		}
		done, err := p.lanes.Done(ctx, deliveryOfRaw(p.lanes.Names, next))
		if err != nil || !done {
			return false
		}
		from = next.Sequence
		p.mu.Lock()
		ln.verified = max(ln.verified, from)
		p.mu.Unlock()
	}
	return true
}

// nextOf is the first command of key, of any kind that the consumer delivers, at or after seq: one read per kind with a
// literal subject, which costs a twentieth of one with a wildcard.
func (p *partition) nextOf(ctx context.Context, key string, seq uint64) (*jetstream.RawStreamMsg, error) {
	var subjects []string
	for _, kind := range p.kinds() {
		subjects = append(subjects, p.lanes.Names.kept(p.number, kind, key))
	}
	return p.nextIn(ctx, subjects, seq)
}

// kinds are those that the consumer delivers: this worker's, and those of other versions.
func (p *partition) kinds() []events.Kind {
	p.mu.Lock()
	filters := p.gate.filters
	p.mu.Unlock()
	kinds := slices.Clone(p.lanes.Kinds)
	for _, f := range filters {
		if _, kind, _, err := p.lanes.Names.ParseStored(f); err == nil && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// nextIn is the first message of any of the subjects at or after seq, jetstream.ErrMsgNotFound where there is none.
func (p *partition) nextIn(ctx context.Context, subjects []string, seq uint64) (*jetstream.RawStreamMsg, error) {
	var first *jetstream.RawStreamMsg
	for _, subject := range subjects {
		msg, err := p.lanes.stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if first == nil || msg.Sequence < first.Sequence {
			first = msg
		}
	}
	if first == nil {
		return nil, jetstream.ErrMsgNotFound
	}
	return first, nil
}

// deliveryOfRaw is a stored command as the meaning sees it.
func deliveryOfRaw(names Names, msg *jetstream.RawStreamMsg) events.Delivery {
	_, kind, key, _ := names.ParseStored(msg.Subject)
	d := events.Delivery{Seq: msg.Sequence, Stored: msg.Time, Kind: kind, Key: key, Raw: msg.Data, Header: msg.Header}
	d.Event, d.Undecodable = DecodeMessage(msg.Header, msg.Data)
	return d
}
