package sandbox

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"subrelay/events"
)

// Subscription is a subscription of CRM.COM.
type Subscription struct {
	Number string `json:"number"`       // required
	ID     string `json:"id,omitempty"` // default: one that follows from the number
	// LifeCycleState is as the vendor has it: DRAFT, EFFECTIVE, NOT_EFFECTIVE, CANCELLED, ... Default EFFECTIVE. One that is
	// CANCELLED, REGRETTED or REPLACED takes no actions.
	LifeCycleState string    `json:"life_cycle_state,omitempty"`
	Account        *Account  `json:"accounts_receivable,omitempty"`
	Services       []Service `json:"services,omitempty"`
	Items          []Item    `json:"installed_items,omitempty"`
	// Actions are those that were scheduled by calls, in the order in which they came. They are shown, and cannot be put.
	Actions []ScheduledAction `json:"actions,omitempty"`
}

// Account is an accounts receivable, as far as a subscription can be found by it.
type Account struct {
	ID                 string `json:"id,omitempty"`
	Number             string `json:"number,omitempty"`
	Name               string `json:"name,omitempty"`
	AuthenticationCode string `json:"authentication_code,omitempty"`
	Identifier         string `json:"identifier,omitempty"` // of an access token, with PassCode
	PassCode           string `json:"pass_code,omitempty"`
}

// Service is a service on a subscription.
type Service struct {
	ID             string                   `json:"id,omitempty"`               // default: a new one
	LifeCycleState string                   `json:"life_cycle_state,omitempty"` // default EFFECTIVE; SWAPPED and REMOVED ones are gone
	Product        events.ServiceIdentifier `json:"product"`
	Distributors   []string                 `json:"distributors,omitempty"` // by whatever they were named
}

// Item is an installed item on a subscription.
type Item struct {
	Item         events.ItemIdentifier `json:"item"`
	Distributors []string              `json:"distributors,omitempty"`
}

// ScheduledAction is an action that had a scheduled_date.
type ScheduledAction struct {
	ID            string    `json:"id"`
	Number        string    `json:"number"`
	Reference     string    `json:"transaction_reference_number,omitempty"`
	State         string    `json:"life_cycle_state"` // SCHEDULED, EXECUTED or REJECTED
	Behaviour     string    `json:"behavior_code"`
	Business      string    `json:"business_classification_code,omitempty"`
	ScheduledDate time.Time `json:"scheduled_date"`
	SubmittedOn   time.Time `json:"submitted_on"`
	ExecutedOn    time.Time `json:"executed_on,omitzero"`

	action *action
}

// SubscriptionList is the body of GET and PUT /_subscriptions.
type SubscriptionList struct {
	Subscriptions []Subscription `json:"subscriptions"` // GET: by number
}

// Live reports whether the service is on its subscription.
func (s *Service) Live() bool {
	return (&events.SubscribedService{LifeCycleState: s.LifeCycleState}).Live()
}

// subscription is one as the imitation keeps it. What is in state must not change: a change makes a new one.
type subscription struct {
	id, number string
	account    *Account
	auto       bool // made on sight
	state      lagging[subscriptionState]
	actions    []ScheduledAction
}

type subscriptionState struct {
	lifeCycle string
	services  []Service
	items     []Item
}

// subscriptions is the state of the methods for subscriptions. Both maps lead to the same ones.
type subscriptions struct {
	opts      *CRMCOMOptions
	names     *names
	installed release

	mu         sync.Mutex
	byNumber   map[string]*subscription
	byID       map[string]*subscription
	references map[string]struct{} // that are used up
}

func newSubscriptions(o *CRMCOMOptions, n *names, installed release) *subscriptions {
	return &subscriptions{
		opts: o, names: n, installed: installed, byNumber: map[string]*subscription{}, byID: map[string]*subscription{}, references: map[string]struct{}{},
	}
}

// PutSubscriptions adds subscriptions, or replaces those that have the number or the id. Either all are taken or none.
func (c *CRMCOM) PutSubscriptions(list ...Subscription) error {
	for i := range list {
		if err := list[i].check(); err != nil {
			return err
		}
	}
	c.subs.mu.Lock()
	defer c.subs.mu.Unlock()
	for i := range list {
		c.subs.put(&list[i])
	}
	return nil
}

func (s *Subscription) check() error {
	if s.Number == "" {
		return fmt.Errorf("the subscription with the id %q has no number", s.ID)
	}
	for _, service := range s.Services {
		if service.Product == (events.ServiceIdentifier{}) {
			return fmt.Errorf("subscription %q: a service names no product", s.Number)
		}
	}
	for _, item := range s.Items {
		if item.Item == (events.ItemIdentifier{}) {
			return fmt.Errorf("subscription %q: an installed item names nothing", s.Number)
		}
	}
	return nil
}

