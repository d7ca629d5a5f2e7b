package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/sandbox"
	"subrelay/adapters/upstream"
	"subrelay/events"
	"subrelay/events/history"
)

// incident is an installation whose TVMS loses replies, before and after the effect, for a while.
type incident struct {
	*testing.T
	url    string // of NATS
	tvms   *sandbox.TVMS
	config Config
	cl     *client
}

// newIncident starts a broker, TVMS, and a worker that nothing stops from calling on.
func newIncident(t *testing.T) *incident {
	t.Helper()
	server, err := natsjs.StartServer(natsjs.ServerSettings{StoreDir: t.TempDir(), Addr: "127.0.0.1:0", LazySync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	tvms := sandbox.NewTVMS(sandbox.TVMSOptions{AuthToken: rigToken, AutoCreate: time.Date(2030, 1, 31, 0, 0, 0, 0, time.UTC)})
	http := httptest.NewServer(tvms.Handler())
	t.Cleanup(http.Close)
	r := &rig{t: t, server: server, tvms: tvms}
	r.config.NATS.URL = server.URL()
	r.config.Worker.HTTPAddr = noListen
	r.config.Streams.Partitions = 8
	r.config.TVMS.API.BaseURL, r.config.TVMS.API.AuthToken, r.config.TVMS.API.CRMService = http.URL, upstream.NewSecret(rigToken), "crm"
	r.config.TVMS.Guard = upstream.Settings{CallTimeout: 20 * time.Second, Concurrency: 64, ConsecutiveFailures: 1 << 30, MinRequests: 1 << 30}
	r.startWorker()
	conn, err := natsjs.Connect(natsjs.ConnectOptions{URL: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	in := &incident{T: t, url: server.URL(), tvms: tvms, config: r.config}
	if in.cl, err = newClient(r.config.withDefaults(), conn); err != nil {
		t.Fatal(err)
	}
	return in
}

// renew publishes one renewal for each customer from to to, many at a time.
func (in *incident) renew(id string, from, to int) {
	in.Helper()
	var group sync.WaitGroup
	next := atomic.Int64{}
	next.Store(int64(from))
	for range 32 {
		group.Go(func() {
			for n := int(next.Add(1)) - 1; n < to; n = int(next.Add(1)) - 1 {
				e := event.New()
				e.SetID(fmt.Sprintf("%s-%d", id, n))
				e.SetSource("incident")
				e.SetType(events.CommandType(events.Renew))
				e.SetSubject(fmt.Sprintf("C-%d", n))
				if err := e.SetData(event.ApplicationJSON, events.RenewData{CustomerMappingID: e.Subject(), Months: 1}); err != nil {
					in.Error(err)
				}
				if _, err := in.cl.publisher.Publish(in.Context(), e); err != nil {
					in.Error(err)
				}
			}
		})
	}
	group.Wait()
}

// reaches waits until the worker has come to so many records of a status.
func (in *incident) reaches(status events.Status, n int) {
	in.Helper()
	for deadline := time.Now().Add(10 * time.Minute); ; <-time.After(200 * time.Millisecond) {
		got := 0
		stream, err := in.cl.js.Stream(in.Context(), in.cl.names.Outcomes())
		if err == nil {
			info, _ := stream.Info(in.Context(), jetstream.WithSubjectFilter("subrelay.outcome.*."+string(status)+".>"))
			if info != nil {
				got = len(info.State.Subjects)
			}
		}
		if got >= n {
			return
		}
		if time.Now().After(deadline) {
			in.Fatalf("%d of %d are %s (%v)", got, n, status, err)
		}
	}
}

// did runs a command line and says how long it took, and by how much the heap of the whole process grew meanwhile: broker,
// worker and garbage included.
func (in *incident) did(ctx context.Context, what string, n int, out *lineCounter, args ...string) int {
	in.Helper()
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	out.base, out.peak, out.lines = before.HeapAlloc, 0, 0
	began := time.Now()
	var stderr bytes.Buffer
	c := newCLI(strings.NewReader(""), out, &stderr, nil)
	code := c.run(ctx, append([]string{"--nats", in.url}, args...))
	took := time.Since(began)
	var after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&after)
	// What stays is the broker's and the books', which are in this process; a verb that has ended holds nothing.
	if kept, most := int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(64<<20+8<<10*n); kept > most {
		in.Errorf("%s of %d left %d KiB behind; more than %d KiB is a leak", what, n, kept>>10, most>>10)
	}
	in.Logf("%s: %d lines in %s, %.0f/s, heap +%d KiB, code %d %s", what, out.lines, took.Round(time.Millisecond),
		float64(out.lines)/took.Seconds(), out.peak>>10, code, lastLine(stderr.String()))
	return code
}

func lastLine(text string) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return all[len(all)-1]
}

// lineCounter takes JSON lines and keeps only their number, unless each is set.
type lineCounter struct {
	each       func(line map[string]any)
	lines      int
	base, peak uint64
}

func (l *lineCounter) Write(p []byte) (int, error) {
	l.lines += bytes.Count(p, []byte("\n"))
	if l.each != nil {
		var v map[string]any
		if err := json.Unmarshal(p, &v); err != nil {
			return 0, err
		}
		l.each(v)
	}
	if l.lines%500 == 0 {
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		if now.HeapAlloc > l.base {
			l.peak = max(l.peak, now.HeapAlloc-l.base)
		}
	}
	return len(p), nil
}

// inBulk is the story of one incident with n renewals in doubt, half of them applied.
func (in *incident) inBulk(n int) {
	in.Helper()
	lost := func(kind sandbox.FaultKind) sandbox.Rate {
		return sandbox.Rate{Fault: sandbox.Fault{Kind: kind}, Rate: 0.5}
	}
	if err := in.tvms.Faults().Set(sandbox.Plan{Seed: 7, Rates: []sandbox.Rate{lost(sandbox.ResetAfter), lost(sandbox.ResetBefore)}}); err != nil {
		in.Fatal(err)
	}
	began := time.Now()
	in.renew("lost", 0, n)
	in.reaches(events.InDoubt, n)
	in.Logf("%d doubts after %s", n, time.Since(began).Round(time.Millisecond))
	in.tvms.Faults().Lift()

	const later = 200
	in.renew("later", 0, later) // of keys with a doubt: renewals go on
	in.reaches(events.Succeeded, later)

	applied, not := in.truth(n)
	list := &lineCounter{}
	if code := in.did(in.Context(), "doubts list", n, list, "doubts", "list", "-o", "json"); code != exitDone || list.lines != n {
		in.Errorf("doubts list: code %d, %d lines of %d", code, list.lines, n)
	}
	in.resolve(applied, not)
	r := in.report()
	if !r.OK() || r.InDoubt != 0 || r.Succeeded != later+len(applied)+len(not) || r.Failed != len(not) || r.Effects != later+n {
		in.Errorf("%s", r.String())
	}
	if open, err := in.cl.letters.Open(in.Context()); err != nil || len(open) > 0 {
		in.Errorf("open dead letters: %v, %v", open, err)
	}
}

// truth is which of the lost ones TVMS has applied.
func (in *incident) truth(n int) (applied, not []string) {
	in.Helper()
	for _, e := range in.tvms.Book().Effects() {
		cid, _, _ := e.Attempt()
		switch {
		case e.Detail["fault"] == "":
		case e.Applied:
			applied = append(applied, cid)
		default:
			not = append(not, cid)
		}
	}
	if len(applied)+len(not) != n || len(applied) == 0 || len(not) == 0 {
		in.Fatalf("%d applied, %d not, of %d", len(applied), len(not), n)
	}
	return applied, not
}

// resolve resolves those that were applied from a file, killed in the middle, again, and once more; the rest by
// selection, with new commands.
func (in *incident) resolve(applied, not []string) {
	in.Helper()
	by := []string{"--by", "anna", "--reason", "ticket 7", "--yes", "-o", "json"}
	args := append([]string{"doubts", "resolve", "--applied", "--from", file(in.T, strings.Join(applied, "\n")+"\n")}, by...)
	out := &lineCounter{}
	ctx, kill := context.WithCancel(in.Context())
	defer kill()
	out.each = func(map[string]any) {
		if out.lines == len(applied)/3 {
			kill()
		}
	}
	if code := in.did(ctx, "resolve --from, interrupted", len(applied), out, args...); code == exitDone || out.lines >= len(applied) {
		in.Errorf("interrupted: code %d, %d lines", code, out.lines)
	}
	for _, what := range []string{"resolve --from, again", "resolve --from, repeated"} {
		before := 0
		out.each = func(line map[string]any) {
			if line["repeated"] == true {
				before++
			}
			if line["status"] != "succeeded" {
				in.Errorf("%s: %v", what, line)
			}
		}
		code := in.did(in.Context(), what, len(applied), out, args...)
		if code != exitDone || out.lines != len(applied) || before == 0 {
			in.Errorf("%s: code %d, %d lines, %d repeated, of %d", what, code, out.lines, before, len(applied))
		}
	}
	out.each = nil
	code := in.did(in.Context(), "resolve --all --redrive", len(not), out, append([]string{"doubts", "resolve", "--all", "--kind", "renew", "--not-applied", "--redrive"}, by...)...)
	if code != exitDone || out.lines != len(not) {
		in.Errorf("redrive: code %d, %d lines of %d", code, out.lines, len(not))
	}
	in.reaches(events.Succeeded, 200+len(applied)+len(not))
}

func (in *incident) report() history.Report {
	in.Helper()
	evidence, err := in.cl.evidence(in.Context(), in.tvms.Book().Effects()...)
	if err != nil {
		in.Fatal(err)
	}
	return history.Check(evidence)
}

// TestDoubtsInBulk is the incident at a size for every day; TestFieldDoubtsInBulk is larger.
func TestDoubtsInBulk(t *testing.T) {
	newIncident(t).inBulk(envInt("SUBRELAY_DOUBTS", 600))
}
