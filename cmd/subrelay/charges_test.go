package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/sandbox"
	"subrelay/adapters/upstream"
	"subrelay/events"
)

// withCharges is an installation without a worker, and a way to tell of charges in it.
func withCharges(t *testing.T) (r *rig, tell func(number, customer, state string)) {
	t.Helper()
	r = newRigWithoutWorker(t)
	r.run("topology", "apply").want(t, exitDone, "", "")
	conn, err := r.server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	cl, err := newClient(r.config.withDefaults(), conn)
	if err != nil {
		t.Fatal(err)
	}
	charges := natsjs.NewCharges(cl.ledger)
	return r, func(number, customer, state string) {
		t.Helper()
		c := events.NetflixCharge{Number: number, BillingSystemCustomerIdentifier: customer, ChargeStatus: state, Amount: "9.99", Currency: "EUR"}
		if stored, err := charges.Publish(t.Context(), &c); !stored || err != nil {
			t.Fatal(stored, err)
		}
	}
}

func TestCharges(t *testing.T) {
	r, tell := withCharges(t)
	tell("I1", "cust 7", "PENDING")
	tell("I2", "cust-8", "DECLINED")
	tell("I1", "cust 7", "APPROVED")
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"I1.pending", "I2.declined", "I1.approved"}},
		{[]string{"--status", "approved,DECLINED"}, []string{"I2.declined", "I1.approved"}},
		{[]string{"--customer", "cust 7"}, []string{"I1.pending", "I1.approved"}},
		{[]string{"--number", "I2"}, []string{"I2.declined"}},
		{[]string{"--from-seq", "2", "--limit", "1"}, []string{"I2.declined"}},
		{[]string{"--since", "1h"}, []string{"I1.pending", "I2.declined", "I1.approved"}},
		{[]string{"--until", "1h"}, nil},
		{[]string{"--status", "on_hold"}, nil},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			got := r.run(append([]string{"charges", "-o", "json"}, tt.args...)...)
			got.want(t, exitDone, "", "")
			var ids []string
			for _, line := range got.lines(t) {
				ids = append(ids, line["id"].(string))
			}
			if diff := cmp.Diff(tt.want, ids); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("as a table", func(t *testing.T) {
		got := r.run("charges", "--status", "approved")
		got.want(t, exitDone, "approved     I1                cust 7                9.99 EUR        -\n", "")
		if lines := strings.Count(got.stdout, "\n"); lines != 2 {
			t.Errorf("%d lines:\n%s", lines, got.stdout)
		}
	})
	t.Run("ErrUsage", func(t *testing.T) {
		r.run("charges", "--status", "aproved").want(t, exitUsage, "", "did you mean approved?")
		r.run("charges", "--since", "yesterday").want(t, exitUsage, "", "--since is")
		r.run("charges", "--customer", strings.Repeat("x", 300)).want(t, exitError, "", "128 is the most")
	})
	t.Run("ErrNoStream", func(t *testing.T) {
		bare := newRigWithoutWorker(t)
		bare.run("charges", "--follow").want(t, exitError, "", "a worker creates it")
	})
}

// acknowledge is the command that the recipe makes of a charge's event, written in Go.
func acknowledge(t *testing.T, e *event.Event) event.Event {
	t.Helper()
	c, err := events.ReadCharge(e)
	if err != nil {
		t.Fatal(err)
	}
	a := event.New()
	a.SetID("acknowledge." + e.ID())
	a.SetSource("billing")
	a.SetType(events.CommandType(events.NetflixAcknowledge))
	a.SetSubject(e.Subject())
	data := events.NetflixChargesData{ChargesSet: []events.ChargeIdentifier{{Number: c.Number, BillingSystemCustomerIdentifier: c.BillingSystemCustomerIdentifier}}}
	if err := a.SetData(event.ApplicationJSON, data); err != nil {
		t.Fatal(err)
	}
	return a
}

