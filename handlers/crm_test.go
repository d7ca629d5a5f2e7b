package handlers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"subrelay/events"
	"subrelay/handlers"
)

// crm is every port of CRM.COM and Netflix on one small book. Calls are answered by script, as those of upstream are;
// reads are answered by upstream.state.
type crm struct {
	*upstream
	services  map[string][]events.SubscribedService // by subscription number
	scheduled map[string]bool                       // cids
	netflix   map[string][]events.NetflixSubscription
	charges   map[string]events.NetflixCharge
	decline   map[string]string // error codes of charges that are not taken
	refuse    error             // what the checks say
	format    string            // what the settings put before a cid to make a reference
	schedules bool              // it says of every amendment that it is scheduled
	onRead    func()            // is called by every read, under the lock
	made      int

	references []string // of every amendment and swap that was sent
}

func newCRM(kind events.Kind) *crm {
	name := events.Netflix
	if kind == events.Amend || kind == events.Swap {
		name = events.CRMCOM
	}
	up := &upstream{name: name, kind: kind, count: map[string]int{}}
	if name == events.CRMCOM {
		up.refs = map[string]bool{}
	}
	return &crm{
		upstream:  up,
		services:  map[string][]events.SubscribedService{"S-1": {service("i1", "INTERNET_100"), service("i2", "SPORTS")}},
		scheduled: map[string]bool{}, netflix: map[string][]events.NetflixSubscription{}, decline: map[string]string{},
		charges: map[string]events.NetflixCharge{},
	}
}

func service(id, code string) events.SubscribedService {
	return events.SubscribedService{ID: id, LifeCycleState: "EFFECTIVE", Product: events.ServiceIdentifier{ID: "p-" + code, Code: code}}
}

// of is whether the subscription has a service like p, and where.
func (c *crm) of(number string, p events.ServiceIdentifier) int {
	return slices.IndexFunc(c.services[number], func(s events.SubscribedService) bool {
		return s.Live() && (p.Code != "" && p.Code == s.Product.Code || p.ID != "" && p.ID == s.Product.ID)
	})
}

func (c *crm) put(number string, p events.ServiceIdentifier) {
	c.made++
	c.services[number] = append(c.services[number], service(fmt.Sprintf("new%d", c.made), p.Code))
}

// retire takes a service off, whose place is i.
func (c *crm) retire(number string, i int, state string) error {
	if i < 0 {
		return &events.Error{Kind: events.Refused, Code: events.CodeRefused, Message: "no such service", UpstreamCode: "NOT_ALLOWED"}
	}
	c.services[number] = slices.Clone(c.services[number]) // a reader may hold it
	c.services[number][i].LifeCycleState = state
	return nil
}

func keyOf(d *events.ActionData) string {
	if s := d.SubscriptionIdentifier; s != nil {
		return s.Number + s.ID
	}
	return d.AccountsReceivableIdentifier.Number
}

func (c *crm) CheckAmend(*events.AmendData) error { return c.refuse }
func (c *crm) CheckSwap(*events.SwapData) error   { return c.refuse }
func (c *crm) Reference(cid string) string        { return c.format + cid }

func (c *crm) Amend(ctx context.Context, reference string, d *events.AmendData) (events.ActionResult, error) {
	key := keyOf(&d.ActionData)
	c.note(reference)
	err := c.do(ctx, key, func() error {
		if d.ScheduledDate != nil {
			c.scheduled[reference] = true
			return nil
		}
		for _, s := range d.ServicesToRemoveSet {
			if err := c.retire(key, c.of(key, s.ServiceIdentifier), "REMOVED"); err != nil {
				return err
			}
		}
		for _, s := range d.ServicesToAddSet {
			c.put(key, s.ServiceIdentifier)
		}
		return nil
	})
	return events.ActionResult{Reference: reference, Scheduled: c.schedules}, err
}

// note keeps under which reference an action was sent.
func (c *crm) note(reference string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.references = append(c.references, reference)
}

func (c *crm) Swap(ctx context.Context, reference string, d *events.SwapData) (events.ActionResult, error) {
	key := keyOf(&d.ActionData)
	c.note(reference)
	err := c.do(ctx, key, func() error {
		for _, s := range d.ServicesToSwapSet {
			i := slices.IndexFunc(c.services[key], func(x events.SubscribedService) bool {
				return x.Live() && x.ID == s.FromService.SubscriptionServiceID
			})
			if s.FromService.ServiceIdentifier != nil {
				i = c.of(key, *s.FromService.ServiceIdentifier)
			}
			if err := c.retire(key, i, "SWAPPED"); err != nil {
				return err
			}
			c.put(key, s.ToService.ServiceIdentifier)
		}
		return nil
	})
	return events.ActionResult{Reference: reference}, err
}

