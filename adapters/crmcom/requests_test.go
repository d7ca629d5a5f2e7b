package crmcom

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

const everyAmend = `{
  "subscription_identifier": {"number": "S0000012345"},
  "action_type_identifier": {"name": "Amendment"},
  "sub_action_type_identifier": {"alternative_code": "SUB"},
  "classification_identifier": {"code": "CUSTOMER_REQUEST"},
  "payment_gateway_card_identifier": {"id": "CARD1"},
  "performed_by_user_identifier": {"username": "clerk"},
  "performed_by_unit_identifier": {"code": "U1"},
  "performed_on": "2024-03-01T10:15:00.999Z",
  "billing_effective_date": "2024-07-01T00:00:00+02:00",
  "billable_period_start_date": "2024-10-27T00:30:00Z",
  "scheduled_date": "2024-10-27T01:30:00Z",
  "udf_string_1": "a<b>&\"c\"", "udf_string_2": "2", "udf_string_3": "3", "udf_string_4": "4",
  "udf_string_5": "5", "udf_string_6": "6", "udf_string_7": "7", "udf_string_8": "",
  "udf_float_1": 1.5, "udf_float_2": 0, "udf_float_3": -3, "udf_float_4": 4e10,
  "udf_date_1": "2024-01-01T00:00:00Z", "udf_date_2": "2024-02-01T00:00:00Z",
  "udf_date_3": "2024-03-01T00:00:00Z", "udf_date_4": "2024-04-01T00:00:00Z",
  "services_to_add_set": [{
    "service_identifier": {"code": "SPORTS_PLUS"}, "period_billed_in_advance": 3, "period_billed_in_advance_uot": "MONTHS",
    "services_distribution_set": [{"provisioning_distributor_identifier": {"name": "STB-1"}}],
    "components_set": [{"service_identifier": {"alternative_code": "ALT"}}]}],
  "services_to_remove_set": [{
    "service_identifier": {"id": "A1B2"},
    "services_distribution_set": [{"provisioning_distributor_identifier": {"alternative_code": "D2"}}]}],
  "installed_items_to_add_set": [{
    "installed_item_identifier": {"serial_number": "SN1"},
    "installed_items_distribution_set": [{"provisioning_distributor_identifier": {"id": "D3"}}]}],
  "installed_items_to_remove_set": [{"installed_item_identifier": {"id": "I1"}}]
}`

const everySwap = `{
  "accounts_receivable_identifier": {"access_token_identifier": {"identifier": "me", "pass_code": "0000"}},
  "scheduled_date": "2024-10-27T01:30:00Z",
  "udf_date_1": "2024-01-01T00:00:00Z",
  "services_to_swap_set": [
    {"from_service": {"subscription_service_id": "A1B2C3D4E5F60718293A4B5C6D7E8F90"},
     "to_service": {"service_identifier": {"code": "INTERNET_200"}, "period_billed_in_advance": 1, "period_billed_in_advance_uot": "DAYS",
       "services_distribution_set": [{"provisioning_distributor_identifier": {"name": "STB-1"}}],
       "components_set": [{"service_identifier": {"code": "C"}}],
       "udf_string_1": "new", "udf_float_4": 2.25, "udf_date_4": "2024-07-01T12:00:00Z"}},
    {"from_service": {"service_identifier": {"code": "INTERNET_100"}}, "to_service": {"service_identifier": {"code": "INTERNET_300"}}}]
}`

const plainSwap = `{
  "subscription_identifier": {"id": "0F3A"},
  "business_classification_code": "UPGRADE_SERVICE",
  "services_to_swap_set": [
    {"from_service": {"service_identifier": {"code": "INTERNET_100"}}, "to_service": {"service_identifier": {"code": "INTERNET_200"}}}]
}`

const everyCreate = `{
  "billing_system_customer_identifier": "cust-77", "promotion_code": "14", "channel": "WEB", "validity_duration": 3600,
  "customer_first_name": "Ann-Zoë", "customer_last_name": "O'Brien",
  "customer_address": {"type": "HOME", "is_primary": true, "postal_code": "10115", "street_name": "Lange Gasse", "street_number": "12b",
    "town": "<Berlin> & more", "floor": 3.50, "Lift": false},
  "customer_email": {"type": "PERSONAL", "email_address": "ann.obrien@mail.example", "notes": "evenings only",
    "udf_string_1": "red hair", "udf_date_1": "2024-07-01T12:00:00Z",
    "verified": true, "since": "2024-07-01T12:00:00Z"},
  "customer_phone": {"type": "MOBILE", "is_primary": false, "number": "0171 2345678", "area_code": "555",
    "country_identifier": {"code": "DEU"}, "notes": "ask for Zoë", "extension": 17}
}`

