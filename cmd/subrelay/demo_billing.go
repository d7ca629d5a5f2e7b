package main

import (
	"context"
	"errors"
	"strconv"
	"time"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/sandbox"
)

// charge has CRM.COM get its charges from Netflix, bit by bit.
func (a *demoActs) charge(ctx context.Context) error {
	for n, charge := range a.script.charges {
		if err := a.sent.wait(ctx, 0.9*float64(n)/float64(len(a.script.charges))); err != nil {
			return err
		}
		if err := a.crmcom.PutCharges(sandbox.Charge{NetflixCharge: charge}); err != nil {
			return err
		}
	}
	return nil
}

// demoPatience is how much longer than for sending billing waits for the events of charges. What it has not heard of by
// then is told at the end.
const demoPatience = 35 * time.Second

var errAnswered = errors.New("every charge is answered")

// answer answers the events of charges, one in ten twice.
func (a *demoActs) answer(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, a.f.span()+demoPatience, errAnswered)
	defer cancel()
	answered, wanted := 0, a.script.answers()
	err := natsjs.NewCharges(a.client.ledger).Read(ctx, natsjs.ChargeQuery{Follow: true}, func(c natsjs.StoredCharge) error {
		answer := a.script.answer(&c.NetflixCharge)
		if err := answer.publish(ctx, a.client.publisher); err != nil {
			return err
		}
		if answered++; answered%10 == 0 {
			answer.mark = "again-" + strconv.Itoa(answered)
			a.repeats++
			if err := answer.publish(ctx, a.client.publisher); err != nil {
				return err
			}
		}
		if answered == wanted {
			return errAnswered
		}
		return nil
	})
	if errors.Is(err, errAnswered) || errors.Is(context.Cause(ctx), errAnswered) {
		return nil
	}
	return err
}

// openCharges is how many charges CRM.COM still lists.
func (s *demoStage) openCharges() int {
	open := 0
	for _, c := range s.crmcom.Charges() {
		if !c.Acknowledged {
			open++
		}
	}
	return open
}
