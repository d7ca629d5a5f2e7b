package crmcom

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

// The Netflix methods (space V4Development, pages of these names). That of netflix-cancel is a setting.
const (
	pathPromotions  = "netflix/promotions/list"
	pathShowNetflix = "netflix/subscriptions/show"
	pathCreate      = "netflix/subscriptions/create"
	pathSuspend     = "netflix/subscriptions/suspend"
	pathUnsuspend   = "netflix/subscriptions/unsuspend"
)

// Netflix calls the Netflix methods of one CRM.COM installation. It may be shared.
type Netflix struct {
	*wire
	netflix NetflixSettings
	byState bool // charges are listed by charge_status
}

// NewNetflix is a Netflix that calls through guard, to which it makes the session's secrets known. warnings are for the
// operator, and are logged by the guard's logger too. The error names every setting that is wrong, and shows no secret.
func NewNetflix(s Settings, n NetflixSettings, session *Session, guard *upstream.Guard) (x *Netflix, warnings []string, err error) {
	w, wireErr := newWire(s, session, guard)
	n = n.WithDefaults(guard.CallTimeout())
	if err := errors.Join(wireErr, n.check(guard.CallTimeout())); err != nil {
		return nil, nil, err
	}
	x = &Netflix{wire: w, netflix: n, byState: w.release >= chargesByState}
	if n.Charges.SendStatus != nil {
		x.byState = *n.Charges.SendStatus
	}
	if !*n.ReadBack {
		warnings = append(warnings, "netflix.read_back is off: a Netflix command whose reply was lost will be in doubt")
	}
	for _, text := range warnings {
		w.warn(text)
	}
	return x, warnings, nil
}

// ReadBack reports whether unclear calls are settled by reading.
func (x *Netflix) ReadBack() bool { return *x.netflix.ReadBack }

// SettleAfter is how long after a call an unchanged state means that nothing was done.
func (x *Netflix) SettleAfter() time.Duration { return x.netflix.SettleAfter }

// GiveUpAfter is how long after a call settling is given up.
func (x *Netflix) GiveUpAfter() time.Duration { return x.netflix.GiveUpAfter }

// channels are those of POST netflix/subscriptions/create.
var channels = []string{"WEB", "STORE", "MOBILE", "BROADBAND", "OTHER"}

// CheckCreate refuses parameters that the installed release does not know, by name, and values beyond the method's
// limits or that cannot be written.
func (x *Netflix) CheckCreate(d *events.NetflixCreateData) error {
	if d.Channel != "" && !slices.Contains(channels, d.Channel) {
		return refused(events.CodeRequestNotPossible, "channel is none of "+strings.Join(channels, ", "))
	}
	if v := d.ValidityDuration; v != nil && (*v < 1 || *v > events.MaxValidity) {
		return refused(events.CodeRequestNotPossible, fmt.Sprintf("validity_duration is not from 1 to %d seconds", events.MaxValidity))
	}
	if e := d.CustomerEmail; e != nil {
		if err := x.clock.check("customer_email.", udfDatesOf(&e.UDF)); err != nil {
			return err
		}
	}
	return x.rules.check("netflix-create", d)
}

// createRequest is the body of POST netflix/subscriptions/create.
type createRequest struct {
	Token string `json:"token"`
	creation
	CustomerEmail *wireEmail `json:"customer_email,omitempty"`
}

type creation struct{ events.NetflixCreateData }

// wireEmail is an e-mail address with its dates as CRM.COM writes them.
type wireEmail struct {
	email
	udfDates
}

type email events.NetflixEmail // without its methods, which would write its own dates

// MarshalJSON writes the members that are not described behind the others.
func (e wireEmail) MarshalJSON() ([]byte, error) {
	type plain wireEmail // without this method
	object, err := events.PlainJSON(plain(e))
	if err != nil {
		return nil, err
	}
	return e.More.AppendTo(object)
}

// CreateNetflix creates a subscriber by one call, and returns the Netflix token for the registration page, a secret. It
// must not be repeated after Unknown: a second one might be created. An OK without a token is Unknown. Errors are those
// of Amend, without Conflict.
func (x *Netflix) CreateNetflix(ctx context.Context, d *events.NetflixCreateData) (token string, err error) {
	data, err := x.call(ctx, personalOfCreation(d), func(token string) (*http.Request, error) {
		req := createRequest{Token: token, creation: creation{*d}}
		if e := d.CustomerEmail; e != nil {
			req.CustomerEmail = &wireEmail{email(*e), x.clock.dates(&e.UDF)}
		}
		return x.post(pathCreate, req)
	})
	if err != nil {
		return "", plainConflict(err)
	}
	return x.created(data)
}

