package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// health serves /healthz, /readyz and /metrics of a worker.
type health struct {
	app *App
	mux *http.ServeMux
}

func newHealth(a *App) *health {
	h := &health{app: a, mux: http.NewServeMux()}
	h.mux.HandleFunc("GET /healthz", h.live)
	h.mux.HandleFunc("GET /readyz", h.ready)
	h.mux.Handle("GET /metrics", promhttp.HandlerFor(a.metrics.registry, promhttp.HandlerOpts{Registry: a.metrics.registry}))
	return h
}

// ServeHTTP implements http.Handler.
func (h *health) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// readiness is the answer to /readyz.
type readiness struct {
	Ready     bool                 `json:"ready"`
	Reasons   []string             `json:"reasons,omitempty"` // why it is not
	Warnings  []string             `json:"warnings,omitempty"`
	Worker    string               `json:"worker"`
	Upstreams map[string]condition `json:"upstreams"`
}

// condition is how things stand with one upstream. It is no reason not to be ready: an upstream that is away is
// waited for.
type condition struct {
	Breaker    string `json:"breaker"`
	Partitions []int  `json:"partitions"`
	Waiting    int    `json:"waiting"`
}

// live says that the process answers.
func (h *health) live(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]bool{"live": true})
}

func (h *health) ready(w http.ResponseWriter, _ *http.Request) {
	r := h.app.readiness()
	status := http.StatusOK
	if !r.Ready {
		status = http.StatusServiceUnavailable
	}
	reply(w, status, r)
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone
}

// readiness says whether commands are being taken.
func (a *App) readiness() readiness {
	r := readiness{Worker: a.name, Upstreams: make(map[string]condition)}
	conn, stopping := a.state()
	r.Reasons, r.Warnings = a.shortage.standing()
	switch {
	case stopping:
		r.Reasons = append(r.Reasons, "the worker is stopping")
	case conn == nil:
		r.Reasons = append(r.Reasons, "NATS was not reached yet")
	case conn.Status() != nats.CONNECTED:
		r.Reasons = append(r.Reasons, "the connection to NATS is "+conn.Status().String())
	}
	select {
	case <-a.ready:
	default:
		r.Reasons = append(r.Reasons, "streams and consumers are not set up yet")
	}
	if silent := a.silent(time.Now()); silent > storesWithin && len(r.Reasons) == 0 {
		r.Reasons = append(r.Reasons, fmt.Sprintf("NATS has stored nothing for %s: a full disk, or too few servers?", silent.Round(time.Second)))
	}
	r.Reasons = append(r.Reasons, a.refusals.reasons()...)
	if other := a.namesake.Load(); other != nil {
		r.Reasons = append(r.Reasons, other.Error()+": give each a worker.name of its own")
	}
	for _, s := range a.stations {
		c := condition{Breaker: s.guard.State(), Partitions: []int{}}
		if lanes := s.lanes.Load(); lanes != nil {
			depth := lanes.Depth()
			c.Partitions, c.Waiting = append(c.Partitions, depth.Partitions...), depth.Waiting
			r.Reasons = append(r.Reasons, lanes.Failing()...)
		}
		r.Upstreams[string(s.name)] = c
	}
	r.Ready = len(r.Reasons) == 0
	return r
}

// storesWithin is how long a broker may store nothing before that is said: longer than it takes to elect a stream's leader.
const storesWithin = 10 * time.Second

// silent is how long NATS has stored nothing for this worker, which asks it to about each second; 0 before the first time.
func (a *App) silent(now time.Time) time.Duration {
	last := a.stored.Load()
	if last == 0 {
		return 0
	}
	return now.Sub(time.Unix(0, last))
}

// serveHTTP serves health and metrics from now on. stop ends that and waits for its end.
func (a *App) serveHTTP() (stop func()) {
	if a.listener == nil {
		return func() {}
	}
	server := &http.Server{Handler: newHealth(a), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
			a.Logger.Error("health and metrics are no longer served", "error", err)
		}
	}()
	return func() {
		_ = server.Close()
		<-done
	}
}
