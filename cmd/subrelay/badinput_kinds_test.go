package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// inputs is what is tried with commands of one kind of CRM.COM: a good command's data, with %[1]s for the key and %[2]s
// for what makes it another command, and data that are refused.
type inputs struct {
	key   string
	named bool // the data name the key
	data  string
	bad   []badData
}

type badData struct {
	name, data string
	code       string // of the rejection
	says       string // its message begins so, after what every schema failure says
}

// Parts of bad data.
const (
	forSub   = `"subscription_identifier":{"number":"%[1]s"}`
	forBoth  = forSub + `,"accounts_receivable_identifier":{"number":"%[1]s"}`
	addX     = `"services_to_add_set":[{"service_identifier":{"code":"X"}}]`
	swapX    = `"services_to_swap_set":[{"from_service":{"service_identifier":{"code":"A"}},"to_service":{"service_identifier":{"code":"B"}}}]`
	forCust  = `"billing_system_customer_identifier":"%[1]s"`
	release  = "the installed release R14.0.0 does not know "
	identity = "exactly one of subscription_identifier, accounts_receivable_identifier must be given"
)

var badInputs = map[events.Kind]inputs{
	events.Amend: {"S-1", true, `{` + forSub + `,"services_to_add_set":[{"service_identifier":{"code":"X%[2]s"}}]}`, []badData{
		{"no subscription", `{` + addX + `}`, events.CodeSchema, "#: " + identity},
		{"two subscriptions", `{` + forBoth + `,` + addX + `}`, events.CodeSchema, "#: " + identity},
		{"no set", `{` + forSub + `}`, events.CodeSchema, "#: at least one of services_to_add_set, services_to_remove_set"},
		{"empty sets", `{` + forSub + `,"services_to_add_set":[]}`, events.CodeSchema, "#: at least one of services_to_add_set, services_to_remove_set"},
		{"a service of two names", `{` + forSub + `,"services_to_add_set":[{"service_identifier":{"code":"X","id":"1"}}]}`, events.CodeSchema, "#/services_to_add_set/0/service_identifier: exactly one of id, code, alternative_code must be given"},
		{"an account of two names", `{"accounts_receivable_identifier":{"number":"%[1]s","id":"1"},` + addX + `}`, events.CodeSchema, "#/accounts_receivable_identifier: exactly one of id, number, name, access_token_identifier must be given"},
		{"half of a customer's credentials", `{"accounts_receivable_identifier":{"access_token_identifier":{"identifier":"a"}},` + addX + `}`, events.CodeSchema, "#/accounts_receivable_identifier/access_token_identifier: either authentication_code or identifier together with pass_code"},
		{"what subrelay sets", `{` + forSub + `,` + addX + `,"transaction_reference_number":"mine"}`, events.CodeSchema, "#/transaction_reference_number: must not be given: subrelay sets it"},
		{"a date without a zone", `{` + forSub + `,` + addX + `,"performed_on":"2026-01-31T12:00:00"}`, events.CodeSchema, "#/performed_on: must be a date and time as RFC 3339 has it"},
		{"a field of the wrong type", `{` + forSub + `,` + addX + `,"udf_float_1":"1"}`, events.CodeSchema, "#/udf_float_1: must be a number, not a string"},
		{"items of a scheduled action", `{` + forSub + `,"scheduled_date":"2099-01-31T12:00:00Z","installed_items_to_add_set":[{"installed_item_identifier":{"serial_number":"1"}}]}`, events.CodeSchema, "installed items cannot be added by a scheduled action"},
		{"a member twice", `{` + forSub + `,` + addX + `,` + addX + `}`, events.CodeSchema, "the data give a member twice"},
		{"a parameter of a later release", `{` + forSub + `,` + addX + `,"classification_identifier":{"id":"1"}}`, events.CodeRelease, release + "classification_identifier (from R18.0.0)"},
		{"one of another account", `{"accounts_receivable_identifier":{"id":"A-9"},` + addX + `}`, events.CodeKeyMismatch, `the event's subject is "S-1" but the data name "A-9"`},
	}},
	events.Swap: {"S-1", true, `{` + forSub + `,"services_to_swap_set":[{"from_service":{"service_identifier":{"code":"A%[2]s"}},"to_service":{"service_identifier":{"code":"B"}}}]}`, []badData{
		{"no subscription", `{` + swapX + `}`, events.CodeSchema, "#: " + identity},
		{"two subscriptions", `{` + forBoth + `,` + swapX + `}`, events.CodeSchema, "#: " + identity},
		{"two services to go", `{` + forSub + `,"services_to_swap_set":[{"from_service":{"subscription_service_id":"1","service_identifier":{"code":"A"}},"to_service":{"service_identifier":{"code":"B"}}}]}`, events.CodeSchema,
			"#/services_to_swap_set/0/from_service: exactly one of subscription_service_id, service_identifier must be given"},
		{"no service to come", `{` + forSub + `,"services_to_swap_set":[{"from_service":{"subscription_service_id":"1"}}]}`, events.CodeSchema, "#/services_to_swap_set/0/to_service: is required"},
		{"no swap", `{` + forSub + `,"services_to_swap_set":[]}`, events.CodeSchema, "#/services_to_swap_set: "},
		{"another direction", `{` + forSub + `,` + swapX + `,"business_classification_code":"SIDEWAYS"}`, events.CodeSchema, "#/business_classification_code: "},
		{"a parameter of a later release", `{` + forSub + `,"services_to_swap_set":[{"from_service":{"subscription_service_id":"1"},"to_service":{"service_identifier":{"code":"B"},"udf_string_1":"x"}}]}`, events.CodeRelease,
			release + "services_to_swap_set.to_service.udf_string_1 (from R14.3.0)"},
	}},
	events.NetflixCreate: {"N-1", true, `{` + forCust + `,"customer_first_name":"Anna%[2]s"}`, []badData{
		{"no customer", `{}`, events.CodeSchema, "#/billing_system_customer_identifier: is required"},
		{"an unknown channel", `{` + forCust + `,"channel":"FAX"}`, events.CodeSchema, "#/channel: "},
		{"valid for two days", `{` + forCust + `,"validity_duration":172800}`, events.CodeSchema, "#/validity_duration: must be at most 86400"},
		{"a phone without a number", `{` + forCust + `,"customer_phone":{"type":"MOBILE"}}`, events.CodeSchema, "#/customer_phone/number: is required"},
		{"a parameter of a later release", `{` + forCust + `,"customer_address":{"type":"HOME","street_name":"Elm Street"}}`, events.CodeRelease, release + "customer_address (from R14.2.0)"},
		{"a name of the wrong type", `{` + forCust + `,"customer_last_name":["Annabella"]}`, events.CodeSchema, "#/customer_last_name: must be a string, not an array"},
	}},
	events.NetflixSuspend:     {"N-1", true, `{` + forCust + `}`, noCustomer},
	events.NetflixUnsuspend:   {"N-2", true, `{` + forCust + `}`, noCustomer},
	events.NetflixCancel:      {"N-1", true, `{` + forCust + `}`, append(noCustomer, badData{"no method", `{` + forCust + `}`, events.CodeNotConfigured, "netflix-cancel has no method: netflix.cancel_path is not set"})},
	events.NetflixAcknowledge: {"N-1", false, `{"charges_set":[{"number":"I%[2]s",` + forCust + `}]}`, badCharges},
	events.NetflixAccept:      {"N-1", false, `{"charges_set":[{"number":"I%[2]s",` + forCust + `}]}`, tooNew(events.NetflixAccept)},
	events.NetflixDecline:     {"N-1", false, `{"charges_set":[{"number":"I%[2]s",` + forCust + `}]}`, tooNew(events.NetflixDecline)},
}

