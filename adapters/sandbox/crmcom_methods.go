package sandbox

import (
	"fmt"
	"net/http"
	"slices"

	"subrelay/events"
)

// method is one method of the API.
type method struct {
	path   string // below CRMCOMOptions.Path
	class  string // Writes, Reads or Auth
	verb   string
	params *members
	since  release
	kind   events.Kind // of its entries in the book
	do     func(*CRMCOM, *request) reply
}

// post is a method that changes something, or gives a token.
func post(class, path string, kind events.Kind, since release, do func(*CRMCOM, *request) reply, p *members) method {
	return method{path: path, class: class, verb: http.MethodPost, params: p, since: since, kind: kind, do: do}
}

func get(path string, do func(*CRMCOM, *request) reply, p *members) method {
	return method{path: path, class: Reads, verb: http.MethodGet, params: p, do: do}
}

// vocabulary makes the parameters that an installation knows.
type vocabulary struct {
	installed release
	strict    bool
}

func (k vocabulary) of(list ...member) *members { return known(k.installed, k.strict, list...) }

// method is the parameters of a method. All but those of authentication take a token.
func (k vocabulary) method(list ...member) *members {
	return k.of(append([]member{{name: "token", is: isText, mandatory: true}}, list...)...)
}

// methods is the API as the options want it.
func (k vocabulary) methods(o *CRMCOMOptions) []method {
	fields := member{name: "fields_set", is: isText}
	customer := member{name: "billing_system_customer_identifier", is: isText, mandatory: true}
	subscription := member{name: "subscription_identifier", is: isObject, mandatory: true, of: k.identifier("id", "number")}
	unit := member{name: "unit", is: isText}
	list := []method{
		post(Auth, "authentication/token", "", 0, (*CRMCOM).login, k.of(
			member{name: "username", is: isText, mandatory: true}, member{name: "password", is: isText, mandatory: true},
			member{name: "organisation", is: isText, mandatory: true}, unit)),
		post(Auth, "authentication/web_api_key/token", "", 0, (*CRMCOM).loginByKey, k.of(unit)),
		post(Auth, "authentication/token/release", "", 0, (*CRMCOM).releaseToken, k.method()),
		post(Writes, "subscriptions/amend", events.Amend, 0, (*CRMCOM).act, k.amend(o.SwapSet)),
		post(Writes, o.SwapPath, events.Swap, 0, (*CRMCOM).act, k.swap(o.SwapSet)),
		get("subscriptions/show", (*CRMCOM).show, k.method(subscription, fields)),
		get("subscriptions/actions/get_scheduled", (*CRMCOM).scheduled, k.method(subscription,
			member{name: "behavior_code", is: isText}, member{name: "business_classification_code", is: isText}, fields)),
		get("netflix/promotions/list", (*CRMCOM).promotions, k.method(fields)),
		get("netflix/subscriptions/show", (*CRMCOM).showNetflix, k.method(
			member{name: customer.name, is: isText, either: true}, member{name: "netflix_customer_identifier", is: isText, either: true}, fields)),
		post(Writes, "netflix/subscriptions/create", events.NetflixCreate, 0, (*CRMCOM).createNetflix, k.creation(customer)),
		post(Writes, "netflix/subscriptions/suspend", events.NetflixSuspend, 0, (*CRMCOM).setNetflix, k.method(customer)),
		post(Writes, "netflix/subscriptions/unsuspend", events.NetflixUnsuspend, 0, (*CRMCOM).setNetflix, k.method(customer)),
		get("netflix/charges/list", (*CRMCOM).listCharges, k.method(
			member{name: "number_of_results", is: isNumber, mandatory: true, least: 1, most: maxResults},
			member{name: "offset", is: isNumber, mandatory: true},
			member{name: "charge_status", is: isText, mandatory: true, oneOf: []string{notProcessed, processed}, since: r14_1}, fields)),
		post(Writes, "netflix/charges/acknowledge", events.NetflixAcknowledge, 0, (*CRMCOM).takeCharges, k.charges("acknowledged_charges_set", customer)),
		post(Writes, "netflix/charges/accept", events.NetflixAccept, r14_1, (*CRMCOM).takeCharges, k.charges("accepted_charges_set", customer)),
		post(Writes, "netflix/charges/decline", events.NetflixDecline, r14_1, (*CRMCOM).takeCharges, k.charges("declined_charges_set", customer)),
	}
	if o.CancelPath != "" {
		list = append(list, post(Writes, o.CancelPath, events.NetflixCancel, 0, (*CRMCOM).setNetflix, k.method(customer)))
	}
	return list
}

