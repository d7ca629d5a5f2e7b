package tvms

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

const base = "https://tvms.example"

func guard(t *testing.T, s upstream.Settings) *upstream.Guard {
	t.Helper()
	g, err := upstream.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestDefaults(t *testing.T) {
	c, warnings, err := New(settings(base), guard(t, upstream.Settings{}))
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	if c.Async() || c.ReadBack() || c.SettleAfter() != time.Minute || c.GiveUpAfter() != 5*time.Minute {
		t.Errorf("%t %t %s %s", c.Async(), c.ReadBack(), c.SettleAfter(), c.GiveUpAfter())
	}
	c, _, err = New(settings(base), guard(t, upstream.Settings{CallTimeout: 5 * time.Minute}))
	if err != nil || c.SettleAfter() != 10*time.Minute || c.GiveUpAfter() != 20*time.Minute {
		t.Errorf("%s %s %v", c.SettleAfter(), c.GiveUpAfter(), err)
	}
}

func TestWarnings(t *testing.T) {
	var log bytes.Buffer
	g := guard(t, upstream.Settings{Name: events.TVMS, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	s := settings(base)
	s.Route, s.Password, s.CRMService = "get-v2-async", upstream.NewSecret("xyz"), ""
	_, warnings, err := New(s, g)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(warnings, "\n")
	for _, want := range []string{"a GET that changes state", "not documented whether its reply", "tvms.password has fewer", "tvms.crm_service is not set"} {
		if !strings.Contains(all, want) || !strings.Contains(log.String(), want) {
			t.Errorf("%q is not in %s, or not in the log", want, all)
		}
	}
	if len(warnings) != 4 || strings.Contains(all+log.String(), "xyz") {
		t.Errorf("%d warnings: %s", len(warnings), all)
	}
}

func TestWrongSettingsAreNamed(t *testing.T) {
	for want, change := range map[string]func(*Settings){
		"tvms.base_url is missing":                          func(s *Settings) { s.BaseURL = "" },
		"tvms.base_url is plain http":                       func(s *Settings) { s.BaseURL = "http://tvms.example" },
		"tvms.base_url must not end in /api":                func(s *Settings) { s.BaseURL = base + "/api/" },
		"tvms.auth_token is missing":                        func(s *Settings) { s.AuthToken = upstream.Secret{} },
		"tvms.auth_token has fewer than":                    func(s *Settings) { s.AuthToken = upstream.NewSecret("abc") },
		"tvms.auth_token and tvms.auth_token_file are both": func(s *Settings) { s.AuthTokenFile = "x" },
		"tvms.password_file: open /does/not/exist":          func(s *Settings) { s.Password, s.PasswordFile = upstream.Secret{}, "/does/not/exist" },
		`tvms.route "get" is none of get-v2, get-v2-async`:  func(s *Settings) { s.Route = "get" },
		"tvms.replies.refused must not hold 401":            func(s *Settings) { s.Replies.Refused = []int{401} },
		"tvms.replies.refused must not hold 200":            func(s *Settings) { s.Replies.Refused = []int{200} },
		"tvms.replies.not_applied must not hold 429":        func(s *Settings) { s.Replies.NotApplied = []int{429} },
		"both hold 406":                                     func(s *Settings) { s.Replies.NotApplied = []int{406} },
		`"json" is none of object`:                          func(s *Settings) { s.Replies.SuccessBodies = []string{"json"} },
		"nothing could ever succeed":                        func(s *Settings) { s.Replies.SuccessBodies = []string{} },
		"success_value is set without":                      func(s *Settings) { s.Replies.SuccessValue = "x" },
		"a body of kind empty has no members":               func(s *Settings) { s.Replies.SuccessField, s.Replies.SuccessBodies = "a", []string{"empty"} },
		"tvms.read_back.method":                             func(s *Settings) { s.ReadBack.Method = "getCustomer" },
		"tvms.read_back.expiry_field is missing":            func(s *Settings) { s.ReadBack.ExpiryField = "" },
		"tvms.read_back.format is missing":                  func(s *Settings) { s.ReadBack.Format = "" },
		"tvms.read_back.settle_after is 1s: it must be":     func(s *Settings) { s.ReadBack.SettleAfter = time.Second },
		"tvms.read_back.give_up_after is 1m0s: it must not": func(s *Settings) { s.ReadBack.GiveUpAfter, s.ReadBack.SettleAfter = time.Minute, 2*time.Minute },
		"tvms.read_back.time_zone \"Nowhere\" is no IANA":   func(s *Settings) { s.ReadBack.TimeZone = "Nowhere" },
	} {
		s := settings(base)
		s.ReadBack = ReadBack{Enabled: true, ExpiryField: "a", Format: formatSeconds}
		change(&s)
		_, _, err := New(s, guard(t, upstream.Settings{}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		} else if strings.Contains(err.Error(), "a#b") {
			t.Errorf("%v shows the token", err)
		}
	}
}

func TestSettingsFromYAMLAndFiles(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"token": token + "\n", "password": password + "\r\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := `
base_url: https://tvms.example/tv
auth_token_file: ` + filepath.Join(dir, "token") + `
password_file: ` + filepath.Join(dir, "password") + `
crm_service: demo_crm
route: post-v1
replies:
  refused: [400, 404, 406]
  not_applied: [503]
  message_field: Error
  success_bodies: [object, empty]
read_back:
  enabled: true
  method: GetCustomerStatus
  expiry_field: /0/ExpireDate
  format: "2006-01-02 15:04:05"
  time_zone: Europe/Berlin
  settle_after: 2m
  give_up_after: 10m
`
	var s Settings
	if err := yaml.UnmarshalWithOptions([]byte(text), &s, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	c, warnings, err := New(s, guard(t, upstream.Settings{}))
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	if c.settings.AuthToken.Reveal() != token || c.settings.Password.Reveal() != password || c.SettleAfter() != 2*time.Minute ||
		c.GiveUpAfter() != 10*time.Minute || !c.ReadBack() || c.route.path != "/api/RenewCustomer/renewCustomer" {
		t.Errorf("%+v", c)
	}
}
