package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/sandbox"
	"subrelay/adapters/upstream"
	"subrelay/events"
)

// guarded is a rig whose broker lets each role do what 'topology permissions' prints, and nothing else.
type guarded struct {
	*rig
	broker *natstest.Configured
	crm    *sandbox.CRMCOM
	log    *watched // of the worker
	conf   string
}

// newGuarded starts broker and upstreams, has an operator apply the topology, and starts a worker.
func newGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{rig: newRigWithoutWorker(t), log: &watched{}}
	for _, r := range natsjs.Roles() {
		t.Setenv("SUBRELAY_"+strings.ToUpper(string(r))+"_PASSWORD", "pass-"+string(r))
	}
	permissions := runLine(t, "", "topology", "permissions", "--replay-to", "rebuild.>")
	permissions.want(t, exitDone, "accounts {", "")
	g.conf = permissions.stdout
	g.broker = natstest.StartConfigured(t, g.conf)
	g.crm = g.addCRMCOM()
	g.config.Streams.ManagedElsewhere = true
	g.config.Worker.HTTPAddr = "127.0.0.1:0"
	g.as(natsjs.RoleOperator, "topology", "apply").want(t, exitDone, "create stream SUBRELAY_OUTCOMES", "")
	g.config.NATS = g.user(natsjs.RoleWorker)
	g.app = g.startLogging(g.log)
	return g
}

// user is how a role connects.
func (g *guarded) user(r natsjs.Role) NATSConfig {
	return NATSConfig{
		URL: g.broker.URL(), User: "subrelay-" + string(r), Password: upstream.NewSecret("pass-" + string(r)),
		InboxPrefix: natsjs.Names{}.Inbox(r),
	}
}

// as runs a command line as a user of a role.
func (g *guarded) as(r natsjs.Role, args ...string) ran {
	g.t.Helper()
	return g.asAnd(r, "", args...)
}

func (g *guarded) asAnd(r natsjs.Role, stdin string, args ...string) ran {
	g.t.Helper()
	var stdout, stderr strings.Builder
	u := g.user(r)
	c := newCLI(strings.NewReader(stdin), &stdout, &stderr, []string{
		"SUBRELAY_NATS_URL=" + u.URL, "SUBRELAY_NATS_USER=" + u.User, "SUBRELAY_NATS_PASSWORD=" + u.Password.Reveal(),
		"SUBRELAY_NATS_INBOX_PREFIX=" + u.InboxPrefix, fmt.Sprintf("SUBRELAY_STREAMS_PARTITIONS=%d", g.config.Streams.Partitions),
	})
	code := c.run(g.t.Context(), args)
	return ran{code: code, stdout: stdout.String(), stderr: stderr.String()}
}

// connect is a plain NATS connection of a role.
func (g *guarded) connect(r natsjs.Role) (*nats.Conn, jetstream.JetStream) {
	g.t.Helper()
	options, err := g.user(r).connectOptions()
	if err != nil {
		g.t.Fatal(err)
	}
	nc, err := natsjs.Connect(options)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		g.t.Fatal(err)
	}
	return nc, js
}

// unviolated fails where the server has refused anything so far.
func (g *guarded) unviolated() {
	g.t.Helper()
	if v := g.broker.Violations(); len(v) > 0 {
		g.t.Errorf("the server has refused:\n%s", strings.Join(v, "\n"))
	}
}

