package main

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
)

// watch counts open doubts and dead letters for the metrics, now and again, until ctx ends.
func (a *App) watch(ctx context.Context, js jetstream.JetStream) error {
	if a.WatchEvery < 0 {
		return nil
	}
	ledger, err := natsjs.NewLedger(js, natsjs.LedgerSettings{Names: a.Config.names()})
	if err != nil {
		return err
	}
	outcomes := natsjs.NewOutcomes(ledger)
	letters := natsjs.NewDeadLetters(js, natsjs.DeadSettings{Names: a.Config.names()})
	return a.every(ctx, a.WatchEvery, "counting open doubts", func(ctx context.Context) error {
		doubts := 0
		for _, err := range outcomes.Doubts(ctx, natsjs.Query{}) {
			if err != nil {
				return err
			}
			doubts++
		}
		open, err := letters.Open(ctx)
		if err == nil {
			a.metrics.watched(doubts, open)
		}
		return err
	})
}
