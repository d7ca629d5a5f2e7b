package sandbox

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

// shape is the JSON type of a value.
type shape byte

// The shapes. A raw value comes from a query string, where a number cannot be told from a text.
const (
	isNull shape = iota
	isText
	isNumber
	isBoolean
	isArray
	isObject
	isRaw
)

// value is a JSON value, or a member of an object. Reading one takes a fraction of what a map takes, keeps duplicate
// names to be refused, and tells a number from its text.
type value struct {
	name  string // of a member
	shape shape
	text  string  // the text, or the literal as it was written
	of    []value // elements or members
}

// readValue reads one JSON value.
func readValue(raw []byte) (value, error) {
	if !json.Valid(raw) || !utf8.Valid(raw) {
		return value{}, errors.New("the body is no JSON")
	}
	r := reader{text: string(raw)}
	return r.value(), nil
}

// reader reads JSON that is known to be valid.
type reader struct {
	text string
	at   int
}

func (r *reader) value() value {
	switch c := r.peek(); c {
	case '{', '[':
		return r.composite(c == '{')
	case '"':
		return value{shape: isText, text: r.string()}
	}
	start := r.at
	for r.at < len(r.text) && !strings.ContainsRune(" \t\r\n,]}", rune(r.text[r.at])) {
		r.at++
	}
	literal := r.text[start:r.at]
	switch literal {
	case "null":
		return value{}
	case "true", "false":
		return value{shape: isBoolean, text: literal}
	}
	return value{shape: isNumber, text: literal}
}

// composite reads an object or an array.
func (r *reader) composite(object bool) value {
	v := value{shape: isArray}
	if object {
		v.shape = isObject
	}
	r.at++ // the bracket that opens
	for {
		switch r.peek() {
		case ',':
			r.at++
			continue
		case '}', ']':
			r.at++
			return v
		}
		if v.of == nil {
			v.of = make([]value, 0, 4)
		}
		var name string
		if object {
			name = r.string()
			r.peek()
			r.at++ // the colon
		}
		member := r.value()
		member.name = name
		v.of = append(v.of, member)
	}
}

// peek is the next byte that is no white space.
func (r *reader) peek() byte {
	for {
		switch c := r.text[r.at]; c {
		case ' ', '\t', '\r', '\n':
			r.at++
		default:
			return c
		}
	}
}

func (r *reader) string() string {
	start := r.at
	r.at++
	for escaped := false; ; r.at++ {
		switch r.text[r.at] {
		case '\\':
			escaped = true
			r.at++
		case '"':
			r.at++
			if !escaped {
				return r.text[start+1 : r.at-1]
			}
			var s string
			_ = json.Unmarshal([]byte(r.text[start:r.at]), &s) // it is valid
			return s
		}
	}
}

// get is the member with this name, or nil.
func (v *value) get(name string) *value {
	if v == nil {
		return nil
	}
	for i := range v.of {
		if v.of[i].name == name {
			return &v.of[i]
		}
	}
	return nil
}

// string is the text of the member with this name; "" where there is none.
func (v *value) string(name string) string {
	if m := v.get(name); m != nil {
		return m.text
	}
	return ""
}

// elements is the elements of the member with this name; none where there is none.
func (v *value) elements(name string) []value {
	if m := v.get(name); m != nil {
		return m.of
	}
	return nil
}
