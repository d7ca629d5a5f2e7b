package sandbox

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// wireDate is how dates are written (vendor: examples of GET subscriptions/show): no zone.
const wireDate = "2006-01-02T15:04:05"

// release is a release of CRM.COM as a number that can be compared.
type release int

// parseRelease reads a release such as R14.1.0.
func parseRelease(text string) (release, error) {
	rest, ok := strings.CutPrefix(text, "R")
	parts := strings.Split(rest, ".")
	if !ok || len(parts) != 3 {
		return 0, fmt.Errorf("%q is no release such as R14.1.0", text)
	}
	var r release
	for _, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 || n > 999 {
			return 0, fmt.Errorf("%q is no release such as R14.1.0", text)
		}
		r = r*1000 + release(n)
	}
	return r, nil
}

// The releases in which something came or was deprecated.
const (
	r13_1 release = 13_001_000
	r14_0 release = 14_000_000
	r14_1 release = 14_001_000
	r14_2 release = 14_002_000
	r14_3 release = 14_003_000
	r15_0 release = 15_000_000
	r16_1 release = 16_001_000
	r18_0 release = 18_000_000
)

// member is one parameter, or one member of an object that is one.
type member struct {
	name      string
	is        shape // isText, isNumber (an integer), isBoolean, isArray or isObject
	float     bool  // a number that need not be an integer
	date      bool  // a text that is a date
	blank     bool  // a text that may be empty
	mandatory bool
	either    bool     // semi-optional: of all such members of an object exactly one is given
	of        *members // the members of an object, or of the objects in an array
	open      bool     // an object of texts whose members nobody described
	oneOf     []string // the values of a text
	least     int      // of an integer
	most      int      // of an integer, or of the elements of an array; 0: no limit
	since     release
	until     release // where it was deprecated; 0: it was not
}

// members is the parameters of a method, or the members of an object, that an installation knows.
type members struct {
	list    []member
	byName  map[string]int
	either  []string // the names of the semi-optional ones
	anyOf   []string // at least one of these is given
	demands bool     // something is mandatory
	more    bool     // further texts, numbers and booleans may be given
	unknown []string // to this release
	whole   func(*value) *refusal
}

// refusal is why a call is refused: a status.code and a text.
type refusal struct{ code, text string }

func (r *refusal) within(path string) *refusal {
	if r == nil {
		return nil
	}
	return &refusal{r.code, path + ": " + r.text}
}

// known is the parameters of list that an installation of this release knows; with strict it does not know deprecated
// ones.
func known(installed release, strict bool, list ...member) *members {
	p := &members{byName: map[string]int{}}
	for _, each := range list {
		if installed < each.since || strict && each.until != 0 && installed >= each.until {
			p.unknown = append(p.unknown, each.name)
			continue
		}
		p.byName[each.name] = len(p.list)
		p.list = append(p.list, each)
		if each.either {
			p.either = append(p.either, each.name)
		}
		p.demands = p.demands || each.mandatory
	}
	return p
}

// check checks an object against the parameters. It returns nil where all is well.
func (p *members) check(v *value) *refusal {
	given := 0
	for i := range v.of {
		m := &v.of[i]
		at, ok := p.byName[m.name]
		if !ok && !p.takes(m) {
			return &refusal{codeUnknownParameter, fmt.Sprintf("%.100s is not known to this release", m.name)}
		}
		for j := range i {
			if v.of[j].name == m.name {
				return &refusal{codeInvalidParameter, m.name + " is given twice"}
			}
		}
		if !ok {
			continue
		}
		one := &p.list[at]
		if bad := one.check(m); bad != nil {
			return bad
		}
		if one.either {
			given++
		}
	}
	if bad := p.missing(v, given); bad != nil || p.whole == nil {
		return bad
	}
	return p.whole(v)
}

