//go:build cluster

package main

import (
	"fmt"
	"os"
	"testing"
	"time"

	"subrelay/adapters/natsjs/natstest"
)

// leader is the server that leads a stream.
func (f *field) leader(stream string) *natstest.Node {
	f.t.Helper()
	var name string
	f.until("the stream "+stream+" has a leader", func() bool {
		s, err := f.cl.js.Stream(f.t.Context(), stream)
		if err != nil || s.CachedInfo().Cluster == nil {
			return false
		}
		name = s.CachedInfo().Cluster.Leader
		return name != ""
	})
	return f.cluster.Node(name)
}

// quorumLost is how long the cluster is without a majority: shorter than a minute, unless SUBRELAY_QUORUM_LOST says so.
func quorumLost(t *testing.T) time.Duration {
	t.Helper()
	given := os.Getenv("SUBRELAY_QUORUM_LOST")
	if given == "" {
		return 15 * time.Second
	}
	d, err := time.ParseDuration(given)
	if err != nil {
		t.Fatalf("SUBRELAY_QUORUM_LOST: %v", err)
	}
	return d
}

// TestFieldServers lets the servers of a cluster go, one after the other and two at a time, while commands keep coming.
// Nobody calls without a stored start, nothing is lost, and all goes on once a majority is there.
func TestFieldServers(t *testing.T) {
	f := newField(t, fieldOptions{readBack: true})
	f.topology()
	f.crew(2)
	flow := f.flow(50, 20*time.Millisecond)
	f.calls(60)
	loss := quorumLost(t)
	steps := []struct {
		what string
		hurt func() (gone []*natstest.Node) // those to start again
		away time.Duration                  // how long nobody can work, whatever the workers do
	}{
		{"a server killed that leads no stream of ours", func() []*natstest.Node { return f.without(f.bystander()) }, 0},
		{"the leader of the ledger killed", func() []*natstest.Node { return f.without(f.leader(f.cl.names.Outcomes())) }, 0},
		{"the leader of the commands killed", func() []*natstest.Node { return f.without(f.leader(f.cl.names.Commands())) }, 0},
		{"the cluster's own leader killed", func() []*natstest.Node { return f.without(f.metaLeader()) }, 0},
		{"a rolling restart", func() []*natstest.Node {
			for _, n := range f.cluster.Nodes {
				n.Stop()
				n.Start()
				n.WaitHealthy(2 * time.Minute)
			}
			return nil
		}, 0},
		{fmt.Sprintf("the majority gone for %s", loss), func() []*natstest.Node {
			gone := f.cluster.Nodes[:2]
			for _, n := range gone {
				n.Kill()
			}
			sleep(t.Context(), loss)
			return gone
		}, loss},
	}
	from, to := make([]time.Time, len(steps)), make([]time.Time, len(steps))
	for i, s := range steps {
		from[i] = time.Now()
		gone := s.hurt()
		for _, n := range gone {
			n.Start()
			n.WaitHealthy(2 * time.Minute)
		}
		f.calls(60)
		to[i] = time.Now()
	}
	flow.stop()
	r := f.settle(3 * time.Minute)
	past := f.past()
	past.startedFirst(t)
	wantAll(t, r, 0)
	for i, s := range steps {
		stall := past.stall(from[i], to[i])
		t.Logf("FIGURE stall after %s: %s without a call", s.what, seconds(stall))
		if stall > s.away+standstill {
			t.Errorf("all stood still for %s after %s", seconds(stall), s.what)
		}
	}
	t.Logf("FIGURE servers: %d commands, %d effects, %d succeeded, %d in doubt, %d violations", r.Commands, r.Effects, r.Succeeded, r.InDoubt, len(r.Violations))
}

// without kills a server, and lets work go on without it.
func (f *field) without(n *natstest.Node) []*natstest.Node {
	f.t.Helper()
	n.Kill()
	f.calls(60)
	return []*natstest.Node{n}
}

// bystander is a server that leads neither commands nor ledger.
func (f *field) bystander() *natstest.Node {
	f.t.Helper()
	commands, outcomes := f.leader(f.cl.names.Commands()), f.leader(f.cl.names.Outcomes())
	for _, n := range f.cluster.Nodes {
		if n != commands && n != outcomes {
			return n
		}
	}
	f.t.Fatal("every server leads a stream")
	return nil
}

func (f *field) metaLeader() (leader *natstest.Node) {
	f.t.Helper()
	f.until("the cluster has a leader", func() bool { leader = f.cluster.MetaLeader(); return leader != nil })
	return leader
}
