package handlers

import (
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/events"
	"subrelay/schemas"
)

func TestCheckSaysBeforehandWhatAWorkerWouldSay(t *testing.T) {
	set, err := schemas.New()
	if err != nil {
		t.Fatal(err)
	}
	renewal := func(change func(*event.Event)) *event.Event {
		e := event.New()
		e.SetID("1")
		e.SetSource("billing")
		e.SetType(events.CommandType(events.Renew))
		e.SetSubject("C-1")
		if err := e.SetData(event.ApplicationJSON, map[string]any{"customer_mapping_id": "C-1", "months": 1}); err != nil {
			t.Fatal(err)
		}
		change(&e)
		return &e
	}
	data := func(v any) func(*event.Event) {
		return func(e *event.Event) { _ = e.SetData(event.ApplicationJSON, v) }
	}
	for name, tt := range map[string]struct {
		event *event.Event
		code  string
	}{
		"OK":           {renewal(func(*event.Event) {}), ""},
		"no event":     {nil, events.CodeUndecodable},
		"unknown kind": {renewal(func(e *event.Event) { e.SetType(events.CommandType("freeze")) }), events.CodeUnknownType},
		"no subject":   {renewal(func(e *event.Event) { e.SetSubject("") }), events.CodeSubjectMismatch},
		"schema":       {renewal(data(map[string]any{"customer_mapping_id": "C-1"})), events.CodeSchema},
		"credentials":  {renewal(data(map[string]any{"customer_mapping_id": "C-1", "months": 1, "authToken": "x"})), events.CodeCredentials},
		"other key":    {renewal(data(map[string]any{"customer_mapping_id": "C-2", "months": 1})), events.CodeKeyMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			got := Check([]Family{Renew{}}, set, tt.event, nil)
			code := ""
			if got.Failure != nil {
				code = got.Failure.Code
			}
			if code != tt.code {
				t.Errorf("code %q, want %q (%+v)", code, tt.code, got.Failure)
			}
			if tt.code == "" && (got.Hash == "" || got.Command.CID == "") {
				t.Errorf("no identity: %+v", got)
			}
		})
	}
}
