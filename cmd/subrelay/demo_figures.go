package main

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"subrelay/adapters/natsjs"
	"subrelay/events"
	"subrelay/events/history"
)

// demoTally is what became of the commands of one kind, or of one upstream.
type demoTally struct {
	Name          string `json:"name"`
	Commands      int    `json:"commands"` // that have an identity
	Succeeded     int    `json:"succeeded"`
	Settled       int    `json:"settled"` // of these, by a read or a repetition after an unclear call
	Rejected      int    `json:"rejected"`
	Failed        int    `json:"failed"`
	Expired       int    `json:"expired"`
	InDoubt       int    `json:"in_doubt"`
	Effects       int    `json:"effects"` // in the upstream's book
	BreakerOpened int    `json:"breaker_opened,omitempty"`
}

// tally counts by kind and by upstream, in the order of events.Specs.
func tally(e history.Evidence) (kinds, upstreams []demoTally) {
	byName := map[string]*demoTally{}
	var kindNames, upstreamNames []string
	for _, s := range events.Specs() {
		kindNames = append(kindNames, string(s.Kind))
		if !slices.Contains(upstreamNames, string(s.Upstream)) {
			upstreamNames = append(upstreamNames, string(s.Upstream))
		}
	}
	for _, name := range slices.Concat(kindNames, upstreamNames) {
		byName[name] = &demoTally{Name: name}
	}
	both := func(kind events.Kind, count func(*demoTally)) {
		if spec, ok := events.SpecOf(events.Specs(), kind); ok {
			count(byName[string(kind)])
			count(byName[string(spec.Upstream)])
		}
	}
	for kind, n := range commandsByKind(e.Commands) {
		both(kind, func(t *demoTally) { t.Commands += n })
	}
	for _, last := range lastRecords(e.Records) {
		both(last.Command.Kind, func(t *demoTally) { t.count(last) })
	}
	for _, effect := range e.Effects {
		if effect.Applied {
			both(effect.Kind, func(t *demoTally) { t.Effects++ })
		}
	}
	return pick(byName, kindNames), pick(byName, upstreamNames)
}

func pick(byName map[string]*demoTally, names []string) []demoTally {
	var list []demoTally
	for _, name := range names {
		list = append(list, *byName[name])
	}
	return list
}

// commandsByKind counts different commands.
func commandsByKind(commands []history.Command) map[events.Kind]int {
	counts, seen := map[events.Kind]int{}, map[string]bool{}
	for _, c := range commands {
		if c.CID != "" && !seen[c.CID] {
			seen[c.CID] = true
			counts[c.Kind]++
		}
	}
	return counts
}

// lastRecords is the newest record of each command.
func lastRecords(records []events.Record) map[string]*events.Record {
	last := map[string]*events.Record{}
	for i := range records {
		r := &records[i]
		if before := last[r.Command.CID]; before == nil || r.Seq > before.Seq {
			last[r.Command.CID] = r
		}
	}
	return last
}

func (t *demoTally) count(last *events.Record) {
	switch last.Status {
	case events.Succeeded:
		t.Succeeded++
		if strings.Contains(string(last.Result), `"settled_by"`) && last.Resolution == nil {
			t.Settled++
		}
	case events.Rejected:
		t.Rejected++
	case events.Failed:
		t.Failed++
	case events.Expired:
		t.Expired++
	case events.InDoubt:
		t.InDoubt++
	}
}

// demoTime is when a command was stored, and when its success was.
type demoTime struct {
	upstream   events.Upstream
	sent, done time.Time // done is zero until it has succeeded
}

// times reads from the streams when commands were stored first, and when they had succeeded, by cid.
func (cl *client) times(ctx context.Context) (map[string]*demoTime, error) {
	times := map[string]*demoTime{}
	err := cl.commands.Scan(ctx, natsjs.CommandQuery{}, func(s natsjs.StoredCommand) error {
		cmd := accepted(s)
		if spec, ok := events.SpecOf(events.Specs(), cmd.Kind); ok && cmd.CID != "" && times[cmd.CID] == nil {
			times[cmd.CID] = &demoTime{upstream: spec.Upstream, sent: s.Time}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = cl.outcomes.Read(ctx, natsjs.Query{Statuses: []events.Status{events.Succeeded}}, func(s natsjs.Stored) error {
		if t := times[s.Command.CID]; t != nil {
			t.done = s.Time
		}
		return nil
	})
	return times, err
}

// measure finds out how those fared that were not down: what was sent to them during the outage, and, to compare, what
// was before calm ended.
func (o *demoOutage) measure(times map[string]*demoTime, calm time.Time) {
	o.DownMS, o.Others = o.to.Sub(o.from).Milliseconds(), nil
	for _, s := range events.Specs() {
		if !slices.Contains(o.Down, s.Upstream) && !slices.Contains(o.Others, s.Upstream) {
			o.Others = append(o.Others, s.Upstream)
		}
	}
	var before, during []time.Duration
	o.Done = 0
	for _, t := range times {
		switch {
		case t.done.IsZero() || slices.Contains(o.Down, t.upstream):
		case t.sent.Before(calm):
			before = append(before, t.done.Sub(t.sent))
		case t.sent.After(o.from) && t.sent.Before(o.to):
			during = append(during, t.done.Sub(t.sent))
			if t.done.Before(o.to) {
				o.Done++
			}
		}
	}
	o.Sent = len(during)
	o.P50Before, o.P95Before = quantile(before, 0.5), quantile(before, 0.95)
	o.P50, o.P95, o.Max = quantile(during, 0.5), quantile(during, 0.95), quantile(during, 1)
}

// quantile is the least of the durations that is not exceeded by this part of them, in milliseconds; 0 for none.
func quantile(durations []time.Duration, part float64) float64 {
	if len(durations) == 0 {
		return 0
	}
	slices.Sort(durations)
	at := int(math.Ceil(part*float64(len(durations)))) - 1
	return float64(durations[max(at, 0)].Microseconds()) / 1000
}
