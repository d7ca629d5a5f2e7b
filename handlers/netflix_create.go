package handlers

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"subrelay/events"
)

// NetflixCreate is the family of creations. A creation has no reference and cannot be repeated safely.
type NetflixCreate struct {
	Creator NetflixCreator
	Reader  NetflixReader // nil: no read-back
	// SettleAfter is how long after a call an unchanged state means that nothing was done.
	SettleAfter time.Duration
	// GiveUp is how long reading back is tried.
	GiveUp time.Duration
}

// Spec names the kind and its upstream.
func (f NetflixCreate) Spec() events.Spec { return specOf(events.NetflixCreate) }

// Settling is by read-back, or impossible.
func (f NetflixCreate) Settling() Settling {
	return settlingByRead(f.Reader != nil, f.SettleAfter, f.GiveUp)
}

func settlingByRead(reads bool, after, giveUp time.Duration) Settling {
	if !reads {
		return Settling{}
	}
	return Settling{Means: true, After: after, GiveUp: giveUp}
}

// Open reads the data and checks that the command's subject names the customer.
func (f NetflixCreate) Open(c *events.Command) (Operation, error) {
	data, err := events.ReadNetflixCreate(c.Subject, c.Data)
	if err != nil {
		return nil, err
	}
	if f.Creator != nil {
		if err := f.Creator.CheckCreate(&data); err != nil {
			return nil, err
		}
	}
	return &creation{NetflixCreate: f, data: data}, nil
}

type creation struct {
	NetflixCreate
	data events.NetflixCreateData
}

// netflixPlan is what a started record keeps of a command for a Netflix subscriber.
type netflixPlan struct {
	Before []netflixView `json:"before"`           // the customer's subscriptions before the call; null where not read
	Target string        `json:"target,omitempty"` // the state that each of them gets, unless it is cancelled
}

// netflixView is a Netflix subscription, as far as settling compares it.
type netflixView struct {
	Number    string `json:"number,omitempty"`
	State     string `json:"state,omitempty"`
	LifeCycle string `json:"life_cycle,omitempty"`
}

// readNetflix reads a customer's subscriptions. The answer is never nil where the read succeeds.
func readNetflix(ctx context.Context, r NetflixReader, customer string) ([]netflixView, error) {
	subscriptions, err := r.NetflixSubscriptions(ctx, customer)
	if err != nil {
		return nil, err
	}
	out := make([]netflixView, 0, len(subscriptions))
	for _, s := range subscriptions {
		out = append(out, netflixView{Number: s.SubscriptionNumber, State: s.NetflixState, LifeCycle: s.LifeCycleState})
	}
	return out, nil
}

// readNetflixBefore reads a customer's subscriptions before a call. Behind an unclear attempt they must be as they were.
func readNetflixBefore(ctx context.Context, r NetflixReader, customer string, try Try) ([]netflixView, error) {
	before, err := readNetflix(ctx, r, customer)
	if last := readPlan[netflixPlan](try.Last); err == nil && try.Unsure && last.Before != nil && !maps.Equal(multiset(last.Before), multiset(before)) {
		return nil, errMoved("the subscriptions were " + describeStates(last.Before) + " and are " + describeStates(before))
	}
	return before, err
}

// nothingBefore is the finding where a start of another version or setting has no plan.
var nothingBefore = Finding{Detail: "no state was read before the call"}

func (c *creation) Plan(ctx context.Context, try Try) (json.RawMessage, error) {
	before, err := readNetflixBefore(ctx, c.Reader, c.data.BillingSystemCustomerIdentifier, try)
	if err != nil {
		return nil, err
	}
	return json.Marshal(netflixPlan{Before: before})
}

func (c *creation) Call(ctx context.Context, _ Try) (json.RawMessage, error) {
	token, err := c.Creator.CreateNetflix(ctx, &c.data)
	if err != nil {
		return nil, err
	}
	return json.Marshal(events.NetflixCreateResult{NetflixToken: token, TokenLost: token == ""})
}

// Settle looks whether the customer, who had no subscription, has one now. The token that came with it is lost: nothing
// reads it back. Where the customer had one before, the upstream may have made another token for it, and nothing tells.
func (c *creation) Settle(ctx context.Context, try Try) (Finding, error) {
	p := readPlan[netflixPlan](try.Plan)
	if p.Before == nil {
		return nothingBefore, nil
	}
	now, err := readNetflix(ctx, c.Reader, c.data.BillingSystemCustomerIdentifier)
	if err != nil {
		return Finding{}, err
	}
	f := Finding{Detail: fmt.Sprintf("the customer had %d Netflix subscriptions before the call and has %d now", len(p.Before), len(now))}
	switch {
	case len(p.Before) > 0:
	case len(now) > 0:
		f.Verdict = Applied
		f.Result, err = json.Marshal(events.NetflixCreateResult{TokenLost: true, SettledBy: "read_back"})
	default:
		f.Verdict = Unchanged
	}
	return f, err
}
