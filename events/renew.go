package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// The bounds of a renewal's length. They are sanity limits of ours; the TVMS pages name none.
const (
	MaxMonths = 120
	MaxDays   = 3650
)

// RenewData is the data of a renew command.
type RenewData struct {
	CustomerMappingID string `json:"customer_mapping_id,omitempty"` // the customer's id in billing
	UserID            string `json:"user_id,omitempty"`             // the login on the TV device
	Months            int    `json:"months,omitempty"`              // up to MaxMonths; exactly one of Months, Days is positive
	Days              int    `json:"days,omitempty"`                // up to MaxDays; 0 is the same as absent
	CRMService        string `json:"crm_service,omitempty"`         // default: the worker's tvms.crm_service
	FromExpireDate    *bool  `json:"from_expire_date,omitempty"`    // default true: count from the present expiry date
}

// FromExpiry is FromExpireDate with its default.
func (r *RenewData) FromExpiry() bool { return r.FromExpireDate == nil || *r.FromExpireDate }

// Customer is the id that must equal the command's subject: CustomerMappingID, or UserID where that is absent.
func (r *RenewData) Customer() string {
	if r.CustomerMappingID != "" {
		return r.CustomerMappingID
	}
	return r.UserID
}

// Target is the expiry date after one renewal of a customer whose expiry date is before, at the moment now.
func (r *RenewData) Target(before, now time.Time) time.Time {
	from := before
	if !r.FromExpiry() {
		from = now.In(before.Location())
	}
	if r.Months > 0 {
		return AddMonths(from, r.Months)
	}
	return from.AddDate(0, 0, r.Days)
}

// ReadRenew decodes the data of a renew command and checks what the schema cannot: that subject names the customer.
// Its errors are of kind Refused.
func ReadRenew(subject string, data json.RawMessage) (RenewData, error) {
	var r RenewData
	if err := unmarshal(data, &r); err != nil {
		return r, &Error{Kind: Refused, Code: CodeSchema, Message: "the data are no renewal" + mistyped(err), Cause: err}
	}
	if r.Customer() != subject {
		return r, &Error{Kind: Refused, Code: CodeKeyMismatch, Message: fmt.Sprintf(
			"the event's subject is %q but the data name %q: the subject must equal customer_mapping_id (or user_id where that is absent)",
			subject, r.Customer())}
	}
	return r, nil
}

// mistyped names the member that has the wrong type.
func mistyped(err error) string {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return fmt.Sprintf(": %s has the wrong type", wrong.Field)
	}
	return ""
}

// RenewResult is the result of a succeeded renewal.
type RenewResult struct {
	// ExpiresBefore and ExpiresAt are known only where the operator has switched the read-back on.
	ExpiresBefore *time.Time `json:"expires_before,omitempty"`
	ExpiresAt     *time.Time `json:"expires_at,omitempty"`
	Months        int        `json:"months,omitempty"`
	Days          int        `json:"days,omitempty"`
	// SettledBy says how an unclear attempt was settled: "read_back" or "operator". Absent where the reply was clear.
	SettledBy string `json:"settled_by,omitempty"`
}
