package handlers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"subrelay/events"
)

// NetflixCharges is the families of acknowledging, accepting and declining charges: each kind is one. Charges commute:
// after a doubt the key goes on.
type NetflixCharges struct {
	Kind   events.Kind
	Taker  ChargeTaker
	Reader ChargeReader // nil: no read-back
	// States are those of a charge that was accepted, or declined, where the operator has seen that it is by them that such
	// a call shows. None: nothing tells whether it had its effect.
	States      []string
	SettleAfter time.Duration
	GiveUp      time.Duration
}

// Spec names the kind and its upstream.
func (f NetflixCharges) Spec() events.Spec { return specOf(f.Kind) }

// Settling is by read-back, or impossible: Netflix itself processes charges, and whether a state comes of an acceptance,
// only the operator can know. It does not repeat the call, although its references are unique: a charge that is refused
// for its reference looks like one that was refused for another reason.
func (f NetflixCharges) Settling() Settling {
	shows := f.Kind == events.NetflixAcknowledge || len(f.States) > 0
	s := settlingByRead(f.Reader != nil && shows, f.SettleAfter, f.GiveUp)
	s.Idempotent = s.Means // and other commands may be about the same charges, so that their states tell less than the reply
	return s
}

// Open reads the data.
func (f NetflixCharges) Open(c *events.Command) (Operation, error) {
	data, err := events.ReadNetflixCharges(c.Subject, c.Data)
	if err != nil {
		return nil, err
	}
	if f.Taker != nil {
		if err := f.Taker.CheckCharges(f.Kind); err != nil {
			return nil, err
		}
	}
	return &charging{NetflixCharges: f, cid: c.CID, charges: data.ChargesSet}, nil
}

type charging struct {
	NetflixCharges
	cid     string
	charges []events.ChargeIdentifier
}

func (c *charging) numbers() []string {
	out := make([]string, 0, len(c.charges))
	for _, charge := range c.charges {
		out = append(out, charge.Number)
	}
	return out
}

// chargesPlan is what a started record keeps: the status before of each charge that was listed, by number; null where
// nothing was read.
type chargesPlan struct {
	Before map[string]string `json:"before"`
}

// Plan reads the list. Behind an unclear attempt its own view of the list stays that from before: what has been taken
// since, the command may have taken itself.
func (c *charging) Plan(ctx context.Context, try Try) (json.RawMessage, error) {
	if try.Unsure && readPlan[chargesPlan](try.Last).Before != nil {
		return try.Last, nil
	}
	before, err := c.listed(ctx)
	if err != nil {
		return nil, err
	}
	return json.Marshal(chargesPlan{Before: before})
}

// listed is the status of each charge that is still listed.
func (c *charging) listed(ctx context.Context) (map[string]string, error) {
	found, err := c.Reader.FindCharges(ctx, c.numbers())
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(found))
	for number, charge := range found {
		out[number] = charge.ChargeStatus
	}
	return out, nil
}

// Call takes the charges. Where each of them is refused, so is the command.
func (c *charging) Call(ctx context.Context, try Try) (json.RawMessage, error) {
	failed, err := c.Taker.TakeCharges(ctx, c.Kind, c.cid, c.charges)
	if events.KindOf(err) == events.Conflict && try.Number == 1 && len(failed) > 0 {
		err = nil // no earlier attempt of ours has used those references: these charges failed, like others
	}
	if err != nil {
		return nil, seenBefore(err, try.Number)
	}
	taken := c.numbers()
	for _, f := range failed {
		i := slices.Index(taken, f.Number)
		if i < 0 {
			return nil, &events.Error{Kind: events.Unknown, Code: events.CodeUnreadable,
				Message: "the reply says that a charge failed which was not sent, or twice that one did"}
		}
		taken = slices.Delete(taken, i, i+1)
	}
	switch {
	case len(taken) == 0:
		return nil, refusedCharges(failed, len(c.charges))
	case len(failed) > 0 && try.Unsure:
		return c.behind(ctx, try, failed)
	}
	return json.Marshal(events.NetflixChargesResult{Taken: taken, Failed: failed})
}

