package handlers

import (
	"context"

	"subrelay/events"
)

// NetflixCreator creates Netflix subscribers.
type NetflixCreator interface {
	// CheckCreate refuses what the installed release does not know. Its errors are of kind Refused.
	CheckCreate(d *events.NetflixCreateData) error
	// CreateNetflix calls once, and returns the token for the registration page. A repetition may create a second
	// subscriber. Its errors are *events.Error, of kind Refused, Unavailable or Unknown.
	CreateNetflix(ctx context.Context, d *events.NetflixCreateData) (token string, err error)
}

// NetflixSetter sets the state of a Netflix subscriber. kind is NetflixSuspend, NetflixUnsuspend or NetflixCancel.
type NetflixSetter interface {
	// CheckState refuses a kind that is not configured. Its errors are of kind Refused.
	CheckState(kind events.Kind) error
	// SetNetflix calls once. Its errors are *events.Error, of kind Refused, Unavailable or Unknown.
	SetNetflix(ctx context.Context, kind events.Kind, customer string) error
}

// NetflixReader reads a customer's Netflix subscriptions; none where the upstream knows no such customer. Its errors are
// *events.Error, of kind Unavailable.
type NetflixReader interface {
	NetflixSubscriptions(ctx context.Context, customer string) ([]events.NetflixSubscription, error)
}

// ChargeTaker acknowledges, accepts or declines charges. kind is NetflixAcknowledge, NetflixAccept or NetflixDecline.
type ChargeTaker interface {
	// CheckCharges refuses a kind that the installed release does not know. Its errors are of kind Refused.
	CheckCharges(kind events.Kind) error
	// TakeCharges calls once, each charge under a reference that follows from cid and its place, the same in every
	// attempt. It returns the charges that were not taken. Its errors are *events.Error, of kind Refused, Unavailable or
	// Unknown; Conflict says that the upstream has seen the references of some before, or of all; where it says so charge by
	// charge, those that were not taken come with it.
	TakeCharges(ctx context.Context, kind events.Kind, cid string, charges []events.ChargeIdentifier) ([]events.FailedCharge, error)
}

// ChargeReader finds charges among those that were not acknowledged. Its errors are *events.Error, of kind Unavailable.
type ChargeReader interface {
	// FindCharges is those of the charges with these numbers that are still listed, by number.
	FindCharges(ctx context.Context, numbers []string) (map[string]events.NetflixCharge, error)
}
