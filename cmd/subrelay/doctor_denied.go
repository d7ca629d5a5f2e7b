package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"subrelay/adapters/natsjs"
	"subrelay/events/checkup"
)

// denials are what the server has denied to a connection, and who is to learn of it. It may be shared.
type denials struct {
	names natsjs.Names

	mu      sync.Mutex
	what    map[string]bool   // such as `publish to "$JS.API.INFO"`
	deaf    *natsjs.Refusal   // of the inbox: no answer comes to anybody
	waiting map[*waiting]bool // checks under way
}

// waiting is a check that may wait for an answer.
type waiting struct {
	needs  []string
	cancel context.CancelCauseFunc
}

// add takes what the server has denied, and ends the checks that would wait for the answer in vain.
func (d *denials) add(r natsjs.Refusal) {
	what := fmt.Sprintf("publish to %q", r.Pattern())
	if r.Subscribe {
		what = fmt.Sprintf("subscribe to %q", r.Pattern())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.what == nil {
		d.what = map[string]bool{}
	}
	d.what[what] = true
	if r.Inbox() {
		d.deaf = &r
	}
	for w := range d.waiting {
		if r.Dooms(w.needs) {
			w.cancel(r)
		}
	}
}

// guard is checks that end when something that they need is denied, with that for their error: without it each would wait
// until its time is up, and the audit's is long.
func (d *denials) guard(checks []checkup.Check) []checkup.Check {
	checks = slices.Clone(checks)
	for i := range checks {
		run, needs := checks[i].Run, checks[i].Needs
		checks[i].Run = func(ctx context.Context, found *checkup.Found) error {
			ctx, cancel := context.WithCancelCause(ctx)
			defer cancel(nil)
			defer d.watch(&waiting{needs, cancel})()
			err := run(ctx, found)
			var denied natsjs.Refusal
			if err != nil && errors.As(context.Cause(ctx), &denied) {
				return denied
			}
			return err
		}
	}
	return checks
}

// watch has a check ended by what is denied until the function that it returns is called.
func (d *denials) watch(w *waiting) (unwatch func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting == nil {
		d.waiting = map[*waiting]bool{}
	}
	d.waiting[w] = true
	if d.deaf != nil && d.deaf.Dooms(w.needs) { // the server says so only once
		w.cancel(*d.deaf)
	}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.waiting, w)
	}
}

// findings is one for each thing that was denied.
func (d *denials) findings() []checkup.Finding {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []checkup.Finding
	for _, what := range slices.Sorted(maps.Keys(d.what)) {
		all = append(all, checkup.Finding{Severity: checkup.Warning, Code: "rights.denied", Of: what, What: "the server denies it to this user",
			Why: "what it is needed for could not be looked at",
			Do: fmt.Sprintf("run doctor with the rights of an operator, such as: --nats-user %s --inbox-prefix %s",
				d.names.User(natsjs.RoleOperator), d.names.Inbox(natsjs.RoleOperator))})
	}
	return all
}