// behind is the result where some charges were taken, and others refused, which may be because an unclear attempt before
// has taken them late: the list tells.
func (c *charging) behind(ctx context.Context, try Try, failed []events.FailedCharge) (json.RawMessage, error) {
	unclear := asUnknown(refusedCharges(failed, len(c.charges)))
	before := readPlan[chargesPlan](try.Plan).Before
	now, err := c.listed(ctx)
	if err != nil || before == nil {
		return nil, unclear
	}
	r := events.NetflixChargesResult{}
	for _, number := range c.numbers() {
		i := slices.IndexFunc(failed, func(f events.FailedCharge) bool { return f.Number == number })
		if i < 0 {
			r.Taken = append(r.Taken, number)
			continue
		}
		switch c.became(number, before, now) {
		case chargeTaken:
			r.Taken, r.SettledBy = append(r.Taken, number), "read_back"
		case chargeUnclear:
			return nil, unclear
		default:
			r.Failed = append(r.Failed, failed[i])
		}
	}
	return json.Marshal(r)
}

// What reads show of a charge.
const (
	chargeClosed  = iota // it could not be taken when it was read before the call
	chargeTaken          // it was taken since
	chargeSame           // it was not
	chargeUnclear        // it changed, and not so
)

// became says what has become of a charge since it was read before the call.
func (c *charging) became(number string, before, now map[string]string) int {
	was, listed := before[number]
	if !listed || c.Kind != events.NetflixAcknowledge && was != events.ChargePending {
		return chargeClosed
	}
	switch after, is := now[number]; {
	case c.isTaken(after, is):
		return chargeTaken
	case is && (after == was || c.Kind == events.NetflixAcknowledge):
		return chargeSame
	}
	return chargeUnclear
}

// told is how many refused charges a message names; the others are in the problems alone.
const told = 5

// refusedCharges is the error where charges were refused, of so many.
func refusedCharges(failed []events.FailedCharge, of int) *events.Error {
	var items []string
	for _, f := range failed {
		item := f.Number
		if why := strings.TrimSpace(f.ErrorCode + " " + f.ErrorDescription); why != "" {
			item += " (" + why + ")"
		}
		items = append(items, item)
	}
	message := "every charge was refused: "
	if len(failed) < of {
		message = fmt.Sprintf("%d of %d charges were refused: ", len(failed), of)
	}
	message += strings.Join(items[:min(len(items), told)], ", ")
	if more := len(items) - told; more > 0 {
		message += fmt.Sprintf(" and %d more", more)
	}
	return &events.Error{Kind: events.Refused, Code: events.CodeItemsRefused, UpstreamCode: failed[0].ErrorCode, Message: message, Problems: items}
}

// Settle looks what has become of those charges that the call could change: to acknowledge, all that were listed; to
// accept or decline, those that were pending. All or none must have changed.
func (c *charging) Settle(ctx context.Context, try Try) (Finding, error) {
	p := readPlan[chargesPlan](try.Plan)
	if p.Before == nil {
		return nothingBefore, nil
	}
	now, err := c.listed(ctx)
	if err != nil {
		return Finding{}, err
	}
	var open, changed, same []string
	for _, number := range c.numbers() {
		is := c.became(number, p.Before, now)
		if is == chargeClosed {
			continue
		}
		open = append(open, number)
		switch is {
		case chargeTaken:
			changed = append(changed, number)
		case chargeSame:
			same = append(same, number)
		}
	}
	f := Finding{Detail: fmt.Sprintf("of %d charges %d could be taken, %d now show that they were and %d that they were not",
		len(c.charges), len(open), len(changed), len(same))}
	switch {
	case len(open) == 0:
	case len(changed) == len(open):
		f.Verdict = Applied
		f.Result, err = json.Marshal(c.settled(open))
	case len(same) == len(open):
		f.Verdict = Unchanged
	}
	return f, err
}

// isTaken reports whether a charge's status shows that it was taken. is says that it is listed.
func (c *charging) isTaken(status string, is bool) bool {
	if c.Kind == events.NetflixAcknowledge {
		return !is
	}
	return is && slices.Contains(c.States, status)
}

// settled is the result where the reply was lost and the charges that could be taken were.
func (c *charging) settled(taken []string) events.NetflixChargesResult {
	r := events.NetflixChargesResult{Taken: taken, SettledBy: "read_back"}
	for _, number := range c.numbers() {
		if !slices.Contains(taken, number) {
			r.Failed = append(r.Failed, events.FailedCharge{Number: number, ErrorDescription: "it could not be taken, as read before the call"})
		}
	}
	return r
}
