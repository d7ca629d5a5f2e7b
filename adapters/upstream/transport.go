package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"
)

func newTransport(s *Settings) (*http.Transport, error) {
	secure, err := tlsConfig(s)
	if err != nil {
		return nil, fmt.Errorf("settings of upstream %s: %w", s.Name, err)
	}
	d := &dialer{dial: s.DialContext, connect: s.ConnectTimeout, handshake: s.TLSTimeout, secure: secure}
	plainHTTP1 := new(http.Protocols)
	plainHTTP1.SetHTTP1(true)
	headers := s.HeaderTimeout
	if headers >= s.CallTimeout {
		headers = 0 // the call's own time-out does, without a second timer
	}
	return &http.Transport{
		DialContext:            d.plain,
		DialTLSContext:         d.tls,
		Protocols:              plainHTTP1,
		MaxIdleConns:           s.Concurrency,
		MaxIdleConnsPerHost:    s.Concurrency,
		IdleConnTimeout:        s.IdleTimeout,
		ResponseHeaderTimeout:  headers,
		MaxResponseHeaderBytes: s.MaxHeader,
	}, nil
}

func tlsConfig(s *Settings) (*tls.Config, error) {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: s.TLSInsecureSkipVerify,
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
	}
	if s.TLSCAFile != "" {
		pem, err := os.ReadFile(s.TLSCAFile)
		if err != nil {
			return nil, fmt.Errorf("tls_ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls_ca_file: %s holds no PEM certificate", s.TLSCAFile)
		}
	}
	if s.TLSCertFile != "" {
		pair, err := tls.LoadX509KeyPair(s.TLSCertFile, s.TLSKeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls_cert_file and tls_key_file: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// dialer opens the connections of a transport, each counted by a meter.
type dialer struct {
	dial      Dial
	connect   time.Duration
	handshake time.Duration
	secure    *tls.Config
}

// unconnected is why there was no connection.
type unconnected struct {
	stage string // what people are told
	cause error
}

func (u *unconnected) Error() string { return u.stage + ": " + u.cause.Error() }
func (u *unconnected) Unwrap() error { return u.cause }

func (d *dialer) plain(ctx context.Context, network, addr string) (net.Conn, error) {
	m, err := d.open(ctx, network, addr)
	if err != nil {
		return nil, err // not m: a nil *meter is no nil net.Conn
	}
	return m, nil
}

func (d *dialer) open(ctx context.Context, network, addr string) (*meter, error) {
	ctx, cancel := context.WithTimeout(ctx, d.connect)
	defer cancel()
	conn, err := d.dial(ctx, network, addr)
	if err != nil {
		return nil, &unconnected{stage: connectStage(err), cause: err}
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		forgetAtClose(tcp)
	}
	return &meter{Conn: conn}, nil
}

// forgetAtClose has the system drop what it has not delivered when the connection is closed, or the process dies. By
// default it goes on trying to deliver for minutes: a request on its way when a cable was cut would arrive when the cable
// is back, long after a read has shown that nothing was done.
func forgetAtClose(c *net.TCPConn) {
	_ = c.SetLinger(0) // a connection that takes no options is a broken one, and the first write says so
}

// tls opens a connection and shakes hands. The meter it returns counts what is written into TLS, so that neither the
// handshake nor an alert at the end is taken for part of a request.
func (d *dialer) tls(ctx context.Context, network, addr string) (net.Conn, error) {
	raw, err := d.open(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := d.secure.Clone()
	c.ServerName, _, err = net.SplitHostPort(addr)
	if err != nil {
		c.ServerName = addr
	}
	conn := tls.Client(raw, c)
	ctx, cancel := context.WithTimeout(ctx, d.handshake)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, &unconnected{stage: "the TLS handshake failed", cause: err}
	}
	return &meter{Conn: conn, below: raw}, nil
}

// meter counts the bytes that may have left through a connection. A write counts before it begins, since whoever asks
// while it is under way must hear "perhaps"; what it then did not write is taken back.
type meter struct {
	net.Conn
	below *meter // what carries a TLS connection; nil otherwise
	count atomic.Int64
	heard atomic.Int64 // count as it was when the first byte came since a call took the connection; unheard before that
}

// unheard says that nothing was read from a connection since a call took it.
const unheard = -1

func (m *meter) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	if n > 0 {
		m.heard.CompareAndSwap(unheard, m.count.Load())
	}
	return n, err
}

func (m *meter) Write(b []byte) (int, error) {
	var carried int64
	if m.below != nil {
		carried = m.below.count.Load()
	}
	m.count.Add(int64(len(b)))
	n, err := m.Conn.Write(b)
	if m.below != nil && m.below.count.Load() != carried {
		return n, err // TLS may have sent more than it says
	}
	m.count.Add(int64(n - len(b)))
	return n, err
}

// BaseURL parses the address of an API and checks it: https (or http where plain HTTP is allowed, or on the loopback),
// a host, perhaps a path, nothing else. setting is the name that its errors give it; they never show the value.
func (g *Guard) BaseURL(setting, value string) (*url.URL, error) {
	u, err := url.Parse(value)
	switch {
	case value == "":
		return nil, fmt.Errorf("%s is missing", setting)
	case err != nil:
		return nil, fmt.Errorf("%s is no URL", setting)
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("%s must begin with https://", setting)
	case u.Hostname() == "":
		return nil, fmt.Errorf("%s names no host", setting)
	case u.User != nil:
		return nil, fmt.Errorf("%s must not hold a user name or password", setting)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("%s must not hold a query or fragment", setting)
	case u.Scheme == "http" && !g.settings.AllowPlainHTTP && !loopback(u.Hostname()):
		return nil, fmt.Errorf("%s is plain http, which shows the credentials to everybody on the way: use https, or set allow_plain_http", setting)
	}
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
