package upstream

import (
	"context"
	"sync/atomic"
	"time"

	"subrelay/events"
)

// Permit allows one call, and the reads that belong to it. Whoever acquired it gives it back exactly once, by Done or Cancel; what comes after the
// first is ignored, so that `defer permit.Cancel()` right after Acquire makes sure of it.
type Permit struct {
	guard *Guard
	entry entry
	spent atomic.Bool
}

// Acquire waits for permission to call: first for a place under the concurrency limit, then until the breaker is
// closed or lets this call through as its one probe and no pause is on, last for the rate. When ctx ends first, its
// error is returned, and nothing is kept.
func (g *Guard) Acquire(ctx context.Context) (*Permit, error) { return g.acquire(ctx, true) }

// AcquireUnlessOpen is Acquire for those who would rather be refused than wait for an upstream that is away: while the
// breaker is open, or a pause is on, or as soon as that comes while it waits, it returns an *events.Error of kind
// Unavailable, code upstream_unavailable, with the time until it makes sense to ask again. It waits, as Acquire does,
// for a place, for the end of another's probe and for the rate.
func (g *Guard) AcquireUnlessOpen(ctx context.Context) (*Permit, error) { return g.acquire(ctx, false) }

func (g *Guard) acquire(ctx context.Context, patient bool) (*Permit, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := g.slot(ctx, patient); err != nil {
		return nil, err
	}
	e, err := g.admit(ctx, patient)
	if err != nil {
		<-g.slots
		return nil, err
	}
	g.inFlight.Add(1)
	g.pace.granted()
	return &Permit{guard: g, entry: e}, nil
}

// slot waits for a place under the concurrency limit. Those who wait for the breaker hold theirs, so that who is not
// patient has to look before.
func (g *Guard) slot(ctx context.Context, patient bool) error {
	for {
		var shutting <-chan struct{}
		if !patient {
			var wait time.Duration
			wait, shutting = g.gate.shut()
			g.tell()
			if wait > 0 {
				return g.shutError(wait)
			}
		}
		select {
		case g.slots <- struct{}{}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-shutting:
		}
	}
}

// shutError is the answer to those who do not wait.
func (g *Guard) shutError(wait time.Duration) error {
	message := "it has asked us to wait"
	if g.State() == "open" {
		message = "its breaker is open, because its last calls failed"
	}
	e := g.fail(events.Unavailable, events.CodeUnavailable, string(g.settings.Name)+" is not called at the moment: "+message)
	e.Upstream, e.RetryAfter = true, wait
	return e
}

// admit gets a permission that is still good when the rate allows the call.
func (g *Guard) admit(ctx context.Context, patient bool) (entry, error) {
	for {
		e, err := g.pass(ctx, patient)
		if err != nil {
			return entry{}, err
		}
		waited, err := g.token(ctx)
		if err == nil && (!waited || !g.gate.stale(e)) {
			return e, nil
		}
		g.leave(e, errUnused)
		if err != nil {
			return entry{}, err
		}
	}
}

// pass waits for the gate.
func (g *Guard) pass(ctx context.Context, patient bool) (entry, error) {
	for {
		e := g.gate.enter()
		g.tell()
		if e.done != nil {
			return e, nil
		}
		if !patient && e.wait > 0 {
			return entry{}, g.shutError(e.wait)
		}
		if err := e.await(ctx); err != nil {
			return entry{}, err
		}
	}
}

// await returns when it is worth asking the gate again.
func (e *entry) await(ctx context.Context) error {
	var due <-chan time.Time
	if e.wait > 0 {
		timer := time.NewTimer(e.wait)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-e.probed:
	case <-due:
	}
	return nil
}

// token waits for the rate, and reports whether it had to.
func (g *Guard) token(ctx context.Context) (waited bool, err error) {
	if g.pace == nil {
		return false, nil
	}
	return g.pace.wait(ctx)
}

func (g *Guard) leave(e entry, result error) {
	g.gate.leave(e, result)
	g.tell()
}

// Probe reports whether the call is the half-open breaker's one probe.
func (p *Permit) Probe() bool { return p.entry.probe }

// Stale reports whether the breaker has changed its state, or a pause begun, since the permit was given. A permit that
// was kept for later should be given back by Cancel then, and a new one acquired.
func (p *Permit) Stale() bool { return p.guard.gate.stale(p.entry) }

// Done gives the permit back with the result of the call. Nil and errors of kind Refused prove that the upstream
// lives. Kind Unknown, and kind Unavailable where it speaks of the upstream (Upstream is set, the status is listed as
// not applied, or a read failed for such a reason), count as failures. Everything else says nothing: kinds Internal
// and Conflict, other errors, and whatever wraps context.Canceled.
func (p *Permit) Done(result error) {
	if !p.spent.CompareAndSwap(false, true) {
		return
	}
	p.guard.inFlight.Add(-1)
	p.guard.pace.returned()
	p.guard.leave(p.entry, result)
	<-p.guard.slots
}

// Cancel gives the permit back unused. After Done it does nothing.
func (p *Permit) Cancel() { p.Done(errUnused) }
