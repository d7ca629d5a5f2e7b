package main

import (
	"os"

	"subrelay/adapters/natsjs"
)

// status is what this worker tells of itself to whoever asks 'subrelay workers'.
func (a *App) status() natsjs.WorkerStatus {
	host, _ := os.Hostname() // "" is left out
	s := natsjs.WorkerStatus{Version: readBuild().Version, Host: host, HTTP: a.HTTPAddr(), Since: a.began, Upstreams: []natsjs.UpstreamStatus{}}
	for _, st := range a.stations {
		u := natsjs.UpstreamStatus{Upstream: st.name, Partitions: []natsjs.PartitionStatus{}}
		if lanes := st.lanes.Load(); lanes != nil {
			u = lanes.Status()
		}
		u.Breaker, u.Concurrency, u.Calls = st.guard.State(), st.guard.Concurrency(), st.guard.InFlight()
		u.Rate = st.guard.Rate()
		s.Upstreams = append(s.Upstreams, u)
	}
	return s
}
