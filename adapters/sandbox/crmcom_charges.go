package sandbox

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"subrelay/events"
)

// The bounds and values of charges/list, and the states of a charge (vendor: GET netflix/charges/list,
// netflix_charge_short).
const (
	maxResults   = 50
	notProcessed = "NOT_PROCESSED" // PENDING ones
	processed    = "PROCESSED"     // all others

	chargePending    = "PENDING"
	chargeApproved   = "APPROVED"
	chargeDeclined   = "DECLINED"
	chargeBadRequest = "BAD_REQUEST"
	chargeRejected   = "REJECTED"
)

// Charge is a Netflix charge.
type Charge struct {
	// Number and BillingSystemCustomerIdentifier are required. Default of ChargeStatus is PENDING, of ReceivedOn now.
	events.NetflixCharge
	Acknowledged bool `json:"acknowledged,omitempty"` // and so not in the list any more
	// Fails, if not empty, is the error_code with which the charge fails to be acknowledged, accepted or declined.
	Fails string `json:"fails,omitempty"`
}

// ChargeList is the body of GET and PUT /_charges.
type ChargeList struct {
	Charges []Charge `json:"charges"` // GET: by receipt, then number
}

// charges is the state of the methods for charges.
type charges struct {
	opts *CRMCOMOptions

	mu         sync.Mutex
	byNumber   map[string]*Charge
	list       []*Charge // by receipt, then number
	references map[string]struct{}
}

func newCharges(o *CRMCOMOptions) *charges {
	return &charges{opts: o, byNumber: map[string]*Charge{}, references: map[string]struct{}{}}
}

// PutCharges adds charges, or replaces those that have the number. Either all are taken or none.
func (c *CRMCOM) PutCharges(list ...Charge) error {
	for i := range list {
		if err := list[i].check(); err != nil {
			return err
		}
	}
	now := c.clock()
	s := c.charged
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, charge := range list {
		charge.ChargeStatus = cmp.Or(charge.ChargeStatus, chargePending)
		if charge.ReceivedOn == nil {
			received := now.Truncate(time.Second)
			charge.ReceivedOn = &received
		}
		if old := s.byNumber[charge.Number]; old != nil {
			s.list = slices.DeleteFunc(s.list, func(c *Charge) bool { return c == old })
		}
		s.byNumber[charge.Number] = &charge
		s.list = append(s.list, &charge)
	}
	slices.SortFunc(s.list, func(a, b *Charge) int {
		return cmp.Or(a.ReceivedOn.Compare(*b.ReceivedOn), cmp.Compare(a.Number, b.Number))
	})
	return nil
}

func (c *Charge) check() error {
	if c.Number == "" || c.BillingSystemCustomerIdentifier == "" {
		return fmt.Errorf("the charge %q of %q has no number, or no billing_system_customer_identifier", c.Number, c.BillingSystemCustomerIdentifier)
	}
	if c.ChargeStatus != "" && !isChargeStatus(c.ChargeStatus) {
		return fmt.Errorf("the charge %q: charge_status %q is none of PENDING, APPROVED, DECLINED, BAD_REQUEST, REJECTED", c.Number, c.ChargeStatus)
	}
	for _, amount := range []json.Number{c.Amount, c.LocalCurrencyAmount} {
		if !json.Valid([]byte(cmp.Or(amount, "0"))) {
			return fmt.Errorf("the charge %q: %q is no amount", c.Number, amount)
		}
	}
	return nil
}

func isChargeStatus(status string) bool {
	return slices.Contains([]string{chargePending, chargeApproved, chargeDeclined, chargeBadRequest, chargeRejected}, status)
}

// Charges is all charges, acknowledged ones too, by receipt and then number.
func (c *CRMCOM) Charges() []Charge {
	now := c.clock()
	c.charged.mu.Lock()
	defer c.charged.mu.Unlock()
	c.charged.process(now)
	out := []Charge{}
	for _, charge := range c.charged.list {
		out = append(out, *charge)
	}
	return out
}

// Charge is the charge with this number.
func (c *CRMCOM) Charge(number string) (Charge, bool) {
	now := c.clock()
	c.charged.mu.Lock()
	defer c.charged.mu.Unlock()
	c.charged.process(now)
	charge := c.charged.byNumber[number]
	if charge == nil {
		return Charge{}, false
	}
	return *charge, true
}

// SetCharge gives a charge a state, as Netflix does when it processes it.
func (c *CRMCOM) SetCharge(number, status string) error {
	now := c.clock()
	c.charged.mu.Lock()
	defer c.charged.mu.Unlock()
	charge := c.charged.byNumber[number]
	if charge == nil || !isChargeStatus(status) {
		return fmt.Errorf("there is no charge %q, or no state %q", number, status)
	}
	charge.turn(status, now)
	return nil
}

// turn gives the charge a state, and the state's date.
func (c *Charge) turn(status string, now time.Time) {
	at := now.Truncate(time.Second)
	c.ChargeStatus = status
	switch status {
	case chargeApproved:
		c.SetAsApprovedOn = &at
	case chargeDeclined:
		c.SetAsDeclinedOn = &at
	case chargeBadRequest:
		c.SetAsBadRequestOn = &at
	case chargeRejected:
		c.SetAsRejectedRequestOn = &at
	}
}

// process approves what Netflix has approved by now.
func (s *charges) process(now time.Time) {
	if s.opts.NetflixProcessing <= 0 {
		return
	}
	for _, c := range s.list {
		if at := c.ReceivedOn.Add(s.opts.NetflixProcessing); c.ChargeStatus == chargePending && !now.Before(at) {
			c.turn(chargeApproved, at)
		}
	}
}

