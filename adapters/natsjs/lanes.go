package natsjs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"subrelay/events"
)

// Job is the life of one delivered command. Its steps never wait; what they answer says how to go on.
type Job interface {
	// Prepare does what needs no upstream. fresh says that the command cannot have a history, as far as the lane
	// knows, so that reading it can be saved.
	Prepare(ctx context.Context, fresh bool) events.Next
	// Attempt does what needs the upstream, under a permit. probe says that the permit is the one of a half-open
	// breaker. The error is for the permit.
	Attempt(ctx context.Context, probe bool) (events.Next, error)
}

// Permit is the upstream's permission for one attempt.
type Permit interface {
	Probe() bool
	Done(err error)
	Cancel()
}

// LaneSettings is what the lanes of one upstream need. Fields without a default must be set.
type LaneSettings struct {
	Names      Names
	Upstream   events.Upstream
	Kinds      []events.Kind // the upstream's kinds: those the consumers filter on
	JetStream  jetstream.JetStream
	Partitions int // as in the topology; default 16

	NewJob func(events.Delivery) Job
	// Done reports whether nothing more will happen to a command by itself. It is asked of predecessors.
	Done func(context.Context, events.Delivery) (bool, error)
	// Acquire waits for the upstream's permission.
	Acquire     func(context.Context) (Permit, error)
	Concurrency int // attempts at the same time; default 16

	AckWait time.Duration // as in the topology; default 5s
	Window  int           // commands of a partition that may be unfinished, as in the topology; default 1000
	Grace   time.Duration // how long what has started may take on shutdown; default 30s
	// Settle is how long after a loss of the command stream calls of before may be under way, so that nothing is started
	// on the one made in its place. Default 1 min.
	Settle time.Duration
	// Killed, when it ends, ends Run at once, grace or not: work is cut off, and left as a crash would leave it. The
	// connection must be closed by then, or what is under way may still be recorded. Default: never.
	Killed context.Context
	// Repair is called when a consumer has vanished, before it is looked for again. Default: nothing.
	Repair func(context.Context) error
	Logger *slog.Logger
	// Acked is told of each acknowledgement, with the time since the command was stored. Default: nothing.
	Acked func(sinceStored time.Duration)
	// KeyAlarm is how many commands of one key may wait in this worker without an alarm. Default DefaultKeyAlarm.
	KeyAlarm int
	// Alarmed is told of each alarm that was logged. Default: nothing.
	Alarmed func(Alarm)
}

// DefaultAckWait is how long the broker waits for an acknowledgement or a heartbeat, as in the topology.
const DefaultAckWait = 5 * time.Second

const (
	preparers   = 16 // steps that need no upstream, at the same time
	gateReads   = 8  // reads for closed gates, at the same time
	infoTimeout = 5 * time.Second
	infoEvery   = 200 * time.Millisecond
	infoSoon    = 20 * time.Millisecond // after an acknowledgement, which is on its way to the broker
)

func (s *LaneSettings) setDefaults() error {
	if s.JetStream == nil || s.NewJob == nil || s.Done == nil || s.Acquire == nil || len(s.Kinds) == 0 {
		return errors.New("lanes need JetStream, kinds, NewJob, Done and Acquire")
	}
	if s.Partitions == 0 {
		s.Partitions = DefaultPartitions
	}
	if s.Concurrency == 0 {
		s.Concurrency = 16
	}
	if s.AckWait == 0 {
		s.AckWait = DefaultAckWait
	}
	s.Window = cmp.Or(s.Window, DefaultMaxAckPending)
	s.KeyAlarm = cmp.Or(s.KeyAlarm, DefaultKeyAlarm)
	if s.Grace == 0 {
		s.Grace = 30 * time.Second
	}
	if s.Settle == 0 {
		s.Settle = time.Minute
	}
	if s.Logger == nil {
		s.Logger = slog.Default()
	}
	return nil
}

// Lanes delivers one upstream's commands, each partition's by its own consumer, each key's strictly in order, different
// keys at the same time. It follows the delivery protocol in this package's documentation; rule numbers in comments
// refer to it. Which partitions it serves is said by Own.
type Lanes struct {
	LaneSettings
	stream jetstream.Stream

	prepare queue // lanes whose head is to be prepared
	call    queue // lanes whose head waits for the upstream's permission
	reads   chan struct{}

	mu      sync.Mutex
	want    []int
	changed chan struct{}
	active  map[int]*partition
}

// NewLanes makes lanes that own no partition yet.
func NewLanes(s LaneSettings) (*Lanes, error) {
	if err := s.setDefaults(); err != nil {
		return nil, err
	}
	l := &Lanes{
		LaneSettings: s, reads: make(chan struct{}, gateReads),
		changed: make(chan struct{}, 1), active: make(map[int]*partition),
	}
	l.prepare.init()
	l.call.init()
	return l, nil
}

