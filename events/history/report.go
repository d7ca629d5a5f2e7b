package history

import (
	"fmt"
	"strings"
)

// Rule names what a violation violates.
type Rule string

// The rules.
const (
	// DoubleEffect: more than one effect of one command.
	DoubleEffect Rule = "double_effect"
	// LostEffect: a success without an effect.
	LostEffect Rule = "lost_effect"
	// DeniedEffect: an effect of an attempt or a command that the ledger says had none.
	DeniedEffect Rule = "denied_effect"
	// StrayCall: a call without a command, or without a stored start of its attempt.
	StrayCall Rule = "stray_call"
	// Disorder: an effect after that of a later command of the same key and upstream.
	Disorder Rule = "order"
	// Overlap: a call that began while another of the same key and upstream was going on.
	Overlap Rule = "overlap"
	// BrokenHold: an attempt that began while an earlier command of the same key, whose kind holds it, was in doubt.
	BrokenHold Rule = "broken_hold"
	// Unresolved: neither a final outcome, nor a doubt, nor a dead letter that stands for one.
	Unresolved Rule = "unresolved"
	// FinalTwice: a record behind a final one.
	FinalTwice Rule = "final_twice"
	// BadDoubt: a doubt without a reason, without a started attempt, or without its copy in the dead letters.
	BadDoubt Rule = "bad_doubt"
	// BadRecord: a record that does not follow from the one before it, or that belongs to no command.
	BadRecord Rule = "bad_record"
	// GivenUpSilently: rejected or failed without a dead letter.
	GivenUpSilently Rule = "given_up_silently"
)

// Violation is one broken rule, for people.
type Violation struct {
	Rule   Rule   `json:"rule"`
	CID    string `json:"cid,omitempty"`
	Key    string `json:"key,omitempty"`
	Detail string `json:"detail"`
}

func (v Violation) String() string {
	s := string(v.Rule)
	if v.Key != "" {
		s += " key=" + v.Key
	}
	if v.CID != "" {
		s += " cid=" + v.CID
	}
	return s + ": " + v.Detail
}

// Report is the verdict. Commands = Succeeded + Rejected + Failed + Expired + Cancelled + InDoubt + Dead + Unresolved.
type Report struct {
	Commands   int `json:"commands"`   // different commands accepted
	Duplicates int `json:"duplicates"` // messages accepted beyond the first of each command

	Succeeded  int `json:"succeeded"`
	Rejected   int `json:"rejected"`
	Failed     int `json:"failed"`
	Expired    int `json:"expired"`
	Cancelled  int `json:"cancelled"`
	InDoubt    int `json:"in_doubt"`   // the last word is a doubt
	Dead       int `json:"dead"`       // can never run: a dead letter and no outcome
	Unresolved int `json:"unresolved"` // none of these

	Calls           int `json:"calls"`   // calls that the upstreams' books hold
	Effects         int `json:"effects"` // those that had their effect
	DoubleEffects   int `json:"double_effects"`
	LostEffects     int `json:"lost_effects"`
	DeniedEffects   int `json:"denied_effects"`
	StrayCalls      int `json:"stray_calls"`
	OrderViolations int `json:"order_violations"`
	Overlaps        int `json:"overlaps"`
	BrokenHolds     int `json:"broken_holds"`
	FinalTwice      int `json:"final_twice"`
	BadDoubts       int `json:"bad_doubts"`
	BadRecords      int `json:"bad_records"`
	GivenUpSilently int `json:"given_up_silently"`

	// Violations is every broken rule, sorted by rule, key, cid and detail.
	Violations []Violation `json:"violations,omitempty"`
}

// OK reports whether nothing was violated. A doubt is no violation.
func (r *Report) OK() bool { return len(r.Violations) == 0 }

// shownViolations is how many violations String spells out.
const shownViolations = 50

// String is the report for people: the counts, and the violations one per line.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "commands %d (and %d duplicates): succeeded %d, rejected %d, failed %d, expired %d, cancelled %d, in doubt %d, dead %d, unresolved %d\n",
		r.Commands, r.Duplicates, r.Succeeded, r.Rejected, r.Failed, r.Expired, r.Cancelled, r.InDoubt, r.Dead, r.Unresolved)
	fmt.Fprintf(&b, "calls %d, effects %d: double %d, lost %d, denied %d, stray %d, out of order %d, overlapping %d, begun in doubt %d\n",
		r.Calls, r.Effects, r.DoubleEffects, r.LostEffects, r.DeniedEffects, r.StrayCalls, r.OrderViolations, r.Overlaps, r.BrokenHolds)
	if r.OK() {
		b.WriteString("no violation\n")
		return b.String()
	}
	fmt.Fprintf(&b, "%d violations\n", len(r.Violations))
	for i, v := range r.Violations {
		if i == shownViolations {
			fmt.Fprintf(&b, "  and %d more\n", len(r.Violations)-i)
			break
		}
		fmt.Fprintf(&b, "  %s\n", v)
	}
	return b.String()
}

// counter is the figure of a rule.
func (r *Report) counter(rule Rule) *int {
	return map[Rule]*int{
		DoubleEffect: &r.DoubleEffects, LostEffect: &r.LostEffects, DeniedEffect: &r.DeniedEffects, StrayCall: &r.StrayCalls,
		Disorder: &r.OrderViolations, Overlap: &r.Overlaps, BrokenHold: &r.BrokenHolds, Unresolved: &r.Unresolved, FinalTwice: &r.FinalTwice,
		BadDoubt: &r.BadDoubts, BadRecord: &r.BadRecords, GivenUpSilently: &r.GivenUpSilently,
	}[rule]
}
