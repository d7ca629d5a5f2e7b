package crmcom

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

var aCreation = &events.NetflixCreateData{BillingSystemCustomerIdentifier: "cust-77"}

// Replies of every shape to a creation. An OK without a token is no success: it would be lost without a word.
func TestCreateNetflix(t *testing.T) {
	without := func(field string) outcome {
		return outcome{Kind: "unknown", Code: events.CodeUnreadable, Message: "CRM.COM answered OK, but without " + field + ": is netflix.token_field right?"}
	}
	for name, c := range map[string]struct {
		data  string
		field string
		token string
		want  outcome
	}{
		"the reference's example": {data: `{"netflix_token":"BgiExample..."}`, token: "BgiExample..."},
		"with other members":      {data: `{"number":"S1","netflix_token":"B","url":null}`, token: "B"},
		"in an array":             {data: `[{"netflix_token":"B"}]`, token: "B"},
		"a number":                {data: `{"netflix_token":12345678901234567890}`, token: "12345678901234567890"},
		"under another name":      {data: `{"token":"B","netflix_token":"C"}`, field: "token", token: "B"},
		"two in an array":         {data: `[{"netflix_token":"B"},{"netflix_token":"C"}]`, want: without("netflix_token")},
		"null":                    {data: `null`, want: without("netflix_token")},
		"nothing":                 {data: `{}`, want: without("netflix_token")},
		"no items":                {data: `[]`, want: without("netflix_token")},
		"a token that is null":    {data: `{"netflix_token":null}`, want: without("netflix_token")},
		"an empty token":          {data: `{"netflix_token":""}`, want: without("netflix_token")},
		"an object":               {data: `{"netflix_token":{"value":"B"}}`, want: without("netflix_token")},
		"a token twice":           {data: `{"netflix_token":"B","netflix_token":"C"}`, want: without("netflix_token")},
		"not the name":            {data: `{"netflix_token":"B"}`, field: "token", want: without("token")},
	} {
		t.Run(name, func(t *testing.T) {
			s := settings(serve(t, &installation{t: t, answer: data(c.data)}))
			b := clients(t, s, NetflixSettings{TokenField: c.field}, upstream.Settings{})
			token, err := b.netflix.CreateNetflix(t.Context(), aCreation)
			like(t, c.want, err)
			if token != c.token {
				t.Errorf("%q", token)
			}
			if err != nil && strings.Contains(err.Error(), `"B"`) {
				t.Errorf("the error shows a token: %v", err)
			}
		})
	}
}

// Setting a state succeeds whatever data an OK has.
func TestSetNetflix(t *testing.T) {
	kinds := []events.Kind{events.NetflixSuspend, events.NetflixUnsuspend, events.NetflixCancel}
	for _, text := range []string{`{}`, `[]`, `null`, `{"x":1}`, `[7]`} {
		s := settings(serve(t, &installation{t: t, answer: data(text)}))
		b := clients(t, s, NetflixSettings{CancelPath: "netflix/subscriptions/cancel"}, upstream.Settings{})
		for _, kind := range kinds {
			like(t, outcome{}, b.netflix.CheckState(kind))
			like(t, outcome{}, b.netflix.SetNetflix(t.Context(), kind, "cust-77"))
		}
	}
	b := against(t, settings(""), func(http.ResponseWriter, *http.Request, map[string]any) { t.Error("a call was made") })
	for _, kind := range []events.Kind{events.NetflixCancel, events.NetflixCreate, events.Amend} {
		want := outcome{Kind: "refused", Code: events.CodeNotConfigured, Message: string(kind) + " has no method: netflix.cancel_path is not set"}
		like(t, want, b.netflix.CheckState(kind))
		like(t, want, b.netflix.SetNetflix(t.Context(), kind, "cust-77"))
	}
}

