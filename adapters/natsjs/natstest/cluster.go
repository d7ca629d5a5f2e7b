package natstest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// ClusterOptions say what servers to start. The zero value is a cluster of three that flushes each write.
type ClusterOptions struct {
	// Nodes is how many; default 3. One is a server without a cluster.
	Nodes int
	// LazySync leaves flushing to the server's default, once in two minutes.
	LazySync bool
	// Extra is more configuration for each of them, such as accounts or TLS, in the server's own language.
	Extra string
	// MaxStore is what JetStream may store on each, in the server's words; default "8GB".
	MaxStore string
	// StoreDir is where node n keeps its streams; default a directory of the test.
	StoreDir func(n int) string
}

// Cluster is a set of real NATS servers with JetStream, each a process of its own on loopback, so that one can be
// killed, frozen and started again as a machine can.
type Cluster struct {
	Nodes []*Node
	t     testing.TB
}

// StartCluster starts servers, waits until all are healthy, and kills them at the end of the test.
func StartCluster(t testing.TB, o ClusterOptions) *Cluster {
	t.Helper()
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	c := &Cluster{t: t}
	program := serverProgram(t)
	for n := range o.Nodes {
		c.Nodes = append(c.Nodes, &Node{
			Name: fmt.Sprintf("n%d", n+1), program: program, t: t,
			client: freePort(t), route: freePort(t), monitor: freePort(t),
		})
	}
	for n, node := range c.Nodes {
		node.configure(c, o, n)
	}
	t.Cleanup(func() {
		for _, node := range c.Nodes {
			node.Kill()
		}
	})
	for _, node := range c.Nodes {
		node.Start()
	}
	for _, node := range c.Nodes {
		node.WaitHealthy(time.Minute)
	}
	c.waitPeers(time.Minute)
	return c
}

// waitPeers waits until the cluster's leader counts on all others. Until then it refuses streams, though every server
// calls itself healthy.
func (c *Cluster) waitPeers(atMost time.Duration) {
	c.t.Helper()
	for deadline := time.Now().Add(atMost); len(c.Nodes) > 1 && !c.complete(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("the servers of the cluster have not found each other after %s", atMost)
		}
	}
}

// complete reports whether the leader's own page lists all others, each of them there.
func (c *Cluster) complete() bool {
	leader := c.MetaLeader()
	if leader == nil {
		return false
	}
	var page struct {
		Meta struct {
			Replicas []struct {
				Current bool `json:"current"`
				Offline bool `json:"offline"`
			} `json:"replicas"`
		} `json:"meta_cluster"`
	}
	if leader.monitoring("/jsz", &page) != nil || len(page.Meta.Replicas) != len(c.Nodes)-1 {
		return false
	}
	for _, r := range page.Meta.Replicas {
		if !r.Current || r.Offline {
			return false
		}
	}
	return true
}

// URL lists all servers, for a client.
func (c *Cluster) URL() string {
	var all []string
	for _, n := range c.Nodes {
		all = append(all, n.URL())
	}
	return strings.Join(all, ",")
}

// Node is the server of this name, as a stream's information calls its leader.
func (c *Cluster) Node(name string) *Node {
	c.t.Helper()
	for _, n := range c.Nodes {
		if n.Name == name {
			return n
		}
	}
	c.t.Fatalf("the cluster has no server %q", name)
	return nil
}

// MetaLeader is the server that leads the cluster's own group, asked of the servers that run; nil where none does.
func (c *Cluster) MetaLeader() *Node {
	c.t.Helper()
	for _, n := range c.Nodes {
		var page struct {
			Meta struct {
				Leader string `json:"leader"`
			} `json:"meta_cluster"`
		}
		if n.Running() && n.monitoring("/jsz", &page) == nil && page.Meta.Leader != "" {
			return c.Node(page.Meta.Leader)
		}
	}
	return nil
}

// Node is one server.
type Node struct {
	Name string

	t                      testing.TB
	program, config        string
	client, route, monitor int

	mu      sync.Mutex
	cmd     *exec.Cmd
	exited  chan struct{}
	log     bytes.Buffer
	logLock sync.Mutex
}

// URL is where clients reach it.
func (n *Node) URL() string { return fmt.Sprintf("nats://127.0.0.1:%d", n.client) }

// MonitorURL is where its monitoring answers.
func (n *Node) MonitorURL() string { return fmt.Sprintf("http://127.0.0.1:%d", n.monitor) }

