package upstream

import (
	"cmp"
	"encoding/json"
	"html"
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

	mu    sync.Mutex
	forms []string // the longest first
}

// hide adds secrets. Those shorter than MinSecret are left out.
func (r *redactor) hide(secrets ...Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range secrets {
		if len(s.Reveal()) >= MinSecret {
			r.forms = append(r.forms, formsOf(s.Reveal())...)
		}
	}
	slices.SortFunc(r.forms, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	r.forms = slices.Compact(r.forms)
	pairs := make([]string, 0, 2*len(r.forms))
	for _, form := range r.forms {
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
