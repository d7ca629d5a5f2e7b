package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/sandbox"
)

func TestPublishWaitPrintsWhatBecameOfIt(t *testing.T) {
	r := newRig(t)
	for _, tt := range []struct {
		name         string
		fault        sandbox.FaultKind // of C-2
		args         []string
		code         int
		status, text string // of the one line
	}{
		{"succeeded", "", []string{"--customer", "C-1", "--months", "1"}, exitDone, "succeeded", `"months":1`},
		{"succeeded, two weeks", "", []string{"--customer-mapping-id", "C-1", "--days", "14", "--from-expire-date=false", "--crm-service", "other"}, exitDone, "succeeded", `"days":14`},
		{"refused", "", []string{"--customer", "C-404", "--months", "1"}, exitRejected, "rejected", "upstream_refused"},
		{"refused, by user id", "", []string{"--user-id", "nobody", "--months", "1"}, exitRejected, "rejected", "upstream_refused"},
		{"invalid, checked here", "", []string{"--customer", "C-1", "--months", "500"}, exitRejected, "not_sent", "/months"},
		{"invalid, checked by the worker", "", []string{"--customer", "C-1", "--months", "500", "--no-validate"}, exitRejected, "rejected", "/months"},
		{"expired", "", []string{"--customer", "C-1", "--months", "1", "--expires=-1m"}, exitRejected, "expired", "expirytime"},
		{"stale", "", []string{"--customer", "C-1", "--months", "1", "--time", "2020-01-01T00:00:00Z"}, exitRejected, "dead", "stale"},
		{"too far in the future", "", []string{"--customer", "C-1", "--months", "1", "--time", "2999-01-01T00:00:00Z"}, exitRejected, "dead", "stale"},
		{"in doubt", sandbox.ErrorAfter, []string{"--customer", "C-2", "--months", "1"}, exitInDoubt, "in_doubt", "upstream_error"},
		{"no outcome in time", sandbox.Hang, []string{"--customer", "C-2", "--months", "1", "--timeout", "300ms"}, exitTimeout, "timeout", "subrelay show"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.fault != "" {
				r.fails("C-2", tt.fault)
			}
			got := r.run(append([]string{"publish", "renew", "--wait", "-o", "json"}, tt.args...)...)
			got.want(t, tt.code, tt.text, "")
			lines := got.lines(t)
			if len(lines) != 1 || lines[0]["status"] != tt.status {
				t.Errorf("got %v, want one line with status %s", lines, tt.status)
			}
			if got.stderr != "" {
				t.Errorf("stderr: %s", got.stderr)
			}
		})
	}
}

func TestPublishAgain(t *testing.T) {
	r := newRig(t)
	send := func(args ...string) ran {
		return r.run(append([]string{"publish", "renew", "--customer", "C-1", "--id", "invoice-1", "--source", "billing"}, args...)...)
	}
	send("--months", "1", "--wait").want(t, exitDone, "succeeded  renew C-1  id invoice-1", "")

	t.Run("is done once, and answers at once", func(t *testing.T) {
		send("--months", "1", "--wait").want(t, exitDone, "attempt 1  (sent before)", "")
		if n := len(r.tvms.Book().Effects()); n != 1 {
			t.Errorf("TVMS was called %d times", n)
		}
	})
	t.Run("with other data is refused", func(t *testing.T) {
		send("--months", "2", "--wait").want(t, exitRejected, "id_reused", "")
	})
	t.Run("without waiting says only that it is stored", func(t *testing.T) {
		got := send("--months", "1", "-o", "json")
		got.want(t, exitDone, "", "")
		line := got.lines(t)[0]
		delete(line, "cid")
		want := map[string]any{"status": "published", "id": "invoice-1", "source": "billing", "kind": "renew", "key": "C-1",
			"subject": "subrelay.cmd.renew.C-1", "seq": 1.0, "duplicate": true}
		if diff := cmp.Diff(want, line); diff != "" {
			t.Error(diff)
		}
	})
}

