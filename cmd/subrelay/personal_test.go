package main

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// testPerson is what commands of this test say of a customer, and the credentials of that customer.
var testPerson = map[string]string{
	"the first name":          "Annabellina",
	"the last name":           "Testopoulou",
	"the e-mail address":      "annabellina.t@mail.example",
	"the phone number":        "99554433221",
	"the street":              "Makarioustrasse",
	"the postal code":         "CY-99881",
	"the account's name":      "Georgiadou Holdings",
	"the authentication code": "AUTH-88231",
	"the identifier":          "ident-55120",
	"the pass code":           "PASS-99120",
}

// TestNothingPersonalLeavesTheProcess sends what is personal wherever a command may hold it, has calls fail in every way
// and CRM.COM repeat it, and searches everything but the command stream and the calls.
func TestNothingPersonalLeavesTheProcess(t *testing.T) {
	r := newRigWithoutWorker(t)
	crm, _ := r.secretCRMCOM()
	log := &watched{}
	app := r.startLogging(log)
	l := &leaks{t: t, secrets: testPerson}
	conn, err := nats.Connect(r.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cl, err := newClient(r.config.withDefaults(), conn)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, cl: cl, config: r.config}
	p := testPerson

	var sent []event.Event
	for i, k := range []sandbox.FaultKind{"", sandbox.Refusal, sandbox.ErrorAfter, sandbox.HTMLAfter, sandbox.Hang} {
		for _, e := range personalCommands(t, i) {
			if k != "" {
				fault := sandbox.Fault{Kind: k}
				if k == sandbox.Refusal || k == sandbox.ErrorAfter {
					fault.Message = "no: " + saidOf(&e)
				}
				if err := crm.Faults().Next(fault); err != nil {
					t.Fatal(err)
				}
			}
			w.send(e)
			sent = append(sent, e)
			eventually(t, "it is done, or in doubt", func() bool { return w.allTold(sent) }) // the fault was for it alone
		}
	}
	invalid := commandEvent(t, events.NetflixCreate, "invalid", "invalid", map[string]any{netflixCustomer: "invalid", "customer_email": p["the e-mail address"],
		"customer_first_name": map[string]any{"first": p["the first name"]}, "colour": "red"})
	w.send(invalid)
	sent = append(sent, invalid)
	eventually(t, "all is done, or in doubt", func() bool { return w.allTold(sent) })

	_, page := fetch(t, "http://"+app.HTTPAddr()+"/metrics")
	l.search("/metrics", page)
	l.searchPersonal(r, w, sent)
	l.streams(cl.js)
	l.search("the log", log.String())
	if statuses := w.ended(sent); statuses[events.Succeeded] < 2 || statuses[events.Rejected] < 3 || statuses[events.InDoubt] == 0 {
		t.Errorf("the commands have ended as %v: the test tries too little", statuses)
	}
	if l.seen < 60 {
		t.Errorf("only %d places were searched", l.seen)
	}
}

// saidOf is everything personal that a command holds.
func saidOf(e *event.Event) string {
	var all []string
	for _, value := range testPerson {
		if strings.Contains(string(e.Data()), value) {
			all = append(all, value)
		}
	}
	return strings.Join(all, ", ")
}

// personalCommands are commands with everything personal, the first for a Netflix customer, the others for an account.
func personalCommands(t *testing.T, n int) []event.Event {
	p, id := testPerson, strconv.Itoa(n)
	account := func(name string, of any) event.Event {
		return commandEvent(t, events.Amend, name+id, name+id, map[string]any{"accounts_receivable_identifier": of,
			"services_to_add_set": []any{product("SPORTS")}})
	}
	return []event.Event{
		commandEvent(t, events.NetflixCreate, "n"+id, "n"+id, map[string]any{
			netflixCustomer: "n" + id, "customer_first_name": p["the first name"], "customer_last_name": p["the last name"],
			"customer_email":   map[string]any{"email_address": p["the e-mail address"], "notes": p["the last name"]},
			"customer_phone":   map[string]any{"type": "MOBILE", "number": p["the phone number"]},
			"customer_address": map[string]any{"type": "HOME", "street_name": p["the street"], "postal_code": p["the postal code"]},
		}),
		account("a", map[string]any{"name": p["the account's name"]}),
		account("b", map[string]any{"access_token_identifier": map[string]any{"authentication_code": p["the authentication code"]}}),
		account("c", map[string]any{"access_token_identifier": map[string]any{"identifier": p["the identifier"], "pass_code": p["the pass code"]}}),
	}
}

func commandEvent(t *testing.T, kind events.Kind, id, key string, data any) event.Event {
	t.Helper()
	e := event.New()
	e.SetID(id)
	e.SetSource("test")
	e.SetType(events.CommandType(kind))
	e.SetSubject(key)
	if err := e.SetData(event.ApplicationJSON, data); err != nil {
		t.Fatal(err)
	}
	return e
}

// ended counts the commands by their last status.
func (w *world) ended(sent []event.Event) map[events.Status]int {
	counts := map[events.Status]int{}
	for _, e := range sent {
		key, _ := events.KeyToken(e.Subject())
		if last, err := w.cl.outcomes.Last(w.Context(), key, events.CID(e.Source(), e.ID(), e.Subject())); err == nil && last != nil {
			counts[last.Status]++
		}
	}
	return counts
}

// searchPersonal runs every command line that shows commands or outcomes, and those that refuse what is personal.
func (l *leaks) searchPersonal(r *rig, w *world, sent []event.Event) {
	l.t.Helper()
	at := []string{"--nats", r.config.NATS.URL}
	lines := [][]string{
		{"outcomes"}, {"doubts", "list"}, {"dead", "list", "--all"}, {"replay", "commands", "--missing", "--dry-run"},
		{"replay", "commands", "--again", "--reason", "x", "--dry-run"},
	}
	for _, e := range sent {
		cid := events.CID(e.Source(), e.ID(), e.Subject())
		lines = append(lines, []string{"show", cid}, []string{"doubts", "show", cid})
	}
	for _, letter := range w.letters() {
		lines = append(lines, []string{"dead", "show", strconv.FormatUint(letter.Command, 10)})
	}
	for _, args := range lines {
		for _, format := range []string{"table", "json"} {
			l.run(nil, append(append(at[:2:2], args...), "-o", format)...)
		}
	}
	for _, args := range [][]string{
		{"netflix-create", "--customer", "c", "--email", testPerson["the e-mail address"], "--phone", testPerson["the phone number"], "--phone-type", "X"},
		{"netflix-create", "--first-name", testPerson["the first name"]},
		{"netflix-create", "--customer", "c", "--first-name", testPerson["the first name"], testPerson["the last name"]},
		{"amend", "--account", testPerson["the account's name"], "--add", "X"},
		{"amend", "--account", "name=" + testPerson["the account's name"], "--add", "X"},
	} {
		for _, format := range []string{"table", "json"} {
			if o := l.run(nil, append(append(at[:2:2], "publish"), append(args, "-o", format)...)...); o.code == exitDone {
				l.t.Errorf("publish %v does not fail: the case tests nothing", fmt.Sprint(args))
			}
		}
	}
}
