package main

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// filled is a rig with a success for C-1, a refusal for C-404, and a doubt for C-2, in this order.
func filled(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.run("publish", "renew", "--customer", "C-1", "--months", "1", "--id", "one", "--source", "billing", "--wait").want(t, exitDone, "", "")
	r.run("publish", "renew", "--customer", "C-404", "--months", "1", "--id", "two", "--source", "billing", "--wait").want(t, exitRejected, "", "")
	r.fails("C-2", sandbox.ErrorAfter)
	r.run("publish", "renew", "--customer", "C-2", "--months", "1", "--id", "three", "--source", "billing", "--wait").want(t, exitInDoubt, "", "")
	return r
}

// statuses are the statuses of outcome events, by their type.
func statuses(lines []map[string]any) []string {
	var all []string
	for _, l := range lines {
		all = append(all, strings.Split(l["type"].(string), ".")[2])
	}
	return all
}

func TestOutcomes(t *testing.T) {
	r := filled(t)
	all := []string{"started", "succeeded", "started", "rejected", "started", "in_doubt"}
	for _, tt := range []struct {
		args string
		want []string
	}{
		{"", all},
		{"--kind renew", all},
		{"--status succeeded,rejected", []string{"succeeded", "rejected"}},
		{"--status in_doubt --key C-2", []string{"in_doubt"}},
		{"--key C-1", []string{"started", "succeeded"}},
		{"--cid " + events.CID("billing", "two", "C-404"), []string{"started", "rejected"}},
		{"--from-seq 4", all[3:]},
		{"--from-seq 2 --limit 2", all[1:3]},
		{"--since 1h", all},
		{"--until 1h", nil},
		{"--since 2999-01-01T00:00:00Z", nil},
	} {
		t.Run(tt.args, func(t *testing.T) {
			got := r.run(append([]string{"outcomes", "-o", "json"}, strings.Fields(tt.args)...)...)
			got.want(t, exitDone, "", "")
			if diff := cmp.Diff(tt.want, statuses(got.lines(t))); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("as a table", func(t *testing.T) {
		got := r.run("outcomes")
		got.want(t, exitDone, "succeeded", "")
		for _, part := range []string{"SEQ", "C-404", "upstream_refused", "worker " + r.app.Name(), `{"months":1}`} {
			if !strings.Contains(got.stdout, part) {
				t.Errorf("the table lacks %q:\n%s", part, got.stdout)
			}
		}
	})
	t.Run("events are whole", func(t *testing.T) {
		event := r.run("outcomes", "-o", "json", "--status", "succeeded").lines(t)[0]
		cid := events.CID("billing", "one", "C-1")
		if event["specversion"] != "1.0" || event["id"] != cid+".succeeded.1" || event["subject"] != "C-1" || event["causationid"] != cid {
			t.Errorf("got %v", event)
		}
	})
}

// watched is a writer that can be read while it is written to.
type watched struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

func TestOutcomesFollow(t *testing.T) {
	r := filled(t)
	var stdout, stderr watched
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	go func() {
		c := newCLI(strings.NewReader(""), &stdout, &stderr, nil)
		done <- c.run(ctx, []string{"--nats", r.server.URL(), "outcomes", "--follow"})
	}()
	eventually(t, "the reader has begun", func() bool { return strings.Contains(stdout.String(), "SEQ") })
	r.run("publish", "renew", "--customer", "C-3", "--months", "1", "--wait").want(t, exitDone, "", "")
	eventually(t, "the new outcome is shown", func() bool {
		return strings.Contains(stdout.String(), "C-3") && strings.Contains(stdout.String(), "succeeded")
	})
	cancel()
	if code := <-done; code != exitDone || stderr.String() != "" {
		t.Errorf("exit code %d, stderr %s", code, stderr.String())
	}
	if strings.Contains(stdout.String(), "C-404") {
		t.Errorf("it shows what was there before:\n%s", stdout.String())
	}
}

func TestShow(t *testing.T) {
	r := filled(t)
	cid := events.CID("billing", "two", "C-404")

	t.Run("by cid", func(t *testing.T) {
		got := r.run("show", cid)
		got.want(t, exitDone, "rejected  renew C-404", "")
		for _, part := range []string{"id      two", "source  billing", "started", "upstream_refused", "refused", `"customer_mapping_id":"C-404"`} {
			if !strings.Contains(got.stdout, part) {
				t.Errorf("it lacks %q:\n%s", part, got.stdout)
			}
		}
	})
	for name, args := range map[string][]string{
		"as JSON": {cid}, "by id and source": {"two", "--source", "billing"}, "by id, source and key": {"two", "--source", "billing", "--key", "C-404"},
	} {
		t.Run(name, func(t *testing.T) {
			got := r.run(append([]string{"show", "-o", "json"}, args...)...)
			got.want(t, exitDone, "", "")
			var d dossier
			if err := json.Unmarshal([]byte(got.stdout), &d); err != nil {
				t.Fatal(err)
			}
			var history []string
			for _, h := range d.History {
				history = append(history, string(h.Status))
			}
			if diff := cmp.Diff([]string{"started", "rejected"}, history); diff != "" {
				t.Error(diff)
			}
			if d.CID != cid || d.ID != "two" || d.Status != "rejected" || len(d.Commands) != 1 || d.Commands[0].Seq != 2 {
				t.Errorf("got %+v", d)
			}
			if len(d.DeadLetters) != 1 || d.DeadLetters[0].Reason != events.DeadRefused || d.DeadLetters[0].Command != 2 {
				t.Errorf("dead letters %+v", d.DeadLetters)
			}
		})
	}
	t.Run("ErrNotFound", func(t *testing.T) {
		r.run("show", events.CID("billing", "none", "C-1")).want(t, exitError, "", "no command")
		r.run("show", "none", "--source", "billing").want(t, exitError, "", "no command none is known")
		r.run("show", "one", "--source", "billing", "--key", "C-2").want(t, exitError, "", "no command one is known")
	})
	t.Run("ErrSeveral", func(t *testing.T) {
		r.run("publish", "renew", "--customer", "C-5", "--months", "1", "--id", "one", "--source", "billing", "--wait").want(t, exitDone, "", "")
		r.run("show", "one", "--source", "billing").want(t, exitUsage, "", "with the keys C-1, C-5: say which by --key")
		r.run("show", "one", "--source", "billing", "--key", "C-5").want(t, exitDone, "succeeded  renew C-5", "")
	})
	t.Run("masks credentials", func(t *testing.T) {
		line := renewalLine("secret", "C-4", `{"customer_mapping_id":"C-4","months":1,"authToken":"s3cr3t-v4lue"}`)
		r.run("publish", "-f", file(t, line), "--no-validate", "--wait").want(t, exitRejected, "", "credentials_in_data")
		got := r.run("show", "secret", "--source", "billing")
		got.want(t, exitDone, events.Masked, "")
		if strings.Contains(got.stdout, "s3cr3t") {
			t.Errorf("the credential is shown:\n%s", got.stdout)
		}
	})
}

func TestShowWhatHasNotStarted(t *testing.T) {
	r := newRigWithoutWorker(t)
	r.run("topology", "apply", "-o", "json").want(t, exitDone, "SUBRELAY_COMMANDS", "")
	r.run("publish", "renew", "--customer", "C-1", "--months", "1", "--id", "one").want(t, exitDone, "published", "")
	r.run("show", "one", "--source", "subrelay-cli").want(t, exitDone, "waiting  renew C-1", "")
	r.run("show", events.CID("subrelay-cli", "one", "C-1"), "-o", "json").want(t, exitDone, `"status":"waiting"`, "")
}

func TestTopology(t *testing.T) {
	r := newRigWithoutWorker(t)
	r.run("topology", "show").want(t, exitDone, "missing", "")
	r.run("topology", "diff").want(t, exitDone, "create stream SUBRELAY_COMMANDS", "")
	r.run("topology", "diff", "-o", "json").want(t, exitDone, `{"action":"create","object":"stream","name":"SUBRELAY_OUTCOMES"}`, "")
	r.run("topology", "apply").want(t, exitDone, "create consumer tvms-15", "")
	r.run("topology", "apply").want(t, exitDone, "no differences", "")
	r.run("topology", "diff", "-o", "json").want(t, exitDone, "", "")
	r.run("topology", "show").want(t, exitDone, "SUBRELAY_DEADLETTERS", "")

	changed := file(t, "streams:\n  partitions: 8\n")
	r.run("--config", changed, "topology", "diff").want(t, exitError, "", "the partition count")
	larger := file(t, "streams:\n  commands_max_bytes: 2147483648\n")
	r.run("--config", larger, "topology", "apply").want(t, exitDone, "update stream SUBRELAY_COMMANDS", "")
	show := r.run("topology", "show", "-o", "json").lines(t)
	names := []string{}
	for _, s := range show {
		names = append(names, s["stream"].(string))
	}
	if !slices.Equal(names, []string{"SUBRELAY_COMMANDS", "SUBRELAY_OUTCOMES", "SUBRELAY_DEADLETTERS", "SUBRELAY_TASKS"}) || show[0]["max_bytes"] != 2147483648.0 || len(show[0]["consumers"].([]any)) != 3*16 {
		t.Errorf("got %v", show)
	}
	own := file(t, "prefix: trial\n")
	r.run("--config", own, "topology", "diff").want(t, exitDone, "create stream TRIAL_COMMANDS", "")
}

func TestSubject(t *testing.T) {
	runLine(t, "", "subject", "renew", "C-10042").want(t, exitDone, "subrelay.cmd.renew.C-10042\n", "")
	runLine(t, "", "subject", "renew", "ACME Ltd.*").want(t, exitDone, "subrelay.cmd.renew.ACME%20Ltd%2E%2A\n", "")
	runLine(t, "", "subject", "renew", "C-1", "-o", "json").want(t, exitDone, `"token":"C-1"`, "")
	runLine(t, "", "--config", file(t, "prefix: trial\n"), "subject", "renew", "C-1").want(t, exitDone, "trial.cmd.renew.C-1\n", "")
	runLine(t, "", "subject", "renew", strings.Repeat("x", 200)).want(t, exitUsage, "", "128 is the most")
	runLine(t, "", "subject", "swap", "S0000012345").want(t, exitDone, "subrelay.cmd.swap.S0000012345\n", "")
	runLine(t, "", "subject", "netflix-create", "cust-77", "-o", "json").want(t, exitDone, `"kind":"netflix-create"`, "")
	runLine(t, "", "subject", "renew", "").want(t, exitUsage, "", "empty")
}

func TestValidate(t *testing.T) {
	good := renewalLine("1", "C-1", oneMonth("C-1"))
	t.Run("OK", func(t *testing.T) {
		runLine(t, "", "validate", file(t, good+good)).want(t, exitDone, "2 valid\n", "")
		runLine(t, good, "validate", "-", "-o", "json").want(t, exitDone, `{"line":1,"valid":true,"id":"1","kind":"renew","key":"C-1","cid":"`+events.CID("billing", "1", "C-1")+`"}`, "")
	})
	bad := good + "\nno json\n" +
		renewalLine("2", "C-1", `{"customer_mapping_id":"C-1","months":500,"colour":"red"}`) + // line 4
		renewalLine("3", "C-1", oneMonth("C-2")) + // line 5
		renewalLine("1", "C-1", `{"customer_mapping_id":"C-1","months":2}`) // line 6
	t.Run("ErrInvalid", func(t *testing.T) {
		got := runLine(t, "", "validate", file(t, bad), "-o", "json")
		got.want(t, exitRejected, "", "")
		codes := map[float64]any{}
		problems := 0
		for _, l := range got.lines(t) {
			codes[l["line"].(float64)] = l["code"]
			if l["line"] == 4.0 {
				problems = len(l["problems"].([]any))
			}
		}
		want := map[float64]any{1: nil, 3: "undecodable", 4: "schema_invalid", 5: "key_mismatch", 6: "id_reused"}
		if diff := cmp.Diff(want, codes); diff != "" {
			t.Error(diff)
		}
		if problems != 2 {
			t.Errorf("%d problems with line 4, want both: %s", problems, got.stdout)
		}
	})
	t.Run("ErrInvalid as a table", func(t *testing.T) {
		got := runLine(t, "", "validate", file(t, bad))
		got.want(t, exitRejected, "4 of 5 invalid", "")
		for _, part := range []string{"#/months", "#/colour", "with other data"} {
			if !strings.Contains(got.stdout, part) {
				t.Errorf("it lacks %q:\n%s", part, got.stdout)
			}
		}
	})
	t.Run("ErrEmpty", func(t *testing.T) {
		runLine(t, "", "validate", file(t, "")).want(t, exitError, "", "holds no commands")
	})
	t.Run("ErrNoFile", func(t *testing.T) { runLine(t, "", "validate", "/no/such").want(t, exitError, "", "no such file") })
}

func TestVersion(t *testing.T) {
	runLine(t, "", "version").want(t, exitDone, "subrelay ", "")
	if got := runLine(t, "", "version", "-o", "json").lines(t); got[0]["version"] == "" || got[0]["go"] == "" {
		t.Errorf("got %v", got)
	}
}

func TestTimesOfFlags(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{"2h": now.Add(-2 * time.Hour), "-2h": now.Add(-2 * time.Hour), "2026-01-01T00:00:00Z": time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if got, err := timeAgo(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}
