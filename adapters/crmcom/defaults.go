package crmcom

import (
	"time"

	"subrelay/events"
)

// WithDefaults is s with every default filled in. callTimeout is the guard's.
func (s Settings) WithDefaults(callTimeout time.Duration) Settings {
	orElse(&s.Path, "/crmapi/rest/v2")
	orElse(&s.TimeZone, "UTC")
	orElse(&s.TokenLifetime, 2*time.Hour)
	orElse(&s.TokenMargin, 5*time.Minute)
	c := &s.Codes
	listElse(&c.InvalidToken, "INVALID_TOKEN", "TOKEN_EXPIRED")
	listElse(&c.Duplicate, "DUPLICATE_REFERENCE")
	listElse(&c.NotFound, "NOT_FOUND")
	listElse(&c.HTTPInvalidToken, 401)
	orElse(&s.Reference.Format, smallCID)
	orElse(&s.Amend.Path, "subscriptions/amend")
	listElse(&s.Amend.RejectedStates, "REJECTED", "REJECTEDSYSTEMFAILURE", "REJECTEDSYSTEMVALIDATION", "CANCELLED")
	listElse(&s.Amend.UnclearStates, "EXECUTEDWITHERRORS", statePendingVerification)
	orElse(&s.Swap.Carrier, carrierAmend)
	orElse(&s.Swap.Set, "services_to_swap_set")
	orElse(&s.Swap.Path, "subscriptions/swap_services")
	orElse(&s.Show.Path, "subscriptions/show")
	orElse(&s.Show.ServicesField, "termed_services_set")
	orElse(&s.Show.ProductField, "product")
	orElse(&s.Actions.Path, "subscriptions/actions/get_scheduled")
	orElse(&s.Actions.ReferenceField, "transaction_reference_number")
	settleElse(&s.SettleAfter, &s.GiveUpAfter, callTimeout)
	return s
}

// WithDefaults is n with every default filled in, except that of Charges.SendStatus, which the release decides.
// callTimeout is the guard's.
func (n NetflixSettings) WithDefaults(callTimeout time.Duration) NetflixSettings {
	orElse(&n.TokenField, "netflix_token")
	switchElse(&n.ReadBack, true)
	settleElse(&n.SettleAfter, &n.GiveUpAfter, callTimeout)
	c := &n.Charges
	switchElse(&c.Feed, true)
	orElse(&c.Interval, time.Minute)
	orElse(&c.PageSize, events.MaxCharges)
	orElse(&c.MaxPages, 200)
	orElse(&c.SetField, "charges_set")
	orElse(&c.FailedField, "failed_charges_set")
	return n
}

func orElse[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// listElse fills in a list that is absent. An empty one is what somebody has written.
func listElse[T any](field *[]T, values ...T) {
	if *field == nil {
		*field = values
	}
}

func switchElse(field **bool, value bool) {
	if *field == nil {
		*field = &value
	}
}

func settleElse(after, giveUp *time.Duration, callTimeout time.Duration) {
	orElse(after, max(time.Minute, 2*callTimeout))
	orElse(giveUp, max(5*time.Minute, 2**after))
}
