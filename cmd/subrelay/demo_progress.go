package main

import (
	"context"
	"sync"
)

// demoProgress counts what was sent, and lets others wait for a part of it.
type demoProgress struct {
	all        int
	duplicates int // of the sender alone, until it has finished

	mu      sync.Mutex
	sent    int
	over    bool
	waiters []demoWaiter
}

type demoWaiter struct {
	at   int
	done chan struct{}
}

// add counts one more, and answers how many there are.
func (p *demoProgress) add() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent++
	p.wake()
	return p.sent
}

// finish ends every wait.
func (p *demoProgress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	p.wake()
}

func (p *demoProgress) wake() {
	keep := p.waiters[:0]
	for _, w := range p.waiters {
		if p.over || p.sent >= w.at {
			close(w.done)
		} else {
			keep = append(keep, w)
		}
	}
	p.waiters = keep
}

// wait waits until this part, 0 to 1, was sent.
func (p *demoProgress) wait(ctx context.Context, part float64) error {
	w := demoWaiter{at: int(part * float64(p.all)), done: make(chan struct{})}
	p.mu.Lock()
	p.waiters = append(p.waiters, w)
	p.wake()
	p.mu.Unlock()
	select {
	case <-w.done:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
