package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/sync/errgroup"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// toResolveFrom is the last record of each command in a file of IDs. All commands that ever were in doubt are read once,
// those that are resolved too, so that a repetition is as quick; what is not among them is looked up one by one.
func (c *cli) toResolveFrom(ctx context.Context, cl *client, f resolveFlags) ([]events.Record, error) {
	ids, err := c.readIDs(f.from, f.id)
	if err != nil {
		return nil, err
	}
	doubts, err := cl.everInDoubt(ctx, ids, f.id)
	if err != nil {
		return nil, err
	}
	all := make([]events.Record, len(ids))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(doubtsAtOnce)
	for i, id := range ids {
		group.Go(func() error {
			if ref, ok := doubts[id]; ok {
				last, err := cl.latest(groupCtx, ref)
				all[i] = last
				return err
			}
			known, err := cl.find(groupCtx, id, f.id)
			if err != nil {
				return err
			}
			if known.history.Last() == nil {
				return fmt.Errorf("command %s is not in doubt: %s", id, standing(nil))
			}
			all[i] = *known.history.Last()
			return nil
		})
	}
	return all, group.Wait()
}

// everInDoubt finds those of the ids that have a record in_doubt, whatever came after it.
func (cl *client) everInDoubt(ctx context.Context, ids []string, f idFlags) (map[string]events.Ref, error) {
	wanted, met := make(map[string]bool, len(ids)), make(map[string]events.Ref, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	err := cl.outcomes.Read(ctx, natsjs.Query{Statuses: []events.Status{events.InDoubt}}, func(s natsjs.Stored) error {
		ref := s.Command
		if wanted[ref.CID] {
			met[ref.CID] = ref
		}
		if f.source == "" || !wanted[ref.ID] || ref.Source != f.source || f.key != "" && ref.Key != f.key {
			return nil
		}
		if twin, ok := met[ref.ID]; ok && twin.CID != ref.CID {
			return usagef("several commands that were in doubt have the id %s and this source: name them by cid, or say --key", ref.ID)
		}
		met[ref.ID] = ref
		return nil
	})
	return met, err
}

// readIDs reads IDs, one per line, each once. Empty lines and what follows a # are left out.
func (c *cli) readIDs(file string, f idFlags) ([]string, error) {
	in, err := c.openInput(file)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	defer in.Close() // only read
	var ids []string
	seen := map[string]bool{}
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		id := strings.TrimSpace(text)
		if id == "" || seen[id] {
			continue
		}
		if err := f.check(id); err != nil {
			return nil, usagef("--from: line %d: %w", n, err)
		}
		seen[id] = true
		ids = append(ids, id)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	return ids, nil
}

// resolving is one run of `doubts resolve`.
type resolving struct {
	cli    *cli
	client *client
	flags  resolveFlags
	bulk   bool
	tasks  map[string][]resolveTask // by key, in order

	mu    sync.Mutex
	bar   *progressbar.ProgressBar
	code  int
	done  int
	again int
}

// resolveTask is one command to be resolved.
type resolveTask struct {
	last  events.Record
	rerun *rerun // with --redrive
}

// resolvedLine is what is said of a command that was resolved.
type resolvedLine struct {
	events.Ref
	Status     events.Status      `json:"status,omitempty"`
	Record     uint64             `json:"record,omitempty"`
	Resolution *events.Resolution `json:"resolution,omitempty"`
	Repeated   bool               `json:"repeated,omitempty"` // it was resolved so before
	DeadLetter string             `json:"dead_letter,omitempty"`
	Redriven   *newCommand        `json:"redriven,omitempty"`
	Later      []laterCommand     `json:"later_commands,omitempty"`
	Error      string             `json:"error,omitempty"`
}

// prepare finds out what would happen, shows it, and has it confirmed where it must be.
func (r *resolving) prepare(ctx context.Context, records []events.Record) error {
	reruns := make([]rerun, 0, len(records))
	if r.flags.redrive {
		for _, last := range records {
			if last.Status == events.InDoubt || notApplied(&last) { // all others will be refused
				reruns = append(reruns, rerun{old: last.Command})
			}
		}
		if err := r.originals(ctx, reruns); err != nil {
			return err
		}
		if err := r.client.numberReruns(ctx, reruns); err != nil {
			return err
		}
		r.cli.tellReruns(reruns)
	}
	r.sort(records, reruns)
	truth := "applied"
	if r.flags.notApplied {
		truth = "not applied"
	}
	switch {
	case r.flags.redrive:
		return r.cli.confirm(r.flags.yes, "Resolve %s as %s, and publish %s?", count(len(records), "command", "commands"), truth,
			count(len(reruns), "new command", "new commands"))
	case r.bulk:
		r.tell(records)
		return r.cli.confirm(r.flags.yes, "Resolve %s as %s?", count(len(records), "command", "commands"), truth)
	}
	return nil
}

// originals reads the events of those that are to run again.
func (r *resolving) originals(ctx context.Context, reruns []rerun) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(doubtsAtOnce)
	for i := range reruns {
		group.Go(func() error {
			e, err := r.client.original(groupCtx, reruns[i].old.Seq, reruns[i].old.CID)
			if err != nil {
				return fmt.Errorf("%s cannot be redriven, and nothing was changed: %w", reruns[i].old.CID, err)
			}
			reruns[i].event = *e
			return nil
		})
	}
	return group.Wait()
}

