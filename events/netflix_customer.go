package events

import "encoding/json"

// ReadNetflixCustomer decodes the data of a netflix-suspend, netflix-unsuspend or netflix-cancel command and checks what
// the schema cannot: that subject names the customer. Its errors are of kind Refused.
func ReadNetflixCustomer(subject string, data json.RawMessage) (NetflixCustomerData, error) {
	var d NetflixCustomerData
	if err := readData(data, &d, "Netflix customer"); err != nil {
		return d, err
	}
	return d, keyIs(subject, d.BillingSystemCustomerIdentifier, customerMember)
}
