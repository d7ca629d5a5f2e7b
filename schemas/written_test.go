package schemas_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
	"subrelay/schemas"
)

var update = flag.Bool("update", false, "write the schemas anew from testdata/templates")

// page is what a template is written with.
type page struct {
	Name        string // of the event type, between "subrelay." and ".v1"
	Description string

	Kind      events.Kind
	Status    events.Status
	Attempted bool // the attempt is known to have been made
	Result    string
	ResultIn  string   // the member that holds it
	Never     []string // members that do not occur
	Required  []string

	State string // of a charge
}

// commands are the commands whose schemas are written: their template, and what they do. That of renew is its own.
var commands = map[events.Kind]struct{ template, description string }{
	events.Amend: {"amend", "Adds and removes services and installed items of a CRM.COM subscription, as POST subscriptions/amend. " +
		"The event's subject must equal the number or id by which the subscription or the account is named; it is free where the account " +
		"is named otherwise. Never put credentials of yours here: the command is refused."},
	events.Swap: {"swap", "Puts services in the place of others on a CRM.COM subscription. The event's subject must equal the number or id " +
		"by which the subscription or the account is named; it is free where the account is named otherwise. business_classification_code " +
		"can be sent only where the worker has crmcom.swap.carrier: method."},
	events.NetflixCreate: {"netflix-create", "Creates a Netflix subscriber, as POST netflix/subscriptions/create. The event's subject must " +
		"equal billing_system_customer_identifier. Names, address, e-mail and phone go to the upstream and nowhere else."},
	events.NetflixSuspend:     {"netflix-state", "Suspends a customer's Netflix subscription. The event's subject must equal billing_system_customer_identifier."},
	events.NetflixUnsuspend:   {"netflix-state", "Undoes a suspension. The event's subject must equal billing_system_customer_identifier."},
	events.NetflixCancel:      {"netflix-state", "The vendor's third method of this shape, where the operator has configured its path. The event's subject must equal billing_system_customer_identifier."},
	events.NetflixAcknowledge: {"netflix-charges", "Takes charges off the list of those that were not acknowledged. The event's subject is free."},
	events.NetflixAccept:      {"netflix-charges", "Accepts charges that Netflix has not processed yet; from R14.1.0. The event's subject is free."},
	events.NetflixDecline:     {"netflix-charges", "Declines charges that Netflix has not processed yet; from R14.1.0. The event's subject is free."},
}

// results is the template of each kind's result.
var results = map[events.Kind]string{
	events.Renew: "renew", events.Amend: "action", events.Swap: "action", events.NetflixCreate: "netflix-create",
	events.NetflixSuspend: "netflix-state", events.NetflixUnsuspend: "netflix-state", events.NetflixCancel: "netflix-state",
	events.NetflixAcknowledge: "netflix-charges", events.NetflixAccept: "netflix-charges", events.NetflixDecline: "netflix-charges",
}

// outcomes is what is particular to each status.
var outcomes = map[events.Status]page{
	events.Started: {
		Description: "An attempt is about to call the upstream. Not final.", Attempted: true,
		Never: []string{"result", "deferral", "resolution", "error", "if_applied"}, Required: []string{"token", "start", "started_at"},
	},
	events.Deferred: {
		Description: "That attempt is known to have changed nothing; the next is due at deferral.not_before. Not final.", Attempted: true,
		Never: []string{"result", "start", "resolution", "if_applied"}, Required: []string{"error", "deferral"},
	},
	events.InDoubt: {
		Description: "The attempt may have changed something and nothing could tell; the truth is still owed. Not final yet.", Attempted: true,
		Never: []string{"result", "start", "deferral", "resolution"}, Required: []string{"error"},
	},
	events.Succeeded: {
		Description: "The effect happened once. Final.", Attempted: true,
		Never: []string{"start", "deferral", "error", "if_applied"}, Required: []string{"result"},
	},
	events.Rejected: {
		Description: "Nothing happened and nothing will: invalid, or refused by the upstream. Final.",
		Never:       []string{"result", "start", "deferral", "resolution", "if_applied"}, Required: []string{"error"},
	},
	events.Failed: {
		Description: "Nothing happened: attempts used up, or a doubt settled as not applied. Final.",
		Never:       []string{"result", "start", "deferral", "if_applied"}, Required: []string{"error"},
	},
	events.Expired: {
		Description: "Not started before expirytime. Final.",
		Never:       []string{"result", "start", "deferral", "resolution", "if_applied"}, Required: []string{"error"},
	},
	events.Cancelled: {
		Description: "Withdrawn before it started. Final; reserved.",
		Never:       []string{"result", "start", "deferral", "resolution", "if_applied"},
	},
}

// resultIn is the member that holds a result, by status.
var resultIn = map[events.Status]string{events.Succeeded: "result", events.InDoubt: "if_applied"}

// charges is what each state of a charge asks of billing.
var charges = map[string]string{
	events.ChargePending:    "Netflix has not processed the charge yet: do not bill it.",
	events.ChargeApproved:   "The charge is approved: bill it.",
	events.ChargeDeclined:   "The charge is declined: do not bill it; the Netflix subscription will be terminated.",
	events.ChargeBadRequest: "The charge was wrong: do not bill it; the Netflix subscription will be terminated.",
	events.ChargeRejected:   "The charge is rejected: do not bill it; the Netflix subscription will be terminated.",
}

// written is every file that is made from a template.
func written(t *testing.T) map[string]string {
	t.Helper()
	all := template.Must(template.ParseGlob(filepath.Join("testdata", "templates", "*.tmpl")))
	write := func(name string, p any) string {
		var out bytes.Buffer
		if err := all.ExecuteTemplate(&out, name, p); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	files := map[string]string{"asyncapi.yaml": write("asyncapi.yaml.tmpl", newDocument())}
	for _, spec := range events.Specs() {
		if c, ok := commands[spec.Kind]; ok {
			files[string(spec.Kind)+".v1.json"] = tidy(t, write(c.template+".tmpl", page{Name: string(spec.Kind), Description: c.description}))
		}
		for _, status := range events.Statuses() {
			p := outcomes[status]
			p.Kind, p.Status, p.Name = spec.Kind, status, string(spec.Kind)+"."+string(status)
			if p.ResultIn = resultIn[status]; p.ResultIn != "" {
				p.Result = write("result of "+results[spec.Kind], p)
			}
			files[p.Name+".v1.json"] = tidy(t, write("outcome.tmpl", p))
		}
	}
	for state, description := range charges {
		p := page{Name: "netflix-charge." + events.ChargeStatus(state), Description: description, State: state}
		files[p.Name+".v1.json"] = tidy(t, write("netflix-charge.tmpl", p))
	}
	return files
}

// tidy is JSON in its usual form.
func tidy(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, []byte(strings.TrimSpace(text)), "", "  "); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return out.String() + "\n"
}

// Most schemas, and asyncapi.yaml, differ from each other in names alone: they are written from templates. Change those,
// and run go generate.
func TestSchemasAreAsTheirTemplatesHaveThem(t *testing.T) {
	for name, want := range written(t) {
		if *update {
			if err := os.WriteFile(name, []byte(want), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := fs.ReadFile(schemas.Files(), name)
		if err != nil {
			t.Errorf("%v: run go generate", err)
			continue
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s is not as its template has it; run go generate (-template +file):\n%s", name, diff)
		}
	}
}
