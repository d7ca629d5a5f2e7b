package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/sandbox"
	"subrelay/adapters/upstream"
	"subrelay/events"
	"subrelay/handlers"
)

// branch is one of the ways of DESIGN.md, section 4, that a call can go.
type branch string

const (
	confirmed branch = "confirmed"
	refusedIt branch = "refused"
	// ofAll is Unavailable, of the upstream as a whole: no attempt is used, the breaker counts it, and it is tried again.
	ofAll branch = "unavailable"
	// ofOne is Unavailable, of this command: an attempt is used.
	ofOne branch = "unavailable, an attempt spent"
	// unclear is Unknown: it is settled, or in doubt where nothing can tell.
	unclear branch = "unknown"
)

// faulty is one thing that goes wrong with one call.
type faulty struct {
	name  string
	fault sandbox.Fault
	// connect is what connecting comes to, once, in place of fault.
	connect func(ctx context.Context, open func(context.Context) (net.Conn, error)) (net.Conn, error)
	want    branch
	code    string // of the error of what follows the start
	crm     branch // with CRM.COM, where that is another
}

// beyond is longer than a call may take, and than another worker waits before it settles one.
const beyond = 90 * time.Second

// upstreamFaults is the table: every fault of an upstream, and the branch that it must lead to.
func upstreamFaults() []faulty {
	f := func(kind sandbox.FaultKind) sandbox.Fault { return sandbox.Fault{Kind: kind} }
	status := func(kind sandbox.FaultKind, status int) sandbox.Fault {
		return sandbox.Fault{Kind: kind, Status: status}
	}
	late := func(kind sandbox.FaultKind) sandbox.Fault {
		return sandbox.Fault{Kind: kind, Delay: sandbox.Duration(beyond)}
	}
	all := []faulty{
		{name: "none", want: confirmed},
		{name: "slow beyond the lease", fault: late(sandbox.Slow), want: unclear, code: events.CodeTimeout},
		{name: "slow after the effect", fault: late(sandbox.SlowAfter), want: unclear, code: events.CodeTimeout},
		{name: "hang", fault: f(sandbox.Hang), want: unclear, code: events.CodeTimeout},
		{name: "hang after the effect", fault: f(sandbox.HangAfter), want: unclear, code: events.CodeTimeout},
		{name: "closed without a reply", fault: f(sandbox.Refuse), want: unclear, code: events.CodeBroken},
		{name: "reset before", fault: f(sandbox.ResetBefore), want: unclear, code: events.CodeBroken},
		{name: "reset after", fault: f(sandbox.ResetAfter), want: unclear, code: events.CodeBroken},
		{name: "500 before", fault: f(sandbox.ErrorBefore), want: unclear, code: events.CodeUpstreamError},
		{name: "500 after", fault: f(sandbox.ErrorAfter), want: unclear, code: events.CodeUpstreamError},
		{name: "502 after", fault: status(sandbox.ErrorAfter, 502), want: unclear, code: events.CodeUpstreamError},
		{name: "504 after", fault: status(sandbox.ErrorAfter, 504), want: unclear, code: events.CodeUpstreamError},
		{name: "503 with Retry-After", fault: sandbox.Fault{Kind: sandbox.Unavailable, RetryAfter: sandbox.Duration(7 * time.Second)},
			want: unclear, code: events.CodeUpstreamError},
		{name: "half a body", fault: f(sandbox.HalfBody), want: unclear, code: events.CodeBroken},
		{name: "429", fault: f(sandbox.Throttle), want: ofAll, code: events.CodeThrottled},
		{name: "429 with Retry-After", fault: sandbox.Fault{Kind: sandbox.Throttle, RetryAfter: sandbox.Duration(9 * time.Second)},
			want: ofAll, code: events.CodeThrottled},
		{name: "403", fault: status(sandbox.ErrorBefore, 403), want: ofAll, code: events.CodeUnauthorized},
		{name: "a status listed as not applied", fault: status(sandbox.ErrorBefore, 507), want: ofOne, code: events.CodeUnavailable},
		{name: "HTML", fault: f(sandbox.HTMLBefore), want: unclear, code: events.CodeUnreadable},
		{name: "HTML after", fault: f(sandbox.HTMLAfter), want: unclear, code: events.CodeUnreadable},
		{name: "HTML with 404", fault: status(sandbox.HTMLBefore, 404), want: unclear, code: events.CodeUnreadable},
		{name: "HTML with 403", fault: status(sandbox.HTMLBefore, 403), want: ofAll, code: events.CodeUnauthorized},
		{name: "refused", fault: f(sandbox.Refusal), want: refusedIt, code: events.CodeRefused},
		{name: "token refused", fault: f(sandbox.ExpireToken), want: ofAll, code: events.CodeUnauthorized, crm: confirmed},
		{name: "gzip bomb", fault: f(sandbox.GzipBomb), want: unclear, code: events.CodeResponseTooLarge},
		{name: "huge header", fault: f(sandbox.HugeHeader), want: unclear, code: events.CodeBroken},
		{name: "redirect loop", fault: f(sandbox.RedirectLoop), want: unclear, code: events.CodeRedirect},
		{name: "redirect by 302", fault: status(sandbox.RedirectLoop, 302), want: unclear, code: events.CodeRedirect},
		{name: "flood of interim replies", fault: f(sandbox.InfoFlood), want: unclear, code: events.CodeBroken},
		{name: "another protocol", fault: f(sandbox.Upgrade), want: unclear, code: events.CodeUnreadable},
		{name: "a body longer than said", fault: f(sandbox.ShortLength), want: unclear, code: events.CodeUnreadable},
		{name: "garbage behind the body", fault: f(sandbox.TrailingGarbage), want: unclear, code: events.CodeUnreadable},
		{name: "two replies", fault: f(sandbox.DoubleReply), want: confirmed},
		{name: "a body that drips", fault: late(sandbox.SlowBody), want: unclear, code: events.CodeTimeout},
	}
	return append(all, connectionFaults()...)
}

