package main

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"subrelay/adapters/sandbox"
	"subrelay/adapters/upstream"
	"subrelay/events"
	"subrelay/handlers"
)

const rigKey = "rig-web-api-k3y"

// newWholeRig is a rig with all upstreams; its worker logs everything to log.
func newWholeRig(t *testing.T) (r *rig, crm *sandbox.CRMCOM, log *watched) {
	t.Helper()
	r = newRigWithoutWorker(t)
	crm = r.addCRMCOM()
	log = &watched{}
	r.app = r.startLogging(log)
	return r, crm, log
}

// addCRMCOM adds an imitation of CRM.COM, and has the workers to come serve it.
func (r *rig) addCRMCOM(more ...func(*sandbox.CRMCOMOptions)) *sandbox.CRMCOM {
	r.t.Helper()
	options := sandbox.CRMCOMOptions{WebAPIKey: rigKey, AutoCreate: true, Seed: 7}
	for _, set := range more {
		set(&options)
	}
	crm := sandbox.NewCRMCOM(options)
	server := httptest.NewServer(crm.Handler())
	r.t.Cleanup(server.Close)
	r.t.Cleanup(crm.Faults().Lift)
	r.config.CRMCOM = workingCRMCOM(server.URL)
	r.config.CRMCOM.API.WebAPIKey = upstream.NewSecret(rigKey)
	chargesShow(&r.config)
	r.config.CRMCOM.Guard.CallTimeout, r.config.Netflix.Guard.CallTimeout = time.Second, time.Second
	return crm
}

func TestPublishEveryKind(t *testing.T) {
	r, crm, _ := newWholeRig(t)
	charge := func(number string) sandbox.Charge {
		return sandbox.Charge{NetflixCharge: events.NetflixCharge{Number: number, BillingSystemCustomerIdentifier: "cust-77"}}
	}
	if err := crm.PutCharges(charge("I1"), charge("I2"), charge("I3")); err != nil {
		t.Fatal(err)
	}
	done := map[events.Kind]bool{}
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"renew --customer C-1 --months 1", exitDone, `{"months":1}`},
		{"amend --subscription S1 --add code=SPORTS --udf string_1=x", exitDone, `"subscription_number":"S1"`},
		{"amend --subscription S1 --add code=SPORTS --scheduled 2099-12-01T00:00:00Z", exitDone, `"scheduled":true`},
		{"swap --subscription S1 --from code=INTERNET_100 --to code=INTERNET_200", exitDone, `"subscription_number":"S1"`},
		{"netflix-create --customer cust-77 --channel WEB --validity 1h --promotion 14 --first-name Anna", exitDone, `{"netflix_token":"***"}`},
		{"netflix-suspend --customer cust-77", exitDone, "result: {}"},
		{"netflix-unsuspend --customer cust-77", exitDone, "result: {}"},
		{"netflix-cancel --customer cust-77", exitRejected, "not_configured"},
		{"netflix-accept --charge I1=cust-77 --charge I9=cust-77", exitDone, `"taken":["I1"],"failed":[{"number":"I9"`},
		{"netflix-decline --charge I2 --customer cust-77 --key other", exitDone, `{"taken":["I2"]}`},
		{"netflix-acknowledge --charge I3=cust-77", exitDone, `{"taken":["I3"]}`},
		{"netflix-acknowledge --charge I3=cust-77", exitRejected, "all_items_refused"},
	} {
		args := strings.Fields(tt.args)
		r.run(append([]string{"publish", "--wait"}, args...)...).want(t, tt.code, tt.want, "")
		done[events.Kind(args[0])] = true
	}
	for _, spec := range events.Specs() {
		if !done[spec.Kind] {
			t.Errorf("%s was not tried", spec.Kind)
		}
	}
	var swapped []string
	sub, _ := crm.Subscription("S1")
	for _, s := range sub.Services {
		swapped = append(swapped, s.Product.Code+" "+s.LifeCycleState)
	}
	if !slices.Contains(swapped, "INTERNET_200 EFFECTIVE") || !slices.Contains(swapped, "SPORTS EFFECTIVE") {
		t.Errorf("CRM.COM has %v", swapped)
	}
	t.Run("from data, with a number beyond a float64", func(t *testing.T) {
		data := `{"subscription_identifier":{"number":"S1"},"services_to_add_set":[{"service_identifier":{"code":"X"}}],"udf_float_1":1e400}`
		got := runLine(t, data, "--nats", r.server.URL(), "publish", "amend", "--data", "-")
		got.want(t, exitRejected, "#/udf_float_1: must be at most 1000000000000000", "")
		got = runLine(t, data, "--nats", r.server.URL(), "publish", "amend", "--data", "-", "--no-validate", "--wait")
		got.want(t, exitRejected, "#/udf_float_1: must be at most 1000000000000000", "")
	})
	t.Run("from data, with the customer's credentials", func(t *testing.T) {
		data := `{"accounts_receivable_identifier":{"access_token_identifier":{"identifier":"anna","pass_code":"Pr1vate"}},"services_to_add_set":[{"service_identifier":{"code":"X"}}]}`
		got := runLine(t, data, "--nats", r.server.URL(), "publish", "amend", "--data", "-", "--key", "anna-1", "--wait")
		if got.code != exitRejected || strings.Contains(got.stdout+got.stderr, "Pr1vate") { // the imitation knows no such account
			t.Errorf("exit code %d: %s%s", got.code, got.stdout, got.stderr)
		}
	})
}

