package handlers

import (
	"context"
	"encoding/json"
	"time"

	"subrelay/events"
)

// Renewer renews at the upstream. The effect adds time and cannot be repeated safely.
type Renewer interface {
	// Renew calls once. Its errors are *events.Error, of kind Refused, Unavailable or Unknown.
	Renew(ctx context.Context, r events.RenewData) error
}

// ExpiryReader reads a customer's expiry date. An error of any kind means that it is not known.
type ExpiryReader interface {
	Expiry(ctx context.Context, r events.RenewData) (time.Time, error)
}

// Renew is the family of renewals. Renewals commute: after a doubt the customer's next renewal goes on.
type Renew struct {
	Renewer Renewer
	// Reader reads back what a renewal has done; nil where the operator has not confirmed such a read. It is never
	// used on an asynchronous route: there the present state proves nothing.
	Reader ExpiryReader
	// SettleAfter is how long after a call an unchanged date means that nothing was done.
	SettleAfter time.Duration
	// GiveUp is how long reading back is tried.
	GiveUp time.Duration
}

// Spec names the kind and its upstream.
func (f Renew) Spec() events.Spec { return specOf(events.Renew) }

// Settling is by read-back, or impossible.
func (f Renew) Settling() Settling {
	return settlingByRead(f.Reader != nil, f.SettleAfter, f.GiveUp)
}

// Open reads the data and checks that the command's subject names the customer.
func (f Renew) Open(c *events.Command) (Operation, error) {
	data, err := events.ReadRenew(c.Subject, c.Data)
	if err != nil {
		return nil, err
	}
	return renewal{Renew: f, data: data}, nil
}

type renewal struct {
	Renew
	data events.RenewData
}

// renewPlan is what a started record keeps of a renewal.
type renewPlan struct {
	Before time.Time `json:"before"` // the expiry date before the call
	Target time.Time `json:"target"` // the exact expiry date after it
}

func (r renewal) Plan(ctx context.Context, try Try) (json.RawMessage, error) {
	before, err := r.Reader.Expiry(ctx, r.data)
	if err != nil {
		return nil, err
	}
	var last renewPlan
	if try.Unsure && json.Unmarshal(try.Last, &last) == nil && !last.Before.Equal(before) {
		return nil, errMoved("the expiry date was " + stamp(last.Before) + " and is " + stamp(before))
	}
	return json.Marshal(renewPlan{Before: before, Target: r.data.Target(before, time.Now())})
}

func (r renewal) Call(ctx context.Context, try Try) (json.RawMessage, error) {
	if err := r.Renewer.Renew(ctx, r.data); err != nil {
		return nil, err
	}
	return r.result(try.Plan, "")
}

// Settle compares the present expiry date with the one before and the target, exactly. Where TVMS counts month ends
// otherwise than events.AddMonths, neither matches, and the verdict is Unclear.
func (r renewal) Settle(ctx context.Context, try Try) (Finding, error) {
	p := readPlan[renewPlan](try.Plan)
	if p.Target.IsZero() {
		return nothingBefore, nil
	}
	now, err := r.Reader.Expiry(ctx, r.data)
	if err != nil {
		return Finding{}, err
	}
	f := Finding{Detail: "before " + stamp(p.Before) + ", target " + stamp(p.Target) + ", read back " + stamp(now)}
	switch {
	case p.Before.Equal(p.Target):
		return f, nil
	case now.Equal(p.Target):
		f.Verdict = Applied
		f.Result, err = r.result(try.Plan, "read_back")
	case now.Equal(p.Before):
		f.Verdict = Unchanged
	}
	return f, err
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (r renewal) result(plan json.RawMessage, settledBy string) (json.RawMessage, error) {
	result := events.RenewResult{Months: r.data.Months, Days: r.data.Days, SettledBy: settledBy}
	var p renewPlan
	if settledBy != "" && json.Unmarshal(plan, &p) == nil {
		result.ExpiresBefore, result.ExpiresAt = &p.Before, &p.Target
	}
	return json.Marshal(result)
}
