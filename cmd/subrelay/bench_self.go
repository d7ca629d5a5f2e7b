package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sync/errgroup"

	"subrelay/events"
)

// self is one round of subrelay: whole workers as they always run, but for their HTTP listener.
func (s *benchStage) self(ctx context.Context, n int) (benchRound, error) {
	set, err := s.newSet(ctx, n, 0)
	if err != nil {
		return benchRound{}, err
	}
	defer set.end(ctx)
	if err := set.fill(ctx, n, s.f.keys); err != nil {
		return benchRound{}, err
	}
	round, err := measured(n, func() (time.Duration, error) { return set.work(ctx, n) })
	if err == nil {
		err = set.count(ctx, n)
	}
	return round, err
}

// work runs workers until they have done n commands, and answers how long that took from the moment that they were ready.
func (b *benchSet) work(ctx context.Context, n int) (took time.Duration, err error) {
	release := func() error { return nil }
	if b.stage.f.workers > 1 { // the first would be through before the last is there
		if release, err = b.hold(ctx); err != nil {
			return 0, err
		}
	}
	err = b.withApps(ctx, func(apps []*App) error {
		began := time.Now()
		defer func() { took = time.Since(began) }()
		if err := release(); err != nil {
			return err
		}
		return awaitCount(ctx, n, func() (done int) {
			for _, app := range apps {
				done += app.succeeded(b.stage.kind.kind)
			}
			return done
		})
	})
	return took, err
}

// benchHold is the longest that workers may take to share the partitions.
const benchHold = time.Minute

// hold lets no command be delivered until release is called.
func (b *benchSet) hold(ctx context.Context) (release func() error, err error) {
	each := func(do func(ctx context.Context, consumer string) error) error {
		group, ctx := errgroup.WithContext(ctx)
		for p := range b.topology.Settings().Partitions {
			group.Go(func() error { return do(ctx, b.names.Consumer(b.stage.kind.upstream, p)) })
		}
		return group.Wait()
	}
	until := time.Now().Add(benchHold)
	err = each(func(ctx context.Context, consumer string) error {
		_, err := b.stage.js.PauseConsumer(ctx, b.names.Commands(), consumer, until)
		return err
	})
	return func() error {
		return each(func(ctx context.Context, consumer string) error {
			_, err := b.stage.js.ResumeConsumer(ctx, b.names.Commands(), consumer)
			return err
		})
	}, err
}

// withApps runs workers, and do beside them once they are ready and each has its share of the partitions.
func (b *benchSet) withApps(ctx context.Context, do func([]*App) error) error {
	apps := make([]*App, b.stage.f.workers)
	for i := range apps {
		app, err := NewApp(AppOptions{Config: b.config, Logger: b.stage.log, WatchEvery: -1})
		if err != nil {
			return err
		}
		apps[i] = app
	}
	group, working := errgroup.WithContext(ctx)
	working, stop := context.WithCancel(working)
	defer stop()
	for _, app := range apps {
		group.Go(func() error {
			if err := app.Run(working); err != nil || working.Err() == nil {
				return errors.Join(errors.New("a worker ended before its time"), err)
			}
			return nil
		})
	}
	err := b.awaitShares(working, apps)
	if err == nil {
		err = do(apps)
	}
	stop()
	return errors.Join(err, group.Wait())
}

// awaitShares waits until the workers are ready and no partition has two owners or none.
func (b *benchSet) awaitShares(ctx context.Context, apps []*App) error {
	for _, app := range apps {
		select {
		case <-app.Ready():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	partitions := b.topology.Settings().Partitions
	for until := time.Now().Add(benchHold / 2); !shared(apps, partitions); {
		if time.Now().After(until) {
			return fmt.Errorf("%d workers have not shared %d partitions after %s", len(apps), partitions, benchHold/2)
		}
		if !sleep(ctx, 10*time.Millisecond) {
			return ctx.Err()
		}
	}
	return nil
}

// shared reports whether each partition has one owner, and each worker as many as any other, or one more.
func shared(apps []*App, partitions int) bool {
	owned := map[int]bool{}
	sum := 0
	for _, app := range apps {
		mine := app.stations[0].lanes.Load().Depth().Partitions
		if len(mine) < partitions/len(apps) || len(mine) > (partitions+len(apps)-1)/len(apps) {
			return false
		}
		for _, p := range mine {
			owned[p] = true
		}
		sum += len(mine)
	}
	return sum == partitions && len(owned) == partitions
}

// succeeded is how many commands of a kind came to that outcome in this worker.
func (a *App) succeeded(kind events.Kind) int {
	counter := a.metrics.commands[kindStatus{kind, events.Succeeded}].(prometheus.Metric)
	var m dto.Metric
	if counter.Write(&m) != nil {
		return 0
	}
	return int(m.GetCounter().GetValue())
}