var (
	noCustomer = []badData{
		{"no customer", `{}`, events.CodeSchema, "#/billing_system_customer_identifier: is required"},
		{"a customer that is a number", `{"billing_system_customer_identifier":77}`, events.CodeSchema, "#/billing_system_customer_identifier: must be a string, not a number"},
	}
	badCharges = []badData{
		{"no charges", `{"charges_set":[]}`, events.CodeSchema, "#/charges_set: "},
		{"a charge without a customer", `{"charges_set":[{"number":"I1"}]}`, events.CodeSchema, "#/charges_set/0/billing_system_customer_identifier: is required"},
		{"a charge twice", `{"charges_set":[{"number":"I1",` + forCust + `},{"number":"I1",` + forCust + `}]}`, events.CodeSchema, `charges_set names the charge "I1" twice`},
		{"51 charges", `{"charges_set":[` + strings.TrimSuffix(strings.Repeat(`{"number":"I1",`+forCust+`},`, 51), ",") + `]}`, events.CodeSchema, "#/charges_set: "},
	}
)

// tooNew is the bad charges, and that the release does not know the method.
func tooNew(kind events.Kind) []badData {
	method := "netflix/charges/" + strings.TrimPrefix(string(kind), "netflix-")
	return append(badCharges, badData{"a method of a later release", `{"charges_set":[{"number":"I1",` + forCust + `}]}`, events.CodeRelease, release + method + " (from R14.1.0)"})
}

