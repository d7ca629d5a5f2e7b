package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"subrelay/adapters/sandbox"
)

// sandboxFlags say how the imitations behave.
type sandboxFlags struct {
	addr          string
	latency       time.Duration
	authToken     string
	customersFile string
	faultsFile    string
	strict        bool
	seed          uint64
}

func newSandboxCommand(c *cli) *cobra.Command {
	var f sandboxFlags
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "Run only the imitations of the upstreams",
		Long: `Run an imitation of TVMS on real HTTP, until a signal. It keeps books of every call (GET /_books) and fails on command
(PUT /_faults). Customers are created when first named, with an expiry date of one month from now, unless --strict.`,
		Example: `  subrelay sandbox --addr 127.0.0.1:8481
  subrelay sandbox --customers customers.json --strict
  curl -s http://127.0.0.1:8481/_books
  curl -s -X PUT http://127.0.0.1:8481/_faults -d '{"script":[{"kind":"error_after","times":3}]}'
  curl -s http://127.0.0.1:8481/_faults/kinds`,
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			server, err := f.listen()
			if err != nil {
				return err
			}
			if c.wantJSON {
				err = c.printJSON(map[string]string{"sandbox": server.URL()})
			} else {
				err = c.printLine("sandbox  %s\nbooks    %s/_books\nfaults   %s/_faults", server.URL(), server.URL(), server.URL())
			}
			if err != nil {
				return err
			}
			return server.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&f.addr, "addr", "127.0.0.1:8481", "address to listen on; port 0 picks a free one")
	cmd.Flags().DurationVar(&f.latency, "latency", 0, "how long every call takes at least")
	cmd.Flags().StringVar(&f.authToken, "auth-token", "", "the token that calls must carry (default any)")
	cmd.Flags().StringVar(&f.customersFile, "customers", "", `file of customers, as GET /_customers shows them`)
	cmd.Flags().StringVar(&f.faultsFile, "faults", "", "file with a fault plan, as for PUT /_faults")
	cmd.Flags().BoolVar(&f.strict, "strict", false, "refuse customers that are not listed")
	cmd.Flags().Uint64Var(&f.seed, "seed", 1, "decides which calls the rates of a fault plan hit")
	return cmd
}

// listen makes the imitations and opens their address.
func (f *sandboxFlags) listen() (*sandbox.Server, error) {
	options := sandbox.TVMSOptions{AuthToken: f.authToken, Latency: f.latency, Seed: f.seed}
	if !f.strict {
		options.AutoCreate = time.Now().UTC().AddDate(0, 1, 0).Truncate(time.Second)
	}
	tvms := sandbox.NewTVMS(options)
	if err := f.readFiles(tvms); err != nil {
		return nil, err
	}
	server, err := sandbox.Listen(f.addr, tvms.Handler())
	return server, hinted(err, "choose another address, or port 0 for a free one")
}

func (f *sandboxFlags) readFiles(tvms *sandbox.TVMS) error {
	if f.customersFile != "" {
		raw, err := os.ReadFile(f.customersFile)
		if err != nil {
			return fmt.Errorf("--customers: %w", err)
		}
		var list sandbox.CustomerList
		if err := json.Unmarshal(raw, &list); err != nil {
			return fmt.Errorf("--customers: %s: %w", f.customersFile, err)
		}
		if err := tvms.PutCustomers(list.Customers...); err != nil {
			return fmt.Errorf("--customers: %s: %w", f.customersFile, err)
		}
	}
	if f.faultsFile == "" {
		return nil
	}
	raw, err := os.ReadFile(f.faultsFile)
	if err != nil {
		return fmt.Errorf("--faults: %w", err)
	}
	plan, err := sandbox.DecodePlan(raw)
	if err == nil {
		err = tvms.Faults().Set(plan)
	}
	if err != nil {
		return fmt.Errorf("--faults: %s: %w", f.faultsFile, err)
	}
	return nil
}
