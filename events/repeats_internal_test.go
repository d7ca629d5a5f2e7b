package events

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestRepeatsMembers(t *testing.T) {
	var many []string
	for i := range 2 * manyMembers {
		many = append(many, fmt.Sprintf(`"m%d":0`, i))
	}
	for raw, want := range map[string]bool{
		`{}`: false, `[]`: false, `"a"`: false, `7`: false, `{"a":1,"b":"a","A":"\"a\":"}`: false,
		`{"a":{"a":{"a":[{"a":1},{"a":2}]}},"b":{"a":1}}`: false,
		`{"a":1,"a":2}`: true, `{"a":{"b":1},"c":[{"b":1, "b" : 2}]}`: true, `{"a":{"x":1},"a":{}}`: true, `[[{"":1,"":2}]]`: true,
		`{"a":1,"\u0061":2}`: true, `{"\u0061":1,"\u0062":2}`: false, `{"a\"":1,"a\"":2}`: true,
		"{\"\xff\":1,\"\xfe\":2}":                  true, // both are read as U+FFFD
		"{" + strings.Join(many, ",") + "}":        false,
		"{" + strings.Join(many, ",") + `,"m0":1}`: true,
	} {
		if got := repeatsMembers([]byte(raw)); got != want {
			t.Errorf("%.80s: %v, want %v", raw, got, want)
		}
	}
}

func FuzzRepeatsMembers(f *testing.F) {
	for _, raw := range []string{`{"a":1,"a":2}`, `{"a":{"b":1},"c":[{"b":1,"b":2}]}`, `[{"a":"\\"},{"a\u0000":"\":"}]`, " {\t\"a\"\r:\n1 } "} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			return
		}
		if got, sure := repeatsByGlance(raw); sure && got != repeatsByToken(raw) {
			t.Errorf("at a glance %q repeats members: %v", raw, got)
		}
	})
}