// TestNetflixTokenIsShownOnlyWhereItIsAskedFor searches everything that tells of a creation.
func TestNetflixTokenIsShownOnlyWhereItIsAskedFor(t *testing.T) {
	r, _, log := newWholeRig(t)
	create := []string{"publish", "netflix-create", "--customer", "cust-77", "--id", "one", "--source", "billing", "--wait"}
	revealed := r.run(append(create, "--reveal", "-o", "json")...)
	revealed.want(t, exitDone, "netflix_token", "")
	token, _ := revealed.lines(t)[0]["result"].(map[string]any)["netflix_token"].(string)
	if len(token) < 8 {
		t.Fatalf("no token: %s", revealed.stdout)
	}
	cid := events.CID("billing", "one", "cust-77")
	plan := t.TempDir() + "/plan"
	masking := [][]string{
		create, {"outcomes"}, {"outcomes", "--status", "succeeded"}, {"show", cid},
		{"replay", "commands", "--again", "--reason", "x", "--dry-run", "--plan", plan}, {"replay", "outcomes", "--to", "elsewhere", "--dry-run"},
		{"replay", "commands", "--missing", "--dry-run"},
		{"doubts"}, {"dead"}, {"doubts", "show", cid}, {"dead", "show", "1"}, {"topology", "show"},
	}
	mask, shown := 0, 0
	for _, args := range masking {
		for _, format := range []string{"table", "json"} {
			o := r.run(append(args, "-o", format)...)
			if strings.Contains(o.stdout+o.stderr, token) {
				t.Errorf("%v -o %s shows the token", args, format)
			}
			if strings.Contains(o.stdout, `"netflix_token":"***"`) {
				mask++
			}
		}
	}
	for _, args := range [][]string{{"outcomes"}, {"show", cid}, create} {
		for _, format := range []string{"table", "json"} {
			if o := r.run(append(args, "--reveal", "-o", format)...); strings.Contains(o.stdout, token) {
				shown++
			}
		}
	}
	if mask != 9 || shown != 6 { // publish, outcomes twice, show, and the plan as JSON
		t.Errorf("masked in %d outputs, shown in %d", mask, shown)
	}
	if raw := content(t, plan); strings.Contains(raw, token) || !strings.Contains(raw, cid) {
		t.Errorf("the plan: %s", raw)
	}
	_, page := fetch(t, "http://"+r.app.HTTPAddr()+"/metrics")
	if said := log.String(); strings.Contains(said+page, token) || len(said) < 1000 {
		t.Errorf("the log or the metrics show the token; the log:\n%s", said)
	}
	t.Run("what is masked stays an event, else as it was stored", func(t *testing.T) {
		event := func(args ...string) map[string]any {
			return r.run(append([]string{"outcomes", "--status", "succeeded", "-o", "json"}, args...)...).lines(t)[0]
		}
		masked, whole := event(), event("--reveal")
		whole["data"].(map[string]any)["result"] = map[string]any{"netflix_token": events.Masked}
		if diff := cmp.Diff(whole, masked); diff != "" {
			t.Error(diff)
		}
	})
}

