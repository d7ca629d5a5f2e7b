package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// room is a package of ours and what it may import of ours. Tests of a room may import more, see testsToo.
var rooms = map[string][]string{
	"events":         {},
	"events/history": {"events"},
	"events/checkup": {},
	"schemas":        {},
	"handlers":       {"events", "schemas"},

	"adapters/natsjs":          {"events", "schemas", "events/checkup"},
	"adapters/natsjs/natstest": {},
	"adapters/upstream":        {"events", "schemas", "events/checkup"},
	"adapters/tvms":            {"events", "schemas", "adapters/upstream"},
	"adapters/crmcom":          {"events", "schemas", "adapters/upstream"},
	"adapters/sandbox":         {"events", "schemas", "events/history", "adapters/upstream"},
}

// testsToo are what the tests of any room may import besides.
var testsToo = []string{"events", "schemas", "events/history", "adapters/natsjs/natstest"}

type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "subrelay/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// TestImportsRunOneWay keeps the rooms apart. Where it fails, move the code; do not widen the rule.
func TestImportsRunOneWay(t *testing.T) {
	for _, p := range listPackages(t) {
		room := strings.TrimPrefix(p.ImportPath, "subrelay/")
		if strings.HasPrefix(room, "cmd/") {
			continue
		}
		allowed, known := rooms[room]
		if !known {
			t.Errorf("%s is a room without a rule: move the code into one of the rooms of the design, or say here what it may import", room)
			continue
		}
		check(t, room, "imports", p.Imports, allowed)
		tests := append(slices.Concat(allowed, testsToo), room)
		check(t, room, "imports in its tests", slices.Concat(p.TestImports, p.XTestImports), tests)
	}
}

func check(t *testing.T, room, verb string, imports, allowed []string) {
	t.Helper()
	for _, path := range imports {
		ours, ok := strings.CutPrefix(path, "subrelay/")
		if ok && !slices.Contains(allowed, ours) {
			t.Errorf("%s %s %s, and may not: move the code, do not widen the rule", room, verb, ours)
		}
	}
}
