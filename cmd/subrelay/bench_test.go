package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

func TestBench(t *testing.T) {
	got := runLine(t, "", "bench", "--commands", "200", "--keys", "50", "--rounds", "1", "--concurrency", "8", "--latency", "1ms", "-o", "json")
	if got.code != exitDone || got.stderr != "" {
		t.Fatalf("exit code %d, stderr %q", got.code, got.stderr)
	}
	var r benchResult
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Modes) != 2 || r.Modes[0].Sync != benchSyncDefault || r.Modes[1].Sync != benchSyncAlways {
		t.Fatalf("the modes are not default and always: %s", got.stdout)
	}
	if diff := cmp.Diff(r.Modes[0], r.benchMode, cmp.AllowUnexported(benchMode{}, benchResult{})); diff != "" {
		t.Errorf("the figures at the top are not the first mode's: %s", diff)
	}
	for _, m := range r.Modes {
		plausible(t, m)
		if m.TheoryPerSecond != 8000 || m.ShareOfTheory <= 0 || m.ShareOfTheory > 1 {
			t.Errorf("fsync %s: %g of %g/s", m.Sync, m.ShareOfTheory, m.TheoryPerSecond)
		}
	}
	if r.Commands != 200 || r.Keys != 50 || r.Concurrency != 8 || r.RoundCount != 1 || r.CPUs < 1 || r.Go == "" || r.NATSServer == "" {
		t.Errorf("what was measured is not said: %s", got.stdout)
	}
	for _, name := range []string{"commands_per_second", "floor_per_second", "ratio_to_floor", "p50_ms", "p95_ms", "p99_ms"} {
		if got.lines(t)[0][name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
}

// TestBenchSwap measures a little, and checks that the floor sends what subrelay does: the imitation refuses a reference
// that was used before, an unknown token, and a subscription that it does not know.
func TestBenchSwap(t *testing.T) {
	got := runLine(t, "", "bench", "--kind", "swap", "--commands", "200", "--keys", "50", "--rounds", "1", "--concurrency", "8", "--latency", "1ms", "--sync", "default", "-o", "json")
	if got.code != exitDone || got.stderr != "" {
		t.Fatalf("exit code %d, stderr %q", got.code, got.stderr)
	}
	var r benchResult
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil {
		t.Fatal(err)
	}
	if r.Kind != events.Swap {
		t.Errorf("the kind is not said: %s", got.stdout)
	}
	plausible(t, r.benchMode)
}

func TestBenchForm(t *testing.T) {
	f := newBenchForm([]byte("a=1&b=22&c=1"), "1", "22", "")
	if got := string(f.with("x", "", "z")); got != "a=x&b=&c=x" {
		t.Errorf("filled in: %s", got)
	}
	f = newBenchForm(nil, "1")
	if got := f.with("x"); len(got) != 0 {
		t.Errorf("nothing filled in: %s", got)
	}
}

func plausible(t *testing.T, m benchMode) {
	t.Helper()
	ratio := m.Rate / m.FloorPerSecond
	switch {
	case len(m.Rounds) != 1 || len(m.FloorRounds) != 1 || m.Rounds[0] != m.benchRound:
		t.Errorf("fsync %s: the rounds are %+v and %+v", m.Sync, m.Rounds, m.FloorRounds)
	case m.Rate <= 0 || m.RatioToFloor != ratio || m.PacedPerSecond != m.Rate/2:
		t.Errorf("fsync %s: %g/s to %g/s is %g, paced %g/s", m.Sync, m.Rate, m.FloorPerSecond, m.RatioToFloor, m.PacedPerSecond)
	case m.P50 < 1 || m.P95 < m.P50 || m.P99 < m.P95 || m.Max < m.P99: // the upstream alone takes a millisecond
		t.Errorf("fsync %s: percentiles %+v", m.Sync, m.benchLatency)
	case m.Allocs <= 0 || m.Bytes <= 0 || m.FloorAllocs <= 0 || m.FloorBytes <= 0:
		t.Errorf("fsync %s: allocations %+v", m.Sync, m)
	}
}

// TestBenchOnGivenServer makes sure that nothing is left behind there.
func TestBenchOnGivenServer(t *testing.T) {
	server, err := natsjs.StartServer(natsjs.ServerSettings{StoreDir: t.TempDir(), Addr: "127.0.0.1:0", LazySync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	got := runLine(t, "", "bench", "--nats", server.URL(), "--commands", "100", "--rounds", "1")
	got.want(t, exitDone, "server  ", "")
	conn, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cl, err := newClient(Config{}.withDefaults(), conn)
	if err != nil {
		t.Fatal(err)
	}
	info, err := cl.js.AccountInfo(t.Context())
	if err != nil || info.Streams != 0 {
		t.Errorf("%d streams are left (%v)", info.Streams, err)
	}
}

func TestBenchMemory(t *testing.T) {
	t.Setenv(envAsMain, "1")
	got := runLine(t, "", "bench", "--memory", "--commands", "300", "-o", "json")
	if got.code != exitDone || got.stderr != "" {
		t.Fatalf("exit code %d, stderr %q", got.code, got.stderr)
	}
	var r benchMemoryResult
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil {
		t.Fatal(err)
	}
	if r.Commands != 300 || r.Delivered != 300 || r.HeapLive <= 0 || r.HeapInUse < r.HeapLive/2 || r.GoSys < r.HeapLive {
		t.Errorf("%s", got.stdout)
	}
	if m := r.Server; m.Empty.Heap <= 0 || m.Done.Heap <= m.Empty.Heap || m.DoneMillion != (m.Done.Heap-m.Empty.Heap)/300*1e6 {
		t.Errorf("the server's memory: %+v", m)
	}
}

// TestBenchCluster measures two workers on a cluster of three servers.
func TestBenchCluster(t *testing.T) {
	got := runLine(t, "", "bench", "--replicas", "3", "--workers", "2", "--commands", "100", "--rounds", "1", "--latency", "1ms", "--sync", "default", "-o", "json")
	if got.code != exitDone || got.stderr != "" {
		t.Fatalf("exit code %d, stderr %q", got.code, got.stderr)
	}
	var r benchResult
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil {
		t.Fatal(err)
	}
	if r.Replicas != 3 || r.Workers != 2 {
		t.Errorf("what was measured is not said: %s", got.stdout)
	}
	plausible(t, r.benchMode)
}

func TestBenchUsage(t *testing.T) {
	for args, stderr := range map[string]string{
		"--kind amend":           `--kind is "amend", and must be renew or swap`,
		"--memory --kind swap":   "--memory measures renewals only",
		"--commands 99":          "--commands is 99, and must be 100 at least",
		"--keys 0":               "must be 1 at least",
		"--concurrency 0":        "must be 1 at least",
		"--rounds 0":             "must be 1 at least",
		"--workers 0":            "--workers is 0, and must be 1 to --concurrency, 64",
		"--workers 65":           "--workers is 65, and must be 1 to",
		"--replicas 2":           "--replicas is 2, and must be 1 or 3",
		"--memory --replicas 3":  "--memory measures one worker on one server",
		"--memory --workers 2":   "--memory measures one worker on one server",
		"--latency -1s":          "must not be negative",
		"--sync never":           `--sync is "never", and must be default, always or both`,
		"--sync always --nats x": "--nats names another",
		"--memory --nats x":      "--nats names another",
		"extra":                  `takes no arguments, and got "extra"`,
		"server extra":           "takes no arguments",
	} {
		runLine(t, "", append([]string{"bench"}, strings.Fields(args)...)...).want(t, exitUsage, "", stderr)
	}
}

// TestBenchCommands makes sure that what is measured is a valid command of the size that is said.
func TestBenchCommands(t *testing.T) {
	check, err := newChecker()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range benchKinds() {
		t.Run(string(kind.kind), func(t *testing.T) { checkBenchCommands(t, check, kind) })
	}
}

func checkBenchCommands(t *testing.T, check *checker, kind benchKind) {
	t.Helper()
	all := slices.Collect(benchCommands(kind, 7, 3))
	cids := map[string]bool{}
	for i, e := range all {
		d := check.check(i+1, &e, nil)
		if d.checked.Failure != nil {
			t.Errorf("command %d: %+v", i, d.checked.Failure)
		}
		_, raw, err := natsjs.EncodeStructured(&e)
		if err != nil || len(raw) != benchCommandBytes {
			t.Errorf("command %d has %d bytes: %s (%v)", i, len(raw), raw, err)
		}
		cids[events.CID(e.Source(), e.ID(), e.Subject())] = true
	}
	if len(cids) != 7 || all[0].Subject() != all[3].Subject() || all[0].Subject() == all[1].Subject() {
		t.Errorf("the commands are not for 3 customers in turn: %v", all)
	}
}

func TestMedianOf(t *testing.T) {
	of := func(rates ...float64) float64 {
		var rounds []benchRound
		for _, r := range rates {
			rounds = append(rounds, benchRound{Rate: r})
		}
		return medianOf(rounds).Rate
	}
	if of(3, 1, 2) != 2 || of(4, 1, 3, 2) != 2.5 || of(7) != 7 {
		t.Errorf("medians: %g %g %g", of(3, 1, 2), of(4, 1, 3, 2), of(7))
	}
}
