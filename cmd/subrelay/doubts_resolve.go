package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"subrelay/adapters/natsjs"
	"subrelay/events"
	"subrelay/handlers"
)

// resolveFlags are the truth about one or many commands in doubt, and who says it.
type resolveFlags struct {
	id                  idFlags
	applied, notApplied bool
	by                  events.Resolution
	redrive, yes        bool
	from                string
	all                 bool
	sel                 selectFlags // with all
}

func newDoubtsResolveCommand(c *cli) *cobra.Command {
	var f resolveFlags
	cmd := &cobra.Command{
		Use:   "resolve ID | --from FILE | --all",
		Short: "Write down the truth about commands in doubt",
		Long: `Write the truth behind the in_doubt record: with --applied the command has succeeded, with --not-applied it has failed
(code not_applied). Its dead letter is closed. Saying the same again changes nothing; saying the opposite is refused.

--redrive, with --not-applied, publishes the same request as a new command, <id>~1: it runs behind the later commands of
its key, which are listed and must be confirmed first.

Many are resolved by --from FILE, with one ID per line, or by --all with a selection; what is selected is shown and must
be confirmed. Should that be interrupted, repeat it with the same file; what was resolved but not published again is what
'dead list --reason in_doubt' still shows, and 'dead redrive' publishes it.`,
		Example: `  subrelay doubts resolve 3r5kq2v7n4x6z7c2b5m8a4w9dh --applied --by anna --reason "TVMS shows the new date"
  subrelay doubts resolve inv-0815 --source billing --not-applied --by anna --reason "date unchanged" --redrive
  subrelay doubts resolve --from doubts.txt --not-applied --by anna --reason "restored from backup" --redrive --yes
  subrelay doubts resolve --all --kind renew --since 2026-03-01T02:00:00Z --until 2026-03-01T03:00:00Z --applied --by anna --reason "ticket 4711"`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args); err != nil {
				return err
			}
			if err := c.needSomebody(f.yes || !f.redrive && !f.bulk()); err != nil {
				return err
			}
			return c.resolve(cmd.Context(), f, args)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.applied, "applied", false, "the effect has happened")
	flags.BoolVar(&f.notApplied, "not-applied", false, "the effect has not happened")
	flags.StringVar(&f.by.By, "by", "", "who says so")
	flags.StringVar(&f.by.Reason, "reason", "", "how it is known")
	flags.BoolVar(&f.redrive, "redrive", false, "with --not-applied: publish the same request as a new command")
	flags.BoolVar(&f.yes, "yes", false, "confirm beforehand")
	flags.StringVar(&f.from, "from", "", `file of IDs, one per line; "-" is stdin`)
	flags.BoolVar(&f.all, "all", false, "every command in doubt that is selected")
	f.id.register(flags)
	f.sel.registerSome(cmd, "kind", "since", "until", "limit")
	return cmd
}

func (f *resolveFlags) bulk() bool { return f.all || f.from != "" }

// check refuses what makes no sense together.
func (f *resolveFlags) check(args []string) error {
	f.by.By, f.by.Reason, f.sel.key = strings.TrimSpace(f.by.By), strings.TrimSpace(f.by.Reason), f.id.key
	ways := len(args)
	for _, is := range []bool{f.all, f.from != ""} {
		if is {
			ways++
		}
	}
	switch {
	case ways != 1:
		return usagef("which commands? Name one by its ID, or a file of them with --from, or a selection with --all: just one of these")
	case f.applied == f.notApplied:
		return usagef("what is the truth? Say --applied or --not-applied")
	case f.by.By == "" || f.by.Reason == "":
		return usagef("a resolution needs --by NAME and --reason TEXT: it is kept with the outcome")
	case f.redrive && f.applied:
		return usagef("--redrive goes with --not-applied only: what was applied must not run again")
	case !f.all && (len(f.sel.kinds) > 0 || f.sel.since != "" || f.sel.until != "" || f.sel.limit != 0):
		return usagef("--kind, --since, --until and --limit go with --all only")
	case f.from == "-" && !f.yes:
		return usagef("with --from - the answer cannot come from stdin too: confirm with --yes")
	}
	if len(args) == 1 {
		return f.id.check(args[0])
	}
	return nil
}

