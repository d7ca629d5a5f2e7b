package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// The statuses of a TVMS customer (docs.tvms.io, page CustomerStatus).
const (
	Active   = "Active"
	Expired  = "Expired"
	Pending  = "Pending"
	Disabled = "Disabled"
	Trial    = "Trial"
)

// Customer is a TVMS customer.
type Customer struct {
	MappingID string `json:"customer_mapping_id,omitempty"` // at least one of the two ids
	UserID    string `json:"user_id,omitempty"`
	// Status is Pending, Disabled or Trial if set so; Active and Expired follow from Expires, whatever was set.
	Status  string    `json:"status,omitempty"`
	Expires time.Time `json:"expires"` // from year 1 to 9999
}

// CustomerList is the body of GET and PUT /_customers.
type CustomerList struct {
	Customers []Customer `json:"customers"` // GET: by mapping id, then user id
}

func (c *Customer) check() error {
	switch c.Status {
	case "", Active, Expired, Pending, Disabled, Trial:
	default:
		return fmt.Errorf("customer %q: status %q is none of Active, Expired, Pending, Disabled, Trial", cmp.Or(c.MappingID, c.UserID), c.Status)
	}
	if c.MappingID == "" && c.UserID == "" {
		return errors.New("a customer has neither customer_mapping_id nor user_id")
	}
	if c.Expires.IsZero() || !presentable(c.Expires) {
		return fmt.Errorf("customer %q: expires is missing or not between the years 1 and 9999", cmp.Or(c.MappingID, c.UserID))
	}
	return nil
}

// presentable reports whether JSON can hold t.
func presentable(t time.Time) bool { return t.Year() >= 1 && t.Year() <= 9999 }

// at is the customer as seen at the moment now.
func (c *Customer) at(now time.Time) Customer {
	seen := *c
	if c.Status == "" {
		seen.Status = Active
		if !now.Before(c.Expires) {
			seen.Status = Expired
		}
	}
	return seen
}

// customers is the state of a TVMS. Both maps lead to the same customers.
type customers struct {
	auto time.Time // the expiry date of customers that are created on sight; zero: none are

	mu        sync.Mutex
	byMapping map[string]*Customer
	byUser    map[string]*Customer
}

func newCustomers(auto time.Time) *customers {
	return &customers{auto: auto, byMapping: map[string]*Customer{}, byUser: map[string]*Customer{}}
}

// put adds customers, or replaces those that have one of the ids. Either all are taken or none.
func (s *customers) put(list []Customer) error {
	for i := range list {
		if err := list[i].check(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range list {
		if c.Status == Active || c.Status == Expired {
			c.Status = ""
		}
		s.remove(s.byMapping[c.MappingID])
		s.remove(s.byUser[c.UserID])
		s.add(&c)
	}
	return nil
}

func (s *customers) add(c *Customer) {
	if c.MappingID != "" {
		s.byMapping[c.MappingID] = c
	}
	if c.UserID != "" {
		s.byUser[c.UserID] = c
	}
}

func (s *customers) remove(c *Customer) {
	if c != nil {
		delete(s.byMapping, c.MappingID)
		delete(s.byUser, c.UserID)
	}
}

// find is the customer of a call, or nil: the mapping id counts where it is given, and a user id beside it must then
// be this customer's, if the customer has one. (The vendor's pages do not say which id wins; a mismatch is refused so
// that it is noticed.) The caller holds the mutex.
func (s *customers) find(mapping, user string) *Customer {
	found := s.byUser[user]
	if mapping != "" {
		found = s.byMapping[mapping]
	}
	if found == nil {
		return s.create(mapping, user)
	}
	if mapping != "" && user != "" && found.UserID != "" && found.UserID != user {
		return nil
	}
	return found
}

func (s *customers) create(mapping, user string) *Customer {
	if s.auto.IsZero() || mapping == "" && user == "" || s.byUser[user] != nil {
		return nil
	}
	c := &Customer{MappingID: strings.Clone(mapping), UserID: strings.Clone(user), Expires: s.auto}
	s.add(c)
	return c
}

// read is the customer of a call at the moment now.
func (s *customers) read(mapping, user string, now time.Time) (Customer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.find(mapping, user)
	if c == nil {
		return Customer{}, false
	}
	return c.at(now), true
}

// get is the customer that has id as its mapping id or else as its user id, at the moment now.
func (s *customers) get(id string, now time.Time) (Customer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.byMapping[id]
	if c == nil {
		c = s.byUser[id]
	}
	if c == nil {
		return Customer{}, false
	}
	return c.at(now), true
}

// list is all customers at the moment now, or those that have id as one of their ids.
func (s *customers) list(id string, now time.Time) []Customer {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []Customer{}
	add := func(c *Customer) {
		if id == "" || c.MappingID == id || c.UserID == id {
			out = append(out, c.at(now))
		}
	}
	for _, c := range s.byMapping {
		add(c)
	}
	for _, c := range s.byUser {
		if c.MappingID == "" {
			add(c)
		}
	}
	slices.SortFunc(out, func(a, b Customer) int {
		return cmp.Or(cmp.Compare(a.MappingID, b.MappingID), cmp.Compare(a.UserID, b.UserID))
	})
	return out
}
