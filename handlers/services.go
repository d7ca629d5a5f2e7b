package handlers

import (
	"fmt"
	"maps"
	"slices"

	"subrelay/events"
)

// change is what an amend or a swap does to the services of a subscription.
type change struct {
	add, remove []events.ServiceIdentifier // products, once for each service
	swap        []string                   // instances that make place
	// hidden says why what is done need not show in the services, open why the services after it cannot be foreseen;
	// "" where they do, and can.
	hidden, open string
}

// The reasons why a change cannot be confirmed by reading the services.
const (
	whyDistribution = "services are put on or taken off distributors, which the services read do not show"
	whyItems        = "installed items are added or removed, which the services read do not show"
	whyComponents   = "a bundle comes with components, whose services nobody can foresee"
	whySame         = "a product is both added and removed, so that the services may look the same before and after"
	whyAmbiguous    = "two identifiers of the command name the same product"
	whyNothing      = "no service is named"
	whyAbsent       = "a service to be taken off was not on the subscription before the call"
)

// amendment is what an amend changes.
func amendment(d *events.AmendData) change {
	var c change
	for _, s := range d.ServicesToAddSet {
		c.add = append(c.add, s.ServiceIdentifier)
		c.carries(s.ServicesDistributionSet, s.ComponentsSet)
	}
	for _, s := range d.ServicesToRemoveSet {
		c.remove = append(c.remove, s.ServiceIdentifier)
		c.carries(s.ServicesDistributionSet, nil)
	}
	if len(d.InstalledItemsToAddSet)+len(d.InstalledItemsToRemoveSet) > 0 {
		c.hidden = whyItems
	}
	return c
}

// swapping is what a swap changes.
func swapping(d *events.SwapData) change {
	var c change
	for _, s := range d.ServicesToSwapSet {
		c.add = append(c.add, s.ToService.ServiceIdentifier)
		c.carries(s.ToService.ServicesDistributionSet, s.ToService.ComponentsSet)
		if from := s.FromService; from.ServiceIdentifier != nil {
			c.remove = append(c.remove, *from.ServiceIdentifier)
		} else {
			c.swap = append(c.swap, from.SubscriptionServiceID)
		}
	}
	return c
}

func (c *change) carries(distribution []events.Distribution, components []events.Component) {
	if len(distribution) > 0 {
		c.hidden = whyDistribution
	}
	if len(components) > 0 {
		c.open = whyComponents
	}
}

// target is what the services must be exactly once the change is made. All live services that it does not speak of must
// be as before.
type target struct {
	Live    []liveCount `json:"live"`
	Swapped []string    `json:"swapped,omitempty"` // instances, live before
}

// liveCount is how many live services of one product there are. The product is named as the command names it.
type liveCount struct {
	Product events.ServiceIdentifier `json:"product"`
	Live    int                      `json:"live"`
}

// live is those of the services that are on the subscription. It is never nil.
func live(services []events.SubscribedService) []events.SubscribedService {
	out := make([]events.SubscribedService, 0, len(services))
	for _, s := range services {
		if s.Live() {
			out = append(out, s)
		}
	}
	return out
}

// foresee is the target of the change of these live services; nil, and why, where there is none that a later read could
// tell from the state before.
func (c *change) foresee(before []events.SubscribedService) (*target, string) {
	if why := c.unforeseeable(); why != "" {
		return nil, why
	}
	counts := map[events.ServiceIdentifier]int{}
	leaves := map[string]int{}
	for i := range before {
		s := &before[i]
		p, why := c.productOf(s)
		if why != "" {
			return nil, why
		}
		if slices.Contains(c.swap, s.ID) {
			leaves[s.ID]++
		} else if p != nil {
			counts[*p]++
		}
	}
	for _, id := range c.swap {
		if leaves[id] != 1 { // not there, or no name for one instance
			return nil, whyAbsent
		}
	}
	t := &target{Swapped: slices.Sorted(slices.Values(c.swap))}
	for _, p := range c.products() {
		n := counts[p] + occurrences(c.add, p) - occurrences(c.remove, p)
		if n < 0 {
			return nil, whyAbsent
		}
		t.Live = append(t.Live, liveCount{Product: p, Live: n})
	}
	return t, ""
}