// created is the token in the reply to a creation.
func (x *Netflix) created(data json.RawMessage) (token string, err error) {
	if items, err := array(data); err == nil && len(items) == 1 {
		data = items[0]
	}
	token, ok := textIn(data, x.netflix.TokenField)
	if !ok || token == "" {
		return "", &events.Error{Kind: events.Unknown, Code: events.CodeUnreadable, Op: "call crmcom",
			Message: "CRM.COM answered OK, but without " + x.netflix.TokenField + ": is netflix.token_field right?"}
	}
	return token, nil
}

// plainConflict makes a refusal of a duplicate of what carries no reference of ours.
func plainConflict(err error) error {
	e := *events.AsError(err)
	if e.Kind != events.Conflict {
		return err
	}
	e.Kind, e.Code = events.Refused, events.CodeRefused
	return &e
}

// statePath is the method of a kind; "" where there is none.
func (x *Netflix) statePath(kind events.Kind) string {
	switch kind {
	case events.NetflixSuspend:
		return pathSuspend
	case events.NetflixUnsuspend:
		return pathUnsuspend
	case events.NetflixCancel:
		return x.netflix.CancelPath
	}
	return ""
}

// CheckState refuses netflix-cancel where netflix.cancel_path does not say by which method.
func (x *Netflix) CheckState(kind events.Kind) error {
	if x.statePath(kind) == "" {
		return refused(events.CodeNotConfigured, string(kind)+" has no method: netflix.cancel_path is not set")
	}
	return nil
}

// customerRequest is the body of POST netflix/subscriptions/suspend and unsuspend.
type customerRequest struct {
	Token string `json:"token"`
	events.NetflixCustomerData
}

// SetNetflix suspends, unsuspends or cancels a customer's Netflix by one call. Its errors are those of CreateNetflix.
func (x *Netflix) SetNetflix(ctx context.Context, kind events.Kind, customer string) error {
	if err := x.CheckState(kind); err != nil {
		return err
	}
	_, err := x.call(ctx, personal{}, func(token string) (*http.Request, error) {
		return x.post(x.statePath(kind), customerRequest{token, events.NetflixCustomerData{BillingSystemCustomerIdentifier: customer}})
	})
	if err != nil {
		return plainConflict(err)
	}
	return nil
}

// list makes one read.
func (x *Netflix) list(ctx context.Context, what, path string, q query, p personal) (json.RawMessage, error) {
	data, err := x.call(ctx, p, func(token string) (*http.Request, error) { return x.get(path, token, q), nil })
	if err != nil {
		return nil, asRead(what, err)
	}
	return data, nil
}

// What is read, in errors.
const (
	theSubscriptions = "the Netflix subscriptions"
	thePromotions    = "the Netflix promotions"
	theCharges       = "the Netflix charges"
)

// NetflixSubscriptions is a customer's Netflix subscriptions; none where CRM.COM answers with a code of Codes.NotFound,
// or with nothing. Every failure is Unavailable. CRM.COM's own text is left out of it: the read is for a command, which
// may have named the customer, and so may the text.
func (x *Netflix) NetflixSubscriptions(ctx context.Context, customer string) ([]events.NetflixSubscription, error) {
	return x.subscriptionsOf(ctx, events.NetflixCustomerIdentifier{BillingSystemCustomerIdentifier: customer}, personal{unknown: true})
}

// NetflixSubscriptionsOf is NetflixSubscriptions by either identifier (space V4Development, GET netflix/subscriptions/show:
// a semi-optional group), for who asks about the customer: errors have CRM.COM's text.
func (x *Netflix) NetflixSubscriptionsOf(ctx context.Context, who events.NetflixCustomerIdentifier) ([]events.NetflixSubscription, error) {
	return x.subscriptionsOf(ctx, who, personal{})
}

