package crmcom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf16"

	"golang.org/x/text/unicode/norm"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

// Every personal value of each kind of command that has some, as a customer's would be. What else the commands hold may
// be repeated.
const (
	personalCreate = `{
	  "billing_system_customer_identifier": "cust-77", "promotion_code": "14", "channel": "WEB",
	  "customer_first_name": "Ann-Zoë", "customer_last_name": "O'Brien Χρηστάκης",
	  "customer_address": {"type": "HOME", "postal_code": "SW1A 2AA", "street_name": "Lange Straße", "street_number": "126b",
	    "town": "Kato Lakatamia", "block": 4077},
	  "customer_email": {"type": "PERSONAL", "email_address": "a.zoe_obrien+crm@post.example", "notes": "evenings, after seven",
	    "udf_string_1": "red hair", "udf_string_2": "v2", "udf_string_3": "v3x", "udf_string_4": "v4x", "udf_string_5": "v5x",
	    "udf_string_6": "v6x", "udf_string_7": "v7x", "udf_string_8": "v8x"},
	  "customer_phone": {"type": "MOBILE", "number": "0171 2345678", "area_code": "555", "country_identifier": {"name": "Zypern"},
	    "notes": "ask for Mia", "second": "0172 8765432"}}`
	personalAccount = `{
	  "accounts_receivable_identifier": {"name": "Ann-Zoë O'Brien"},
	  "performed_by_user_identifier": {"username": "clerk.smith", "email": "smith@office.example"},
	  "payment_gateway_card_identifier": {"number": "4111-1111-1111-1111"},
	  "services_to_add_set": [{"service_identifier": {"code": "SPORTS_PLUS"}}],
	  "services_to_swap_set": [{"from_service": {"service_identifier": {"code": "A"}}, "to_service": {"service_identifier": {"code": "B"}}}]}`
	personalToken = `{
	  "accounts_receivable_identifier": {"access_token_identifier": {"identifier": "ann.zoe", "pass_code": "00-73x", "authentication_code": "Kx9.Qw7-2b"}},
	  "services_to_add_set": [{"service_identifier": {"code": "SPORTS_PLUS"}}],
	  "services_to_swap_set": [{"from_service": {"service_identifier": {"code": "A"}}, "to_service": {"service_identifier": {"code": "B"}}}]}`
)

// Nothing of these may be left, in any spelling.
var (
	ofCreate = []string{"Ann", "Zoë", "Zoe", "Brien", "Χρηστάκης", "ΧΡΗΣΤΑΚΗΣ", "SW1A", "2AA", "Lange", "Straße", "Strasse", "126b", "obrien",
		"post.example", "evenings", "red hair", "v2", "v3x", "v4x", "v5x", "v6x", "v7x", "v8x", "2345678", "555", "Zypern", "Mia", "Lakatamia", "4077", "8765432"}
	ofAccount = []string{"Ann", "Zoë", "Zoe", "Brien", "clerk", "smith", "office", "4111"}
	ofToken   = []string{"ann", "zoe", "00-73x", "0073x", "Kx9", "Qw7"}
)

// echoed is the values of a command as an upstream may repeat them.
func echoed(t *testing.T, command string) []string {
	var members map[string]any
	if err := json.Unmarshal([]byte(command), &members); err != nil {
		t.Fatal(err)
	}
	var values []string
	var walk func(name string, v any)
	walk = func(name string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for inner, value := range v {
				walk(inner, value)
			}
		case float64:
			values = append(values, strconv.Itoa(int(v)))
		case string:
			switch name {
			case "type", "channel", "promotion_code", "code", "billing_system_customer_identifier":
			default:
				values = append(values, v)
			}
		}
	}
	walk("", members)
	return values
}

// spellings are how an upstream may write a value.
func spellings(value string) map[string]string {
	var codes strings.Builder
	for _, unit := range utf16.Encode([]rune(value)) {
		fmt.Fprintf(&codes, `\u%04X`, unit)
	}
	together := value
	if !strings.Contains(value, "@") {
		together = strings.Map(func(r rune) rune {
			if !unicode.In(r, unicode.L, unicode.N) {
				return -1
			}
			return r
		}, value)
	}
	return map[string]string{
		"as it is": value, "in capitals": strings.ToUpper(value), "in small letters": strings.ToLower(value),
		"in HTML": html.EscapeString(value), "in a query": url.QueryEscape(value), "in a path": url.PathEscape(value),
		"in a query, and a percent sign": "100% of " + url.QueryEscape(value),
		"decomposed":                     norm.NFD.String(value), "in codes of JSON": codes.String(),
		"in codes of HTML": strings.NewReplacer("ë", "&euml;", "ß", "&#223;", "'", "&#39;").Replace(value),
		"without accents":  strings.NewReplacer("ë", "e", "ß", "ss", "ά", "α").Replace(value),
		"in quotes":        `"` + value + `"`, "in an assignment": "value=" + value + ";", "in other spaces": strings.ReplaceAll(value, " ", "  \n"),
		"with underscores": strings.NewReplacer(" ", "_", "-", "_").Replace(value), "together": together,
		"with a zero width space": strings.ReplaceAll(value, "n", "n\u200b"),
	}
}

