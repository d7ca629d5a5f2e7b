package main

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/crmcom"
	"subrelay/adapters/natsjs"
	"subrelay/events"
	"subrelay/handlers"
)

var (
	_ handlers.ChargeLister    = (*crmcom.Netflix)(nil)
	_ handlers.ChargePublisher = (*natsjs.Charges)(nil)
	_ handlers.ChargeObserver  = (*chargeMetrics)(nil)
)

// tellsCharges reports whether this worker takes its turn in telling of Netflix charges.
func (a *App) tellsCharges() bool {
	feed := a.Config.Netflix.API.Charges.Feed
	return a.clients.netflix != nil && feed != nil && *feed
}

// chargesTask is this worker's turn in telling of Netflix charges.
func (a *App) chargesTask(js jetstream.JetStream, ledger *natsjs.Ledger) *natsjs.Task {
	guard := a.Guard(string(events.Netflix))
	feed := &handlers.ChargeFeed{
		Lister: a.clients.netflix, Publisher: natsjs.NewCharges(ledger), Logger: a.Logger, Observer: a.metrics.charges,
		Acquire: func(ctx context.Context) (handlers.Permit, error) {
			permit, err := guard.Acquire(ctx)
			if err != nil {
				return nil, err // a nil *Permit would be no nil Permit
			}
			return permit, nil
		},
	}
	return &natsjs.Task{
		JetStream: js, Names: a.Config.names(), Name: natsjs.ChargesTask, Interval: a.Config.Netflix.API.Charges.Interval,
		AckWait: a.topology.Settings().AckWait, Do: feed.Round, Logger: a.Logger,
		Repair: func(ctx context.Context) error { return a.applyOnce(ctx, js) },
	}
}
