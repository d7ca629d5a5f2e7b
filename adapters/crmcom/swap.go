package crmcom

import (
	"bytes"
	"context"
	"net/http"

	"subrelay/events"
)

// What SwapSettings.Carrier may be.
const (
	carrierAmend  = "amend"
	carrierMethod = "method"
)

// CheckSwap refuses every swap until the operator has confirmed how they are sent, parameters that the installed release
// does not know, those that the configured way of sending swaps has no place for, and dates that cannot be written, by name.
func (c *Client) CheckSwap(d *events.SwapData) error {
	if !c.settings.Swap.Confirmed {
		return refused(events.CodeNotConfigured, "swap has no confirmed way: it would be sent "+c.swapsAre()+", which the vendor's pages "+
			"leave open; try one at the installation, and set crmcom.swap.confirmed")
	}
	if err := c.rules.check("swap", d); err != nil {
		return err
	}
	if err := c.checkSwapDates(d); err != nil {
		return err
	}
	misfit := func(what string) error {
		return refused(events.CodeNotConfigured, what+" cannot be sent where crmcom.swap.carrier is "+c.settings.Swap.Carrier)
	}
	if c.settings.Swap.Carrier == carrierAmend {
		if d.BusinessClassificationCode != "" {
			return misfit("business_classification_code")
		}
		return nil
	}
	for i := range d.ServicesToSwapSet {
		to := &d.ServicesToSwapSet[i].ToService
		if to.UDF != (events.UDF{}) {
			return misfit("services_to_swap_set.to_service.udf_*")
		}
		if len(to.ServicesDistributionSet) > 0 {
			return misfit("services_to_swap_set.to_service.services_distribution_set")
		}
	}
	return nil
}

func (c *Client) checkSwapDates(d *events.SwapData) error {
	err := c.clock.check("", datesOf(&d.ActionData))
	for i := range d.ServicesToSwapSet {
		if err == nil {
			err = c.clock.check("services_to_swap_set.to_service.", udfDatesOf(&d.ServicesToSwapSet[i].ToService.UDF))
		}
	}
	return err
}

// Swap swaps services by one call: a set of POST subscriptions/amend, or the swap services method (space V4,
// amend_subscription_service_swap_parameter; space V4Development, wiki page 490693). Its errors are those of Amend.
func (c *Client) Swap(ctx context.Context, reference string, d *events.SwapData) (events.ActionResult, error) {
	path := c.settings.Amend.Path
	if c.settings.Swap.Carrier == carrierMethod {
		path = c.settings.Swap.Path
	}
	return c.act(ctx, reference, &d.ActionData, func(a action) (*http.Request, error) {
		return c.post(path, swapRequest{
			action: a, Classification: d.BusinessClassificationCode,
			set: c.settings.Swap.Set, swaps: c.wireSwaps(d.ServicesToSwapSet), FieldsSet: c.settings.Amend.FieldsSet,
		})
	})
}

// wireSwap is a swap with its dates as CRM.COM writes them.
type wireSwap struct {
	FromService events.SwapFrom `json:"from_service"`
	ToService   wireSwapTo      `json:"to_service"`
}

type wireSwapTo struct {
	swapTo
	udfDates
}

type swapTo struct{ events.SwapTo }

func (c *Client) wireSwaps(swaps []events.ServiceSwap) []wireSwap {
	out := make([]wireSwap, len(swaps))
	for i := range swaps {
		to := swaps[i].ToService
		out[i] = wireSwap{swaps[i].FromService, wireSwapTo{swapTo{to}, c.clock.dates(&to.UDF)}}
	}
	return out
}

// swapRequest is the body of a swap. The name of the set that holds the swaps is a setting.
type swapRequest struct {
	action
	Classification string `json:"business_classification_code,omitempty"`
	FieldsSet      string `json:"fields_set,omitempty"`

	set   string
	swaps []wireSwap
}

// MarshalJSON writes the set behind the other members, which are never none: there is always a token.
func (r swapRequest) MarshalJSON() ([]byte, error) {
	type plain swapRequest // without this method
	head, err := events.PlainJSON(plain(r))
	if err != nil {
		return nil, err
	}
	swaps, err := events.PlainJSON(map[string]any{r.set: r.swaps})
	if err != nil {
		return nil, err
	}
	return append(append(bytes.TrimSuffix(head, []byte("}")), ','), swaps[1:]...), nil
}
