package sandbox_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// A reference is used up by what was taken, in whichever method; by what was rejected only if the options say so; and
// by nothing where the installation does not care.
func TestReferences(t *testing.T) {
	add := func(code string) string {
		return s1 + `"transaction_reference_number":"R1","services_to_add_set":[{"service_identifier":{"code":"` + code + `"}}]`
	}
	remove := s1 + `"transaction_reference_number":"R1","services_to_remove_set":[{"service_identifier":{"code":"NONE"}}]`
	bad := s1 + `"transaction_reference_number":"R1","services_to_remove_set":[]`
	for _, tc := range []struct {
		name            string
		ignore, rejects bool
		calls           [][2]string
		want            string
	}{
		{"once", false, false, [][2]string{{amend, add("A")}, {amend, add("A")}, {amend, add("B")}}, "OK DUPLICATE_REFERENCE DUPLICATE_REFERENCE"},
		{"in two methods", false, false, [][2]string{{amend, add("A")}, {"subscriptions/swap_services", swapSPORTS("R1")}}, "OK DUPLICATE_REFERENCE"},
		{"rejected", false, false, [][2]string{{amend, remove}, {amend, add("A")}}, "NOT_ALLOWED OK"},
		{"rejected, used up", false, true, [][2]string{{amend, remove}, {amend, add("A")}}, "NOT_ALLOWED DUPLICATE_REFERENCE"},
		{"not understood", false, true, [][2]string{{amend, bad}, {amend, add("A")}}, "INVALID_PARAMETER OK"},
		{"of nobody", false, true, [][2]string{{amend, strings.Replace(add("A"), "S-1", "S-9", 1)}, {amend, add("A")}}, "NOT_FOUND OK"},
		{"ignored", true, false, [][2]string{{amend, add("A")}, {amend, add("A")}}, "OK OK"},
		{"absent", false, false, [][2]string{{amend, strings.Replace(add("A"), `"transaction_reference_number":"R1",`, "", 1)}, {amend, strings.Replace(add("A"), `"transaction_reference_number":"R1",`, "", 1)}}, "OK OK"},
	} {
		opts := crmOptions()
		opts.IgnoreReferences, opts.RejectedUsesReference = tc.ignore, tc.rejects
		c := serveCRM(t, opts)
		var got []string
		for _, call := range tc.calls {
			got = append(got, code(c.post(call[0], call[1])))
		}
		if d := cmp.Diff(tc.want, strings.Join(got, " ")); d != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, d)
		}
		if n := int64(strings.Count(tc.want, "OK")); c.Book().Totals().Applied != n {
			t.Errorf("%s: %+v", tc.name, c.Book().Totals())
		}
	}
}