// TestWorkersServeWhatIsConfigured has a worker for TVMS alone and one for CRM.COM alone: between them they must serve
// every partition of both.
func TestWorkersServeWhatIsConfigured(t *testing.T) {
	r := newRigWithoutWorker(t)
	r.config.Streams.Partitions = 8
	tvms := r.config
	crm := r.addCRMCOM()
	r.config.TVMS.API.BaseURL, r.config.Netflix.API.Disabled = "", true
	one := r.startWorker()
	both := *r
	both.config = tvms
	log := &watched{}
	two := both.startLogging(log)
	eventually(t, "each has all of its own partitions", func() bool {
		has := func(app *App, upstream string) int { return len(app.readiness().Upstreams[upstream].Partitions) }
		return has(one, "crmcom") == 8 && has(two, "tvms") == 8
	})
	for name, tt := range map[string]struct {
		app  *App
		want []string
	}{"crmcom": {one, []string{"crmcom"}}, "tvms": {two, []string{"tvms"}}} {
		var got []string
		for upstream := range tt.app.readiness().Upstreams {
			got = append(got, upstream)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("what %s serves:\n%s", name, diff)
		}
	}
	var lines strings.Builder
	for _, key := range []string{"K1", "K2", "K3", "K4", "K5", "K6", "K7", "K8"} { // over the partitions
		lines.WriteString(renewalLine("r-"+key, key, oneMonth(key)))
		lines.WriteString(commandLine(t, events.Swap, "s-"+key, key, map[string]any{
			"subscription_identifier": map[string]any{"number": key},
			"services_to_swap_set":    []any{map[string]any{"from_service": product("INTERNET_100"), "to_service": product("INTERNET_200")}},
		}))
	}
	r.run("publish", "-f", file(t, lines.String()), "--wait").want(t, exitRejected, "8 succeeded", "")
	if n := crm.Book().Totals().Applied; n != 8 {
		t.Errorf("CRM.COM has %d effects", n)
	}
	t.Run("a kind that only others serve is known under the wrong subject", func(t *testing.T) {
		conn, err := nats.Connect(r.server.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		cl, err := newClient(r.config.withDefaults(), conn)
		if err != nil {
			t.Fatal(err)
		}
		line := commandLine(t, events.Swap, "lost", "K1", map[string]any{})
		if _, err := cl.publisher.PublishRaw(t.Context(), "subrelay.cmd.renew.K1", inStructured, []byte(line)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is dead", func() bool {
			return strings.Contains(r.run("dead", "list", "--reason", "subject_mismatch").stdout, "K1")
		})
	})
	t.Run("what nobody serves waits", func(t *testing.T) {
		r.run("publish", "netflix-suspend", "--customer", "c", "--wait", "--timeout", "300ms").want(t, exitTimeout, "timeout", "")
		if want := "their commands wait for another\" kinds=\"[amend swap netflix-create"; !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, log.String())
		}
	})
	t.Run("until a worker comes that serves it", func(t *testing.T) {
		r.config.Netflix.API.Disabled = false
		r.startWorker()
		eventually(t, "it is done", func() bool {
			return strings.Contains(r.run("outcomes", "--kind", "netflix-suspend").stdout, "succeeded")
		})
	})
}

func product(code string) map[string]any {
	return map[string]any{"service_identifier": map[string]any{"code": code}}
}

// commandLine is a command as a line of a file.
func commandLine(t *testing.T, kind events.Kind, id, key string, data any) string {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"specversion": "1.0", "id": id, "source": "billing", "type": events.CommandType(kind), "subject": key, "data": data})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw) + "\n"
}

// TestMetricsOfEveryKind looks for the series of every kind from the beginning, and for what must be in no label.
func TestMetricsOfEveryKind(t *testing.T) {
	r, _, _ := newWholeRig(t)
	r.run("publish", "netflix-create", "--customer", "cust-private", "--first-name", "Annabella", "--wait").want(t, exitDone, "", "")
	_, page := fetch(t, "http://"+r.app.HTTPAddr()+"/metrics")
	for _, spec := range events.Specs() {
		for _, series := range []string{
			`subrelay_commands_total{kind="` + string(spec.Kind) + `",status="succeeded"}`, `subrelay_attempts_total{kind="` + string(spec.Kind) + `"}`,
			`subrelay_upstream_call_seconds_count{kind="` + string(spec.Kind) + `",result="unknown"}`,
			`subrelay_breaker_state{state="closed",upstream="` + string(spec.Upstream) + `"} 1`, `subrelay_lane_partitions{upstream="` + string(spec.Upstream) + `"} 4`,
		} {
			if !strings.Contains(page, series) {
				t.Errorf("the metrics lack %s", series)
			}
		}
	}
	for _, private := range []string{"cust-private", "Annabella", rigKey} {
		if strings.Contains(page, private) {
			t.Errorf("the metrics show %s", private)
		}
	}
}

