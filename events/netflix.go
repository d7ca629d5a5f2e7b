package events

import (
	"encoding/json"
	"time"
)

// The bounds of the Netflix methods (CRM.COM, space V4Development, POST netflix/subscriptions/create and
// POST netflix/charges/acknowledge).
const (
	MaxValidity = 86400 // seconds
	MaxCharges  = 50    // per call
)

// NetflixCustomerData is the data of netflix-suspend, netflix-unsuspend and netflix-cancel.
type NetflixCustomerData struct {
	BillingSystemCustomerIdentifier string `json:"billing_system_customer_identifier"` // equals the command's subject
}

// NetflixCreateData is the data of a netflix-create command. Members have the names of the vendor's parameters. The
// customer's name, address, e-mail and phone go to the upstream and nowhere else.
type NetflixCreateData struct {
	BillingSystemCustomerIdentifier string          `json:"billing_system_customer_identifier"` // equals the command's subject
	PromotionCode                   string          `json:"promotion_code,omitempty"`
	Channel                         string          `json:"channel,omitempty"`           // WEB, STORE, MOBILE, BROADBAND or OTHER
	ValidityDuration                *int            `json:"validity_duration,omitempty"` // seconds, up to MaxValidity
	CustomerFirstName               string          `json:"customer_first_name,omitempty"`
	CustomerLastName                string          `json:"customer_last_name,omitempty"`
	CustomerAddress                 *NetflixAddress `json:"customer_address,omitempty"`
	CustomerEmail                   *NetflixEmail   `json:"customer_email,omitempty"`
	CustomerPhone                   *NetflixPhone   `json:"customer_phone,omitempty"`
}

// NetflixAddress is a postal address, in the form that came with R14.2.0. The vendor's page has more members than those
// that could be read.
type NetflixAddress struct {
	Type         string `json:"type"` // HOME, BUSINESS, POBOX or CUSTOM1 to CUSTOM5
	IsPrimary    *bool  `json:"is_primary,omitempty"`
	PostalCode   string `json:"postal_code,omitempty"`
	StreetName   string `json:"street_name,omitempty"`
	StreetNumber string `json:"street_number,omitempty"`

	More OpenMembers `json:"-"`
}

// NetflixEmail is an e-mail address. Its members, and those of a phone, are those of other pages of the vendor.
type NetflixEmail struct {
	Type         string `json:"type,omitempty"` // PERSONAL, BUSINESS or CUSTOM1 to CUSTOM5
	EmailAddress string `json:"email_address"`
	Notes        string `json:"notes,omitempty"`
	UDF

	More OpenMembers `json:"-"`
}

// NetflixPhone is a phone number.
type NetflixPhone struct {
	Type              string         `json:"type"` // LANDLINE, MOBILE, FAX or CUSTOM1 to CUSTOM5
	IsPrimary         *bool          `json:"is_primary,omitempty"`
	Number            string         `json:"number"`
	AreaCode          string         `json:"area_code,omitempty"`
	CountryIdentifier OpenIdentifier `json:"country_identifier,omitempty"`
	Notes             string         `json:"notes,omitempty"`

	More OpenMembers `json:"-"`
}

// NetflixChargesData is the data of netflix-acknowledge, netflix-accept and netflix-decline.
type NetflixChargesData struct {
	ChargesSet []ChargeIdentifier `json:"charges_set"` // 1 to MaxCharges, no number twice
}

// ChargeIdentifier names a charge. Its reference_number is subrelay's: derived from the cid and the charge's place.
type ChargeIdentifier struct {
	Number                          string `json:"number"`
	BillingSystemCustomerIdentifier string `json:"billing_system_customer_identifier"`
}

// NetflixCreateResult is the result of a succeeded netflix-create.
type NetflixCreateResult struct {
	// NetflixToken is for the registration page. It is a secret: it stands in the outcome and nowhere else.
	NetflixToken string `json:"netflix_token,omitempty"`
	// TokenLost says that the subscription was created and the reply with its token was lost.
	TokenLost bool   `json:"token_lost,omitempty"`
	SettledBy string `json:"settled_by,omitempty"` // "read_back" or "operator"; absent where the reply was clear
}

