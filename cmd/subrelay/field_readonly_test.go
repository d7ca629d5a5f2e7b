//go:build cluster

package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"subrelay/adapters/natsjs/natstest"
)

// stores are the directories of a cluster's servers, which can be made read-only while the servers run: what they have
// open, too.
type stores struct {
	t    *testing.T
	root string
}

func newStores(t *testing.T) *stores {
	t.Helper()
	s := &stores{t: t, root: t.TempDir()}
	t.Cleanup(func() {
		_ = exec.CommandContext(context.WithoutCancel(t.Context()), "chattr", "-R", "-i", s.root).Run()
	})
	return s
}

func (s *stores) dir(n int) string { return filepath.Join(s.root, string(rune('1'+n))) }

// need fails without a file system that can do it where CI is set, and skips elsewhere.
func (s *stores) need() {
	s.t.Helper()
	if err := os.Mkdir(s.dir(0), 0o755); err != nil {
		s.t.Fatal(err)
	}
	out, err := exec.CommandContext(s.t.Context(), "chattr", "+i", s.dir(0)).CombinedOutput()
	switch {
	case err == nil:
		s.open(0)
	case os.Getenv("CI") == "true":
		s.t.Fatalf("nothing can be made read-only here, and CI=true: %v\n%s", err, out)
	default:
		s.t.Skipf("only root can make files read-only, on a file system like ext4: %v\n%s", err, out)
	}
}

// seal makes stores read-only. Files come and go meanwhile, and what has gone is no error.
func (s *stores) seal(nodes ...int) {
	for _, n := range nodes {
		for range 3 { // whatever came meanwhile
			_ = exec.CommandContext(s.t.Context(), "chattr", "-R", "-f", "+i", s.dir(n)).Run()
		}
	}
}

func (s *stores) open(nodes ...int) {
	s.t.Helper()
	for _, n := range nodes {
		if out, err := exec.CommandContext(s.t.Context(), "chattr", "-R", "-i", s.dir(n)).CombinedOutput(); err != nil {
			s.t.Fatalf("%v\n%s", err, out)
		}
	}
}

// answers is the status that a page answers with, 0 for none.
func answers(t *testing.T, url string) int {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func (f *field) healthy(n *natstest.Node) bool {
	return answers(f.t, n.MonitorURL()+"/healthz") == http.StatusOK
}

// TestFieldReadOnlyStore makes the stores of running servers read-only. With one of them so, the others carry on. With
// all of them, publishers get an error, servers and workers say that they are not well, and nobody calls; nothing that was
// acknowledged is lost; and once the stores can be written, and the servers were started again, as the health check of
// docker-compose.yml does, all goes on.
func TestFieldReadOnlyStore(t *testing.T) {
	s := newStores(t)
	s.need()
	f := newField(t, fieldOptions{readBack: true, ClusterOptions: natstest.ClusterOptions{StoreDir: s.dir}})
	f.topology()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	health := l.Addr().String()
	l.Close()
	c := f.crew(1)
	c.add("SUBRELAY_WORKER_HTTP_ADDR=" + health)
	ready := func() bool { return answers(t, "http://"+health+"/readyz") == http.StatusOK }
	f.until("the worker is ready", ready)
	flow := f.flow(50, 20*time.Millisecond)
	f.calls(60)

	s.seal(0)
	f.until("the server with the read-only store says so", func() bool { return !f.healthy(f.cluster.Nodes[0]) })
	f.calls(60)

	s.seal(1, 2)
	f.until("a publisher gets an error", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := f.cl.publisher.Publish(ctx, f.renewal("refused", 1))
		return err != nil
	})
	f.until("no server is healthy", func() bool {
		for _, n := range f.cluster.Nodes {
			if f.healthy(n) {
				return false
			}
		}
		return true
	})
	f.until("the worker says that it is not ready", func() bool { return !ready() })

	s.open(0, 1, 2)
	for _, n := range f.cluster.Nodes {
		n.Kill() // 2.15.2 does not always end by itself after this
		n.Start()
	}
	for _, n := range f.cluster.Nodes {
		n.WaitHealthy(2 * time.Minute)
	}
	f.until("the worker is ready again", ready)
	f.send(f.renewal("refused", 1))
	f.calls(60)
	flow.stop()
	r := f.settle(3 * time.Minute)
	past := f.past()
	past.startedFirst(t)
	wantAll(t, r, 0)
	if r.Commands < len(f.sent) {
		t.Errorf("%d commands were acknowledged, and %d are there", len(f.sent), r.Commands)
	}
	for _, w := range c.all {
		if text := w.stderr.String(); strings.Contains(text, "ALARM") {
			t.Errorf("%s: %s", w.name, text)
		}
	}
}
