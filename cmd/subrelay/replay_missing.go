package main

import (
	"context"
	"fmt"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// The states of a stored command, as `replay commands --missing` sees them.
const (
	stateMissing    = "missing"     // no record, no dead letter, and no longer delivered
	stateWaiting    = "waiting"     // still to be delivered, or being worked on
	stateDone       = "done"        // it has a final outcome
	stateInDoubt    = "in_doubt"    // the truth is owed: see 'subrelay doubts'
	stateUnfinished = "unfinished"  // begun, and no longer delivered
	stateDamaged    = "damaged"     // begun, and its newest record cannot be read: running it again may do it twice
	stateDead       = "dead"        // in the dead letters, without a record
	stateUnknowable = "unknowable"  // older than the ledger
	stateNoConsumer = "no_consumer" // nobody delivers it, until the topology is applied
)

// missingLine is what is said of one stored command.
type missingLine struct {
	Seq    uint64      `json:"seq"`
	Kind   events.Kind `json:"kind"`
	Key    string      `json:"key"`
	ID     string      `json:"id,omitempty"`
	CID    string      `json:"cid,omitempty"`
	State  string      `json:"state"`
	Status string      `json:"status,omitempty"` // of its last record
	Action string      `json:"action"`           // none, requeue (with --dry-run) or requeued
	NewSeq uint64      `json:"new_seq,omitempty"`
	Again  bool        `json:"duplicate,omitempty"` // it was requeued minutes ago, under NewSeq
	Note   string      `json:"note,omitempty"`

	same string // equal for messages that are repetitions of each other, byte for byte
}

// The actions of a missingLine.
const (
	actionNone     = "none"
	actionRequeue  = "requeue"
	actionRequeued = "requeued"
)

// missingSum is what `replay commands --missing` says at its end.
type missingSum struct {
	Scanned  int            `json:"scanned"`
	Requeued int            `json:"requeued"`
	States   map[string]int `json:"states"`
	DryRun   bool           `json:"dry_run,omitempty"`
}

// missingReplay is one run of `replay commands --missing`.
type missingReplay struct {
	cli    *cli
	client *client
	flags  commandsFlags
	reach  *reach
	pace   *rate.Limiter
	bar    *progressbar.ProgressBar
	sum    missingSum

	copies     map[string]string // waiting or dead, by missingLine.same: what became of one of the repetitions
	later      map[string]int    // by key: commands that have run, up to here
	candidates []candidate
}

// candidate is a command that may have to be requeued.
type candidate struct {
	missingLine
	ranBefore int // commands of its key that had run when it was met
}

func (c *cli) replayMissing(ctx context.Context, f commandsFlags, q natsjs.Query) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	r := &missingReplay{
		cli: c, client: cl, flags: f, pace: f.limiter(), bar: c.progress(-1, "commands"),
		sum: missingSum{States: map[string]int{}, DryRun: f.dryRun}, copies: map[string]string{}, later: map[string]int{},
	}
	if r.reach, err = cl.newReach(ctx); err != nil {
		return err
	}
	if q.ToSeq == 0 || q.ToSeq > r.reach.last {
		q.ToSeq = r.reach.last
	}
	if q.ToSeq > 0 {
		err = r.look(ctx, q)
	}
	if err == nil {
		err = r.requeueAll(ctx)
	}
	_ = r.bar.Finish()
	switch {
	case ctx.Err() != nil:
		return stopped("%d were requeued; the same command line goes on: what was requeued is not requeued again", r.sum.Requeued)
	case err != nil:
		return err
	}
	return r.finish()
}

