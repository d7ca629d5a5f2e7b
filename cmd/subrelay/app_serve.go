package main

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"subrelay/adapters/natsjs"
	"subrelay/events"
	"subrelay/handlers"
)

func randomName() string { return uuid.NewString()[:8] }

// clockError is how wrong the clocks of billing, broker and workers may be, in sum, before a command that the ledger has
// forgotten could run again.
const clockError = 2 * time.Hour

// remembered is up to which age of a command its history is surely there. The stream counts from when it stored a record,
// by its own clock, and a command's age is counted from its time, which may lie in the future, by the worker's: with the
// stream's own limit, a command repeated at that very age would have no history, and would not be stale.
func remembered(maxAge time.Duration) time.Duration {
	return maxAge - min(clockError+events.MaxFuture, maxAge/4)
}

// assemble builds what needs the broker: ledger, dead letters, dispatcher, and the lanes of each upstream.
func (a *App) assemble(js jetstream.JetStream) error {
	w := a.Config.Worker
	ledger, err := natsjs.NewLedger(js, natsjs.LedgerSettings{Names: a.Config.names(), Source: w.Source, PublishTimeout: w.PublishTimeout})
	if err != nil {
		return err
	}
	dispatcher, err := handlers.NewDispatcher(handlers.Config{
		Families: a.families(), Ledger: ledger, Schemas: a.schemas,
		DeadLetters: natsjs.NewDeadLetters(js, natsjs.DeadSettings{Names: a.Config.names(), PublishTimeout: w.PublishTimeout}),
		Policies:    a.Config.Retry.policies(), Worker: a.name, Source: w.Source,
		Memory: remembered(a.topology.Settings().OutcomesMaxAge), CallTimeout: a.callTimeout(),
		PublishTimeout: w.PublishTimeout, Election: w.Election, ClosedFor: a.closedFor,
		Clock: a.Clock, Logger: a.Logger, Observer: a.metrics,
	})
	if err != nil {
		return err
	}
	if a.tellsCharges() {
		a.charges = a.chargesTask(js, ledger)
	}
	for _, s := range a.stations {
		lanes, err := natsjs.NewLanes(a.laneSettings(js, s, dispatcher))
		if err != nil {
			return err
		}
		s.lanes.Store(lanes)
	}
	return nil
}

func (a *App) families() (all []handlers.Family) {
	for _, s := range a.stations {
		all = append(all, s.families...)
	}
	return all
}

// callTimeout is the longest that a call to any upstream takes.
func (a *App) callTimeout() time.Duration {
	var longest time.Duration
	for _, s := range a.stations {
		longest = max(longest, s.guard.CallTimeout())
	}
	return longest
}

func (a *App) closedFor(name events.Upstream) time.Duration {
	for _, s := range a.stations {
		if s.name == name {
			return s.guard.ClosedFor()
		}
	}
	return 0
}

func (a *App) laneSettings(js jetstream.JetStream, s *station, d *handlers.Dispatcher) natsjs.LaneSettings {
	t := a.topology.Settings()
	return natsjs.LaneSettings{
		Names: a.Config.names(), Upstream: s.name, Kinds: s.kinds(), JetStream: js,
		Partitions: t.Partitions, AckWait: t.AckWait, Grace: a.Config.Worker.Grace, Concurrency: s.guard.Concurrency(),
		NewJob: func(delivery events.Delivery) natsjs.Job { return d.Job(delivery) },
		Done:   d.Done,
		Acquire: func(ctx context.Context) (natsjs.Permit, error) {
			permit, err := s.guard.Acquire(ctx)
			if err != nil {
				return nil, err // a nil *Permit would be no nil Permit
			}
			return permit, nil
		},
		Settle: d.SettleWait(), Killed: a.killed,
		Repair: func(ctx context.Context) error { return a.applyOnce(ctx, js) },
		Logger: a.Logger, Acked: a.metrics.acked,
		Window: t.MaxAckPending, KeyAlarm: a.Config.Worker.KeyAlarm, Alarmed: func(which natsjs.Alarm) { a.metrics.alarmed(s.name, which) },
	}
}

// deliver runs everything that works beside each other, until ctx ends or the connection is lost for good.
func (a *App) deliver(ctx context.Context, js jetstream.JetStream, lost <-chan error) error {
	queries, err := a.newQueries(js.Conn())
	if err != nil {
		return endedBy(ctx, err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return queries.Run(ctx) })
	for _, s := range a.stations {
		group.Go(func() error { return s.lanes.Load().Run(ctx) })
	}
	if a.charges != nil {
		group.Go(func() error { return a.charges.Run(ctx) })
	}
	presence := &natsjs.Presence{
		JetStream: js, Names: a.Config.names(), Worker: a.name, Upstreams: a.upstreams(), Logger: a.Logger,
		Changed: a.share, Settled: a.shareSettled, Status: a.status, Stored: func() { a.stored.Store(time.Now().UnixNano()) },
		Namesake: a.namesake.Store,
	}
	group.Go(func() error { return ownName(presence.Run(ctx)) })
	group.Go(func() error { return a.watch(ctx, js) })
	group.Go(func() error { return a.watchShortage(ctx, js) })
	group.Go(func() error { return a.purge(ctx, js) })
	group.Go(func() error { return a.askAgain(ctx, js.Conn()) })
	group.Go(func() error {
		select {
		case <-ctx.Done():
			a.setStopping()
			return nil
		case err := <-lost:
			return err
		}
	})
	return group.Wait()
}

// ownName says what to do where another worker has the name.
func ownName(err error) error {
	if taken := (*natsjs.NameTakenError)(nil); errors.As(err, &taken) {
		return hinted(err, "give each worker a name of its own (worker.name, --name), or none, and it makes one; or end the other first")
	}
	return err
}

// every calls do at once and then at each interval, until ctx ends. What fails is told, and tried again next time.
func (a *App) every(ctx context.Context, interval time.Duration, what string, do func(context.Context) error) error {
	for {
		if err := do(ctx); err != nil && ctx.Err() == nil {
			a.Logger.Warn(what+" failed; trying again later", "error", err, "pause", interval)
		}
		if !sleep(ctx, interval) {
			return nil
		}
	}
}
