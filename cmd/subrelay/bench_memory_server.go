package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/sandbox"
)

// benchServerMemory is what a server's process takes, at three moments. The scaled figures are of the Go heap, beyond
// what the empty server takes.
type benchServerMemory struct {
	Empty          processMemory `json:"empty"`
	Waiting        processMemory `json:"waiting"` // with all commands stored, and none done
	Done           processMemory `json:"done"`    // with all of them done, and remembered
	WaitingMillion float64       `json:"waiting_bytes_per_million"`
	DoneMillion    float64       `json:"done_bytes_per_million"`
}

func (m *benchServerMemory) scale(n int) {
	per := func(p processMemory) float64 { return (p.Heap - m.Empty.Heap) / float64(n) * 1e6 }
	m.WaitingMillion, m.DoneMillion = per(m.Waiting), per(m.Done)
}

// processMemory is what a process takes after a collection of garbage. RSS is 0 where the system does not tell.
type processMemory struct {
	Heap float64 `json:"heap_allocated_bytes"`
	RSS  float64 `json:"rss_bytes"`
}

func readMemory() (processMemory, error) {
	debug.FreeOSMemory() // collects garbage first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	families, err := registry.Gather()
	if err != nil {
		return processMemory{}, err
	}
	p := processMemory{Heap: float64(m.HeapAlloc)}
	for _, f := range families {
		if f.GetName() == "process_resident_memory_bytes" {
			p.RSS = valueOf(f.GetMetric()[0])
		}
	}
	return p, nil
}

// benchServer is the server of bench --memory.
type benchServer struct {
	*child
	url string
}

func startBenchServer(ctx context.Context, stderr io.Writer, verbose bool) (*benchServer, error) {
	c, err := startChild(ctx, stderr, verbose, nil, "bench", "server")
	if err != nil {
		return nil, err
	}
	var at addresses
	if err := json.Unmarshal(c.line, &at); err != nil {
		c.end()
		return nil, fmt.Errorf("the server's addresses: %w", err)
	}
	return &benchServer{child: c, url: at.NATS}, nil
}

// memory asks the server's process what it takes.
func (s *benchServer) memory() (m processMemory, err error) {
	if _, err = io.WriteString(s.stdin, "\n"); err != nil {
		return m, fmt.Errorf("the server's process has ended: %w", err)
	}
	line, err := s.out.ReadBytes('\n')
	if err != nil {
		return m, fmt.Errorf("the server's process has ended: %w", err)
	}
	return m, json.Unmarshal(line, &m)
}

// serverCache is longer than the server keeps what it has cached of its streams.
const serverCache = 15 * time.Second

// settled is memory, once the server has let go of what it has cached of n commands; few are hardly worth the wait.
func (s *benchServer) settled(ctx context.Context, n int) (processMemory, error) {
	if !sleep(ctx, min(serverCache, time.Duration(n)*time.Millisecond)) {
		return processMemory{}, ctx.Err()
	}
	return s.memory()
}

// doAll has a worker do every command that waits.
func (c *cli) doAll(ctx context.Context, f benchFlags, cl *client, url string) error {
	tvms := sandbox.NewTVMS(sandbox.TVMSOptions{
		AuthToken: sandboxToken, BookLimit: -1, AutoCreate: time.Now().UTC().AddDate(0, 1, 0).Truncate(time.Second)})
	imitation, err := sandbox.Listen("127.0.0.1:0", tvms.Handler())
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- imitation.Run(serving) }()
	defer func() {
		stop()
		<-stopped //nolint:errcheck // it was told to stop: how it ended says nothing
	}()
	worker, err := startChild(ctx, c.stderr, f.verbose, benchWorkerEnv(url, noListen, imitation.URL()), "worker")
	if err != nil {
		return err
	}
	defer worker.end()
	stream, err := cl.js.Stream(ctx, cl.names.Outcomes())
	if err != nil {
		return err
	}
	read, done := time.Time{}, 0
	return awaitCount(ctx, f.commands, func() int {
		if time.Since(read) > 200*time.Millisecond {
			if info, err := stream.Info(ctx); err == nil {
				done = int(info.State.Msgs / 2)
			}
			read = time.Now()
		}
		return done
	})
}

// newBenchServerCommand is the server of bench --memory in its own process. It is no command for people.
func newBenchServerCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "server",
		Short:   "Run the server of bench --memory until standard input ends; each line on it asks for the memory it takes",
		Example: "  subrelay bench server",
		Hidden:  true,
		Args:    wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			broker, err := natsjs.StartServer(natsjs.ServerSettings{Addr: "127.0.0.1:0", LazySync: true})
			if err != nil {
				return err
			}
			defer broker.Shutdown()
			if err := c.printJSON(addresses{NATS: broker.URL()}); err != nil {
				return err
			}
			over := make(chan error, 1)
			go func() { over <- c.answerMemory() }()
			select {
			case err := <-over:
				return err
			case <-cmd.Context().Done():
				return nil
			}
		},
	}
}

// answerMemory prints what this process takes for each line of standard input, until that ends.
func (c *cli) answerMemory() error {
	in := bufio.NewReader(c.stdin)
	for {
		if _, err := in.ReadBytes('\n'); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		m, err := readMemory()
		if err == nil {
			err = c.printJSON(m)
		}
		if err != nil {
			return err
		}
	}
}
