package crmcom

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"subrelay/events"
)

// pathCharges is the method that lists charges, the oldest first.
const pathCharges = "netflix/charges/list"

// The values of charge_status, in the order in which both are listed: a charge moves from the first to the second, and
// so is seen in one of them at least.
var chargeStatuses = []string{"NOT_PROCESSED", "PROCESSED"}

// ListCharges is every charge that was not acknowledged yet (space V4Development, GET netflix/charges/list), whatever
// its state. Every failure is Unavailable, and comes with the charges that could be read all the same: a charge that
// cannot be read is not left out in silence, since charges are money, nor does it hide the others.
func (x *Netflix) ListCharges(ctx context.Context) ([]events.NetflixCharge, error) {
	l := listing{netflix: x}
	if err := l.run(ctx, nil); err != nil {
		return l.charges, err
	}
	return l.charges, l.unread
}

// FindCharges is those of the charges with these numbers that are still listed, by number; their numbers and states can
// be relied on, whatever else could not be read of them. A charge that may be one of them, but does not say its number
// or state, makes it fail: not to find one would say that it was acknowledged. Every failure is Unavailable.
func (x *Netflix) FindCharges(ctx context.Context, numbers []string) (map[string]events.NetflixCharge, error) {
	wanted := make(map[string]bool, len(numbers))
	for _, number := range numbers {
		wanted[number] = true
	}
	l := listing{netflix: x}
	if err := l.run(ctx, wanted); err != nil {
		return nil, err
	}
	found := make(map[string]events.NetflixCharge)
	for _, c := range l.charges {
		if wanted[c.Number] {
			found[c.Number] = c
		}
	}
	return found, nil
}

// listing is one listing of charges, over both parts of the list and all pages.
//
// Charges leave the list while it is read: whoever acknowledges one moves all behind it forward by one place, and the
// next page would begin one too late. So each page begins with the last charge of the page before. Where it does not,
// the part is read anew. A charge that enters before a place already read in the very moment in which another leaves is
// seen by the next listing.
//
// A part ends with the page that has nothing new, not with a short one: the vendor's page says to go on by as many as
// were received, and not to find a charge would say that it was acknowledged.
type listing struct {
	netflix *Netflix
	calls   int
	charges []events.NetflixCharge
	place   map[string]int // of a number in charges
	unread  error          // of the first charge that cannot be read
}

var errMoved = errors.New("the list has moved")

// run lists every part. Where wanted is not nil, it ends as soon as all of those are found.
func (l *listing) run(ctx context.Context, wanted map[string]bool) error {
	l.place = make(map[string]int)
	parts := []string{""}
	if l.netflix.byState {
		parts = chargeStatuses
	}
	for _, part := range parts {
		for {
			charges, err := l.part(ctx, part, wanted)
			if errors.Is(err, errMoved) {
				continue
			}
			l.keep(charges)
			if err != nil {
				return err
			}
			break
		}
		if wanted != nil && l.has(wanted) {
			return nil
		}
	}
	return nil
}

// keep adds the charges of a part, but for those that could not be read. Of a charge that is in both, the later state
// counts.
func (l *listing) keep(charges []events.NetflixCharge) {
	for _, c := range charges {
		if c.ChargeStatus == "" {
			continue
		}
		if i, seen := l.place[c.Number]; seen {
			l.charges[i] = c
			continue
		}
		l.place[c.Number] = len(l.charges)
		l.charges = append(l.charges, c)
	}
}

func (l *listing) has(wanted map[string]bool) bool {
	for number := range wanted {
		if _, ok := l.place[number]; !ok {
			return false
		}
	}
	return true
}

// part reads one part from its beginning. Beside an error that ends it, it returns what it has read. Charges that cannot
// be read keep their places, without a state.
func (l *listing) part(ctx context.Context, status string, wanted map[string]bool) ([]events.NetflixCharge, error) {
	size := l.netflix.netflix.Charges.PageSize
	var all []events.NetflixCharge
	seen := make(map[string]int) // on which page
	missing := len(wanted)
	for number, offset := 1, 0; ; number, offset = number+1, len(all)-1 {
		page, err := l.page(ctx, status, offset, size, wanted)
		if err != nil {
			return all, err
		}
		if len(all) > 0 {
			if len(page) == 0 || page[0].Number != all[len(all)-1].Number {
				return nil, errMoved
			}
			page = page[1:]
		}
		for _, c := range page {
			before, twice := seen[c.Number]
			switch {
			case twice && before != number && c.Number != "":
				return nil, errMoved
			case !twice && wanted[c.Number]:
				missing--
			}
			seen[c.Number] = number
		}
		all = append(all, page...)
		if len(page) == 0 || wanted != nil && missing == 0 {
			return all, nil
		}
	}
}

