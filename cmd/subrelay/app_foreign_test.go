package main

import (
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// What this worker does not serve waits for one that does, and holds up nobody: neither the key's commands for another
// upstream, nor its own upstream's.
func TestCommandsOfAnUpstreamThatIsNotServedWait(t *testing.T) {
	r := newRig(t)
	cl := r.client()
	for _, spec := range events.Specs() {
		if spec.Upstream == events.TVMS {
			continue
		}
		e := event.New()
		e.SetID(string(spec.Kind))
		e.SetSource("billing")
		e.SetType(events.CommandType(spec.Kind))
		e.SetSubject("C-1")
		if err := e.SetData(event.ApplicationJSON, events.NetflixCustomerData{BillingSystemCustomerIdentifier: "C-1"}); err != nil {
			t.Fatal(err)
		}
		if _, err := cl.publisher.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	r.publish("C-1", "renewal", exitDone)
	for _, spec := range events.Specs() {
		if spec.Upstream == events.TVMS {
			continue
		}
		if got := r.status(events.CID("billing", string(spec.Kind), "C-1")); got != statusWaiting {
			t.Errorf("%s is %s", spec.Kind, got)
		}
	}
	if letters := r.deadSeqs(); len(letters) != 0 {
		t.Errorf("dead letters: %v", letters)
	}
	records := 0
	err := cl.outcomes.Read(t.Context(), natsjs.Query{}, func(s natsjs.Stored) error {
		if s.Command.Kind != events.Renew {
			records++
		}
		return nil
	})
	if err != nil || records != 0 {
		t.Errorf("%d records, %v", records, err)
	}
}
