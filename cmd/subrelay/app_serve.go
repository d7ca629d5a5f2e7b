package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/tvms"
	"subrelay/adapters/upstream"
	"subrelay/events"
	"subrelay/handlers"
)

// station is one upstream as this worker serves it.
type station struct {
	name     events.Upstream
	guard    *upstream.Guard
	families []handlers.Family
	lanes    atomic.Pointer[natsjs.Lanes] // nil until connected
}

func (s *station) kinds() []events.Kind {
	var kinds []events.Kind
	for _, f := range s.families {
		kinds = append(kinds, f.Spec().Kind)
	}
	return kinds
}

// newTVMS builds the upstream tvms, and what it serves.
func (a *App) newTVMS() (*station, error) {
	settings := a.Config.TVMS.Guard
	settings.Name, settings.Logger, settings.DialContext = events.TVMS, a.Logger, a.dials.open
	guard, err := upstream.New(settings)
	if err != nil {
		return nil, err
	}
	client, _, err := tvms.New(a.Config.TVMS.API, guard) // its warnings are logged too
	if err != nil {
		return nil, fmt.Errorf("settings of upstream tvms: %w", err)
	}
	renew := handlers.Renew{Renewer: client}
	if client.ReadBack() && !client.Async() {
		renew.Reader, renew.SettleAfter, renew.GiveUp = client, client.SettleAfter(), client.GiveUpAfter()
	}
	return &station{name: events.TVMS, guard: guard, families: []handlers.Family{renew}}, nil
}

func randomName() string { return uuid.NewString()[:8] }

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
		Memory: a.topology.Settings().OutcomesMaxAge, CallTimeout: a.callTimeout(),
		PublishTimeout: w.PublishTimeout, Election: w.Election, ClosedFor: a.closedFor,
		Logger: a.Logger, Observer: a.metrics,
	})
	if err != nil {
		return err
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
		Killed: a.killed,
		Repair: func(ctx context.Context) error { return a.applyOnce(ctx, js) },
		Logger: a.Logger, Acked: a.metrics.acked,
	}
}

// deliver runs everything that works beside each other, until ctx ends or the connection is lost for good.
func (a *App) deliver(ctx context.Context, js jetstream.JetStream, lost <-chan error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range a.stations {
		group.Go(func() error { return s.lanes.Load().Run(ctx) })
	}
	presence := &natsjs.Presence{JetStream: js, Names: a.Config.names(), Worker: a.name, Logger: a.Logger, Changed: a.share}
	group.Go(func() error { return presence.Run(ctx) })
	group.Go(func() error { return a.watch(ctx, js) })
	group.Go(func() error { return a.purge(ctx, js) })
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

// share takes this worker's share of the partitions, given all workers present.
func (a *App) share(workers []string) {
	a.Logger.Info("workers present", "workers", workers, "self", a.name)
	for _, s := range a.stations {
		partitions := a.topology.Settings().Partitions
		s.lanes.Load().Own(natsjs.Assign(workers, partitions, string(s.name))[a.name])
	}
	a.markReady()
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
