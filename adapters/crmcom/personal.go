package crmcom

import (
	"encoding/hex"
	"encoding/json"
	"html"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"subrelay/events"
)

// personal is the values of one command that must not travel on: CRM.COM may repeat them in a message.
//
// They are looked for as whole words, one after another, so that a name of two letters does not blacken parts of other
// words: "Al" is masked in "al@mail", and not in "also". What is between the words, their case, their accents, and
// whether they are written together do not count. Not found are parts of a word, two values written together without
// anything between them but for the parts of a name, and fewer than leastDigits digits of a phone number. A value of one
// letter or digit is masked wherever it stands alone.
type personal struct {
	values  [][]string // the words of each, folded
	numbers []string   // digits of phone numbers, without zeros in front
	// unknown says that there may be values which are not at hand: then no text of CRM.COM travels at all.
	unknown bool
}

// add adds a value as a whole, also written without anything between its words: O'Brien is OBRIEN to some.
func (p *personal) add(values ...string) {
	for _, value := range values {
		words := texts(wordsOf(value))
		if len(words) == 0 {
			continue
		}
		p.values = append(p.values, words)
		if together := texts(wordsOf(strings.Join(words, ""))); len(together) < len(words) {
			p.values = append(p.values, together)
		}
	}
}

// addWords adds a value, and each of its words but single letters: a surname may be repeated alone.
func (p *personal) addWords(values ...string) {
	p.add(values...)
	for _, value := range values {
		for _, w := range wordsOf(value) {
			if utf8.RuneCountInString(w.text) > 1 {
				p.add(w.text)
			}
		}
	}
}

// mostParts is of how many parts of a name every two are looked for together.
const mostParts = 8

// addName adds a name, given in one part or in several, each of its words, and every two of these written together, in
// either order: annabellaexample may be a login, made from the names.
func (p *personal) addName(names ...string) {
	p.addWords(names...)
	var parts []string
	for _, name := range strings.Fields(strings.Join(names, " ")) {
		p.add(name)
		words := texts(wordsOf(name))
		if len(words) > 1 {
			parts = append(parts, strings.Join(words, ""))
		}
		parts = append(parts, slices.DeleteFunc(words, func(w string) bool { return utf8.RuneCountInString(w) < 2 })...)
	}
	parts = parts[:min(len(parts), mostParts)]
	for i, one := range parts {
		for j, other := range parts {
			if i != j {
				p.add(one + other)
			}
		}
	}
}

// addNumber adds a phone number, which may be repeated in other groups, or with another beginning.
func (p *personal) addNumber(value string) {
	p.add(value)
	var digits strings.Builder
	for _, w := range wordsOf(value) {
		if w.class == digit {
			digits.WriteString(w.text)
		}
	}
	if number := strings.TrimLeft(digits.String(), "0"); len(number) >= leastDigits {
		p.numbers = append(p.numbers, number)
	}
}

const (
	// leastDigits is from how many digits on a number is taken for part of a phone number.
	leastDigits = 5
	// moreDigits is how many digits a phone number may have in a message beyond those that we know: those of a country,
	// or of an extension.
	moreDigits = 10
)

// addOpen adds the values of an identifier.
func (p *personal) addOpen(id events.OpenIdentifier) {
	for _, value := range id {
		p.add(value)
	}
}

// addMore adds the values of members that nobody described. Numbers may be those of a phone.
func (p *personal) addMore(members events.OpenMembers) {
	for _, raw := range members {
		if text, ok := textOf(raw); ok {
			p.addWords(text)
			p.addNumber(text)
		}
	}
}

// word is a run of letters or of digits in a text.
type word struct {
	text     string // folded
	class    int
	from, to int
}

// wordsOf finds the words of a text. A change between letters and digits ends a word, so that no unit behind a number
// hides it.
func wordsOf(text string) []word {
	var words []word
	last := between
	for i, r := range text {
		class := classOf(r)
		if class == ignored {
			continue
		}
		if class != between {
			if class != last || class == sign {
				words = append(words, word{class: class, from: i})
			}
			words[len(words)-1].to = i + utf8.RuneLen(r)
		}
		last = class
	}
	for i := range words {
		words[i].text = fold(text[words[i].from:words[i].to])
	}
	return slices.DeleteFunc(words, func(w word) bool { return w.text == "" }) // accents that stand on nothing
}

// The classes of runes.
const (
	between = iota
	letter
	digit
	sign    // a word of its own, in scripts that put no spaces
	ignored // as if it were not there
)

func classOf(r rune) int {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z':
		return letter
	case '0' <= r && r <= '9':
		return digit
	case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai):
		return sign
	case unicode.IsLetter(r), unicode.IsMark(r):
		return letter
	case unicode.IsDigit(r):
		return digit
	case unicode.IsControl(r) && !unicode.IsSpace(r), unicode.Is(unicode.Cf, r):
		return ignored
	}
	return between
}

