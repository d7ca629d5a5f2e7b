package crmcom

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

// envelopes are what every target begins with, around the data that it knows.
func envelopes(f *testing.F, data ...string) {
	for _, d := range append(data, "{}", "[]", "null", `""`, "[null]", `[{}]`, `{"a":1,"a":2}`) {
		for _, code := range []string{"OK", "ok", "NO", "INVALID_TOKEN", "DUPLICATE_REFERENCE", "NOT_FOUND"} {
			f.Add(200, []byte(`{"data":`+d+`,"status":{"code":"`+code+`","description":"","message":"m"}}`))
		}
	}
	for _, status := range []int{200, 204, 302, 400, 401, 403, 429, 500, 503} {
		for _, body := range []string{"", "{}", "null", "<html>", "\xef\xbb\xbf{}", coded("OK", ""), coded("NO", "x"), `{"status":{"code":"OK"}}`, `{"data":{},"status":{"code":"NO","code":"OK"}}`} {
			f.Add(status, []byte(body))
		}
	}
}

// isOK reports whether a reply says OK, judged without the code under test.
func isOK(status int, body []byte) bool {
	var reply struct {
		Data   *json.RawMessage
		Status map[string]any
	}
	dec := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(bytes.TrimSpace(body), []byte("\xef\xbb\xbf"))))
	if dec.Decode(&reply) != nil {
		return false
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return false
	}
	return status >= 200 && status <= 299 && reply.Status["code"] == "OK"
}

// judge checks what must hold of the reading of every reply: success only where it says OK, an error of a known kind,
// and nothing that is longer than it may be.
func judge(t *testing.T, status int, body []byte, result any, err error, most int) {
	t.Helper()
	if err == nil && !isOK(status, body) {
		t.Errorf("%d %q is taken for success", status, body)
	}
	shown, failed := json.Marshal(result)
	if failed != nil || len(shown) > most {
		t.Errorf("%d %q: %v, %d bytes", status, body, failed, len(shown))
	}
	if err == nil {
		return
	}
	e := &events.Error{Kind: events.Unavailable, Message: err.Error(), Upstream: true} // what a read makes of others
	errors.As(err, &e)
	switch {
	case e.Kind == events.Internal, e.Kind == events.Conflict && e.Code != events.CodeDuplicate:
		t.Errorf("%d %q: %s %s", status, body, e.Kind, e.Code)
	case len(e.Message) > 800 || len(e.UpstreamCode) > maxWord || len(err.Error()) > 3000:
		t.Errorf("%d: messages of %d, %d and %d bytes", status, len(e.Message), len(e.UpstreamCode), len(err.Error()))
	case !utf8.ValidString(e.Message) || strings.ContainsFunc(e.Message+e.UpstreamCode, unicode.IsControl):
		t.Errorf("%d %q: %q, %q", status, body, e.Message, e.UpstreamCode)
	case (status == 401 || status == 403 || status == 429) && !bytes.Contains(body, []byte("code")) && (e.Kind != events.Unavailable || !e.Upstream):
		t.Errorf("%d: %s", status, e.Kind)
	}
}

// fuzz lets decode meet the data of OKs of every shape. most is how long its result may be.
func fuzz(f *testing.F, most func(body int) int, decode func(t *testing.T, b both, data json.RawMessage) (any, error)) {
	b := clients(f, settings(base), NetflixSettings{}, upstream.Settings{})
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		data, err := b.client.read(upstream.Reply{Status: status, Body: body, Header: http.Header{}}, personal{})
		var result any
		if err == nil {
			result, err = decode(t, b, data)
		}
		judge(t, status, body, result, err, most(len(body)))
	})
}

// short is the bound of results of which no part is longer than maxWord; in JSON, a byte may take six.
func short(int) int { return 6*8*maxWord + 1000 }

// asLong is the bound of results that repeat what was read. Names of members may be absent in the reply, and a secret that
// is masked may be shorter than the mask.
func asLong(body int) int { return 100*body + 1000 }

func FuzzEnvelope(f *testing.F) {
	envelopes(f)
	w := clients(f, settings(base), NetflixSettings{}, upstream.Settings{}).client.wire
	p := personalOfCreation(decode[events.NetflixCreateData](f, personalCreate))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		for _, p := range []personal{{}, p} {
			data, err := w.read(upstream.Reply{Status: status, Body: body, Header: http.Header{}}, p)
			judge(t, status, body, nil, err, 4)
			if err == nil && (!json.Valid(data) || !isObject(data) && !isArray(data) && !isNull(data)) {
				t.Errorf("%q gives %q", body, data)
			}
		}
	})
}

