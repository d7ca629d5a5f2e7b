package main

import (
	"cmp"
	"context"
	"log/slog"
	"sync"

	"github.com/spf13/cobra"

	"subrelay/adapters/natsjs"
	"subrelay/events"
	"subrelay/events/checkup"
	"subrelay/handlers"
)

func newWorkerCommand(c *cli) *cobra.Command {
	var httpAddr, name string
	var production bool
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Run the service against a NATS server",
		Long: `Run the service: take commands from NATS, call the upstreams, publish outcomes, until a signal. Any number of workers
share the work. The configuration file is subrelay.example.yaml with your values; every setting can be given as an
environment variable instead, such as SUBRELAY_TVMS_AUTH_TOKEN for tvms.auth_token.

It serves the upstreams whose address is configured: tvms by tvms.base_url, crmcom and netflix by crmcom.base_url. Commands
for another wait until a worker comes that serves it.

With --production it refuses to start, with exit code 1, on what can break the promise, as 'subrelay doctor --production'
shows it, such as: fewer than 3 replicas; streams in memory, that drop old messages, with limits that lose commands or
records, or of another prefix; consumers that give up commands; a ledger that forgets before commands do; servers that are
too old, or known not to flush each write; a clock that is off by a minute; secrets that everybody on the machine can read
or write; a connection to another machine without TLS, or to a server that lets everybody in; upstreams over plain http.
Whether servers flush each write is known only with nats.monitor_urls; without, it is a warning.

The first SIGTERM or SIGINT ends it gracefully: nothing new is taken, what has started may finish within worker.grace,
the rest is handed back. The second ends it at once.`,
		Example: `  subrelay worker --config /etc/subrelay.yaml
  SUBRELAY_TVMS_AUTH_TOKEN=... subrelay worker --nats nats://broker:4222 --config subrelay.yaml
  curl -s http://127.0.0.1:8480/readyz`,
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.loadConfig()
			if err != nil {
				return err
			}
			cfg.Worker.HTTPAddr = cmp.Or(httpAddr, cfg.Worker.HTTPAddr)
			cfg.Worker.Name = cmp.Or(name, cfg.Worker.Name)
			cfg.Worker.Production = cfg.Worker.Production || production
			return c.work(cmd.Context(), cfg)
		},
	}
	cmd.Flags().StringVar(&httpAddr, "http-addr", "", "address of health and metrics, or none (default from the configuration)")
	cmd.Flags().StringVar(&name, "name", "", "this worker's name (default from the configuration, or the host's name and a random part)")
	cmd.Flags().BoolVar(&production, "production", false, "refuse to start on what can break the promise (default worker.production)")
	return cmd
}

// work runs one worker until ctx ends.
func (c *cli) work(ctx context.Context, cfg Config) error {
	log := c.logger(cfg.Log)
	for _, stray := range strayEnv(environment(c.environ)) {
		log.Warn("an environment variable names no setting: " + stray)
	}
	app, err := NewApp(AppOptions{Config: cfg, Logger: log})
	if err != nil {
		return err
	}
	if cfg.Worker.Production {
		if err := app.inProduction(checkup.Run(ctx, append(c.fileChecks(&cfg), exposureChecks(cfg)...))); err != nil {
			app.Close()
			return err
		}
	}
	app.announce()
	tuning, stop := context.WithCancel(ctx)
	var tuner sync.WaitGroup
	tuner.Go(func() { keepSmall(tuning) })
	defer tuner.Wait()
	defer stop()
	return app.Run(ctx)
}

// announce says what the worker will do.
func (a *App) announce() {
	a.Logger.Info("worker "+a.name, "version", readBuild().Version, "nats", natsjs.RedactURL(a.Config.NATS.URL),
		"prefix", a.Config.Prefix, "partitions", a.Config.Streams.Partitions, "http", cmp.Or(a.HTTPAddr(), noListen))
	if warning := beyondLoopback("worker.http_addr", a.Config.Worker.HTTPAddr); warning != "" && a.HTTPAddr() != "" {
		a.Logger.Warn(warning)
	}
	a.Logger.Info("answers queries", "queries", a.queryNames())
	policies := a.Config.Retry.policies()
	for _, s := range a.stations {
		a.Logger.Info("upstream "+string(s.name), "concurrency", s.guard.Concurrency(), "call_timeout", s.guard.CallTimeout())
		for _, f := range s.families {
			a.Logger.Info(string(f.Spec().Kind)+": "+policies[f.Spec().Kind].String(), "settling", settlingOf(f))
		}
	}
	if waiting := a.waiting(); len(waiting) > 0 {
		a.Logger.Info("not served by this worker, since no address of their upstream is configured: their commands wait for another", "kinds", waiting)
	}
}

// settlingOf says in words what becomes of unclear calls.
func settlingOf(f handlers.Family) string {
	switch {
	case !f.Settling().Means:
		return "in doubt where a call is unclear"
	case f.Spec().Upstream == events.CRMCOM:
		return "repeats an unclear call under its reference"
	}
	return "reads back where a call is unclear"
}

// logger logs to stderr, as the settings say.
func (c *cli) logger(s LogConfig) *slog.Logger {
	options := &slog.HandlerOptions{Level: s.Level}
	if s.Format == logJSON {
		return slog.New(slog.NewJSONHandler(c.stderr, options))
	}
	return slog.New(slog.NewTextHandler(c.stderr, options))
}
