package events

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// The states of a Netflix charge, as CRM.COM names them (space V4, netflix_charge_short).
const (
	ChargePending    = "PENDING"
	ChargeApproved   = "APPROVED"
	ChargeDeclined   = "DECLINED"
	ChargeBadRequest = "BAD_REQUEST"
	ChargeRejected   = "REJECTED"
)

// ChargeStates lists the states of a charge that are documented.
func ChargeStates() []string {
	return []string{ChargePending, ChargeApproved, ChargeDeclined, ChargeBadRequest, ChargeRejected}
}

const chargePrefix = typePrefix + "netflix-charge."

// ChargeStatus is a charge's state as a token of event types and of NATS subjects: in lower case, without what is none
// of a-z 0-9 _ -. Of a state of which nothing is left it makes "unknown". A token is its own token.
func ChargeStatus(state string) string {
	token := strings.Map(func(r rune) rune {
		if r < 128 && plainKeyByte(byte(r)) {
			return r
		}
		return -1
	}, strings.ToLower(state))
	return cmp.Or(token, "unknown")
}

// ChargeType is the CloudEvents type of the events that tell of charges in a state, "subrelay.netflix-charge.<status>.v1".
func ChargeType(status string) string { return chargePrefix + ChargeStatus(status) + typeSuffix }

// StatusOfChargeType reads the status from the type of a charge's event, as ChargeStatus has it.
func StatusOfChargeType(typ string) (status string, ok bool) {
	status, ok = strings.CutPrefix(typ, chargePrefix)
	if !ok {
		return "", false
	}
	status, ok = strings.CutSuffix(status, typeSuffix)
	return status, ok && status != "" && ChargeStatus(status) == status
}

// Event writes the charge as a CloudEvent: its subject is the customer, its id "<number>.<status>". The same charge in
// the same state makes the same event. A charge without a number or a customer has none.
func (c *NetflixCharge) Event(source string) (event.Event, error) {
	if c.Number == "" {
		return event.Event{}, errors.New("a charge without a number")
	}
	if _, err := KeyToken(c.BillingSystemCustomerIdentifier); err != nil {
		return event.Event{}, fmt.Errorf("charge %.100q: its customer: %w", c.Number, err)
	}
	status, data := ChargeStatus(c.ChargeStatus), *c
	for _, state := range ChargeStates() {
		if ChargeStatus(state) == status {
			data.ChargeStatus = state
		}
	}
	e := event.New()
	e.SetID(c.Number + "." + status)
	e.SetSource(source)
	e.SetType(ChargeType(status))
	e.SetSubject(c.BillingSystemCustomerIdentifier)
	if t := data.since(); t != nil {
		e.SetTime(*t)
	}
	return e, e.SetData(event.ApplicationJSON, data)
}

// since is when the charge came into its state, nil where that is not known.
func (c *NetflixCharge) since() *time.Time {
	switch c.ChargeStatus {
	case ChargePending:
		return c.ReceivedOn
	case ChargeApproved:
		return c.SetAsApprovedOn
	case ChargeDeclined:
		return c.SetAsDeclinedOn
	case ChargeBadRequest:
		return c.SetAsBadRequestOn
	case ChargeRejected:
		return c.SetAsRejectedRequestOn
	}
	return nil
}

// ReadCharge reads a charge from its event.
func ReadCharge(e *event.Event) (NetflixCharge, error) {
	var c NetflixCharge
	status, ok := StatusOfChargeType(e.Type())
	if !ok {
		return c, fmt.Errorf("event %s: its type %q is not that of a Netflix charge", e.ID(), e.Type())
	}
	if err := json.Unmarshal(e.Data(), &c); err != nil {
		return c, fmt.Errorf("the data of charge %s: %w", e.ID(), err)
	}
	if got := ChargeStatus(c.ChargeStatus); got != status {
		return c, fmt.Errorf("charge %s: its type is %s and its data say %s", e.ID(), e.Type(), c.ChargeStatus)
	}
	return c, nil
}
