package natsjs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
	"subrelay/events/checkup"
)

// present is the workers that are there, by the presence bucket.
func (c *Checkup) present(ctx context.Context) ([]Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	entries, err := ReadWorkers(ctx, c.js, c.names)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	return entries, err
}

// checkWorkers looks who serves which upstream, and which partitions have commands and no owner. What has none now is
// looked at again after the time that a takeover takes.
func (c *Checkup) checkWorkers(ctx context.Context, found *checkup.Found) error {
	there, err := c.present(ctx)
	if err != nil {
		return err
	}
	present := make([]Present, len(there))
	for i, e := range there {
		present[i] = e.Present
	}
	ownerless, waiting, err := c.ownerless(ctx, there)
	if err != nil {
		return err
	}
	if len(ownerless) > 0 {
		if !sleep(ctx, 2*(c.topology.settings.PinnedTTL+time.Second)) { // a pause is half of this at least
			return ctx.Err()
		}
		again, _, err := c.ownerless(ctx, there)
		if err != nil {
			return err
		}
		ownerless = slices.DeleteFunc(ownerless, func(name string) bool { return !slices.Contains(again, name) })
	}
	c.checkServed(present, waiting, found)
	if len(ownerless) > 0 {
		found.Add(checkup.Finding{Severity: checkup.Error, Code: "partition.no_owner", Of: some(ownerless),
			What: fmt.Sprintf("%s with waiting commands and nobody who takes them", counted(len(ownerless), "partition", "partitions")),
			Why:  "their commands wait, though there are workers", Do: "look at the workers' logs for these partitions; restart the worker that should own them"})
	}
	return nil
}