func FuzzLogin(f *testing.F) {
	envelopes(f, `{"token":"eyJ0eXAi.one"}`, `{"token":1234567}`, `{"token":null}`, `{"token":"x"}`, `[{"token":"eyJ0eXAi.one"}]`)
	w := clients(f, settings(base), NetflixSettings{}, upstream.Settings{}).client.wire
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		token, err := w.tokenOf(upstream.Reply{Status: status, Body: body, Header: http.Header{}})
		judge(t, status, body, nil, err, 4)
		switch e := events.AsError(err); {
		case err == nil && (len(token) < upstream.MinSecret || len(token) > maxToken):
			t.Errorf("a token of %d bytes", len(token))
		case err != nil && (token != "" || e.Kind != events.Unavailable || !e.Upstream):
			t.Errorf("%d %q: %q, %s, %t", status, body, token, e.Kind, e.Upstream)
		}
	})
}

const anAction = `{"id":"A","number":"7","life_cycle_state":"EXECUTED","transaction_reference_number":"abcdefghijklmnopqrstuvwx23"}`

func FuzzAmend(f *testing.F) {
	envelopes(f, `{"id":"0F3A","number":"S1","life_cycle_state":"EFFECTIVE","termed_services_set":[]}`, anAction, `{"action":`+anAction+`}`,
		`[{"subscription":{"id":"0F3A"},"actions_set":[`+anAction+`]}]`, `{"id":"A","life_cycle_state":"REJECTED"}`,
		`{"id":"A","behavior_code":"X","life_cycle_state":"EXECUTEDWITHERRORS"}`)
	fuzz(f, short, func(t *testing.T, b both, data json.RawMessage) (any, error) {
		result, err := b.client.actedUpon(data, cid, personal{})
		var one struct {
			ID    string
			State string `json:"life_cycle_state"`
		}
		if json.Unmarshal(data, &one) == nil && one.ID != "" && one.State == "REJECTED" && !bytes.Contains(data, []byte("reference")) && err == nil {
			t.Errorf("%q is taken for done", data)
		}
		return result, err
	})
}

func FuzzSubscription(f *testing.F) {
	envelopes(f, `{"id":"s","number":"S1","life_cycle_state":"EFFECTIVE","termed_services_set":[{"id":"A","life_cycle_state":"SWAPPED","product":{"code":"X"}}]}`,
		`{"id":"s","life_cycle_state":"EFFECTIVE","termed_services_set":null}`, `[{"id":"s","life_cycle_state":"EFFECTIVE","termed_services_set":[]}]`)
	fuzz(f, asLong, func(t *testing.T, b both, data json.RawMessage) (any, error) {
		s, err := b.client.subscription(data)
		if err != nil {
			return nil, err
		}
		if s.LifeCycleState == "" || s.ID == "" && s.Number == "" || s.Services == nil {
			t.Errorf("%+v", s)
		}
		for _, service := range s.Services {
			if service.LifeCycleState == "" || service.Product == (events.ServiceIdentifier{}) {
				t.Errorf("%+v", s)
			}
		}
		return s, nil
	})
}

