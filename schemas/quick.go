package schemas

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// quick is a compiled schema in the form in which most values can be accepted at a fraction of the checker's cost, which
// computes with big.Rat and keeps the place of every value. It only says yes: whatever it refuses or is unsure of goes to
// the checker, which finds out what is wrong. It is nil where the schema uses a keyword it does not know.
type quick struct {
	never      bool     // the schema false
	types      []string // nil: any
	enum       []string // nil: any
	constant   any      // string or int64; nil: any
	format     *jsonschema.Format
	required   []string
	properties map[string]*quick
	others     *quick // of members that properties does not name; nil: any
	least      int    // members
	most       int    // members; -1: any number
	minLength  int
	maxLength  int // -1: none
	pattern    jsonschema.Regexp
	minimum    *int64
	maximum    *int64
	items      *quick
	minItems   int
	maxItems   int      // -1: none
	all        []*quick // with $ref
	any        []*quick
	one        []*quick
	not        *quick
}

// known are the fields of a compiled schema that quickOf reads, and those that assert nothing.
var known = []string{
	"Bool", "Types", "Enum", "Const", "Format", "Required", "Properties", "AdditionalProperties", "MinLength", "MaxLength", "Pattern",
	"Minimum", "Maximum", "Items2020", "MinItems", "MaxItems", "MinProperties", "MaxProperties", "Ref", "AllOf", "AnyOf", "OneOf", "Not",
	"DraftVersion", "Location", "ID", "Title", "Description", "Default", "Comment", "Examples",
}

// quickOf is s in its quick form, or nil. Schemas that refer to themselves have none.
func quickOf(s *jsonschema.Schema, above ...*jsonschema.Schema) *quick {
	if slices.Contains(above, s) || !readable(s) {
		return nil
	}
	b := builder{above: append(slices.Clone(above), s)}
	q := &quick{never: s.Bool != nil && !*s.Bool, required: s.Required, format: s.Format, pattern: s.Pattern}
	b.values(q, s)
	b.sizes(q, s)
	b.members(q, s)
	q.all, q.any, q.one = b.subs(s.AllOf), b.subs(s.AnyOf), b.subs(s.OneOf)
	if s.Ref != nil {
		q.all = append(q.all, b.sub(s.Ref))
	}
	if s.Not != nil {
		q.not = b.sub(s.Not)
	}
	if s.Items2020 != nil {
		q.items = b.sub(s.Items2020)
	}
	if b.failed {
		return nil
	}
	return q
}

// readable reports whether every keyword of s is one that quickOf understands.
func readable(s *jsonschema.Schema) bool {
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || slices.Contains(known, f.Name) || v.Field(i).IsZero() {
			continue
		}
		if k := v.Field(i).Kind(); (k == reflect.Slice || k == reflect.Map) && v.Field(i).Len() == 0 {
			continue
		}
		return false
	}
	return true
}

// builder turns parts of schemas into parts of quick forms, and remembers whether one could not be.
type builder struct {
	above  []*jsonschema.Schema
	failed bool
}

func (b *builder) sub(s *jsonschema.Schema) *quick {
	q := quickOf(s, b.above...)
	b.failed = b.failed || q == nil
	return q
}

func (b *builder) subs(list []*jsonschema.Schema) (out []*quick) {
	for _, s := range list {
		out = append(out, b.sub(s))
	}
	return out
}

func (b *builder) members(q *quick, s *jsonschema.Schema) {
	for name, sub := range s.Properties {
		if q.properties == nil {
			q.properties = make(map[string]*quick, len(s.Properties))
		}
		q.properties[name] = b.sub(sub)
	}
	switch others := s.AdditionalProperties.(type) {
	case bool:
		if !others {
			q.others = &quick{never: true}
		}
	case *jsonschema.Schema:
		q.others = b.sub(others)
	default:
		b.failed = b.failed || others != nil
	}
}

func (b *builder) values(q *quick, s *jsonschema.Schema) {
	if s.Types != nil {
		q.types = s.Types.ToStrings()
	}
	if s.Enum != nil {
		for _, v := range s.Enum.Values {
			text, ok := v.(string)
			b.failed = b.failed || !ok
			q.enum = append(q.enum, text)
		}
	}
	if s.Const != nil {
		switch v := (*s.Const).(type) {
		case string:
			q.constant = v
		case json.Number:
			n, err := v.Int64()
			b.failed = b.failed || err != nil
			q.constant = n
		default:
			b.failed = true
		}
	}
}

