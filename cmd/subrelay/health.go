package main

import (
	"encoding/json"
	"errors"
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
	r.Ready = len(r.Reasons) == 0
	for _, s := range a.stations {
		c := condition{Breaker: s.guard.State(), Partitions: []int{}}
		if lanes := s.lanes.Load(); lanes != nil {
			depth := lanes.Depth()
			c.Partitions, c.Waiting = append(c.Partitions, depth.Partitions...), depth.Waiting
		}
		r.Upstreams[string(s.name)] = c
	}
	return r
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
