package main

import (
	"context"
	"log/slog"
	"net"
	"net/url"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/sandbox"
	"subrelay/adapters/upstream"
)

// upFlags are where everything is and listens.
type upFlags struct {
	store, natsAddr, sandboxAddr, httpAddr string
	verbose                                bool
}

func newUpCommand(c *cli) *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run everything at once, to try it: NATS, the imitations of the upstreams, and a worker",
		Long: `Run an embedded NATS server with its store on disk, the imitations of the upstreams, and a worker between them, until
a signal. The addresses are printed as soon as all is ready. What is in the store is there again the next time.

Settings come from the configuration as for a worker, except for addresses and credentials.`,
		Example: `  subrelay up
  subrelay up --store /var/lib/subrelay --nats-addr 127.0.0.1:4222
  subrelay up --nats-addr 127.0.0.1:0 --sandbox-addr 127.0.0.1:0 --http-addr 127.0.0.1:0 -o json`,
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.up(cmd.Context(), f) },
	}
	cmd.Flags().StringVar(&f.store, "store", ".subrelay", "directory of the embedded server's store")
	cmd.Flags().StringVar(&f.natsAddr, "nats-addr", "127.0.0.1:4222", "address of the embedded NATS server; port 0 picks a free one")
	cmd.Flags().StringVar(&f.sandboxAddr, "sandbox-addr", "127.0.0.1:8481", "address of the imitations; port 0 picks a free one")
	cmd.Flags().StringVar(&f.httpAddr, "http-addr", "127.0.0.1:8480", "address of health and metrics; port 0 picks a free one")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "show what the worker logs, not only warnings")
	return cmd
}

// addresses is what `up -o json` prints.
type addresses struct {
	NATS    string `json:"nats"`
	Sandbox string `json:"sandbox"`
	HTTP    string `json:"http"` // "" where it is not served
}

func (c *cli) up(ctx context.Context, f upFlags) error {
	cfg, err := c.loadConfig()
	if err != nil {
		return err
	}
	if !f.verbose {
		cfg.Log.Level = max(cfg.Log.Level, slog.LevelWarn)
	}
	log := c.logger(cfg.Log)
	server, err := natsjs.StartServer(natsjs.ServerSettings{StoreDir: f.store, Addr: f.natsAddr, Logger: log})
	if err != nil {
		return hinted(err, "--nats-addr and --store say where it listens and keeps its streams")
	}
	defer server.Shutdown()
	imitations, err := (&sandboxFlags{addr: f.sandboxAddr, authToken: sandboxToken, seed: 1}).listen()
	if err != nil {
		return err
	}
	app, err := NewApp(AppOptions{Config: f.configure(cfg, server.URL(), loopback(imitations.URL())), Logger: log, Connect: connectTo(server)})
	if err != nil {
		return err
	}
	app.announce()
	at := addresses{NATS: server.URL(), Sandbox: imitations.URL()}
	if app.HTTPAddr() != "" {
		at.HTTP = "http://" + app.HTTPAddr()
	}
	return c.runAll(ctx, app, imitations, at)
}

// loopback is address with the loopback's address where it says "all addresses": a worker beside it needs no other.
func loopback(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(u.Hostname()); ip != nil && ip.IsUnspecified() {
		u.Host = net.JoinHostPort("127.0.0.1", u.Port())
	}
	return u.String()
}

// sandboxToken is the token between a worker and the imitations beside it. It guards nothing.
const sandboxToken = "sandbox-token"

// configure points cfg at the imitation of TVMS, whose reads are known, so that unclear calls can be settled.
func (f *upFlags) configure(cfg Config, natsURL, tvmsURL string) Config {
	cfg.NATS.URL, cfg.Worker.HTTPAddr = natsURL, f.httpAddr
	api := &cfg.TVMS.API
	api.BaseURL, api.AuthToken, api.AuthTokenFile = tvmsURL, upstream.NewSecret(sandboxToken), ""
	if api.CRMService == "" {
		api.CRMService = "demo_crm"
	}
	if !api.ReadBack.Enabled {
		api.ReadBack.Enabled, api.ReadBack.ExpiryField, api.ReadBack.Format = true, "ExpireDate", "epoch_seconds"
	}
	return cfg
}

// connectTo connects to an embedded server.
func connectTo(server *natsjs.Server) func(natsjs.ConnectOptions) (*nats.Conn, error) {
	return func(o natsjs.ConnectOptions) (*nats.Conn, error) {
		o.InProcess = server
		return natsjs.Connect(o)
	}
}

// runAll runs the worker and the imitations until ctx ends, the worker's end first: its last calls want an answer.
func (c *cli) runAll(ctx context.Context, app *App, imitations *sandbox.Server, at addresses) error {
	sandboxCtx, stopSandbox := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSandbox()
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return imitations.Run(sandboxCtx) })
	group.Go(func() error {
		defer stopSandbox()
		return app.Run(groupCtx)
	})
	group.Go(func() error {
		select {
		case <-app.Ready():
			return c.printAddresses(at)
		case <-groupCtx.Done():
			return nil
		}
	})
	return group.Wait()
}

func (c *cli) printAddresses(at addresses) error {
	if c.wantJSON {
		return c.printJSON(at)
	}
	return c.printLine(`nats     %s
sandbox  %s   (books: /_books, faults: /_faults)
http     %s   (/healthz, /readyz, /metrics)

try: subrelay --nats %s publish renew --customer C-10042 --months 1 --wait
Ctrl-C ends it.`, at.NATS, at.Sandbox, at.HTTP, at.NATS)
}
