package main

import (
	"slices"
	"time"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// overview is who works and what waits, at one moment.
type overview struct {
	Workers   []workerLine
	Upstreams []upstreamLine
	Remarks   []string // what somebody should look at
	at        time.Time
}

// workerLine is one worker.
type workerLine struct {
	Worker    string         `json:"worker"`
	Version   string         `json:"version,omitempty"` // "" where it tells nothing of itself
	Host      string         `json:"host,omitempty"`
	HTTP      string         `json:"http,omitempty"`
	Since     *time.Time     `json:"since,omitempty"`
	Told      time.Time      `json:"told"`
	Upstreams []workerOfLine `json:"upstreams"`
}

// workerOfLine is how one worker stands with one upstream. What it does not tell is left out.
type workerOfLine struct {
	Upstream    events.Upstream       `json:"upstream"`
	Owns        []int                 `json:"owns"`    // partitions that are pinned to it, or that it serves and nobody has pinned
	Prefers     []int                 `json:"prefers"` // partitions that are due to it
	Breaker     string                `json:"breaker,omitempty"`
	Concurrency int                   `json:"concurrency,omitempty"`
	Calls       int                   `json:"calls"`
	Rate        float64               `json:"rate,omitempty"`
	Waiting     int                   `json:"waiting"`
	Gated       int                   `json:"gated,omitempty"`
	Longest     *natsjs.LongestLane   `json:"longest,omitempty"`
	Oldest      *natsjs.OldestWaiting `json:"oldest,omitempty"`
	Failing     []string              `json:"failing,omitempty"` // partitions that it serves and that deliver nothing, and why
}

// upstreamLine is one upstream, over all workers.
type upstreamLine struct {
	Upstream    events.Upstream `json:"upstream"`
	Partitions  int             `json:"partitions"`
	Serving     []string        `json:"workers"`
	Undelivered uint64          `json:"undelivered"`
	Unfinished  int             `json:"unfinished"`
	Redelivered int             `json:"redelivered"`
	Unowned     []int           `json:"unowned"` // partitions that nobody owns
	Stuck       uint64          `json:"unowned_backlog"`
	Full        []int           `json:"full,omitempty"` // partitions that have as many unfinished as they may

	owners map[int]string // by partition
}

func overviewOf(entries []natsjs.Entry, backlog []natsjs.Backlog, at time.Time) overview {
	o := overview{at: at, Upstreams: upstreamsOf(entries, backlog)}
	for _, e := range entries {
		o.Workers = append(o.Workers, o.workerOf(e))
	}
	o.Remarks = o.remarks()
	return o
}

// upstreamsOf sums up the backlog, which is sorted by upstream.
func upstreamsOf(entries []natsjs.Entry, backlog []natsjs.Backlog) []upstreamLine {
	var all []upstreamLine
	for len(backlog) > 0 {
		name := backlog[0].Upstream
		n := slices.IndexFunc(backlog, func(b natsjs.Backlog) bool { return b.Upstream != name })
		if n < 0 {
			n = len(backlog)
		}
		all = append(all, upstreamOf(entries, backlog[:n]))
		backlog = backlog[n:]
	}
	return all
}

func upstreamOf(entries []natsjs.Entry, parts []natsjs.Backlog) upstreamLine {
	name := parts[0].Upstream
	u := upstreamLine{Upstream: name, Partitions: len(parts), Serving: serving(entries, name), Unowned: []int{}, owners: make(map[int]string)}
	due := natsjs.Assign(u.Serving, u.Partitions, string(name))
	for _, b := range parts {
		u.Undelivered += b.Undelivered
		u.Unfinished += b.Unfinished
		u.Redelivered += b.Redelivered
		if b.Unfinished >= b.Window {
			u.Full = append(u.Full, b.Partition)
		}
		if owner := ownerOf(b, entries, due); owner != "" {
			u.owners[b.Partition] = owner
			continue
		}
		u.Unowned = append(u.Unowned, b.Partition)
		u.Stuck += b.Undelivered + uint64(b.Unfinished)
	}
	return u
}

// serving names the workers that serve an upstream; never nil.
func serving(entries []natsjs.Entry, name events.Upstream) []string {
	var present []natsjs.Present
	for _, e := range entries {
		present = append(present, e.Present)
	}
	return append([]string{}, natsjs.Serving(present, name)...)
}

// ownerOf is the worker that has a partition and is delivered its commands: the one whose pin it is; else, since the server pins with the next command
// and a worker tells only every second, the one that pulls it, and of several the one to whom it is due. A worker that
// tells nothing is taken to have what is due to it.
func ownerOf(b natsjs.Backlog, entries []natsjs.Entry, due map[string][]int) string {
	var pulls string
	for _, e := range entries {
		isDue := slices.Contains(due[e.Worker], b.Partition)
		if e.Status == nil {
			if isDue && pulls == "" {
				pulls = e.Worker
			}
			continue
		}
		p, ok := partitionIn(e.Status, b)
		switch {
		case !ok || p.Failed != "":
		case b.Pin != "" && p.Pin == b.Pin:
			return e.Worker
		case pulls == "" || isDue:
			pulls = e.Worker
		}
	}
	return pulls
}

// partitionIn finds what a worker tells of a partition.
func partitionIn(s *natsjs.WorkerStatus, b natsjs.Backlog) (natsjs.PartitionStatus, bool) {
	if u := toldOf(s, b.Upstream); u != nil {
		for _, p := range u.Partitions {
			if p.Number == b.Partition {
				return p, true
			}
		}
	}
	return natsjs.PartitionStatus{}, false
}

func toldOf(s *natsjs.WorkerStatus, name events.Upstream) *natsjs.UpstreamStatus {
	if s == nil {
		return nil
	}
	for i := range s.Upstreams {
		if s.Upstreams[i].Upstream == name {
			return &s.Upstreams[i]
		}
	}
	return nil
}

func (o *overview) workerOf(e natsjs.Entry) workerLine {
	w := workerLine{Worker: e.Worker, Told: e.Told, Upstreams: []workerOfLine{}}
	if s := e.Status; s != nil {
		w.Version, w.Host, w.HTTP, w.Since = s.Version, s.Host, s.HTTP, &s.Since
	}
	for _, u := range o.Upstreams {
		if !slices.Contains(e.Upstreams, u.Upstream) {
			continue
		}
		l := workerOfLine{Upstream: u.Upstream, Owns: []int{}, Prefers: []int{}}
		due := natsjs.Assign(u.Serving, u.Partitions, string(u.Upstream))
		l.Prefers = append(l.Prefers, due[e.Worker]...)
		for n := range u.Partitions {
			if u.owners[n] == e.Worker {
				l.Owns = append(l.Owns, n)
			}
		}
		if t := toldOf(e.Status, u.Upstream); t != nil {
			l.Breaker, l.Concurrency, l.Calls, l.Rate = t.Breaker, t.Concurrency, t.Calls, t.Rate
			l.Waiting, l.Gated, l.Longest, l.Oldest = t.Waiting, t.Gated, t.Longest, t.Oldest
			for _, p := range t.Partitions {
				if p.Failed != "" {
					l.Failing = append(l.Failing, p.Failed)
				}
			}
		}
		w.Upstreams = append(w.Upstreams, l)
	}
	return w
}
