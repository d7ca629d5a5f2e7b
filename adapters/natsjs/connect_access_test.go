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
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"subrelay/adapters/natsjs/natstest"
)

// authority signs certificates, and keeps them in files.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.file, _ = a.issue("ca", func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	})
	return a
}

// issue writes a certificate and its key; the first is the authority's own.
func (a *authority) issue(name string, change func(*x509.Certificate)) (certFile, keyFile string) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	change(c)
	if a.cert == nil {
		a.cert, a.key = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key")
	writeFile(a.t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	writeFile(a.t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	return certFile, keyFile
}

func writeFile(t *testing.T, file string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func unchanged(*x509.Certificate) {}

// tlsConfig is a server's, in its own language.
func (a *authority) tlsConfig(more string, change func(*x509.Certificate)) string {
	cert, key := a.issue("server", change)
	return fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, %s }\n", cert, key, a.file, more)
}

// connects tries to connect; want is "", or what the error says.
func connects(t *testing.T, o ConnectOptions, want string) {
	t.Helper()
	nc, err := Connect(o)
	if err == nil {
		err = nc.FlushTimeout(10 * time.Second)
		nc.Close()
	}
	switch {
	case want == "" && err != nil:
		t.Errorf("no connection: %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("got %v, want something of %q", err, want)
	case err != nil && strings.Contains(err.Error(), "s3cr3t"):
		t.Errorf("the error shows a secret: %v", err)
	}
}

func TestConnectByPasswordOrToken(t *testing.T) {
	s := natstest.StartConfigured(t, `authorization { users: [{user: anna, password: s3cr3t}] }`)
	connects(t, ConnectOptions{URL: s.URL(), User: "anna", Password: "s3cr3t"}, "")
	connects(t, ConnectOptions{URL: s.URL(), User: "anna", Password: "s3cr3t-not"}, "the server refuses user anna")
	connects(t, ConnectOptions{URL: s.URL()}, "the server refuses nobody (no credentials are set)")
	connects(t, ConnectOptions{URL: s.URL(), User: "anna", Password: "s3cr3t", Token: "x"}, "several of credentials file, NKey, user and token")
	connects(t, ConnectOptions{URL: s.URL(), Password: "s3cr3t"}, "a password and no user")
	s = natstest.StartConfigured(t, `authorization { token: s3cr3t }`)
	connects(t, ConnectOptions{URL: s.URL(), Token: "s3cr3t"}, "")
	connects(t, ConnectOptions{URL: s.URL(), Token: "s3cr3t-not"}, "the server refuses the user of the token")
}

func newKey(t *testing.T, create func() (nkeys.KeyPair, error)) (pair nkeys.KeyPair, public string, seed []byte) {
	t.Helper()
	pair, err := create()
	if err == nil {
		public, err = pair.PublicKey()
	}
	if err == nil {
		seed, err = pair.Seed()
	}
	if err != nil {
		t.Fatal(err)
	}
	return pair, public, seed
}

func TestConnectByNKey(t *testing.T) {
	_, public, seed := newKey(t, nkeys.CreateUser)
	_, _, other := newKey(t, nkeys.CreateUser)
	_, _, account := newKey(t, nkeys.CreateAccount)
	s := natstest.StartConfigured(t, fmt.Sprintf(`authorization { users: [{nkey: %s}] }`, public))
	file := filepath.Join(t.TempDir(), "user.nk")
	for want, content := range map[string][]byte{
		"": seed, "the server refuses the user of the NKey in " + file: other,
		"the NKey file " + file + " holds no seed of a user": account, "it must begin with SU": []byte("nonsense"),
	} {
		writeFile(t, file, content)
		connects(t, ConnectOptions{URL: s.URL(), NKeyFile: file}, want)
	}
}

func TestConnectByCredentials(t *testing.T) {
	operator, operatorKey, _ := newKey(t, nkeys.CreateOperator)
	account, accountKey, _ := newKey(t, nkeys.CreateAccount)
	_, userKey, userSeed := newKey(t, nkeys.CreateUser)
	encode := func(claims jwt.Claims, by nkeys.KeyPair) string {
		text, err := claims.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	// The permissions are those of -o json, as nsc would take them.
	billing := accessTopology(t, TopologySettings{}).Access(AccessOptions{})[0]
	creds := func(name string, change func(*jwt.UserClaims), by nkeys.KeyPair) string {
		user := jwt.NewUserClaims(userKey)
		user.Pub, user.Sub = jwt.Permission{Allow: billing.Publish.Allow}, jwt.Permission{Allow: billing.Subscribe.Allow}
		change(user)
		raw, err := jwt.FormatUserConfig(encode(user, by), userSeed)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), name+".creds")
		writeFile(t, file, raw)
		return file
	}
	_, systemKey, _ := newKey(t, nkeys.CreateAccount)
	s := natstest.StartConfigured(t, fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload { %[2]s: %[3]s, %s: %s }\n",
		encode(jwt.NewOperatorClaims(operatorKey), operator), systemKey, encode(jwt.NewAccountClaims(systemKey), operator),
		accountKey, encode(jwt.NewAccountClaims(accountKey), operator)))

	good := creds("good", func(*jwt.UserClaims) {}, account)
	nc, err := Connect(ConnectOptions{URL: s.URL(), Creds: good, InboxPrefix: billing.InboxPrefix})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for subject, want := range map[string]bool{"subrelay.cmd.renew.C-1": true, "subrelay.ledger.renew.succeeded.C-1.x": false} {
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		if r, _ := LastRefusal(nc, "me"); (r.Subject == subject) == want {
			t.Errorf("publishing to %s: refused is %q", subject, r.Subject)
		}
	}
	stranger, _, _ := newKey(t, nkeys.CreateAccount)
	connects(t, ConnectOptions{URL: s.URL(), Creds: creds("stranger", func(*jwt.UserClaims) {}, stranger)}, "the server refuses the user of the credentials")
	connects(t, ConnectOptions{URL: s.URL(), Creds: creds("old", func(u *jwt.UserClaims) { u.Expires = 1 }, account)}, "has expired at 1970-01-01T00:00:01Z: get a new one")
	writeFile(t, good, []byte("nonsense"))
	connects(t, ConnectOptions{URL: s.URL(), Creds: good}, "holds no user's seed: it must be a .creds file")
	writeFile(t, good, []byte("-----BEGIN NATS USER JWT-----\nx.y.z\n------END NATS USER JWT------\n"+
		"-----BEGIN USER NKEY SEED-----\n"+string(userSeed)+"\n------END USER NKEY SEED------\n"))
	connects(t, ConnectOptions{URL: s.URL(), Creds: good}, "holds a JWT that is no user's")
}

func TestConnectByCertificate(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	s := natstest.StartConfigured(t, ours.tlsConfig("verify_and_map: true", unchanged)+`authorization { users: [{user: "CN=billing"}] }`)
	cert, key := ours.issue("billing", unchanged)
	with := func(ca, cert, key string) ConnectOptions {
		return ConnectOptions{URL: s.URL(), CAFile: ca, CertFile: cert, KeyFile: key}
	}
	connects(t, with(ours.file, cert, key), "")

	connects(t, with(ours.file, "", ""), "the server wants a client certificate")
	connects(t, with(ours.file, cert, ""), "no key to it")
	connects(t, with(ours.file, "", key), "no client certificate to it")
	unknown, unknownKey := ours.issue("stranger", unchanged)
	connects(t, with(ours.file, unknown, unknownKey), "the server refuses the user of the certificate "+unknown)
	connects(t, with(ours.file, cert, unknownKey), "do not go together")
	alien, alienKey := theirs.issue("billing", unchanged)
	connects(t, with(ours.file, alien, alienKey), "the server refuses our side of TLS")
	old, oldKey := ours.issue("old", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })
	connects(t, with(ours.file, old, oldKey), "the client certificate "+old+" has expired at")
	early, earlyKey := ours.issue("early", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) })
	connects(t, with(ours.file, early, earlyKey), "is this machine's clock right?")
	connects(t, with(theirs.file, cert, key), "not signed by an authority of "+theirs.file)
	connects(t, with("", cert, key), "name it with --tls-ca")
	connects(t, with(key, cert, key), "holds no certificate in PEM")
	connects(t, with(filepath.Join(ours.dir, "none"), cert, key), "the file of authorities "+filepath.Join(ours.dir, "none")+" does not exist")
}

