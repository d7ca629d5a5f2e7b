package sandbox_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"subrelay/adapters/sandbox"
	"subrelay/events"
)

const (
	s1       = `"subscription_identifier":{"number":"S-1"},`
	n1       = `"billing_system_customer_identifier":"N-1"`
	chargeC1 = `"acknowledged_charges_set":[{"number":"C1",` + n1 + `}]`
)

// conversations are calls, each of a fresh imitation: what, path, and members of a body or "?" and a query.
var conversations = [][3]string{
	{"add", amend, s1 + `"services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`},
	{"add a second instance", amend, s1 + `"services_to_add_set":[{"service_identifier":{"code":"SPORTS"}}]`},
	{"add to a distributor", amend, s1 + `"services_to_add_set":[{"service_identifier":{"code":"NET_100"},"services_distribution_set":[{"provisioning_distributor_identifier":{"name":"STB-3"}}]}]`},
	{"add to where it is", amend, s1 + `"services_to_add_set":[{"service_identifier":{"code":"NET_100"},"services_distribution_set":[{"provisioning_distributor_identifier":{"name":"STB-2"}}]}]`},
	{"remove", amend, s1 + `"services_to_remove_set":[{"service_identifier":{"code":"NET_100"}}]`},
	{"remove from one distributor", amend, s1 + `"services_to_remove_set":[{"service_identifier":{"code":"NET_100"},"services_distribution_set":[{"provisioning_distributor_identifier":{"name":"STB-1"}}]}]`},
	{"remove from both distributors", amend, s1 + `"services_to_remove_set":[{"service_identifier":{"code":"NET_100"},"services_distribution_set":[{"provisioning_distributor_identifier":{"name":"STB-1"}},{"provisioning_distributor_identifier":{"id":"STB-2"}}]}]`},
	{"remove from where it is not", amend, s1 + `"services_to_remove_set":[{"service_identifier":{"code":"NET_100"},"services_distribution_set":[{"provisioning_distributor_identifier":{"name":"STB-3"}}]}]`},
	{"remove what is gone", amend, s1 + `"services_to_remove_set":[{"service_identifier":{"code":"OLD"}}]`},
	{"whole or not at all", amend, s1 + `"services_to_add_set":[{"service_identifier":{"code":"KIDS"}}],"services_to_remove_set":[{"service_identifier":{"code":"NONE"}}]`},
	{"a swap not at all", amend, swapSPORTS("R1") + `,"services_to_remove_set":[{"service_identifier":{"code":"NONE"}}]`},
	{"items not at all", amend, s1 + `"installed_items_to_remove_set":[{"installed_item_identifier":{"serial_number":"SN1"}},{"installed_item_identifier":{"serial_number":"SN1"}}]`},
	{"items", amend, s1 + `"installed_items_to_add_set":[{"installed_item_identifier":{"serial_number":"SN2"}}],"installed_items_to_remove_set":[{"installed_item_identifier":{"serial_number":"SN1"}}]`},
	{"an item again", amend, s1 + `"installed_items_to_add_set":[{"installed_item_identifier":{"serial_number":"SN1"}}]`},
	{"an item at another distributor", amend, s1 + `"installed_items_to_add_set":[{"installed_item_identifier":{"serial_number":"SN1"},"installed_items_distribution_set":[{"provisioning_distributor_identifier":{"alternative_code":"STB-9"}}]}]`},
	{"an item that is not there", amend, s1 + `"installed_items_to_remove_set":[{"installed_item_identifier":{"id":"SN1"}}]`},
	{"swap", amend, swapSPORTS("R1")},
	{"swap an instance", amend, s1 + `"services_to_swap_set":[{"from_service":{"subscription_service_id":"I1"},"to_service":{"service_identifier":{"code":"NET_200"},"udf_string_1":"x"}}]`},
	{"swap what is gone", amend, s1 + `"services_to_swap_set":[{"from_service":{"subscription_service_id":"I3"},"to_service":{"service_identifier":{"code":"NET_200"}}}]`},
	{"swap by the method", "subscriptions/swap_services", swapSPORTS("R1") + `,"business_classification_code":"UPGRADE_SERVICE"`},
	{"swap and add", amend, swapSPORTS("R1") + `,"services_to_add_set":[{"service_identifier":{"id":"77"}}]`},
	{"by id, scheduled", amend, `"subscription_identifier":{"id":"ID1"},"transaction_reference_number":"R1","scheduled_date":"2026-03-11T00:00:00","services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`},
	{"by the account's name", amend, `"accounts_receivable_identifier":{"name":"Jane Personal"},"services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`},
	{"by the customer's credentials", amend, `"accounts_receivable_identifier":{"access_token_identifier":{"identifier":"card","pass_code":"1234"}},"services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`},
	{"by half of the credentials", amend, `"accounts_receivable_identifier":{"access_token_identifier":{"identifier":"card"}},"services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`},
	{"by wrong credentials", amend, `"accounts_receivable_identifier":{"access_token_identifier":{"identifier":"card","pass_code":"9"}},"services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`},
	{"everything else", amend, s1 + `"classification_identifier":{"id":"1"},"payment_gateway_card_identifier":{"id":"1"},"performed_by_user_identifier":{"username":"u"},"performed_by_unit_identifier":{"code":"U"},
		"action_type_identifier":{"name":"x"},"sub_action_type_identifier":{"id":"y"},"performed_on":"2024-03-01T10:15:00","billing_effective_date":"2024-02-29T00:00:00","billable_period_start_date":"2024-03-01T00:00:00",
		"udf_string_8":"","udf_float_4":-1.5e3,"udf_date_4":"2024-03-01T00:00:00","fields_set":"number,id",
		"services_to_add_set":[{"service_identifier":{"alternative_code":"K"},"period_billed_in_advance":3,"period_billed_in_advance_uot":"MONTHS","components_set":[{"service_identifier":{"code":"C"}}]}]`},

	{"no set", amend, `"subscription_identifier":{"number":"S-1"}`},
	{"an empty set", amend, s1 + `"services_to_add_set":[]`},
	{"nothing named", amend, `"services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`},
	{"both named", amend, s1 + `"accounts_receivable_identifier":{"number":"AR-1"},"services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`},
	{"named twice", amend, `"subscription_identifier":{"number":"S-1","id":"ID1"},"services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`},
	{"named by nothing", amend, `"subscription_identifier":{},"services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`},
	{"an unknown subscription", amend, `"subscription_identifier":{"number":"S-9"},"services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`},
	{"an unknown member", amend, s1 + `"services_to_add_set":[{"service_identifier":{"code":"KIDS","name":"x"}}]`},
	{"an unknown parameter", amend, s1 + `"services_to_move_set":[]`},
	{"an action type by code", amend, s1 + `"action_type_identifier":{"code":"x"},"services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`},
	{"a parameter twice", amend, s1 + s1 + `"services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`},
	{"null", amend, s1 + `"performed_on":null,"services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`},
	{"a date with a zone", amend, s1 + `"performed_on":"2024-03-01T10:15:00Z","services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`},
	{"a date with a fraction", amend, s1 + `"performed_on":"2024-03-01T10:15:00.5","services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`},
	{"a date that is none", amend, s1 + `"scheduled_date":"2024-02-30T00:00:00","services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`},
	{"a period of nothing", amend, s1 + `"services_to_add_set":[{"service_identifier":{"code":"KIDS"},"period_billed_in_advance":0,"period_billed_in_advance_uot":"DAYS"}]`},
	{"a period in years", amend, s1 + `"services_to_add_set":[{"service_identifier":{"code":"KIDS"},"period_billed_in_advance":1,"period_billed_in_advance_uot":"YEARS"}]`},
	{"a text for a float", amend, s1 + `"udf_float_1":"1","services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`},
	{"a float for an integer", amend, s1 + `"services_to_add_set":[{"service_identifier":{"code":"KIDS"},"period_billed_in_advance":1.5,"period_billed_in_advance_uot":"DAYS"}]`},
	{"items scheduled", amend, s1 + `"scheduled_date":"2026-03-11T00:00:00","installed_items_to_add_set":[{"installed_item_identifier":{"id":"1"}}]`},
	{"a swap from both", amend, s1 + `"services_to_swap_set":[{"from_service":{"subscription_service_id":"I1","service_identifier":{"code":"NET_100"}},"to_service":{"service_identifier":{"code":"X"}}}]`},
	{"a swap to nothing", amend, s1 + `"services_to_swap_set":[{"from_service":{"subscription_service_id":"I1"}}]`},
	{"fields that are not there, after an effect", amend, s1 + `"fields_set":"number,colour","services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`},

	{"show", show, "?&subscription_identifier=number=S-1"},
	{"show, encoded", show, "?&subscription_identifier=id%3DID1&fields_set=number,life_cycle_state"},
	{"show a field that is not there", show, "?&subscription_identifier=number=S-1&fields_set=number,colour"},
	{"show by JSON", show, `?&subscription_identifier={"number":"S-1"}`},
	{"show nothing", show, "?"},
	{"show by a name", show, "?&subscription_identifier=name=S-1"},
	{"show twice", show, "?&subscription_identifier=number=S-1&subscription_identifier=number=S-1"},
	{"show an unknown one", show, "?&subscription_identifier=number=S-9"},
	{"scheduled", "subscriptions/actions/get_scheduled", "?&subscription_identifier=number=S-1&behavior_code=SWAP_SERVICE"},

	{"promotions", "netflix/promotions/list", "?"},
	{"promotions' codes", "netflix/promotions/list", "?&fields_set=code"},
	{"Netflix", "netflix/subscriptions/show", "?&" + "billing_system_customer_identifier=N-1"},
	{"Netflix by its own id", "netflix/subscriptions/show", "?&netflix_customer_identifier=PAI1&fields_set=netflix_sate"},
	{"Netflix of nobody", "netflix/subscriptions/show", "?&billing_system_customer_identifier=N-9"},
	{"Netflix of two", "netflix/subscriptions/show", "?&billing_system_customer_identifier=N-1&netflix_customer_identifier=PAI1"},
	{"create", "netflix/subscriptions/create", `"billing_system_customer_identifier":"N-2","promotion_code":"14","channel":"WEB","validity_duration":86400,"customer_first_name":"Jane","customer_last_name":"Personal",
		"customer_address":{"type":"HOME","is_primary":true,"postal_code":"1","street_name":"x","street_number":"1a"},"customer_email":{"type":"PERSONAL","email_address":"jane@personal.example","notes":"n","udf_string_1":"u"},
		"customer_phone":{"type":"MOBILE","is_primary":false,"number":"555","area_code":"1","country_identifier":{"id":"CY"},"notes":"n"}`},
	{"create at an address with more", "netflix/subscriptions/create", `"billing_system_customer_identifier":"N-20","customer_address":{"type":"HOME","city":"x","floor":3,"lift":true}`},
	{"create at an address with an object", "netflix/subscriptions/create", `"billing_system_customer_identifier":"N-21","customer_address":{"type":"HOME","city":{"name":"x"}}`},
	{"create again", "netflix/subscriptions/create", n1},
	{"create with an unknown promotion", "netflix/subscriptions/create", `"billing_system_customer_identifier":"N-2","promotion_code":"15"`},
	{"create on an unknown channel", "netflix/subscriptions/create", `"billing_system_customer_identifier":"N-2","channel":"FAX"`},
	{"create for longer than a day", "netflix/subscriptions/create", `"billing_system_customer_identifier":"N-2","validity_duration":86401`},
	{"create for a text", "netflix/subscriptions/create", `"billing_system_customer_identifier":"N-2","validity_duration":"60"`},
	{"create at no address", "netflix/subscriptions/create", `"billing_system_customer_identifier":"N-2","customer_address":{"street_name":"x"}`},
	{"create for nobody", "netflix/subscriptions/create", `"channel":"WEB"`},
	{"create for an empty name", "netflix/subscriptions/create", `"billing_system_customer_identifier":""`},
	{"suspend", "netflix/subscriptions/suspend", n1},
	{"suspend nobody", "netflix/subscriptions/suspend", `"billing_system_customer_identifier":"N-9"`},
	{"unsuspend what is effective", "netflix/subscriptions/unsuspend", n1},
	{"cancel", "netflix/subscriptions/cancel", n1},

	{"new charges", list, "?&number_of_results=50&offset=0&charge_status=NOT_PROCESSED"},
	{"the second of the processed", list, "?&number_of_results=1&offset=1&charge_status=PROCESSED&fields_set=number,charge_status"},
	{"too many charges", list, "?&number_of_results=51&offset=0&charge_status=PROCESSED"},
	{"no charges", list, "?&number_of_results=0&offset=0&charge_status=PROCESSED"},
	{"charges from before", list, "?&number_of_results=50&offset=-1&charge_status=PROCESSED"},
	{"charges without a state", list, "?&number_of_results=50&offset=0"},
	{"charges without an offset", list, "?&number_of_results=50&charge_status=PROCESSED"},
	{"charges of another state", list, "?&number_of_results=50&offset=0&charge_status=PENDING"},
	{"acknowledge", "netflix/charges/acknowledge", chargeC1},
	{"acknowledge in part", "netflix/charges/acknowledge", `"acknowledged_charges_set":[{"number":"C1",` + n1 + `,"reference_number":"a"},{"number":"C1",` + n1 + `,"reference_number":"b"},
		{"number":"C2",` + n1 + `,"reference_number":"a"},{"number":"C2","billing_system_customer_identifier":"N-2"},{"number":"C9",` + n1 + `}]`},
	{"accept", "netflix/charges/accept", `"accepted_charges_set":[{"number":"C2",` + n1 + `},{"number":"C4",` + n1 + `}]`},
	{"accept what is processed", "netflix/charges/accept", `"accepted_charges_set":[{"number":"C1",` + n1 + `}]`},
	{"decline", "netflix/charges/decline", `"declined_charges_set":[{"number":"C2",` + n1 + `}]`},
	{"no set of charges", "netflix/charges/decline", `"declined_charges_set":[]`},
	{"another set of charges", "netflix/charges/decline", chargeC1},
	{"a charge of nobody", "netflix/charges/acknowledge", `"acknowledged_charges_set":[{"number":"C1"}]`},
}

