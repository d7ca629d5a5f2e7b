package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"subrelay/adapters/sandbox"
	"subrelay/events"
)

func TestDoubtsResolved(t *testing.T) {
	r := newRig(t)
	r.run("doubts", "list").want(t, exitDone, "nothing is in doubt", "")
	applied := r.doubtful("C-1", "one", true)
	not := r.doubtful("C-2", "two", false)
	later := r.publish("C-2", "three", exitDone)

	t.Run("the list has both, the oldest first", func(t *testing.T) {
		lines := r.run("doubts", "list", "-o", "json").lines(t)
		if len(lines) != 2 || lines[0]["cid"] != applied || lines[1]["cid"] != not {
			t.Fatalf("got %v", lines)
		}
		first := lines[0]
		if first["key"] != "C-1" || first["attempt"] != 1.0 || first["next"] == "" || first["why"].(map[string]any)["code"] != events.CodeBroken {
			t.Errorf("got %v", first)
		}
		r.run("doubts", "list", "--key", "C-2").want(t, exitDone, not, "")
		r.run("doubts", "list", "--until", "1h").want(t, exitDone, "nothing is in doubt", "")
		if one := r.run("doubts", "list", "--limit", "1", "-o", "json").lines(t); len(one) != 1 || one[0]["cid"] != applied {
			t.Errorf("--limit 1: %v", one)
		}
	})
	t.Run("show tells what came later, and what to do", func(t *testing.T) {
		r.run("doubts", "show", "two", "--source", "billing", "--key", "C-2").want(t, exitDone, later, "")
		r.run("doubts", "show", not).want(t, exitDone, "doubts resolve "+not+" --applied", "")
		r.run("doubts", "show", later).want(t, exitError, "", "is not in doubt: its last record says succeeded")
	})
	resolve := func(cid string, more ...string) ran {
		return r.run(append([]string{"doubts", "resolve", cid, "--by", "anna", "--reason", "looked it up", "-o", "json"}, more...)...)
	}
	t.Run("as applied, once", func(t *testing.T) {
		line := resolve(applied, "--applied").lines(t)[0]
		if line["status"] != "succeeded" || line["dead_letter"] != "closed" || line["repeated"] != nil {
			t.Errorf("got %v", line)
		}
		again := resolve(applied, "--applied").lines(t)[0]
		if again["record"] != line["record"] || again["repeated"] != true || again["dead_letter"] != "closed before" {
			t.Errorf("repeated: %v, at first %v", again, line)
		}
		resolve(applied, "--not-applied").want(t, exitError, "", "it was resolved as applied, by anna")
		resolve(applied, "--not-applied", "--redrive", "--yes").want(t, exitError, "", "it was resolved as applied, by anna")
		resolve(later, "--applied").want(t, exitError, "", "its last record says succeeded")
		resolve(events.CID("a", "b", "c"), "--applied").want(t, exitError, "", "no command")
	})
	redrive := []string{"doubts", "resolve", not, "--not-applied", "--by", "anna", "--reason", "unchanged", "--redrive"}
	t.Run("redriven only when confirmed", func(t *testing.T) {
		got := r.answering("n", redrive...)
		got.want(t, exitError, "", "nothing was changed")
		if !strings.Contains(got.stderr, later) || r.status(not) != "in_doubt" {
			t.Errorf("the later command must be told, and nothing done; it is %s:\n%s", r.status(not), got.stderr)
		}
	})
	t.Run("as not applied, and redriven once", func(t *testing.T) {
		want := events.CID("billing", "two~1", "C-2")
		r.answering("y", redrive...).want(t, exitDone, "id two~1  cid "+want, later)
		r.becomes(want, "succeeded")
		if got := r.status(not); got != "failed" {
			t.Errorf("the one in doubt is %s", got)
		}
		again := r.run(append(redrive, "--yes", "-o", "json")...).lines(t)[0]
		if n := again["redriven"].(map[string]any); n["cid"] != want || n["duplicate"] != true {
			t.Errorf("repeated: %v", again)
		}
		if n := r.effects("C-2"); n != 2 { // three and two~1
			t.Errorf("%d effects for C-2, want 2", n)
		}
		r.run("dead", "list", "--all", "--key", "C-2").want(t, exitDone, "redriven as "+want, "")
		r.run("dead", "list").want(t, exitDone, "no open dead letter", "")
	})
	if report := r.judge(); report.Succeeded != 3 || report.Failed != 1 || report.Effects != 3 {
		t.Errorf("%s", &report)
	}
}

