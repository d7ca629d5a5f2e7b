package events

import "time"

// The members of the data below have the names of CRM.COM's parameters, so that the vendor's pages can be read beside
// them (space V4Development, POST subscriptions/amend; space V4, amend_subscription_service_*_parameter). What subrelay
// sets itself is not among them: token, transaction_reference_number and fields_set. Which release came with what, the
// adapter knows.

// SubscriptionIdentifier names a subscription: exactly one of its members is set.
type SubscriptionIdentifier struct {
	ID     string `json:"id,omitempty"`
	Number string `json:"number,omitempty"`
}

// AccessTokenIdentifier names an account by what its owner knows: AuthenticationCode, or Identifier with PassCode.
// These are the customer's credentials: they are masked wherever a command is kept.
type AccessTokenIdentifier struct {
	AuthenticationCode string `json:"authentication_code,omitempty"`
	Identifier         string `json:"identifier,omitempty"`
	PassCode           string `json:"pass_code,omitempty"`
}

// AccountIdentifier names an accounts receivable: exactly one of its members is set. It stands for the account's only
// subscription.
type AccountIdentifier struct {
	ID                    string                 `json:"id,omitempty"`
	Number                string                 `json:"number,omitempty"`
	Name                  string                 `json:"name,omitempty"`
	AccessTokenIdentifier *AccessTokenIdentifier `json:"access_token_identifier,omitempty"`
}

// ServiceIdentifier names a product that is a service: exactly one of its members is set. In what a read returns, all
// that are known are.
type ServiceIdentifier struct {
	ID              string `json:"id,omitempty"`
	Code            string `json:"code,omitempty"`
	AlternativeCode string `json:"alternative_code,omitempty"`
}

// NamedIdentifier names a provisioning distributor, an action type, a sub action type or a unit: exactly one of its
// members is set. Code is of a business unit, from R18.0.0.
type NamedIdentifier struct {
	ID              string `json:"id,omitempty"`
	Name            string `json:"name,omitempty"`
	AlternativeCode string `json:"alternative_code,omitempty"`
	Code            string `json:"code,omitempty"`
}

// ItemIdentifier names an installed item: exactly one of its members is set.
type ItemIdentifier struct {
	ID              string `json:"id,omitempty"`
	SerialNumber    string `json:"serial_number,omitempty"`
	AlternativeCode string `json:"alternative_code,omitempty"`
}

// OpenIdentifier names a record whose identifier the vendor's pages, as far as read, do not describe: a user, a payment
// gateway card, an action classification. Its members are passed on as they are.
type OpenIdentifier map[string]string

// UDF holds user defined fields. Absent ones are nil.
type UDF struct {
	String1 *string    `json:"udf_string_1,omitempty"`
	String2 *string    `json:"udf_string_2,omitempty"`
	String3 *string    `json:"udf_string_3,omitempty"`
	String4 *string    `json:"udf_string_4,omitempty"`
	String5 *string    `json:"udf_string_5,omitempty"`
	String6 *string    `json:"udf_string_6,omitempty"`
	String7 *string    `json:"udf_string_7,omitempty"`
	String8 *string    `json:"udf_string_8,omitempty"`
	Float1  *float64   `json:"udf_float_1,omitempty"`
	Float2  *float64   `json:"udf_float_2,omitempty"`
	Float3  *float64   `json:"udf_float_3,omitempty"`
	Float4  *float64   `json:"udf_float_4,omitempty"`
	Date1   *time.Time `json:"udf_date_1,omitempty"`
	Date2   *time.Time `json:"udf_date_2,omitempty"`
	Date3   *time.Time `json:"udf_date_3,omitempty"`
	Date4   *time.Time `json:"udf_date_4,omitempty"`
}

// ActionData is what every action on a subscription takes.
type ActionData struct {
	// Exactly one of these two is set.
	SubscriptionIdentifier       *SubscriptionIdentifier `json:"subscription_identifier,omitempty"`
	AccountsReceivableIdentifier *AccountIdentifier      `json:"accounts_receivable_identifier,omitempty"`

	ActionTypeIdentifier         *NamedIdentifier `json:"action_type_identifier,omitempty"`
	SubActionTypeIdentifier      *NamedIdentifier `json:"sub_action_type_identifier,omitempty"`
	ClassificationIdentifier     OpenIdentifier   `json:"classification_identifier,omitempty"`
	PaymentGatewayCardIdentifier OpenIdentifier   `json:"payment_gateway_card_identifier,omitempty"`
	PerformedByUserIdentifier    OpenIdentifier   `json:"performed_by_user_identifier,omitempty"`
	PerformedByUnitIdentifier    *NamedIdentifier `json:"performed_by_unit_identifier,omitempty"`

	PerformedOn             *time.Time `json:"performed_on,omitempty"`
	BillingEffectiveDate    *time.Time `json:"billing_effective_date,omitempty"`
	BillablePeriodStartDate *time.Time `json:"billable_period_start_date,omitempty"`
	// ScheduledDate, where set, only schedules the action. No installed items may then be added.
	ScheduledDate *time.Time `json:"scheduled_date,omitempty"`

	UDF
}

// Distribution is one distributor at which a service or an item is.
type Distribution struct {
	ProvisioningDistributorIdentifier NamedIdentifier `json:"provisioning_distributor_identifier"`
}

