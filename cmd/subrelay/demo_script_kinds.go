package main

import (
	"fmt"
	"slices"
	"time"

	"subrelay/events"
)

// renewals are renewals of random customers, by a month or by some days.
func (s *demoScript) renewals(n int) []sending {
	var run []sending
	for range n {
		run = append(run, s.renewal(s.customers[s.random.IntN(len(s.customers))]))
	}
	return run
}

func (s *demoScript) renewal(customer string) sending {
	data := events.RenewData{CustomerMappingID: customer, Months: 1}
	if s.random.IntN(4) == 0 {
		data = events.RenewData{CustomerMappingID: customer, Days: 1 + s.random.IntN(30)}
	}
	return s.order(events.Renew, customer, data)
}

// What subscriptions of CRM.COM are made of: one of the tiers, and any of the extras.
var (
	demoTiers  = []string{"INTERNET_100", "INTERNET_200", "INTERNET_500", "INTERNET_1000"}
	demoExtras = []string{"SPORTS", "CINEMA", "KIDS", "MUSIC"}
)

// demoContract is a subscription of CRM.COM as billing knows it: what every order makes of it, one after the other.
type demoContract struct {
	number string
	tier   string
	extras []string
}

func newDemoContract(number string) *demoContract {
	return &demoContract{number: number, tier: demoTiers[0], extras: []string{demoExtras[0]}}
}

// services are the codes of what is on the subscription.
func (c *demoContract) services() []string { return append([]string{c.tier}, c.extras...) }

func (c *demoContract) action() events.ActionData {
	return events.ActionData{SubscriptionIdentifier: &events.SubscriptionIdentifier{Number: c.number}}
}

// actions are amendments and swaps of random subscriptions. Those of one subscription follow from each other.
func (s *demoScript) actions(n int) []sending {
	var run []sending
	for range n {
		contract := s.contracts[s.random.IntN(len(s.contracts))]
		if s.random.IntN(9) < 4 {
			run = append(run, s.swap(contract))
		} else {
			run = append(run, s.amend(contract))
		}
	}
	return run
}

// swap puts another tier in the place of the present one.
func (s *demoScript) swap(c *demoContract) sending {
	from := c.tier
	for c.tier == from {
		c.tier = demoTiers[s.random.IntN(len(demoTiers))]
	}
	return s.order(events.Swap, c.number, swapOf(c.action(), from, c.tier))
}

func swapOf(action events.ActionData, from, to string) events.SwapData {
	return events.SwapData{ActionData: action, ServicesToSwapSet: []events.ServiceSwap{{
		FromService: events.SwapFrom{ServiceIdentifier: &events.ServiceIdentifier{Code: from}},
		ToService:   events.SwapTo{ServiceIdentifier: events.ServiceIdentifier{Code: to}},
	}}}
}

// amend adds an extra, or removes one that is there. Some are only scheduled.
func (s *demoScript) amend(c *demoContract) sending {
	extra := demoExtras[s.random.IntN(len(demoExtras))]
	if s.random.IntN(12) > 0 {
		return s.amendNow(c, extra)
	}
	data := events.AmendData{ActionData: c.action(), ServicesToAddSet: []events.ServiceToAdd{{ServiceIdentifier: events.ServiceIdentifier{Code: extra}}}}
	nextMonth := s.began.UTC().Truncate(24*time.Hour).AddDate(0, 1, 0)
	data.ScheduledDate = &nextMonth
	return s.order(events.Amend, c.number, data)
}

func (s *demoScript) amendNow(c *demoContract, extra string) sending {
	data, service := events.AmendData{ActionData: c.action()}, events.ServiceIdentifier{Code: extra}
	if at := slices.Index(c.extras, extra); at >= 0 {
		c.extras = slices.Delete(c.extras, at, at+1)
		data.ServicesToRemoveSet = []events.ServiceToRemove{{ServiceIdentifier: service}}
	} else {
		c.extras = append(c.extras, extra)
		data.ServicesToAddSet = []events.ServiceToAdd{{ServiceIdentifier: service}}
	}
	return s.order(events.Amend, c.number, data)
}

// netflix are creations of Netflix subscribers, who are suspended and unsuspended afterwards.
func (s *demoScript) netflix(n int) []sending {
	var run []sending
	var subscribers []string
	suspended := map[string]bool{}
	for range n {
		fresh := len(subscribers) < len(s.customers) && s.random.IntN(3) == 0
		if fresh || len(subscribers) == 0 {
			customer := s.customers[len(subscribers)]
			subscribers = append(subscribers, customer)
			run = append(run, s.order(events.NetflixCreate, customer, s.creation(customer)))
			continue
		}
		customer, kind := subscribers[s.random.IntN(len(subscribers))], events.NetflixSuspend
		if suspended[customer] {
			kind = events.NetflixUnsuspend
		}
		suspended[customer] = !suspended[customer]
		run = append(run, s.order(kind, customer, events.NetflixCustomerData{BillingSystemCustomerIdentifier: customer}))
	}
	return run
}

func (s *demoScript) creation(customer string) events.NetflixCreateData {
	validity := 3600
	return events.NetflixCreateData{
		BillingSystemCustomerIdentifier: customer, Channel: []string{"WEB", "STORE", "MOBILE"}[s.random.IntN(3)], ValidityDuration: &validity,
		CustomerFirstName: "Ada", CustomerLastName: "of " + customer,
		CustomerEmail: &events.NetflixEmail{Type: "PERSONAL", EmailAddress: customer + "@example.org"},
	}
}

// addCharges makes the charges that CRM.COM gets from Netflix: two in three are approved, the others still pending.
func (s *demoScript) addCharges() {
	for n := range max(6, s.f.commands*6/100) {
		c := events.NetflixCharge{
			Number: fmt.Sprintf("I%08d", n+1), BillingSystemCustomerIdentifier: s.customers[s.random.IntN(len(s.customers))],
			Amount: "9.99", Currency: "EUR", ChargeStatus: events.ChargeApproved,
		}
		if n%3 == 2 {
			c.ChargeStatus = events.ChargePending
		}
		s.charges = append(s.charges, c)
	}
}

// answers is how many commands billing answers the charges with: one for each, and another for those that were pending.
func (s *demoScript) answers() int {
	n := 0
	for _, c := range s.charges {
		if n++; c.ChargeStatus == events.ChargePending {
			n++
		}
	}
	return n
}

// answer is what billing makes of a charge, as an event tells of it: it accepts two in three of those that are pending,
// declines the others, and acknowledges what is settled. The id follows from the charge and its state: however often the
// event comes, the command is the same.
func (s *demoScript) answer(c *events.NetflixCharge) sending {
	kind := events.NetflixAcknowledge
	if c.ChargeStatus == events.ChargePending {
		kind = events.NetflixAccept
		if c.Number[len(c.Number)-1]%3 == 0 {
			kind = events.NetflixDecline
		}
	}
	id := fmt.Sprintf("%s-%s-%s", kind, c.Number, events.ChargeStatus(c.ChargeStatus))
	return sending{event: s.event(kind, id, c.BillingSystemCustomerIdentifier, chargesOf(*c))}
}

func chargesOf(charges ...events.NetflixCharge) events.NetflixChargesData {
	var data events.NetflixChargesData
	for _, c := range charges {
		data.ChargesSet = append(data.ChargesSet, events.ChargeIdentifier{
			Number: c.Number, BillingSystemCustomerIdentifier: c.BillingSystemCustomerIdentifier})
	}
	return data
}
