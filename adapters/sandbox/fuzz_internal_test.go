package sandbox

import (
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// FuzzFaults: whatever is decoded can be played and comes back the same from its own JSON.
func FuzzFaults(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"down":true,"seed":18446744073709551615}`, `{"script":[{"kind":"slow","delay":"1.5s","times":2}]}`,
		`{"standing":[{"kind":"throttle","retry_after":0.25,"route":"read"}]}`, `{"rates":[{"kind":"refusal","rate":1,"message":"é"}]}`,
		`{"standing":[{"kind":"slow","delay":1e308}]}`, `[]`, `null`, `{"script":null}`, `{"SCRIPT":[{}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		plan, err := DecodePlan(raw)
		if err != nil {
			return
		}
		again, err := json.Marshal(plan)
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		second, err := DecodePlan(again)
		if err != nil {
			t.Fatalf("%s became %s: %v", raw, again, err)
		}
		if third, err := json.Marshal(second); err != nil || string(third) != string(again) {
			t.Fatalf("%s became %s became %s (%v)", raw, again, third, err)
		}
		faults := NewFaults(1)
		if err := faults.Set(plan); err != nil {
			t.Skip("it names a route")
		}
		for range 3 {
			if fault, _ := faults.take("/x", Writes, "C-1"); fault.Kind != "" && fault.check(nil) != nil {
				t.Fatalf("%s plays %+v", raw, fault)
			}
		}
	})
}

// FuzzRenewQuery: the parser agrees with url.ParseQuery, and a renewal is either refused with 400 or moves the expiry
// date by what was asked.
func FuzzRenewQuery(f *testing.F) {
	for _, seed := range []string{
		"customermappingid=C-1&userid=tv1&months=1&days=0&crmServices=x&fromExpireDate=true&authToken=t&password=0",
		"customermappingid=C-1&days=36500&crmServices=x&fromExpireDate=FALSE", "userid=u&months=1200&crmServices=a%20b&fromExpireDate=1",
		"months=1&months=2&customermappingid=0&userid=0", "a;b=1", "%zz", "&&=&=x&months", "months=%2B1&days=-0", "password=%23%3D%2B",
	} {
		f.Add(seed)
	}
	start := time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseQuery(raw)
		want, wantErr := url.ParseQuery(raw)
		if (err != nil) != (wantErr != nil) {
			t.Fatalf("%q: %v, url.ParseQuery: %v", raw, err, wantErr)
		}
		if err == nil {
			checkQuery(t, &q, want)
		}
		tvms := NewTVMS(TVMSOptions{AutoCreate: start, Clock: func() time.Time { return start }})
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/api/RenewCustomer/renewCustomerV2", nil)
		r.URL.RawQuery = raw
		tvms.Handler().ServeHTTP(w, r)
		e := tvms.book.Effects()[0]
		if ok := w.Code == http.StatusOK; ok != e.Applied || !ok && w.Code != http.StatusBadRequest && w.Code != http.StatusNotAcceptable {
			t.Fatalf("%q: %d, booked %+v", raw, w.Code, e)
		}
		if e.Applied {
			asked, _ := q.renewal()
			c, _ := tvms.Customer(q.customer())
			days := math.Round(c.Expires.Sub(start).Hours() / 24)
			if least := float64(asked.months*28 + asked.days); days < least || days > float64(asked.months*31+asked.days) {
				t.Fatalf("%q moved the expiry date by %v days", raw, days)
			}
		}
	})
}

func checkQuery(t *testing.T, q *query, want url.Values) {
	t.Helper()
	for name, got := range map[string]string{
		"customermappingid": q.mappingID, "userid": q.userID, "months": q.months, "days": q.days, "crmServices": q.crmServices,
		"crmService": q.crmService, "fromExpireDate": q.fromExpireDate, "authToken": q.authToken,
	} {
		value := want.Get(name)
		if strings.HasSuffix(name, "id") {
			value = used(value)
		}
		if got != value {
			t.Fatalf("%s is %q, want %q", name, got, value)
		}
	}
	if q.seen&hasPassword != 0 != want.Has("password") {
		t.Fatal("whether there is a password")
	}
}
