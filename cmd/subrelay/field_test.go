//go:build cluster

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/goccy/go-yaml"
	"github.com/google/uuid"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/sandbox"
	"subrelay/events"
	"subrelay/events/history"
)

// field is an installation of real processes: NATS servers and workers, each its own, with the imitation of TVMS on
// real HTTP in the test, whose book is the judge's evidence. It says what a process does when it is killed or frozen,
// for which neither goroutines nor virtual time can stand.
type field struct {
	t       *testing.T
	cluster *natstest.Cluster
	tvms    *sandbox.TVMS
	url     string         // of TVMS
	config  map[string]any // of workers and of the command line, as the file has it
	path    string         // of the configuration file

	cl     *client // of billing and operators
	random string  // part of every id

	mu   sync.Mutex
	sent []event.Event
}

// fieldOptions are how a field differs from the usual one: a cluster of three, and TVMS as o says.
type fieldOptions struct {
	natstest.ClusterOptions
	customers int // C-1 to C-n; default 50
	tvms      sandbox.TVMSOptions
	readBack  bool // unclear calls can be settled
	change    func(config map[string]any)
}

// newField starts servers and TVMS, without workers, and ends all with the test.
func newField(t *testing.T, o fieldOptions) *field {
	t.Helper()
	f := &field{t: t, cluster: natstest.StartCluster(t, o.ClusterOptions), random: uuid.NewString()[:6]}
	if o.customers == 0 {
		o.customers = 50
	}
	o.tvms.AuthToken = rigToken
	for n := range o.customers {
		o.tvms.Customers = append(o.tvms.Customers, sandbox.Customer{
			MappingID: fmt.Sprintf("C-%d", n+1), Expires: time.Date(2030, 1, 31, 0, 0, 0, 0, time.UTC)})
	}
	f.tvms = sandbox.NewTVMS(o.tvms)
	http := httptest.NewServer(f.tvms.Handler())
	t.Cleanup(http.Close)
	t.Cleanup(f.tvms.Faults().Lift)
	f.url = http.URL
	f.configure(o)
	f.cl = f.connect()
	return f
}

// fieldConcurrency is how many attempts a worker of a field has under way at a time.
const fieldConcurrency = 16

// configure writes the configuration of workers: short times, and few partitions.
func (f *field) configure(o fieldOptions) {
	f.t.Helper()
	replicas := min(3, len(f.cluster.Nodes))
	readBack := map[string]any{"enabled": o.readBack, "settle_after": "3s", "give_up_after": "1m"}
	if o.readBack {
		readBack["expiry_field"], readBack["format"] = "ExpireDate", "epoch_seconds"
	}
	f.config = map[string]any{
		"nats":    map[string]any{"url": f.cluster.URL()},
		"worker":  map[string]any{"http_addr": noListen, "grace": "5s", "publish_timeout": "2s"},
		"streams": map[string]any{"partitions": 8, "replicas": replicas},
		"retry":   map[string]any{"renew": map[string]any{"attempts": 8, "initial": "200ms", "max": "2s"}},
		"tvms": map[string]any{"base_url": f.url, "auth_token": rigToken, "crm_service": "crm", "read_back": readBack,
			"call_timeout": "2s", "open_for": "500ms", "concurrency": fieldConcurrency},
	}
	if o.change != nil {
		o.change(f.config)
	}
	f.path = filepath.Join(f.t.TempDir(), "subrelay.yaml")
	f.writeConfig()
}