// searched fails where something of a customer is shown in what travels.
func searched(t *testing.T, shown string, fragments []string) {
	t.Helper()
	said := html.UnescapeString(shown)
	said = regexp.MustCompile(`(%[0-9A-Fa-f]{2})+`).ReplaceAllStringFunc(said, func(s string) string { s, _ = url.PathUnescape(s); return s })
	said = regexp.MustCompile(`\\+(u[0-9A-Fa-f]{4})`).ReplaceAllStringFunc(said, func(s string) string {
		s, _ = strconv.Unquote(`"\` + strings.TrimLeft(s, `\`) + `"`)
		return s
	})
	plainly := strings.ToLower(norm.NFC.String(strings.ReplaceAll(said, "\u200b", "")))
	for _, fragment := range fragments {
		if strings.Contains(plainly, strings.ToLower(fragment)) {
			t.Errorf("%q is shown in %s", fragment, shown)
		}
	}
}

// travels is all of an error that may travel or be logged.
func travels(err error) string {
	var b strings.Builder
	for e := err; e != nil; e = errors.Unwrap(e) {
		fmt.Fprintf(&b, "%v\n%+v\n%#v\n", e, e, e)
	}
	return b.String()
}

// An upstream that repeats what it was sent, wherever it may: nothing of the customer's comes out.
func TestPersonalDataStayInside(t *testing.T) {
	envelope := func(code, message, description string) string {
		return `{"data":{},"status":{"code":` + quoted(code) + `,"message":` + quoted(message) + `,"description":` + quoted(description) + `}}`
	}
	places := map[string]func(echo string) string{
		"message":       func(echo string) string { return envelope("NO", "invalid: "+echo+" given", "") },
		"message alone": func(echo string) string { return envelope("NO", echo, "") },
		"description":   func(echo string) string { return envelope("NO", "", "invalid: "+echo) },
		"code":          func(echo string) string { return envelope("NO "+echo, "no", "") },
		"duplicate":     func(echo string) string { return envelope("DUPLICATE_REFERENCE", echo, "") },
		"not found":     func(echo string) string { return envelope("NOT_FOUND", echo, "") },
		"invalid token": func(echo string) string { return envelope("INVALID_TOKEN", echo, "") },
		"no envelope":   func(echo string) string { return "<html>" + echo },
		"ids": func(echo string) string {
			return `{"data":{"id":` + quoted(echo) + `,"number":` + quoted("S "+echo) + `,"life_cycle_state":` + quoted(echo) + `},"status":{"code":"OK"}}`
		},
		"action": func(echo string) string {
			return `{"data":{"action":{"id":` + quoted(echo) + `,"number":` + quoted(echo) + `,"life_cycle_state":` + quoted(echo) + `}},"status":{"code":"OK"}}`
		},
		"a rejected action": func(echo string) string {
			return `{"data":{"action":{"id":` + quoted(echo) + `,"life_cycle_state":"REJECTED"}},"status":{"code":"OK"}}`
		},
		"OK without a token": func(echo string) string {
			return `{"data":{"message":` + quoted(echo) + `},"status":{"code":"OK","message":` + quoted(echo) + `}}`
		},
	}
	calls := map[string]struct {
		command   string
		fragments []string
		call      func(b both) (any, error)
	}{
		"create": {personalCreate, ofCreate, func(b both) (any, error) {
			return b.netflix.CreateNetflix(t.Context(), decode[events.NetflixCreateData](t, personalCreate))
		}},
		"amend by name":  {personalAccount, ofAccount, amending(t, personalAccount)},
		"amend by token": {personalToken, ofToken, amending(t, personalToken)},
		"swap by name":   {personalAccount, ofAccount, swapping(t, personalAccount)},
		"swap by token":  {personalToken, ofToken, swapping(t, personalToken)},
	}
	for _, status := range []int{200, 400, 500} {
		for place, body := range places {
			for name, c := range calls {
				var echo string
				b := against(t, settings(""), func(w http.ResponseWriter, r *http.Request, _ map[string]any) {
					replying(status, body(echo))(w, r, nil)
				})
				for _, value := range echoed(t, c.command) {
					for spelling, spelled := range spellings(value) {
						if status != 200 && (spelling != "as it is" || place == "code") {
							continue
						}
						echo = spelled
						result, err := c.call(b)
						shown, _ := json.Marshal(result)
						searched(t, string(shown)+travels(err), c.fragments)
						if t.Failed() {
							t.Fatalf("%s, %d, %s, %q %s", name, status, place, value, spelling)
						}
					}
				}
			}
		}
	}
}

// data of a swap or an amendment, without the other's set.
func without(t *testing.T, command, set string) string {
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(command), &members); err != nil {
		t.Fatal(err)
	}
	delete(members, set)
	text, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func amending(t *testing.T, command string) func(b both) (any, error) {
	d := decode[events.AmendData](t, without(t, command, "services_to_swap_set"))
	return func(b both) (any, error) { return b.client.Amend(context.Background(), cid, d) }
}

func swapping(t *testing.T, command string) func(b both) (any, error) {
	d := decode[events.SwapData](t, without(t, command, "services_to_add_set"))
	return func(b both) (any, error) { return b.client.Swap(context.Background(), cid, d) }
}

// What is masked, and what is left so that people can still read it.
func TestMask(t *testing.T) {
	var names personal
	names.addWords("Al", "O'Brien", "Lange Straße", "Χρηστάκης")
	names.add("7", "12b", "X", "00-73x", "李小龍", "!?", "\u0301") // the last is an accent on nothing
	names.addNumber("0171 2345678")
	for _, c := range []struct{ text, want string }{
		{"no customer Al O'Brien", "no customer *** ***"},
		{"AL OBRIEN", "*** ***"},
		{"also all", "also all"}, // two letters are a word, not parts of others
		{"Al's and (al)", "***'s and (***)"},
		{"Brien alone", "*** alone"},
		{"o brien", "***"},
		{"O alone", "O alone"},           // one letter of a longer name says nothing
		{"x alone, xx", "*** alone, xx"}, // a value that is one letter does
		{"brienne", "brienne"},
		{"AlObrien", "AlObrien"}, // two values with nothing between them: documented
		{"al_obrien@x", "***_***@***"},
		{"LANGE STRASSE 12B", "*** ***"},
		{"in the strasse", "in the ***"},
		{"error 7 of 77", "error *** of 77"},
		{"ERR_7", "ERR_***"},
		{"12 b", "***"},
		{"0073X", "***"},
		{"李小龍", "***"},
		{"先生李小龍是", "先生***是"},
		{"李龍", "李龍"},
		{"+49 171 234 56 78 rang", "+*** rang"},
		{"0049-171-2345678", "***"},
		{"01712345678", "***"},
		{"call 2345678 or 345678", "call *** or ***"},
		{"5678", "5678"}, // fewer than five digits of a number
		{"34567", "***"},
		{"3 4 5 6 7 of 9", "*** of 9"},
		{"2024-03-01", "2024-03-01"},
		{"171234567812345678901234567890", "***"},
		{"01712345678 2024 03 01 11 22 33 44", "*** 22 33 44"}, // no more than moreDigits behind a number
		{"ΧΡΗΣΤΑΚΗΣ ΧΡΗΣΤΆΚΗΣ χρηστάκης Χρηστακησ", "*** *** *** ***"},
		{"", ""},
		{"!?", "!?"},
	} {
		if got := names.mask(c.text); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
	if got := (personal{}).mask("Al 7"); got != "Al 7" {
		t.Errorf("%q", got)
	}
}

// A login is often made from a name: its parts are looked for written together, in either order.
func TestPartsOfANameWrittenTogetherAreMasked(t *testing.T) {
	creation := personalOfCreation(&events.NetflixCreateData{CustomerFirstName: "Ann-Zoë", CustomerLastName: "O'Brien"})
	account := personalOfAction(&events.ActionData{AccountsReceivableIdentifier: &events.AccountIdentifier{Name: "Ann-Zoë O'Brien"}})
	for _, text := range []string{
		"annzoeobrien", "obrienannzoe", "ANNZOËOBRIEN", "AnnZoe.OBrien", "obrien_ann-zoe", "annobrien", "Zoë O’Brien", "brienann", "ZoeBrien",
	} {
		for name, p := range map[string]personal{"creation": creation, "account": account} {
			got := p.mask("login " + text + "7 in use")
			if left := strings.NewReplacer("***", "", ".", "", "_", "", "-", "", "’", "").Replace(got); strings.Join(strings.Fields(left), " ") != "login 7 in use" {
				t.Errorf("%s: %q is left as %q", name, text, got)
			}
		}
	}
	if got := creation.mask("annabel obrienne, announced"); got != "annabel obrienne, announced" {
		t.Errorf("what is no name is masked: %q", got)
	}
	if p := personalOfCreation(&events.NetflixCreateData{CustomerLastName: strings.Repeat("ab cd ", 40)}); len(p.values) > 300 {
		t.Errorf("a long name makes %d values", len(p.values))
	}
}

// What is personal may also be part of a secret that is repeated in the same message. Masking the one must not hide the
// other from the search for it.
func TestPersonalPartsOfSecrets(t *testing.T) {
	const ownToken = "eyJ0eXAi.Al7.abc-def+5/ghi="
	d := decode[events.NetflixCreateData](t, `{"billing_system_customer_identifier":"c","customer_first_name":"Al",
		"customer_address":{"type":"HOME","street_number":"5"},"customer_phone":{"type":"MOBILE","number":"0123456789"}}`)
	for name, echo := range map[string]string{
		"token": ownToken, "token in a query": url.QueryEscape(ownToken), "token in HTML": html.EscapeString(ownToken),
		"token in HTML of a query": strings.ReplaceAll(url.QueryEscape(ownToken), "%", "&#37;"), "key": apiKey, "key in a query": url.QueryEscape(apiKey),
	} {
		s := settings(serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "authentication") {
				ok(w, `{"token":`+quoted(ownToken)+`}`)
				return
			}
			replying(200, coded("NO", "invalid "+echo+" for Al"))(w, r, nil)
		})))
		_, err := clients(t, s, NetflixSettings{}, upstream.Settings{}).netflix.CreateNetflix(t.Context(), d)
		if got, want := events.AsError(err).Message, "CRM.COM answered NO: invalid *** for ***"; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// A secret that reads like an address or HTML is looked for as it is, too.
