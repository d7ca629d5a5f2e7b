package main

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"subrelay/events"
	"subrelay/events/history"
)

// demoResult is the last line of demo -o json.
type demoResult struct {
	OK bool `json:"ok"`
	history.Report
	Duplicates    int           `json:"duplicates"`       // sent on purpose, whether or not the broker let them in
	Settled       int           `json:"settled"`          // unclear attempts that a read or a repetition settled
	Resolved      int           `json:"resolved"`         // doubts that a person has resolved
	Applied       int           `json:"resolved_applied"` // of these, as applied
	TokensLost    int           `json:"tokens_lost"`
	BreakerOpened int           `json:"breaker_opened"`
	AttemptsSpent int           `json:"attempts_spent"` // used up by refused connections, tokens and the like; there must be none
	Charges       int           `json:"charges"`        // of Netflix
	ChargesOpen   int           `json:"charges_open"`   // not acknowledged in the end
	Kinds         []demoTally   `json:"kinds"`
	Upstreams     []demoTally   `json:"upstreams"`
	Independence  []*demoOutage `json:"independence"`
	Seed          uint64        `json:"seed"`
	Seconds       float64       `json:"seconds"`
}

// demoLate is how long what is unresolved is looked at again.
const demoLate = 5 * time.Second

// judgeSettled judges, and looks again for a while where something is unresolved: what is pending, by which settle goes,
// the server counts a little late.
func (a *demoActs) judgeSettled(ctx context.Context) (r demoResult, err error) {
	limited, cancel := context.WithTimeout(ctx, demoLate)
	defer cancel()
	late := until(limited, func() bool {
		r, err = a.judge(ctx)
		return err != nil || r.Unresolved == 0
	})
	if err == nil && late != nil {
		return r, ctx.Err() // unresolved it is, then
	}
	return r, err
}

// judge compares the books with the outcomes.
func (a *demoActs) judge(ctx context.Context) (demoResult, error) {
	evidence, err := a.client.evidence(ctx, a.book.Effects()...)
	if err != nil {
		return demoResult{}, err
	}
	times, err := a.client.times(ctx)
	if err != nil {
		return demoResult{}, err
	}
	r := verdictOn(evidence)
	r.Duplicates, r.Seed = a.sent.duplicates+a.repeats, a.f.seed
	r.Charges, r.ChargesOpen, r.Independence = len(a.script.charges), a.openCharges(), a.outages
	r.OK = r.OK && r.ChargesOpen == 0 && r.AttemptsSpent == 0
	for _, o := range a.outages {
		o.measure(times, a.outages[0].from)
	}
	for i := range r.Upstreams {
		opened := a.guard(events.Upstream(r.Upstreams[i].Name)).Opened()
		r.Upstreams[i].BreakerOpened = opened
		r.BreakerOpened += opened
	}
	return r, nil
}

// verdictOn is what the evidence alone says.
func verdictOn(e history.Evidence) demoResult {
	r := demoResult{Report: history.Check(e)}
	r.OK = r.Report.OK()
	r.Kinds, r.Upstreams = tally(e)
	r.AttemptsSpent = spentByOutages(e.Records)
	for _, record := range e.Records {
		if record.Resolution != nil {
			r.Resolved++
			if record.Status == events.Succeeded {
				r.Applied++
			}
		}
		if strings.Contains(string(record.Result), `"token_lost":true`) {
			r.TokensLost++
		}
	}
	for _, upstream := range r.Upstreams {
		r.Settled += upstream.Settled
	}
	return r
}

// spentByOutages is how many attempts were used up by failures that speak of an upstream as a whole. (A call that was
// under way when its connection was cut is unclear; where it turns out to have changed nothing, it was an attempt.)
func spentByOutages(records []events.Record) (spent int) {
	whole := []string{events.CodeUnreachable, events.CodeUnauthorized, events.CodeThrottled}
	before := map[string]int{} // by cid
	sorted := slices.SortedFunc(slices.Values(records), func(a, b events.Record) int { return cmp.Compare(a.Seq, b.Seq) })
	for _, r := range sorted {
		if r.Spent == nil {
			continue
		}
		if r.Status == events.Deferred && r.Error != nil && slices.Contains(whole, r.Error.Code) {
			spent += r.Spent.Attempts - before[r.Command.CID]
		}
		before[r.Command.CID] = r.Spent.Attempts
	}
	return spent
}
