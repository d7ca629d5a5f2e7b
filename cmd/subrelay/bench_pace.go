package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// pace publishes commands at rate per second while workers run, and measures the time from when each was due to be
// published to when its outcome reached a subscriber.
func (s *benchStage) pace(ctx context.Context, rate float64) (benchLatency, error) {
	set, err := s.newSet(ctx, s.f.commands, 0)
	if err != nil {
		return benchLatency{}, err
	}
	defer set.end(ctx)
	p := &benchPace{set: set, step: time.Duration(float64(time.Second) / rate), due: make(map[string]time.Time, s.f.commands),
		latency: hdrhistogram.New(1, int64(time.Minute/time.Microsecond), 3)}
	err = set.withApps(ctx, func([]*App) error { return p.run(ctx, s.f.commands) })
	ms := func(q float64) float64 { return float64(p.latency.ValueAtQuantile(q)) / 1000 }
	return benchLatency{P50: ms(50), P95: ms(95), P99: ms(99), Max: float64(p.latency.Max()) / 1000}, err
}

// benchPace is a paced pass on its way.
type benchPace struct {
	set  *benchSet
	step time.Duration
	done atomic.Int64

	mu      sync.Mutex
	due     map[string]time.Time // by cid; none for the warm-up
	latency *hdrhistogram.Histogram
}

func (p *benchPace) run(ctx context.Context, n int) error {
	names := p.set.names
	sub, err := p.set.stage.conn.Subscribe(names.Outcome(string(p.set.stage.kind.kind), string(events.Succeeded), "*", "*"), p.outcome)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // the streams go anyway
	if err := p.set.stage.conn.Flush(); err != nil {
		return err
	}
	if err := p.publish(ctx, n); err != nil {
		return err
	}
	return awaitCount(ctx, n, func() int { return int(p.done.Load()) })
}

func (p *benchPace) outcome(msg *nats.Msg) {
	now := time.Now()
	_, _, _, cid, err := p.set.names.ParseOutcome(msg.Subject)
	if err != nil {
		return
	}
	p.mu.Lock()
	if due, ok := p.due[cid]; ok {
		_ = p.latency.RecordValue(now.Sub(due).Microseconds()) // beyond a minute the round counts as stalled
	}
	p.mu.Unlock()
	p.done.Add(1)
}

// publish sends n commands evenly. A command's clock begins when it is due, so that a late sender hides nothing.
func (p *benchPace) publish(ctx context.Context, n int) error {
	var acks []jetstream.PubAckFuture
	began := time.Now()
	i := 0
	for e := range benchCommands(p.set.stage.kind, n, p.set.stage.f.keys) {
		header, data, err := natsjs.EncodeStructured(&e)
		if err != nil {
			return err
		}
		due := began.Add(time.Duration(i) * p.step)
		if i >= n/10 {
			p.mu.Lock()
			p.due[events.CID(e.Source(), e.ID(), e.Subject())] = due
			p.mu.Unlock()
		}
		if wait := time.Until(due); wait > 0 && !sleep(ctx, wait) {
			return ctx.Err()
		}
		ack, err := p.set.stage.js.PublishMsgAsync(&nats.Msg{Subject: p.set.names.Command(p.set.stage.kind.kind, e.Subject()), Header: header, Data: data})
		if err != nil {
			return err
		}
		acks = append(acks, ack)
		i++
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return fmt.Errorf("a command was not stored: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
