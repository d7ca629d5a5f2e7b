package crmcom

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"subrelay/events"
)

// Members by which an object is known (space V4, subscription action and subscription response objects). Names of the
// members in which one may stand are guesses: what amending returns is not documented.
var (
	actionMarks = []string{
		"transaction_reference_number", "behavior_code", "business_classification_code", "scheduled_date", "executed_on",
		"submitted_on", "performed_on", "submitted_by", "performed_by", "subscription", "job",
	}
	subscriptionMarks = []string{
		"termed_services_set", "rating_state", "first_activated_date", "billing_terms", "accounts_receivable", "free",
	}
	actionNames = []string{"action", "actions", "actions_set", "subscription_action", "subscription_actions", "subscription_actions_set"}
	// actionStates are those that no subscription has.
	actionStates = []string{
		"EXECUTED", "EXECUTEDWITHERRORS", "REJECTED", "REJECTEDSYSTEMFAILURE", "REJECTEDSYSTEMVALIDATION", stateScheduled,
	}
)

// statePendingVerification is a state of actions from R15.0.0 on, and of subscriptions: the action may still be rejected.
const statePendingVerification = "PENDING_VERIFICATION"

// thing is a subscription or an action, as far as a reply names it.
type thing struct{ id, number, state, reference string }

// acted is what the data of an OK to an action hold.
type acted struct {
	subscriptions []thing
	actions       []thing
	either        []thing // may be one or the other
}

// actedUpon reads the data of an OK to an action: the subscription, the action, or both, one within the other or side by
// side. Only what is known to be neither secret nor personal is taken, and what cannot be read is left out, since an OK
// is an OK. But an action that was rejected is none, and what may be one leaves open what was done. The action is the
// one with our reference, where the reply names it: a subscription may show its earlier ones.
func (w *wire) actedUpon(data json.RawMessage, reference string, p personal) (events.ActionResult, error) {
	var found acted
	if err := found.look(data, "", 0); err != nil {
		return events.ActionResult{}, &events.Error{Kind: events.Unknown, Code: events.CodeUnreadable, Op: "call crmcom",
			Message: "CRM.COM answered " + codeOK + ", but its data " + err.Error()}
	}
	found.only(reference)
	other := func(t thing) bool { return reference != "" && t.reference != "" && t.reference != reference }
	subscription := first(slices.Concat(found.subscriptions, found.either))
	action := first(slices.DeleteFunc(slices.Clone(found.actions), other))
	result := events.ActionResult{
		SubscriptionID: w.word(subscription.id, p), SubscriptionNumber: w.word(subscription.number, p), LifeCycleState: w.word(subscription.state, p),
		ActionID: w.word(action.id, p), ActionNumber: w.word(action.number, p), ActionState: w.word(action.state, p),
		Scheduled: action.state == stateScheduled,
	}
	return result, w.judge(&found, reference, p)
}

// only leaves out the other actions where one has our reference.
func (a *acted) only(reference string) {
	ours := func(t thing) bool { return reference != "" && t.reference == reference }
	if slices.ContainsFunc(a.actions, ours) {
		a.actions = slices.DeleteFunc(a.actions, func(t thing) bool { return !ours(t) })
		a.subscriptions, a.either = slices.Concat(a.subscriptions, a.either), nil
	}
}

// judge looks at the states of the actions that a reply holds. One with a reference that is not ours says nothing sure.
func (w *wire) judge(found *acted, reference string, p personal) error {
	bad := func(t thing) bool { return slices.Contains(w.settings.Amend.RejectedStates, t.state) }
	rejected := func(t thing) bool { return bad(t) && (t.reference == "" || t.reference == reference) }
	listed := func(t thing) bool { return slices.Contains(w.settings.Amend.UnclearStates, t.state) }
	all := slices.Concat(found.actions, found.either)
	// What may be a subscription may be waiting for verification itself.
	ambiguous := func(t thing) bool { return t.state == statePendingVerification && !slices.Contains(found.actions, t) }
	i := slices.IndexFunc(all, func(t thing) bool { return bad(t) || listed(t) && !ambiguous(t) })
	if i < 0 {
		return nil
	}
	e := refused(events.CodeRefused, "")
	e.UpstreamCode = w.word(all[i].state, p)
	e.Message = "CRM.COM recorded the action as " + e.UpstreamCode
	if len(found.either) > 0 || slices.ContainsFunc(all, func(t thing) bool { return !rejected(t) }) {
		e.Kind, e.Code = events.Unknown, events.CodeUpstreamError
		e.Message += ", which leaves open what was done"
	}
	return e
}

func first(things []thing) thing {
	if len(things) == 0 {
		return thing{}
	}
	return things[0]
}

// maxNesting is how deep subscriptions, actions and the arrays of them may stand within each other. The documented
// objects need four; each level is read anew, so that without a limit the time would grow with the square of the depth.
const maxNesting = 16

var errNested = errors.New("is nested too deep")

// look gathers what raw holds. name is the member in which it stands, "" at the top; depth is in how many others.
func (a *acted) look(raw json.RawMessage, name string, depth int) error {
	if depth > maxNesting {
		return errNested
	}
	if items, err := array(raw); err == nil {
		for _, item := range items {
			if err := a.look(item, name, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	members, err := object(raw)
	if errors.Is(err, errTwice) {
		return err
	} else if err != nil {
		return nil
	}
	a.sort(members, name)
	for _, inner := range slices.Sorted(maps.Keys(members)) {
		if inner != "subscription" && !slices.Contains(actionNames, inner) {
			continue
		}
		if err := a.look(members[inner], inner, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// sort tells what an object is.
func (a *acted) sort(members map[string]json.RawMessage, name string) {
	var t thing
	t.id, _ = textOf(members["id"])
	t.number, _ = textOf(members["number"])
	t.state, _ = textOf(members["life_cycle_state"])
	t.reference, _ = textOf(members["transaction_reference_number"])
	has := func(marks []string) bool {
		return slices.ContainsFunc(marks, func(mark string) bool { _, ok := members[mark]; return ok })
	}
	switch {
	case t == thing{}:
	case name == "subscription":
		a.subscriptions = append(a.subscriptions, t)
	case name != "", has(actionMarks), slices.Contains(actionStates, t.state):
		a.actions = append(a.actions, t)
	case has(subscriptionMarks):
		a.subscriptions = append(a.subscriptions, t)
	default:
		a.either = append(a.either, t)
	}
}