// ownerless lists the consumers of upstreams that somebody serves which have something to do, no pinned client, and no
// worker that says it takes them; and counts by upstream what waits. Where all is delivered, a consumer whose leader has
// changed has no pin until it delivers again.
func (c *Checkup) ownerless(ctx context.Context, there []Entry) (names []string, waiting map[events.Upstream]uint64, err error) {
	s, err := c.stream(ctx, c.names.Commands())
	if s == nil || err != nil {
		return nil, nil, err
	}
	all, err := consumersOf(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	waiting = map[events.Upstream]uint64{}
	for _, u := range c.topology.Upstreams() {
		for p := range c.topology.settings.Partitions {
			info := all[c.names.Consumer(u, p)]
			if info == nil || info.NumPending == 0 && info.NumAckPending == 0 {
				continue
			}
			waiting[u] += info.NumPending + uint64(info.NumAckPending) //nolint:gosec // never negative
			pinned := slices.ContainsFunc(info.PriorityGroups, func(g jetstream.PriorityGroupState) bool { return g.PinnedClientID != "" })
			serves := func(e Entry) bool { return slices.Contains(e.Upstreams, u) }
			takes := func(e Entry) bool { return e.Status.takes(u, p) }
			if !pinned && slices.ContainsFunc(there, serves) && !slices.ContainsFunc(there, takes) {
				names = append(names, info.Name)
			}
		}
	}
	return names, waiting, nil
}

// checkServed says which upstreams nobody serves.
func (c *Checkup) checkServed(present []Present, waiting map[events.Upstream]uint64, found *checkup.Found) {
	names := make([]string, len(present))
	for i, p := range present {
		names[i] = p.String()
	}
	if len(present) > 0 {
		found.OK("worker.present", "", "%s", some(names))
	}
	for _, u := range c.topology.Upstreams() {
		if len(Serving(present, u)) > 0 {
			continue
		}
		f := checkup.Finding{Severity: checkup.Warning, Code: "worker.none", Of: string(u), What: "no worker serves this upstream",
			Why: "its commands wait", Do: "start one: subrelay worker --config FILE"}
		switch n := waiting[u]; {
		case n > 0:
			f.Severity = checkup.Error
			f.What += fmt.Sprintf(", and %s", counted(n, "command waits", "commands wait"))
		case !slices.Contains(c.settings.Upstreams, u):
			f.Severity, f.Why, f.Do = checkup.Note, "its address is not configured here; commands for it would wait", ""
		}
		found.Add(f)
	}
}

// oldest is the first command that a consumer has not finished.
type oldest struct {
	seq   uint64
	time  time.Time
	kind  events.Kind
	key   string // token
	count uint64 // of unfinished ones
}

// checkWaiting says of each upstream how long its oldest command has waited.
func (c *Checkup) checkWaiting(ctx context.Context, found *checkup.Found) error {
	s, err := c.stream(ctx, c.names.Commands())
	if s == nil || err != nil {
		return err
	}
	all, err := consumersOf(ctx, s)
	if err != nil {
		return err
	}
	for _, u := range c.topology.Upstreams() {
		var first oldest
		for p := range c.topology.settings.Partitions {
			one, err := c.oldestOf(ctx, s, all[c.names.Consumer(u, p)])
			if err != nil {
				return err
			}
			one.count += first.count
			if one.seq == 0 || first.seq != 0 && first.seq < one.seq {
				one.seq, one.time, one.kind, one.key = first.seq, first.time, first.kind, first.key
			}
			first = one
		}
		c.addWaiting(u, first, found)
	}
	return nil
}

func (c *Checkup) oldestOf(ctx context.Context, s jetstream.Stream, info *jetstream.ConsumerInfo) (oldest, error) {
	if info == nil {
		return oldest{}, nil
	}
	b, err := floorOf(ctx, s, info.Name, info)
	if err != nil || b.seq == ^uint64(0) {
		return oldest{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	msg, err := s.GetMsg(ctx, b.seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return oldest{}, nil // done and purged meanwhile
	}
	if err != nil {
		return oldest{}, brokerError("reading a command", err)
	}
	_, kind, key, err := c.names.ParseStored(msg.Subject)
	return oldest{seq: msg.Sequence, time: msg.Time, kind: kind, key: key,
		count: info.NumPending + uint64(info.NumAckPending)}, err //nolint:gosec // never negative
}

// addWaiting judges the oldest waiting command of an upstream, also by how long the ledger remembers: what is begun, or
// in doubt, and forgotten, is not run any more.
func (c *Checkup) addWaiting(u events.Upstream, first oldest, found *checkup.Found) {
	if first.seq == 0 {
		found.OK("commands.waiting", string(u), "nothing waits")
		return
	}
	age, memory := time.Since(first.time), c.topology.settings.OutcomesMaxAge
	f := checkup.Finding{Code: "commands.waiting", Of: string(u),
		What: fmt.Sprintf("%s; the oldest (%s of %s, sequence %d) since %s", counted(first.count, "command waits", "commands wait"),
			first.kind, first.key, first.seq, age.Round(time.Second))}
	if age >= c.settings.WaitingLong {
		f.Severity, f.Why = checkup.Warning, "a worker or the upstream is away, or a doubt holds the key"
		f.Do = "subrelay doubts list; the breaker and lanes are in each worker's /readyz"
	}
	if age >= memory/2 {
		f.Why = fmt.Sprintf("after %s (streams.outcomes_max_age) the ledger forgets what was begun, and whether it was done, nobody knows any more: it is not run then, but put into the dead letters (stale)", memory)
		f.Do = "resolve what holds it: subrelay doubts list; until then raise streams.outcomes_max_age"
	}
	if age >= memory/10*9 {
		f.Severity = checkup.Error
	}
	found.Add(f)
}

// recentRecords is how far back from the ledger's end started records are looked at.
const recentRecords = 2000

// checkWorkerClocks holds the times that workers wrote against those at which the broker stored their records.
func (c *Checkup) checkWorkerClocks(ctx context.Context, found *checkup.Found) error {
	s, err := c.stream(ctx, c.names.Outcomes())
	if s == nil || err != nil {
		return err
	}
	ledger, err := NewLedger(c.js, LedgerSettings{Names: c.names})
	if err != nil {
		return err
	}
	q := Query{Statuses: []events.Status{events.Started}}
	if last := s.CachedInfo().State.LastSeq; last > recentRecords {
		q.FromSeq = last - recentRecords
	}
	late := map[string]time.Duration{} // by worker: the least by which storing followed starting
	err = NewOutcomes(ledger).Read(ctx, q, func(r Stored) error {
		if r.Start == nil || r.StartedAt == nil {
			return nil
		}
		d := r.Time.Sub(*r.StartedAt)
		if least, known := late[r.Start.Worker]; !known || d < least {
			late[r.Start.Worker] = d
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, worker := range slices.Sorted(maps.Keys(late)) {
		addWorkerClock(worker, late[worker], found)
	}
	return nil
}

// addWorkerClock judges a worker's clock by the least time between its starting and the broker's storing: a clock that
// is right gives a little more than nothing.
func addWorkerClock(worker string, late time.Duration, found *checkup.Found) {
	if late.Abs() < skewNoted {
		found.OK("clock.worker", worker, "its clock and the broker's agree within %s", max(late.Abs(), time.Millisecond).Round(time.Millisecond))
		return
	}
	f := checkup.Finding{Severity: checkup.Warning, Code: "clock.worker", Of: worker,
		What: fmt.Sprintf("its clock seems %s ahead of the broker's", (-late).Round(time.Millisecond)),
		Why:  "it judges expirytime and time by its own clock", Do: "let its machine keep its clock by NTP: timedatectl status, chronyc tracking"}
	if late > 0 {
		f.What = fmt.Sprintf("its clock seems %s behind the broker's, or storing takes so long", late.Round(time.Millisecond))
	}
	if late.Abs() >= skewWrong {
		f.Severity = checkup.Error
	}
	found.Add(f)
}