// connectionFaults is what can go wrong before a byte of a request has left.
func connectionFaults() []faulty {
	type opener = func(context.Context) (net.Conn, error)
	fails := func(err error) func(context.Context, opener) (net.Conn, error) {
		return func(context.Context, opener) (net.Conn, error) { return nil, &net.OpError{Op: "dial", Err: err} }
	}
	return []faulty{
		{name: "connection refused", connect: fails(syscall.ECONNREFUSED), want: ofAll, code: events.CodeUnreachable},
		{name: "no such host", connect: fails(&net.DNSError{Err: "no such host", IsNotFound: true}), want: ofAll, code: events.CodeUnreachable},
		{name: "no route", connect: fails(errors.New("no route to host")), want: ofAll, code: events.CodeUnreachable},
		{name: "connecting hangs", connect: func(ctx context.Context, _ opener) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, want: ofAll, code: events.CodeUnreachable},
		{name: "closed at once", connect: func(ctx context.Context, open opener) (net.Conn, error) {
			here, there := net.Pipe()
			_ = there.Close()
			return here, nil
		}, want: ofAll, code: events.CodeUnreachable},
	}
}

// loginFaults is the table for the call that gets a token: whatever goes wrong with it, no command was sent.
func loginFaults() (all []faulty) {
	for _, f := range upstreamFaults() {
		if f.fault.Kind == "" {
			continue
		}
		f.name, f.fault.Route = "login: "+f.name, sandbox.Auth
		switch {
		case f.fault.Kind == sandbox.ExpireToken:
			f.want = confirmed
		case f.fault.Kind == sandbox.Refusal:
			f.want, f.code = ofAll, events.CodeUnauthorized
		case f.want != confirmed:
			f.want = ofAll
		}
		all = append(all, f)
	}
	return all
}

// testedUpstream is one upstream under test: how to ask it for something, and for something else under the same key.
type testedUpstream struct {
	name    events.Upstream
	first   func(w *world, key string) event.Event
	second  func(w *world, key string) event.Event // can be done whatever became of the first
	holds   bool                                   // a doubt of the first holds the key
	repeats bool                                   // settles by sending again, so that it always comes to an effect
}

func testedUpstreams() []testedUpstream {
	swap := func(w *world, id, key, from, to string) event.Event {
		data := exchange(from, to)
		data.SubscriptionIdentifier.Number = key
		return w.command(events.Swap, id, key, data)
	}
	return []testedUpstream{
		{name: events.TVMS,
			first:  func(w *world, key string) event.Event { return w.renewal(key+"-a", key) },
			second: func(w *world, key string) event.Event { return w.renewal(key+"-b", key) }},
		{name: events.CRMCOM, holds: true, repeats: true,
			first:  func(w *world, key string) event.Event { return swap(w, key+"-a", key, "A1", "A2") },
			second: func(w *world, key string) event.Event { return swap(w, key+"-b", key, "B1", "B2") }},
		{name: events.Netflix, holds: true,
			first: func(w *world, key string) event.Event {
				return w.command(events.NetflixSuspend, key+"-a", key, events.NetflixCustomerData{BillingSystemCustomerIdentifier: key})
			},
			second: func(w *world, key string) event.Event {
				return w.command(events.NetflixAcknowledge, key+"-b", key, events.NetflixChargesData{
					ChargesSet: []events.ChargeIdentifier{{Number: "I-" + key, BillingSystemCustomerIdentifier: key}}})
			}},
	}
}

