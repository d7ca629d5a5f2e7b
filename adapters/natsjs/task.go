package natsjs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ChargesTask is the task of listing Netflix charges.
const ChargesTask = "charges"

// Tasks lists every task that the topology has a consumer for.
func Tasks() []string { return []string{ChargesTask} }

const (
	tickWait    = 5 * time.Second // how long one request for the tick waits on the server
	tickTimeout = 5 * time.Second // for any other request
	tickPause   = time.Second     // after a request that failed
)

// Task is work that is done in rounds, by one worker at a time of any number that run it. Fields without a default must
// be set.
//
// There is one message for it, the tick, which nobody ever acknowledges. The server hands it to one worker, which does a
// round under heartbeats and then gives it back for the interval. A worker that crashes, freezes or is cut off falls
// silent, and AckWait later another gets the tick. A frozen one may go on when it thaws, so that two rounds overlap: Do
// must stand that. The interval outlasts a restart of the server, to the second.
type Task struct {
	JetStream jetstream.JetStream
	Names     Names
	Name      string // one of Tasks
	// Interval is from the end of a round to the beginning of the next, in whichever worker. Default 1 min.
	Interval time.Duration
	// Retry stands in its place after a round that failed. Default a quarter of Interval.
	Retry   time.Duration
	AckWait time.Duration // as in the topology; default 5 s
	// Do does a round. It may take as long as it needs. What it returns is logged. It must end soon after ctx.
	Do func(ctx context.Context) error
	// Repair is called when the stream or the consumer has vanished. Default: nothing.
	Repair func(context.Context) error
	Logger *slog.Logger // default slog.Default
}

func (t *Task) setDefaults() error {
	if t.JetStream == nil || t.Name == "" || t.Do == nil {
		return errors.New("a task needs JetStream, Name and Do")
	}
	if t.Interval == 0 {
		t.Interval = time.Minute
	}
	if t.Retry == 0 {
		t.Retry = t.Interval / 4
	}
	if t.AckWait == 0 {
		t.AckWait = DefaultAckWait
	}
	if t.Logger == nil {
		t.Logger = slog.Default()
	}
	if t.Interval < 0 || t.Retry < 0 || t.AckWait < 0 {
		return fmt.Errorf("task %s: interval %s, retry %s, ack wait %s: none may be negative", t.Name, t.Interval, t.Retry, t.AckWait)
	}
	return nil
}

// Run takes its turns until ctx ends, and returns nil then. A round under way is cut off by the end of ctx, and the tick
// is given back at once for another worker.
func (t *Task) Run(ctx context.Context) error {
	if err := t.setDefaults(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		err := t.turn(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		t.Logger.Warn("the tick of a task could not be asked for; trying again", "task", t.Name, "error", err)
		if t.Repair != nil && (errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)) {
			if err := t.Repair(ctx); err != nil {
				t.Logger.Warn("the topology could not be repaired", "error", err)
			}
		}
		pause(ctx, tickPause)
	}
	return nil
}

// turn waits a while for the tick and does a round if it comes.
func (t *Task) turn(ctx context.Context) error {
	consumer, err := t.consumer(ctx)
	if err != nil {
		return err
	}
	if info := consumer.CachedInfo(); info.NumPending == 0 && info.NumAckPending == 0 {
		if err := t.renew(ctx); err != nil {
			return err
		}
	}
	wait, cancel := context.WithTimeout(ctx, tickWait)
	defer cancel()
	msg, err := consumer.Next(jetstream.FetchContext(wait))
	if err != nil {
		if errors.Is(err, nats.ErrTimeout) || wait.Err() != nil {
			return nil // another has it, or the interval is not over
		}
		return err
	}
	t.round(ctx, msg)
	return nil
}

func (t *Task) consumer(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, tickTimeout)
	defer cancel()
	return t.JetStream.Consumer(ctx, t.Names.Tasks(), t.Name)
}

// renew makes the tick where there is none, at first and after it got lost. Of several workers that do so at once, one
// succeeds. A tick that is there and will never come, because somebody acknowledged it, is removed, so that the next
// turn makes a new one.
func (t *Task) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tickTimeout)
	defer cancel()
	subject := t.Names.Task(t.Name)
	_, err := t.JetStream.Publish(ctx, subject, []byte(`{"task":"`+t.Name+`"}`), jetstream.WithExpectLastSequencePerSubject(0))
	if err == nil {
		t.Logger.Info("the tick of a task was made", "task", t.Name)
		return nil
	}
	if !isConflict(err) {
		return err
	}
	stream, err := t.JetStream.Stream(ctx, t.Names.Tasks())
	if err != nil {
		return err
	}
	tick, err := stream.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	consumer, err := stream.Consumer(ctx, t.Name)
	if err != nil || consumer.CachedInfo().AckFloor.Stream < tick.Sequence {
		return err
	}
	t.Logger.Warn("the tick of a task was acknowledged, which nobody should; making another", "task", t.Name)
	if err := stream.DeleteMsg(ctx, tick.Sequence); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return err
	}
	return nil
}

// round does one round under heartbeats, and gives the tick back.
func (t *Task) round(ctx context.Context, tick jetstream.Msg) {
	work, stop := context.WithCancel(ctx)
	defer stop()
	var beating sync.WaitGroup
	beating.Go(func() { t.beat(work, tick) })
	began := time.Now()
	err := t.Do(work)
	stop()
	beating.Wait() // a heartbeat behind the return would shorten the interval
	t.giveBack(ctx, tick, err)
	if err != nil && ctx.Err() == nil {
		t.Logger.Warn("a round of a task failed; trying again later", "task", t.Name, "error", err, "took", time.Since(began), "pause", t.Retry)
	}
}

func (t *Task) beat(ctx context.Context, tick jetstream.Msg) {
	beat := time.NewTicker(max(t.AckWait/3, 1))
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			if err := tick.InProgress(); err != nil {
				t.Logger.Debug("a heartbeat could not be sent; another worker may take over", "task", t.Name, "error", err)
			}
		}
	}
}

// giveBack is the one function that settles a tick. One that gets lost leaves the tick to AckWait.
func (t *Task) giveBack(ctx context.Context, tick jetstream.Msg, failed error) {
	delay := t.Interval
	switch {
	case failed == nil:
	case ctx.Err() != nil:
		delay = 0
	default:
		delay = t.Retry
	}
	settle := func() error { return tick.NakWithDelay(delay) }
	if delay == 0 {
		settle = tick.Nak
	}
	if err := settle(); err != nil {
		t.Logger.Debug("the tick could not be given back; it comes again by itself", "task", t.Name, "error", err)
	}
}
