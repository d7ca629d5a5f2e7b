package upstream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
)

const hidden = `a#b+c=d"é/e f`

func TestSecretNeverShowsItself(t *testing.T) {
	type inner struct{ token Secret }
	type outer struct {
		Token Secret
		inner inner
		ptr   *Secret
	}
	s := NewSecret(hidden)
	v := outer{Token: s, inner: inner{s}, ptr: &s}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s, "struct", v)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "struct", v)
	asJSON, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%v %+v %#v %s %q %x %+v", v, v, v, s, s, s, &v) + log.String() + string(asJSON) + string(asYAML)
	for _, form := range append(formsOf(hidden), fmt.Sprintf("%x", hidden)) {
		if strings.Contains(shown, form) {
			t.Errorf("%q is shown in %s", form, shown)
		}
	}
	if !strings.Contains(string(asJSON), `"***"`) {
		t.Errorf("JSON: %s", asJSON)
	}
}

func TestSecretFromYAML(t *testing.T) {
	type config struct {
		Token Secret `yaml:"token"`
		Other int    `yaml:"other"`
	}
	for text, want := range map[string]string{
		"token: abc":               "abc",
		"token: '12345678'":        "12345678",
		"token: \"0012\"":          "0012",
		"token: 0":                 "0",
		"token: 'a#b+c=d'":         "a#b+c=d",
		"token: \"\"":              "",
		"token:":                   "",
		"other: 1\ntoken: >-\n  x": "x",
	} {
		var v config
		if err := yaml.UnmarshalWithOptions([]byte(text), &v, yaml.Strict()); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if got := v.Token.Reveal(); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	for _, text := range []string{"token: 98765", "token: 0012", "token: 1.50", "token: true", "token: [98765]", "token: {a: 98765}"} {
		var v config
		err := yaml.UnmarshalWithOptions([]byte(text), &v, yaml.Strict())
		if err == nil || !strings.Contains(err.Error(), "quotes") || strings.Contains(err.Error(), "98765") {
			t.Errorf("%s: %q, %v", text, v.Token.Reveal(), err)
		}
	}
}

func TestReadSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(hidden+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := ReadSecret(file); err != nil || !s.Equal(NewSecret(hidden)) {
		t.Errorf("%q, %v", s.Reveal(), err)
	}
	if err := os.WriteFile(file, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSecret(file); err == nil {
		t.Error("an empty file is no secret")
	}
}

func TestRedactFindsEveryForm(t *testing.T) {
	g := newGuard(t, Settings{Secrets: []Secret{NewSecret(hidden), NewSecret("0")}})
	g.Hide(NewSecret("second-secret"), Secret{})
	for _, text := range []string{
		hidden, url.QueryEscape(hidden), url.PathEscape(hidden), strings.ToLower(url.QueryEscape(hidden)),
		"x?authToken=" + url.Values{"t": {hidden}}.Encode(), fmt.Sprintf("%q", hidden), "second-secret",
	} {
		got := g.Redact("before " + text + " after")
		for _, part := range []string{"a#b", "a%23b", "second", "c=d", "c%3Dd", "c%3dd"} {
			if strings.Contains(got, part) {
				t.Errorf("Redact(%q) = %q", text, got)
			}
		}
		if !strings.Contains(got, "***") || !strings.HasPrefix(got, "before ") {
			t.Errorf("Redact(%q) = %q", text, got)
		}
	}
	if got := g.Redact("10 of 100"); got != "10 of 100" {
		t.Errorf("a secret too short to look for blackened %q", got)
	}
}

func TestOnlyTheNewestSecretsOfANameAreHidden(t *testing.T) {
	g := newGuard(t, Settings{Secrets: []Secret{NewSecret("lasting-secret")}})
	hide := func(tokens ...string) {
		for _, token := range tokens {
			g.HideLatest("session", NewSecret(token))
		}
	}
	hide("token-1", "token-2", "token-2", "token-3", "token-4", "token-5", "token-6", "token-7", "token-8", "token-9")
	g.HideLatest("other", NewSecret("token-other"))
	g.HideLatest("short", NewSecret("0"))
	g.Hide(NewSecret("late-secret"))
	const want = "token-1 *** *** *** *** *** 0"
	if got := g.Redact("token-1 token-2 token-9 token-other lasting-secret late-secret 0"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	hide("token-2", "token-10")
	if got := g.Redact("token-3 token-2 token-10 token-4"); got != "token-3 *** *** ***" {
		t.Errorf("%q: a token that came back is not the newest", got)
	}
}

func TestClean(t *testing.T) {
	g := newGuard(t, Settings{Secrets: []Secret{NewSecret("sesame-open")}})
	for text, want := range map[string]string{
		"plain":                          "plain",
		"two\r\n lines\tand tabs":        "two lines and tabs",
		"bell\x07 esc\x1b[31m null\x00":  "bell esc[31m null",
		"bidi\u202eevil":                 "bidievil",
		"bad \xff utf8":                  "bad ? utf8",
		"split sesame\x00-open by a nul": "split *** by a nul",
		strings.Repeat("é", 400):         strings.Repeat("é", 248) + "…",
	} {
		if got := g.Clean(text); got != want {
			t.Errorf("Clean(%q) = %q, want %q", text, got, want)
		}
	}
	// A secret across the cut must not leave its beginning.
	got := g.Clean(strings.Repeat("x", 490) + " sesame-open " + strings.Repeat("y", 100))
	if strings.Contains(got, "ses") || len(got) > maxMessage || !utf8.ValidString(got) {
		t.Errorf("Clean cut to %q", got)
	}
}
