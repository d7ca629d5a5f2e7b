package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

func newDeadCommand(c *cli) *cobra.Command {
	list := newDeadListCommand(c)
	cmd := &cobra.Command{
		Use:   "dead",
		Short: "List, show, redrive and close dead letters",
		Long: `A dead letter is a command that can never run, or was given up: the original, with credentials and personal data
masked, and why. It stays open until somebody has looked at it: 'dead redrive' runs the command again as a new one and
closes the letter, 'dead close' closes it. SEQ is the command's sequence in the command stream, by which letters are
listed. Alone, 'dead' lists.`,
		Example: `  subrelay dead list
  subrelay dead show 4711
  subrelay dead redrive 4711 4712 --by anna
  subrelay dead close 4713 --by anna --reason "billing has sent it again"`,
		Args: cobra.ArbitraryArgs,
		RunE: orList(list),
	}
	cmd.AddCommand(list, newDeadShowCommand(c), newDeadRedriveCommand(c), newDeadCloseCommand(c))
	return cmd
}

// deadListFlags select dead letters.
type deadListFlags struct {
	sel    selectFlags
	reason string
	all    bool
}

func newDeadListCommand(c *cli) *cobra.Command {
	var f deadListFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List open dead letters, oldest first",
		Example: `  subrelay dead list
  subrelay dead list --reason exhausted --since 24h
  subrelay dead list --key C-10042 --all -o json`,
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.listDead(cmd.Context(), f) },
	}
	f.sel.registerSome(cmd, "since", "until", "kind", "key", "limit")
	cmd.Flags().StringVar(&f.reason, "reason", "", "only this reason")
	cmd.Flags().BoolVar(&f.all, "all", false, "closed ones too")
	_ = cmd.RegisterFlagCompletionFunc("reason", cobra.FixedCompletions(reasonNames(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func reasonNames() []string {
	var names []string
	for _, r := range events.Reasons() {
		names = append(names, string(r))
	}
	return names
}

// deadLine is what is said of a dead letter.
type deadLine struct {
	Seq        uint64          `json:"seq"`    // of the command
	Letter     uint64          `json:"letter"` // its own sequence
	Reason     events.Reason   `json:"reason"`
	Kind       events.Kind     `json:"kind,omitempty"`
	Key        string          `json:"key,omitempty"` // uncoded
	CID        string          `json:"cid,omitempty"`
	Time       time.Time       `json:"time"`
	AgeSeconds int64           `json:"age_seconds"`
	Error      events.Failure  `json:"error"`
	Closed     *natsjs.Closing `json:"closed,omitempty"`
	Next       string          `json:"next,omitempty"`
}

func deadLineOf(l natsjs.Letter) deadLine {
	d := deadLine{
		Seq: l.Command, Letter: l.Seq, Reason: l.Reason, Kind: l.Kind, Key: l.Key, CID: l.CID, Time: l.Time,
		AgeSeconds: int64(time.Since(l.Time).Seconds()), Error: l.Error, Closed: l.Closed,
	}
	if key, err := events.KeyOfToken(l.Key); err == nil {
		d.Key = key
	}
	if l.Closed == nil {
		d.Next = nextForDead(l.Reason)
	}
	return d
}

// nextForDead is what to do about an open dead letter.
func nextForDead(r events.Reason) string {
	switch r {
	case events.DeadExhausted:
		return "nothing happened; when the upstream takes it, redrive it"
	case events.DeadRefused:
		return "the upstream refused it and nothing happened; mend the customer there, or the command with --file, and redrive it; or close it"
	case events.DeadInvalid:
		return "nothing happened; redrive it with --file FIXED.json, or let billing send it again under a new id and close it"
	case events.DeadInDoubt:
		return "find out the truth and write it down with 'doubts resolve', which closes this"
	case events.DeadIDReused:
		return "it has not run; where both were meant, send it under an id of its own with --file; else close it"
	case events.DeadStale:
		return "whether it was done once, nobody can know; look at the upstream, then send it with a corrected time with --file, or close it"
	case events.DeadLateResult:
		return "an effect is certain that the outcome denies: set it right at the upstream or in billing, then close it"
	case events.DeadUndecodable, events.DeadUnknownType, events.DeadSubjectMismatch:
		return "it has not run; mend it and redrive it with --file FIXED.json, or let billing send it again, and close it"
	}
	return ""
}

const deadRow = "%8s  %-16s  %8s  %-19s  %-20s  %-26s  %s"

func (c *cli) listDead(ctx context.Context, f deadListFlags) error {
	want, err := f.sel.query()
	if err != nil {
		return err
	}
	if f.reason != "" {
		if _, err := parseReason(f.reason); err != nil {
			return err
		}
	}
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	n := 0
	q := natsjs.DeadQuery{Reason: events.Reason(f.reason), Since: want.Since, OpenOnly: !f.all}
	err = cl.letters.List(ctx, q, func(l natsjs.Letter) error {
		d := deadLineOf(l)
		if !selects(want, d) {
			return nil
		}
		n++
		if err := c.printDead(d, n == 1); err != nil {
			return err
		}
		if n == want.Limit {
			return errEnough
		}
		return nil
	})
	switch {
	case err != nil && !errors.Is(err, errEnough):
		return err
	case n == 0:
		return c.nothing("no open dead letter that is selected")
	}
	return c.nothing("\n'subrelay dead show SEQ' tells more, and what to do")
}

var errEnough = errors.New("enough")

// selects reports whether the letter is one of those wanted, by kind, key and end.
func selects(q natsjs.Query, d deadLine) bool {
	if !q.Until.IsZero() && !d.Time.Before(q.Until) || q.Key != "" && q.Key != d.Key {
		return false
	}
	for _, kind := range q.Kinds {
		if kind == d.Kind {
			return true
		}
	}
	return len(q.Kinds) == 0
}

func (c *cli) printDead(d deadLine, first bool) error {
	if c.wantJSON {
		return c.printJSON(d)
	}
	if first {
		if err := c.printLine(deadRow, "SEQ", "REASON", "AGE", "KIND", "KEY", "CID", "DETAIL"); err != nil {
			return err
		}
	}
	detail := d.Error.Code + ": " + d.Error.Message
	if d.Closed != nil {
		detail = fmt.Sprintf("closed by %s: %s", d.Closed.By, d.Closed.Reason)
	}
	return c.printLine(deadRow, strconv.FormatUint(d.Seq, 10), d.Reason, ageOf(d.Time), d.Kind, plain(d.Key), d.CID, plain(detail))
}

func parseReason(text string) (events.Reason, error) {
	for _, r := range events.Reasons() {
		if string(r) == text {
			return r, nil
		}
	}
	if near := nearest(text, reasonNames()); near != "" {
		return "", usagef("there is no reason %q; did you mean %s?", text, near)
	}
	return "", usagef("there is no reason %q; known: %s", text, joined(reasonNames()))
}

// parseSeqs reads sequences of commands.
func parseSeqs(args []string) ([]uint64, error) {
	if len(args) == 0 {
		return nil, usagef("missing: SEQ")
	}
	var all []uint64
	for _, a := range args {
		seq, err := strconv.ParseUint(a, 10, 64)
		if err != nil || seq == 0 {
			return nil, usagef("%q is no sequence of a command, as 'dead list' shows them", a)
		}
		all = append(all, seq)
	}
	return all, nil
}
