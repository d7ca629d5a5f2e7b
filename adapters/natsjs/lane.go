package natsjs

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

// The pauses of a held lane between looks at the ledger (rule 5).
const (
	holdMin = 100 * time.Millisecond
	holdMax = 400 * time.Millisecond
)

func hold() events.Next {
	return events.Next{Action: events.Wait, At: time.Now().Add(holdMin + rand.N(holdMax-holdMin))}
}

// prepareHead takes the head of a lane one step on, without the upstream.
func (p *partition) prepareHead(ctx context.Context, ln *lane) {
	it, fresh := p.takeHead(ln, preparing)
	if it == nil {
		return
	}
	next := hold()
	if ok, open := p.mayStart(ctx, ln, it); ok {
		if it.job == nil {
			it.job = p.lanes.NewJob(p.delivery(ln.key, it))
		}
		next = it.job.Prepare(ctx, open && fresh)
	}
	p.advance(ln, it, next)
}

// attemptHead takes the head of a lane one step on, under a permit, which it gives back.
func (p *partition) attemptHead(ctx context.Context, ln *lane, permit Permit) {
	it, _ := p.takeHead(ln, attempting)
	if it == nil {
		permit.Cancel()
		return
	}
	defer permit.Cancel() // changes nothing after Done
	next, err := it.job.Attempt(ctx, permit.Probe())
	permit.Done(err)
	p.advance(ln, it, next)
}

// takeHead begins work on the head of a lane: nil where there is nothing to do, or where another head has come in the
// meantime, which is prepared first. once says that the message was delivered once,
// and by no consumer before the present one.
func (p *partition) takeHead(ln *lane, to activity) (it *item, once bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ln.unschedule()
	if p.leaving || len(ln.items) == 0 {
		ln.doing = idle
		return nil, false
	}
	it = ln.items[0]
	if to == attempting && ln.callable != it {
		ln.doing = idle
		p.ready(ln)
		return nil, false
	}
	ln.doing, ln.busy, ln.callable = to, true, nil
	p.working++
	return it, it.delivered == 1 && it.stored.After(p.created)
}

// advance ends work on an item and goes on as its step has answered.
func (p *partition) advance(ln *lane, it *item, next events.Next) {
	p.mu.Lock()
	p.working--
	ln.busy = false
	var msg jetstream.Msg
	action := next.Action
	if p.leaving && action != events.Ack {
		action = events.Release
	}
	if action == events.Ack || action == events.Release {
		msg = it.msg
		p.drop(ln, it)
	}
	p.goOn(ln, it, next)
	if p.leaving && p.working == 0 {
		p.quietOnce()
	}
	p.mu.Unlock()
	switch {
	case msg == nil:
	case action == events.Ack:
		p.settle(msg, acknowledge)
		p.mu.Lock()
		p.noteAcked()
		p.mu.Unlock()
		if p.lanes.Acked != nil {
			p.lanes.Acked(time.Since(it.stored))
		}
	default:
		p.settle(msg, release)
	}
}

// goOn decides what the lane does next. It needs the lock.
func (p *partition) goOn(ln *lane, it *item, next events.Next) {
	switch {
	case len(ln.items) == 0:
		ln.doing = idle
		delete(p.byKey, ln.key)
	case p.leaving:
		ln.doing = idle
	case ln.items[0] != it: // done with, or overtaken by an earlier one
		ln.doing = idle
		p.ready(ln)
	case next.Action == events.Call:
		ln.doing, ln.callable = calling, it
		if !next.At.IsZero() {
			p.wakeAt(ln, next.At)
		}
		p.lanes.call.push(ln)
	default:
		ln.doing = waiting
		p.wakeAt(ln, next.At)
	}
}

// drop takes an item out of the books. It needs the lock.
func (p *partition) drop(ln *lane, it *item) {
	delete(p.bySeq, it.seq)
	for i := range ln.items {
		if ln.items[i] == it {
			ln.items = append(ln.items[:i], ln.items[i+1:]...)
			return
		}
	}
}

// wakeAt has the lane's head prepared at a time, if nothing else happens first. It needs the lock.
func (p *partition) wakeAt(ln *lane, at time.Time) {
	ln.schedule++
	due := ln.schedule
	ln.timer = time.AfterFunc(max(0, time.Until(at)), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if ln.schedule == due && !p.leaving && !ln.busy && len(ln.items) > 0 {
			p.ready(ln)
		}
	})
}

// unschedule stops the lane's timer, also one that has fired and waits for the lock. It needs the lock.
func (ln *lane) unschedule() {
	ln.schedule++
	if ln.timer != nil {
		ln.timer.Stop()
		ln.timer = nil
	}
}

// delivery is an item as the meaning sees it.
func (p *partition) delivery(key string, it *item) events.Delivery {
	d := events.Delivery{Seq: it.seq, Stored: it.stored, Kind: it.kind, Key: key, Raw: it.msg.Data(), Header: it.msg.Headers()}
	d.Event, d.Undecodable = DecodeMessage(it.msg.Headers(), d.Raw)
	return d
}

// leave hands the partition over (rule 11): what has not started goes back at once, what has finishes; then the pin is
// given up, so that the next owner need not wait for its time-out. work's end cuts it short.
func (p *partition) leave(work context.Context, consuming jetstream.ConsumeContext, closed <-chan struct{}) {
	back := p.beginLeaving()
	consuming.Drain()
	for _, msg := range back {
		p.settle(msg, release)
	}
	for _, ch := range []<-chan struct{}{p.quiet, closed} {
		select {
		case <-ch:
		case <-work.Done():
			return
		}
	}
	p.unpin(work)
}

// beginLeaving stops every lane and answers what is to be handed back, in the order of the stream as far as keys go.
func (p *partition) beginLeaving() []jetstream.Msg {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaving = true
	var back []jetstream.Msg
	for key, ln := range p.byKey {
		ln.unschedule()
		keep := ln.items[:0]
		for i, it := range ln.items {
			if i == 0 && ln.busy {
				keep = append(keep, it)
				continue
			}
			back = append(back, it.msg)
			delete(p.bySeq, it.seq)
		}
		ln.items = keep
		if len(keep) == 0 {
			delete(p.byKey, key)
		}
	}
	if p.working == 0 {
		p.quietOnce()
	}
	return back
}

// quietOnce says that nothing is being worked on. It needs the lock.
func (p *partition) quietOnce() {
	select {
	case <-p.quiet:
	default:
		close(p.quiet)
	}
}

// unpin gives up the pin, if it is still ours.
func (p *partition) unpin(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, infoTimeout)
	defer cancel()
	p.mu.Lock()
	pin := p.gate.pin
	p.mu.Unlock()
	info, err := p.consumer.Info(limited)
	if err != nil {
		return // the pin ends by itself
	}
	for _, g := range info.PriorityGroups {
		if pin != "" && g.PinnedClientID == pin {
			if err := p.lanes.stream.UnpinConsumer(limited, p.name(), PinGroup); err != nil {
				p.lanes.Logger.Debug("the pin could not be given up; it ends by itself", "consumer", p.name(), "error", err)
			}
		}
	}
}
