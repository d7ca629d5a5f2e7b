package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/spf13/cobra"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// redriveFlags say what runs in place of a dead command.
type redriveFlags struct {
	by   events.Resolution
	file string
	yes  bool
}

func newDeadRedriveCommand(c *cli) *cobra.Command {
	var f redriveFlags
	cmd := &cobra.Command{
		Use:   "redrive SEQ...",
		Short: "Run dead commands again, as new ones",
		Long: `Publish the command again as a new one, <id>~1, and close its dead letter, naming the new cid. Only what surely had no
effect runs again: what was given up, what the upstream refused, and a doubt that was resolved as not applied. It runs
behind the later commands of its key, which are listed and must be confirmed first. Doing it again changes nothing.

What was wrong in itself needs --file with the corrected event, as one structured CloudEvent. It has the same id and
source, or none, and runs as <id>~1; only where the original had no outcome (undecodable, unknown_type,
subject_mismatch, stale, id_reused) it keeps the id that it has in the file.`,
		Example: `  subrelay dead redrive 4711
  subrelay dead redrive 4711 4712 --by anna --reason "TVMS is back" --yes
  subrelay dead redrive 4713 --file fixed.json --by anna`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			seqs, err := parseSeqs(args)
			switch {
			case err != nil:
				return err
			case f.file != "" && len(seqs) > 1:
				return usagef("--file holds one event, for one SEQ")
			case f.file == "-" && !f.yes:
				return usagef("with --file - the answer cannot come from stdin too: confirm with --yes")
			}
			if err := c.needSomebody(f.yes); err != nil {
				return err
			}
			return c.redriveDead(cmd.Context(), f, seqs)
		},
	}
	cmd.Flags().StringVar(&f.by.By, "by", "", "who redrives it (default $USER)")
	cmd.Flags().StringVar(&f.by.Reason, "reason", "", "why it may run now")
	cmd.Flags().StringVar(&f.file, "file", "", `corrected event; "-" is stdin`)
	cmd.Flags().BoolVar(&f.yes, "yes", false, "confirm beforehand")
	return cmd
}

// redrivenLine is what is said of a dead command that was to run again.
type redrivenLine struct {
	Seq      uint64         `json:"seq"`
	Redriven *newCommand    `json:"redriven,omitempty"`
	Later    []laterCommand `json:"later_commands,omitempty"`
	Letter   string         `json:"dead_letter,omitempty"`
	Error    string         `json:"error,omitempty"`
}

// redriving is one dead command that may run again.
type redriving struct {
	seq uint64
	rerun
	closed *natsjs.Closing // it was redriven before
}

func (c *cli) redriveDead(ctx context.Context, f redriveFlags, seqs []uint64) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	f.by.By = cmp.Or(strings.TrimSpace(f.by.By), c.userName())
	var all []redriving
	for _, seq := range seqs {
		r, err := c.redrivable(ctx, cl, seq, f.file)
		if err != nil {
			return err
		}
		all = append(all, r)
	}
	if err := c.prepareRedrive(ctx, cl, all, f.yes); err != nil {
		return err
	}
	for i := range all {
		line, err := all[i].run(ctx, cl, f.by)
		if err != nil {
			return err
		}
		if err := c.printRedriven(line); err != nil {
			return err
		}
	}
	return nil
}

// userName is who uses the program, as far as the environment says.
func (c *cli) userName() string {
	for _, v := range c.environ {
		if name, ok := strings.CutPrefix(v, "USER="); ok && name != "" {
			return name
		}
	}
	return "operator"
}

// redrivable judges whether the command may run again, and reads what is to run. Nothing is changed.
func (c *cli) redrivable(ctx context.Context, cl *client, seq uint64, file string) (redriving, error) {
	r := redriving{seq: seq}
	letters, err := cl.lettersOf(ctx, seq)
	if err != nil {
		return r, err
	}
	h, err := cl.historyOf(ctx, letters)
	if err != nil {
		return r, err
	}
	if closed := letters[len(letters)-1].Closed; closed != nil {
		switch {
		case strings.HasPrefix(closed.Reason, redrivenAs):
			r.closed = closed
			return r, nil
		case !notApplied(h.Last()):
			return r, fmt.Errorf("the dead letter of command %d was %s", seq, describeClosing(closed))
		}
	}
	letter := decisive(letters)
	if r.asIs, err = mayRedrive(letter, h, file != ""); err != nil {
		return r, err
	}
	e, err := c.redriveEvent(ctx, cl, letter, file)
	if err != nil {
		return r, err
	}
	r.event, r.old = *e, events.Ref{ID: e.ID(), Key: e.Subject(), Source: e.Source(), CID: letter.CID, Seq: seq}
	if last := h.Last(); last != nil && !r.asIs {
		r.old = last.Command
		r.old.Seq = seq
		return r, sameCommand(&r.event, last.Command)
	}
	if letter.Reason == events.DeadIDReused && letter.CID == cidOf(e) {
		return r, fmt.Errorf("the id %s is used: in --file the event needs an id of its own", e.ID())
	}
	return r, nil
}

// notApplied reports whether a doubt was resolved as not applied: that closes its letter, and it may run again.
func notApplied(last *events.Record) bool {
	return last != nil && last.Status == events.Failed && last.Resolution != nil
}

// decisive is the open letter that most speaks against running again.
func decisive(letters []natsjs.Letter) natsjs.Letter {
	worst := letters[len(letters)-1]
	for _, l := range letters {
		if l.Closed == nil && l.Reason == events.DeadLateResult {
			worst = l
		}
	}
	return worst
}

