package natsjs

import (
	"cmp"
	"slices"
	"time"

	"subrelay/events"
)

// Depth is how things stand in the lanes.
type Depth struct {
	Upstream events.Upstream
	// Partitions are the numbers of those served.
	Partitions []int
	// Waiting is how many commands were delivered and are not finished, Longest the most of one key, LongestKey.
	Waiting, Longest int
	LongestKey       string
	// Fullest is the most commands of one partition.
	Fullest int
	// Gated is how many partitions' gates are closed.
	Gated int
	// Oldest is when the command that waits longest was stored; zero when none waits.
	Oldest time.Time

	oldest *OldestWaiting
	parts  []PartitionStatus
}

// Depth sums up the lanes of all partitions served.
func (l *Lanes) Depth() Depth {
	d := Depth{Upstream: l.Upstream, parts: []PartitionStatus{}}
	for _, p := range l.partitions() {
		p.depth(&d)
	}
	slices.SortFunc(d.parts, func(a, b PartitionStatus) int { return cmp.Compare(a.Number, b.Number) })
	for _, p := range d.parts {
		d.Partitions = append(d.Partitions, p.Number)
	}
	return d
}

func (p *partition) depth(d *Depth) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d.parts = append(d.parts, PartitionStatus{Number: p.number, Pin: p.pin, Waiting: len(p.bySeq), Failed: p.failed})
	d.Waiting += len(p.bySeq)
	d.Fullest = max(d.Fullest, len(p.bySeq))
	if !p.gate.open {
		d.Gated++
	}
	for key, ln := range p.byKey {
		if len(ln.items) == 0 {
			continue
		}
		if len(ln.items) > d.Longest {
			d.Longest, d.LongestKey = len(ln.items), key
		}
		if it := ln.items[0]; d.Oldest.IsZero() || it.stored.Before(d.Oldest) {
			d.Oldest = it.stored
			d.oldest = &OldestWaiting{Key: key, Kind: it.kind, Partition: p.number, Stored: it.stored}
		}
	}
}