// eachAmend is the least of each set and each date, and every kind of identifier.
var eachAmend = []string{
	`{"subscription_identifier":{"id":"0F3A"},"services_to_add_set":[{"service_identifier":{"id":"A1"}}]}`,
	`{"subscription_identifier":{"number":"S1"},"services_to_remove_set":[{"service_identifier":{"code":"X"}}]}`,
	`{"accounts_receivable_identifier":{"id":"AR"},"installed_items_to_add_set":[{"installed_item_identifier":{"alternative_code":"IT"}}]}`,
	`{"accounts_receivable_identifier":{"number":"C1"},"installed_items_to_remove_set":[{"installed_item_identifier":{"serial_number":"SN"},
	  "installed_items_distribution_set":[{"provisioning_distributor_identifier":{"name":"STB"}},{"provisioning_distributor_identifier":{"id":"D"}}]}]}`,
	`{"accounts_receivable_identifier":{"access_token_identifier":{"authentication_code":"0000-1"}},
	  "services_to_remove_set":[{"service_identifier":{"alternative_code":"X"}},{"service_identifier":{"id":"Y"}}]}`,
	`{"accounts_receivable_identifier":{"access_token_identifier":{"identifier":"me","pass_code":"1"}},"services_to_add_set":[{"service_identifier":{"code":"X"}}],
	  "services_to_remove_set":[],"installed_items_to_add_set":null}`,
	`{"subscription_identifier":{"number":"S1"},"scheduled_date":"2030-06-01T12:00:00+02:00","services_to_add_set":[{"service_identifier":{"code":"X"}}]}`,
	`{"subscription_identifier":{"number":"S1"},"performed_by_unit_identifier":{"id":"U"},"action_type_identifier":{"id":"T"},
	  "sub_action_type_identifier":{"name":"N"},"services_to_add_set":[{"service_identifier":{"code":"X"},"period_billed_in_advance":0}]}`,
	`{"subscription_identifier":{"number":"S1"},"performed_by_unit_identifier":{"name":"U"},"action_type_identifier":{"alternative_code":"T"},
	  "udf_string_1":"","udf_float_1":0,"services_to_add_set":[{"service_identifier":{"code":"X"},"components_set":[{"service_identifier":{"id":"C"}},{"service_identifier":{"code":"D"}}]}]}`,
}

// eachSwap is the least swap, and every kind of identifier.
var eachSwap = []string{
	`{"subscription_identifier":{"number":"S1"},"services_to_swap_set":[{"from_service":{"service_identifier":{"id":"A"}},"to_service":{"service_identifier":{"id":"B"}}}]}`,
	`{"subscription_identifier":{"id":"0F3A"},"services_to_swap_set":[{"from_service":{"service_identifier":{"alternative_code":"A"}},"to_service":{"service_identifier":{"alternative_code":"B"}}}]}`,
	`{"accounts_receivable_identifier":{"number":"C1"},"services_to_swap_set":[{"from_service":{"subscription_service_id":"I"},"to_service":{"service_identifier":{"code":"B"}}}]}`,
}

const everySwapByMethod = `{
  "accounts_receivable_identifier": {"name": "Ann"},
  "business_classification_code": "SWITCH_SERVICE",
  "action_type_identifier": {"id": "T"}, "performed_on": "2024-03-01T10:15:00Z", "scheduled_date": "2030-06-01T12:00:00Z", "udf_string_8": "8",
  "services_to_swap_set": [
    {"from_service": {"subscription_service_id": "I"},
     "to_service": {"service_identifier": {"code": "B"}, "period_billed_in_advance": 2, "period_billed_in_advance_uot": "WEEKS",
       "components_set": [{"service_identifier": {"id": "C"}}]}},
    {"from_service": {"service_identifier": {"code": "A"}}, "to_service": {"service_identifier": {"code": "B"}}}]
}`

