package natsjs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// checkWho refuses credentials that contradict each other, or are half there.
func (o *ConnectOptions) checkWho() error {
	ways := 0
	for _, set := range []string{o.Creds, o.NKeyFile, o.User, o.Token} {
		if set != "" {
			ways++
		}
	}
	switch {
	case ways > 1:
		return errors.New("several of credentials file, NKey, user and token are set: who is it to be? Set one")
	case o.Password != "" && o.User == "":
		return errors.New("there is a password and no user")
	case o.CertFile != "" && o.KeyFile == "":
		return fmt.Errorf("there is the client certificate %s and no key to it: set the key file too", o.CertFile)
	case o.KeyFile != "" && o.CertFile == "":
		return fmt.Errorf("there is the key %s and no client certificate to it: set the certificate file too", o.KeyFile)
	}
	return nil
}

// checkFiles says what is wrong with a file of credentials, before a server is asked, which would only say no.
func (o *ConnectOptions) checkFiles() error {
	for _, f := range []struct {
		what, file string
		check      func(raw []byte) error
	}{
		{"the credentials file", o.Creds, checkCreds},
		{"the NKey file", o.NKeyFile, checkNKey},
		{"the file of authorities", o.CAFile, checkCA},
		{"the client certificate", o.CertFile, checkCertificate},
		{"the key of the client certificate", o.KeyFile, nil},
	} {
		if f.file == "" {
			continue
		}
		raw, err := os.ReadFile(f.file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%s %s does not exist", f.what, f.file)
		case errors.Is(err, fs.ErrPermission):
			return fmt.Errorf("%s %s may not be read by this process: give its user the right to", f.what, f.file)
		case err != nil:
			return fmt.Errorf("%s cannot be read: %w", f.what, err)
		}
		if f.check == nil {
			continue
		}
		if err := f.check(raw); err != nil {
			return fmt.Errorf("%s %s %w", f.what, f.file, err)
		}
	}
	if o.CertFile == "" {
		return nil
	}
	if _, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile); err != nil {
		return fmt.Errorf("the client certificate %s and the key %s do not go together: %w", o.CertFile, o.KeyFile, err)
	}
	return nil
}

func checkCreds(raw []byte) error {
	text, err := jwt.ParseDecoratedJWT(raw)
	if err != nil {
		return errors.New("holds no user's JWT: it must be a .creds file, as nsc writes it")
	}
	if _, err := jwt.ParseDecoratedUserNKey(raw); err != nil {
		return errors.New("holds no user's seed: it must be a .creds file, as nsc writes it")
	}
	claims, err := jwt.DecodeUserClaims(text)
	if err != nil {
		return errors.New("holds a JWT that is no user's")
	}
	if expires := time.Unix(claims.Expires, 0); claims.Expires != 0 && time.Now().After(expires) {
		return fmt.Errorf("has expired at %s: get a new one", expires.UTC().Format(time.RFC3339))
	}
	return nil
}

func checkNKey(raw []byte) error {
	pair, err := nkeys.ParseDecoratedUserNKey(raw)
	if err != nil {
		return errors.New("holds no seed of a user: it must begin with SU")
	}
	pair.Wipe()
	return nil
}

func checkCA(raw []byte) error {
	if !x509.NewCertPool().AppendCertsFromPEM(raw) {
		return errors.New("holds no certificate in PEM")
	}
	return nil
}

func checkCertificate(raw []byte) error {
	cert, err := firstCertificate(raw)
	if err != nil {
		return err
	}
	switch now := time.Now(); {
	case now.After(cert.NotAfter):
		return fmt.Errorf("has expired at %s: get a new one", cert.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(cert.NotBefore):
		return fmt.Errorf("is not valid before %s: is this machine's clock right?", cert.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}
