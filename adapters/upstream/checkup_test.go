package upstream_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"subrelay/adapters/upstream"
	"subrelay/events/checkup"
)

// secured is an HTTPS server for the name api.example, with a certificate of its own until end. calls counts requests.
type secured struct {
	*httptest.Server
	caFile string
	calls  atomic.Int32
}

func newSecured(t *testing.T, end time.Time) *secured {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "api.example"}, DNSNames: []string{"api.example"},
		NotBefore: end.Add(-1000 * time.Hour), NotAfter: end, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s := &secured{caFile: filepath.Join(t.TempDir(), "ca.pem")}
	if err := os.WriteFile(s.caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { s.calls.Add(1) }))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// to reaches the server under any name.
func (s *secured) to(ctx context.Context, network, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, s.Listener.Addr().String())
}

// TestSettingsCheck tells what can break the promise from what may be so: an imitation on this machine.
func TestSettingsCheck(t *testing.T) {
	for _, tc := range []struct {
		url      string
		settings upstream.Settings
		code     string
		promise  bool
	}{
		{"http://api.example", upstream.Settings{AllowPlainHTTP: true}, "upstream.plain_http", true},
		{"https://api.example", upstream.Settings{TLSInsecureSkipVerify: true}, "upstream.unverified", true},
		{"https://127.0.0.1:1", upstream.Settings{TLSInsecureSkipVerify: true}, "upstream.unverified", false},
		{"http://127.0.0.1:1", upstream.Settings{AllowPlainHTTP: true}, "upstream.loopback", false},
	} {
		found := checkup.Run(t.Context(), []checkup.Check{upstream.SettingsCheck("y", tc.settings, "x.base_url", tc.url)})
		if len(found) == 0 || found[0].Code != tc.code || found[0].Of != "y" || found[0].Promise != tc.promise {
			t.Errorf("%s, %+v: %+v", tc.url, tc.settings, found)
		}
	}
	if found := checkup.Run(t.Context(), []checkup.Check{upstream.SettingsCheck("y", upstream.Settings{}, "x.base_url", "https://api.example")}); len(found) != 0 {
		t.Errorf("%+v", found)
	}
}

func TestCheck(t *testing.T) {
	good, soon, over := newSecured(t, time.Now().Add(900*time.Hour)), newSecured(t, time.Now().Add(100*time.Hour)), newSecured(t, time.Now().Add(-time.Hour))
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	toPlain := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, plain.Listener.Addr().String())
	}
	for _, tc := range []struct {
		name, url string
		settings  upstream.Settings
		severity  checkup.Severity
		code      string
		words     string // in what is found, or what to do
	}{
		{"reached", "https://api.example", upstream.Settings{DialContext: good.to, TLSCAFile: good.caFile}, checkup.OK, "upstream.reached", "api.example:443 answers"},
		{"a good certificate", "https://api.example", upstream.Settings{DialContext: good.to, TLSCAFile: good.caFile}, checkup.OK, "upstream.certificate", "good until"},
		{"a certificate that ends soon", "https://api.example", upstream.Settings{DialContext: soon.to, TLSCAFile: soon.caFile}, checkup.Warning, "upstream.certificate", "in 4 days"},
		{"an expired certificate", "https://api.example", upstream.Settings{DialContext: over.to, TLSCAFile: over.caFile}, checkup.Error, "upstream.certificate", "renew"},
		{"another name", "https://other.example", upstream.Settings{DialContext: good.to, TLSCAFile: good.caFile}, checkup.Error, "upstream.certificate", "x.base_url to a name"},
		{"an unknown authority", "https://api.example", upstream.Settings{DialContext: good.to}, checkup.Error, "upstream.certificate", "x.tls_ca_file"},
		{"unverified", "https://api.example", upstream.Settings{DialContext: good.to, TLSInsecureSkipVerify: true}, checkup.Warning, "upstream.unverified", "x.tls_insecure_skip_verify"},
		{"nobody there", "https://127.0.0.1:1", upstream.Settings{}, checkup.Error, "upstream.unreachable", "refused"},
		{"nobody there, over TLS", "https://127.0.0.1:1", upstream.Settings{}, checkup.Error, "upstream.unreachable", "curl -v https://127.0.0.1:1"},
		{"nobody there, without TLS", "http://127.0.0.1:1", upstream.Settings{}, checkup.Error, "upstream.unreachable", "curl -v http://127.0.0.1:1"},
		{"no such name", "https://nobody.invalid", upstream.Settings{}, checkup.Error, "upstream.unreachable", "DNS"},
		{"no TLS there", "https://api.example", upstream.Settings{DialContext: toPlain}, checkup.Error, "upstream.unreachable", "TLS"},
		{"plain", "http://api.example", upstream.Settings{DialContext: toPlain, AllowPlainHTTP: true}, checkup.Warning, "upstream.plain_http", "https"},
		{"loopback", plain.URL, upstream.Settings{}, checkup.Note, "upstream.loopback", "this machine"},
		{"settings that are wrong", "https://api.example", upstream.Settings{TLSCAFile: "/nowhere"}, checkup.Warning, checkup.CodeFailed, "tls_ca_file"},
		{"an address that is none", "ftp://api.example", upstream.Settings{}, checkup.Warning, checkup.CodeFailed, "https://"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			found := checkup.Run(t.Context(), []checkup.Check{upstream.Check("x", tc.settings, tc.url)})
			for _, f := range found {
				if f.Code == tc.code && f.Severity == tc.severity && strings.Contains(f.What+f.Do, tc.words) {
					if f.Severity > checkup.Note && (f.Why == "" || f.Do == "") {
						t.Errorf("it says not why, or not what to do: %+v", f)
					}
					return
				}
			}
			t.Errorf("%+v", found)
		})
	}
	if n := good.calls.Load() + soon.calls.Load(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}