// configure writes the server's configuration file.
func (n *Node) configure(c *Cluster, o ClusterOptions, number int) {
	n.t.Helper()
	dir := n.t.TempDir()
	store := filepath.Join(dir, "store")
	if o.StoreDir != nil {
		store = o.StoreDir(number)
	}
	maxStore := o.MaxStore
	if maxStore == "" {
		maxStore = "8GB"
	}
	sync := "sync_interval: always"
	if o.LazySync {
		sync = ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "server_name: %s\nlisten: 127.0.0.1:%d\nhttp: 127.0.0.1:%d\njetstream { store_dir: %q, max_file_store: %s, %s }\n",
		n.Name, n.client, n.monitor, store, maxStore, sync)
	if len(c.Nodes) > 1 {
		var routes []string
		for _, other := range c.Nodes {
			routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", other.route))
		}
		fmt.Fprintf(&b, "cluster { name: field, listen: 127.0.0.1:%d, routes: [%s] }\n", n.route, strings.Join(routes, ", "))
	}
	b.WriteString(o.Extra)
	n.config = filepath.Join(dir, n.Name+".conf")
	if err := os.WriteFile(n.config, []byte(b.String()), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// Start starts the server, on the addresses and the store that it had before. It does not wait until it is healthy.
func (n *Node) Start() {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		n.t.Fatalf("the server %s runs", n.Name)
	}
	cmd := exec.CommandContext(context.Background(), n.program, "-c", n.config) // it outlives the test's context, to be ended by Kill
	cmd.Stderr = &nodeLog{n}
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait()
	}()
	n.cmd, n.exited = cmd, exited
}

// Kill ends the server at once, as kill -9 does, and waits for its end.
func (n *Node) Kill() { n.end(syscall.SIGKILL) }

// Stop ends the server gracefully, and waits for its end.
func (n *Node) Stop() { n.end(syscall.SIGTERM) }

func (n *Node) end(sig syscall.Signal) {
	n.mu.Lock()
	cmd, exited := n.cmd, n.exited
	n.cmd = nil
	n.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(sig)
	_ = cmd.Process.Signal(syscall.SIGCONT) // it may be frozen
	<-exited
}

// Freeze stops the server's process where it is, Thaw lets it go on.
func (n *Node) Freeze() { n.signal(syscall.SIGSTOP) }

// Thaw lets a frozen server go on.
func (n *Node) Thaw() { n.signal(syscall.SIGCONT) }

// Reload has the server read its configuration again.
func (n *Node) Reload() { n.signal(syscall.SIGHUP) }

func (n *Node) signal(sig syscall.Signal) {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		n.t.Fatalf("the server %s does not run", n.Name)
	}
	if err := n.cmd.Process.Signal(sig); err != nil {
		n.t.Fatal(err)
	}
}

// Running reports whether the server was started and not ended.
func (n *Node) Running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd != nil
}

// PID is the server's process, 0 where it does not run.
func (n *Node) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return 0
	}
	return n.cmd.Process.Pid
}

// WaitHealthy waits until the server says that it is healthy: JetStream is there and has caught up.
func (n *Node) WaitHealthy(atMost time.Duration) {
	n.t.Helper()
	deadline := time.Now().Add(atMost)
	for {
		err := n.monitoring("/healthz", nil)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("the server %s is not healthy after %s: %v\n%s", n.Name, atMost, err, n.Log())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Log is what the server has logged.
func (n *Node) Log() string {
	n.logLock.Lock()
	defer n.logLock.Unlock()
	return n.log.String()
}

// monitoring reads a page of the server's monitoring.
func (n *Node) monitoring(path string, into any) error {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", n.monitor, path), nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

type nodeLog struct{ n *Node }

func (l *nodeLog) Write(b []byte) (int, error) {
	l.n.logLock.Lock()
	defer l.n.logLock.Unlock()
	return l.n.log.Write(b)
}

// serverProgram is the path of the NATS server of this module's go.mod, built by the go command and kept in its cache.
func serverProgram(t testing.TB) string {
	t.Helper()
	var complaints bytes.Buffer
	cmd := exec.CommandContext(context.Background(), "go", "tool", "-n", "nats-server")
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("no NATS server could be built: %v\n%s", err, complaints.String())
	}
	return strings.TrimSpace(string(out))
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
