package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
)

// unmarshal is json.Unmarshal that takes integers as JSON Schema does, in whatever spelling: 3.0 and 0.3e1 are 3.
func unmarshal(data []byte, into any) error {
	err := json.Unmarshal(data, into)
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return err
	}
	plain := plainIntegers(data)
	if bytes.Equal(plain, data) {
		return err
	}
	return json.Unmarshal(plain, into)
}

// plainIntegers is valid JSON with each number that is an integer in another spelling written as Go takes it.
func plainIntegers(raw []byte) []byte {
	var out []byte
	done := 0
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '"':
			i = endOfQuoted(raw, i+1) - 1
		case c == '-' || '0' <= c && c <= '9':
			end := i + 1
			for end < len(raw) && strings.IndexByte("0123456789.eE+-", raw[end]) >= 0 {
				end++
			}
			if plain, ok := plainInteger(string(raw[i:end])); ok {
				out = append(append(out, raw[done:i]...), plain...)
				done = end
			}
			i = end - 1
		}
	}
	return append(out, raw[done:]...)
}

// plainInteger is a number in plain digits; not ok where it is no integer, or has more digits than a float64 can tell.
func plainInteger(number string) (plain string, ok bool) {
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return "", false
	}
	return strconv.FormatInt(int64(f), 10), true
}
