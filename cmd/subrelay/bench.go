package main

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"subrelay/events"
)

// benchFlags say what is measured.
type benchFlags struct {
	kind                                events.Kind
	commands, keys, concurrency, rounds int
	workers, replicas                   int
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
		Long: `Measure subrelay against the floor: the same broker and HTTP operations with the same bytes for each command, written as
plainly as possible, without order, ledger, breaker and checks. Both run in this process, with an embedded NATS server (or
the one that --nats names) over TCP, and an imitation of the upstream over HTTP on the loopback: of TVMS, or with --kind
swap of CRM.COM. subrelay is set as by default: settling, which reads before each call, is off. Floor and subrelay take
turns; figures are medians over the rounds.

For each round all commands are stored first. The clock runs from the moment the first can be delivered to the last
outcome, and each round's effects and records are counted afterwards. Percentiles are from publish to outcome, in a pass
of its own at half the measured rate; its first tenth warms up. Allocations are those of the whole process, the embedded
server, the imitation and both ends of the connections included, so that only their difference is subrelay's.

With --replicas 3 three embedded servers form a cluster, and every stream is kept by each: it shows what replication
costs in messages and flushes, on one machine's processors and disk. With --workers the partitions are shared by so many
workers, and --concurrency too: it shows what sharing costs, since here they have no more processors than one has. The
clock then begins when each has its share. The floor is one reader of all partitions, whatever --workers says.

Only ratios of one run can be compared with those of another machine. --nats leaves nothing behind: it works on streams
under a prefix of its own. With --memory the memory of a worker and of the server, each in a process of its own, is
measured instead, with every command for another customer: first while the upstream is down and all commands wait, then
when they are done and remembered.`,
		Example: `  subrelay bench
  subrelay bench --latency 20ms --concurrency 64 --sync default
  subrelay bench --replicas 3 --workers 3 --sync always
  subrelay bench --nats nats://n1:4222,nats://n2:4222,nats://n3:4222 --replicas 3
  subrelay bench --kind swap
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
			} else if f.replicas == 0 {
				f.replicas = 1
			}
			return c.bench(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar((*string)(&f.kind), "kind", string(events.Renew), "what is measured: renew (TVMS) or swap (CRM.COM)")
	flags.IntVar(&f.commands, "commands", 10_000, "commands of each round; with --memory 100000")
	flags.IntVar(&f.keys, "keys", 2000, "customers they are for, in turn")
	flags.IntVar(&f.concurrency, "concurrency", 64, "calls at the same time, of the floor as of subrelay")
	flags.IntVar(&f.rounds, "rounds", 5, "rounds of each")
	flags.IntVar(&f.workers, "workers", 1, "workers that share the partitions and the concurrency, in this process")
	flags.IntVar(&f.replicas, "replicas", 0, "replicas of every stream: 1, or 3 on three embedded servers (default 1; with --nats what the configuration says)")
	flags.DurationVar(&f.latency, "latency", 0, "how long the imitation takes for a call; the share of concurrency/latency that is reached is printed too")
	flags.StringVar(&f.sync, "sync", benchSyncBoth, "when the embedded server flushes to the disk: default (every 2 minutes), always (before each acknowledgement), or both in turn")
	flags.BoolVar(&f.memory, "memory", false, "measure a worker's memory instead")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "show what the workers log")
	_ = cmd.RegisterFlagCompletionFunc("sync", cobra.FixedCompletions(
		[]cobra.Completion{benchSyncBoth, benchSyncDefault, benchSyncAlways}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(
		[]cobra.Completion{string(events.Renew), string(events.Swap)}, cobra.ShellCompDirectiveNoFileComp))
	cmd.AddCommand(newBenchServerCommand(c))
	return cmd
}

func (f *benchFlags) check() error {
	_, known := benchKinds()[f.kind]
	switch {
	case !known:
		return usagef("--kind is %q, and must be renew or swap", f.kind)
	case f.memory && f.kind != events.Renew:
		return usagef("--memory measures renewals only")
	case f.commands < 100:
		return usagef("--commands is %d, and must be 100 at least", f.commands)
	case f.keys < 1 || f.concurrency < 1 || f.rounds < 1:
		return usagef("--keys, --concurrency and --rounds must be 1 at least")
	case f.workers < 1 || f.workers > f.concurrency:
		return usagef("--workers is %d, and must be 1 to --concurrency, %d", f.workers, f.concurrency)
	case f.sync != benchSyncServer && f.replicas != 1 && f.replicas != 3:
		return usagef("--replicas is %d, and must be 1 or 3", f.replicas)
	case f.memory && (f.workers != 1 || f.replicas != 1):
		return usagef("--memory measures one worker on one server")
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
