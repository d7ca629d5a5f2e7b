package natsjs

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

// pullExpiry is how long a pull waits on the server. The pin's time-out is more than twice as long, so that an idle
// owner keeps it.
const pullExpiry = time.Second

// item is a command that was delivered and is not finished.
type item struct {
	seq       uint64
	msg       jetstream.Msg // the newest handle
	delivered uint64        // how often the server has delivered it
	stored    time.Time
	since     time.Time // when this worker first saw it
	kind      events.Kind
	job       Job // nil until it is the head of its lane
}

// activity is what a lane's head is doing.
type activity int

const (
	idle       activity = iota // nothing: the lane is empty
	preparing                  // in the prepare queue, or being prepared
	calling                    // in the call queue
	attempting                 // under a permit
	waiting                    // for a time
)

// lane holds one key's unfinished commands in the order of the stream. Only its head is worked on.
type lane struct {
	partition *partition
	key       string
	items     []*item // by seq
	doing     activity
	busy      bool  // a runner works on the head
	callable  *item // the head that may be attempted
	timer     *time.Timer
	schedule  int    // counts what timer was set for, so that one that fired too late is known
	slot      int    // its place in a queue; owned by the queue's lock
	verified  uint64 // while the gate is closed: predecessors up to here are done
}

// partition is one consumer's share: its epoch, its gate, its lanes.
type partition struct {
	lanes  *Lanes
	number int

	mu       sync.Mutex
	byKey    map[string]*lane
	bySeq    map[uint64]*item
	gate     gate
	pin      string // of the message delivered last
	leaving  bool
	working  int           // heads being prepared or attempted
	quiet    chan struct{} // closed when leaving and nothing is working
	acked    chan struct{} // holds a value after an acknowledgement while the gate is closed
	consumer jetstream.Consumer
	created  time.Time // when the consumer was: what was stored before may have been delivered by an earlier one
	origin   origin
	failed   string // why nothing is delivered at present; "" while all is well

	suspect chan struct{} // holds a value when the client has heard nothing of the consumer for too long
	gone    atomic.Bool   // the stream is another one now: nothing that is held may be settled there
}

func newPartition(l *Lanes, number int) *partition {
	return &partition{
		lanes: l, number: number, byKey: make(map[string]*lane), bySeq: make(map[uint64]*item), quiet: make(chan struct{}), acked: make(chan struct{}, 1),
		suspect: make(chan struct{}, 1),
	}
}

// run serves the partition until ctx ends, and leaves it then. work ends later: with it ends what has started. It ends
// before ctx where the stream is not the one any more that it began with: what is held belongs to nothing.
func (p *partition) run(ctx, work context.Context) {
	for ctx.Err() == nil {
		err := p.consume(ctx, work)
		if err == nil || ctx.Err() != nil {
			continue
		}
		p.note(err)
		p.lanes.Logger.Warn("a partition's consumer failed; trying again", "consumer", p.name(), "error", err)
		if errors.Is(err, errOtherStream) {
			p.abandon(work)
			return
		}
		if p.lanes.Repair != nil && repairable(err) {
			if err := p.lanes.Repair(ctx); err != nil {
				p.lanes.Logger.Warn("the topology could not be repaired", "error", err)
			}
		}
		pause(ctx, 500*time.Millisecond)
	}
}

func (p *partition) name() string { return p.lanes.Names.Consumer(p.lanes.Upstream, p.number) }

// consume runs one Consume, which is at least one epoch, until ctx ends, or what it consumes from is gone.
func (p *partition) consume(ctx, work context.Context) error {
	consumer, err := p.open(ctx)
	if err != nil {
		return err
	}
	consuming, err := consumer.Consume(p.deliver, jetstream.PullExpiry(pullExpiry), jetstream.PullPriorityGroup(PinGroup),
		jetstream.ConsumeErrHandler(p.consumeError))
	if err != nil {
		return err
	}
	p.note(nil)
	closed := consuming.Closed()
	watch, end := context.WithCancel(work)
	defer end()
	var watching sync.WaitGroup
	watching.Go(func() { p.watchFloor(watch) })
	defer watching.Wait()
	defer end()
	for {
		select {
		case <-closed:
			return errConsumingEnded
		case <-p.suspect:
			if err := p.missing(ctx); err != nil {
				consuming.Stop()
				return err
			}
		case <-ctx.Done():
			p.leave(work, consuming, closed)
			return nil
		}
	}
}

