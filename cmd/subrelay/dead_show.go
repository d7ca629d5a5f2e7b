package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

func newDeadShowCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show SEQ",
		Short: "Show the dead letters of one command",
		Long: `Show the dead letters of one command: why, every problem with its JSON pointer, the original with credentials and
personal data masked, its headers, the history where it has an identity, and what to do.`,
		Example: `  subrelay dead show 4711
  subrelay dead show 4711 -o json`,
		Args: wantArgs("SEQ"),
		RunE: func(cmd *cobra.Command, args []string) error {
			seqs, err := parseSeqs(args)
			if err != nil {
				return err
			}
			return c.showDead(cmd.Context(), seqs[0])
		},
	}
	c.registerReveal(cmd.Flags())
	return cmd
}

// deadDossier is all that is known of a dead command.
type deadDossier struct {
	Letters []deadLine `json:"letters"`
	// Header and Data are the original's, masked; Cut is the body's size where they are not whole.
	Header  map[string][]string `json:"header,omitempty"`
	Data    json.RawMessage     `json:"data"`
	Cut     int                 `json:"cut,omitempty"`
	History []historyEntry      `json:"history"`
}

func (c *cli) showDead(ctx context.Context, seq uint64) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	letters, err := cl.lettersOf(ctx, seq)
	if err != nil {
		return err
	}
	first := letters[0]
	d := deadDossier{Header: natsjs.MaskHeader(first.Header), Data: document(first.Data), Cut: first.Cut, History: []historyEntry{}}
	for _, l := range letters {
		d.Letters = append(d.Letters, deadLineOf(l))
	}
	h, err := cl.historyOf(ctx, letters)
	if err != nil {
		return err
	}
	for _, r := range h {
		d.History = append(d.History, historyEntry{Seq: r.Seq, Time: r.Time(), Outcome: r.Outcome})
	}
	c.shownHistory(d.History)
	if c.wantJSON {
		return c.printJSON(d)
	}
	return c.printDeadDossier(d)
}

// lettersOf is every dead letter of a command, or an error that says what to do.
func (cl *client) lettersOf(ctx context.Context, seq uint64) ([]natsjs.Letter, error) {
	letters, err := cl.letters.Get(ctx, seq)
	if isNotFound(err) {
		return nil, hinted(fmt.Errorf("command %d has no dead letter", seq), "SEQ is the command's sequence, as 'dead list --all' shows it")
	}
	return letters, err
}

// historyOf is the history of the command that these letters are about; none where it has no identity.
func (cl *client) historyOf(ctx context.Context, letters []natsjs.Letter) (events.History, error) {
	for _, l := range letters {
		if l.CID != "" && l.Key != "" {
			return cl.ledger.History(ctx, l.Key, l.CID)
		}
	}
	return nil, nil
}

func (c *cli) printDeadDossier(d deadDossier) error {
	for _, l := range d.Letters {
		if err := c.printLine("%s", l.story()); err != nil {
			return err
		}
	}
	var rows [][]string
	for _, h := range d.History {
		rows = append(rows, []string{strconv.FormatUint(h.Seq, 10), stamp(h.Time), string(h.Status), strconv.Itoa(h.Attempt), detailOf(&h.Outcome)})
	}
	if err := c.printSection("no record in the ledger", []string{"SEQ", "TIME", "STATUS", "TRY", "DETAIL"}, rows); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(d.Header)) {
		if err := c.printLine("%s", plain(name+": "+strings.Join(d.Header[name], ", "))); err != nil {
			return err
		}
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, d.Data, "", "  "); err != nil {
		return err
	}
	if err := c.printLine("\n%s", plainLines(pretty.String())); err != nil || d.Cut == 0 {
		return err
	}
	return c.printLine("(cut: the original has %d bytes)", d.Cut)
}

// plainLines is plain for text of several lines.
func plainLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = plain(lines[i])
	}
	return strings.Join(lines, "\n")
}

// story tells of one letter for people.
func (d deadLine) story() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  command %d  %s %s", d.Reason, d.Seq, d.Kind, plain(d.Key))
	if d.CID != "" {
		fmt.Fprintf(&b, "  cid %s", d.CID)
	}
	fmt.Fprintf(&b, "\n  %s ago, %s\n  %s: %s\n", ageOf(d.Time), stamp(d.Time), d.Error.Code, plain(d.Error.Message))
	for _, p := range d.Error.Problems {
		fmt.Fprintf(&b, "  - %s\n", plain(p))
	}
	if d.Closed != nil {
		fmt.Fprintf(&b, "  closed by %s at %s: %s\n", d.Closed.By, stamp(d.Closed.Time), plain(d.Closed.Reason))
	}
	if d.Next != "" {
		fmt.Fprintf(&b, "  what to do: %s\n", d.Next)
	}
	return b.String()
}
