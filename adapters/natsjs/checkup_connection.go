package natsjs

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"subrelay/events/checkup"
)

// certificateSoon is how long before its end a certificate is worth a warning.
const certificateSoon = 30 * 24 * time.Hour

// checkConnection looks at who could listen to, or take part in, what goes to the broker.
func (c *Checkup) checkConnection(ctx context.Context, found *checkup.Found) error {
	conn := c.js.Conn()
	if passwordInURL(c.settings.URL) {
		found.Add(checkup.Finding{Severity: checkup.Warning, Code: "nats.credentials_in_url", Of: RedactURL(c.settings.URL),
			What: "the address holds a user and password", Why: "addresses stand in lists of processes, shell histories and logs",
			Do: "set nats.user and nats.password_file, or nats.creds"})
	}
	state, err := conn.TLSConnectionState()
	remote := !isLoopback(conn.ConnectedAddr())
	switch {
	case err == nil && len(state.PeerCertificates) > 0:
		addCertificate(found, "nats.certificate", conn.ConnectedServerName(), state.PeerCertificates[0], "workers and tools cannot connect any more")
	case err != nil && remote:
		found.Add(checkup.Finding{Severity: checkup.Warning, Code: "nats.no_tls", Of: conn.ConnectedAddr(), Promise: true,
			What: "the connection to another machine has no TLS", Why: "whoever is on the way reads customers and credentials, and can publish commands and outcomes",
			Do: "configure tls {} on the servers, and set nats.url: tls://..., nats.ca_file where the authority is your own"})
	case err != nil:
		found.OK("nats.connection", conn.ConnectedServerName(), "on this machine, without TLS")
	}
	switch {
	case conn.AuthRequired() || !remote:
	case err == nil && demandsCertificate(ctx, conn):
		found.Add(checkup.Finding{Severity: checkup.Warning, Code: "nats.any_certificate", Of: conn.ConnectedServerName(),
			What: "the server lets in whoever has a certificate of its authority, with all rights",
			Why:  "whatever such a certificate was issued for, its owner can publish commands, and records of the ledger",
			Do:   "configure users with the rights that each role needs, told by their certificates: tls { verify_and_map: true }, and subrelay topology permissions"})
	default:
		found.Add(checkup.Finding{Severity: checkup.Warning, Code: "nats.no_authentication", Of: conn.ConnectedServerName(), Promise: true,
			What: "the server lets everybody in", Why: "anybody who reaches it can publish commands, and records of the ledger",
			Do: "configure users on the servers, with the rights that each role needs, and set nats.creds"})
	}
	return nil
}

// addCertificate reports a certificate's end.
func addCertificate(found *checkup.Found, code, of string, cert *x509.Certificate, why string) {
	left := time.Until(cert.NotAfter)
	f := checkup.Finding{Code: code, Of: of, What: fmt.Sprintf("its certificate is good until %s", cert.NotAfter.UTC().Format(time.DateOnly))}
	if left < certificateSoon {
		f.Severity, f.Why, f.Do = checkup.Warning, why, "renew the certificate"
	}
	if left < 0 {
		f.Severity, f.What = checkup.Error, "its certificate expired on "+cert.NotAfter.UTC().Format(time.DateOnly)
	}
	found.Add(f)
}

func passwordInURL(list string) bool {
	for part := range strings.SplitSeq(list, ",") {
		if u, err := url.Parse(strings.TrimSpace(part)); err == nil && u.User != nil {
			return true
		}
	}
	return false
}

// isLoopback reports whether an address is this machine's own. An in-process connection is, too.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	ip := net.ParseIP(host)
	return host == "" || host == "pipe" || host == "localhost" || ip != nil && ip.IsLoopback()
}
