package events

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Masked stands where a secret or personal value was.
const Masked = "***"

// secretNames are the members of a command's data that can only be credentials. A command that carries one is refused,
// and its value is masked wherever the command is kept. Names match without case, and without separators: see foldName.
var secretNames = []string{
	"authtoken", "password", "passwd", "pwd", "token", "accesstoken", "refreshtoken", "apikey", "secret", "clientsecret",
	"authorization", "netflixtoken",
}

// personalNames are the members of a command's data that hold a customer's name, address, e-mail, phone or credentials,
// also as somebody might misspell them: no kind has members of the shorter names. A command may carry them; wherever it is
// kept they are masked. Names match as those of secrets do.
var personalNames = []string{
	"customerfirstname", "customerlastname", "customername", "firstname", "lastname",
	"streetname", "streetnumber", "postalcode", "areacode", "emailaddress", "phonenumber", "email", "phone",
	"authenticationcode", "passcode",
}

// personalObjects are personal as a whole: all that they hold is masked. What names a user or a card, the vendor's pages
// do not say: it may be a person's name, or the card's number.
var personalObjects = []string{
	"customeraddress", "customeremail", "customerphone", "address", "accesstokenidentifier",
	"performedbyuseridentifier", "paymentgatewaycardidentifier",
}

// The members that are personal by what they stand beside or within: the name in an accountObject, and what is called
// identifier beside a pass code.
const (
	accountObject = "accountsreceivableidentifier"
	accountName   = "name"
	besideCode    = "identifier"
)

// IsSecretName reports whether a member or header of this name can only be a credential. A header may have the "ce-" of
// the CloudEvents bindings.
func IsSecretName(name string) bool {
	var buf [32]byte
	folded, ok := foldName(buf[:0], name)
	return ok && (among(secretNames, folded) || among(secretNames, bytes.TrimPrefix(folded, []byte("ce"))))
}

// IsPersonalName reports whether a member or header of this name holds what only the customer and the upstream may know.
func IsPersonalName(name string) bool {
	var buf [32]byte
	folded, ok := foldName(buf[:0], name)
	return ok && (isPersonal(folded) || isPersonal(bytes.TrimPrefix(folded, []byte("ce"))))
}

func isPersonal(folded []byte) bool {
	return among(personalNames, folded) || among(personalObjects, folded)
}

func among(names []string, folded []byte) bool {
	for _, s := range names {
		if string(folded) == s {
			return true
		}
	}
	return false
}

// foldName appends name in lower case without "_", "-", "." and spaces, as far as dst has room. What does not fit, or
// holds letters that fold to none of ASCII, is no name of ours.
func foldName(dst []byte, name string) (folded []byte, ok bool) {
	for _, r := range name {
		c, skip := foldRune(r)
		switch {
		case skip:
		case c == 0 || len(dst) == cap(dst):
			return nil, false
		default:
			dst = append(dst, c)
		}
	}
	return dst, true
}

// foldRune is r in lower case, 0 where that is not of ASCII; skip says that r separates the parts of names.
func foldRune(r rune) (c byte, skip bool) {
	if r == '_' || r == '-' || r == '.' || r == ' ' {
		return 0, true
	}
	if r >= utf8.RuneSelf {
		r = unicode.ToUpper(r) // the long s, as encoding/json folds it
	}
	if r = unicode.ToLower(r); r >= utf8.RuneSelf {
		return 0, false
	}
	return byte(r), false
}

// folds reports whether name folds to want.
func folds(name, want string) bool {
	var buf [32]byte
	folded, ok := foldName(buf[:0], name)
	return ok && string(folded) == want
}

// FindSecret is the JSON pointer of the first member of value whose name says that it is a credential, or "". value is
// JSON as decoded into any; its members are taken in the order of their names, each before what it holds.
func FindSecret(value any) string {
	if !holdsSecret(value) { // the usual case needs no order
		return ""
	}
	return findSecret(value)
}

