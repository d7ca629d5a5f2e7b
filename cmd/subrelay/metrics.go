package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"subrelay/events"
)

// metrics is what a worker counts. It observes the dispatcher, on the path of every command: the children of all labels
// are resolved beforehand, in maps that never change.
type metrics struct {
	registry *prometheus.Registry

	commands map[kindStatus]prometheus.Counter
	calls    map[kindResult]prometheus.Observer
	late     map[events.Kind]prometheus.Counter
	dead     *prometheus.CounterVec
	queries  queryMetrics
	ackTime  prometheus.Histogram

	laneAlarms *prometheus.CounterVec

	doubtsOpen prometheus.Gauge
	deadOpen   *prometheus.GaugeVec

	charges *chargeMetrics // nil where this worker does not tell of charges
}

type kindStatus struct {
	kind   events.Kind
	status events.Status
}

type kindResult struct {
	kind   events.Kind
	result string
}

const metricsPrefix = "subrelay_"

var callBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

func newMetrics(stations []*station) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		commands: make(map[kindStatus]prometheus.Counter),
		calls:    make(map[kindResult]prometheus.Observer),
		late:     make(map[events.Kind]prometheus.Counter),
		dead:     counters("dead_letters_total", "Dead letters written, by reason.", "reason"),
		ackTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: metricsPrefix + "ack_latency_seconds", Help: "Time from storing a command to acknowledging it.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 600, 3600},
		}),
		laneAlarms: newLaneAlarms(stations),
		doubtsOpen: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: metricsPrefix + "doubts_open", Help: "Commands in doubt in the whole installation, counted now and again."}),
		deadOpen: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: metricsPrefix + "dead_letters_open", Help: "Dead letters not closed in the whole installation, counted now and again."}, []string{"reason"}),
	}
	m.registry.MustRegister(m.dead, m.ackTime, m.laneAlarms, m.doubtsOpen, m.deadOpen,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildMetric(), &stationCollector{stations: stations})
	m.resolve(stations)
	m.queries = newQueryMetrics(m.registry, stations)
	return m
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricsPrefix + name, Help: help}, labels)
}

// resolve makes the children of every kind, so that all series exist from the beginning.
func (m *metrics) resolve(stations []*station) {
	commands := counters("commands_total", "Commands that came to this status: final, or in doubt.", "kind", "status")
	attempts := counters("attempts_total", "Attempts started.", "kind")
	deferrals := counters("deferrals_total", "Attempts that are known to have changed nothing, to be tried again.", "kind")
	late := counters("late_results_total", "Results that disagree with what was recorded meanwhile: an alarm.", "kind")
	calls := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: metricsPrefix + "upstream_call_seconds", Help: "Duration of upstream calls, by what they came to.", Buckets: callBuckets,
	}, []string{"kind", "result"})
	m.registry.MustRegister(commands, attempts, deferrals, late, calls)
	for _, s := range stations {
		for _, kind := range s.kinds() {
			for _, status := range events.Statuses() {
				m.commands[kindStatus{kind, status}] = commands.WithLabelValues(string(kind), string(status))
			}
			m.commands[kindStatus{kind, events.Started}] = attempts.WithLabelValues(string(kind))
			m.commands[kindStatus{kind, events.Deferred}] = deferrals.WithLabelValues(string(kind))
			commands.DeleteLabelValues(string(kind), string(events.Started))
			commands.DeleteLabelValues(string(kind), string(events.Deferred))
			for _, result := range callResults {
				m.calls[kindResult{kind, result}] = calls.WithLabelValues(string(kind), result)
			}
			m.late[kind] = late.WithLabelValues(string(kind))
		}
	}
}

const resultOK = "ok"

var callResults = []string{resultOK, events.Refused.String(), events.Unavailable.String(), events.Unknown.String(), events.Internal.String()}

func resultOf(err error) string {
	if err == nil {
		return resultOK
	}
	return events.KindOf(err).String()
}

// Recorded implements handlers.Observer.
func (m *metrics) Recorded(kind events.Kind, status events.Status) {
	if c, ok := m.commands[kindStatus{kind, status}]; ok {
		c.Inc()
	}
}

// Called implements handlers.Observer.
func (m *metrics) Called(kind events.Kind, took time.Duration, err error) {
	if h, ok := m.calls[kindResult{kind, resultOf(err)}]; ok {
		h.Observe(took.Seconds())
	}
}

// DeadLettered implements handlers.Observer.
func (m *metrics) DeadLettered(reason events.Reason) { m.dead.WithLabelValues(string(reason)).Inc() }

// Late implements handlers.Observer.
func (m *metrics) Late(kind events.Kind) {
	if c, ok := m.late[kind]; ok {
		c.Inc()
	}
}

func (m *metrics) acked(sinceStored time.Duration) { m.ackTime.Observe(sinceStored.Seconds()) }

// watched takes what was counted in the whole installation.
func (m *metrics) watched(doubts int, dead map[events.Reason]int) {
	m.doubtsOpen.Set(float64(doubts))
	m.deadOpen.Reset()
	for reason, n := range dead {
		m.deadOpen.WithLabelValues(string(reason)).Set(float64(n))
	}
}

func buildMetric() prometheus.Collector {
	b := readBuild()
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: metricsPrefix + "build_info", Help: "Always 1; the labels say what is running.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "go": b.Go},
	}, func() float64 { return 1 })
}
