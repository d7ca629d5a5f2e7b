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
	"subrelay/handlers"
)

// demoStage is everything that the demonstration runs on.
type demoStage struct {
	f      demoFlags
	broker *natsjs.Server
	tvms   *sandbox.TVMS
	server *sandbox.Server
	app    *App
	script *demoScript
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
	s := &demoStage{f: f, broker: broker, script: newDemoScript(f, cfg.names())}
	if err := s.openSandbox(); err != nil {
		broker.Shutdown()
		return nil, err
	}
	cfg.TVMS.API.BaseURL = s.server.URL()
	s.app, err = NewApp(AppOptions{Config: cfg, Logger: log, Connect: connectTo(broker)})
	if err != nil {
		broker.Shutdown()
	}
	return s, err
}

// demoConfig is a configuration for an upstream next door: everything is as always, only sooner.
func demoConfig() Config {
	var cfg Config
	cfg.Worker.HTTPAddr = noListen
	cfg.Retry.Renew = handlers.Policy{Initial: 500 * time.Millisecond, Max: 2 * time.Second, Multiplier: 2}
	api := &cfg.TVMS.API
	api.AuthToken, api.CRMService = upstream.NewSecret(sandboxToken), "demo_crm"
	api.ReadBack.Enabled, api.ReadBack.ExpiryField, api.ReadBack.Format = true, "ExpireDate", "epoch_seconds"
	api.ReadBack.SettleAfter = 2 * time.Second
	guard := &cfg.TVMS.Guard
	guard.CallTimeout, guard.OpenFor = 1500*time.Millisecond, 500*time.Millisecond
	return cfg
}

func (s *demoStage) openSandbox() (err error) {
	s.tvms = sandbox.NewTVMS(sandbox.TVMSOptions{AuthToken: sandboxToken, Latency: 3 * time.Millisecond, Seed: s.f.seed})
	expires := s.script.began.UTC().Truncate(24*time.Hour).AddDate(0, 0, 10)
	for _, names := range [][]string{s.script.customers, s.script.clerks} {
		for _, name := range names {
			if err := s.tvms.PutCustomers(sandbox.Customer{MappingID: name, UserID: "tv-" + name, Expires: expires}); err != nil {
				return err
			}
		}
	}
	s.server, err = sandbox.Listen("127.0.0.1:0", s.tvms.Handler())
	if err != nil {
		return err
	}
	s.tvms.Faults().OnDown(func(down bool) { _ = s.server.SetDown(down) }) // it fails only at the end
	return nil
}

// run runs everything while story is told, and ends it.
func (s *demoStage) run(ctx context.Context, story func(context.Context) error) error {
	defer s.broker.Shutdown()
	sandboxCtx, stopSandbox := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSandbox()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.server.Run(sandboxCtx) })
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
