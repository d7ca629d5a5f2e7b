package upstream

import (
	"bufio"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func writePair(t *testing.T, s *httptest.Server) (cert, key string) {
	t.Helper()
	pair := s.TLS.Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for file, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		key:  {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// stale serves one request of every connection, reads the second, and then breaks the connection. It counts requests.
func stale(t *testing.T, end func(net.Conn), requests *atomic.Int32) (url string) {
	return "http://" + speak(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		for first := true; ; first = false {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			io.Copy(io.Discard, r.Body)
			requests.Add(1)
			if !first {
				end(c)
				return
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
		}
	})
}

// net/http by itself repeats a GET whose reused connection breaks; Do sends nothing twice, whatever the method.
func TestNothingIsSentTwice(t *testing.T) {
	for how, end := range map[string]func(net.Conn){"closed": func(net.Conn) {}, "reset": reset} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
			t.Run(method+" "+how, func(t *testing.T) {
				var requests atomic.Int32
				url := stale(t, end, &requests)
				g := newGuard(t, Settings{})
				send := func() error {
					r, err := http.NewRequest(method, url, http.NoBody)
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("Idempotency-Key", "x")
					_, err = g.Do(t.Context(), r)
					return err
				}
				if err := send(); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(broken, failureOf(send())); diff != "" {
					t.Error(diff)
				}
				if n := requests.Load(); n != 2 {
					t.Errorf("%d requests arrived, of 2 sent", n)
				}
			})
		}
	}
}

// The test above can fail: the same GET through a plain client is repeated.
func TestThePlainClientRepeats(t *testing.T) {
	var requests atomic.Int32
	url := stale(t, func(net.Conn) {}, &requests)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for range 2 {
		resp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	if n := requests.Load(); n != 3 {
		t.Errorf("%d requests arrived, want 3: has net/http changed?", n)
	}
}

// A GET looks on the wire like any other, though its body is one that net/http cannot repeat.
func TestGETHasNoBodyOnTheWire(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 || len(r.TransferEncoding) > 0 || r.Header.Get("Content-Length") != "" {
			t.Errorf("length %d, encoding %v, headers %v", r.ContentLength, r.TransferEncoding, r.Header)
		}
	}))
	defer server.Close()
	r, _ := http.NewRequest(http.MethodGet, server.URL, nil)
	if _, err := newGuard(t, Settings{}).Do(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}
