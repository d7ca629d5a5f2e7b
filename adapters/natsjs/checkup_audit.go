package natsjs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"subrelay/events"
	"subrelay/events/checkup"
)

// AuditCheck is the audit as a check. It may take long, and says how far it came where timeout ended it.
func (c *Checkup) AuditCheck(q AuditQuery, timeout time.Duration) checkup.Check {
	n := c.names
	needs := slices.Concat(toRead(n.Commands(), n.Outcomes(), n.DeadLetters()), requests("CONSUMER.LIST.%s", n.Commands()), requests("STREAM.MSG.GET.%s", n.Outcomes()))
	return checkup.Check{Name: "audit", Timeout: timeout, Needs: needs, Run: func(ctx context.Context, found *checkup.Found) error {
		a, err := c.Audit(ctx, q)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			found.Add(checkup.Finding{Severity: checkup.Warning, Code: "audit.incomplete", What: fmt.Sprintf("after %s it had read %s and %s: nothing is said of the rest",
				timeout, counted(a.Records, "record", "records"), counted(a.Commands, "command", "commands")),
				Why: "a command that was lost may be among those not looked at", Do: "give it longer with --timeout, or narrow it with --audit-since 24h"})
			return nil
		}
		if err != nil {
			return err
		}
		a.report(found)
		return nil
	}}
}

// report adds what the audit found.
func (a *Audit) report(found *checkup.Found) {
	before := found.Len()
	a.reportLedger(found)
	a.reportCases(found)
	if n := a.GapsDone; n > 0 {
		found.Add(checkup.Finding{Severity: checkup.Note, Code: "audit.commands_removed", Of: gapWords(a.CommandGaps),
			What: fmt.Sprintf("%s no longer in the command stream, though done: the ledger or the dead letters know them", counted(n, "command is", "commands are")),
			Why:  "somebody deleted them, or a block of the store is damaged", Do: "if nobody did, look at the servers' logs and disks"})
	}
	if a.Undelivered > 0 {
		found.Add(checkup.Finding{Severity: checkup.Error, Code: "audit.undelivered", What: fmt.Sprintf("%s of kinds that no consumer delivers", counted(a.Undelivered, "command is", "commands are")),
			Why: "they never run", Do: applyTopology})
	}
	if a.Unknowable > 0 {
		found.Add(checkup.Finding{Severity: checkup.Note, Code: "audit.unknowable", What: fmt.Sprintf("%s older than what the ledger remembers", counted(a.Unknowable, "command is", "commands are")),
			Why: "whether they were done cannot be said any more"})
	}
	if found.Len() == before {
		found.OK("audit.complete", "", "%s looked at: %d done, %d waiting, none lost", counted(a.Commands, "command", "commands"), a.Done, a.Waiting)
	}
}

func (a *Audit) reportLedger(found *checkup.Found) {
	if len(a.LedgerGaps) == 0 {
		return
	}
	n := uint64(0)
	for _, g := range a.LedgerGaps {
		n += g.Len()
	}
	found.Add(checkup.Finding{Severity: checkup.Error, Code: "audit.ledger_gap", Of: gapWords(a.LedgerGaps), Promise: true, Audited: true,
		What: fmt.Sprintf("%s missing from the middle of the ledger, where nothing is ever removed", counted(n, "record is", "records are")),
		Why:  "a block of the store is damaged, or somebody deleted them: what those records said is lost, and a command without any record would be done again if it were sent again",
		Do:   "look at the servers' logs and disks; restore the stream from a healthy replica or a backup; look up at the upstream what the findings audit.lost and audit.unfinished name before anything is requeued"})
}

func (a *Audit) reportCases(found *checkup.Found) {
	requeue := "subrelay replay commands --missing --dry-run lists them; without --dry-run it requeues them"
	if len(a.LedgerGaps) > 0 {
		requeue = "look each up at its upstream first, since the ledger has lost records and may have lost theirs; then " + requeue
	}
	for _, of := range []struct {
		state   AuditState
		n       int
		finding checkup.Finding
	}{
		{AuditLost, a.Lost, checkup.Finding{Code: "audit.lost", What: "acknowledged as done, with no record and no dead letter",
			Why: "nobody will run them any more, and nobody knows of them", Do: requeue}},
		{AuditUnfinished, a.Unended, checkup.Finding{Code: "audit.unfinished", What: "acknowledged as done, and the ledger knows only that they were begun",
			Why: "their outcome is lost, and nobody waits for it any more", Do: "subrelay replay commands --missing --unfinished --dry-run lists them; without --dry-run a worker settles them: " +
				"by reading, where that is configured, or as doubts; it does not call blindly"}},
		{AuditDamaged, a.Damaged, checkup.Finding{Code: "audit.damaged", Promise: true, Audited: true, What: "begun, and the newest record of each cannot be read from the server's disk",
			Why: "the server takes them for commands without a history: sent again, they are done again",
			Do:  "do not send them again; look each up at its upstream, and repair the ledger: restore the stream from a healthy replica or a backup"}},
		{AuditUnheld, a.Unheld, checkup.Finding{Code: "audit.unheld", What: "in doubt, and acknowledged, though later commands of the key are to wait until the doubt is resolved",
			Why: "later commands of the key run as if this one were done, on a state that nobody knows",
			Do:  "subrelay doubts list; look each up at its upstream, then subrelay doubts resolve, before more is sent for these keys"}},
		{AuditGone, a.Gone, checkup.Finding{Code: "audit.gone", What: "missing from the middle of the command stream, and neither the ledger nor the dead letters know them",
			Why: "a block of the store is damaged, or somebody deleted them: consumers pass them by in silence",
			Do:  "have billing send again what it sent " + gapTimes(a.CommandGaps) + ": what was done is not done again. Look at the servers' logs and disks"}},
	} {
		if of.n == 0 {
			continue
		}
		f := of.finding
		f.Severity, f.Of = checkup.Error, a.names(of.state, of.n)
		f.What = fmt.Sprintf("%s %s", counted(of.n, "command", "commands"), f.What)
		found.Add(f)
	}
}

