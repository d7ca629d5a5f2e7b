package events

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
)

// MaxKeyToken is the longest a key may be after coding, in bytes.
const MaxKeyToken = 128

// CIDLength is the length of a cid in characters.
const CIDLength = 26

var cidEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// CID is the identity of a command: the first 26 characters of the lower-case base32 of
// SHA-256(source NUL id NUL subject).
func CID(source, id, subject string) string {
	buf := make([]byte, 0, len(source)+len(id)+len(subject)+2)
	buf = append(buf, source...)
	buf = append(buf, 0)
	buf = append(buf, id...)
	buf = append(buf, 0)
	buf = append(buf, subject...)
	sum := sha256.Sum256(buf)
	return cidEncoding.EncodeToString(sum[:])[:CIDLength]
}

// IsCID reports whether s has the shape of a cid.
func IsCID(s string) bool {
	if len(s) != CIDLength {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

const upperHex = "0123456789ABCDEF"

func plainKeyByte(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// KeyToken codes a command's subject as one token of a NATS subject: every byte outside A-Z a-z 0-9 _ - becomes % and
// two upper-case hex digits. An empty subject, or one of more than MaxKeyToken bytes after coding, is an error.
func KeyToken(subject string) (string, error) {
	if subject == "" {
		return "", errors.New("the subject is empty: it must name what stays in order, such as the customer")
	}
	plain, length := true, 0
	for i := range len(subject) {
		if plainKeyByte(subject[i]) {
			length++
		} else {
			plain = false
			length += 3
		}
	}
	if length > MaxKeyToken {
		return "", fmt.Errorf("the subject takes %d bytes after coding, and %d is the most", length, MaxKeyToken)
	}
	if plain {
		return subject, nil
	}
	out := make([]byte, 0, length)
	for i := range len(subject) {
		if c := subject[i]; plainKeyByte(c) {
			out = append(out, c)
		} else {
			out = append(out, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(out), nil
}

// KeyOfToken reverses KeyToken. It accepts only what KeyToken writes: lower-case hex, or a coded byte that needs no
// coding, is an error.
func KeyOfToken(token string) (string, error) {
	out := make([]byte, 0, len(token))
	for i := 0; i < len(token); i++ {
		c := token[i]
		if plainKeyByte(c) {
			out = append(out, c)
			continue
		}
		if c != '%' || i+2 >= len(token) {
			return "", fmt.Errorf("key token %q: byte %d is not coded", token, i+1)
		}
		hi, ok1 := unhex(token[i+1])
		lo, ok2 := unhex(token[i+2])
		if !ok1 || !ok2 {
			return "", fmt.Errorf("key token %q: %q is no upper-case hex code", token, token[i:i+3])
		}
		b := hi<<4 | lo
		if plainKeyByte(b) {
			return "", fmt.Errorf("key token %q: %q needs no code", token, token[i:i+3])
		}
		out = append(out, b)
		i += 2
	}
	if len(out) == 0 {
		return "", errors.New("the key token is empty")
	}
	return string(out), nil
}

func unhex(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
