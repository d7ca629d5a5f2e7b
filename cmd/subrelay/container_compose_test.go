//go:build container

package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/moby/moby/api/types/container"
	dockernet "github.com/moby/moby/api/types/network"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"
)

// installation is what docker-compose.yml describes, running: its own services, images, commands, settings, networks,
// volumes and health checks, each container started through testcontainers as `docker compose up` starts it.
type installation struct {
	t       *testing.T
	file    composeFile
	name    string // of this one, before all that it creates
	network string
	ports   map[string]string // the variables of the file that differ: free ports
	running map[string]testcontainers.Container
	service map[string]string // of each container
}

// installOptions are how an installation differs from the file, as another file over it could have it.
type installOptions struct {
	worker       map[string]string          // more settings of workers
	createVolume func(name string) []string // more options of docker volume create
}

// install starts everything, waits until it is healthy, and takes it away at the end of the test.
func install(t *testing.T, o installOptions) *installation {
	t.Helper()
	needEngine(t)
	in := newInstallation(t)
	makeImages(t, in.file)
	in.createVolumes(t, o)
	if o.worker != nil {
		worker := in.file.Services["worker"]
		worker.Environment = maps.Clone(worker.Environment)
		maps.Copy(worker.Environment, o.worker)
		in.file.Services["worker"] = worker
	}
	net, err := network.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	testcontainers.CleanupNetwork(t, net)
	in.network = net.Name
	for _, service := range in.file.start() {
		for on := range in.file.Services[service].DependsOn {
			in.waitHealthy(on)
		}
		in.startService(t, service)
	}
	in.waitHealthy(slices.Sorted(maps.Keys(in.running))...)
	return in
}

func newInstallation(t *testing.T) *installation {
	t.Helper()
	in := &installation{t: t, name: "subrelay-test-" + uuid.NewString()[:8], ports: map[string]string{"WORKER_PORTS": "0"},
		running: map[string]testcontainers.Container{}, service: map[string]string{}}
	for _, variable := range []string{"NATS_PORT_1", "NATS_PORT_2", "NATS_PORT_3", "TVMS_PORT", "CRMCOM_PORT"} {
		in.ports[variable] = freePort(t)
	}
	in.file = readCompose(t, in.ports)
	return in
}

// createVolumes creates those of the file, to be removed after all containers are.
func (in *installation) createVolumes(t *testing.T, o installOptions) {
	t.Helper()
	for name := range in.file.Volumes {
		var options []string
		if o.createVolume != nil {
			options = o.createVolume(name)
		}
		docker(t, slices.Concat([]string{"volume", "create"}, options, []string{in.volume(name)})...)
		t.Cleanup(func() { docker(t, "volume", "rm", "--force", in.volume(name)) })
	}
}

func (in *installation) volume(name string) string { return in.name + "_" + name }

// startService starts the service's containers, without waiting until they are healthy. One container has the service's
// name, several have a number, too: worker-1, worker-2.
func (in *installation) startService(t *testing.T, service string) {
	t.Helper()
	s := in.file.Services[service]
	for n := range max(1, s.Scale) {
		name := service
		if s.Scale > 0 {
			name = fmt.Sprintf("%s-%d", service, n+1)
		}
		c, err := testcontainers.GenericContainer(in.t.Context(), testcontainers.GenericContainerRequest{ContainerRequest: in.request(service), Started: true})
		testcontainers.CleanupContainer(t, c, testcontainers.StopTimeout(0))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Cleanup(func() {
			if t.Failed() {
				printLog(t, name, c)
			}
		})
		in.running[name], in.service[name] = c, service
	}
}

// request is the service in the engine's words.
func (in *installation) request(service string) testcontainers.ContainerRequest {
	in.t.Helper()
	s := in.file.Services[service]
	ports, exposed := in.portsOf(s)
	return testcontainers.ContainerRequest{
		Image: s.Image, Cmd: s.Command, Env: s.Environment, ExposedPorts: exposed,
		Networks: []string{in.network}, NetworkAliases: map[string][]string{in.network: {service}},
		ConfigModifier: func(c *container.Config) {
			c.Healthcheck = &container.HealthConfig{Test: s.Health.Test, Interval: s.Health.Interval, Timeout: s.Health.Timeout,
				Retries: s.Health.Retries, StartPeriod: s.Health.StartPeriod}
		},
		HostConfigModifier: func(h *container.HostConfig) {
			h.Binds, h.PortBindings = in.binds(s), ports
			h.ReadonlyRootfs, h.CapDrop, h.SecurityOpt = s.ReadOnly, s.CapDrop, s.SecurityOpt
			h.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyMode(s.Restart)}
		},
	}
}

// portsOf is the service's ports, from ADDRESS:PORT:PORT.
func (in *installation) portsOf(s composeService) (bindings dockernet.PortMap, exposed []string) {
	in.t.Helper()
	bindings = dockernet.PortMap{}
	for _, text := range s.Ports {
		parts := strings.Split(text, ":")
		if len(parts) != 3 {
			in.t.Fatalf("the port %q is not ADDRESS:PORT:PORT", text)
		}
		port := dockernet.MustParsePort(parts[2] + "/tcp")
		bindings[port] = []dockernet.PortBinding{{HostIP: netip.MustParseAddr(parts[0]), HostPort: parts[1]}}
		exposed = append(exposed, port.String())
	}
	return bindings, exposed
}

// binds is the service's volumes, with this installation's names, and absolute paths.
func (in *installation) binds(s composeService) (binds []string) {
	in.t.Helper()
	for _, text := range s.Volumes {
		source, target, _ := strings.Cut(text, ":")
		if _, named := in.file.Volumes[source]; named {
			source = in.volume(source)
		} else {
			path, err := filepath.Abs(filepath.Join("../..", source))
			if err != nil {
				in.t.Fatal(err)
			}
			source = path
		}
		binds = append(binds, source+":"+target)
	}
	return binds
}

// waitHealthy waits until the health checks of these containers say that all is well.
func (in *installation) waitHealthy(names ...string) {
	in.t.Helper()
	for _, name := range names {
		ctx, cancel := context.WithTimeout(in.t.Context(), 3*time.Minute)
		err := wait.ForHealthCheck().WithStartupTimeout(3*time.Minute).WithPollInterval(200*time.Millisecond).WaitUntilReady(ctx, in.container(name))
		cancel()
		if err != nil {
			in.t.Fatalf("%s does not become healthy: %v", name, err)
		}
	}
}

func (in *installation) container(name string) testcontainers.Container {
	in.t.Helper()
	c := in.running[name]
	if c == nil {
		in.t.Fatalf("there is no container %s", name)
	}
	return c
}

func (in *installation) id(name string) string {
	in.t.Helper()
	return in.container(name).GetContainerID()
}

// health is what the container's health check says: starting, healthy or unhealthy; or that it does not run.
func (in *installation) health(name string) string {
	in.t.Helper()
	state, err := in.container(name).State(in.t.Context())
	switch {
	case err != nil:
		in.t.Fatal(err)
	case !state.Running || state.Restarting || state.Health == nil:
		return string(state.Status)
	}
	return string(state.Health.Status)
}

// printLog shows the end of what the container has logged.
func printLog(t *testing.T, name string, c testcontainers.Container) {
	logs, err := c.Logs(context.WithoutCancel(t.Context()))
	if err != nil {
		return
	}
	defer logs.Close()
	raw, _ := io.ReadAll(logs)
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	t.Logf("%s:\n%s", name, strings.Join(lines[max(0, len(lines)-25):], "\n"))
}
