package natsjs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// What a partition serves can be taken away while it works: its consumer deleted, its stream deleted and made again, or
// an older copy of the store put in its place. It notices, and goes on with what is there then.
var (
	errConsumingEnded = errors.New("consuming ended")
	// errOtherStream says that sequences mean other messages than before.
	errOtherStream = errors.New("the stream is another one now, or an older state of it: what was delivered before is forgotten")
	// errUnfit is a consumer by which commands would get lost or run out of order.
	errUnfit = errors.New("the consumer is not as the topology has it")
)

// repairable reports whether the topology may help.
func repairable(err error) bool {
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, errUnfit)
}

// origin is by what a partition knows its stream again. Its fields need the partition's lock.
type origin struct {
	created time.Time // of the stream
	last    uint64    // the highest sequence seen in it
	epoch   int       // in which it was looked at
	other   bool      // it was seen to be another
	until   time.Time // nothing may start before
}

// open finds the stream and the consumer as they are now, and begins an epoch.
func (p *partition) open(ctx context.Context) (jetstream.Consumer, error) {
	limited, cancel := context.WithTimeout(ctx, infoTimeout)
	defer cancel()
	stream, err := p.look(limited)
	if err != nil {
		return nil, err
	}
	consumer, err := stream.Consumer(limited, p.name())
	if err != nil {
		return nil, err
	}
	if err := unfit(&consumer.CachedInfo().Config); err != nil {
		return nil, err
	}
	p.take(consumer.CachedInfo())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.consumer = consumer
	p.gate.restart()
	return consumer, nil
}

// unfit says why a consumer must not be used. One that does not begin with the stream's first message passes over
// commands that nobody has done, and its ack floor says of them that they are.
func unfit(c *jetstream.ConsumerConfig) error {
	var why string
	switch {
	case c.DeliverPolicy != jetstream.DeliverAllPolicy:
		why = "it does not begin with the first command"
	case c.AckPolicy != jetstream.AckExplicitPolicy:
		why = "it does not wait for each acknowledgement"
	case c.PriorityPolicy != jetstream.PriorityPolicyPinned || !slices.Contains(c.PriorityGroups, PinGroup):
		why = "it pins no worker"
	default:
		return nil
	}
	return fmt.Errorf("%w: %s; delete it, and apply the topology", errUnfit, why)
}

// take takes note of a consumer as it is now, which somebody may have made again, and reports whether it may be used.
func (p *partition) take(info *jetstream.ConsumerInfo) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.created = info.Created
	return unfit(&info.Config) == nil
}

// look asks for the stream, and answers errOtherStream where it is not the one that this partition began with. The
// answer is held against what was seen before it was asked for: while it is under way, later messages may come.
func (p *partition) look(ctx context.Context) (jetstream.Stream, error) {
	p.mu.Lock()
	seen := p.origin.last
	p.mu.Unlock()
	stream, err := p.lanes.JetStream.Stream(ctx, p.lanes.Names.Commands())
	if err != nil {
		return nil, err
	}
	if !p.recognise(stream.CachedInfo(), seen) {
		return nil, errOtherStream
	}
	return stream, nil
}

// recognise reports whether the stream is the one that this partition began with: as old, and grown at least to seen.
func (p *partition) recognise(info *jetstream.StreamInfo, seen uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := &p.origin
	if o.other || !o.created.IsZero() && (!o.created.Equal(info.Created) || info.State.LastSeq < seen) {
		o.other = true
		return false
	}
	if o.created.IsZero() && info.Config.FirstSeq > 1 && time.Since(info.Created) < remade*p.lanes.Settle {
		o.until = time.Now().Add(p.lanes.Settle)
	}
	o.created, o.last = info.Created, max(o.last, info.State.LastSeq)
	return true
}

// remade is for how many times the wait after a loss a stream counts as made again just now.
const remade = 5

// mustWait reports whether calls that were under way when the stream was lost may be so still. Nothing in the stream
// tells of them any more.
func (p *partition) mustWait() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Before(p.origin.until)
}

// sameStream looks once in each epoch whether it is the same stream still, before anything is concluded from the ack
// floor. Where it cannot be asked, it is not known to be.
func (p *partition) sameStream(ctx context.Context, epoch int) bool {
	p.mu.Lock()
	looked := p.origin.epoch == epoch && !p.origin.other
	p.mu.Unlock()
	if looked {
		return true
	}
	if _, err := p.look(ctx); err != nil {
		if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, errOtherStream) {
			p.suspicious()
		}
		return false
	}
	p.mu.Lock()
	p.origin.epoch = epoch
	p.mu.Unlock()
	return true
}

// suspicious has consume look whether all is there still.
func (p *partition) suspicious() {
	select {
	case p.suspect <- struct{}{}:
	default:
	}
}

// missing looks for the stream and the consumer, and says what is gone. No answer says nothing.
func (p *partition) missing(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, infoTimeout)
	defer cancel()
	p.mu.Lock()
	other := p.origin.other
	p.mu.Unlock()
	if other {
		return errOtherStream
	}
	stream, err := p.look(limited)
	if err == nil {
		var consumer jetstream.Consumer
		if consumer, err = stream.Consumer(limited, p.name()); err == nil {
			return unfit(&consumer.CachedInfo().Config)
		}
	}
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, errOtherStream) {
		return err
	}
	return nil
}

// abandon forgets everything that is held, and waits for what is under way. Nothing of it is settled: under its sequence
// the stream may hold another command by now.
func (p *partition) abandon(work context.Context) {
	p.gone.Store(true)
	p.beginLeaving()
	select {
	case <-p.quiet:
	case <-work.Done():
	}
}

// note remembers why nothing is delivered, or that it is again.
func (p *partition) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = ""
	if err != nil {
		p.failed = p.name() + ": " + err.Error()
	}
}

// Failing says of each partition that is wanted and delivers nothing why not. A partition that only waits for its pin
// is none of them.
func (l *Lanes) Failing() []string {
	var all []string
	for _, p := range l.partitions() {
		p.mu.Lock()
		if p.failed != "" {
			all = append(all, p.failed)
		}
		p.mu.Unlock()
	}
	slices.Sort(all)
	return all
}
