package events

import "encoding/json"

// ReadSwap decodes the data of a swap command and checks what the schema cannot: that subject names the subscription.
// Its errors are of kind Refused.
func ReadSwap(subject string, data json.RawMessage) (SwapData, error) {
	var d SwapData
	if err := readData(data, &d, "swap"); err != nil {
		return d, err
	}
	return d, d.checkKey(subject)
}