// TestUpstreamFaults sends a command into each fault, and another of the same key behind it: which statuses come, what
// is spent, what the breaker counts, what the book says, and whether the key goes on or holds. With means to settle, and
// without.
func TestUpstreamFaults(t *testing.T) {
	for _, up := range testedUpstreams() {
		for _, settled := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s settled=%v", up.name, settled), func(t *testing.T) {
				natstest.Bubble(t, func(t *testing.T) { up.meetFaults(t, settled) })
			})
		}
	}
}

func (up testedUpstream) meetFaults(t *testing.T, settled bool) {
	w := up.world(t, settled)
	defer w.close()
	guard := w.start().app.Guard(string(up.name))
	all := upstreamFaults()
	if up.name == events.CRMCOM && !settled {
		all = append(all, loginFaults()...)
	}
	for i, f := range all {
		if f.crm != "" && up.name != events.TVMS {
			f.want = f.crm
		}
		if settled && (f.connect != nil || f.name == "slow beyond the lease") {
			continue // they meet the read before the call; and what comes later than settle_after, nothing settles
		}
		up.meet(w, guard, f, fmt.Sprintf("K-%d", i), settled)
	}
	w.settle(10 * time.Minute)
	w.verdict()
}

// world is a world with this upstream alone, whose breaker opens at the first failure that counts.
func (up testedUpstream) world(t *testing.T, settled bool) *world {
	t.Helper()
	cfg := shortConfig()
	cfg.Streams.Partitions = 1
	if up.name == events.TVMS {
		cfg.withTVMS()
		cfg.TVMS.API.Replies.NotApplied = []int{507}
		if settled {
			cfg.withReadBack()
		}
	} else {
		cfg.withCRMCOM()
		cfg.CRMCOM.API.Codes.HTTPNotApplied = []int{507}
		cfg.CRMCOM.API.Reference.Enforced, cfg.Netflix.API.ReadBack = settled, &settled
		cfg.Netflix.API.Disabled = up.name != events.Netflix
	}
	for _, guard := range []*upstream.Settings{&cfg.TVMS.Guard, &cfg.CRMCOM.Guard, &cfg.Netflix.Guard} {
		guard.ConsecutiveFailures = 1
	}
	return newWorld(t, 1, cfg, func(o *sandbox.CRMCOMOptions) {
		o.AutoServices = []string{"A1", "B1"}
		for i := range upstreamFaults() {
			key := fmt.Sprintf("K-%d", i)
			o.Netflix = append(o.Netflix, sandbox.NetflixCustomer{
				Customer: key, Subscriptions: []events.NetflixSubscription{{NetflixState: events.NetflixEffective}}})
			o.Charges = append(o.Charges, sandbox.Charge{NetflixCharge: events.NetflixCharge{Number: "I-" + key, BillingSystemCustomerIdentifier: key}})
		}
	})
}

// breaks lets a fault happen to the next call of a key, or the next connection.
func (w *world) breaks(up events.Upstream, f faulty, key string) {
	w.Helper()
	faults, line := w.tvms.Faults(), w.lines[tvmsAddr]
	if up != events.TVMS {
		faults, line = w.crm.Faults(), w.lines[crmAddr]
	}
	switch f.fault.Route {
	case sandbox.Auth: // for nobody in particular
		w.crm.ExpireTokens()
	default:
		f.fault.Customer = key
	}
	if f.fault.Kind != "" {
		if err := faults.Next(f.fault); err != nil {
			w.Fatal(err)
		}
	}
	if f.connect != nil {
		time.Sleep(5 * time.Second) // idle connections are gone by then
		once := func(ctx context.Context, open func(context.Context) (net.Conn, error)) (net.Conn, error) {
			line.broken.Store(nil)
			return f.connect(ctx, open)
		}
		line.broken.Store(&once)
	}
}

