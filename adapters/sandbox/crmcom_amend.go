package sandbox

import (
	"fmt"
	"slices"
	"time"

	"subrelay/events"
)

// maxGone is how many services that were swapped or removed a subscription keeps; the oldest go first.
const maxGone = 8

// act is POST subscriptions/amend and the swap services method.
func (c *CRMCOM) act(q *request) reply {
	a := readAction(q, c.opts.SwapSet, c.opts.Zone)
	number, out, order, bad := c.perform(q, a)
	if bad != nil {
		c.book.noted(q.entry, 0, a.detail(bad.code))
		return c.no(bad)
	}
	c.book.noted(q.entry, order, append(a.detail(""), [2]string{"subscription", number}))
	return doneWith(q, out)
}

// perform is the effect itself. Its tick is drawn while the subscriptions are locked, so that the ticks of a
// subscription's effects are in the order in which they happened. An action that is only scheduled has its effect in
// that it is, and none later.
func (c *CRMCOM) perform(q *request, a *action) (number string, out any, order int64, bad *refusal) {
	now := c.clock()
	s := c.subs
	s.mu.Lock()
	defer s.mu.Unlock()
	sub, bad := s.find(&q.params)
	if bad != nil {
		return "", nil, 0, bad
	}
	s.runDue(sub, now)
	if _, used := s.references[a.reference]; used && !s.opts.IgnoreReferences {
		return "", nil, 0, &refusal{codeDuplicateReference, "The transaction_reference_number was used before."}
	}
	after, bad := s.submit(sub, a)
	if a.reference != "" && (bad == nil || s.opts.RejectedUsesReference) {
		s.references[a.reference] = struct{}{}
	}
	if bad != nil {
		return "", nil, 0, bad
	}
	if a.scheduled.IsZero() {
		sub.state.set(after, now, now.Add(s.opts.ApplyDelay))
	} else {
		sub.actions = append(sub.actions, s.newAction(a, now))
	}
	return sub.number, s.returned(sub, a, now), c.book.tick(), nil
}

// returned is what amend and swap return, which the pages do not show.
func (s *subscriptions) returned(sub *subscription, a *action, now time.Time) any {
	switch {
	case !s.opts.ReplyAction:
		return wireReference{ID: sub.id, Number: sub.number, LifeCycleState: sub.state.latest.lifeCycle}
	case !a.scheduled.IsZero():
		return s.wireAction(sub, &sub.actions[len(sub.actions)-1])
	}
	taken := s.newAction(a, now)
	taken.State, taken.ExecutedOn = executed, now
	return s.wireAction(sub, &taken)
}

// wireReference is as much of a subscription as amend and swap return.
type wireReference struct {
	ID             string `json:"id"`
	Number         string `json:"number"`
	LifeCycleState string `json:"life_cycle_state"`
}

// submit is the state after the action, or why it is rejected. One that is only scheduled is tried when it is due.
func (s *subscriptions) submit(sub *subscription, a *action) (subscriptionState, *refusal) {
	state := sub.state.latest
	switch state.lifeCycle {
	case "CANCELLED", "REGRETTED", "REPLACED":
		return state, &refusal{codeNotAllowed, "The subscription is " + state.lifeCycle + "."}
	}
	for _, named := range a.wanted() {
		if _, ok := s.product(named); !ok {
			return state, &refusal{codeNotFound, "There is no service " + productName(named) + "."}
		}
	}
	if !a.scheduled.IsZero() {
		return state, nil
	}
	return s.after(sub, a)
}

// wanted is the products that the action brings.
func (a *action) wanted() []events.ServiceIdentifier {
	var list []events.ServiceIdentifier
	for i := range a.add {
		list = append(list, a.add[i].what)
	}
	for i := range a.swaps {
		list = append(list, a.swaps[i].to.what)
	}
	return list
}

func (s *subscriptions) newAction(a *action, now time.Time) ScheduledAction {
	return ScheduledAction{
		ID: s.names.id(), Number: s.names.number("A"), Reference: a.reference, State: scheduled, Behaviour: a.behaviour,
		Business: a.business, ScheduledDate: a.scheduled, SubmittedOn: now, action: a,
	}
}

// runDue executes the scheduled actions whose date has come, as the installation's batch process does. One that the
// subscription's state does not allow any more is rejected.
func (s *subscriptions) runDue(sub *subscription, now time.Time) {
	for i := range sub.actions {
		due := &sub.actions[i]
		if due.State != scheduled || now.Before(due.ScheduledDate) {
			continue
		}
		due.State, due.ExecutedOn = rejected, now
		if after, bad := s.after(sub, due.action); bad == nil {
			due.State = executed
			sub.state.set(after, now, now)
		}
	}
}

// after is the state after the action: whole or not at all.
func (s *subscriptions) after(sub *subscription, a *action) (subscriptionState, *refusal) {
	draft := sub.state.latest
	draft.services = append(make([]Service, 0, len(draft.services)+2*len(a.swaps)+len(a.add)+len(a.remove)), draft.services...)
	draft.items = slices.Clone(draft.items)
	if sub.auto {
		s.presume(&draft, a)
	}
	for i := range a.swaps {
		if bad := s.swap(&draft, &a.swaps[i]); bad != nil {
			return draft, bad
		}
	}
	for i := range a.remove {
		if bad := draft.removeService(&a.remove[i]); bad != nil {
			return draft, bad
		}
	}
	for i := range a.add {
		if bad := s.addService(&draft, &a.add[i]); bad != nil {
			return draft, bad
		}
	}
	if bad := draft.moveItems(a); bad != nil {
		return draft, bad
	}
	draft.forgetGone()
	return draft, nil
}

