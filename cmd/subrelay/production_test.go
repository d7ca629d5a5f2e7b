package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
	"subrelay/events/checkup"
)

// streams counts the streams on the rig's server.
func (r *rig) streams() int {
	r.t.Helper()
	conn, err := natsjs.Connect(natsjs.ConnectOptions{URL: r.server.URL()})
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		r.t.Fatal(err)
	}
	n := 0
	for range js.ListStreams(r.t.Context()).Info() {
		n++
	}
	return n
}

// TestProductionRefusesATrial starts workers in production against one server, and with settings for a trial. It must
// not have made or changed anything by then.
func TestProductionRefusesATrial(t *testing.T) {
	r := newRigWithoutWorker(t)
	o := r.run("worker", "--production", "--http-addr", "none", "--config", r.configFile())
	o.want(t, exitError, "", "can break the promise")
	for _, words := range []string{"settings.replicas (streams.replicas): the settings ask for 1 replica", "do:  set streams.replicas: 3"} {
		o.want(t, exitError, "", words)
	}
	if strings.Contains(o.stdout+o.stderr, rigToken) {
		t.Error("a secret is printed")
	}
	if n := r.streams(); n != 0 {
		t.Errorf("%d streams were made", n)
	}
}

// TestProductionRefusesStreams starts a worker in production where a stream drops what is old, and a consumer
// gives up commands, which a worker for trials would put right without a word.
func TestProductionRefusesStreams(t *testing.T) {
	r := newRigWithoutWorker(t)
	r.work()()
	conn, err := natsjs.Connect(natsjs.ConnectOptions{URL: r.server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), "SUBRELAY_COMMANDS")
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.Discard = jetstream.DiscardOld
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	k, err := js.Consumer(t.Context(), "SUBRELAY_COMMANDS", "tvms-00")
	if err != nil {
		t.Fatal(err)
	}
	consumer := k.CachedInfo().Config
	consumer.MaxDeliver = 3
	if _, err := js.UpdateConsumer(t.Context(), "SUBRELAY_COMMANDS", consumer); err != nil {
		t.Fatal(err)
	}
	o := r.run("worker", "--production", "--http-addr", "none", "--config", r.configFile())
	o.want(t, exitError, "", "stream.discard (SUBRELAY_COMMANDS)")
	o.want(t, exitError, "", "consumer.max_deliver (tvms-00)")
	o.want(t, exitError, "", "stream.few_replicas (SUBRELAY_OUTCOMES)")
}

// TestProductionRefusesOpenSecrets does so before anybody is connected to.
func TestProductionRefusesOpenSecrets(t *testing.T) {
	name := file(t, "tvms:\n  base_url: https://127.0.0.1:1\n  crm_service: c\n  auth_token: a-t0ken\nworker:\n  production: true\n  http_addr: none\nnats:\n  url: nats://127.0.0.1:1\n")
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	o := runLine(t, "", "worker", "--config", name)
	o.want(t, exitError, "", "secret.readable (tvms.auth_token): "+name+" has mode 0644")
	if strings.Contains(o.stderr, "a-t0ken") {
		t.Error("a secret is printed")
	}
	runLine(t, "", "up", "--config", name).want(t, exitError, "", "worker.production is set, and up is for trials")
}

// TestProductionRefusesExposedUpstreams does so, too, where whoever is on the way to an upstream can read or answer.
func TestProductionRefusesExposedUpstreams(t *testing.T) {
	const nats = "worker:\n  production: true\n  http_addr: none\nnats:\n  url: nats://127.0.0.1:1\n"
	const tvms = "tvms:\n  crm_service: c\n  auth_token: a-t0ken\n"
	const crm = "crmcom:\n  web_api_key: a-k3y\n  release: R18.0.0\n  base_url: https://crm.example\n"
	for _, tc := range []struct{ config, want string }{
		{tvms + "  base_url: http://tvms.example\n  allow_plain_http: true\n", "upstream.plain_http (tvms): tvms.base_url is plain http"},
		{tvms + "  base_url: https://tvms.example\n  tls_insecure_skip_verify: true\n", "upstream.unverified (tvms): tvms.tls_insecure_skip_verify is set"},
		{crm + "  tls_insecure_skip_verify: true\n", "upstream.unverified (crmcom): crmcom.tls_insecure_skip_verify is set"},
		{crm + "netflix:\n  tls_insecure_skip_verify: true\n", "upstream.unverified (netflix): netflix.tls_insecure_skip_verify is set"},
	} {
		o := runLine(t, "", "worker", "--config", file(t, tc.config+nats))
		o.want(t, exitError, "", "1 finding can break the promise")
		o.want(t, exitError, "", tc.want)
	}
}

