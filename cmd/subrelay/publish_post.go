package main

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"golang.org/x/sync/errgroup"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// posting is one run of publish: it sends, waits, and reports what became of each command.
type posting struct {
	cli    *cli
	client *client
	flags  publishFlags
	report *postReport

	mu      sync.Mutex
	taken   map[int]draft // by the index of the publisher's batch, until it has reported
	posted  []posted
	total   int
	readErr error
}

// posted is a command that the broker has stored.
type posted struct {
	draft   draft
	receipt natsjs.Receipt
}

func newPosting(c *cli, cl *client, f publishFlags, batch bool) *posting {
	return &posting{cli: c, client: cl, flags: f, taken: make(map[int]draft), report: newPostReport(c, batch)}
}

// send publishes every draft that may be sent, and reports the others. It returns when all have been stored or not.
func (p *posting) send(ctx context.Context, drafts iter.Seq2[draft, error]) error {
	_, err := p.client.publisher.PublishAll(ctx, p.sendable(drafts), natsjs.Batch{Report: p.published})
	return cmp.Or(p.readErr, err)
}

// sendable is the events of the drafts that may be sent.
func (p *posting) sendable(drafts iter.Seq2[draft, error]) iter.Seq[event.Event] {
	return func(yield func(event.Event) bool) {
		index := 0
		for d, err := range drafts {
			if err != nil {
				p.readErr = err
				return
			}
			p.total++
			if d.event == nil || d.checked.Failure != nil && !p.flags.noValidate {
				p.report.add(refusedBefore(d))
				continue
			}
			p.mu.Lock()
			p.taken[index] = d
			p.mu.Unlock()
			if !yield(*d.event) {
				return
			}
			index++
		}
	}
}

// published takes what became of one publish.
func (p *posting) published(one natsjs.Published) {
	p.mu.Lock()
	d := p.taken[one.Index]
	delete(p.taken, one.Index)
	if one.Err == nil && p.flags.wait {
		p.posted = append(p.posted, posted{draft: d, receipt: one.Receipt})
	}
	p.mu.Unlock()
	switch {
	case one.Err != nil:
		p.report.add(notStored(d, one.Err))
	case !p.flags.wait:
		p.report.add(stored(d, one.Receipt))
	}
}

// waiters is how many outcomes are waited for at once. What is done already answers at once.
const waiters = 32

// finish waits for outcomes, if they are wanted, and says how all ended.
func (p *posting) finish(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, p.flags.timeout)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(waiters)
	for _, s := range p.posted {
		group.Go(func() error {
			line, err := p.await(limited, s)
			if err == nil {
				p.report.add(line)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return p.report.finish()
}

// The pauses between looks for a dead letter of a command that gets no outcome.
const (
	firstDeadLook = 500 * time.Millisecond
	nextDeadLook  = 2 * time.Second
)

// await waits for a command's final outcome, a doubt, or a dead letter without outcome; when ctx ends it says that
// time is up.
func (p *posting) await(ctx context.Context, s posted) (postLine, error) {
	key, err := events.KeyToken(s.draft.event.Subject())
	if err != nil {
		return postLine{}, err
	}
	for look := firstDeadLook; ; look = nextDeadLook {
		limited, cancel := context.WithTimeout(ctx, look)
		r, err := p.client.outcomes.Wait(limited, key, s.receipt.CID)
		lookedUp := limited.Err() != nil
		cancel()
		switch {
		case err == nil && r.Command.Hash != s.draft.checked.Hash:
			return idReused(s, r), nil
		case err == nil:
			return outcome(s, r), nil
		case ctx.Err() != nil:
			return timedOut(s, p.flags.timeout), nil
		case !lookedUp:
			return postLine{}, err
		}
		if letter, ok := p.deadLetter(ctx, s.receipt.Seq); ok {
			return buried(s, letter), nil
		}
	}
}

// withoutOutcome lists the reasons of dead letters whose commands get no outcome.
var withoutOutcome = []events.Reason{
	events.DeadUndecodable, events.DeadUnknownType, events.DeadSubjectMismatch, events.DeadStale, events.DeadIDReused,
}

// deadLetter is the dead letter that stands in place of an outcome, if there is one.
func (p *posting) deadLetter(ctx context.Context, seq uint64) (natsjs.Letter, bool) {
	if !p.client.may("$JS.API.STREAM.INFO." + p.client.names.DeadLetters()) {
		return natsjs.Letter{}, false // billing need not see dead letters
	}
	letters, err := p.client.letters.Get(ctx, seq)
	if err != nil {
		return natsjs.Letter{}, false // none, or not now
	}
	i := slices.IndexFunc(letters, func(l natsjs.Letter) bool { return slices.Contains(withoutOutcome, l.Reason) })
	if i < 0 {
		return natsjs.Letter{}, false
	}
	return letters[i], true
}
