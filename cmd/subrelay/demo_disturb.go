package main

import (
	"context"
	"strings"
	"time"

	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// disturb takes down TVMS and then CRM.COM, has CRM.COM forget its tokens, and loses some replies after the effect.
func (a *demoActs) disturb(ctx context.Context) error {
	tvms := &demoOutage{Down: []events.Upstream{events.TVMS}, name: "TVMS", others: "CRM.COM and Netflix"}
	crm := &demoOutage{Down: []events.Upstream{events.CRMCOM, events.Netflix}, name: "CRM.COM with its Netflix methods", others: "TVMS"}
	for _, act := range []func() error{
		func() error { return a.outage(ctx, tvms, a.tvms.Faults(), demoTVMSDown, demoTVMSBack) },
		func() error { return a.outage(ctx, crm, a.crmcom.Faults(), demoCRMDown, demoCRMBack) },
		func() error { return a.forgetTokens(ctx) },
		func() error { return a.lose(ctx) },
	} {
		if err := act(); err != nil {
			return err
		}
	}
	return nil
}

// demoOutage is an outage of one host, and what the others did meanwhile.
type demoOutage struct {
	Down   []events.Upstream `json:"down"`
	DownMS int64             `json:"down_ms"`
	Others []events.Upstream `json:"others"`
	Sent   int               `json:"sent"`   // commands published to the others meanwhile, those that succeeded
	Done   int               `json:"done"`   // of these, done before the end of the outage
	P50    float64           `json:"p50_ms"` // of all these, from publish to outcome
	P95    float64           `json:"p95_ms"`
	Max    float64           `json:"max_ms"`
	// The same of commands that were published before the first outage.
	P50Before float64 `json:"p50_before_ms"`
	P95Before float64 `json:"p95_before_ms"`

	name, others string
	from, to     time.Time
}

// outage takes an upstream down from one part of what is sent to another. At its end it tells what the others did.
func (a *demoActs) outage(ctx context.Context, o *demoOutage, faults *sandbox.Faults, from, to float64) error {
	if err := a.sent.wait(ctx, from); err != nil {
		return err
	}
	a.tell.sayf("%s goes down: connections are refused", o.name)
	o.from = time.Now()
	a.outages = append(a.outages, o)
	faults.SetDown(true)
	if err := until(ctx, func() bool { return a.opened(o.Down) }); err != nil {
		return err
	}
	a.tell.sayf("  its breaker opens: commands wait, one probe at a time goes out, no attempt is used up")
	if err := a.sent.wait(ctx, to); err != nil {
		return err
	}
	o.to = time.Now()
	faults.SetDown(false)
	times, err := a.client.times(ctx)
	if err != nil {
		return err
	}
	o.measure(times, a.outages[0].from)
	a.tell.sayf("%s is back after %.1f s", o.name, o.to.Sub(o.from).Seconds())
	a.tell.sayf("  meanwhile %d commands to %s were done, median %s (before: %s)", o.Done, o.others, millis(o.P50), millis(o.P50Before))
	return nil
}

// opened reports whether the breakers of all these upstreams have opened.
func (a *demoActs) opened(all []events.Upstream) bool {
	for _, name := range all {
		if a.guard(name).Opened() == 0 {
			return false
		}
	}
	return true
}

// forgetTokens has CRM.COM forget the tokens it gave out, long before their time.
func (a *demoActs) forgetTokens(ctx context.Context) error {
	if err := a.sent.wait(ctx, demoTokens); err != nil {
		return err
	}
	a.tell.sayf("CRM.COM forgets its access token: the worker gets another, and no attempt is used up")
	a.crmcom.ExpireTokens()
	return nil
}

// demoLostKinds are the kinds of CRM.COM whose replies get lost, one after the other.
func demoLostKinds() []events.Kind {
	return []events.Kind{
		events.Amend, events.NetflixAccept, events.NetflixCreate, events.NetflixAcknowledge, events.NetflixSuspend,
		events.NetflixDecline, events.NetflixUnsuspend, events.Swap, events.NetflixCreate, events.Amend,
	}
}

// lose loses one reply in a hundred after the effect, at each of the two hosts.
func (a *demoActs) lose(ctx context.Context) error {
	if err := a.sent.wait(ctx, demoLosing); err != nil {
		return err
	}
	lost, kinds := max(10, a.f.commands/100), demoLostKinds()
	a.tell.sayf("replies get lost after the effect, up to %d of each: a reset, half a reply, or a 500", lost)
	ways := []sandbox.FaultKind{sandbox.ResetAfter, sandbox.HalfBody, sandbox.ErrorAfter}
	for n := range lost {
		part := demoLosing + (demoLosingEnd-demoLosing)*float64(n)/float64(lost)
		if err := a.sent.wait(ctx, part); err != nil {
			return err
		}
		way := ways[n%len(ways)]
		if err := a.tvms.Faults().Next(sandbox.Fault{Kind: way}); err != nil {
			return err
		}
		if err := a.crmcom.Faults().Next(a.lost(kinds[n%len(kinds)], way, part)); err != nil {
			return err
		}
	}
	return nil
}

// lost is the loss of the reply to the next command of a kind. Amendments and swaps have one route: it is the next that is
// sent after this part, by its subscription.
func (a *demoActs) lost(kind events.Kind, way sandbox.FaultKind, part float64) sandbox.Fault {
	const api = "/crmapi/rest/v2/"
	switch kind {
	case events.Amend, events.Swap:
		return sandbox.Fault{Kind: way, Route: api + "subscriptions/amend", Customer: a.script.next(kind, part)}
	case events.NetflixAccept, events.NetflixDecline, events.NetflixAcknowledge:
		return sandbox.Fault{Kind: way, Route: api + "netflix/charges/" + strings.TrimPrefix(string(kind), "netflix-")}
	}
	return sandbox.Fault{Kind: way, Route: api + "netflix/subscriptions/" + strings.TrimPrefix(string(kind), "netflix-")}
}