// TestCRMCOMConversations asks every method, well and badly, and compares the whole conversation with a golden file.
func TestCRMCOMConversations(t *testing.T) {
	var out strings.Builder
	for _, each := range conversations {
		c := serveCRM(t, crmOptions())
		fmt.Fprintf(&out, "%s: %s\n\t%s\n", each[0], each[1], each[2])
		a := c.ask(each[1], each[2])
		fmt.Fprintf(&out, "\t%d %s\n", a.Status, strings.ReplaceAll(a.Body, c.token, "TOKEN"))
		for _, e := range c.Book().Effects() {
			detail, _ := json.Marshal(e.Detail)
			fmt.Fprintf(&out, "\tbook: %s %s %s applied=%v %s\n", e.Upstream, e.Kind, e.Key, e.Applied, detail)
			if bad := leaked(string(detail) + e.Key); bad != "" {
				t.Errorf("%s: the book holds %s", each[0], bad)
			}
		}
		c.tellChanges(&out)
	}
	golden(t, "crmcom.golden", out.String())
}

// ask posts members, or reads by a query that begins with a question mark.
func (c *crm) ask(path, what string) answer {
	c.t.Helper()
	if query, ok := strings.CutPrefix(what, "?"); ok {
		return c.get(path, query)
	}
	return c.post(path, what)
}

