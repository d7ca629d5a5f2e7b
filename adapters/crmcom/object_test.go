package crmcom

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"testing"
)

// objectByToken is object as the tokens of encoding/json have it.
func objectByToken(raw []byte) (map[string]string, error) {
	if !isObject(raw) || !json.Valid(raw) {
		return nil, errNoObject
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return nil, errNoObject
	}
	members := make(map[string]string)
	for dec.More() {
		name, err := dec.Token()
		key, ok := name.(string)
		var value json.RawMessage
		if err != nil || !ok || dec.Decode(&value) != nil {
			return nil, errNoObject
		}
		if _, twice := members[key]; twice {
			return nil, errTwice
		}
		members[key] = string(value)
	}
	return members, nil
}

func FuzzObject(f *testing.F) {
	for _, text := range []string{
		`{}`, `{ }`, `{"a":1}`, `{"a":{"a":1,"b":[{"a":2}]},"b":null}`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a:\"b":":"," ":"\\"}`,
		`{"\\":"\"","\"":{"x":"}:"}}`, `{"A":1,"a":2}`, `[{"a":1}]`, `{"a":1}x`, `{"a":1,}`, `{"a"}`, "{\"\xff\":1,\"\xfe\":2}", `null`, ``,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		want, wrong := objectByToken(raw)
		members, err := object(raw)
		got := make(map[string]string)
		for name, value := range members {
			got[name] = string(value)
		}
		if !errors.Is(err, wrong) || wrong == nil && !maps.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v, %v", raw, got, err, want, wrong)
		}
	})
}