// presume puts onto a subscription that was made on sight what the action wants to take away from it.
func (s *subscriptions) presume(draft *subscriptionState, a *action) {
	service := func(named events.ServiceIdentifier, at []string) {
		if i := draft.live(named, at); i < 0 {
			product, _ := s.product(named)
			draft.services = append(draft.services, Service{ID: s.names.id(), LifeCycleState: effective, Product: product, Distributors: at})
		}
	}
	for i := range a.swaps {
		if a.swaps[i].instance == "" {
			service(a.swaps[i].from, nil)
		}
	}
	for i := range a.remove {
		service(a.remove[i].what, a.remove[i].at)
	}
	for _, item := range a.itemsRemove {
		if i := draft.item(item.what); i < 0 {
			draft.items = append(draft.items, Item{Item: item.what, Distributors: item.at})
		}
	}
}

// live is the place of the first service of this product that is on the subscription, at all of these distributors; -1
// where there is none.
func (st *subscriptionState) live(named events.ServiceIdentifier, at []string) int {
	return slices.IndexFunc(st.services, func(s Service) bool {
		return s.Live() && sameProduct(s.Product, named) && hasAll(s.Distributors, at)
	})
}

func hasAll(all, some []string) bool {
	return !slices.ContainsFunc(some, func(one string) bool { return !slices.Contains(all, one) })
}

func (s *subscriptions) swap(draft *subscriptionState, swap *swapping) *refusal {
	i := draft.live(swap.from, nil)
	if swap.instance != "" {
		i = slices.IndexFunc(draft.services, func(s Service) bool { return s.Live() && s.ID == swap.instance })
	}
	if i < 0 {
		return &refusal{codeNotAllowed, fmt.Sprintf("The service %s is not on the subscription.", productName(events.ServiceIdentifier{ID: swap.instance, Code: swap.from.Code, AlternativeCode: swap.from.AlternativeCode}))}
	}
	old := &draft.services[i]
	product, _ := s.product(swap.to.what)
	next := Service{ID: s.names.id(), LifeCycleState: old.LifeCycleState, Product: product, Distributors: swap.to.at}
	if next.Distributors == nil {
		next.Distributors = old.Distributors // the pages are silent on it
	}
	old.LifeCycleState = swapped
	draft.services = append(draft.services, next)
	return nil
}

// addService adds a service. One that is on the subscription goes to further distributors, where some are named; it may
// not be at one of them yet.
func (s *subscriptions) addService(draft *subscriptionState, add *placing[events.ServiceIdentifier]) *refusal {
	i := draft.live(add.what, nil)
	if i < 0 || len(add.at) == 0 {
		product, _ := s.product(add.what)
		draft.services = append(draft.services, Service{ID: s.names.id(), LifeCycleState: effective, Product: product, Distributors: add.at})
		return nil
	}
	at, bad := join(draft.services[i].Distributors, add.at)
	draft.services[i].Distributors = at
	return bad
}

// removeService takes a service off its distributors, or off the subscription.
func (st *subscriptionState) removeService(remove *placing[events.ServiceIdentifier]) *refusal {
	i := st.live(remove.what, remove.at)
	if i < 0 {
		return &refusal{codeNotAllowed, "The service " + productName(remove.what) + " is not on the subscription, or not at that distributor."}
	}
	left, gone := leave(st.services[i].Distributors, remove.at)
	st.services[i].Distributors = left
	if gone {
		st.services[i].LifeCycleState = removed
	}
	return nil
}

func (st *subscriptionState) item(named events.ItemIdentifier) int {
	return slices.IndexFunc(st.items, func(i Item) bool {
		return named.ID != "" && named.ID == i.Item.ID || named.SerialNumber != "" && named.SerialNumber == i.Item.SerialNumber ||
			named.AlternativeCode != "" && named.AlternativeCode == i.Item.AlternativeCode
	})
}

// moveItems removes and adds installed items.
func (st *subscriptionState) moveItems(a *action) *refusal {
	for _, remove := range a.itemsRemove {
		i := st.item(remove.what)
		if i < 0 || !hasAll(st.items[i].Distributors, remove.at) {
			return &refusal{codeNotAllowed, "The item " + itemName(remove.what) + " is not on the subscription, or not at that distributor."}
		}
		left, gone := leave(st.items[i].Distributors, remove.at)
		st.items[i].Distributors = left
		if gone {
			st.items = slices.Delete(st.items, i, i+1)
		}
	}
	for _, add := range a.itemsAdd {
		i := st.item(add.what)
		switch {
		case i < 0:
			st.items = append(st.items, Item{Item: add.what, Distributors: add.at})
		case len(add.at) == 0:
			return &refusal{codeNotAllowed, "The item " + itemName(add.what) + " is on the subscription."}
		default:
			at, bad := join(st.items[i].Distributors, add.at)
			if bad != nil {
				return bad
			}
			st.items[i].Distributors = at
		}
	}
	return nil
}

// join is the distributors with those that are added.
func join(at, added []string) ([]string, *refusal) {
	for _, one := range added {
		if slices.Contains(at, one) {
			return at, &refusal{codeNotAllowed, "It is at the distributor " + one + "."}
		}
	}
	return slices.Concat(at, added), nil
}

// leave is the distributors without those that are left, and whether nothing is left: none was named, or all were.
func leave(at, which []string) (left []string, gone bool) {
	for _, one := range at {
		if !slices.Contains(which, one) {
			left = append(left, one)
		}
	}
	return left, len(which) == 0 || len(left) == 0
}

// forgetGone drops services that are gone, beyond the newest.
func (st *subscriptionState) forgetGone() {
	gone := 0
	for i := len(st.services) - 1; i >= 0; i-- {
		if st.services[i].Live() {
			continue
		}
		if gone++; gone > maxGone {
			st.services = slices.Delete(st.services, i, i+1)
		}
	}
}
