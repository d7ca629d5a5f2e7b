package main

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"subrelay/events"
)

// self is one round of subrelay: the whole worker as it always runs, but for its HTTP listener.
func (s *benchStage) self(ctx context.Context, n int) (benchRound, error) {
	set, err := s.newSet(ctx, 0)
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

// work runs a worker until it has done n commands, and answers how long that took from the moment it was ready.
func (b *benchSet) work(ctx context.Context, n int) (took time.Duration, err error) {
	err = b.withApp(ctx, func(app *App) error {
		began := time.Now()
		defer func() { took = time.Since(began) }()
		return awaitCount(ctx, n, app.succeeded)
	})
	return took, err
}

// withApp runs a worker, and do beside it once it is ready.
func (b *benchSet) withApp(ctx context.Context, do func(*App) error) error {
	app, err := NewApp(AppOptions{Config: b.config, Logger: b.stage.log, WatchEvery: -1})
	if err != nil {
		return err
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- app.Run(working) }()
	select {
	case <-app.Ready():
		err = do(app)
		stop()
		return errors.Join(err, <-ended)
	case err := <-ended:
		return errors.Join(errors.New("the worker ended before it was ready"), err)
	}
}

// succeeded is how many commands came to that outcome in this worker.
func (a *App) succeeded() int {
	counter := a.metrics.commands[kindStatus{events.Renew, events.Succeeded}].(prometheus.Metric)
	var m dto.Metric
	if counter.Write(&m) != nil {
		return 0
	}
	return int(m.GetCounter().GetValue())
}
