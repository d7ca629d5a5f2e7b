package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// fetch gets a page.
func fetch(t *testing.T, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

func TestHealthAndMetrics(t *testing.T) {
	r := filled(t)
	at := "http://" + r.app.HTTPAddr()

	if status, body := fetch(t, at+"/healthz"); status != http.StatusOK || body != "{\"live\":true}\n" {
		t.Errorf("healthz: %d %s", status, body)
	}
	status, body := fetch(t, at+"/readyz")
	var ready readiness
	if err := json.Unmarshal([]byte(body), &ready); err != nil {
		t.Fatal(err)
	}
	if status != http.StatusOK || !ready.Ready || len(ready.Reasons) > 0 || ready.Worker != r.app.Name() || len(ready.Upstreams["tvms"].Partitions) != 4 {
		t.Errorf("readyz: %d %s", status, body)
	}
	eventually(t, "everything is counted", func() bool {
		_, page := fetch(t, at+"/metrics")
		return strings.Contains(page, "subrelay_ack_latency_seconds_count 3")
	})
	_, page := fetch(t, at+"/metrics")
	for _, line := range []string{
		`subrelay_commands_total{kind="renew",status="succeeded"} 1`,
		`subrelay_commands_total{kind="renew",status="rejected"} 1`,
		`subrelay_commands_total{kind="renew",status="in_doubt"} 1`,
		`subrelay_commands_total{kind="renew",status="failed"} 0`,
		`subrelay_attempts_total{kind="renew"} 3`,
		`subrelay_upstream_call_seconds_count{kind="renew",result="ok"} 1`,
		`subrelay_upstream_call_seconds_count{kind="renew",result="refused"} 1`,
		`subrelay_upstream_call_seconds_count{kind="renew",result="unknown"} 1`,
		`subrelay_breaker_state{state="closed",upstream="tvms"} 1`,
		`subrelay_breaker_opened_total{upstream="tvms"} 0`,
		`subrelay_lane_waiting{upstream="tvms"} 0`,
		`subrelay_lane_partitions{upstream="tvms"} 4`,
		`subrelay_lane_oldest_waiting_seconds{upstream="tvms"} 0`,
		`subrelay_dead_letters_total{reason="refused"} 1`,
		`subrelay_dead_letters_total{reason="in_doubt"} 1`,
		`subrelay_late_results_total{kind="renew"} 0`,
		`subrelay_build_info{`, `go_goroutines`,
	} {
		if !strings.Contains(page, line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
	if strings.Contains(page, rigToken) {
		t.Error("the metrics show a secret")
	}
}

func TestOpenDoubtsAreCounted(t *testing.T) {
	r := filled(t)
	second := r.startWorker() // counts at its start
	eventually(t, "the doubt is counted", func() bool {
		_, page := fetch(t, "http://"+second.HTTPAddr()+"/metrics")
		return strings.Contains(page, "subrelay_doubts_open 1\n") && strings.Contains(page, `subrelay_dead_letters_open{reason="in_doubt"} 1`)
	})
}

func TestWorkerWaitsForTheBroker(t *testing.T) {
	r := newRigWithoutWorker(t)
	addr := strings.TrimPrefix(r.server.URL(), "nats://")
	r.server.Shutdown()
	app, err := NewApp(AppOptions{Config: r.config, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx) }()
	eventually(t, "it is alive", func() bool {
		status, _ := fetch(t, "http://"+app.HTTPAddr()+"/healthz")
		return status == http.StatusOK
	})
	if status, body := fetch(t, "http://"+app.HTTPAddr()+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "NATS was not reached yet") {
		t.Errorf("readyz: %d %s", status, body)
	}
	server, err := natsjs.StartServer(natsjs.ServerSettings{StoreDir: t.TempDir(), Addr: addr, LazySync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	select {
	case <-app.Ready():
	case <-time.After(20 * time.Second):
		t.Error("it does not become ready")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWorkerRefusesStreamsThatSomebodyElseMustMend(t *testing.T) {
	r := newRigWithoutWorker(t)
	r.config.Streams.ManagedElsewhere = true
	app, err := NewApp(AppOptions{Config: r.config, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := app.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "create stream SUBRELAY_COMMANDS") {
		t.Errorf("got %v", err)
	}
}

func TestKilledWorkerLeavesItsWorkToTheNext(t *testing.T) {
	r := newRigWithoutWorker(t)
	r.config.Worker.Grace = time.Hour // a kill knows no grace: else the test would not end
	r.app = r.startWorker()
	r.fails("C-1", sandbox.HangAfter)
	id := "one"
	r.run("publish", "renew", "--customer", "C-1", "--months", "1", "--id", id).want(t, exitDone, "", "")
	eventually(t, "the effect has happened", func() bool {
		effects := r.tvms.Book().Effects()
		return len(effects) == 1 && effects[0].Applied
	})
	r.app.Kill()
	cid := events.CID(cliSource, id, "C-1")
	r.run("outcomes", "-o", "json", "--cid", cid).want(t, exitDone, "started", "")

	r.config.Worker.Election, r.config.Worker.PublishTimeout = time.Second, time.Second // how long the next waits for the one that has gone
	r.startWorker()
	got := r.run("publish", "renew", "--customer", "C-1", "--months", "1", "--id", id, "--wait")
	got.want(t, exitInDoubt, "worker_interrupted", "")
	if n := len(r.tvms.Book().Effects()); n != 1 {
		t.Errorf("TVMS was called %d times", n)
	}
}

func TestGracefulEndFinishesWhatHasStarted(t *testing.T) {
	r := newRigWithoutWorker(t)
	app, err := NewApp(AppOptions{Config: r.config, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx) }()
	<-app.Ready()
	if err := r.tvms.Faults().Next(sandbox.Fault{Kind: sandbox.SlowAfter, Customer: "C-1", Delay: sandbox.Duration(500 * time.Millisecond)}); err != nil {
		t.Fatal(err)
	}
	r.run("publish", "renew", "--customer", "C-1", "--months", "1", "--id", "one").want(t, exitDone, "", "")
	eventually(t, "the call is under way", func() bool { return len(r.tvms.Book().Effects()) == 1 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	r.run("show", events.CID(cliSource, "one", "C-1")).want(t, exitDone, "succeeded  renew C-1", "")
}

// program is the program as a process of its own.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *bufio.Reader
	stderr *watched
}

func startProgram(t *testing.T, env []string, args ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command(os.Args[0], args...), stderr: &watched{}}
	p.cmd.Env = append(append(os.Environ(), envAsMain+"=1"), env...)
	p.cmd.Stderr = p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	return p
}

// end sends a signal and returns the exit code.
func (p *program) end(sig os.Signal) int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
	return p.wait()
}

func (p *program) wait() int {
	var failed *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &failed) {
		p.t.Fatal(err)
	}
	return p.cmd.ProcessState.ExitCode()
}

func TestUpAsAProcess(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	args := []string{"up", "--store", store, "--nats-addr", "127.0.0.1:0", "--sandbox-addr", "127.0.0.1:0", "--crmcom-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "-o", "json"}
	p := startProgram(t, nil, args...)
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		t.Fatalf("%v\n%s", err, p.stderr)
	}
	var at addresses
	if err := json.Unmarshal([]byte(line), &at); err != nil {
		t.Fatal(err)
	}
	runLine(t, "", "--nats", at.NATS, "publish", "renew", "--customer", "C-10042", "--months", "1", "--id", "one", "--wait").want(t, exitDone, "succeeded", "")
	runLine(t, "", "--nats", at.NATS, "publish", "swap", "--subscription", "S0000012345", "--from", "code=INTERNET_100", "--to", "code=INTERNET_200", "--wait").want(t, exitDone, "succeeded", "")
	runLine(t, "", "--nats", at.NATS, "publish", "netflix-create", "--customer", "cust-77", "--wait").want(t, exitDone, "succeeded", "")
	for upstream, key := range map[string]string{at.Sandbox: "C-10042", at.CRMCOM: "S0000012345"} {
		if _, books := fetch(t, upstream+"/_books"); !strings.Contains(books, key) {
			t.Errorf("books: %s", books)
		}
	}
	if said := p.stderr.String(); said != "" {
		t.Errorf("it warns: %s", said)
	}
	if status, _ := fetch(t, at.HTTP+"/readyz"); status != http.StatusOK {
		t.Errorf("readyz: %d", status)
	}
	t.Run("ErrStoreInUse", func(t *testing.T) {
		runLine(t, "", args...).want(t, exitError, "", "in use by another server")
	})
	if code := p.end(syscall.SIGTERM); code != exitDone {
		t.Errorf("exit code %d\n%s", code, p.stderr)
	}
	if rest, _ := io.ReadAll(p.stdout); len(rest) > 0 {
		t.Errorf("more on stdout: %s", rest)
	}
	if s := p.stderr.String(); s != "" {
		t.Errorf("stderr: %s", s)
	}

	again := startProgram(t, nil, args...)
	line, err = again.stdout.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(line), &at); err != nil {
		t.Fatal(err)
	}
	runLine(t, "", "--nats", at.NATS, "show", "one", "--source", cliSource).want(t, exitDone, "succeeded  renew C-10042", "")
	if code := again.end(os.Interrupt); code != exitDone {
		t.Errorf("exit code %d\n%s", code, again.stderr)
	}
}

func TestWorkerAsAProcess(t *testing.T) {
	r := newRigWithoutWorker(t)
	config := file(t, "nats:\n  url: "+r.server.URL()+"\nworker:\n  http_addr: 127.0.0.1:0\ntvms:\n  base_url: "+r.config.TVMS.API.BaseURL+
		"\n  crm_service: crm\n  call_timeout: 20s\nretry:\n  renew:\n    attempts: 4\n")
	p := startProgram(t, []string{"SUBRELAY_TVMS_AUTH_TOKEN=" + rigToken, "SUBRELAY_TVMS_BASEURL=typo"}, "worker", "--config", config, "--name", "w1")
	eventually(t, "it takes commands", func() bool { return strings.Contains(p.stderr.String(), "workers present") })
	r.run("publish", "renew", "--customer", "C-1", "--months", "1", "--wait").want(t, exitDone, "succeeded", "")

	said := p.stderr.String()
	for _, part := range []string{"worker w1", "renew: up to 4 attempts over 26s", "in doubt where a call is unclear", "did you mean SUBRELAY_TVMS_BASE_URL?"} {
		if !strings.Contains(said, part) {
			t.Errorf("it does not say %q:\n%s", part, said)
		}
	}
	if strings.Contains(said, rigToken) {
		t.Error("the log shows the token")
	}

	t.Run("the second signal ends it at once", func(t *testing.T) {
		r.fails("C-2", sandbox.Hang)
		r.run("publish", "renew", "--customer", "C-2", "--months", "1").want(t, exitDone, "", "")
		eventually(t, "the call hangs", func() bool { return len(r.tvms.Book().Effects()) == 2 })
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		ended := make(chan int, 1)
		go func() { ended <- p.wait() }()
		deadline := time.After(10 * time.Second)
		for { // the first is taken in its own time
			select {
			case code := <-ended:
				if code == exitDone {
					t.Error("it has ended gracefully")
				}
				return
			case <-deadline:
				t.Fatal("it does not end")
			case <-time.After(100 * time.Millisecond):
				_ = p.cmd.Process.Signal(syscall.SIGTERM)
			}
		}
	})
}

func TestWorkerErrors(t *testing.T) {
	for name, tt := range map[string]struct{ config, stderr string }{
		"unknown key":  {"tvms:\n  auth_tokn: x\n", ":2:3: unknown key \"auth_tokn\"\n  did you mean \"auth_token\"?"},
		"no token":     {"tvms:\n  base_url: http://127.0.0.1:1\n", "tvms.auth_token is missing"},
		"two tokens":   {"tvms:\n  base_url: http://127.0.0.1:1\n  auth_token: abcdefgh\n  auth_token_file: x\n", "tvms.auth_token and tvms.auth_token_file are both set"},
		"no such file": {"nats:\n  password_file: /no/such\ntvms:\n  auth_token: abcdefgh\n  base_url: http://127.0.0.1:1\n", "nats.password_file"},
		"no upstream":  {"tvms:\n  auth_token: abcdefgh\n", "no upstream is configured: tvms.base_url and crmcom.base_url are both empty\n  set one"},
		"fast retries": {"retry:\n  renew:\n    initial: 1ms\n    max: 2ms\n", "retry.renew"},
		"plain http":   {"tvms:\n  auth_token: abcdefgh\n  base_url: http://tvms.example\n", "tvms.base_url"},
	} {
		t.Run(name, func(t *testing.T) {
			runLine(t, "", "worker", "--http-addr", "none", "--config", file(t, tt.config)).want(t, exitError, "", tt.stderr)
		})
	}
	t.Run("no configuration file", func(t *testing.T) {
		runLine(t, "", "worker", "--config", "/no/such").want(t, exitError, "", "the configuration cannot be read")
	})
	t.Run("address in use", func(t *testing.T) {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		config := file(t, "tvms:\n  auth_token: abcdefgh\n  base_url: http://127.0.0.1:1\n")
		runLine(t, "", "worker", "--config", config, "--http-addr", taken.Addr().String()).want(t, exitError, "", "worker.http_addr")
	})
}

func TestSandboxCommand(t *testing.T) {
	var stdout, stderr watched
	customers := file(t, `{"customers":[{"customer_mapping_id":"C-7","expires":"2030-01-01T00:00:00Z"}]}`)
	subscriptions := file(t, `{"subscriptions":[{"number":"S-7"}]}`)
	faults := file(t, `{"script":[{"kind":"error_after"}]}`)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	go func() {
		c := newCLI(strings.NewReader(""), &stdout, &stderr, nil)
		done <- c.run(ctx, []string{"sandbox", "--addr", "127.0.0.1:0", "--crmcom-addr", "127.0.0.1:0", "--customers", customers, "--faults", faults,
			"--subscriptions", subscriptions, "--crmcom-faults", file(t, `{"script":[{"kind":"hang_after"}]}`), "--strict", "-o", "json"})
	}()
	eventually(t, "it says where it is", func() bool { return strings.Contains(stdout.String(), "\n") })
	at, crm := ran{stdout: stdout.String()}.lines(t)[0]["sandbox"].(string), ran{stdout: stdout.String()}.lines(t)[0]["crmcom"].(string)
	if _, list := fetch(t, crm+"/_subscriptions"); !strings.Contains(list, "S-7") {
		t.Errorf("subscriptions: %s", list)
	}
	if _, plan := fetch(t, crm+"/_faults"); !strings.Contains(plan, "hang_after") {
		t.Errorf("faults of CRM.COM: %s", plan)
	}
	if _, list := fetch(t, at+"/_customers"); !strings.Contains(list, "C-7") {
		t.Errorf("customers: %s", list)
	}
	if _, plan := fetch(t, at+"/_faults"); !strings.Contains(plan, "error_after") {
		t.Errorf("faults: %s", plan)
	}
	cancel()
	if code := <-done; code != exitDone {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	for name, args := range map[string][]string{
		"--customers": {"--customers", "/no/such"}, "--faults": {"--faults", file(t, `{"script":[{"kind":"smoke"}]}`)}, "--addr": {"--addr", "nowhere"},
		"--crmcom-addr": {"--crmcom-addr", "nowhere"}, "--subscriptions": {"--subscriptions", file(t, `{"subscriptions":[{}]}`)},
		"--crmcom-faults": {"--crmcom-faults", "/no/such"}, "release": {"--release", "eighteen"},
	} {
		got := runLine(t, "", append([]string{"sandbox", "--addr", "127.0.0.1:0", "--crmcom-addr", "127.0.0.1:0"}, args...)...)
		got.want(t, exitError, "", "")
		if !strings.HasSuffix(name, "addr") && !strings.Contains(got.stderr, name) {
			t.Errorf("%s: %s", name, got.stderr)
		}
	}
}
