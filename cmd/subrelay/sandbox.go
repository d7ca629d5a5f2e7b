package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"subrelay/adapters/sandbox"
)

// sandboxFlags say how the imitations behave.
type sandboxFlags struct {
	addr, crmcomAddr  string
	latency           time.Duration
	authToken         string
	customersFile     string
	subscriptionsFile string
	faultsFile        string
	crmcomFaultsFile  string
	strict            bool
	seed              uint64
	crmcom            sandbox.CRMCOMOptions // with what has no flag
}

func newSandboxCommand(c *cli) *cobra.Command {
	var f sandboxFlags
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "Run only the imitations of the upstreams",
		Long: `Run imitations of TVMS and of CRM.COM with its Netflix methods on real HTTP, each at an address of its own, until a
signal. They keep books of every call (GET /_books) and fail on command (PUT /_faults). Customers, subscriptions that are
named by their number, and Netflix subscribers are created when first named, unless --strict.`,
		Example: `  subrelay sandbox --addr 127.0.0.1:8481 --crmcom-addr 127.0.0.1:8482
  subrelay sandbox --customers customers.json --subscriptions subscriptions.json --strict
  curl -s http://127.0.0.1:8482/_books
  curl -s -X PUT http://127.0.0.1:8482/_faults -d '{"script":[{"kind":"error_after","times":3}]}'
  curl -s http://127.0.0.1:8481/_faults/kinds`,
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			servers, err := f.listen()
			if err != nil {
				return err
			}
			for _, listens := range [][2]string{{"--addr", f.addr}, {"--crmcom-addr", f.crmcomAddr}} {
				if warning := beyondLoopback(listens[0], listens[1]); warning != "" {
					c.sayf("%s", warning)
				}
			}
			if err := c.printImitations(servers); err != nil {
				return err
			}
			return servers.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.addr, "addr", "127.0.0.1:8481", "address of TVMS; port 0 picks a free one")
	flags.StringVar(&f.crmcomAddr, "crmcom-addr", "127.0.0.1:8482", "address of CRM.COM; port 0 picks a free one")
	flags.DurationVar(&f.latency, "latency", 0, "how long every call takes at least")
	flags.StringVar(&f.authToken, "auth-token", "", "the token that calls to TVMS must carry (default any)")
	flags.StringVar(&f.crmcom.WebAPIKey, "web-api-key", "", "the key that gets a token of CRM.COM (default any, and any user)")
	flags.StringVar(&f.crmcom.Release, "release", "R18.0.0", "the release of CRM.COM")
	flags.BoolVar(&f.crmcom.IgnoreReferences, "ignore-references", false, "CRM.COM takes a reference as often as it comes")
	flags.StringVar(&f.customersFile, "customers", "", `file of customers of TVMS, as GET /_customers shows them`)
	flags.StringVar(&f.subscriptionsFile, "subscriptions", "", `file of subscriptions of CRM.COM, as GET /_subscriptions shows them`)
	flags.StringVar(&f.faultsFile, "faults", "", "file with a fault plan for TVMS, as for PUT /_faults")
	flags.StringVar(&f.crmcomFaultsFile, "crmcom-faults", "", "file with a fault plan for CRM.COM")
	flags.BoolVar(&f.strict, "strict", false, "refuse customers and subscriptions that are not listed")
	flags.Uint64Var(&f.seed, "seed", 1, "decides which calls the rates of a fault plan hit")
	return cmd
}

func (c *cli) printImitations(i *imitations) error {
	if c.wantJSON {
		return c.printJSON(map[string]string{"sandbox": i.tvms.URL(), "crmcom": i.crmcom.URL()})
	}
	return c.printLine(imitationLines, i.tvms.URL(), i.crmcom.URL())
}

const imitationLines = `tvms     %s   (books: /_books, faults: /_faults)
crmcom   %s   (the same, and /_subscriptions, /_netflix, /_charges)`

// imitations are the servers of the imitated upstreams.
type imitations struct {
	tvms, crmcom *sandbox.Server
}

// run serves until ctx ends.
func (i *imitations) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, server := range []*sandbox.Server{i.tvms, i.crmcom} {
		group.Go(func() error { return server.Run(ctx) })
	}
	return group.Wait()
}

// listen makes the imitations and opens their addresses.
func (f *sandboxFlags) listen() (*imitations, error) {
	options := sandbox.TVMSOptions{AuthToken: f.authToken, Latency: f.latency, Seed: f.seed}
	if !f.strict {
		options.AutoCreate = time.Now().UTC().AddDate(0, 1, 0).Truncate(time.Second)
	}
	f.crmcom.Latency, f.crmcom.Seed, f.crmcom.AutoCreate = f.latency, f.seed, !f.strict
	tvms := sandbox.NewTVMS(options)
	crmcom, err := newCRMCOM(f.crmcom)
	if err != nil {
		return nil, err
	}
	if err := f.readFiles(tvms, crmcom); err != nil {
		return nil, err
	}
	var servers imitations
	for _, s := range []struct {
		addr    string
		handler http.Handler
		into    **sandbox.Server
	}{{f.addr, tvms.Handler(), &servers.tvms}, {f.crmcomAddr, crmcom.Handler(), &servers.crmcom}} {
		server, err := sandbox.Listen(s.addr, s.handler)
		if err != nil {
			return nil, hinted(err, "choose another address, or port 0 for a free one")
		}
		*s.into = server
	}
	return &servers, nil
}

// newCRMCOM is the imitation, or an error where the options make no sense: for the imitation that is a panic.
func newCRMCOM(o sandbox.CRMCOMOptions) (c *sandbox.CRMCOM, err error) {
	defer func() {
		if wrong := recover(); wrong != nil {
			err = fmt.Errorf("the imitation of CRM.COM: %v", wrong)
		}
	}()
	return sandbox.NewCRMCOM(o), nil
}

func (f *sandboxFlags) readFiles(tvms *sandbox.TVMS, crmcom *sandbox.CRMCOM) error {
	for _, in := range []struct {
		flag, file string
		put        func(raw []byte) error
	}{
		{"customers", f.customersFile, func(raw []byte) error {
			var list sandbox.CustomerList
			if err := json.Unmarshal(raw, &list); err != nil {
				return err
			}
			return tvms.PutCustomers(list.Customers...)
		}},
		{"subscriptions", f.subscriptionsFile, func(raw []byte) error {
			var list sandbox.SubscriptionList
			if err := json.Unmarshal(raw, &list); err != nil {
				return err
			}
			return crmcom.PutSubscriptions(list.Subscriptions...)
		}},
		{"faults", f.faultsFile, planInto(tvms.Faults())},
		{"crmcom-faults", f.crmcomFaultsFile, planInto(crmcom.Faults())},
	} {
		if in.file == "" {
			continue
		}
		raw, err := os.ReadFile(in.file)
		if err != nil {
			return fmt.Errorf("--%s: %w", in.flag, err)
		}
		if err := in.put(raw); err != nil {
			return fmt.Errorf("--%s: %s: %w", in.flag, in.file, err)
		}
	}
	return nil
}

// planInto sets a fault plan.
func planInto(faults *sandbox.Faults) func(raw []byte) error {
	return func(raw []byte) error {
		plan, err := sandbox.DecodePlan(raw)
		if err != nil {
			return err
		}
		return faults.Set(plan)
	}
}
