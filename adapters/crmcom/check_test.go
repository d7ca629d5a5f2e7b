package crmcom

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

// problemsOf is what is wrong with settings, line by line, as the constructors say it.
func problemsOf(t *testing.T, s Settings, n NetflixSettings) []string {
	t.Helper()
	session, err := NewSession(settings(base))
	if err != nil {
		t.Fatal(err)
	}
	g := guard(t, upstream.Settings{CallTimeout: 10 * time.Second})
	_, _, err = NewNetflix(s, n, session, g)
	if _, _, own := New(s, session, g); own != nil && !strings.HasPrefix(fmt.Sprint(err), own.Error()) {
		t.Errorf("the clients do not agree: %v; %v", own, err)
	}
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

// Every setting that is wrong is named, with what is wrong about it.
func TestSettings(t *testing.T) {
	for _, c := range []struct {
		change func(s *Settings)
		want   []string
	}{
		{func(*Settings) {}, nil},
		{func(s *Settings) { s.Release = "" }, []string{"crmcom.release is missing: which release is installed, from R13.0.0 to R18.0.0?"}},
		{func(s *Settings) { s.Release = "R19.0.0" }, []string{`crmcom.release "R19.0.0" is not from R13.0.0 to R18.0.0; name the nearest`}},
		{func(s *Settings) { s.TimeZone = "Berlin" }, []string{`crmcom.time_zone "Berlin" is no IANA name of a time zone`}},
		{func(s *Settings) { s.BaseURL = "" }, []string{"crmcom.base_url is missing"}},
		{func(s *Settings) { s.BaseURL = base + "/crmapi/rest/v2/" }, []string{"crmcom.base_url must not end in /crmapi/rest/v2, which is added (crmcom.path)"}},
		{func(s *Settings) { s.BaseURL, s.Path = base+"/x/api", "/api/" }, []string{"crmcom.base_url must not end in /api/, which is added (crmcom.path)"}},
		{func(s *Settings) { s.BaseURL = base + "/behind/a/proxy/" }, nil},

		{func(s *Settings) {
			s.KnownParameters = []string{"classification_identifier", "services_to_swap_set.to_service.udf_*", "services_to_swap_set.to_service.udf_date_1",
				"netflix/charges/accept", "netflix/charges/decline"}
		}, nil},
		{func(s *Settings) { s.KnownParameters = []string{"netflix/charges/acknowledge", "performed_on", ""} }, []string{
			`crmcom.known_parameters: no release refuses or deprecates "netflix/charges/acknowledge"`,
			`crmcom.known_parameters: no release refuses or deprecates "performed_on"`,
			`crmcom.known_parameters: no release refuses or deprecates ""`,
		}},

		{func(s *Settings) { s.Codes.Duplicate, s.Reference.Enforced = []string{}, true }, []string{
			"crmcom.reference.enforced needs crmcom.codes.duplicate_reference: how else is a duplicate known?"}},
		{func(s *Settings) { s.Codes.Duplicate = []string{} }, nil},
		{func(s *Settings) { s.Codes.InvalidToken, s.Codes.Unknown = []string{"A", "A"}, []string{"B"} }, nil},
		{func(s *Settings) { s.Codes.InvalidToken, s.Codes.Unknown = []string{"A", ""}, []string{" B"} }, []string{
			`crmcom.codes.invalid_token holds "", which is no code`, `crmcom.codes.unknown holds " B", which is no code`}},
		{func(s *Settings) { s.Codes.NotApplied = []string{"OK"} }, []string{"crmcom.codes.not_applied must not hold OK, which is success"}},
		{func(s *Settings) { s.Codes.NotFound, s.Codes.NotApplied = []string{"X"}, []string{"X"} }, []string{
			"crmcom.codes.not_found and crmcom.codes.not_applied both hold X"}},
		{func(s *Settings) { s.Codes.Unknown = []string{"DUPLICATE_REFERENCE"} }, []string{
			"crmcom.codes.duplicate_reference and crmcom.codes.unknown both hold DUPLICATE_REFERENCE"}},
		{func(s *Settings) { s.Codes.HTTPInvalidToken = []int{401, 403, 400} }, []string{
			"crmcom.codes.http_invalid_token must not hold 400: only 401 and 403 speak of our credentials"}},
		{func(s *Settings) { s.Codes.HTTPNotApplied = []int{300, 400, 404, 500, 503, 599} }, nil},
		{func(s *Settings) { s.Codes.HTTPNotApplied = []int{299, 401, 403, 429, 600} }, []string{
			"crmcom.codes.http_not_applied must not hold 299: only 3xx, 4xx and 5xx other than 401, 403, 429 can be listed",
			"crmcom.codes.http_not_applied must not hold 401: only 3xx, 4xx and 5xx other than 401, 403, 429 can be listed",
			"crmcom.codes.http_not_applied must not hold 403: only 3xx, 4xx and 5xx other than 401, 403, 429 can be listed",
			"crmcom.codes.http_not_applied must not hold 429: only 3xx, 4xx and 5xx other than 401, 403, 429 can be listed",
			"crmcom.codes.http_not_applied must not hold 600: only 3xx, 4xx and 5xx other than 401, 403, 429 can be listed",
		}},

		{func(s *Settings) { s.Amend.Path = "/subscriptions/amend" }, []string{`crmcom.amend.path "/subscriptions/amend" is no path such as subscriptions/show`}},
		{func(s *Settings) { s.Amend.Path = "subscriptions/../amend" }, []string{`crmcom.amend.path "subscriptions/../amend" is no path such as subscriptions/show`}},
		{func(s *Settings) { s.Amend.Path = "subscriptions/amend?x" }, []string{`crmcom.amend.path "subscriptions/amend?x" is no path such as subscriptions/show`}},
		{func(s *Settings) { s.Amend.FieldsSet = "id, number" }, []string{"crmcom.amend.fields_set must be names joined by commas, without spaces"}},
		{func(s *Settings) { s.Amend.RejectedStates, s.Amend.UnclearStates = []string{"", "R"}, []string{""} }, []string{
			"crmcom.amend.rejected_states must not hold an empty text, which every reply without a state would be",
			"crmcom.amend.unclear_states must not hold an empty text, which every reply without a state would be",
		}},
		{func(s *Settings) { s.Amend.UnclearStates = []string{"PENDING_VERIFICATION", "REJECTED"} }, []string{
			"crmcom.amend.rejected_states and crmcom.amend.unclear_states both hold REJECTED"}},
		{func(s *Settings) { s.Amend.RejectedStates, s.Amend.UnclearStates = []string{}, []string{} }, nil},

		{func(s *Settings) { s.Swap.Carrier = "AMEND" }, []string{`crmcom.swap.carrier "AMEND" is neither amend nor method`}},
		{func(s *Settings) { s.Swap.Path = "swap services" }, []string{`crmcom.swap.path "swap services" is no path such as subscriptions/show`}},
		{func(s *Settings) { s.Swap.Set = "swap.set" }, []string{`crmcom.swap.set "swap.set" is no name of a member`}},
		{func(s *Settings) { s.Swap.Set = "services_to_add_set" }, []string{"crmcom.swap.set must not be services_to_add_set, which is another parameter"}},
		{func(s *Settings) { s.Swap.Set = "udf_string_9" }, []string{"crmcom.swap.set must not be udf_string_9, which is another parameter"}},
		{func(s *Settings) { s.Show = ShowSettings{Path: "a//b", ServicesField: "a b", ProductField: "."} }, []string{
			`crmcom.show.path "a//b" is no path such as subscriptions/show`,
			`crmcom.show.services_field "a b" is no name of a member`,
			`crmcom.show.product_field "." is no name of a member`,
		}},
		{func(s *Settings) { s.Actions = ActionsSettings{Path: "a/", SetField: "ü", ReferenceField: "a/b"} }, []string{
			`crmcom.scheduled.path "a/" is no path such as subscriptions/show`,
			`crmcom.scheduled.reference_field "a/b" is no name of a member`,
			`crmcom.scheduled.set_field "ü" is no name of a member`,
		}},

		{func(s *Settings) { s.SettleAfter, s.GiveUpAfter = 10*time.Second, 10*time.Second+1 }, nil},
		{func(s *Settings) { s.SettleAfter = 10*time.Second - 1 }, []string{
			"crmcom.settle_after is 9.999999999s: it must be at least the call time-out, 10s, since a call may still be under way until then"}},
		{func(s *Settings) { s.SettleAfter, s.GiveUpAfter = time.Hour, time.Hour }, []string{"crmcom.give_up_after is 1h0m0s: it must be more than settle_after, 1h0m0s"}},
		{func(s *Settings) { s.SettleAfter = -1 }, []string{
			"crmcom.settle_after is -1ns: it must be at least the call time-out, 10s, since a call may still be under way until then"}},

		{func(s *Settings) { s.Release, s.TimeZone, s.Reference.Format, s.Swap.Carrier = "x", "x", "x", "x" }, []string{
			`crmcom.release "x" is no release such as R14.1.0`, `crmcom.time_zone "x" is no IANA name of a time zone`,
			`crmcom.reference.format "x" must hold {cid} or {CID} once, and else letters, digits and _ . : / -`,
			`crmcom.swap.carrier "x" is neither amend nor method`,
		}},
	} {
		s := settings(base)
		c.change(&s)
		if diff := cmp.Diff(c.want, problemsOf(t, s, NetflixSettings{})); diff != "" {
			t.Errorf("%s", diff)
		}
	}
}

func TestNetflixSettings(t *testing.T) {
	for _, c := range []struct {
		change func(n *NetflixSettings)
		want   []string
	}{
		{func(*NetflixSettings) {}, nil},
		{func(n *NetflixSettings) { n.CancelPath = "netflix/subscriptions/cancel" }, nil},
		{func(n *NetflixSettings) { n.CancelPath = "https://else.example/x" }, []string{`netflix.cancel_path "https://else.example/x" is no path such as subscriptions/show`}},
		{func(n *NetflixSettings) { n.TokenField = "data.token" }, []string{`netflix.token_field "data.token" is no name of a member`}},
		{func(n *NetflixSettings) { n.SettleAfter = time.Second }, []string{
			"netflix.settle_after is 1s: it must be at least the call time-out, 10s, since a call may still be under way until then"}},
		{func(n *NetflixSettings) { n.SettleAfter, n.GiveUpAfter = time.Hour, time.Minute }, []string{"netflix.give_up_after is 1m0s: it must be more than settle_after, 1h0m0s"}},
		{func(n *NetflixSettings) { n.AcceptedStates, n.DeclinedStates = []string{}, []string{"DECLINED", ""} }, []string{
			"netflix.declined_states holds an empty text, which is no state"}},
		{func(n *NetflixSettings) {
			n.AcceptedStates, n.DeclinedStates = []string{"APPROVED", "PENDING"}, []string{"PENDING"}
		}, []string{
			"netflix.accepted_states must not hold PENDING, which every charge begins with", "netflix.declined_states must not hold PENDING, which every charge begins with"}},
		{func(n *NetflixSettings) {
			n.AcceptedStates, n.DeclinedStates = []string{"APPROVED", "DECLINED"}, []string{"DECLINED"}
		}, []string{
			"netflix.accepted_states and netflix.declined_states both hold DECLINED"}},
		{func(n *NetflixSettings) { n.Charges = ChargesSettings{PageSize: 2, MaxPages: 1, Interval: 1} }, nil},
		{func(n *NetflixSettings) {
			n.Charges = ChargesSettings{PageSize: 1, MaxPages: -1, Interval: -1, SetField: "a.b", FailedField: "c d"}
		}, []string{
			"netflix.charges.page_size is 1: it must be from 2, since pages overlap by one, to 50", "netflix.charges.max_pages is -1: it must be at least 1",
			"netflix.charges.interval is -1ns: it must be positive", `netflix.charges.set_field "a.b" is no name of a member`, `netflix.charges.failed_field "c d" is no name of a member`}},
		{func(n *NetflixSettings) { n.Charges.PageSize = 51 }, []string{"netflix.charges.page_size is 51: it must be from 2, since pages overlap by one, to 50"}},
	} {
		var n NetflixSettings
		c.change(&n)
		if diff := cmp.Diff(c.want, problemsOf(t, settings(base), n)); diff != "" {
			t.Errorf("%s", diff)
		}
	}
	s := settings(base)
	s.Release = "x"
	if diff := cmp.Diff([]string{`crmcom.release "x" is no release such as R14.1.0`, "netflix.charges.page_size is 51: it must be from 2, since pages overlap by one, to 50"},
		problemsOf(t, s, NetflixSettings{Charges: ChargesSettings{PageSize: 51}})); diff != "" {
		t.Error(diff)
	}
}

// What is left out has the default that the field's comment states, and the time-outs follow the call's.
func TestDefaults(t *testing.T) {
	want := Settings{
		Path: "/crmapi/rest/v2", TimeZone: "UTC", TokenLifetime: 2 * time.Hour, TokenMargin: 5 * time.Minute,
		Codes: Codes{
			InvalidToken: []string{"INVALID_TOKEN", "TOKEN_EXPIRED"}, Duplicate: []string{"DUPLICATE_REFERENCE"}, NotFound: []string{"NOT_FOUND"},
			HTTPInvalidToken: []int{401},
		},
		Reference: Reference{Format: "{cid}"},
		Amend: AmendSettings{Path: "subscriptions/amend", RejectedStates: []string{"REJECTED", "REJECTEDSYSTEMFAILURE", "REJECTEDSYSTEMVALIDATION", "CANCELLED"},
			UnclearStates: []string{"EXECUTEDWITHERRORS", "PENDING_VERIFICATION"}},
		Swap:        SwapSettings{Carrier: "amend", Set: "services_to_swap_set", Path: "subscriptions/swap_services"},
		Show:        ShowSettings{Path: "subscriptions/show", ServicesField: "termed_services_set", ProductField: "product"},
		Actions:     ActionsSettings{Path: "subscriptions/actions/get_scheduled", ReferenceField: "transaction_reference_number"},
		SettleAfter: time.Minute, GiveUpAfter: 5 * time.Minute,
	}
	secrets := cmp.AllowUnexported(upstream.Secret{})
	if diff := cmp.Diff(want, Settings{}.WithDefaults(10*time.Second), secrets); diff != "" {
		t.Error(diff)
	}
	yes := true
	netflix := NetflixSettings{
		TokenField: "netflix_token", ReadBack: &yes, SettleAfter: 80 * time.Second, GiveUpAfter: 5 * time.Minute,
		Charges: ChargesSettings{Feed: &yes, Interval: time.Minute, PageSize: 50, MaxPages: 200, SetField: "charges_set", FailedField: "failed_charges_set"},
	}
	if diff := cmp.Diff(netflix, NetflixSettings{}.WithDefaults(40*time.Second)); diff != "" {
		t.Error(diff)
	}
	if got := (Settings{SettleAfter: time.Hour}).WithDefaults(time.Second); got.SettleAfter != time.Hour || got.GiveUpAfter != 2*time.Hour {
		t.Errorf("%s, %s", got.SettleAfter, got.GiveUpAfter)
	}

	no := false
	written := NetflixSettings{ReadBack: &no, SettleAfter: 2, GiveUpAfter: 3, Charges: ChargesSettings{Feed: &no, SendStatus: &no, Interval: 4, PageSize: 5, MaxPages: 6, SetField: "s", FailedField: "f"},
		AcceptedStates: []string{}, DeclinedStates: []string{}, TokenField: "t", CancelPath: "p"}
	if diff := cmp.Diff(written, written.WithDefaults(time.Hour)); diff != "" {
		t.Error(diff)
	}
	empty := Settings{Codes: Codes{InvalidToken: []string{}, Duplicate: []string{}, NotFound: []string{}, HTTPInvalidToken: []int{}},
		Amend: AmendSettings{RejectedStates: []string{}, UnclearStates: []string{}}}.WithDefaults(0)
	if lists := len(empty.Codes.InvalidToken) + len(empty.Codes.Duplicate) + len(empty.Codes.NotFound) + len(empty.Codes.HTTPInvalidToken) +
		len(empty.Amend.RejectedStates) + len(empty.Amend.UnclearStates); lists != 0 {
		t.Errorf("%+v", empty)
	}
}

// What the operator should know is returned, and logged.
func TestWarnings(t *testing.T) {
	const (
		user     = "crmcom.username is set: the vendor recommends a Web API key (crmcom.web_api_key)"
		unproven = "crmcom.reference.enforced is not set: an amend or swap whose reply was lost will be in doubt. Set it once the " +
			"installation has been seen to refuse a transaction_reference_number that was used before"
		swap = "crmcom.swap.confirmed is not set: swaps are refused. They would be sent as services_to_swap_set of subscriptions/amend, which the vendor's pages leave open. Try one at the installation first"
		path = "crmcom.swap.confirmed is not set: swaps are refused. They would be sent by subscriptions/swap_services, which the vendor's pages leave open. Try one at the installation first"
		read = "netflix.read_back is off: a Netflix command whose reply was lost will be in doubt"
	)
	no := false
	for _, c := range []struct {
		change        func(s *Settings, n *NetflixSettings)
		client, other []string
	}{
		{func(*Settings, *NetflixSettings) {}, []string{unproven, swap}, nil},
		{func(s *Settings, _ *NetflixSettings) { s.Swap.Carrier = "method" }, []string{unproven, path}, nil},
		{func(s *Settings, _ *NetflixSettings) { s.Swap.Confirmed = true }, []string{unproven}, nil},
		{func(s *Settings, n *NetflixSettings) { *s, n.ReadBack = enforced(*s), &no }, []string{swap}, []string{read}},
		{func(s *Settings, _ *NetflixSettings) {
			s.WebAPIKey, s.Username, s.Password, s.Organisation = upstream.Secret{}, "u", upstream.NewSecret(secret), "o"
		}, []string{user, unproven, swap}, nil},
	} {
		var log strings.Builder
		s, n := settings(base), NetflixSettings{}
		s.Swap.Confirmed = false
		c.change(&s, &n)
		session, err := NewSession(s)
		if err != nil {
			t.Fatal(err)
		}
		logger := slog.New(slog.NewTextHandler(&log, nil))
		_, own, err := New(s, session, guard(t, upstream.Settings{Logger: logger}))
		if err != nil {
			t.Fatal(err)
		}
		_, other, err := NewNetflix(s, n, session, guard(t, upstream.Settings{Name: events.Netflix, Logger: logger}))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([][]string{c.client, c.other}, [][]string{own, other}); diff != "" {
			t.Error(diff)
		}
		for _, text := range append(own, other...) {
			if !strings.Contains(log.String(), text) {
				t.Errorf("%q is not in the log", text)
			}
		}
		if got := strings.Count(log.String(), "level=WARN"); got != len(own)+len(other) {
			t.Errorf("%d warnings:\n%s", got, &log)
		}
	}
}

// The clients know how long their doubts are settled, and by what.
func TestSettling(t *testing.T) {
	no := false
	s := settings(base)
	s.SettleAfter, s.GiveUpAfter = 31*time.Second, 32*time.Second
	b := clients(t, enforced(s), NetflixSettings{SettleAfter: 33 * time.Second, GiveUpAfter: 34 * time.Second, ReadBack: &no}, upstream.Settings{})
	if !b.client.Enforced() || b.netflix.ReadBack() {
		t.Errorf("%t, %t", b.client.Enforced(), b.netflix.ReadBack())
	}
	want := []time.Duration{s.SettleAfter, s.GiveUpAfter, 33 * time.Second, 34 * time.Second}
	if diff := cmp.Diff(want, []time.Duration{b.client.SettleAfter(), b.client.GiveUpAfter(), b.netflix.SettleAfter(), b.netflix.GiveUpAfter()}); diff != "" {
		t.Error(diff)
	}
	b = clients(t, settings(base), NetflixSettings{}, upstream.Settings{CallTimeout: 45 * time.Second, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if b.client.Enforced() || !b.netflix.ReadBack() || b.client.SettleAfter() != 90*time.Second || b.netflix.SettleAfter() != 90*time.Second {
		t.Errorf("%+v, %+v", b.client, b.netflix)
	}
}

// What is wrong with the login is named too.
func TestSessionSettings(t *testing.T) {
	user := func(change func(s *Settings)) Settings {
		s := Settings{Username: "u", Password: upstream.NewSecret(secret), Organisation: "o"}
		change(&s)
		return s
	}
	key := func(change func(s *Settings)) Settings {
		s := settings(base)
		change(&s)
		return s
	}
	const two = "crmcom.web_api_key and crmcom.username, crmcom.password, crmcom.organisation are two ways to log in: set one"
	for _, c := range []struct {
		settings Settings
		want     string
	}{
		{key(func(*Settings) {}), ""},
		{user(func(*Settings) {}), ""},
		{Settings{}, "crmcom.web_api_key is missing (or crmcom.username, crmcom.password and crmcom.organisation)"},
		{key(func(s *Settings) { s.Username = "u" }), two},
		{key(func(s *Settings) { s.Password = upstream.NewSecret(secret) }), two},
		{key(func(s *Settings) { s.Organisation = "o" }), two},
		{key(func(s *Settings) { s.WebAPIKey = upstream.NewSecret("0123:4567") }), "crmcom.web_api_key must not hold a colon: it is sent as the user name of HTTP Basic"},
		{key(func(s *Settings) { s.WebAPIKey = upstream.NewSecret("123") }), "crmcom.web_api_key has fewer than 4 characters, which is too short to be kept out of logs"},
		{user(func(s *Settings) { s.Username = "" }), "crmcom.username is missing"},
		{user(func(s *Settings) { s.Organisation = "" }), "crmcom.organisation is missing"},
		{user(func(s *Settings) { s.Password = upstream.Secret{} }), "crmcom.password is missing"},
		{user(func(s *Settings) { s.Password = upstream.NewSecret("x") }), "crmcom.password has fewer than 4 characters, which is too short to be kept out of logs"},
		{Settings{Username: "u"}, "crmcom.organisation is missing\ncrmcom.password is missing"},
		{key(func(s *Settings) { s.Path = "crmapi" }), `crmcom.path "crmapi" must begin with a slash`},
		{key(func(s *Settings) { s.Path = "/" }), `crmcom.path "" is no path such as subscriptions/show`},
		{key(func(s *Settings) { s.Path = "/a/../b" }), `crmcom.path "a/../b" is no path such as subscriptions/show`},
		{key(func(s *Settings) { s.Path = "/api/v3/" }), ""},
		{key(func(s *Settings) { s.TokenLifetime, s.TokenMargin = time.Hour, time.Hour }),
			"crmcom.token_lifetime is 1h0m0s: it must be more than crmcom.token_margin, 1h0m0s, which must not be negative"},
		{key(func(s *Settings) { s.TokenMargin = -1 }), "crmcom.token_lifetime is 2h0m0s: it must be more than crmcom.token_margin, -1ns, which must not be negative"},
		{key(func(s *Settings) { s.WebAPIKey, s.Path, s.TokenLifetime = upstream.NewSecret("1:2"), "x", 1 }), "crmcom.web_api_key has fewer than 4 characters, which is too short to be kept out of logs\n" +
			"crmcom.web_api_key must not hold a colon: it is sent as the user name of HTTP Basic\n" + `crmcom.path "x" must begin with a slash` + "\n" +
			"crmcom.token_lifetime is 1ns: it must be more than crmcom.token_margin, 5m0s, which must not be negative"},
	} {
		_, err := NewSession(c.settings)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Error(diff)
		}
	}
}
