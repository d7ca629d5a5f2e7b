package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

func newDeadCloseCommand(c *cli) *cobra.Command {
	var by events.Resolution
	cmd := &cobra.Command{
		Use:   "close SEQ...",
		Short: "Close dead letters that need nothing more",
		Long: `Close every dead letter of each command: somebody has looked, and nothing more is to be done here. What is in doubt cannot
be closed before it is resolved. Closing again changes nothing.`,
		Example: `  subrelay dead close 4711 --by anna --reason "billing has sent it again"
  subrelay dead close 4711 4712 4713 --by anna --reason "test data"`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			seqs, err := parseSeqs(args)
			if err != nil {
				return err
			}
			by.By, by.Reason = strings.TrimSpace(by.By), strings.TrimSpace(by.Reason)
			if by.By == "" || by.Reason == "" {
				return usagef("closing needs --by NAME and --reason TEXT")
			}
			return c.closeDead(cmd.Context(), seqs, by)
		},
	}
	cmd.Flags().StringVar(&by.By, "by", "", "who closes it")
	cmd.Flags().StringVar(&by.Reason, "reason", "", "why nothing more is to be done")
	return cmd
}

// closedLine is what is said of a dead letter that was to be closed.
type closedLine struct {
	Seq    uint64 `json:"seq"`
	Letter string `json:"dead_letter,omitempty"`
	Error  string `json:"error,omitempty"`
}

func (c *cli) closeDead(ctx context.Context, seqs []uint64, by events.Resolution) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	code := exitDone
	for _, seq := range seqs {
		what, err := cl.closeLetters(ctx, seq, by)
		if err != nil && len(seqs) == 1 {
			return err
		}
		line := closedLine{Seq: seq, Letter: what}
		if err != nil {
			line.Error, code = failureText(err), exitError
		}
		if err := c.printClosed(line); err != nil {
			return err
		}
	}
	return endWith(code)
}

func (c *cli) printClosed(l closedLine) error {
	switch {
	case c.wantJSON:
		return c.printJSON(l)
	case l.Error != "":
		c.sayf("%d: %s", l.Seq, l.Error)
		return nil
	}
	return c.printLine("%d: %s", l.Seq, l.Letter)
}

// closeLetters closes the letters of a command, unless its truth is still owed.
func (cl *client) closeLetters(ctx context.Context, seq uint64, by events.Resolution) (string, error) {
	letters, err := cl.lettersOf(ctx, seq)
	if err != nil {
		return "", err
	}
	h, err := cl.historyOf(ctx, letters)
	if err != nil {
		return "", err
	}
	if closed := letters[len(letters)-1].Closed; closed != nil {
		return describeClosing(closed), nil
	}
	if last := h.Last(); last != nil && last.Status == events.InDoubt && hasOpen(letters, events.DeadInDoubt) {
		return "", hinted(fmt.Errorf("command %d is in doubt, and its letter stays open until that is resolved", seq),
			"subrelay doubts resolve %s --applied|--not-applied --by NAME --reason TEXT", last.Command.CID)
	}
	err = cl.letters.Close(ctx, seq, by.By, by.Reason)
	if err != nil && events.KindOf(err) == events.Conflict {
		return letterBefore, nil
	}
	return letterClosed, err
}

func describeClosing(closed *natsjs.Closing) string {
	return fmt.Sprintf("%s, by %s at %s: %s", letterBefore, closed.By, stamp(closed.Time), closed.Reason)
}

func hasOpen(letters []natsjs.Letter, reason events.Reason) bool {
	for _, l := range letters {
		if l.Closed == nil && l.Reason == reason {
			return true
		}
	}
	return false
}
