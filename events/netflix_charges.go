package events

import "encoding/json"

// ReadNetflixCharges decodes the data of a netflix-acknowledge, netflix-accept or netflix-decline command and checks
// what the schema cannot: that no charge is named twice. The subject is free: a command may name charges of several
// customers. Its errors are of kind Refused.
func ReadNetflixCharges(_ string, data json.RawMessage) (NetflixChargesData, error) {
	var d NetflixChargesData
	if err := readData(data, &d, "list of Netflix charges"); err != nil {
		return d, err
	}
	seen := make(map[string]int, len(d.ChargesSet))
	for i, c := range d.ChargesSet {
		if first, twice := seen[c.Number]; twice {
			return d, wrong("charges_set names the charge %q twice, at /charges_set/%d and /charges_set/%d", c.Number, first, i)
		}
		seen[c.Number] = i
	}
	return d, nil
}
