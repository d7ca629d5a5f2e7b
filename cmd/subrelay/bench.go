package main

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

// benchFlags say what is measured.
type benchFlags struct {
	commands, keys, concurrency, rounds int
	latency                             time.Duration
	sync                                string
	memory, verbose                     bool
}

// The values of --sync. benchSyncServer stands for a given server, which syncs as it is configured.
const (
	benchSyncBoth    = "both"
	benchSyncDefault = "default"
	benchSyncAlways  = "always"
	benchSyncServer  = "server"
)

func newBenchCommand(c *cli) *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure throughput and latency against the bare floor, in one run",
		Long: `Measure subrelay, with everything it does switched on, against the floor: the same broker and HTTP operations with the
same bytes for each command, written as plainly as possible, without order, ledger, breaker and checks. Both run in this
process, with an embedded NATS server (or the one that --nats names) over TCP, and an imitation of TVMS over HTTP on the
loopback. Floor and subrelay take turns; figures are medians over the rounds.

For each round all commands are stored first. The clock runs from the moment the first can be delivered to the last
outcome, and each round's effects and records are counted afterwards. Percentiles are from publish to outcome, in a pass
of its own at half the measured rate; its first tenth warms up. Allocations are those of the whole process, the embedded
server, the imitation and both ends of the connections included, so that only their difference is subrelay's.

Only ratios of one run can be compared with those of another machine. --nats leaves nothing behind: it works on streams
under a prefix of its own. With --memory the memory of a worker process is measured instead, while its upstream is down
and every command waits, each of another customer, on a server in a process of its own.`,
		Example: `  subrelay bench
  subrelay bench --latency 20ms --concurrency 64 --sync default
  subrelay bench --commands 500 --rounds 1 -o json
  subrelay bench --memory`,
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.memory && !cmd.Flags().Changed("commands") {
				f.commands = benchMemoryCommands
			}
			if c.natsURL != "" {
				if cmd.Flags().Changed("sync") || f.memory {
					return usagef("--sync and --memory are for servers of our own, and --nats names another")
				}
				f.sync = benchSyncServer
			}
			return c.bench(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.commands, "commands", 10_000, "commands of each round; with --memory 100000")
	flags.IntVar(&f.keys, "keys", 2000, "customers they are for, in turn")
	flags.IntVar(&f.concurrency, "concurrency", 64, "calls at the same time, of the floor as of subrelay")
	flags.IntVar(&f.rounds, "rounds", 5, "rounds of each")
	flags.DurationVar(&f.latency, "latency", 0, "how long the imitation takes for a call; the share of concurrency/latency that is reached is printed too")
	flags.StringVar(&f.sync, "sync", benchSyncBoth, "when the embedded server flushes to the disk: default (every 2 minutes), always (before each acknowledgement), or both in turn")
	flags.BoolVar(&f.memory, "memory", false, "measure a worker's memory instead")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "show what the workers log")
	_ = cmd.RegisterFlagCompletionFunc("sync", cobra.FixedCompletions(
		[]cobra.Completion{benchSyncBoth, benchSyncDefault, benchSyncAlways}, cobra.ShellCompDirectiveNoFileComp))
	cmd.AddCommand(newBenchServerCommand(c))
	return cmd
}

func (f *benchFlags) check() error {
	switch {
	case f.commands < 100:
		return usagef("--commands is %d, and must be 100 at least", f.commands)
	case f.keys < 1 || f.concurrency < 1 || f.rounds < 1:
		return usagef("--keys, --concurrency and --rounds must be 1 at least")
	case f.latency < 0:
		return usagef("--latency must not be negative")
	case !slices.Contains([]string{benchSyncBoth, benchSyncDefault, benchSyncAlways, benchSyncServer}, f.sync):
		return usagef("--sync is %q, and must be default, always or both", f.sync)
	}
	return nil
}

// modes are the ways of flushing to measure with, in turn.
func (f *benchFlags) modes() []string {
	if f.sync == benchSyncBoth {
		return []string{benchSyncDefault, benchSyncAlways}
	}
	return []string{f.sync}
}

func (c *cli) bench(ctx context.Context, f benchFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	if f.verbose {
		log = c.logger(LogConfig{Format: logText})
	}
	if f.memory {
		return c.benchMemory(ctx, f, log)
	}
	tell := c.newNarrator(time.Now())
	result := newBenchResult(f)
	for _, sync := range f.modes() {
		mode, err := c.benchMode(ctx, f, sync, tell, log)
		if err != nil {
			return err
		}
		result.Modes = append(result.Modes, mode)
	}
	result.benchMode = result.Modes[0]
	if c.wantJSON {
		return c.printJSON(result)
	}
	return c.benchTables(result)
}

// benchMode runs every round of one way of flushing, and the paced pass.
func (c *cli) benchMode(ctx context.Context, f benchFlags, sync string, tell *narrator, log *slog.Logger) (benchMode, error) {
	stage, err := c.newBenchStage(ctx, f, sync, log)
	if err != nil {
		return benchMode{}, err
	}
	defer stage.close()
	tell.sayf("fsync %s: warming up", sync)
	if err := stage.warmUp(ctx); err != nil {
		return benchMode{}, err
	}
	var floor, self []benchRound
	for n := range f.rounds {
		first, second := stage.floor, stage.self
		if n%2 == 1 { // so that neither is always the one that comes after
			first, second = second, first
		}
		a, err := first(ctx, f.commands)
		if err != nil {
			return benchMode{}, err
		}
		b, err := second(ctx, f.commands)
		if err != nil {
			return benchMode{}, err
		}
		if n%2 == 1 {
			a, b = b, a
		}
		floor, self = append(floor, a), append(self, b)
		tell.sayf("fsync %s, round %d of %d: floor %.0f/s, subrelay %.0f/s (%.2f)", sync, n+1, f.rounds, a.Rate, b.Rate, b.Rate/a.Rate)
	}
	mode := summary(sync, floor, self)
	if f.latency > 0 {
		mode.TheoryPerSecond = float64(f.concurrency) / f.latency.Seconds()
		mode.ShareOfTheory = mode.Rate / mode.TheoryPerSecond
	}
	mode.PacedPerSecond = mode.Rate / 2
	tell.sayf("fsync %s: latency at %.0f/s", sync, mode.PacedPerSecond)
	latency, err := stage.pace(ctx, mode.PacedPerSecond)
	mode.benchLatency = latency
	return mode, err
}

// summary is the medians of rounds.
func summary(sync string, floor, self []benchRound) benchMode {
	m := benchMode{Sync: sync, FloorRounds: floor, Rounds: self}
	m.benchRound = medianOf(self)
	bare := medianOf(floor)
	m.FloorPerSecond, m.FloorAllocs, m.FloorBytes = bare.Rate, bare.Allocs, bare.Bytes
	m.RatioToFloor = m.Rate / bare.Rate
	return m
}

// medianOf takes the median of each figure by itself.
func medianOf(rounds []benchRound) benchRound {
	of := func(get func(benchRound) float64) float64 {
		all := make([]float64, len(rounds))
		for i, r := range rounds {
			all[i] = get(r)
		}
		slices.SortFunc(all, cmp.Compare[float64])
		n := len(all)
		return (all[(n-1)/2] + all[n/2]) / 2
	}
	return benchRound{
		Rate:   of(func(r benchRound) float64 { return r.Rate }),
		Allocs: of(func(r benchRound) float64 { return r.Allocs }),
		Bytes:  of(func(r benchRound) float64 { return r.Bytes }),
	}
}
