package main

import (
	"strings"
	"unicode"

	"github.com/spf13/cobra"
)

// commandsFlags say which commands are requeued, or run again.
type commandsFlags struct {
	replayFlags
	missing, unfinished bool
	again, yes          bool
	reason, plan        string
}

func newReplayCommandsCommand(c *cli) *cobra.Command {
	var f commandsFlags
	cmd := &cobra.Command{
		Use:   "commands --missing | --again --reason TEXT",
		Short: "Requeue commands that were lost, or run again what has succeeded",
		Long: `--missing reads the command stream in order and requeues, unchanged, each command that has no record in the ledger, no
dead letter, and is not delivered any more: its consumer was deleted, or its message lost. What still waits is only
reported, and so is what nobody can know about because the ledger does not reach back so far. It is done once, however
often it is requeued. With --unfinished also what was begun and whose message is gone. Times and sequences are those of
the command stream.

--again runs what has succeeded once more, on purpose: an upstream was restored from last night's backup. Each becomes a
new command, <id>~<n>, with the reason in its attribute replayreason. The selection is frozen in a plan file; the
effects are listed first and must be confirmed; then they are published in their first order. --plan FILE alone goes on
with a plan that was interrupted: each of its commands runs once, however often. What has succeeded but is no
longer stored cannot run again: it is told, and the exit code is 1. Times and sequences are those of the
successes in the ledger.`,
		Example: `  subrelay replay commands --missing --dry-run
  subrelay replay commands --missing --kind renew --since 24h
  subrelay replay commands --again --reason "TVMS restored from the backup of 02:00" --since 2026-03-01T02:00:00Z --dry-run
  subrelay replay commands --again --reason "TVMS restored from the backup of 02:00" --since 2026-03-01T02:00:00Z --rate 20
  subrelay replay commands --again --plan subrelay-replay-20260301T093000Z.jsonl`,
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			selection := selectionOf(cmd)
			if err := f.check(selection); err != nil {
				return err
			}
			q, err := f.query()
			if err != nil {
				return err
			}
			if f.missing {
				return c.replayMissing(cmd.Context(), f, q)
			}
			if err := c.needSomebody(f.yes || f.dryRun); err != nil {
				return err
			}
			return c.replayAgain(cmd.Context(), f, q, selection)
		},
	}
	f.register(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&f.missing, "missing", false, "requeue what has no outcome and was lost")
	flags.BoolVar(&f.unfinished, "unfinished", false, "with --missing: also what was begun and then lost")
	flags.BoolVar(&f.again, "again", false, "run again what has succeeded, as new commands")
	flags.StringVar(&f.reason, "reason", "", "with --again: why; it travels with the new commands")
	flags.StringVar(&f.plan, "plan", "", "with --again: the plan file (default subrelay-replay-<time>.jsonl)")
	flags.BoolVar(&f.yes, "yes", false, "with --again: confirm beforehand")
	return cmd
}

// maxReason is the longest reason, in bytes.
const maxReason = 512

// check refuses what makes no sense together. That a new plan needs a reason is seen later.
func (f *commandsFlags) check(selection string) error {
	f.reason = strings.TrimSpace(f.reason)
	switch {
	case f.missing == f.again:
		return usagef("which commands? Say --missing (what was lost) or --again (what has succeeded)")
	case f.missing && (f.reason != "" || f.plan != "" || f.yes):
		return usagef("--reason, --plan and --yes go with --again only")
	case f.again && f.unfinished:
		return usagef("--unfinished goes with --missing only")
	case f.missing && len(f.sel.statuses) > 0:
		return usagef("what is missing has no status: --status goes with --again only")
	case len(f.reason) > maxReason || strings.ContainsFunc(f.reason, unicode.IsControl):
		return usagef("--reason must be one line of at most %d bytes", maxReason)
	case f.again && f.reason == "" && f.plan == "":
		return usagef("why do they run again? --reason TEXT is missing")
	case f.again && f.reason == "" && selection != "everything":
		return usagef("a plan that is resumed has its selection: leave out %s", selection)
	}
	for _, s := range f.sel.statuses {
		if s != "succeeded" {
			return usagef("only what has succeeded can run --again, not what is %s: see 'subrelay doubts' and 'subrelay dead'", s)
		}
	}
	return nil
}
