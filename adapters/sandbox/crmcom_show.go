package sandbox

import (
	"time"
)

// wireAccount, wireSubscription, wireService and wireAction are records as the API shows them (vendor: response objects
// of subscriptions, termed services and subscription actions). The product's fields, and that get_scheduled has an array
// in data, are inferred.
type wireAccount struct {
	ID     *string `json:"id"`
	Number *string `json:"number"`
	Name   *string `json:"name"`
}

type wireSubscription struct {
	ID             string        `json:"id"`
	Number         string        `json:"number"`
	LifeCycleState string        `json:"life_cycle_state"`
	FirstActivated *string       `json:"first_activated_date"`
	RatingState    string        `json:"rating_state"`
	Account        *wireAccount  `json:"accounts_receivable"`
	Services       []wireService `json:"termed_services_set"`
}

type wireService struct {
	ID             string      `json:"id"`
	LifeCycleState string      `json:"life_cycle_state"`
	FirstActivated *string     `json:"first_activated_date"`
	RatingState    string      `json:"rating_state"`
	Product        wireProduct `json:"product"`
}

type wireProduct struct {
	ID              *string `json:"id"`
	Code            *string `json:"code"`
	AlternativeCode *string `json:"alternative_code"`
}

type wireAction struct {
	ID           string            `json:"id"`
	Number       string            `json:"number"`
	Reference    *string           `json:"transaction_reference_number"`
	State        string            `json:"life_cycle_state"`
	Behaviour    string            `json:"behavior_code"`
	Business     *string           `json:"business_classification_code"`
	Scheduled    *string           `json:"scheduled_date"`
	Executed     *string           `json:"executed_on"`
	Submitted    *string           `json:"submitted_on"`
	Subscription map[string]string `json:"subscription"`
}

// show is GET subscriptions/show.
func (c *CRMCOM) show(q *request) reply {
	out, bad := c.subs.read(q, c.clock())
	if bad != nil {
		return c.no(bad)
	}
	if c.opts.ShowData == "array" {
		return doneWith(q, []*wireSubscription{out})
	}
	return doneWith(q, out)
}

func (s *subscriptions) read(q *request, now time.Time) (*wireSubscription, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub, bad := s.find(&q.params)
	if bad != nil {
		return nil, bad
	}
	s.runDue(sub, now)
	state := sub.state.look(now)
	out := &wireSubscription{
		ID: sub.id, Number: sub.number, LifeCycleState: state.lifeCycle, RatingState: "COMPLETED", Services: []wireService{},
	}
	if a := sub.account; a != nil {
		out.Account = &wireAccount{ID: orNull(a.ID), Number: orNull(a.Number), Name: orNull(a.Name)}
	}
	for i := range state.services {
		each := &state.services[i]
		out.Services = append(out.Services, wireService{
			ID: each.ID, LifeCycleState: each.LifeCycleState, RatingState: "COMPLETED",
			Product: wireProduct{orNull(each.Product.ID), orNull(each.Product.Code), orNull(each.Product.AlternativeCode)},
		})
	}
	return out, nil
}

// scheduled is GET subscriptions/actions/get_scheduled.
func (c *CRMCOM) scheduled(q *request) reply {
	out, bad := c.subs.scheduled(q, c.clock())
	if bad != nil {
		return c.no(bad)
	}
	return doneWith(q, out)
}

func (s *subscriptions) scheduled(q *request, now time.Time) ([]*wireAction, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub, bad := s.find(&q.params)
	if bad != nil {
		return nil, bad
	}
	s.runDue(sub, now)
	behaviour, business := q.params.string("behavior_code"), q.params.string("business_classification_code")
	out := []*wireAction{}
	for i := range sub.actions {
		a := &sub.actions[i]
		if a.State != scheduled || behaviour != "" && behaviour != a.Behaviour || business != "" && business != a.Business {
			continue
		}
		out = append(out, s.wireAction(sub, a))
	}
	return out, nil
}

func (s *subscriptions) wireAction(sub *subscription, a *ScheduledAction) *wireAction {
	zone, reference := s.opts.Zone, orNull(a.Reference)
	if s.installed < r13_1 {
		reference = nil // it is shown from then on
	}
	return &wireAction{
		ID: a.ID, Number: a.Number, Reference: reference, State: a.State, Behaviour: a.Behaviour, Business: orNull(a.Business),
		Scheduled: date(a.ScheduledDate, zone), Executed: date(a.ExecutedOn, zone), Submitted: date(a.SubmittedOn, zone),
		Subscription: map[string]string{"id": sub.id, "number": sub.number},
	}
}
