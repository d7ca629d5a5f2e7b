package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"subrelay/adapters/natsjs"
)

func newReplayCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Send outcomes again to rebuild a reader, or run commands again",
		Long: `Outcomes are sent again, as they are, to a subject that a reader listens to. Commands that were lost are requeued, and
commands that have succeeded run again, as new ones, when an upstream was restored from a backup.`,
		Example: `  subrelay replay outcomes --to billing.rebuild --since 2026-03-01T00:00:00Z
  subrelay replay commands --missing --dry-run
  subrelay replay commands --again --reason "TVMS restored from last night's backup" --since 8h`,
		Args: cobra.ArbitraryArgs,
		RunE: chooseCommand,
	}
	cmd.AddCommand(newReplayOutcomesCommand(c), newReplayCommandsCommand(c))
	return cmd
}

// replayFlags are common to all replays.
type replayFlags struct {
	sel    selectFlags
	toSeq  uint64
	dryRun bool
	rate   float64
}

func (f *replayFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	f.sel.register(cmd, flags)
	flags.Uint64Var(&f.toSeq, "to-seq", 0, "up to and with this sequence")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only say for each what would happen")
	flags.Float64Var(&f.rate, "rate", 0, "at most so many per second (default no limit)")
}

// query reads the selection.
func (f *replayFlags) query() (natsjs.Query, error) {
	if f.rate < 0 {
		return natsjs.Query{}, usagef("--rate is %g, and must not be negative", f.rate)
	}
	q, err := f.sel.query()
	q.ToSeq = f.toSeq
	if err == nil && q.ToSeq != 0 && q.FromSeq > q.ToSeq {
		err = usagef("--from-seq %d lies behind --to-seq %d", q.FromSeq, q.ToSeq)
	}
	return q, err
}

// limiter lets through what --rate allows.
func (f *replayFlags) limiter() *rate.Limiter {
	if f.rate == 0 {
		return rate.NewLimiter(rate.Inf, 1)
	}
	return rate.NewLimiter(rate.Limit(f.rate), 1)
}

// stopped is the error of what was interrupted, with how to go on.
func stopped(hint string, args ...any) error {
	return hinted(errors.New("interrupted"), hint, args...)
}

// replaceFile writes v to a file as JSON, so that at any time the old or the new content is there.
func replaceFile(name string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone once it is renamed
	if _, err = f.Write(append(raw, '\n')); err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
