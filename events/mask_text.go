package events

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxName is more than the longest spelling of a name takes, in bytes.
const maxName = 128

// extent is how far what follows a name is its value.
type extent int

const (
	word  extent = iota // a credential: up to white space or punctuation
	line                // what may hold spaces and commas: up to the end of the line, of the parameter or of the element
	whole               // an object: where it closes cannot be told, so all that follows, unless it is in quotes
)

// naming is a place in a text where a name stands.
type naming struct {
	begin, end int
	value      extent
}

// maskText masks in text that is no JSON, or not whole, what looks like a name and its value: "name": value, name=value,
// name: value and <name>value. A value that begins an object or a list goes on to the end, since where it closes cannot
// be told. The search goes on within the end of a value: what looked like a value may be the next name.
func (m masker) maskText(raw []byte) []byte {
	var out []byte
	done, at := 0, 0 // raw up to done is in out; the next name begins at at or later
	for _, n := range m.namings(raw) {
		if n.begin < at {
			continue
		}
		begin, end, ok := valueOf(raw, n)
		if !ok {
			continue
		}
		if begin >= done {
			out = append(append(out, raw[done:begin]...), '"')
			out = append(append(out, Masked...), '"')
		}
		done = max(done, end)
		at = max(begin, done-maxName)
	}
	if out == nil {
		return raw
	}
	return append(out, raw[done:]...)
}

// namings finds every name in raw, in order.
func (m masker) namings(raw []byte) []naming {
	s := spell(raw)
	all := s.find(nil, secretNames, word)
	if m.personal {
		all = s.find(all, personalNames, line)
		all = s.find(all, personalObjects, whole)
		all = s.find(all, []string{accountObject}, whole)
		if bytes.Contains(s.folded, []byte("passcode")) || bytes.Contains(s.folded, []byte("authenticationcode")) {
			all = s.find(all, []string{besideCode}, line)
		}
	}
	slices.SortFunc(all, func(a, b naming) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(b.end, a.end), cmp.Compare(b.value, a.value))
	})
	return all
}

// spelling is a text as names are compared: folded, and each folded letter with the place where it stood.
type spelling struct {
	folded      []byte
	begins, end []int
}

// spell folds raw as foldName does, with letters that are escaped as in JSON or coded as in a URL.
func spell(raw []byte) spelling {
	s := spelling{folded: make([]byte, 0, len(raw)), begins: make([]int, 0, len(raw)), end: make([]int, 0, len(raw))}
	for i := 0; i < len(raw); {
		r, width := letter(raw[i:])
		if c, skip := foldRune(r); !skip {
			s.folded, s.begins, s.end = append(s.folded, c), append(s.begins, i), append(s.end, i+width)
		}
		i += width
	}
	return s
}

// letter is the first character of raw, which may be written as \u0074 or %74, and its width.
func letter(raw []byte) (r rune, width int) {
	switch {
	case raw[0] == '\\' && len(raw) >= 6 && raw[1]|0x20 == 'u':
		if code, err := strconv.ParseUint(string(raw[2:6]), 16, 16); err == nil {
			return rune(code), 6
		}
	case raw[0] == '%' && len(raw) >= 3:
		if code, err := strconv.ParseUint(string(raw[1:3]), 16, 8); err == nil && code < utf8.RuneSelf {
			return rune(code), 3
		}
	case raw[0] >= utf8.RuneSelf:
		return utf8.DecodeRune(raw)
	}
	return rune(raw[0]), 1
}

// find appends the places of all names.
func (s spelling) find(all []naming, names []string, value extent) []naming {
	for _, name := range names {
		for from := 0; ; {
			i := bytes.Index(s.folded[from:], []byte(name))
			if i < 0 {
				break
			}
			first := from + i
			all = append(all, naming{s.begins[first], s.end[first+len(name)-1], value})
			from = first + 1
		}
	}
	return all
}

// valueOf finds the value that follows a name, behind what separates the two.
func valueOf(raw []byte, n naming) (begin, end int, ok bool) {
	i := skip(raw, n.end, `\`)
	if i < len(raw) && (raw[i] == '"' || raw[i] == '\'') {
		i++
	}
	i = skip(raw, i, blank)
	switch {
	case i >= len(raw):
		return 0, 0, false
	case raw[i] == ':' || raw[i] == '=' || raw[i] == '>':
		i++
	case len(raw)-i >= 3 && raw[i] == '%' && raw[i+1] == '3' && (raw[i+2]|0x20 == 'a' || raw[i+2]|0x20 == 'd'):
		i += 3
	default:
		return 0, 0, false
	}
	begin = skip(raw, i, blank)
	end = endOf(raw, begin, n.value)
	return begin, end, end > begin
}

// blank is white space.
const blank = " \t\n\f\r"

func skip(raw []byte, i int, chars string) int {
	for i < len(raw) && strings.IndexByte(chars, raw[i]) >= 0 {
		i++
	}
	return i
}

// endOf is where the value ends that begins at begin; begin itself where there is none.
func endOf(raw []byte, begin int, value extent) int {
	if begin >= len(raw) {
		return begin
	}
	if quote := skip(raw, begin, `\`); quote < len(raw) && raw[quote] == '"' {
		return endOfQuoted(raw, quote+1)
	}
	switch c := raw[begin]; {
	case c == '\'':
		return begin + 1 + upTo(raw[begin+1:], "'", 1)
	case c == '{' || c == '[' || value == whole:
		return len(raw)
	case value == line:
		return begin + upTo(raw[begin:], "\r\n&<}", 0)
	}
	return endOfWord(raw, begin)
}

// endOfQuoted is where a string ends that goes on at i: behind the next quote that is not escaped.
func endOfQuoted(raw []byte, i int) int {
	for ; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(raw)
}

// endOfWord is where a credential ends, which may have the scheme of an Authorization header before it.
func endOfWord(raw []byte, begin int) int {
	const stops = blank + ",;&}]<"
	end := begin + upTo(raw[begin:], stops, 0)
	for _, scheme := range []string{"bearer", "basic", "digest"} {
		if bytes.EqualFold(raw[begin:end], []byte(scheme)) {
			next := skip(raw, end, blank)
			if further := next + upTo(raw[next:], stops, 0); further > next {
				return further
			}
		}
	}
	return end
}

// upTo is the length of raw up to the first of chars, and so many bytes more; all of raw where there is none.
func upTo(raw []byte, chars string, more int) int {
	if i := bytes.IndexAny(raw, chars); i >= 0 {
		return i + more
	}
	return len(raw)
}