// A duplicate of what carries no reference of ours is a refusal, of the upstream's own.
func TestNetflixPlainConflict(t *testing.T) {
	b := against(t, settings(""), replying(200, coded("DUPLICATE_REFERENCE", "there is one")))
	want := outcome{Kind: "refused", Code: events.CodeRefused, Said: "DUPLICATE_REFERENCE", Message: "CRM.COM answered DUPLICATE_REFERENCE: there is one"}
	_, err := b.netflix.CreateNetflix(t.Context(), aCreation)
	like(t, want, err)
	like(t, want, b.netflix.SetNetflix(t.Context(), events.NetflixSuspend, "cust-77"))

	b = against(t, settings(""), replying(200, coded("NOT_FOUND", "no such customer")))
	want = outcome{Kind: "refused", Code: events.CodeNotFound, Said: "NOT_FOUND", Message: "CRM.COM answered NOT_FOUND: no such customer"}
	like(t, want, b.netflix.SetNetflix(t.Context(), events.NetflixSuspend, "cust-77"))
}

// The limits of a creation, and the release, are checked before a call.
func TestCheckCreate(t *testing.T) {
	refusedFor := func(message string) outcome {
		return outcome{Kind: "refused", Code: events.CodeRequestNotPossible, Message: message}
	}
	const (
		noChannel = "channel is none of WEB, STORE, MOBILE, BROADBAND, OTHER"
		noTime    = "validity_duration is not from 1 to 86400 seconds"
	)
	b := against(t, settings(""), nil)
	for text, want := range map[string]outcome{
		`{}`: {},
		`{"channel":"WEB","validity_duration":1}`:       {},
		`{"channel":"STORE","validity_duration":86400}`: {},
		`{"channel":"MOBILE"}`:                          {},
		`{"channel":"BROADBAND"}`:                       {},
		`{"channel":"OTHER"}`:                           {},
		`{"channel":"web"}`:                             refusedFor(noChannel),
		`{"channel":"WEB,STORE"}`:                       refusedFor(noChannel),
		`{"validity_duration":0}`:                       refusedFor(noTime),
		`{"validity_duration":-1}`:                      refusedFor(noTime),
		`{"validity_duration":86401}`:                   refusedFor(noTime),
		`{"channel":"FAX","validity_duration":86401}`:   refusedFor(noChannel),
		`{"customer_address":{"type":"HOME"}}`:          {}, // R14.3.0
		`{"customer_address":{"type":"","is_primary":true}}`: {Kind: "refused", Code: events.CodeRelease,
			Message: "the installed release R14.3.0 does not know customer_address.is_primary (from R16.1.0); see crmcom.release"},
	} {
		t.Run(text, func(t *testing.T) {
			like(t, want, b.netflix.CheckCreate(decode[events.NetflixCreateData](t, text)))
		})
	}
}

func day(text string) *time.Time {
	d, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return &d
}