// leaked is what of a text must not be in the book.
func leaked(text string) string {
	for _, bad := range []string{webKey, "Jane", "Personal", "personal.example", "555", "1234", "Bgi", "eyJ"} {
		if strings.Contains(text, bad) {
			return bad
		}
	}
	return ""
}

// tellChanges says what is not as crmOptions made it.
func (c *crm) tellChanges(out *strings.Builder) {
	if after := c.services("S-1"); after != "NET_100 STB-1+STB-2, SPORTS, item SN1 STB-1" {
		fmt.Fprintf(out, "\tS-1: %s\n", after)
	}
	for _, n := range c.NetflixCustomers() {
		if s := n.Subscriptions[0]; n.Customer != "N-1" || s.NetflixState != "EFFECTIVE" {
			fmt.Fprintf(out, "\t%s: %d of them, %s, %s\n", n.Customer, len(n.Subscriptions), s.NetflixState, s.LifeCycleState)
		}
	}
	for i, charge := range c.Charges() {
		if was := crmOptions().Charges[i]; charge.Acknowledged || charge.ChargeStatus != was.ChargeStatus {
			fmt.Fprintf(out, "\t%s: %s, acknowledged=%v\n", charge.Number, charge.ChargeStatus, charge.Acknowledged)
		}
	}
}