func TestSecretsThatLookEncoded(t *testing.T) {
	const password = "pa%41ss&amp;word\\u0041"
	s := settings("")
	s.WebAPIKey, s.Username, s.Password, s.Organisation = upstream.Secret{}, "user", upstream.NewSecret(password), "org"
	b := against(t, s, replying(200, coded("NO", "invalid "+password+" and "+url.QueryEscape(password)+" for Ann")))
	_, err := b.netflix.CreateNetflix(t.Context(), &events.NetflixCreateData{BillingSystemCustomerIdentifier: "c", CustomerFirstName: "Ann"})
	if got, want := events.AsError(err).Message, "CRM.COM answered NO: invalid *** and *** for ***"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A long message is masked in a time that its length explains.
func TestMaskTakesNoLongerThanTheTextIsLong(t *testing.T) {
	var p personal
	p.addWords("Al", "O'Brien")
	p.add(strings.Repeat("a ", 50) + "b")
	p.addNumber("0171 2345678")
	for name, part := range map[string]string{
		"one word": "x", "words": "al ", "near words": "o ", "digits": "1", "single digits": "1 ", "zeros": "0", "single zeros": "0 ",
		"nearly the number": "171234567 ", "the number": "1712345678", "signs": "李", "marks": "é́", "codes": `\u00e9`, "percent": "%41",
		"percent signs": "%", "entities": "&amp;", "ampersands": "&", "repeated": "a ", "zero width": "\u200b", "words and digits": "a1",
	} {
		text := strings.Repeat(part, (1<<18)/len(part))
		began := time.Now()
		got := p.mask(plain(text))
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: %s", name, took)
		}
		if len(got) > 3*len(text)+3 {
			t.Errorf("%s: %d bytes of %d", name, len(got), len(text))
		}
	}
	if got := p.mask(xs(1<<20) + " al " + strconv.Itoa(1712345678)); !strings.HasSuffix(got, "x *** ***") {
		t.Error("the end of a long text is not masked")
	}
}

// What CRM.COM says to a read of a customer's subscriptions may name the customer whose command it is for. The read does
// not know the name: nothing of the text travels. Who asks gets it.
func TestReadsForCommandsAreSilent(t *testing.T) {
	reply := replying(200, `{"status":{"code":"PENDING","message":"Anna Example has not registered"},"data":{}}`)
	_, err := against(t, settings(""), reply).netflix.NetflixSubscriptions(t.Context(), "cust-77")
	if err == nil || strings.Contains(fmt.Sprintf("%+v %s", err, err.Error()), "Anna") || !strings.Contains(err.Error(), "PENDING") {
		t.Errorf("for a command: %v", err)
	}
	_, err = against(t, settings(""), reply).netflix.NetflixSubscriptionsOf(t.Context(), events.NetflixCustomerIdentifier{BillingSystemCustomerIdentifier: "cust-77"})
	if err == nil || !strings.Contains(err.Error(), "Anna Example has not registered") {
		t.Errorf("for who asks: %v", err)
	}
}
