package main

import (
	"context"
	"strings"

	"subrelay/adapters/sandbox"
	"subrelay/events"
	"subrelay/events/history"
)

// clerk has the replies of the puzzles hang, and changes by hand what a read would have shown.
func (a *demoActs) clerk(ctx context.Context) error {
	open := map[string]demoPuzzle{}
	for _, p := range a.script.puzzles {
		faults := a.crmcom.Faults()
		if p.kind() == events.Renew {
			faults = a.tvms.Faults()
		}
		if err := faults.Next(sandbox.Fault{Kind: p.hangs, Customer: p.key()}); err != nil {
			return err
		}
		if p.clerk {
			open[p.key()] = p
		}
	}
	return until(ctx, func() bool {
		for key, p := range open {
			if a.applied(&p.sending) {
				a.meddle(&p.sending)
				delete(open, key)
			}
		}
		return len(open) == 0
	})
}

// applied reports whether the books hold an effect of a command.
func (s *demoStage) applied(w *sending) bool {
	return appliedIn(s.book.Page(sandbox.BookQuery{Customer: w.key()}).Effects, w.cid())
}

func appliedIn(effects []history.Effect, cid string) bool {
	for _, e := range effects {
		if e.Applied && strings.HasPrefix(e.Ref, cid+".") {
			return true
		}
	}
	return false
}

// meddle changes a customer's date, or the services of a subscription. What is there is accepted when it is put.
func (s *demoStage) meddle(w *sending) {
	if w.kind() == events.Renew {
		if c, ok := s.tvms.Customer(w.key()); ok {
			c.Expires = c.Expires.AddDate(0, 0, 1)
			_ = s.tvms.PutCustomers(c)
		}
		return
	}
	if sub, ok := s.crmcom.Subscription(w.key()); ok {
		sub.Services = append(sub.Services, sandbox.Service{Product: events.ServiceIdentifier{Code: "GOODWILL"}})
		_ = s.crmcom.PutSubscriptions(sub)
	}
}

// person resolves the doubts that hold up other commands: by looking into the books, since nothing else can tell.
func (a *demoActs) person(ctx context.Context) error {
	for _, p := range a.script.held() {
		last, err := a.decided(ctx, &p.sending)
		if err != nil {
			return err
		}
		if last.Status.Final() {
			continue // it was settled after all
		}
		applied, reason := a.applied(&p.sending), "the upstream's book has no such effect"
		if applied {
			reason = "the upstream's book has the effect"
		}
		by := events.Resolution{By: "demo", Reason: reason}
		if _, _, err := a.client.settle(ctx, last, applied, by); err != nil {
			return err
		}
		if _, err := a.client.closeDoubt(ctx, last.Command.Seq, by.By, by.Reason); err != nil {
			return err
		}
		a.tell.sayf("%s for %s is in doubt and holds its key; a person looks and says: %s",
			p.kind(), p.key(), map[bool]string{true: "done", false: "not done"}[applied])
	}
	return nil
}

// decided waits until a command has come to its end or is in doubt, and returns its last record.
func (a *demoActs) decided(ctx context.Context, w *sending) (events.Record, error) {
	key, err := events.KeyToken(w.key())
	if err != nil {
		return events.Record{}, err
	}
	return a.client.outcomes.Wait(ctx, key, w.cid())
}

func (w *sending) cid() string { return events.CID(w.event.Source(), w.event.ID(), w.event.Subject()) }
