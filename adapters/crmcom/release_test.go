package crmcom

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

func TestParseRelease(t *testing.T) {
	for text, want := range map[string]release{
		"R13.0.0": of(13, 0, 0), "R14.17.0": of(14, 17, 0), "R17.999.999": of(17, 999, 999), "R18.0.0": of(18, 0, 0), "R014.1.0": of(14, 1, 0),
	} {
		if got, err := parseRelease(text); err != nil || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	const bounds = ` is not from R13.0.0 to R18.0.0; name the nearest`
	for text, want := range map[string]string{
		"":             "is missing: which release is installed, from R13.0.0 to R18.0.0?",
		"14.1.0":       `"14.1.0" is no release such as R14.1.0`,
		"R14.1":        `"R14.1" is no release such as R14.1.0`,
		"R14.1.0.1":    `"R14.1.0.1" is no release such as R14.1.0`,
		"r14.1.0":      `"r14.1.0" is no release such as R14.1.0`,
		"R14.1000.0":   `"R14.1000.0" is no release such as R14.1.0`,
		"R-14.1.0":     `"R-14.1.0" is no release such as R14.1.0`,
		"R12.999.999":  `"R12.999.999"` + bounds,
		"R18.0.1":      `"R18.0.1"` + bounds,
		"R999.999.999": `"R999.999.999"` + bounds,
	} {
		if got, err := parseRelease(text); err == nil || err.Error() != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}

// rule is a row of the release table as the reference of the API has it: the first release with the parameter, and the one from which it is
// deprecated.
type rule struct{ since, deprecated string }

// The parameters with a release, by kind and path, and the command that uses each and nothing else that has a release.
var rulesOf = []struct {
	kind, path string
	rule       rule
	data       string
}{
	{"amend", "accounts_receivable_identifier.access_token_identifier", rule{"", "R18.0.0"}, `{"accounts_receivable_identifier":{"access_token_identifier":{"authentication_code":"1"}}}`},
	{"amend", "action_type_identifier", rule{"", "R15.0.0"}, `{"action_type_identifier":{"id":"1"}}`},
	{"amend", "sub_action_type_identifier", rule{"", "R15.0.0"}, `{"sub_action_type_identifier":{"name":"1"}}`},
	{"amend", "classification_identifier", rule{"R18.0.0", ""}, `{"classification_identifier":{"code":"1"}}`},
	{"amend", "performed_by_unit_identifier", rule{"R14.0.0", ""}, `{"performed_by_unit_identifier":{"name":"1"}}`},
	{"amend", "performed_by_unit_identifier.code", rule{"R18.0.0", ""}, `{"performed_by_unit_identifier":{"code":"1"}}`},
	{"amend", "performed_by_unit_identifier.alternative_code", rule{"R14.0.0", "R18.0.0"}, `{"performed_by_unit_identifier":{"alternative_code":"1"}}`},
	{"amend", "services_to_add_set.period_billed_in_advance", rule{"R14.0.0", "R15.0.0"}, `{"services_to_add_set":[{"service_identifier":{"code":"A"},"period_billed_in_advance":0}]}`},
	{"amend", "services_to_add_set.period_billed_in_advance_uot", rule{"R14.0.0", "R15.0.0"}, `{"services_to_add_set":[{},{"period_billed_in_advance_uot":"DAYS"}]}`},

	{"swap", "accounts_receivable_identifier.access_token_identifier", rule{"", "R18.0.0"}, `{"accounts_receivable_identifier":{"access_token_identifier":{"identifier":"1","pass_code":"2"}}}`},
	{"swap", "action_type_identifier", rule{"", "R15.0.0"}, `{"action_type_identifier":{"id":"1"}}`},
	{"swap", "sub_action_type_identifier", rule{"", "R15.0.0"}, `{"sub_action_type_identifier":{"alternative_code":"1"}}`},
	{"swap", "classification_identifier", rule{"R18.0.0", ""}, `{"classification_identifier":{"code":"1"}}`},
	{"swap", "performed_by_unit_identifier", rule{"R14.0.0", ""}, `{"performed_by_unit_identifier":{"id":"1"}}`},
	{"swap", "performed_by_unit_identifier.code", rule{"R18.0.0", ""}, `{"performed_by_unit_identifier":{"code":"1"}}`},
	{"swap", "performed_by_unit_identifier.alternative_code", rule{"R14.0.0", "R18.0.0"}, `{"performed_by_unit_identifier":{"alternative_code":"1"}}`},
	{"swap", "services_to_swap_set.to_service.period_billed_in_advance", rule{"R14.0.0", "R15.0.0"}, `{"services_to_swap_set":[{"to_service":{"period_billed_in_advance":1}}]}`},
	{"swap", "services_to_swap_set.to_service.period_billed_in_advance_uot", rule{"R14.0.0", "R15.0.0"}, `{"services_to_swap_set":[{"to_service":{"period_billed_in_advance_uot":"DAYS"}}]}`},
	{"swap", "services_to_swap_set.to_service.udf_string_8", rule{"R14.3.0", ""}, `{"services_to_swap_set":[{"to_service":{"udf_string_8":""}}]}`},
	{"swap", "services_to_swap_set.to_service.udf_float_1", rule{"R14.3.0", ""}, `{"services_to_swap_set":[{"to_service":{"udf_float_1":0}}]}`},
	{"swap", "services_to_swap_set.to_service.udf_date_4", rule{"R14.3.0", ""}, `{"services_to_swap_set":[{"to_service":{"udf_date_4":"2024-01-01T00:00:00Z"}}]}`},
	{"swap", "services_to_swap_set.to_service.services_distribution_set", rule{"", "R15.0.0"}, `{"services_to_swap_set":[{"to_service":{"services_distribution_set":[{}]}}]}`},

	{"netflix-create", "customer_address", rule{"R14.2.0", ""}, `{"customer_address":{"type":"HOME"}}`},
	{"netflix-create", "customer_address.is_primary", rule{"R16.1.0", ""}, `{"customer_address":{"type":"HOME","is_primary":false}}`},
	{"netflix-create", "customer_phone.is_primary", rule{"R16.1.0", ""}, `{"customer_phone":{"type":"FAX","number":"1","is_primary":true}}`},
}

// checked checks a command at an installation, and returns what was warned of besides.
func checked(t *testing.T, s Settings, kind, text string) (errs []error, warnings []string) {
	t.Helper()
	b := clients(t, s, NetflixSettings{}, upstream.Settings{})
	for _, w := range []*wire{b.client.wire, b.netflix.wire} {
		w.rules.warn = func(message string) { warnings = append(warnings, message) }
	}
	for range 3 {
		var err error
		switch kind {
		case "amend":
			err = b.client.CheckAmend(decode[events.AmendData](t, text))
		case "swap":
			err = b.client.CheckSwap(decode[events.SwapData](t, text))
		default:
			err = b.netflix.CheckCreate(decode[events.NetflixCreateData](t, text))
		}
		errs = append(errs, err)
	}
	return errs, warnings
}

// around is the releases at which a rule is tried: the bounds, each of its own, and the one before it.
func around(r rule) (out []release) {
	out = []release{oldest, newest}
	for _, text := range []string{r.since, r.deprecated} {
		if text != "" {
			edge, _ := parseRelease(text)
			out = append(out, edge, edge-1) // R14.0.0 and R13.999.999
		}
	}
	return out
}

// Every row of the table: refused before its release, by name and release; let through from then on; warned of once where
// it is deprecated.
func TestReleases(t *testing.T) {
	for _, c := range rulesOf {
		t.Run(c.kind+" "+c.path, func(t *testing.T) {
			since, deprecated := release(0), never
			if c.rule.since != "" {
				since, _ = parseRelease(c.rule.since)
			}
			if c.rule.deprecated != "" {
				deprecated, _ = parseRelease(c.rule.deprecated)
			}
			for _, installed := range around(c.rule) {
				s := settings(base)
				s.Release = installed.String()
				errs, warnings := checked(t, s, c.kind, c.data)
				for _, err := range errs {
					var want outcome
					if installed < since {
						want = outcome{Kind: "refused", Code: events.CodeRelease}
						path := strings.TrimSuffix(c.path, ".alternative_code") // which came with the unit
						if about := fmt.Sprintf("%s (from %s)", path, c.rule.since); !strings.Contains(fmt.Sprint(err), about) ||
							!strings.Contains(fmt.Sprint(err), "the installed release "+s.Release+" does not know ") {
							t.Errorf("%s: %v does not say: %s", installed, err, about)
						}
					}
					like(t, want, err)
				}
				var want []string
				if installed >= since && installed >= deprecated {
					want = []string{fmt.Sprintf("commands use %s, which is deprecated from %s; %s is installed", c.path, c.rule.deprecated, installed)}
				}
				if diff := cmp.Diff(want, warnings); diff != "" {
					t.Errorf("%s: %s", installed, diff)
				}
			}
		})
	}
}

// A code of a distributor or an action type, which the schemas let through, is of no release.
func TestReleasesOfNothing(t *testing.T) {
	const distributor = `[{"provisioning_distributor_identifier":{"code":"D"}}]`
	const inSet = ".provisioning_distributor_identifier.code"
	for _, c := range []struct{ kind, path, data string }{
		{"amend", "action_type_identifier.code", `{"action_type_identifier":{"code":"1"}}`},
		{"amend", "sub_action_type_identifier.code", `{"sub_action_type_identifier":{"code":"1"}}`},
		{"swap", "action_type_identifier.code", `{"action_type_identifier":{"code":"1"}}`},
		{"swap", "sub_action_type_identifier.code", `{"sub_action_type_identifier":{"code":"1"}}`},
		{"amend", "services_to_add_set.services_distribution_set" + inSet, `{"services_to_add_set":[{"services_distribution_set":` + distributor + `}]}`},
		{"amend", "services_to_remove_set.services_distribution_set" + inSet, `{"services_to_remove_set":[{"services_distribution_set":` + distributor + `}]}`},
		{"amend", "installed_items_to_add_set.installed_items_distribution_set" + inSet, `{"installed_items_to_add_set":[{"installed_items_distribution_set":` + distributor + `}]}`},
		{"amend", "installed_items_to_remove_set.installed_items_distribution_set" + inSet, `{"installed_items_to_remove_set":[{"installed_items_distribution_set":` + distributor + `}]}`},
		{"swap", "services_to_swap_set.to_service.services_distribution_set" + inSet, `{"services_to_swap_set":[{"to_service":{"services_distribution_set":` + distributor + `}}]}`},
	} {
		for _, installed := range []string{"R13.0.0", "R14.3.0", "R18.0.0"} {
			s := settings(base)
			s.Release = installed
			errs, _ := checked(t, s, c.kind, c.data)
			like(t, outcome{Kind: "refused", Code: events.CodeRelease,
				Message: "the installed release " + installed + " does not know " + c.path + " (which no release documents); see crmcom.release"}, errs[0])
			s.KnownParameters = []string{c.path}
			errs, _ = checked(t, s, c.kind, c.data)
			like(t, outcome{}, errs[0])
		}
	}
}

// Every parameter that a release does not know is named, once, in order.
func TestReleasesTogether(t *testing.T) {
	s := settings(base)
	s.Release = "R13.0.0"
	errs, _ := checked(t, s, "amend", everyAmend)
	like(t, outcome{Kind: "refused", Code: events.CodeRelease, Message: "the installed release R13.0.0 does not know classification_identifier (from R18.0.0), " +
		"performed_by_unit_identifier (from R14.0.0), performed_by_unit_identifier.code (from R18.0.0), services_to_add_set.period_billed_in_advance (from R14.0.0), " +
		"services_to_add_set.period_billed_in_advance_uot (from R14.0.0); see crmcom.release"}, errs[0])
	errs, _ = checked(t, s, "swap", everySwap)
	like(t, outcome{Kind: "refused", Code: events.CodeRelease, Message: "the installed release R13.0.0 does not know " +
		"services_to_swap_set.to_service.period_billed_in_advance (from R14.0.0), services_to_swap_set.to_service.period_billed_in_advance_uot (from R14.0.0), " +
		"services_to_swap_set.to_service.udf_date_4 (from R14.3.0), services_to_swap_set.to_service.udf_float_4 (from R14.3.0), " +
		"services_to_swap_set.to_service.udf_string_1 (from R14.3.0); see crmcom.release"}, errs[0])
	s.Release = "R18.0.0"
	errs, warnings := checked(t, s, "amend", everyAmend)
	like(t, outcome{}, errs[0])
	if len(warnings) != 4 {
		t.Errorf("%q", warnings)
	}
}

// What has no release passes at every one: the rest of everything that a command can hold.
func TestReleasesOfTheRest(t *testing.T) {
	for kind, text := range map[string]string{
		"amend": `{"subscription_identifier":{"id":"1"},"accounts_receivable_identifier":{"id":"1","number":"2","name":"3"},"payment_gateway_card_identifier":{"id":"1"},
			"performed_by_user_identifier":{"id":"1","code":"x"},"performed_on":"2024-01-01T00:00:00Z","billing_effective_date":"2024-01-01T00:00:00Z",
			"billable_period_start_date":"2024-01-01T00:00:00Z","scheduled_date":"2024-01-01T00:00:00Z","udf_string_1":"a","udf_float_1":1,"udf_date_1":"2024-01-01T00:00:00Z",
			"services_to_add_set":[{"service_identifier":{"id":"1","code":"2","alternative_code":"3"},"components_set":[{"service_identifier":{"code":"c"}}],
			  "services_distribution_set":[{"provisioning_distributor_identifier":{"id":"1","name":"2","alternative_code":"3"}}]}],
			"services_to_remove_set":[{"service_identifier":{"code":"1"},"services_distribution_set":[{"provisioning_distributor_identifier":{"name":"2"}}]}],
			"installed_items_to_add_set":[{"installed_item_identifier":{"id":"1","serial_number":"2","alternative_code":"3"},
			  "installed_items_distribution_set":[{"provisioning_distributor_identifier":{"id":"1"}}]}],
			"installed_items_to_remove_set":[{"installed_item_identifier":{"id":"1"}}]}`,
		"swap": `{"udf_string_8":"a","services_to_swap_set":[{"from_service":{"subscription_service_id":"1","service_identifier":{"code":"x"}},
			"to_service":{"service_identifier":{"code":"x"},"components_set":[{"service_identifier":{"id":"1"}}]}}]}`,
		"netflix-create": `{"billing_system_customer_identifier":"c","promotion_code":"1","channel":"WEB","validity_duration":1,"customer_first_name":"a",
			"customer_last_name":"b","customer_email":{"type":"PERSONAL","email_address":"a@b","notes":"n","udf_string_1":"x"},
			"customer_phone":{"type":"FAX","number":"1","area_code":"2","country_identifier":{"code":"x"},"notes":"n"}}`,
	} {
		for _, installed := range []string{"R13.0.0", "R18.0.0"} {
			s := settings(base)
			s.Release = installed
			errs, warnings := checked(t, s, kind, text)
			like(t, outcome{}, errs[0])
			if warnings != nil {
				t.Errorf("%s: %q", kind, warnings)
			}
		}
	}
}

// The table has no row that is not tried above, and every row is of a parameter that commands have.
func TestReleasesAreAllTried(t *testing.T) {
	tried := make(map[string]bool)
	for _, c := range rulesOf {
		row, _ := rowOf(parameters[c.kind], c.path)
		tried[c.kind+" "+row] = true
	}
	for kind, table := range parameters {
		for path, life := range table {
			if life.since != never && !tried[kind+" "+path] {
				t.Errorf("nobody tries %s %s", kind, path)
			}
		}
	}
}

// What the installation is known to take passes whatever its release, a row or one parameter of it, without a warning.
func TestKnownParameters(t *testing.T) {
	early := settings(base)
	early.Release = "R13.0.0"
	for _, c := range []struct {
		known      []string
		kind, data string
		want       string // what is still refused
	}{
		{[]string{"classification_identifier"}, "amend", `{"classification_identifier":{"code":"1"}}`, ""},
		{[]string{"classification_identifier"}, "amend", `{"classification_identifier":{"code":"1"},"performed_by_unit_identifier":{"id":"1"}}`, "performed_by_unit_identifier (from R14.0.0)"},
		{[]string{"services_to_swap_set.to_service.udf_*"}, "swap", `{"services_to_swap_set":[{"to_service":{"udf_string_1":"1","udf_float_2":2}}]}`, ""},
		{[]string{"services_to_swap_set.to_service.udf_string_1"}, "swap", `{"services_to_swap_set":[{"to_service":{"udf_string_1":"1"}}]}`, ""},
		{[]string{"services_to_swap_set.to_service.udf_string_1"}, "swap", `{"services_to_swap_set":[{"to_service":{"udf_string_1":"1","udf_float_2":2}}]}`,
			"services_to_swap_set.to_service.udf_float_2 (from R14.3.0)"},
		{[]string{"customer_address"}, "netflix-create", `{"customer_address":{"type":"HOME","is_primary":true}}`, "customer_address.is_primary (from R16.1.0)"},
	} {
		s := early
		s.KnownParameters = c.known
		errs, warnings := checked(t, s, c.kind, c.data)
		want := outcome{}
		if c.want != "" {
			want = outcome{Kind: "refused", Code: events.CodeRelease, Message: "the installed release R13.0.0 does not know " + c.want + "; see crmcom.release"}
		}
		like(t, want, errs[0])
		if warnings != nil {
			t.Errorf("%q", warnings)
		}
	}
	late := settings(base)
	late.Release, late.KnownParameters = "R18.0.0", []string{"action_type_identifier"}
	errs, warnings := checked(t, late, "amend", `{"action_type_identifier":{"id":"1"}}`)
	like(t, outcome{}, errs[0])
	if warnings != nil {
		t.Errorf("%q", warnings)
	}
}

// A warning is logged by the guard's logger, once for all clients' commands.
func TestReleaseWarnings(t *testing.T) {
	var log strings.Builder
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	s := settings(base)
	s.Release = "R15.0.0"
	b := clients(t, s, NetflixSettings{}, upstream.Settings{Logger: logger})
	log.Reset()
	for range 3 {
		like(t, outcome{}, b.client.CheckAmend(decode[events.AmendData](t, `{"action_type_identifier":{"id":"1"}}`)))
		like(t, outcome{}, b.client.CheckSwap(decode[events.SwapData](t, `{"action_type_identifier":{"id":"1"}}`)))
	}
	dec := json.NewDecoder(strings.NewReader(log.String()))
	var got []string
	for {
		var line struct{ Level, Msg, Upstream string }
		if err := dec.Decode(&line); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		got = append(got, line.Level+" "+line.Upstream+" "+line.Msg)
	}
	if diff := cmp.Diff([]string{"WARN crmcom commands use action_type_identifier, which is deprecated from R15.0.0; R15.0.0 is installed"}, got); diff != "" {
		t.Error(diff)
	}
}

// A swap goes out whole or not at all: what the way of sending it has no place for is refused by name.
func TestCheckSwapCarriers(t *testing.T) {
	misfit := func(what, carrier string) outcome {
		return outcome{Kind: "refused", Code: events.CodeNotConfigured, Message: what + " cannot be sent where crmcom.swap.carrier is " + carrier}
	}
	const udf, distribution = "services_to_swap_set.to_service.udf_*", "services_to_swap_set.to_service.services_distribution_set"
	for text, want := range map[string]map[string]outcome{
		`{"services_to_swap_set":[{"to_service":{"service_identifier":{"code":"A"},"components_set":[{}],"period_billed_in_advance":1}}]}`: {},
		`{"business_classification_code":"UPGRADE_SERVICE"}`:                                                                               {"amend": misfit("business_classification_code", "amend")},
		`{"services_to_swap_set":[{},{"to_service":{"udf_string_1":""}}]}`:                                                                 {"method": misfit(udf, "method")},
		`{"services_to_swap_set":[{"to_service":{"udf_float_4":0}}]}`:                                                                      {"method": misfit(udf, "method")},
		`{"services_to_swap_set":[{"to_service":{"udf_date_1":"2024-01-01T00:00:00Z"}}]}`:                                                  {"method": misfit(udf, "method")},
		`{"services_to_swap_set":[{},{"to_service":{"services_distribution_set":[{}]}}]}`:                                                  {"method": misfit(distribution, "method")},
		`{"udf_string_1":"of the action","services_to_swap_set":[{"to_service":{"services_distribution_set":[]}}]}`:                        {},
	} {
		for _, carrier := range []string{"amend", "method"} {
			s := settings(base)
			s.Swap.Carrier = carrier
			b := clients(t, s, NetflixSettings{}, upstream.Settings{})
			like(t, want[carrier], b.client.CheckSwap(decode[events.SwapData](t, text)))
		}
	}
}
