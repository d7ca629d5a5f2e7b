package sandbox

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"subrelay/events"
)

// The values of CRMCOMOptions.SecondCreate.
const (
	createToken        = "token"
	createSubscription = "subscription"
)

// NetflixCustomer is a customer of the operator with Netflix subscriptions, by the customer's id in the billing system.
type NetflixCustomer struct {
	Customer string `json:"billing_system_customer_identifier"`    // required
	PAI      string `json:"netflix_customer_identifier,omitempty"` // the id that Netflix has for the customer
	// Subscriptions are the customer's. Default of a state is EFFECTIVE, and of a number a new one.
	Subscriptions []events.NetflixSubscription `json:"subscriptions"`
}

// NetflixList is the body of GET and PUT /_netflix.
type NetflixList struct {
	Customers []NetflixCustomer `json:"customers"` // GET: by customer
}

// netflixCustomer is one as the imitation keeps it. What is in its subscriptions must not change.
type netflixCustomer struct {
	pai  string
	subs lagging[[]events.NetflixSubscription]
}

// netflixCustomers is the state of the methods for Netflix subscriptions.
type netflixCustomers struct {
	opts  *CRMCOMOptions
	names *names

	mu         sync.Mutex
	byCustomer map[string]*netflixCustomer
}

func newNetflixCustomers(o *CRMCOMOptions, n *names) *netflixCustomers {
	return &netflixCustomers{opts: o, names: n, byCustomer: map[string]*netflixCustomer{}}
}

// PutNetflix adds customers, or replaces those that are there. Either all are taken or none.
func (c *CRMCOM) PutNetflix(list ...NetflixCustomer) error {
	for i := range list {
		if err := list[i].check(); err != nil {
			return err
		}
	}
	c.netflix.mu.Lock()
	defer c.netflix.mu.Unlock()
	for _, given := range list {
		c.netflix.put(given)
	}
	return nil
}

func (n *NetflixCustomer) check() error {
	if n.Customer == "" {
		return fmt.Errorf("a Netflix customer (%q) has no billing_system_customer_identifier", n.PAI)
	}
	for _, sub := range n.Subscriptions {
		if sub.NetflixState != "" && sub.NetflixState != events.NetflixEffective && sub.NetflixState != events.NetflixNotEffective {
			return fmt.Errorf("the Netflix customer %q: netflix_state %q is none of EFFECTIVE, NOT_EFFECTIVE", n.Customer, sub.NetflixState)
		}
	}
	return nil
}

func (n *netflixCustomers) put(given NetflixCustomer) *netflixCustomer {
	subs := slices.Clone(given.Subscriptions)
	for i := range subs {
		if subs[i].NetflixState == "" {
			subs[i].NetflixState = events.NetflixEffective
		}
		if subs[i].LifeCycleState == "" {
			subs[i].LifeCycleState = effective
		}
		if subs[i].SubscriptionNumber == "" {
			subs[i].SubscriptionNumber = n.names.number("S")
		}
	}
	customer := &netflixCustomer{pai: given.PAI}
	customer.subs.latest, customer.subs.seen = subs, subs
	n.byCustomer[strings.Clone(given.Customer)] = customer
	return customer
}

// Netflix is the customer's Netflix subscriptions as they are now, whatever their readers see yet.
func (c *CRMCOM) Netflix(customer string) (NetflixCustomer, bool) {
	c.netflix.mu.Lock()
	defer c.netflix.mu.Unlock()
	n := c.netflix.byCustomer[customer]
	if n == nil {
		return NetflixCustomer{}, false
	}
	return n.describe(customer), true
}

// NetflixCustomers is all customers who have, or had, Netflix subscriptions.
func (c *CRMCOM) NetflixCustomers() []NetflixCustomer {
	c.netflix.mu.Lock()
	defer c.netflix.mu.Unlock()
	out := []NetflixCustomer{}
	for _, customer := range slices.Sorted(maps.Keys(c.netflix.byCustomer)) {
		out = append(out, c.netflix.byCustomer[customer].describe(customer))
	}
	return out
}

