//go:build container

package main

import (
	"strings"
	"testing"
	"time"
)

// quickWorkers are times that let a test see what takes long by default.
var quickWorkers = map[string]string{
	"SUBRELAY_WORKER_GRACE": "5s", "SUBRELAY_WORKER_PUBLISH_TIMEOUT": "2s",
	"SUBRELAY_TVMS_CALL_TIMEOUT": "2s", "SUBRELAY_TVMS_OPEN_FOR": "500ms", "SUBRELAY_TVMS_READ_BACK_SETTLE_AFTER": "3s",
	"SUBRELAY_CRMCOM_CALL_TIMEOUT": "2s", "SUBRELAY_CRMCOM_OPEN_FOR": "500ms", "SUBRELAY_CRMCOM_SETTLE_AFTER": "3s", "SUBRELAY_NETFLIX_CALL_TIMEOUT": "2s",
}

// outlasting is longer than a pin, presence and the broker's patience with a silent connection last.
const outlasting = 8 * time.Second

// TestContainerCluster runs the compose file's installation through the faults of machines and networks, one after the
// other, under load from outside; after each, every command has had its one effect and its one outcome.
func TestContainerCluster(t *testing.T) {
	in := install(t, installOptions{worker: quickWorkers})
	bill := &billing{in: in}
	t.Run("what the README shows", in.readme)
	bill.stored.Store(2)
	in.slow(20 * time.Millisecond)
	story := func(name string, do func()) {
		t.Run(name, func(t *testing.T) {
			in.t = t
			bill.during(do)
		})
	}
	pause := func(d time.Duration) { sleep(t.Context(), d) }

	story("a worker is killed", func() {
		docker(t, "kill", "--signal", "KILL", in.id("worker-1"))
		pause(outlasting)
		docker(t, "start", in.id("worker-1"))
		in.waitHealthy("worker-1")
	})
	story("a worker is frozen", func() {
		docker(t, "pause", in.id("worker-2"))
		pause(outlasting)
		docker(t, "unpause", in.id("worker-2"))
		in.waitHealthy("worker-2")
	})
	story("all workers are killed", func() {
		docker(t, "kill", "--signal", "KILL", in.id("worker-1"), in.id("worker-2"))
		docker(t, "start", in.id("worker-1"), in.id("worker-2"))
		in.waitHealthy("worker-1", "worker-2")
	})
	story("the ledger's leader is killed", func() {
		leader := in.leader()
		docker(t, "kill", "--signal", "KILL", in.id(leader))
		pause(outlasting)
		docker(t, "start", in.id(leader))
		in.waitHealthy(leader)
	})
	story("a server stops gracefully and comes back", func() {
		docker(t, "stop", in.id("nats-2"))
		docker(t, "start", in.id("nats-2"))
		in.waitHealthy("nats-2")
	})
	story("a worker is cut from the network", func() { in.cut("worker-1", outlasting) })
	story("the ledger's leader is cut from the network", func() { in.cut(in.leader(), outlasting) })
}

// cut takes a container from the network for a while, and waits until it is healthy again.
func (in *installation) cut(name string, d time.Duration) {
	in.t.Helper()
	docker(in.t, "network", "disconnect", in.network, in.id(name))
	sleep(in.t.Context(), d)
	docker(in.t, "network", "connect", "--alias", in.service[name], in.network, in.id(name))
	in.waitHealthy(name)
}

// leader is the server that leads the ledger's stream.
func (in *installation) leader() string {
	in.t.Helper()
	cl, closeIt, err := in.client()
	if err != nil {
		in.t.Fatal(err)
	}
	defer closeIt()
	var name string
	eventuallySlow(in.t, "the ledger has a leader", func() bool {
		stream, err := cl.js.Stream(in.t.Context(), cl.names.Outcomes())
		if err == nil && stream.CachedInfo().Cluster != nil {
			name = stream.CachedInfo().Cluster.Leader
		}
		return name != ""
	})
	return name
}

// readme does from outside what the README does: publish, look at the outcome and its history, replay.
func (in *installation) readme(t *testing.T) {
	for _, args := range []string{
		"publish renew --customer C-1 --months 1 --id inv-0 --source billing --wait --timeout 1m",
		"publish amend --subscription S0000000001 --add code=EXTRA_0 --id inv-0 --source billing --wait --timeout 1m",
	} {
		in.run("", strings.Fields(args)...).want(t, exitDone, "subrelay.", "")
	}
	// Again, as billing does that has had no answer: it is done once.
	in.run("", strings.Fields("publish renew --customer C-1 --months 1 --id inv-0 --source billing --wait")...).want(t, exitDone, "succeeded", "")
	if got := in.run("", "outcomes", "--status", "succeeded").lines(t); len(got) != 2 {
		t.Errorf("%d outcomes: %v", len(got), got)
	}
	in.run("", "show", "inv-0", "--source", "billing", "--key", "C-1").want(t, exitDone, "succeeded", "")
	in.run("", "replay", "outcomes", "--to", "billing.rebuild", "--status", "succeeded").want(t, exitDone, `"replayed":2`, "")
	in.run("", "replay", "commands", "--missing", "--dry-run").want(t, exitDone, "", "")
	var applied int
	for _, upstream := range []string{"TVMS_PORT", "CRMCOM_PORT"} {
		var page struct{ Applied int }
		if err := in.get(upstream, "/_books", &page); err != nil {
			t.Fatal(err)
		}
		applied += page.Applied
	}
	if applied != 2 {
		t.Errorf("%d effects", applied)
	}
	in.settle(2)
}
