package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// listedQuery is a query as the list has it.
type listedQuery struct {
	Query    events.QueryName `json:"query"`
	Upstream events.Upstream  `json:"upstream"`
	Takes    string           `json:"takes"`
	Summary  string           `json:"summary"`
	Subject  string           `json:"subject"`
	Workers  []string         `json:"workers"` // null where NATS was not reached
}

// listQueries lists the queries with the workers that answer them, as far as they can be found.
func (c *cli) listQueries(ctx context.Context) error {
	cfg, err := c.loadConfig()
	if err != nil {
		return err
	}
	workers, unknown := c.queryWorkers(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	var rows [][]string
	for _, spec := range events.QuerySpecs() {
		names := cfg.names()
		q := listedQuery{Query: spec.Name, Upstream: spec.Upstream, Takes: takes(spec), Summary: spec.Summary, Subject: names.Query(spec.Name)}
		who := "?"
		if unknown == nil {
			q.Workers = answering(workers, spec.Name)
			who = orDash(joined(q.Workers))
		}
		if c.wantJSON {
			if err := c.printJSON(q); err != nil {
				return err
			}
		}
		rows = append(rows, []string{string(q.Query), string(q.Upstream), orDash(q.Takes), who})
	}
	if unknown != nil {
		c.sayf("which workers answer is not known: %v", unknown)
	}
	if c.wantJSON {
		return nil
	}
	return c.printTable([]string{"QUERY", "UPSTREAM", "TAKES", "WORKERS"}, rows)
}

// takes is what a query takes, as usage lines have it.
func takes(spec events.QuerySpec) string {
	var choice, optional []string
	for _, m := range spec.Choice {
		choice = append(choice, m.Name+"=")
	}
	for _, m := range spec.Optional {
		optional = append(optional, " ["+m.Name+"=]")
	}
	return strings.Join(choice, " | ") + strings.Join(optional, "")
}

// answering names the workers that answer a query.
func answering(workers []natsjs.QueryWorker, name events.QueryName) []string {
	names := []string{}
	for _, w := range workers {
		if _, ok := w.Queries[name]; ok {
			names = append(names, w.Worker)
		}
	}
	return names
}

// queryWorkers finds the workers that answer queries.
func (c *cli) queryWorkers(ctx context.Context) ([]natsjs.QueryWorker, error) {
	cl, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer cl.close()
	if !cl.may("$SRV.STATS." + natsjs.QueryService) {
		return nil, errors.New("this NATS user may not ask for it, only operators may")
	}
	return natsjs.QueryWorkers(ctx, cl.conn, cl.names)
}

// showQueryStats shows what each worker has answered since it began.
func (c *cli) showQueryStats(ctx context.Context) error {
	workers, err := c.queryWorkers(ctx)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, w := range workers {
		if c.wantJSON {
			if err := c.printJSON(w); err != nil {
				return err
			}
		}
		for _, name := range slices.Sorted(maps.Keys(w.Queries)) {
			s := w.Queries[name]
			average := time.Duration(s.AverageSeconds * float64(time.Second)).Round(100 * time.Microsecond)
			rows = append(rows, []string{w.Worker, string(name), strconv.Itoa(s.Answered), failures(s.Failed), average.String(), orDash(s.LastError)})
		}
	}
	if c.wantJSON {
		return nil
	}
	return c.printRows("no worker answers queries", []string{"WORKER", "QUERY", "ANSWERED", "FAILED", "AVERAGE", "LAST ERROR"}, rows)
}

// failures counts failures by code, on one line.
func failures(byCode map[string]int) string {
	var parts []string
	for _, code := range slices.Sorted(maps.Keys(byCode)) {
		parts = append(parts, strconv.Itoa(byCode[code])+" "+code)
	}
	return orDash(joined(parts))
}