// look classifies every selected command, in order.
func (r *missingReplay) look(ctx context.Context, q natsjs.Query) error {
	const chunk = 16 * doubtsAtOnce
	var held []natsjs.StoredCommand
	flush := func() error {
		lines := make([]missingLine, len(held))
		group, groupCtx := errgroup.WithContext(ctx)
		group.SetLimit(doubtsAtOnce)
		for i, m := range held {
			group.Go(func() (err error) {
				lines[i], err = r.reach.classify(groupCtx, m)
				return err
			})
		}
		held = held[:0]
		if err := group.Wait(); err != nil {
			return err
		}
		for _, l := range lines {
			if err := r.met(l); err != nil {
				return err
			}
		}
		return nil
	}
	cq := natsjs.CommandQuery{Since: q.Since, Until: q.Until, FromSeq: q.FromSeq, ToSeq: q.ToSeq, Kinds: q.Kinds, Key: q.Key}
	err := r.client.commands.Scan(ctx, cq, func(m natsjs.StoredCommand) error {
		if q.CID != "" {
			if ref, ok := refOf(m); !ok || ref.CID != q.CID {
				return nil
			}
		}
		if r.sum.Scanned == 0 {
			r.bar.ChangeMax64(int64(min(m.Pending, 1<<62)) + 1) //nolint:gosec // bounded
		}
		r.sum.Scanned++
		if held = append(held, m); len(held) < chunk {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// met keeps what may have to be requeued, and tells of the rest.
func (r *missingReplay) met(l missingLine) error {
	_ = r.bar.Add(1) // only a picture
	switch l.State {
	case stateWaiting, stateDead:
		r.copies[l.same] = l.State
	case stateDone, stateInDoubt:
		r.later[l.Key]++
	case stateMissing, stateUnfinished:
		r.candidates = append(r.candidates, candidate{l, r.later[l.Key]})
		return nil
	}
	r.sum.States[l.State]++
	return r.tell(l)
}

// requeueAll requeues what is missing, in order, each command once.
func (r *missingReplay) requeueAll(ctx context.Context) error {
	seen := map[string]bool{}
	for _, m := range r.candidates {
		l := m.missingLine
		switch {
		case r.copies[l.same] != "":
			l.State, l.Note = r.copies[l.same], "it was sent again, or requeued: that message is meant"
		case seen[l.same]:
			l.Note = "the same as one before"
		case l.State == stateUnfinished && !r.flags.unfinished:
			l.Note = "begun, and no longer delivered: --unfinished requeues it too"
		case r.flags.sel.limit > 0 && r.sum.Requeued == r.flags.sel.limit:
			l.Note = "beyond --limit"
		default:
			seen[l.same] = true
			if n := r.later[l.Key] - m.ranBefore; n > 0 {
				l.Note = fmt.Sprintf("%s of its key came later and ran already", count(n, "command", "commands"))
			}
			if err := r.requeue(ctx, &l); err != nil {
				return err
			}
		}
		r.sum.States[l.State]++
		if err := r.tell(l); err != nil {
			return err
		}
	}
	return nil
}

// requeue publishes a stored command again as it is, unless this is a dry run.
func (r *missingReplay) requeue(ctx context.Context, l *missingLine) error {
	r.sum.Requeued++
	l.Action = actionRequeue
	if r.flags.dryRun {
		return nil
	}
	if err := r.pace.Wait(ctx); err != nil {
		return err
	}
	m, err := r.client.commands.Get(ctx, l.Seq)
	if err != nil {
		return err
	}
	// One mark per message: within the duplicate window the same is requeued once.
	receipt, err := r.client.publisher.PublishRaw(ctx, r.client.names.Command(m.Kind, m.Key), m.Header, m.Data,
		natsjs.MsgID(fmt.Sprintf("requeue.%d.%d", m.Seq, m.Time.UnixNano())))
	if err != nil {
		r.sum.Requeued--
		return fmt.Errorf("command %d: %w", l.Seq, err)
	}
	l.Action, l.NewSeq, l.Again = actionRequeued, receipt.Seq, receipt.Duplicate
	return nil
}

const missingRow = "%-8d  %-11s  %-8s  %-19s  %-20s  %-26s  %s"

// tell prints a line: in a run that is none for trial, for people, only what is not as it should be.
func (r *missingReplay) tell(l missingLine) error {
	if l.Action == "" {
		l.Action = actionNone
	}
	quiet := l.State == stateDone || l.State == stateWaiting || l.State == stateDead
	switch {
	case r.cli.wantJSON:
		return r.cli.printJSON(l)
	case quiet && !r.flags.dryRun:
		return nil
	}
	_ = r.bar.Clear()
	detail := l.Note
	if l.NewSeq != 0 {
		detail = fmt.Sprintf("as %d  %s", l.NewSeq, detail)
	}
	if l.Status != "" {
		detail = l.Status + "  " + detail
	}
	return r.cli.printLine(missingRow, l.Seq, l.State, l.Action, l.Kind, plain(l.Key), l.CID, detail)
}

// finish sums up.
func (r *missingReplay) finish() error {
	if r.cli.wantJSON {
		return r.cli.printJSON(r.sum)
	}
	did := "requeued"
	if r.flags.dryRun {
		did = "would be requeued"
	}
	text := fmt.Sprintf("%s %s", count(r.sum.Requeued, "command", "commands"), did)
	for _, state := range []string{stateMissing, stateWaiting, stateDone, stateInDoubt, stateUnfinished, stateDamaged, stateDead, stateUnknowable, stateNoConsumer} {
		if n := r.sum.States[state]; n > 0 {
			text += fmt.Sprintf("; %d %s", n, state)
		}
	}
	return r.cli.printLine("%s; %d scanned", text, r.sum.Scanned)
}
