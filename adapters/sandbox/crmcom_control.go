package sandbox

import (
	"fmt"
	"net/http"
	"slices"
)

// endpoints are the control endpoints that TVMS has not; see the package comment.
func (c *CRMCOM) endpoints() map[string]endpoint {
	return map[string]endpoint{
		"GET /_subscriptions": c.readSubscriptions,
		"PUT /_subscriptions": func(r *http.Request) (any, error) {
			return putAll(r, "subscriptions", func(l *SubscriptionList) (int, error) {
				return len(l.Subscriptions), c.PutSubscriptions(l.Subscriptions...)
			})
		},
		"GET /_netflix": c.readNetflix,
		"PUT /_netflix": func(r *http.Request) (any, error) {
			return putAll(r, "customers", func(l *NetflixList) (int, error) { return len(l.Customers), c.PutNetflix(l.Customers...) })
		},
		"GET /_charges": c.readCharges,
		"PUT /_charges": func(r *http.Request) (any, error) {
			return putAll(r, "charges", func(l *ChargeList) (int, error) { return len(l.Charges), c.PutCharges(l.Charges...) })
		},
		"DELETE /_tokens": func(*http.Request) (any, error) { c.ExpireTokens(); return struct{}{}, nil },
	}
}

// putAll reads a list and puts it. The answer says how many there were.
func putAll[L any](r *http.Request, name string, put func(*L) (int, error)) (any, error) {
	raw, err := readBody(r)
	if err != nil {
		return nil, err
	}
	var list L
	if err := decodeStrict(raw, &list); err != nil {
		return nil, fmt.Errorf("the %s: %w", name, err)
	}
	n, err := put(&list)
	if err != nil {
		return nil, err
	}
	return map[string]int{name: n}, nil
}

func (c *CRMCOM) readSubscriptions(r *http.Request) (any, error) {
	number := r.FormValue("number")
	if number == "" {
		return SubscriptionList{c.Subscriptions()}, nil
	}
	list := SubscriptionList{Subscriptions: []Subscription{}}
	if sub, ok := c.Subscription(number); ok {
		list.Subscriptions = append(list.Subscriptions, sub)
	}
	return list, nil
}

func (c *CRMCOM) readNetflix(r *http.Request) (any, error) {
	customer := r.FormValue("customer")
	if customer == "" {
		return NetflixList{c.NetflixCustomers()}, nil
	}
	list := NetflixList{Customers: []NetflixCustomer{}}
	if n, ok := c.Netflix(customer); ok {
		list.Customers = append(list.Customers, n)
	}
	return list, nil
}

func (c *CRMCOM) readCharges(r *http.Request) (any, error) {
	list, customer := c.Charges(), r.FormValue("customer")
	if customer != "" {
		list = slices.DeleteFunc(list, func(c Charge) bool { return c.BillingSystemCustomerIdentifier != customer })
	}
	return ChargeList{list}, nil
}