// The references of charges are used up in the same way.
func TestChargeReferences(t *testing.T) {
	accept := func(number string) string {
		return `"accepted_charges_set":[{"number":"` + number + `",` + n1 + `,"reference_number":"R"}]`
	}
	for want, set := range map[string]func(*sandbox.CRMCOMOptions){
		"NOT_ALLOWED, , DUPLICATE_REFERENCE":                    func(*sandbox.CRMCOMOptions) {},
		"NOT_ALLOWED, DUPLICATE_REFERENCE, DUPLICATE_REFERENCE": func(o *sandbox.CRMCOMOptions) { o.RejectedUsesReference = true },
		"NOT_ALLOWED, , ": func(o *sandbox.CRMCOMOptions) { o.IgnoreReferences = true },
	} {
		opts := crmOptions()
		set(&opts)
		c := serveCRM(t, opts)
		var got []string
		for _, number := range []string{"C1", "C2", "C4"} {
			a := c.post("netflix/charges/accept", accept(number))
			var reply struct {
				Data struct {
					Failed []struct {
						Code string `json:"error_code"`
					} `json:"failed_charges_set"`
				}
			}
			if err := json.Unmarshal([]byte(a.Body), &reply); err != nil {
				t.Fatal(err)
			}
			got = append(got, "")
			if len(reply.Data.Failed) > 0 {
				got[len(got)-1] = reply.Data.Failed[0].Code
			}
		}
		if d := cmp.Diff(want, strings.Join(got, ", ")); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
}

// An action with a date is listed until the date has come, and then executed, or rejected if it cannot be any more.
func TestScheduledActions(t *testing.T) {
	at := now
	opts := crmOptions()
	opts.Clock = func() time.Time { return at }
	opts.TokenLifetime = 1000 * time.Hour
	opts.Zone = time.FixedZone("EET", 2*60*60)
	opts.ReplyAction = true
	c := serveCRM(t, opts)
	scheduled := func(more string) string {
		return strings.ReplaceAll(c.get("subscriptions/actions/get_scheduled", "&subscription_identifier=number=S-1&fields_set=transaction_reference_number,scheduled_date,behavior_code"+more).Body, `"`, "")
	}
	a := c.post(amend, swapSPORTS("R1")+`,"scheduled_date":"2026-03-11T01:00:00"`)
	b := c.post(amend, s1+`"transaction_reference_number":"R2","scheduled_date":"2026-03-12T00:00:00","services_to_remove_set":[{"service_identifier":{"code":"SPORTS"}}]`)
	if !strings.Contains(a.Body, `"life_cycle_state":"SCHEDULED"`) || !strings.Contains(a.Body, `"transaction_reference_number":"R1"`) || code(b) != "OK" {
		t.Errorf("%s\n%s", a.Body, b.Body)
	}
	if got := scheduled(""); !strings.Contains(got, "[{behavior_code:SWAP_SERVICE,scheduled_date:2026-03-11T01:00:00,transaction_reference_number:R1},{behavior_code:AMEND_SERVICES_INSTALLED_ITEMS,") {
		t.Errorf("scheduled: %s", got)
	}
	if got := scheduled("&behavior_code=AMEND_SERVICES_INSTALLED_ITEMS"); strings.Contains(got, "R1") || !strings.Contains(got, "R2") {
		t.Errorf("scheduled amendments: %s", got)
	}
	if got := code(c.post(amend, swapSPORTS("R1"))); got != "DUPLICATE_REFERENCE" {
		t.Errorf("the reference again: %s", got)
	}
	at = time.Date(2026, 3, 10, 22, 59, 59, 0, time.UTC) // one second before
	if got := c.services("S-1"); strings.Contains(got, "SPORTS_PLUS") {
		t.Errorf("too early: %s", got)
	}
	at = at.Add(time.Second)
	if got := scheduled(""); strings.Contains(got, "R1") || !strings.Contains(got, "R2") {
		t.Errorf("after the first date: %s", got)
	}
	if got := c.services("S-1"); !strings.Contains(got, "SPORTS_PLUS") {
		t.Errorf("after its date: %s", got)
	}
	at = at.Add(48 * time.Hour)
	sub, _ := c.Subscription("S-1")
	if len(sub.Actions) != 2 || sub.Actions[0].State != "EXECUTED" || sub.Actions[1].State != "REJECTED" || c.Book().Totals().Applied != 2 {
		t.Errorf("%+v, %+v", sub.Actions, c.Book().Totals())
	}
	if a := c.post(amend, s1+`"services_to_add_set":[{"service_identifier":{"code":"X"}}]`); !strings.Contains(a.Body, `"life_cycle_state":"EXECUTED"`) || !strings.Contains(a.Body, `"executed_on":"2026-03-13T01:00:00"`) {
		t.Errorf("at once: %s", a.Body)
	}
}

// Actions show their reference from R13.1.0.
func TestReferencesAreShown(t *testing.T) {
	for release, shown := range map[string]bool{"R13.0.0": false, "R13.1.0": true} {
		opts := crmOptions()
		opts.Release = release
		c := serveCRM(t, opts)
		c.post(amend, swapSPORTS("R1")+`,"scheduled_date":"2026-04-01T00:00:00"`)
		a := c.get("subscriptions/actions/get_scheduled", "&subscription_identifier=number=S-1")
		if strings.Contains(a.Body, `"R1"`) != shown || !strings.Contains(a.Body, "SCHEDULED") {
			t.Errorf("%s: %s", release, a.Body)
		}
	}
}

// An action finds what is due done, though nobody has looked meanwhile.
func TestAnActionComesAfterWhatIsDue(t *testing.T) {
	at := now
	opts := crmOptions()
	opts.Clock = func() time.Time { return at }
	c := serveCRM(t, opts)
	c.post(amend, swapSPORTS("R1")+`,"scheduled_date":"2026-03-10T13:00:00"`)
	at = at.Add(time.Hour)
	if got := code(c.post(amend, s1+`"services_to_remove_set":[{"service_identifier":{"code":"SPORTS_PLUS"}}]`)); got != "OK" {
		t.Errorf("%s: %s", got, c.services("S-1"))
	}
}

// Of services that are gone, a subscription keeps the newest.
func TestServicesThatAreGone(t *testing.T) {
	c := serveCRM(t, crmOptions())
	for range 20 {
		c.post(amend, s1+`"services_to_add_set":[{"service_identifier":{"code":"A"}}]`)
		c.post(amend, s1+`"services_to_remove_set":[{"service_identifier":{"code":"A"}}]`)
	}
	sub, _ := c.Subscription("S-1")
	if len(sub.Services) != 2+8 || sub.Services[2].Product.Code != "A" || sub.Services[9].LifeCycleState != "REMOVED" {
		t.Errorf("%+v", sub.Services)
	}
}

// With a delay, readers of the API see a change later; what it rests on is the truth.
func TestApplyDelay(t *testing.T) {
	at := now
	opts := crmOptions()
	opts.Clock = func() time.Time { return at }
	opts.ApplyDelay = time.Minute
	c := serveCRM(t, opts)
	sees := func() string {
		return fmt.Sprint(strings.Contains(c.get(show, "&subscription_identifier=number=S-1").Body, "SPORTS_PLUS"),
			strings.Contains(c.get("netflix/subscriptions/show", "&billing_system_customer_identifier=N-1").Body, "NOT_EFFECTIVE"))
	}
	c.post(amend, swapSPORTS("R1"))
	at = at.Add(30 * time.Second)
	c.post("netflix/subscriptions/suspend", n1)
	c.post(amend, s1+`"services_to_add_set":[{"service_identifier":{"code":"KIDS"}}],"scheduled_date":"2026-03-10T12:00:45"`)
	if got := code(c.post("netflix/subscriptions/suspend", n1)); got != "NOT_ALLOWED" || sees() != "false false" || !strings.Contains(c.services("S-1"), "SPORTS_PLUS") {
		t.Errorf("at once: %s, %s", got, sees())
	}
	at = at.Add(15 * time.Second)
	if sees() != "true false" { // what was scheduled is seen at once, and rests on the swap
		t.Errorf("after what was scheduled: %s", sees())
	}
	at = at.Add(15 * time.Second)
	if sees() != "true false" || !strings.Contains(c.get(show, "&subscription_identifier=number=S-1").Body, "KIDS") {
		t.Errorf("after a minute: %s", sees())
	}
	c.post("netflix/subscriptions/unsuspend", n1)
	at = at.Add(30 * time.Second)
	if sees() != "true true" {
		t.Errorf("after a minute and a half: %s", sees())
	}
	at = at.Add(30 * time.Second)
	if sees() != "true false" {
		t.Errorf("after two minutes: %s", sees())
	}
}

func TestTokensExpireByTheClock(t *testing.T) {
	at := now
	opts := crmOptions()
	opts.Clock = func() time.Time { return at }
	opts.TokenStatus = 401
	c := serveCRM(t, opts)
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(c.token, ".")[1])
	if want := fmt.Sprintf(`{"exp":"%d","iat":"%d","jti":"session-1","org":"1","oun":"","usr":"web_api_key"}`, now.Add(2*time.Hour).Unix(), now.Unix()); err != nil || string(claims) != want {
		t.Errorf("claims %s, %v", claims, err)
	}
	first := c.token
	at = at.Add(2*time.Hour - time.Second)
	c.login()
	if got := c.send(t.Context(), amend, `{"token":"`+first+`",`+swapSPORTS("R1")+`}`, nil); got.Status != 200 {
		t.Errorf("in time: %+v", got)
	}
	at = at.Add(time.Second)
	if got := c.send(t.Context(), amend, `{"token":"`+first+`",`+swapSPORTS("R2")+`}`, nil); got.Status != 401 || !strings.Contains(got.Body, "INVALID_TOKEN") {
		t.Errorf("too late: %+v", got)
	}
	if e := c.booked(2); e.Applied || e.Detail["code"] != "INVALID_TOKEN" || e.Detail["status"] != "401" {
		t.Errorf("%+v", e)
	}
	if got := code(c.get("netflix/promotions/list", "")); got != "OK" {
		t.Errorf("the second token: %s", got)
	}
	if got := code(c.post("authentication/token/release", `"x":1`)); got != "UNKNOWN_PARAMETER" {
		t.Errorf("released with something else: %s", got)
	}
	if got := code(c.send(t.Context(), "authentication/token/release", `{"token":"`+c.token+`"}`, nil)); got != "OK" {
		t.Errorf("released: %s", got)
	}
	if got := c.get("netflix/promotions/list", ""); got.Status != 401 {
		t.Errorf("after that: %+v", got)
	}
}

