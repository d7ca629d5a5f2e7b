package sandbox

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// maxMonths and maxDays are the most that one renewal adds. The vendor's pages name no limit.
const (
	maxMonths = 1200
	maxDays   = 36500
)

// query is the parameters of a TVMS call, as text. Names count as documented, case included; others are ignored; of a
// name that comes twice the first counts, as with url.Values.Get. The password's value is not kept.
type query struct {
	mappingID, userID, months, days string
	crmServices, crmService         string
	fromExpireDate, authToken       string

	seen param // which names were there
}

type param uint16

// The parameters.
const (
	hasMappingID param = 1 << iota
	hasUserID
	hasMonths
	hasDays
	hasCRMServices
	hasCRMService
	hasFromExpireDate
	hasAuthToken
	hasPassword
)

// parseQuery reads a raw query. It decodes like url.ParseQuery, without a map.
func parseQuery(raw string) (query, error) {
	var q query
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, errName := url.QueryUnescape(name)
		value, errValue := url.QueryUnescape(value)
		if errName != nil || errValue != nil || strings.Contains(pair, ";") {
			return query{}, errors.New("the query string is not valid") // without the text: it holds secrets
		}
		q.set(name, value)
	}
	q.mappingID, q.userID = used(q.mappingID), used(q.userID)
	return q, nil
}

func (q *query) set(name, value string) {
	var bit param
	var field *string
	switch name {
	case "customermappingid":
		bit, field = hasMappingID, &q.mappingID
	case "userid":
		bit, field = hasUserID, &q.userID
	case "months":
		bit, field = hasMonths, &q.months
	case "days":
		bit, field = hasDays, &q.days
	case "crmServices":
		bit, field = hasCRMServices, &q.crmServices
	case "crmService":
		bit, field = hasCRMService, &q.crmService
	case "fromExpireDate":
		bit, field = hasFromExpireDate, &q.fromExpireDate
	case "authToken":
		bit, field = hasAuthToken, &q.authToken
	case "password":
		q.seen |= hasPassword
		return
	default:
		return
	}
	if q.seen&bit == 0 {
		q.seen |= bit
		*field = value
	}
}

// used is a parameter's value, "" for the "0" that stands for an unused one (page Billing integration with TVMS).
func used(value string) string {
	if value == "0" {
		return ""
	}
	return value
}

// customer is the key of the call in the book.
func (q *query) customer() string {
	if q.mappingID != "" {
		return q.mappingID
	}
	return q.userID
}

// renewal is what a RenewCustomer call asks for: exactly one of months and days is above 0.
type renewal struct {
	months, days int
	fromExpiry   bool
}

// renewal reads what is to be done. The page RenewCustomer marks nothing as required; this imitation requires what the
// work needs, and a spelling of fromExpireDate that is a Boolean.
func (q *query) renewal() (renewal, error) {
	var r renewal
	var err error
	if r.months, err = amount("months", q.months, maxMonths); err != nil {
		return r, err
	}
	if r.days, err = amount("days", q.days, maxDays); err != nil {
		return r, err
	}
	if (r.months == 0) == (r.days == 0) {
		return r, errors.New("exactly one of months and days must be greater than 0")
	}
	switch strings.ToLower(q.fromExpireDate) {
	case "true", "1":
		r.fromExpiry = true
	case "false", "0":
	default:
		return r, errors.New("fromExpireDate must be true or false")
	}
	if q.customer() == "" {
		return r, errors.New("customermappingid or userid is required")
	}
	return r, nil
}

func amount(name, text string, most int) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("%s must be a number from 0 to %d", name, most)
	}
	return n, nil
}
