package history

import (
	"fmt"
	"slices"

	"subrelay/events"
)

// checkLife judges one command by itself: what became of it, whether its records follow from each other, and whether
// its effects are what they say.
func (c *checker) checkLife(l *life) {
	status := c.count(l)
	c.checkRecords(l)
	c.checkEffects(l, status)
	if givesUp(status) && len(c.lettered[l.CID]) == 0 {
		c.found(GivenUpSilently, l, "%s, and no dead letter", status)
	}
}

// givesUp reports whether a command that ends so must be in the dead letters.
func givesUp(s events.Status) bool { return s == events.Rejected || s == events.Failed }

// count counts what became of the command, and returns its final status: that of its first final record, or in_doubt,
// or "".
func (c *checker) count(l *life) events.Status {
	status := l.fate()
	switch status {
	case events.Succeeded:
		c.report.Succeeded++
	case events.Rejected:
		c.report.Rejected++
	case events.Failed:
		c.report.Failed++
	case events.Expired:
		c.report.Expired++
	case events.Cancelled:
		c.report.Cancelled++
	case events.InDoubt:
		c.report.InDoubt++
	default:
		if l.ended == l.seqs {
			c.report.Dead++
		} else {
			c.found(Unresolved, l, "accepted as %d, and %s", l.Seq, l.lastWord())
		}
	}
	return status
}

func (l *life) fate() events.Status {
	for _, r := range l.records {
		if r.Status.Final() {
			return r.Status
		}
	}
	if last := l.records.Last(); last != nil && last.Status == events.InDoubt {
		return events.InDoubt
	}
	return ""
}

func (l *life) lastWord() string {
	last := l.records.Last()
	if last == nil {
		return "nothing more is known of it"
	}
	return fmt.Sprintf("its last record is %s of attempt %d", last.Status, last.Attempt)
}

// checkRecords checks each record against the one before it.
func (c *checker) checkRecords(l *life) {
	var before *events.Record
	final := false
	for i := range l.records {
		r := &l.records[i]
		switch {
		case final:
			c.found(FinalTwice, l, "the record %d, %s of attempt %d, is behind a final one", r.Seq, r.Status, r.Attempt)
		case r.Status == events.InDoubt:
			c.checkDoubt(l, i)
		case !follows(before, r) && !c.corrects(l, i):
			c.found(BadRecord, l, "the record %d, %s of attempt %d, follows %s", r.Seq, r.Status, r.Attempt, describe(before))
		}
		if r.Command.Key != l.Key || r.Command.Kind != l.Kind || r.Upstream != l.Upstream {
			c.found(BadRecord, l, "the record %d is of %s of %s for %q; the command is %s of %s for %q",
				r.Seq, r.Command.Kind, r.Upstream, r.Command.Key, l.Kind, l.Upstream, l.Key)
		}
		final = final || r.Status.Final()
		before = r
	}
}

func describe(r *events.Record) string {
	if r == nil {
		return "nothing"
	}
	return fmt.Sprintf("%s of attempt %d", r.Status, r.Attempt)
}

// follows reports whether r may be written behind before, which is nil where r is the first. Doubts are judged by
// checkDoubt.
func follows(before, r *events.Record) bool {
	if before == nil {
		return r.Status == events.Started && r.Attempt == 1 ||
			r.Attempt == 0 && r.Status.Final() && r.Status != events.Succeeded
	}
	switch before.Status {
	case events.Started:
		return r.Attempt == before.Attempt &&
			slices.Contains([]events.Status{events.Deferred, events.Succeeded, events.Rejected, events.Failed}, r.Status)
	case events.Deferred:
		return r.Status == events.Started && r.Attempt == before.Attempt+1 ||
			r.Status.Final() && r.Status != events.Succeeded
	case events.InDoubt:
		return r.Attempt == before.Attempt &&
			slices.Contains([]events.Status{events.Succeeded, events.Rejected, events.Failed}, r.Status)
	}
	return false
}

