package schemas_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
	"subrelay/schemas"
)

// sample is a file under testdata: the data of an event of a type, and every problem it has.
type sample struct {
	Type     string          `json:"type"`
	Data     json.RawMessage `json:"data"`
	Problems []string        `json:"problems"`
}

func samples(t testing.TB, dir string) map[string]sample {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", dir, "*.json"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no samples in testdata/%s: %v", dir, err)
	}
	out := map[string]sample{}
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var s sample
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[strings.TrimSuffix(filepath.Base(name), ".json")] = s
	}
	if dir == "valid" {
		maps.Copy(out, ofAllKinds(t, out))
	}
	return out
}

// ofAllKinds are the samples of outcomes that renewals have, as they are of every other kind. Only results differ by kind:
// they have samples of their own.
func ofAllKinds(t testing.TB, of map[string]sample) map[string]sample {
	t.Helper()
	all := map[string]sample{}
	for name, s := range of {
		for _, spec := range events.Specs() {
			var o map[string]any
			status, ok := strings.CutPrefix(s.Type, "subrelay.renew.")
			if !ok || status == "v1" || status == "succeeded.v1" || spec.Kind == events.Renew {
				continue
			}
			if err := json.Unmarshal(s.Data, &o); err != nil {
				t.Fatal(err)
			}
			o["command"].(map[string]any)["kind"], o["upstream"] = spec.Kind, spec.Upstream
			data, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			all[string(spec.Kind)+"."+name] = sample{Type: "subrelay." + string(spec.Kind) + "." + status, Data: data}
		}
	}
	return all
}

