package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/pflag"

	"subrelay/events"
)

// registerReveal adds the flag without which the secrets in results are masked.
func (c *cli) registerReveal(flags *pflag.FlagSet) {
	flags.BoolVar(&c.reveal, "reveal", false, "show the secrets in results, such as Netflix tokens")
}

// shown is a result as it may be printed.
func (c *cli) shown(result json.RawMessage) json.RawMessage {
	if c.reveal || len(result) == 0 {
		return result
	}
	return events.MaskResult(result)
}

// shownHistory masks the results of a history that is to be printed.
func (c *cli) shownHistory(all []historyEntry) {
	for i := range all {
		all[i].Result = c.shown(all[i].Result)
	}
}

// shownEvent is the stored event of an outcome as it may be printed: byte for byte, unless something is masked.
func (c *cli) shownEvent(raw []byte, o *events.Outcome) ([]byte, error) {
	masked := c.shown(o.Result)
	if string(masked) == string(o.Result) {
		return raw, nil
	}
	var e, data map[string]json.RawMessage
	err := json.Unmarshal(raw, &e)
	if err == nil {
		err = json.Unmarshal(e["data"], &data)
	}
	if err != nil {
		return nil, fmt.Errorf("its result holds a secret and cannot be masked: %w", err)
	}
	data["result"] = masked
	if e["data"], err = json.Marshal(data); err != nil {
		return nil, err
	}
	return json.Marshal(e)
}
