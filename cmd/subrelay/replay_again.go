package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// extReplayReason is the extension attribute that says why a command runs again.
const extReplayReason = "replayreason"

// againSum is what `replay commands --again` says at its end.
type againSum struct {
	Plan      string `json:"plan,omitempty"`
	Commands  int    `json:"commands"`
	Published int    `json:"published"`
	Before    int    `json:"published_before"`        // they were published by an earlier run of the plan
	Gone      int    `json:"no_longer_stored"`        // they have succeeded, and cannot run again
	InDoubt   int    `json:"in_doubt"`                // of the selection, and no part of the plan
	DryRun    bool   `json:"dry_run,omitempty"`       //
	Failed    int    `json:"not_published,omitempty"` // by errors
}

// againLine is what is said of one command that runs again.
type againLine struct {
	planned
	Action string `json:"action"`
	NewSeq uint64 `json:"new_seq,omitempty"`
	Error  string `json:"error,omitempty"`
}

// The actions of an againLine.
const (
	actionWould     = "would_run"
	actionPublished = "published"
	actionBefore    = "published_before"
	actionGone      = "no_longer_stored"
	actionFailed    = "not_published"
)

// againReplay is one run of `replay commands --again`.
type againReplay struct {
	cli    *cli
	client *client
	flags  commandsFlags
	plan   *plan
	file   string
	sum    againSum
	err    error // the first of printing
}

func (c *cli) replayAgain(ctx context.Context, f commandsFlags, q natsjs.Query, selection string) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	r := &againReplay{cli: c, client: cl, flags: f, file: f.plan}
	resumed, err := r.resume(cl.config.Prefix)
	if err != nil {
		return err
	}
	if !resumed {
		if err := r.freeze(ctx, q, selection); err != nil {
			return err
		}
	}
	if err := r.list(); err != nil {
		return err
	}
	if f.dryRun {
		return r.endDryRun(resumed)
	}
	if len(r.plan.commands) > 0 {
		if err := r.publish(ctx, resumed); err != nil {
			return err
		}
	}
	return r.finish()
}

// resume reads the plan that --plan names, if there is one.
func (r *againReplay) resume(prefix string) (bool, error) {
	if r.file == "" {
		return false, nil
	}
	if _, err := os.Stat(r.file); errors.Is(err, fs.ErrNotExist) {
		if r.flags.reason == "" {
			return false, usagef("--plan: there is no file %s; to make a new plan, give --reason too", r.file)
		}
		return false, nil
	}
	p, err := readPlan(r.file, prefix)
	if err != nil {
		return false, err
	}
	if r.flags.reason != "" && r.flags.reason != p.Reason {
		return false, usagef("--plan: %s is there already, for another reason: %s", r.file, p.Reason)
	}
	r.plan, r.sum.Commands = p, len(p.commands)
	return true, nil
}

// freeze makes the plan: what has succeeded and is selected, in the order of the command stream, each with the next free
// number of its base.
func (r *againReplay) freeze(ctx context.Context, q natsjs.Query, selection string) error {
	q.Statuses = []events.Status{events.Succeeded}
	byCID := map[string]*planned{}
	err := r.client.outcomes.Read(ctx, q, func(s natsjs.Stored) error {
		byCID[s.Command.CID] = &planned{Seq: s.Command.Seq, AgainOf: s.Command.CID, Kind: s.Command.Kind, Key: s.Command.Key,
			Succeeded: s.Time.UTC(), Result: events.MaskResult(s.Result), ID: s.Command.ID}
		return nil
	})
	if err != nil {
		return err
	}
	taken, err := r.originals(ctx, byCID)
	if err != nil {
		return err
	}
	r.plan = &plan{planHead: planHead{Plan: planName, Version: planVersion, Created: time.Now().UTC(), Reason: r.flags.reason,
		Prefix: r.client.config.Prefix, Selection: selection}}
	var gone []planned
	for _, p := range byCID {
		if p.Event == nil {
			gone = append(gone, *p)
			continue
		}
		r.plan.commands = append(r.plan.commands, *p)
	}
	inOrder := func(a, b planned) int { return cmp.Compare(a.Seq, b.Seq) }
	slices.SortFunc(gone, inOrder)
	slices.SortFunc(r.plan.commands, inOrder)
	for i := range r.plan.commands {
		r.plan.commands[i].renew(taken, r.flags.reason)
	}
	r.plan.Commands, r.sum.Commands, r.sum.Gone = len(r.plan.commands), len(r.plan.commands), len(gone)
	for _, p := range gone {
		if err := r.tell(againLine{planned: p, Action: actionGone}); err != nil {
			return err
		}
	}
	return r.countDoubts(ctx, q)
}

