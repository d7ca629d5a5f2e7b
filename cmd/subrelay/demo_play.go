package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/sandbox"
	"subrelay/events"
	"subrelay/events/history"
)

// play tells the story: billing sends, TVMS goes down and comes back, replies get lost, and the books are compared.
func (s *demoStage) play(ctx context.Context, tell *narrator) (demoResult, error) {
	cl, err := s.client()
	if err != nil {
		return demoResult{}, err
	}
	defer cl.close()
	tell.sayf("NATS, TVMS (%s) and a worker run in this process; seed %d", s.server.URL(), s.f.seed)
	tell.sayf("billing sends %d renewals of %d customers, and %d more that are duplicates or wrong",
		s.f.commands, s.f.customers, len(s.script.sendings)-s.f.commands)
	group, groupCtx := errgroup.WithContext(ctx)
	sent := &demoProgress{all: len(s.script.sendings)}
	tell.count(sent.all, "sent")
	group.Go(func() error { return s.send(groupCtx, cl, sent, tell) })
	group.Go(func() error { return s.disturb(groupCtx, sent, tell) })
	group.Go(func() error { return s.clerk(groupCtx) })
	if err := group.Wait(); err != nil {
		return demoResult{}, err
	}
	tell.end()
	tell.sayf("everything is sent; waiting until nothing is under way")
	if err := s.settle(ctx, cl); err != nil {
		return demoResult{}, err
	}
	return s.judgeSettled(ctx, cl, sent)
}

// judgeSettled judges, and looks again for a while where something is unresolved: what is pending, by which settle goes,
// the server counts a little late.
func (s *demoStage) judgeSettled(ctx context.Context, cl *client, sent *demoProgress) (r demoResult, err error) {
	limited, cancel := context.WithTimeout(ctx, demoSpan)
	defer cancel()
	late := until(limited, func() bool {
		r, err = s.judge(ctx, cl, sent)
		return err != nil || r.Unresolved == 0
	})
	if err == nil && late != nil {
		return r, ctx.Err() // unresolved it is, then
	}
	return r, err
}

func (s *demoStage) client() (*client, error) {
	conn, err := natsjs.Connect(natsjs.ConnectOptions{InProcess: s.broker, Name: "demo"})
	if err != nil {
		return nil, err
	}
	cl, err := newClient(s.app.Config, conn)
	if err != nil {
		conn.Close()
	}
	return cl, err
}

// demoSpan is about how long billing takes to send everything.
const demoSpan = 5 * time.Second

// send publishes the script at an even pace. Every publish waits until it is stored.
func (s *demoStage) send(ctx context.Context, cl *client, sent *demoProgress, tell *narrator) error {
	defer sent.finish()
	pace := time.NewTicker(demoSpan / time.Duration(sent.all))
	defer pace.Stop()
	for _, what := range s.script.sendings {
		if err := what.publish(ctx, cl.publisher); err != nil {
			return fmt.Errorf("publishing: %w", err)
		}
		if what.duplicate {
			sent.duplicates++
		}
		tell.done(sent.add())
		select {
		case <-pace.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (w *sending) publish(ctx context.Context, p *natsjs.Publisher) error {
	if w.raw != nil {
		_, err := p.PublishRaw(ctx, w.subject, nil, w.raw)
		return err
	}
	var options []natsjs.PublishOption
	if w.mark != "" {
		options = append(options, natsjs.Requeue(w.mark))
	}
	_, err := p.Publish(ctx, w.event, options...)
	return err
}

// disturb takes TVMS down for a while, and then loses some replies after the effect.
func (s *demoStage) disturb(ctx context.Context, sent *demoProgress, tell *narrator) error {
	if err := sent.wait(ctx, 0.25); err != nil {
		return err
	}
	faults := s.tvms.Faults()
	tell.sayf("TVMS goes down: connections are refused")
	faults.SetDown(true)
	if err := until(ctx, func() bool { return s.app.Guard(string(events.TVMS)).Opened() > 0 }); err != nil {
		return err
	}
	tell.sayf("the breaker is open: commands wait, no attempt is used up, one probe at a time goes out")
	if err := sent.wait(ctx, 0.55); err != nil {
		return err
	}
	faults.SetDown(false)
	tell.sayf("TVMS is back")
	if err := sent.wait(ctx, 0.65); err != nil {
		return err
	}
	lost := max(4, s.f.commands/100)
	tell.sayf("%d replies get lost after the effect: the connection is reset, or the reply is cut, or says 500", lost)
	kinds := []sandbox.FaultKind{sandbox.ResetAfter, sandbox.HalfBody, sandbox.ErrorAfter}
	for n := range lost {
		if err := faults.Next(sandbox.Fault{Kind: kinds[n%len(kinds)]}); err != nil {
			return err
		}
		if err := sent.wait(ctx, 0.65+0.3*float64(n+1)/float64(lost)); err != nil {
			return err
		}
	}
	return nil
}

// clerk changes a customer's date by hand each time a clerk's customer is renewed and the reply hangs: a read can then
// not tell any more whether the renewal happened.
func (s *demoStage) clerk(ctx context.Context) error {
	for _, name := range s.script.clerks {
		if err := s.tvms.Faults().Next(sandbox.Fault{Kind: sandbox.HangAfter, Customer: name}); err != nil {
			return err
		}
	}
	open := map[string]bool{}
	for _, name := range s.script.clerks {
		open[name] = true
	}
	return until(ctx, func() bool {
		for name := range open {
			if page := s.tvms.Book().Page(sandbox.BookQuery{Customer: name, Limit: 1}); len(page.Effects) > 0 && page.Effects[0].Applied {
				if c, ok := s.tvms.Customer(name); ok {
					c.Expires = c.Expires.AddDate(0, 0, 1)
					_ = s.tvms.PutCustomers(c) // a customer that exists is accepted
				}
				delete(open, name)
			}
		}
		return len(open) == 0
	})
}

// settle waits until the broker holds no command that is not done.
func (s *demoStage) settle(ctx context.Context, cl *client) error {
	stream, err := cl.js.Stream(ctx, cl.names.Commands())
	if err != nil {
		return err
	}
	return until(ctx, func() bool {
		consumers := stream.ListConsumers(ctx)
		for info := range consumers.Info() {
			if info.NumPending > 0 || info.NumAckPending > 0 {
				err = errors.Join(err, consumers.Err())
				return false
			}
		}
		return consumers.Err() == nil
	})
}

// until waits until ok, looking ten times a second.
func until(ctx context.Context, ok func() bool) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// judge compares the books with the outcomes.
func (s *demoStage) judge(ctx context.Context, cl *client, sent *demoProgress) (demoResult, error) {
	evidence, err := cl.evidence(ctx, s.tvms.Book().Effects()...)
	if err != nil {
		return demoResult{}, err
	}
	r := demoResult{
		Report: history.Check(evidence), Duplicates: sent.duplicates, Seed: s.f.seed,
		BreakerOpened: s.app.Guard(string(events.TVMS)).Opened(),
	}
	for _, record := range evidence.Records {
		if record.Spent != nil && record.Status == events.Deferred {
			r.AttemptsSpent = max(r.AttemptsSpent, record.Spent.Attempts)
		}
		if record.Status == events.Succeeded && strings.Contains(string(record.Result), `"settled_by"`) {
			r.Settled++
		}
	}
	r.OK = r.Report.OK()
	return r, nil
}
