package main

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// TestWorkers looks at two workers, of which one waits for a call that hangs.
func TestWorkers(t *testing.T) {
	r := newRigWithoutWorker(t)
	r.config.TVMS.Guard.CallTimeout = 30 * time.Second
	r.startWorker()
	r.config.Worker.Name = "second"
	r.startWorker()
	defer r.tvms.Faults().Lift()
	r.fails("C-1", sandbox.Hang)
	r.run("publish", "renew", "--customer", "C-1", "--months", "1").want(t, exitDone, "", "")
	r.run("publish", "renew", "--customer", "C-1", "--months", "2").want(t, exitDone, "", "")
	var last ran
	eventually(t, "each of the two owns two partitions, and one tells of the command that waits", func() bool {
		last = r.run("workers", "-o", "json")
		last.want(t, exitDone, "", "")
		lines := last.lines(t)
		if len(lines) != 5 { // two workers, three upstreams
			return false
		}
		owned, oldest := 0, false
		for _, line := range lines[:2] {
			of := line["upstreams"].([]any)[0].(map[string]any)
			owned += len(of["owns"].([]any))
			if len(of["owns"].([]any)) != 2 || of["breaker"] == "" {
				return false
			}
			if o, ok := of["oldest"].(map[string]any); ok {
				oldest = o["key"] == "C-1" && o["kind"] == "renew"
			}
		}
		return owned == 4 && oldest && lines[4]["upstream"] == "tvms" && len(lines[4]["unowned"].([]any)) == 0
	})
	r.run("workers").want(t, exitDone, "second", "")
	r.run("--config", file(t, "prefix: other"), "workers").want(t, exitError, "", "is it the right server?")
}

// TestWorkersWatch lets reading fail for a while: before it has succeeded once that is the end, and later not.
func TestWorkersWatch(t *testing.T) {
	r := newRigWithoutWorker(t)
	r.run("workers", "--watch").want(t, exitError, "", "is it the right server?")
	r.run("topology", "apply").want(t, exitDone, "", "")
	var stdout, stderr watched
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	go func() {
		c := newCLI(strings.NewReader(""), &stdout, &stderr, nil)
		done <- c.run(ctx, []string{"--nats", r.server.URL(), "workers", "--watch"})
	}()
	shown := func() int { return strings.Count(stdout.String(), "no worker is there") }
	eventually(t, "it is shown", func() bool { return shown() > 0 })
	conn, err := r.server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteKeyValue(t.Context(), natsjs.Names{}.Workers()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the error is told", func() bool { return strings.Contains(stderr.String(), "is it the right server?") })
	before := shown()
	r.run("topology", "apply").want(t, exitDone, "", "")
	eventually(t, "it is shown again", func() bool { return shown() > before })
	cancel()
	if code := <-done; code != exitDone {
		t.Errorf("exit code %d", code)
	}
}

// TestWorkersForPeople prints what a bad night can hold.
func TestWorkersForPeople(t *testing.T) {
	now := time.Now()
	began := now.Add(-3*time.Hour - 30*time.Second)
	w1 := &natsjs.WorkerStatus{Version: "v0.2.0", Host: "node-7", Since: began, Upstreams: []natsjs.UpstreamStatus{{
		Upstream: "tvms", Breaker: "open", Concurrency: 16, Calls: 1, Rate: 2.5, Waiting: 1004, Gated: 1,
		Longest:    &natsjs.LongestLane{Key: "C-1", Waiting: 990},
		Oldest:     &natsjs.OldestWaiting{Key: "C-1", Kind: "renew", Partition: 2, Stored: now.Add(-2*time.Hour - 12*time.Minute - 30*time.Second)},
		Partitions: []natsjs.PartitionStatus{{Number: 0, Pin: "a"}, {Number: 1, Pin: "gone"}, {Number: 2, Pin: "c", Waiting: 1000}},
	}}}
	w2 := &natsjs.WorkerStatus{Version: "v0.3.0", Since: began, Upstreams: []natsjs.UpstreamStatus{{
		Upstream: "tvms", Breaker: "closed", Concurrency: 16, Partitions: []natsjs.PartitionStatus{{Number: 1, Pin: "b"}},
	}}}
	tvms := []events.Upstream{"tvms"}
	entries := []natsjs.Entry{
		{Present: natsjs.Present{Worker: "w1", Upstreams: tvms}, Status: w1},
		{Present: natsjs.Present{Worker: "w2", Upstreams: tvms}, Status: w2},
	}
	w3 := *w2
	w3.Upstreams = []natsjs.UpstreamStatus{{
		Upstream: "tvms", Breaker: "closed", Concurrency: 16, Partitions: []natsjs.PartitionStatus{{Number: 1, Pin: "b", Failed: "tvms-01: the consumer is gone"}},
	}}
	unfit := []natsjs.Entry{{Present: natsjs.Present{Worker: "w3", Upstreams: tvms}, Status: &w3}}
	backlog := []natsjs.Backlog{
		{Upstream: "netflix", Partition: 0, Undelivered: 2, Window: 1000},
		{Upstream: "tvms", Partition: 0, Window: 1000, Pin: "a"},
		{Upstream: "tvms", Partition: 1, Window: 1000, Unfinished: 4, Pin: "b"}, // both pull it, and the server says whose it is
		{Upstream: "tvms", Partition: 2, Window: 1000, Unfinished: 1000, Undelivered: 8000, Pin: "c"},
		{Upstream: "tvms", Partition: 3, Window: 1000, Undelivered: 7},
	}
	for name, o := range map[string]overview{
		"bad_night": overviewOf(entries, backlog, now),
		"nobody":    overviewOf(nil, backlog[:1], now),
		"failing":   overviewOf(unfit, backlog[2:3], now), // pinned, and nothing is delivered
		"version_before": overviewOf([]natsjs.Entry{{Present: natsjs.Present{Worker: "old", Upstreams: tvms}}, entries[1]},
			backlog[1:3], now),
		"nothing_served": overviewOf([]natsjs.Entry{{Present: natsjs.Present{Worker: "idle"}}}, nil, now),
	} {
		var out bytes.Buffer
		c := newCLI(nil, &out, &out, nil)
		if err := c.printOverview(o, false); err != nil {
			t.Fatal(err)
		}
		golden(t, filepath.Join("testdata", "workers", name+".txt"), out.String())
	}
}
