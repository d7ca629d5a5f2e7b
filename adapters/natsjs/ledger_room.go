package natsjs

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// room knows whether the outcome stream has room for anything new. It looks at most every FullEvery: whoever finds the
// last look too old does the next one, everybody else goes by the last, unless that is older than a few times FullEvery.
type room struct {
	ledger *Ledger
	isFull atomic.Bool
	looked atomic.Pointer[time.Time] // nil before the first look

	looking chan struct{} // holds one value while somebody looks
}

// staleLooks times FullEvery is how old the last look may be and still count: after a pause much may have changed.
const staleLooks = 3

func newRoom(l *Ledger) *room { return &room{ledger: l, looking: make(chan struct{}, 1)} }

// full reports whether no started record may be written now. Where the stream cannot be looked at, the last view holds:
// the write itself will tell.
func (r *room) full(ctx context.Context) bool {
	last := r.looked.Load()
	if last != nil && time.Since(*last) <= r.ledger.settings.FullEvery {
		return r.isFull.Load()
	}
	if last == nil || time.Since(*last) > staleLooks*r.ledger.settings.FullEvery { // nothing is known of now: wait for whoever looks
		select {
		case r.looking <- struct{}{}:
		case <-ctx.Done():
			return false
		}
	} else {
		select {
		case r.looking <- struct{}{}:
		default:
			return r.isFull.Load()
		}
	}
	defer func() { <-r.looking }()
	if r.looked.Load() == last {
		r.look(ctx)
	}
	return r.isFull.Load()
}

// noteFull records that the server has just refused a record for want of room.
func (r *room) noteFull() {
	r.isFull.Store(true)
	now := time.Now()
	r.looked.Store(&now)
}

func (r *room) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.ledger.settings.PublishTimeout)
	defer cancel()
	s, err := r.ledger.js.Stream(ctx, r.ledger.settings.Names.Outcomes())
	now := time.Now()
	r.looked.Store(&now)
	if err == nil {
		r.isFull.Store(nearlyFull(s.CachedInfo(), r.ledger.settings.FullAt))
	}
}

// nearlyFull reports whether the share of a stream's limits that is used up has reached at.
func nearlyFull(i *jetstream.StreamInfo, at float64) bool {
	bytes, msgs := i.Config.MaxBytes, i.Config.MaxMsgs
	return bytes > 0 && float64(i.State.Bytes) >= at*float64(bytes) ||
		msgs > 0 && float64(i.State.Msgs) >= at*float64(msgs)
}
