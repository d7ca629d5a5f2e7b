package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
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

func (w *sending) key() string { return w.event.Subject() }

func (w *sending) kind() events.Kind {
	kind, _ := events.KindOfType(w.event.Type())
	return kind
}

// demoScript is everything billing sends of its own accord, in order, and the charges that CRM.COM will have: it follows
// from the flags and the time of its beginning alone.
type demoScript struct {
	f         demoFlags
	names     natsjs.Names
	random    *rand.Rand
	began     time.Time
	sendings  []sending
	customers []string // of TVMS and of Netflix
	contracts []*demoContract
	charges   []events.NetflixCharge
	puzzles   []demoPuzzle
	ids       int
}

// The parts of what billing sends, of 0 to 1, at which the acts of the demonstration begin and end.
const (
	demoTVMSDown   = 0.18
	demoTVMSBack   = 0.36
	demoCRMDown    = 0.48
	demoCRMBack    = 0.64
	demoTokens     = 0.68
	demoPuzzles    = 0.66
	demoPuzzlesEnd = 0.72
	demoLosing     = 0.70
	demoLosingEnd  = 0.97
)

func newDemoScript(f demoFlags, names natsjs.Names, began time.Time) *demoScript {
	s := &demoScript{f: f, names: names, random: rand.New(rand.NewPCG(f.seed, 0)), began: began}
	for n := range f.customers {
		s.customers = append(s.customers, fmt.Sprintf("C-%05d", 10001+n))
		s.contracts = append(s.contracts, newDemoContract(fmt.Sprintf("S%010d", 10001+n)))
	}
	s.addCharges()
	actions, netflix := f.commands*28/100, f.commands*20/100
	puzzles := demoPuzzleCommands()
	renewals := f.commands - actions - netflix - s.answers() - puzzles
	s.mix(s.renewals(renewals), s.actions(actions), s.netflix(netflix))
	s.addDuplicates()
	s.addWrong()
	s.addPuzzles()
	return s
}

// mix brings several runs of sendings together, at random. The order within each stays.
func (s *demoScript) mix(runs ...[]sending) {
	for left := runs; len(left) > 0; {
		n := 0
		for _, run := range left {
			n += len(run)
		}
		n = s.random.IntN(max(n, 1))
		for i, run := range left {
			if n -= len(run); n < 0 {
				s.sendings = append(s.sendings, run[0])
				left[i] = run[1:]
				break
			}
		}
		left = slices.DeleteFunc(left, func(run []sending) bool { return len(run) == 0 })
	}
}

// insert puts a sending at a random place between two, the second not included.
func (s *demoScript) insert(from, to int, what sending) (at int) {
	at = from + s.random.IntN(max(to-from, 1))
	s.sendings = slices.Insert(s.sendings, at, what)
	return at
}

// at is the place of a part of what is sent, 0 to 1.
func (s *demoScript) at(part float64) int { return int(part * float64(len(s.sendings))) }

// next is the key of the first order of a kind a little after a part of what is sent; "" where there is none.
func (s *demoScript) next(kind events.Kind, part float64) string {
	for _, w := range s.sendings[min(s.at(part)+5, len(s.sendings)):] {
		if w.kind() == kind && !w.duplicate && strings.HasPrefix(w.event.ID(), "order-") {
			return w.key()
		}
	}
	return ""
}

// order is the next command of a kind, as an order of billing's.
func (s *demoScript) order(kind events.Kind, key string, data any) sending {
	s.ids++
	return sending{event: s.event(kind, fmt.Sprintf("order-%05d", s.ids), key, data)}
}

func (s *demoScript) event(kind events.Kind, id, subject string, data any) event.Event {
	e := event.New()
	e.SetID(id)
	e.SetSource(demoSource)
	e.SetType(events.CommandType(kind))
	e.SetSubject(subject)
	e.SetTime(s.began)
	if err := e.SetData(event.ApplicationJSON, data); err != nil {
		panic(err) // data of ours that are no JSON
	}
	return e
}

// addDuplicates sends one in twenty again, and one of each kind at least: half at once, which the broker itself drops,
// half so that the worker must.
func (s *demoScript) addDuplicates() {
	var chosen []sending
	seen := map[events.Kind]bool{}
	for _, what := range s.sendings {
		if !seen[what.kind()] {
			seen[what.kind()] = true
			chosen = append(chosen, what)
		}
	}
	for range s.f.commands/20 - len(chosen) {
		chosen = append(chosen, s.sendings[s.random.IntN(len(s.sendings))])
	}
	for n, again := range chosen {
		again.duplicate = true
		if n%2 == 0 {
			again.mark = "again-" + strconv.Itoa(n)
		}
		first := slices.IndexFunc(s.sendings, func(w sending) bool { return w.event.ID() == again.event.ID() })
		s.insert(first+1, len(s.sendings)+1, again)
	}
}
