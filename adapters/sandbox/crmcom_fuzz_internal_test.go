package sandbox

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// FuzzValue: what encoding/json reads, the reader reads in the same way, and it refuses what encoding/json refuses.
func FuzzValue(f *testing.F) {
	for _, seed := range []string{
		`{"a":{"b":[1,-2.5e3,"x\u00e9\n",true,null]},"a":{}}`, ` [ ] `, `"\ud800"`, `{"":"","":{"":[]}}`, `1`, ` {"a" : 1 , "b" : [ ] } `, `{`, "\"\xff\"",
		`[[[[1],2],3],{"a":[{}]}]`, `"\\\""`, `{"a\tb":1}`, `nul`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := readValue(raw)
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		var want any
		wantErr := d.Decode(&want)
		if err != nil {
			return
		}
		if wantErr != nil {
			t.Fatalf("%q was read, and encoding/json says %v", raw, wantErr)
		}
		got, _ := json.Marshal(plain(&v))
		again, _ := json.Marshal(want)
		if !bytes.Equal(got, again) {
			t.Fatalf("%q: %s, want %s", raw, got, again)
		}
	})
}

// plain is a value as encoding/json would have it: of a name that comes twice the last counts, objects are not merged.
func plain(v *value) any {
	switch v.shape {
	case isObject:
		m := map[string]any{}
		for i := range v.of {
			m[v.of[i].name] = plain(&v.of[i])
		}
		return m
	case isArray:
		list := []any{}
		for i := range v.of {
			list = append(list, plain(&v.of[i]))
		}
		return list
	case isText:
		return v.text
	case isNumber:
		return json.Number(v.text)
	case isBoolean:
		return v.text == "true"
	}
	return nil
}

// FuzzCRMCOM: whatever comes to whichever method, the answer is an envelope, one entry is booked for what may change
// something, and it was applied exactly if the answer is OK, charges that failed apart.
func FuzzCRMCOM(f *testing.F) {
	const s = `{"token":"TOKEN","subscription_identifier":{"number":"S"},`
	for _, seed := range [][2]string{
		{"subscriptions/amend", s + `"transaction_reference_number":"R","services_to_add_set":[{"service_identifier":{"code":"A"},"services_distribution_set":[{"provisioning_distributor_identifier":{"name":"D"}}]}]}`},
		{"subscriptions/amend", s + `"services_to_remove_set":[{"service_identifier":{"code":"A"}}],"installed_items_to_add_set":[{"installed_item_identifier":{"id":"1"}}],"udf_float_1":1e3,"fields_set":"id"}`},
		{"subscriptions/amend", s + `"scheduled_date":"2026-03-11T00:00:00","services_to_swap_set":[{"from_service":{"service_identifier":{"code":"A"}},"to_service":{"service_identifier":{"id":"B"}}}]}`},
		{"subscriptions/swap_services", s + `"services_to_swap_set":[{"from_service":{"subscription_service_id":"1"},"to_service":{"service_identifier":{"code":"B"}}}]}`},
		{"subscriptions/amend", `{"token":"TOKEN","accounts_receivable_identifier":{"access_token_identifier":{"authentication_code":"x"}}}`},
		{"netflix/subscriptions/create", `{"token":"TOKEN","billing_system_customer_identifier":"N","channel":"WEB","validity_duration":1,"customer_email":{"email_address":"x"}}`},
		{"netflix/subscriptions/suspend", `{"token":"TOKEN","billing_system_customer_identifier":"N"}`},
		{"netflix/charges/accept", `{"token":"TOKEN","accepted_charges_set":[{"number":"1","billing_system_customer_identifier":"N"}]}`},
		{"authentication/token", `{"username":"u","password":"p","organisation":"o"}`}, {"authentication/web_api_key/token", ``},
		{"authentication/token/release", `{"token":"TOKEN"}`},
		{"subscriptions/show", `token=TOKEN&subscription_identifier=number=S&fields_set=id`}, {"netflix/promotions/list", `token=TOKEN`},
		{"subscriptions/actions/get_scheduled", `token=TOKEN&subscription_identifier=number%3DS`},
		{"netflix/charges/list", `token=TOKEN&number_of_results=1&offset=0&charge_status=PROCESSED`},
		{"netflix/subscriptions/show", `token=TOKEN&billing_system_customer_identifier=N`}, {"none", `{`},
		{"subscriptions/amend", `[]`}, {"subscriptions/amend", `{"token":["TOKEN"],"subscription_identifier":"S","services_to_add_set":{}}`},
		{"netflix/charges/accept", `{"token":"TOKEN","accepted_charges_set":["x"],"acknowledged_charges_set":1}`},
	} {
		f.Add(seed[0], seed[1])
	}
	start := time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, path, text string) {
		c := NewCRMCOM(CRMCOMOptions{AutoCreate: true, Clock: func() time.Time { return start }, Charges: []Charge{chargeOfN()}})
		token := c.tokens.issue("u", "", start)
		text = strings.ReplaceAll(text, "TOKEN", token)
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(text))
		r.URL.Path = c.opts.Path + "/" + path
		r.Header.Set("Content-Type", "application/json")
		m := c.methods[r.URL.Path]
		if m != nil && m.verb == http.MethodGet {
			r.Method, r.URL.RawQuery = http.MethodGet, text
		}
		w := httptest.NewRecorder()
		c.Handler().ServeHTTP(w, r)
		var got envelope
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Data == nil || got.Status.Code == "" || (got.Status.Code == codeOK) != (got.Status.Message == "") {
			t.Fatalf("%s %q: %d %s", path, text, w.Code, w.Body)
		}
		all := c.book.Effects()
		if writes := m != nil && m.class == Writes; writes != (len(all) == 1) {
			t.Fatalf("%s %q: %d entries", path, text, len(all))
		}
		if len(all) == 0 {
			return
		}
		ok := got.Status.Code == codeOK
		if e := all[0]; e.EndOrder == 0 || e.Applied && !ok || ok && !e.Applied && e.Detail["failed"] == "" {
			t.Fatalf("%s %q: %s, booked %+v", path, text, w.Body, e)
		}
	})
}

func chargeOfN() Charge {
	var c Charge
	c.Number, c.BillingSystemCustomerIdentifier = "1", "N"
	return c
}
