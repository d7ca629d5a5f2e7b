package sandbox

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"subrelay/events"
)

// maxAPIBody is the most that is read of a call's body.
const maxAPIBody = 1 << 20

// request is one call, read and not yet judged.
type request struct {
	*method
	params value
	bad    *refusal // why it cannot be read
	user   string   // of HTTP Basic, with which a Web API key comes
	pass   string
	basic  bool
	entry  *entry
}

func (c *CRMCOM) serveAPI(w http.ResponseWriter, r *http.Request) {
	m := c.methods[r.URL.Path]
	q := &request{method: m}
	call := call{stage: &c.stage, w: w, r: r, class: Reads}
	key := ""
	if m != nil {
		call.class = m.class
	}
	if m != nil && m.verb == r.Method {
		if !q.read(r) {
			call.cut(false) // it broke off: nothing is known of it
			return
		}
		key = c.key(q)
		if m.class == Writes {
			q.entry = c.book.begin(q.upstream(), q.kindOf(c.opts.SwapSet), key, r.Header, c.clock())
			call.entry = q.entry
		}
	}
	call.work = func() reply {
		switch {
		case m == nil:
			return said(http.StatusNotFound, codeUnknownMethod, "There is no such method.")
		case m.verb != r.Method:
			return said(http.StatusMethodNotAllowed, codeUnknownMethod, "The method is called by "+m.verb+".")
		}
		return c.answer(q)
	}
	call.serve(r.URL.Path, key)
}

// answer judges a call and does what it asks for.
func (c *CRMCOM) answer(q *request) reply {
	if q.bad != nil {
		return c.refuse(q, q.bad)
	}
	if q.class != Auth || q.path == "authentication/token/release" {
		if !c.tokens.valid(q.params.string("token"), c.clock()) {
			return c.refuse(q, &refusal{codeInvalidToken, "The token is not valid or has expired."})
		}
	}
	if bad := q.method.params.check(&q.params); bad != nil {
		return c.refuse(q, bad)
	}
	return q.do(c, q)
}

// refuse says no, and notes it.
func (c *CRMCOM) refuse(q *request, why *refusal) reply {
	if q.entry != nil {
		c.book.noted(q.entry, 0, pairs{{"code", why.code}})
	}
	return c.no(why)
}

// no is the reply that says no.
func (c *CRMCOM) no(why *refusal) reply {
	status := http.StatusOK
	if why.code == codeInvalidToken || why.code == codeInvalidCredentials {
		status = c.opts.TokenStatus
	}
	return said(status, why.code, why.text)
}

// read reads a call's parameters. It reports false where the call breaks off.
func (q *request) read(r *http.Request) bool {
	if q.verb == http.MethodGet {
		q.params, q.bad = readQuery(r.URL.RawQuery, q.method.params)
		return true
	}
	q.user, q.pass, q.basic = r.BasicAuth()
	var raw bytes.Buffer
	raw.Grow(int(min(max(r.ContentLength, 0), maxAPIBody)) + bytes.MinRead)
	if _, err := raw.ReadFrom(io.LimitReader(r.Body, maxAPIBody+1)); err != nil {
		return false
	}
	q.params, q.bad = readBodyOf(r, raw.Bytes())
	if q.bad == nil && q.params.shape != isObject {
		q.params, q.bad = value{}, &refusal{codeInvalidParameter, "the body is no JSON object"}
	}
	return true
}

func readBodyOf(r *http.Request, raw []byte) (value, *refusal) {
	switch {
	case len(raw) > maxAPIBody:
		return value{}, &refusal{codeInvalidParameter, "the body is too large"}
	case r.URL.RawQuery != "":
		return value{}, &refusal{codeUnknownParameter, "the parameters of a POST belong into its body"}
	case !saysJSON(r.Header):
		return value{}, &refusal{codeInvalidParameter, "the Content-Type is not application/json"}
	case len(raw) == 0:
		return value{shape: isObject}, nil
	}
	v, err := readValue(raw)
	if err != nil {
		return value{}, &refusal{codeInvalidParameter, err.Error()}
	}
	return v, nil
}

func saysJSON(header http.Header) bool {
	said := header.Get("Content-Type")
	if said == "application/json" {
		return true
	}
	typ, _, err := mime.ParseMediaType(said)
	return err == nil && typ == "application/json"
}

// readQuery reads the parameters of a GET: objects as <parameter>=<field>=<value> (vendor: Introduction), where the
// second equals sign may be encoded.
func readQuery(raw string, known *members) (value, *refusal) {
	v := value{shape: isObject}
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		name, text, _ := strings.Cut(pair, "=")
		name, errName := url.QueryUnescape(name)
		text, errText := url.QueryUnescape(text)
		if errName != nil || errText != nil || strings.Contains(pair, ";") {
			return value{}, &refusal{codeInvalidParameter, "the query string is not valid"} // without the text: it holds the token
		}
		m := value{name: name, shape: isRaw, text: text}
		if at, ok := known.byName[name]; ok && known.list[at].is == isObject {
			field, inner, _ := strings.Cut(text, "=")
			m = value{name: name, shape: isObject, of: []value{{name: field, shape: isRaw, text: inner}}}
		}
		v.of = append(v.of, m)
	}
	return v, nil
}

// upstream is where the call's entry belongs.
func (m *method) upstream() events.Upstream {
	if m.kind == events.Amend || m.kind == events.Swap {
		return events.CRMCOM
	}
	return events.Netflix
}

// kindOf is the kind of the call's entry: an amend that carries nothing but swaps is a swap.
func (q *request) kindOf(swapSet string) events.Kind {
	if q.kind != events.Amend || q.params.get(swapSet) == nil {
		return q.kind
	}
	for _, set := range amendSets {
		if q.params.get(set) != nil {
			return q.kind
		}
	}
	return events.Swap
}

// key is the call's key in the book and for faults: the identifier as it was sent.
func (c *CRMCOM) key(q *request) string {
	for _, name := range []string{"subscription_identifier", "accounts_receivable_identifier"} {
		if id := q.params.get(name); id != nil {
			if given := id.string("number") + id.string("id"); given != "" {
				return given
			}
			return c.subs.numberOf(id)
		}
	}
	if customer := q.params.string("billing_system_customer_identifier"); customer != "" {
		return customer
	}
	for _, set := range chargeSets {
		if charges := q.params.elements(set); len(charges) > 0 {
			return charges[0].string("billing_system_customer_identifier")
		}
	}
	return ""
}
