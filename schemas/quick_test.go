package schemas

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// Every schema must have its quick form, which accepts every valid sample and none of the others. Where it is unsure the
// checker decides; TestInvalidSamples and FuzzValidate hold the two against each other.
func TestQuickForms(t *testing.T) {
	set, err := New()
	if err != nil {
		t.Fatal(err)
	}
	for typ := range set.byType {
		if compiled(t, set, typ).quick == nil {
			t.Errorf("%s uses a keyword that the quick form does not know", typ)
		}
	}
	for dir, want := range map[string]bool{"valid": true, "invalid": false} {
		names, err := filepath.Glob(filepath.Join("testdata", dir, "*.json"))
		if err != nil || len(names) == 0 {
			t.Fatal(dir, err)
		}
		for _, name := range names {
			s, data := readSample(t, name)
			if set.Known(s) && compiled(t, set, s).quick.accepts(data) != want {
				t.Errorf("%s: accepted %v, want %v", name, !want, want)
			}
		}
	}
}

func compiled(t *testing.T, set *Set, typ string) *schema {
	t.Helper()
	s, err := set.byType[typ]()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func readSample(t testing.TB, name string) (typ string, data any) {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Type string
		Data json.RawMessage
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	if data, err = Decode(s.Data); err != nil {
		t.Fatal(err)
	}
	return s.Type, data
}

func FuzzQuick(f *testing.F) {
	set, err := New()
	if err != nil {
		f.Fatal(err)
	}
	names, _ := filepath.Glob(filepath.Join("testdata", "*", "*.json"))
	for _, name := range names {
		_, data := readSample(f, name)
		raw, _ := json.Marshal(data)
		f.Add(raw)
	}
	f.Add([]byte(`{"user_id":"u","months":-0,"days":1}`))
	f.Add([]byte(`{"user_id":"u","months":1.0}`))
	f.Add([]byte(`{"user_id":"u","months":1e1}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := Decode(raw)
		if err != nil {
			return
		}
		for typ := range set.byType {
			s := compiled(t, set, typ)
			if problems := s.check(v); s.quick.accepts(v) && problems != nil {
				t.Errorf("%s accepts %s, and the checker finds %v", typ, raw, problems)
			}
		}
	})
}
