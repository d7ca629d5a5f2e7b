package events_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
)

// refusal is a command that a reader must refuse.
type refusal struct{ name, subject, data, code, part string }

// refuses fails where read does not refuse as each refusal says.
func refuses[T any](t *testing.T, read func(string, json.RawMessage) (T, error), all []refusal) {
	t.Helper()
	all = append(all,
		refusal{"ErrNoObject", "k", `[]`, events.CodeSchema, "the data are no "},
		refusal{"ErrNoJSON", "k", `{`, events.CodeSchema, "the data are no "},
		refusal{"ErrNothing", "k", ``, events.CodeSchema, "the data are no "},
	)
	for _, tc := range all {
		t.Run(tc.name, func(t *testing.T) {
			_, err := read(tc.subject, []byte(tc.data))
			e := events.AsError(err)
			if err == nil || e.Kind != events.Refused || e.Code != tc.code || !strings.Contains(e.Message, tc.part) {
				t.Errorf("%v, want %s with %q", err, tc.code, tc.part)
			}
		})
	}
}

// reads fails where read does not take data under subject, and make want of them where want is not nil.
func reads[T any](t *testing.T, read func(string, json.RawMessage) (T, error), subject, data string, want *T) {
	t.Helper()
	got, err := read(subject, []byte(data))
	if err != nil {
		t.Errorf("%s: %v", data, err)
	} else if diff := cmp.Diff(want, &got); want != nil && diff != "" {
		t.Errorf("%s: (-want +got):\n%s", data, diff)
	}
}

func TestReadAmend(t *testing.T) {
	at := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	reads(t, events.ReadAmend, "S1", `{"subscription_identifier":{"number":"S1"},"scheduled_date":"2026-12-01T00:00:00Z","udf_float_1":9.5,
		"services_to_add_set":[{"service_identifier":{"code":"A"},"period_billed_in_advance":3,"period_billed_in_advance_uot":"MONTHS"}]}`,
		&events.AmendData{
			ActionData: events.ActionData{
				SubscriptionIdentifier: &events.SubscriptionIdentifier{Number: "S1"}, ScheduledDate: &at, UDF: events.UDF{Float1: ptr(9.5)},
			},
			ServicesToAddSet: []events.ServiceToAdd{{
				ServiceIdentifier: events.ServiceIdentifier{Code: "A"}, PeriodBilledInAdvance: ptr(3), PeriodBilledInAdvanceUOT: "MONTHS",
			}},
		})
	const remove = `"services_to_remove_set":[{"service_identifier":{"code":"A"}}]`
	for subject, data := range map[string]string{
		"ID1": `{"subscription_identifier":{"id":"ID1"},` + remove + `}`,
		"A1":  `{"accounts_receivable_identifier":{"number":"A1"},` + remove + `}`,
		"AID": `{"accounts_receivable_identifier":{"id":"AID"},` + remove + `}`,
		"any": `{"accounts_receivable_identifier":{"name":"Anna"},` + remove + `}`,
		"own": `{"accounts_receivable_identifier":{"access_token_identifier":{"authentication_code":"x"}},` + remove + `}`,
		"S1":  `{"subscription_identifier":{"number":"S1"},"installed_items_to_add_set":[{"installed_item_identifier":{"id":"i"}}]}`,
		"S2": `{"subscription_identifier":{"number":"S2"},"scheduled_date":"2026-12-01T00:00:00Z",
			"installed_items_to_add_set":[],"installed_items_to_remove_set":[{"installed_item_identifier":{"id":"i"}}]}`,
	} {
		reads(t, events.ReadAmend, subject, data, nil)
	}
	refuses(t, events.ReadAmend, []refusal{
		{"ErrAnotherSubscription", "S2", `{"subscription_identifier":{"number":"S1"},` + remove + `}`, events.CodeKeyMismatch, `the event's subject is "S2" but the data name "S1"`},
		{"ErrAnotherID", "s1", `{"subscription_identifier":{"id":"S1"},` + remove + `}`, events.CodeKeyMismatch, "subscription_identifier.number or .id"},
		{"ErrAnotherAccount", "A2", `{"accounts_receivable_identifier":{"number":"A1"},` + remove + `}`, events.CodeKeyMismatch, "accounts_receivable_identifier.number or .id"},
		{"ErrAnotherAccountID", "A2", `{"accounts_receivable_identifier":{"id":"A1"},` + remove + `}`, events.CodeKeyMismatch, `"A1"`},
		{
			"ErrScheduledItems", "S1", `{"subscription_identifier":{"number":"S1"},"scheduled_date":"2026-12-01T00:00:00Z",
			"installed_items_to_add_set":[{"installed_item_identifier":{"id":"i"}}]}`, events.CodeSchema, "installed items cannot be added by a scheduled action",
		},
		{
			"ErrFraction", "S1", `{"subscription_identifier":{"number":"S1"},"services_to_add_set":[{"service_identifier":{"code":"A"},
			"period_billed_in_advance":1.5,"period_billed_in_advance_uot":"DAYS"}]}`, events.CodeSchema,
			"no amendment: services_to_add_set.period_billed_in_advance has the wrong type",
		},
		{"ErrTwice", "S1", `{"subscription_identifier":{"id":"x"},"subscription_identifier":{"number":"S1"},` + remove + `}`, events.CodeSchema, "a member twice"},
		{"ErrTwiceByEscape", "S1", `{"subscription_identifier":{"number":"S1"},"\u0073ubscription_identifier":{"number":"S1"},` + remove + `}`, events.CodeSchema, "a member twice"},
		{"ErrTwiceWithin", "S1", `{"subscription_identifier":{"number":"S1"},"services_to_remove_set":[{"service_identifier":{"code":"A"},
			"service_identifier":{"id":"B"}}]}`, events.CodeSchema, "a member twice"},
	})
}

