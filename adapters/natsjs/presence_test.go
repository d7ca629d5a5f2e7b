package natsjs

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
)

// TestPresenceSaysWhoServesWhat has two workers meet that do not serve the same upstreams: what only one serves must be
// assigned to that one whole, or the other's part would wait for ever.
func TestPresenceSaysWhoServesWhat(t *testing.T) {
	_, js := connect(t, startServer(t))
	top := topology(t, nil)
	apply(t, js, top)
	seen := make(chan []Present, 16)
	run := func(p Presence) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		p.JetStream = js
		go func() { done <- p.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	run(Presence{Worker: "one", Upstreams: []events.Upstream{"a"}, Changed: func(all []Present) { seen <- all }})
	if diff := cmp.Diff([]Present{{"one", []events.Upstream{"a"}}}, <-seen); diff != "" {
		t.Fatalf("alone:\n%s", diff)
	}
	run(Presence{Worker: "two", Upstreams: []events.Upstream{"a", "b"}, Changed: func([]Present) {}})
	all := <-seen
	if diff := cmp.Diff([]Present{{"one", []events.Upstream{"a"}}, {"two", []events.Upstream{"a", "b"}}}, all); diff != "" {
		t.Fatalf("both:\n%s", diff)
	}
	for u, want := range map[events.Upstream]map[string]int{"a": {"one": 2, "two": 2}, "b": {"two": 4}, "c": {}} {
		got := map[string]int{}
		for worker, partitions := range Assign(Serving(all, u), 4, string(u)) {
			got[worker] = len(partitions)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("partitions of %s by worker:\n%s", u, diff)
		}
	}
}

func TestPresenceOfAWorkerThatServesNothing(t *testing.T) {
	if diff := cmp.Diff(Present{Worker: "w"}, presentOf(Present{Worker: "w"}.key())); diff != "" {
		t.Error(diff)
	}
}

// TestPresenceSettlesLate measures when a worker is told that all others must know what it knows: not before the entry of
// one that has heard nothing would have gone. In virtual time the server would take every entry for too old.
func TestPresenceSettlesLate(t *testing.T) {
	t.Parallel()
	_, js := connect(t, startServer(t))
	apply(t, js, topology(t, nil))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var changed time.Time
	settled := make(chan time.Duration, 1)
	p := &Presence{
		JetStream: js, Worker: "one", Every: 100 * time.Millisecond,
		Changed: func([]Present) { changed = time.Now() },
		Settled: func() { settled <- time.Since(changed) },
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	if took := <-settled; took < PresenceTTL-10*time.Millisecond || took > PresenceTTL+10*time.Second {
		t.Errorf("settled %s after the change", took)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
