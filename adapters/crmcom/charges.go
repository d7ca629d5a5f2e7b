package crmcom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"subrelay/events"
)

// chargesByState is the release that came with accepting and declining, and so with charge_status (the latter inferred).
var chargesByState = of(14, 1, 0)

// chargeMethod is how charges are taken: the method, and the set of its body.
type chargeMethod struct {
	path  string
	set   string
	since release
}

// chargeMethods are those of space V4Development, POST netflix/charges/acknowledge, accept and decline.
var chargeMethods = map[events.Kind]chargeMethod{
	events.NetflixAcknowledge: {path: "netflix/charges/acknowledge", set: "acknowledged_charges_set"},
	events.NetflixAccept:      {path: "netflix/charges/accept", set: "accepted_charges_set", since: chargesByState},
	events.NetflixDecline:     {path: "netflix/charges/decline", set: "declined_charges_set", since: chargesByState},
}

// CheckCharges refuses a kind that the installed release does not know.
func (x *Netflix) CheckCharges(kind events.Kind) error {
	method, ok := chargeMethods[kind]
	switch {
	case !ok:
		return refused(events.CodeNotConfigured, string(kind)+" has no method")
	case x.release < method.since && !slices.Contains(x.settings.KnownParameters, method.path):
		return refused(events.CodeRelease, fmt.Sprintf("the installed release %s does not know %s (from %s); see crmcom.release",
			x.release, method.path, method.since))
	}
	return nil
}

// TakenStates are those of a charge that a call of this kind has taken, nil where it leaves the list.
func (x *Netflix) TakenStates(kind events.Kind) []string {
	switch kind {
	case events.NetflixAccept:
		return x.netflix.AcceptedStates
	case events.NetflixDecline:
		return x.netflix.DeclinedStates
	}
	return nil
}

// wireCharge is an element of the sets.
type wireCharge struct {
	Number    string `json:"number"`
	Customer  string `json:"billing_system_customer_identifier"`
	Reference string `json:"reference_number"`
}

// TakeCharges acknowledges, accepts or declines charges by one call, each under a reference that follows from cid and
// its place, and returns those that were not taken. Errors are those of Amend. Conflict says that CRM.COM has seen the
// references of some of them before, or of all; where it says so charge by charge, those that were not taken come with it.
func (x *Netflix) TakeCharges(ctx context.Context, kind events.Kind, cid string, charges []events.ChargeIdentifier) ([]events.FailedCharge, error) {
	if err := x.CheckCharges(kind); err != nil {
		return nil, err
	}
	if n := len(charges); n < 1 || n > events.MaxCharges {
		return nil, refused(events.CodeRequestNotPossible, fmt.Sprintf("%d charges: a call takes from 1 to %d", n, events.MaxCharges))
	}
	items := make([]wireCharge, len(charges))
	for i, c := range charges {
		items[i] = wireCharge{c.Number, c.BillingSystemCustomerIdentifier, x.settings.Reference.ofCharge(cid, i+1)}
	}
	method := chargeMethods[kind]
	data, err := x.call(ctx, personal{}, func(token string) (*http.Request, error) {
		return x.post(method.path, chargesRequest{token, method.set, items})
	})
	if err != nil {
		return nil, err
	}
	failed, err := x.failed(data, items)
	if err != nil {
		return nil, &events.Error{Kind: events.Unknown, Code: events.CodeUnreadable, Op: "call crmcom",
			Message: "CRM.COM answered OK, but does not say clearly which charges failed: " + err.Error()}
	}
	return failed, x.seenBefore(failed, len(items))
}

// chargesRequest is the body of each of the methods.
type chargesRequest struct {
	token string
	set   string
	items []wireCharge
}

// MarshalJSON writes the token first, as the vendor's examples do.
func (r chargesRequest) MarshalJSON() ([]byte, error) {
	token, err := events.PlainJSON(r.token)
	if err != nil {
		return nil, err
	}
	items, err := events.PlainJSON(r.items)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `{"token":%s,%q:%s}`, token, r.set, items), nil
}

// failed reads the charges that an OK did not take; an absent or empty list says that all were taken.
func (x *Netflix) failed(data json.RawMessage, sent []wireCharge) ([]events.FailedCharge, error) {
	if items, err := array(data); isNull(data) || err == nil && len(items) == 0 {
		return nil, nil
	}
	members, err := object(data)
	if err != nil {
		return nil, fmt.Errorf("data %w", err)
	}
	field := x.netflix.Charges.FailedField
	list, there := members[field]
	if !there && len(members) > 0 { // under another name they would be taken for done
		return nil, fmt.Errorf("data hold other things than %s: is netflix.charges.failed_field right?", field)
	}
	if isNone(list) {
		return nil, nil
	}
	items, err := array(list)
	if err != nil {
		return nil, fmt.Errorf("%s %w", field, err)
	}
	var failed []events.FailedCharge
	for _, item := range items {
		f, err := x.failure(item, sent)
		if err != nil {
			return nil, err
		}
		switch i := slices.IndexFunc(failed, func(o events.FailedCharge) bool { return o.Number == f.Number }); {
		case i < 0:
			failed = append(failed, f)
		case failed[i] != f:
			return nil, errors.New("one is named twice, and not alike")
		}
	}
	return failed, nil
}

// failure reads one charge that was not taken, and finds which of those that were sent it is: by its number, or by the
// reference that is repeated.
func (x *Netflix) failure(raw json.RawMessage, sent []wireCharge) (events.FailedCharge, error) {
	members, err := object(raw)
	if err != nil {
		return events.FailedCharge{}, fmt.Errorf("a failed charge %w", err)
	}
	number, _ := textOf(members["number"])
	reference, _ := textOf(members["reference_number"])
	i := slices.IndexFunc(sent, func(c wireCharge) bool {
		return number == c.Number && (reference == "" || reference == c.Reference) || number == "" && reference != "" && reference == c.Reference
	})
	if i < 0 {
		return events.FailedCharge{}, errors.New("one is none of those that were sent")
	}
	code, _ := textOf(members["error_code"])
	text, _ := textOf(members["error_description"])
	return events.FailedCharge{Number: sent[i].Number, ErrorCode: x.word(code, personal{}), ErrorDescription: x.clean(text, personal{})}, nil
}

// seenBefore says what it means that charges failed because their references were used before.
func (x *Netflix) seenBefore(failed []events.FailedCharge, sent int) error {
	seen := 0
	code := ""
	for _, f := range failed {
		if slices.Contains(x.settings.Codes.Duplicate, f.ErrorCode) {
			seen, code = seen+1, f.ErrorCode
		}
	}
	if seen == 0 {
		return nil
	}
	e := refused(events.CodeDuplicate, "CRM.COM has seen the reference of every charge before")
	e.Kind, e.UpstreamCode = events.Conflict, code
	if seen < sent {
		e.Message = fmt.Sprintf("CRM.COM has seen the references of %d of %d charges before", seen, sent)
	}
	return e
}
