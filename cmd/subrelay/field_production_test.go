//go:build cluster

package main

import (
	"strings"
	"testing"
	"time"

	"subrelay/adapters/natsjs/natstest"
)

// monitors are the monitoring addresses of the field's servers.
func (f *field) monitors() []string {
	var all []string
	for _, n := range f.cluster.Nodes {
		all = append(all, n.MonitorURL())
	}
	return all
}

// doctor runs doctor with the field's configuration.
func (f *field) doctor(args ...string) diagnosis {
	f.t.Helper()
	return diagnose(f.t, runLine(f.t, "", append([]string{"doctor", "--config", f.path, "-o", "json"}, args...)...))
}

// TestFieldProduction runs a worker in production on a cluster as it should be, sees doctor content with it, and
// holds the sequences that kills and conflicts leave in the streams against what an audit expects.
func TestFieldProduction(t *testing.T) {
	f := newField(t, fieldOptions{readBack: true, change: func(config map[string]any) {
		config["worker"].(map[string]any)["production"] = true
	}})
	f.config["nats"].(map[string]any)["monitor_urls"] = f.monitors()
	f.writeConfig()
	one, two := f.start("one"), f.start("two")
	f.await(one, two)
	for n := range 100 {
		f.send(f.renewal(string(rune('a'+n%20))+"-"+string(rune('a'+n/20)), n%50+1))
		if n == 50 {
			one.kill()
			f.start("one")
		}
	}
	f.settle(2 * time.Minute)
	d := f.doctor()
	d.clean("stream.", "sync.", "server.", "settings.replicas", "retention.", "audit.", "nats.", "consumer.", "worker.none", "check.")
	for _, node := range f.cluster.Nodes {
		d.want("ok", "sync.always", node.Name, "")
		d.want("ok", "server.version", node.Name, "")
		d.want("ok", "clock.server", node.Name, "")
	}
	if d.sum.Refused {
		t.Errorf("production is refused\n%s", d.stdout)
	}
	f.cluster.Nodes[2].Stop()
	defer f.cluster.Nodes[2].Start()
	eventually(t, "doctor misses a replica", func() bool {
		return strings.Contains(f.doctor("--no-audit").stdout, `"code":"stream.replica_away"`)
	})
}

// await waits until workers take commands.
func (f *field) await(workers ...*fieldWorker) {
	f.t.Helper()
	for _, w := range workers {
		eventually(f.t, w.name+" is present", func() bool {
			select {
			case <-w.exited:
				f.t.Fatalf("the worker %s has ended:\n%s", w.name, w.stderr)
			default:
			}
			return strings.Contains(w.stderr.String(), "workers present")
		})
	}
}

// TestFieldProductionRefusesLazyServers starts a worker in production where servers flush now and then.
func TestFieldProductionRefusesLazyServers(t *testing.T) {
	f := newField(t, fieldOptions{ClusterOptions: natstest.ClusterOptions{LazySync: true}})
	d := f.doctor()
	d.want("note", "sync.unknown", "n1, n2, n3", "")
	f.config["nats"].(map[string]any)["monitor_urls"] = f.monitors()
	f.writeConfig()
	f.doctor().want("error", "sync.lazy", "n2", "2m")
	runLine(t, "", "worker", "--production", "--config", f.path).want(t, exitError, "", "sync.lazy (n1)")
}
