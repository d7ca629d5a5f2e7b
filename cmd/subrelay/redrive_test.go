package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/sandbox"
	"subrelay/events"
	"subrelay/events/history"
)

// client is a connection to the rig's broker.
func (r *rig) client() *client {
	r.t.Helper()
	conn, err := natsjs.Connect(natsjs.ConnectOptions{URL: r.server.URL()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(conn.Close)
	cl, err := newClient(r.config.withDefaults(), conn)
	if err != nil {
		r.t.Fatal(err)
	}
	return cl
}

// judge has the checker of histories judge everything that has happened in the rig.
func (r *rig) judge() history.Report {
	r.t.Helper()
	cl, ctx := r.client(), r.t.Context()
	evidence := history.Evidence{Effects: r.tvms.Book().Effects()}
	must := func(err error) {
		r.t.Helper()
		if err != nil {
			r.t.Fatal(err)
		}
	}
	must(cl.commands.Scan(ctx, natsjs.CommandQuery{}, func(m natsjs.StoredCommand) error {
		ref, _ := refOf(m)
		evidence.Commands = append(evidence.Commands, history.Command{CID: ref.CID, Key: ref.Key, Kind: m.Kind, Seq: m.Seq})
		return nil
	}))
	must(cl.outcomes.Read(ctx, natsjs.Query{}, func(s natsjs.Stored) error {
		evidence.Records = append(evidence.Records, s.Record)
		return nil
	}))
	must(cl.letters.List(ctx, natsjs.DeadQuery{}, func(l natsjs.Letter) error {
		evidence.Dead = append(evidence.Dead, history.Dead{Reason: l.Reason, CID: l.CID, Seq: l.Command})
		return nil
	}))
	report := history.Check(evidence)
	if !report.OK() {
		r.t.Errorf("the history of the rig:\n%s", &report)
	}
	return report
}

// publish sends a renewal by one month from billing, waits for what becomes of it, and returns its cid.
func (r *rig) publish(customer, id string, code int) string {
	r.t.Helper()
	r.run("publish", "renew", "--customer", customer, "--months", "1", "--id", id, "--source", "billing", "--wait", "--no-validate").want(r.t, code, "", "")
	return events.CID("billing", id, customer)
}

// doubtful has a renewal come into doubt: its reply is lost, after the effect or without one.
func (r *rig) doubtful(customer, id string, applied bool) string {
	r.t.Helper()
	fault := sandbox.ResetBefore
	if applied {
		fault = sandbox.ResetAfter
	}
	r.fails(customer, fault)
	return r.publish(customer, id, exitInDoubt)
}

// status is what `show` says of a command.
func (r *rig) status(cid string) string {
	r.t.Helper()
	got := r.run("show", cid, "-o", "json")
	if got.code != exitDone {
		return ""
	}
	return got.lines(r.t)[0]["status"].(string)
}

func (r *rig) becomes(cid, status string) {
	r.t.Helper()
	eventually(r.t, cid+" becomes "+status, func() bool { return r.status(cid) == status })
}

// effects counts the effects for a customer in the book of TVMS.
func (r *rig) effects(customer string) int {
	n := 0
	for _, e := range r.tvms.Book().Effects() {
		if e.Key == customer && e.Applied {
			n++
		}
	}
	return n
}

// answering runs a command line with somebody at the terminal who answers so.
func (r *rig) answering(answer string, args ...string) ran {
	r.t.Helper()
	return runLine(r.t, answer+"\n", append([]string{"--nats", r.server.URL()}, args...)...)
}

// alone runs a command line without a terminal.
func alone(t *testing.T, args ...string) ran {
	t.Helper()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	var stdout, stderr bytes.Buffer
	code := newCLI(null, &stdout, &stderr, nil).run(t.Context(), args)
	return ran{code: code, stdout: stdout.String(), stderr: stderr.String()}
}

func TestNobodyToConfirm(t *testing.T) {
	cid := events.CID("billing", "x", "C-1")
	for _, args := range []string{
		"doubts resolve " + cid + " --not-applied --by a --reason b --redrive",
		"doubts resolve --all --applied --by a --reason b",
		"dead redrive 1",
		"replay commands --again --reason backup",
	} {
		alone(t, strings.Fields(args)...).want(t, exitUsage, "", "--yes confirms beforehand")
	}
}

func TestOperatorUsage(t *testing.T) {
	cid := events.CID("billing", "x", "C-1")
	truth := " --by anna --reason seen"
	for _, tt := range []struct{ args, stderr string }{
		{"doubts reslve", "did you mean resolve?"},
		{"doubts resolve" + truth + " --applied", "just one of these"},
		{"doubts resolve " + cid + " --all --applied" + truth, "just one of these"},
		{"doubts resolve " + cid + truth, "--applied or --not-applied"},
		{"doubts resolve " + cid + " --applied --not-applied" + truth, "--applied or --not-applied"},
		{"doubts resolve " + cid + " --applied --by anna", "--reason TEXT"},
		{"doubts resolve " + cid + " --applied --redrive" + truth, "--redrive goes with --not-applied only"},
		{"doubts resolve " + cid + " --applied --kind renew" + truth, "go with --all only"},
		{"doubts resolve inv-1 --applied" + truth, "give --source too"},
		{"doubts resolve --from - --applied" + truth, "--yes"},
		{"doubts list --kind renwe", "did you mean renew?"},
		{"doubts show", "missing: ID"},
		{"dead show x", "no sequence of a command"},
		{"dead close 1", "--by NAME and --reason TEXT"},
		{"dead close --by a --reason b", "missing: SEQ"},
		{"dead redrive 1 2 --file x", "one SEQ"},
		{"dead list --reason refusd", "did you mean refused?"},
		{"replay outcomes", "--to SUBJECT is missing"},
		{"replay outcomes --to a..b", "empty token"},
		{"replay outcomes --to a.*", "wildcards"},
		{"replay outcomes --to a.{id}", "only {kind}, {status}, {key}, {cid}"},
		{"replay outcomes --to a --rate -1", "must not be negative"},
		{"replay outcomes --to a --from-seq 5 --to-seq 4", "lies behind"},
		{"replay commands", "Say --missing"},
		{"replay commands --missing --again", "Say --missing"},
		{"replay commands --missing --reason x", "go with --again only"},
		{"replay commands --missing --status succeeded", "--status goes with --again only"},
		{"replay commands --again", "--reason TEXT is missing"},
		{"replay commands --again --reason x --status failed", "only what has succeeded"},
		{"replay commands --again --plan x --kind renew", "leave out --kind renew"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			got := runLine(t, "", strings.Fields(tt.args)...)
			got.want(t, exitUsage, "", tt.stderr)
			if got.stdout != "" {
				t.Errorf("stdout %q", got.stdout)
			}
		})
	}
}