// eachCreate is single members of a creation.
var eachCreate = []string{
	`{"billing_system_customer_identifier":"cust-77","promotion_code":"<14&>"}`,
	`{"billing_system_customer_identifier":"cust-77","customer_email":{"email_address":"a@b.example"}}`,
	`{"billing_system_customer_identifier":"cust-77","customer_phone":{"type":"FAX","number":"1"}}`,
	`{"billing_system_customer_identifier":"cust-77","customer_address":{"type":"POBOX"},"validity_duration":86400}`,
}

// recorder writes every request down as it was on the wire, headers that matter included.
type recorder struct {
	t     *testing.T
	lines bytes.Buffer
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	fmt.Fprintf(&r.lines, "%s %s %s\n", req.Method, req.RequestURI, req.Proto)
	for _, name := range []string{"Accept", "Authorization", "Content-Length", "Content-Type", "Traceparent", "User-Agent", "X-Request-Id"} {
		for _, value := range req.Header.Values(name) {
			fmt.Fprintf(&r.lines, "%s: %s\n", name, value)
		}
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		r.t.Error(err)
	}
	if len(body) > 0 {
		if !json.Valid(body) {
			r.t.Errorf("%s is no JSON", body)
		}
		fmt.Fprintf(&r.lines, "\n%s\n", body)
	}
	r.lines.WriteString("\n")
	switch path := req.URL.Path; {
	case strings.Contains(path, "authentication/"):
		ok(w, `{"token":`+quoted(jwt)+`}`)
	case strings.HasSuffix(path, "subscriptions/show") && !strings.Contains(path, "netflix"):
		ok(w, `{"id":"0F3A","number":"S 1/&=ü","life_cycle_state":"EFFECTIVE","termed_services_set":[]}`)
	case strings.HasSuffix(path, "netflix/subscriptions/create"):
		ok(w, `{"netflix_token":"BgiExample"}`)
	default:
		ok(w, `{}`)
	}
}

// wire makes calls against a recorder and compares what was on the wire.
func (r *recorder) wire(name string, s Settings, n NetflixSettings, calls func(b both)) {
	r.t.Run(name, func(t *testing.T) {
		r.t = t
		r.lines.Reset()
		s.BaseURL = serve(t, r)
		calls(clients(t, s, n, upstream.Settings{}))
		golden(t, name+".golden", r.lines.String())
	})
}