// takes reports whether a member that is not on the list may be given all the same.
func (p *members) takes(m *value) bool {
	return p.more && !slices.Contains(p.unknown, m.name) && (m.shape == isText || m.shape == isNumber || m.shape == isBoolean)
}

func (p *members) missing(v *value, given int) *refusal {
	if len(p.either) > 0 && given != 1 {
		code := codeMissingParameter
		if given > 1 {
			code = codeInvalidParameter
		}
		return &refusal{code, "exactly one of " + strings.Join(p.either, ", ") + " is to be given"}
	}
	if p.demands {
		for i := range p.list {
			if p.list[i].mandatory && v.get(p.list[i].name) == nil {
				return &refusal{codeMissingParameter, p.list[i].name + " is missing"}
			}
		}
	}
	if len(p.anyOf) > 0 && !slices.ContainsFunc(p.anyOf, func(name string) bool { return v.get(name) != nil }) {
		return &refusal{codeMissingParameter, "at least one of " + strings.Join(p.anyOf, ", ") + " is to be given"}
	}
	return nil
}

// check checks the value of one parameter.
func (p *member) check(v *value) *refusal {
	switch {
	case v.shape == isRaw && p.is == isNumber:
	case v.shape == isRaw && p.is == isText:
	case v.shape != p.is:
		return p.bad("is not " + p.wanted())
	}
	switch p.is {
	case isText:
		return p.checkText(v.text)
	case isNumber:
		return p.checkNumber(v.text)
	case isObject:
		return p.checkObject(v).within(p.name)
	case isArray:
		return p.checkArray(v)
	default:
		return nil
	}
}

func (p *member) bad(why string) *refusal { return &refusal{codeInvalidParameter, p.name + " " + why} }

func (p *member) wanted() string {
	switch {
	case p.date:
		return "a date such as 2017-01-01T00:00:00"
	case p.float:
		return "a number"
	}
	return [...]string{isText: "a text", isNumber: "an integer", isBoolean: "a boolean", isArray: "an array", isObject: "an object"}[p.is]
}

func (p *member) checkText(text string) *refusal {
	switch {
	case text == "" && !p.blank:
		return p.bad("is empty")
	case len(p.oneOf) > 0 && !slices.Contains(p.oneOf, text):
		return p.bad("is none of " + strings.Join(p.oneOf, ", "))
	case p.date:
		if at, err := time.Parse(wireDate, text); err != nil || at.Format(wireDate) != text {
			return p.bad("is not " + p.wanted())
		}
	}
	return nil
}

func (p *member) checkNumber(text string) *refusal {
	if p.float {
		if _, err := strconv.ParseFloat(text, 64); err != nil {
			return p.bad("is not " + p.wanted())
		}
		return nil
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return p.bad("is not " + p.wanted())
	case n < p.least:
		return p.bad(fmt.Sprintf("is less than %d", p.least))
	case p.most > 0 && n > p.most:
		return p.bad(fmt.Sprintf("is more than %d", p.most))
	}
	return nil
}

func (p *member) checkObject(v *value) *refusal {
	if !p.open {
		return p.of.check(v)
	}
	if len(v.of) == 0 {
		return &refusal{codeMissingParameter, "it names nothing"}
	}
	for i := range v.of {
		if v.of[i].shape != isText {
			return &refusal{codeInvalidParameter, v.of[i].name + " is not a text"}
		}
	}
	return nil
}

func (p *member) checkArray(v *value) *refusal {
	switch {
	case len(v.of) == 0:
		return p.bad("is empty")
	case p.most > 0 && len(v.of) > p.most:
		return p.bad(fmt.Sprintf("has %d elements, and the most are %d", len(v.of), p.most))
	}
	for i := range v.of {
		if v.of[i].shape != isObject {
			return p.bad("has an element that is not an object")
		}
		if bad := p.of.check(&v.of[i]); bad != nil {
			return bad.within(fmt.Sprintf("%s[%d]", p.name, i))
		}
	}
	return nil
}
