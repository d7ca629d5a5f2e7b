package natsjs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// explained is why a connection was refused, in words that say what to do, with the cause behind them.
type explained struct {
	message string
	cause   error
}

func (e *explained) Error() string { return e.message }
func (e *explained) Unwrap() error { return e.cause }

// explain says what a failed connection means, as far as that is known.
func (o *ConnectOptions) explain(err error) error {
	if message := o.explainTLS(err); message != "" {
		return &explained{message, err}
	}
	text := strings.ToLower(err.Error())
	switch {
	case errors.Is(err, nats.ErrAuthExpired), strings.Contains(text, "user authentication expired"):
		return &explained{"the server says that the credentials of " + o.Who() + " have expired: get new ones", err}
	case errors.Is(err, nats.ErrAuthRevoked), strings.Contains(text, "revoked"):
		return &explained{"the server says that the credentials of " + o.Who() + " were revoked: get new ones", err}
	case errors.Is(err, nats.ErrAuthorization), strings.Contains(text, "authorization violation"):
		return &explained{"the server refuses " + o.Who() + ": it does not know such a user, or the password or key is another", err}
	}
	return err
}

// explainTLS is "" where it is not about TLS.
func (o *ConnectOptions) explainTLS(err error) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	text := err.Error()
	// With TLS 1.3 a client thinks that all is well before the server has looked at its certificate.
	closed := strings.Contains(text, "connection closed by remote after TLS handshake")
	switch {
	case errors.As(err, &unknown) && o.CAFile == "":
		return "the server's certificate is signed by an authority that this machine does not trust: name it with --tls-ca (nats.ca_file)"
	case errors.As(err, &unknown):
		return "the server's certificate is not signed by an authority of " + o.CAFile + ": is it that of another installation?"
	case errors.As(err, &name):
		return "the server's certificate is not for the name it was reached by: " + name.Error()
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate has expired, or this machine's clock is wrong: " + invalid.Detail
	case errors.As(err, &record):
		return "the server did not answer with TLS: does it expect TLS first (nats.tls_first), or none?"
	case errors.Is(err, nats.ErrSecureConnWanted):
		return "the server offers no TLS, and --tls-ca, --tls-cert or tls:// wants it"
	case errors.Is(err, nats.ErrSecureConnRequired):
		return "the server wants TLS: use tls:// or name its authority with --tls-ca (nats.ca_file)"
	case strings.Contains(text, "tls: certificate required"), closed && o.CertFile == "":
		return "the server wants a client certificate: set --tls-cert and --tls-key (nats.cert_file, nats.key_file)"
	case strings.Contains(text, "remote error: tls:"), closed:
		return "the server refuses our side of TLS, the client certificate perhaps: " + text
	}
	return ""
}

// firstCertificate is the certificate that a PEM file begins with.
func firstCertificate(raw []byte) (*x509.Certificate, error) {
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("holds a certificate that cannot be read: %w", err)
			}
			return cert, nil
		}
	}
	return nil, errors.New("holds no certificate in PEM")
}