// Component is a service within a flexible product bundle.
type Component struct {
	ServiceIdentifier ServiceIdentifier `json:"service_identifier"`
}

// ServiceToAdd is an element of services_to_add_set.
type ServiceToAdd struct {
	ServiceIdentifier        ServiceIdentifier `json:"service_identifier"`
	PeriodBilledInAdvance    *int              `json:"period_billed_in_advance,omitempty"`
	PeriodBilledInAdvanceUOT string            `json:"period_billed_in_advance_uot,omitempty"` // DAYS, WEEKS or MONTHS
	ServicesDistributionSet  []Distribution    `json:"services_distribution_set,omitempty"`
	ComponentsSet            []Component       `json:"components_set,omitempty"`
}

// ServiceToRemove is an element of services_to_remove_set. Without distributors it leaves the subscription.
type ServiceToRemove struct {
	ServiceIdentifier       ServiceIdentifier `json:"service_identifier"`
	ServicesDistributionSet []Distribution    `json:"services_distribution_set,omitempty"`
}

// InstalledItem is an element of installed_items_to_add_set and installed_items_to_remove_set.
type InstalledItem struct {
	InstalledItemIdentifier       ItemIdentifier `json:"installed_item_identifier"`
	InstalledItemsDistributionSet []Distribution `json:"installed_items_distribution_set,omitempty"`
}

// AmendData is the data of an amend command. At least one of its sets is not empty.
type AmendData struct {
	ActionData
	ServicesToAddSet          []ServiceToAdd    `json:"services_to_add_set,omitempty"`
	ServicesToRemoveSet       []ServiceToRemove `json:"services_to_remove_set,omitempty"`
	InstalledItemsToAddSet    []InstalledItem   `json:"installed_items_to_add_set,omitempty"`
	InstalledItemsToRemoveSet []InstalledItem   `json:"installed_items_to_remove_set,omitempty"`
}

// SwapFrom is the service that a swap takes away: exactly one of its members is set.
type SwapFrom struct {
	SubscriptionServiceID string             `json:"subscription_service_id,omitempty"` // the instance on the subscription
	ServiceIdentifier     *ServiceIdentifier `json:"service_identifier,omitempty"`
}

// SwapTo is the service that a swap puts in its place.
type SwapTo struct {
	ServiceIdentifier        ServiceIdentifier `json:"service_identifier"`
	PeriodBilledInAdvance    *int              `json:"period_billed_in_advance,omitempty"`
	PeriodBilledInAdvanceUOT string            `json:"period_billed_in_advance_uot,omitempty"`
	ServicesDistributionSet  []Distribution    `json:"services_distribution_set,omitempty"`
	ComponentsSet            []Component       `json:"components_set,omitempty"`
	UDF
}

// ServiceSwap is one swap.
type ServiceSwap struct {
	FromService SwapFrom `json:"from_service"`
	ToService   SwapTo   `json:"to_service"`
}

// SwapData is the data of a swap command.
type SwapData struct {
	ActionData
	// BusinessClassificationCode is UPGRADE_SERVICE, DOWNGRADE_SERVICE or SWITCH_SERVICE; absent: by the tiers.
	BusinessClassificationCode string        `json:"business_classification_code,omitempty"`
	ServicesToSwapSet          []ServiceSwap `json:"services_to_swap_set"` // at least one
}

// ActionResult is the result of a succeeded amend or swap.
type ActionResult struct {
	// Reference is the transaction_reference_number that was sent, derived from the cid.
	Reference string `json:"reference,omitempty"`
	// Scheduled says that the action was only scheduled, by its scheduled_date.
	Scheduled bool `json:"scheduled,omitempty"`
	// SubscriptionID, SubscriptionNumber and LifeCycleState are the subscription's, as far as the reply named them.
	SubscriptionID     string `json:"subscription_id,omitempty"`
	SubscriptionNumber string `json:"subscription_number,omitempty"`
	LifeCycleState     string `json:"life_cycle_state,omitempty"`
	// ActionID, ActionNumber and ActionState are the action's, as far as the reply named them.
	ActionID     string `json:"action_id,omitempty"`
	ActionNumber string `json:"action_number,omitempty"`
	ActionState  string `json:"action_state,omitempty"`
	// SettledBy says how an unclear attempt was settled: "reference" or "operator". Absent where the reply was clear.
	SettledBy string `json:"settled_by,omitempty"`
}

// Subscription is a subscription as a read shows it. It holds nothing personal.
type Subscription struct {
	ID             string              `json:"id,omitempty"`
	Number         string              `json:"number,omitempty"`
	LifeCycleState string              `json:"life_cycle_state,omitempty"`
	Services       []SubscribedService `json:"services"`
}

// SubscribedService is one service on a subscription.
type SubscribedService struct {
	ID             string            `json:"id,omitempty"` // of the instance: subscription_service_id
	LifeCycleState string            `json:"life_cycle_state,omitempty"`
	Product        ServiceIdentifier `json:"product"`
}

// Live reports whether the service is on the subscription, in effect or not.
func (s *SubscribedService) Live() bool {
	switch s.LifeCycleState {
	case "SWAPPED", "REMOVED", "CANCELLED", "REGRETTED", "REPLACED":
		return false
	}
	return true
}
