package schemas_test

import (
	"strings"

	"subrelay/events"
)

// chapter is what asyncapi.yaml says of a kind.
type chapter struct {
	Kind                            events.Kind
	Title, Singular, Plural         string // "Renewals", "a renewal", "renewals"
	Where, What                     string // what is published on the channel of commands, and on that of outcomes
	Do, Does                        string // title and summary of the command
	Example, EventID, Subject, Body string // an example; Body is its data, in YAML
}

// ID is the kind in the document's own names.
func (c chapter) ID() string {
	name := c.Name()
	return strings.ToLower(name[:1]) + name[1:]
}

// Name is ID with a capital letter.
func (c chapter) Name() string {
	var b strings.Builder
	for part := range strings.SplitSeq(string(c.Kind), "-") {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}

// Data is the example's data as far in as they stand in the document.
func (c chapter) Data() string { return strings.ReplaceAll(c.Body, "\n", "\n              ") }

// wrapped is the text of a channel, with the indentation of the document.
func wrapped(lines ...string) string { return strings.Join(lines, "\n      ") }

const kept = "The stream SUBRELAY_COMMANDS keeps them; those of one key are done in its order."

func everyRecord(plural string) string {
	return wrapped("Every record of "+plural+", republished after the stream SUBRELAY_OUTCOMES has stored it. Subscribe with",
		"wildcards, such as `subrelay.outcome.*.succeeded.>`. Nobody publishes here.")
}

func chapters() []chapter {
	all := []chapter{
		{
			Kind: events.Renew, Title: "Renewals", Singular: "a renewal", Plural: "renewals",
			Where: "Where billing publishes renewals. " + kept, What: everyRecord("every renewal"),
			Do: "Renew a customer", Does: "Adds months or days to a customer's TVMS subscription.",
			Example: "one month", EventID: "inv-42", Subject: "C-10042", Body: "customer_mapping_id: C-10042\nmonths: 1",
		},
		{
			Kind: events.Amend, Title: "Amendments", Singular: "an amendment", Plural: "amendments",
			Do: "Amend a subscription", Does: "Adds and removes services and installed items of a CRM.COM subscription.",
			Example: "one service more and one less", EventID: "ord-981", Subject: "S0000012345",
			Body: "subscription_identifier:\n  number: S0000012345\nservices_to_add_set:\n  - service_identifier:\n      code: SPORTS_PLUS\n" +
				"services_to_remove_set:\n  - service_identifier:\n      code: SPORTS_BASIC",
		},
		{
			Kind: events.Swap, Title: "Swaps", Singular: "a swap", Plural: "swaps",
			Do: "Swap services", Does: "Puts services in the place of others on a CRM.COM subscription; business_classification_code only where " +
				"crmcom.swap.carrier is method.",
			Example: "a faster line", EventID: "ord-982", Subject: "S0000012345",
			Body: "subscription_identifier:\n  number: S0000012345\nservices_to_swap_set:\n  - from_service:\n      service_identifier:\n" +
				"        code: INTERNET_100\n    to_service:\n      service_identifier:\n        code: INTERNET_200",
		},
		{
			Kind: events.NetflixCreate, Title: "Netflix creations", Singular: "a Netflix creation", Plural: "Netflix creations",
			Do: "Create a Netflix subscriber", Does: "Creates a Netflix subscriber; the outcome holds the token for the registration page.",
			Example: "from the web shop", EventID: "ord-983", Subject: "cust-77",
			Body: "billing_system_customer_identifier: cust-77\nchannel: WEB\nvalidity_duration: 3600",
		},
		{
			Kind: events.NetflixSuspend, Title: "Netflix suspensions", Singular: "a Netflix suspension", Plural: "Netflix suspensions",
			Do: "Suspend a Netflix subscriber", Does: "Suspends a customer's Netflix subscription.",
			Example: "a customer", EventID: "dun-12", Subject: "cust-77", Body: "billing_system_customer_identifier: cust-77",
		},
		{
			Kind: events.NetflixUnsuspend, Title: "Ends of Netflix suspensions", Singular: "the end of a Netflix suspension", Plural: "ends of Netflix suspensions",
			Do: "Unsuspend a Netflix subscriber", Does: "Undoes a suspension.",
			Example: "a customer", EventID: "dun-13", Subject: "cust-77", Body: "billing_system_customer_identifier: cust-77",
		},
		{
			Kind: events.NetflixCancel, Title: "Netflix cancellations", Singular: "a Netflix cancellation", Plural: "Netflix cancellations",
			Do: "Cancel a Netflix subscriber", Does: "The vendor's third method of this shape, where the operator has configured its path.",
			Example: "a customer", EventID: "end-14", Subject: "cust-77", Body: "billing_system_customer_identifier: cust-77",
		},
		{
			Kind: events.NetflixAcknowledge, Title: "Acknowledgements of Netflix charges", Singular: "an acknowledgement of Netflix charges", Plural: "acknowledgements of Netflix charges",
			Do: "Acknowledge Netflix charges", Does: "Takes charges off the list of those that were not acknowledged.",
			Example: "one charge", EventID: "ack-I00002706", Subject: "cust-77",
			Body: "charges_set:\n  - number: I00002706\n    billing_system_customer_identifier: cust-77",
		},
		{
			Kind: events.NetflixAccept, Title: "Acceptances of Netflix charges", Singular: "an acceptance of Netflix charges", Plural: "acceptances of Netflix charges",
			Do: "Accept Netflix charges", Does: "Accepts charges that Netflix has not processed yet.",
			Example: "one charge", EventID: "acc-I00002707", Subject: "cust-77",
			Body: "charges_set:\n  - number: I00002707\n    billing_system_customer_identifier: cust-77",
		},
		{
			Kind: events.NetflixDecline, Title: "Refusals of Netflix charges", Singular: "a refusal of Netflix charges", Plural: "refusals of Netflix charges",
			Do: "Decline Netflix charges", Does: "Declines charges that Netflix has not processed yet.",
			Example: "one charge", EventID: "dec-I00002708", Subject: "cust-77",
			Body: "charges_set:\n  - number: I00002708\n    billing_system_customer_identifier: cust-77",
		},
	}
	for i := range all[1:] {
		c := &all[i+1]
		c.Where = wrapped("Where billing publishes "+c.Plural+".", kept)
		c.What = wrapped("Every record of "+c.Plural+", republished after the stream SUBRELAY_OUTCOMES has stored it.", "Nobody publishes here.")
	}
	return all
}

// document is what asyncapi.yaml is written with.
type document struct {
	Kinds    []chapter
	Statuses []paragraph
	Charges  []paragraph
	Queries  []question
}

// question is what asyncapi.yaml says of a query.
type question struct {
	Query          events.QueryName
	Upstream       events.Upstream
	Title, Asks    string
	Request, Reply string // examples, in YAML
}

// ID is the query in the document's own names.
func (q question) ID() string { return chapter{Kind: events.Kind(q.Query)}.ID() }

// Name is ID with a capital letter.
func (q question) Name() string { return chapter{Kind: events.Kind(q.Query)}.Name() }

func questions() []question {
	all := []question{
		{
			Query: events.NetflixPromotionsQuery, Title: "Netflix promotions", Request: "{}",
			Reply: "{promotions: [{code: NF6M, name: Six months, expires_on: '2027-06-30T00:00:00Z'}]}",
		},
		{
			Query: events.NetflixSubscriptionQuery, Title: "Netflix subscriptions", Request: "{customer: cust-77}",
			Reply: "{subscriptions: [{subscription_number: '4711', netflix_state: EFFECTIVE, life_cycle_state: EFFECTIVE, prices: [EUR 9.99]}]}",
		},
		{
			Query: events.SubscriptionQuery, Title: "CRM.COM subscriptions", Request: "{subscription: S0000012345}",
			Reply: "{number: S0000012345, life_cycle_state: EFFECTIVE, services: [{id: '17', life_cycle_state: EFFECTIVE, product: {code: INTERNET_200}}]}",
		},
		{
			Query: events.TVMSCustomerQuery, Title: "TVMS customers", Request: "{customer: C-10042}",
			Reply: "{status: Active, expires_at: '2027-01-31T00:00:00Z'}",
		},
	}
	for i := range all {
		spec, _ := events.QuerySpecOf(all[i].Query)
		all[i].Upstream = spec.Upstream
		all[i].Asks = "'Asks for " + strings.ReplaceAll(spec.Summary, "'", "''") + ".'"
	}
	return all
}

// paragraph is what asyncapi.yaml says of a status, or of a state of charges.
type paragraph struct{ Status, State, Title, Summary string }

func newDocument() document {
	d := document{Kinds: chapters(), Queries: questions()}
	for _, s := range []struct {
		status         events.Status
		title, summary string
	}{
		{events.Started, "An attempt begins", "An attempt is about to call the upstream."},
		{events.Deferred, "An attempt changed nothing", "The attempt is known to have changed nothing; another is due later."},
		{events.InDoubt, "Nobody can tell", "The attempt may have changed something, and nothing could tell; the truth is still owed."},
		{events.Succeeded, "Done", "The effect happened once. Final."},
		{events.Rejected, "Refused", "Nothing happened and nothing will: invalid, or refused by the upstream. Final."},
		{events.Failed, "Given up", "Nothing happened: attempts used up, or a doubt settled as not applied. Final."},
		{events.Expired, "Too late", "Not started before its expirytime. Final."},
		{events.Cancelled, "Withdrawn", "Withdrawn before it started. Final; reserved."},
	} {
		d.Statuses = append(d.Statuses, paragraph{Status: string(s.status), Title: s.title, Summary: s.summary})
	}
	for _, state := range events.ChargeStates() {
		d.Charges = append(d.Charges, paragraph{Status: events.ChargeStatus(state), State: state, Summary: charges[state]})
	}
	return d
}