// originals finds the event of each command, and returns the cids of all that the stream holds.
func (r *againReplay) originals(ctx context.Context, byCID map[string]*planned) (map[string]bool, error) {
	taken := map[string]bool{}
	bar := r.cli.progress(-1, "reading commands")
	defer bar.Finish() //nolint:errcheck // only a picture
	return taken, r.client.commands.Scan(ctx, natsjs.CommandQuery{}, func(m natsjs.StoredCommand) error {
		_ = bar.Add(1)
		e, err := natsjs.DecodeMessage(m.Header, m.Data)
		if err != nil {
			return nil // no command
		}
		cid := cidOf(e)
		taken[cid] = true
		// The message that has run is the one that the record names: another may carry the same id with other data.
		if p := byCID[cid]; p != nil && p.Seq == m.Seq {
			kept := e.Clone() // its data may alias the message's
			p.Event = &kept
		}
		return nil
	})
}

// renew makes p's event the next free repetition.
func (p *planned) renew(taken map[string]bool, reason string) {
	_, n := events.Repetition(*p.Event)
	for {
		n++
		next := events.Again(*p.Event, n)
		cid := cidOf(&next)
		if taken[cid] {
			continue
		}
		taken[cid] = true
		next.SetExtension(extReplayReason, reason)
		p.Event, p.ID, p.CID = &next, next.ID(), cid
		return
	}
}

// countDoubts counts what is selected but in doubt: it may have had its effect before the backup, or after, or never.
func (r *againReplay) countDoubts(ctx context.Context, q natsjs.Query) error {
	for _, err := range r.client.outcomes.Doubts(ctx, q) {
		if err != nil {
			return err
		}
		r.sum.InDoubt++
	}
	return nil
}

const againRow = "%-8d  %-19s  %-20s  %-24s  %-32s  %s"

// list shows the effects that would happen again.
func (r *againReplay) list() error {
	if r.cli.wantJSON && !r.flags.dryRun {
		return nil // each is told when it is published
	}
	for i, p := range r.plan.commands {
		if i == 0 && !r.cli.wantJSON {
			r.cli.sayf("%-8s  %-19s  %-20s  %-24s  %-32s  %s", "SEQ", "KIND", "KEY", "SUCCEEDED", "RUNS AGAIN AS", "EFFECT")
		}
		if err := r.tell(againLine{planned: p, Action: actionWould}); err != nil {
			return err
		}
	}
	return nil
}

// tell tells of one command; what is only proposed, for people, on stderr.
func (r *againReplay) tell(l againLine) error {
	switch {
	case r.cli.wantJSON:
		if l.Event != nil { // the plan has it whole
			shown := l.Event.Clone()
			if err := shown.SetData(event.ApplicationJSON, document(l.Event.Data())); err != nil {
				return err
			}
			l.Event = &shown
		}
		return r.cli.printJSON(l)
	case l.Action == actionWould:
		line := fmt.Sprintf(againRow, l.Seq, l.Kind, l.Key, stamp(l.Succeeded), l.ID, document(l.Event.Data()))
		if r.flags.dryRun {
			return r.cli.printLine("%s", line)
		}
		r.cli.sayf("%s", line)
	case l.Action == actionGone:
		r.cli.sayf("%d  %s %s  id %s: the command is no longer stored, and cannot run again from here", l.Seq, l.Kind, l.Key, l.ID)
	case l.Action == actionFailed:
		r.cli.sayf("%s of %s: %s", l.ID, l.Key, l.Error)
	}
	return nil
}

// endDryRun keeps the plan where a file was named for it, and sums up.
func (r *againReplay) endDryRun(resumed bool) error {
	r.sum.DryRun = true
	if r.file != "" && !resumed {
		if err := r.plan.write(r.file); err != nil {
			return err
		}
	}
	return r.finish()
}

