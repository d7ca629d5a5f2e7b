package main

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// command is a command of any kind.
func (w *world) command(kind events.Kind, id, key string, data any) event.Event {
	w.Helper()
	e := event.New()
	e.SetID(id)
	e.SetSource("test")
	e.SetType(events.CommandType(kind))
	e.SetSubject(key)
	e.SetTime(time.Now())
	if err := e.SetData(event.ApplicationJSON, data); err != nil {
		w.Fatal(err)
	}
	return e
}

// ask sends a random command of one of the kinds of this simulation.
func (w *world) ask() {
	w.Helper()
	key, data := w.anything(w.kinds[w.random.IntN(len(w.kinds))])
	e := w.command(data.kind, fmt.Sprintf("c%d", len(w.sent)), key, data.data)
	if w.random.IntN(20) == 0 {
		e.SetExtension(events.ExtExpiry, time.Now().Add(time.Duration(w.random.IntN(20))*time.Second).UTC().Format(time.RFC3339))
	}
	w.sent = append(w.sent, e)
	w.send(e)
}

// request is the data of a command of a kind.
type request struct {
	kind events.Kind
	data any
}

// How many keys the commands of a simulation are for.
const (
	simCustomers     = 12 // of TVMS
	simSubscriptions = 6
	simSubscribers   = 8 // of Netflix
)

// anything is a random command of a kind. Those of one upstream share their keys. A key stands for what it names: two
// keys for one subscription, or a charge under another key than its customer's, are two orders, which nobody keeps, and
// what is read back would show the other's doing.
func (w *world) anything(kind events.Kind) (key string, r request) {
	r.kind = kind
	switch kind {
	case events.Renew:
		key = "C-" + strconv.Itoa(w.random.IntN(simCustomers))
		r.data = events.RenewData{CustomerMappingID: key, Months: 1}
	case events.Amend:
		var d events.AmendData
		key, d.ActionData = w.anySubscription()
		w.amend(key, &d)
		r.data = d
	case events.Swap:
		var d events.SwapData
		key, d.ActionData = w.anySubscription()
		d.ServicesToSwapSet = w.swaps(key)
		r.data = d
	default:
		key = w.subscriber(kind)
		r.data = w.forNetflix(kind, key)
	}
	return key, r
}

// The subscriptions that are not named by their number.
const (
	simByID      = "0F3A1" // the id of S-BY-ID
	simByAccount = "A-1"   // the account of S-BY-ACCOUNT
)

func (w *world) anySubscription() (key string, d events.ActionData) {
	switch n := w.random.IntN(simSubscriptions + 2); n {
	case simSubscriptions:
		key, d.SubscriptionIdentifier = simByID, &events.SubscriptionIdentifier{ID: simByID}
	case simSubscriptions + 1:
		key, d.AccountsReceivableIdentifier = simByAccount, &events.AccountIdentifier{Number: simByAccount}
	default:
		key = "S-" + strconv.Itoa(n)
		d.SubscriptionIdentifier = &events.SubscriptionIdentifier{Number: key}
	}
	return key, d
}

// putSubscriptions makes those that are not made on sight: which those are is another choice of the simulation.
func (w *world) putSubscriptions(onSight bool) {
	w.Helper()
	services := []sandbox.Service{{Product: coded("INTERNET_100")}, {Product: coded("SPORTS")}}
	list := []sandbox.Subscription{
		{Number: "S-BY-ID", ID: simByID, Services: services},
		{Number: "S-BY-ACCOUNT", Account: &sandbox.Account{Number: simByAccount}, Services: services},
	}
	for n := range simSubscriptions {
		if !onSight {
			list = append(list, sandbox.Subscription{Number: "S-" + strconv.Itoa(n), Services: services})
		}
	}
	if err := w.crm.PutSubscriptions(list...); err != nil {
		w.Fatal(err)
	}
}

// The products that are named. In some simulations CRM.COM has no simNoProduct.
var (
	simSpeeds = []string{"INTERNET_100", "INTERNET_200", "INTERNET_300", simNoProduct}
	simExtras = []string{"SPORTS", "SPORTS", "MOVIES", "KIDS", simNoProduct}
)

const simNoProduct = "GHOST"

func coded(code string) events.ServiceIdentifier { return events.ServiceIdentifier{Code: code} }

func (w *world) oneOf(all ...string) string { return all[w.random.IntN(len(all))] }

