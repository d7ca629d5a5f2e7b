//go:build container

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"

	"subrelay/adapters/sandbox"
)

// needEngine fails without a Docker engine where CI is set, and skips elsewhere.
func needEngine(t *testing.T) {
	t.Helper()
	// Nothing can be pulled where there is no registry: no helper container cleans up, the test does.
	t.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
	t.Setenv("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")
	out, err := exec.CommandContext(t.Context(), "docker", "info").CombinedOutput()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("no Docker engine answers, and CI=true: %v\n%s", err, out)
	default:
		t.Skipf("no Docker engine answers: %v", err)
	}
}

// startContainer runs "subrelay up" in a container of its own, from nothing but the static binary.
func startContainer(t *testing.T) testcontainers.Container {
	t.Helper()
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", filepath.Join(dir, "subrelay"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	recipe := "FROM scratch\nCOPY subrelay /subrelay\nENTRYPOINT [\"/subrelay\"]\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(recipe), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := testcontainers.GenericContainer(t.Context(), testcontainers.GenericContainerRequest{
		ContainerRequest: testcontainers.ContainerRequest{
			FromDockerfile: testcontainers.FromDockerfile{Context: dir, Dockerfile: "Dockerfile"},
			Cmd: []string{"up", "-o", "json", "--store", "/store", "--nats-addr", "0.0.0.0:4222",
				"--sandbox-addr", "0.0.0.0:8481", "--http-addr", "0.0.0.0:8480"},
			ExposedPorts: []string{"4222/tcp", "8480/tcp", "8481/tcp"},
			WaitingFor:   wait.ForLog(`"nats":`).WithStartupTimeout(time.Minute),
		},
		Started: true,
	})
	testcontainers.CleanupContainer(t, c)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func address(t *testing.T, c testcontainers.Container, port string) string {
	t.Helper()
	at, err := c.PortEndpoint(t.Context(), port+"/tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// outside runs a command line against the container, as somebody outside does.
func outside(t *testing.T, c testcontainers.Container, args ...string) (code int, stdout string) {
	t.Helper()
	var out, complaints bytes.Buffer
	args = append([]string{"--nats", "nats://" + address(t, c, "4222"), "-o", "json"}, args...)
	code = run(t.Context(), args, strings.NewReader(""), &out, &complaints)
	t.Logf("subrelay %s: exit %d\n%s%s", strings.Join(args, " "), code, out.String(), complaints.String())
	return code, out.String()
}

// effects is how many renewals of a customer the container's TVMS has in its book.
func effects(t *testing.T, c testcontainers.Container, customer string) (applied int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
		fmt.Sprintf("http://%s/_books?customer=%s", address(t, c, "8481"), customer), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var page sandbox.BookPage
	if err := json.Unmarshal(body, &page); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	for _, e := range page.Effects {
		if e.Applied {
			applied++
		}
	}
	return applied
}

// TestContainer kills a container with everything in it, and starts it on the same store: what was done is known, and is
// not done again.
func TestContainer(t *testing.T) {
	needEngine(t)
	c := startContainer(t)
	publish := []string{"publish", "renew", "--customer", "C-1", "--months", "1", "--id", "inv-1", "--source", "billing", "--wait", "--timeout", "1m"}
	if code, out := outside(t, c, publish...); code != exitDone || !strings.Contains(out, "succeeded") {
		t.Fatalf("exit %d: %s", code, out)
	}
	if n := effects(t, c, "C-1"); n != 1 {
		t.Fatalf("%d effects", n)
	}

	if out, err := exec.CommandContext(t.Context(), "docker", "kill", "--signal", "KILL", c.GetContainerID()).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	restart(t, c)
	if code, out := outside(t, c, publish...); code != exitDone || !strings.Contains(out, "succeeded") {
		t.Fatalf("exit %d: %s", code, out)
	}
	if n := effects(t, c, "C-1"); n != 0 { // the imitation's book began anew with its process
		t.Fatalf("the command ran again: %d effects after the restart", n)
	}
	publish[3], publish[7] = "C-2", "inv-2"
	if code, _ := outside(t, c, publish...); code != exitDone {
		t.Fatalf("exit %d", code)
	}
}

// restart starts a killed container again, and waits until its worker takes commands.
func restart(t *testing.T, c testcontainers.Container) {
	t.Helper()
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address(t, c, "8480")+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-ctx.Done():
			t.Fatal("the worker is not ready a minute after the restart")
		case <-tick.C:
		}
	}
}