func (f *field) writeConfig() {
	f.t.Helper()
	raw, err := yaml.Marshal(f.config)
	if err == nil {
		err = os.WriteFile(f.path, raw, 0o600)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// settings is the configuration as the program reads it.
func (f *field) settings() Config {
	f.t.Helper()
	c := newCLI(strings.NewReader(""), os.Stderr, os.Stderr, nil)
	c.configFile = f.path
	cfg, err := c.loadConfig()
	if err != nil {
		f.t.Fatal(err)
	}
	return cfg
}

// connect is a client of the field's servers, as the command line has it.
func (f *field) connect() *client {
	f.t.Helper()
	cfg := f.settings()
	options, err := cfg.NATS.connectOptions()
	if err != nil {
		f.t.Fatal(err)
	}
	conn, err := natsjs.Connect(options)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(conn.Close)
	cl, err := newClient(cfg, conn)
	if err != nil {
		f.t.Fatal(err)
	}
	return cl
}

// fieldWorker is a worker in a process of its own.
type fieldWorker struct {
	*program
	name   string
	exited chan struct{}
}

// start starts a worker, with env above the configuration file. It does not wait until the worker takes commands.
func (f *field) start(name string, env ...string) *fieldWorker {
	f.t.Helper()
	p := &program{t: f.t, cmd: exec.Command(os.Args[0], "worker", "--config", f.path, "--name", name), stderr: &watched{}}
	p.cmd.Env = append(append(os.Environ(), envAsMain+"=1"), env...)
	p.cmd.Stderr = p.stderr
	if err := p.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	w := &fieldWorker{program: p, name: name, exited: make(chan struct{})}
	go func() {
		defer close(w.exited)
		_ = p.cmd.Wait()
	}()
	f.t.Cleanup(func() { w.kill() })
	return w
}

// kill ends the worker at once, frozen or not, and waits for its end.
func (w *fieldWorker) kill() {
	_ = w.cmd.Process.Signal(syscall.SIGKILL)
	<-w.exited
}

// stop ends it gracefully, and waits for its end.
func (w *fieldWorker) stop() {
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	<-w.exited
}

func (w *fieldWorker) freeze() { _ = w.cmd.Process.Signal(syscall.SIGSTOP) }
func (w *fieldWorker) thaw()   { _ = w.cmd.Process.Signal(syscall.SIGCONT) }

// renewal is a command to renew customer C-n by a month.
func (f *field) renewal(id string, n int) event.Event {
	f.t.Helper()
	customer := fmt.Sprintf("C-%d", n)
	data, err := json.Marshal(events.RenewData{CustomerMappingID: customer, Months: 1})
	if err != nil {
		f.t.Fatal(err)
	}
	e := event.New()
	e.SetID(f.random + "-" + id)
	e.SetSource("field")
	e.SetType(events.CommandType(events.Renew))
	e.SetSubject(customer)
	if err := e.SetData(event.ApplicationJSON, json.RawMessage(data)); err != nil {
		f.t.Fatal(err)
	}
	return e
}

// send publishes as billing does, see post.
func (f *field) send(e event.Event, options ...natsjs.PublishOption) {
	f.t.Helper()
	if err := f.post(e, options...); err != nil {
		f.t.Fatal(err)
	}
}

// post publishes as billing does: again, until it knows that the command is stored. It gives up after five minutes.
func (f *field) post(e event.Event, options ...natsjs.PublishOption) error {
	deadline := time.Now().Add(5 * time.Minute)
	for {
		_, err := f.cl.publisher.Publish(f.t.Context(), e, options...)
		if err == nil {
			f.mu.Lock()
			f.sent = append(f.sent, e)
			f.mu.Unlock()
			return nil
		}
		if events.KindOf(err) == events.Refused || f.t.Context().Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("publishing %s: %w", e.ID(), err)
		}
		sleep(f.t.Context(), 50*time.Millisecond)
	}
}

// topology makes the streams, as the first worker would: again while a stream that was just made has no leader yet.
func (f *field) topology() {
	f.t.Helper()
	cfg := f.settings()
	t, err := cfg.topology()
	if err != nil {
		f.t.Fatal(err)
	}
	f.until("the streams are made", func() bool {
		if _, err = t.Apply(f.t.Context(), f.cl.js); err != nil {
			f.t.Log(err)
		}
		return err == nil
	})
}

// report is the judge's verdict as things stand. The book is read last: whatever had its result by then has its call there.
func (f *field) report() (history.Report, error) {
	evidence, err := f.cl.evidence(f.t.Context())
	if err != nil {
		return history.Report{}, err
	}
	evidence.Effects = f.tvms.Book().Effects()
	return history.Check(evidence), nil
}

// settle waits until every command has come to its end, and fails for every violation.
func (f *field) settle(atMost time.Duration) history.Report {
	f.t.Helper()
	deadline := time.Now().Add(atMost)
	for {
		r, err := f.report()
		if err == nil && r.Unresolved == 0 {
			if !r.OK() {
				f.t.Error(r.String())
			}
			return r
		}
		if time.Now().After(deadline) {
			f.t.Fatal(errors.Join(fmt.Errorf("not all is done after %s: %s", atMost, r.String()), err))
		}
		sleep(f.t.Context(), 200*time.Millisecond)
	}
}
