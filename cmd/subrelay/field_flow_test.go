//go:build cluster

package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/sandbox"
	"subrelay/events"
	"subrelay/events/history"
)

// fieldFlow is renewals for all customers in turn that keep coming, one after each pause.
type fieldFlow struct {
	f     *field
	quit  chan struct{}
	ended chan error
	once  sync.Once
}

// flow lets renewals come until the flow is stopped, for customers C-1 to C-n. It outlasts an outage of the servers as
// send does.
func (f *field) flow(n int, pause time.Duration) *fieldFlow {
	f.t.Helper()
	w := &fieldFlow{f: f, quit: make(chan struct{}), ended: make(chan error, 1)}
	name := fmt.Sprintf("flow%d", time.Now().UnixNano())
	send := make([]func() error, 0, n)
	for c := range n {
		send = append(send, func() error { return f.post(f.renewal(fmt.Sprint(name, "-", time.Now().UnixNano()), c+1)) })
	}
	go func() { w.ended <- w.run(send, pause) }()
	f.t.Cleanup(w.stop)
	return w
}

func (w *fieldFlow) run(send []func() error, pause time.Duration) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-w.quit:
			return nil
		case <-tick.C:
		}
		if err := send[n%len(send)](); err != nil {
			return err
		}
	}
}

// stop lets no more come.
func (w *fieldFlow) stop() {
	w.once.Do(func() {
		close(w.quit)
		if err := <-w.ended; err != nil && w.f.t.Context().Err() == nil {
			w.f.t.Error(err)
		}
	})
}

// until waits until ok, for three minutes at most: the machine may be slow.
func (f *field) until(what string, ok func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !ok(); sleep(f.t.Context(), 20*time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("it never came to be: %s", what)
		}
	}
}

// calls waits until the upstream has got n calls more.
func (f *field) calls(n int64) {
	f.t.Helper()
	goal := f.tvms.Book().Totals().Calls + n
	f.until(fmt.Sprintf("%d more calls", n), func() bool { return f.tvms.Book().Totals().Calls >= goal })
}

// hold has the next call for a customer take its effect and then hang until the caller leaves or the fault is lifted,
// sends that call's command, and answers its cid and the worker that makes the call, once it is being made.
func (f *field) hold(id string, customer int) (cid, worker string) {
	f.t.Helper()
	key := fmt.Sprintf("C-%d", customer)
	if err := f.tvms.Faults().Next(sandbox.Fault{Kind: sandbox.HangAfter, Customer: key}); err != nil {
		f.t.Fatal(err)
	}
	f.send(f.renewal(id, customer))
	f.until("the call is held", func() bool {
		for _, e := range f.tvms.Book().Page(sandbox.BookQuery{Customer: key}).Effects {
			if e.Applied && e.EndOrder == 0 {
				cid, _, _ = e.Attempt()
				return cid != ""
			}
		}
		return false
	})
	f.until("the start of the held call is read", func() bool {
		last, err := f.cl.outcomes.Last(f.t.Context(), key, cid)
		if err != nil || last == nil || last.Start == nil {
			return false
		}
		worker = last.Start.Worker
		return true
	})
	return cid, worker
}

// past is what streams and book tell, for judgements that the checker of histories does not make.
type past struct {
	records   []natsjs.Stored
	started   map[string]natsjs.Stored // by reference of the attempt
	calls     []history.Effect
	callOf    map[string]history.Effect // the last one by reference
	partition map[string]int            // by key
}

func (f *field) past() past {
	f.t.Helper()
	p := past{started: map[string]natsjs.Stored{}, callOf: map[string]history.Effect{}, partition: map[string]int{}}
	err := f.cl.outcomes.Read(f.t.Context(), natsjs.Query{}, func(s natsjs.Stored) error {
		p.records = append(p.records, s)
		if s.Status == events.Started {
			p.started[attemptOf(s.Record)] = s
		}
		return nil
	})
	if err == nil {
		err = f.cl.commands.Scan(f.t.Context(), natsjs.CommandQuery{}, func(s natsjs.StoredCommand) error {
			p.partition[s.Key] = s.Partition
			return nil
		})
	}
	if err != nil {
		f.t.Fatal(err)
	}
	p.calls = f.tvms.Book().Effects()
	for _, c := range p.calls {
		p.callOf[c.Ref] = c
	}
	return p
}

func attemptOf(r events.Record) string { return fmt.Sprintf("%s.%d", r.Command.CID, r.Attempt) }