// meet is the story of one fault.
func (up testedUpstream) meet(w *world, guard *upstream.Guard, f faulty, key string, settled bool) {
	w.Helper()
	opened := guard.Opened()
	w.breaks(up.name, f, key)
	first, second := up.first(w, key), up.second(w, key)
	began := time.Now()
	w.send(first)
	behind := f.fault.Kind != sandbox.DoubleReply // whose connection, called at once, may break: a doubt, and rightly so
	if behind {
		w.send(second)
	}
	last := w.outcomeOf(first)
	took := time.Since(began)
	if !behind {
		time.Sleep(time.Second)
		w.send(second)
	}
	switch {
	case f.fault.Kind == sandbox.Slow:
		time.Sleep(beyond) // its effect comes late
	case last.Status == events.InDoubt:
		time.Sleep(15 * time.Second) // in which the breaker closes, and the next command of the key would be done
	}
	told := fmt.Sprintf("%s, %s", f.name, up.name)
	if after := time.Duration(f.fault.RetryAfter); f.want == ofAll && took < after {
		w.Errorf("%s: tried again after %s, and it asked for %s", told, took, after)
	}
	if limit := guard.CallTimeout(); f.want == unclear && !settled && took > limit+time.Second {
		w.Errorf("%s: it took %s, and no call may take more than %s", told, took, limit)
	}
	effects := w.effectsOf(first)
	if got, want := w.tale(first), up.expected(f, settled, effects); got != want {
		w.Errorf("%s: %s, want %s (%+v)", told, got, want, last.Error)
	}
	if counted, want := guard.Opened()-opened, f.want != confirmed && f.want != refusedIt; counted > 1 || (counted == 1) != want {
		w.Errorf("%s: the breaker opened %d times, counts=%v", told, counted, want)
	}
	if wanted := f.effects(settled, up.repeats); effects != wanted {
		w.Errorf("%s: %d effects, want %d", told, effects, wanted)
	}
	if last.Status == events.InDoubt {
		up.resolve(w, told, last, second, effects > 0)
	}
	if r := w.outcomeOf(second); r.Status != events.Succeeded || w.effectsOf(second) != 1 {
		w.Errorf("%s: the next command of the key came to %s: %+v", told, r.Status, r.Error)
	}
}

// expected is the records of the command that met the fault, as tale tells them.
func (up testedUpstream) expected(f faulty, settled bool, effects int) string {
	again := func(code string, spent int) string {
		return fmt.Sprintf("started, deferred %s (%d spent), started, succeeded", code, spent)
	}
	switch f.want {
	case refusedIt:
		return "started, rejected " + f.code
	case ofAll:
		return again(f.code, 0)
	case ofOne:
		return again(f.code, 1)
	case unclear:
		switch {
		case !settled:
			return "started, in_doubt " + f.code
		case !f.fault.Kind.Effect() && !up.repeats:
			return again(events.CodeNotApplied, 1)
		}
	}
	return "started, succeeded"
}

// effects is how many effects the command has had in the end.
func (f faulty) effects(settled, repeats bool) int {
	switch {
	case f.want == refusedIt, f.want == unclear && !settled && !f.fault.Kind.Effect():
		return 0
	}
	return 1
}

// tale tells the records of a command: statuses, with the code of each error and the attempts spent.
func (w *world) tale(e event.Event) string {
	w.Helper()
	h, err := w.cl.ledger.History(w.Context(), e.Subject(), events.CID(e.Source(), e.ID(), e.Subject()))
	if err != nil {
		w.Fatal(err)
	}
	var told []string
	for _, r := range h {
		text := string(r.Status)
		if r.Error != nil {
			text += " " + r.Error.Code
		}
		if r.Status == events.Deferred && r.Spent != nil {
			text += fmt.Sprintf(" (%d spent)", r.Spent.Attempts)
		}
		told = append(told, text)
	}
	return strings.Join(told, ", ")
}

// effectsOf is how many effects a command has had.
func (w *world) effectsOf(e event.Event) (n int) {
	for _, effect := range w.book.Effects() {
		if cid, _, _ := effect.Attempt(); effect.Applied && cid == events.CID(e.Source(), e.ID(), e.Subject()) {
			n++
		}
	}
	return n
}

// resolve checks that a doubt holds its key, or does not, and resolves it.
func (up testedUpstream) resolve(w *world, told string, doubt events.Record, second event.Event, applied bool) {
	w.Helper()
	if held := w.tale(second) == ""; held != up.holds {
		w.Errorf("%s: the doubt holds the key: %v", told, held)
	}
	_, err := handlers.Resolve(w.Context(), w.cl.ledger, "test", events.History{doubt}, applied, events.Resolution{By: "anna", Reason: "looked"})
	if err != nil {
		w.Fatal(err)
	}
}
