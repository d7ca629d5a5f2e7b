package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

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

// blocks are the README's blocks of code in a language, "" for those that name none.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	var all []string
	for _, m := range regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)\n```$").FindAllStringSubmatch(readme(t), -1) {
		if m[1] == language {
			all = append(all, m[2])
		}
	}
	return all
}

// block is the README's only block of code in a language.
func block(t *testing.T, language string) string {
	t.Helper()
	all := blocks(t, language)
	if len(all) != 1 {
		t.Fatalf("the README has %d blocks of %s", len(all), language)
	}
	return all[0]
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

// TestReadmeCommandsWork runs what the README publishes, asks and loses, in its order, against `subrelay up`.
func TestReadmeCommandsWork(t *testing.T) {
	p := startProgram(t, nil, "up", "--store", t.TempDir(), "--nats-addr", "127.0.0.1:0", "--sandbox-addr", "127.0.0.1:0",
		"--crmcom-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "-o", "json")
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		t.Fatalf("%v\n%s", err, p.stderr)
	}
	var at addresses
	if err := json.Unmarshal([]byte(line), &at); err != nil {
		t.Fatal(err)
	}
	put(t, at.CRMCOM+"/_charges", `{"charges":[{"number":"I00002706","billing_system_customer_identifier":"cust-77"},
		{"number":"I00002707","billing_system_customer_identifier":"cust-77"},{"number":"I00002708","billing_system_customer_identifier":"cust-77"},
		{"number":"I00002709","billing_system_customer_identifier":"cust-78"}]}`)
	fault := regexp.MustCompile(`^curl -s -X PUT (http://127\.0\.0\.1:\d+)(/\S+) -d '([^']*)'`)
	ports := strings.NewReplacer("http://127.0.0.1:8481", at.Sandbox, "http://127.0.0.1:8482", at.CRMCOM)
	ran := map[string]int{}
	for line := range strings.Lines(strings.Join(blocks(t, ""), "\n")) {
		if m := fault.FindStringSubmatch(line); m != nil {
			put(t, ports.Replace(m[1])+m[2], m[3])
			continue
		}
		line, comment, _ := strings.Cut(strings.TrimPrefix(line, "./"), "# ")
		args := strings.Fields(line)
		if len(args) < 2 || args[0] != "subrelay" || !slices.Contains([]string{"publish", "query", "doubts"}, args[1]) || args[len(args)-1] == "-" {
			continue
		}
		want := exitDone
		if strings.HasPrefix(comment, "in doubt") {
			want = exitInDoubt
		}
		args = append(args[1:], "--nats", at.NATS)
		if args[0] == "publish" {
			args = append(args, "--wait")
		}
		ran[args[0]+" "+args[1]]++
		t.Run(line, func(t *testing.T) { runLine(t, "", args...).want(t, want, "", "") })
	}
	for _, spec := range events.Specs() {
		if ran["publish "+string(spec.Kind)] == 0 && spec.Kind != events.NetflixCancel {
			t.Errorf("the README publishes no %s", spec.Kind)
		}
	}
	if code := p.end(syscall.SIGTERM); code != exitDone {
		t.Errorf("exit code %d\n%s", code, p.stderr)
	}
}

func put(t *testing.T, address, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() // only read
	if said, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusOK {
		t.Fatalf("PUT %s: %s", address, said)
	}
}

// TestReadmeKinds holds the table of kinds against the list of them.
func TestReadmeKinds(t *testing.T) {
	type row struct {
		Upstream string
		Holds    bool
	}
	got, want := map[string]row{}, map[string]row{}
	for _, m := range regexp.MustCompile("(?m)^\\| (`[a-z`, -]+`) \\| `([a-z]+)` \\|.*\\| (goes on|waits) \\|$").FindAllStringSubmatch(readme(t), -1) {
		for _, kind := range strings.Split(m[1], ", ") {
			got[strings.Trim(kind, "`")] = row{m[2], m[3] == "waits"}
		}
	}
	for _, spec := range events.Specs() {
		want[string(spec.Kind)] = row{string(spec.Upstream), spec.HoldsAfterDoubt}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-kinds +README\n%s", diff)
	}
}

// TestReadmeQueries holds the table of queries against the list of them.
func TestReadmeQueries(t *testing.T) {
	text := readme(t)
	for _, q := range events.QuerySpecs() {
		row := regexp.MustCompile("(?m)^\\| `" + string(q.Name) + "` \\|.*$").FindString(text)
		if row == "" {
			t.Errorf("the README has no query %s", q.Name)
		}
		for _, m := range q.Members() {
			if !strings.Contains(row, "`"+m.Name+"`") {
				t.Errorf("the README says of %s nothing of %s: %s", q.Name, m.Name, row)
			}
		}
	}
}

func TestReadmeHasTheChargesRecipe(t *testing.T) {
	if !strings.Contains(readme(t), strings.ReplaceAll("\n"+chargesRecipe, "\n  ", "\n")) {
		t.Errorf("the README has another recipe than\n%s", chargesRecipe)
	}
}

// TestReadmeNamesSettingsThatExist looks up every setting that stands in code, and those of the list of what to find out.
func TestReadmeNamesSettingsThatExist(t *testing.T) {
	raw, err := os.ReadFile("subrelay.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var known map[string]any
	if err := yaml.Unmarshal(raw, &known); err != nil {
		t.Fatal(err)
	}
	there := func(name string) bool {
		at := any(known)
		for _, part := range strings.Split(name, ".") {
			section, _ := at.(map[string]any)
			var ok bool
			if at, ok = section[part]; !ok {
				return false
			}
		}
		return true
	}
	checked := 0
	inList := false
	for line := range strings.Lines(readme(t) + content(t, examplesPage)) {
		inList = strings.HasPrefix(line, "| find out |") || inList && strings.HasPrefix(line, "|")
		for _, m := range regexp.MustCompile("`([a-z]+(?:[._][a-z]+)*)`").FindAllStringSubmatch(line, -1) {
			section, _, nested := strings.Cut(m[1], ".")
			switch _, isSection := known[section]; {
			case isSection && nested && !there(m[1]):
				t.Errorf("there is no setting %s", m[1])
			case inList && !isSection && !there("crmcom."+m[1]) && m[1] != "transaction_reference_number" && m[1] != "charge_status":
				t.Errorf("there is no setting crmcom.%s", m[1])
			case nested || inList:
				checked++
			}
		}
	}
	if checked < 40 {
		t.Errorf("only %d settings were found", checked)
	}
}

// TestReadmeNamesMetricsThatExist looks for the names in the code: a metric without a value yet is not served.
func TestReadmeNamesMetricsThatExist(t *testing.T) {
	files, err := filepath.Glob("metrics*.go")
	if err != nil {
		t.Fatal(err)
	}
	code := ""
	for _, name := range files {
		code += content(t, name)
	}
	found := regexp.MustCompile("`"+metricsPrefix+"([a-z_]+)").FindAllStringSubmatch(readme(t), -1)
	if len(found) < 6 {
		t.Fatalf("only %d metrics were found", len(found))
	}
	for _, m := range found {
		if !strings.Contains(code, `"`+m[1]+`"`) {
			t.Errorf("there is no metric %s", m[0])
		}
	}
}
