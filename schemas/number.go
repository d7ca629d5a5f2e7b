package schemas

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// maxNumber is the longest spelling of a number that is checked as it stands, in bytes.
const maxNumber = 32

// tame is value with each number of monstrous size or precision replaced by a small one that breaks the same rules. The
// checker computes exactly, and one number of 250,000 digits, or one like 1e1000000, would keep it busy for a second.
// A value without such numbers comes back as it is.
func tame(value any) any {
	if !monstrous(value) {
		return value
	}
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, member := range v {
			out[name] = tame(member)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = tame(item)
		}
		return out
	case json.Number:
		return standIn(v)
	}
	return value
}

// monstrous reports whether value holds a number that tame replaces.
func monstrous(value any) bool {
	switch v := value.(type) {
	case json.Number:
		return len(v) > maxNumber || exponentDigits(string(v)) > 2
	case map[string]any:
		for _, member := range v {
			if monstrous(member) {
				return true
			}
		}
	case []any:
		for _, item := range v {
			if monstrous(item) {
				return true
			}
		}
	}
	return false
}

func exponentDigits(number string) int {
	i := strings.IndexAny(number, "eE")
	if i < 0 {
		return 0
	}
	return len(strings.TrimLeft(number[i+1:], "+-"))
}

// standIn is a number beyond every bound for one that is huge, and one that is no integer for all others.
func standIn(n json.Number) json.Number {
	f, _ := strconv.ParseFloat(string(n), 64) // beyond the range it is infinite
	switch {
	case f >= math.MaxInt32:
		return "1e30"
	case f <= math.MinInt32:
		return "-1e30"
	case f < 0:
		return "-0.5"
	}
	return "0.5"
}
