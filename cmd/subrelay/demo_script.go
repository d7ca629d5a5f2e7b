package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

const demoSource = "demo/billing"

// sending is one publish of the demonstration.
type sending struct {
	subject   string // "" lets the event say
	event     event.Event
	raw       []byte // sent in place of the event, where it is none
	duplicate bool
	mark      string // sends a duplicate past the broker's own duplicate window
}

// demoScript is everything billing sends, in order: it follows from the flags alone, but for the times in it.
type demoScript struct {
	f         demoFlags
	names     natsjs.Names
	random    *rand.Rand
	began     time.Time
	sendings  []sending
	customers []string
	clerks    []string // customers whose date a clerk changes while a reply is lost
}

func newDemoScript(f demoFlags, names natsjs.Names) *demoScript {
	s := &demoScript{f: f, names: names, random: rand.New(rand.NewPCG(f.seed, 0)), began: time.Now()}
	for n := range f.customers {
		s.customers = append(s.customers, fmt.Sprintf("C-%05d", 10001+n))
	}
	s.clerks = []string{"K-1", "K-2", "K-3"}
	s.addRenewals()
	s.addDuplicates()
	s.addInvalid()
	return s
}

// insert puts a sending at a random place behind the given one.
func (s *demoScript) insert(behind int, what sending) {
	at := behind + s.random.IntN(len(s.sendings)-behind+1)
	s.sendings = slices.Insert(s.sendings, at, what)
}

func (s *demoScript) addRenewals() {
	for n := range s.f.commands - len(s.clerks) {
		customer := s.customers[s.random.IntN(len(s.customers))]
		s.sendings = append(s.sendings, sending{event: s.renewal(n, customer)})
	}
	for n, customer := range s.clerks {
		s.insert(len(s.sendings)/2, sending{event: s.renewal(s.f.commands-n, customer)})
	}
}

func (s *demoScript) renewal(n int, customer string) event.Event {
	data := events.RenewData{CustomerMappingID: customer, Months: 1}
	if s.random.IntN(4) == 0 {
		data = events.RenewData{CustomerMappingID: customer, Days: 1 + s.random.IntN(30)}
	}
	return s.event(fmt.Sprintf("invoice-%05d", n), customer, data)
}

func (s *demoScript) event(id, subject string, data any) event.Event {
	e := event.New()
	e.SetID(id)
	e.SetSource(demoSource)
	e.SetType(events.CommandType(events.Renew))
	e.SetSubject(subject)
	e.SetTime(s.began)
	if err := e.SetData(event.ApplicationJSON, data); err != nil {
		panic(err) // data of ours that are no JSON
	}
	return e
}

// addDuplicates sends one in twenty again: half at once, which the broker itself drops, half so that the worker must.
func (s *demoScript) addDuplicates() {
	for n := range s.f.commands / 20 {
		at := s.random.IntN(len(s.sendings))
		again := s.sendings[at]
		again.duplicate = true
		if n%2 == 0 {
			again.mark = "again-" + strconv.Itoa(n)
		}
		s.insert(at+1, again)
	}
}

// addInvalid sends what can only be refused, each for a reason of its own.
func (s *demoScript) addInvalid() {
	first := s.sendings[0].event
	other := events.RenewData{CustomerMappingID: first.Subject(), Months: 12}
	expired := s.event("bad-expired", s.customers[0], events.RenewData{CustomerMappingID: s.customers[0], Months: 1})
	expired.SetExtension(events.ExtExpiry, s.began.Add(-time.Minute).UTC().Format(time.RFC3339))
	stale := s.event("bad-stale", s.customers[1], events.RenewData{CustomerMappingID: s.customers[1], Months: 1})
	stale.SetTime(s.began.Add(time.Hour))
	for _, what := range []sending{
		{event: s.event("bad-both", s.customers[2], map[string]any{"customer_mapping_id": s.customers[2], "months": 1, "days": 1})},
		{event: s.event("bad-nothing", s.customers[3], map[string]any{"customer_mapping_id": s.customers[3]})},
		{event: s.event("bad-token", s.customers[4], map[string]any{"customer_mapping_id": s.customers[4], "months": 1, "authToken": "a-secret"})},
		{event: s.event("bad-customer", "C-00000", events.RenewData{CustomerMappingID: "C-00000", Months: 1})},
		{event: s.event("bad-key", s.customers[5], events.RenewData{CustomerMappingID: s.customers[6], Months: 1})},
		{event: s.event(first.ID(), first.Subject(), other)},
		{event: expired},
		{event: stale},
		{raw: []byte("renew C-10001, please"), subject: s.names.Command(events.Renew, "C-10001")},
	} {
		s.insert(1, what)
	}
}
