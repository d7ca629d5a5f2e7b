package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

func newShowCommand(c *cli) *cobra.Command {
	var f idFlags
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one command's whole history",
		Long: `Show everything that is known of one command: every record of the ledger, its dead letters, and the command itself
where it is still stored, credentials and personal data masked. ID is a cid, or the event's id with --source; --key saves
a search.`,
		Example: `  subrelay show 3r5kq2v7n4x6z7c2b5m8a4w9dh
  subrelay show invoice-2026-0815 --source billing --key C-10042
  subrelay show invoice-2026-0815 --source billing -o json`,
		Args: wantArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args[0]); err != nil {
				return err
			}
			return c.show(cmd.Context(), args[0], f)
		},
	}
	f.register(cmd.Flags())
	c.registerReveal(cmd.Flags())
	return cmd
}

func (c *cli) show(ctx context.Context, id string, f idFlags) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	known, err := cl.find(ctx, id, f)
	if err != nil {
		return err
	}
	d, err := cl.dossier(ctx, known)
	if err != nil {
		return err
	}
	c.shownHistory(d.History)
	if c.wantJSON {
		return c.printJSON(d)
	}
	return c.printDossier(d)
}

// dossier is all that is known of one command.
type dossier struct {
	events.Ref
	Status      string           `json:"status"`            // of the last record, or "waiting"
	HeldBy      []string         `json:"held_by,omitempty"` // the cids of commands in doubt that it waits for
	History     []historyEntry   `json:"history"`
	DeadLetters []letterEntry    `json:"dead_letters"`
	Commands    []storedDocument `json:"commands"` // as stored; more than one where it was sent more than once
}

// historyEntry is one record of the ledger.
type historyEntry struct {
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time"` // when the record was made
	events.Outcome
}

// letterEntry is one dead letter.
type letterEntry struct {
	Seq     uint64         `json:"seq"`
	Command uint64         `json:"command"` // the sequence of the command
	Time    time.Time      `json:"time"`
	Reason  events.Reason  `json:"reason"`
	Error   events.Failure `json:"error"`
	Closed  string         `json:"closed,omitempty"` // by whom, and why
}

// storedDocument is a command's message.
type storedDocument struct {
	Seq    uint64              `json:"seq"`
	Stored time.Time           `json:"stored"`
	Header map[string][]string `json:"header,omitempty"`
	Data   json.RawMessage     `json:"data"`
}

const statusWaiting = "waiting" // not started

// dossier collects everything about a command that was found.
func (cl *client) dossier(ctx context.Context, k found) (dossier, error) {
	d := dossier{Ref: k.ref, Status: statusWaiting, History: []historyEntry{}, DeadLetters: []letterEntry{}, Commands: []storedDocument{}}
	for _, r := range k.history {
		d.Ref, d.Status = r.Command, string(r.Status)
		d.History = append(d.History, historyEntry{Seq: r.Seq, Time: r.Time(), Outcome: r.Outcome})
	}
	for _, m := range k.messages {
		d.Commands = append(d.Commands, storedDocument{Seq: m.Seq, Stored: m.Time, Header: natsjs.MaskHeader(m.Header), Data: document(m.Data)})
	}
	for _, seq := range k.sequences() {
		letters, err := cl.letters.Get(ctx, seq)
		if err != nil && events.KindOf(err) != events.Refused {
			return d, err
		}
		for _, l := range letters {
			e := letterEntry{Seq: l.Seq, Command: l.Command, Time: l.Time, Reason: l.Reason, Error: l.Error}
			if l.Closed != nil {
				e.Closed = l.Closed.By + ": " + l.Closed.Reason
			}
			d.DeadLetters = append(d.DeadLetters, e)
		}
	}
	if d.Status == statusWaiting && len(d.DeadLetters) == 0 {
		var err error
		if d.HeldBy, err = cl.heldBy(ctx, d.Ref); err != nil {
			return d, err
		}
	}
	return d, nil
}

// heldBy is the commands in doubt that hold the key of one that waits.
func (cl *client) heldBy(ctx context.Context, waiting events.Ref) (cids []string, err error) {
	own, _ := events.SpecOf(events.Specs(), waiting.Kind)
	for r, err := range cl.outcomes.Doubts(ctx, natsjs.Query{Key: waiting.Key}) {
		if err != nil {
			return nil, err
		}
		spec, _ := events.SpecOf(events.Specs(), r.Command.Kind)
		if spec.HoldsAfterDoubt && spec.Upstream == own.Upstream {
			cids = append(cids, r.Command.CID)
		}
	}
	return cids, nil
}

// document is a message's body as JSON, masked; a string where it is none.
func document(data []byte) json.RawMessage {
	masked := events.Mask(data)
	if json.Valid(masked) {
		return masked
	}
	text, _ := json.Marshal(string(masked)) // a string can always be written
	return text
}

// printDossier prints what is known for people.
func (c *cli) printDossier(d dossier) error {
	if err := c.printLine("%s  %s %s\nid      %s\nsource  %s\ncid     %s\n", d.Status, d.Kind, plain(d.Key), plain(d.ID), plain(d.Source), d.CID); err != nil {
		return err
	}
	var rows [][]string
	for _, h := range d.History {
		rows = append(rows, []string{strconv.FormatUint(h.Seq, 10), stamp(h.Time), string(h.Status), strconv.Itoa(h.Attempt), detailOf(&h.Outcome)})
	}
	if err := c.printSection("no record: it has not been started", []string{"SEQ", "TIME", "STATUS", "TRY", "DETAIL"}, rows); err != nil {
		return err
	}
	for _, cid := range d.HeldBy {
		if err := c.printLine("it waits until %s, which is in doubt, is resolved: 'subrelay doubts show %[1]s'\n", cid); err != nil {
			return err
		}
	}
	rows = nil
	for _, l := range d.DeadLetters {
		rows = append(rows, []string{strconv.FormatUint(l.Command, 10), stamp(l.Time), string(l.Reason), l.Error.Code + ": " + l.Error.Message, l.Closed})
	}
	if err := c.printSection("no dead letters", []string{"COMMAND", "TIME", "DEAD LETTER", "DETAIL", "CLOSED"}, rows); err != nil {
		return err
	}
	for _, m := range d.Commands {
		if err := c.printLine("command %d, stored %s:\n%s", m.Seq, stamp(m.Stored), plain(string(m.Data))); err != nil {
			return err
		}
	}
	if len(d.Commands) == 0 {
		return c.printLine("the command itself is no longer stored")
	}
	return nil
}

// printSection prints a table and an empty line, or in place of an empty table what that means.
func (c *cli) printSection(none string, header []string, rows [][]string) error {
	if len(rows) == 0 {
		return c.printLine("%s\n", none)
	}
	if err := c.printTable(header, rows); err != nil {
		return err
	}
	return c.printLine("")
}

func notFound(id string) error {
	return hinted(fmt.Errorf("no command %s is known", id),
		"an event's id needs --source; outcomes are remembered for streams.outcomes_max_age, commands for streams.commands_keep")
}
