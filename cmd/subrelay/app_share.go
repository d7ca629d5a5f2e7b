package main

import (
	"subrelay/adapters/natsjs"
)

// share takes this worker's share of each upstream that it serves, given all workers present: of its partitions at once,
// and of its rate as far as that is no more than before. More is taken once the others know that they have less (see
// shareSettled). Who has just come has the rate of one partition until then, and all where nobody else is there.
func (a *App) share(present []natsjs.Present) {
	a.Logger.Info("workers present", "workers", present, "self", a.name)
	partitions := a.topology.Settings().Partitions
	for _, s := range a.stations {
		workers := natsjs.Serving(present, s.name)
		own := natsjs.Assign(workers, partitions, string(s.name))[a.name]
		s.due = ratePart(len(own), partitions, len(workers))
		switch {
		case s.part == 0 && len(workers) <= 1:
			s.part = s.due
		case s.part == 0:
			s.part = ratePart(1, partitions, len(workers))
		}
		s.part = min(s.part, s.due)
		s.guard.Share(s.part)
		s.lanes.Load().Own(own)
	}
	a.markReady()
}

// shareSettled takes the whole share of each upstream's rate: by now the others have what is left.
func (a *App) shareSettled() {
	for _, s := range a.stations {
		s.part = s.due
		s.guard.Share(s.part)
	}
}

// ratePart is a worker's part of an upstream's rate: that of the partitions that it prefers. The parts of all workers sum
// to 1. With more workers than partitions each has the same, also those without a partition: they answer queries.
func ratePart(own, partitions, workers int) float64 {
	return float64(max(1, own)) / float64(max(partitions, workers))
}
