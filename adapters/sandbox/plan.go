package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// Plan is what shall go wrong. For each call the first that applies is played: Down, the script, the standing faults,
// the rates. Its zero value is: nothing.
type Plan struct {
	// Down closes every connection of the API without a reply and without effect, until lifted. See Faults.OnDown.
	Down bool `json:"down,omitempty"`
	// Script is consumed: a call takes the first step that matches it.
	Script []Step `json:"script,omitempty"`
	// Standing faults are played to every call that matches, until lifted. The first that matches counts.
	Standing []Fault `json:"standing,omitempty"`
	// Rates are played to a share of the calls.
	Rates []Rate `json:"rates,omitempty"`
	// Seed decides which calls the rates hit. 0 is the sandbox's own seed. Which calls of a customer are hit depends on
	// the seed, the customer and the number of the call among this customer's calls since the plan was set: not on how
	// customers interleave.
	Seed uint64 `json:"seed,omitempty"`
}

// Step is a fault for the next calls that match.
type Step struct {
	Fault
	Times int `json:"times,omitempty"` // for how many calls; 0 is 1
}

// Rate is a fault with a probability, from above 0 to 1. A call draws once: with two rates of 0.1 that match, it meets
// the first with 0.1, the second with 0.1, and none with 0.8.
type Rate struct {
	Fault
	Rate float64 `json:"rate"`
}

// DecodePlan reads a plan from JSON. It refuses unknown fields, anything after the plan, and what check refuses.
func DecodePlan(raw []byte) (Plan, error) {
	var p Plan
	if err := decodeStrict(raw, &p); err != nil {
		return Plan{}, fmt.Errorf("the fault plan: %w", err)
	}
	return p, p.check(nil)
}

// decodeStrict reads one JSON value, with no unknown fields and nothing behind it.
func decodeStrict(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("the body is empty")
		}
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON value")
	}
	return nil
}

func (p *Plan) check(routes map[string]bool) error {
	for i := range p.Script {
		if err := p.Script[i].check(routes); err != nil {
			return fmt.Errorf("script[%d]: %w", i, err)
		}
		if p.Script[i].Times < 0 {
			return fmt.Errorf("script[%d]: times is negative", i)
		}
	}
	for i := range p.Standing {
		if err := p.Standing[i].check(routes); err != nil {
			return fmt.Errorf("standing[%d]: %w", i, err)
		}
	}
	for i := range p.Rates {
		if err := p.Rates[i].check(routes); err != nil {
			return fmt.Errorf("rates[%d]: %w", i, err)
		}
		if r := p.Rates[i].Rate; r <= 0 || r > 1 || math.IsNaN(r) {
			return fmt.Errorf("rates[%d]: rate %v is not above 0 and at most 1", i, r)
		}
	}
	return nil
}

func (p *Plan) clone() Plan {
	c := *p
	c.Script, c.Standing, c.Rates = slices.Clone(p.Script), slices.Clone(p.Standing), slices.Clone(p.Rates)
	return c
}