// fold is a word without case and accents, as systems write it that know capitals or ASCII only.
func fold(word string) string {
	if strings.IndexFunc(word, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return strings.ToLower(word)
	}
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) || classOf(r) == ignored {
			return -1
		}
		return unicode.ToLower(unicode.ToUpper(r)) // the Greek sigma has two small forms
	}, norm.NFKD.String(sharpS.Replace(word)))
}

var sharpS = strings.NewReplacer("\u00df", "ss", "\u1e9e", "ss")

func texts(words []word) []string {
	out := make([]string, len(words))
	for i := range words {
		out[i] = words[i].text
	}
	return out
}

// mask is text with every sequence of words that is one of the values replaced by "***".
func (p personal) mask(text string) string {
	words := wordsOf(text)
	values := p.byFirst()
	var out strings.Builder
	done := 0
	for i := 0; i < len(words); {
		n := max(longest(words[i:], values), p.longestNumber(words[i:]))
		if n == 0 {
			i++
			continue
		}
		out.WriteString(text[done:words[i].from])
		out.WriteString(events.Masked)
		done = words[i+n-1].to
		i += n
	}
	return out.String() + text[done:]
}

// byFirst is the values by their first words.
func (p personal) byFirst() map[string][][]string {
	values := make(map[string][][]string, len(p.values))
	for _, value := range p.values {
		values[value[0]] = append(values[value[0]], value)
	}
	return values
}

// longest is how many words from the first on are one of the values, at most.
func longest(words []word, values map[string][][]string) int {
	most := 0
	for _, value := range values[words[0].text] {
		if len(value) > most && len(value) <= len(words) && begins(words, value) {
			most = len(value)
		}
	}
	return most
}

// longestNumber is how many words of digits from the first on are part of a phone number, or the whole of one with
// something before or behind it.
func (p personal) longestNumber(words []word) int {
	enough := moreDigits
	for _, number := range p.numbers {
		enough = max(enough, len(number)+moreDigits)
	}
	most, joined := 0, ""
	for n := 0; len(p.numbers) > 0 && n < min(enough, len(words)) && words[n].class == digit && len(joined) < enough; n++ {
		joined = strings.TrimLeft(joined+words[n].text, "0")
		if len(joined) >= leastDigits && slices.ContainsFunc(p.numbers, func(number string) bool {
			return strings.Contains(number, joined) || strings.Contains(joined, number)
		}) {
			most = n + 1
		}
	}
	return most
}

func begins(words []word, value []string) bool {
	for i := range value {
		if words[i].text != value[i] {
			return false
		}
	}
	return true
}

var (
	inJSON  = regexp.MustCompile(`(\\u[0-9A-Fa-f]{4})+`)
	percent = regexp.MustCompile(`(%[0-9A-Fa-f]{2})+`)
)

// plain undoes the ways in which an upstream may spell what it repeats: those of JSON, HTML and addresses.
func plain(text string) string {
	text = inJSON.ReplaceAllStringFunc(text, func(codes string) string {
		var decoded string
		if json.Unmarshal([]byte(`"`+codes+`"`), &decoded) != nil {
			return codes
		}
		return decoded
	})
	text = percent.ReplaceAllStringFunc(html.UnescapeString(text), func(codes string) string {
		decoded, err := hex.DecodeString(strings.ReplaceAll(codes, "%", ""))
		if err != nil {
			return codes
		}
		return string(decoded)
	})
	return strings.ToValidUTF8(text, "?")
}

// personalOfAction is what an action holds of an account's or a user's.
func personalOfAction(d *events.ActionData) (p personal) {
	if a := d.AccountsReceivableIdentifier; a != nil {
		p.addName(a.Name)
		if t := a.AccessTokenIdentifier; t != nil {
			p.add(t.AuthenticationCode, t.Identifier, t.PassCode)
		}
	}
	p.addOpen(d.PerformedByUserIdentifier)
	p.addOpen(d.PaymentGatewayCardIdentifier)
	return p
}

// personalOfCreation is what a creation holds of a customer.
func personalOfCreation(d *events.NetflixCreateData) (p personal) {
	p.addName(d.CustomerFirstName, d.CustomerLastName)
	if a := d.CustomerAddress; a != nil {
		p.addWords(a.StreetName)
		p.add(a.PostalCode, a.StreetNumber)
		p.addMore(a.More)
	}
	if e := d.CustomerEmail; e != nil {
		p.addWords(e.EmailAddress)
		p.add(e.Notes)
		p.addMore(e.More)
		for _, value := range []*string{e.String1, e.String2, e.String3, e.String4, e.String5, e.String6, e.String7, e.String8} {
			if value != nil {
				p.add(*value)
			}
		}
	}
	if t := d.CustomerPhone; t != nil {
		p.add(t.AreaCode, t.Notes)
		p.addNumber(t.Number)
		p.addOpen(t.CountryIdentifier)
		p.addMore(t.More)
	}
	return p
}
