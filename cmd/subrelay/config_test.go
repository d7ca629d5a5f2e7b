package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

// texts is every setting's value as text, by name.
func texts(cfg Config) map[string]string {
	out := make(map[string]string)
	for _, s := range settingsOf(&cfg) {
		v := s.value
		if v.Kind() == reflect.Pointer && !v.IsNil() {
			v = v.Elem()
		}
		out[s.name()] = fmt.Sprint(v.Interface())
		if v.Kind() == reflect.Slice && v.Len() == 0 {
			out[s.name()] = "[]"
		}
	}
	return out
}

func TestExampleConfiguration(t *testing.T) {
	raw, err := os.ReadFile("subrelay.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := parseConfig("subrelay.example.yaml", raw)
	if err != nil {
		t.Fatal(err)
	}

	t.Run("states the defaults", func(t *testing.T) {
		if diff := cmp.Diff(texts(Config{}.withDefaults()), texts(cfg)); diff != "" {
			t.Errorf("-default +example:\n%s", diff)
		}
	})
	t.Run("misses no setting", func(t *testing.T) {
		var tree map[string]any
		if err := yaml.Unmarshal(raw, &tree); err != nil {
			t.Fatal(err)
		}
		for _, s := range settingsOf(&Config{}) {
			if !stated(tree, s.path) {
				t.Errorf("%s is missing", s.name())
			}
		}
	})
	t.Run("is accepted", func(t *testing.T) {
		cfg := cfg.withDefaults()
		if err := cfg.check(); err != nil {
			t.Error(err)
		}
	})
}

func stated(tree map[string]any, path []string) bool {
	value, ok := tree[path[0]]
	if len(path) == 1 || !ok {
		return ok
	}
	below, ok := value.(map[string]any)
	return ok && stated(below, path[1:])
}

func TestEveryKindHasARetryPolicy(t *testing.T) {
	var cfg Config
	policies := cfg.Retry.policies()
	for _, s := range events.Specs() {
		if _, ok := policies[s.Kind]; !ok && s.Upstream == events.TVMS {
			t.Errorf("no setting for the kind %s", s.Kind)
		}
	}
	for _, one := range cfg.Retry.each() { // each stands under its own key
		one.policy.Attempts = 77
		for _, s := range settingsOf(&cfg) {
			if set := s.value.CanInt() && s.value.Int() == 77; set != (s.name() == one.name()+".attempts") {
				t.Errorf("%s.attempts is the setting %s", one.name(), s.name())
			}
		}
		one.policy.Attempts = 0
	}
}

func TestConfigurationErrorsNameThePlaceAndNoSecret(t *testing.T) {
	const secret = "s3cr3t-token"
	for _, tt := range []struct{ name, yaml, want, hint string }{
		{"unknown key", "tvms:\n  auth_tokn: " + secret, `x.yaml:2:3: unknown key "auth_tokn"`, `did you mean "auth_token"?`},
		{"unknown key far from any", "zzzzzz: " + secret, `x.yaml:1:1: unknown key "zzzzzz"`, "subrelay.example.yaml lists every key"},
		{"unknown nested key", "retry:\n  renew:\n    atempts: 3", `x.yaml:3:5: unknown key "atempts"`, `did you mean "attempts"?`},
		{"a key of other sections", "netflix:\n  base_url: x", `x.yaml:2:3: unknown key "base_url"`, "not here; there is tvms.base_url, crmcom.base_url"},
		{"unknown kind", "retry:\n  renwe:\n    attempts: 3", `x.yaml:2:3: unknown key "renwe"`, `did you mean "renew"?`},
		{"repeated key", "prefix: a\nprefix: b", `x.yaml:2:1: mapping key "prefix" already defined at [1:1]`, ""},
		{"not YAML", "nats: [\n", `x.yaml:1:7: sequence end token ']' not found`, ""},
		{"wrong type", "tvms:\n  auth_token: " + secret + "\n  concurrency: many", "x.yaml:3:16: a whole number cannot be read from this", ""},
		{"duration", "tvms:\n  auth_token: " + secret + "\n  call_timeout: 3x", "x.yaml:3:17: tvms.call_timeout: a duration, such as 1m30s, cannot be read from this", ""},
		{"level", "log:\n  level: loud", "x.yaml:2:10: log.level: a level (debug, info, warn or error) cannot be read from this", ""},
		{"number for a text", "tvms:\n  auth_token: 0123", "x.yaml:2:15: tvms.auth_token is text, and this is a number: put it in quotes", ""},
		{"tagged number for a text", "tvms:\n  auth_token: !!str 0123", "x.yaml:2:15: tvms.auth_token is text, and this is a number: put it in quotes", ""},
		{"number in a list of texts", "crmcom:\n  codes:\n    not_found: [NONE, 0404]", "x.yaml:3:23: crmcom.codes.not_found is text, and this is a number: put it in quotes", ""},
		{"text for yes or no", "netflix:\n  read_back: sometimes", "x.yaml:2:14: a yes or no (true or false) cannot be read from this", ""},
		{"text for a list", "crmcom:\n  codes:\n    not_found: NONE", "x.yaml:3:16: string was used where sequence is expected", ""},
		{"text for a group", "tvms: 3", "x.yaml:1:7: int was used where mapping is expected", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseConfig("x.yaml", []byte(tt.yaml))
			if err == nil || err.Error() != tt.want {
				t.Fatalf("got  %v\nwant %s", err, tt.want)
			}
			var p *problem
			if hint := ""; errors.As(err, &p) && p.hint != tt.hint || p == nil && tt.hint != hint {
				t.Errorf("hint %+v, want %q", p, tt.hint)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

func TestConfigurationOrder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	content := "prefix: fromfile\nnats:\n  url: nats://file:1\n  user: file\n  creds: file\ntvms:\n  call_timeout: 10s\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCLI(nil, nil, nil, []string{
		"SUBRELAY_CONFIG=" + file, "SUBRELAY_NATS_URL=nats://env:1", "SUBRELAY_NATS_USER=env",
		"SUBRELAY_TVMS_REPLIES_NOT_APPLIED=502,503", "SUBRELAY_TVMS_AUTH_TOKEN=0123456789", "SUBRELAY_TVMS_REQUEST_ID_HEADER=",
		"SUBRELAY_TVMS_RATE=2.5", "SUBRELAY_TVMS_READ_BACK_ENABLED=true", "SUBRELAY_TVMS_OPEN_FOR=90s", "SUBRELAY_LOG_LEVEL=debug",
		"SUBRELAY_WORKER_NAME=12", "SUBRELAY_CRMCOM_CODES_UNKNOWN=0123, BUSY", "SUBRELAY_CRMCOM_ALLOW_PLAIN_HTTP=true",
		"SUBRELAY_CRMCOM_TLS_CA_FILE=ca.pem", "SUBRELAY_NETFLIX_READ_BACK=false", "SUBRELAY_NETFLIX_CALL_TIMEOUT=40s",
		"SUBRELAY_RETRY_NETFLIX_CREATE_ATTEMPTS=3",
	})
	c.natsURL = "nats://flag:1"
	cfg, err := c.loadConfig()
	if err != nil {
		t.Fatal(err)
	}
	got := texts(cfg)
	for name, want := range map[string]string{
		"nats.url": "nats://flag:1", "nats.user": "env", "nats.creds": "file", "prefix": "fromfile",
		"tvms.replies.not_applied": "[502 503]", "tvms.auth_token": "***", "tvms.request_id_header": "", "tvms.rate": "2.5",
		"tvms.burst": "3", "tvms.read_back.enabled": "true", "tvms.open_for": "1m30s", "log.level": "DEBUG", "worker.name": "12",
		"crmcom.codes.unknown": "[0123 BUSY]", "netflix.read_back": "false", "retry.netflix_create.attempts": "3", "retry.swap.attempts": "6",
		"netflix.allow_plain_http": "true", "netflix.tls_ca_file": "ca.pem", "netflix.tls_cert_file": "", // as for the same host
		"netflix.settle_after": "1m20s", "netflix.window": "2m40s",
		"tvms.call_timeout": "10s", "tvms.header_timeout": "10s", "tvms.window": "1m0s", // defaults follow what they depend on
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if got := cfg.TVMS.API.AuthToken.Reveal(); got != "0123456789" {
		t.Errorf("the token is %q", got)
	}
}

func TestEverySettingHasAnEnvironmentVariableThatSetsIt(t *testing.T) {
	names := make(map[string]string)
	for _, s := range settingsOf(&Config{}) {
		if other, ok := names[s.envName()]; ok {
			t.Errorf("%s and %s have the same variable %s", other, s.name(), s.envName())
		}
		names[s.envName()] = s.name()

		var cfg Config
		if err := applyEnv(&cfg, map[string]string{s.envName(): sample(s)}); err != nil {
			t.Errorf("%s: %v", s.envName(), err)
		}
		changed := 0
		before := settingsOf(&Config{})
		for i, after := range settingsOf(&cfg) {
			if !reflect.DeepEqual(after.value.Interface(), before[i].value.Interface()) {
				changed++
				if after.name() != s.name() {
					t.Errorf("%s sets %s", s.envName(), after.name())
				}
			}
		}
		if changed != 1 {
			t.Errorf("%s changes %d settings", s.envName(), changed)
		}
	}
}

// sample is text that the setting can be read from.
func sample(s setting) string {
	typ := s.value.Type()
	switch {
	case typ == reflect.TypeFor[time.Duration]():
		return "7s"
	case typ.Kind() == reflect.Bool, typ == reflect.TypeFor[*bool]():
		return "true"
	case s.name() == "log.level":
		return "warn"
	}
	return "7"
}

func TestEnvironmentErrors(t *testing.T) {
	for variable, value := range map[string]string{
		"SUBRELAY_TVMS_CONCURRENCY": "s3cr3t", "SUBRELAY_TVMS_CALL_TIMEOUT": "s3cr3t", "SUBRELAY_TVMS_READ_BACK_ENABLED": "s3cr3t",
	} {
		err := applyEnv(&Config{}, map[string]string{variable: value})
		if err == nil || !strings.Contains(err.Error(), variable) || strings.Contains(err.Error(), value) {
			t.Errorf("%s: %v", variable, err)
		}
	}
	stray := strayEnv(map[string]string{"SUBRELAY_TVMS_AUTHTOKEN": "x", "SUBRELAY_SERVICE_HOST": "10.0.0.1", "SUBRELAY_CONFIG": "x", "SUBRELAY_LOG_LEVEL": "info"})
	if diff := cmp.Diff([]string{"SUBRELAY_TVMS_AUTHTOKEN (did you mean SUBRELAY_TVMS_AUTH_TOKEN?)"}, stray); diff != "" {
		t.Error(diff)
	}
}

func TestSettingsThatMakeNoSense(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"format":      {func(c *Config) { c.Log.Format = "xml" }, "log.format"},
		"grace":       {func(c *Config) { c.Worker.Grace = -1 }, "worker.grace"},
		"worker name": {func(c *Config) { c.Worker.Name = "a.b" }, "worker.name"},
		"partitions":  {func(c *Config) { c.Streams.Partitions = 1000 }, "streams: partitions"},
		"prefix":      {func(c *Config) { c.Prefix = "a.b" }, "prefix"},
		"tvms":        {func(c *Config) { c.TVMS.API.Route = "smoke" }, "tvms.route"},
		"window":      {func(c *Config) { c.TVMS.Guard.Window = time.Second }, "window"},
		"retry":       {func(c *Config) { c.Retry.Renew.Initial = time.Millisecond; c.Retry.Renew.Max = time.Millisecond }, "retry"},
		"http":        {func(c *Config) { c.Worker.HTTPAddr = "nowhere" }, "worker.http_addr"},
		"no upstream": {func(c *Config) { c.TVMS.API.BaseURL = "" }, "no upstream is configured: tvms.base_url and crmcom.base_url"},
		"retry of a kind": {func(c *Config) {
			c.Retry.NetflixCreate.Initial = time.Millisecond
			c.Retry.NetflixCreate.Max = time.Millisecond
		}, "retry.netflix_create"},
		"release": {func(c *Config) {
			c.CRMCOM = workingCRMCOM("http://127.0.0.1:1")
			c.CRMCOM.API.Release = ""
		}, "crmcom.release"},
		"web api key": {func(c *Config) { c.CRMCOM.API.BaseURL = "http://127.0.0.1:1" }, "upstream crmcom: crmcom.web_api_key is missing"},
		"netflix": {func(c *Config) {
			c.CRMCOM = workingCRMCOM("http://127.0.0.1:1")
			c.Netflix.Guard.Window = time.Second
		}, "upstream netflix: window"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{}
			cfg.TVMS.API.BaseURL, cfg.TVMS.API.AuthToken = "http://127.0.0.1:1", upstream.NewSecret("0123456789")
			cfg.Worker.HTTPAddr = noListen
			tt.change(&cfg)
			app, err := NewApp(AppOptions{Config: cfg})
			if err == nil {
				app.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want something on %s", err, tt.want)
			}
		})
	}
}

// workingCRMCOM is what crmcom needs.
func workingCRMCOM(baseURL string) (c CRMCOMConfig) {
	c.API.BaseURL, c.API.Release, c.API.WebAPIKey = baseURL, "R18.0.0", upstream.NewSecret("0123456789")
	c.API.Swap.Confirmed = true
	return c
}
