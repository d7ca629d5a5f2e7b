package events_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"subrelay/events"
)

const renewal = `{
  "specversion": "1.0", "id": "inv-42", "source": "/billing", "type": "subrelay.renew.v1", "subject": "C 1",
  "time": "2026-11-22T01:02:03Z", "expirytime": "2026-11-23T00:00:00+01:00",
  "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b",
  "datacontenttype": "application/json", "data": {"customer_mapping_id": "C 1", "months": 1}
}`

// parse reads a structured event; edit, if any, changes its members first (nil removes one).
func parse(t *testing.T, edit map[string]any) *event.Event {
	t.Helper()
	var members map[string]any
	if err := json.Unmarshal([]byte(renewal), &members); err != nil {
		t.Fatal(err)
	}
	for name, value := range edit {
		if value == nil {
			delete(members, name)
		} else {
			members[name] = value
		}
	}
	raw, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	e := event.New()
	if err := json.Unmarshal(raw, &e); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return &e
}

func TestReadCommand(t *testing.T) {
	stated := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	cid := events.CID("/billing", "inv-42", "C 1")
	full := events.Command{
		ID: "inv-42", Source: "/billing", Kind: events.Renew, Subject: "C 1", Key: "C%201", CID: cid,
		Time: stated, Expiry: time.Date(2026, 11, 22, 23, 0, 0, 0, time.UTC), CorrelationID: cid,
		TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", TraceState: "a=b",
		Data: json.RawMessage(`{"customer_mapping_id":"C 1","months":1}`),
	}
	bare := events.Command{ID: "inv-42", Source: "/billing", Kind: events.Renew, Subject: "C 1", Key: "C%201", CID: cid, CorrelationID: cid}
	own := full
	own.CorrelationID = "order-7"
	for _, tc := range []struct {
		name string
		edit map[string]any
		want events.Command
	}{
		{"full", nil, full},
		{"its own correlation", map[string]any{"correlationid": "order-7"}, own},
		{"an empty correlation is none", map[string]any{"correlationid": ""}, full},
		{"without what is optional", map[string]any{
			"time": nil, "expirytime": nil, "traceparent": nil, "tracestate": nil, "datacontenttype": nil, "data": nil,
		}, bare},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := events.ReadCommand(parse(t, tc.edit))
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestReadCommandRefuses(t *testing.T) {
	old := event.New(event.CloudEventsVersionV03)
	old.SetID("1")
	old.SetSource("/billing")
	old.SetType("subrelay.renew.v1")
	old.SetSubject("C-1")
	edited := func(edit map[string]any) *event.Event { return parse(t, edit) }
	broken := parse(t, nil)
	broken.SetExtension("Not-A-Name!", "x")
	for _, tc := range []struct {
		name  string
		event *event.Event
		code  string
		part  string // of the message
	}{
		{"no event at all", &event.Event{}, events.CodeUndecodable, "specversion"},
		{"an empty event", ptr(event.New()), events.CodeUndecodable, "id: MUST be a non-empty string; source: REQUIRED; type:"},
		{"another specversion", &old, events.CodeUndecodable, `specversion is "0.3"`},
		{"an attribute that could not be set", broken, events.CodeUndecodable, "extension:Not-A-Name!"},
		{"no id", edited(map[string]any{"id": nil}), events.CodeUndecodable, "id:"},
		{"a blank id", edited(map[string]any{"id": "  "}), events.CodeUndecodable, "id:"},
		{"no source", edited(map[string]any{"source": nil}), events.CodeUndecodable, "source:"},
		{"NUL in the id", edited(map[string]any{"id": "a\x00b"}), events.CodeUndecodable, "its id holds control characters"},
		{"a line break in the subject", edited(map[string]any{"subject": "a\nb"}), events.CodeUndecodable, "its subject holds"},
		{"an expirytime that is none", edited(map[string]any{"expirytime": "tomorrow"}), events.CodeUndecodable, "expirytime is no RFC 3339 time: tomorrow"},
		{"an expirytime that is a number", edited(map[string]any{"expirytime": 7}), events.CodeUndecodable, "expirytime is no RFC 3339 time"},
		{"another type", edited(map[string]any{"type": "com.example.renew"}), events.CodeUnknownType, `"com.example.renew"`},
		{"an outcome's type", edited(map[string]any{"type": "subrelay.renew.started.v1"}), events.CodeUnknownType, "subrelay.<kind>.v1"},
		{"another version", edited(map[string]any{"type": "subrelay.renew.v2"}), events.CodeUnknownType, ""},
		{"no kind", edited(map[string]any{"type": "subrelay..v1"}), events.CodeUnknownType, ""},
		{"a type of 10 kB", edited(map[string]any{"type": strings.Repeat("x", 10000)}), events.CodeUnknownType, ""},
		{"no subject", edited(map[string]any{"subject": nil}), events.CodeSubjectMismatch, "subject is empty"},
		{"a subject of 10 kB", edited(map[string]any{"subject": strings.Repeat("x", 10000)}), events.CodeSubjectMismatch, "10000 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := events.ReadCommand(tc.event)
			if err == nil {
				t.Fatalf("it was read as %+v", got)
			}
			e := events.AsError(err)
			if e.Kind != events.Refused || e.Code != tc.code || !strings.Contains(e.Message, tc.part) {
				t.Errorf("%s, %s: %s; want %s with %q", e.Kind, e.Code, e.Message, tc.code, tc.part)
			}
			if len(e.Message) > 500 || strings.Contains(e.Message, "\n") {
				t.Errorf("the message is not for one line: %q", e.Message)
			}
			if diff := cmp.Diff(events.Command{}, got); diff != "" {
				t.Errorf("a refused event still gave a command: %s", diff)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

func FuzzReadCommand(f *testing.F) {
	f.Add([]byte(renewal))
	f.Add([]byte(`{"specversion":"1.0","id":"\u0000","source":":","type":"subrelay.renew.v1","subject":" "}`))
	f.Add([]byte(`{"specversion":"0.3","id":"1","source":"s","type":"subrelay.renew.v1","subject":"k","expirytime":7}`))
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"s","type":"subrelay.renew.v1","subject":"k","data_base64":"e30="}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e := event.New()
		if json.Unmarshal(raw, &e) != nil {
			return
		}
		c, err := events.ReadCommand(&e)
		if err != nil {
			if got := events.AsError(err); got.Kind != events.Refused || got.Code == "" || got.Message == "" {
				t.Errorf("an error that says too little: %+v", got)
			}
			return
		}
		key, err := events.KeyOfToken(c.Key)
		if err != nil || key != c.Subject || c.Subject != e.Subject() {
			t.Errorf("key %q of %q: %q, %v", c.Key, c.Subject, key, err)
		}
		if c.CID != events.CID(c.Source, c.ID, c.Subject) || !events.IsCID(c.CID) || c.CorrelationID == "" {
			t.Errorf("no identity: %+v", c)
		}
		if events.CommandType(c.Kind) != e.Type() {
			t.Errorf("kind %q of type %q", c.Kind, e.Type())
		}
	})
}

func TestStale(t *testing.T) {
	stored := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	const memory = 45 * 24 * time.Hour
	for _, tc := range []struct {
		name   string
		time   time.Time
		now    time.Time
		memory time.Duration
		want   string // part of the reason
	}{
		{"no time", time.Time{}, stored, memory, ""},
		{"just now", stored, stored, memory, ""},
		{"a little in the future", stored.Add(events.MaxFuture), stored, memory, ""},
		{"too far in the future", stored.Add(events.MaxFuture + 1), stored, memory, "after the moment the command was stored"},
		{"the future does not become present by waiting", stored.Add(time.Hour), stored.Add(2 * time.Hour), memory, "after the moment"},
		{"at the edge of memory", stored.Add(-memory), stored, memory, ""},
		{"older than memory", stored.Add(-memory - 1), stored, memory, "older than the 1080h0m0s"},
		{"it gets too old by waiting", stored, stored.Add(memory + 1), memory, "older than"},
		{"a memory without end", stored.AddDate(-10, 0, 0), stored, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := events.Command{Time: tc.time}
			got := c.Stale(tc.now, stored, tc.memory)
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("Stale = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestRef(t *testing.T) {
	c, err := events.ReadCommand(parse(t, map[string]any{"time": "2026-11-22T02:02:03+01:00"}))
	if err != nil {
		t.Fatal(err)
	}
	want := events.Ref{ID: "inv-42", Source: "/billing", Kind: events.Renew, Key: "C 1", CID: c.CID, Time: ptr(time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC))}
	if diff := cmp.Diff(want, c.Ref()); diff != "" {
		t.Error(diff)
	}
	c.Time = time.Time{}
	if c.Ref().Time != nil {
		t.Error("an absent time became one")
	}
}

func TestAgain(t *testing.T) {
	first := parse(t, map[string]any{"correlationid": "order-7"})
	before := first.String()
	again := events.Again(*first, 2)
	if diff := cmp.Diff(before, first.String()); diff != "" {
		t.Errorf("the first was changed:\n%s", diff)
	}
	if diff := cmp.Diff(again.String(), ptr(events.Again(*first, 2)).String()); diff != "" {
		t.Errorf("not the same twice:\n%s", diff)
	}
	if err := again.Validate(); err != nil {
		t.Fatal(err)
	}
	got, err := events.ReadCommand(&again)
	if err != nil {
		t.Fatal(err)
	}
	old, _ := events.ReadCommand(first)
	want := old
	want.ID, want.CID = "inv-42~2", events.CID("/billing", "inv-42~2", "C 1")
	want.Time, want.Expiry = time.Time{}, time.Time{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if cause := again.Extensions()[events.ExtCausation]; cause != old.CID {
		t.Errorf("causationid %v, want %s", cause, old.CID)
	}
	if third := events.Again(*first, 3); third.ID() == again.ID() {
		t.Error("two repetitions have one id")
	}
}

func TestAgainOfARepetition(t *testing.T) {
	first := parse(t, map[string]any{})
	second := events.Again(*first, 1)
	third := events.Again(second, 2)
	if third.ID() != "inv-42~2" {
		t.Errorf("the repetition of %s has the id %s: a base's repetitions are numbered through", second.ID(), third.ID())
	}
	if cause := third.Extensions()[events.ExtCausation]; cause != events.CID("/billing", "inv-42~1", "C 1") {
		t.Errorf("causationid %v, want the cid of %s", cause, second.ID())
	}
	for name, tt := range map[string]struct {
		id, cause string
		base      string
		n         int
	}{
		"the first":                      {"inv-42", "", "inv-42", 0},
		"a repetition":                   {"inv-42~3", events.CID("/billing", "inv-42", "C 1"), "inv-42", 3},
		"a repetition of one":            {"inv-42~3", events.CID("/billing", "inv-42~2", "C 1"), "inv-42", 3},
		"billing's own":                  {"inv~42", "", "inv~42", 0},
		"billing's own, caused":          {"inv~42", events.CID("/billing", "order-1", "C 1"), "inv~42", 0},
		"caused by a later one":          {"inv-42~3", events.CID("/billing", "inv-42~4", "C 1"), "inv-42~3", 0},
		"a spelling that Again does not": {"inv-42~03", events.CID("/billing", "inv-42", "C 1"), "inv-42~03", 0},
		"no base":                        {"~1", events.CID("/billing", "", "C 1"), "~1", 0},
		"a number beyond all":            {"inv-42~123456789", events.CID("/billing", "inv-42", "C 1"), "inv-42~123456789", 0},
	} {
		e := first.Clone()
		e.SetID(tt.id)
		if tt.cause != "" {
			e.SetExtension(events.ExtCausation, tt.cause)
		}
		if base, n := events.Repetition(e); base != tt.base || n != tt.n {
			t.Errorf("%s: Repetition(%s) = %s, %d, want %s, %d", name, tt.id, base, n, tt.base, tt.n)
		}
	}
}

func hash(t *testing.T, typ, data string) string {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	h, err := events.HashData(typ, v)
	if err != nil || len(h) != 32 {
		t.Fatalf("HashData(%s) = %q, %v", data, h, err)
	}
	return h
}

func TestHashData(t *testing.T) {
	const typ, data = "subrelay.renew.v1", `{"months":1,"user_id":"<é>","list":[1,{"a":1,"b":2}]}`
	want := hash(t, typ, data)
	for _, same := range []string{
		` { "user_id" : "<é>", "list": [ 1, {"b":2, "a":1} ], "months" : 1 } `,
		"{\"months\":1,\n\t\"user_id\":\"\\u003c\\u00e9>\",\"list\":[1,{\"a\":1,\"b\":2}]}",
	} {
		if got := hash(t, typ, same); got != want {
			t.Errorf("%s has another hash", same)
		}
	}
	for _, other := range []string{
		`{"months":2,"user_id":"<é>","list":[1,{"a":1,"b":2}]}`, `{"months":"1","user_id":"<é>","list":[1,{"a":1,"b":2}]}`,
		`{"months":1,"user_id":"<é>","list":[{"a":1,"b":2},1]}`, `{"months":1,"user_id":"<é>"}`, `{}`, `null`,
		`{"months":1,"user_id":"<é>","list":[1,{"a":1,"b":2}],"days":null}`,
	} {
		if got := hash(t, typ, other); got == want {
			t.Errorf("%s has the same hash", other)
		}
	}
	if hash(t, "subrelay.amend.v1", data) == want {
		t.Error("the type does not matter")
	}
	if hash(t, typ, `{"n":9007199254740993}`) == hash(t, typ, `{"n":9007199254740992}`) {
		t.Error("large numbers run together")
	}
	if _, err := events.HashData(typ, func() {}); err == nil {
		t.Error("what is no JSON has a hash")
	}
}

func TestKindsAndTypes(t *testing.T) {
	for _, spec := range events.Specs() {
		if got, ok := events.KindOfType(events.CommandType(spec.Kind)); !ok || got != spec.Kind {
			t.Errorf("KindOfType(CommandType(%s)) = %s, %v", spec.Kind, got, ok)
		}
		if got, ok := events.SpecOf(events.Specs(), spec.Kind); !ok || got != spec {
			t.Errorf("SpecOf(%s) = %+v, %v", spec.Kind, got, ok)
		}
		for _, status := range events.Statuses() {
			if kind, ok := events.KindOfType(events.OutcomeType(spec.Kind, status)); ok {
				t.Errorf("the outcome %s of %s is taken for a command %s", status, spec.Kind, kind)
			}
		}
	}
	if _, ok := events.SpecOf(events.Specs(), "no-such-kind"); ok {
		t.Error("an unknown kind has a spec")
	}
}

// A command is named by its source, id and subject. Repeating it on purpose makes a new one, always the same.
func ExampleAgain() {
	e := event.New()
	e.SetID("inv-42")
	e.SetSource("/billing")
	e.SetType(events.CommandType(events.Renew))
	e.SetSubject("C-10042")
	_ = e.SetData(event.ApplicationJSON, events.RenewData{CustomerMappingID: "C-10042", Months: 1})
	again := events.Again(e, 1)
	fmt.Println(again.ID(), "because of", again.Extensions()["causationid"])
	fmt.Println(bytes.Equal(e.Data(), again.Data()))
	// Output:
	// inv-42~1 because of 76emlho77yqww4gm4he2yt2mu2
	// true
}

func TestSpecs(t *testing.T) {
	want := []events.Spec{
		{Kind: "renew", Upstream: "tvms"},
		{Kind: "amend", Upstream: "crmcom", HoldsAfterDoubt: true, Referenced: true},
		{Kind: "swap", Upstream: "crmcom", HoldsAfterDoubt: true, Referenced: true},
		{Kind: "netflix-create", Upstream: "netflix", HoldsAfterDoubt: true},
		{Kind: "netflix-suspend", Upstream: "netflix", HoldsAfterDoubt: true},
		{Kind: "netflix-unsuspend", Upstream: "netflix", HoldsAfterDoubt: true},
		{Kind: "netflix-cancel", Upstream: "netflix", HoldsAfterDoubt: true},
		{Kind: "netflix-acknowledge", Upstream: "netflix"},
		{Kind: "netflix-accept", Upstream: "netflix"},
		{Kind: "netflix-decline", Upstream: "netflix"},
	}
	if diff := cmp.Diff(want, events.Specs()); diff != "" {
		t.Errorf("a kind's upstream never changes, and neither does what holds its key (-want +got):\n%s", diff)
	}
}