// A command stream that is restored from a backup gives sequences out again. What stands under the sequence of a doubt may
// be another customer's command by now, and never runs in its place.
func TestRedriveOfAnotherCommandStream(t *testing.T) {
	r := withStreams(t)
	stop := r.work()
	cid := r.doubtful("C-1", "one", false)
	r.fails("C-3", sandbox.Refusal)
	r.publish("C-3", "two", exitRejected)
	stop()
	js := r.client().js
	s, err := js.Stream(t.Context(), "SUBRELAY_COMMANDS")
	if err != nil {
		t.Fatal(err)
	}
	config := s.CachedInfo().Config
	config.FirstSeq = 0
	if err := js.DeleteStream(t.Context(), config.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	r.run("publish", "renew", "--customer", "C-2", "--months", "1", "--id", "other", "--source", "billing").want(t, exitDone, "seq 1", "")
	r.run("doubts", "resolve", cid, "--not-applied", "--by", "anna", "--reason", "unchanged", "--redrive", "--yes").
		want(t, exitError, "", "command 1 is another one now, other from billing")
	r.run("publish", "renew", "--customer", "C-4", "--months", "1", "--id", "another", "--source", "billing").want(t, exitDone, "seq 2", "")
	r.run("dead", "redrive", "2", "--yes").want(t, exitError, "", "command 2 is another one now, another from billing")
	if got := r.status(cid); got != "in_doubt" {
		t.Errorf("it is %s", got)
	}
}

func TestRedriveOfARedrive(t *testing.T) {
	r := newRig(t)
	cid := r.doubtful("C-1", "one", false)
	r.fails("C-1", "reset_before")
	args := []string{"--not-applied", "--by", "anna", "--reason", "unchanged", "--redrive", "--yes"}
	r.run(append([]string{"doubts", "resolve", cid}, args...)...).want(t, exitDone, "one~1", "")
	second := events.CID("billing", "one~1", "C-1")
	r.becomes(second, "in_doubt")
	r.run(append([]string{"doubts", "resolve", second}, args...)...).want(t, exitDone, "id one~2", "")
	r.becomes(events.CID("billing", "one~2", "C-1"), "succeeded")
	if n := r.effects("C-1"); n != 1 {
		t.Errorf("%d effects, want 1", n)
	}
	r.judge()
}

func TestManyDoubts(t *testing.T) {
	r := newRig(t)
	var cids []string
	for i := range 4 {
		cids = append(cids, r.doubtful(fmt.Sprintf("C-%d", i%2+1), fmt.Sprintf("d%d", i), i < 2))
	}
	by := []string{"--by", "anna", "--reason", "ticket 7"}

	t.Run("a file, shown and confirmed", func(t *testing.T) {
		name := file(t, "# applied\n"+cids[0]+"\n\n"+cids[1]+" # C-2\n"+cids[0]+"\n")
		args := append([]string{"doubts", "resolve", "--from", name, "--applied"}, by...)
		r.answering("", args...).want(t, exitError, "", "Resolve 2 commands as applied?")
		r.answering("yes", args...).want(t, exitDone, "2 commands resolved", cids[1])
		r.answering("yes", args...).want(t, exitDone, "2 commands resolved", "")
		r.run(append([]string{"doubts", "resolve", "--from", file(t, "bad\n"), "--applied", "--yes"}, by...)...).want(t, exitUsage, "", "line 1")
	})
	t.Run("one that disagrees spoils the exit code, not the rest", func(t *testing.T) {
		name := file(t, cids[0]+"\n"+cids[2]+"\n")
		got := r.run(append([]string{"doubts", "resolve", "--from", name, "--not-applied", "--yes", "-o", "json"}, by...)...)
		got.want(t, exitError, "it was resolved as applied", "")
		if s := r.status(cids[2]); s != "failed" {
			t.Errorf("the other is %s", s)
		}
	})
	t.Run("a selection, redriven", func(t *testing.T) {
		args := append([]string{"doubts", "resolve", "--all", "--kind", "renew", "--since", "1h", "--not-applied", "--redrive", "--yes"}, by...)
		r.run(args...).want(t, exitDone, "1 command resolved, 1 new command", "")
		r.becomes(events.CID("billing", "d3~1", "C-2"), "succeeded")
		r.run(args...).want(t, exitDone, "nothing is in doubt", "")
	})
	if report := r.judge(); report.Succeeded != 3 || report.Failed != 2 || report.Effects != 3 {
		t.Errorf("%s", &report)
	}
}

func TestDoubtNamesTheReference(t *testing.T) {
	r := events.Record{Outcome: events.Outcome{Command: events.Ref{Kind: events.Amend, Key: "S1"}, Upstream: events.CRMCOM}}
	for before, want := range map[string]bool{`{"reference":"ref-1","before":null}`: true, `{"reference":""}`: false, ``: false} {
		next := nextForDoubt(r, json.RawMessage(before))
		if strings.Contains(next, ", under the reference ref-1, then") != want || !strings.Contains(next, "the later commands of S1 wait") {
			t.Errorf("%s: %s", before, next)
		}
	}
}
