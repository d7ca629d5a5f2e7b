package main

import (
	"bytes"
	"strings"
	"testing"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// stored is the data of every command in the stream, in order.
func (r *rig) stored() (data []string) {
	r.t.Helper()
	err := r.client().commands.Scan(r.t.Context(), natsjs.CommandQuery{}, func(m natsjs.StoredCommand) error {
		e, err := natsjs.DecodeMessage(m.Header, m.Data)
		if err == nil {
			data = append(data, string(e.Data()))
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return data
}

// A dead letter keeps neither credentials nor what is personal. What runs in its place is the original, or an event that
// somebody gives; never what the letter shows.
func TestWhatIsMaskedIsNeverPublishedAgain(t *testing.T) {
	r := newRig(t)
	const personal = "phone=5550100"
	data := `{"customer_mapping_id":"C-404","months":1,"user_id":"` + personal + `"}`
	r.run("publish", "-f", file(t, renewalLine("refused", "C-404", data)), "--wait").want(t, exitRejected, "", "")
	seq := r.deadSeqs()["refused"]

	letters, err := r.client().letters.Get(t.Context(), 1)
	if err != nil || len(letters) != 1 {
		t.Fatal(letters, err)
	}
	if kept := string(letters[0].Data); strings.Contains(kept, "5550100") || !strings.Contains(kept, events.Masked) {
		t.Errorf("the letter keeps %s", kept)
	}
	for _, line := range [][]string{{"dead", "show", seq}, {"dead", "show", seq, "-o", "json"}, {"show", "refused", "--source", "billing"}} {
		got := r.run(line...)
		got.want(t, exitDone, events.Masked, "")
		if strings.Contains(got.stdout+got.stderr, "5550100") {
			t.Errorf("%v shows what is personal:\n%s", line, got.stdout)
		}
	}

	t.Run("not as the letter has it", func(t *testing.T) {
		copied := file(t, string(letters[0].Data)+"\n")
		const why = `*** at #/user_id stands where a value was masked`
		r.run("dead", "redrive", seq, "--file", copied, "--yes").want(t, exitRejected, "", why)
		r.run("publish", "-f", copied).want(t, exitRejected, "", why)
		r.run("validate", copied).want(t, exitRejected, why, "")
		if got := r.stored(); len(got) != 1 {
			t.Errorf("published: %q", got)
		}
	})
	t.Run("but as it was", func(t *testing.T) {
		r.run("dead", "redrive", seq, "--by", "anna", "--reason", "the customer is back", "--yes").want(t, exitDone, "id refused~1", "")
		got := r.stored()
		if len(got) != 2 || got[0] != got[1] || got[1] != data {
			t.Errorf("published: %q", got)
		}
	})
	t.Run("and not at all where the original is gone", func(t *testing.T) {
		cl := r.client()
		stream, err := cl.js.Stream(t.Context(), cl.names.Commands())
		if err != nil {
			t.Fatal(err)
		}
		r.becomes(events.CID("billing", "refused~1", "C-404"), "rejected")
		eventually(t, "the second letter is there", func() bool { return r.deadSeqs()["refused"] == "2" })
		if err := stream.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.run("dead", "redrive", "2", "--yes").want(t, exitError, "", "no longer stored")
	})
}

func TestMaskedIn(t *testing.T) {
	for line, want := range map[string]string{
		renewalLine("1", "C-1", `{"customer_mapping_id":"***","months":1}`):                                      "#/customer_mapping_id",
		strings.Replace(renewalLine("1", "C-1", oneMonth("C-1")), `"data"`, `"authtoken":"***","data"`, 1):       "authtoken",
		renewalLine("1", "C-1", `{"a":[{"b":"{\"token\":\"***\"}"}]}`):                                           "#/a/0/b",
		renewalLine("1", "C-1", oneMonth("C-1")):                                                                 "",
		strings.Replace(renewalLine("1", "C-1", `0`), `"data":0`, `"data_base64":"eyJ1c2VyX2lkIjoiKioqIn0="`, 1): "#/user_id",
	} {
		e, err := natsjs.DecodeMessage(nil, bytes.TrimSpace([]byte(line)))
		if err != nil {
			t.Fatal(line, err)
		}
		if got, ok := maskedIn(e); got != want || ok != (want != "") {
			t.Errorf("maskedIn(%s) = %q, %v", line, got, ok)
		}
	}
	if _, ok := maskedIn(nil); ok {
		t.Error("no event holds something masked")
	}
}
