package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"subrelay/events/history"
)

// demoFlags say how large the demonstration is.
type demoFlags struct {
	commands  int
	customers int
	seed      uint64
	verbose   bool
}

func newDemoCommand(c *cli) *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch the whole job in one process: an outage, lost replies, duplicates, and the books compared",
		Long: `Run an embedded NATS server, an imitation of TVMS on real HTTP and a worker in this process, and let billing send
renewals: several per customer, some twice, some invalid. TVMS goes down on purpose and comes back, and some replies
get lost after the effect. At the end the imitation's books are compared with the outcomes.

Nothing is installed and nothing is left behind. The exit code is 0 only if no effect was doubled or lost, order was
kept, and every command has a final outcome or a justified doubt.`,
		Example: `  subrelay demo
  subrelay demo --commands 5000 --customers 1000 --seed 7
  subrelay demo -o json | jq`,
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.demo(cmd.Context(), f) },
	}
	cmd.Flags().IntVar(&f.commands, "commands", 1000, "renewals to send, 50 at least; duplicates and invalid ones come on top")
	cmd.Flags().IntVar(&f.customers, "customers", 300, "customers they are for")
	cmd.Flags().Uint64Var(&f.seed, "seed", 1, "decides who is renewed, what is sent twice, and what is lost")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "show what the worker logs")
	return cmd
}

func (f *demoFlags) check() error {
	switch {
	case f.commands < 50:
		return usagef("--commands is %d, and must be 50 at least", f.commands)
	case f.customers < 10:
		return usagef("--customers is %d, and must be 10 at least", f.customers)
	}
	return nil
}

// demoResult is the last line of demo -o json.
type demoResult struct {
	OK bool `json:"ok"`
	history.Report
	Duplicates    int     `json:"duplicates"` // sent on purpose, whether or not the broker let them in
	Settled       int     `json:"settled"`    // unclear attempts that a read settled
	BreakerOpened int     `json:"breaker_opened"`
	AttemptsSpent int     `json:"attempts_spent"` // used up by failures; the outage must use up none
	Seed          uint64  `json:"seed"`
	Seconds       float64 `json:"seconds"`
}

func (c *cli) demo(ctx context.Context, f demoFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	began := time.Now()
	tell := c.newNarrator(began)
	stage, err := newDemoStage(c, f)
	if err != nil {
		return err
	}
	var result demoResult
	err = stage.run(ctx, func(ctx context.Context) error {
		result, err = stage.play(ctx, tell)
		return err
	})
	if err != nil {
		return err
	}
	result.Seconds = time.Since(began).Round(time.Millisecond).Seconds()
	return c.demoVerdict(tell, &result)
}

// demoVerdict prints the result. A violation is an error.
func (c *cli) demoVerdict(tell *narrator, r *demoResult) error {
	if c.wantJSON {
		if err := c.printJSON(r); err != nil {
			return err
		}
	} else if err := c.demoTables(tell, r); err != nil {
		return err
	}
	if !r.OK {
		return &problem{err: fmt.Errorf("the books and the outcomes disagree: %d violations", len(r.Violations)), code: exitError}
	}
	return nil
}
