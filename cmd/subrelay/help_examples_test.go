package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// TestHelpExamplesCanBeDone runs every example of publish's help, as a worker with its default settings meets it: what
// the help shows must not be refused. What an example reads is a sample of schemas/testdata.
func TestHelpExamplesCanBeDone(t *testing.T) {
	r, crm, _ := newWholeRig(t)
	for _, cmd := range everyCommand() {
		if !strings.HasPrefix(cmd.CommandPath(), "subrelay publish") {
			continue
		}
		for line := range strings.Lines(cmd.Example) {
			line = strings.TrimSpace(line)
			t.Run(line, func(t *testing.T) {
				_, after, _ := strings.Cut(line, "subrelay ")
				args, stdin := withSample(t, strings.Fields(after))
				r.stockForExamples(t, crm, events.Kind(args[1]))
				if i := slices.Index(args, "--id"); i >= 0 { // kinds share ids in their examples
					args[i+1] = fmt.Sprintf("%s-%d", args[1], i)
				}
				got := runLine(t, stdin, append(args, "--nats", r.server.URL(), "--wait")...)
				code, stdout := exitDone, "succeeded"
				if args[1] == string(events.NetflixCancel) { // its help says so
					code, stdout = exitRejected, events.CodeNotConfigured
				}
				got.want(t, code, stdout, "")
			})
		}
	}
}

// stockForExamples puts what the examples of a kind act on, as it is before each.
func (r *rig) stockForExamples(t *testing.T, crm *sandbox.CRMCOM, kind events.Kind) {
	t.Helper()
	netflix := sandbox.NetflixCustomer{Customer: "cust-77", Subscriptions: []events.NetflixSubscription{{NetflixState: events.NetflixEffective}}}
	switch kind {
	case events.NetflixCreate:
		netflix.Subscriptions = nil
	case events.NetflixUnsuspend:
		netflix.Subscriptions[0].NetflixState = events.NetflixNotEffective
	}
	service := func(code, id string) sandbox.Service {
		return sandbox.Service{ID: id, Product: events.ServiceIdentifier{Code: code}}
	}
	services := []sandbox.Service{service("INTERNET_100", ""), service("BASIC", "9F01"), service("TV_S", ""), service("NET_S", ""),
		service("SPORTS_BASIC", "")}
	charge := func(number, customer string) sandbox.Charge {
		return sandbox.Charge{NetflixCharge: events.NetflixCharge{Number: number, BillingSystemCustomerIdentifier: customer}}
	}
	for _, err := range []error{
		r.tvms.PutCustomers(sandbox.Customer{MappingID: "C-10042", UserID: "tv10042", Expires: time.Date(2030, 1, 31, 0, 0, 0, 0, time.UTC)}),
		crm.PutSubscriptions(
			sandbox.Subscription{Number: "S0000012345", Services: services},
			sandbox.Subscription{Number: "S0000012346", ID: "0A1B2C", Services: []sandbox.Service{service("SPORTS", "")}}),
		crm.PutNetflix(netflix),
		crm.PutCharges(charge("I00002706", "cust-77"), charge("I00002707", "cust-78"), charge("I00002711", "cust-77")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// withSample gives an example that reads a file, or what another program writes, something to read.
func withSample(t *testing.T, args []string) (with []string, stdin string) {
	t.Helper()
	sample := ""
	switch i := slices.Index(args, "--data"); {
	case i >= 0:
		var valid struct{ Data json.RawMessage }
		if err := json.Unmarshal([]byte(content(t, "../../schemas/testdata/valid/"+args[1]+".json")), &valid); err != nil {
			t.Fatal(err)
		}
		sample = string(valid.Data)
	case slices.Contains(args, "-f"):
		sample = `{"specversion":"1.0","id":"one","source":"billing","type":"subrelay.renew.v1","subject":"C-10042",` +
			`"data":{"customer_mapping_id":"C-10042","months":1}}` + "\n"
	}
	with = slices.Clone(args)
	for i, arg := range with {
		if strings.HasSuffix(arg, ".json") || strings.HasSuffix(arg, ".jsonl") {
			with[i] = file(t, sample)
		}
	}
	return with, sample
}
