package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// everyCommand is the root command and all below it.
func everyCommand() []*cobra.Command {
	var all []*cobra.Command
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		all = append(all, cmd)
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(newCLI(strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{}, nil)))
	return all
}

func TestHelp(t *testing.T) {
	for _, cmd := range everyCommand() {
		path := cmd.CommandPath()
		t.Run(path, func(t *testing.T) {
			got := runLine(t, "", append(strings.Fields(path)[1:], "--help")...)
			if got.code != exitDone || got.stderr != "" {
				t.Fatalf("exit code %d, stderr %q", got.code, got.stderr)
			}
			golden(t, filepath.Join("testdata", "help", strings.ReplaceAll(path, " ", "_")+".txt"), got.stdout)
			if cmd.Example == "" {
				t.Error("there is no example")
			}
			if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
				t.Errorf("short help %q", cmd.Short)
			}
		})
	}
}

// golden compares got with a file, or with -update writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("%v (-update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: -want +got (-update writes it anew):\n%s", name, diff)
	}
}

func TestCompletion(t *testing.T) {
	for args, want := range map[string]string{
		"__complete subject ":                                 "renew",
		"__complete outcomes --status in":                     "in_doubt",
		"__complete version -o j":                             "json",
		"__complete topology ":                                "apply",
		"__complete subject netflix-a":                        "netflix-acknowledge",
		"__complete publish netflix-u":                        "netflix-unsuspend",
		"__complete publish swap --business-classification U": "UPGRADE_SERVICE",
		"__complete publish netflix-create --channel W":       "WEB",
		"__complete outcomes --kind sw":                       "swap",
		"completion bash":                                     "subrelay",
		"__complete query tvm":                                "tvms-customer",
		"__complete query subscription ":                      "id=",
		"__complete publish renew --fromx":                    "",
	} {
		parts := strings.Fields(args)
		if strings.HasSuffix(args, " ") {
			parts = append(parts, "")
		}
		runLine(t, "", parts...).want(t, exitDone, want, "")
	}
}

