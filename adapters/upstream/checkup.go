package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"subrelay/events/checkup"
)

// certificateSoon is how long before its end a certificate is worth a warning.
const certificateSoon = 30 * 24 * time.Hour

// SettingsCheck looks at what these settings, and an API at baseURL, give away to whoever is on the way there. It asks
// nobody. section is where the settings stand in the configuration, setting where the address does.
func SettingsCheck(section string, s Settings, setting, baseURL string) checkup.Check {
	return checkup.Check{Name: "settings of upstream " + section, Run: func(_ context.Context, found *checkup.Found) error {
		g, u, err := open(s, setting, baseURL)
		if err != nil {
			return err
		}
		defer g.Close()
		g.checkSettings(section, setting, u, found)
		return nil
	}}
}

// open is a guard with these settings, and where its API is.
func open(s Settings, setting, baseURL string) (*Guard, *url.URL, error) {
	g, err := New(s)
	if err != nil {
		return nil, nil, err
	}
	u, err := g.BaseURL(setting, baseURL)
	if err != nil {
		g.Close()
		return nil, nil, err
	}
	return g, u, nil
}

// Check looks whether the API at baseURL can be reached with these settings, and whether its certificate is good. It
// connects and shakes hands, and sends no request. section is where the settings stand in the configuration.
func Check(section string, s Settings, baseURL string) checkup.Check {
	return checkup.Check{Name: "upstream " + section, Timeout: time.Minute, Run: func(ctx context.Context, found *checkup.Found) error {
		setting := section + ".base_url"
		g, u, err := open(s, setting, baseURL)
		if err != nil {
			return err
		}
		defer g.Close()
		g.checkSettings(section, setting, u, found)
		return g.reach(ctx, section, u, found)
	}}
}

func (g *Guard) checkSettings(section, setting string, u *url.URL, found *checkup.Found) {
	host := u.Hostname()
	switch {
	case loopback(host):
		found.Add(checkup.Finding{Severity: checkup.Note, Code: "upstream.loopback", Of: section, What: setting + " is on this machine",
			Why: "it may be an imitation, as of subrelay sandbox, and not the real one"})
	case u.Scheme == "http":
		found.Add(checkup.Finding{Severity: checkup.Warning, Code: "upstream.plain_http", Of: section, Promise: true, What: setting + " is plain http, to another machine",
			Why: "whoever is on the way reads the credentials and can answer in the upstream's place", Do: "set " + setting + ": https://... and remove " + section + ".allow_plain_http"})
	}
	if g.settings.TLSInsecureSkipVerify {
		found.Add(checkup.Finding{Severity: checkup.Warning, Code: "upstream.unverified", Of: section, Promise: !loopback(host), What: section + ".tls_insecure_skip_verify is set",
			Why: "anybody in between can read the credentials and answer in the upstream's place", Do: "remove it; set " + section + ".tls_ca_file where the authority is your own"})
	}
}

// reach connects as a call would.
func (g *Guard) reach(ctx context.Context, section string, u *url.URL, found *checkup.Found) error {
	secure, err := tlsConfig(&g.settings)
	if err != nil {
		return err
	}
	var peer *x509.Certificate
	secure.VerifyConnection = func(state tls.ConnectionState) error {
		peer = state.PeerCertificates[0]
		return nil
	}
	d := &dialer{dial: g.settings.DialContext, connect: g.settings.ConnectTimeout, handshake: g.settings.TLSTimeout, secure: secure}
	dial, port := d.plain, "80"
	if u.Scheme == "https" {
		dial, port = d.tls, "443"
	}
	if p := u.Port(); p != "" {
		port = p
	}
	addr := net.JoinHostPort(u.Hostname(), port)
	conn, err := dial(ctx, "tcp", addr)
	if err != nil {
		found.Add(g.unreached(section, u.Scheme+"://"+addr, err))
		return nil
	}
	_ = conn.Close()
	found.OK("upstream.reached", section, "%s answers", addr)
	if peer != nil {
		addEnd(found, "upstream.certificate", section, peer)
	}
	for _, own := range secure.Certificates {
		if own.Leaf != nil {
			addEnd(found, "upstream.client_certificate", section, own.Leaf)
		}
	}
	return nil
}

// unreached says why there was no connection, and what to do.
func (g *Guard) unreached(section, address string, err error) checkup.Finding {
	f := checkup.Finding{Severity: checkup.Error, Code: "upstream.unreachable", Of: section, What: address + ": " + g.Clean(err.Error()),
		Why: "its commands wait until it can be reached", Do: "is it up, and may this machine reach it? curl -v " + address}
	var dns *net.DNSError
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &dns):
		f.Do = "is the name in " + section + ".base_url right, and does this machine's DNS know it?"
	case errors.As(err, &name):
		f.Code, f.Do = "upstream.certificate", "set "+section+".base_url to a name that the certificate holds"
	case errors.As(err, &authority):
		f.Code, f.Do = "upstream.certificate", "set "+section+".tls_ca_file to the authority that signed it"
	case errors.As(err, &invalid):
		f.Code, f.Do = "upstream.certificate", "renew the certificate on the upstream's side; is this machine's clock right?"
	}
	return f
}

// addEnd reports a certificate's end.
func addEnd(found *checkup.Found, code, section string, cert *x509.Certificate) {
	end := cert.NotAfter.UTC().Format(time.DateOnly)
	f := checkup.Finding{Code: code, Of: section, What: "the certificate is good until " + end}
	switch left := time.Until(cert.NotAfter); {
	case left < 0:
		f.Severity, f.What = checkup.Error, "the certificate expired on "+end
	case left < certificateSoon:
		f.Severity = checkup.Warning
		f.What = fmt.Sprintf("the certificate expires on %s, in %d days", end, int(left.Hours()/24))
	}
	if f.Severity != checkup.OK {
		f.Why, f.Do = "after that no call can be made, and commands wait", "have it renewed"
	}
	found.Add(f)
}
