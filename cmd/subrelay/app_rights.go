package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"subrelay/adapters/natsjs"
)

const (
	// refusedFor is how long a refused publish counts, unless it is repeated. What a worker needs, it tries again within.
	refusedFor = 30 * time.Second
	// refusedLog is how often one refusal is logged at most.
	refusedLog = time.Minute
	// askAgainEvery is how often a worker that may not subscribe connects anew: the server gives a subscription back to
	// nobody who is not asking for it.
	askAgainEvery = 30 * time.Second
)

// refusals remember what the NATS server does not permit this worker, whose rights may have been taken away under way.
// A worker that cannot hear or say what it must is not ready.
type refusals struct {
	names  natsjs.Names
	logger *slog.Logger

	mu    sync.Mutex
	since map[string]*refused // by what the log tells apart
	// cancel ends the context of whoever waits; see orRefused.
	cancel context.CancelFunc
}

type refused struct {
	natsjs.Refusal
	last, logged time.Time
}

func newRefusals(names natsjs.Names, logger *slog.Logger) *refusals {
	return &refusals{names: names, logger: logger, since: make(map[string]*refused)}
}

// note takes what the server has refused.
func (r *refusals) note(refusal natsjs.Refusal) {
	now := time.Now()
	r.mu.Lock()
	one := r.since[kindOfRefusal(refusal)]
	if one == nil {
		one = &refused{Refusal: refusal}
		r.since[kindOfRefusal(refusal)] = one
	}
	one.last = now
	tell := now.Sub(one.logged) >= refusedLog
	if tell {
		one.logged = now
	}
	if r.cancel != nil && r.essential(refusal) {
		r.cancel()
	}
	r.mu.Unlock()
	if tell {
		r.logger.Error(refusal.Error(), "hint", "subrelay topology permissions --role worker", "essential", r.essential(refusal))
	}
}

// kindOfRefusal leaves out what differs from command to command.
func kindOfRefusal(r natsjs.Refusal) string {
	tokens := strings.Split(r.Subject, ".")
	if tokens[0] != "$JS" || len(tokens) > 1 && tokens[1] == "ACK" {
		tokens = tokens[:min(3, len(tokens))]
	}
	kind := strings.Join(tokens, ".")
	if r.Subscribe {
		return "subscribe " + kind
	}
	return kind
}

// essential reports whether a worker cannot do its work without it. Answers to queries go where the asker says, which
// may be where nobody may answer.
func (r *refusals) essential(refusal natsjs.Refusal) bool {
	if refusal.Subscribe {
		return true
	}
	for _, prefix := range []string{"$JS.API.STREAM.PURGE.", "$JS.API.CONSUMER.UNPIN.", "$JS.API.CONSUMER.DELETE."} {
		if strings.HasPrefix(refusal.Subject, prefix) {
			return false
		}
	}
	return strings.HasPrefix(refusal.Subject, "$JS.") || strings.HasPrefix(refusal.Subject, "$KV.") || r.names.Owns(refusal.Subject)
}

// clear forgets all: with a new connection everything is asked for again.
func (r *refusals) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.since)
}

// standing lists what counts now, in order.
func (r *refusals) standing() []natsjs.Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []natsjs.Refusal
	for _, one := range r.since {
		if r.essential(one.Refusal) && (one.Subscribe || time.Since(one.last) < refusedFor) {
			all = append(all, one.Refusal)
		}
	}
	slices.SortFunc(all, func(a, b natsjs.Refusal) int { return strings.Compare(a.Error(), b.Error()) })
	return all
}

func (r *refusals) first() (natsjs.Refusal, bool) {
	all := r.standing()
	if len(all) == 0 {
		return natsjs.Refusal{}, false
	}
	return all[0], true
}

// reasons are why a worker is not ready.
func (r *refusals) reasons() []string {
	var reasons []string
	for _, refusal := range r.standing() {
		reasons = append(reasons, refusal.Error())
	}
	return reasons
}

// deaf reports whether a subscription is refused.
func (r *refusals) deaf() bool {
	return slices.ContainsFunc(r.standing(), func(refusal natsjs.Refusal) bool { return refusal.Subscribe })
}

// askAgain connects anew, now and again, while a subscription is refused, until ctx ends.
func (a *App) askAgain(ctx context.Context, conn *nats.Conn) error {
	return a.every(ctx, askAgainEvery, "connecting anew", func(context.Context) error { return a.listenAgain(conn) })
}

func (a *App) listenAgain(conn *nats.Conn) error {
	if !a.refusals.deaf() {
		return nil
	}
	return conn.ForceReconnect()
}

// orRefused is a context that ends, too, when something essential is refused: nobody need wait for the answer then.
func (r *refusals) orRefused(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cancel = cancel
	return ctx, cancel
}
