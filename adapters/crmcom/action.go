package crmcom

import "subrelay/events"

// action is what every action on a subscription has on the wire. The dates take the place of those of the data, which
// lie one level deeper, because encoding/json prefers the member that is embedded less deeply.
type action struct {
	Token     string `json:"token"`
	Reference string `json:"transaction_reference_number,omitempty"`
	actionData
	actionDates
	udfDates
}

type actionData struct{ events.ActionData }

type actionDates struct {
	PerformedOn             string `json:"performed_on,omitempty"`
	BillingEffectiveDate    string `json:"billing_effective_date,omitempty"`
	BillablePeriodStartDate string `json:"billable_period_start_date,omitempty"`
	ScheduledDate           string `json:"scheduled_date,omitempty"`
}

func (w *wire) action(token, reference string, d *events.ActionData) action {
	return action{token, reference, actionData{*d}, actionDates{
		w.clock.write(d.PerformedOn), w.clock.write(d.BillingEffectiveDate),
		w.clock.write(d.BillablePeriodStartDate), w.clock.write(d.ScheduledDate),
	}, w.clock.dates(&d.UDF)}
}

// amendRequest is the body of POST subscriptions/amend.
type amendRequest struct {
	action
	ServicesToAddSet          []events.ServiceToAdd    `json:"services_to_add_set,omitempty"`
	ServicesToRemoveSet       []events.ServiceToRemove `json:"services_to_remove_set,omitempty"`
	InstalledItemsToAddSet    []events.InstalledItem   `json:"installed_items_to_add_set,omitempty"`
	InstalledItemsToRemoveSet []events.InstalledItem   `json:"installed_items_to_remove_set,omitempty"`
	FieldsSet                 string                   `json:"fields_set,omitempty"`
}

// stateScheduled is the state of an action that waits for its date.
const stateScheduled = "SCHEDULED"
