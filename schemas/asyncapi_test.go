package schemas_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"subrelay/events"
	"subrelay/schemas"
)

func asyncAPI(t *testing.T) map[string]any {
	t.Helper()
	raw, err := yaml.YAMLToJSON(schemas.AsyncAPI())
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, raw).(map[string]any)
}

// references collects every $ref of the document.
func references(doc any) (refs []string) {
	switch v := doc.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			refs = append(refs, ref)
		}
		for _, member := range v {
			refs = append(refs, references(member)...)
		}
	case []any:
		for _, item := range v {
			refs = append(refs, references(item)...)
		}
	}
	slices.Sort(refs)
	return slices.Compact(refs)
}

func at(doc map[string]any, ref string) any {
	var v any = doc
	for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	return v
}

func TestAsyncAPIReferencesExistAndAllSchemasAreReferenced(t *testing.T) {
	doc := asyncAPI(t)
	if doc["asyncapi"] != "3.0.0" {
		t.Errorf("asyncapi: %v", doc["asyncapi"])
	}
	used := map[string]bool{"outcome.v1.json": true, "crmcom.v1.json": true} // other schemas refer to them
	for _, ref := range references(doc) {
		if file, ok := strings.CutPrefix(ref, "./"); ok {
			used[file] = true
			if _, err := fs.Stat(schemas.Files(), file); err != nil {
				t.Errorf("%s: %v", ref, err)
			}
		} else if at(doc, ref) == nil {
			t.Errorf("%s leads nowhere", ref)
		}
	}
	names, err := fs.Glob(schemas.Files(), "*.json")
	if err != nil {
		t.Fatal(err)
	}
	of, err := fs.Glob(schemas.Files(), "queries/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, of...) {
		if !used[name] {
			t.Errorf("nothing refers to %s", name)
		}
	}
	for name := range find(t, doc, "components", "messages") {
		if !slices.Contains(references(doc["channels"]), "#/components/messages/"+name) {
			t.Errorf("the message %s is on no channel", name)
		}
	}
}

var parameter = regexp.MustCompile(`\{([^}]+)\}`)

