package natsjs

import (
	linked "container/list"
	"context"
	"errors"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"subrelay/events"
)

// waitPoll is how often Wait looks by itself: a record's republished copy, which tells it when to look, is not
// delivered for sure.
const waitPoll = time.Second

// Wait returns the record that ends the waiting for a command: final, or in doubt. It answers at once where that is
// there already; key is the coded key. It returns the error of ctx when ctx ends; while the broker is away it waits on.
func (o *Outcomes) Wait(ctx context.Context, key, cid string) (events.Record, error) {
	// Listening begins before the first look, so that nothing falls between the two.
	hints := make(chan *nats.Msg, 16)
	sub, err := o.js.Conn().ChanSubscribe(o.names.History(key, cid), hints)
	if err != nil {
		return events.Record{}, storageError("wait for outcome", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	tick := time.NewTicker(waitPoll)
	defer tick.Stop()
	for {
		last, err := o.Last(ctx, key, cid)
		switch {
		case ctx.Err() != nil:
			return events.Record{}, ctx.Err()
		case err != nil && (events.KindOf(err) != events.Unavailable || o.js.Conn().IsClosed()):
			return events.Record{}, err
		case err == nil && last != nil && (last.Status.Final() || last.Status == events.InDoubt):
			return *last, nil
		}
		select {
		case <-hints:
		case <-tick.C:
		case <-ctx.Done():
			return events.Record{}, ctx.Err()
		}
	}
}

// Doubts is the commands that are in doubt now, in the order in which they came to be: those of q's selection whose
// newest record is in_doubt. q.Statuses and q.Follow are not used. The sequence ends after its first error.
func (o *Outcomes) Doubts(ctx context.Context, q Query) iter.Seq2[events.Record, error] {
	q.Statuses = []events.Status{events.InDoubt}
	return func(yield func(events.Record, error) bool) {
		err := o.Latest(ctx, q, func(s Stored) error {
			if !yield(s.Record, nil) {
				return errScanEnd
			}
			return nil
		})
		if err != nil {
			yield(events.Record{}, err)
		}
	}
}

// latestHeld is how many records Latest holds back at once, to see whether another follows.
const latestHeld = 4096

// Latest calls fn for each command whose newest record q selects, with that record, each command once. Records that
// are not final come later than their place, since Latest holds them back to see what follows; memory is bounded. At
// most q.Limit commands are reported. q.Follow is not used.
func (o *Outcomes) Latest(ctx context.Context, q Query, fn func(Stored) error) error {
	n := q.Limit
	q.Limit, q.Follow = 0, false
	f := newFold(o, latestHeld, func(s Stored) error {
		if err := fn(s); err != nil {
			return err
		}
		if n--; n == 0 {
			return errScanEnd
		}
		return nil
	})
	ended := false
	err := o.Read(ctx, q, func(s Stored) error {
		err := f.add(ctx, s)
		ended = errors.Is(err, errScanEnd)
		return err
	})
	if err != nil || ended {
		return err
	}
	if err := f.flush(ctx, 0); !errors.Is(err, errScanEnd) {
		return err
	}
	return nil
}

// fold finds the newest record per command in a run of records. A final record is the newest by its nature; any other
// is held back, and gives way to the next of its command. What has been held long enough is compared with the ledger.
type fold struct {
	outcomes *Outcomes
	fn       func(Stored) error
	most     int // records held
	held     map[string]*linked.Element
	order    linked.List // of Stored, oldest first
}

func newFold(o *Outcomes, most int, fn func(Stored) error) *fold {
	return &fold{outcomes: o, fn: fn, most: most, held: map[string]*linked.Element{}}
}

func (f *fold) add(ctx context.Context, s Stored) error {
	cid := s.Command.CID
	if e, ok := f.held[cid]; ok {
		f.order.Remove(e)
		delete(f.held, cid)
	}
	if s.Status.Final() {
		return f.fn(s)
	}
	f.held[cid] = f.order.PushBack(s)
	return f.flush(ctx, f.most)
}

// Looking up the newest record of what is held goes many at a time: an incident may leave tens of thousands.
const (
	lookedUp = 256 // taken from what is held at once
	lookers  = 16
)

// flush reports the oldest until no more than most are held. It waits until there are enough to be looked up together,
// unless all are to go.
func (f *fold) flush(ctx context.Context, most int) error {
	for f.order.Len() > most && (most == 0 || f.order.Len() >= most+lookedUp) {
		var batch []Stored
		for f.order.Len() > most && len(batch) < lookedUp {
			s := f.order.Remove(f.order.Front()).(Stored)
			delete(f.held, s.Command.CID)
			batch = append(batch, s)
		}
		if err := f.report(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// report calls fn, in order, for those that are their command's newest record.
func (f *fold) report(ctx context.Context, batch []Stored) error {
	newest := make([]bool, len(batch))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(lookers)
	for i, s := range batch {
		group.Go(func() error {
			key, err := events.KeyToken(s.Command.Key)
			if err != nil {
				return unwritable("a record of the ledger has no usable key", err)
			}
			last, err := f.outcomes.Last(groupCtx, key, s.Command.CID)
			newest[i] = last != nil && last.Seq == s.Seq
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, s := range batch {
		if newest[i] {
			if err := f.fn(s); err != nil {
				return err
			}
		}
	}
	return nil
}
