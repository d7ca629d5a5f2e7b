//go:build cluster

package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// strikeAt takes note of what is done to a worker.
func (c *crew) strikeAt(what, worker string, do func(w *fieldWorker)) {
	s := strike{what: what, workers: worker + ",", from: time.Now()}
	do(c.workers[worker])
	s.to = time.Now()
	c.strikes = append(c.strikes, s)
}

// inDoubt waits until a command is in doubt.
func (f *field) inDoubt(key, cid string) {
	f.t.Helper()
	f.until("it is in doubt", func() bool {
		last, err := f.cl.outcomes.Last(f.t.Context(), key, cid)
		return err == nil && last.Status == events.InDoubt
	})
}

// shortWaits lets the interrupted attempt of another worker be settled soon.
func shortWaits(config map[string]any) {
	config["worker"].(map[string]any)["election"] = "6s"
	config["tvms"].(map[string]any)["call_timeout"] = "5s"
}

// TestFieldFreeze freezes a worker in the middle of a call, past every time-out, lets others take over and settle its
// attempts, and thaws it: what it still says changes nothing. Then a worker leaves as it should, and another comes.
func TestFieldFreeze(t *testing.T) {
	f := newField(t, fieldOptions{change: shortWaits})
	f.topology()
	crew := f.crew(3)
	flow := f.flow(50, 20*time.Millisecond)
	f.calls(100)
	cid, worker := f.hold("held", 7)
	crew.strikeAt("a freeze of 1 of 3 workers", worker, (*fieldWorker).freeze)
	f.inDoubt("C-7", cid)
	f.tvms.Faults().Lift() // the reply reaches the frozen worker's socket
	f.calls(100)
	zombie, thawed := crew.workers[worker], time.Now()
	zombie.thaw()
	f.until("the zombie takes part again", func() bool { p := f.past(); return !p.firstBy(worker, thawed).IsZero() })
	f.calls(100)
	leaver := sortedKeys(crew.workers)[0]
	crew.strikeAt("a graceful end of 1 of 3 workers, from the signal", leaver, (*fieldWorker).stop)
	f.calls(100)
	joined := time.Now()
	joiner := crew.add()
	f.until("the new worker calls", func() bool { p := f.past(); return !p.firstBy(joiner.name, joined).IsZero() })
	f.calls(100)
	flow.stop()
	r := f.settle(3 * time.Minute)
	past := f.past()
	past.startedFirst(t)
	doubts := past.doubtsStruck(t, crew.strikes[:1])
	wantAll(t, r, doubts)
	if !slices.Equal(past.statuses(cid)[:2], []events.Status{events.Started, events.InDoubt}) || len(past.statuses(cid)) > 3 {
		t.Errorf("the held command's history is %v", past.statuses(cid))
	}
	if said := zombie.stderr.String(); strings.Contains(said, "ALARM") {
		t.Errorf("a result that agrees with the record raised an alarm: %s", said)
	}
	past.tookOver(t, crew.strikes)
	balanced := past.firstBy(joiner.name, joined).Sub(joined)
	t.Logf("FIGURE rebalancing: a new worker's first call %s after its process was started", seconds(balanced))
	if balanced > standstill {
		t.Errorf("a new worker called only after %s", seconds(balanced))
	}
	t.Logf("FIGURE freeze: %d commands, %d effects, %d succeeded, %d in doubt, %d violations", r.Commands, r.Effects, r.Succeeded, r.InDoubt, len(r.Violations))
}

// firstBy is when a worker's first call came of those whose start was stored after then; zero where none did.
func (p *past) firstBy(worker string, after time.Time) time.Time {
	for _, c := range p.calls {
		if s, ok := p.started[c.Ref]; ok && s.Start != nil && s.Start.Worker == worker && s.Time.After(after) {
			return c.Begin
		}
	}
	return time.Time{}
}

// statuses is a command's history.
func (p *past) statuses(cid string) (all []events.Status) {
	for _, r := range p.records {
		if r.Command.CID == cid {
			all = append(all, r.Status)
		}
	}
	return all
}

// TestFieldZombieAlarm freezes a worker that holds a confirmed result and cannot store it, because every server is gone.
// While it is frozen another takes over, and a person writes down by mistake that nothing was applied. Thawed, the zombie
// knows better: it is fenced, the final record stands, and there is an alarm, by which the person learns of the mistake.
func TestFieldZombieAlarm(t *testing.T) {
	f := newField(t, fieldOptions{change: shortWaits})
	f.topology()
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	crew := f.crew(0)
	zombie := crew.add("SUBRELAY_WORKER_HTTP_ADDR=" + addr)
	cid, _ := f.hold("held", 1)
	for _, n := range f.cluster.Nodes {
		n.Kill()
	}
	f.tvms.Faults().Lift()
	f.until("the result cannot be stored", func() bool { return strings.Contains(zombie.stderr.String(), "a result could not be stored") })
	zombie.freeze()
	for _, n := range f.cluster.Nodes {
		n.Start()
	}
	for _, n := range f.cluster.Nodes {
		n.WaitHealthy(2 * time.Minute)
	}
	crew.add()
	f.send(f.renewal("next", 1))
	f.inDoubt("C-1", cid)
	runLine(t, "", "--config", f.path, "doubts", "resolve", cid, "--not-applied", "--by", "anna", "--reason", "by mistake").want(t, exitDone, "", "")
	zombie.thaw()
	f.until("the late result is among the dead letters", func() bool {
		found := false
		err := f.cl.letters.List(t.Context(), natsjs.DeadQuery{}, func(l natsjs.Letter) error {
			found = found || l.Reason == events.DeadLateResult && l.CID == cid
			return nil
		})
		return err == nil && found
	})
	f.until("the alarm is counted", func() bool {
		m, err := readMetrics(t.Context(), addr)
		return err == nil && m[metricsPrefix+"late_results_total"] == 1
	})
	if said := zombie.stderr.String(); !strings.Contains(said, "ALARM: a late result disagrees with the record") {
		t.Errorf("the log knows of no alarm: %s", said)
	}
	f.until("all is done", func() bool { r, err := f.report(); return err == nil && r.Unresolved == 0 })
	past := f.past()
	if diff := cmp.Diff([]events.Status{events.Started, events.InDoubt, events.Failed}, past.statuses(cid)); diff != "" {
		t.Errorf("the history differs (-want +got):\n%s", diff)
	}
	r, err := f.report()
	if err != nil || len(r.Violations) != 1 || r.DeniedEffects != 1 || r.Succeeded != 1 || r.Effects != 2 {
		t.Errorf("there is more to it than the person's mistake: %s (%v)", r.String(), err)
	}
}
