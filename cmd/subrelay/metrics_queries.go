package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"subrelay/events"
)

// queryMetrics is what a worker counts of queries. They are few beside the commands.
type queryMetrics struct {
	total *prometheus.CounterVec
	took  *prometheus.HistogramVec
}

func newQueryMetrics(registry *prometheus.Registry, stations []*station) queryMetrics {
	m := queryMetrics{
		total: counters("queries_total", "Queries asked of this worker, by what they came to: ok, or the code of the error.", "query", "result"),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: metricsPrefix + "query_seconds", Help: "Time from taking a query to its answer.", Buckets: callBuckets,
		}, []string{"query"}),
	}
	registry.MustRegister(m.total, m.took)
	for _, spec := range events.QuerySpecs() {
		for _, s := range stations {
			if s.name == spec.Upstream {
				m.total.WithLabelValues(string(spec.Name), resultOK)
				m.took.WithLabelValues(string(spec.Name))
			}
		}
	}
	return m
}

// asked counts a query.
func (m *metrics) asked(name events.QueryName, took time.Duration, err error) {
	result := resultOK
	if err != nil {
		result = events.AsError(err).Code
	}
	m.queries.total.WithLabelValues(string(name), result).Inc()
	m.queries.took.WithLabelValues(string(name)).Observe(took.Seconds())
}
