package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"subrelay/events"
	"subrelay/schemas"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// block is the README's first block of code in a language.
func block(t *testing.T, language string) string {
	t.Helper()
	_, rest, ok := strings.Cut(readme(t), "\n```"+language+"\n")
	code, _, ended := strings.Cut(rest, "\n```")
	if !ok || !ended {
		t.Fatalf("the README has no block of %s", language)
	}
	return code
}

func TestReadmeEventIsValid(t *testing.T) {
	var e struct {
		Type, Subject string
		Data          json.RawMessage
	}
	if err := json.Unmarshal([]byte(block(t, "json")), &e); err != nil {
		t.Fatal(err)
	}
	set, err := schemas.New()
	if err != nil {
		t.Fatal(err)
	}
	value, err := schemas.Decode(e.Data)
	if err != nil {
		t.Fatal(err)
	}
	if problems := set.Validate(e.Type, value); len(problems) > 0 {
		t.Error(schemas.Strings(problems))
	}
	if _, err := events.ReadRenew(e.Subject, e.Data); err != nil {
		t.Error(err)
	}
}

func TestReadmeProgramBuilds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(block(t, "go")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", os.DevNull, file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestReadmeConfigurationIsAccepted(t *testing.T) {
	var cfg Config
	dec := yaml.NewDecoder(strings.NewReader(block(t, "yaml")), yaml.Strict())
	if err := dec.Decode(&cfg); err != nil {
		t.Fatal(err)
	}
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		t.Error(err)
	}
}

// TestReadmeNamesCommandsThatExist looks up every "subrelay VERB" that stands in code.
func TestReadmeNamesCommandsThatExist(t *testing.T) {
	root := newRoot(newCLI(nil, nil, nil, nil))
	code := regexp.MustCompile("(?:`|\\(|\\./|cmd/)subrelay ([a-z]+)")
	found := code.FindAllStringSubmatch(readme(t), -1)
	if len(found) < 15 {
		t.Fatalf("only %d commands were found", len(found))
	}
	for _, m := range found {
		if cmd, _, err := root.Find([]string{m[1]}); err != nil || cmd == root {
			t.Errorf("the README names %q, and there is no such command", m[0])
		}
	}
}

func TestReadmeLinksLeadSomewhere(t *testing.T) {
	for _, m := range regexp.MustCompile(`\]\(([a-zA-Z][^):]*)\)`).FindAllStringSubmatch(readme(t), -1) {
		if _, err := os.Stat(filepath.Join("../..", m[1])); err != nil {
			t.Error(err)
		}
	}
}
