package main

import (
	"fmt"
	"runtime"
	"strconv"

	"github.com/nats-io/nats-server/v2/server"

	"subrelay/events"
)

// benchResult is the last line of bench -o json. Its figures at the top are those of the first mode.
type benchResult struct {
	benchMode
	Kind         events.Kind `json:"kind"`
	Commands     int         `json:"commands"` // per round
	Keys         int         `json:"keys"`
	Concurrency  int         `json:"concurrency"`
	RoundCount   int         `json:"rounds"`
	Workers      int         `json:"workers"`
	Replicas     int         `json:"replicas"`      // of every stream; 0 where the given server's configuration says
	LatencyMS    float64     `json:"latency_ms"`    // of the imitation
	CommandBytes int         `json:"command_bytes"` // of a command's event, without headers
	Modes        []benchMode `json:"modes"`
	CPUs         int         `json:"cpus"`
	Version      string      `json:"version"`
	Go           string      `json:"go"`
	NATSServer   string      `json:"nats_server"` // the embedded one's version
}

// benchMode is what was measured with one way of flushing to the disk. Figures are medians over the rounds.
type benchMode struct {
	Sync string `json:"sync"` // default, always, or server: as the given server is configured
	benchRound
	FloorPerSecond  float64 `json:"floor_per_second"`
	RatioToFloor    float64 `json:"ratio_to_floor"`
	FloorAllocs     float64 `json:"floor_allocs_per_command"`
	FloorBytes      float64 `json:"floor_bytes_per_command"`
	TheoryPerSecond float64 `json:"theory_per_second,omitempty"` // concurrency / latency
	ShareOfTheory   float64 `json:"share_of_theory,omitempty"`
	PacedPerSecond  float64 `json:"paced_per_second"` // the rate at which latency was measured
	benchLatency
	FloorRounds []benchRound `json:"floor_rounds"`
	Rounds      []benchRound `json:"self_rounds"`
}

// benchRound is one round. Allocations are the whole process's, the embedded server and the imitation included.
type benchRound struct {
	Rate   float64 `json:"commands_per_second"`
	Allocs float64 `json:"allocs_per_command"`
	Bytes  float64 `json:"bytes_per_command"`
}

// benchLatency is the time from publish to outcome.
type benchLatency struct {
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

func newBenchResult(f benchFlags) *benchResult {
	b := readBuild()
	return &benchResult{
		Kind: f.kind, Commands: f.commands, Keys: f.keys, Concurrency: f.concurrency, RoundCount: f.rounds, Workers: f.workers, Replicas: f.replicas,
		LatencyMS: f.latency.Seconds() * 1000, CommandBytes: benchCommandBytes,
		CPUs: runtime.NumCPU(), Version: b.Version, Go: b.Go, NATSServer: server.VERSION,
	}
}

func (c *cli) benchTables(r *benchResult) error {
	header := []string{"FSYNC", "SUBRELAY/S", "FLOOR/S", "RATIO", "P50", "P95", "P99", "ALLOCS", "FLOOR", "BYTES", "FLOOR"}
	var rows [][]string
	whole := func(v float64) string { return strconv.FormatFloat(v, 'f', 0, 64) }
	ms := func(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) + " ms" }
	for _, m := range r.Modes {
		rows = append(rows, []string{
			m.Sync, whole(m.Rate), whole(m.FloorPerSecond), fmt.Sprintf("%.2f", m.RatioToFloor), ms(m.P50), ms(m.P95), ms(m.P99),
			whole(m.Allocs), whole(m.FloorAllocs), whole(m.Bytes), whole(m.FloorBytes),
		})
	}
	if err := c.printLine(""); err != nil {
		return err
	}
	if err := c.printTable(header, rows); err != nil {
		return err
	}
	for _, m := range r.Modes {
		if m.TheoryPerSecond > 0 {
			if err := c.printLine("fsync %s: %.0f%% of the theoretical %.0f/s (%d calls at a time, %g ms each)",
				m.Sync, 100*m.ShareOfTheory, m.TheoryPerSecond, r.Concurrency, r.LatencyMS); err != nil {
				return err
			}
		}
	}
	return c.printLine(`
%d commands (%s) of %d bytes for %d customers in each of %d rounds, %d calls at a time, workers: %d, %s; %d CPUs, %s, NATS server %s
Percentiles are from publish to outcome, at half the measured rate. Allocations and bytes are per command, of the whole
process: server, imitation and client included.`, r.Commands, r.Kind, r.CommandBytes, r.Keys, r.RoundCount, r.Concurrency, r.Workers, replicasOf(r.Replicas), r.CPUs, r.Go, r.NATSServer)
}

func replicasOf(n int) string {
	if n == 0 {
		return "replicas as configured"
	}
	return fmt.Sprintf("replicas: %d", n)
}