func (b *builder) sizes(q *quick, s *jsonschema.Schema) {
	q.minLength, q.maxLength = bounds(s.MinLength, s.MaxLength)
	q.minItems, q.maxItems = bounds(s.MinItems, s.MaxItems)
	q.least, q.most = bounds(s.MinProperties, s.MaxProperties)
	if s.Minimum != nil {
		b.failed = b.failed || !s.Minimum.IsInt() || !s.Minimum.Num().IsInt64()
		q.minimum = new(s.Minimum.Num().Int64())
	}
	if s.Maximum != nil {
		b.failed = b.failed || !s.Maximum.IsInt() || !s.Maximum.Num().IsInt64()
		q.maximum = new(s.Maximum.Num().Int64())
	}
}

func bounds(low, high *int) (least, most int) {
	most = -1
	if low != nil {
		least = *low
	}
	if high != nil {
		most = *high
	}
	return least, most
}

func within(n, least, most int) bool { return n >= least && (most < 0 || n <= most) }

// accepts reports whether value surely satisfies the schema.
func (q *quick) accepts(value any) bool {
	if q == nil {
		return false
	}
	sure := true
	return q.ok(value, &sure) && sure
}

// ok checks value. It clears sure where it cannot tell: a number that is no plain integer, where that matters, or a type
// that JSON does not have.
func (q *quick) ok(value any, sure *bool) bool {
	if q.never {
		return false
	}
	switch v := value.(type) {
	case map[string]any:
		return q.isType("object") && q.object(v, sure) && q.general(value, sure)
	case []any:
		return q.isType("array") && q.list(v, sure) && q.general(value, sure)
	case string:
		return q.isType("string") && q.text(v) && q.general(value, sure)
	case json.Number:
		n, err := strconv.ParseInt(string(v), 10, 64)
		if err != nil {
			return q.decimal(string(v), sure) && q.general(value, sure)
		}
		return (q.isType("integer") || q.isType("number")) && q.number(n) && q.general(value, sure)
	case bool:
		return q.isType("boolean") && q.other() && q.general(value, sure)
	case nil:
		return q.isType("null") && q.other() && q.general(value, sure)
	}
	*sure = false
	return false
}

func (q *quick) isType(name string) bool { return q.types == nil || slices.Contains(q.types, name) }

// other checks a value that can be none of the strings or numbers of enum and const.
func (q *quick) other() bool { return q.enum == nil && q.constant == nil }

func (q *quick) object(v map[string]any, sure *bool) bool {
	for _, name := range q.required {
		if _, ok := v[name]; !ok {
			return false
		}
	}
	for name, member := range v {
		sub, ok := q.properties[name]
		if !ok {
			sub = q.others
		}
		if sub != nil && !sub.ok(member, sure) {
			return false
		}
	}
	return within(len(v), q.least, q.most) && q.other()
}

func (q *quick) list(v []any, sure *bool) bool {
	if !within(len(v), q.minItems, q.maxItems) {
		return false
	}
	for _, item := range v {
		if q.items != nil && !q.items.ok(item, sure) {
			return false
		}
	}
	return q.other()
}

func (q *quick) text(v string) bool {
	if q.minLength > 0 || q.maxLength >= 0 {
		if !within(utf8.RuneCountInString(v), q.minLength, q.maxLength) {
			return false
		}
	}
	if q.enum != nil && !slices.Contains(q.enum, v) || q.pattern != nil && !q.pattern.MatchString(v) {
		return false
	}
	want, isText := q.constant.(string)
	return q.constant == nil || isText && want == v
}

func (q *quick) number(n int64) bool {
	if q.enum != nil || q.minimum != nil && n < *q.minimum || q.maximum != nil && n > *q.maximum {
		return false
	}
	want, isNumber := q.constant.(int64)
	return q.constant == nil || isNumber && want == n
}

// decimal checks a number that is no plain integer. Whether it is an integer all the same, as 1.0, whether it equals
// another, and what is as near to a bound as a float64 can tell, is for the checker.
func (q *quick) decimal(v string, sure *bool) bool {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || len(v) > maxNumber || q.constant != nil || !q.isType("number") ||
		q.minimum != nil && f <= float64(*q.minimum) || q.maximum != nil && f >= float64(*q.maximum) {
		*sure = false
		return false
	}
	return q.enum == nil
}

// general checks what concerns values of any type.
func (q *quick) general(value any, sure *bool) bool {
	if q.format != nil && q.format.Validate(value) != nil {
		return false
	}
	for _, sub := range q.all {
		if !sub.ok(value, sure) {
			return false
		}
	}
	if q.any != nil && !slices.ContainsFunc(q.any, func(sub *quick) bool { return sub.ok(value, sure) }) {
		return false
	}
	if q.one != nil {
		matched := 0
		for _, sub := range q.one {
			if sub.ok(value, sure) {
				matched++
			}
		}
		if matched != 1 {
			return false
		}
	}
	return q.not == nil || !q.not.ok(value, sure)
}