// unforeseeable says what about the command alone makes its target unknown.
func (c *change) unforeseeable() string {
	switch {
	case c.hidden != "":
		return c.hidden
	case c.open != "":
		return c.open
	case len(c.add)+len(c.remove) == 0:
		return whyNothing
	case slices.ContainsFunc(c.remove, func(p events.ServiceIdentifier) bool { return slices.Contains(c.add, p) }):
		return whySame
	case len(slices.Compact(slices.Sorted(slices.Values(c.swap)))) != len(c.swap):
		return whyAbsent // one instance cannot make place twice
	}
	return ""
}

// products is the products that the command names, each once.
func (c *change) products() []events.ServiceIdentifier {
	var out []events.ServiceIdentifier
	for _, p := range slices.Concat(c.add, c.remove) {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

func occurrences(products []events.ServiceIdentifier, p events.ServiceIdentifier) (n int) {
	for _, other := range products {
		if other == p {
			n++
		}
	}
	return n
}

// productOf is the product among those of the command that the service is of; nil where it is of none. why says why
// that cannot be told.
func (c *change) productOf(s *events.SubscribedService) (found *events.ServiceIdentifier, why string) {
	for _, p := range slices.Concat(c.add, c.remove) {
		switch same, known := names(p, s.Product); {
		case !known:
			return nil, fmt.Sprintf("a product on the subscription shows no %s, by which the command names products", memberOf(p))
		case same && found != nil && *found != p:
			return nil, whyAmbiguous
		case same:
			found = &p
		}
	}
	return found, ""
}

// names reports whether p, which has one member, is a name of the product; known is false where the product does not
// show that member.
func names(p, product events.ServiceIdentifier) (same, known bool) {
	switch {
	case p.ID != "":
		return p.ID == product.ID, product.ID != ""
	case p.Code != "":
		return p.Code == product.Code, product.Code != ""
	}
	return p.AlternativeCode == product.AlternativeCode, product.AlternativeCode != ""
}

func memberOf(p events.ServiceIdentifier) string {
	switch {
	case p.ID != "":
		return "id"
	case p.Code != "":
		return "code"
	}
	return "alternative_code"
}

// reached reports whether the services now are exactly the target t of the change of the live services before: as many
// live ones of each product, every swapped instance swapped, and every service that stays as it was.
func (c *change) reached(t *target, before, now []events.SubscribedService) bool {
	counts := map[events.ServiceIdentifier]int{}
	left := multiset(live(now))
	for _, s := range live(now) {
		if p, _ := c.productOf(&s); p != nil {
			counts[*p]++
		}
	}
	for _, s := range before {
		if !c.leaves(&s) {
			left[s]--
		}
	}
	for s, n := range left {
		if p, _ := c.productOf(&s); n < 0 || n > 0 && p == nil {
			return false // what was to stay has changed, or something else has come
		}
	}
	for _, want := range t.Live {
		if counts[want.Product] != want.Live {
			return false
		}
	}
	for _, id := range t.Swapped {
		if !isSwapped(now, id) {
			return false
		}
	}
	return true
}

// leaves reports whether a service that was live before the change may leave the subscription by it.
func (c *change) leaves(s *events.SubscribedService) bool {
	p, _ := c.productOf(s)
	return slices.Contains(c.swap, s.ID) || p != nil && slices.Contains(c.remove, *p)
}

func isSwapped(services []events.SubscribedService, id string) bool {
	found := false
	for _, s := range services {
		if s.ID == id {
			if found || s.LifeCycleState != "SWAPPED" {
				return false
			}
			found = true
		}
	}
	return found
}

func multiset[T comparable](list []T) map[T]int {
	out := make(map[T]int, len(list))
	for _, one := range list {
		out[one]++
	}
	return out
}

// sameServices reports whether the live services now are exactly those before.
func sameServices(before, now []events.SubscribedService) bool {
	return maps.Equal(multiset(before), multiset(live(now)))
}

// shows reports whether services that are exactly as before prove that the change was not made: it would show.
func (c *change) shows(t *target, before []events.SubscribedService) bool {
	return c.hidden == "" && (t != nil || !slices.ContainsFunc(before, func(s events.SubscribedService) bool { return s.ID == "" }))
}
