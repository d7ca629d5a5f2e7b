package events

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// repeatsMembers reports whether an object in raw, which is valid JSON, has two members of one name.
func repeatsMembers(raw []byte) bool {
	if repeated, sure := repeatsByGlance(raw); sure {
		return repeated
	}
	return repeatsByToken(raw)
}

// manyMembers is more members than an object has that is read at a glance.
const manyMembers = 64

// repeatsByGlance is repeatsMembers as most commands allow it: without an allocation for each token. It is not sure of
// names with escapes or letters beyond ASCII, which may be one name in several spellings, nor of objects with very many
// members.
func repeatsByGlance(raw []byte) (repeated, sure bool) {
	names := make([][]byte, 0, manyMembers) // of all objects that are open
	objects := make([]int, 0, 16)           // where in names those of each begin
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '{':
			objects = append(objects, len(names))
		case '}':
			last := len(objects) - 1
			names, objects = names[:objects[last]], objects[:last]
		case '"':
			end := endOfQuoted(raw, i+1)
			name := raw[i+1 : end-1]
			i = end - 1
			if next := skip(raw, end, blank); next >= len(raw) || raw[next] != ':' {
				continue // a value
			}
			own := names[objects[len(objects)-1]:]
			if !plainName(name) || len(own) == manyMembers {
				return false, false
			}
			for _, other := range own {
				if bytes.Equal(other, name) {
					return true, true
				}
			}
			names = append(names, name)
		}
	}
	return false, true
}

func plainName(name []byte) bool {
	for _, c := range name {
		if c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// repeatsByToken is repeatsMembers for any JSON, at leisure.
func repeatsByToken(raw []byte) bool {
	type level struct {
		names map[string]bool // nil in a list
		value bool            // a member's value comes next
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	levels := []level{{}}
	for {
		token, err := d.Token()
		if err != nil {
			return false
		}
		top := &levels[len(levels)-1]
		if name, ok := token.(string); ok && top.names != nil && !top.value {
			if top.names[name] {
				return true
			}
			top.names[name], top.value = true, true
			continue
		}
		switch token {
		case json.Delim('{'):
			levels = append(levels, level{names: map[string]bool{}})
			continue
		case json.Delim('['):
			levels = append(levels, level{})
			continue
		case json.Delim('}'), json.Delim(']'):
			levels = levels[:len(levels)-1]
			top = &levels[len(levels)-1]
		}
		top.value = false
	}
}
