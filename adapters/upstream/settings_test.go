package upstream

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

func TestZeroSettingsWork(t *testing.T) {
	g := newGuard(t, Settings{})
	if g.Name() != "upstream" || g.Concurrency() != 16 || g.CallTimeout() != 30*time.Second || g.State() != "closed" {
		t.Errorf("%s: %d permits, %s, %s", g.Name(), g.Concurrency(), g.CallTimeout(), g.State())
	}
	if g.settings.Window != 2*time.Minute || g.settings.Burst != 1 {
		t.Errorf("window %s, burst %d", g.settings.Window, g.settings.Burst)
	}
}

func TestWrongSettingsAreNamed(t *testing.T) {
	header := func(s string) *string { return &s }
	notPEM := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(notPEM, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		settings Settings
		want     string
	}{
		{Settings{Concurrency: -1}, "concurrency must be positive"},
		{Settings{Rate: -2}, "rate must be 0"},
		{Settings{FailureRatio: 1.5}, "failure_ratio must be above 0"},
		{Settings{CallTimeout: 30 * time.Second, Window: time.Minute}, "window is 1m0s: it must be at least 2m0s, 4 times call_timeout (30s)"},
		{Settings{OpenFor: -time.Second}, "open_for must be positive"},
		{Settings{TLSCertFile: "a.pem"}, "tls_cert_file and tls_key_file must be set together"},
		{Settings{TLSCAFile: "/does/not/exist"}, "tls_ca_file"},
		{Settings{TLSCAFile: notPEM}, "holds no PEM certificate"},
		{Settings{TLSCertFile: notPEM, TLSKeyFile: notPEM}, "tls_cert_file and tls_key_file"},
		{Settings{RequestIDHeader: header("idempotency-key")}, "net/http repeats requests that carry it"},
		{Settings{RequestIDHeader: header("X-Idempotency-Key")}, "net/http repeats"},
		{Settings{RequestIDHeader: header("a b")}, "is no header name"},
		{Settings{RequestIDHeader: header("connection")}, "a meaning of its own"},
	} {
		_, err := New(c.settings)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("New(%+v) = %v, want %q", c.settings, err, c.want)
		}
	}
}

func TestBaseURL(t *testing.T) {
	strict, open := newGuard(t, Settings{}), newGuard(t, Settings{AllowPlainHTTP: true})
	for value, want := range map[string]string{
		"https://tvms.example":             "",
		"https://tvms.example:8443/prefix": "",
		"http://127.0.0.1:8080":            "",
		"http://localhost":                 "",
		"http://[::1]:80":                  "",
		"http://tvms.example":              "plain http",
		"":                                 "is missing",
		"tvms.example":                     "must begin with https://",
		"ftp://tvms.example":               "must begin with https://",
		"https://":                         "names no host",
		"https://u:p@tvms.example":         "user name or password",
		"https://tvms.example/?authToken=": "query or fragment",
		"https://tvms.example/#x":          "query or fragment",
		"https://tv\x00ms":                 "is no URL",
	} {
		_, err := strict.BaseURL("tvms.base_url", value)
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", value, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "tvms.base_url")):
			t.Errorf("%q: %v, want %q", value, err, want)
		}
	}
	if _, err := open.BaseURL("x", "http://tvms.example"); err != nil {
		t.Errorf("allow_plain_http: %v", err)
	}
}

func TestSettingsFromYAML(t *testing.T) {
	var s Settings
	text := "concurrency: 4\nrate: 12.5\ncall_timeout: 15s\nrequest_id_header: \"\"\nallow_plain_http: true\nmax_response: 2048\n"
	if err := yaml.UnmarshalWithOptions([]byte(text), &s, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	s.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }
	g := newGuard(t, s)
	if g.Concurrency() != 4 || g.settings.Rate != 12.5 || g.settings.Burst != 13 || g.CallTimeout() != 15*time.Second ||
		*g.settings.RequestIDHeader != "" || !g.settings.AllowPlainHTTP || g.settings.MaxResponse != 2048 {
		t.Errorf("%+v", g.settings)
	}
}
