package crmcom

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

// Client amends subscriptions and swaps their services at one CRM.COM installation, and reads what was done. It may be
// shared.
type Client struct{ *wire }

// New is a client that calls through guard, to which it makes the session's secrets known. warnings are for the
// operator, and are logged by the guard's logger too. The error names every setting that is wrong, and shows no secret.
func New(s Settings, session *Session, guard *upstream.Guard) (c *Client, warnings []string, err error) {
	w, err := newWire(s, session, guard)
	if err != nil {
		return nil, nil, err
	}
	warnings = w.warnings()
	for _, text := range warnings {
		w.warn(text)
	}
	return &Client{w}, warnings, nil
}

// warnings are those that concern amendments, swaps and the login.
func (w *wire) warnings() (texts []string) {
	if w.session.settings.WebAPIKey.IsZero() {
		texts = append(texts, "crmcom.username is set: the vendor recommends a Web API key (crmcom.web_api_key)")
	}
	if !w.settings.Reference.Enforced {
		texts = append(texts, "crmcom.reference.enforced is not set: an amend or swap whose reply was lost will be in doubt. Set it once the "+
			"installation has been seen to refuse a transaction_reference_number that was used before")
	}
	if !w.settings.Swap.Confirmed {
		texts = append(texts, "crmcom.swap.confirmed is not set: swaps are refused. They would be sent "+w.swapsAre()+
			", which the vendor's pages leave open. Try one at the installation first")
	}
	return texts
}

// swapsAre says how swaps are sent.
func (w *wire) swapsAre() string {
	if s := &w.settings.Swap; s.Carrier == carrierMethod {
		return "by " + s.Path
	}
	return fmt.Sprintf("as %s of %s", w.settings.Swap.Set, w.settings.Amend.Path)
}

// Authenticate gets a token, or proves that there is one: our credentials are good. It changes nothing. Its errors are of
// kind Unavailable, or Internal where ctx has ended before anything was sent.
func (c *Client) Authenticate(ctx context.Context) error {
	_, _, err := c.session.get(ctx, c.wire, "")
	return err
}

// Enforced reports whether the installation is known to refuse a reference that was used before.
func (c *Client) Enforced() bool { return c.settings.Reference.Enforced }

// SettleAfter is how long after a call an unchanged state means that nothing was done.
func (c *Client) SettleAfter() time.Duration { return c.settings.SettleAfter }

// GiveUpAfter is how long after a call settling is given up.
func (c *Client) GiveUpAfter() time.Duration { return c.settings.GiveUpAfter }

// Reference is the transaction_reference_number of the actions of the command cid; "" where none is sent.
func (c *Client) Reference(cid string) string {
	if c.settings.Reference.Omit {
		return ""
	}
	return c.settings.Reference.of(cid)
}

// CheckAmend refuses parameters that the installed release does not know, and dates that cannot be written, by name.
func (c *Client) CheckAmend(d *events.AmendData) error {
	if err := c.rules.check("amend", d); err != nil {
		return err
	}
	return c.clock.check("", datesOf(&d.ActionData))
}

// Amend amends by one call (space V4Development, POST subscriptions/amend), under the reference, which is not sent
// where it is "". Errors are *events.Error: Refused, Unavailable or Unknown as the package comment says; Conflict where CRM.COM has seen
// the reference before; Internal where ctx ended before the request was sent. Any result names the reference.
func (c *Client) Amend(ctx context.Context, reference string, d *events.AmendData) (events.ActionResult, error) {
	return c.act(ctx, reference, &d.ActionData, func(a action) (*http.Request, error) {
		return c.post(c.settings.Amend.Path, amendRequest{
			action:                    a,
			ServicesToAddSet:          d.ServicesToAddSet,
			ServicesToRemoveSet:       d.ServicesToRemoveSet,
			InstalledItemsToAddSet:    d.InstalledItemsToAddSet,
			InstalledItemsToRemoveSet: d.InstalledItemsToRemoveSet,
			FieldsSet:                 c.settings.Amend.FieldsSet,
		})
	})
}

// act makes the call of an action on a subscription.
func (c *Client) act(ctx context.Context, reference string, d *events.ActionData, build func(action) (*http.Request, error)) (events.ActionResult, error) {
	p := personalOfAction(d)
	data, err := c.call(ctx, p, func(token string) (*http.Request, error) {
		return build(c.action(token, reference, d))
	})
	if err != nil {
		return events.ActionResult{Reference: reference}, err // one that was seen before is told of too
	}
	result, err := c.actedUpon(data, reference, p)
	result.Reference = reference
	result.Scheduled = result.Scheduled || d.ScheduledDate != nil
	return result, err
}
