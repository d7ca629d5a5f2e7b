package main

import (
	"github.com/prometheus/client_golang/prometheus"
)

// chargeMetrics counts what this worker does when it is its turn to tell of Netflix charges. It is a
// handlers.ChargeObserver.
type chargeMetrics struct {
	published map[string]prometheus.Counter // by status
	skipped   prometheus.Counter
	rounds    *prometheus.CounterVec
	complete  prometheus.Gauge
}

const otherStatus = "other" // of a charge, for the states that are not documented

const (
	roundComplete = "complete"
	roundFailed   = "failed"
)

func newChargeMetrics(registry *prometheus.Registry) *chargeMetrics {
	published := counters("charges_published_total", "Netflix charges told of by this worker, by the charge's state.", "status")
	m := &chargeMetrics{
		published: make(map[string]prometheus.Counter),
		skipped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: metricsPrefix + "charges_skipped_total", Help: "Netflix charges that can never be told of, counted again each hour: an alarm."}),
		rounds: counters("charge_rounds_total", "Rounds of listing Netflix charges by this worker, by how they ended.", "result"),
		complete: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: metricsPrefix + "charges_complete_timestamp_seconds",
			Help: "When this worker last listed all Netflix charges and told of all that can be told of, as a Unix time; 0 for never. The installation's is the largest of all workers'."}),
	}
	for _, status := range append(chargeStatuses(), otherStatus) {
		m.published[status] = published.WithLabelValues(status)
	}
	for _, result := range []string{roundComplete, roundFailed} {
		m.rounds.WithLabelValues(result)
	}
	registry.MustRegister(published, m.skipped, m.rounds, m.complete)
	return m
}

// ChargePublished implements handlers.ChargeObserver.
func (m *chargeMetrics) ChargePublished(status string) {
	c, ok := m.published[status]
	if !ok {
		c = m.published[otherStatus]
	}
	c.Inc()
}

// ChargeSkipped implements handlers.ChargeObserver.
func (m *chargeMetrics) ChargeSkipped() { m.skipped.Inc() }

// ChargeRound implements handlers.ChargeObserver.
func (m *chargeMetrics) ChargeRound(err error) {
	if err != nil {
		m.rounds.WithLabelValues(roundFailed).Inc()
		return
	}
	m.rounds.WithLabelValues(roundComplete).Inc()
	m.complete.SetToCurrentTime()
}