// TestBadInputOfEveryKind sends all that is bad of every kind of CRM.COM through a worker: each ends as it should, none
// is called, and good commands pass between them.
func TestBadInputOfEveryKind(t *testing.T) {
	for _, spec := range events.Specs() {
		in, ok := badInputs[spec.Kind]
		if !ok && spec.Kind != events.Renew {
			t.Errorf("nothing is tried with %s", spec.Kind)
			continue
		}
		if ok {
			t.Run(string(spec.Kind), func(t *testing.T) {
				natstest.Bubble(t, func(t *testing.T) { in.play(t, spec) })
				natstest.Bubble(t, func(t *testing.T) { in.playNew(t, spec) })
			})
		}
	}
}

// badWorld is a world with an old CRM.COM, and a worker that serves it.
func badWorld(t *testing.T) *world {
	cfg := shortConfig()
	cfg.Streams.Partitions = 1
	cfg.withCRMCOM()
	cfg.CRMCOM.API.Release = "R14.0.0"
	return newWorld(t, 1, cfg, func(o *sandbox.CRMCOMOptions) {
		o.Release = "R14.0.0"
		o.Netflix = []sandbox.NetflixCustomer{{Customer: "N-2", Subscriptions: []events.NetflixSubscription{{NetflixState: events.NetflixNotEffective}}}}
		for n := range 40 {
			c := sandbox.Charge{NetflixCharge: events.NetflixCharge{Number: fmt.Sprintf("G%d", n), BillingSystemCustomerIdentifier: fmt.Sprintf("GOOD-%d", n)}}
			o.Charges = append(o.Charges, c)
		}
	})
}

func (in *inputs) play(t *testing.T, spec events.Spec) {
	w := badWorld(t)
	defer w.close()
	w.start()
	p := &bad{world: w, inputs: in, spec: spec}
	p.neverRuns()
	for _, b := range in.bad {
		p.rejected(b.name, b.data, b.code, b.says)
	}
	p.rejected("data that are no JSON object", `[]`, events.CodeSchema, "#: must be an object, not an array")
	p.rejected("a member that nobody knows", p.with(`"zzz":1`), events.CodeSchema, "#/zzz: is not a member we know")
	if in.named {
		p.rejected("another key", strings.ReplaceAll(in.data, "%[1]s", "OTHER"), events.CodeKeyMismatch, fmt.Sprintf(`the event's subject is "%s" but the data name "OTHER"`, in.key))
	}
	p.credentials()
	p.expired()
	p.tooLarge()
	for _, e := range w.book.Effects() {
		if e.Key == in.key {
			t.Errorf("it was called: %+v", e)
		}
	}
	if _, all := p.refusesAll(); !all {
		p.reused()
	}
	w.settle(10 * time.Minute)
	w.verdict()
}

