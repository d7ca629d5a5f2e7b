package upstream

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// pace is the rate limit of an upstream, as far as it is this worker's: a token bucket of the size and the speed of its
// part. Whoever waits for a token does so alone, the others behind: with one reservation at a time a new part counts at
// once, not only after all that was promised under the old one.
//
// A permit comes with one token. What else is called under it, reads around a call or the pages of a list, takes tokens
// of the future, without waiting: a command whose start is stored must not wait for the rate. Those who come next do.
type pace struct {
	rate  float64
	burst int
	turn  chan struct{} // holds a value while somebody takes or awaits a token

	mu      sync.Mutex
	limiter *rate.Limiter
	part    float64
	shared  bool          // setPart was called
	permits int           // that are out
	unspent int           // of their tokens, those that no call has taken
	changed chan struct{} // closed and replaced with each change of part
}

// newPace is a pace of the whole rate, with a full bucket; nil, which never waits, where the rate is unlimited.
func newPace(s *Settings) *pace {
	if s.Rate <= 0 {
		return nil
	}
	return &pace{
		rate: s.Rate, burst: s.Burst, part: 1, turn: make(chan struct{}, 1),
		limiter: rate.NewLimiter(rate.Limit(s.Rate), s.Burst), changed: make(chan struct{}),
	}
}

// setPart changes the part, above 0 and at most 1. Tokens are neither made nor lost by it, but for those that a smaller
// bucket cannot hold. A bucket that is shared from the beginning begins empty: what was saved up is in the others'.
func (p *pace) setPart(part float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := !p.shared
	p.shared = true
	if part == p.part {
		return
	}
	p.part = part
	p.limiter.SetLimit(rate.Limit(p.rate * part))
	p.limiter.SetBurst(max(1, int(float64(p.burst)*part)))
	if first {
		p.limiter.AllowN(time.Now(), p.limiter.Burst())
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pace) now() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rate * p.part
}

// granted says that a permit is out, and its token paid.
func (p *pace) granted() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.permits++
	p.unspent++
}

// returned says that a permit is back. A token that its calls have not taken is lost.
func (p *pace) returned() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.permits--
	p.unspent = min(p.unspent, p.permits)
}

// spend takes the token of a call that goes out: that of a permit, or one of the future.
func (p *pace) spend() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unspent > 0 {
		p.unspent--
		return
	}
	p.limiter.Reserve()
}

func (p *pace) reserve() (r *rate.Reservation, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limiter.Reserve(), p.changed
}

// wait takes a token, and reports whether it had to wait for it.
func (p *pace) wait(ctx context.Context) (waited bool, err error) {
	select {
	case p.turn <- struct{}{}:
	default:
		waited = true
		select {
		case p.turn <- struct{}{}:
		case <-ctx.Done():
			return true, ctx.Err()
		}
	}
	defer func() { <-p.turn }()
	for {
		reserved, changed := p.reserve()
		delay := reserved.Delay()
		if delay <= 0 {
			return waited, nil
		}
		waited = true
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
			return true, nil
		case <-changed:
			timer.Stop()
			reserved.Cancel()
		case <-ctx.Done():
			timer.Stop()
			reserved.Cancel()
			return true, ctx.Err()
		}
	}
}
