package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"subrelay/events"
	"subrelay/handlers"
)

// dataOf is the key and the data that flags of a kind amount to.
func dataOf(t *testing.T, kind events.Kind, args ...string) (key, data string, err error) {
	t.Helper()
	all := kindCommands()
	i := slices.IndexFunc(all, func(k kindCommand) bool { return k.kind == kind })
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	all[i].register(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	key, value, err := all[i].data()
	if err != nil {
		return "", "", err
	}
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return key, string(raw), nil
}

func TestFlagsSayTheData(t *testing.T) {
	for _, tt := range []struct {
		kind      events.Kind
		args      string
		key, want string
	}{
		{events.Amend, "--subscription S1 --add code=SPORTS --remove BASIC --add id=7 --add-item serial=STB-1 --remove-item alternative_code=A --remove-item STB-2", "S1",
			`{"subscription_identifier":{"number":"S1"},
			"services_to_add_set":[{"service_identifier":{"code":"SPORTS"}},{"service_identifier":{"id":"7"}}],
			"services_to_remove_set":[{"service_identifier":{"code":"BASIC"}}],
			"installed_items_to_add_set":[{"installed_item_identifier":{"serial_number":"STB-1"}}],
			"installed_items_to_remove_set":[{"installed_item_identifier":{"alternative_code":"A"}},{"installed_item_identifier":{"serial_number":"STB-2"}}]}`},
		{events.Amend, "--subscription id=0A=1 --add X --scheduled 2026-12-01T00:00:00Z --performed-on 2026-11-01T10:00:00+02:00 " +
			"--billing-effective 2026-12-02T00:00:00Z --billable-from 2026-12-03T00:00:00Z " +
			"--udf string_1=x=y --udf float_2=1.50 --udf date_4=2026-01-01T00:00:00Z --udf string_8=", "0A=1",
			`{"subscription_identifier":{"id":"0A=1"},"scheduled_date":"2026-12-01T00:00:00Z","performed_on":"2026-11-01T10:00:00+02:00",
			"billing_effective_date":"2026-12-02T00:00:00Z","billable_period_start_date":"2026-12-03T00:00:00Z",
			"udf_string_1":"x=y","udf_float_2":1.5,"udf_date_4":"2026-01-01T00:00:00Z","udf_string_8":"",
			"services_to_add_set":[{"service_identifier":{"code":"X"}}]}`},
		{events.Amend, "--account number=A-9 --remove X --action-type name=Up --sub-action-type id=3 --unit code=HQ --classification id=4 --card number=5 --user username=u", "A-9",
			`{"accounts_receivable_identifier":{"number":"A-9"},"action_type_identifier":{"name":"Up"},"sub_action_type_identifier":{"id":"3"},
			"performed_by_unit_identifier":{"code":"HQ"},"classification_identifier":{"id":"4"},"payment_gateway_card_identifier":{"number":"5"},
			"performed_by_user_identifier":{"username":"u"},"services_to_remove_set":[{"service_identifier":{"code":"X"}}]}`},
		{events.Amend, "--account name=Anna --remove X", "",
			`{"accounts_receivable_identifier":{"name":"Anna"},"services_to_remove_set":[{"service_identifier":{"code":"X"}}]}`},
		{events.Swap, "--subscription S0000012345 --from code=INTERNET_100 --to code=INTERNET_200", "S0000012345",
			`{"subscription_identifier":{"number":"S0000012345"},"services_to_swap_set":[
			{"from_service":{"service_identifier":{"code":"INTERNET_100"}},"to_service":{"service_identifier":{"code":"INTERNET_200"}}}]}`},
		{events.Swap, "--subscription number=S1 --from service=9F --from id=2 --to TV --to alternative_code=N --business-classification UPGRADE_SERVICE", "S1",
			`{"subscription_identifier":{"number":"S1"},"business_classification_code":"UPGRADE_SERVICE","services_to_swap_set":[
			{"from_service":{"subscription_service_id":"9F"},"to_service":{"service_identifier":{"code":"TV"}}},
			{"from_service":{"service_identifier":{"id":"2"}},"to_service":{"service_identifier":{"alternative_code":"N"}}}]}`},
		{events.NetflixCreate, "--customer cust-77 --channel WEB --validity 1h --promotion 14", "cust-77",
			`{"billing_system_customer_identifier":"cust-77","promotion_code":"14","channel":"WEB","validity_duration":3600}`},
		{events.NetflixCreate, "--customer c --first-name Anna --last-name B --email a@b.example --phone 99 --street Main --street-number 1 --postal-code 1010", "c",
			`{"billing_system_customer_identifier":"c","customer_first_name":"Anna","customer_last_name":"B","customer_email":{"email_address":"a@b.example"},
			"customer_phone":{"type":"MOBILE","number":"99"},"customer_address":{"type":"HOME","postal_code":"1010","street_name":"Main","street_number":"1"}}`},
		{events.NetflixCreate, "--customer c --phone 99 --phone-type FAX --postal-code 1010 --address-type POBOX", "c",
			`{"billing_system_customer_identifier":"c","customer_phone":{"type":"FAX","number":"99"},"customer_address":{"type":"POBOX","postal_code":"1010"}}`},
		{events.NetflixSuspend, "--customer c", "c", `{"billing_system_customer_identifier":"c"}`},
		{events.NetflixUnsuspend, "--customer c", "c", `{"billing_system_customer_identifier":"c"}`},
		{events.NetflixCancel, "--customer c", "c", `{"billing_system_customer_identifier":"c"}`},
		{events.NetflixAcknowledge, "--charge I1=c1 --charge I2 --customer c2", "c1",
			`{"charges_set":[{"number":"I1","billing_system_customer_identifier":"c1"},{"number":"I2","billing_system_customer_identifier":"c2"}]}`},
		{events.NetflixAccept, "--charge I1=c1", "c1", `{"charges_set":[{"number":"I1","billing_system_customer_identifier":"c1"}]}`},
		{events.NetflixDecline, "--charge I1=c1", "c1", `{"charges_set":[{"number":"I1","billing_system_customer_identifier":"c1"}]}`},
	} {
		t.Run(string(tt.kind)+" "+tt.args, func(t *testing.T) {
			key, data, err := dataOf(t, tt.kind, strings.Fields(tt.args)...)
			if err != nil || key != tt.key {
				t.Errorf("key %q, %v", key, err)
			}
			var got, want any
			if err := json.Unmarshal([]byte(tt.want), &want); err != nil {
				t.Fatal(err)
			}
			_ = json.Unmarshal([]byte(data), &got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFlagsThatSayNothing(t *testing.T) {
	for _, tt := range []struct {
		kind       events.Kind
		args, want string
	}{
		{events.Amend, "--add X", "which subscription?"},
		{events.Amend, "--subscription S1 --account id=1 --add X", "exclude each other"},
		{events.Amend, "--subscription S1", "what is to change?"},
		{events.Amend, "--subscription name=Private --add X", "--subscription must be number=… or id=…"},
		{events.Amend, "--subscription id= --add X", "--subscription must be"},
		{events.Amend, "--account Private --add X", "--account must be number=… or id=… or name=…"},
		{events.Amend, "--subscription S1 --add product=X", "--add must be code=… or id=… or alternative_code=…"},
		{events.Amend, "--subscription S1 --add-item name=X", "--add-item must be serial=…"},
		{events.Amend, "--subscription S1 --add X --scheduled Private", "--scheduled must be as RFC 3339 has it"},
		{events.Amend, "--subscription S1 --add X --udf string_9=Private", "--udf must be string_1=…"},
		{events.Amend, "--subscription S1 --add X --udf string_1=Private --udf string_1=y", "names string_1 twice"},
		{events.Amend, "--subscription S1 --add X --udf float_1=Private", "--udf float_1 must be a number"},
		{events.Amend, "--subscription S1 --add X --udf float_2=NaN", "--udf float_2 must be a number such as 1.5: not infinite, not NaN"},
		{events.Amend, "--subscription S1 --add X --udf float_2=-inf", "--udf float_2 must be a number"},
		{events.Amend, "--subscription S1 --add X --udf float_2=1e400", "--udf float_2 must be a number"},
		{events.Amend, "--subscription S1 --add X --udf date_1=Private", "--udf date_1 must be as RFC 3339"},
		{events.Amend, "--subscription S1 --add X --user Private", "--user must be MEMBER=VALUE"},
		{events.Amend, "--subscription S1 --add X --unit Private", "--unit must be name=…"},
		{events.Swap, "--subscription S1", "there are 0 and 0"},
		{events.Swap, "--subscription S1 --from A --from B --to C", "there are 2 and 1"},
		{events.Swap, "--subscription S1 --from A --to service=C", "--to must be code=…"},
		{events.NetflixCreate, "--first-name Private", "whose subscription?"},
		{events.NetflixCreate, "--customer c --validity 25h", "from 1s to 24h0m0s"},
		{events.NetflixCreate, "--customer c --validity 1500ms", "whole seconds"},
		{events.NetflixCreate, "--customer c --phone-type FAX --street Private", "--phone-type is of which phone?"},
		{events.NetflixCreate, "--customer c --address-type HOME --phone Private", "--address-type is of which address?"},
		{events.NetflixSuspend, "", "whose subscription?"},
		{events.NetflixAccept, "--customer c", "which charges?"},
		{events.NetflixAccept, "--charge I1", "--charge I1: whose is it?"},
		{events.NetflixAccept, "--charge =c", "whose is it?"},
	} {
		t.Run(string(tt.kind)+" "+tt.args, func(t *testing.T) {
			_, _, err := dataOf(t, tt.kind, strings.Fields(tt.args)...)
			if err == nil || !strings.Contains(err.Error(), tt.want) || exitCode(err) != exitUsage {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "Private") {
				t.Errorf("the error repeats what may be personal: %v", err)
			}
		})
	}
}

// TestDataFromAFile reads what --data names, far enough to see how the command would be published.
func TestDataFromAFile(t *testing.T) {
	for _, tt := range []struct{ name, args, stdin, stderr string }{
		{"no JSON", "swap --data -", `{"services":[Private`, "--data: this is not JSON, at its byte 14"},
		{"no object", "swap --data -", `["Private"]`, "--data: this is no JSON object"},
		{"more behind it", "swap --data -", `{} "Private"`, "--data: this is not JSON, at its byte 4"},
		{"null", "swap --data -", `null`, "--data: this is no JSON object"},
		{"no key", "amend --data -", `{"accounts_receivable_identifier":{"name":"Private"}}`, "under which key? The data name none: give --key"},
		{"flags too", "swap --data - --from X", `{}`, "--data and --from exclude each other"},
		{"no file", "netflix-create --data /no/such", ``, "--data: open /no/such"},
		{"an argument", "netflix-create --customer c --first-name Anna Private", ``, "takes no arguments, and got 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := runLine(t, tt.stdin, append([]string{"publish"}, strings.Fields(tt.args)...)...)
			if got.code == exitDone || !strings.Contains(got.stderr, tt.stderr) || strings.Contains(got.stderr+got.stdout, "Private") {
				t.Errorf("exit code %d, %s", got.code, got.stderr)
			}
		})
	}
	for data, want := range map[string]string{
		`{"subscription_identifier":{"number":"S1"}}`:                                       "S1",
		`{"subscription_identifier":{"id":"7"}}`:                                            "7",
		`{"accounts_receivable_identifier":{"number":"A1"}}`:                                "A1",
		`{"accounts_receivable_identifier":{"access_token_identifier":{"identifier":"x"}}}`: "",
		`{"subscription_identifier":"S1"}`:                                                  "",
		`{"subscription_identifier":{"number":5}}`:                                          "",
	} {
		var object map[string]any
		if err := json.Unmarshal([]byte(data), &object); err != nil {
			t.Fatal(err)
		}
		if got := actionKeyOf(object); got != want {
			t.Errorf("the key of %s is %q, want %q", data, got, want)
		}
	}
}

// TestEveryKindCanBePublished holds the list of subcommands complete.
func TestEveryKindCanBePublished(t *testing.T) {
	root := newRoot(newCLI(nil, nil, nil, nil))
	for _, kind := range kindNames() {
		if cmd, _, err := root.Find([]string{"publish", kind}); err != nil || cmd.Name() != kind {
			t.Errorf("publish %s: %v", kind, err)
		}
	}
	if got, want := len(handlers.Unconnected()), len(kindCommands())+1; got != want {
		t.Errorf("%d families, %d subcommands", got, want)
	}
}