// TestRolesCanDoTheirWork has each role do its work by the product's own means, and wants the server to refuse nothing.
func TestRolesCanDoTheirWork(t *testing.T) {
	g := newGuarded(t)
	if err := g.crm.PutCharges(sandbox.Charge{NetflixCharge: events.NetflixCharge{Number: "I1", BillingSystemCustomerIdentifier: "cust-77"}}); err != nil {
		t.Fatal(err)
	}
	subscriber, js := g.connect(natsjs.RoleSubscriber)
	plain, err := subscriber.SubscribeSync("subrelay.outcome.renew.succeeded.>")
	if err != nil {
		t.Fatal(err)
	}

	t.Run("billing publishes every kind and reads outcomes", func(t *testing.T) {
		for _, line := range []string{
			"renew --customer C-1 --months 1", "amend --subscription S1 --add code=SPORTS",
			"swap --subscription S1 --from code=INTERNET_100 --to code=INTERNET_200",
			"netflix-create --customer cust-77 --channel WEB --validity 1h --promotion 14", "netflix-suspend --customer cust-77",
			"netflix-unsuspend --customer cust-77", "netflix-acknowledge --charge I1=cust-77",
		} {
			g.as(natsjs.RoleBilling, append([]string{"publish", "--wait"}, strings.Fields(line)...)...).want(t, exitDone, "succeeded", "")
		}
		for _, line := range []string{"netflix-cancel --customer cust-77", "netflix-accept --charge I9=cust-77", "netflix-decline --charge I9=cust-77"} {
			g.as(natsjs.RoleBilling, append([]string{"publish", "--wait"}, strings.Fields(line)...)...).want(t, exitRejected, "rejected", "")
		}
		g.as(natsjs.RoleBilling, "outcomes", "--kind", "swap,amend").want(t, exitDone, "succeeded", "")
		g.as(natsjs.RoleBilling, "query", "tvms-customer", "customer=C-1").want(t, exitDone, "Active", "")
		g.as(natsjs.RoleBilling, "query").want(t, exitDone, "tvms-customer", "only operators may")
		g.as(natsjs.RoleBilling, "charges").want(t, exitDone, "", "")
		g.unviolated()
	})
	t.Run("a subscriber reads, plainly and durably", func(t *testing.T) {
		if msg, err := plain.NextMsg(20 * time.Second); err != nil || !strings.HasPrefix(msg.Subject, "subrelay.outcome.renew.succeeded.C-1.") {
			t.Errorf("%v, %v", msg, err)
		}
		g.as(natsjs.RoleSubscriber, "outcomes", "-o", "json").want(t, exitDone, `"subrelay.swap.succeeded.v1"`, "")
		g.as(natsjs.RoleSubscriber, "charges").want(t, exitDone, "", "")
		durable, err := js.CreateOrUpdateConsumer(t.Context(), "SUBRELAY_OUTCOMES", jetstream.ConsumerConfig{
			Durable: "crm", AckPolicy: jetstream.AckExplicitPolicy, FilterSubjects: []string{"subrelay.outcome.renew.>", "subrelay.outcome.swap.>"},
		})
		if err != nil {
			t.Fatal(err)
		}
		batch, err := durable.Fetch(4, jetstream.FetchMaxWait(20*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for msg := range batch.Messages() {
			if err := msg.DoubleAck(t.Context()); err != nil {
				t.Fatal(err)
			}
			got++
		}
		if got != 4 { // started and succeeded, of two commands
			t.Errorf("%d outcomes, %v", got, batch.Error())
		}
		g.unviolated()
	})
	t.Run("an operator settles, redrives, replays", func(t *testing.T) {
		publish := func(customer, id string, code int) string {
			g.as(natsjs.RoleBilling, "publish", "renew", "--customer", customer, "--months", "1", "--id", id, "--source", "billing", "--wait").want(t, code, "", "")
			return events.CID("billing", id, customer)
		}
		op := func(args ...string) ran { return g.as(natsjs.RoleOperator, args...) }
		g.fails("C-2", sandbox.ResetBefore)
		not := publish("C-2", "not", exitInDoubt)
		g.fails("C-3", sandbox.ResetAfter)
		applied := publish("C-3", "applied", exitInDoubt)
		refused := publish("C-404", "refused", exitRejected)
		op("doubts").want(t, exitDone, not, "")
		op("doubts", "show", not).want(t, exitDone, "resolve", "")
		op("doubts", "resolve", applied, "--applied", "--by", "anna", "--reason", "seen").want(t, exitDone, "", "")
		op("doubts", "resolve", not, "--not-applied", "--by", "anna", "--reason", "unchanged", "--redrive", "--yes").want(t, exitDone, "", "")
		op("show", refused).want(t, exitDone, "rejected", "")
		var seq string
		eventually(t, "the dead letter is there", func() bool {
			for _, l := range op("dead", "list", "-o", "json").lines(t) {
				if l["cid"] == refused {
					seq = fmt.Sprintf("%.0f", l["seq"])
				}
			}
			return seq != ""
		})
		op("dead", "show", seq).want(t, exitDone, "", "")
		op("dead", "redrive", seq, "--by", "anna", "--reason", "again", "--yes").want(t, exitDone, "", "")
		op("dead", "close", seq, "--by", "anna", "--reason", "done").want(t, exitDone, "closed before", "")
		op("replay", "outcomes", "--to", "rebuild.{kind}", "--since", "1h").want(t, exitDone, "", "")
		op("replay", "commands", "--missing").want(t, exitDone, "", "")
		op("replay", "commands", "--again", "--reason", "restored", "--kind", "swap", "--yes", "--plan", t.TempDir()+"/plan").want(t, exitDone, "", "")
		op("topology", "show").want(t, exitDone, "SUBRELAY_COMMANDS", "")
		if got := op("doctor"); !strings.Contains(got.stdout, "it may do all that the role operator needs") {
			t.Errorf("doctor: %s%s", got.stdout, got.stderr)
		}
		op("topology", "diff").want(t, exitDone, "no differences", "")
		op("topology", "apply").want(t, exitDone, "no differences", "")
		op("query").want(t, exitDone, g.app.Name(), "")
		op("workers").want(t, exitDone, g.app.Name(), "")
		op("query", "--stats").want(t, exitDone, g.app.Name(), "")
		op("query", "tvms-customer", "customer=C-1").want(t, exitDone, "Active", "")
		eventually(t, "what was redriven is done", func() bool {
			return strings.Contains(op("outcomes", "--status", "succeeded", "--key", "C-2").stdout, "renew")
		})
		g.unviolated()
	})
	t.Run("the worker needs nothing more", func(t *testing.T) {
		conn, _ := g.app.state()
		js, err := jetstream.New(conn)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.app.topology.Purge(t.Context(), js); err != nil {
			t.Error(err)
		}
		if status, body := fetch(t, "http://"+g.app.HTTPAddr()+"/readyz"); status != 200 {
			t.Errorf("%d: %s", status, body)
		}
		if strings.Contains(g.log.String(), "not permitted") {
			t.Errorf("the worker says:\n%s", g.log)
		}
		g.unviolated()
	})
}

// TestWorkerThatManagesItsStreams makes them with the rights of --manage.
func TestWorkerThatManagesItsStreams(t *testing.T) {
	g := &guarded{rig: newRigWithoutWorker(t), log: &watched{}}
	for _, r := range natsjs.Roles() {
		t.Setenv("SUBRELAY_"+strings.ToUpper(string(r))+"_PASSWORD", "pass-"+string(r))
	}
	g.broker = natstest.StartConfigured(t, runLine(t, "", "topology", "permissions", "--manage").stdout)
	g.config.NATS = g.user(natsjs.RoleWorker)
	g.app = g.startLogging(g.log)
	g.as(natsjs.RoleBilling, "publish", "renew", "--customer", "C-1", "--months", "1", "--wait").want(t, exitDone, "succeeded", "")
	g.unviolated()
}

// TestRefusalsAreTold wants every command that a user may not run to say so at once, instead of waiting in vain.
func TestRefusalsAreTold(t *testing.T) {
	g := newGuarded(t)
	cid := events.CID("billing", "one", "C-1")
	line := renewalLine("one", "C-1", oneMonth("C-1"))
	for _, tt := range []struct {
		role natsjs.Role
		args string
		want string
	}{
		{natsjs.RoleSubscriber, "publish renew --customer C-1 --months 1 --wait", "publish to subrelay.cmd.renew.C-1 as user subrelay-subscriber"},
		{natsjs.RoleSubscriber, "publish -f -", "publish to subrelay.cmd.renew.C-1 as user"},
		{natsjs.RoleSubscriber, "query tvms-customer customer=C-1", "publish to subrelay.query.tvms-customer as user"},
		{natsjs.RoleSubscriber, "show " + cid, "SUBRELAY_COMMANDS"},
		{natsjs.RoleSubscriber, "topology show", "SUBRELAY_COMMANDS"},
		{natsjs.RoleSubscriber, "replay outcomes --to subject.x --since 1h", "publish to"},
		{natsjs.RoleBilling, "dead list", "publish to $JS.API.STREAM.INFO.SUBRELAY_DEADLETTERS as user subrelay-billing"},
		{natsjs.RoleBilling, "topology apply", "publish to $JS.API.STREAM.INFO.KV_subrelay-workers as user"},
		{natsjs.RoleBilling, "replay commands --missing", "SUBRELAY_"},
		{natsjs.RoleOperator, "replay outcomes --to elsewhere --since 1h", "publish to elsewhere as user subrelay-operator"},
	} {
		t.Run(string(tt.role)+" "+tt.args, func(t *testing.T) {
			if strings.Contains(tt.args, "elsewhere") {
				g.as(natsjs.RoleBilling, "publish", "renew", "--customer", "C-5", "--months", "1", "--wait").want(t, exitDone, "", "")
			}
			g.asAnd(tt.role, line, strings.Fields(tt.args)...).want(t, exitError, "", "not permitted by NATS: ")
			got := g.asAnd(tt.role, line, append(strings.Fields(tt.args), "-o", "json")...)
			var said errorLine
			lines := strings.Split(strings.TrimSpace(got.stderr), "\n")
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &said); err != nil || !strings.Contains(said.Error, tt.want) || said.Hint == "" {
				t.Errorf("%v, said %+v, want %s", err, said, tt.want)
			}
		})
	}
}

// TestDoctorWithOtherRights runs doctor as those who may not look at everything: it says what it could not look at, each
// thing once, and does not wait for answers that will not come.
func TestDoctorWithOtherRights(t *testing.T) {
	g := newGuarded(t)
	g.as(natsjs.RoleBilling, "publish", "renew", "--customer", "C-1", "--months", "1", "--wait").want(t, exitDone, "", "")
	for _, tt := range []struct {
		role   natsjs.Role
		failed []string // checks
		denied string
	}{
		{natsjs.RoleBilling, []string{"audit", "consumers", "waiting commands", "dead letters", "workers", "account limits", "streams"}, `publish to "$JS.API.CONSUMER.LIST.SUBRELAY_COMMANDS"`},
		{natsjs.RoleWorker, []string{"audit", "account limits"}, `publish to "$JS.API.CONSUMER.CREATE.SUBRELAY_COMMANDS.>"`},
		{natsjs.RoleSubscriber, []string{"audit", "consumers", "dead letters"}, `publish to "$JS.API.STREAM.INFO.SUBRELAY_COMMANDS"`},
	} {
		began := time.Now()
		d := diagnose(t, g.as(tt.role, "doctor", "-o", "json", "--role", string(tt.role), "--timeout", "90s"))
		if took := time.Since(began); took > time.Minute {
			t.Errorf("as %s it took %s", tt.role, took)
		}
		d.want("warning", "rights.denied", tt.denied, "")
		d.want("ok", "doubts.open", "", "")
		for _, check := range tt.failed {
			d.want("warning", "check.failed", check, "not permitted by NATS: publish to $JS.API.")
		}
		for _, f := range d.found {
			if f.Code == "rights.denied" && strings.Count(f.Of, "SUBRELAY_COMMANDS.") > 0 && !strings.HasSuffix(f.Of, `>"`) && !strings.HasSuffix(f.Of, `*"`) {
				t.Errorf("as %s: %s names what differs each time", tt.role, f.Of)
			}
		}
	}
	u := g.user(natsjs.RoleOperator)
	var stdout, stderr strings.Builder
	c := newCLI(strings.NewReader(""), &stdout, &stderr, []string{"SUBRELAY_NATS_URL=" + u.URL, "SUBRELAY_NATS_USER=" + u.User, "SUBRELAY_NATS_PASSWORD=" + u.Password.Reveal()})
	began := time.Now()
	code := c.run(t.Context(), []string{"doctor", "-o", "json", "--timeout", "90s"})
	d := diagnose(t, ran{code: code, stdout: stdout.String(), stderr: stderr.String()})
	d.want("warning", "check.failed", "audit", "not permitted by NATS: subscribe to _INBOX.")
	d.want("warning", "rights.denied", `subscribe to "_INBOX.>"`, "")
	if took := time.Since(began); took > time.Minute {
		t.Errorf("without the inbox of its role it took %s", took)
	}
}

// TestWrongInboxIsTold is of users who did not set the inbox of their role.
func TestWrongInboxIsTold(t *testing.T) {
	g := newGuarded(t)
	u := g.user(natsjs.RoleBilling)
	var stderr strings.Builder
	c := newCLI(strings.NewReader(""), &stderr, &stderr, []string{
		"SUBRELAY_NATS_URL=" + u.URL, "SUBRELAY_NATS_USER=" + u.User, "SUBRELAY_NATS_PASSWORD=" + u.Password.Reveal()})
	if code := c.run(t.Context(), []string{"publish", "renew", "--customer", "C-1", "--months", "1"}); code != exitError ||
		!strings.Contains(stderr.String(), "not permitted by NATS: subscribe to _INBOX.") || !strings.Contains(stderr.String(), "nats.inbox_prefix") {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	g.config.NATS.InboxPrefix = ""
	app, err := NewApp(AppOptions{Config: g.config, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := app.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "subscribe to _INBOX.") {
		t.Errorf("the worker ended with %v", err)
	}
}

// TestWorkerThatLosesARightIsNotReady takes rights from a worker that runs, and gives them back.
func TestWorkerThatLosesARightIsNotReady(t *testing.T) {
	for name, entry := range map[string]string{
		"to hear": `"subrelay.workers.changed"`, "to write": `"subrelay.ledger.>"`, "to be present": `"$KV.subrelay-workers.*"`,
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			t.Cleanup(g.app.Kill) // what it cannot write it would keep for the whole grace period
			before, worker, _ := strings.Cut(g.conf, "SUBRELAY_WORKER {")
			g.broker.Reconfigure(before + "SUBRELAY_WORKER {" + strings.ReplaceAll(worker, entry, ""))
			if entry == `"subrelay.ledger.>"` {
				g.as(natsjs.RoleBilling, "publish", "renew", "--customer", "C-1", "--months", "1").want(t, exitDone, "", "")
			}
			subject := strings.TrimRight(strings.Trim(entry, `"`), ".*>")
			eventually(t, "it is not ready", func() bool {
				status, body := fetch(t, "http://"+g.app.HTTPAddr()+"/readyz")
				return status == 503 && strings.Contains(body, "not permitted by NATS") && strings.Contains(body, subject)
			})
			if !strings.Contains(g.log.String(), "not permitted by NATS") {
				t.Errorf("the log does not tell:\n%s", g.log)
			}
			if !g.app.refusals.deaf() {
				return // the next try tells
			}
			g.broker.Reconfigure(g.conf)
			conn, _ := g.app.state()
			if err := g.app.listenAgain(conn); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it is ready again", func() bool {
				status, _ := fetch(t, "http://"+g.app.HTTPAddr()+"/readyz")
				return status == 200
			})
		})
	}
}
