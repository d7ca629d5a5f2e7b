package events

import "encoding/json"

// customerMember is the member that names the customer of the Netflix kinds.
const customerMember = "billing_system_customer_identifier"

// maxOpenNumber is the longest spelling of a number that is passed on as it stands, in bytes.
const maxOpenNumber = 32

// ReadNetflixCreate decodes the data of a netflix-create command and checks what the schema cannot: that subject names
// the customer, and that numbers which are passed on as they stand are short. Its errors are of kind Refused.
func ReadNetflixCreate(subject string, data json.RawMessage) (NetflixCreateData, error) {
	var d NetflixCreateData
	if err := readData(data, &d, "Netflix creation"); err != nil {
		return d, err
	}
	for name, more := range d.openMembers() {
		for _, value := range more {
			if c := value[0]; (c == '-' || '0' <= c && c <= '9') && len(value) > maxOpenNumber {
				return d, wrong("%s holds a number of more than %d characters", name, maxOpenNumber)
			}
		}
	}
	return d, keyIs(subject, d.BillingSystemCustomerIdentifier, customerMember)
}

// openMembers are the members that nobody described, by the object that holds them.
func (d *NetflixCreateData) openMembers() map[string]OpenMembers {
	all := make(map[string]OpenMembers, 3)
	if d.CustomerAddress != nil {
		all["customer_address"] = d.CustomerAddress.More
	}
	if d.CustomerEmail != nil {
		all["customer_email"] = d.CustomerEmail.More
	}
	if d.CustomerPhone != nil {
		all["customer_phone"] = d.CustomerPhone.More
	}
	return all
}