func TestBadUsage(t *testing.T) {
	for _, tt := range []struct{ args, stderr string }{
		{"nonsense", `there is no command "nonsense"`},
		{"publsh", "did you mean publish?"},
		{"--nonsense", "unknown flag: --nonsense"},
		{"-o xml version", "-o is \"xml\", and must be table or json"},
		{"version extra", `takes no arguments, and got "extra"`},
		{"worker extra", "takes no arguments"},
		{"worker --grace 3", "unknown flag: --grace"},
		{"up extra", "takes no arguments"},
		{"up --store", "flag needs an argument: --store"},
		{"sandbox extra", "takes no arguments"},
		{"sandbox --latency 3", `invalid argument "3" for "--latency"`},
		{"subject", "missing: KIND KEY"},
		{"subject renew", "missing: KEY"},
		{"subject renew C-1 C-2", `takes only KIND and KEY, and got "C-2" too`},
		{"subject renwe C-1", "did you mean renew?"},
		{"subject freeze C-1", "known: renew"},
		{"validate", "missing: FILE"},
		{"publish", "what is to be sent? Name a kind (renew, amend, swap, netflix-create, "},
		{"publish", "netflix-decline), or a file with --file"},
		{"publish renwe", "did you mean renew?"},
		{"publish -f x renwe", "did you mean renew?"},
		{"publish -f x -- renew", "exclude each other"},
		{"publish netflix-suspnd", "did you mean netflix-suspend?"},
		{"publish swap", "which subscription?"},
		{"publish swap --subscription S1 --from A", "Each --from needs its --to"},
		{"publish amend --subscription S1 --add code=A extra", "takes no arguments, and got 1"},
		{"publish netflix-create --customer c --validity soon", `invalid argument "soon" for "--validity"`},
		{"publish netflix-suspend --data x", "unknown flag: --data"},
		{"publish netflix-accept --customer c", "which charges?"},
		{"sandbox --release", "flag needs an argument"},
		{"publish renew -f x", "unknown shorthand flag: 'f'"},
		{"publish renew --months 1", "--customer"},
		{"publish renew --customer C-1", "--months or --days"},
		{"publish renew --customer C-1 --months one", `invalid argument "one" for "--months"`},
		{"publish renew --customer C-1 --months 1 --time yesterday", "RFC 3339"},
		{"publish renew --customer C-1 --months 1 --expires soon", "a duration such as 10m"},
		{"publish renew --customer C-1 --months 1 extra", "takes no arguments"},
		{"outcomes extra", "takes no arguments"},
		{"outcomes --since yesterday", "--since is \"yesterday\""},
		{"outcomes --until tomorrow", "--until is \"tomorrow\""},
		{"outcomes --status done", "there is no status \"done\"; known: started"},
		{"outcomes --status succeed", "did you mean succeeded?"},
		{"outcomes --kind freeze", "there is no kind"},
		{"outcomes --cid short", "a cid has 26 characters"},
		{"outcomes --limit -1", "must not be negative"},
		{"outcomes --from-seq x", `invalid argument "x"`},
		{"show", "missing: ID"},
		{"show invoice-1", "Then give --source too"},
		{"query tvms-custmer customer=C-1", "did you mean tvms-customer?"},
		{"query prices", "known: netflix-promotions, netflix-subscription, subscription, tvms-customer"},
		{"query tvms-customer", "exactly one of customer, user_id"},
		{"query tvms-customer C-1", `"C-1" is no MEMBER=VALUE, such as customer=C-10042`},
		{"query tvms-customer custmer=C-1", "did you mean customer?"},
		{"query tvms-customer x=C-1", "known: customer, user_id, crm_service"},
		{"query tvms-customer customer=", "1 to 256 bytes"},
		{"query tvms-customer customer=C-1 customer=C-2", "customer is given twice"},
		{"query tvms-customer customer=C-1 user_id=x", "exactly one of"},
		{"query netflix-promotions x=1", "known: none"},
		{"query tvms-customer customer=C-1 --timeout 0s", "--timeout is 0s, and must be positive"},
		{"query tvms-customer customer=C-1 --stats", "--stats shows all queries"},
		{"workers extra", "takes no arguments"},
		{"topology nonsense", `there is no command "nonsense"`},
		{"topology aply", "did you mean apply?"},
		{"topology show extra", "takes no arguments"},
		{"topology diff extra", "takes no arguments"},
		{"topology apply extra", "takes no arguments"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			got := runLine(t, "", strings.Fields(tt.args)...)
			got.want(t, exitUsage, "", tt.stderr)
			if !strings.Contains(got.stderr, "--help' shows how") || got.stdout != "" {
				t.Errorf("stdout %q, stderr %q", got.stdout, got.stderr)
			}
		})
	}
}

func TestErrorsAsJSON(t *testing.T) {
	for _, args := range []string{"-o json subject renew", "subject renew --output=json", "subject renew -o json --nonsense", "-ojson nonsense"} {
		got := runLine(t, "", strings.Fields(args)...)
		if got.code != exitUsage || got.stdout != "" {
			t.Errorf("%s: exit code %d, stdout %q", args, got.code, got.stdout)
		}
		line := ran{stdout: got.stderr}.lines(t)
		if len(line) != 1 || line[0]["error"] == "" || line[0]["exit_code"] != 2.0 || line[0]["hint"] == "" {
			t.Errorf("%s: stderr %s", args, got.stderr)
		}
	}
}

func TestNoBroker(t *testing.T) {
	for _, args := range []string{"publish renew --customer C-1 --months 1", "outcomes", "show --source b x", "topology show", "topology apply", "topology diff", "query tvms-customer customer=C-1", "query --stats", "workers"} {
		got := runLine(t, "", append([]string{"--nats", "nats://user:s3cr3t@127.0.0.1:1"}, strings.Fields(args)...)...)
		got.want(t, exitError, "", "subrelay up")
		if strings.Contains(got.stderr, "s3cr3t") {
			t.Errorf("%s: the password is shown: %s", args, got.stderr)
		}
	}
}

func TestWorstExitCode(t *testing.T) {
	for _, tt := range []struct{ a, b, want int }{
		{0, 0, 0}, {0, 5, 5}, {5, 3, 3}, {3, 5, 3}, {3, 4, 4}, {4, 3, 4}, {4, 1, 1}, {1, 4, 1}, {5, 0, 5},
	} {
		if got := worst(tt.a, tt.b); got != tt.want {
			t.Errorf("worst(%d, %d) is %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
