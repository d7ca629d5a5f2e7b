package natsjs

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// demandsCertificate reports whether the server of a connection over TLS lets in only who shows a certificate that its
// authority has signed (tls { verify: true }). The server says so in its first line, which the client keeps to itself: so
// it is read once more. False where that cannot be done.
func demandsCertificate(ctx context.Context, conn *nats.Conn) bool {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	line, err := greeting(ctx, conn)
	if err != nil {
		return false
	}
	var server struct {
		Verify bool `json:"tls_verify"`
	}
	text, found := strings.CutPrefix(line, "INFO ")
	return found && json.Unmarshal([]byte(text), &server) == nil && server.Verify
}

// greeting is the first line that the server of a connection says to whoever connects to it.
func greeting(ctx context.Context, conn *nats.Conn) (string, error) {
	u, err := url.Parse(conn.ConnectedUrl())
	if err != nil {
		return "", err
	}
	dial := func() (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "tcp", u.Host) }
	if own := conn.Opts.CustomDialer; own != nil {
		dial = func() (net.Conn, error) { return own.Dial("tcp", u.Host) }
	}
	wire, err := dial()
	if err != nil {
		return "", err
	}
	defer wire.Close()
	if end, limited := ctx.Deadline(); limited {
		if err := wire.SetDeadline(end.Add(-time.Millisecond)); err != nil {
			return "", err
		}
	}
	if conn.Opts.TLSHandshakeFirst {
		if wire, err = shakeHands(ctx, wire, conn, u.Hostname()); err != nil {
			return "", err
		}
	}
	return bufio.NewReader(io.LimitReader(wire, 1<<16)).ReadString('\n')
}

// shakeHands begins TLS as the client of the connection does.
func shakeHands(ctx context.Context, wire net.Conn, conn *nats.Conn, name string) (net.Conn, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if conn.Opts.TLSConfig != nil {
		config = conn.Opts.TLSConfig.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = name
	}
	if own := conn.Opts.TLSCertCB; own != nil {
		cert, err := own()
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{cert}
	}
	if roots := conn.Opts.RootCAsCB; roots != nil {
		pool, err := roots()
		if err != nil {
			return nil, err
		}
		config.RootCAs = pool
	}
	secured := tls.Client(wire, config)
	return secured, secured.HandshakeContext(ctx)
}
