package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/upstream"
	"subrelay/events"
)

// TestTLSFaults calls upstreams whose TLS fails, each in turn, in every way: nothing was sent, so no attempt is used and
// nothing is in doubt, and when the server is itself again, the command is done.
func TestTLSFaults(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T) {
		good := newCertificate(t, func(*x509.Certificate) {})
		w := tlsWorld(t, good)
		defer w.close()
		app := w.start().app
		for name, broken := range tlsFaults(t) {
			for i, up := range testedUpstreams() {
				line := w.lines[[]string{tvmsAddr, crmAddr, crmAddr}[i]]
				guard, key := app.Guard(string(up.name)), name+"-"+string(up.name)
				time.Sleep(10 * time.Second) // idle connections are gone by then
				opened, first := guard.Opened(), up.first(w, key)
				once := func(context.Context, func(context.Context) (net.Conn, error)) (net.Conn, error) {
					line.broken.Store(nil)
					here, there := net.Pipe()
					go broken(there)
					return here, nil
				}
				line.broken.Store(&once)
				w.send(first)
				r := w.outcomeOf(first)
				want := "started, deferred upstream_unreachable (0 spent), started, succeeded"
				if got := w.tale(first); got != want || r.Status != events.Succeeded {
					t.Errorf("%s, %s: %s, want %s", name, up.name, got, want)
				}
				if n := guard.Opened() - opened; n != 1 || w.effectsOf(first) != 1 {
					t.Errorf("%s, %s: the breaker opened %d times, and there are %d effects", name, up.name, n, w.effectsOf(first))
				}
			}
		}
		w.settle(time.Minute)
		w.verdict()
	})
}

// tlsFaults is what a connection may meet in place of the upstream. Each ends with the connection.
func tlsFaults(t *testing.T) map[string]func(net.Conn) {
	t.Helper()
	speaks := func(change func(*x509.Certificate)) func(net.Conn) {
		config := &tls.Config{Certificates: []tls.Certificate{newCertificate(t, change).pair}}
		return func(c net.Conn) {
			_ = tls.Server(c, config).Handshake()
			_ = c.Close()
		}
	}
	return map[string]func(net.Conn){
		"untrusted": speaks(func(*x509.Certificate) {}),
		"expired":   speaks(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }),
		"another":   speaks(func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)} }),
		"plain": func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1<<10))
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"))
			_ = c.Close()
		},
		"closed": func(c net.Conn) {
			_, _ = c.Read(make([]byte, 10))
			_ = c.Close()
		},
		"silent": func(c net.Conn) {
			for b := make([]byte, 1<<10); ; {
				if _, err := c.Read(b); err != nil {
					return
				}
			}
		},
	}
}

// tlsWorld is a world whose upstreams are called by TLS, with this certificate.
func tlsWorld(t *testing.T, good certificate) *world {
	t.Helper()
	cfg := shortConfig()
	cfg.Streams.Partitions = 1
	cfg.withTVMS()
	cfg.withCRMCOM()
	no := false
	cfg.Netflix.API.ReadBack = &no
	cfg.TVMS.API.BaseURL, cfg.CRMCOM.API.BaseURL = "https://"+tvmsAddr, "https://"+crmAddr
	for _, guard := range []*upstream.Settings{&cfg.TVMS.Guard, &cfg.CRMCOM.Guard, &cfg.Netflix.Guard} {
		guard.ConsecutiveFailures, guard.TLSCAFile, guard.TLSTimeout = 1, good.file, 2*time.Second
	}
	w := newWorld(t, 1, cfg)
	for addr, handler := range map[string]http.Handler{tvmsAddr: w.tvms.Handler(), crmAddr: w.crm.Handler()} {
		line := newPipes()
		server := &http.Server{Handler: handler, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
		w.lines[addr], w.servers = line, append(w.servers, server)
		go server.Serve(tls.NewListener(line, &tls.Config{Certificates: []tls.Certificate{good.pair}})) // ends with close
	}
	return w
}

// certificate is one that signs itself.
type certificate struct {
	pair tls.Certificate
	file string // PEM
}

func newCertificate(t *testing.T, change func(*x509.Certificate)) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	draft := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "upstream"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	change(draft)
	der, err := x509.CreateCertificate(rand.Reader, draft, draft, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c := certificate{pair: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file: filepath.Join(t.TempDir(), "cert.pem")}
	if err := os.WriteFile(c.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}
