package handlers

import (
	"context"
	"time"

	"subrelay/events"
)

// Swapper swaps services of a subscription at the upstream. Its methods are as those of Amender.
type Swapper interface {
	CheckSwap(d *events.SwapData) error
	Reference(cid string) string
	Swap(ctx context.Context, reference string, d *events.SwapData) (events.ActionResult, error)
}

// Swap is the family of swaps. Its fields are as those of Amend.
type Swap struct {
	Swapper     Swapper
	Reader      SubscriptionReader
	SettleAfter time.Duration
	GiveUp      time.Duration
}

// Spec names the kind and its upstream.
func (f Swap) Spec() events.Spec { return specOf(events.Swap) }

// Settling is by repeating the call under its reference, or impossible.
func (f Swap) Settling() Settling { return settlingByReference(f.Reader, f.SettleAfter, f.GiveUp) }

// Open reads the data and checks that the command's subject names the subscription.
func (f Swap) Open(c *events.Command) (Operation, error) {
	data, err := events.ReadSwap(c.Subject, c.Data)
	if err != nil {
		return nil, err
	}
	if f.Swapper != nil {
		if err := f.Swapper.CheckSwap(&data); err != nil {
			return nil, err
		}
	}
	return &action{
		data: &data.ActionData, change: swapping(&data), reader: f.Reader,
		reference: func() string { return f.Swapper.Reference(c.CID) },
		send: func(ctx context.Context, reference string) (events.ActionResult, error) {
			return f.Swapper.Swap(ctx, reference, &data)
		},
	}, nil
}