// corrects reports whether the i-th record is a success behind "deferred" of its attempt or a later one. Of a kind under a
// reference it is the success of a repetition: the worker that deferred knew only of its own call. Of any other, an
// attempt before was settled as not applied, and a look before the next one has found that its effect has come since.
func (c *checker) corrects(l *life, i int) bool {
	if i == 0 || l.records[i-1].Status != events.Deferred || l.records[i].Status != events.Succeeded {
		return false
	}
	before, r := &l.records[i-1], &l.records[i]
	if l.unsure(i) && r.Attempt == before.Attempt {
		return true
	}
	return c.spec(l.Kind).Referenced && r.Attempt >= 1 && r.Attempt <= before.Attempt
}

// unsure reports whether an attempt was settled as not applied before the i-th record: its effect may still come.
func (l *life) unsure(i int) bool {
	return slices.ContainsFunc(l.records[:i], func(r events.Record) bool { return r.NotApplied() })
}

// checkDoubt checks that a doubt, the i-th record, is justified: a call may have gone out, it says why nothing could tell,
// and it was copied to the dead letters, where somebody will look at it.
func (c *checker) checkDoubt(l *life, i int) {
	doubt := &l.records[i]
	var before *events.Record
	if i > 0 {
		before = &l.records[i-1]
	}
	switch {
	case before == nil || before.Attempt != doubt.Attempt || before.Status != events.Started && (before.Status != events.Deferred || !l.unsure(i)):
		c.found(BadDoubt, l, "attempt %d is in doubt behind %s", doubt.Attempt, describe(before))
	case doubt.Error == nil || doubt.Error.Code == "":
		c.found(BadDoubt, l, "attempt %d is in doubt without a reason", doubt.Attempt)
	case !c.lettered[l.CID][events.DeadInDoubt]:
		c.found(BadDoubt, l, "attempt %d is in doubt and not in the dead letters", doubt.Attempt)
	}
}

// checkEffects compares what the upstream did with what the ledger says. status is the command's fate, "" where it has
// none. Of a kind under a reference it is the fate that counts: a repetition may have its effect although the attempt's
// first call is known to have changed nothing.
func (c *checker) checkEffects(l *life, status events.Status) {
	first := ""
	for _, call := range l.calls {
		if !call.Applied {
			continue
		}
		if first != "" {
			c.found(DoubleEffect, l, "%s had an effect, number %d, and %s had one before", call.Ref, call.Order, first)
		}
		first = call.Ref
		_, attempt, _ := call.Attempt()
		switch {
		case deniesEffect(status):
			c.found(DeniedEffect, l, "%s had an effect, number %d, and the outcome is %s", call.Ref, call.Order, status)
		case l.has(events.Deferred, attempt) && !c.admits(l, status) && (deniesEffect(status) || !l.corrected(attempt)):
			c.found(DeniedEffect, l, "%s had an effect, number %d, and the record says deferred: nothing changed", call.Ref, call.Order)
		}
	}
	if status == events.Succeeded && first == "" {
		c.found(LostEffect, l, "succeeded, and the upstream's book has no effect")
	}
}

// corrected reports whether an attempt that was settled as not applied was looked at again, and the command came to agree
// with an effect of it: a success, or a doubt.
func (l *life) corrected(attempt int) bool {
	i := slices.IndexFunc(l.records, func(r events.Record) bool { return r.NotApplied() && r.Attempt == attempt })
	return i >= 0 && slices.ContainsFunc(l.records[i:], func(r events.Record) bool {
		return r.Status == events.Succeeded || r.Status == events.InDoubt
	})
}

// admits reports whether a command of a kind under a reference ends so that an effect of any attempt agrees with it.
func (c *checker) admits(l *life, status events.Status) bool {
	return c.spec(l.Kind).Referenced && (status == events.Succeeded || status == events.InDoubt)
}

// deniesEffect reports whether an outcome says that nothing happened.
func deniesEffect(s events.Status) bool { return s.Final() && s != events.Succeeded }
