package handlers

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"subrelay/events"
)

// NetflixState is the families of suspending, unsuspending and cancelling: each kind is one.
type NetflixState struct {
	Kind        events.Kind
	Setter      NetflixSetter
	Reader      NetflixReader // nil: no read-back
	SettleAfter time.Duration
	GiveUp      time.Duration
}

// Spec names the kind and its upstream.
func (f NetflixState) Spec() events.Spec { return specOf(f.Kind) }

// Settling is by read-back, or impossible: what netflix-cancel does to the state, the vendor's pages do not say.
func (f NetflixState) Settling() Settling {
	return settlingByRead(f.Reader != nil && f.target() != "", f.SettleAfter, f.GiveUp)
}

// target is the state that the kind sets, "" where that is not known.
func (f NetflixState) target() string {
	switch f.Kind {
	case events.NetflixSuspend:
		return events.NetflixNotEffective
	case events.NetflixUnsuspend:
		return events.NetflixEffective
	}
	return ""
}

// Open reads the data and checks that the command's subject names the customer.
func (f NetflixState) Open(c *events.Command) (Operation, error) {
	data, err := events.ReadNetflixCustomer(c.Subject, c.Data)
	if err != nil {
		return nil, err
	}
	if f.Setter != nil {
		if err := f.Setter.CheckState(f.Kind); err != nil {
			return nil, err
		}
	}
	return &stateSetting{NetflixState: f, customer: data.BillingSystemCustomerIdentifier}, nil
}

type stateSetting struct {
	NetflixState
	customer string
}

func (s *stateSetting) Plan(ctx context.Context, try Try) (json.RawMessage, error) {
	before, err := readNetflixBefore(ctx, s.Reader, s.customer, try)
	if err != nil {
		return nil, err
	}
	return json.Marshal(netflixPlan{Before: before, Target: s.target()})
}

func (s *stateSetting) Call(ctx context.Context, _ Try) (json.RawMessage, error) {
	if err := s.Setter.SetNetflix(ctx, s.Kind, s.customer); err != nil {
		return nil, err
	}
	return json.Marshal(events.NetflixStateResult{})
}

// Settle compares the present states with those before and the target, exactly. Where the target was the state already,
// nothing can have changed.
func (s *stateSetting) Settle(ctx context.Context, try Try) (Finding, error) {
	p := readPlan[netflixPlan](try.Plan)
	if p.Before == nil || p.Target == "" {
		return nothingBefore, nil
	}
	now, err := readNetflix(ctx, s.Reader, s.customer)
	if err != nil {
		return Finding{}, err
	}
	before, target := states(p.Before, ""), states(p.Before, p.Target)
	f := Finding{Detail: fmt.Sprintf("%s before, target %s, read back %s", describeStates(p.Before), p.Target, describeStates(now))}
	switch {
	case len(target) == 0: // no subscription that could get the state
	case maps.Equal(multiset(now), multiset(p.Before)):
		f.Verdict = Unchanged
	case !maps.Equal(before, target) && maps.Equal(states(now, ""), target):
		f.Verdict = Applied
		f.Result, err = json.Marshal(events.NetflixStateResult{SettledBy: "read_back"})
	}
	return f, err
}

// states counts the subscriptions that are not cancelled by number and state, or as if each had the state as.
func states(views []netflixView, as string) map[netflixView]int {
	out := map[netflixView]int{}
	for _, v := range views {
		if v.LifeCycle == events.NetflixCancelled {
			continue
		}
		if as != "" {
			v.State = as
		}
		out[netflixView{Number: v.Number, State: v.State}]++
	}
	return out
}

// describeStates is the subscriptions for people.
func describeStates(views []netflixView) string {
	var out []string
	for _, v := range views {
		out = append(out, fmt.Sprintf("%s %s (%s)", v.Number, v.State, v.LifeCycle))
	}
	slices.Sort(out)
	return fmt.Sprint(out)
}