func findSecret(value any) string {
	switch v := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if IsSecretName(name) {
				return "/" + pointerToken(name)
			}
			if p := findSecret(v[name]); p != "" {
				return "/" + pointerToken(name) + p
			}
		}
	case []any:
		for i, item := range v {
			if p := findSecret(item); p != "" {
				return "/" + strconv.Itoa(i) + p
			}
		}
	}
	return ""
}

func holdsSecret(value any) bool {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			if IsSecretName(name) || holdsSecret(member) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, holdsSecret)
	}
	return false
}

func pointerToken(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// FindMasked is the JSON pointer of the first string of value that stands where a value was masked, or "". value is as in
// FindSecret. What has been masked must not be published again as if it were data.
func FindMasked(value any) (pointer string, found bool) {
	switch v := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if p, ok := FindMasked(v[name]); ok {
				return "/" + pointerToken(name) + p, true
			}
		}
	case []any:
		for i, item := range v {
			if p, ok := FindMasked(item); ok {
				return "/" + strconv.Itoa(i) + p, true
			}
		}
	case string:
		return "", v == Masked || strings.Contains(v, `"`+Masked+`"`)
	}
	return "", false
}

// Mask replaces the values of credentials and what is personal in raw, which may be JSON or anything else: in JSON by the
// names of members at any depth, also within strings that hold JSON or text of their own, and in data_base64; in other
// text by what looks like a name and its value, generously. What holds neither comes back byte for byte.
func Mask(raw []byte) []byte { return masker{personal: true}.mask(raw, false) }

// MaskSecrets is Mask for credentials alone. It is for text of ours, which names personal members and never holds them.
func MaskSecrets(raw []byte) []byte { return masker{}.mask(raw, false) }

// MaskResult masks the secrets in an outcome's result, such as a Netflix token, for those who read outcomes on a screen.
// A result without any comes back byte for byte.
func MaskResult(result json.RawMessage) json.RawMessage {
	if len(result) == 0 {
		return result
	}
	return MaskSecrets(result)
}

// masker masks credentials, and what is personal where it is told to.
type masker struct{ personal bool }

// mask is Mask. account says that raw stands within an accountObject.
func (m masker) mask(raw []byte, account bool) []byte {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return m.maskText(raw)
	}
	if _, err := d.Token(); err != io.EOF {
		return m.maskText(raw)
	}
	v, found := m.maskValue(v, account)
	if !found && !repeatsMembers(raw) { // of members that are repeated, v holds the last alone
		return raw
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return m.maskText(raw)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

func (m masker) maskValue(value any, account bool) (masked any, found bool) {
	switch v := value.(type) {
	case map[string]any:
		coded := m.personal && holdsCode(v)
		for name, member := range v {
			if changed, hit := m.maskMember(name, member, account, coded); hit {
				v[name], found = changed, true
			}
		}
	case []any:
		for i, item := range v {
			if changed, hit := m.maskValue(item, account); hit {
				v[i], found = changed, true
			}
		}
	case string:
		if changed := string(m.mask([]byte(v), account)); changed != v {
			return changed, true
		}
	}
	return value, found
}

// holdsCode reports whether an object has a member that is a code of the customer's.
func holdsCode(object map[string]any) bool {
	for name := range object {
		if folds(name, "passcode") || folds(name, "authenticationcode") {
			return true
		}
	}
	return false
}

// maskMember masks one member. account says that it is within an accountObject, coded that a code stands beside it.
func (m masker) maskMember(name string, member any, account, coded bool) (masked any, found bool) {
	if IsSecretName(name) || m.personal && (IsPersonalName(name) || account && folds(name, accountName) || coded && folds(name, besideCode)) {
		return Masked, true
	}
	text, isText := member.(string)
	if isText && name == "data_base64" {
		if data, err := base64.StdEncoding.DecodeString(text); err == nil {
			if changed := m.mask(data, account); !bytes.Equal(changed, data) {
				return base64.StdEncoding.EncodeToString(changed), true
			}
		}
		return member, false
	}
	if m.personal && folds(name, accountObject) {
		if isText && !strings.HasPrefix(strings.TrimSpace(text), "{") { // the name itself, or name=Anna
			return Masked, true
		}
		account = true
	}
	return m.maskValue(member, account)
}
