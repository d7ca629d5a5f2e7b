package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
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
		Short: "Watch the whole job in one process: outages, lost replies, duplicates, doubts, and the books compared",
		Long: `Run an embedded NATS server, imitations of TVMS and CRM.COM on real HTTP and a worker in this process, and let billing
send commands of every kind: several per customer, some twice, some invalid. TVMS goes down on purpose while CRM.COM and
Netflix go on, and then the other way round; an access token expires early; some replies get lost after the effect; and
of some commands nothing can tell what became of them, so that a person has to look. Netflix charges come in, are told
of as events, and are answered. At the end the imitations' books are compared with the outcomes.

Nothing is installed and nothing is left behind. The exit code is 0 only if no effect was doubled or lost, order was
kept, every command has a final outcome or a justified doubt, and every charge was answered.`,
		Example: `  subrelay demo
  subrelay demo --commands 5000 --customers 1000 --seed 7
  subrelay demo -o json | jq '.kinds, .independence'`,
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.demo(cmd.Context(), f) },
	}
	cmd.Flags().IntVar(&f.commands, "commands", 1000, "commands to send, 50 at least; duplicates and invalid ones come on top")
	cmd.Flags().IntVar(&f.customers, "customers", 300, "customers they are for")
	cmd.Flags().Uint64Var(&f.seed, "seed", 1, "decides what is sent to whom, what is sent twice, and what is lost")
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
	if r.OK {
		return nil
	}
	err := fmt.Errorf("the books and the outcomes disagree: %d violations", len(r.Violations))
	if len(r.Violations) == 0 {
		err = fmt.Errorf("%d charges were not answered to the end", r.ChargesOpen)
	}
	return &problem{err: err, code: exitError}
}
