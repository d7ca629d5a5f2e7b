package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// stationCollector reads breakers and lanes when it is asked.
type stationCollector struct {
	stations []*station
}

var (
	breakerState  = description("breaker_state", "1 for the state that the upstream's breaker is in.", "upstream", "state")
	breakerOpened = description("breaker_opened_total", "How often the upstream's closed breaker has opened.", "upstream")
	callsInFlight = description("upstream_calls_in_flight", "Permits that are out.", "upstream")
	laneWaiting   = description("lane_waiting", "Commands delivered to this worker and not finished.", "upstream")
	laneLongest   = description("lane_longest", "The most commands of one key that wait in this worker.", "upstream")
	laneFullest   = description("lane_window_used_ratio", "Part of its window that the fullest partition of this worker uses: at 1 all its keys wait.", "upstream")
	laneGated     = description("lane_gated_partitions", "Partitions whose commands pass one by one, as after a takeover.", "upstream")
	laneOwned     = description("lane_partitions", "Partitions served by this worker.", "upstream")
	laneOldest    = description("lane_oldest_waiting_seconds", "Age of the command that waits longest in this worker; 0 if none waits.", "upstream")
)

func description(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(metricsPrefix+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (c *stationCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{breakerState, breakerOpened, callsInFlight, laneWaiting, laneLongest, laneFullest, laneGated, laneOwned, laneOldest} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *stationCollector) Collect(out chan<- prometheus.Metric) {
	for _, s := range c.stations {
		name := string(s.name)
		gauge := func(d *prometheus.Desc, value float64, more ...string) {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, append([]string{name}, more...)...)
		}
		now := s.guard.State()
		for _, state := range []string{"closed", "half-open", "open"} {
			gauge(breakerState, one(state == now), state)
		}
		out <- prometheus.MustNewConstMetric(breakerOpened, prometheus.CounterValue, float64(s.guard.Opened()), name)
		gauge(callsInFlight, float64(s.guard.InFlight()))
		lanes := s.lanes.Load()
		if lanes == nil {
			continue
		}
		depth := lanes.Depth()
		gauge(laneWaiting, float64(depth.Waiting))
		gauge(laneLongest, float64(depth.Longest))
		gauge(laneFullest, float64(depth.Fullest)/float64(lanes.Window))
		gauge(laneGated, float64(depth.Gated))
		gauge(laneOwned, float64(len(depth.Partitions)))
		gauge(laneOldest, age(depth.Oldest).Seconds())
	}
}

// newLaneAlarms makes the counter of alarms, with every series from the beginning.
func newLaneAlarms(stations []*station) *prometheus.CounterVec {
	c := counters("lane_alarms_total", "Warnings that a partition's window is nearly full (window), or that many commands of one key wait (key).", "upstream", "alarm")
	for _, s := range stations {
		for _, alarm := range []natsjs.Alarm{natsjs.AlarmWindow, natsjs.AlarmKey} {
			c.WithLabelValues(string(s.name), string(alarm))
		}
	}
	return c
}

func (m *metrics) alarmed(name events.Upstream, alarm natsjs.Alarm) {
	m.laneAlarms.WithLabelValues(string(name), string(alarm)).Inc()
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func age(t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(0, time.Since(t))
}
