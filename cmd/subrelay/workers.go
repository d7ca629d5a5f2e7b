package main

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"subrelay/adapters/natsjs"
)

func newWorkersCommand(c *cli) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "workers",
		Short: "Show who works, who owns which partitions, and what waits",
		Long: `Show the workers that are there, and for each upstream that one serves: its breaker, the partitions that it owns (and
those it is due to get, or to give away, where that differs), how many commands it was given and has not finished, calls
under way and how many it may make at a time, its share of the rate, the key that most of its commands wait for, and the
command that waits longest. Then for each upstream what waits in all, as NATS counts it: not delivered to any worker yet, and delivered but not finished. Last, what
somebody should look at: partitions that nobody owns or that deliver nothing, open breakers, a partition whose window is
full. A partition that delivers nothing, because its consumer is not as it must be, counts as owned by nobody.

A worker tells this every second, and is gone 3 seconds after it last did. One of a version before this command is shown
without what it does not tell.

With -o json there is one object per worker, and then one per upstream.`,
		Example: `  subrelay workers
  subrelay workers --watch
  subrelay workers -o json | jq -c 'select(.unowned_backlog > 0)'`,
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.workers(cmd.Context(), watch) },
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again every 2 seconds, until interrupted; an error later than the first time is told, and passed over")
	return cmd
}

// workersEvery is the pause of --watch.
const workersEvery = 2 * time.Second

func (c *cli) workers(ctx context.Context, watch bool) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	for shown := false; ; {
		o, err := cl.overview(ctx)
		switch {
		case err == nil:
			shown = true
			if err := c.printOverview(o, watch); err != nil || !watch {
				return err
			}
		case !shown || ctx.Err() != nil:
			return endedOrErr(ctx, watch, err)
		default: // whoever watches a bad night wants to see its end
			c.report("subrelay workers", err)
		}
		if !sleep(ctx, workersEvery) {
			return nil
		}
	}
}

// endedOrErr is nil where somebody has interrupted the watching.
func endedOrErr(ctx context.Context, watch bool, err error) error {
	if watch && ctx.Err() != nil {
		return nil
	}
	return err
}

// overview reads who works and what waits.
func (cl *client) overview(ctx context.Context) (overview, error) {
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	entries, err := natsjs.ReadWorkers(ctx, cl.js, cl.names)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return overview{}, hinted(err, "no worker has ever run here under the prefix %q; is it the right server?", cl.config.Prefix)
	}
	if err != nil {
		return overview{}, err
	}
	backlog, err := natsjs.ReadBacklog(ctx, cl.js, cl.names)
	if err != nil {
		return overview{}, err
	}
	return overviewOf(entries, backlog, time.Now()), nil
}

func (c *cli) printOverview(o overview, watch bool) error {
	if c.wantJSON {
		for _, w := range o.Workers {
			if err := c.printJSON(w); err != nil {
				return err
			}
		}
		for _, u := range o.Upstreams {
			if err := c.printJSON(u); err != nil {
				return err
			}
		}
		return nil
	}
	if watch {
		if err := c.printWatched(o.at); err != nil {
			return err
		}
	}
	return c.printWorkers(o)
}

// printWatched begins the page anew on a terminal, and elsewhere with the time.
func (c *cli) printWatched(at time.Time) error {
	if _, ok := terminalWidth(c.stdout); ok {
		return c.printLine("\x1b[H\x1b[2J%s\n", stamp(at))
	}
	return c.printLine("\n%s\n", stamp(at))
}