// sort puts the work into lanes by key.
func (r *resolving) sort(records []events.Record, reruns []rerun) {
	next := map[string]*rerun{}
	for i := range reruns {
		next[reruns[i].old.CID] = &reruns[i]
	}
	r.tasks = map[string][]resolveTask{}
	for _, last := range records {
		key := last.Command.Key
		r.tasks[key] = append(r.tasks[key], resolveTask{last: last, rerun: next[last.Command.CID]})
	}
	r.bar = r.cli.progress(int64(len(records)), "doubts")
}

// tell shows what was selected.
func (r *resolving) tell(records []events.Record) {
	for i, last := range records {
		if i == shownLater {
			r.cli.sayf("… and %d more", len(records)-i)
			return
		}
		r.cli.sayf("%s  %s %s  id %s  %s since %s", last.Command.CID, last.Command.Kind, last.Command.Key, last.Command.ID, last.Status, stamp(last.Time()))
	}
}

// run does it: keys beside each other, one key in order.
func (r *resolving) run(ctx context.Context) error {
	var group errgroup.Group
	group.SetLimit(doubtsAtOnce)
	var single error
	for _, tasks := range r.tasks {
		group.Go(func() error {
			for _, t := range tasks {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				line, err := r.one(ctx, t)
				if err != nil && !r.bulk {
					single = err // the only one
					return nil
				}
				if err := r.report(line, err); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	_ = r.bar.Finish()
	switch {
	case ctx.Err() != nil:
		return stopped("%s; with --from the same command line goes on; what was resolved but not redriven, 'dead list --reason in_doubt' shows",
			count(r.done, "command was resolved", "commands were resolved"))
	case err != nil:
		return err
	case single != nil || !r.bulk:
		return single
	}
	if err := r.cli.nothing("%s resolved, %s", count(r.done, "command", "commands"), count(r.again, "new command", "new commands")); err != nil {
		return err
	}
	return endWith(r.code)
}

// one resolves, publishes and closes, in this order: the truth must stand before anything runs again.
func (r *resolving) one(ctx context.Context, t resolveTask) (resolvedLine, error) {
	line := resolvedLine{Ref: t.last.Command}
	now, repeated, err := r.client.settle(ctx, t.last, r.flags.applied, r.flags.by)
	if err != nil {
		return line, err
	}
	line.Status, line.Record, line.Resolution, line.Repeated = now.Status, now.Seq, now.Resolution, repeated
	reason := fmt.Sprintf("resolved as %s: %s", now.Status, now.Resolution.Reason)
	if t.rerun != nil {
		line.Later = t.rerun.later
		published, err := t.rerun.publish(ctx, r.client)
		if err != nil {
			return line, hinted(fmt.Errorf("%s was resolved, but its new command was not published: %w", line.CID, err), "repeat the same command line: that is harmless")
		}
		line.Redriven, reason = &published, redrivenAs+published.CID+": "+now.Resolution.Reason
	}
	line.DeadLetter, err = r.client.closeDoubt(ctx, now.Command.Seq, now.Resolution.By, reason)
	return line, err
}

// report prints what became of one command.
func (r *resolving) report(l resolvedLine, failed error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.bar.Add(1) // only a picture
	if failed != nil {
		l.Error, r.code = failureText(failed), exitError
	} else {
		r.done++
	}
	if l.Redriven != nil {
		r.again++
	}
	switch {
	case r.cli.wantJSON:
		return r.cli.printJSON(l)
	case !r.bulk:
		return r.cli.printResolved(l)
	case failed != nil:
		_ = r.bar.Clear()
		r.cli.sayf("%s: %s", l.CID, l.Error)
	}
	return nil
}

func (c *cli) printResolved(l resolvedLine) error {
	before := ""
	if l.Repeated {
		before = " (so resolved before, nothing new was written)"
	}
	if err := c.printLine("%s  %s %s  id %s  cid %s%s\n  by %s: %s\n  dead letter: %s", l.Status, l.Kind, l.Key, l.ID, l.CID, before,
		l.Resolution.By, l.Resolution.Reason, l.DeadLetter); err != nil || l.Redriven == nil {
		return err
	}
	return c.printLine("%s", l.Redriven)
}

// String tells of a new command for people.
func (n *newCommand) String() string {
	before := ""
	if n.Duplicate {
		before = "  (published before)"
	}
	return fmt.Sprintf("  new command: id %s  cid %s  seq %d%s", n.ID, n.CID, n.Seq, before)
}
