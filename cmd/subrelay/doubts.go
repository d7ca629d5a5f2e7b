package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

func newDoubtsCommand(c *cli) *cobra.Command {
	list := newDoubtsListCommand(c)
	cmd := &cobra.Command{
		Use:   "doubts",
		Short: "List, show and resolve commands in doubt",
		Long: `A command is in doubt when its effect may have happened and nothing could tell: a reply was lost, or the worker that
made the call. subrelay never guesses, and never repeats such a call. Somebody looks at the upstream, and writes down the
truth with 'doubts resolve'. Until then later renewals and charges of the key go on; a doubt of any other kind holds its
key. Alone, 'doubts' lists.`,
		Example: `  subrelay doubts list
  subrelay doubts show 3r5kq2v7n4x6z7c2b5m8a4w9dh
  subrelay doubts resolve 3r5kq2v7n4x6z7c2b5m8a4w9dh --applied --by anna --reason "TVMS shows the new date"`,
		Args: cobra.ArbitraryArgs,
		RunE: orList(list),
	}
	cmd.AddCommand(list, newDoubtsShowCommand(c), newDoubtsResolveCommand(c))
	return cmd
}

// registerSome registers only the named of the flags that select.
func (f *selectFlags) registerSome(cmd *cobra.Command, names ...string) {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.register(cmd, all)
	for _, name := range names {
		cmd.Flags().AddFlag(all.Lookup(name))
	}
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(kindNames(), cobra.ShellCompDirectiveNoFileComp))
}

func newDoubtsListCommand(c *cli) *cobra.Command {
	var f selectFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the commands that are in doubt, oldest first",
		Long: `List the commands that are in doubt now, oldest first: since when, for whom, why, what was read before the call where
that is configured, and what to do next.`,
		Example: `  subrelay doubts list
  subrelay doubts list --kind renew --since 24h
  subrelay doubts list -o json | jq -r .cid > doubts.txt`,
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := f.query()
			if err != nil {
				return err
			}
			return c.listDoubts(cmd.Context(), q)
		},
	}
	f.registerSome(cmd, "kind", "key", "since", "until", "limit")
	return cmd
}

// doubtLine is what is said of a command in doubt.
type doubtLine struct {
	events.Ref
	Record     uint64          `json:"record"` // the sequence of the in_doubt record
	Attempt    int             `json:"attempt"`
	Since      time.Time       `json:"in_doubt_since"`
	AgeSeconds int64           `json:"age_seconds"`
	Why        *events.Failure `json:"why,omitempty"`
	Worker     string          `json:"worker,omitempty"`
	ReadBefore json.RawMessage `json:"read_before,omitempty"` // the state before the call and the target, where they were read
	Next       string          `json:"next"`
}

// doubtRow is a row of doubts, printed one by one: an incident can leave more than a table can hold.
const doubtRow = "%-20s  %8s  %-19s  %-20s  %3s  %-26s  %s"

func (c *cli) listDoubts(ctx context.Context, q natsjs.Query) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	n := 0
	err = cl.eachDoubt(ctx, q, func(d doubtLine) error {
		n++
		if c.wantJSON {
			return c.printJSON(d)
		}
		if n == 1 {
			if err := c.printLine(doubtRow, "IN DOUBT SINCE", "AGE", "KIND", "KEY", "TRY", "CID", "WHY"); err != nil {
				return err
			}
		}
		return c.printDoubt(d)
	})
	if err != nil || c.wantJSON {
		return err
	}
	if n == 0 {
		return c.printLine("nothing is in doubt")
	}
	return c.printLine("\n%s in doubt. Look each up at its upstream, then: subrelay doubts resolve CID --applied|--not-applied --by NAME --reason TEXT",
		count(n, "command is", "commands are"))
}

func (c *cli) printDoubt(d doubtLine) error {
	why := ""
	if d.Why != nil {
		why = d.Why.Code + ": " + d.Why.Message
	}
	if err := c.printLine(doubtRow, d.Since.UTC().Format(time.RFC3339), ageOf(d.Since), d.Kind, plain(d.Key), fmt.Sprint(d.Attempt), d.CID, plain(why)); err != nil {
		return err
	}
	if len(d.ReadBefore) > 0 {
		return c.printLine("%20s  read before the call: %s", "", plain(string(d.ReadBefore)))
	}
	return nil
}