// playNew is what the old installation cannot show, of the kinds that it does not know.
func (in *inputs) playNew(t *testing.T, spec events.Spec) {
	p := &bad{inputs: in, spec: spec, knowsAll: true}
	if _, all := (&bad{spec: spec}).refusesAll(); !all {
		return
	}
	p.world = subscribing(events.NetflixEffective)(t, true)
	defer p.close()
	for n := range 4 {
		charge := events.NetflixCharge{Number: fmt.Sprintf("G%d", n), BillingSystemCustomerIdentifier: fmt.Sprintf("GOOD-%d", n)}
		if err := p.crm.PutCharges(sandbox.Charge{NetflixCharge: charge}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.crm.PutCharges(sandbox.Charge{NetflixCharge: events.NetflixCharge{Number: "I1", BillingSystemCustomerIdentifier: in.key}}); err != nil {
		t.Fatal(err)
	}
	p.start()
	p.expired()
	p.reused()
	p.settle(10 * time.Minute)
	p.verdict()
}

// bad plays what is bad of one kind.
type bad struct {
	*world
	*inputs
	spec     events.Spec
	knowsAll bool // the installation knows every kind
	sent     int
}

// text is good data.
func (b *bad) text(mark string) string { return fmt.Sprintf(b.data+"%.0[2]s", b.key, mark) }

// with is good data with another member.
func (b *bad) with(member string) string {
	return strings.TrimSuffix(b.data, "}") + "," + member + "}"
}

// made is a command with these data and the next id.
func (b *bad) made(data string) event.Event {
	b.sent++
	e := b.command(b.spec.Kind, fmt.Sprintf("bad-%d", b.sent), b.key, json.RawMessage(`{}`))
	e.DataEncoded = []byte(fmt.Sprintf(data+"%.0[1]s%.0[2]s", b.key, "1"))
	return e
}

// pass sends a good command of the same upstream and another key, which must succeed promptly.
func (b *bad) pass() {
	b.Helper()
	key := fmt.Sprintf("GOOD-%d", b.names)
	number := fmt.Sprintf("G%d", b.names)
	b.names++
	var e event.Event
	if b.spec.Upstream == events.CRMCOM {
		d := amendOf("X")
		d.SubscriptionIdentifier.Number = key
		e = b.command(events.Amend, key, key, d)
	} else {
		e = b.command(events.NetflixAcknowledge, key, key, events.NetflixChargesData{
			ChargesSet: []events.ChargeIdentifier{{Number: number, BillingSystemCustomerIdentifier: key}}})
	}
	began := time.Now()
	b.send(e)
	if r := b.outcomeOf(e); r.Status != events.Succeeded || time.Since(began) > promptly {
		b.Errorf("a good command: %s after %s: %+v", r.Status, time.Since(began), r.Error)
	}
}

// rejected sends data that must be rejected without a call.
func (b *bad) rejected(name, data, code, says string) {
	b.Helper()
	e := b.made(data)
	b.send(e)
	b.pass()
	r := b.outcomeOf(e)
	if r.Status != events.Rejected || r.Attempt != 0 || r.Error == nil || r.Error.Code != code ||
		!strings.HasPrefix(strings.TrimPrefix(r.Error.Message, "the data do not satisfy the schema of "+e.Type()+": "), says) {
		b.Errorf("%s: %s of attempt %d, %+v", name, r.Status, r.Attempt, r.Error)
	}
	b.letter(name, r.Command.Seq, events.DeadInvalid)
}

// letter checks that exactly one dead letter tells of a command, and that nothing personal is in it.
func (b *bad) letter(name string, seq uint64, reason events.Reason) natsjs.Letter {
	b.Helper()
	letters, err := b.cl.letters.Get(b.Context(), seq)
	if err != nil || len(letters) != 1 || letters[0].Reason != reason || letters[0].Kind != b.spec.Kind || letters[0].Key != b.key {
		b.Fatalf("%s: %d dead letters, %v: %+v", name, len(letters), err, letters)
	}
	told, err := json.Marshal(letters[0].Error)
	if err != nil {
		b.Fatal(err)
	}
	for _, personal := range []string{"Annabella", "Elm Street", "hunter2"} {
		if strings.Contains(string(letters[0].Data)+string(told), personal) {
			b.Errorf("%s: the dead letter shows %s", name, personal)
		}
	}
	return letters[0]
}

// neverRuns stores what has no identity, or another's, or none that can be trusted.
func (b *bad) neverRuns() {
	b.Helper()
	subject := "subrelay.cmd." + string(b.spec.Kind) + "." + b.key
	whole := func(change func(*event.Event)) string {
		e := b.made(b.data)
		change(&e)
		_, raw, err := natsjs.EncodeStructured(&e)
		if err != nil {
			b.Fatal(err)
		}
		return string(raw)
	}
	for name, c := range map[string]struct {
		data   string
		reason events.Reason
	}{
		"not JSON":          {"please", events.DeadUndecodable},
		"data alone":        {b.text("1"), events.DeadUndecodable},
		"another kind":      {whole(func(e *event.Event) { e.SetType(events.CommandType(events.Renew)) }), events.DeadSubjectMismatch},
		"another key":       {whole(func(e *event.Event) { e.SetSubject("OTHER") }), events.DeadSubjectMismatch},
		"an unknown kind":   {whole(func(e *event.Event) { e.SetType("subrelay.netflix-gift.v1") }), events.DeadUnknownType},
		"older than memory": {whole(func(e *event.Event) { e.SetTime(time.Now().Add(-46 * 24 * time.Hour)) }), events.DeadStale},
		"in the future":     {whole(func(e *event.Event) { e.SetTime(time.Now().Add(time.Hour)) }), events.DeadStale},
	} {
		seq := b.mustRaw(subject, noHeader, c.data).Seq
		b.pass()
		b.settle(time.Minute)
		b.letter(name, seq, c.reason)
		b.noRecord(seq)
	}
}

// credentials sends a command with a credential.
func (b *bad) credentials() {
	b.Helper()
	e := b.made(b.with(`"password":"hunter2"`))
	b.send(e)
	r := b.outcomeOf(e)
	letter := b.letter("credentials", r.Command.Seq, events.DeadInvalid)
	if r.Error == nil || r.Error.Code != events.CodeCredentials || !strings.Contains(string(letter.Data), `"password":"`+events.Masked+`"`) {
		b.Errorf("credentials: %s, %+v, and the dead letter holds %s", r.Status, r.Error, letter.Data)
	}
}

// expired sends a command that nobody may start any more.
func (b *bad) expired() {
	b.Helper()
	e := b.made(b.data)
	e.SetExtension(events.ExtExpiry, time.Now().Add(-time.Minute).UTC().Format(time.RFC3339))
	b.send(e)
	want := events.Expired
	if _, rejects := b.refusesAll(); rejects {
		want = events.Rejected // what is wrong with it is found before
	}
	if r := b.outcomeOf(e); r.Status != want || r.Attempt != 0 {
		b.Errorf("past its expirytime: %s, %+v", r.Status, r.Error)
	}
}

// refusesAll reports whether even good data of the kind are refused here, and why.
func (b *bad) refusesAll() (code string, all bool) {
	if b.knowsAll {
		return "", false
	}
	switch b.spec.Kind {
	case events.NetflixCancel:
		return events.CodeNotConfigured, true
	case events.NetflixAccept, events.NetflixDecline:
		return events.CodeRelease, true
	}
	return "", false
}

// tooLarge publishes what no stream takes.
func (b *bad) tooLarge() {
	b.Helper()
	e := b.made(b.with(`"zzz":"` + strings.Repeat("x", 256<<10) + `"`))
	_, err := b.cl.publisher.Publish(b.Context(), e)
	if told := events.AsError(err); err == nil || told.Code != events.CodeTooLarge {
		b.Errorf("too large: %v", err)
	}
	b.pass()
}

// reused sends a good command, again, and its id with other data.
func (b *bad) reused() {
	b.Helper()
	first := b.made(b.data)
	b.send(first)
	want := b.outcomeOf(first)
	other := first.Clone()
	other.DataEncoded = []byte(fmt.Sprintf(b.data+"%.0[2]s", b.key, "2"))
	if string(other.DataEncoded) == string(first.DataEncoded) {
		other.DataEncoded = []byte(b.with(`"zzz":1`))
	}
	b.send(first, natsjs.Requeue("again"))
	receipt, err := b.cl.publisher.Publish(b.Context(), other)
	if err != nil {
		b.Fatal(err)
	}
	b.pass()
	b.settle(time.Minute)
	b.letter("a reused id", receipt.Seq, events.DeadIDReused)
	if diff := cmp.Diff([]events.Status{events.Started, want.Status}, b.statusesOf(first)); diff != "" {
		b.Errorf("the first use of the id (-want +got):\n%s", diff)
	}
}