func TestReadSwap(t *testing.T) {
	const swap = `"services_to_swap_set":[{"from_service":{"service_identifier":{"code":"A"}},"to_service":{"service_identifier":{"code":"B"},"udf_string_8":"x"}}]`
	reads(t, events.ReadSwap, "S1", `{"subscription_identifier":{"number":"S1"},"business_classification_code":"SWITCH_SERVICE",`+swap+`}`,
		&events.SwapData{
			ActionData:                 events.ActionData{SubscriptionIdentifier: &events.SubscriptionIdentifier{Number: "S1"}},
			BusinessClassificationCode: "SWITCH_SERVICE",
			ServicesToSwapSet: []events.ServiceSwap{{
				FromService: events.SwapFrom{ServiceIdentifier: &events.ServiceIdentifier{Code: "A"}},
				ToService:   events.SwapTo{ServiceIdentifier: events.ServiceIdentifier{Code: "B"}, UDF: events.UDF{String8: ptr("x")}},
			}},
		})
	reads(t, events.ReadSwap, "S1", `{"subscription_identifier":{"number":"S1"},"services_to_swap_set":[{"to_service":{"period_billed_in_advance":1e1,"udf_float_1":2.50}}]}`,
		&events.SwapData{
			ActionData: events.ActionData{SubscriptionIdentifier: &events.SubscriptionIdentifier{Number: "S1"}},
			ServicesToSwapSet: []events.ServiceSwap{{
				ToService: events.SwapTo{PeriodBilledInAdvance: ptr(10), UDF: events.UDF{Float1: ptr(2.5)}},
			}},
		})
	reads(t, events.ReadSwap, "any", `{"accounts_receivable_identifier":{"name":"Anna"},`+swap+`}`, nil)
	refuses(t, events.ReadSwap, []refusal{
		{"ErrAnotherSubscription", "S2", `{"subscription_identifier":{"number":"S1"},` + swap + `}`, events.CodeKeyMismatch, `"S1"`},
		{"ErrTwice", "S1", `{"subscription_identifier":{"number":"S1"},` + swap + `,` + swap + `}`, events.CodeSchema, "a member twice"},
	})
}