// TestUpstreamsDoNotWaitForEachOther stops CRM.COM's own methods altogether: the Netflix methods and TVMS go on.
func TestUpstreamsDoNotWaitForEachOther(t *testing.T) {
	r := newRigWithoutWorker(t)
	crm := r.addCRMCOM()
	r.config.CRMCOM.Guard.Concurrency, r.config.CRMCOM.Guard.CallTimeout = 1, 20*time.Second
	r.app = r.startWorker()
	if err := crm.Faults().Next(sandbox.Fault{Kind: sandbox.Hang, Customer: "S1"}); err != nil {
		t.Fatal(err)
	}
	swap := []string{"publish", "swap", "--from", "INTERNET_100", "--to", "INTERNET_200", "--subscription"}
	r.run(append(swap, "S1")...).want(t, exitDone, "", "")
	eventually(t, "the call hangs", func() bool { return crm.Book().Totals().InProgress == 1 })
	r.run(append(swap, "S2", "--wait", "--timeout", "300ms")...).want(t, exitTimeout, "", "") // it has no permit
	r.run("publish", "netflix-suspend", "--customer", "S1", "--wait", "--timeout", "5s").want(t, exitDone, "succeeded", "")
	r.run("publish", "renew", "--customer", "C-1", "--months", "1", "--wait", "--timeout", "5s").want(t, exitDone, "succeeded", "")
	crm.Faults().Lift()
}

func TestAnnouncementTellsWhatIsServed(t *testing.T) {
	r := newRigWithoutWorker(t)
	r.addCRMCOM()
	r.config.CRMCOM.API.Reference.Enforced = true
	log := &watched{}
	app, err := NewApp(AppOptions{Config: r.config, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	app.announce()
	for _, want := range []string{
		`msg="upstream tvms"`, `msg="upstream crmcom"`, `msg="upstream netflix"`,
		`msg="swap: up to 6 attempts over 3m20s" settling="repeats an unclear call under its reference"`,
		`msg="netflix-create: up to 6 attempts over 3m20s" settling="reads back where a call is unclear"`,
		`msg="netflix-cancel: up to 6 attempts over 3m20s" settling="in doubt where a call is unclear"`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
	if strings.Contains(log.String(), "not served by this worker") {
		t.Error("it says that something is not served")
	}
}

// TestTakenStatesAreConfigured has an installation that names what it has taken otherwise than the vendor does.
func TestTakenStatesAreConfigured(t *testing.T) {
	r := newRigWithoutWorker(t)
	r.addCRMCOM()
	r.config.Netflix.API.AcceptedStates, r.config.Netflix.API.DeclinedStates = []string{"TAKEN"}, []string{"GONE", "LOST"}
	app, err := NewApp(AppOptions{Config: r.config, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	got := map[events.Kind][]string{}
	for _, f := range app.families() {
		if f, ok := f.(handlers.NetflixCharges); ok {
			got[f.Kind] = f.States
		}
	}
	want := map[events.Kind][]string{
		events.NetflixAcknowledge: nil, events.NetflixAccept: {"TAKEN"}, events.NetflixDecline: {"GONE", "LOST"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the states differ (-want +got):\n%s", diff)
	}
}

// TestShowTellsWhatACommandWaitsFor has a subscription whose key a doubt holds.
func TestShowTellsWhatACommandWaitsFor(t *testing.T) {
	r, crm, _ := newWholeRig(t)
	if err := crm.Faults().Next(sandbox.Fault{Kind: sandbox.ResetAfter, Customer: "S1"}); err != nil {
		t.Fatal(err)
	}
	amend := func(id string) []string {
		return []string{"publish", "amend", "--subscription", "S1", "--add", "X", "--id", id, "--source", "billing"}
	}
	r.run(append(amend("one"), "--wait")...).want(t, exitInDoubt, "", "")
	r.run(amend("two")...).want(t, exitDone, "", "")
	r.run("publish", "renew", "--customer-mapping-id", "S1", "--months", "1", "--id", "three", "--source", "billing", "--wait").want(t, exitRejected, "", "")
	doubt, waiting := events.CID("billing", "one", "S1"), events.CID("billing", "two", "S1")
	held := "it waits until " + doubt + ", which is in doubt, is resolved"
	r.run("show", waiting).want(t, exitDone, held, "")
	if got := r.run("show", waiting, "-o", "json").lines(t)[0]["held_by"]; !cmp.Equal(got, []any{doubt}) {
		t.Errorf("held by %v", got)
	}
	for _, cid := range []string{doubt, events.CID("billing", "three", "S1")} {
		if o := r.run("show", cid); strings.Contains(o.stdout, "it waits") {
			t.Errorf("%s", o.stdout)
		}
	}
	r.run("doubts", "resolve", doubt, "--applied", "--by", "anna", "--reason", "seen").want(t, exitDone, "", "")
	eventually(t, "the other runs", func() bool { return strings.Contains(r.run("show", waiting).stdout, "succeeded  amend S1") })
}

func TestNoStreamIsTold(t *testing.T) {
	r := newRigWithoutWorker(t)
	for _, args := range []string{"doubts", "outcomes", "dead", "charges"} {
		r.run(args).want(t, exitError, "", "there is no such stream yet")
	}
}