func FuzzScheduled(f *testing.F) {
	envelopes(f, `[`+anAction+`]`, `{"actions_set":[`+anAction+`]}`, `{"actions":[],"others":null}`, `[{"id":"A"}]`, `{"actions":{"a":1}}`)
	fuzz(f, short, func(t *testing.T, b both, data json.RawMessage) (any, error) {
		actions, err := b.client.scheduled(data)
		if err != nil {
			return nil, err
		}
		found, err := b.client.holds(actions, cid)
		if found && !bytes.Contains(bytes.ToLower(data), []byte("transaction")) && !bytes.Contains(data, []byte(`\`)) {
			t.Errorf("%q is taken for ours", data)
		}
		return found, err
	})
}

func FuzzNetflixSubscriptions(f *testing.F) {
	const one = `{"subscription_number":"S9","netflix_sate":"EFFECTIVE","life_cycle_state":"EFFECTIVE","promotions_set":[{"code":"14"}],"prices_set":[{"FormattedPrice":"EUR 9.99"}]}`
	envelopes(f, one, `[`+one+`,`+one+`]`, `{"netflix_sate":"A","netflix_state":"B"}`, `{"netflix_state":"A"}`)
	fuzz(f, asLong, func(t *testing.T, b both, data json.RawMessage) (any, error) {
		var found []events.NetflixSubscription
		for _, item := range oneOrMore(data) {
			s, err := b.netflix.netflixSubscription(item)
			if err != nil {
				return nil, err
			}
			if s.SubscriptionNumber+s.NetflixState+s.LifeCycleState == "" {
				t.Errorf("%q: %+v", data, s)
			}
			found = append(found, s)
		}
		return found, nil
	})
}

func FuzzCreated(f *testing.F) {
	envelopes(f, `{"netflix_token":"T-1"}`, `[{"netflix_token":"T-1"}]`, `[{"netflix_token":"T-1"},{"netflix_token":"T-2"}]`,
		`{"netflix_token":7}`, `{"netflix_token":null}`, `{"netflix_token":""}`, `{"netflix_token":"a","netflix_token":"b"}`)
	fuzz(f, asLong, func(t *testing.T, b both, data json.RawMessage) (any, error) {
		token, err := b.netflix.created(data)
		if (token == "") != (err != nil) || err != nil && events.KindOf(err) != events.Unknown {
			t.Errorf("%q: %q, %v", data, token, err)
		}
		return token, err
	})
}

func FuzzPromotions(f *testing.F) {
	envelopes(f, `[{"code":"14","name":"Spring","description":null,"effective_from":"2017-01-01T00:00:00","expires_on":"2017-06-01"}]`,
		`[{"code":"1","expires_on":"soon"}]`, `[{"code":"1","expires_on":"2017-01-01T00:00:00+02:00"}]`)
	fuzz(f, asLong, func(_ *testing.T, b both, data json.RawMessage) (any, error) { return b.netflix.promotions(data) })
}

func FuzzCharges(f *testing.F) {
	const one = `{"number":"I1","billing_system_customer_identifier":"c","amount":9.99,"currency":"EUR","paid_through_date":"2024-04-01T00:00:00","charge_status":"APPROVED","received_on":null}`
	const two = `{"number":"I2","billing_system_customer_identifier":"c","amount":"1e3","charge_status":"PENDING"}`
	envelopes(f, `{"charges_set":[`+one+`]}`, `[`+one+`,`+two+`]`, `{"charges_set":[`+one+`,`+two+`,`+one+`]}`, `{"charges_set":null}`,
		`{"charges_set":[{"number":"I3"},{"number":"I4","charge_status":"A","amount":"x"}]}`)
	fuzz(f, asLong, func(t *testing.T, b both, data json.RawMessage) (any, error) {
		items, err := b.netflix.items(data)
		if err != nil {
			return nil, err
		}
		var charges []events.NetflixCharge
		for _, item := range items {
			c, err := b.netflix.charge(item)
			if err != nil {
				return nil, err
			}
			if c.Number == "" || c.ChargeStatus == "" || c.Amount != "" && !json.Valid([]byte(c.Amount)) {
				t.Errorf("%+v", c)
			}
			charges = append(charges, c)
		}
		return charges, nil
	})
}

func FuzzFailedCharges(f *testing.F) {
	const one = `{"number":"I1","reference_number":"abcdefghijklmnopqrstuvwx23-1","error_code":"X","error_description":"text"}`
	envelopes(f, `{"failed_charges_set":[`+one+`]}`, `{"failed_charges_set":[`+one+`,{"number":"I2","error_code":"DUPLICATE_REFERENCE"}]}`,
		`{"failed_charges_set":[{"reference_number":"abcdefghijklmnopqrstuvwx23-2"}]}`, `{"failed_charges_set":[{"number":"I9"}]}`)
	sent := []wireCharge{{Number: "I1", Reference: cid + "-1"}, {Number: "I2", Reference: cid + "-2"}}
	fuzz(f, func(int) int { return 2 * 6 * 700 }, func(t *testing.T, b both, data json.RawMessage) (any, error) {
		failed, err := b.netflix.failed(data, sent)
		if err != nil {
			return nil, err
		}
		for i, c := range failed {
			if c.Number != "I1" && c.Number != "I2" || i > 0 && failed[0].Number == c.Number || len(c.ErrorCode) > maxWord {
				t.Errorf("%+v", failed)
			}
		}
		return failed, b.netflix.seenBefore(failed, len(sent))
	})
}

// Whatever a command and a message hold: the message gets no longer than masks make it, and a value that stands there
// alone is not left.
func FuzzMask(f *testing.F) {
	for _, value := range []string{"Ann", "O'Brien", "0171 2345678", "李小龍", "a1b2", "ß", "\u0301", "\u200b", "%41", "&amp;", "\\u0041", "Χρηστάκης", "ﬁ", "İ"} {
		for _, text := range []string{"", "for Ann", "ANN%20O%27BRIEN", "+49 171 234 56 78", "\\ud800", "%ff", "&#x110000;", "\xff"} {
			f.Add(value, text)
		}
	}
	f.Fuzz(func(t *testing.T, value, text string) {
		if !utf8.ValidString(value) || len(value) > 1000 {
			return // JSON holds none
		}
		var p personal
		p.addWords(value)
		p.addNumber(value)
		masked := p.mask(plain(text))
		if !utf8.ValidString(masked) || len(masked) > 3*len(plain(text))+3 {
			t.Errorf("%q for %q of %q", masked, value, text)
		}
		if len(wordsOf(value)) == 0 {
			return
		}
		for _, spelled := range []string{value, strings.ToUpper(value), "«" + value + "»", value + " " + value} {
			if got := p.mask("no " + spelled + " here"); len(value) > 3 && strings.Contains(got, value) && value != "here" {
				t.Errorf("%q is left in %q", value, got)
			}
		}
	})
}