// ageOf is how long ago, in the two largest units.
func ageOf(t time.Time) string {
	d := time.Since(t)
	switch {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return d.Truncate(time.Second).String()
}

// doubtsAtOnce is how many histories are read, or verbs done, at once.
const doubtsAtOnce = 16

// eachDoubt calls fn for each command in doubt, oldest first, with what its history says.
func (cl *client) eachDoubt(ctx context.Context, q natsjs.Query, fn func(doubtLine) error) error {
	const chunk = 16 * doubtsAtOnce
	var held []events.Record
	flush := func() error {
		lines := make([]doubtLine, len(held))
		group, groupCtx := errgroup.WithContext(ctx)
		group.SetLimit(doubtsAtOnce)
		for i, r := range held {
			group.Go(func() (err error) {
				lines[i], err = cl.doubt(groupCtx, r)
				return err
			})
		}
		held = held[:0]
		if err := group.Wait(); err != nil {
			return err
		}
		for _, l := range lines {
			if err := fn(l); err != nil {
				return err
			}
		}
		return nil
	}
	for r, err := range cl.outcomes.Doubts(ctx, q) {
		if err != nil {
			return err
		}
		if held = append(held, r); len(held) == chunk {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// doubt tells of a command in doubt, r being its in_doubt record.
func (cl *client) doubt(ctx context.Context, r events.Record) (doubtLine, error) {
	token, err := events.KeyToken(r.Command.Key)
	if err != nil {
		return doubtLine{}, err
	}
	started, err := cl.outcomes.LastOf(ctx, r.Command.Kind, events.Started, token, r.Command.CID) // which the doubt follows
	if started == nil || err != nil {
		return doubtOf(nil, r), err
	}
	return doubtOf(events.History{*started}, r), nil
}

// doubtOf tells of the doubt that r says, which stands in h.
func doubtOf(h events.History, r events.Record) doubtLine {
	d := doubtLine{
		Ref: r.Command, Record: r.Seq, Attempt: r.Attempt, Since: r.Time(),
		AgeSeconds: int64(time.Since(r.Time()).Seconds()), Why: r.Error,
	}
	for _, s := range h {
		if s.Status == events.Started && s.Attempt == r.Attempt && s.Start != nil {
			d.Worker, d.ReadBefore = s.Start.Worker, s.Start.Settle
		}
	}
	d.Next = nextForDoubt(r, d.ReadBefore)
	return d
}

// nextForDoubt is what to do about a doubt. before is the state before the call and the target, where they were read.
func nextForDoubt(r events.Record, before json.RawMessage) string {
	var p struct{ Before, Target time.Time }
	if json.Unmarshal(before, &p) == nil && !p.Target.IsZero() {
		return fmt.Sprintf("look up %s at %s: if it stands at %s, resolve it with --applied; if still at %s, with --not-applied; mind other changes since",
			r.Command.Key, r.Upstream, p.Target.UTC().Format(time.RFC3339), p.Before.UTC().Format(time.RFC3339))
	}
	next := fmt.Sprintf("find out at %s whether %s was done for %s at %s", r.Upstream, r.Command.Kind, r.Command.Key, stamp(*startedAt(r)))
	var sent struct{ Reference string }
	if json.Unmarshal(before, &sent) == nil && sent.Reference != "" {
		next += ", under the reference " + sent.Reference
	}
	next += ", then resolve it with --applied or --not-applied"
	if spec, ok := events.SpecOf(events.Specs(), r.Command.Kind); ok && spec.HoldsAfterDoubt {
		next += fmt.Sprintf("; until then the later commands of %s wait", r.Command.Key)
	}
	return next
}

func startedAt(r events.Record) *time.Time {
	if r.StartedAt != nil {
		return r.StartedAt
	}
	t := r.Time()
	return &t
}
