package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"subrelay/adapters/natsjs"
)

// benchMemoryCommands is how many commands wait with --memory, unless --commands says otherwise.
const benchMemoryCommands = 100_000

// benchMemoryResult is the one line of bench --memory -o json.
type benchMemoryResult struct {
	Commands     int     `json:"commands"` // waiting in the stream
	CommandBytes int     `json:"command_bytes"`
	Delivered    int     `json:"delivered"` // of them, to the worker
	RSS          float64 `json:"rss_bytes"` // of the worker's process, at its highest
	HeapInUse    float64 `json:"heap_in_use_bytes"`
	HeapLive     float64 `json:"heap_allocated_bytes"`
	GoSys        float64 `json:"go_sys_bytes"` // all that the Go runtime has taken from the system
	// Server is the server's process.
	Server  benchServerMemory `json:"server"`
	Seconds float64           `json:"seconds"` // watched for
	CPUs    int               `json:"cpus"`
	Version string            `json:"version"`
	Go      string            `json:"go"`
}

// benchMemory measures a worker in a process of its own, whose upstream refuses every connection; and the server, empty,
// with all commands waiting, and with all of them done by another worker, whose upstream is an imitation.
func (c *cli) benchMemory(ctx context.Context, f benchFlags, log *slog.Logger) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	tell := c.newNarrator(time.Now())
	server, err := startBenchServer(ctx, c.stderr, f.verbose)
	if err != nil {
		return err
	}
	defer server.end()
	cl, err := connectForMemory(ctx, server.url, log)
	if err != nil {
		return err
	}
	defer cl.close()
	var memory benchServerMemory
	if memory.Empty, err = server.memory(); err != nil {
		return err
	}
	tell.sayf("storing %d commands of %d bytes, each of another customer", f.commands, benchCommandBytes)
	if err := fillForMemory(ctx, cl, f.commands); err != nil {
		return err
	}
	result, err := c.waitingWorker(ctx, f, server.url, tell)
	if err != nil {
		return err
	}
	if memory.Waiting, err = server.settled(ctx, f.commands); err != nil {
		return err
	}
	tell.sayf("another worker does them all")
	if err := c.doAll(ctx, f, cl, server.url); err != nil {
		return err
	}
	if memory.Done, err = server.settled(ctx, f.commands); err != nil {
		return err
	}
	memory.scale(f.commands)
	result.Commands, result.CommandBytes, result.Server = f.commands, benchCommandBytes, memory
	return c.printMemory(result)
}

// waitingWorker watches a worker whose upstream is down.
func (c *cli) waitingWorker(ctx context.Context, f benchFlags, url string, tell *narrator) (benchMemoryResult, error) {
	httpAddr, err := freeAddr()
	if err != nil {
		return benchMemoryResult{}, err
	}
	upstreamAddr, err := freeAddr() // nobody listens there
	if err != nil {
		return benchMemoryResult{}, err
	}
	worker, err := startChild(ctx, c.stderr, f.verbose, benchWorkerEnv(url, httpAddr, "http://"+upstreamAddr), "worker")
	if err != nil {
		return benchMemoryResult{}, err
	}
	defer worker.end()
	tell.sayf("a worker runs in process %d, its upstream refuses connections; watching its memory", worker.cmd.Process.Pid)
	return watchMemory(ctx, worker, httpAddr)
}

func benchWorkerEnv(url, httpAddr, upstream string) []string {
	return []string{
		"SUBRELAY_NATS_URL=" + url, "SUBRELAY_WORKER_HTTP_ADDR=" + httpAddr,
		"SUBRELAY_TVMS_BASE_URL=" + upstream, "SUBRELAY_TVMS_AUTH_TOKEN=" + sandboxToken, "SUBRELAY_TVMS_CONCURRENCY=64",
	}
}

func (c *cli) printMemory(r benchMemoryResult) error {
	if c.wantJSON {
		return c.printJSON(r)
	}
	err := c.printTable([]string{"MEMORY OF THE WORKER", ""}, [][]string{
		{"commands waiting", fmt.Sprintf("%d of %d bytes, %d of them delivered to the worker", r.Commands, r.CommandBytes, r.Delivered)},
		{"resident, at its highest", megabytes(r.RSS)},
		{"Go heap in use", megabytes(r.HeapInUse)},
		{"Go heap allocated", megabytes(r.HeapLive)},
		{"taken by the Go runtime", megabytes(r.GoSys)},
	})
	if err != nil {
		return err
	}
	s := r.Server
	row := func(what string, m processMemory, million string) []string {
		return []string{what, megabytes(m.Heap), megabytes(m.RSS), million}
	}
	return c.printTable([]string{"MEMORY OF THE SERVER", "HEAP", "RESIDENT", "HEAP FOR A MILLION"}, [][]string{
		row("empty", s.Empty, ""),
		row("all commands waiting", s.Waiting, megabytes(s.WaitingMillion)),
		row("all done and remembered", s.Done, megabytes(s.DoneMillion)),
	})
}

