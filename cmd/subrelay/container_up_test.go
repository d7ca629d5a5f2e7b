//go:build container

package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// composeCommand is how this machine calls compose: the engine's plugin, or the program of its own that came before it.
func composeCommand(t *testing.T) []string {
	t.Helper()
	for _, command := range [][]string{{"docker", "compose"}, {"docker-compose"}} {
		if exec.CommandContext(t.Context(), command[0], append(command[1:], "version")...).Run() == nil {
			return command
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("there is no docker compose, and CI=true")
	}
	t.Skip("there is no docker compose")
	return nil
}

// TestContainerCompose has compose itself start docker-compose.yml, as the README says, and works with it from within and
// from outside.
func TestContainerCompose(t *testing.T) {
	needEngine(t)
	command := composeCommand(t)
	in := newInstallation(t)
	makeImages(t, in.file)
	environ := os.Environ()
	for variable, value := range in.ports {
		environ = append(environ, variable+"="+value)
	}
	compose := func(args ...string) string {
		t.Helper()
		line := append(append(command[1:], "--project-name", in.name), args...)
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), command[0], line...)
		cmd.Dir, cmd.Env = "../..", environ
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", command[0], strings.Join(line, " "), err, out)
		}
		return string(out)
	}
	t.Cleanup(func() { compose("down", "--volumes", "--timeout", "5") })
	compose("up", "--detach", "--no-build")
	ids := strings.Fields(compose("ps", "-q"))
	if len(ids) != 6 {
		t.Fatalf("%d containers: %q", len(ids), ids)
	}
	eventuallySlow(t, "all containers are healthy", func() bool {
		for _, id := range ids {
			if docker(t, "inspect", "--format", "{{.State.Health.Status}}", id) != "healthy" {
				return false
			}
		}
		return true
	})
	out := compose("run", "--rm", "cli", "publish", "renew", "--customer", "C-10042", "--months", "1", "--wait")
	if !strings.Contains(out, "succeeded  renew C-10042") {
		t.Errorf("from within: %s", out)
	}
	in.run("", "publish", "renew", "--customer", "C-10042", "--months", "1", "--wait").want(t, exitDone, "succeeded", "")
	in.settle(2)
}