// consumeError is told what the client met. A mismatched pin repairs itself with the next pull. Silence means a cut or
// busy connection, which the client repairs too, or a consumer that is gone, of which nobody else tells.
func (p *partition) consumeError(_ jetstream.ConsumeContext, err error) {
	p.lanes.Logger.Debug("consuming", "consumer", p.name(), "note", err)
	if errors.Is(err, jetstream.ErrNoHeartbeat) || errors.Is(err, nats.ErrNoResponders) {
		p.suspicious()
	}
}

// deliver takes a message into its lane. It only enqueues (rule: never block, never call).
func (p *partition) deliver(msg jetstream.Msg) {
	meta, err := msg.Metadata()
	if err != nil {
		p.lanes.Logger.Error("a message without metadata was delivered", "subject", msg.Subject(), "error", err)
		return
	}
	_, kind, key, err := p.lanes.Names.ParseStored(msg.Subject())
	if err != nil {
		p.lanes.Logger.Error("a message on an unknown subject was delivered", "subject", msg.Subject(), "error", err)
		return
	}
	p.mu.Lock()
	p.pin = msg.Headers().Get("Nats-Pin-Id")
	p.gate.saw(p.pin, meta)
	if p.leaving {
		p.mu.Unlock()
		p.settle(msg, release)
		return
	}
	defer p.mu.Unlock()
	seq := meta.Sequence.Stream
	p.origin.last = max(p.origin.last, seq)
	if it := p.bySeq[seq]; it != nil {
		if !it.stored.Equal(meta.Timestamp) { // another message under the same sequence
			p.origin.other = true
			p.suspicious()
			return
		}
		it.msg, it.delivered = msg, meta.NumDelivered
		return
	}
	it := &item{seq: seq, msg: msg, delivered: meta.NumDelivered, stored: meta.Timestamp, since: time.Now(), kind: kind}
	p.bySeq[seq] = it
	p.enqueue(key, it)
}

// enqueue puts an item into its place by sequence. It needs the lock.
func (p *partition) enqueue(key string, it *item) {
	ln := p.byKey[key]
	if ln == nil {
		ln = &lane{partition: p, key: key}
		p.byKey[key] = ln
	}
	// A head that has started did so in order, as far as could be known then. It stays the head until it is done.
	first := 0
	if ln.doing == attempting {
		first = 1
	}
	at, _ := slices.BinarySearchFunc(ln.items[first:], it.seq, func(a *item, seq uint64) int { return cmp.Compare(a.seq, seq) })
	at += first
	ln.items = slices.Insert(ln.items, at, it)
	if at == 0 && !ln.busy { // a new head: nothing it waited for counts any more
		p.ready(ln)
	}
}

// ready has the lane's head prepared. It needs the lock.
func (p *partition) ready(ln *lane) {
	ln.unschedule()
	switch {
	case ln.doing == preparing && !ln.busy:
		return // in the queue already
	case ln.doing == calling && !p.lanes.call.remove(ln):
		return // a runner has it, and will find the new head
	}
	ln.doing = preparing
	p.lanes.prepare.push(ln)
}

// verdict is what a message's settling says to the broker.
type verdict int

const (
	acknowledge verdict = iota
	release
	inProgress
)

// settle is the one function that settles a message. An acknowledgement that gets lost leads to a redelivery, which the
// ledger answers.
func (p *partition) settle(msg jetstream.Msg, v verdict) {
	if p.gone.Load() {
		return
	}
	var err error
	switch v {
	case acknowledge:
		err = msg.Ack()
	case release:
		err = msg.Nak()
	case inProgress:
		err = msg.InProgress()
	}
	if err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
		p.lanes.Logger.Debug("a message could not be settled; it will come again", "consumer", p.name(), "error", err)
	}
}

// beat sends heartbeats for what is older than age.
func (p *partition) beat(age time.Duration) {
	p.mu.Lock()
	due := make([]jetstream.Msg, 0, len(p.bySeq))
	now := time.Now()
	for _, it := range p.bySeq {
		if now.Sub(it.since) >= age {
			due = append(due, it.msg)
		}
	}
	p.mu.Unlock()
	for _, msg := range due {
		p.settle(msg, inProgress)
	}
}

// restart begins a new epoch (rule 2).
func (p *partition) restart() {
	p.mu.Lock()
	p.gate.restart()
	p.mu.Unlock()
}
