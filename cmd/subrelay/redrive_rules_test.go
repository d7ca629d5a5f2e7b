package main

import (
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

func TestMayRedrive(t *testing.T) {
	ended := func(s events.Status) events.History { return events.History{{Outcome: events.Outcome{Status: s}}} }
	for _, tt := range []struct {
		reason  events.Reason
		history events.History
		fixed   bool
		refusal string // "": it may
		asIs    bool
	}{
		{reason: events.DeadExhausted, history: ended(events.Failed)},
		{reason: events.DeadRefused, history: ended(events.Rejected)},
		{reason: events.DeadInDoubt, history: ended(events.Failed)},
		{reason: events.DeadInDoubt, history: ended(events.InDoubt), refusal: "it is in doubt"},
		{reason: events.DeadInDoubt, history: ended(events.InDoubt), fixed: true, refusal: "it is in doubt"},
		{reason: events.DeadInDoubt, history: ended(events.Succeeded), refusal: "it has succeeded"},
		{reason: events.DeadExhausted, history: ended(events.Deferred), refusal: "its last record says deferred"},
		{reason: events.DeadRefused, refusal: "it has no record yet"},
		{reason: events.DeadLateResult, history: ended(events.Failed), refusal: "an effect of it is certain"},
		{reason: events.DeadInvalid, history: ended(events.Rejected), refusal: "it would be rejected again"},
		{reason: events.DeadInvalid, history: ended(events.Rejected), fixed: true},
		{reason: events.DeadStale, refusal: "dead letter again"},
		{reason: events.DeadStale, fixed: true, asIs: true},
		{reason: events.DeadIDReused, history: ended(events.Succeeded), fixed: true, asIs: true},
	} {
		asIs, err := mayRedrive(natsjs.Letter{Reason: tt.reason, Command: 7}, tt.history, tt.fixed)
		switch {
		case asIs != tt.asIs:
			t.Errorf("%s: its id is kept: %v", tt.reason, asIs)
		case tt.refusal == "" && err != nil:
			t.Errorf("%s: %v", tt.reason, err)
		case tt.refusal != "" && (err == nil || !strings.Contains(err.Error(), tt.refusal)):
			t.Errorf("%s: got %v, want %q", tt.reason, err, tt.refusal)
		}
	}
}

func TestNumbersOfReruns(t *testing.T) {
	check, err := newChecker()
	if err != nil {
		t.Fatal(err)
	}
	renewal := func(months int) event.Event {
		e := event.New()
		e.SetID("inv")
		e.SetSource("billing")
		e.SetType(events.CommandType(events.Renew))
		e.SetSubject("C-1")
		if err := e.SetData(event.ApplicationJSON, events.RenewData{CustomerMappingID: "C-1", Months: months}); err != nil {
			t.Fatal(err)
		}
		return e
	}
	first := renewal(1)
	cid, hash := cidOf(&first), check.check(0, &first, nil).checked.Hash
	number := func(there ...sighting) (rerun, error) {
		met := sightings{byCID: map[string]sighting{}}
		for i, s := range there {
			met.byCID[events.CID("billing", events.RepetitionID("inv", i+1), "C-1")] = s
		}
		r := rerun{old: events.Ref{CID: cid}, event: renewal(1)}
		err := r.number(met, check)
		return r, err
	}
	if r, err := number(); err != nil || r.sent != 0 {
		t.Errorf("nothing there: %v %v", r, err)
	}
	met := sightings{byCID: map[string]sighting{events.CID("billing", "inv~1", "C-1"): {cause: "another", hash: hash}}}
	r := rerun{old: events.Ref{CID: cid}, event: renewal(1)}
	if err := r.number(met, check); err != nil || r.event.ID() != "inv~2" || r.sent != 0 {
		t.Errorf("a number that another command caused is not ours: %s %d %v", r.event.ID(), r.sent, err)
	}
	if r, err := number(sighting{cause: cid, hash: hash, ref: events.Ref{Seq: 9}}); err != nil || r.sent != 9 {
		t.Errorf("published before: %d %v", r.sent, err)
	}
	if _, err := number(sighting{cause: cid, hash: "other"}); err == nil {
		t.Error("the same command ran again with other data, and would once more")
	}
}

func TestALateResultStaysOpenWhenItsDoubtIsResolved(t *testing.T) {
	r := newRig(t)
	cid := r.doubtful("C-1", "one", true)
	cl := r.client()
	late := events.DeadLetter{Delivery: events.Delivery{Seq: 1, Kind: events.Renew, Key: "C-1", Raw: []byte("{}")}, Reason: events.DeadLateResult, CID: cid}
	if err := cl.letters.Put(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	r.run("doubts", "resolve", cid, "--applied", "--by", "anna", "--reason", "seen").want(t, exitDone, "dead letter: open", "")
	r.run("dead", "list", "--reason", "late_result").want(t, exitDone, "C-1", "")
}
