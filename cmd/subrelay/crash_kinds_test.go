package main

import (
	"slices"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// lived is one kind, as the crash points see it: a command of it, and others of its key.
type lived struct {
	kind    events.Kind
	key     string
	data    any                                   // of the command that is struck
	next    func(w *world, id string) event.Event // another of the key, which can be done whatever became of the first
	world   func(t *testing.T, settled bool) *world
	points  []string // those that are tried; nil: all that there are for the kind
	mishaps []string // those that are tried; nil: all
}

// tries reports whether a crash point is tried for this kind. Where a call is settled by repeating it, nothing is
// deferred for having been unclear.
func (l *lived) tries(point string, m mishap) bool {
	if spec, _ := events.SpecOf(events.Specs(), l.kind); spec.Referenced && point == "settled deferral" {
		return false
	}
	return (l.points == nil || slices.Contains(l.points, point)) && (l.mishaps == nil || slices.Contains(l.mishaps, m.name))
}

// What is tried for each kind. Everything is, for one of every sort: renew, which goes on after a doubt; swap, which is
// settled by its reference; netflix-create, which is settled by reading. Both hold their key.
var (
	corePoints  = []string{"started", "result", "result, settled", "settled result", "doubt"}
	readPoints  = append(slices.Clone(corePoints), "settled deferral")
	doubtPoints = []string{"started", "result", "doubt", "doubt without an effect"} // nothing settles netflix-cancel
	deaths      = []string{"dies before", "dies after"}
)

func livedKinds() []lived {
	customer := events.NetflixCustomerData{BillingSystemCustomerIdentifier: "N-1"}
	all := []lived{
		{
			kind: events.Renew, key: "C-1", data: events.RenewData{CustomerMappingID: "C-1", Months: 1}, world: renewing,
			next: func(w *world, id string) event.Event { return w.renewal(id, "C-1") },
		},
		{kind: events.Swap, key: "S-1", data: exchange("A1", "A2"), world: acting, next: nextAction},
		{kind: events.Amend, key: "S-1", data: amendOf("SPORTS"), world: acting, next: nextAction, points: corePoints, mishaps: deaths},
		{
			kind: events.NetflixCreate, key: "N-1", data: events.NetflixCreateData{BillingSystemCustomerIdentifier: "N-1"},
			world: subscribing(""), next: nextCharge,
		},
		{kind: events.NetflixAcknowledge, key: "N-1", data: chargeOf("I-a"), world: subscribing(events.NetflixEffective), next: nextCharge, points: readPoints},
	}
	for _, core := range []lived{
		{kind: events.NetflixSuspend, data: customer, world: subscribing(events.NetflixEffective), points: readPoints},
		{kind: events.NetflixUnsuspend, data: customer, world: subscribing(events.NetflixNotEffective), points: corePoints},
		{kind: events.NetflixCancel, data: customer, world: subscribing(events.NetflixEffective), points: doubtPoints},
		{kind: events.NetflixAccept, data: chargeOf("I-a"), world: subscribing(events.NetflixEffective), points: corePoints},
		{kind: events.NetflixDecline, data: chargeOf("I-a"), world: subscribing(events.NetflixEffective), points: corePoints},
	} {
		core.key, core.next, core.mishaps = "N-1", nextCharge, deaths
		all = append(all, core)
	}
	return all
}

// renewing is a world with TVMS alone.
func renewing(t *testing.T, settled bool) *world {
	cfg := simConfig()
	if settled {
		cfg.withReadBack()
	}
	return newWorld(t, 1, cfg)
}

// acting is a world with the subscription S-1 in it.
func acting(t *testing.T, settled bool) *world {
	cfg := shortConfig()
	cfg.Streams.Partitions = 1 // idle ones take their time too
	cfg.withCRMCOM()
	cfg.Netflix.API.Disabled, cfg.CRMCOM.API.Reference.Enforced = true, settled
	return newWorld(t, 1, cfg, func(o *sandbox.CRMCOMOptions) {
		s := sandbox.Subscription{Number: "S-1"}
		for _, code := range []string{"A1", "B1"} {
			s.Services = append(s.Services, sandbox.Service{Product: coded(code)})
		}
		o.Subscriptions = []sandbox.Subscription{s}
	})
}

// subscribing makes a world with the Netflix customer N-1 in it, who has charges, and a subscription in this state; ""
// for none.
func subscribing(state string) func(t *testing.T, settled bool) *world {
	return func(t *testing.T, settled bool) *world {
		cfg := shortConfig()
		cfg.Streams.Partitions = 1
		cfg.withCRMCOM()
		cfg.Netflix.API.ReadBack, cfg.Netflix.API.CancelPath = &settled, "netflix/subscriptions/cancel"
		return newWorld(t, 1, cfg, func(o *sandbox.CRMCOMOptions) {
			o.CancelPath = cfg.Netflix.API.CancelPath
			if state != "" {
				o.Netflix = []sandbox.NetflixCustomer{{Customer: "N-1", Subscriptions: []events.NetflixSubscription{{NetflixState: state}}}}
			}
			for _, id := range []string{"before", "a", "b", "c"} {
				o.Charges = append(o.Charges, sandbox.Charge{NetflixCharge: events.NetflixCharge{Number: "I-" + id, BillingSystemCustomerIdentifier: "N-1"}})
			}
		})
	}
}

// nextAction is an amendment, for b a swap, of S-1.
func nextAction(w *world, id string) event.Event {
	if id == "b" {
		return w.command(events.Swap, id, "S-1", exchange("B1", "B2"))
	}
	return w.command(events.Amend, id, "S-1", amendOf("MOVIES"))
}

// nextCharge acknowledges a charge of N-1, and for b accepts it.
func nextCharge(w *world, id string) event.Event {
	kind := events.NetflixAcknowledge
	if id == "b" {
		kind = events.NetflixAccept
	}
	return w.command(kind, id, "N-1", chargeOf("I-"+id))
}

func chargeOf(number string) events.NetflixChargesData {
	return events.NetflixChargesData{ChargesSet: []events.ChargeIdentifier{{Number: number, BillingSystemCustomerIdentifier: "N-1"}}}
}

// amendOf adds a service to S-1.
func amendOf(code string) events.AmendData {
	return events.AmendData{
		ActionData:       events.ActionData{SubscriptionIdentifier: &events.SubscriptionIdentifier{Number: "S-1"}},
		ServicesToAddSet: []events.ServiceToAdd{{ServiceIdentifier: coded(code)}},
	}
}

// exchange swaps a service of S-1.
func exchange(from, to string) events.SwapData {
	old := coded(from)
	return events.SwapData{
		ActionData: events.ActionData{SubscriptionIdentifier: &events.SubscriptionIdentifier{Number: "S-1"}},
		ServicesToSwapSet: []events.ServiceSwap{{
			FromService: events.SwapFrom{ServiceIdentifier: &old}, ToService: events.SwapTo{ServiceIdentifier: coded(to)},
		}},
	}
}

// faultsOf is what goes wrong at the upstream of a kind.
func (w *world) faultsOf(kind events.Kind) *sandbox.Faults {
	if kind == events.Renew {
		return w.tvms.Faults()
	}
	return w.crm.Faults()
}
