package schemas_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
	"subrelay/schemas"
)

func readJSON(t testing.TB, name string) map[string]any {
	t.Helper()
	raw, err := fs.ReadFile(schemas.Files(), name)
	if err != nil {
		t.Fatal(err)
	}
	doc, ok := decode(t, raw).(map[string]any)
	if !ok {
		t.Fatalf("%s is no object", name)
	}
	return doc
}

// find walks down a document by member names.
func find(t *testing.T, doc map[string]any, path ...string) map[string]any {
	t.Helper()
	for _, name := range path {
		next, ok := doc[name].(map[string]any)
		if !ok {
			t.Fatalf("no object %q on the way %v", name, path)
		}
		doc = next
	}
	return doc
}

func members(m map[string]any) []string {
	names := []string{}
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// fields lists the JSON names of a struct's fields, and those that are always written.
func fields(typ reflect.Type) (all, always []string) {
	all, always = []string{}, []string{}
	for i := range typ.NumField() {
		name, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		all = append(all, name)
		if options == "" {
			always = append(always, name)
		}
	}
	slices.Sort(all)
	slices.Sort(always)
	return all, always
}

func TestGoTypesAndSchemasHaveTheSameMembers(t *testing.T) {
	for _, tc := range []struct {
		value any
		file  string
		path  []string
	}{
		{events.RenewData{}, "renew.v1.json", nil},
		{events.RenewResult{}, "renew.succeeded.v1.json", []string{"properties", "result"}},
		{events.Outcome{}, "outcome.v1.json", nil},
		{events.Ref{}, "outcome.v1.json", []string{"$defs", "command"}},
		{events.Failure{}, "outcome.v1.json", []string{"$defs", "error"}},
		{events.Start{}, "outcome.v1.json", []string{"$defs", "start"}},
		{events.Deferral{}, "outcome.v1.json", []string{"$defs", "deferral"}},
		{events.Spent{}, "outcome.v1.json", []string{"$defs", "spent"}},
		{events.Resolution{}, "outcome.v1.json", []string{"$defs", "resolution"}},
	} {
		typ := reflect.TypeOf(tc.value)
		t.Run(typ.Name(), func(t *testing.T) {
			object := find(t, readJSON(t, tc.file), tc.path...)
			all, always := fields(typ)
			if diff := cmp.Diff(all, members(find(t, object, "properties"))); diff != "" {
				t.Errorf("members (-Go +schema):\n%s", diff)
			}
			if object["additionalProperties"] != false {
				t.Error("the schema lets other members pass")
			}
			required, _ := object["required"].([]any)
			for _, name := range always {
				if !slices.Contains(required, any(name)) {
					t.Errorf("Go always writes %q and the schema does not require it", name)
				}
			}
			if len(required) != len(always) {
				t.Errorf("the schema requires %v and Go always writes %v", required, always)
			}
		})
	}
}

func TestSchemaHasTheBoundsOfTheCode(t *testing.T) {
	for name, want := range map[string]int{"months": events.MaxMonths, "days": events.MaxDays} {
		for _, props := range []map[string]any{
			find(t, readJSON(t, "renew.v1.json"), "properties", name),
			find(t, readJSON(t, "renew.succeeded.v1.json"), "properties", "result", "properties", name),
		} {
			if got, _ := props["maximum"].(json.Number).Int64(); int(got) != want {
				t.Errorf("%s: the schema's maximum is %d, the code's %d", name, got, want)
			}
		}
	}
	var want []any
	for _, s := range events.Statuses() {
		want = append(want, string(s))
	}
	if diff := cmp.Diff(want, find(t, readJSON(t, "outcome.v1.json"), "properties", "status")["enum"]); diff != "" {
		t.Errorf("statuses (-Go +schema):\n%s", diff)
	}
}

// Every valid sample must decode strictly into its Go type, and come out again with the same members, but for those that
// say nothing.
func TestValidSamplesRoundTripThroughGo(t *testing.T) {
	for name, s := range samples(t, "valid") {
		t.Run(name, func(t *testing.T) {
			var value any = &events.Outcome{}
			if _, isCommand := events.KindOfType(s.Type); isCommand {
				value = &events.RenewData{}
			}
			d := json.NewDecoder(bytes.NewReader(s.Data))
			d.DisallowUnknownFields()
			if err := d.Decode(value); err != nil {
				t.Fatal(err)
			}
			again, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			want := decode(t, s.Data).(map[string]any)
			for _, silent := range []string{"months", "days"} {
				if want[silent] == json.Number("0") {
					delete(want, silent)
				}
			}
			if diff := cmp.Diff(any(want), decode(t, again)); diff != "" {
				t.Errorf("(-sample +Go):\n%s", diff)
			}
		})
	}
}

// fill sets every field of a struct that is still zero, so that a field added later is checked too.
func fill(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		if _, isTime := f.Interface().(time.Time); f.Kind() == reflect.Struct && !isTime {
			fill(f)
			continue
		}
		if !f.IsZero() {
			continue
		}
		switch p := f.Addr().Interface().(type) {
		case *string:
			*p = "x"
		case *int:
			*p = 1
		case *int64:
			*p = 1
		case *uint64:
			*p = 1
		case **bool:
			*p = new(bool)
		case **time.Time:
			now := time.Date(2026, 11, 22, 1, 2, 3, 456789, time.FixedZone("", 3600))
			*p = &now
		case *time.Time:
			*p = time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
		case *json.RawMessage:
			*p = json.RawMessage(`{"months":1}`)
		case *[]string:
			*p = []string{"#/months: must be at least 0"}
		default:
			fillKind(f)
		}
	}
}

func fillKind(f reflect.Value) {
	switch f.Kind() {
	case reflect.Pointer:
		f.Set(reflect.New(f.Type().Elem()))
		fill(f.Elem())
	case reflect.String:
		f.SetString("x")
	default:
		panic("no value for a field of type " + f.Type().String())
	}
}

func TestFullGoValuesAreValid(t *testing.T) {
	set := newSet(t)
	t.Run("RenewData", func(t *testing.T) {
		for _, length := range []struct{ months, days int }{{events.MaxMonths, 0}, {0, events.MaxDays}, {1, 0}, {0, 1}} {
			var data events.RenewData
			fill(reflect.ValueOf(&data).Elem())
			data.Months, data.Days = length.months, length.days
			checkGo(t, set, events.CommandType(events.Renew), data)
		}
	})
	for _, spec := range events.Specs() {
		for _, status := range events.Statuses() {
			typ := events.OutcomeType(spec.Kind, status)
			t.Run(typ, func(t *testing.T) { checkGo(t, set, typ, fullOutcome(spec, status)) })
		}
	}
}

// fullOutcome is an outcome with every member that its status may have.
func fullOutcome(spec events.Spec, status events.Status) events.Outcome {
	o := events.Outcome{Status: status, Upstream: spec.Upstream}
	o.Command.Kind = spec.Kind
	o.Command.CID = events.CID("s", "1", "k")
	fill(reflect.ValueOf(&o).Elem())
	o.Error.Code = events.CodeInternal
	if status != events.Succeeded {
		o.Result = nil
	}
	if status != events.Started {
		o.Start = nil
	}
	if status != events.Deferred {
		o.Deferral = nil
	}
	if status != events.Succeeded && status != events.Failed {
		o.Resolution = nil
	}
	if status == events.Started || status == events.Succeeded {
		o.Error = nil
	}
	return o
}

func checkGo(t *testing.T, set *schemas.Set, typ string, value any) {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if got := set.Validate(typ, decode(t, raw)); got != nil {
		t.Errorf("%s\n%v", raw, got)
	}
}