// mayRedrive says why a command must not run again, or whether its event keeps its id: it has no outcome, and no other
// has its id.
func mayRedrive(l natsjs.Letter, h events.History, fixed bool) (asIs bool, err error) {
	refuse := func(hint, format string, args ...any) (bool, error) {
		return false, hinted(fmt.Errorf("command %d must not run again: %w", l.Command, fmt.Errorf(format, args...)), "%s", hint)
	}
	needsFile := "give the corrected event with --file FIXED.json"
	switch l.Reason {
	case events.DeadUndecodable, events.DeadUnknownType, events.DeadSubjectMismatch, events.DeadStale, events.DeadIDReused:
		if !fixed {
			return refuse(needsFile, "as it is, it would only become a dead letter again (%s)", l.Reason)
		}
		return true, nil
	case events.DeadLateResult:
		return refuse(nextForDead(l.Reason), "an effect of it is certain")
	}
	last := h.Last()
	switch {
	case last == nil || last.Status == events.Started || last.Status == events.Deferred:
		return refuse("wait for its outcome", "%s", standing(last))
	case last.Status == events.InDoubt:
		return refuse(fmt.Sprintf("first subrelay doubts resolve %s --applied|--not-applied --by NAME --reason TEXT", last.Command.CID),
			"it is in doubt: its effect may have happened")
	case last.Status == events.Succeeded:
		return refuse("close the letter", "it has succeeded")
	case l.Reason == events.DeadInvalid && !fixed:
		return refuse(needsFile, "as it is, it would be rejected again (%s)", l.Error.Code)
	}
	return false, nil
}

// redriveEvent reads what is to run: the file, or the original from the command stream, unmasked.
func (c *cli) redriveEvent(ctx context.Context, cl *client, l natsjs.Letter, file string) (*event.Event, error) {
	if file == "" {
		e, err := cl.original(ctx, l.Command, l.CID)
		if err != nil {
			return nil, fmt.Errorf("%w; --file can give the whole event", err)
		}
		return e, nil
	}
	in, err := c.openInput(file)
	if err != nil {
		return nil, fmt.Errorf("--file: %w", err)
	}
	defer in.Close() // only read
	raw, err := io.ReadAll(in)
	if err != nil {
		return nil, fmt.Errorf("--file: %w", err)
	}
	e, unread := natsjs.DecodeMessage(nil, bytes.TrimSpace(raw))
	if e != nil && e.ID() == "" {
		e, unread = c.adoptIdentity(ctx, cl, e, l)
	}
	check, err := newChecker()
	if err != nil {
		return nil, err
	}
	if failure := check.check(0, e, unread).checked.Failure; failure != nil {
		return nil, &problem{err: fmt.Errorf("--file: %s: %s", failure.Code, strings.Join(problemsOf(failure), "; ")), code: exitRejected}
	}
	return e, nil
}

// adoptIdentity gives an event without an id that of the command it stands for.
func (c *cli) adoptIdentity(ctx context.Context, cl *client, e *event.Event, l natsjs.Letter) (*event.Event, error) {
	h, err := cl.historyOf(ctx, []natsjs.Letter{l})
	if last := h.Last(); err == nil && last != nil {
		e.SetID(last.Command.ID)
		e.SetSource(cmp.Or(e.Source(), last.Command.Source))
	}
	return e, err
}

// sameCommand checks that a corrected event stands for the command it is to replace.
func sameCommand(e *event.Event, old events.Ref) error {
	if e.ID() != old.ID || e.Source() != old.Source {
		return usagef("--file: the event is %s from %s, and stands for %s from %s: give it the same id and source, or no id; it runs as a new command all the same",
			e.ID(), e.Source(), old.ID, old.Source)
	}
	return nil
}

// prepareRedrive numbers what is to run, shows it with what came later, and has it confirmed.
func (c *cli) prepareRedrive(ctx context.Context, cl *client, all []redriving, yes bool) error {
	var reruns []rerun
	var into []int
	for i := range all {
		if r := &all[i]; r.closed == nil {
			into, reruns = append(into, i), append(reruns, r.rerun)
		}
	}
	if len(reruns) == 0 {
		return nil
	}
	if err := cl.numberReruns(ctx, reruns); err != nil {
		return err
	}
	for k, i := range into {
		all[i].rerun = reruns[k]
	}
	c.tellReruns(reruns)
	return c.confirm(yes, "Publish %s?", count(len(reruns), "new command", "new commands"))
}

// run publishes, and closes the letter.
func (r *redriving) run(ctx context.Context, cl *client, by events.Resolution) (redrivenLine, error) {
	line := redrivenLine{Seq: r.seq, Later: r.later}
	if r.closed != nil {
		line.Letter = describeClosing(r.closed)
		return line, nil
	}
	published, err := r.publish(ctx, cl)
	if err != nil {
		return line, fmt.Errorf("command %d: %w", r.seq, err)
	}
	line.Redriven, line.Letter = &published, letterClosed
	reason := redrivenAs + published.CID
	if by.Reason != "" {
		reason += ": " + by.Reason
	}
	err = cl.letters.Close(ctx, r.seq, by.By, reason)
	if err != nil && events.KindOf(err) == events.Conflict {
		line.Letter, err = letterBefore, nil
	}
	return line, hinted(err, "the new command %s is published; repeat the same command line to close the letter: that is harmless", published.CID)
}

func (c *cli) printRedriven(l redrivenLine) error {
	if c.wantJSON {
		return c.printJSON(l)
	}
	if err := c.printLine("%d: dead letter %s", l.Seq, l.Letter); err != nil || l.Redriven == nil {
		return err
	}
	return c.printLine("%s", l.Redriven)
}
