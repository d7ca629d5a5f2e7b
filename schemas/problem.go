package schemas

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// MaxProblems is how many problems Validate lists one by one. What is beyond is only counted, in a last problem: a
// command full of rubbish must not make an outcome too large to be stored.
const MaxProblems = 100

// maxToken is the most bytes of a member's name that a pointer shows.
const maxToken = 64

// Problem is one violation of a schema. It shows names of members, never their values: those may be secret or personal.
type Problem struct {
	// Pointer is the JSON Pointer (RFC 6901) of the value in question; "" is the whole.
	Pointer string
	// Message is for people, and reads on after the pointer: "must be at least 1".
	Message string
}

// String is the problem on one line. The pointer has the "#" that it has in a URI, so that the whole is visible too.
func (p Problem) String() string { return "#" + p.Pointer + ": " + p.Message }

// Strings is the problems as an outcome's error lists them.
func Strings(problems []Problem) []string {
	out := make([]string, len(problems))
	for i, p := range problems {
		out[i] = p.String()
	}
	return out
}

// titles maps the location of a subschema to its title.
type titles map[string]string

func titlesOf(s *jsonschema.Schema) titles {
	t := titles{}
	t.collect(s, map[*jsonschema.Schema]bool{})
	return t
}

func (t titles) collect(s *jsonschema.Schema, seen map[*jsonschema.Schema]bool) {
	if s == nil || seen[s] {
		return
	}
	seen[s] = true
	if s.Title != "" {
		t[s.Location] = s.Title
	}
	t.collect(s.Ref, seen)
	t.collect(s.Items2020, seen)
	if others, ok := s.AdditionalProperties.(*jsonschema.Schema); ok {
		t.collect(others, seen)
	}
	for _, sub := range slices.Concat(s.AllOf, s.AnyOf, s.OneOf) {
		t.collect(sub, seen)
	}
	for _, sub := range s.Properties {
		t.collect(sub, seen)
	}
}

// problems flattens a violation into its leaves, sorted and each once.
func (t titles) problems(v *jsonschema.ValidationError) []Problem {
	found := t.appendTo(nil, v)
	slices.SortFunc(found, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Pointer, b.Pointer), cmp.Compare(a.Message, b.Message))
	})
	found = slices.Compact(found)
	if more := len(found) - MaxProblems; more > 0 {
		found = append(found[:MaxProblems], Problem{Message: fmt.Sprintf("and %d more problems", more)})
	}
	return found
}

// appendTo appends the problems of v. A rule with alternatives is one problem, told by its title; what made each
// alternative fail would only confuse.
func (t titles) appendTo(found []Problem, v *jsonschema.ValidationError) []Problem {
	at := pointer(v.InstanceLocation)
	switch k := v.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf, *kind.Not, *kind.FalseSchema, *kind.Pattern:
		return append(found, Problem{Pointer: at, Message: t.sentence(v)})
	case *kind.Required:
		for _, name := range k.Missing {
			found = append(found, Problem{Pointer: at + "/" + token(name), Message: "is required"})
		}
		return found
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			found = append(found, Problem{Pointer: at + "/" + token(name), Message: "is not a member we know"})
		}
		return found
	}
	if len(v.Causes) == 0 {
		return append(found, Problem{Pointer: at, Message: message(v.ErrorKind)})
	}
	for _, cause := range v.Causes {
		found = t.appendTo(found, cause)
	}
	return found
}

func (t titles) sentence(v *jsonschema.ValidationError) string {
	if title, ok := t[v.SchemaURL]; ok {
		return title
	}
	return "is not allowed here"
}

func message(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		return fmt.Sprintf("must be %s, not %s", article(strings.Join(k.Want, " or ")), article(k.Got))
	case *kind.Minimum:
		return "must be at least " + k.Want.RatString()
	case *kind.Maximum:
		return "must be at most " + k.Want.RatString()
	case *kind.MinLength:
		if k.Want == 1 {
			return "must not be empty"
		}
		return fmt.Sprintf("must have at least %d characters", k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("must have at most %d characters, and has %d", k.Want, k.Got)
	case *kind.MinItems:
		return fmt.Sprintf("must have at least %s, and has %d", amount(k.Want, "item"), k.Got)
	case *kind.MaxItems:
		return fmt.Sprintf("must have at most %s, and has %d", amount(k.Want, "item"), k.Got)
	case *kind.MinProperties:
		return fmt.Sprintf("must have at least %s, and has %d", amount(k.Want, "member"), k.Got)
	case *kind.MaxProperties:
		return fmt.Sprintf("must have at most %s, and has %d", amount(k.Want, "member"), k.Got)
	case *kind.Enum:
		return "must be one of " + values(k.Want)
	case *kind.Const:
		return "must be " + values([]any{k.Want})
	case *kind.Format:
		if k.Want == "date-time" {
			return "must be a date and time as RFC 3339 has it, such as 2026-01-31T12:00:00Z"
		}
		return "must have the format " + k.Want
	}
	return "breaks the rule " + strings.Join(k.KeywordPath(), "/")
}

func amount(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func article(noun string) string {
	switch {
	case noun == "null":
		return noun
	case strings.ContainsAny(noun[:1], "aeio"):
		return "an " + noun
	}
	return "a " + noun
}

func values(want []any) string {
	out := make([]string, len(want))
	for i, v := range want {
		out[i] = fmt.Sprint(v)
	}
	return strings.Join(out, ", ")
}

func pointer(tokens []string) string {
	var b strings.Builder
	for _, t := range tokens {
		b.WriteByte('/')
		b.WriteString(token(t))
	}
	return b.String()
}

var tokenEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// token escapes one name for a pointer. A long one is cut, at a character's end, and control characters are replaced.
func token(name string) string {
	if len(name) > maxToken {
		cut := maxToken
		for !utf8.RuneStart(name[cut]) {
			cut--
		}
		name = name[:cut] + "…"
	}
	return tokenEscapes.Replace(strings.Map(printable, name))
}

func printable(r rune) rune {
	if unicode.IsControl(r) {
		return utf8.RuneError
	}
	return r
}