func TestAsyncAPIChannels(t *testing.T) {
	doc := asyncAPI(t)
	want := map[string]string{
		"deadLetters": "subrelay.dead.{reason}.{seq}", "deadClosed": "subrelay.dead.closed.{seq}",
		"netflixCharges": "subrelay.event.netflix-charge.{status}.{key}.{number}",
	}
	for _, spec := range events.Specs() {
		want[chapter{Kind: spec.Kind}.ID()+"Commands"] = "subrelay.cmd." + string(spec.Kind) + ".{key}"
		want[chapter{Kind: spec.Kind}.ID()+"Outcomes"] = "subrelay.outcome." + string(spec.Kind) + ".{status}.{key}.{cid}"
	}
	want["queryReplies"] = ""
	for _, spec := range events.QuerySpecs() {
		want[question{Query: spec.Name}.ID()+"Query"] = "subrelay.query." + string(spec.Name)
	}
	got := map[string]string{}
	for name := range find(t, doc, "channels") {
		channel := find(t, doc, "channels", name)
		got[name], _ = channel["address"].(string)
		inAddress := []string{}
		for _, m := range parameter.FindAllStringSubmatch(got[name], -1) {
			inAddress = append(inAddress, m[1])
		}
		slices.Sort(inAddress)
		if diff := cmp.Diff(inAddress, members(find(t, channel, "parameters"))); diff != "" {
			t.Errorf("%s: parameters (-address +described):\n%s", name, diff)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("channels (-code +document):\n%s", diff)
	}
	for _, spec := range events.Specs() {
		var statuses []any
		for _, s := range events.Statuses() {
			statuses = append(statuses, string(s))
		}
		if diff := cmp.Diff(statuses, find(t, doc, "channels", chapter{Kind: spec.Kind}.ID()+"Outcomes", "parameters", "status")["enum"]); diff != "" {
			t.Errorf("statuses (-code +document):\n%s", diff)
		}
	}
	var states []any
	for _, s := range events.ChargeStates() {
		states = append(states, events.ChargeStatus(s))
	}
	if diff := cmp.Diff(states, find(t, doc, "channels", "netflixCharges", "parameters", "status")["enum"]); diff != "" {
		t.Errorf("states of charges (-code +document):\n%s", diff)
	}
	var reasons []any
	for _, r := range events.Reasons() {
		reasons = append(reasons, string(r))
	}
	if diff := cmp.Diff(reasons, find(t, doc, "channels", "deadLetters", "parameters", "reason")["enum"]); diff != "" {
		t.Errorf("reasons (-code +document):\n%s", diff)
	}
}

func TestAsyncAPIOperations(t *testing.T) {
	doc := asyncAPI(t)
	served := map[string]bool{}
	for name := range find(t, doc, "operations") {
		operation := find(t, doc, "operations", name)
		channel, _ := find(t, operation, "channel")["$ref"].(string)
		served[strings.TrimPrefix(channel, "#/channels/")] = true
		want := "send"
		if strings.HasSuffix(channel, "Commands") {
			want = "receive"
		}
		if reply, ok := operation["reply"].(map[string]any); ok {
			want = "receive"
			served[strings.TrimPrefix(find(t, reply, "channel")["$ref"].(string), "#/channels/")] = true
		}
		if operation["action"] != want {
			t.Errorf("%s: action %v, want %s", name, operation["action"], want)
		}
		if find(t, operation, "bindings", "nats")["bindingVersion"] != "0.1.0" {
			t.Errorf("%s has no NATS binding", name)
		}
		var messages []string
		for m := range find(t, doc, "channels", strings.TrimPrefix(channel, "#/channels/"), "messages") {
			messages = append(messages, channel+"/messages/"+m)
		}
		slices.Sort(messages)
		if diff := cmp.Diff(messages, references(operation["messages"])); diff != "" {
			t.Errorf("%s: messages (-channel +operation):\n%s", name, diff)
		}
	}
	if diff := cmp.Diff(members(find(t, doc, "channels")), slices.Sorted(maps.Keys(served))); diff != "" {
		t.Errorf("channels (-described +served):\n%s", diff)
	}
}

// payloads compiles the payload that the document gives for a message, with the schemas it refers to.
func payloads(t *testing.T) func(message string) *jsonschema.Schema {
	t.Helper()
	const base = "https://subrelay.invalid/schemas/"
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	names, err := fs.Glob(schemas.Files(), "*.json")
	if err != nil {
		t.Fatal(err)
	}
	of, err := fs.Glob(schemas.Files(), "queries/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, of...) {
		if err := c.AddResource(base+name, readJSON(t, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.AddResource(base+"asyncapi.yaml", asyncAPI(t)); err != nil {
		t.Fatal(err)
	}
	return func(message string) *jsonschema.Schema {
		t.Helper()
		s, err := c.Compile(base + "asyncapi.yaml#/components/messages/" + message + "/payload/schema")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// command is a command of a kind with all that it may have.
func command(t *testing.T, kind events.Kind) event.Event {
	t.Helper()
	e := event.New()
	e.SetID("inv-42")
	e.SetSource("/billing")
	e.SetType(events.CommandType(kind))
	e.SetSubject("C-1")
	e.SetTime(time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC))
	e.SetExtension(events.ExtExpiry, time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC))
	data := full(values[kind].data())
	if r, ok := data.(*events.RenewData); ok {
		r.Days = 0
	}
	if err := e.SetData(event.ApplicationJSON, data); err != nil {
		t.Fatal(err)
	}
	return e
}

// Events as we write them must satisfy the payloads of the document, and no other message's.
func TestAsyncAPIPayloadsDescribeOurEvents(t *testing.T) {
	sent := map[string]event.Event{}
	for _, spec := range events.Specs() {
		for _, status := range events.Statuses() {
			o := fullOutcome(t, spec, status)
			o.Source = "/subrelay"
			o.TraceParent, o.TraceState = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=b"
			e, err := o.Event()
			if err != nil {
				t.Fatal(err)
			}
			sent[string(spec.Kind)+"."+string(status)] = e
		}
		sent[string(spec.Kind)] = command(t, spec.Kind)
	}
	for _, state := range events.ChargeStates() {
		charge := full(&events.NetflixCharge{}).(*events.NetflixCharge)
		charge.ChargeStatus = state
		e, err := charge.Event("/subrelay")
		if err != nil {
			t.Fatal(err)
		}
		sent["netflix-charge."+events.ChargeStatus(state)] = e
	}
	payload := payloads(t)
	for message := range sent {
		schema := payload(message)
		for name, e := range sent {
			raw, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(value); (err == nil) != (name == message) {
				t.Errorf("the event %s as message %s: %v\n%s", name, message, err, raw)
			}
		}
	}
}

func TestAsyncAPIExamplesAreValid(t *testing.T) {
	doc := asyncAPI(t)
	payload, found := payloads(t), 0
	for name := range find(t, doc, "components", "messages") {
		message := find(t, doc, "components", "messages", name)
		examples, _ := message["examples"].([]any)
		for _, example := range examples {
			found++
			if err := payload(name).Validate(example.(map[string]any)["payload"]); err != nil {
				t.Errorf("the example of %s: %v", name, err)
			}
		}
		if title, _ := message["name"].(string); strings.HasPrefix(title, "subrelay.") && title != "subrelay."+name+".v1" {
			t.Errorf("the message %s has the name %s", name, title)
		}
	}
	if found == 0 {
		t.Error("no examples")
	}
}
