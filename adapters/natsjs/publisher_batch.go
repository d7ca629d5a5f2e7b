package natsjs

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/events"
)

// Batch says how PublishAll works. The zero value works.
type Batch struct {
	InFlight int           // commands under way at once, of different keys; default 128
	Tries    int           // of one command whose storing was not confirmed; default 5
	Pause    time.Duration // before the second try, doubled each time; default 250 ms
	// Report is called once for every event, in order within a key, by one goroutine at a time. Default: nothing.
	Report func(Published)
}

// Published is what became of one event of a batch.
type Published struct {
	Index   int // in the order of the batch, from 0
	Receipt Receipt
	Err     error // an *events.Error as of Publish; with code held_back where an earlier one of the key has failed
}

// BatchResult counts what became of a batch.
type BatchResult struct {
	Stored     int `json:"stored"`
	Duplicates int `json:"duplicates"`
	Failed     int `json:"failed"`
	HeldBack   int `json:"held_back"`
}

// PublishAll publishes many commands. Within a key they are stored in the order given: each is sent when the one
// before it is stored, and after one that was not, none of its key is sent any more (held_back): it would overtake.
// Keys do not wait for each other. An unconfirmed publish is tried again, which is safe.
//
// It returns when every event it took from all was reported. When ctx ends it takes no more, and returns its error;
// otherwise the error is nil, whatever became of single events.
func (p *Publisher) PublishAll(ctx context.Context, all iter.Seq[event.Event], b Batch) (BatchResult, error) {
	b.InFlight, b.Tries, b.Pause = cmp.Or(b.InFlight, 128), cmp.Or(b.Tries, 5), cmp.Or(b.Pause, 250*time.Millisecond)
	r := &batchRun{publisher: p, batch: b}
	lanes := make([]chan batchItem, b.InFlight)
	var wg sync.WaitGroup
	for i := range lanes {
		lanes[i] = make(chan batchItem, 1)
		wg.Go(func() { r.lane(ctx, lanes[i]) })
	}
	index := 0
	for e := range all {
		if ctx.Err() != nil {
			break
		}
		lanes[PartitionOf(e.Subject(), len(lanes))] <- batchItem{index, e}
		index++
	}
	for _, lane := range lanes {
		close(lane)
	}
	wg.Wait()
	return r.result, ctx.Err()
}

type batchItem struct {
	index int
	event event.Event
}

type batchRun struct {
	publisher *Publisher
	batch     Batch

	mu     sync.Mutex // guards result and calls of Report
	result BatchResult
}

// lane publishes the events of some keys one after another.
func (r *batchRun) lane(ctx context.Context, items <-chan batchItem) {
	failed := map[string]int{} // by subject, the first that failed
	for item := range items {
		key := item.event.Subject()
		if first, held := failed[key]; held {
			r.report(Published{Index: item.index, Err: refusedPublish(events.CodeHeldBack, fmt.Sprintf(
				"not published, because event %d of the batch, of the same key %s, was not: it would overtake", first, bounded(key)), nil)})
			continue
		}
		receipt, err := r.publish(ctx, item.event)
		if err != nil {
			failed[key] = item.index
		}
		r.report(Published{Index: item.index, Receipt: receipt, Err: err})
	}
}

// publish tries until it is known what became of the event, or tries are used up.
func (r *batchRun) publish(ctx context.Context, e event.Event) (Receipt, error) {
	pause := r.batch.Pause
	for try := 1; ; try++ {
		attempt, cancel := context.WithTimeout(ctx, r.publisher.settings.Timeout)
		receipt, err := r.publisher.Publish(attempt, e)
		cancel()
		if err == nil || events.AsError(err).Code != events.CodeStorage || events.KindOf(err) != events.Unavailable || try == r.batch.Tries {
			return receipt, err
		}
		if !sleep(ctx, pause) {
			return receipt, err
		}
		pause *= 2
	}
}

func (r *batchRun) report(p Published) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case p.Err == nil && p.Receipt.Duplicate:
		r.result.Duplicates++
	case p.Err == nil:
		r.result.Stored++
	case events.AsError(p.Err).Code == events.CodeHeldBack:
		r.result.HeldBack++
	default:
		r.result.Failed++
	}
	if r.batch.Report != nil {
		r.batch.Report(p)
	}
}
