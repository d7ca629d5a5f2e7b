package handlers

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"subrelay/events"
)

// action is an amend or a swap: an action on a subscription under a reference that follows from the command's identity
// and is the same in every attempt. Where the upstream enforces references, it has at most one effect, however often
// and by however many workers it is sent. So an unclear attempt is settled by sending it again:
//
//   - accepted: it is done now, by this call or by an earlier one that the upstream answers alike
//   - the reference was seen before: probably done, which a read must confirm, since the vendor's pages leave open
//     whether a rejected action uses its reference up
//   - refused for another reason: not done, if a read shows the state before; done, if it shows the target
//
// A repetition may come after the command's expirytime: that says when a command may no longer be started, and this one
// was.
//
// Two things could still hide an effect, each only together with a worker that ends at the wrong moment: a broker that
// stores a record later than Config.Election allows, and an upstream that refuses a call and accepts the same a moment
// later.
type action struct {
	data   *events.ActionData
	change change
	reader SubscriptionReader
	send   func(ctx context.Context, reference string) (events.ActionResult, error)
	// reference is under which a first attempt sends it, by the present settings.
	reference func() string
}

func settlingByReference(reader SubscriptionReader, after, giveUp time.Duration) Settling {
	if reader == nil {
		return Settling{}
	}
	return Settling{Means: true, Repeats: true, After: after, GiveUp: giveUp}
}

// actionPlan is what a started record keeps of an action. It holds nothing personal.
type actionPlan struct {
	// Reference is under which the attempt sends the action, and every attempt and repetition after it, whatever the
	// settings say by then: under any other it would be a second action.
	Reference string `json:"reference"`
	// Before is the services that were live before the call; null where they were not read, or would tell nothing.
	Before []events.SubscribedService `json:"before"`
	Target *target                    `json:"target,omitempty"`
	// Unforeseen is why there is no target: then only the upstream's answer to a repetition can tell.
	Unforeseen string `json:"unforeseen,omitempty"`
}

const (
	whyNoSubscription = "the subscription is named by its account, and cannot be read"
	whyTooMany        = "the subscription has more services than a record has room for"
)

// Plan reads the services and foresees those after the call. Where that is impossible, the plan says why.
func (a *action) Plan(ctx context.Context, try Try) (json.RawMessage, error) {
	p := actionPlan{Reference: a.referenceOf(try.Last)}
	switch {
	case a.data.SubscriptionIdentifier == nil:
		p.Unforeseen = whyNoSubscription
		return json.Marshal(p)
	case a.change.hidden != "":
		p.Unforeseen = a.change.hidden
		return json.Marshal(p)
	}
	s, err := a.reader.Subscription(ctx, *a.data.SubscriptionIdentifier)
	if err != nil {
		return nil, err
	}
	p.Before = live(s.Services)
	p.Target, p.Unforeseen = a.change.foresee(p.Before)
	plan, err := json.Marshal(p)
	if len(plan) > maxPlan {
		return json.Marshal(actionPlan{Reference: p.Reference, Unforeseen: whyTooMany})
	}
	return plan, err
}

// referenceOf is the reference of a plan, or, where it has none, that of the present settings.
func (a *action) referenceOf(plan json.RawMessage) string {
	return cmp.Or(readPlan[actionPlan](plan).Reference, a.reference())
}

// Call sends the action.
func (a *action) Call(ctx context.Context, try Try) (json.RawMessage, error) {
	result, err := a.send(ctx, a.referenceOf(try.Plan))
	switch {
	case err == nil:
		return a.result(result, "")
	case try.Unsure && events.KindOf(err) == events.Refused:
		return a.doubted(ctx, try, result, events.AsError(err))
	}
	return nil, seenBefore(err, try.Number)
}

// doubted finds out what a refusal means behind an attempt that was unclear: that one's effect may have come late, and be
// why this is refused.
func (a *action) doubted(ctx context.Context, try Try, r events.ActionResult, refusal *events.Error) (json.RawMessage, error) {
	finding, err := a.refused(ctx, plansOf(Try{Plan: try.Last}), r, refusal)
	switch {
	case err == nil && finding.Verdict == Applied:
		return finding.Result, nil
	case err == nil && finding.Verdict == Unchanged:
		return nil, refusal
	}
	return nil, asUnknown(refusal)
}

// plansOf is the plans by which an attempt is judged: its own, and that of an unclear one before it, whose effect its own
// read may have shown already.
func plansOf(try Try) []actionPlan {
	plans := []actionPlan{readPlan[actionPlan](try.Plan)}
	if try.Unsure {
		plans = append(plans, readPlan[actionPlan](try.Last))
	}
	return plans
}

// seenBefore is the error of a call, as the number of the attempt makes it. Where the upstream has seen the reference of
// a first attempt before, somebody else has used it, and the command is refused. Later, it may have been an earlier
// attempt of ours.
func seenBefore(err error, number int) error {
	if events.KindOf(err) != events.Conflict {
		return err
	}
	e := *events.AsError(err)
	e.Kind, e.Code = events.Unknown, events.CodeDuplicate
	if number == 1 {
		e.Kind = events.Refused
	}
	return &e
}

