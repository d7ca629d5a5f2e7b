package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"subrelay/events"
)

func newDoubtsShowCommand(c *cli) *cobra.Command {
	var f idFlags
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show what is known of a command in doubt, and what to do",
		Long: `Show everything that can help to find out the truth about a command in doubt: its history, what was read before the
call, the command itself, later commands of its key, and what to do. ID is a cid, or the event's id with --source.`,
		Example: `  subrelay doubts show 3r5kq2v7n4x6z7c2b5m8a4w9dh
  subrelay doubts show invoice-2026-0815 --source billing --key C-10042 -o json`,
		Args: wantArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args[0]); err != nil {
				return err
			}
			return c.showDoubt(cmd.Context(), args[0], f)
		},
	}
	f.register(cmd.Flags())
	c.registerReveal(cmd.Flags())
	return cmd
}

// doubtDossier is what `doubts show` prints.
type doubtDossier struct {
	dossier
	Doubt doubtLine      `json:"doubt"`
	Later []laterCommand `json:"later_commands"`
}

func (c *cli) showDoubt(ctx context.Context, id string, f idFlags) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	known, err := cl.find(ctx, id, f)
	if err != nil {
		return err
	}
	last := known.history.Last()
	if last == nil || last.Status != events.InDoubt {
		return hinted(fmt.Errorf("command %s is not in doubt: %s", known.ref.CID, standing(last)), "'subrelay show %s' tells its history", known.ref.CID)
	}
	d := doubtDossier{Doubt: doubtOf(known.history, *last), Later: []laterCommand{}}
	if d.dossier, err = cl.dossier(ctx, known); err != nil {
		return err
	}
	old := rerun{old: last.Command}
	met, err := cl.sight(ctx, []rerun{old}, nil)
	if err != nil {
		return err
	}
	later, err := cl.laterThan(ctx, met, last.Command, 0)
	if err != nil {
		return err
	}
	d.Later = append(d.Later, later...)
	c.shownHistory(d.History)
	if c.wantJSON {
		return c.printJSON(d)
	}
	return c.printDoubtDossier(d)
}

func (c *cli) printDoubtDossier(d doubtDossier) error {
	if err := c.printDossier(d.dossier); err != nil {
		return err
	}
	var rows [][]string
	for _, l := range d.Later {
		rows = append(rows, []string{fmt.Sprint(l.Seq), string(l.Kind), l.ID, l.Status, l.CID})
	}
	if err := c.printLine(""); err != nil {
		return err
	}
	if err := c.printSection("no later command of this key", []string{"LATER", "KIND", "ID", "STATUS", "CID"}, rows); err != nil {
		return err
	}
	if len(d.Doubt.ReadBefore) > 0 {
		if err := c.printLine("read before the call: %s", plain(string(d.Doubt.ReadBefore))); err != nil {
			return err
		}
	}
	return c.printLine(`what to do: %s
  subrelay doubts resolve %[2]s --applied --by NAME --reason TEXT
  subrelay doubts resolve %[2]s --not-applied --by NAME --reason TEXT [--redrive]`, plain(d.Doubt.Next), d.CID)
}

// standing is how a command stands by its last record, for people.
func standing(last *events.Record) string {
	switch {
	case last == nil:
		return "it has no record yet"
	case last.Resolution != nil && last.Status == events.Succeeded:
		return fmt.Sprintf("it was resolved as applied, by %s: %s", last.Resolution.By, last.Resolution.Reason)
	case last.Resolution != nil:
		return fmt.Sprintf("it was resolved as not applied, by %s: %s", last.Resolution.By, last.Resolution.Reason)
	}
	return fmt.Sprintf("its last record says %s", last.Status)
}