// resolve resolves one command or many.
func (c *cli) resolve(ctx context.Context, f resolveFlags, args []string) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	records, err := c.toResolve(ctx, cl, f, args)
	if err != nil {
		return err
	}
	if len(records) == 0 {
		return c.nothing("nothing is in doubt that is selected")
	}
	r := &resolving{cli: c, client: cl, flags: f, bulk: f.bulk()}
	if err := r.prepare(ctx, records); err != nil {
		return err
	}
	return r.run(ctx)
}

// nothing says that there is nothing to do; for programs the absence of lines says it.
func (c *cli) nothing(format string, args ...any) error {
	if c.wantJSON {
		return nil
	}
	return c.printLine(format, args...)
}

// toResolve is the last record of each command meant.
func (c *cli) toResolve(ctx context.Context, cl *client, f resolveFlags, args []string) ([]events.Record, error) {
	switch {
	case f.all:
		q, err := f.sel.query()
		if err != nil {
			return nil, err
		}
		var all []events.Record
		for r, err := range cl.outcomes.Doubts(ctx, q) {
			if err != nil {
				return nil, err
			}
			all = append(all, r)
		}
		return all, nil
	case f.from != "":
		return c.toResolveFrom(ctx, cl, f)
	}
	known, err := cl.find(ctx, args[0], f.id)
	if err != nil {
		return nil, err
	}
	last := known.history.Last()
	if last == nil {
		return nil, fmt.Errorf("command %s is not in doubt: %s", known.ref.CID, standing(nil))
	}
	return []events.Record{*last}, nil
}

// settle writes the truth behind the last record of a command, and returns what stands there now. repeated says that it
// was written before.
func (cl *client) settle(ctx context.Context, last events.Record, applied bool, by events.Resolution) (r events.Record, repeated bool, err error) {
	for try := 0; ; try++ {
		r, err = handlers.Resolve(ctx, cl.ledger, cl.config.Worker.Source, events.History{last}, applied, by)
		if err == nil {
			return r, last.Status != events.InDoubt, nil
		}
		if events.KindOf(err) != events.Conflict || try == 3 {
			break
		}
		if last, err = cl.latest(ctx, last.Command); err != nil {
			return r, false, err
		}
	}
	if events.KindOf(err) == events.Refused && last.Status != events.InDoubt {
		err = hinted(fmt.Errorf("command %s is not in doubt, and nothing was changed: %s", last.Command.CID, standing(&last)),
			"a final outcome never changes; 'subrelay show %s' tells the history", last.Command.CID)
	}
	return last, false, err
}

// latest reads a command's last record anew.
func (cl *client) latest(ctx context.Context, ref events.Ref) (events.Record, error) {
	token, err := events.KeyToken(ref.Key)
	if err != nil {
		return events.Record{}, err
	}
	last, err := cl.outcomes.Last(ctx, token, ref.CID)
	if last == nil && err == nil {
		err = notFound(ref.CID)
	}
	if err != nil {
		return events.Record{}, err
	}
	return *last, nil
}

// What became of a dead letter.
const (
	letterClosed = "closed"
	letterBefore = "closed before"
	letterNone   = "none"
	letterOpen   = "open" // another alarm of the same command keeps it open
)

// closeDoubt closes the dead letter of a doubt that was resolved. A late result of the same command, which is another
// alarm, must not be closed with it.
func (cl *client) closeDoubt(ctx context.Context, seq uint64, by, reason string) (string, error) {
	err := cl.letters.CloseFor(ctx, seq, events.DeadInDoubt, by, reason)
	switch {
	case err == nil:
		return letterClosed, nil
	case isNotFound(err):
		return letterNone, nil
	case events.KindOf(err) == events.Conflict:
		return letterBefore, nil
	case events.KindOf(err) == events.Refused && events.AsError(err).Code == natsjs.CodeOtherOpen:
		return letterOpen, nil
	}
	return "", err
}

// failureText is an error for a line of a batch, its hint included.
func failureText(err error) string {
	var p *problem
	if errors.As(err, &p) && p.hint != "" {
		return p.Error() + " (" + p.hint + ")"
	}
	return err.Error()
}