// Own says which partitions to serve from now on. What is no longer in the list is left: drained, handed back, and
// unpinned, so that its new owner can go on at once.
func (l *Lanes) Own(partitions []int) {
	l.mu.Lock()
	l.want = slices.Clone(partitions)
	l.mu.Unlock()
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// Run delivers until ctx ends, and then leaves all partitions: what has not started is handed back at once, what has
// may take until the grace period ends. It returns nil after such an end.
func (l *Lanes) Run(ctx context.Context) error {
	stream, err := untilAnswered(ctx, l.Logger, "the stream "+l.Names.Commands(), func(ctx context.Context) (jetstream.Stream, error) {
		return l.JetStream.Stream(ctx, l.Names.Commands())
	})
	if err != nil {
		return unlessEnded(ctx, err)
	}
	l.stream = stream
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if l.Killed != nil {
		defer context.AfterFunc(l.Killed, stop)()
	}
	var runners errgroup.Group
	for range preparers {
		runners.Go(func() error { l.runPrepare(work); return nil })
	}
	for range l.Concurrency {
		runners.Go(func() error { l.runCall(work); return nil })
	}
	runners.Go(func() error { l.heartbeat(work); return nil })
	runners.Go(func() error { l.watchDepth(work); return nil })
	l.serve(ctx, work, stop)
	stop()
	l.prepare.close()
	l.call.close()
	return runners.Wait()
}

// unlessEnded is err, or nil where ctx has ended.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// untilAnswered asks the broker, and asks again for as long as it does not answer. Its error is of ctx, or says that
// what is asked for does not exist.
func untilAnswered[T any](ctx context.Context, log *slog.Logger, what string, ask func(context.Context) (T, error)) (T, error) {
	for {
		answer, err := ask(ctx)
		switch {
		case err == nil:
			return answer, nil
		case ctx.Err() != nil:
			return answer, ctx.Err()
		case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrBucketNotFound):
			return answer, fmt.Errorf("%s: %w", what, err)
		}
		log.Warn("the broker does not answer; asking again", "about", what, "error", err)
		pause(ctx, time.Second)
	}
}

// serve keeps one goroutine per owned partition until ctx ends, and then for as long as leaving takes, at most the
// grace period.
func (l *Lanes) serve(ctx, work context.Context, stop func()) {
	var group sync.WaitGroup
	ends := make(map[int]context.CancelFunc)
	for ctx.Err() == nil {
		l.mu.Lock()
		want := l.want
		l.mu.Unlock()
		for n, end := range ends {
			if !slices.Contains(want, n) {
				end()
				delete(ends, n)
			}
		}
		for _, n := range want {
			if !l.serving(n) {
				if ended := ends[n]; ended != nil { // by itself: its stream was replaced
					ended()
				}
				own, end := context.WithCancel(ctx)
				ends[n] = end
				p := newPartition(l, n)
				l.setActive(n, p)
				group.Go(func() { p.run(own, work); l.setActive(n, nil) })
			}
		}
		select {
		case <-l.changed:
		case <-ctx.Done():
		}
	}
	for _, end := range ends {
		end()
	}
	grace := time.AfterFunc(l.Grace, stop)
	defer grace.Stop()
	group.Wait()
}

func (l *Lanes) serving(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.active[n] != nil
}

func (l *Lanes) setActive(n int, p *partition) {
	l.mu.Lock()
	if p != nil {
		l.active[n] = p
	} else {
		delete(l.active, n)
	}
	l.mu.Unlock()
	if p == nil { // it may be wanted again by now
		select {
		case l.changed <- struct{}{}:
		default:
		}
	}
}

func (l *Lanes) partitions() []*partition {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]*partition, 0, len(l.active))
	for _, p := range l.active {
		out = append(out, p)
	}
	return out
}

// Reconnected closes every gate: messages sent into the old connection may be missing (rule 2).
func (l *Lanes) Reconnected() {
	for _, p := range l.partitions() {
		p.restart()
	}
}

// runPrepare is one of the goroutines that prepare commands.
func (l *Lanes) runPrepare(ctx context.Context) {
	for {
		ln, ok := l.prepare.pop()
		if !ok {
			return
		}
		ln.partition.prepareHead(ctx, ln)
	}
}

// runCall is one of the goroutines that call the upstream. It first gets the permission and then takes the command
// that has waited longest, so that no command is tied to a permission that does not come.
func (l *Lanes) runCall(ctx context.Context) {
	for l.call.wait() {
		permit, err := l.Acquire(ctx)
		if err != nil {
			if ctx.Err() == nil {
				l.Logger.Error("no permission could be asked for", "upstream", l.Upstream, "error", err)
				pause(ctx, time.Second)
			}
			continue
		}
		ln, ok := l.call.tryPop()
		if !ok {
			permit.Cancel()
			continue
		}
		ln.partition.attemptHead(ctx, ln, permit)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// heartbeat tells the broker of everything delivered and unfinished that it is being worked on (rule 9).
func (l *Lanes) heartbeat(ctx context.Context) {
	tick := time.NewTicker(l.AckWait / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, p := range l.partitions() {
			p.beat(l.AckWait / 5)
		}
	}
}
