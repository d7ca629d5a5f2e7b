package main

import (
	"time"

	"subrelay/events"
)

// addWrong sends what can only be refused, each for a reason of its own. It comes early, so that nothing waits for it at
// the end.
func (s *demoScript) addWrong() {
	for _, wrong := range [][]sending{s.wrongRenewals(), s.wrongActions(), s.wrongNetflix(), s.wrongCharges(), s.untimely(), s.unreadable()} {
		for _, what := range wrong {
			s.insert(1, s.at(0.6), what)
		}
	}
}

// fields are data as somebody writes them who has not read the schema.
type fields = map[string]any

func (s *demoScript) wrong(kind events.Kind, why, key string, data any) sending {
	return sending{event: s.event(kind, "wrong-"+string(kind)+"-"+why, key, data)}
}

func (s *demoScript) wrongRenewals() []sending {
	c := s.customers
	return []sending{
		s.wrong(events.Renew, "both", c[2], fields{"customer_mapping_id": c[2], "months": 1, "days": 1}),
		s.wrong(events.Renew, "nothing", c[3], fields{"customer_mapping_id": c[3]}),
		s.wrong(events.Renew, "credential", c[4], fields{"customer_mapping_id": c[4], "months": 1, "authToken": "a-secret"}),
		s.wrong(events.Renew, "customer", "C-00000", events.RenewData{CustomerMappingID: "C-00000", Months: 1}),
		s.wrong(events.Renew, "key", c[5], events.RenewData{CustomerMappingID: c[6], Months: 1}),
	}
}

// wrongActions break the groups of the parameters, the release, the key, and what CRM.COM knows.
func (s *demoScript) wrongActions() []sending {
	number, other := s.contracts[0].number, s.contracts[1].number
	id := fields{"number": number}
	kids := []fields{{"service_identifier": fields{"code": "KIDS"}}}
	unknown := demoContract{number: "S0000000000"}
	return []sending{
		s.wrong(events.Amend, "both", number, fields{
			"subscription_identifier": id, "accounts_receivable_identifier": fields{"number": "A1"}, "services_to_add_set": kids}),
		s.wrong(events.Amend, "nothing", number, fields{"subscription_identifier": id}),
		s.wrong(events.Amend, "release", number, fields{
			"subscription_identifier": id, "classification_identifier": fields{"name": "GIFT"}, "services_to_add_set": kids}),
		s.wrong(events.Amend, "key", other, fields{"subscription_identifier": id, "services_to_add_set": kids}),
		s.wrong(events.Amend, "subscription", unknown.number, fields{
			"subscription_identifier": fields{"number": unknown.number}, "services_to_add_set": kids}),
		s.wrong(events.Swap, "from", number, fields{"subscription_identifier": id, "services_to_swap_set": []fields{{
			"from_service": fields{"subscription_service_id": "1", "service_identifier": fields{"code": "INTERNET_100"}},
			"to_service":   fields{"service_identifier": fields{"code": "INTERNET_200"}}}}}),
		s.wrong(events.Swap, "service", number, swapOf(s.contracts[0].action(), "DIAL_UP", "INTERNET_200")),
	}
}

func (s *demoScript) wrongNetflix() []sending {
	const stranger = "C-00000"
	customer := s.customers[len(s.customers)-1]
	who := func(customer string) fields { return fields{"billing_system_customer_identifier": customer} }
	long, promised := who(customer), who(stranger)
	long["validity_duration"] = events.MaxValidity + 1
	promised["promotion_code"] = "NO-SUCH"
	return []sending{
		s.wrong(events.NetflixCreate, "validity", customer, long),
		s.wrong(events.NetflixCreate, "promotion", stranger, promised),
		s.wrong(events.NetflixSuspend, "customer", stranger, who(stranger)),
		s.wrong(events.NetflixUnsuspend, "key", stranger, who(customer)),
		s.wrong(events.NetflixCancel, "not-configured", customer, who(customer)),
	}
}

func (s *demoScript) wrongCharges() []sending {
	customer := s.customers[0]
	charge := events.NetflixCharge{Number: "I99999999", BillingSystemCustomerIdentifier: customer}
	return []sending{
		s.wrong(events.NetflixAcknowledge, "empty", customer, fields{"charges_set": []fields{}}),
		s.wrong(events.NetflixAcknowledge, "twice", customer, chargesOf(charge, charge)),
		s.wrong(events.NetflixAccept, "charge", customer, chargesOf(charge)),
		s.wrong(events.NetflixDecline, "charge", customer, chargesOf(charge)),
	}
}

// untimely are commands that come too late, or from the future.
func (s *demoScript) untimely() []sending {
	customer := s.customers[1]
	renewal := events.RenewData{CustomerMappingID: customer, Months: 1}
	who := events.NetflixCustomerData{BillingSystemCustomerIdentifier: customer}
	late := []sending{
		s.wrong(events.Renew, "expired", customer, renewal),
		s.wrong(events.Swap, "expired", s.contracts[0].number, swapOf(s.contracts[0].action(), "INTERNET_100", "INTERNET_200")),
		s.wrong(events.NetflixSuspend, "expired", customer, who),
	}
	for i := range late {
		late[i].event.SetExtension(events.ExtExpiry, s.began.Add(-time.Minute).UTC().Format(time.RFC3339))
	}
	future := []sending{
		s.wrong(events.Renew, "stale", customer, renewal),
		s.wrong(events.NetflixUnsuspend, "stale", customer, who),
	}
	for i := range future {
		future[i].event.SetTime(s.began.Add(time.Hour))
	}
	return append(late, future...)
}

// unreadable are an id that is used again for something else, and what is no event at all.
func (s *demoScript) unreadable() []sending {
	first := s.sendings[0]
	return []sending{
		{event: s.event(first.kind(), first.event.ID(), first.key(), fields{"something": "else"})},
		{raw: []byte("renew C-10001, please"), subject: s.names.Command(events.Renew, "C-10001")},
	}
}