// What is no call of the API is refused as such.
func TestCRMCOMBadRequests(t *testing.T) {
	c := serveCRM(t, crmOptions())
	whole := `{"token":"` + c.token + `",` + swapSPORTS("R1") + `}`
	typ := func(typ string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Content-Type", typ) }
	}
	for name, tc := range map[string]struct {
		body   string
		change func(*http.Request)
		want   string
	}{
		"no JSON":         {"{", nil, "INVALID_PARAMETER"},
		"not UTF-8":       {"{\"token\":\"\xff\"}", nil, "INVALID_PARAMETER"},
		"an array":        {"[" + whole + "]", nil, "INVALID_PARAMETER"},
		"two objects":     {whole + whole, nil, "INVALID_PARAMETER"},
		"nothing":         {"", nil, "INVALID_TOKEN"},
		"no token":        {"{" + swapSPORTS("R1") + "}", nil, "INVALID_TOKEN"},
		"another token":   {strings.Replace(whole, `"token":"`, `"token":"x`, 1), nil, "INVALID_TOKEN"},
		"too large":       {whole + strings.Repeat(" ", 1<<20), nil, "INVALID_PARAMETER"},
		"a form":          {whole, typ("application/x-www-form-urlencoded"), "INVALID_PARAMETER"},
		"no type":         {whole, typ(""), "INVALID_PARAMETER"},
		"a query":         {whole, func(r *http.Request) { r.URL.RawQuery = "token=" + c.token }, "UNKNOWN_PARAMETER"},
		"with a charset":  {whole, typ("application/json; charset=utf-8"), "OK"},
		"deeply nested":   {`{"token":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + "}", nil, "INVALID_TOKEN"},
		"nested too deep": {`{"token":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "}", nil, "INVALID_PARAMETER"},
	} {
		if got := code(c.send(t.Context(), amend, tc.body, tc.change)); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
	for _, e := range c.Book().Effects() {
		if e.Applied != (e.Detail["code"] == "") || e.Detail["status"] != "200" {
			t.Errorf("%+v", e)
		}
	}
	for _, query := range []string{"&fields_set=%zz", "&fields_set=a;b"} {
		if got := code(c.get("netflix/promotions/list", query)); got != "INVALID_PARAMETER" {
			t.Errorf("%s: %s", query, got)
		}
	}
	for name, tc := range map[string]struct {
		method, path string
		want         int
	}{
		"a GET that changes": {"GET", amend, 405}, "a POST that reads": {"POST", show, 405}, "no method": {"GET", "subscriptions/list", 404},
	} {
		req, _ := http.NewRequest(tc.method, c.url+api+tc.path, nil)
		if a := c.do(req); a.Status != tc.want || !strings.Contains(a.Body, "UNKNOWN_METHOD") {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// A release does not know what came later, and knows what was deprecated unless it is told not to.
func TestReleases(t *testing.T) {
	add := func(more string) string {
		return s1 + `"services_to_add_set":[{"service_identifier":{"code":"KIDS"}` + more + `}]`
	}
	const period = `,"period_billed_in_advance":1,"period_billed_in_advance_uot":"DAYS"`
	const create = `"billing_system_customer_identifier":"N-2",`
	for _, tc := range []struct{ path, members, since, deprecated string }{
		{amend, `"performed_by_unit_identifier":{"id":"1"},` + add(""), "R14.0.0", ""},
		{amend, `"performed_by_unit_identifier":{"code":"1"},` + add(""), "R18.0.0", ""},
		{amend, `"performed_by_unit_identifier":{"alternative_code":"1"},` + add(""), "R14.0.0", "R18.0.0"},
		{amend, `"classification_identifier":{"id":"1"},` + add(""), "R18.0.0", ""},
		{amend, `"action_type_identifier":{"id":"1"},` + add(""), "", "R15.0.0"},
		{amend, `"sub_action_type_identifier":{"id":"1"},` + add(""), "", "R15.0.0"},
		{amend, add(period), "R14.0.0", "R15.0.0"},
		{amend, strings.Replace(swapSPORTS("R1"), `"SPORTS_PLUS"}`, `"SPORTS_PLUS"},"udf_string_1":"x"`, 1), "R14.3.0", ""},
		{amend, strings.Replace(swapSPORTS("R1"), `"SPORTS_PLUS"}`, `"SPORTS_PLUS"},"services_distribution_set":[{"provisioning_distributor_identifier":{"id":"1"}}]`, 1), "", "R15.0.0"},
		{amend, `"accounts_receivable_identifier":{"access_token_identifier":{"identifier":"card","pass_code":"1234"}},"services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`, "", "R18.0.0"},
		{"netflix/subscriptions/create", create + `"customer_address":{"type":"HOME"}`, "R14.2.0", ""},
		{"netflix/subscriptions/create", create + `"customer_address":{"type":"HOME","is_primary":true}`, "R16.1.0", ""},
		{"netflix/subscriptions/create", create + `"customer_phone":{"type":"FAX","number":"1","is_primary":true}`, "R16.1.0", ""},
		{list, "?&number_of_results=1&offset=0&charge_status=PROCESSED", "R14.1.0", ""},
		{"netflix/charges/accept", `"accepted_charges_set":[{"number":"C2",` + n1 + `}]`, "R14.1.0", ""},
		{"netflix/charges/decline", `"declined_charges_set":[{"number":"C2",` + n1 + `}]`, "R14.1.0", ""},
	} {
		for _, installed := range []string{"R13.0.0", "R14.0.0", "R14.1.0", "R14.2.0", "R14.3.0", "R15.0.0", "R16.1.0", "R18.0.0"} {
			for _, strict := range []bool{false, true} {
				opts := crmOptions()
				opts.Release, opts.RefuseDeprecated = installed, strict
				c := serveCRM(t, opts)
				a := c.ask(tc.path, tc.members)
				known := installed >= tc.since && (!strict || tc.deprecated == "" || installed < tc.deprecated)
				if refused := strings.Contains(a.Body, `"UNKNOWN_`); refused == known || known && code(a) != "OK" {
					t.Errorf("%s, strict %v: %s %s: %s", installed, strict, tc.path, tc.members, a.Body)
				}
			}
		}
	}
	c := serveCRM(t, func() sandbox.CRMCOMOptions { o := crmOptions(); o.Release = "R13.0.0"; return o }())
	if a := c.get(list, "&number_of_results=50&offset=0"); strings.Count(a.Body, `"number"`) != 4 {
		t.Errorf("before there was a charge_status, all charges are listed: %s", a.Body)
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	for _, opts := range []sandbox.CRMCOMOptions{
		{Release: "14.1.0"}, {Release: "R14.1"}, {Release: "R14.x.0"},
		{Subscriptions: []sandbox.Subscription{{ID: "1"}}},
		{Subscriptions: []sandbox.Subscription{{Number: "1", Services: []sandbox.Service{{ID: "1"}}}}},
		{Subscriptions: []sandbox.Subscription{{Number: "1", Items: []sandbox.Item{{}}}}},
		{Netflix: []sandbox.NetflixCustomer{{PAI: "x"}}},
		{Netflix: []sandbox.NetflixCustomer{{Customer: "x", Subscriptions: []events.NetflixSubscription{{NetflixState: "ODD"}}}}},
		{Charges: []sandbox.Charge{{NetflixCharge: events.NetflixCharge{Number: "1"}}}},
		{Charges: []sandbox.Charge{{NetflixCharge: events.NetflixCharge{Number: "1", BillingSystemCustomerIdentifier: "x", ChargeStatus: "ODD"}}}},
		{Charges: []sandbox.Charge{{NetflixCharge: events.NetflixCharge{Number: "1", BillingSystemCustomerIdentifier: "x", Amount: "a"}}}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("accepted: %+v", opts)
				}
			}()
			sandbox.NewCRMCOM(opts)
		}()
	}
}

// Concurrent calls all count once, whichever way they come, and the ticks of the book were drawn once each.
func TestConcurrentActions(t *testing.T) {
	const clients, each = 8, 20
	c := serveCRM(t, crmOptions())
	var group sync.WaitGroup
	for client := range clients {
		group.Go(func() {
			for n := range each {
				reference := fmt.Sprint(client%2, "-", n) // each is sent by half of the clients
				c.post(amend, s1+`"transaction_reference_number":"`+reference+`","services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`)
				c.get(show, "&subscription_identifier=number=S-1")
				c.post("netflix/subscriptions/suspend", n1)
				c.post("netflix/subscriptions/unsuspend", n1)
				c.Subscriptions()
				c.NetflixCustomers()
				c.Charges()
			}
		})
	}
	group.Wait()
	if got := strings.Count(c.services("S-1"), "KIDS"); got != 2*each {
		t.Errorf("%d of %d references had an effect", got, 2*each)
	}
	ticks := map[int64]bool{}
	want := 0
	for _, e := range c.Book().Effects() {
		ticks[e.BeginOrder], ticks[e.EndOrder] = true, true
		want += 2
		if e.Applied {
			ticks[e.Order] = true
			want++
		}
	}
	if len(ticks) != want {
		t.Errorf("%d ticks, want %d", len(ticks), want)
	}
}