// Every method's request, exactly as it is on the wire.
func TestRequests(t *testing.T) {
	ctx := traced(t.Context())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	user := Settings{Release: "R18.0.0", Username: "subrelay", Password: upstream.NewSecret(secret), Organisation: "ORG", Unit: "U 1"}
	berlin := settings("")
	berlin.Release, berlin.TimeZone, berlin.Amend.FieldsSet = "R18.0.0", "Europe/Berlin", "id,number,life_cycle_state"
	method := settings("")
	method.Swap = SwapSettings{Carrier: "method", Path: "subscriptions/services/swap", Set: "swap_services_set"}
	method.Reference = Reference{Format: "SUB/{CID}", MaxLength: 26}
	elsewhere := settings("")
	elsewhere.Path, elsewhere.Unit, elsewhere.Reference.Omit = "/api/v3/", "U1", true
	r := &recorder{t: t}
	id, number := events.SubscriptionIdentifier{ID: "0F3A"}, events.SubscriptionIdentifier{Number: "S 1/&=ü"}
	charges := []events.ChargeIdentifier{{Number: "I1", BillingSystemCustomerIdentifier: "cust-77"}, {Number: "I2", BillingSystemCustomerIdentifier: "cust-78"}}

	r.wire("login_user", user, NetflixSettings{}, func(b both) {
		_, err := b.netflix.Promotions(ctx)
		must(err)
	})
	r.wire("amend", berlin, NetflixSettings{}, func(b both) {
		_, err := b.client.Amend(ctx, b.client.Reference(cid), decode[events.AmendData](t, everyAmend))
		must(err)
	})
	r.wire("amend_each", settings(""), NetflixSettings{}, func(b both) {
		for _, text := range eachAmend {
			_, err := b.client.Amend(ctx, b.client.Reference(cid), decode[events.AmendData](t, text))
			must(err)
		}
	})
	r.wire("amend_without_reference", elsewhere, NetflixSettings{}, func(b both) {
		_, err := b.client.Amend(ctx, b.client.Reference(cid), decode[events.AmendData](t, `{"accounts_receivable_identifier":{"name":"Ann"},"services_to_remove_set":[{"service_identifier":{"code":"X"}}]}`))
		must(err)
	})
	r.wire("swap_by_amend", berlin, NetflixSettings{}, func(b both) {
		_, err := b.client.Swap(ctx, b.client.Reference(cid), decode[events.SwapData](t, everySwap))
		must(err)
	})
	r.wire("swap_each", settings(""), NetflixSettings{}, func(b both) {
		for _, text := range eachSwap {
			_, err := b.client.Swap(ctx, b.client.Reference(cid), decode[events.SwapData](t, text))
			must(err)
		}
	})
	r.wire("swap_by_method_each", method, NetflixSettings{}, func(b both) {
		for _, text := range append(eachSwap, everySwapByMethod) {
			_, err := b.client.Swap(ctx, b.client.Reference(cid), decode[events.SwapData](t, text))
			must(err)
		}
	})
	r.wire("swap_by_method", method, NetflixSettings{}, func(b both) {
		_, err := b.client.Swap(ctx, b.client.Reference(cid), decode[events.SwapData](t, plainSwap))
		must(err)
	})
	r.wire("subscription_reads", settings(""), NetflixSettings{}, func(b both) {
		for _, which := range []events.SubscriptionIdentifier{id, number} {
			_, err := b.client.Subscription(ctx, which)
			must(err)
			_, err = b.client.Scheduled(ctx, b.client.Reference(cid), which)
			must(err)
		}
	})
	r.wire("netflix_create", berlin, NetflixSettings{}, func(b both) {
		_, err := b.netflix.CreateNetflix(ctx, decode[events.NetflixCreateData](t, everyCreate))
		must(err)
		_, err = b.netflix.CreateNetflix(ctx, &events.NetflixCreateData{BillingSystemCustomerIdentifier: "cust-77"})
		must(err)
	})
	r.wire("netflix_create_each", settings(""), NetflixSettings{}, func(b both) {
		for _, text := range eachCreate {
			_, err := b.netflix.CreateNetflix(ctx, decode[events.NetflixCreateData](t, text))
			must(err)
		}
	})
	r.wire("netflix_states", settings(""), NetflixSettings{CancelPath: "netflix/subscriptions/cancel"}, func(b both) {
		for _, kind := range []events.Kind{events.NetflixSuspend, events.NetflixUnsuspend, events.NetflixCancel} {
			must(b.netflix.SetNetflix(ctx, kind, "cust & 77"))
		}
	})
	r.wire("netflix_reads", settings(""), NetflixSettings{Charges: ChargesSettings{PageSize: 20}}, func(b both) {
		_, err := b.netflix.Promotions(ctx)
		must(err)
		_, err = b.netflix.NetflixSubscriptions(ctx, "cust & 77")
		must(err)
		_, err = b.netflix.NetflixSubscriptionsOf(ctx, events.NetflixCustomerIdentifier{NetflixCustomerIdentifier: "PAI & 7"})
		must(err)
		_, err = b.netflix.ListCharges(ctx)
		must(err)
	})
	r.wire("find_charges", settings(""), NetflixSettings{}, func(b both) {
		_, err := b.netflix.FindCharges(ctx, []string{"I1"})
		must(err)
	})
	early := settings("")
	early.Release = "R14.0.0"
	r.wire("charges_list_early", early, NetflixSettings{}, func(b both) {
		_, err := b.netflix.ListCharges(ctx)
		must(err)
	})
	always, never := true, false
	r.wire("charges_list_with_status", early, NetflixSettings{Charges: ChargesSettings{SendStatus: &always}}, func(b both) {
		_, err := b.netflix.ListCharges(ctx)
		must(err)
	})
	r.wire("charges_list_without_status", settings(""), NetflixSettings{Charges: ChargesSettings{SendStatus: &never}}, func(b both) {
		_, err := b.netflix.ListCharges(ctx)
		must(err)
	})
	r.wire("charges_default", elsewhere, NetflixSettings{}, func(b both) {
		_, err := b.netflix.TakeCharges(ctx, events.NetflixAcknowledge, cid, charges[:1])
		must(err)
	})
	r.wire("charges", method, NetflixSettings{}, func(b both) {
		for _, kind := range []events.Kind{events.NetflixAcknowledge, events.NetflixAccept, events.NetflixDecline} {
			_, err := b.netflix.TakeCharges(ctx, kind, cid, charges)
			must(err)
		}
	})
}