// amend fills in what an amendment does: what shows in the services, what does not, and what is to be done later.
func (w *world) amend(key string, d *events.AmendData) {
	extra := func() events.ServiceIdentifier { return coded(w.oneOf(simExtras...)) }
	switch w.random.IntN(10) {
	case 0, 1, 2, 3:
		d.ServicesToAddSet = []events.ServiceToAdd{{ServiceIdentifier: extra()}}
	case 4, 5:
		d.ServicesToRemoveSet = []events.ServiceToRemove{{ServiceIdentifier: w.onIt(key, extra())}}
	case 6:
		d.ServicesToAddSet = []events.ServiceToAdd{{ServiceIdentifier: extra()}}
		d.ServicesToRemoveSet = []events.ServiceToRemove{{ServiceIdentifier: w.onIt(key, extra())}}
	case 7:
		at := events.Distribution{ProvisioningDistributorIdentifier: events.NamedIdentifier{Name: w.oneOf("STB-1", "STB-2")}}
		d.ServicesToAddSet = []events.ServiceToAdd{{ServiceIdentifier: extra(), ServicesDistributionSet: []events.Distribution{at}}}
	case 8:
		item := events.InstalledItem{InstalledItemIdentifier: events.ItemIdentifier{SerialNumber: w.oneOf("X1", "X2")}}
		if w.random.IntN(2) == 0 {
			d.InstalledItemsToAddSet = []events.InstalledItem{item}
		} else {
			d.InstalledItemsToRemoveSet = []events.InstalledItem{item}
		}
	case 9:
		at := time.Now().Add(time.Duration(1+w.random.IntN(600)) * time.Second).UTC().Truncate(time.Second)
		d.ScheduledDate = &at
		d.ServicesToAddSet = []events.ServiceToAdd{{ServiceIdentifier: extra()}}
	}
}

// swaps swaps a product, or an instance of one.
func (w *world) swaps(key string) []events.ServiceSwap {
	from := w.onIt(key, coded(w.oneOf(simSpeeds...)))
	swap := events.ServiceSwap{
		FromService: events.SwapFrom{ServiceIdentifier: &from},
		ToService:   events.SwapTo{ServiceIdentifier: coded(w.oneOf(simSpeeds...))},
	}
	if sub, ok := w.crm.Subscription(key); ok && w.random.IntN(3) == 0 && len(sub.Services) > 0 {
		swap.FromService = events.SwapFrom{SubscriptionServiceID: sub.Services[w.random.IntN(len(sub.Services))].ID}
	}
	return []events.ServiceSwap{swap}
}

// onIt is mostly a product that is on the subscription now, and else any.
func (w *world) onIt(key string, any events.ServiceIdentifier) events.ServiceIdentifier {
	sub, _ := w.crm.Subscription(key)
	for _, i := range w.random.Perm(len(sub.Services)) {
		if s := &sub.Services[i]; s.Live() && w.random.IntN(4) > 0 {
			return s.Product
		}
	}
	return any
}

// putSubscribers makes half of the Netflix customers.
func (w *world) putSubscribers() {
	w.Helper()
	for n := 0; n < simSubscribers; n += 2 {
		state := w.oneOf(events.NetflixEffective, events.NetflixNotEffective)
		err := w.crm.PutNetflix(sandbox.NetflixCustomer{
			Customer: "N-" + strconv.Itoa(n), Subscriptions: []events.NetflixSubscription{{NetflixState: state}},
		})
		if err != nil {
			w.Fatal(err)
		}
	}
}

// subscriber is mostly a customer for whom a command of the kind can be done now, and else any.
func (w *world) subscriber(kind events.Kind) (key string) {
	for range 4 {
		key = "N-" + strconv.Itoa(w.random.IntN(simSubscribers))
		n, _ := w.crm.Netflix(key)
		has := func(state string) bool {
			return slices.ContainsFunc(n.Subscriptions, func(s events.NetflixSubscription) bool {
				return s.LifeCycleState != events.NetflixCancelled && (state == "" || s.NetflixState == state)
			})
		}
		switch {
		case kind == events.NetflixCreate && !has(""), kind == events.NetflixCancel && has(""),
			kind == events.NetflixSuspend && has(events.NetflixEffective), kind == events.NetflixUnsuspend && has(events.NetflixNotEffective):
			return key
		}
	}
	return key
}

func (w *world) forNetflix(kind events.Kind, customer string) any {
	switch kind {
	case events.NetflixCreate:
		return events.NetflixCreateData{BillingSystemCustomerIdentifier: customer, Channel: "WEB", CustomerFirstName: "Annabella"}
	case events.NetflixAcknowledge, events.NetflixAccept, events.NetflixDecline:
		return w.someCharges(customer)
	}
	return events.NetflixCustomerData{BillingSystemCustomerIdentifier: customer}
}

// someCharges names a new charge of the customer, and perhaps a few others.
func (w *world) someCharges(customer string) (d events.NetflixChargesData) {
	w.charge(customer)
	own := w.charges[customer]
	last := len(own) - 1
	for _, i := range append([]int{last}, w.random.Perm(last)[:w.random.IntN(min(3, len(own)))]...) {
		d.ChargesSet = append(d.ChargesSet, events.ChargeIdentifier{Number: own[i], BillingSystemCustomerIdentifier: customer})
	}
	return d
}

// charge makes a charge of a customer. A few fail whatever is done with them.
func (w *world) charge(customer string) {
	w.Helper()
	number := "I" + strconv.Itoa(w.made)
	w.made++
	c := sandbox.Charge{NetflixCharge: events.NetflixCharge{
		Number: number, BillingSystemCustomerIdentifier: customer, Amount: "9.99", Currency: "EUR",
		ChargeStatus: w.oneOf(events.ChargePending, events.ChargePending, events.ChargePending, events.ChargeApproved, events.ChargeRejected),
	}}
	if w.random.IntN(10) == 0 {
		c.Fails = "BLOCKED"
	}
	if err := w.crm.PutCharges(c); err != nil {
		w.Fatal(err)
	}
	w.charges[customer], w.began[number] = append(w.charges[customer], number), c.ChargeStatus
}