// NetflixStateResult is the result of a succeeded netflix-suspend, netflix-unsuspend or netflix-cancel.
type NetflixStateResult struct {
	SettledBy string `json:"settled_by,omitempty"` // as in NetflixCreateResult
}

// NetflixChargesResult is the result of a succeeded netflix-acknowledge, netflix-accept or netflix-decline: at least one
// charge was taken.
type NetflixChargesResult struct {
	Taken     []string       `json:"taken,omitempty"`  // numbers; none where an operator settled the command
	Failed    []FailedCharge `json:"failed,omitempty"` // the others
	SettledBy string         `json:"settled_by,omitempty"`
}

// FailedCharge is a charge that CRM.COM did not take, and why.
type FailedCharge struct {
	Number           string `json:"number"`
	ErrorCode        string `json:"error_code,omitempty"`
	ErrorDescription string `json:"error_description,omitempty"`
}

// NetflixCustomerIdentifier names a Netflix customer in a read: exactly one of its members is set.
type NetflixCustomerIdentifier struct {
	BillingSystemCustomerIdentifier string
	NetflixCustomerIdentifier       string // the PAI, which Netflix gives; the vendor's later page has it
}

// NetflixSubscription is a Netflix subscription as a read shows it.
type NetflixSubscription struct {
	SubscriptionNumber string             `json:"subscription_number,omitempty"`
	NetflixState       string             `json:"netflix_state,omitempty"`    // EFFECTIVE or NOT_EFFECTIVE
	LifeCycleState     string             `json:"life_cycle_state,omitempty"` // EFFECTIVE, NOT_EFFECTIVE or CANCELLED
	Promotions         []NetflixPromotion `json:"promotions,omitempty"`
	Prices             []string           `json:"prices,omitempty"` // formatted, such as "EUR 9.99"
}

// The states of a Netflix subscription.
const (
	NetflixEffective    = "EFFECTIVE"
	NetflixNotEffective = "NOT_EFFECTIVE"
	NetflixCancelled    = "CANCELLED" // of LifeCycleState
)

// NetflixPromotion is a promotion.
type NetflixPromotion struct {
	Code          string     `json:"code"`
	Name          string     `json:"name,omitempty"`
	Description   string     `json:"description,omitempty"`
	EffectiveFrom *time.Time `json:"effective_from,omitempty"`
	ExpiresOn     *time.Time `json:"expires_on,omitempty"`
}

// NetflixCharge is a charge that was not acknowledged yet, and the data of the events that tell of it.
type NetflixCharge struct {
	Number                          string      `json:"number"`
	BillingSystemCustomerIdentifier string      `json:"billing_system_customer_identifier"`
	Amount                          json.Number `json:"amount,omitempty"`
	Currency                        string      `json:"currency,omitempty"` // ISO 4217
	LocalCurrencyAmount             json.Number `json:"local_currency_amount,omitempty"`
	LocalCurrency                   string      `json:"local_currency,omitempty"`
	// PaidThroughDate is until when the service runs if the charge is approved.
	PaidThroughDate *time.Time `json:"paid_through_date,omitempty"`
	// ChargeStatus is PENDING (do not bill yet), APPROVED (bill), DECLINED, BAD_REQUEST or REJECTED (do not bill).
	ChargeStatus           string     `json:"charge_status"`
	ReceivedOn             *time.Time `json:"received_on,omitempty"`
	SetAsApprovedOn        *time.Time `json:"set_as_approved_on,omitempty"`
	SetAsDeclinedOn        *time.Time `json:"set_as_declined_on,omitempty"`
	SetAsBadRequestOn      *time.Time `json:"set_as_bad_request_on,omitempty"`
	SetAsRejectedRequestOn *time.Time `json:"set_as_rejected_request_on,omitempty"`
}
