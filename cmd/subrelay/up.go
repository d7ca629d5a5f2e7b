package main

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/url"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/sandbox"
	"subrelay/adapters/upstream"
)

// upFlags are where everything is and listens.
type upFlags struct {
	store, natsAddr, sandboxAddr, crmcomAddr, httpAddr string
	verbose                                            bool
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
  subrelay up --nats-addr 127.0.0.1:0 --sandbox-addr 127.0.0.1:0 --crmcom-addr 127.0.0.1:0 --http-addr 127.0.0.1:0 -o json`,
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.up(cmd.Context(), f) },
	}
	cmd.Flags().StringVar(&f.store, "store", ".subrelay", "directory of the embedded server's store")
	cmd.Flags().StringVar(&f.natsAddr, "nats-addr", "127.0.0.1:4222", "address of the embedded NATS server; port 0 picks a free one")
	cmd.Flags().StringVar(&f.sandboxAddr, "sandbox-addr", "127.0.0.1:8481", "address of the imitation of TVMS; port 0 picks a free one")
	cmd.Flags().StringVar(&f.crmcomAddr, "crmcom-addr", "127.0.0.1:8482", "address of the imitation of CRM.COM; port 0 picks a free one")
	cmd.Flags().StringVar(&f.httpAddr, "http-addr", "127.0.0.1:8480", "address of health and metrics; port 0 picks a free one")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "show what the worker logs, not only warnings")
	return cmd
}

// addresses is what `up -o json` prints.
type addresses struct {
	NATS    string `json:"nats"`
	Sandbox string `json:"sandbox"` // TVMS
	CRMCOM  string `json:"crmcom"`
	HTTP    string `json:"http"` // "" where it is not served
}

func (c *cli) up(ctx context.Context, f upFlags) error {
	cfg, err := c.loadConfig()
	if err != nil {
		return err
	}
	if cfg.Worker.Production {
		return errUpInProduction
	}
	if !f.verbose {
		cfg.Log.Level = max(cfg.Log.Level, slog.LevelWarn)
	}
	log := c.logger(cfg.Log)
	for _, listens := range [][2]string{{"--nats-addr", f.natsAddr}, {"--sandbox-addr", f.sandboxAddr}, {"--crmcom-addr", f.crmcomAddr}} {
		if warning := beyondLoopback(listens[0], listens[1]); warning != "" {
			log.Warn(warning)
		}
	}
	server, err := natsjs.StartServer(natsjs.ServerSettings{StoreDir: f.store, Addr: f.natsAddr, Logger: log})
	if err != nil {
		return hinted(err, "--nats-addr and --store say where it listens and keeps its streams")
	}
	defer server.Shutdown()
	cfg = f.configure(cfg, server.URL())
	servers, err := (&sandboxFlags{addr: f.sandboxAddr, crmcomAddr: f.crmcomAddr, authToken: sandboxToken, seed: 1, crmcom: imitated(&cfg)}).listen()
	if err != nil {
		return err
	}
	cfg.TVMS.API.BaseURL, cfg.CRMCOM.API.BaseURL = loopback(servers.tvms.URL()), loopback(servers.crmcom.URL())
	app, err := NewApp(AppOptions{Config: cfg, Logger: log, Connect: connectTo(server)})
	if err != nil {
		return err
	}
	app.announce()
	at := addresses{NATS: server.URL(), Sandbox: servers.tvms.URL(), CRMCOM: servers.crmcom.URL()}
	if app.HTTPAddr() != "" {
		at.HTTP = "http://" + app.HTTPAddr()
	}
	return c.runAll(ctx, app, servers, at)
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

// configure fits cfg to the imitations, of which more is known than of a real installation: how to read, and that
// references are enforced, so that unclear calls can be settled.
func (f *upFlags) configure(cfg Config, natsURL string) Config {
	cfg.NATS.URL, cfg.Worker.HTTPAddr = natsURL, f.httpAddr
	api := &cfg.TVMS.API
	api.AuthToken, api.AuthTokenFile = upstream.NewSecret(sandboxToken), ""
	if api.CRMService == "" {
		api.CRMService = "demo_crm"
	}
	if !api.ReadBack.Enabled {
		api.ReadBack.Enabled, api.ReadBack.ExpiryField, api.ReadBack.Format = true, "ExpireDate", "epoch_seconds"
	}
	crm := &cfg.CRMCOM.API
	crm.WebAPIKey, crm.WebAPIKeyFile = upstream.NewSecret(sandboxToken), ""
	crm.Username, crm.Password, crm.PasswordFile, crm.Organisation, crm.Unit = "", upstream.Secret{}, "", "", ""
	crm.Release = cmp.Or(crm.Release, "R18.0.0")
	crm.Reference.Enforced, crm.Swap.Confirmed = true, true
	chargesShow(&cfg)
	return cfg
}

// imitated is an imitation of CRM.COM of which all is true that the settings say.
func imitated(cfg *Config) sandbox.CRMCOMOptions {
	crm := &cfg.CRMCOM.API
	o := sandbox.CRMCOMOptions{
		WebAPIKey: sandboxToken, Release: crm.Release, Path: crm.Path, SwapSet: crm.Swap.Set, SwapPath: crm.Swap.Path,
		CancelPath: cfg.Netflix.API.CancelPath,
	}
	if zone, err := time.LoadLocation(crm.TimeZone); err == nil { // else the worker says so
		o.Zone = zone
	}
	return o
}

// connectTo connects to an embedded server.
func connectTo(server *natsjs.Server) func(natsjs.ConnectOptions) (*nats.Conn, error) {
	return func(o natsjs.ConnectOptions) (*nats.Conn, error) {
		o.InProcess = server
		return natsjs.Connect(o)
	}
}

// runAll runs the worker and the imitations until ctx ends, the worker's end first: its last calls want an answer.
func (c *cli) runAll(ctx context.Context, app *App, servers *imitations, at addresses) error {
	sandboxCtx, stopSandbox := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSandbox()
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return servers.run(sandboxCtx) })
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
`+imitationLines+`
http     %s   (/healthz, /readyz, /metrics)

try: subrelay --nats %[5]s publish renew --customer C-10042 --months 1 --wait
     subrelay --nats %[5]s publish swap --subscription S0000012345 --from code=INTERNET_100 --to code=INTERNET_200 --wait
Ctrl-C ends it.`, at.NATS, at.Sandbox, at.CRMCOM, at.HTTP, at.NATS)
}
