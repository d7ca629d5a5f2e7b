package upstream

import (
	"cmp"
	"encoding/json"
	"html"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"subrelay/events"
)

// MinSecret is the length in bytes below which a secret is not looked for in text: "0", which TVMS takes for "no
// password", would blacken every number.
const MinSecret = 4

// maxMessage is the most that is kept of an upstream's own words, in bytes.
const maxMessage = 500

// redactor replaces secrets in text, in every form they may come back in.
type redactor struct {
	replacer atomic.Pointer[strings.Replacer]

	mu      sync.Mutex
	lasting []Secret
	rotated map[string][]Secret // by name, the newest last, at most keptOfName
}

// keptOfName is how many secrets of one name are hidden: the present one, and those before it with which calls may still
// be under way. That is more than one where somebody else keeps making them invalid.
const keptOfName = 8

// hide adds secrets. Those shorter than MinSecret are left out.
func (r *redactor) hide(secrets ...Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lasting = append(r.lasting, secrets...)
	r.rebuild()
}

// rotate hides s as the newest secret of that name, and forgets the oldest where there are more than keptOfName.
func (r *redactor) rotate(name string, s Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := slices.DeleteFunc(r.rotated[name], s.Equal)
	kept = append(kept, s)
	if r.rotated == nil {
		r.rotated = make(map[string][]Secret)
	}
	r.rotated[name] = kept[max(0, len(kept)-keptOfName):]
	r.rebuild()
}

// rebuild makes the replacer anew. It runs with mu held.
func (r *redactor) rebuild() {
	var forms []string // the longest first
	for _, s := range slices.Concat(append(slices.Collect(maps.Values(r.rotated)), r.lasting)...) {
		if len(s.Reveal()) >= MinSecret {
			forms = append(forms, formsOf(s.Reveal())...)
		}
	}
	slices.SortFunc(forms, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	forms = slices.Compact(forms)
	pairs := make([]string, 0, 2*len(forms))
	for _, form := range forms {
		pairs = append(pairs, form, events.Masked)
	}
	r.replacer.Store(strings.NewReplacer(pairs...))
}

// formsOf lists the secret raw, and as query, path, JSON, HTML and Go syntax write it.
func formsOf(secret string) []string {
	inQuery, inPath := url.QueryEscape(secret), url.PathEscape(secret)
	inSpaces := strings.ReplaceAll(inQuery, "+", "%20")
	inJSON, _ := json.Marshal(secret)
	inGo := strconv.Quote(secret)
	forms := []string{
		secret, inQuery, inPath, inSpaces, lowerHex(inQuery), lowerHex(inPath), lowerHex(inSpaces),
		url.QueryEscape(inQuery), html.EscapeString(secret), inGo[1 : len(inGo)-1],
	}
	if len(inJSON) > 2 {
		forms = append(forms, string(inJSON[1:len(inJSON)-1]))
	}
	return forms
}

// lowerHex writes the percent codes of s with lower-case digits.
func lowerHex(s string) string {
	out := []byte(s)
	for i := 0; i+2 < len(out); i++ {
		if out[i] == '%' {
			out[i+1] = byte(unicode.ToLower(rune(out[i+1])))
			out[i+2] = byte(unicode.ToLower(rune(out[i+2])))
			i += 2
		}
	}
	return string(out)
}

func (r *redactor) redact(text string) string {
	if replacer := r.replacer.Load(); replacer != nil {
		return replacer.Replace(text)
	}
	return text
}

// clean makes text of an upstream fit to show: on one line, without control characters and secrets, at most maxMessage
// bytes. The cut comes last, so that no part of a secret is left at its edge.
func (r *redactor) clean(text string) string {
	text = strings.Map(printable, strings.ToValidUTF8(text, "?"))
	text = r.redact(strings.Join(strings.Fields(text), " "))
	if len(text) <= maxMessage {
		return text
	}
	end := maxMessage - len("…")
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

func printable(c rune) rune {
	switch {
	case unicode.IsSpace(c):
		return ' '
	case unicode.IsControl(c), unicode.Is(unicode.Cf, c):
		return -1
	}
	return c
}

// flat is an error reduced to text without secrets. Of the chain it keeps only is, which may be nil.
type flat struct {
	text string
	is   error
}

func (f *flat) Error() string { return f.text }
func (f *flat) Unwrap() error { return f.is }

// cause flattens err for an *events.Error's Cause.
func (r *redactor) cause(err, is error) error {
	return &flat{text: r.clean(err.Error()), is: is}
}
