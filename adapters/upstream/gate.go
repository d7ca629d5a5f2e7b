package upstream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"subrelay/events"
)

// errUnused is given to the breaker for a permission that no call was made with.
var errUnused = errors.New("the permission was not used")

// gate is the breaker, the pause that the upstream asked for, and the clock of the time spent closed.
// Every call of the breaker is made with mu held, so its callback, which runs inside them, finds it held.
type gate struct {
	openFor time.Duration

	mu         sync.Mutex
	breaker    *gobreaker.TwoStepCircuitBreaker[struct{}]
	state      gobreaker.State
	epoch      uint64 // counts changes of state and new pauses
	opened     int
	openUntil  time.Time
	pauseUntil time.Time
	closed     time.Duration // time spent closed and not paused, up to since
	since      time.Time
	probed     chan struct{} // closed and replaced when a probe ends
	shutting   chan struct{} // closed and replaced when the breaker opens or a pause begins
	moves      []move        // not yet told
	telling    bool
}

// move is a change of state.
type move struct{ from, to gobreaker.State }

// entry is a permission of the gate, or, where done is nil, how long to wait for one.
type entry struct {
	done  func(error)
	probe bool
	epoch uint64

	wait   time.Duration   // at most this long; 0: until probed
	probed <-chan struct{} // closed when a probe has ended
}

func newGate(s *Settings) *gate {
	g := &gate{openFor: s.OpenFor, since: time.Now(), probed: make(chan struct{}), shutting: make(chan struct{})}
	g.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:         string(s.Name),
		MaxRequests:  1,
		Interval:     s.Window,
		BucketPeriod: max(s.Window/10, 1),
		Timeout:      s.OpenFor,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			if int(c.ConsecutiveFailures) >= s.ConsecutiveFailures {
				return true
			}
			results := c.TotalSuccesses + c.TotalFailures
			return int(results) >= s.MinRequests && float64(c.TotalFailures) >= s.FailureRatio*float64(results)
		},
		OnStateChange: g.moved,
		IsSuccessful:  func(err error) bool { return verdictOn(err) == lives },
		IsExcluded:    func(err error) bool { return verdictOn(err) == silent },
	})
	return g
}

// moved is the breaker's callback. It runs with g.mu held.
func (g *gate) moved(_ string, from, to gobreaker.State) {
	now := time.Now()
	g.tick(now)
	g.state = to
	g.epoch++
	if to == gobreaker.StateOpen {
		// The breaker asks for more than openFor to have passed, not for openFor.
		g.openUntil = now.Add(g.openFor + 1)
		g.wakeImpatient()
		if from == gobreaker.StateClosed {
			g.opened++
		}
	}
	g.moves = append(g.moves, move{from, to})
}

// tick brings the closed clock up to now.
func (g *gate) tick(now time.Time) {
	if g.state == gobreaker.StateClosed {
		from := g.since
		if g.pauseUntil.After(from) {
			from = g.pauseUntil
		}
		g.closed += max(0, now.Sub(from))
	}
	g.since = now
}

// enter asks for one permission, without waiting.
func (g *gate) enter() entry {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.pauseUntil.IsZero() {
		if wait := time.Until(g.pauseUntil); wait > 0 {
			return entry{wait: wait, probed: g.probed}
		}
	}
	done, err := g.breaker.Allow()
	if err == nil {
		return entry{done: done, probe: g.state == gobreaker.StateHalfOpen, epoch: g.epoch}
	}
	e := entry{probed: g.probed}
	if errors.Is(err, gobreaker.ErrOpenState) {
		e.wait = max(time.Until(g.openUntil), time.Millisecond)
	}
	return e
}

// leave gives a permission back with the result of its call. The breaker ignores results of an earlier state. Those
// who wait for the time of a pause or of the open breaker wake by themselves; only the end of a probe must wake those
// who wait for it, whatever it ended with.
func (g *gate) leave(e entry, result error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e.done(result)
	if e.probe {
		close(g.probed)
		g.probed = make(chan struct{})
	}
}

// stale reports whether e would perhaps not be given any more.
func (g *gate) stale(e entry) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.epoch != e.epoch
}

// pause stops permissions for d from now, unless a longer pause is on. It reports whether the pause is new.
func (g *gate) pause(d time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.tick(now)
	until := now.Add(d)
	if !until.After(g.pauseUntil) {
		return false
	}
	g.pauseUntil = until
	g.epoch++
	g.wakeImpatient()
	return true
}

// shut is for how long surely no permission is given: what is left of a pause, or of the time that the breaker stays
// open; 0 where one may be given, if only after a probe. shutting is closed when that changes for the worse.
func (g *gate) shut() (wait time.Duration, shutting <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.breaker.State() == gobreaker.StateOpen {
		wait = max(time.Until(g.openUntil), time.Millisecond)
	}
	if !g.pauseUntil.IsZero() {
		wait = max(wait, time.Until(g.pauseUntil))
	}
	return wait, g.shutting
}

// wakeImpatient wakes those who would rather leave than wait for a gate that is shut. It needs the lock.
func (g *gate) wakeImpatient() {
	close(g.shutting)
	g.shutting = make(chan struct{})
}

// closedFor is the time spent closed and not paused.
func (g *gate) closedFor() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tick(time.Now())
	return g.closed
}

func (g *gate) timesOpened() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.opened
}

// now is the present state; asking turns an open breaker half-open when its time has come.
func (g *gate) now() gobreaker.State {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.breaker.State()
}

// tell hands each change of state not yet told to f, in order and without the lock. Where another goroutine is
// telling, that one tells these too.
func (g *gate) tell(f func(from, to string)) {
	for m, ok := g.nextMove(false); ok; m, ok = g.nextMove(true) {
		f(m.from.String(), m.to.String())
	}
}

func (g *gate) nextMove(mine bool) (move, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.telling && !mine {
		return move{}, false
	}
	g.telling = len(g.moves) > 0
	if !g.telling {
		return move{}, false
	}
	m := g.moves[0]
	g.moves = g.moves[1:]
	return m, true
}

// verdict is what a result says about the upstream.
type verdict int

const (
	silent verdict = iota // nothing: our own fault or cancellation, or no call was made
	lives
	fails
)

// verdictOn reads a result. A refusal of one command proves life; a failed read says what its cause says.
func verdictOn(err error) verdict {
	if err == nil {
		return lives
	}
	var e *events.Error
	if errors.Is(err, errUnused) || errors.Is(err, context.Canceled) || !errors.As(err, &e) {
		return silent
	}
	switch {
	case e.Kind == events.Refused:
		return lives
	case e.Kind == events.Unknown:
		return fails
	case e.Kind != events.Unavailable:
		return silent
	case e.Upstream || e.Code == events.CodeUnavailable:
		return fails
	case e.Code == events.CodeRead && e.Cause != nil:
		return verdictOn(e.Cause)
	}
	return silent
}
