package main

import (
	"maps"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/natsjs/natstest"
)

// composeFile is docker-compose.yml, as far as it uses the language of such files: what it does not know is an error, so
// that nothing is passed over.
type composeFile struct {
	Services map[string]composeService `yaml:"services"`
	Networks map[string]struct{}       `yaml:"networks"`
	Volumes  map[string]struct{}       `yaml:"volumes"`
	// What others are made of, by anchors.
	NATS     any `yaml:"x-nats"`
	Subrelay any `yaml:"x-subrelay"`
	Client   any `yaml:"x-client"`
}

type composeService struct {
	Image string `yaml:"image"`
	Build struct {
		Context string            `yaml:"context"`
		Args    map[string]string `yaml:"args"`
	} `yaml:"build"`
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	Networks    []string          `yaml:"networks"`
	Ports       []string          `yaml:"ports"`   // ADDRESS:PORT:PORT
	Volumes     []string          `yaml:"volumes"` // SOURCE:PATH or SOURCE:PATH:ro
	ReadOnly    bool              `yaml:"read_only"`
	CapDrop     []string          `yaml:"cap_drop"`
	SecurityOpt []string          `yaml:"security_opt"`
	Scale       int               `yaml:"scale"`
	Profiles    []string          `yaml:"profiles"`
	Restart     string            `yaml:"restart"`
	StopGrace   time.Duration     `yaml:"stop_grace_period"`
	DependsOn   map[string]struct {
		Condition string `yaml:"condition"`
	} `yaml:"depends_on"`
	Health composeHealth `yaml:"healthcheck"`
}

type composeHealth struct {
	Test        []string      `yaml:"test"`
	Interval    time.Duration `yaml:"interval"`
	Timeout     time.Duration `yaml:"timeout"`
	Retries     int           `yaml:"retries"`
	StartPeriod time.Duration `yaml:"start_period"`
}

var composeVariable = regexp.MustCompile(`\$\{([A-Z0-9_]+):-([^}]*)\}`)

// readCompose reads docker-compose.yml with these variables, and its defaults for the others.
func readCompose(t *testing.T, variables map[string]string) composeFile {
	t.Helper()
	text := composeVariable.ReplaceAllStringFunc(content(t, "../../docker-compose.yml"), func(found string) string {
		m := composeVariable.FindStringSubmatch(found)
		if v, ok := variables[m[1]]; ok {
			return v
		}
		return m[2]
	})
	if strings.Contains(strings.ReplaceAll(text, "$$", ""), "$") {
		t.Fatal("docker-compose.yml has a variable without a default")
	}
	var f composeFile
	text = strings.ReplaceAll(text, "$$", "$")
	if err := yaml.NewDecoder(strings.NewReader(text), yaml.Strict()).Decode(&f); err != nil {
		t.Fatal(err)
	}
	return f
}

// start lists the services that `docker compose up` starts, in its order: each after those that it depends on.
func (f composeFile) start() (order []string) {
	for len(order) < len(f.Services) {
		before := len(order)
		for _, name := range slices.Sorted(maps.Keys(f.Services)) {
			if slices.Contains(order, name) {
				continue
			}
			if !slices.ContainsFunc(slices.Collect(maps.Keys(f.Services[name].DependsOn)), func(d string) bool { return !slices.Contains(order, d) }) {
				order = append(order, name)
			}
		}
		if len(order) == before {
			break // they depend on each other
		}
	}
	return slices.DeleteFunc(order, func(name string) bool { return len(f.Services[name].Profiles) > 0 })
}

func TestCompose(t *testing.T) {
	f := readCompose(t, nil)
	if diff := cmp.Diff([]string{"nats-1", "nats-2", "nats-3", "sandbox", "worker"}, f.start()); diff != "" {
		t.Errorf("what is started: -want +got\n%s", diff)
	}
	for name, s := range f.Services {
		for _, port := range s.Ports {
			if host, _, found := strings.Cut(port, ":"); !found || !net.ParseIP(host).IsLoopback() {
				t.Errorf("%s: the port %q is open to others than this machine", name, port)
			}
		}
		if len(s.Profiles) == 0 && (len(s.Health.Test) == 0 || s.Restart != "unless-stopped") {
			t.Errorf("%s has no health check, or is not started again", name)
		}
		for on, how := range s.DependsOn {
			if _, ok := f.Services[on]; !ok || how.Condition != "service_healthy" {
				t.Errorf("%s depends on %s, if %q", name, on, how.Condition)
			}
		}
	}
	if got := f.Services["worker"].Scale; got != 2 {
		t.Errorf("%d workers", got)
	}
	for _, name := range []string{"worker", "sandbox", "cli"} {
		if s := f.Services[name]; !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) {
			t.Errorf("%s has more rights than it needs", name)
		}
	}
}