// identifier is an object of which exactly one member is given.
func (k vocabulary) identifier(names ...string) *members {
	var list []member
	for _, name := range names {
		list = append(list, member{name: name, is: isText, either: true})
	}
	return k.of(list...)
}

// unit is the identifier of a unit, which R18.0.0 made a business unit with a code.
func (k vocabulary) unit() *members {
	return k.of(member{name: "id", is: isText, either: true}, member{name: "name", is: isText, either: true},
		member{name: "alternative_code", is: isText, either: true, until: r18_0}, member{name: "code", is: isText, either: true, since: r18_0})
}

func (k vocabulary) service() member {
	return member{name: "service_identifier", is: isObject, mandatory: true, of: k.identifier("id", "code", "alternative_code")}
}

// account is the identifier of an accounts receivable (vendor: POST subscriptions/change_subscriber,
// access_token_identifier). The customer identification medium of R18.0.0 is not imitated: its members are not known.
func (k vocabulary) account() *members {
	credentials := k.of(member{name: "authentication_code", is: isText}, member{name: "identifier", is: isText}, member{name: "pass_code", is: isText})
	credentials.whole = func(v *value) *refusal {
		code, id, pass := v.get("authentication_code") != nil, v.get("identifier") != nil, v.get("pass_code") != nil
		if code == id || id != pass {
			return &refusal{codeInvalidParameter, "either authentication_code, or identifier and pass_code are to be given"}
		}
		return nil
	}
	return k.of(
		member{name: "id", is: isText, either: true}, member{name: "number", is: isText, either: true},
		member{name: "name", is: isText, either: true},
		member{name: "access_token_identifier", is: isObject, either: true, of: credentials, until: r18_0})
}

// udf is the user defined fields.
func udf(since release) []member {
	var list []member
	for n := range 8 {
		list = append(list, member{name: fmt.Sprintf("udf_string_%d", n+1), is: isText, blank: true, since: since})
	}
	for n := range 4 {
		list = append(list, member{name: fmt.Sprintf("udf_float_%d", n+1), is: isNumber, float: true, since: since},
			member{name: fmt.Sprintf("udf_date_%d", n+1), is: isText, date: true, since: since})
	}
	return list
}

// action is the parameters that actions on subscriptions share, with those of one method.
func (k vocabulary) action(more ...member) *members {
	date := func(name string) member { return member{name: name, is: isText, date: true} }
	list := []member{
		{name: "subscription_identifier", is: isObject, either: true, of: k.identifier("id", "number")},
		{name: "accounts_receivable_identifier", is: isObject, either: true, of: k.account()},
		{name: "action_type_identifier", is: isObject, of: k.identifier("id", "name", "alternative_code"), until: r15_0},
		{name: "sub_action_type_identifier", is: isObject, of: k.identifier("id", "name", "alternative_code"), until: r15_0},
		{name: "classification_identifier", is: isObject, open: true, since: r18_0},
		{name: "payment_gateway_card_identifier", is: isObject, open: true},
		{name: "transaction_reference_number", is: isText},
		{name: "performed_by_user_identifier", is: isObject, open: true},
		{name: "performed_by_unit_identifier", is: isObject, of: k.unit(), since: r14_0},
		date("performed_on"), date("billing_effective_date"), date("billable_period_start_date"), date("scheduled_date"),
		{name: "fields_set", is: isText},
	}
	return k.method(slices.Concat(list, udf(0), more)...)
}

// amend is POST subscriptions/amend, with the set for swaps under the name that the installation has for it.
func (k vocabulary) amend(swapSet string) *members {
	services := k.distribution("services_distribution_set", 0)
	items := k.distribution("installed_items_distribution_set", 0)
	item := member{name: "installed_item_identifier", is: isObject, mandatory: true, of: k.identifier("id", "serial_number", "alternative_code")}
	p := k.action(
		member{name: "services_to_add_set", is: isArray, of: k.of(append(k.terms(), services)...)},
		member{name: "services_to_remove_set", is: isArray, of: k.of(k.service(), services)},
		member{name: "installed_items_to_add_set", is: isArray, of: k.of(item, items)},
		member{name: "installed_items_to_remove_set", is: isArray, of: k.of(item, items)},
		k.swaps(swapSet, false))
	p.anyOf = []string{"services_to_add_set", "services_to_remove_set", "installed_items_to_add_set", "installed_items_to_remove_set", swapSet}
	p.whole = func(v *value) *refusal {
		if v.get("scheduled_date") != nil && v.get("installed_items_to_add_set") != nil {
			return &refusal{codeInvalidParameter, "with scheduled_date no installed_items_to_add_set may be given"}
		}
		return nil
	}
	return p
}

