package events

import (
	"encoding/json"
	"regexp"
	"strings"
)

// Masked stands where a secret or personal value was.
const Masked = "***"

// secretNames are the members of a command's data that can only be credentials. A command that carries one is refused,
// and its value is masked wherever the command is kept. Names match without case, and without "_" and "-".
var secretNames = []string{"authtoken", "password", "passwd", "token", "accesstoken", "apikey", "secret", "authorization"}

// IsSecretName reports whether a member or header of this name can only be a credential.
func IsSecretName(name string) bool {
	folded := strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(name))
	folded = strings.TrimPrefix(folded, "ce")
	for _, s := range secretNames {
		if folded == s {
			return true
		}
	}
	return false
}

// FindSecret is the JSON pointer of the first member of value whose name says that it is a credential, or "". value is
// JSON as decoded into any.
func FindSecret(value any) string {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			if IsSecretName(name) {
				return "/" + pointerToken(name)
			}
			if p := FindSecret(member); p != "" {
				return "/" + pointerToken(name) + p
			}
		}
	case []any:
		for _, member := range v {
			if p := FindSecret(member); p != "" {
				return "/-" + p
			}
		}
	}
	return ""
}

func pointerToken(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// looksSecret finds "name": value (quoted, or up to a delimiter) and name=value in text that need not be JSON.
var looksSecret = regexp.MustCompile(
	`(?i)(["']?(?:auth[_-]?token|access[_-]?token|password|passwd|token|api[_-]?key|secret|authorization)["']?\s*[:=]\s*)("(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s,;&}\]]+)`)

// Mask replaces the values of credentials in raw, which may be JSON or anything else. JSON without credentials comes
// back byte for byte.
func Mask(raw []byte) []byte {
	if !looksSecret.Match(raw) && !strings.Contains(string(raw), `\u`) {
		return raw
	}
	var v any
	if err := json.Unmarshal(raw, &v); err == nil {
		if !maskValue(v) {
			return raw
		}
		if out, err := json.Marshal(v); err == nil {
			return out
		}
	}
	return looksSecret.ReplaceAll(raw, []byte(`${1}"`+Masked+`"`))
}

func maskValue(value any) (found bool) {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			if IsSecretName(name) {
				v[name], found = Masked, true
			} else if maskValue(member) {
				found = true
			}
		}
	case []any:
		for _, member := range v {
			if maskValue(member) {
				found = true
			}
		}
	}
	return found
}