func megabytes(bytes float64) string { return fmt.Sprintf("%.1f MB", bytes/1e6) }

func connectForMemory(ctx context.Context, url string, log *slog.Logger) (*client, error) {
	conn, err := natsjs.Connect(natsjs.ConnectOptions{URL: url, Name: "subrelay bench", Logger: log})
	if err != nil {
		return nil, err
	}
	cl, err := newClient(Config{}.withDefaults(), conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	topology, err := cl.config.topology()
	if err == nil {
		_, err = topology.Apply(ctx, cl.js)
	}
	if err != nil {
		cl.close()
	}
	return cl, err
}

func fillForMemory(ctx context.Context, cl *client, n int) error {
	result, err := cl.publisher.PublishAll(ctx, benchCommands(benchRenew(), n, n), natsjs.Batch{InFlight: 256})
	if err == nil && result.Stored != n {
		err = fmt.Errorf("%d of %d commands were stored", result.Stored, n)
	}
	return err
}

// memoryWatch is how long the worker is watched once no more commands are delivered to it: long enough for heartbeats,
// probes of the breaker, and the garbage collector's own rhythm.
const memoryWatch = 10 * time.Second

// watchMemory reads the worker's own metrics until it has been watched long enough with its lanes full.
func watchMemory(ctx context.Context, worker *child, addr string) (benchMemoryResult, error) {
	b := readBuild()
	r := benchMemoryResult{CPUs: runtime.NumCPU(), Version: b.Version, Go: b.Go}
	began, grown := time.Now(), time.Now()
	for r.Delivered == 0 || time.Since(grown) < memoryWatch {
		if time.Since(began) > 10*memoryWatch {
			return r, errors.New("the worker's lanes never became full")
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case err := <-worker.ended:
			return r, fmt.Errorf("the worker ended: %w", errors.Join(err, io.ErrUnexpectedEOF))
		case <-time.After(200 * time.Millisecond):
		}
		m, err := readMetrics(ctx, addr)
		if err != nil {
			continue // not yet
		}
		if waiting := int(m[metricsPrefix+"lane_waiting"]); waiting > r.Delivered {
			r.Delivered, grown = waiting, time.Now()
		}
		r.RSS = max(r.RSS, m["process_resident_memory_bytes"])
		r.HeapInUse = max(r.HeapInUse, m["go_memstats_heap_inuse_bytes"])
		r.HeapLive = max(r.HeapLive, m["go_memstats_heap_alloc_bytes"])
		r.GoSys = max(r.GoSys, m["go_memstats_sys_bytes"])
	}
	r.Seconds = time.Since(began).Seconds()
	return r, nil
}

// readMetrics is the sum of each gauge and counter that a worker shows.
func readMetrics(ctx context.Context, addr string) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		return nil, err
	}
	sums := make(map[string]float64, len(families))
	for name, family := range families {
		for _, m := range family.GetMetric() {
			sums[name] += valueOf(m)
		}
	}
	return sums, nil
}

func valueOf(m *dto.Metric) float64 {
	return m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetUntyped().GetValue()
}

func freeAddr() (string, error) {
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// child is this program, running another command in a process of its own. It ends with the context it was started
// with, and where its standard input ends.
type child struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
	line  []byte // the first it printed; nil for a worker, which prints nothing
	ended chan error
}

func startChild(ctx context.Context, stderr io.Writer, verbose bool, env []string, args ...string) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if verbose {
		cmd.Stderr = stderr
	}
	c := &child{cmd: cmd, ended: make(chan error, 1)}
	if c.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if args[0] == "bench" {
		c.line, err = c.out.ReadBytes('\n')
	}
	go func() { c.ended <- cmd.Wait() }()
	if err != nil {
		c.end()
		return nil, fmt.Errorf("the server's process has ended: %w", err)
	}
	return c, nil
}

// end interrupts the process and waits for it.
func (c *child) end() {
	_ = c.stdin.Close()
	_ = c.cmd.Process.Signal(os.Interrupt) // it may have ended
	if err, ok := <-c.ended; ok {
		c.ended <- err
	}
}