// page reads one page. Where charges are wanted, one that may be among them without a state is an error, and what else
// cannot be read of a charge does not matter.
func (l *listing) page(ctx context.Context, status string, offset, size int, wanted map[string]bool) ([]events.NetflixCharge, error) {
	x := l.netflix
	if l.calls++; l.calls > x.netflix.Charges.MaxPages {
		return nil, readFailed(theCharges, fmt.Sprintf("%d pages were not enough: there are too many, or they keep changing; see "+
			"netflix.charges.max_pages", x.netflix.Charges.MaxPages), nil)
	}
	q := query{}.with("number_of_results", strconv.Itoa(size)).with("offset", strconv.Itoa(offset))
	if status != "" {
		q = q.with("charge_status", status)
	}
	began := time.Now()
	data, err := x.list(ctx, theCharges, pathCharges, q, personal{})
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) && time.Since(began) < x.guard.CallTimeout()/2 {
		// The pages before took the time, and were answered: that says nothing of CRM.COM.
		return nil, readFailed(theCharges, fmt.Sprintf("%d pages took all the time that there was: too many charges wait to be acknowledged", l.calls), ctx.Err())
	}
	if err != nil {
		return nil, err
	}
	items, err := x.items(data)
	if err != nil {
		return nil, readFailed(theCharges, err.Error(), nil)
	}
	page := make([]events.NetflixCharge, 0, len(items))
	for _, item := range items {
		c, err := x.charge(item)
		if err != nil {
			err = readFailed(theCharges, fmt.Sprintf("charge %q: %s", x.word(c.Number, personal{}), err), nil)
		}
		switch {
		case err == nil:
		case wanted == nil:
			l.unread = cmp.Or(l.unread, err)
			c = events.NetflixCharge{Number: c.Number}
		case c.Number == "" || c.ChargeStatus == "" && wanted[c.Number]:
			return nil, err
		}
		page = append(page, c)
	}
	return page, nil
}

// items is the charges of a reply, unread: a member of the object, or data itself. An object that holds other things is
// refused, since no charges means something: that they were acknowledged.
func (x *Netflix) items(data json.RawMessage) ([]json.RawMessage, error) {
	set := x.netflix.Charges.SetField
	list := data
	if !isArray(data) && !isNull(data) {
		members, err := object(data)
		if err != nil {
			return nil, fmt.Errorf("data %w", err)
		}
		var there bool
		if list, there = members[set]; !there && len(members) > 0 {
			return nil, fmt.Errorf("the reply has no %s: is netflix.charges.set_field right?", set)
		}
	}
	if isNone(list) {
		return nil, nil
	}
	items, err := array(list)
	if err != nil {
		return nil, fmt.Errorf("%s %w", set, err)
	}
	return items, nil
}

// charge reads one charge (space V4, netflix_charge_short). It returns what it knows beside an error, its number first.
func (x *Netflix) charge(raw json.RawMessage) (c events.NetflixCharge, err error) {
	members, err := object(raw)
	if err != nil {
		return c, err
	}
	c = events.NetflixCharge{
		Number: x.known(members["number"]), BillingSystemCustomerIdentifier: x.known(members["billing_system_customer_identifier"]),
		Currency: x.known(members["currency"]), LocalCurrency: x.known(members["local_currency"]),
		ChargeStatus: x.known(members["charge_status"]),
	}
	if c.Number == "" || c.ChargeStatus == "" {
		return c, errors.New("has no number or no charge_status")
	}
	for _, amount := range []struct {
		name  string
		field *json.Number
	}{{"amount", &c.Amount}, {"local_currency_amount", &c.LocalCurrencyAmount}} {
		if *amount.field, err = number(members[amount.name]); err != nil {
			return c, fmt.Errorf("%s %w", amount.name, err)
		}
	}
	for _, date := range []struct {
		name  string
		field **time.Time
	}{
		{"paid_through_date", &c.PaidThroughDate}, {"received_on", &c.ReceivedOn}, {"set_as_approved_on", &c.SetAsApprovedOn},
		{"set_as_declined_on", &c.SetAsDeclinedOn}, {"set_as_bad_request_on", &c.SetAsBadRequestOn},
		{"set_as_rejected_request_on", &c.SetAsRejectedRequestOn},
	} {
		if *date.field, err = x.date(members, date.name); err != nil {
			return c, err
		}
	}
	return c, nil
}

var numberPattern = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// number reads an amount: a number, or one as text.
func number(raw json.RawMessage) (json.Number, error) {
	if isNone(raw) {
		return "", nil
	}
	text, ok := textOf(raw)
	if !ok || !numberPattern.MatchString(text) {
		return "", errors.New("is no number")
	}
	return json.Number(text), nil
}
