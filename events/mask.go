package events

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Masked stands where a secret or personal value was.
const Masked = "***"

// secretNames are the members of a command's data that can only be credentials. A command that carries one is refused,
// and its value is masked wherever the command is kept. Names match without case, and without separators: see foldName.
var secretNames = []string{
	"authtoken", "password", "passwd", "pwd", "token", "accesstoken", "refreshtoken", "apikey", "secret", "clientsecret",
	"authorization",
}

// IsSecretName reports whether a member or header of this name can only be a credential. A header may have the "ce-" of
// the CloudEvents bindings.
func IsSecretName(name string) bool {
	var buf [32]byte
	folded, ok := foldName(buf[:0], name)
	if !ok {
		return false
	}
	return isSecret(folded) || isSecret(bytes.TrimPrefix(folded, []byte("ce")))
}

func isSecret(folded []byte) bool {
	for _, s := range secretNames {
		if string(folded) == s {
			return true
		}
	}
	return false
}

// foldName appends name in lower case without "_", "-", "." and spaces, as far as dst has room. What does not fit, or
// holds letters that fold to none of ASCII, is no secret's name.
func foldName(dst []byte, name string) (folded []byte, ok bool) {
	for _, r := range name {
		if r == '_' || r == '-' || r == '.' || r == ' ' {
			continue
		}
		if r >= utf8.RuneSelf {
			r = unicode.ToUpper(r) // the long s, as encoding/json folds it
		}
		if r = unicode.ToLower(r); r >= utf8.RuneSelf || len(dst) == cap(dst) {
			return nil, false
		}
		dst = append(dst, byte(r))
	}
	return dst, true
}

// FindSecret is the JSON pointer of the first member of value whose name says that it is a credential, or "". value is
// JSON as decoded into any; its members are taken in the order of their names, each before what it holds.
func FindSecret(value any) string {
	switch v := value.(type) {
	case map[string]any:
		return findInObject(v)
	case []any:
		for i, item := range v {
			if p := FindSecret(item); p != "" {
				return "/" + strconv.Itoa(i) + p
			}
		}
	}
	return ""
}

func findInObject(object map[string]any) string {
	clean := true
	for name, member := range object {
		switch member.(type) {
		case map[string]any, []any:
			clean = false
		default:
			clean = clean && !IsSecretName(name)
		}
	}
	if clean { // the usual case needs no order
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if IsSecretName(name) {
			return "/" + pointerToken(name)
		}
		if p := FindSecret(object[name]); p != "" {
			return "/" + pointerToken(name) + p
		}
	}
	return ""
}

func pointerToken(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// looksSecret finds a secret's name and its value in text that is no JSON, or not whole: "name": value, name=value,
// name: value and <name>value. A value that begins an object or a list goes on to the end, since where it closes cannot
// be told.
var looksSecret = regexp.MustCompile(`(?is)((?:` + secretPattern() + `)\\*["']?\s*(?:[:=>]|%3[ad])\s*)` +
	`(\\*"(?:[^"\\]|\\.)*\\*"?|'[^']*'?|[{\[].*|(?:(?:bearer|basic|digest)\s+)?[^\s,;&}\]<]+)`)

// secretPattern matches the secret names, with separators anywhere and any letter as a \u escape.
func secretPattern() string {
	var names []string
	for _, name := range secretNames {
		var b strings.Builder
		for i, c := range []byte(name) {
			if i > 0 {
				b.WriteString(`[-_. ]*`)
			}
			fmt.Fprintf(&b, `(?:%c|\\u00%02x|\\u00%02x)`, c, c, c-'a'+'A')
		}
		names = append(names, b.String())
	}
	return strings.Join(names, "|")
}

// Mask replaces the values of credentials in raw, which may be JSON or anything else: in JSON by the names of members at
// any depth, also within strings that hold JSON or text of their own, and in data_base64; in other text by what looks
// like a name and its value. What holds no credentials comes back byte for byte.
func Mask(raw []byte) []byte {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return maskText(raw)
	}
	if _, err := d.Token(); err != io.EOF {
		return maskText(raw)
	}
	v, found := maskValue(v)
	if !found && !repeatsMembers(raw) { // of members that are repeated, v holds the last alone
		return raw
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return maskText(raw)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// maxName is more than the longest spelling of a secret's name takes, in bytes.
const maxName = 128

// maskText masks every value that looksSecret finds. The search goes on within the end of a value: what looked like a
// value may be the next name.
func maskText(raw []byte) []byte {
	if !mayHoldSecret(raw) {
		return raw
	}
	var out []byte
	done := 0 // raw up to here is in out
	for at := 0; at < len(raw); {
		m := looksSecret.FindSubmatchIndex(raw[at:])
		if m == nil {
			break
		}
		begin, end := at+m[4], at+m[5]
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

// mayHoldSecret is a fast look at raw: false where looksSecret surely finds nothing. The pattern alone would take a
// second for the largest command.
func mayHoldSecret(raw []byte) bool {
	folded := make([]byte, 0, len(raw))
	for _, c := range raw {
		switch {
		case c == '-' || c == '_' || c == '.' || c == ' ':
			continue
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		}
		folded = append(folded, c)
	}
	holds := func(s string) bool { return bytes.Contains(folded, []byte(s)) }
	// An escaped letter may be any; the long s and the Kelvin sign are letters of ASCII when case is ignored.
	return slices.ContainsFunc(secretNames, holds) || holds(`\u`) || holds("\u017f") || holds("\u212a")
}

// repeatsMembers reports whether an object in raw, which is valid JSON, has two members of one name.
func repeatsMembers(raw []byte) bool {
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

func maskValue(value any) (masked any, found bool) {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			if changed, hit := maskMember(name, member); hit {
				v[name], found = changed, true
			}
		}
	case []any:
		for i, item := range v {
			if changed, hit := maskValue(item); hit {
				v[i], found = changed, true
			}
		}
	case string:
		if changed := string(Mask([]byte(v))); changed != v {
			return changed, true
		}
	}
	return value, found
}

func maskMember(name string, member any) (masked any, found bool) {
	if IsSecretName(name) {
		return Masked, true
	}
	if text, ok := member.(string); ok && name == "data_base64" {
		if data, err := base64.StdEncoding.DecodeString(text); err == nil {
			if changed := Mask(data); !bytes.Equal(changed, data) {
				return base64.StdEncoding.EncodeToString(changed), true
			}
		}
		return member, false
	}
	return maskValue(member)
}