// acknowledgement is acknowledge of a line of JSON.
func acknowledgement(t *testing.T, line []byte) []byte {
	t.Helper()
	var e event.Event
	if err := json.Unmarshal(line, &e); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(acknowledge(t, &e))
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

// recipeProgram is the jq program of the recipe.
func recipeProgram(t *testing.T) string {
	t.Helper()
	parts := strings.Split(chargesRecipe, "'")
	if len(parts) != 3 {
		t.Fatalf("the recipe holds no jq program: %q", parts)
	}
	return parts[1]
}

// TestChargesRecipe holds the recipe's jq program against the same in Go. Where there is no jq, only the latter is used,
// here and below.
func TestChargesRecipe(t *testing.T) {
	r, tell := withCharges(t)
	tell("I 1", "cust 7 \"é\"", "APPROVED")
	tell("2", "8", "REJECTED")
	stored := r.run("charges", "-o", "json").stdout
	var want []any
	for line := range strings.Lines(stored) {
		var v any
		if err := json.Unmarshal(acknowledgement(t, []byte(line)), &v); err != nil {
			t.Fatal(err)
		}
		want = append(want, v)
	}
	jq, err := exec.LookPath("jq")
	if err != nil {
		t.Logf("the jq program itself is not run: %v", err)
		return
	}
	cmd := exec.CommandContext(t.Context(), jq, "-c", "--unbuffered", recipeProgram(t))
	cmd.Stdin = strings.NewReader(stored)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var got []any
	for line := range strings.Lines(string(out)) {
		var v any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		got = append(got, v)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-Go +jq\n%s", diff)
	}
}

// pipeline runs the recipe's three commands, as a shell would. stop interrupts the first, and waits until all have
// ended; lines is what the last says.
func (r *rig) pipeline() (lines *watched, stop func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	chargesOut, chargesIn := io.Pipe()
	commandsOut, commandsIn := io.Pipe()
	lines = &watched{}
	var running sync.WaitGroup
	running.Go(func() {
		defer chargesIn.Close()
		args := strings.Fields(strings.TrimSuffix(strings.SplitN(chargesRecipe, "\n", 2)[0], "|"))
		newCLI(strings.NewReader(""), chargesIn, lines, nil).run(ctx, append([]string{"--nats", r.server.URL()}, args[1:]...))
	})
	running.Go(func() {
		defer commandsIn.Close()
		if jq, err := exec.LookPath("jq"); err == nil {
			cmd := exec.CommandContext(r.t.Context(), jq, "-c", "--unbuffered", recipeProgram(r.t))
			cmd.Stdin, cmd.Stdout = chargesOut, commandsIn
			if err := cmd.Run(); err != nil {
				r.t.Error(err)
			}
			return
		}
		for in := bufio.NewScanner(chargesOut); in.Scan(); {
			_, _ = commandsIn.Write(acknowledgement(r.t, in.Bytes())) // publish reads to the end
		}
	})
	running.Go(func() {
		newCLI(commandsOut, lines, lines, nil).run(r.t.Context(), []string{"--nats", r.server.URL(), "publish", "-f", "-", "-o", "json"})
	})
	return lines, func() { cancel(); running.Wait() }
}

// TestChargesRecipeEndToEnd runs the recipe beside a worker: charges come, are told of, and are acknowledged, one by one
// while the pipe stays open; and a second run of the recipe repeats nothing.
func TestChargesRecipeEndToEnd(t *testing.T) {
	r := newRigWithoutWorker(t)
	crm := sandbox.NewCRMCOM(sandbox.CRMCOMOptions{})
	web := httptest.NewServer(crm.Handler())
	t.Cleanup(web.Close)
	api := &r.config.CRMCOM.API
	api.BaseURL, api.Release, api.WebAPIKey = web.URL, "R18.0.0", upstream.NewSecret("rig-web-api-key")
	api.Swap.Confirmed = true
	r.config.Netflix.API.Charges.Interval = 50 * time.Millisecond
	r.app = r.startWorker()
	charge := func(number, state string) {
		c := events.NetflixCharge{Number: number, BillingSystemCustomerIdentifier: "cust 7", Amount: "9.99", Currency: "EUR", ChargeStatus: state}
		if err := crm.PutCharges(sandbox.Charge{NetflixCharge: c}); err != nil {
			t.Fatal(err)
		}
	}
	acknowledged := func(number string) bool { c, _ := crm.Charge(number); return c.Acknowledged }
	charge("I1", "APPROVED")
	charge("I2", "PENDING")
	lines, stop := r.pipeline()
	eventually(t, "I1 is acknowledged", func() bool { return acknowledged("I1") })
	if err := crm.SetCharge("I2", "DECLINED"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "I2 is acknowledged", func() bool { return acknowledged("I2") })
	charge("I3", "PENDING")
	eventually(t, "I3 is told of", func() bool { return strings.Contains(r.run("charges", "-o", "json").stdout, `"I3.pending"`) })
	stop()
	if acknowledged("I3") || strings.Count(lines.String(), `"status":"published"`) != 2 {
		t.Errorf("I3 acknowledged: %v; published:\n%s", acknowledged("I3"), lines)
	}
	calls := len(crm.Book().Effects())
	again, stop := r.pipeline()
	eventually(t, "everything is sent again", func() bool { return strings.Count(again.String(), `"duplicate":true`) == 2 })
	stop()
	if now := len(crm.Book().Effects()); now != calls || calls != 2 {
		t.Errorf("%d calls, then %d", calls, now)
	}
}