// TestProductionLooksAgain tells what a worker in production looks at again from what it refuses, and when.
func TestProductionLooksAgain(t *testing.T) {
	unread := checkup.Finding{Severity: checkup.Warning, Code: natsjs.CodeUnread, Of: "http://nats-1:8222", Promise: true}
	away := unread
	away.Promise = false // the server of that monitor is away
	failed := func(of string) checkup.Finding {
		return checkup.Finding{Severity: checkup.Warning, Code: checkup.CodeFailed, Of: of}
	}
	broken := checkup.Finding{Severity: checkup.Warning, Code: "stream.few_replicas", Promise: true}
	aging := checkup.Finding{Severity: checkup.Warning, Code: "nats.certificate"}
	for _, tc := range []struct {
		name   string
		found  []checkup.Finding
		waited time.Duration
		again  int
		refuse string // "": not
	}{
		{"all is well", []checkup.Finding{aging}, 0, 0, ""},
		{"streams were not seen", []checkup.Finding{failed("streams")}, 0, 1, ""},
		{"nor after long", []checkup.Finding{failed("streams")}, time.Hour, 1, ""},
		{"neither servers nor consumers", []checkup.Finding{failed("servers"), failed("sync_interval"), failed("consumers")}, 0, 3, ""},
		{"a monitor is slow to start", []checkup.Finding{unread, aging}, 0, 1, ""},
		{"a monitor stays away", []checkup.Finding{unread}, monitorPatience, 1, natsjs.CodeUnread},
		{"a server is away", []checkup.Finding{away}, 0, 0, ""},
		{"what is broken needs no second look", []checkup.Finding{unread, broken}, 0, 1, "stream.few_replicas"},
		{"nor where streams were not seen", []checkup.Finding{failed("streams"), broken}, time.Hour, 1, "stream.few_replicas"},
	} {
		app := &App{AppOptions: AppOptions{Logger: slog.New(slog.DiscardHandler)}}
		again, err := app.judge(tc.found, tc.waited)
		if len(again) != tc.again || (err != nil) != (tc.refuse != "") || err != nil && !strings.Contains(hintOf(err), tc.refuse) {
			t.Errorf("%s: again %+v, %v", tc.name, again, err)
		}
		if err != nil && tc.refuse != natsjs.CodeUnread && strings.Contains(hintOf(err), natsjs.CodeUnread) {
			t.Errorf("%s: refused for a monitor that may answer yet", tc.name)
		}
	}
}

// TestProductionAwaitsMonitors has a server whose monitoring answers only when it is asked for the third time.
func TestProductionAwaitsMonitors(t *testing.T) {
	r := newRigWithoutWorker(t)
	conn, err := natsjs.Connect(natsjs.ConnectOptions{URL: r.server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	monitor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintf(w, `{"server_name":%q,"jetstream":{"config":{"sync_always":true}}}`, conn.ConnectedServerName())
	}))
	defer monitor.Close()
	r.config.Worker.Production, r.config.Worker.HTTPAddr = true, "none"
	r.config.NATS.MonitorURLs, r.config.Streams.Replicas = []string{monitor.URL}, 3
	log := &watched{}
	app, err := NewApp(AppOptions{Config: r.config, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	if err := app.checkProduction(t.Context(), js); err != nil || asked.Load() != 3 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
	if n := strings.Count(log.String(), "trying again"); n != 2 {
		t.Errorf("%d tries are told of:\n%s", n, log)
	}
}

// hintOf is what to do about an error.
func hintOf(err error) string {
	var p *problem
	if !errors.As(err, &p) {
		return ""
	}
	return p.hint
}