func TestCredentials(t *testing.T) {
	key := func(user, pass string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, pass) }
	}
	login := func(user, pass, org string) string {
		return fmt.Sprintf(`{"username":%q,"password":%q,"organisation":%q}`, user, pass, org)
	}
	any := sandbox.CRMCOMOptions{}
	byAKey := sandbox.CRMCOMOptions{WebAPIKey: webKey}
	byAUser := sandbox.CRMCOMOptions{Username: "u", Password: "p", Organisation: "o"}
	for name, tc := range map[string]struct {
		opts       sandbox.CRMCOMOptions
		path, body string
		change     func(*http.Request)
		want       string
	}{
		"the key":             {byAKey, byKey, "", key(webKey, ""), "OK"},
		"the key, at a unit":  {byAKey, byKey, `{"unit":"1"}`, key(webKey, ""), "OK"},
		"another key":         {byAKey, byKey, "{}", key(webKey+"x", ""), "INVALID_CREDENTIALS"},
		"a key and password":  {byAKey, byKey, "{}", key(webKey, "p"), "INVALID_CREDENTIALS"},
		"no key":              {byAKey, byKey, "{}", nil, "INVALID_CREDENTIALS"},
		"an empty key":        {any, byKey, "{}", key("", ""), "INVALID_CREDENTIALS"},
		"any key":             {any, byKey, "{}", key("any", ""), "OK"},
		"a key for the user":  {byAUser, byKey, "{}", key("u", ""), "INVALID_CREDENTIALS"},
		"the user":            {byAUser, byLogin, login("u", "p", "o"), nil, "OK"},
		"another password":    {byAUser, byLogin, login("u", "x", "o"), nil, "INVALID_CREDENTIALS"},
		"shifted":             {byAUser, byLogin, login("u", "po", " "), nil, "INVALID_CREDENTIALS"},
		"a user for the key":  {byAKey, byLogin, login("u", "p", "o"), nil, "INVALID_CREDENTIALS"},
		"any user":            {any, byLogin, login("x", "y", "z"), nil, "OK"},
		"no organisation":     {any, byLogin, `{"username":"u","password":"p"}`, nil, "MISSING_PARAMETER"},
		"an unknown argument": {any, byKey, `{"token":"x"}`, key("any", ""), "UNKNOWN_PARAMETER"},
	} {
		opts := crmOptions()
		opts.WebAPIKey, opts.Username, opts.Password, opts.Organisation = tc.opts.WebAPIKey, tc.opts.Username, tc.opts.Password, tc.opts.Organisation
		c := serveUnknown(t, opts)
		if got := code(c.send(t.Context(), tc.path, tc.body, tc.change)); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
		if n := c.Book().Totals().Calls; n != 0 {
			t.Errorf("%s: %d calls are in the book", name, n)
		}
	}
}