// swap is the swap services method. That it takes subscription_service_swap_parameter is only inferred; the object of
// amend, which has more, is taken as well.
func (k vocabulary) swap(swapSet string) *members {
	return k.action(k.swaps(swapSet, true),
		member{name: "business_classification_code", is: isText, oneOf: []string{"UPGRADE_SERVICE", "DOWNGRADE_SERVICE", "SWITCH_SERVICE"}})
}

// swaps is a set of swaps (seed: amend_subscription_service_swap_parameter).
func (k vocabulary) swaps(name string, mandatory bool) member {
	product := k.service()
	product.mandatory, product.either = false, true
	from := k.of(member{name: "subscription_service_id", is: isText, either: true}, product)
	to := k.of(slices.Concat(k.terms(), udf(r14_3), []member{k.distribution("services_distribution_set", r15_0)})...)
	return member{name: name, is: isArray, mandatory: mandatory, of: k.of(
		member{name: "from_service", is: isObject, mandatory: true, of: from},
		member{name: "to_service", is: isObject, mandatory: true, of: to})}
}

// terms is a service to be added, without its distribution.
func (k vocabulary) terms() []member {
	return []member{
		k.service(),
		{name: "period_billed_in_advance", is: isNumber, least: 1, since: r14_0, until: r15_0},
		{name: "period_billed_in_advance_uot", is: isText, oneOf: []string{"DAYS", "WEEKS", "MONTHS"}, since: r14_0, until: r15_0},
		{name: "components_set", is: isArray, of: k.of(k.service())},
	}
}

func (k vocabulary) distribution(name string, until release) member {
	at := member{name: "provisioning_distributor_identifier", is: isObject, mandatory: true, of: k.identifier("id", "name", "alternative_code")}
	return member{name: name, is: isArray, of: k.of(at), until: until}
}

// creation is POST netflix/subscriptions/create. The page of the address lists more than could be read, and those of the
// e-mail address and the phone are of other methods: further members are taken.
func (k vocabulary) creation(customer member) *members {
	types := func(own ...string) []string {
		return append(own, "CUSTOM1", "CUSTOM2", "CUSTOM3", "CUSTOM4", "CUSTOM5")
	}
	text := func(name string, mandatory bool) member { return member{name: name, is: isText, mandatory: mandatory} }
	primary := member{name: "is_primary", is: isBoolean, since: r16_1}
	andMore := func(list ...member) *members {
		p := k.of(list...)
		p.more = true
		return p
	}
	return k.method(customer, text("promotion_code", false),
		member{name: "channel", is: isText, oneOf: []string{"WEB", "STORE", "MOBILE", "BROADBAND", "OTHER"}},
		member{name: "validity_duration", is: isNumber, least: 1, most: events.MaxValidity},
		text("customer_first_name", false), text("customer_last_name", false),
		member{name: "customer_address", is: isObject, since: r14_2, of: andMore(
			member{name: "type", is: isText, mandatory: true, oneOf: types("HOME", "BUSINESS", "POBOX")}, primary,
			text("postal_code", false), text("street_name", false), text("street_number", false))},
		member{name: "customer_email", is: isObject, of: andMore(append(udf(0),
			member{name: "type", is: isText, oneOf: types("PERSONAL", "BUSINESS")}, text("email_address", true), text("notes", false))...)},
		member{name: "customer_phone", is: isObject, of: andMore(
			member{name: "type", is: isText, mandatory: true, oneOf: types("LANDLINE", "MOBILE", "FAX")}, primary,
			text("number", true), text("area_code", false), text("notes", false),
			member{name: "country_identifier", is: isObject, open: true})},
	)
}

func (k vocabulary) charges(set string, customer member) *members {
	return k.method(member{name: set, is: isArray, mandatory: true, most: events.MaxCharges, of: k.of(
		member{name: "number", is: isText, mandatory: true}, customer, member{name: "reference_number", is: isText})})
}
