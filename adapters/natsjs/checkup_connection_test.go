package natsjs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs/natstest"
	"subrelay/events/checkup"
)

// farConn is a connection that says that its other end is another machine.
type farConn struct{ net.Conn }

func (farConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4222} }

type farDialer struct{}

func (farDialer) Dial(network, addr string) (net.Conn, error) {
	conn, err := net.Dial(network, addr)
	return farConn{conn}, err
}

// checkConnectionTo connects and looks at the connection alone.
func checkConnectionTo(t *testing.T, url string, options ...nats.Option) []checkup.Finding {
	t.Helper()
	return checkTo(t, url, func(k *Checkup) []checkup.Check { return []checkup.Check{{Name: "connection", Run: k.checkConnection}} }, options...)
}

// checkTo connects and makes some of the checks.
func checkTo(t *testing.T, url string, checks func(*Checkup) []checkup.Check, options ...nats.Option) []checkup.Finding {
	t.Helper()
	conn, err := nats.Connect(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	k := NewCheckup(js, CheckupSettings{Topology: topology(t, nil), URL: url})
	return checkup.Run(t.Context(), checks(k))
}

func TestCheckupFindsAnOpenConnection(t *testing.T) {
	far := nats.SetCustomDialer(farDialer{})
	open := natstest.StartConfigured(t, "")
	found := checkConnectionTo(t, open.URL(), far)
	for _, code := range []string{"nats.no_tls", "nats.no_authentication"} {
		if f := wantFinding(t, found, checkup.Warning, code, "", ""); !f.Promise {
			t.Errorf("%s lets a worker start in production", code)
		}
	}
	found = checkTo(t, open.URL(), (*Checkup).PromiseChecks, far) // as a worker in production starts
	if f := wantFinding(t, found, checkup.Warning, "nats.no_tls", "", ""); !f.Refused() {
		t.Error("a worker does not look at its connection before it starts in production")
	}
	found = checkConnectionTo(t, open.URL())
	wantSilence(t, found, "nats.")
	wantFinding(t, found, checkup.OK, "nats.connection", "", "on this machine")

	closed := natstest.StartConfigured(t, `authorization { user: u, password: p }`)
	found = checkConnectionTo(t, "nats://u:p@"+closed.Addr().String(), far)
	wantFinding(t, found, checkup.Warning, "nats.no_tls", "192.0.2.1:4222", "")
	wantSilence(t, found, "nats.no_authentication")
	wantFinding(t, found, checkup.Warning, "nats.credentials_in_url", "nats://***@127.0.0.1", "")
}

// TestCheckupTellsCertificatesFromNobody is of servers without users: one that lets in who has a certificate is not open
// to everybody.
func TestCheckupTellsCertificatesFromNobody(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("client", unchanged)
	options := []nats.Option{nats.RootCAs(a.file), nats.ClientCert(cert, key), nats.SetCustomDialer(farDialer{})}
	for _, tc := range []struct {
		tls, code string
		promise   bool
		more      []nats.Option
	}{
		{"", "nats.no_authentication", true, nil},
		{"verify: true", "nats.any_certificate", false, nil},
		{"verify: true, handshake_first: true", "nats.any_certificate", false, []nats.Option{nats.TLSHandshakeFirst()}},
		{"handshake_first: true", "nats.no_authentication", true, []nats.Option{nats.TLSHandshakeFirst()}},
	} {
		t.Run(tc.tls, func(t *testing.T) {
			s := natstest.StartConfigured(t, a.tlsConfig(tc.tls, unchanged))
			found := checkConnectionTo(t, "tls://"+s.Addr().String(), append(tc.more, options...)...)
			if f := wantFinding(t, found, checkup.Warning, tc.code, "", ""); f.Promise != tc.promise {
				t.Errorf("breaks the promise: %t", f.Promise)
			}
			for _, other := range []string{"nats.no_authentication", "nats.any_certificate", "nats.no_tls"} {
				if other != tc.code {
					wantSilence(t, found, other)
				}
			}
		})
	}
}

// certified writes a certificate for 127.0.0.1 that is good until end, and is the server's configuration for it.
func certified(t *testing.T, end time.Time) (config, caFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nats"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: end, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf("tls { cert_file: %q, key_file: %q }", cert, keyFile), cert
}

func TestCheckupLooksAtTheServersCertificate(t *testing.T) {
	for left, want := range map[time.Duration]checkup.Severity{1000 * time.Hour: checkup.OK, 100 * time.Hour: checkup.Warning} {
		config, ca := certified(t, time.Now().Add(left))
		s := natstest.StartConfigured(t, config)
		found := checkConnectionTo(t, s.URL(), nats.RootCAs(ca), nats.SetCustomDialer(farDialer{}))
		wantFinding(t, found, want, "nats.certificate", "", "good until")
		wantSilence(t, found, "nats.no_tls")
	}
}

func TestCheckupJudgesAccounts(t *testing.T) {
	for _, tc := range []struct {
		tier     jetstream.Tier
		severity checkup.Severity
		code     string // "": nothing
	}{
		{jetstream.Tier{Store: 999, Limits: jetstream.AccountLimits{MaxStore: -1, MaxStreams: -1, MaxConsumers: -1}}, checkup.OK, ""},
		{jetstream.Tier{Store: 79, Limits: jetstream.AccountLimits{MaxStore: 100, MaxStreams: -1, MaxConsumers: -1}}, checkup.OK, ""},
		{jetstream.Tier{Store: 80, Limits: jetstream.AccountLimits{MaxStore: 100, MaxStreams: -1, MaxConsumers: -1}}, checkup.Warning, "account.storage"},
		{jetstream.Tier{Store: 96, Limits: jetstream.AccountLimits{MaxStore: 100, MaxStreams: -1, MaxConsumers: -1}}, checkup.Error, "account.storage"},
		{jetstream.Tier{Consumers: 49, Limits: jetstream.AccountLimits{MaxStore: -1, MaxStreams: -1, MaxConsumers: 50}}, checkup.Warning, "account.consumers"},
	} {
		found := &checkup.Found{}
		checkTier("R3", tc.tier, found)
		all := found.All()
		if tc.code == "" && len(all) > 0 || tc.code != "" && (len(all) != 1 || all[0].Code != tc.code || all[0].Severity != tc.severity) {
			t.Errorf("%+v: %+v", tc.tier, all)
		}
	}
}

// TestCheckupFindsAnOlderState puts another stream in the place of the commands, as a restored backup does.
func TestCheckupFindsAnOlderState(t *testing.T) {
	found := &checkup.Found{}
	c := newClinic(t, nil)
	for n := range 3 {
		c.publishRenewal(fmt.Sprint(n), "C-1")
	}
	s, err := c.js.Stream(t.Context(), "SUBRELAY_COMMANDS")
	if err != nil {
		t.Fatal(err)
	}
	have, err := consumersOf(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	k := NewCheckup(c.js, CheckupSettings{Topology: c.top})
	if err := k.checkUndelivered(t.Context(), s, have, found); err != nil || found.Len() > 0 {
		t.Fatalf("%+v %v", found.All(), err)
	}
	have["tvms-00"].Delivered.Stream = 9 // as of the state that was lost
	if err := k.checkUndelivered(t.Context(), s, have, found); err != nil {
		t.Fatal(err)
	}
	wantFinding(t, found.All(), checkup.Error, "stream.went_back", "SUBRELAY_COMMANDS", "last sequence is 3")
}