func TestSecondCreate(t *testing.T) {
	for option, want := range map[string]string{"": "NOT_ALLOWED 1", "token": "OK 1", "subscription": "OK 2"} {
		opts := crmOptions()
		opts.SecondCreate = option
		c := serveCRM(t, opts)
		a := c.post("netflix/subscriptions/create", n1)
		n, _ := c.Netflix("N-1")
		if got := fmt.Sprint(code(a), " ", len(n.Subscriptions)); got != want || strings.Contains(a.Body, "netflix_token") != (option != "") {
			t.Errorf("%q: %s, want %s: %s", option, got, want, a.Body)
		}
		if applied := c.Book().Totals().Applied == 1; applied != (option != "") {
			t.Errorf("%q: %+v", option, c.Book().Totals())
		}
	}
	c := serveCRM(t, crmOptions())
	c.post("netflix/subscriptions/cancel", n1)
	if got := code(c.post("netflix/subscriptions/cancel", n1)); got != "NOT_ALLOWED" {
		t.Errorf("cancelled twice: %s", got)
	}
	if got := code(c.post("netflix/subscriptions/create", n1)); got != "OK" {
		t.Errorf("created after it was cancelled: %s", got)
	}
}

// Created on sight, whatever a call takes for granted is there; nothing is for a customer who is only looked at.
func TestCRMCOMAutoCreate(t *testing.T) {
	c := serveCRM(t, sandbox.CRMCOMOptions{WebAPIKey: webKey, AutoCreate: true, CancelPath: "netflix/subscriptions/cancel"})
	sub := func(number, more string) string {
		return `"subscription_identifier":{"number":"` + number + `"},` + more
	}
	for _, tc := range [][3]string{
		{amend, sub("A", `"services_to_swap_set":[{"from_service":{"service_identifier":{"code":"INTERNET_100"}},"to_service":{"service_identifier":{"code":"INTERNET_200"}}}]`), "OK"},
		{amend, sub("A", `"services_to_swap_set":[{"from_service":{"service_identifier":{"code":"TV"}},"to_service":{"service_identifier":{"code":"TV_PLUS"}}}]`), "OK"},
		{amend, sub("A", `"services_to_remove_set":[{"service_identifier":{"code":"SPORTS_BASIC"}},{"service_identifier":{"code":"X"},"services_distribution_set":[{"provisioning_distributor_identifier":{"id":"D"}}]}]`), "OK"},
		{amend, sub("A", `"installed_items_to_remove_set":[{"installed_item_identifier":{"id":"1"}}]`), "OK"},
		{amend, sub("A", `"services_to_swap_set":[{"from_service":{"subscription_service_id":"none"},"to_service":{"service_identifier":{"code":"TV"}}}]`), "NOT_ALLOWED"},
		{amend, `"subscription_identifier":{"id":"none"},"services_to_add_set":[{"service_identifier":{"code":"TV"}}]`, "NOT_FOUND"},
		{show, "?&subscription_identifier=number=B", "OK"},
		{"netflix/subscriptions/show", "?&billing_system_customer_identifier=A", "NOT_FOUND"},
		{"netflix/subscriptions/create", `"billing_system_customer_identifier":"A"`, "OK"},
		{"netflix/subscriptions/suspend", `"billing_system_customer_identifier":"B"`, "OK"},
		{"netflix/subscriptions/suspend", `"billing_system_customer_identifier":"B"`, "NOT_ALLOWED"},
		{"netflix/subscriptions/unsuspend", `"billing_system_customer_identifier":"C"`, "OK"},
		{"netflix/subscriptions/cancel", `"billing_system_customer_identifier":"D"`, "OK"},
	} {
		if got := code(c.ask(tc[0], tc[1])); got != tc[2] {
			t.Errorf("%s %s: %s, want %s", tc[0], tc[1], got, tc[2])
		}
	}
	if a, b := c.services("A"), c.services("B"); a != "INTERNET_200, TV_PLUS" || b != "INTERNET_100, SPORTS_BASIC" {
		t.Errorf("A: %s; B: %s", a, b)
	}
	var states []string
	for _, n := range c.NetflixCustomers() {
		states = append(states, n.Customer+" "+n.Subscriptions[0].NetflixState)
	}
	if d := cmp.Diff([]string{"A EFFECTIVE", "B NOT_EFFECTIVE", "C EFFECTIVE", "D NOT_EFFECTIVE"}, states); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// However a product is named, it is the product of the list; what is not on it does not exist.
func TestProducts(t *testing.T) {
	opts := crmOptions()
	opts.Products = []events.ServiceIdentifier{{ID: "1", Code: "NET_100", AlternativeCode: "n100"}, {ID: "2", Code: "SPORTS"}, {ID: "3", Code: "KIDS"}}
	c := serveCRM(t, opts)
	for members, want := range map[string]string{
		`"services_to_remove_set":[{"service_identifier":{"alternative_code":"n100"}}],"services_to_add_set":[{"service_identifier":{"id":"3"}}]`:                                "OK",
		`"services_to_add_set":[{"service_identifier":{"code":"NONE"}}]`:                                                                                                         "NOT_FOUND",
		`"services_to_swap_set":[{"from_service":{"service_identifier":{"id":"2"}},"to_service":{"service_identifier":{"code":"NONE"}}}],"scheduled_date":"2026-04-01T00:00:00"`: "NOT_FOUND",
	} {
		if got := code(c.post(amend, s1+members)); got != want {
			t.Errorf("%s: %s, want %s", members, got, want)
		}
	}
	if got := c.services("S-1"); got != "SPORTS, KIDS, item SN1 STB-1" {
		t.Error(got)
	}
}

// What an installation calls things, and where they are.
func TestNamesOfAnInstallation(t *testing.T) {
	opts := crmOptions()
	opts.SwapSet, opts.SwapPath, opts.StateField, opts.Path = "swaps_set", "subscriptions/services/swap", "netflix_state", "/other/v3"
	c := serveUnknown(t, opts)
	c.base = "/other/v3/"
	c.login()
	swap := strings.Replace(swapSPORTS(""), `"transaction_reference_number":"",`, "", 1)
	for name, got := range map[string]string{
		"OK swap":                    code(c.post("subscriptions/services/swap", strings.Replace(swap, "services_to_swap_set", "swaps_set", 1))),
		"UNKNOWN_PARAMETER in amend": code(c.post(amend, swap)),
	} {
		if want, _, _ := strings.Cut(name, " "); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	if a := c.get("netflix/subscriptions/show", "&billing_system_customer_identifier=N-1"); !strings.Contains(a.Body, `"netflix_state":"EFFECTIVE"`) {
		t.Error(a.Body)
	}
	for data, first := range map[string]string{"": "{[", "object": "{{", "array": "[["} {
		opts := crmOptions()
		opts.ShowData = data
		c := serveCRM(t, opts)
		a := c.get(show, "&subscription_identifier=number=S-1")
		b := c.get("netflix/subscriptions/show", "&billing_system_customer_identifier=N-1")
		if got := a.Body[8:9] + b.Body[8:9]; got != first {
			t.Errorf("%q: %s, want %s", data, got, first)
		}
	}
}

// Charges: the paging trap, charges that fail, those that Netflix processes meanwhile, and what a test can set.
func TestCharges(t *testing.T) {
	at := now
	opts := crmOptions()
	opts.Clock = func() time.Time { return at }
	opts.TokenLifetime = 1000 * time.Hour
	opts.NetflixProcessing = 7 * 24 * time.Hour // C2, of 2 March, is approved by now; C4 is in a day
	opts.Charges[0].Fails = "MADE_UP"
	c := serveCRM(t, opts)
	numbers := func(query string) string {
		var reply struct {
			Data struct {
				Charges []struct{ Number, Charge_status string } `json:"charges_set"`
			}
		}
		a := c.get(list, query)
		if err := json.Unmarshal([]byte(a.Body), &reply); err != nil {
			t.Fatal(a.Body)
		}
		var got []string
		for _, charge := range reply.Data.Charges {
			got = append(got, charge.Number)
		}
		return strings.Join(got, " ")
	}
	const page = "&number_of_results=1&charge_status=PROCESSED&offset="
	if got := numbers(page+"0") + " " + numbers(page+"1") + " " + numbers(page+"2") + " " + numbers(page+"3"); got != "C1 C2 C3 " {
		t.Errorf("pages: %q", got)
	}
	a := c.post("netflix/charges/acknowledge", `"acknowledged_charges_set":[{"number":"C1",`+n1+`},{"number":"C2",`+n1+`}]`)
	if !strings.Contains(a.Body, `"number":"C1","reference_number":null,"error_code":"MADE_UP"`) || strings.Contains(a.Body, "C2") {
		t.Errorf("acknowledged: %s", a.Body)
	}
	if got := numbers(page + "1"); got != "C3" {
		t.Errorf("the second page is now %s", got)
	}
	at = at.Add(24 * time.Hour)
	if got := c.post("netflix/charges/decline", `"declined_charges_set":[{"number":"C4",`+n1+`}]`); !strings.Contains(got.Body, "The charge is APPROVED.") {
		t.Errorf("declined too late: %s", got.Body)
	}
	if charge, _ := c.Charge("C4"); charge.SetAsApprovedOn == nil || !charge.SetAsApprovedOn.Equal(charge.ReceivedOn.Add(opts.NetflixProcessing)) {
		t.Errorf("%+v", charge)
	}
	for status, date := range map[string]string{"PENDING": "", "DECLINED": "declined", "BAD_REQUEST": "bad_request", "REJECTED": "rejected_request"} {
		if err := c.SetCharge("C3", status); err != nil {
			t.Error(err)
		}
		a := c.get(list, "&number_of_results=50&offset=0&charge_status=PROCESSED")
		if date != "" && !strings.Contains(a.Body, `"set_as_`+date+`_on":"2026-03-11T12:00:00"`) {
			t.Errorf("%s: %s", status, a.Body)
		}
	}
	if c.SetCharge("C9", "PENDING") == nil || c.SetCharge("C3", "ODD") == nil {
		t.Error("a charge was set that cannot be")
	}
	many := strings.Repeat(`{"number":"C1",`+n1+`},`, 51)
	if got := code(c.post("netflix/charges/acknowledge", `"acknowledged_charges_set":[`+strings.TrimSuffix(many, ",")+`]`)); got != "INVALID_PARAMETER" {
		t.Errorf("51 charges: %s", got)
	}
}

// An amendment whose client did not wait has its effect when the server is through with it. Sent again meanwhile with
// the same reference, it has its effect then, and the first is refused in its turn; without references both have.
func TestALateAction(t *testing.T) {
	for _, ignore := range []bool{false, true} {
		opts := crmOptions()
		opts.IgnoreReferences = ignore
		crmInBubble(t, opts, func(t *testing.T, c *crm) {
			if err := c.Faults().Next(sandbox.Fault{Kind: sandbox.Slow, Delay: sandbox.Duration(time.Hour)}); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			start := time.Now()
			members := s1 + `"transaction_reference_number":"R1","services_to_add_set":[{"service_identifier":{"code":"KIDS"}}]`
			if a := c.postWithin(ctx, amend, members); !timedOut(a) || time.Since(start) != time.Minute {
				t.Errorf("%+v after %s", a, time.Since(start))
			}
			if got := code(c.post(amend, members)); got != "OK" {
				t.Errorf("sent again: %s", got)
			}
			<-time.After(time.Hour)
			synctest.Wait()
			want := 1
			if ignore {
				want = 2
			}
			all := c.Book().Effects()
			if got := strings.Count(c.services("S-1"), "KIDS"); got != want || all[0].Applied != ignore || !all[1].Applied || all[0].EndOrder == 0 {
				t.Errorf("%d effects, want %d: %+v", got, want, all)
			}
		})
	}
}

// Latency, hanging and expiring work in virtual time.
func TestCRMCOMInVirtualTime(t *testing.T) {
	opts := crmOptions()
	opts.Latency, opts.TokenLifetime = time.Second, time.Hour
	crmInBubble(t, opts, func(t *testing.T, c *crm) {
		start := time.Now()
		if got := code(c.get("netflix/promotions/list", "")); got != "OK" || time.Since(start) != time.Second {
			t.Errorf("%s after %s", got, time.Since(start))
		}
		if err := c.Faults().Set(sandbox.Plan{Standing: []sandbox.Fault{{Kind: sandbox.HangAfter}}}); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(30*time.Minute, c.Faults().Lift)
		start = time.Now()
		if got := code(c.post(amend, swapSPORTS("R1"))); got != "OK" || time.Since(start) != 30*time.Minute {
			t.Errorf("%s after %s", got, time.Since(start))
		}
		<-time.After(30 * time.Minute)
		if got := code(c.post(amend, swapSPORTS("R2"))); got != "INVALID_TOKEN" {
			t.Errorf("after an hour: %s", got)
		}
	})
}