func (a *action) result(r events.ActionResult, settledBy string) (json.RawMessage, error) {
	r.Scheduled, r.SettledBy = r.Scheduled || a.data.ScheduledDate != nil, settledBy
	return json.Marshal(r)
}

// IfApplied is what is known before any reply.
func (a *action) IfApplied(try Try) (json.RawMessage, error) {
	return a.result(events.ActionResult{Reference: readPlan[actionPlan](try.Plan).Reference}, "operator")
}

// Settle sends the action again, under the reference of the attempt: the settings may have changed since, or those of the
// worker that began it may be others.
func (a *action) Settle(ctx context.Context, try Try) (Finding, error) {
	plans := plansOf(try)
	reference := plans[0].Reference
	if reference == "" {
		return Finding{Detail: "the record does not say under which reference it was sent"}, nil
	}
	result, err := a.send(ctx, reference)
	switch kind := events.KindOf(err); {
	case err == nil:
		return a.done(result, "the upstream has accepted the repetition")
	case kind == events.Conflict:
		return a.confirm(ctx, plans, result)
	case kind == events.Refused:
		return a.refused(ctx, plans, result, events.AsError(err))
	}
	return Finding{}, err
}

func (a *action) done(r events.ActionResult, detail string) (Finding, error) {
	result, err := a.result(r, "reference")
	return Finding{Verdict: Applied, Result: result, Detail: detail}, err
}

// confirm finds out whether an action whose reference the upstream has seen before was done. A change that is not
// visible yet is looked for again.
func (a *action) confirm(ctx context.Context, plans []actionPlan, r events.ActionResult) (Finding, error) {
	const seen = "the upstream has seen the reference before, and "
	v, err := a.look(ctx, plans, r)
	switch {
	case err != nil:
		return Finding{Seen: true}, err
	case v.done:
		return a.done(v.result, seen+v.detail)
	case v.later:
		return Finding{Verdict: Pending, Detail: seen + v.detail, Seen: true}, nil
	}
	return Finding{Detail: seen + v.detail, Seen: true}, nil
}

// refused finds out what became of an action whose repetition is refused, which may be because the first was done.
func (a *action) refused(ctx context.Context, plans []actionPlan, r events.ActionResult, refusal *events.Error) (Finding, error) {
	v, err := a.look(ctx, plans, r)
	if err != nil {
		return Finding{}, err
	}
	said := "the upstream has refused the repetition (" + refusal.Message + "), and "
	switch {
	case v.done:
		return a.done(v.result, said+v.detail)
	case v.same && !slices.ContainsFunc(plans, func(p actionPlan) bool { return !a.change.shows(p.Target, p.Before) }):
		return Finding{Verdict: Unchanged, Detail: said + v.detail}, nil
	}
	return Finding{Detail: said + v.detail}, nil
}

// view is what reads show of an action.
type view struct {
	done   bool // it was done, or is scheduled
	same   bool // the services are exactly as before the call
	later  bool // it may show later
	detail string
	result events.ActionResult
}

// look reads whatever may tell whether the action was done: where the plans of two attempts tell of it, either's target
// shows that it was, and only both states before that it was not. r is what is known of its result.
func (a *action) look(ctx context.Context, plans []actionPlan, r events.ActionResult) (view, error) {
	v := view{result: r, detail: "no read can tell: " + cmp.Or(plans[0].Unforeseen, "nothing was read before the call")}
	id := a.data.SubscriptionIdentifier
	if id == nil {
		return v, nil
	}
	if a.data.ScheduledDate != nil {
		found, err := a.reader.Scheduled(ctx, plans[0].Reference, *id)
		if err != nil {
			return v, err
		}
		if found {
			v.done, v.detail = true, "the action is scheduled"
			return v, nil
		}
		v.later, v.detail = true, "the action is not among the scheduled ones"
	}
	if plans[0].Before == nil {
		return v, nil
	}
	s, err := a.reader.Subscription(ctx, *id)
	if err != nil {
		return v, err
	}
	first := a.compare(v, &plans[0], &s)
	for i := range plans[1:] {
		switch second := a.compare(v, &plans[1+i], &s); {
		case first.done:
		case second.done:
			return second, nil
		case !second.same: // or nothing was read before that one
			first.same, first.later, first.detail = false, false, "an attempt before was unclear, and the services are not those before it"
		}
	}
	return first, nil
}

// compare judges the subscription as it is now, beside what v knows already.
func (a *action) compare(v view, p *actionPlan, s *events.Subscription) view {
	switch {
	case p.Target != nil && a.change.reached(p.Target, p.Before, s.Services):
		v.done, v.detail = true, "the services are exactly those foreseen"
		v.result.SubscriptionID, v.result.SubscriptionNumber, v.result.LifeCycleState = s.ID, s.Number, s.LifeCycleState
	case sameServices(p.Before, s.Services):
		v.same, v.later, v.detail = true, v.later || p.Target != nil, "the services are exactly as before the call"
		if p.Target == nil {
			v.detail += ", and those after it could not be foreseen: " + p.Unforeseen
		}
	default:
		v.later, v.detail = false, "the services are neither those before the call nor those foreseen"
	}
	return v
}