// wireCharge is a charge as the API shows it.
type wireCharge struct {
	Number        string       `json:"number"`
	Customer      string       `json:"billing_system_customer_identifier"`
	Amount        *json.Number `json:"amount"`
	Currency      *string      `json:"currency"`
	LocalAmount   *json.Number `json:"local_currency_amount"`
	LocalCurrency *string      `json:"local_currency"`
	PaidThrough   *string      `json:"paid_through_date"`
	Status        string       `json:"charge_status"`
	Received      *string      `json:"received_on"`
	Approved      *string      `json:"set_as_approved_on"`
	Declined      *string      `json:"set_as_declined_on"`
	BadRequest    *string      `json:"set_as_bad_request_on"`
	Rejected      *string      `json:"set_as_rejected_request_on"`
}

// listCharges is GET netflix/charges/list. The nesting below data is inferred.
func (c *CRMCOM) listCharges(q *request) reply {
	most, _ := strconv.Atoi(q.params.string("number_of_results")) // both were checked
	offset, _ := strconv.Atoi(q.params.string("offset"))
	picked, bad := pick(q, c.charged.page(most, offset, q.params.string("charge_status"), c.clock()))
	if bad != nil {
		return c.no(bad)
	}
	return done(map[string]any{"charges_set": picked})
}

// page is the charges of a list that have not been acknowledged, after the first offset ones.
func (s *charges) page(most, offset int, status string, now time.Time) []wireCharge {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process(now)
	out := []wireCharge{}
	for _, c := range s.list {
		pending := c.ChargeStatus == chargePending
		if c.Acknowledged || status == notProcessed && !pending || status == processed && pending {
			continue
		}
		if offset--; offset >= 0 {
			continue
		}
		if len(out) == most {
			break
		}
		out = append(out, c.wire(s.opts.Zone))
	}
	return out
}

func (c *Charge) wire(zone *time.Location) wireCharge {
	amount := func(n json.Number) *json.Number {
		if n == "" {
			return nil
		}
		return &n
	}
	return wireCharge{
		Number: c.Number, Customer: c.BillingSystemCustomerIdentifier, Amount: amount(c.Amount), Currency: orNull(c.Currency),
		LocalAmount: amount(c.LocalCurrencyAmount), LocalCurrency: orNull(c.LocalCurrency), Status: c.ChargeStatus,
		PaidThrough: dateOf(c.PaidThroughDate, zone), Received: dateOf(c.ReceivedOn, zone), Approved: dateOf(c.SetAsApprovedOn, zone),
		Declined: dateOf(c.SetAsDeclinedOn, zone), BadRequest: dateOf(c.SetAsBadRequestOn, zone), Rejected: dateOf(c.SetAsRejectedRequestOn, zone),
	}
}

// failedCharge is a charge that was not taken (vendor: POST netflix/charges/acknowledge).
type failedCharge struct {
	Number      string  `json:"number"`
	Reference   *string `json:"reference_number"`
	Code        string  `json:"error_code"`
	Description string  `json:"error_description"`
}

// takeCharges is POST netflix/charges/acknowledge, accept and decline. The reply is OK even if no charge was taken, and
// names those that were not; with none of these, data is {}.
func (c *CRMCOM) takeCharges(q *request) reply {
	var set []value
	for _, name := range chargeSets {
		set = append(set, q.params.elements(name)...)
	}
	taken, failed, order := c.takeAll(q.kind, set)
	detail := make([]string, len(failed))
	for i, f := range failed {
		detail[i] = f.Number + " " + f.Code
	}
	c.book.noted(q.entry, order, pairs{{"taken", strings.Join(taken, ", ")}, {"failed", strings.Join(detail, ", ")}})
	if len(failed) == 0 {
		return done(struct{}{})
	}
	return done(map[string]any{"failed_charges_set": failed})
}

// takeAll is the effect itself: that of all charges at once.
func (c *CRMCOM) takeAll(kind events.Kind, set []value) (taken []string, failed []failedCharge, order int64) {
	now := c.clock()
	s := c.charged
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process(now)
	for i := range set {
		number, reference := strings.Clone(set[i].string("number")), strings.Clone(set[i].string("reference_number"))
		bad := s.take(kind, &set[i], now)
		if reference != "" && (bad == nil || s.opts.RejectedUsesReference) {
			s.references[reference] = struct{}{}
		}
		if bad == nil {
			taken = append(taken, number)
		} else {
			failed = append(failed, failedCharge{Number: number, Reference: orNull(reference), Code: bad.code, Description: bad.text})
		}
	}
	if len(taken) > 0 {
		order = c.book.tick()
	}
	return taken, failed, order
}

// take takes one charge, or says why not.
func (s *charges) take(kind events.Kind, asked *value, now time.Time) *refusal {
	if _, used := s.references[asked.string("reference_number")]; used && !s.opts.IgnoreReferences {
		return &refusal{codeDuplicateReference, "The reference_number was used before."}
	}
	c := s.byNumber[asked.string("number")]
	switch {
	case c == nil || c.BillingSystemCustomerIdentifier != asked.string("billing_system_customer_identifier"):
		return &refusal{codeNotFound, "The customer has no such charge."}
	case c.Fails != "":
		return &refusal{c.Fails, "The charge fails."}
	case c.Acknowledged:
		return &refusal{codeNotAllowed, "The charge has been acknowledged."}
	case kind == events.NetflixAcknowledge:
		c.Acknowledged = true
	case c.ChargeStatus != chargePending:
		return &refusal{codeNotAllowed, "The charge is " + c.ChargeStatus + "."}
	case kind == events.NetflixAccept:
		c.turn(chargeApproved, now)
	default:
		c.turn(chargeDeclined, now)
	}
	return nil
}
