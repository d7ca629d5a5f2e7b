package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"subrelay/events"
)

// Secret holds a credential. However it is printed, logged or marshalled it shows "***", also inside of structs whose
// fields fmt reads by reflection (hence the pointer); only Reveal gives the value. The zero value is an absent secret.
// It reads itself from text, and so from YAML and the environment. Secrets are compared with Equal.
type Secret struct {
	value *string
}

// NewSecret is the secret of this value; "" is the absent one.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{value: &value}
}

// ReadSecret reads a secret from a file, without the line ends behind it. An empty file is an error.
func ReadSecret(path string) (Secret, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return Secret{}, err
	}
	raw = bytes.TrimRight(raw, "\r\n")
	if len(raw) == 0 {
		return Secret{}, fmt.Errorf("%s holds no secret: it is empty", path)
	}
	return NewSecret(string(raw)), nil
}

// Reveal is the value itself. Call it only where it is sent.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.value == nil }

// Equal reports whether both hold the same value.
func (s Secret) Equal(other Secret) bool { return s.Reveal() == other.Reveal() }

func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return events.Masked
}

// GoString is what %#v shows.
func (s Secret) GoString() string { return "upstream.Secret(" + s.String() + ")" }

// MarshalText shows "***", or nothing for an absent secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue is what slog shows.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// UnmarshalText takes text as the value.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}

// UnmarshalYAML takes text, and the number 0. Other values must be put in quotes: YAML reads the digits 0012 as 10.
func (s *Secret) UnmarshalYAML(unmarshal func(any) error) error {
	var value any
	if err := unmarshal(&value); err != nil {
		return errors.New("a secret must be text in quotes")
	}
	switch v := value.(type) {
	case nil:
		*s = Secret{}
	case string:
		*s = NewSecret(v)
	case uint64, int:
		if fmt.Sprint(v) != "0" {
			return errors.New("a secret of digits must be put in quotes, or YAML changes it")
		}
		*s = NewSecret("0")
	default:
		return errors.New("a secret must be text in quotes")
	}
	return nil
}

// SecretOrFile is a setting that is given as a value, or as the path of a file that holds it; name is the setting's, for
// the error where both are given or the file cannot be read.
func SecretOrFile(name string, value Secret, file string) (Secret, error) {
	switch {
	case file == "":
		return value, nil
	case !value.IsZero():
		return value, fmt.Errorf("%s and %s_file are both set", name, name)
	}
	s, err := ReadSecret(file)
	if err != nil {
		return s, fmt.Errorf("%s_file: %w", name, err)
	}
	return s, nil
}
