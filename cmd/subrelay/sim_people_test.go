package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"subrelay/adapters/natsjs"
	"subrelay/events"
	"subrelay/events/history"
)

// tend is what people and billing do while a simulation goes on.
func (w *world) tend() {
	w.Helper()
	if w.resolves {
		w.resolve()
	}
	if w.reacts {
		w.react()
	}
}

// patience is how long after a doubt an operator looks at the upstream: nothing of the attempt is under way by then.
const patience = 15 * time.Second

// resolve writes the truth about commands in doubt that hold their key, and about some others, as the book has it.
func (w *world) resolve() {
	w.Helper()
	book := w.book.Effects()
	var doubts []events.Record
	for r, err := range w.cl.outcomes.Doubts(w.Context(), natsjs.Query{}) {
		if err != nil {
			return // the broker is away
		}
		doubts = append(doubts, r)
	}
	for _, r := range doubts {
		spec, _ := events.SpecOf(events.Specs(), r.Command.Kind)
		if time.Since(*r.FinishedAt) < patience || underWay(book, r.Command.CID) || !spec.HoldsAfterDoubt && w.random.IntN(4) > 0 {
			continue
		}
		by := events.Resolution{By: "anna", Reason: "seen in the book"}
		_, _, err := w.cl.settle(w.Context(), r, wasApplied(book, r.Command.CID), by)
		if err != nil && events.KindOf(err) == events.Refused {
			w.Errorf("resolving the doubt about %s: %v", r.Command.CID, err)
		}
	}
}

func underWay(book []history.Effect, cid string) bool {
	return slices.ContainsFunc(book, func(e history.Effect) bool { return isOf(&e, cid) && e.EndOrder == 0 })
}

func wasApplied(book []history.Effect, cid string) bool {
	return slices.ContainsFunc(book, func(e history.Effect) bool { return isOf(&e, cid) && e.Applied })
}

func isOf(e *history.Effect, cid string) bool {
	of, _, _ := e.Attempt()
	return of == cid
}

// react has billing acknowledge each charge that it was told is settled, as the README's recipe does.
func (w *world) react() {
	w.Helper()
	var settled []natsjs.StoredCharge
	err := natsjs.NewCharges(w.cl.ledger).Read(w.Context(), natsjs.ChargeQuery{FromSeq: w.told + 1}, func(c natsjs.StoredCharge) error {
		settled = append(settled, c)
		return nil
	})
	if err != nil {
		return // the broker is away: what was read is read again
	}
	for _, c := range settled {
		w.told = c.Seq
		if c.ChargeStatus == events.ChargePending {
			continue
		}
		customer := c.BillingSystemCustomerIdentifier
		w.send(w.command(events.NetflixAcknowledge, "ack-"+c.Number, customer, events.NetflixChargesData{
			ChargesSet: []events.ChargeIdentifier{{Number: c.Number, BillingSystemCustomerIdentifier: customer}},
		}))
	}
}

// verdictOnCharges fails the test unless each charge was told of once in each state that the feed could not miss, and in
// none that it never had. The feed gets the time for its next rounds.
func (w *world) verdictOnCharges() {
	w.Helper()
	feed := w.config.Netflix.API.Charges
	if feed.Feed == nil || !*feed.Feed || w.config.CRMCOM.API.BaseURL == "" || w.config.Netflix.API.Disabled {
		return
	}
	time.Sleep(time.Minute)
	told := map[string]int{}
	err := natsjs.NewCharges(w.cl.ledger).Read(w.Context(), natsjs.ChargeQuery{}, func(c natsjs.StoredCharge) error {
		told[c.Number+" "+c.ChargeStatus]++
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	for _, c := range w.crm.Charges() {
		now := c.Number + " " + c.ChargeStatus
		if told[now] == 0 && !c.Acknowledged {
			w.Errorf("the charge %s was never told of", now)
		}
		for _, had := range []string{now, c.Number + " " + w.began[c.Number]} {
			if told[had] > 1 {
				w.Errorf("the charge %s was told of %d times", had, told[had])
			}
			delete(told, had)
		}
	}
	for _, had := range sortedKeys(told) {
		w.Errorf("it was told of a charge %s, which there never was", fmt.Sprintf("%q", had))
	}
}

// settled counts how attempts were settled, to be read by who wants to know what a simulation has met.
func (w *world) settled() map[string]int {
	w.Helper()
	counts := map[string]int{}
	err := w.cl.outcomes.Read(w.Context(), natsjs.Query{}, func(s natsjs.Stored) error {
		var result struct {
			SettledBy string `json:"settled_by"`
		}
		_ = json.Unmarshal(s.Result, &result) // there may be none
		counts["by "+result.SettledBy]++
		counts[string(s.Status)]++
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	delete(counts, "by ")
	return counts
}
