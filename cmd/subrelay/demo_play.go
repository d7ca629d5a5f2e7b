package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"subrelay/adapters/natsjs"
)

// play tells the story: billing sends, each upstream goes down in its turn and comes back, replies get lost, people find
// out what nothing could tell, and the books are compared.
func (s *demoStage) play(ctx context.Context, tell *narrator) (demoResult, error) {
	cl, err := s.client()
	if err != nil {
		return demoResult{}, err
	}
	defer cl.close()
	acts := &demoActs{demoStage: s, client: cl, tell: tell, sent: &demoProgress{all: len(s.script.sendings)}}
	acts.introduce()
	tell.count(acts.sent.all, "sent")
	group, groupCtx := errgroup.WithContext(ctx)
	for _, act := range []func(context.Context) error{acts.send, acts.disturb, acts.clerk, acts.person, acts.charge, acts.answer} {
		group.Go(func() error { return act(groupCtx) })
	}
	if err := group.Wait(); err != nil {
		return demoResult{}, err
	}
	tell.end()
	tell.sayf("everything is sent; waiting until nothing is under way")
	if err := s.settle(ctx, cl); err != nil {
		return demoResult{}, err
	}
	return acts.judgeSettled(ctx)
}

// demoActs is the demonstration while it is played.
type demoActs struct {
	*demoStage
	client  *client
	tell    *narrator
	sent    *demoProgress
	outages []*demoOutage // in the order in which they began; of disturb alone, until it has ended
	repeats int           // duplicates among the answers; of answer alone, until it has ended
}

func (a *demoActs) introduce() {
	a.tell.sayf("NATS, TVMS (%s), CRM.COM (%s) and a worker run here; seed %d", a.servers.tvms.Addr(), a.servers.crmcom.Addr(), a.f.seed)
	answers := a.script.answers()
	orders := a.f.commands - answers
	a.tell.sayf("billing sends %d commands of all kinds for %d customers; %d more are duplicates or wrong",
		orders, a.f.customers, len(a.script.sendings)-orders)
	a.tell.sayf("%d Netflix charges come in; subrelay tells of each, and billing answers by %d commands", len(a.script.charges), answers)
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

// span is about how long billing takes to send everything: 200 a second at most, so that what is measured meanwhile is
// not the machine's limit.
func (f *demoFlags) span() time.Duration {
	return max(8*time.Second, time.Duration(f.commands)*5*time.Millisecond)
}

// send publishes the script at an even pace. Every publish waits until it is stored.
func (a *demoActs) send(ctx context.Context) error {
	defer a.sent.finish()
	pace := time.NewTicker(a.f.span() / time.Duration(a.sent.all))
	defer pace.Stop()
	for _, what := range a.script.sendings {
		if err := what.publish(ctx, a.client.publisher); err != nil {
			return fmt.Errorf("publishing: %w", err)
		}
		if what.duplicate {
			a.sent.duplicates++
		}
		a.tell.done(a.sent.add())
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
