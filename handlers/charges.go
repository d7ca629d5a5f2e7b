package handlers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"subrelay/events"
)

// ChargeLister lists the Netflix charges that were not acknowledged, whatever their state, all that there are. Beside an
// error it may return those that it could read. Its errors are *events.Error, of kind Unavailable.
type ChargeLister interface {
	ListCharges(ctx context.Context) ([]events.NetflixCharge, error)
}

// ChargePublisher tells everybody of a charge, once for each of its states, however often it is asked, and by whom.
type ChargePublisher interface {
	// Publish reports whether the charge was stored by this call; else it was there. Its errors are *events.Error: of
	// kind Refused where this charge can never be published, Unavailable where it is not known to be stored.
	Publish(ctx context.Context, c *events.NetflixCharge) (stored bool, err error)
}

// ChargeObserver is told what a ChargeFeed does, for metrics.
type ChargeObserver interface {
	// ChargePublished is told of a charge that was stored. status is that of events.ChargeStatus.
	ChargePublished(status string)
	// ChargeSkipped is told, at most once an hour, of a charge that can never be published.
	ChargeSkipped()
	// ChargeRound is told how a round has ended. Nil says that everything on the list is published, but for what can never
	// be (ChargeSkipped).
	ChargeRound(err error)
}

// chargesRecheck is for how long what was seen to be published is taken to be so. It bounds how long a charge that the
// store has lost, or has dropped for its age, stays untold.
const chargesRecheck = time.Hour

// ChargeFeed tells everybody of Netflix charges: round by round it lists those that were not acknowledged, and publishes
// each once for each of its states, the oldest first.
//
// Nothing is lost: a charge stays on the list until somebody acknowledges it, so whatever a round has missed, by a
// crash, an error, or an acknowledgement that moved the list under its pages, the next one sees. Nothing is repeated:
// the publisher stores a charge and state once, whoever asks. So any number of feeds may run, and a round may be cut off
// anywhere. What it remembers only spares questions.
//
// A ChargeFeed is used by one goroutine at a time. Fields without a default must be set.
type ChargeFeed struct {
	Lister    ChargeLister
	Publisher ChargePublisher
	// Acquire waits for the upstream's permission, the same that commands need. One is enough for a listing.
	Acquire func(context.Context) (Permit, error)
	// Patience is how long Acquire may take: while the upstream is away the turn goes to another worker, which may
	// reach it. Default 30 s.
	Patience time.Duration
	Logger   *slog.Logger   // default slog.Default
	Observer ChargeObserver // default: none

	known map[chargeState]time.Time // on the last list, and when it was last seen to be published or to be skipped
}

// chargeState is what is published once.
type chargeState struct{ number, customer, status string }

// Round lists the charges once and publishes those that are new. Its errors are *events.Error, or the context's.
func (f *ChargeFeed) Round(ctx context.Context) (err error) {
	f.setDefaults()
	defer func() {
		if p := recover(); p != nil {
			f.Logger.Error("a panic while charges were published", "panic", p, "stack", string(debug.Stack()))
			err = &events.Error{Kind: events.Internal, Code: events.CodeInternal, Op: "charges", Message: fmt.Sprint("panic: ", p)}
		}
		if ctx.Err() == nil {
			f.Observer.ChargeRound(err)
		}
	}()
	charges, unlisted := f.list(ctx)
	listed, err := f.publish(ctx, charges)
	if err != nil {
		return err
	}
	f.forget(listed, unlisted == nil)
	return unlisted
}

func (f *ChargeFeed) setDefaults() {
	f.Patience = cmp.Or(f.Patience, 30*time.Second)
	f.Logger = cmp.Or(f.Logger, slog.Default())
	if f.Observer == nil {
		f.Observer = silent{}
	}
	if f.known == nil {
		f.known = make(map[chargeState]time.Time)
	}
}

// list lists all charges, the oldest first, under the upstream's permission. Beside an error it returns those that could
// be read.
func (f *ChargeFeed) list(ctx context.Context) ([]events.NetflixCharge, error) {
	wait, cancel := context.WithTimeout(ctx, f.Patience)
	defer cancel()
	permit, err := f.Acquire(wait)
	if err != nil {
		return nil, notAcquired(ctx, err)
	}
	defer permit.Cancel()
	charges, err := f.Lister.ListCharges(ctx)
	permit.Done(err)
	slices.SortStableFunc(charges, func(a, b events.NetflixCharge) int {
		return cmp.Or(received(&a).Compare(received(&b)), settled(&a)-settled(&b))
	})
	return charges, err
}

// notAcquired says why no permission came.
func notAcquired(ctx context.Context, err error) error {
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return &events.Error{Kind: events.Unavailable, Code: events.CodeUnreachable, Op: "list charges",
			Message: "the upstream is away, or busy", Cause: err}
	}
	return err
}

func received(c *events.NetflixCharge) time.Time {
	if c.ReceivedOn == nil {
		return time.Time{}
	}
	return *c.ReceivedOn
}

// settled is 0 for a charge that is pending, which comes before the same charge in another state.
func settled(c *events.NetflixCharge) int {
	if c.ChargeStatus == events.ChargePending {
		return 0
	}
	return 1
}

// publish publishes what is new on the list. Charges that can never be published hold up no other. listed is what was on
// the list.
func (f *ChargeFeed) publish(ctx context.Context, charges []events.NetflixCharge) (listed map[chargeState]bool, err error) {
	listed = make(map[chargeState]bool, len(charges))
	told := 0
	for i := range charges {
		c := &charges[i]
		state := chargeState{c.Number, c.BillingSystemCustomerIdentifier, events.ChargeStatus(c.ChargeStatus)}
		listed[state] = true
		if at, ok := f.known[state]; ok && time.Since(at) < chargesRecheck {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		stored, err := f.Publisher.Publish(ctx, c)
		switch {
		case events.KindOf(err) == events.Refused:
			f.Logger.Error("a Netflix charge can never be published", "number", bounded(c.Number), "status", bounded(state.status), "error", err)
			f.Observer.ChargeSkipped()
		case err != nil:
			return nil, err
		case stored:
			told++
			f.Observer.ChargePublished(state.status)
		}
		f.known[state] = time.Now()
	}
	if told > 0 {
		f.Logger.Info("Netflix charges were published", "published", told, "listed", len(charges))
	}
	return listed, nil
}

// forget forgets what must be looked at again anyway and, where the list was whole, what is not on it any more.
func (f *ChargeFeed) forget(listed map[chargeState]bool, whole bool) {
	for state, at := range f.known {
		if whole && !listed[state] || time.Since(at) >= chargesRecheck {
			delete(f.known, state)
		}
	}
}

// bounded is text of the upstream, cut for a log.
func bounded(s string) string { return s[:min(len(s), 64)] }

func (silent) ChargePublished(string) {}
func (silent) ChargeSkipped()         {}
func (silent) ChargeRound(error)      {}
