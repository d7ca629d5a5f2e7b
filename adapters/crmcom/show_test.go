package crmcom

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
)

var number1 = events.SubscriptionIdentifier{Number: "S1"}

// Replies of every shape to subscriptions/show.
func TestSubscription(t *testing.T) {
	failed := func(why string) outcome {
		return outcome{Kind: "unavailable", Code: events.CodeRead, Message: "reading the subscription: " + why}
	}
	const (
		another    = "the reply is about another one"
		noServices = "the reply has no termed_services_set: is crmcom.show.services_field right?"
		nameless   = "the reply does not say which subscription it is, or in which state"
		noProduct  = "termed_services_set: a service has no product: is crmcom.show.product_field right?"
	)
	empty := events.Subscription{ID: "0F3A", Number: "S1", LifeCycleState: "EFFECTIVE", Services: []events.SubscribedService{}}
	whole := empty
	whole.Services = []events.SubscribedService{
		{ID: "A1B2...", LifeCycleState: "SWAPPED", Product: events.ServiceIdentifier{Code: "INTERNET_100"}},
		{ID: "C3D4...", LifeCycleState: "EFFECTIVE", Product: events.ServiceIdentifier{Code: "INTERNET_200"}},
	}
	with := func(services ...events.SubscribedService) events.Subscription {
		s := empty
		s.Services = services
		return s
	}
	const head = `{"id":"0F3A","number":"S1","life_cycle_state":"EFFECTIVE","termed_services_set":`
	const example = head + `[{"id":"A1B2...","life_cycle_state":"SWAPPED","product":{"code":"INTERNET_100"}},
		{"id":"C3D4...","life_cycle_state":"EFFECTIVE","product":{"code":"INTERNET_200"}}]}`
	for name, c := range map[string]struct {
		data string
		want events.Subscription
		err  outcome
	}{
		"the reference's example": {example, whole, outcome{}},
		"in an array":             {`[` + example + `]`, whole, outcome{}},
		"no services":             {head + `[]}`, empty, outcome{}},
		"services that are null":  {head + `null}`, empty, outcome{}},
		"every identifier": {head + `[{"id":7,"life_cycle_state":"SHIRT_TERM_EFFECTIVE","first_activated_date":null,"product":{"id":"P","code":1,"alternative_code":"ALT","name":"x"}}]}`,
			with(events.SubscribedService{ID: "7", LifeCycleState: "SHIRT_TERM_EFFECTIVE", Product: events.ServiceIdentifier{ID: "P", Code: "1", AlternativeCode: "ALT"}}), outcome{}},
		"a service without id": {head + `[{"life_cycle_state":"IN_RESTING","product":{"id":"P","code":null}}]}`,
			with(events.SubscribedService{LifeCycleState: "IN_RESTING", Product: events.ServiceIdentifier{ID: "P"}}), outcome{}},
		"by number alone": {`{"number":"S1","life_cycle_state":"CANCELLED","termed_services_set":[]}`,
			events.Subscription{Number: "S1", LifeCycleState: "CANCELLED", Services: []events.SubscribedService{}}, outcome{}},
		"by id alone": {`{"id":1,"number":null,"life_cycle_state":"PENDING_VERIFICATION","termed_services_set":[]}`,
			events.Subscription{ID: "1", LifeCycleState: "PENDING_VERIFICATION", Services: []events.SubscribedService{}}, outcome{}},

		"another":                 {strings.Replace(example, "S1", "S2", 1), events.Subscription{}, failed(another)},
		"null":                    {`null`, events.Subscription{}, failed("data is no JSON object")},
		"nothing":                 {`{}`, events.Subscription{}, failed(noServices)},
		"no items":                {`[]`, events.Subscription{}, failed("data is no JSON object")},
		"two":                     {`[` + example + `,` + example + `]`, events.Subscription{}, failed("data is no JSON object")},
		"an array of something":   {`["S1"]`, events.Subscription{}, failed("data is no JSON object")},
		"a member twice":          {`{"id":"1","id":"2"}`, events.Subscription{}, failed("data holds a member twice")},
		"no list":                 {`{"number":"S1","life_cycle_state":"EFFECTIVE"}`, events.Subscription{}, failed(noServices)},
		"no name":                 {`{"life_cycle_state":"EFFECTIVE","termed_services_set":[]}`, events.Subscription{}, failed(nameless)},
		"no state":                {`{"number":"S1","life_cycle_state":null,"termed_services_set":[]}`, events.Subscription{}, failed(nameless)},
		"services as an object":   {head + `{}}`, events.Subscription{}, failed("termed_services_set is no JSON array")},
		"a service as text":       {head + `["A"]}`, events.Subscription{}, failed("termed_services_set: a service is no JSON object")},
		"a service without state": {head + `[{"product":{"code":"A"}}]}`, events.Subscription{}, failed("termed_services_set: a service has no life_cycle_state")},
		"without product":         {head + `[{"life_cycle_state":"EFFECTIVE"}]}`, events.Subscription{}, failed(noProduct)},
		"a product as text":       {head + `[{"life_cycle_state":"EFFECTIVE","product":"A"}]}`, events.Subscription{}, failed(noProduct)},
		"a product without name":  {head + `[{"life_cycle_state":"EFFECTIVE","product":{"name":"A"}}]}`, events.Subscription{}, failed("termed_services_set: a service names no product")},
		"one good, one not":       {head + `[{"life_cycle_state":"EFFECTIVE","product":{"code":"A"}},{}]}`, events.Subscription{}, failed(noProduct)},
		"a code twice":            {head + `[{"life_cycle_state":"EFFECTIVE","product":{"code":"A","code":"B"}}]}`, events.Subscription{}, failed(noProduct)},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := against(t, settings(""), data(c.data)).client.Subscription(t.Context(), number1)
			like(t, c.err, err)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	b := against(t, settings(""), data(example))
	got, err := b.client.Subscription(t.Context(), events.SubscriptionIdentifier{ID: "0F3A"})
	like(t, outcome{}, err)
	if diff := cmp.Diff(whole, got); diff != "" {
		t.Error(diff)
	}
	_, err = b.client.Subscription(t.Context(), events.SubscriptionIdentifier{ID: "0F3B"})
	like(t, failed(another), err)
}

// Where the members have other names, settings say so.
func TestSubscriptionOfOtherNames(t *testing.T) {
	s := settings("")
	s.Show = ShowSettings{Path: "subscriptions/get", ServicesField: "services", ProductField: "service"}
	got, err := against(t, s, data(`{"number":"S1","life_cycle_state":"EFFECTIVE","termed_services_set":7,"services":[{"life_cycle_state":"EFFECTIVE","product":7,"service":{"code":"A"}}]}`)).
		client.Subscription(t.Context(), number1)
	like(t, outcome{}, err)
	want := events.Subscription{Number: "S1", LifeCycleState: "EFFECTIVE",
		Services: []events.SubscribedService{{LifeCycleState: "EFFECTIVE", Product: events.ServiceIdentifier{Code: "A"}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Where CRM.COM says that there is no such subscription, the read is refused; that is no failure of the read.
func TestSubscriptionNotFound(t *testing.T) {
	s := settings("")
	s.Codes.NotFound = []string{"NO_SUBSCRIPTION"}
	for _, status := range []int{200, 400, 404, 500} {
		b := against(t, s, replying(status, coded("NO_SUBSCRIPTION", "none")))
		want := outcome{Kind: "refused", Code: events.CodeNotFound, Said: "NO_SUBSCRIPTION"}
		_, err := b.client.Subscription(t.Context(), number1)
		like(t, want, err)
		_, err = b.client.Scheduled(t.Context(), cid, number1)
		like(t, want, err)
	}
	b := against(t, s, replying(404, coded("NOT_FOUND", "none")))
	_, err := b.client.Subscription(t.Context(), number1)
	like(t, outcome{Kind: "unavailable", Code: events.CodeRead, Said: "NOT_FOUND"}, err)
}

// Replies of every shape to subscriptions/actions/get_scheduled.
func TestScheduled(t *testing.T) {
	failed := func(why string) outcome {
		return outcome{Kind: "unavailable", Code: events.CodeRead, Message: "reading the scheduled actions: " + why}
	}
	const (
		ours     = `{"number":"A9","transaction_reference_number":"` + cid + `","life_cycle_state":"SCHEDULED"}`
		others   = `{"number":"A8","transaction_reference_number":"X","life_cycle_state":"SCHEDULED"}`
		none     = `{"number":"A7","transaction_reference_number":null}`
		bare     = `{"number":"A6"}`
		noList   = "the reply holds no list of them: is crmcom.scheduled.set_field right?"
		noMember = "none shows a transaction_reference_number: is crmcom.scheduled.reference_field right?"
	)
	for name, c := range map[string]struct {
		data  string
		set   string
		field string
		want  bool
		err   outcome
	}{
		"an array":                   {data: `[` + others + `,` + ours + `]`, want: true},
		"an array within":            {data: `{"actions_set":[` + ours + `]}`, want: true},
		"within, beside more":        {data: `{"total":2,"more":null,"actions_set":[` + others + `,` + ours + `]}`, want: true},
		"two arrays within":          {data: `{"a":[` + others + `],"b":[` + ours + `]}`, want: true},
		"a named set":                {data: `{"a":[` + ours + `],"b":{}}`, set: "a", want: true},
		"another set":                {data: `{"a":[` + ours + `],"b":[]}`, set: "b"},
		"a named set that is null":   {data: `{"a":null}`, set: "a"},
		"others":                     {data: `[` + others + `,` + none + `,` + bare + `]`},
		"null":                       {data: `null`},
		"nothing":                    {data: `{}`},
		"no items":                   {data: `[]`},
		"an empty array within":      {data: `{"actions_set":[]}`},
		"part of it":                 {data: `[{"transaction_reference_number":"` + cid[:25] + `"}]`},
		"in capitals":                {data: `[{"transaction_reference_number":"` + strings.ToUpper(cid) + `"}]`},
		"another member":             {data: `[{"reference":"` + cid + `"}]`, field: "reference", want: true},
		"all without":                {data: `[` + bare + `,` + bare + `]`, err: failed(noMember)},
		"all null":                   {data: `[` + none + `,` + none + `]`, err: failed(noMember)},
		"not the member":             {data: `[` + ours + `]`, field: "reference", err: failed("none shows a reference: is crmcom.scheduled.reference_field right?")},
		"no array within":            {data: `{"total":0}`, err: failed(noList)},
		"a single action":            {data: ours, err: failed(noList)},
		"not the set":                {data: `{"a":[` + ours + `]}`, set: "b", err: failed(noList)},
		"a named set that is no set": {data: `{"a":{}}`, set: "a", err: failed("a is no JSON array")},
		"an action as text":          {data: `["` + cid + `"]`, err: failed("an action is no JSON object")},
		"an action twice named":      {data: `[{"transaction_reference_number":"X","transaction_reference_number":"` + cid + `"}]`, err: failed("an action holds a member twice")},
		"a set twice":                {data: `{"a":[],"a":[` + ours + `]}`, err: failed("data holds a member twice")},
	} {
		t.Run(name, func(t *testing.T) {
			s := settings("")
			s.Actions = ActionsSettings{SetField: c.set, ReferenceField: c.field}
			got, err := against(t, s, data(c.data)).client.Scheduled(t.Context(), cid, number1)
			like(t, c.err, err)
			if got != c.want {
				t.Error(got)
			}
		})
	}
}

// What is looked for is the reference that was sent.
func TestScheduledByReference(t *testing.T) {
	var sent any
	s := settings("")
	s.Reference = Reference{Format: "SUB/{CID}", MaxLength: 26}
	b := against(t, s, func(w http.ResponseWriter, r *http.Request, args map[string]any) {
		if r.Method == http.MethodPost {
			sent = args["transaction_reference_number"]
			ok(w, `{}`)
			return
		}
		ok(w, `[{"transaction_reference_number":`+quoted(sent.(string))+`}]`)
	})
	if _, err := b.client.Amend(t.Context(), cid, decode[events.AmendData](t, laterAmend)); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{cid: true, strings.Repeat("z", 26): false} {
		got, err := b.client.Scheduled(t.Context(), id, number1)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", id, got, err)
		}
	}
}

// Where no reference could be seen, nothing is asked.
func TestScheduledWithoutReferences(t *testing.T) {
	unasked := func(http.ResponseWriter, *http.Request, map[string]any) { t.Error("a call was made") }
	s := settings("")
	s.Release = "R13.0.999"
	_, err := against(t, s, unasked).client.Scheduled(t.Context(), cid, number1)
	like(t, outcome{Kind: "unavailable", Code: events.CodeRead, Message: "reading the scheduled actions: actions show no reference before R13.1.0"}, err)
	s.Release, s.Reference.Omit = "R13.1.0", true
	_, err = against(t, s, unasked).client.Scheduled(t.Context(), cid, number1)
	like(t, outcome{Kind: "unavailable", Code: events.CodeRead, Message: "reading the scheduled actions: no reference is sent: crmcom.reference.omit is set"}, err)
	s.Reference.Omit = false
	_, err = against(t, s, data(`[]`)).client.Scheduled(t.Context(), cid, number1)
	like(t, outcome{}, err)
}