// TestComposeSettings has the program read what the file gives it.
func TestComposeSettings(t *testing.T) {
	f := readCompose(t, map[string]string{"NATS_PASSWORD": "s3cr3t", "TVMS_TOKEN": "t0ken", "CRMCOM_KEY": "crm-k3y"})
	for _, name := range []string{"worker", "cli"} {
		var environ []string
		for variable, value := range f.Services[name].Environment {
			environ = append(environ, variable+"="+value)
		}
		if stray := strayEnv(environment(environ)); len(stray) > 0 {
			t.Errorf("%s: %q name no setting", name, stray)
		}
		for variable := range environment(environ) {
			if !slices.ContainsFunc(settingsOf(&Config{}), func(s setting) bool { return s.envName() == variable }) {
				t.Errorf("%s: %s names no setting", name, variable)
			}
		}
		cfg, err := newCLI(nil, nil, nil, environ).loadConfig()
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Streams.Replicas != 3 || cfg.NATS.Password.Reveal() != "s3cr3t" || strings.Count(cfg.NATS.URL, ",") != 2 {
			t.Errorf("%s: %d replicas at %s", name, cfg.Streams.Replicas, cfg.NATS.URL)
		}
		if name != "worker" {
			continue
		}
		if app, err := NewApp(AppOptions{Config: cfg}); err != nil {
			t.Error(err)
		} else if got := len(app.stations); got != 3 {
			t.Errorf("a worker serves %d upstreams", got)
		}
		command := strings.Join(f.Services["sandbox"].Command, " ")
		if !strings.Contains(command, "--auth-token t0ken --web-api-key crm-k3y") || cfg.TVMS.API.AuthToken.Reveal() != "t0ken" || cfg.CRMCOM.API.WebAPIKey.Reveal() != "crm-k3y" {
			t.Errorf("workers and imitations differ in their secrets: %s", command)
		}
	}
}

// TestComposeServers holds the servers against the module's own version and what is promised of them.
func TestComposeServers(t *testing.T) {
	f := readCompose(t, nil)
	version := regexp.MustCompile(`(?m)^\tgithub.com/nats-io/nats-server/v2 v(\S+)$`).FindStringSubmatch(content(t, "../../go.mod"))
	if len(version) != 2 {
		t.Fatal("go.mod names no NATS server")
	}
	stores := map[string]bool{}
	for _, name := range []string{"nats-1", "nats-2", "nats-3"} {
		s := f.Services[name]
		if s.Image != "nats:"+version[1]+"-alpine" {
			t.Errorf("%s is %s; the tests run on %s", name, s.Image, version[1])
		}
		if last := s.Command[len(s.Command)-1]; last != name {
			t.Errorf("%s calls itself %s", name, last)
		}
		volume, _, _ := strings.Cut(s.Volumes[0], ":")
		if _, ok := f.Volumes[volume]; !ok || stores[volume] {
			t.Errorf("%s keeps its streams on %q", name, s.Volumes[0])
		}
		stores[volume] = true
	}
	if conf := content(t, "../../nats.conf"); !strings.Contains(conf, "sync_interval: always") || strings.Count(conf, "nats://nats-") != 3 {
		t.Errorf("nats.conf:\n%s", conf)
	}
}

// TestComposePasswords has a server of the file read passwords that look like something else in its configuration.
func TestComposePasswords(t *testing.T) {
	const placeholder = "PLACEHOLDER"
	f := readCompose(t, map[string]string{"NATS_PASSWORD": placeholder})
	_, users, found := strings.Cut(content(t, "../../nats.conf"), "\nauthorization {")
	if !found {
		t.Fatal("nats.conf has no section authorization")
	}
	for _, password := range []string{"subrelay", "12345678", "0123456789", "true", "10k", "p w", "x;y", "$ecret", "it's"} {
		t.Setenv("NATS_PASSWORD", strings.Replace(f.Services["nats-1"].Environment["NATS_PASSWORD"], placeholder, password, 1))
		s := natstest.StartConfigured(t, "authorization {"+users)
		given := strings.Replace(f.Services["worker"].Environment["SUBRELAY_NATS_PASSWORD"], placeholder, password, 1)
		nc, err := natsjs.Connect(natsjs.ConnectOptions{URL: s.URL(), User: f.Services["worker"].Environment["SUBRELAY_NATS_USER"], Password: given})
		if err != nil {
			t.Errorf("%s: %v", password, err)
			continue
		}
		nc.Close()
	}
}

// TestDockerfile holds the image's recipe against go.mod.
func TestDockerfile(t *testing.T) {
	recipe := content(t, "../../Dockerfile")
	language := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(content(t, "../../go.mod"))
	for _, line := range []string{"FROM golang:" + language[1] + " AS build", "FROM scratch", "USER 65532:65532", `ENTRYPOINT ["/subrelay"]`} {
		if !strings.Contains(recipe, "\n"+line+"\n") {
			t.Errorf("the Dockerfile lacks %q", line)
		}
	}
	for line := range strings.Lines(content(t, "../../.dockerignore")) {
		if kept, ok := strings.CutPrefix(strings.TrimSpace(line), "!"); ok {
			if _, err := os.Stat("../../" + kept); err != nil {
				t.Error(err)
			}
		}
	}
}
