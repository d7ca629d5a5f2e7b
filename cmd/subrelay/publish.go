package main

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/spf13/cobra"
)

// publishFlags are common to all ways of publishing.
type publishFlags struct {
	file       string
	wait       bool
	timeout    time.Duration
	noValidate bool
}

func newPublishCommand(c *cli) *cobra.Command {
	var f publishFlags
	cmd := &cobra.Command{
		Use:   "publish",
		Short: "Send one command from flags, or a file of commands",
		Long: `Send commands and wait until the broker has stored them: one, from flags, by 'publish KIND', or a file of structured
CloudEvents, one per line, by --file. Commands with the same key are stored in the order of the file. Each is checked
first, and sent only if nothing is wrong with it, unless --no-validate.

With --wait the final outcome of each is printed, also where it was there before: a command is done once, however often
it is sent.

` + exitHelp,
		Example: `  subrelay publish renew --customer C-10042 --months 1 --wait
  subrelay publish swap --subscription S0000012345 --from code=INTERNET_100 --to code=INTERNET_200 --wait
  subrelay publish -f commands.jsonl --wait --timeout 5m
  generate-commands | subrelay publish -f - -o json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.file == "" || len(args) > 0 {
				return needKindOrFile(cmd, args)
			}
			return c.publishFile(cmd.Context(), f)
		},
	}
	cmd.Flags().StringVarP(&f.file, "file", "f", "", `file of structured CloudEvents, one per line; "-" is stdin`)
	flags := cmd.PersistentFlags()
	flags.BoolVar(&f.wait, "wait", false, "wait for the final outcome and print it")
	flags.DurationVar(&f.timeout, "timeout", 30*time.Second, "how long to wait for outcomes, in all")
	c.registerReveal(flags)
	flags.BoolVar(&f.noValidate, "no-validate", false, "send without checking: the worker will")
	cmd.AddCommand(newPublishRenewCommand(c, &f))
	for _, k := range kindCommands() {
		cmd.AddCommand(k.build(c, &f))
	}
	return cmd
}

func needKindOrFile(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("what is to be sent? Name a kind (%s), or a file with --file", joined(kindNames()))
	}
	if _, err := parseKind(args[0]); err != nil {
		return err
	}
	return usagef("--file and the kind %s exclude each other", args[0])
}

// publishFile sends every command of a file.
func (c *cli) publishFile(ctx context.Context, f publishFlags) error {
	check, err := newChecker()
	if err != nil {
		return err
	}
	in, err := c.openInput(f.file)
	if err != nil {
		return err
	}
	defer in.Close() // only read
	return c.publish(ctx, f, check.drafts(in), true)
}

// publish sends the drafts and reports what became of each. batch says that there may be many.
func (c *cli) publish(ctx context.Context, f publishFlags, drafts iter.Seq2[draft, error], batch bool) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	p := newPosting(c, cl, f, batch)
	defer p.report.close()
	if err := p.send(ctx, drafts); err != nil {
		return err
	}
	if p.total == 0 {
		return fmt.Errorf("there was nothing to send")
	}
	return p.finish(ctx)
}

// publishOne sends a single command.
func (c *cli) publishOne(ctx context.Context, f publishFlags, e *event.Event) error {
	check, err := newChecker()
	if err != nil {
		return err
	}
	one := func(yield func(draft, error) bool) { yield(check.check(0, e, nil), nil) }
	return c.publish(ctx, f, one, false)
}
