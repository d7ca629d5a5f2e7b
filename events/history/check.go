package history

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"subrelay/events"
)

// Check judges a complete history. It reads no clock and changes nothing of what it is given.
func Check(e Evidence) Report {
	c := &checker{
		specs: e.Specs, lives: map[string]*life{}, dead: map[uint64]Dead{}, lettered: map[string]map[events.Reason]bool{},
	}
	if c.specs == nil {
		c.specs = events.Specs()
	}
	c.readDead(e)
	c.readCommands(e.Commands)
	c.readRecords(e.Records)
	c.readCalls(e.Effects)
	for _, l := range c.lives {
		c.checkLife(l)
	}
	c.checkCalls(e.Effects)
	c.checkHolds()
	slices.SortFunc(c.report.Violations, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Key, b.Key), cmp.Compare(a.CID, b.CID), cmp.Compare(a.Detail, b.Detail))
	})
	return c.report
}

// life is what is known of one command.
type life struct {
	Command     // as first accepted
	seqs    int // how often it was accepted
	ended   int // how many of these ended in a dead letter without an outcome
	records events.History
	calls   []Effect
}

type checker struct {
	specs    []events.Spec
	lives    map[string]*life
	dead     map[uint64]Dead                   // those without an outcome, by the command's sequence
	lettered map[string]map[events.Reason]bool // all others, by cid
	report   Report
}

// found reports a violation, and counts it once.
func (c *checker) found(rule Rule, l *life, format string, args ...any) {
	*c.report.counter(rule)++
	v := Violation{Rule: rule, Detail: fmt.Sprintf(format, args...)}
	if l != nil {
		v.CID, v.Key = l.CID, l.Key
	}
	c.report.Violations = append(c.report.Violations, v)
}

func (c *checker) readDead(e Evidence) {
	cids := make(map[uint64]string, len(e.Commands))
	for _, cmd := range e.Commands {
		cids[cmd.Seq] = cmd.CID
	}
	for _, d := range e.Dead {
		if d.Reason.EndsWithoutOutcome() {
			c.dead[d.Seq] = d
			continue
		}
		d.CID = cmp.Or(d.CID, cids[d.Seq])
		if c.lettered[d.CID] == nil {
			c.lettered[d.CID] = map[events.Reason]bool{}
		}
		c.lettered[d.CID][d.Reason] = true
	}
}

// readCommands makes one life per cid. What has no identity, or another's, is a command of its own.
func (c *checker) readCommands(commands []Command) {
	sorted := slices.SortedFunc(slices.Values(commands), func(a, b Command) int { return cmp.Compare(a.Seq, b.Seq) })
	for _, cmd := range sorted {
		letter, ended := c.dead[cmd.Seq]
		switch {
		case ended && (cmd.CID == "" || letter.Reason == events.DeadIDReused):
			c.report.Commands++
			c.report.Dead++
		case cmd.CID == "":
			c.report.Commands++
			c.found(Unresolved, nil, "the message %d has no identity and no dead letter", cmd.Seq)
		default:
			c.accept(cmd, ended)
		}
	}
	c.report.Commands += len(c.lives)
}

func (c *checker) accept(cmd Command, ended bool) {
	l := c.lives[cmd.CID]
	if l == nil {
		if spec, ok := events.SpecOf(c.specs, cmd.Kind); ok {
			cmd.Upstream = cmp.Or(cmd.Upstream, spec.Upstream)
		}
		l = &life{Command: cmd}
		c.lives[cmd.CID] = l
	} else {
		c.report.Duplicates++
	}
	l.seqs++
	if ended {
		l.ended++
	}
}

func (c *checker) readRecords(records []events.Record) {
	sorted := slices.SortedFunc(slices.Values(records), func(a, b events.Record) int { return cmp.Compare(a.Seq, b.Seq) })
	for _, r := range sorted {
		l := c.lives[r.Command.CID]
		if l == nil {
			stray := &life{Command: Command{CID: r.Command.CID, Key: r.Command.Key}}
			c.found(BadRecord, stray, "the record %d, %s, belongs to no command that was accepted", r.Seq, r.Status)
			continue
		}
		l.records = append(l.records, r)
	}
}

// readCalls gives each call to its command, and finds those that have none.
func (c *checker) readCalls(calls []Effect) {
	sorted := slices.SortedFunc(slices.Values(calls), func(a, b Effect) int { return cmp.Compare(a.BeginOrder, b.BeginOrder) })
	for _, call := range sorted {
		c.report.Calls++
		if call.Applied {
			c.report.Effects++
		}
		l, attempt := c.lifeOf(&call)
		switch {
		case l == nil:
			c.found(StrayCall, &life{Command: Command{Key: call.Key}}, "a call with the reference %q belongs to no command (%s)", call.Ref, applied(&call))
			continue
		case !l.started(attempt):
			c.found(StrayCall, l, "attempt %d called, and no start of it is stored (%s)", attempt, applied(&call))
		case call.Key != l.Key || call.Upstream != l.Upstream || call.Kind != l.Kind:
			c.found(StrayCall, l, "attempt %d called %s of %s for the customer %q; the command is %s of %s for %q",
				attempt, call.Kind, call.Upstream, call.Key, l.Kind, l.Upstream, l.Key)
		}
		l.calls = append(l.calls, call)
	}
}

