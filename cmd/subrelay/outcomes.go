package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

func newOutcomesCommand(c *cli) *cobra.Command {
	var f selectFlags
	var follow bool
	cmd := &cobra.Command{
		Use:   "outcomes",
		Short: "Read or follow outcomes",
		Long: `Read the outcomes that are stored, in order, and with --follow go on with new ones until a signal. --follow without a
beginning (--since, --from-seq) shows only what is new. With -o json each line is the outcome's CloudEvent as it was
stored, but for secrets in results, which stand there only with --reveal.`,
		Example: `  subrelay outcomes --since 1h --status rejected,failed,in_doubt
  subrelay outcomes --follow --key C-10042
  subrelay outcomes --from-seq 12000 --limit 1000 -o json`,
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := f.query()
			if err != nil {
				return err
			}
			q.Follow = follow
			return c.outcomes(cmd.Context(), q)
		},
	}
	cmd.Flags().BoolVar(&follow, "follow", false, "go on with new outcomes until a signal")
	f.register(cmd, cmd.Flags())
	c.registerReveal(cmd.Flags())
	return cmd
}

func (c *cli) outcomes(ctx context.Context, q natsjs.Query) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	if q.Follow && q.FromSeq == 0 && q.Since.IsZero() {
		if q.FromSeq, err = cl.nextOutcome(ctx); err != nil {
			return err
		}
	}
	if !c.wantJSON {
		if err := c.printLine(outcomeRow, "SEQ", "STORED", "STATUS", "KIND", "KEY", "TRY", "CID", "DETAIL"); err != nil {
			return err
		}
	}
	err = cl.outcomes.Read(ctx, q, c.printOutcome)
	if q.Follow {
		return endedBy(ctx, err)
	}
	return err
}

// nextOutcome is the sequence that the next message of the stream of outcomes gets.
func (cl *client) nextOutcome(ctx context.Context) (uint64, error) {
	stream, err := cl.js.Stream(ctx, cl.names.Outcomes())
	if err != nil {
		return 0, noStream(cl.names.Outcomes(), err)
	}
	return stream.CachedInfo().State.LastSeq + 1, nil
}

// noStream says what to do about a stream that cannot be found.
func noStream(name string, err error) error {
	return hinted(fmt.Errorf("the stream %s: %w", name, err), "a worker creates it at its start, and 'subrelay topology apply' does")
}

// outcomeRow is a row of outcomes, printed one by one: there may be more than a table can hold.
const outcomeRow = "%-8s  %-24s  %-9s  %-19s  %-20s  %3s  %-26s  %s"

func (c *cli) printOutcome(s natsjs.Stored) error {
	raw, err := c.shownEvent(s.Raw, &s.Outcome)
	if err != nil {
		return fmt.Errorf("outcome %d: %w", s.Seq, err)
	}
	if !c.wantJSON {
		s.Result = c.shown(s.Result)
		return c.printLine(outcomeRow, strconv.FormatUint(s.Seq, 10), stamp(s.Time), string(s.Status), string(s.Command.Kind),
			plain(s.Command.Key), strconv.Itoa(s.Attempt), s.Command.CID, plain(detailOf(&s.Outcome)))
	}
	if err := c.printEvent(raw); err != nil {
		return fmt.Errorf("outcome %d: %w", s.Seq, err)
	}
	return nil
}

// detailOf is what a record says beyond its status, in a few words.
func detailOf(o *events.Outcome) string {
	switch {
	case o.Resolution != nil:
		return fmt.Sprintf("resolved by %s: %s", o.Resolution.By, o.Resolution.Reason)
	case o.Error != nil && o.Deferral != nil:
		return fmt.Sprintf("%s: %s; next %s", o.Error.Code, o.Error.Message, stamp(o.Deferral.NotBefore))
	case o.Error != nil:
		return o.Error.Code + ": " + o.Error.Message
	case o.Start != nil:
		return "worker " + o.Start.Worker
	case len(o.Result) > 0:
		return string(o.Result)
	}
	return ""
}