// startedFirst makes sure that the start of each call was stored before the call came.
func (p *past) startedFirst(t *testing.T) {
	t.Helper()
	for _, c := range p.calls {
		if s, ok := p.started[c.Ref]; !ok || s.Time.After(c.Begin) {
			t.Errorf("the call %s came at %s; its start was stored at %s (%v)", c.Ref, c.Begin, s.Time, ok)
		}
	}
}

// strike is when workers were killed or frozen. One that is frozen may have been at work until it was found out.
type strike struct {
	what     string
	workers  string // their names, each followed by a comma
	from, to time.Time
}

func (s strike) hit(worker string) bool { return strings.Contains(s.workers, worker+",") }

// How long an attempt may be under way while it is not in its call. Before it, until the worker knows that its start is
// stored, or else has stored that it is deferred: worker.publish_timeout each, 2 s in a field, and a little more. After it,
// until the ledger has the result.
const (
	startSlack  = 5 * time.Second
	resultSlack = 500 * time.Millisecond
)

// doubtsStruck makes sure that each doubt is about an attempt that was under way, in a worker that was struck, when it
// was struck: its start was stored, and its call was not long over. No strike can cut more attempts than a worker has under
// way at a time. It answers how many there are.
func (p *past) doubtsStruck(t *testing.T, strikes []strike) (doubts int) {
	t.Helper()
	for _, r := range p.records {
		if r.Status != events.InDoubt {
			continue
		}
		doubts++
		ref := attemptOf(r.Record)
		started, call := p.started[ref], p.callOf[ref]
		var worker string
		if started.Start != nil {
			worker = started.Start.Worker
		}
		struck := false
		for _, s := range strikes {
			over := started.Time.Add(startSlack)
			if !call.End.IsZero() {
				over = call.End.Add(resultSlack)
			}
			inCall := call.Begin.Before(s.from) && call.EndOrder == 0
			struck = struck || s.hit(worker) && started.Time.Before(s.to) && (inCall || over.After(s.from))
		}
		if !struck {
			t.Errorf("%s is in doubt, and was not under way when its worker %q was struck: started %s, called %s to %s, %s",
				ref, worker, started.Time, call.Begin, call.End, r.Error.Message)
		}
	}
	struck := 0
	for _, s := range strikes {
		struck += strings.Count(s.workers, ",")
	}
	if most := struck * fieldConcurrency; doubts > most {
		t.Errorf("%d doubts; %d workers were struck, which had %d attempts under way at the most", doubts, struck, most)
	}
	return doubts
}

// takeover is how long after a strike the first call of another worker came in each partition that was the struck ones'.
// It answers the shortest, the longest, and for how many partitions it is known.
func (p *past) takeover(s strike) (first, last time.Duration, partitions int) {
	owner := map[int]string{}
	times := map[int]time.Duration{}
	for _, c := range p.calls {
		start, ok := p.started[c.Ref]
		if !ok || start.Start == nil {
			continue
		}
		n := p.partition[c.Key]
		if c.Begin.Before(s.from) {
			owner[n] = start.Start.Worker
		} else if _, known := times[n]; !known && s.hit(owner[n]) && !s.hit(start.Start.Worker) {
			times[n] = c.Begin.Sub(s.from)
		}
	}
	for _, d := range times {
		if first == 0 || d < first {
			first = d
		}
		last = max(last, d)
	}
	return first, last, len(times)
}

// standstill is the longest that work may stand still beyond what an outage itself takes: far more than it should, for a
// machine that is busy with other things.
const standstill = 30 * time.Second

// tookOver wants each partition of the struck taken over in time, and logs the figures.
func (p *past) tookOver(t *testing.T, strikes []strike) {
	t.Helper()
	seen := 0
	for _, s := range strikes {
		first, last, n := p.takeover(s)
		seen += n
		t.Logf("FIGURE takeover after %s: first effect elsewhere after %s, in all %d partitions after %s", s.what, seconds(first), n, seconds(last))
		if n > 0 && last > standstill {
			t.Errorf("a partition stood still for %s after %s", seconds(last), s.what)
		}
	}
	if seen == 0 {
		t.Errorf("nothing was taken over after %d strikes", len(strikes))
	}
}

// stall is the longest time between two calls from then on, until to.
func (p *past) stall(from, to time.Time) (longest time.Duration) {
	last := from
	for _, c := range p.calls {
		if c.Begin.After(from) && c.Begin.Before(to) {
			longest = max(longest, c.Begin.Sub(last))
			last = c.Begin
		}
	}
	return longest
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
