//go:build container

package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/testcontainers/testcontainers-go"
)

// disks are the disks of the three servers, each small, and of its own. Whoever holds them keeps them while servers are
// down, and can fill them.
type disks struct {
	in     *installation
	holder testcontainers.Container
}

// smallDisks makes each volume one of memory, with a limit.
func smallDisks(string) []string {
	return []string{"--driver", "local", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=64m"}
}

func (in *installation) hold(t *testing.T) *disks {
	t.Helper()
	var binds []string
	for name := range in.file.Volumes {
		binds = append(binds, in.volume(name)+":/"+name)
	}
	c, err := testcontainers.GenericContainer(t.Context(), testcontainers.GenericContainerRequest{
		ContainerRequest: testcontainers.ContainerRequest{
			Image: in.file.Services["nats-1"].Image, Cmd: []string{"sleep", "3600"},
			HostConfigModifier: func(h *container.HostConfig) { h.Binds = binds },
		},
		Started: true,
	})
	testcontainers.CleanupContainer(t, c, testcontainers.StopTimeout(0))
	if err != nil {
		t.Fatal(err)
	}
	return &disks{in: in, holder: c}
}

// fill writes to a server's disk until nothing more goes on it.
func (d *disks) fill(names ...string) {
	d.in.t.Helper()
	for _, name := range names {
		docker(d.in.t, "exec", d.holder.GetContainerID(), "sh", "-c", fmt.Sprintf(
			"dd if=/dev/zero of=/%[1]s/filler bs=64k 2>/dev/null; dd if=/dev/zero of=/%[1]s/rest bs=1 2>/dev/null; df /%[1]s | grep -q 100%%", name))
	}
}

func (d *disks) free(names ...string) {
	d.in.t.Helper()
	for _, name := range names {
		docker(d.in.t, "exec", d.holder.GetContainerID(), "rm", "/"+name+"/filler", "/"+name+"/rest")
	}
}

// TestContainerFullDisk fills the disks that the streams are on. With one of them full, the others carry on. With all of
// them full, publishers get an error and health says so; nothing that was acknowledged is lost; and once there is room
// again, all goes on without anybody's help.
func TestContainerFullDisk(t *testing.T) {
	in := install(t, installOptions{worker: quickWorkers, createVolume: smallDisks})
	d := in.hold(t)
	servers := []string{"nats-1", "nats-2", "nats-3"}
	bill := &billing{in: in}
	if err := bill.publish(); err != nil {
		t.Fatal(err)
	}

	bill.during(func() {
		d.fill("nats-3")
		eventuallySlow(t, "the server with the full disk is not healthy", func() bool { return in.health("nats-3") != "healthy" })
		if err := bill.publishOne("C-1"); err != nil {
			t.Errorf("with one of three disks full: %v", err)
		}
		d.free("nats-3")
		in.waitHealthy("nats-3")
	})

	d.fill(servers...)
	stored := in.storeUntilRefused(t, bill)
	t.Logf("%d commands were still acknowledged", stored)
	eventuallySlow(t, "no server is healthy", func() bool {
		return !slices.ContainsFunc(servers, func(name string) bool { return in.health(name) == "healthy" })
	})
	eventuallySlow(t, "no worker is healthy", func() bool { return in.health("worker-1") == "unhealthy" && in.health("worker-2") == "unhealthy" })
	d.free(servers...)
	in.waitHealthy(append(servers, "worker-1", "worker-2")...)
	eventuallySlow(t, "what was refused is stored", func() bool { return bill.publishOne("C-2") == nil })
	if err := bill.publish(); err != nil {
		t.Fatal(err)
	}
	in.settle(bill.stored.Load())
}

// storeUntilRefused publishes commands one by one until the publisher gets an error, and counts those that were
// acknowledged.
func (in *installation) storeUntilRefused(t *testing.T, bill *billing) (stored int) {
	t.Helper()
	eventuallySlow(t, "a publisher gets an error", func() bool {
		err := bill.publishOne("C-2")
		if err == nil {
			stored++
		}
		return err != nil
	})
	return stored
}

// publishOne publishes a command once. After an error it may be stored all the same: it is published again later, under
// its id.
func (b *billing) publishOne(customer string) error {
	id := fmt.Sprintf("one-%d", b.ones)
	got := b.in.run("", "publish", "renew", "--customer", customer, "--months", "1", "--id", id, "--source", "billing")
	if got.code != exitDone {
		return fmt.Errorf("exit code %d: %s%s", got.code, got.stdout, got.stderr)
	}
	b.ones++
	b.stored.Add(1)
	if !strings.Contains(got.stdout, "published") {
		return fmt.Errorf("no acknowledgement: %s", got.stdout)
	}
	return nil
}

// TestContainerServerThatHangs has the health check find what a NATS server can become whose disk was full or broken: one
// whose JetStream is off, or that cannot write, and does not end on SIGTERM; and one that does not answer at all. It must
// end them.
func TestContainerServerThatHangs(t *testing.T) {
	needEngine(t)
	in := newInstallation(t)
	makeImages(t, in.file)
	says := func(health string) string {
		return `while :; do printf 'HTTP/1.0 503 Service Unavailable\r\n\r\n{"status":"unavailable","error":"` + health + `"}' | nc -l -p 8222; done`
	}
	for name, serve := range map[string]string{
		"not enabled":     says("JetStream not enabled (10076)"),
		"unable to write": says("JetStream stream A is not current: stream write error: read-only file system"),
		"mute":            `nc -l -p 8222 -e sleep 1000`,
	} {
		request := in.request("nats-1")
		request.Cmd = []string{"sh", "-c", "trap : TERM; trap 'exit 3' QUIT; (" + serve + ") & while :; do wait; done"}
		request.ExposedPorts, request.Networks, request.NetworkAliases, request.HostConfigModifier = nil, nil, nil, nil
		c, err := testcontainers.GenericContainer(t.Context(), testcontainers.GenericContainerRequest{ContainerRequest: request, Started: true})
		testcontainers.CleanupContainer(t, c, testcontainers.StopTimeout(0))
		if err != nil {
			t.Fatal(err)
		}
		eventuallySlow(t, "the health check ends a server that is "+name, func() bool {
			state, err := c.State(t.Context())
			return err == nil && !state.Running && state.ExitCode == 3
		})
	}
}