func renewalLine(id, customer, data string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"billing","type":"subrelay.renew.v1","subject":%q,"data":%s}`+"\n", id, customer, data)
}

func oneMonth(customer string) string {
	return fmt.Sprintf(`{"customer_mapping_id":%q,"months":1}`, customer)
}

func TestPublishFile(t *testing.T) {
	r := newRig(t)
	good := renewalLine("1", "C-1", oneMonth("C-1")) + "\n" + renewalLine("2", "C-1", oneMonth("C-1")) + renewalLine("3", "C-2", oneMonth("C-2"))
	bad := "no json\n" + // line 5
		renewalLine("4", "C-3", `{"customer_mapping_id":"C-3","months":0,"token":"s3cr3t"}`) + // line 6
		renewalLine("5", "C-404", oneMonth("C-404")) + // line 7
		"[]\n{\n"

	t.Run("OK", func(t *testing.T) {
		r.run("publish", "-f", file(t, good), "--wait").want(t, exitDone, "3 succeeded\n", "")
	})
	t.Run("only stored", func(t *testing.T) {
		r.run("publish", "-f", file(t, good)).want(t, exitDone, "3 published\n", "")
	})
	t.Run("names the lines that went wrong", func(t *testing.T) {
		got := r.run("publish", "-f", file(t, good+bad), "--wait")
		got.want(t, exitRejected, "4 not_sent, ", "line 5: not_sent")
		for _, part := range []string{"line 6: not_sent", "credentials_in_data", "line 7: rejected", "line 8: not_sent", "each line must hold one whole event"} {
			if !strings.Contains(got.stderr, part) {
				t.Errorf("stderr lacks %q:\n%s", part, got.stderr)
			}
		}
		if strings.Contains(got.stderr+got.stdout, "s3cr3t") {
			t.Error("a credential is shown")
		}
	})
	t.Run("as JSON, from stdin, a line each", func(t *testing.T) {
		got := runLine(t, good+bad, "--nats", r.server.URL(), "publish", "-f", "-", "--wait", "-o", "json")
		status := map[float64]any{}
		for _, l := range got.lines(t) {
			status[l["line"].(float64)] = l["status"]
		}
		want := map[float64]any{1: "succeeded", 3: "succeeded", 4: "succeeded", 5: "not_sent", 6: "not_sent", 7: "rejected", 8: "not_sent", 9: "not_sent"}
		if diff := cmp.Diff(want, status); diff != "" || got.stderr != "" {
			t.Errorf("%s\nstderr: %s", diff, got.stderr)
		}
	})
	t.Run("the worst counts", func(t *testing.T) {
		r.fails("C-4", sandbox.HangAfter)
		r.fails("C-5", sandbox.ErrorAfter)
		mixed := renewalLine("6", "C-4", oneMonth("C-4")) + renewalLine("7", "C-404", oneMonth("C-404")) + renewalLine("8", "C-5", oneMonth("C-5"))
		r.run("publish", "-f", file(t, mixed), "--wait", "--timeout", "500ms").want(t, exitInDoubt, "", "line 1: timeout")
	})
	t.Run("ErrNothing", func(t *testing.T) {
		r.run("publish", "-f", file(t, "\n\n")).want(t, exitError, "", "nothing to send")
	})
	t.Run("ErrNoFile", func(t *testing.T) {
		r.run("publish", "-f", "/no/such/file").want(t, exitError, "", "no such file")
	})
}

func TestPublishWithoutCheckingLetsTheWorkerDecide(t *testing.T) {
	r := newRig(t)
	lines := renewalLine("1", "C-1", `{"customer_mapping_id":"C-2","months":1}`) +
		`{"specversion":"1.0","id":"2","source":"billing","type":"subrelay.freeze.v1","subject":"C-1","data":{}}` + "\n"
	got := r.run("publish", "-f", file(t, lines), "--no-validate", "--wait")
	got.want(t, exitRejected, "1 rejected", "line 1: rejected")
	r.run("outcomes", "--status", "rejected").want(t, exitDone, "key_mismatch", "")
	unreadable := `{"specversion":"1.0","id":"\u001b[31m","source":"billing","type":"subrelay.renew.v1","subject":"C-1","data":{}}`
	odd := r.run("publish", "-f", file(t, unreadable), "--no-validate", "--wait")
	if odd.code != exitRejected || strings.Contains(odd.stderr+odd.stdout, "\x1b") {
		t.Errorf("exit code %d, stderr %q", odd.code, odd.stderr)
	}
	if !strings.Contains(got.stderr, "line 2: not_sent") || !strings.Contains(got.stderr, "unknown_type") {
		t.Errorf("stderr: %s", got.stderr)
	}
}

func TestPublishInterrupted(t *testing.T) {
	r := newRigWithoutWorker(t)
	r.run("topology", "apply").want(t, exitDone, "create stream", "")
	r.run("publish", "renew", "--customer", "C-1", "--months", "1", "--wait", "--timeout", "200ms").want(t, exitTimeout, "timeout", "")
}

func TestPublishWithoutStreams(t *testing.T) {
	r := newRigWithoutWorker(t)
	got := r.run("publish", "renew", "--customer", "C-1", "--months", "1", "-o", "json")
	if got.code != exitError && got.code != exitRejected {
		t.Errorf("exit code %d", got.code)
	}
	if lines := got.lines(t); len(lines) != 1 || lines[0]["status"] != "not_sent" {
		t.Errorf("got %v", lines)
	}
}