// names is the first cases of a state, for people.
func (a *Audit) names(state AuditState, n int) string {
	const most = 5
	var words []string
	for _, one := range a.Cases {
		if one.State == state && len(words) < most {
			words = append(words, strings.TrimSpace(fmt.Sprintf("%d %s", one.Seq, one.CID)))
		}
	}
	text := strings.Join(words, ", ")
	if n > len(words) {
		text += fmt.Sprintf(" and %d more", n-len(words))
	}
	return text
}

// gapWords is runs of sequences, for people.
func gapWords(gaps []Gap) string {
	const most = 5
	var words []string
	for _, g := range gaps[:min(most, len(gaps))] {
		if g.First == g.Last {
			words = append(words, fmt.Sprint(g.First))
		} else {
			words = append(words, fmt.Sprintf("%d-%d", g.First, g.Last))
		}
	}
	text := strings.Join(words, ", ")
	if n := len(gaps) - most; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

// gapTimes is when the commands of the first gaps were stored, for people.
func gapTimes(gaps []Gap) string {
	const most = 3
	var words []string
	for _, g := range gaps[:min(most, len(gaps))] {
		switch at := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }; {
		case g.After.IsZero():
			words = append(words, "before "+at(g.Before))
		case g.Before.IsZero():
			words = append(words, "from "+at(g.After)+" on")
		default:
			words = append(words, "from "+at(g.After)+" to "+at(g.Before))
		}
	}
	return strings.Join(words, ", and ")
}

// OpenChecks count what waits for a person: doubts and dead letters.
func (c *Checkup) OpenChecks() []checkup.Check {
	return []checkup.Check{
		{Name: "doubts", Run: c.checkDoubts, Timeout: time.Minute, Needs: toRead(c.names.Outcomes())},
		{Name: "dead letters", Run: c.checkDead, Timeout: time.Minute, Needs: toRead(c.names.DeadLetters())},
	}
}

func (c *Checkup) checkDoubts(ctx context.Context, found *checkup.Found) error {
	if s, err := c.stream(ctx, c.names.Outcomes()); s == nil || err != nil {
		return err
	}
	ledger, err := NewLedger(c.js, LedgerSettings{Names: c.names})
	if err != nil {
		return err
	}
	count, holding := 0, 0
	var first time.Time
	for r, err := range NewOutcomes(ledger).Doubts(ctx, Query{}) {
		if err != nil {
			return err
		}
		if count++; count == 1 || r.Time().Before(first) {
			first = r.Time()
		}
		if spec, ok := events.SpecOf(c.topology.settings.Specs, r.Command.Kind); ok && spec.HoldsAfterDoubt {
			holding++
		}
	}
	if count == 0 {
		found.OK("doubts.open", "", "nothing is in doubt")
		return nil
	}
	f := checkup.Finding{Severity: checkup.Warning, Code: "doubts.open",
		What: fmt.Sprintf("%s in doubt, the oldest since %s", counted(count, "command is", "commands are"), first.UTC().Format(time.RFC3339)),
		Why:  "billing does not know whether it happened", Do: "subrelay doubts list; look each up at its upstream, then subrelay doubts resolve"}
	if holding > 0 {
		f.Why += fmt.Sprintf("; %d of them hold their keys: later commands of these wait", holding)
	}
	found.Add(f)
	return nil
}

func (c *Checkup) checkDead(ctx context.Context, found *checkup.Found) error {
	if s, err := c.stream(ctx, c.names.DeadLetters()); s == nil || err != nil {
		return err
	}
	letters := NewDeadLetters(c.js, DeadSettings{Names: c.names})
	open, err := letters.Open(ctx)
	if err != nil {
		return err
	}
	if len(open) == 0 {
		found.OK("dead_letters.open", "", "no dead letter is open")
		return nil
	}
	n, reasons := 0, []string{}
	for _, reason := range slices.Sorted(maps.Keys(open)) {
		n += open[reason]
		reasons = append(reasons, fmt.Sprintf("%d %s", open[reason], reason))
	}
	f := checkup.Finding{Severity: checkup.Warning, Code: "dead_letters.open",
		What: fmt.Sprintf("%s open: %s", counted(n, "dead letter is", "dead letters are"), strings.Join(reasons, ", ")),
		Why:  "each is a command that did not end as billing wanted", Do: "subrelay dead list; then subrelay dead redrive, or subrelay dead close"}
	err = letters.List(ctx, DeadQuery{OpenOnly: true, Limit: 1}, func(l Letter) error {
		f.What += "; the oldest since " + l.Time.UTC().Format(time.RFC3339)
		return nil
	})
	found.Add(f)
	return err
}