// publish freezes the plan on disk, has it confirmed, and publishes it in order. What an earlier run has published, and
// a worker has begun, is left out; the rest the broker and the ledger know again.
func (r *againReplay) publish(ctx context.Context, resumed bool) error {
	if r.sum.InDoubt > 0 {
		r.cli.sayf("%s in doubt and no part of this: see 'subrelay doubts list'", count(r.sum.InDoubt, "command of the selection is", "commands of the selection are"))
	}
	if err := r.cli.confirm(r.flags.yes, "Run %s again?", count(len(r.plan.commands), "command", "commands")); err != nil {
		return err
	}
	if !resumed {
		r.file = cmp.Or(r.file, "subrelay-replay-"+r.plan.Created.Format("20060102T150405Z")+".jsonl")
		if err := r.plan.write(r.file); err != nil {
			return err
		}
		r.cli.sayNote("the plan is kept in %s", r.file)
	}
	left, err := r.left(ctx, resumed)
	if err != nil {
		return err
	}
	pace := r.flags.limiter()
	bar := r.cli.progress(int64(len(left)), "commands")
	_, err = r.client.publisher.PublishAll(ctx, eventsOf(left, func() error { return pace.Wait(ctx) }), natsjs.Batch{
		InFlight: 1, // in the first order, not only per key
		Report: func(done natsjs.Published) {
			_ = bar.Add(1)
			r.published(left[done.Index], done)
		},
	})
	_ = bar.Finish()
	if ctx.Err() != nil {
		return stopped("go on with: subrelay replay commands --again --plan %s", r.file)
	}
	return cmp.Or(err, r.err)
}

// sayNote tells people something on stderr, and programs nothing.
func (c *cli) sayNote(format string, args ...any) {
	if !c.wantJSON {
		c.sayf(format, args...)
	}
}

// eventsOf is the events of the planned commands, each after wait has let it through.
func eventsOf(all []planned, wait func() error) iter.Seq[event.Event] {
	return func(yield func(event.Event) bool) {
		for _, p := range all {
			if wait() != nil || !yield(*p.Event) {
				return
			}
		}
	}
}

// left is what is still to be published.
func (r *againReplay) left(ctx context.Context, resumed bool) ([]planned, error) {
	if !resumed {
		return r.plan.commands, nil
	}
	var left []planned
	for _, p := range r.plan.commands {
		token, err := events.KeyToken(p.Key)
		if err != nil {
			return nil, err
		}
		last, err := r.client.outcomes.Last(ctx, token, p.CID)
		if err != nil {
			return nil, err
		}
		if last == nil {
			left = append(left, p)
			continue
		}
		r.sum.Before++
		if err := r.tell(againLine{planned: p, Action: actionBefore}); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// published takes what became of one command.
func (r *againReplay) published(p planned, done natsjs.Published) {
	l := againLine{planned: p, Action: actionPublished, NewSeq: done.Receipt.Seq}
	switch {
	case done.Err != nil:
		r.sum.Failed++
		l.Action, l.Error = actionFailed, done.Err.Error()
	case done.Receipt.Duplicate:
		r.sum.Before++
		l.Action = actionBefore
	default:
		r.sum.Published++
	}
	if err := r.tell(l); r.err == nil {
		r.err = err
	}
}

// finish sums up. What has succeeded but cannot run again is an error: somebody must know.
func (r *againReplay) finish() error {
	r.sum.Plan = r.file
	if err := r.printSum(); err != nil {
		return err
	}
	if r.sum.Failed > 0 {
		return hinted(fmt.Errorf("%s not published", count(r.sum.Failed, "command was", "commands were")), "go on with: subrelay replay commands --again --plan %s", r.file)
	}
	if r.sum.Gone > 0 {
		return hinted(fmt.Errorf("%s succeeded and cannot run again: no longer stored", count(r.sum.Gone, "command has", "commands have")),
			"send them again from billing, under new ids")
	}
	return nil
}

func (r *againReplay) printSum() error {
	switch {
	case r.cli.wantJSON:
		return r.cli.printJSON(r.sum)
	case r.sum.DryRun && r.file != "":
		return r.cli.printLine("%s would run again; to do it: subrelay replay commands --again --plan %s", count(r.sum.Commands, "command", "commands"), r.file)
	case r.sum.DryRun:
		return r.cli.printLine("%s would run again, %d in doubt are no part of it", count(r.sum.Commands, "command", "commands"), r.sum.InDoubt)
	case r.sum.Commands == 0:
		return r.cli.printLine("nothing that is selected has succeeded")
	}
	return r.cli.printLine("%s published to run again, %d were published before", count(r.sum.Published, "command", "commands"), r.sum.Before)
}
