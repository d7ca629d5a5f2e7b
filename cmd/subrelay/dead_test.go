package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// deadSeqs are the commands in the open dead letters, by reason.
func (r *rig) deadSeqs() map[string]string {
	r.t.Helper()
	all := map[string]string{}
	for _, l := range r.run("dead", "list", "-o", "json").lines(r.t) {
		all[l["reason"].(string)] = fmt.Sprintf("%.0f", l["seq"])
	}
	return all
}

// fixed is a renewal by one month as a file over several lines.
func fixed(t *testing.T, id, customer string) string {
	t.Helper()
	line := renewalLine(id, customer, oneMonth(customer))
	return file(t, strings.Replace(line, `,"data"`, ",\n\"data\"", 1)+"\n")
}

func TestDeadLetters(t *testing.T) {
	r := newRigWithoutWorker(t)
	r.config.TVMS.API.Replies.NotApplied = []int{503}
	r.config.Retry.Renew.Initial = time.Second
	r.app = r.startWorker()
	cl := r.client()

	r.publish("C-404", "refused", exitRejected)
	if _, err := cl.publisher.PublishRaw(t.Context(), cl.names.Command(events.Renew, "C-3"), nats.Header{}, []byte(`{"no":"event","auth_token":"s3cr3t"}`)); err != nil {
		t.Fatal(err)
	}
	r.run("publish", "renew", "--customer", "C-1", "--months", "500", "--id", "invalid", "--source", "billing", "--no-validate", "--wait").want(t, exitRejected, "", "")
	if err := r.tvms.Faults().Next(sandbox.Fault{Kind: sandbox.Unavailable, Customer: "C-4"}, sandbox.Fault{Kind: sandbox.Unavailable, Customer: "C-4"}); err != nil {
		t.Fatal(err)
	}
	exhausted := r.publish("C-4", "exhausted", exitRejected)
	doubt := r.doubtful("C-5", "doubt", false)
	eventually(t, "all letters are there", func() bool { return len(r.deadSeqs()) == 5 })
	seq := r.deadSeqs()

	t.Run("the list, selected", func(t *testing.T) {
		r.run("dead", "list").want(t, exitDone, "C-404", "")
		lines := r.run("dead", "list", "--reason", "exhausted", "--since", "1h", "--kind", "renew", "--key", "C-4", "-o", "json").lines(t)
		if len(lines) != 1 || lines[0]["cid"] != exhausted || lines[0]["next"] == "" {
			t.Errorf("got %v", lines)
		}
		r.run("dead", "list", "--key", "C-77").want(t, exitDone, "no open dead letter", "")
		if n := len(r.run("dead", "list", "--limit", "2", "-o", "json").lines(t)); n != 2 {
			t.Errorf("--limit 2 gave %d", n)
		}
	})
	t.Run("one shown: masked, with every problem", func(t *testing.T) {
		got := r.run("dead", "show", seq["undecodable"])
		got.want(t, exitDone, events.Masked, "")
		if strings.Contains(got.stdout, "s3cr3t") {
			t.Error("a credential is shown")
		}
		r.run("dead", "show", seq["invalid"]).want(t, exitDone, "/months", "")
		r.run("dead", "show", seq["exhausted"], "-o", "json").want(t, exitDone, `"status":"deferred"`, "")
		r.run("dead", "show", "9999").want(t, exitError, "", "has no dead letter")
	})
	t.Run("what must not run again does not", func(t *testing.T) {
		r.run("dead", "redrive", seq["in_doubt"], "--yes").want(t, exitError, "", "doubts resolve "+doubt)
		r.run("dead", "redrive", seq["invalid"], "--yes").want(t, exitError, "", "--file FIXED.json")
		r.run("dead", "redrive", seq["undecodable"], "--yes").want(t, exitError, "", "--file FIXED.json")
		r.run("dead", "redrive", seq["exhausted"], seq["in_doubt"], "--yes").want(t, exitError, "", "in doubt")
		r.answering("no", "dead", "redrive", seq["exhausted"]).want(t, exitError, "", "nothing was changed")
		r.run("dead", "close", seq["in_doubt"], "--by", "anna", "--reason", "x").want(t, exitError, "", "doubts resolve")
		if n := len(r.deadSeqs()); n != 5 {
			t.Errorf("%d letters are open", n)
		}
	})
	t.Run("the exhausted runs again, once", func(t *testing.T) {
		args := []string{"dead", "redrive", seq["exhausted"], "--by", "anna", "--reason", "TVMS is back"}
		again := events.CID("billing", "exhausted~1", "C-4")
		r.answering("y", args...).want(t, exitDone, again, "no later command")
		r.becomes(again, "succeeded")
		r.answering("y", args...).want(t, exitDone, "redriven as "+again+": TVMS is back", "")
		if n := r.effects("C-4"); n != 1 {
			t.Errorf("%d effects", n)
		}
	})
	t.Run("a corrected event stands for the invalid one", func(t *testing.T) {
		other := fixed(t, "another", "C-1")
		r.run("dead", "redrive", seq["invalid"], "--file", other, "--yes").want(t, exitUsage, "", "give it the same id and source, or no id")
		bad := file(t, renewalLine("invalid", "C-1", `{"customer_mapping_id":"C-1","months":0}`))
		r.run("dead", "redrive", seq["invalid"], "--file", bad, "--yes").want(t, exitRejected, "", "exactly one of months, days")
		got := r.run("dead", "redrive", seq["invalid"], "--file", fixed(t, "invalid", "C-1"), "--yes", "-o", "json")
		got.want(t, exitDone, "", "")
		r.becomes(got.lines(t)[0]["redriven"].(map[string]any)["cid"].(string), "succeeded")
		if id := got.lines(t)[0]["redriven"].(map[string]any)["id"]; id != "invalid~1" {
			t.Errorf("its id is %v", id)
		}
	})
	t.Run("what had no identity keeps that of the file", func(t *testing.T) {
		r.run("dead", "redrive", seq["undecodable"], "--file", fixed(t, "mended", "C-3"), "--yes").want(t, exitDone, "id mended", "")
		r.becomes(events.CID("billing", "mended", "C-3"), "succeeded")
	})
	t.Run("a doubt resolved as not applied may run again", func(t *testing.T) {
		r.run("doubts", "resolve", doubt, "--not-applied", "--by", "anna", "--reason", "unchanged").want(t, exitDone, "failed", "")
		again := events.CID("billing", "doubt~1", "C-5")
		r.run("dead", "redrive", seq["in_doubt"], "--yes").want(t, exitDone, again, "")
		r.becomes(again, "succeeded")
		r.run("dead", "redrive", seq["in_doubt"], "--yes").want(t, exitDone, again+"  seq 9  (published before)", "")
	})
	t.Run("closed, once", func(t *testing.T) {
		args := []string{"dead", "close", seq["refused"], "--by", "anna", "--reason", "no such customer"}
		r.run(args...).want(t, exitDone, seq["refused"]+": closed", "")
		r.run(args...).want(t, exitDone, "closed before, by anna", "")
		r.run("dead", "redrive", seq["refused"], "--yes").want(t, exitError, "", "no such customer")
		r.run("dead", "list").want(t, exitDone, "no open dead letter", "")
		r.run("dead", "list", "--all", "--reason", "refused").want(t, exitDone, "closed by anna", "")
	})
	r.judge()
}

func TestRedriveWhenTheOriginalIsGone(t *testing.T) {
	r := newRig(t)
	r.publish("C-404", "refused", exitRejected)
	doubt := r.doubtful("C-1", "doubt", false)
	seq := r.deadSeqs()
	cl := r.client()
	stream, err := cl.js.Stream(t.Context(), cl.names.Commands())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.run("dead", "redrive", seq["refused"], "--yes").want(t, exitError, "", "no longer stored")
	r.run("doubts", "resolve", doubt, "--not-applied", "--redrive", "--by", "a", "--reason", "b", "--yes").want(t, exitError, "", "nothing was changed")
	if got := r.status(doubt); got != "in_doubt" {
		t.Errorf("the doubt is %s", got)
	}
	whole := fixed(t, "refused", "C-1")
	r.run("dead", "redrive", seq["refused"], "--file", whole, "--yes").want(t, exitDone, "id refused~1", "")
	r.becomes(events.CID("billing", "refused~1", "C-1"), "succeeded")
}