func (x *Netflix) subscriptionsOf(ctx context.Context, who events.NetflixCustomerIdentifier, p personal) ([]events.NetflixSubscription, error) {
	named := query{}.with("billing_system_customer_identifier", who.BillingSystemCustomerIdentifier)
	if who.BillingSystemCustomerIdentifier == "" {
		named = query{}.with("netflix_customer_identifier", who.NetflixCustomerIdentifier)
	}
	data, err := x.list(ctx, theSubscriptions, pathShowNetflix, named, p)
	if err != nil {
		var inner *events.Error
		if errors.As(errors.Unwrap(err), &inner) && inner.Code == events.CodeNotFound {
			return nil, nil
		}
		return nil, err
	}
	var found []events.NetflixSubscription
	for _, item := range oneOrMore(data) {
		s, err := x.netflixSubscription(item)
		if err != nil {
			return nil, readFailed(theSubscriptions, err.Error(), nil)
		}
		found = append(found, s)
	}
	return found, nil
}

// oneOrMore is the items of an array, or the one that is there without one; none of null and {}.
func oneOrMore(data json.RawMessage) []json.RawMessage {
	if items, err := array(data); err == nil {
		return items
	}
	if members, err := object(data); isNull(data) || err == nil && len(members) == 0 {
		return nil
	}
	return []json.RawMessage{data}
}

// netflixSubscription reads one of them. Promotions and prices that cannot be read are left out: what was done is judged
// by the states.
func (x *Netflix) netflixSubscription(raw json.RawMessage) (s events.NetflixSubscription, err error) {
	members, err := object(raw)
	if err != nil {
		return s, fmt.Errorf("one %w", err)
	}
	state, other := x.known(members["netflix_sate"]), x.known(members["netflix_state"]) // the vendor's spelling, and the right one
	if state != "" && other != "" && state != other {
		return s, errors.New("netflix_sate and netflix_state contradict each other")
	}
	s = events.NetflixSubscription{
		SubscriptionNumber: x.known(members["subscription_number"]),
		NetflixState:       cmp.Or(state, other),
		LifeCycleState:     x.known(members["life_cycle_state"]),
	}
	if s.SubscriptionNumber == "" && s.NetflixState == "" && s.LifeCycleState == "" {
		return s, errors.New("one names neither its number nor a state")
	}
	s.Promotions, _ = x.promotions(members["promotions_set"])
	prices, _ := array(members["prices_set"])
	for _, price := range prices {
		if text, ok := textIn(price, "FormattedPrice"); ok {
			s.Prices = append(s.Prices, x.guard.Redact(text))
		}
	}
	return s, nil
}

// Promotions lists the operator's promotions (space V4Development, GET netflix/promotions/list). Every failure is
// Unavailable.
func (x *Netflix) Promotions(ctx context.Context) ([]events.NetflixPromotion, error) {
	data, err := x.list(ctx, thePromotions, pathPromotions, query{}, personal{})
	if err != nil {
		return nil, err
	}
	if members, err := object(data); err == nil && len(members) == 0 {
		return nil, nil
	}
	promotions, err := x.promotions(data)
	if err != nil {
		return nil, readFailed(thePromotions, err.Error(), nil)
	}
	return promotions, nil
}

// promotions reads a list of them, as far as it can be read.
func (x *Netflix) promotions(raw json.RawMessage) ([]events.NetflixPromotion, error) {
	if isNone(raw) {
		return nil, nil
	}
	items, err := array(raw)
	if err != nil {
		return nil, fmt.Errorf("the list of promotions %w", err)
	}
	var found []events.NetflixPromotion
	for _, item := range items {
		members, err := object(item)
		if err != nil {
			return found, fmt.Errorf("a promotion %w", err)
		}
		p := events.NetflixPromotion{Code: x.known(members["code"]), Name: x.known(members["name"]), Description: x.known(members["description"])}
		if p.EffectiveFrom, err = x.date(members, "effective_from"); err != nil {
			return found, fmt.Errorf("promotion %s: %w", x.word(p.Code, personal{}), err)
		}
		if p.ExpiresOn, err = x.date(members, "expires_on"); err != nil {
			return found, fmt.Errorf("promotion %s: %w", x.word(p.Code, personal{}), err)
		}
		found = append(found, p)
	}
	return found, nil
}

// date reads a member that is a date, null or absent.
func (w *wire) date(members map[string]json.RawMessage, name string) (*time.Time, error) {
	raw := members[name]
	text, ok := textOf(raw)
	if isNone(raw) || ok && text == "" {
		return nil, nil
	}
	t, err := w.clock.read(text)
	if err != nil {
		return nil, fmt.Errorf("%s %w", name, err)
	}
	return &t, nil
}