func newSet(t testing.TB) *schemas.Set {
	t.Helper()
	set, err := schemas.New()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func decode(t testing.TB, data []byte) any {
	t.Helper()
	v, err := schemas.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// allTypes is the type of every event that has data: commands and outcomes of every kind, and charges.
func allTypes() (types []string) {
	for _, spec := range events.Specs() {
		types = append(types, events.CommandType(spec.Kind))
		for _, status := range events.Statuses() {
			types = append(types, events.OutcomeType(spec.Kind, status))
		}
	}
	for _, state := range events.ChargeStates() {
		types = append(types, events.ChargeType(state))
	}
	return types
}

func TestEveryTypeHasASchemaAndSamples(t *testing.T) {
	set := newSet(t)
	valid := map[string]bool{}
	for _, s := range samples(t, "valid") {
		valid[s.Type] = true
	}
	for _, typ := range allTypes() {
		if !set.Known(typ) {
			t.Errorf("no schema for %s", typ)
		}
		if !valid[typ] {
			t.Errorf("no valid sample of %s", typ)
		}
	}
	for _, typ := range []string{"", "subrelay.renew.v2", "subrelay.outcome.v1", "subrelay.renew", "renew.v1", "subrelay.crmcom.v1"} {
		if set.Known(typ) {
			t.Errorf("Known(%q) = true", typ)
		}
	}
}

func TestValidSamples(t *testing.T) {
	set := newSet(t)
	for name, s := range samples(t, "valid") {
		t.Run(name, func(t *testing.T) {
			if got := set.Validate(s.Type, decode(t, s.Data)); got != nil {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestInvalidSamples(t *testing.T) {
	set := newSet(t)
	for name, s := range samples(t, "invalid") {
		t.Run(name, func(t *testing.T) {
			got := schemas.Strings(set.Validate(s.Type, decode(t, s.Data)))
			if diff := cmp.Diff(s.Problems, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProblemsNeverShowValues(t *testing.T) {
	set := newSet(t)
	const secret = "s3cr3t-v4lue"
	for _, data := range []string{
		`"` + secret + `"`,
		`{"user_id":"` + strings.Repeat(secret, 20) + `","months":"` + secret + `"}`,
		`{"user_id":"` + secret + `\u0000","months":1,"password":"` + secret + `"}`,
		`{"user_id":{"` + "x" + `":"` + secret + `"},"from_expire_date":"` + secret + `"}`,
	} {
		for _, p := range set.Validate(events.CommandType(events.Renew), decode(t, []byte(data))) {
			if strings.Contains(p.String(), secret) {
				t.Errorf("the problem %q shows a value", p)
			}
		}
	}
}

// Neither may what is wrong with a command show anything of it, whatever stands wherever: the sentences travel in outcomes
// and dead letters.
func TestNothingThatIsSaidShowsAValue(t *testing.T) {
	set := newSet(t)
	const value = "P3rs0nal-V4lue"
	wrong := []any{
		value, value + "\u0000", strings.Repeat(value, 100), "2026-" + value, map[string]any{"x": value}, map[string]any{}, []any{value}, nil, true,
		json.Number("77001"), json.Number("-7.7001e3"), value + "@", value + "@example.org",
	}
	said := 0
	for name, s := range samples(t, "valid") {
		kind, isCommand := events.KindOfType(s.Type)
		if !isCommand {
			continue
		}
		for _, w := range wrong {
			replaced := everywhere(decode(t, s.Data), w)
			for _, data := range replaced {
				for _, p := range set.Validate(s.Type, data) {
					said++
					if text := p.String(); strings.Contains(text, value) || strings.Contains(text, "7001") {
						t.Errorf("%s: the problem %q shows a value", name, text)
					}
				}
				raw, err := json.Marshal(data)
				if err != nil {
					t.Fatal(err)
				}
				err = readers[kind]("subject", raw)
				if code := events.AsError(err).Code; err != nil && code != events.CodeKeyMismatch && strings.Contains(err.Error(), value) {
					t.Errorf("%s: the reader says %v", name, err)
				}
			}
		}
	}
	if said < 1000 {
		t.Errorf("only %d problems were found: the values are not wrong enough", said)
	}
}

// everywhere is value with each of its members and items, one at a time, replaced by another.
func everywhere(value, other any) (all []any) {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			for _, changed := range append(everywhere(member, other), other) {
				next := maps.Clone(v)
				next[name] = changed
				all = append(all, next)
			}
		}
	case []any:
		for i, item := range v {
			for _, changed := range append(everywhere(item, other), other) {
				next := slices.Clone(v)
				next[i] = changed
				all = append(all, next)
			}
		}
	}
	return all
}

func TestManyProblemsAreCounted(t *testing.T) {
	set := newSet(t)
	data := map[string]any{"user_id": "u", "months": json.Number("1")}
	for i := range 5000 {
		data[fmt.Sprintf("m%04d", i)] = nil
	}
	data[strings.Repeat("ä", 100000)] = nil
	got := set.Validate(events.CommandType(events.Renew), data)
	if len(got) != schemas.MaxProblems+1 {
		t.Fatalf("%d problems, want %d", len(got), schemas.MaxProblems+1)
	}
	if last, want := got[len(got)-1], (schemas.Problem{Message: "and 4901 more problems"}); last != want {
		t.Errorf("the last problem is %q, want %q", last, want)
	}
	if n := len(strings.Join(schemas.Strings(got), "")); n > 32<<10 {
		t.Errorf("the problems take %d bytes", n)
	}
}

func TestLongAndOddNames(t *testing.T) {
	set := newSet(t)
	data := map[string]any{"user_id": "u", "months": json.Number("1"), "x" + strings.Repeat("ä", 1000): nil, "a\nb": nil}
	want := []string{
		"#/a\uFFFDb: is not a member we know",
		"#/x" + strings.Repeat("ä", 31) + "…: is not a member we know",
	}
	if diff := cmp.Diff(want, schemas.Strings(set.Validate(events.CommandType(events.Renew), data))); diff != "" {
		t.Error(diff)
	}
}

// Numbers that no machine holds must neither crash the check nor pass it. (Where they were worked out, the test would
// not end.)
func TestMonstrousNumbers(t *testing.T) {
	set := newSet(t)
	digits := strings.Repeat("9", 200000)
	for _, number := range []string{"1e999999999999", "-1e999999999", "1e1000000", "1e-1000000", "1e-999999999", digits, "-" + digits, "1." + digits, "0." + digits, "1.5e-5"} {
		data := decode(t, fmt.Appendf(nil,
			`{"user_id":"u","months":%s,"attempt":%[1]s,"command":{"seq":%[1]s},"spent":{"attempts":%[1]s},"result":{"months":%[1]s},
			"udf_float_1":%[1]s,"validity_duration":%[1]s,"services_to_add_set":[{"period_billed_in_advance":%[1]s}]}`, number))
		for _, typ := range allTypes() {
			if len(set.Validate(typ, data)) == 0 {
				t.Errorf("%s accepts the number %.20s", typ, number)
			}
		}
	}
}

func TestDecode(t *testing.T) {
	t.Run("OK", func(t *testing.T) {
		got, err := schemas.Decode([]byte(" {\"n\": 10000000000000000001, \"l\": [null, true]}\n\t "))
		want := map[string]any{"n": json.Number("10000000000000000001"), "l": []any{nil, true}}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v %s", err, diff)
		}
	})
	for name, data := range map[string]string{
		"ErrEmpty": "", "ErrBlank": " \n", "ErrText": "renew", "ErrCut": `{"months":1`, "ErrTwo": `{} {}`, "ErrGarbage": `{}]`,
		"ErrComma": `{"a":1,}`, "ErrHTML": "<html>", "ErrNUL": "{}\x00",
	} {
		t.Run(name, func(t *testing.T) {
			if v, err := schemas.Decode([]byte(data)); err == nil {
				t.Errorf("Decode(%q) = %v", data, v)
			}
		})
	}
}

func FuzzValidate(f *testing.F) {
	set := newSet(f)
	for _, dir := range []string{"valid", "invalid"} {
		for _, s := range samples(f, dir) {
			f.Add([]byte(s.Data))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := schemas.Decode(data)
		if err != nil {
			return
		}
		for _, typ := range allTypes() {
			for _, p := range set.Validate(typ, v) {
				if p.Message == "" || strings.HasPrefix(p.Message, "breaks the rule") {
					t.Errorf("%s: no message for people: %q", typ, p)
				}
			}
		}
		agrees(t, set, v, data)
	})
}

// agrees fails where a command that satisfies its schema is not read, for a reason that the schema could have found, or
// is read as something that means nothing.
func agrees(t *testing.T, set *schemas.Set, v any, data []byte) {
	t.Helper()
	for kind, read := range readers {
		if set.Validate(events.CommandType(kind), v) != nil {
			continue
		}
		switch err := read("C-1", data); {
		case err == nil || events.AsError(err).Code == events.CodeKeyMismatch:
		case !slices.ContainsFunc(beyondSchemas, func(part string) bool { return strings.Contains(events.AsError(err).Message, part) }):
			t.Errorf("%s is a valid %s and cannot be read: %v", data, kind, err)
		}
	}
	var r events.RenewData
	if set.Validate(events.CommandType(events.Renew), v) != nil || json.Unmarshal(data, &r) != nil {
		return
	}
	if r.Customer() == "" || (r.Months > 0) == (r.Days > 0) {
		t.Errorf("%s is valid and means %+v", data, r)
	}
}

// beyondSchemas is what readers refuse that no schema states: the rules of events.ReadAmend and the others. A schema sees
// only the last of members that are given twice, so that the first may have the wrong type.
var beyondSchemas = []string{"has the wrong type", "holds a number of more than", "a member twice", "the charge", "installed items cannot be added"}

func reader[T any](read func(string, json.RawMessage) (T, error)) func(string, json.RawMessage) error {
	return func(subject string, data json.RawMessage) error {
		_, err := read(subject, data)
		return err
	}
}

// readers read the data of each kind of command.
var readers = map[events.Kind]func(string, json.RawMessage) error{
	events.Renew: reader(events.ReadRenew), events.Amend: reader(events.ReadAmend), events.Swap: reader(events.ReadSwap),
	events.NetflixCreate: reader(events.ReadNetflixCreate), events.NetflixSuspend: reader(events.ReadNetflixCustomer),
	events.NetflixUnsuspend: reader(events.ReadNetflixCustomer), events.NetflixCancel: reader(events.ReadNetflixCustomer),
	events.NetflixAcknowledge: reader(events.ReadNetflixCharges), events.NetflixAccept: reader(events.ReadNetflixCharges),
	events.NetflixDecline: reader(events.ReadNetflixCharges),
}

func BenchmarkValidate(b *testing.B) {
	set := newSet(b)
	for _, name := range []string{"renew.full", "swap", "amend.full", "netflix-create.full", "started"} {
		s := samples(b, "valid")[name]
		v := decode(b, s.Data)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if set.Validate(s.Type, v) != nil {
					b.Fatal("not valid")
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	s := samples(b, "valid")["renew.full"]
	b.ReportAllocs()
	for b.Loop() {
		if _, err := schemas.Decode(s.Data); err != nil {
			b.Fatal(err)
		}
	}
}