func TestReadNetflixCreate(t *testing.T) {
	reads(t, events.ReadNetflixCreate, "cust-77", `{"billing_system_customer_identifier":"cust-77","validity_duration":3600,
		"customer_phone":{"type":"MOBILE","number":"1","country_identifier":{"code":"IE"}}}`,
		&events.NetflixCreateData{
			BillingSystemCustomerIdentifier: "cust-77", ValidityDuration: ptr(3600),
			CustomerPhone: &events.NetflixPhone{Type: "MOBILE", Number: "1", CountryIdentifier: events.OpenIdentifier{"code": "IE"}},
		})
	reads(t, events.ReadNetflixCreate, "cust-77", `{"billing_system_customer_identifier":"cust-77","validity_duration":3.6e3}`,
		&events.NetflixCreateData{BillingSystemCustomerIdentifier: "cust-77", ValidityDuration: ptr(3600)})
	reads(t, events.ReadNetflixCreate, "cust-77", `{"billing_system_customer_identifier":"cust-77",
		"customer_address":{"city":"Nico<sia>","type":"HOME","Type":"x","floor":3.50,"lift":false},
		"customer_email":{"email_address":"a@b.example","udf_float_9":1,"udf_float_1":2.50},"customer_phone":{"type":"FAX","number":"1"}}`,
		&events.NetflixCreateData{
			BillingSystemCustomerIdentifier: "cust-77",
			CustomerAddress: &events.NetflixAddress{Type: "HOME", More: events.OpenMembers{
				"city": json.RawMessage(`"Nico<sia>"`), "Type": json.RawMessage(`"x"`), "floor": json.RawMessage("3.50"), "lift": json.RawMessage("false"),
			}},
			CustomerEmail: &events.NetflixEmail{EmailAddress: "a@b.example", UDF: events.UDF{Float1: ptr(2.5)}, More: events.OpenMembers{"udf_float_9": json.RawMessage("1")}},
			CustomerPhone: &events.NetflixPhone{Type: "FAX", Number: "1"},
		})
	refuses(t, events.ReadNetflixCreate, []refusal{
		{"ErrLongNumber", "cust-77", `{"billing_system_customer_identifier":"cust-77","customer_phone":{"type":"FAX","number":"1","extension":0.` + strings.Repeat("1", 31) + `}}`,
			events.CodeSchema, "customer_phone holds a number of more than 32 characters"},
		{"ErrTwiceOpen", "cust-77", `{"billing_system_customer_identifier":"cust-77","customer_phone":{"type":"FAX","number":"1","x":1,"x":2}}`, events.CodeSchema, "a member twice"},
		{"ErrAnotherCustomer", "cust-78", `{"billing_system_customer_identifier":"cust-77"}`, events.CodeKeyMismatch, "must equal billing_system_customer_identifier"},
		{"ErrTwice", "cust-77", `{"billing_system_customer_identifier":"cust-77","channel":"WEB","channel":"STORE"}`, events.CodeSchema, "a member twice"},
	})
}

func TestReadNetflixCustomer(t *testing.T) {
	reads(t, events.ReadNetflixCustomer, "cust-77", `{"billing_system_customer_identifier":"cust-77"}`,
		&events.NetflixCustomerData{BillingSystemCustomerIdentifier: "cust-77"})
	refuses(t, events.ReadNetflixCustomer, []refusal{
		{"ErrAnotherCustomer", "cust-78", `{"billing_system_customer_identifier":"cust-77"}`, events.CodeKeyMismatch, `"cust-77"`},
	})
}

func TestReadNetflixCharges(t *testing.T) {
	const one = `{"number":"I1","billing_system_customer_identifier":"cust-77"}`
	reads(t, events.ReadNetflixCharges, "any", `{"charges_set":[`+one+`,{"number":"i1","billing_system_customer_identifier":"cust-78"}]}`,
		&events.NetflixChargesData{ChargesSet: []events.ChargeIdentifier{
			{Number: "I1", BillingSystemCustomerIdentifier: "cust-77"}, {Number: "i1", BillingSystemCustomerIdentifier: "cust-78"},
		}})
	refuses(t, events.ReadNetflixCharges, []refusal{
		{"ErrChargeTwice", "any", `{"charges_set":[` + one + `,{"number":"I2","billing_system_customer_identifier":"x"},{"number":"I1","billing_system_customer_identifier":"x"}]}`,
			events.CodeSchema, `names the charge "I1" twice, at /charges_set/0 and /charges_set/2`},
	})
}

// What a reader says of data that it cannot read must show nothing of the customer.
func TestReadersShowNothingPersonal(t *testing.T) {
	const secret = "Anna-Personal"
	for _, data := range []string{
		`{"billing_system_customer_identifier":"cust-77","customer_first_name":["` + secret + `"]}`,
		`{"billing_system_customer_identifier":"cust-77","customer_email":"` + secret + `"}`,
		`{"billing_system_customer_identifier":"cust-77","customer_email":{"udf_float_1":"` + secret + `"}}`,
		`{"billing_system_customer_identifier":"cust-77","customer_email":{"udf_date_1":"` + secret + `"}}`,
		`{"billing_system_customer_identifier":"cust-77","customer_address":{"is_primary":"` + secret + `"}}`,
		`{"billing_system_customer_identifier":"cust-78","customer_last_name":"` + secret + `"}`,
	} {
		_, err := events.ReadNetflixCreate("cust-77", []byte(data))
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%v", err)
		}
	}
	for _, data := range []string{
		`{"accounts_receivable_identifier":{"name":{"x":"` + secret + `"}}}`,
		`{"accounts_receivable_identifier":{"access_token_identifier":"` + secret + `"}}`,
		`{"accounts_receivable_identifier":{"name":"` + secret + `","number":"N1"}}`,
	} {
		_, err := events.ReadAmend("S1", []byte(data))
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%v", err)
		}
	}
}
