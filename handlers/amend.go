package handlers

import (
	"context"
	"time"

	"subrelay/events"
)

// Amender amends subscriptions at the upstream.
type Amender interface {
	// CheckAmend refuses what the installed release or the configuration does not allow. Its errors are of kind Refused.
	CheckAmend(d *events.AmendData) error
	// Reference is the reference that follows from cid; "" where none is sent.
	Reference(cid string) string
	// Amend calls once, under the reference, which is the same in every attempt; "" sends none. Its errors are
	// *events.Error, of kind Refused, Unavailable or Unknown; Conflict says that the upstream has seen the reference
	// before. The result names the reference also where there is an error.
	Amend(ctx context.Context, reference string, d *events.AmendData) (events.ActionResult, error)
}

// SubscriptionReader reads what an action on a subscription has done. Its errors are *events.Error: Refused where the
// upstream knows no such subscription, else Unavailable.
type SubscriptionReader interface {
	// Subscription is the subscription's present state.
	Subscription(ctx context.Context, id events.SubscriptionIdentifier) (events.Subscription, error)
	// Scheduled reports whether an action with the reference is scheduled on the subscription.
	Scheduled(ctx context.Context, reference string, id events.SubscriptionIdentifier) (bool, error)
}

// Amend is the family of amendments.
type Amend struct {
	Amender Amender
	// Reader confirms that an action whose reference is known was done. nil where the operator has not confirmed that
	// the upstream enforces references: then an unclear attempt is in doubt.
	Reader SubscriptionReader
	// SettleAfter is how long after a call an unchanged state means that nothing was done.
	SettleAfter time.Duration
	// GiveUp is how long settling is tried.
	GiveUp time.Duration
}

// Spec names the kind and its upstream.
func (f Amend) Spec() events.Spec { return specOf(events.Amend) }

// Settling is by repeating the call under its reference, or impossible.
func (f Amend) Settling() Settling { return settlingByReference(f.Reader, f.SettleAfter, f.GiveUp) }

// Open reads the data and checks that the command's subject names the subscription.
func (f Amend) Open(c *events.Command) (Operation, error) {
	data, err := events.ReadAmend(c.Subject, c.Data)
	if err != nil {
		return nil, err
	}
	if f.Amender != nil {
		if err := f.Amender.CheckAmend(&data); err != nil {
			return nil, err
		}
	}
	return &action{
		data: &data.ActionData, change: amendment(&data), reader: f.Reader,
		reference: func() string { return f.Amender.Reference(c.CID) },
		send: func(ctx context.Context, reference string) (events.ActionResult, error) {
			return f.Amender.Amend(ctx, reference, &data)
		},
	}, nil
}
