package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
	"subrelay/events/checkup"
)

// diagnosis is what doctor printed as JSON.
type diagnosis struct {
	t     *testing.T
	found []checkup.Finding
	sum   doctorSum
	ran
}

// doctor runs doctor with the rig's settings of streams.
func (r *rig) doctor(args ...string) diagnosis {
	r.t.Helper()
	args = append([]string{"doctor", "--config", r.configFile(), "-o", "json"}, args...)
	return diagnose(r.t, r.run(args...))
}

// configFile is a file with what of the rig's configuration matters to doctor.
func (r *rig) configFile() string {
	r.t.Helper()
	raw, err := yaml.Marshal(map[string]any{
		"streams": map[string]any{"partitions": r.config.Streams.Partitions},
		"tvms":    map[string]any{"base_url": r.config.TVMS.API.BaseURL, "auth_token": rigToken, "crm_service": "crm"},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return file(r.t, string(raw))
}

func diagnose(t *testing.T, o ran) diagnosis {
	t.Helper()
	d := diagnosis{t: t, ran: o}
	lines := slices.Collect(strings.Lines(o.stdout))
	if len(lines) == 0 {
		t.Fatalf("doctor says nothing; stderr: %s", o.stderr)
	}
	for _, line := range lines[:len(lines)-1] {
		var f checkup.Finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		d.found = append(d.found, f)
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &d.sum); err != nil || !d.sum.Summary {
		t.Fatalf("the last line is no summary: %s", lines[len(lines)-1])
	}
	if d.code != d.sum.ExitCode {
		t.Errorf("exit code %d, and the summary says %d", d.code, d.sum.ExitCode)
	}
	return d
}

// want fails the test unless there is such a finding.
func (d diagnosis) want(severity, code, of, what string) {
	d.t.Helper()
	for _, f := range d.found {
		if f.Severity.String() == severity && f.Code == code && strings.Contains(f.Of, of) && strings.Contains(f.What, what) {
			return
		}
	}
	d.t.Errorf("there is no %s %s (%s) that says %q in\n%s", severity, code, of, what, d.stdout)
}

// clean fails the test for a finding that is worse than a note, of codes that begin so.
func (d diagnosis) clean(codes ...string) {
	d.t.Helper()
	for _, f := range d.found {
		if f.Severity > checkup.Note && slices.ContainsFunc(codes, func(c string) bool { return strings.HasPrefix(f.Code, c) }) {
			d.t.Errorf("%s %s (%s): %s", f.Severity, f.Code, f.Of, f.What)
		}
	}
}

// TestDoctorOfASoundInstallation looks at a worker that has done its work: what is left is that one server is none for
// production.
func TestDoctorOfASoundInstallation(t *testing.T) {
	r := newRig(t)
	r.renew("one", "--wait")
	d := r.doctor()
	for _, f := range d.found {
		if f.Severity > checkup.Note && f.Code != "stream.few_replicas" && f.Code != "settings.replicas" {
			t.Errorf("%s %s (%s): %s", f.Severity, f.Code, f.Of, f.What)
		}
	}
	for _, code := range []string{"audit.complete", "worker.present", "upstream.reached", "secret.files", "clock.worker", "server.version"} {
		d.want("ok", code, "", "")
	}
	if d.code != exitWarnings || !d.sum.Refused {
		t.Errorf("%+v", d.sum)
	}
	d = r.doctor("--production", "--no-audit")
	d.want("error", "stream.few_replicas", "SUBRELAY_OUTCOMES", "1 replica")
	if d.code != exitError || strings.Contains(d.stdout, "audit.") {
		t.Errorf("%+v", d.sum)
	}
}

func TestDoctorFindsWhatWaitsForAPerson(t *testing.T) {
	r := newRig(t)
	r.fails("C-2", "reset_after")
	r.run("publish", "renew", "--customer", "C-2", "--months", "1", "--wait").want(t, exitInDoubt, "", "")
	r.run("publish", "renew", "--customer", "C-404", "--months", "1", "--wait").want(t, exitRejected, "", "")
	d := r.doctor()
	d.want("warning", "doubts.open", "", "1 command is in doubt")
	d.want("warning", "dead_letters.open", "", "1 in_doubt, 1 refused")
	d.clean("audit.")
	r.run("dead", "close", "2", "--by", "me", "--reason", "seen").want(t, exitDone, "", "")
	r.doctor().want("warning", "dead_letters.open", "", "1 dead letter is open: 1 in_doubt")
}

// TestDoctorWithoutABroker makes every check that can be made without one.
func TestDoctorWithoutABroker(t *testing.T) {
	d := diagnose(t, runLine(t, "", "doctor", "--nats", "nats://user:s3cr3t-in-url@127.0.0.1:1", "-o", "json"))
	d.want("error", "nats.connection", "nats://***@127.0.0.1:1", "")
	d.want("note", "upstream.none", "", "")
	if d.code != exitError || strings.Contains(d.stdout+d.stderr, "s3cr3t-in-url") {
		t.Errorf("%+v\n%s", d.sum, d.stdout)
	}
}

func TestDoctorUsage(t *testing.T) {
	for _, args := range [][]string{{"--audit-since", "yesterday"}, {"--timeout", "-1s"}, {"--role", "god"}, {"more"}} {
		runLine(t, "", append([]string{"doctor"}, args...)...).want(t, exitUsage, "", "")
	}
}

// TestDoctorFindsSecretsInTheOpen looks at the modes of files, and at the environment.
func TestDoctorFindsSecretsInTheOpen(t *testing.T) {
	token, inline := file(t, "a-t0ken-in-a-file\n"), ""
	config := func(mode, tokenMode os.FileMode, text string) []checkup.Finding {
		t.Helper()
		inline = file(t, text)
		for name, m := range map[string]os.FileMode{inline: mode, token: tokenMode} {
			if err := os.Chmod(name, m); err != nil {
				t.Fatal(err)
			}
		}
		o := runLine(t, "", "doctor", "--nats", "nats://127.0.0.1:1", "--config", inline, "-o", "json")
		if strings.Contains(o.stdout+o.stderr, "t0ken") {
			t.Errorf("a secret is printed: %s", o.stdout)
		}
		return diagnose(t, o).found
	}
	byFile := "tvms:\n  base_url: https://127.0.0.1:1\n  crm_service: c\n  auth_token_file: " + token + "\n"
	byValue := "tvms:\n  base_url: https://127.0.0.1:1\n  crm_service: c\n  auth_token: a-t0ken-inline\n"
	for _, tc := range []struct {
		name            string
		mode, tokenMode os.FileMode
		text            string
		want            string // "severity code of"
	}{
		{"kept well", 0o600, 0o400, byFile, ""},
		{"nothing secret in the configuration", 0o644, 0o400, byFile, ""},
		{"a file for everybody", 0o600, 0o644, byFile, "error readable tvms.auth_token_file"},
		{"a file for a group", 0o600, 0o640, byFile, "note readable tvms.auth_token_file"},
		{"a file to write for everybody", 0o600, 0o602, byFile, "error writable tvms.auth_token_file"},
		{"a file to write for a group", 0o600, 0o620, byFile, "warning writable tvms.auth_token_file"},
		{"a file to read and write for a group", 0o600, 0o660, byFile, "warning writable tvms.auth_token_file, note readable tvms.auth_token_file"},
		{"a file to read for everybody and to write for a group", 0o600, 0o664, byFile, "error readable tvms.auth_token_file, warning writable tvms.auth_token_file"},
		{"a configuration for everybody", 0o644, 0o400, byValue, "error readable tvms.auth_token"},
	} {
		var got []string
		for _, f := range config(tc.mode, tc.tokenMode, tc.text) {
			if access, ok := strings.CutPrefix(f.Code, "secret."); ok && access != "files" {
				got = append(got, f.Severity.String()+" "+access+" "+f.Of)
				if strings.Contains(f.Why, "read") != (access == "readable") || f.Promise != (f.Severity == checkup.Error) {
					t.Errorf("%s: %+v", tc.name, f)
				}
			}
		}
		if strings.Join(got, ", ") != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	found := config(0o600, 0o600, strings.Replace(byFile, token, "/nowhere/token", 1))
	if !slices.ContainsFunc(found, func(f checkup.Finding) bool { return f.Code == "secret.missing" && f.Severity == checkup.Error }) {
		t.Errorf("a missing file is not found: %+v", found)
	}
}

func TestDoctorFindsSecretsInTheEnvironment(t *testing.T) {
	var out, errs strings.Builder
	c := newCLI(strings.NewReader(""), &out, &errs, []string{"SUBRELAY_TVMS_AUTH_TOKEN=a-t0ken-of-the-environment", "SUBRELAY_NATS_URL=nats://127.0.0.1:1"})
	code := c.run(t.Context(), []string{"doctor", "-o", "json"})
	d := diagnose(t, ran{code: code, stdout: out.String(), stderr: errs.String()})
	d.want("note", "secret.in_environment", "SUBRELAY_TVMS_AUTH_TOKEN", "")
	if strings.Contains(out.String()+errs.String(), "t0ken") {
		t.Errorf("a secret is printed: %s", out.String())
	}
}

// state is all that an installation holds, but for who is present and when somebody asked.
func (r *rig) state() map[string]string {
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
	all := map[string]string{}
	for info := range js.ListStreams(context.Background()).Info() {
		if strings.HasPrefix(info.Config.Name, "KV_") {
			continue
		}
		all[info.Config.Name] = asJSON(r.t, info.Config) + asJSON(r.t, info.State)
		s, err := js.Stream(r.t.Context(), info.Config.Name)
		if err != nil {
			r.t.Fatal(err)
		}
		for k := range s.ListConsumers(r.t.Context()).Info() {
			all[info.Config.Name+" "+k.Name] = asJSON(r.t, k.Config) + asJSON(r.t, k.AckFloor) + asJSON(r.t, k.Delivered) + fmt.Sprint(" waiting ", k.NumPending, k.NumAckPending)
		}
	}
	return all
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw) + " "
}

// TestDoctorChangesNothing compares all that the streams and consumers hold, before and after.
func TestDoctorChangesNothing(t *testing.T) {
	r := newRigWithoutWorker(t)
	stop := r.work()
	r.renew("one", "--wait")
	r.run("publish", "renew", "--customer", "C-404", "--months", "1", "--wait").want(t, exitRejected, "", "")
	stop()
	r.renew("two") // waits
	before := r.state()
	if len(before) < 10 {
		t.Fatalf("only %s", slices.Sorted(maps.Keys(before)))
	}
	r.doctor("--production", "--authenticate").want("error", "worker.none", "tvms", "1 command waits")
	var after map[string]string
	eventually(t, "the consumers of doctor's own are gone", func() bool { after = r.state(); return len(after) == len(before) })
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("-before +after\n%s", diff)
	}
	if n := len(r.tvms.Book().Effects()); n != 2 { // of one, and of C-404
		t.Errorf("%d calls", n)
	}
}

// TestDoctorAuditsSince leaves out what was stored before.
func TestDoctorAuditsSince(t *testing.T) {
	r := newRig(t)
	r.renew("one", "--wait")
	r.doctor("--audit-since", "1h").want("ok", "audit.complete", "", "1 command looked at: 1 done")
	r.doctor("--audit-since", "2100-01-01T00:00:00Z").want("ok", "audit.complete", "", "0 commands looked at")
	r.doctor("--timeout", "1ns").clean("audit.complete")
}

// TestDoctorForPeople looks at the page: grouped, wrapped, and without an error's details lost.
func TestDoctorForPeople(t *testing.T) {
	found := []checkup.Finding{
		{Severity: checkup.Error, Code: "stream.discard", Of: "SUBRELAY_COMMANDS", What: "discard is old", Why: "a full stream then drops its oldest messages, without a word; it must refuse new ones, so that publishers are told", Do: "subrelay topology apply", Promise: true},
		{Severity: checkup.Error, Code: "audit.ledger_gap", Of: "7", What: "1 record is missing", Why: "w", Do: "d", Promise: true, Audited: true},
		{Severity: checkup.Warning, Code: "stream.few_replicas", Of: "A", What: "it has 1 replica", Why: "w", Do: "d"},
		{Severity: checkup.Warning, Code: "stream.few_replicas", Of: "B", What: "it has 1 replica", Why: "w", Do: "d"},
		{Code: "doubts.open", What: "nothing is in doubt"},
	}
	var out strings.Builder
	c := newCLI(strings.NewReader(""), &out, &out, nil)
	if err := c.printFindings(found, sumOf(found, 0)); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/doctor.txt", out.String())
}