// read answers a read by what upstream.state says of it.
func read[T any](ctx context.Context, c *crm, what func() T) (none T, err error) {
	if _, err := c.state(ctx, ""); err != nil {
		return none, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.onRead != nil {
		c.onRead()
	}
	return what(), nil
}

func (c *crm) Subscription(ctx context.Context, id events.SubscriptionIdentifier) (events.Subscription, error) {
	return read(ctx, c, func() events.Subscription {
		return events.Subscription{ID: "id-" + id.Number, Number: id.Number, LifeCycleState: "EFFECTIVE", Services: slices.Clone(c.services[id.Number])}
	})
}

func (c *crm) Scheduled(ctx context.Context, reference string, _ events.SubscriptionIdentifier) (bool, error) {
	return read(ctx, c, func() bool { return c.scheduled[reference] })
}

func (c *crm) CheckCreate(*events.NetflixCreateData) error { return c.refuse }
func (c *crm) CheckState(events.Kind) error                { return c.refuse }
func (c *crm) CheckCharges(events.Kind) error              { return c.refuse }

func (c *crm) CreateNetflix(ctx context.Context, d *events.NetflixCreateData) (string, error) {
	customer := d.BillingSystemCustomerIdentifier
	err := c.do(ctx, customer, func() error {
		c.made++
		c.netflix[customer] = append(c.netflix[customer], subscriber(fmt.Sprint("N-", c.made), events.NetflixEffective))
		return nil
	})
	return "the-token", err
}

func subscriber(number, state string) events.NetflixSubscription {
	return events.NetflixSubscription{SubscriptionNumber: number, NetflixState: state, LifeCycleState: "EFFECTIVE"}
}

func (c *crm) SetNetflix(ctx context.Context, kind events.Kind, customer string) error {
	return c.do(ctx, customer, func() error {
		state := events.NetflixNotEffective
		if kind == events.NetflixUnsuspend {
			state = events.NetflixEffective
		}
		c.netflix[customer] = slices.Clone(c.netflix[customer])
		for i := range c.netflix[customer] {
			c.netflix[customer][i].NetflixState = state
		}
		return nil
	})
}

func (c *crm) NetflixSubscriptions(ctx context.Context, customer string) ([]events.NetflixSubscription, error) {
	return read(ctx, c, func() []events.NetflixSubscription { return slices.Clone(c.netflix[customer]) })
}

func (c *crm) TakeCharges(ctx context.Context, kind events.Kind, _ string, charges []events.ChargeIdentifier) ([]events.FailedCharge, error) {
	var failed []events.FailedCharge
	err := c.do(ctx, charges[0].BillingSystemCustomerIdentifier, func() error {
		for _, charge := range charges {
			now, listed := c.charges[charge.Number]
			if code := c.decline[charge.Number]; code != "" || !listed {
				failed = append(failed, events.FailedCharge{Number: charge.Number, ErrorCode: code, ErrorDescription: "not taken"})
				continue
			}
			switch kind {
			case events.NetflixAcknowledge:
				delete(c.charges, charge.Number)
			case events.NetflixAccept:
				now.ChargeStatus = "APPROVED"
				c.charges[charge.Number] = now
			default:
				now.ChargeStatus = "DECLINED"
				c.charges[charge.Number] = now
			}
		}
		if len(failed) == len(charges) {
			return errNoneTaken
		}
		return nil
	})
	if err == errNoneTaken {
		err = nil
	}
	return failed, err
}

var errNoneTaken = fmt.Errorf("no charge was taken: no effect")

func (c *crm) FindCharges(ctx context.Context, numbers []string) (map[string]events.NetflixCharge, error) {
	return read(ctx, c, func() map[string]events.NetflixCharge {
		out := maps.Clone(c.charges)
		maps.DeleteFunc(out, func(n string, _ events.NetflixCharge) bool { return !slices.Contains(numbers, n) })
		return out
	})
}

// family is the family of a kind on this upstream. means says whether the operator has confirmed what settling needs.
func (c *crm) family(kind events.Kind, means bool) handlers.Family {
	const after, giveUp = time.Minute, 10 * time.Minute
	var subscriptions handlers.SubscriptionReader
	var netflix handlers.NetflixReader
	var charges handlers.ChargeReader
	if means {
		subscriptions, netflix, charges = c, c, c
	}
	switch kind {
	case events.Amend:
		return handlers.Amend{Amender: c, Reader: subscriptions, SettleAfter: after, GiveUp: giveUp}
	case events.Swap:
		return handlers.Swap{Swapper: c, Reader: subscriptions, SettleAfter: after, GiveUp: giveUp}
	case events.NetflixCreate:
		return handlers.NetflixCreate{Creator: c, Reader: netflix, SettleAfter: after, GiveUp: giveUp}
	case events.NetflixSuspend, events.NetflixUnsuspend, events.NetflixCancel:
		return handlers.NetflixState{Kind: kind, Setter: c, Reader: netflix, SettleAfter: after, GiveUp: giveUp}
	}
	states := map[events.Kind][]string{events.NetflixAccept: {"APPROVED"}, events.NetflixDecline: {"DECLINED"}}[kind]
	return handlers.NetflixCharges{Kind: kind, Taker: c, Reader: charges, States: states, SettleAfter: after, GiveUp: giveUp}
}

// operation opens a command of a kind.
func (c *crm) operation(t *testing.T, kind events.Kind, subject, data string) handlers.Operation {
	t.Helper()
	op, err := c.family(kind, true).Open(&events.Command{Subject: subject, CID: "cid", Kind: kind, Data: json.RawMessage(data)})
	if err != nil {
		t.Fatal(err)
	}
	return op
}

// taker says that charges failed, whatever it was asked.
type taker struct {
	*crm
	failed []events.FailedCharge
	err    error
}

func (f taker) TakeCharges(context.Context, events.Kind, string, []events.ChargeIdentifier) ([]events.FailedCharge, error) {
	return f.failed, f.err
}
