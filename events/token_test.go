package events_test

import (
	"fmt"
	"strings"
	"testing"

	"subrelay/events"
)

func TestKeyToken(t *testing.T) {
	for subject, want := range map[string]string{
		"C-10042":                "C-10042",
		"a_b-C9":                 "a_b-C9",
		"a.b":                    "a%2Eb",
		"two words":              "two%20words",
		"*":                      "%2A",
		">":                      "%3E",
		"100%":                   "100%25",
		"%2e":                    "%252e",
		"Ä":                      "%C3%84",
		"☃":                      "%E2%98%83",
		"\x00\xff":               "%00%FF",
		strings.Repeat("k", 128): strings.Repeat("k", 128),
		strings.Repeat("é", 21):  strings.Repeat("%C3%A9", 21),
	} {
		got, err := events.KeyToken(subject)
		if got != want || err != nil {
			t.Errorf("KeyToken(%q) = %q, %v, want %q", subject, got, err, want)
		}
		if back, err := events.KeyOfToken(want); back != subject || err != nil {
			t.Errorf("KeyOfToken(%q) = %q, %v, want %q", want, back, err, subject)
		}
	}
	for _, subject := range []string{"", strings.Repeat("k", 129), strings.Repeat("é", 22), strings.Repeat("x", 10000)} {
		if got, err := events.KeyToken(subject); err == nil {
			t.Errorf("KeyToken(%.20q) = %q", subject, got)
		}
	}
}

func TestKeyOfTokenRefusesWhatKeyTokenDoesNotWrite(t *testing.T) {
	for _, token := range []string{
		"", "a.b", "a b", "%", "%2", "a%2", "%2e", "%2f", "%GG", "%41", "%2D", "%5F", "é", "*", ">", "%%25",
	} {
		if got, err := events.KeyOfToken(token); err == nil {
			t.Errorf("KeyOfToken(%q) = %q", token, got)
		}
	}
}

func FuzzKeyToken(f *testing.F) {
	for _, s := range []string{"", "C-10042", "a.b*c>d", "%2E", "Ä☃", "\xff", strings.Repeat("é", 21)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		token, err := events.KeyToken(subject)
		if err != nil {
			if subject != "" && len(subject)*3 <= events.MaxKeyToken {
				t.Errorf("KeyToken(%q): %v", subject, err)
			}
			return
		}
		if len(token) > events.MaxKeyToken || strings.ContainsAny(token, ".*> \t\r\n\x00") {
			t.Errorf("KeyToken(%q) = %q, which is no token of a subject", subject, token)
		}
		if back, err := events.KeyOfToken(token); back != subject || err != nil {
			t.Errorf("KeyOfToken(%q) = %q, %v, want %q", token, back, err, subject)
		}
	})
}

func FuzzKeyOfToken(f *testing.F) {
	for _, s := range []string{"", "C-10042", "%2E", "%2e", "%41", "a.b", "%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		key, err := events.KeyOfToken(token)
		if err != nil || len(token) > events.MaxKeyToken {
			return
		}
		if again, err := events.KeyToken(key); again != token || err != nil {
			t.Errorf("two tokens for %q: %q and %q (%v)", key, token, again, err)
		}
	})
}

// The cid is part of the contract: these were computed with
// printf '/billing\0inv-42\0C-10042' | openssl dgst -sha256 -binary | base32 | tr A-Z a-z | cut -c1-26.
func TestCID(t *testing.T) {
	for _, tc := range []struct{ source, id, subject, want string }{
		{"/billing", "inv-42", "C-10042", "76emlho77yqww4gm4he2yt2mu2"},
		{"", "", "", "s2rjnure6kc4m67ospbq7crqsf"},
		{"https://billing.example/é", "1~1", "☃", "qomsy4kj6qfr6qgnd3yap5j4nl"},
	} {
		got := events.CID(tc.source, tc.id, tc.subject)
		if got != tc.want {
			t.Errorf("CID(%q, %q, %q) = %s, want %s", tc.source, tc.id, tc.subject, got, tc.want)
		}
		if !events.IsCID(got) {
			t.Errorf("IsCID(%s) = false", got)
		}
	}
	if events.CID("a", "bc", "d") == events.CID("ab", "c", "d") || events.CID("a", "b", "cd") == events.CID("a", "bc", "d") {
		t.Error("the parts of the identity run into each other")
	}
}

func TestIsCID(t *testing.T) {
	good := events.CID("a", "b", "c")
	for _, s := range []string{"", good[1:], good + "a", strings.ToUpper(good), "1" + good[1:], "8" + good[1:], "." + good[1:], "é" + good[2:]} {
		if events.IsCID(s) {
			t.Errorf("IsCID(%q) = true", s)
		}
	}
}

// A key with anything in it becomes one token of a NATS subject.
func ExampleKeyToken() {
	token, _ := events.KeyToken("flat 3.b")
	key, _ := events.KeyOfToken(token)
	fmt.Println(token, "is", key)
	// Output: flat%203%2Eb is flat 3.b
}
