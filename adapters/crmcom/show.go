package crmcom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"subrelay/events"
)

// aSubscription and theScheduled name what is read, in errors.
const (
	aSubscription = "the subscription"
	theScheduled  = "the scheduled actions"
)

// Subscription is a subscription's present state (space V4Development, GET subscriptions/show). It is Refused, not_found,
// where CRM.COM answers with a code of Codes.NotFound; every other failure is Unavailable, with Upstream set where it
// speaks of the installation as a whole.
func (c *Client) Subscription(ctx context.Context, id events.SubscriptionIdentifier) (events.Subscription, error) {
	data, err := c.ask(ctx, aSubscription, c.settings.Show.Path, identified(id))
	if err != nil {
		return events.Subscription{}, err
	}
	s, err := c.subscription(data)
	if err == nil && (id.ID != "" && s.ID != "" && s.ID != id.ID || id.Number != "" && s.Number != "" && s.Number != id.Number) {
		err = errors.New("the reply is about another one")
	}
	if err != nil {
		return events.Subscription{}, readFailed(aSubscription, err.Error(), nil)
	}
	return s, nil
}

// ask makes one read of a subscription.
func (c *Client) ask(ctx context.Context, what, path string, q query) (json.RawMessage, error) {
	data, err := c.call(ctx, personal{}, func(token string) (*http.Request, error) { return c.get(path, token, q), nil })
	switch {
	case err == nil:
		return data, nil
	case events.AsError(err).Code == events.CodeNotFound:
		return nil, err
	}
	return nil, asRead(what, err)
}

func identified(id events.SubscriptionIdentifier) query {
	if id.ID != "" {
		return query{}.withField("subscription_identifier", "id", id.ID)
	}
	return query{}.withField("subscription_identifier", "number", id.Number)
}

// subscription reads what GET subscriptions/show answers: the object, or an array of one. Services without a state or a
// product are not left out: an amendment would be judged by the rest.
func (c *Client) subscription(data json.RawMessage) (s events.Subscription, err error) {
	if items, err := array(data); err == nil && len(items) == 1 {
		data = items[0]
	}
	members, err := object(data)
	if err != nil {
		return s, fmt.Errorf("data %w", err)
	}
	show := &c.settings.Show
	services, there := members[show.ServicesField]
	if !there {
		return s, fmt.Errorf("the reply has no %s: is crmcom.show.services_field right?", show.ServicesField)
	}
	s.ID, s.Number, s.LifeCycleState = c.known(members["id"]), c.known(members["number"]), c.known(members["life_cycle_state"])
	if s.ID == "" && s.Number == "" || s.LifeCycleState == "" {
		return s, errors.New("the reply does not say which subscription it is, or in which state")
	}
	s.Services = []events.SubscribedService{}
	if isNull(services) {
		return s, nil
	}
	items, err := array(services)
	if err != nil {
		return s, fmt.Errorf("%s %w", show.ServicesField, err)
	}
	for _, item := range items {
		service, err := c.service(item)
		if err != nil {
			return s, fmt.Errorf("%s: a service %w", show.ServicesField, err)
		}
		s.Services = append(s.Services, service)
	}
	return s, nil
}

func (c *Client) service(raw json.RawMessage) (s events.SubscribedService, err error) {
	members, err := object(raw)
	if err != nil {
		return s, err
	}
	product, err := object(members[c.settings.Show.ProductField])
	if err != nil {
		return s, fmt.Errorf("has no %s: is crmcom.show.product_field right?", c.settings.Show.ProductField)
	}
	s = events.SubscribedService{
		ID: c.known(members["id"]), LifeCycleState: c.known(members["life_cycle_state"]),
		Product: events.ServiceIdentifier{ID: c.known(product["id"]), Code: c.known(product["code"]), AlternativeCode: c.known(product["alternative_code"])},
	}
	switch {
	case s.LifeCycleState == "":
		return s, errors.New("has no life_cycle_state")
	case s.Product == events.ServiceIdentifier{}:
		return s, errors.New("names no product")
	}
	return s, nil
}

// known is a text of a read, or "" where there is none.
func (w *wire) known(raw json.RawMessage) string {
	text, _ := textOf(raw)
	return w.guard.Redact(text)
}

// returnsReference is the release from which on actions show their reference (space V4, subscription action response
// object).
var returnsReference = of(13, 1, 0)

// Scheduled reports whether an action with the reference is scheduled on the subscription (space
// V4Development, GET subscriptions/actions/get_scheduled). Its errors are those of Subscription.
func (c *Client) Scheduled(ctx context.Context, reference string, id events.SubscriptionIdentifier) (bool, error) {
	switch {
	case c.settings.Reference.Omit:
		return false, readFailed(theScheduled, "no reference is sent: crmcom.reference.omit is set", nil)
	case c.release < returnsReference:
		return false, readFailed(theScheduled, fmt.Sprintf("actions show no reference before %s", returnsReference), nil)
	}
	data, err := c.ask(ctx, theScheduled, c.settings.Actions.Path, identified(id))
	if err != nil {
		return false, err
	}
	actions, err := c.scheduled(data)
	if err != nil {
		return false, readFailed(theScheduled, err.Error(), nil)
	}
	return c.holds(actions, reference)
}

// scheduled lists the actions of a reply.
func (c *Client) scheduled(data json.RawMessage) ([]json.RawMessage, error) {
	if isNull(data) {
		return nil, nil
	}
	if items, err := array(data); err == nil {
		return items, nil
	}
	members, err := object(data)
	if err != nil {
		return nil, fmt.Errorf("data %w", err)
	}
	if len(members) == 0 {
		return nil, nil
	}
	var actions []json.RawMessage
	lists := 0
	for name, member := range members {
		if set := c.settings.Actions.SetField; set != "" && name != set || set == "" && !isArray(member) {
			continue
		}
		items, err := array(member)
		if err != nil && !isNull(member) {
			return nil, fmt.Errorf("%s %w", name, err)
		}
		lists++
		actions = append(actions, items...)
	}
	if lists == 0 {
		return nil, errors.New("the reply holds no list of them: is crmcom.scheduled.set_field right?")
	}
	return actions, nil
}

// holds reports whether one of the actions has the reference. Where there are actions and none shows a reference, the
// member is not the right one, or is not filled in, and nothing is known.
func (c *Client) holds(actions []json.RawMessage, reference string) (bool, error) {
	field := c.settings.Actions.ReferenceField
	named := len(actions) == 0
	for _, raw := range actions {
		members, err := object(raw)
		if err != nil {
			return false, readFailed(theScheduled, "an action "+err.Error(), nil)
		}
		text, _ := textOf(members[field])
		named = named || text != ""
		if text != "" && text == reference {
			return true, nil
		}
	}
	if !named {
		return false, readFailed(theScheduled, "none shows a "+field+": is crmcom.scheduled.reference_field right?", nil)
	}
	return false, nil
}
