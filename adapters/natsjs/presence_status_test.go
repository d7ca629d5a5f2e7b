package natsjs

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"subrelay/events"
)

// TestPresenceTellsOfTheWorker has workers of this version, of the one before, which left the value empty, and of one to
// come side by side: all are there, each with what it tells.
func TestPresenceTellsOfTheWorker(t *testing.T) {
	_, js := connect(t, startServer(t))
	top := topology(t, nil)
	apply(t, js, top)
	told := WorkerStatus{
		Version: "v1", Since: time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC),
		Upstreams: []UpstreamStatus{{
			Upstream: "a", Breaker: "closed", Waiting: 2, Oldest: &OldestWaiting{Key: "C-1", Kind: "k", Partition: 3},
			Partitions: []PartitionStatus{{Number: 3, Pin: "p", Waiting: 2}},
		}},
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	seen := make(chan []Present, 16)
	p := &Presence{
		JetStream: js, Worker: "new", Upstreams: []events.Upstream{"a"},
		Status: func() WorkerStatus { return told }, Changed: func(all []Present) { seen <- all },
	}
	go func() { ended <- p.Run(ctx) }()
	<-seen
	bucket, err := js.KeyValue(t.Context(), Names{}.Workers())
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{
		"before/a/b": "", "later/a": `{"version":"v9","since":"2026-11-24T00:00:00Z","mood":"good","upstreams":[]}`, "odd/a": "[1",
	} {
		if _, err := bucket.Put(t.Context(), key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadWorkers(t.Context(), js, Names{})
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{Present: Present{"before", []events.Upstream{"a", "b"}}},
		{Present: Present{"later", []events.Upstream{"a"}}, Status: &WorkerStatus{Version: "v9", Since: told.Since, Upstreams: []UpstreamStatus{}}},
		{Present: Present{"new", []events.Upstream{"a"}}, Status: &told},
		{Present: Present{"odd", []events.Upstream{"a"}}},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Entry{}, "Told"), cmpopts.IgnoreFields(WorkerStatus{}, "Instance")); diff != "" {
		t.Error(diff)
	}
	for _, e := range got {
		if time.Since(e.Told).Abs() > time.Minute {
			t.Errorf("%s told at %s", e.Worker, e.Told)
		}
	}
	if diff := cmp.Diff([]string{"before", "later", "new", "odd"}, Serving(<-seenAll(seen, 4), "a")); diff != "" {
		t.Errorf("who shares the partitions:\n%s", diff)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if keys, err := bucket.Keys(t.Context()); err != nil || len(keys) > 3 {
		t.Errorf("after its end there are %v (%v)", keys, err)
	}
}

// seenAll passes on the first view of n workers.
func seenAll(seen <-chan []Present, n int) <-chan []Present {
	out := make(chan []Present, 1)
	go func() {
		for all := range seen {
			if len(all) == n {
				out <- all
				return
			}
		}
	}()
	return out
}

// TestPresenceKeys holds the format of keys, by which workers of different versions know each other.
func TestPresenceKeys(t *testing.T) {
	p := Present{Worker: "host-1a2b", Upstreams: []events.Upstream{events.TVMS, events.CRMCOM}}
	if key := p.key(); key != "host-1a2b/tvms/crmcom" {
		t.Errorf("key %q", key)
	}
	if diff := cmp.Diff(p, presentOf("host-1a2b/tvms/crmcom")); diff != "" {
		t.Error(diff)
	}
}
