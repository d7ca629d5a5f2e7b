package natsjs

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

// Backlog is what waits in one partition of an upstream, as the server counts it, and who has it.
type Backlog struct {
	Upstream    events.Upstream
	Partition   int
	Undelivered uint64 // no worker has them yet
	Unfinished  int    // delivered, not acknowledged
	Redelivered int    // of the unfinished, delivered more than once
	Window      int    // how many may be unfinished at a time
	Pin         string // "" while the partition is pinned to nobody
	PinnedSince time.Time
}

// ReadBacklog reads the backlog of every partition of every upstream there is a consumer for, in order. It only reads.
func ReadBacklog(ctx context.Context, js jetstream.JetStream, names Names) ([]Backlog, error) {
	consumers, _, err := readConsumers(ctx, js, names.Commands())
	if err != nil {
		return nil, err
	}
	var all []Backlog
	for name, info := range consumers {
		at := strings.LastIndexByte(name, '-')
		if at < 0 || !runsCommands(&info.Config) {
			continue
		}
		number, err := strconv.Atoi(name[at+1:])
		if err != nil {
			continue // not one of ours
		}
		b := Backlog{
			Upstream: events.Upstream(name[:at]), Partition: number, Undelivered: info.NumPending,
			Unfinished: info.NumAckPending, Redelivered: info.NumRedelivered, Window: info.Config.MaxAckPending,
		}
		for _, g := range info.PriorityGroups {
			if g.Group == PinGroup {
				b.Pin, b.PinnedSince = g.PinnedClientID, g.PinnedTS
			}
		}
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b Backlog) int {
		return cmp.Or(cmp.Compare(a.Upstream, b.Upstream), cmp.Compare(a.Partition, b.Partition))
	})
	return all, nil
}
