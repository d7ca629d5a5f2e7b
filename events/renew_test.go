package events_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
)

func TestRenewTarget(t *testing.T) {
	athens := time.FixedZone("EET", 2*3600)
	before := time.Date(2026, 1, 31, 23, 59, 59, 0, athens)
	now := time.Date(2026, 3, 30, 22, 30, 0, 0, time.UTC) // 31 March, 00:30 in Athens
	for _, tc := range []struct {
		name string
		data events.RenewData
		want time.Time
	}{
		{"months from the expiry date", events.RenewData{Months: 1}, time.Date(2026, 2, 28, 23, 59, 59, 0, athens)},
		{"said in so many words", events.RenewData{Months: 1, FromExpireDate: ptr(true)}, time.Date(2026, 2, 28, 23, 59, 59, 0, athens)},
		{"a year", events.RenewData{Months: 12}, time.Date(2027, 1, 31, 23, 59, 59, 0, athens)},
		{"days from the expiry date", events.RenewData{Days: 30}, time.Date(2026, 3, 2, 23, 59, 59, 0, athens)},
		{"months from now, in the zone of the expiry date", events.RenewData{Months: 1, FromExpireDate: ptr(false)}, time.Date(2026, 4, 30, 0, 30, 0, 0, athens)},
		{"days from now", events.RenewData{Days: 1, FromExpireDate: ptr(false)}, time.Date(2026, 4, 1, 0, 30, 0, 0, athens)},
		{"an unused length of 0", events.RenewData{Months: 0, Days: 1}, time.Date(2026, 2, 1, 23, 59, 59, 0, athens)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := tc.data.Target(before, now)
			if got.Format(time.RFC3339) != tc.want.Format(time.RFC3339) {
				t.Errorf("Target = %s, want %s", got.Format(time.RFC3339), tc.want.Format(time.RFC3339))
			}
		})
	}
}

func TestReadRenew(t *testing.T) {
	t.Run("OK", func(t *testing.T) {
		got, err := events.ReadRenew("C-1", []byte(`{"customer_mapping_id":"C-1","user_id":"u","days":30,"crm_service":"crm","from_expire_date":false}`))
		want := events.RenewData{CustomerMappingID: "C-1", UserID: "u", Days: 30, CRMService: "crm", FromExpireDate: ptr(false)}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v %s", err, diff)
		}
		if got.FromExpiry() {
			t.Error("FromExpiry() = true")
		}
	})
	t.Run("OKByUserID", func(t *testing.T) {
		got, err := events.ReadRenew("tv1", []byte(`{"user_id":"tv1","months":1}`))
		if err != nil || got.Customer() != "tv1" || !got.FromExpiry() {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("OKInAnySpelling", func(t *testing.T) { // as JSON Schema takes integers
		for spelling, days := range map[string]int{"3.0": 3, "1e1": 10, "0.3e1": 3, "300E-2": 3, "-0.0": 0, "3650.000": 3650} {
			got, err := events.ReadRenew("3.0", []byte(`{ "customer_mapping_id":"3.0", "crm_service":"\"1e1", "days": `+spelling+`}`))
			if diff := cmp.Diff(events.RenewData{CustomerMappingID: "3.0", CRMService: `"1e1`, Days: days}, got); diff != "" || err != nil {
				t.Errorf("%s: %v %s", spelling, err, diff)
			}
		}
	})
	for _, tc := range []struct{ name, subject, data, code, part string }{
		{"ErrAnotherCustomer", "C-2", `{"customer_mapping_id":"C-1","months":1}`, events.CodeKeyMismatch, `the event's subject is "C-2" but the data name "C-1"`},
		{"ErrUserIDWhereMappingIDIsGiven", "tv1", `{"customer_mapping_id":"C-1","user_id":"tv1","months":1}`, events.CodeKeyMismatch, `"C-1"`},
		{"ErrCase", "c-1", `{"customer_mapping_id":"C-1","months":1}`, events.CodeKeyMismatch, ""},
		{"ErrFraction", "C-1", `{"customer_mapping_id":"C-1","months":1.5}`, events.CodeSchema, "no renewal: months has the wrong type"},
		{"ErrText", "C-1", `{"customer_mapping_id":"C-1","months":1.0,"days":"1"}`, events.CodeSchema, "no renewal: days has the wrong type"},
		{"ErrNoObject", "C-1", `[]`, events.CodeSchema, "no renewal"},
		{"ErrNoJSON", "C-1", `{`, events.CodeSchema, "no renewal"},
		{"ErrNothing", "C-1", ``, events.CodeSchema, "no renewal"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := events.ReadRenew(tc.subject, []byte(tc.data))
			e := events.AsError(err)
			if err == nil || e.Kind != events.Refused || e.Code != tc.code || !strings.Contains(e.Message, tc.part) {
				t.Errorf("%v, want %s with %q", err, tc.code, tc.part)
			}
		})
	}
}
