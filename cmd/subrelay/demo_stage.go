package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/sandbox"
	"subrelay/adapters/upstream"
	"subrelay/events"
)

// demoStage is everything that the demonstration runs on.
type demoStage struct {
	f       demoFlags
	broker  *natsjs.Server
	book    *sandbox.Book // of both imitations: its ticks order the calls of all
	tvms    *sandbox.TVMS
	crmcom  *sandbox.CRMCOM
	servers imitations
	app     *App
	script  *demoScript
}

func newDemoStage(c *cli, f demoFlags) (*demoStage, error) {
	cfg := demoConfig()
	log := c.logger(cfg.Log)
	if !f.verbose {
		log = slog.New(slog.DiscardHandler)
	}
	broker, err := natsjs.StartServer(natsjs.ServerSettings{Logger: log})
	if err != nil {
		return nil, err
	}
	s := &demoStage{f: f, broker: broker, book: sandbox.NewBook(0), script: newDemoScript(f, cfg.names(), time.Now())}
	if err := s.open(cfg, log); err != nil {
		broker.Shutdown()
		return nil, err
	}
	return s, nil
}

// open opens the imitations, and makes the worker between them and the broker.
func (s *demoStage) open(cfg Config, log *slog.Logger) (err error) {
	if err := s.imitate(); err != nil {
		return err
	}
	if s.servers.tvms, err = listenFor(s.tvms.Handler(), s.tvms.Faults()); err != nil {
		return err
	}
	if s.servers.crmcom, err = listenFor(s.crmcom.Handler(), s.crmcom.Faults()); err != nil {
		return err
	}
	cfg.TVMS.API.BaseURL, cfg.CRMCOM.API.BaseURL = s.servers.tvms.URL(), s.servers.crmcom.URL()
	s.app, err = NewApp(AppOptions{Config: cfg, Logger: log, Connect: connectTo(s.broker)})
	return err
}

// guard is the guard before an upstream.
func (s *demoStage) guard(name events.Upstream) *upstream.Guard { return s.app.Guard(string(name)) }

// run runs everything while story is told, and ends it.
func (s *demoStage) run(ctx context.Context, story func(context.Context) error) error {
	defer s.broker.Shutdown()
	sandboxCtx, stopSandbox := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSandbox()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.servers.run(sandboxCtx) })
	group.Go(func() error {
		defer stopSandbox()
		return s.app.Run(groupCtx)
	})
	group.Go(func() error {
		defer stop()
		select {
		case <-s.app.Ready():
			return story(groupCtx)
		case <-groupCtx.Done():
			return nil
		}
	})
	err := group.Wait()
	if errors.Is(err, context.Canceled) {
		return errors.New("the demonstration was interrupted")
	}
	return err
}