func (n *netflixCustomer) describe(customer string) NetflixCustomer {
	return NetflixCustomer{Customer: customer, PAI: n.pai, Subscriptions: append([]events.NetflixSubscription{}, n.subs.latest...)}
}

// createNetflix is POST netflix/subscriptions/create. The field of the token is inferred. The subscriber is EFFECTIVE at
// once, though the real one has yet to register.
func (c *CRMCOM) createNetflix(q *request) reply {
	number, order, bad := c.makeNetflix(q)
	if bad != nil {
		return c.refuse(q, bad)
	}
	c.book.noted(q.entry, order, pairs{{"subscription", number}})
	return done(map[string]string{"netflix_token": "Bgi" + c.netflix.names.id()})
}

func (c *CRMCOM) makeNetflix(q *request) (number string, order int64, bad *refusal) {
	n, now := c.netflix, c.clock()
	promotions, bad := n.redeemed(q.params.string("promotion_code"))
	if bad != nil {
		return "", 0, bad
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	name := q.params.string("billing_system_customer_identifier")
	customer := n.byCustomer[name]
	if customer == nil {
		customer = n.put(NetflixCustomer{Customer: name, PAI: n.names.number("PAI")})
	}
	live := slices.ContainsFunc(customer.subs.latest, func(s events.NetflixSubscription) bool { return s.LifeCycleState != events.NetflixCancelled })
	switch {
	case !live, n.opts.SecondCreate == createSubscription:
		number = n.names.number("S")
		customer.subs.set(append(slices.Clone(customer.subs.latest), events.NetflixSubscription{
			SubscriptionNumber: number, NetflixState: events.NetflixEffective, LifeCycleState: effective,
			Promotions: promotions, Prices: []string{"EUR 9.99"},
		}), now, now.Add(n.opts.ApplyDelay))
	case n.opts.SecondCreate == createToken:
	default:
		return "", 0, &refusal{codeNotAllowed, "The customer has a Netflix subscription."}
	}
	return number, c.book.tick(), nil
}

// redeemed is the promotions that a new subscription has.
func (n *netflixCustomers) redeemed(code string) ([]events.NetflixPromotion, *refusal) {
	if code == "" {
		return nil, nil
	}
	i := slices.IndexFunc(n.opts.Promotions, func(p events.NetflixPromotion) bool { return p.Code == code })
	if i < 0 {
		return nil, &refusal{codeInvalidParameter, "promotion_code is not the code of a promotion"}
	}
	return n.opts.Promotions[i : i+1], nil
}

// setNetflix is POST netflix/subscriptions/suspend, unsuspend, and what cancels.
func (c *CRMCOM) setNetflix(q *request) reply {
	order, bad := c.turnNetflix(q)
	if bad != nil {
		return c.refuse(q, bad)
	}
	from, to := turns(q.kind)
	c.book.noted(q.entry, order, pairs{{"netflix_state", to.NetflixState}, {"life_cycle_state", to.LifeCycleState}, {"before", from}})
	return done(struct{}{})
}

// turns is the state that a subscription must have for a call of this kind ("": any), and what the call makes of it.
func turns(kind events.Kind) (from string, to events.NetflixSubscription) {
	switch kind {
	case events.NetflixSuspend:
		return events.NetflixEffective, events.NetflixSubscription{NetflixState: events.NetflixNotEffective}
	case events.NetflixUnsuspend:
		return events.NetflixNotEffective, events.NetflixSubscription{NetflixState: events.NetflixEffective}
	default:
		return "", events.NetflixSubscription{NetflixState: events.NetflixNotEffective, LifeCycleState: events.NetflixCancelled}
	}
}

// turnNetflix is the effect itself: on every subscription that is not cancelled and is in the state for it. Where none
// is, the call is refused.
func (c *CRMCOM) turnNetflix(q *request) (int64, *refusal) {
	n, now := c.netflix, c.clock()
	from, to := turns(q.kind)
	n.mu.Lock()
	defer n.mu.Unlock()
	name := q.params.string("billing_system_customer_identifier")
	customer := n.byCustomer[name]
	if customer == nil && n.opts.AutoCreate {
		customer = n.put(NetflixCustomer{Customer: name, Subscriptions: []events.NetflixSubscription{{NetflixState: from}}})
	}
	if customer == nil {
		return 0, &refusal{codeNotFound, "There is no such Netflix customer."}
	}
	subs, turned := slices.Clone(customer.subs.latest), 0
	for i := range subs {
		if subs[i].LifeCycleState == events.NetflixCancelled || from != "" && subs[i].NetflixState != from {
			continue
		}
		turned++
		subs[i].NetflixState = to.NetflixState
		if to.LifeCycleState != "" {
			subs[i].LifeCycleState = to.LifeCycleState
		}
	}
	if turned == 0 {
		return 0, &refusal{codeNotAllowed, "No Netflix subscription of the customer is in a state for that."}
	}
	customer.subs.set(subs, now, now.Add(n.opts.ApplyDelay))
	return c.book.tick(), nil
}

// wirePromotion is as the API shows it (vendor: GET netflix/promotions/list).
type wirePromotion struct {
	Code          string  `json:"code"`
	Name          string  `json:"name"`
	Description   *string `json:"description"`
	EffectiveFrom *string `json:"effective_from"`
	ExpiresOn     *string `json:"expires_on"`
}

type wirePrice struct {
	FormattedPrice string
}

// promotions is GET netflix/promotions/list.
func (c *CRMCOM) promotions(q *request) reply {
	return doneWith(q, c.wirePromotions(c.opts.Promotions))
}

func (c *CRMCOM) wirePromotions(list []events.NetflixPromotion) []wirePromotion {
	out := []wirePromotion{}
	for i := range list {
		p := &list[i]
		out = append(out, wirePromotion{
			Code: p.Code, Name: p.Name, Description: orNull(p.Description),
			EffectiveFrom: dateOf(p.EffectiveFrom, c.opts.Zone), ExpiresOn: dateOf(p.ExpiresOn, c.opts.Zone),
		})
	}
	return out
}

// dateOf is date of what may be absent.
func dateOf(at *time.Time, zone *time.Location) *string {
	if at == nil {
		return nil
	}
	return date(*at, zone)
}

// showNetflix is GET netflix/subscriptions/show.
func (c *CRMCOM) showNetflix(q *request) reply {
	subs, bad := c.netflix.read(&q.params, c.clock())
	if bad != nil {
		return c.no(bad)
	}
	out := []map[string]any{}
	for i := range subs {
		prices := []wirePrice{}
		for _, price := range subs[i].Prices {
			prices = append(prices, wirePrice{price})
		}
		out = append(out, map[string]any{
			"subscription_number": subs[i].SubscriptionNumber, c.opts.StateField: subs[i].NetflixState,
			"life_cycle_state": subs[i].LifeCycleState, "promotions_set": c.wirePromotions(subs[i].Promotions), "prices_set": prices,
		})
	}
	if c.opts.ShowData == "object" && len(out) == 1 {
		return doneWith(q, out[0])
	}
	return doneWith(q, out)
}

func (n *netflixCustomers) read(params *value, now time.Time) ([]events.NetflixSubscription, *refusal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	customer := n.byCustomer[params.string("billing_system_customer_identifier")]
	if pai := params.string("netflix_customer_identifier"); pai != "" {
		for _, each := range n.byCustomer {
			if each.pai == pai {
				customer = each
			}
		}
	}
	if customer == nil {
		return nil, &refusal{codeNotFound, "There is no such Netflix customer."}
	}
	return customer.subs.look(now), nil
}