// Replies of every shape to subscriptions/show.
func TestNetflixSubscriptions(t *testing.T) {
	failed := func(why string) outcome {
		return outcome{Kind: "unavailable", Code: events.CodeRead, Message: "reading the Netflix subscriptions: " + why}
	}
	one := events.NetflixSubscription{SubscriptionNumber: "S0000000901", NetflixState: "EFFECTIVE", LifeCycleState: "EFFECTIVE"}
	priced := one
	priced.Prices = []string{"EUR 9.99"}
	state := func(text string) []events.NetflixSubscription {
		return []events.NetflixSubscription{{SubscriptionNumber: "S1", NetflixState: text}}
	}
	for name, c := range map[string]struct {
		data string
		want []events.NetflixSubscription
		err  outcome
	}{
		"the reference's example": {`[{"subscription_number":"S0000000901","netflix_sate":"EFFECTIVE","life_cycle_state":"EFFECTIVE",
			"promotions_set":[],"prices_set":[{"FormattedPrice":"EUR 9.99"}]}]`, []events.NetflixSubscription{priced}, outcome{}},
		"an object":           {`{"subscription_number":"S0000000901","netflix_sate":"EFFECTIVE","life_cycle_state":"EFFECTIVE"}`, []events.NetflixSubscription{one}, outcome{}},
		"null":                {`null`, nil, outcome{}},
		"nothing":             {`{}`, nil, outcome{}},
		"no items":            {`[]`, nil, outcome{}},
		"as it should be":     {`[{"subscription_number":"S1","netflix_state":"NOT_EFFECTIVE"}]`, state("NOT_EFFECTIVE"), outcome{}},
		"as it is documented": {`[{"subscription_number":"S1","netflix_sate":"NOT_EFFECTIVE"}]`, state("NOT_EFFECTIVE"), outcome{}},
		"both, alike":         {`[{"subscription_number":"S1","netflix_sate":"EFFECTIVE","netflix_state":"EFFECTIVE"}]`, state("EFFECTIVE"), outcome{}},
		"one of them null":    {`[{"subscription_number":"S1","netflix_sate":null,"netflix_state":"EFFECTIVE"}]`, state("EFFECTIVE"), outcome{}},
		"the other one null":  {`[{"subscription_number":"S1","netflix_sate":"EFFECTIVE","netflix_state":null}]`, state("EFFECTIVE"), outcome{}},
		"neither":             {`[{"subscription_number":"S1"}]`, state(""), outcome{}},
		"a number":            {`[{"subscription_number":901}]`, []events.NetflixSubscription{{SubscriptionNumber: "901"}}, outcome{}},
		"a state alone":       {`{"life_cycle_state":"CANCELLED"}`, []events.NetflixSubscription{{LifeCycleState: "CANCELLED"}}, outcome{}},
		"several": {`[{"subscription_number":"S1","netflix_sate":"NOT_EFFECTIVE","life_cycle_state":"CANCELLED"},{"subscription_number":"S2","netflix_sate":"EFFECTIVE"}]`,
			[]events.NetflixSubscription{{SubscriptionNumber: "S1", NetflixState: "NOT_EFFECTIVE", LifeCycleState: "CANCELLED"}, {SubscriptionNumber: "S2", NetflixState: "EFFECTIVE"}}, outcome{}},
		"promotions and prices": {`[{"subscription_number":"S1","promotions_set":[{"code":14,"name":"Spring","description":null,"effective_from":"2017-01-01T00:00:00","expires_on":null}],
			"prices_set":[{"FormattedPrice":"EUR 9.99","currency":"EUR"},{"FormattedPrice":12},{"other":"x"},{"FormattedPrice":null},null,"EUR 1"]}]`,
			[]events.NetflixSubscription{{SubscriptionNumber: "S1", Prices: []string{"EUR 9.99", "12"},
				Promotions: []events.NetflixPromotion{{Code: "14", Name: "Spring", EffectiveFrom: day("2017-01-01T00:00:00Z")}}}}, outcome{}},
		"null sets":                {`[{"subscription_number":"S1","promotions_set":null,"prices_set":null}]`, state(""), outcome{}},
		"sets that cannot be read": {`[{"subscription_number":"S1","netflix_sate":"EFFECTIVE","promotions_set":{},"prices_set":"none"}]`, state("EFFECTIVE"), outcome{}},
		"a promotion that cannot be read": {`[{"subscription_number":"S1","promotions_set":[{"code":"1"},{"code":"2","expires_on":"soon"},{"code":"3"}]}]`,
			[]events.NetflixSubscription{{SubscriptionNumber: "S1", Promotions: []events.NetflixPromotion{{Code: "1"}}}}, outcome{}},
		"a contradiction":        {`[{"subscription_number":"S1","netflix_sate":"EFFECTIVE","netflix_state":"NOT_EFFECTIVE"}]`, nil, failed("netflix_sate and netflix_state contradict each other")},
		"a state twice":          {`[{"netflix_sate":"EFFECTIVE","netflix_sate":"NOT_EFFECTIVE"}]`, nil, failed("one holds a member twice")},
		"a list within":          {`{"subscriptions_set":[{"subscription_number":"S1"}]}`, nil, failed("one names neither its number nor a state")},
		"an item without a name": {`[{"subscription_number":"S1"},{}]`, nil, failed("one names neither its number nor a state")},
		"an item that is null":   {`[null]`, nil, failed("one is no JSON object")},
		"an item that is text":   {`["S1"]`, nil, failed("one is no JSON object")},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := against(t, settings(""), data(c.data)).netflix.NetflixSubscriptions(t.Context(), "cust-77")
			like(t, c.err, err)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Where CRM.COM knows no such customer, there are no subscriptions; for nothing else is that said.
func TestNetflixSubscriptionsOfNobody(t *testing.T) {
	s := settings("")
	s.Codes.NotFound = []string{"NO_CUSTOMER"}
	for _, status := range []int{200, 400, 404, 500} {
		got, err := against(t, s, replying(status, coded("NO_CUSTOMER", ""))).netflix.NetflixSubscriptions(t.Context(), "cust-77")
		like(t, outcome{}, err)
		if got != nil {
			t.Errorf("%d: %v", status, got)
		}
	}
	_, err := against(t, s, replying(200, coded("NOT_FOUND", ""))).netflix.NetflixSubscriptions(t.Context(), "cust-77")
	if err == nil || !strings.Contains(err.Error(), "list the code under crmcom.codes.not_found") {
		t.Errorf("the setting is not named: %v", err)
	}
	for _, answer := range []handle{replying(200, coded("NOT_FOUND", "")), replying(404, ""), replying(404, coded("ELSE", "")), replying(410, "gone")} {
		got, err := against(t, s, answer).netflix.NetflixSubscriptions(t.Context(), "cust-77")
		if events.KindOf(err) != events.Unavailable || got != nil {
			t.Errorf("%v, %v", got, err)
		}
	}
}

// Replies of every shape to promotions/list.
func TestPromotions(t *testing.T) {
	failed := func(why string) outcome {
		return outcome{Kind: "unavailable", Code: events.CodeRead, Message: "reading the Netflix promotions: " + why}
	}
	for name, c := range map[string]struct {
		data string
		want []events.NetflixPromotion
		err  outcome
	}{
		"the reference's example": {`[{"code":"14","name":"Spring","description":null,"effective_from":"2017-01-01T00:00:00","expires_on":null}]`,
			[]events.NetflixPromotion{{Code: "14", Name: "Spring", EffectiveFrom: day("2017-01-01T00:00:00Z")}}, outcome{}},
		"every member": {`[{"code":14,"name":"Spring","description":"three months","effective_from":"2017-01-01T00:00:00Z","expires_on":"2017-03-31"}]`,
			[]events.NetflixPromotion{{Code: "14", Name: "Spring", Description: "three months", EffectiveFrom: day("2017-01-01T00:00:00Z"), ExpiresOn: day("2017-03-31T00:00:00Z")}}, outcome{}},
		"null members":           {`[{"code":"1","name":null,"description":null,"effective_from":null,"expires_on":null},{"code":"2"}]`, []events.NetflixPromotion{{Code: "1"}, {Code: "2"}}, outcome{}},
		"null":                   {`null`, nil, outcome{}},
		"nothing":                {`{}`, nil, outcome{}},
		"no items":               {`[]`, nil, outcome{}},
		"an object":              {`{"promotions_set":[]}`, nil, failed("the list of promotions is no JSON array")},
		"an item that is null":   {`[null]`, nil, failed("a promotion is no JSON object")},
		"a member twice":         {`[{"code":"1","code":"2"}]`, nil, failed("a promotion holds a member twice")},
		"a beginning never":      {`[{"code":"1","effective_from":"soon"}]`, nil, failed("promotion 1: effective_from is no date")},
		"an end never":           {`[{"code":"0"},{"code":"1","expires_on":7}]`, nil, failed("promotion 1: expires_on is no date")},
		"an end that is no text": {`[{"code":"1","expires_on":{}}]`, nil, failed("promotion 1: expires_on is no date")},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := against(t, settings(""), data(c.data)).netflix.Promotions(t.Context())
			like(t, c.err, err)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Every failure of a read is Unavailable, whatever it means for a change; only what speaks of the installation as a whole
// says so.
func TestReadsFail(t *testing.T) {
	reads := map[string]func(t *testing.T, b both) error{
		aSubscription: func(t *testing.T, b both) error {
			_, err := b.client.Subscription(t.Context(), events.SubscriptionIdentifier{Number: "S1"})
			return err
		},
		theScheduled: func(t *testing.T, b both) error {
			_, err := b.client.Scheduled(t.Context(), cid, events.SubscriptionIdentifier{Number: "S1"})
			return err
		},
		theSubscriptions: func(t *testing.T, b both) error {
			_, err := b.netflix.NetflixSubscriptions(t.Context(), "cust-77")
			return err
		},
		thePromotions: func(t *testing.T, b both) error { _, err := b.netflix.Promotions(t.Context()); return err },
		theCharges:    func(t *testing.T, b both) error { _, err := b.netflix.ListCharges(t.Context()); return err },
	}
	reads["found charges"] = func(t *testing.T, b both) error {
		_, err := b.netflix.FindCharges(t.Context(), []string{"1"})
		return err
	}
	const noAnswer = "no answer"
	read := func(said string) outcome { return outcome{Kind: "unavailable", Code: events.CodeRead, Said: said} }
	whole := func(code, said string) outcome {
		return outcome{Kind: "unavailable", Code: code, Upstream: true, Said: said}
	}
	for name, c := range map[string]struct {
		answer handle
		want   outcome
	}{
		"another code":      {replying(200, coded("ELSE", "no")), read("ELSE")},
		"a 400 with a code": {replying(400, coded("ELSE", "no")), read("ELSE")},
		"a 500 with a code": {replying(500, coded("ELSE", "no")), read("500")},
		"a duplicate":       {replying(200, coded("DUPLICATE_REFERENCE", "no")), read("DUPLICATE_REFERENCE")},
		"a 404":             {replying(404, ""), read("404")},
		"a redirect":        {replying(302, ""), read("302")},
		"HTML":              {replying(200, "<html>down</html>"), read("200")},
		"empty":             {replying(200, ""), read("200")},
		"an OK with 500":    {replying(500, `{"data":{},"status":{"code":"OK"}}`), read("500")},
		"an OK with 400":    {replying(400, `{"data":{},"status":{"code":"OK"}}`), read("400")},
		"data in words":     {replying(200, `{"data":"none","status":{"code":"OK"}}`), read("200")},
		"broken off":        {raw("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", false), read("200")},
		"reset":             {raw("", true), read("")},
		noAnswer:            {hang, read("")},
		"throttled":         {replying(429, ""), whole(events.CodeThrottled, "429")},
		"forbidden":         {replying(403, ""), whole(events.CodeUnauthorized, "403")},
		"token refused":     {replying(200, coded("INVALID_TOKEN", "no")), whole(events.CodeUnauthorized, "INVALID_TOKEN")},
	} {
		timeout := 30 * time.Second
		if name == noAnswer {
			timeout = time.Second
		}
		for what, call := range reads {
			t.Run(name+"/"+what, func(t *testing.T) {
				t.Parallel() // to wait for those without an answer together
				err := call(t, within(t, timeout, settings(""), c.answer))
				like(t, c.want, err)
				named := strings.Replace(what, "found charges", theCharges, 1)
				if err != nil && !strings.Contains(err.Error(), "reading "+named+": ") {
					t.Errorf("%v", err)
				}
			})
		}
	}
}