func (s *subscriptions) put(given *Subscription) {
	sub := &subscription{number: given.Number, id: cmp.Or(given.ID, s.names.idOf(given.Number))}
	for _, old := range []*subscription{s.byNumber[sub.number], s.byID[sub.id]} {
		if old != nil {
			delete(s.byNumber, old.number)
			delete(s.byID, old.id)
		}
	}
	if given.Account != nil {
		account := *given.Account
		sub.account = &account
	}
	state := subscriptionState{lifeCycle: cmp.Or(given.LifeCycleState, effective), items: slices.Clone(given.Items)}
	for _, service := range given.Services {
		service.ID = cmp.Or(service.ID, s.names.id())
		service.LifeCycleState = cmp.Or(service.LifeCycleState, effective)
		service.Product, _ = s.product(service.Product)
		state.services = append(state.services, service)
	}
	sub.state = lagging[subscriptionState]{latest: state, seen: state}
	s.byNumber[sub.number], s.byID[sub.id] = sub, sub
}

// product is the product that is named so, and whether there is one.
func (s *subscriptions) product(named events.ServiceIdentifier) (events.ServiceIdentifier, bool) {
	for _, p := range s.opts.Products {
		if sameProduct(p, named) {
			return p, true
		}
	}
	return named, len(s.opts.Products) == 0
}

// sameProduct reports whether two identifiers agree in a member that both have.
func sameProduct(a, b events.ServiceIdentifier) bool {
	return a.ID != "" && a.ID == b.ID || a.Code != "" && a.Code == b.Code ||
		a.AlternativeCode != "" && a.AlternativeCode == b.AlternativeCode
}

// find is the subscription of a call, or why there is none. The caller holds the mutex.
func (s *subscriptions) find(params *value) (*subscription, *refusal) {
	if id := params.get("subscription_identifier"); id != nil {
		number, sub := id.string("number"), s.byID[id.string("id")]
		if number != "" {
			sub = s.byNumber[number]
			if sub == nil && s.opts.AutoCreate {
				sub = s.create(number)
			}
		}
		if sub == nil {
			return nil, &refusal{codeNotFound, "There is no such subscription."}
		}
		return sub, nil
	}
	owned := s.ownedBy(params.get("accounts_receivable_identifier"))
	switch len(owned) {
	case 0:
		return nil, &refusal{codeNotFound, "There is no such accounts receivable, or it owns no subscription."}
	case 1:
		return owned[0], nil
	}
	return nil, &refusal{codeNotAllowed, "The accounts receivable owns more than one subscription."}
}

func (s *subscriptions) create(number string) *subscription {
	given := Subscription{Number: strings.Clone(number)}
	for _, code := range s.opts.AutoServices {
		given.Services = append(given.Services, Service{Product: events.ServiceIdentifier{Code: code}})
	}
	s.put(&given)
	s.byNumber[number].auto = true
	return s.byNumber[number]
}

// ownedBy is the subscriptions of the account that id names.
func (s *subscriptions) ownedBy(id *value) []*subscription {
	var owned []*subscription
	for _, sub := range s.byNumber {
		if sub.account.is(id) {
			owned = append(owned, sub)
		}
	}
	return owned
}

// is reports whether the identifier names the account.
func (a *Account) is(id *value) bool {
	if a == nil {
		return false
	}
	means := func(given *value, name, own string) bool {
		return given.string(name) != "" && given.string(name) == own
	}
	access := id.get("access_token_identifier")
	return means(id, "id", a.ID) || means(id, "number", a.Number) || means(id, "name", a.Name) ||
		means(access, "authentication_code", a.AuthenticationCode) ||
		means(access, "identifier", a.Identifier) && means(access, "pass_code", a.PassCode)
}

// numberOf is the number of the subscription of an account that is named by nothing that may be in the book; "" where
// there is none.
func (s *subscriptions) numberOf(account *value) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if owned := s.ownedBy(account); len(owned) == 1 {
		return owned[0].number
	}
	return ""
}

// Subscription is the subscription with this number as it is now, whatever its readers see yet. Scheduled actions that
// are due have been executed.
func (c *CRMCOM) Subscription(number string) (Subscription, bool) {
	now := c.clock()
	c.subs.mu.Lock()
	defer c.subs.mu.Unlock()
	sub := c.subs.byNumber[number]
	if sub == nil {
		return Subscription{}, false
	}
	return c.subs.describe(sub, now), true
}

// Subscriptions is all subscriptions, by number.
func (c *CRMCOM) Subscriptions() []Subscription {
	now := c.clock()
	c.subs.mu.Lock()
	defer c.subs.mu.Unlock()
	out := []Subscription{}
	for _, number := range slices.Sorted(maps.Keys(c.subs.byNumber)) {
		out = append(out, c.subs.describe(c.subs.byNumber[number], now))
	}
	return out
}

func (s *subscriptions) describe(sub *subscription, now time.Time) Subscription {
	s.runDue(sub, now)
	state := sub.state.latest
	out := Subscription{
		Number: sub.number, ID: sub.id, LifeCycleState: state.lifeCycle,
		Services: slices.Clone(state.services), Items: slices.Clone(state.items), Actions: slices.Clone(sub.actions),
	}
	if sub.account != nil {
		account := *sub.account
		out.Account = &account
	}
	return out
}