func (c *checker) lifeOf(call *Effect) (*life, int) {
	cid, attempt, ok := call.Attempt()
	if !ok {
		return nil, 0
	}
	return c.lives[cid], attempt
}

func applied(call *Effect) string {
	if call.Applied {
		return fmt.Sprintf("it had its effect, number %d", call.Order)
	}
	return "it had no effect"
}

// started reports whether the ledger holds the start of an attempt.
func (l *life) started(attempt int) bool { return l.has(events.Started, attempt) }

func (l *life) has(status events.Status, attempt int) bool {
	return slices.ContainsFunc(l.records, func(r events.Record) bool { return r.Status == status && r.Attempt == attempt })
}

// lane is what must stay in order, and must not overlap.
type lane struct {
	key      string
	upstream events.Upstream
}

// checkCalls checks order and overlap, lane by lane.
func (c *checker) checkCalls(calls []Effect) {
	lanes := map[lane][]Effect{}
	for _, call := range calls {
		at := lane{call.Key, call.Upstream}
		lanes[at] = append(lanes[at], call)
	}
	for _, calls := range lanes {
		c.checkOverlap(calls)
		c.checkOrder(calls)
	}
}

// checkOverlap finds calls that began while another was going on. A call that the ledger has put in doubt no longer
// holds up a kind that goes on after doubts: we gave it up, and when the upstream is through with it we cannot know.
// Calls of one attempt under a reference may overlap: one may be that of a worker that was taken for dead, and the other
// its repetition, which settles the attempt.
func (c *checker) checkOverlap(calls []Effect) {
	slices.SortFunc(calls, func(a, b Effect) int { return cmp.Compare(a.BeginOrder, b.BeginOrder) })
	var last *Effect // the one that ends last of those that hold up others
	for i := range calls {
		call := &calls[i]
		if last != nil && call.BeginOrder < last.end() && !c.repeats(call, last) {
			l, _ := c.lifeOf(call)
			if l == nil {
				l = &life{Command: Command{Key: call.Key}}
			}
			c.found(Overlap, l, "the call %s (%d to %s) began during the call %s (%d to %s)",
				call.Ref, call.BeginOrder, call.ending(), last.Ref, last.BeginOrder, last.ending())
		}
		if !c.givenUp(call) && (last == nil || call.end() > last.end()) {
			last = call
		}
	}
}

// repeats reports whether call is of the same attempt as another, of a kind under a reference.
func (c *checker) repeats(call, other *Effect) bool {
	return call.Ref == other.Ref && c.spec(call.Kind).Referenced
}

// checkOrder finds effects that came after that of a later command. One of an attempt in doubt may come late, where the
// kind goes on after doubts.
func (c *checker) checkOrder(calls []Effect) {
	slices.SortFunc(calls, func(a, b Effect) int { return cmp.Compare(a.Order, b.Order) })
	var latest *life
	for i := range calls {
		call := &calls[i]
		l, _ := c.lifeOf(call)
		if !call.Applied || l == nil {
			continue
		}
		if latest != nil && l.Seq < latest.Seq && !c.givenUp(call) {
			c.found(Disorder, l, "the effect %d of %s, accepted as %d, came after that of %s, accepted as %d",
				call.Order, call.Ref, l.Seq, latest.CID, latest.Seq)
		}
		if latest == nil || l.Seq > latest.Seq {
			latest = l
		}
	}
}

// givenUp reports whether the call's attempt is in doubt and its kind goes on after doubts.
func (c *checker) givenUp(call *Effect) bool {
	l, attempt := c.lifeOf(call)
	return l != nil && l.has(events.InDoubt, attempt) && !c.spec(l.Kind).HoldsAfterDoubt
}

func (c *checker) spec(kind events.Kind) events.Spec {
	spec, _ := events.SpecOf(c.specs, kind)
	return spec
}

// checkHolds finds attempts that began while an earlier command of the same key was in doubt, whose kind holds the key
// until the doubt is resolved.
func (c *checker) checkHolds() {
	lanes := map[lane][]*life{}
	for _, l := range c.lives {
		at := lane{l.Key, l.Upstream}
		lanes[at] = append(lanes[at], l)
	}
	for _, l := range c.lives {
		if !c.spec(l.Kind).HoldsAfterDoubt {
			continue
		}
		for i := range l.records {
			if l.records[i].Status == events.InDoubt {
				c.checkHeld(l, i, lanes[lane{l.Key, l.Upstream}])
			}
		}
	}
}

// checkHeld checks those who had to wait for the doubt that is record i of l.
func (c *checker) checkHeld(l *life, i int, all []*life) {
	doubt, resolved := l.records[i].Seq, uint64(math.MaxUint64)
	if i+1 < len(l.records) {
		resolved = l.records[i+1].Seq
	}
	for _, later := range all {
		for _, r := range later.records {
			if later.Seq > l.Seq && r.Status == events.Started && r.Seq > doubt && r.Seq < resolved {
				c.found(BrokenHold, later, "attempt %d, record %d, began while %s, accepted before it, was in doubt since record %d",
					r.Attempt, r.Seq, l.CID, doubt)
			}
		}
	}
}

// end is the tick at which the call was over.
func (e *Effect) end() int64 {
	if e.EndOrder == 0 {
		return math.MaxInt64
	}
	return e.EndOrder
}

func (e *Effect) ending() string {
	if e.EndOrder == 0 {
		return "now"
	}
	return fmt.Sprint(e.EndOrder)
}
