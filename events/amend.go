package events

import (
	"cmp"
	"encoding/json"
)

// ReadAmend decodes the data of an amend command and checks what the schema cannot: that subject names the subscription,
// and that no installed items are added by an action that is only scheduled. Its errors are of kind Refused.
func ReadAmend(subject string, data json.RawMessage) (AmendData, error) {
	var d AmendData
	if err := readData(data, &d, "amendment"); err != nil {
		return d, err
	}
	if d.ScheduledDate != nil && len(d.InstalledItemsToAddSet) > 0 {
		return d, wrong("installed items cannot be added by a scheduled action: leave out scheduled_date or installed_items_to_add_set")
	}
	return d, d.checkKey(subject)
}

// checkKey refuses an action under another key than the number or id that it names. An account that is named otherwise
// may have any key.
func (d *ActionData) checkKey(subject string) error {
	switch s, a := d.SubscriptionIdentifier, d.AccountsReceivableIdentifier; {
	case s != nil:
		return keyIs(subject, cmp.Or(s.Number, s.ID), "subscription_identifier.number or .id, whichever is given")
	case a != nil && cmp.Or(a.Number, a.ID) != "":
		return keyIs(subject, cmp.Or(a.Number, a.ID), "accounts_receivable_identifier.number or .id, whichever is given")
	}
	return nil
}
