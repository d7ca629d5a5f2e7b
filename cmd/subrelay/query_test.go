package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// asker asks over a connection of its own, as any program would.
func (r *rig) asker() func(query, request string) (answer string, failure events.QueryFailure) {
	r.t.Helper()
	conn, err := nats.Connect(r.server.URL())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(conn.Close)
	return func(query, request string) (string, events.QueryFailure) {
		var failure events.QueryFailure
		reply, err := conn.Request("subrelay.query."+query, []byte(request), 15*time.Second)
		if err != nil {
			r.t.Error(err)
			return "", failure
		}
		if reply.Header.Get(micro.ErrorCodeHeader) == "" {
			return string(reply.Data), failure
		}
		if err := json.Unmarshal(reply.Data, &failure); err != nil {
			r.t.Errorf("%s: %v", reply.Data, err)
		}
		return "", failure
	}
}

// slowReads has reads take so long.
func (r *rig) slowReads(d time.Duration) {
	r.t.Helper()
	err := r.tvms.Faults().Set(sandbox.Plan{Standing: []sandbox.Fault{{Kind: sandbox.Slow, Route: sandbox.Reads, Delay: sandbox.Duration(d)}}})
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestQuery(t *testing.T) {
	r := newRig(t)
	r.run("query", "tvms-customer", "customer=C-1").want(t, exitDone, "Active  -", "")
	r.run("query", "tvms-customer", "customer=C-1", "-o", "json").want(t, exitDone, `{"status":"Active"}`+"\n", "")
	r.run("query", "tvms-customer", "customer=C-404").want(t, exitRejected, "", "Customer not found (the upstream's code: 400)")
	r.run("query", "tvms-customer", "customer=C-404", "-o", "json").want(t, exitRejected, "", `"exit_code":3`)
	r.run("query", "subscription", "subscription=S1").want(t, exitError, "", "no worker answers subscription\n  is a worker running that serves the upstream crmcom?")

	list := r.run("query")
	list.want(t, exitDone, r.app.Name(), "")
	for _, q := range r.run("query", "-o", "json").lines(t) {
		var want []any
		if q["query"] == "tvms-customer" {
			want = []any{r.app.Name()}
		}
		if got, ok := q["workers"].([]any); !ok || len(got) != len(want) || len(got) > 0 && got[0] != want[0] || q["subject"] != fmt.Sprint("subrelay.query.", q["query"]) {
			t.Errorf("%v", q)
		}
	}
	r.run("query", "--stats").want(t, exitDone, "2 upstream_refused", "")
	stats := r.run("query", "--stats", "-o", "json").lines(t)
	queries, _ := stats[0]["queries"].(map[string]any)
	got, _ := queries["tvms-customer"].(map[string]any)
	if got["answered"] != 2.0 || !cmp.Equal(got["failed"], any(map[string]any{"upstream_refused": 2.0})) || stats[0]["worker"] != r.app.Name() {
		t.Errorf("%v", stats)
	}

	_, page := fetch(t, "http://"+r.app.HTTPAddr()+"/metrics")
	for _, line := range []string{
		`subrelay_queries_total{query="tvms-customer",result="ok"} 2`, `subrelay_queries_total{query="tvms-customer",result="upstream_refused"} 2`,
		`subrelay_query_seconds_count{query="tvms-customer"} 4`,
	} {
		if !strings.Contains(page, line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
}

func TestQueryWithReadBack(t *testing.T) {
	r := newRigWithoutWorker(t)
	r.config.withReadBack()
	r.startWorker()
	r.run("query", "tvms-customer", "customer=C-1", "-o", "json").want(t, exitDone, `{"status":"Active","expires_at":"2030-01-31T00:00:00Z"}`, "")
	r.run("query", "tvms-customer", "customer=C-1").want(t, exitDone, "2030-01-31T00:00:00Z", "")
}

func TestQueriesUnderAnotherPrefix(t *testing.T) {
	r := newRigWithoutWorker(t)
	r.config.Prefix = "other"
	r.startWorker()
	r.run("query", "tvms-customer", "customer=C-1").want(t, exitError, "", "no worker answers")
	env := []string{"SUBRELAY_PREFIX=other", "SUBRELAY_NATS_URL=" + r.server.URL()}
	var out watched
	c := newCLI(strings.NewReader(""), &out, &out, env)
	if code := c.run(t.Context(), []string{"query", "tvms-customer", "customer=C-1"}); code != exitDone {
		t.Errorf("exit code %d: %s", code, out.String())
	}
}

func TestQueryListWithoutBroker(t *testing.T) {
	runLine(t, "", "--nats", "nats://user:s3cr3t@127.0.0.1:1", "query").want(t, exitDone, "tvms-customer", "nats://***@127.0.0.1:1")
}

func TestQueryIsDescribed(t *testing.T) {
	r := newRig(t)
	conn, err := nats.Connect(r.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reply, err := conn.Request("$SRV.INFO."+natsjs.QueryService, nil, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var info micro.Info
	if err := json.Unmarshal(reply.Data, &info); err != nil {
		t.Fatal(err)
	}
	if len(info.Endpoints) != 1 || info.Metadata["worker"] != r.app.Name() || info.Metadata["upstreams"] != "tvms" {
		t.Fatalf("%+v", info)
	}
	e := info.Endpoints[0]
	if !strings.Contains(e.Metadata["request"], `"user_id"`) || !strings.Contains(e.Metadata["reply"], `"expires_at"`) || e.Metadata["upstream"] != "tvms" {
		t.Errorf("%+v", e)
	}
}

func TestQueryErrors(t *testing.T) {
	r := newRig(t)
	ask := r.asker()
	t.Run("bad request", func(t *testing.T) {
		for _, request := range []string{`{}`, `{"customer":1}`, `{"customer":"C-1","x":"y"}`, `nonsense`, strings.Repeat("x", 5000)} {
			if _, f := ask("tvms-customer", request); f.Code != events.CodeBadRequest || !strings.Contains(f.Message, "exactly one of customer, user_id") {
				t.Errorf("%.30s: %+v", request, f)
			}
		}
	})
	for name, c := range map[string]struct {
		fault sandbox.Fault
		want  events.QueryFailure
	}{
		"error":      {sandbox.Fault{Kind: sandbox.ErrorBefore}, events.QueryFailure{Code: events.CodeUpstreamError, UpstreamCode: "500"}},
		"unreadable": {sandbox.Fault{Kind: sandbox.HTMLBefore}, events.QueryFailure{Code: events.CodeUnreadable, UpstreamCode: "200"}},
		"broken":     {sandbox.Fault{Kind: sandbox.ResetBefore}, events.QueryFailure{Code: events.CodeBroken}},
		"hangs":      {sandbox.Fault{Kind: sandbox.Hang}, events.QueryFailure{Code: events.CodeTimeout}},
	} {
		t.Run(name, func(t *testing.T) {
			c.fault.Route = sandbox.Reads
			r.fault(c.fault)
			_, f := ask("tvms-customer", `{"customer":"C-1"}`)
			if f.Message == "" {
				t.Error("it says nothing")
			}
			f.Message = ""
			if diff := cmp.Diff(c.want, f); diff != "" {
				t.Error(diff)
			}
			if _, f := ask("tvms-customer", `{"customer":"C-1"}`); f.Code != "" { // the breaker counts failures in a row
				t.Error(f)
			}
		})
	}
}

// While the breaker is open a query is refused at once; failed reads open it as failed calls do.
func TestQueryOpensTheBreakerAndMeetsIt(t *testing.T) {
	r := newRigWithoutWorker(t)
	r.config.TVMS.Guard.OpenFor = time.Hour
	r.app = r.startWorker()
	ask := r.asker()
	if err := r.tvms.Faults().Set(sandbox.Plan{Standing: []sandbox.Fault{{Kind: sandbox.ErrorBefore, Route: sandbox.Any}}}); err != nil {
		t.Fatal(err)
	}
	for r.app.Guard("tvms").State() == "closed" {
		if _, f := ask("tvms-customer", `{"customer":"C-1"}`); f.Code != events.CodeUpstreamError {
			t.Fatalf("%+v", f)
		}
	}
	r.run("publish", "renew", "--customer", "C-1", "--months", "1").want(t, exitDone, "", "") // waits, and holds a permit's place
	_, f := ask("tvms-customer", `{"customer":"C-1"}`)
	if f.Code != events.CodeUnavailable || !strings.Contains(f.Message, "breaker is open") || f.RetryAfter < 3000 {
		t.Errorf("%+v", f)
	}
	r.run("query", "tvms-customer", "customer=C-1").want(t, exitError, "", "ask again in 1h")
}

func TestQueryOfAnUpstreamThatIsDown(t *testing.T) {
	r := newRigWithoutWorker(t)
	r.config.TVMS.API.BaseURL = "http://127.0.0.1:1"
	r.startWorker()
	r.run("query", "tvms-customer", "customer=C-1").want(t, exitError, "", "tvms: the connection was refused")
}

// Those who ask with little patience get their answer in time, and do not open the breaker.
func TestQueryTimesOut(t *testing.T) {
	r := newRig(t)
	r.slowReads(300 * time.Millisecond)
	for range 8 {
		r.run("query", "tvms-customer", "customer=C-1", "--timeout", "50ms").want(t, exitTimeout, "", "the time given, 50ms, was over")
	}
	guard := r.app.Guard("tvms")
	eventually(t, "all reads have ended", func() bool { return guard.InFlight() == 0 })
	if guard.Opened() != 0 || guard.State() != "closed" {
		t.Error("the breaker has opened")
	}
}

// A longer --timeout is advised only where it would help: not where the worker has allowed less.
func TestLongerTimeoutIsAdvisedWhereItHelps(t *testing.T) {
	spec, _ := events.QuerySpecOf(events.TVMSCustomerQuery)
	late := &events.Error{Kind: events.Unavailable, Code: events.CodeDeadline, Message: "the longest time a worker allows, 40s, was over"}
	for early, want := range map[bool]string{false: "--timeout gives it longer", true: ""} {
		var p *problem
		if err := queryProblem(spec, late, early); !errors.As(err, &p) || p.hint != want || p.code != exitTimeout {
			t.Errorf("early %v: %+v", early, p)
		}
	}
}

// Queries have places of their own: too many are refused, and commands go on.
func TestQueriesDoNotStarveCommands(t *testing.T) {
	r := newRigWithoutWorker(t)
	r.config.TVMS.Guard.Concurrency = 4 // one of them for queries
	r.config.TVMS.Guard.CallTimeout = 20 * time.Second
	r.startWorker()
	ask := r.asker()
	r.slowReads(200 * time.Millisecond)
	var answered, busy atomic.Int32
	var askers sync.WaitGroup
	for range 30 {
		askers.Go(func() {
			switch _, f := ask("tvms-customer", `{"customer":"C-1"}`); f.Code {
			case "":
				answered.Add(1)
			case events.CodeBusy:
				busy.Add(1)
			default:
				t.Errorf("%+v", f)
			}
		})
	}
	eventually(t, "queries are refused", func() bool { return busy.Load() > 0 })
	r.run("publish", "renew", "--customer", "C-2", "--months", "1", "--wait").want(t, exitDone, "succeeded", "")
	if n := answered.Load(); n >= 9 {
		t.Errorf("the command came through only after %d queries", n)
	}
	askers.Wait()
	if answered.Load() != 9 || busy.Load() != 21 {
		t.Errorf("%d answered, %d busy; there is room for 1 and 8", answered.Load(), busy.Load())
	}
}

func TestQueryTwoWorkersAndOneStops(t *testing.T) {
	r := newRigWithoutWorker(t)
	r.config.Worker.Name = "stays"
	r.startWorker()
	r.config.Worker.Name = "leaves"
	leaving, err := NewApp(AppOptions{Config: r.config, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- leaving.Run(ctx) }()
	<-leaving.Ready()
	if list := r.run("query"); !strings.Contains(list.stdout, "leaves, stays") {
		t.Error(list.stdout)
	}
	ask := r.asker()
	r.slowReads(20 * time.Millisecond)
	var askers sync.WaitGroup
	for range 24 {
		askers.Go(func() {
			if answer, f := ask("tvms-customer", `{"customer":"C-1"}`); answer != `{"status":"Active"}` {
				t.Errorf("%q, %+v", answer, f)
			}
		})
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	askers.Wait()
	if list := r.run("query"); strings.Contains(list.stdout, "leaves") || !strings.Contains(list.stdout, "stays") {
		t.Error(list.stdout)
	}
	reads := 0
	for _, line := range r.run("query", "--stats", "-o", "json").lines(t) {
		queries := line["queries"].(map[string]any)
		reads += int(queries["tvms-customer"].(map[string]any)["answered"].(float64))
	}
	if reads > 24 {
		t.Errorf("%d answers to 24 queries", reads)
	}
}

// TestNoSecretInAnswers asks in every way that fails, and searches what comes back.
func TestNoSecretInAnswers(t *testing.T) {
	r, log := secretRig(t)
	r.startLogging(log)
	l := &leaks{t: t}
	at := []string{"--nats", r.config.NATS.URL}
	ask := func(customer string) ran {
		return l.run(nil, append(at[:2:2], "query", "tvms-customer", "customer="+customer, "-o", "json")...)
	}
	for i, k := range sandbox.FaultKinds() {
		fault := sandbox.Fault{Kind: k.Kind, Route: sandbox.Reads, Customer: fmt.Sprintf("Q-%d", i)}
		if k.Kind.Delayed() {
			fault.Delay = sandbox.Duration(time.Second)
		}
		if k.Kind == sandbox.Refusal {
			fault.Message = "no customer with " + testSecrets["the token of TVMS"] + " and " + url.QueryEscape(testSecrets["the customers' password"])
		}
		r.fault(fault)
		if o := ask(fault.Customer); o.code == exitDone && k.Kind != sandbox.DoubleReply {
			t.Errorf("%s does not fail: %s", k.Kind, o.stdout)
		}
	}
	if o := ask("fine"); o.code != exitDone {
		t.Errorf("%s", o.stderr)
	}
	l.run(nil, append(at[:2:2], "query")...)
	l.run(nil, append(at[:2:2], "query", "--stats")...)
	conn, err := nats.Connect(r.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, verb := range []string{"PING", "INFO", "STATS"} {
		reply, err := conn.Request("$SRV."+verb, nil, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		l.search(verb, string(reply.Data))
	}
	l.search("the log", log.String())
}