func TestConnectOverTLS(t *testing.T) {
	ours := newAuthority(t)
	expired := natstest.StartConfigured(t, ours.tlsConfig("", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }))
	connects(t, ConnectOptions{URL: expired.URL(), CAFile: ours.file}, "the server's certificate has expired")
	elsewhere := natstest.StartConfigured(t, ours.tlsConfig("", func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"nats.example"} }))
	connects(t, ConnectOptions{URL: elsewhere.URL(), CAFile: ours.file}, "not for the name it was reached by")
	plain := natstest.StartConfigured(t, "")
	connects(t, ConnectOptions{URL: plain.URL(), CAFile: ours.file}, "the server offers no TLS")

	first := natstest.StartConfigured(t, ours.tlsConfig("handshake_first: true", unchanged))
	connects(t, ConnectOptions{URL: first.URL(), CAFile: ours.file, TLSFirst: true}, "")
	connects(t, ConnectOptions{URL: plain.URL(), CAFile: ours.file, TLSFirst: true}, "the server did not answer with TLS")
	old := natstest.StartConfigured(t, ours.tlsConfig("", unchanged))
	connects(t, ConnectOptions{URL: old.URL(), CAFile: ours.file}, "")
	connects(t, ConnectOptions{URL: old.URL()}, "name it with --tls-ca")
}
