package main

import (
	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// demoPuzzle is a command whose reply hangs until the call times out, and of which nothing can tell afterwards whether
// it was done: meanwhile a clerk changes by hand what a read would have shown, or there was nothing to be told apart.
type demoPuzzle struct {
	sending
	hangs sandbox.FaultKind // with or without the effect
	clerk bool
	after *sending // the next order of the key, which waits until a person has resolved the doubt; nil where the key goes on
}

// The keys of the puzzles. Nobody else has orders.
const (
	puzzledAmend   = "S0000000901"
	puzzledSwap    = "S0000000902"
	puzzledNetflix = "N-00001" // who has a Netflix subscription from the beginning
)

// puzzledCustomers are those of TVMS.
func puzzledCustomers() []string { return []string{"K-00001", "K-00002"} }

// demoPuzzleCommands is how many orders the puzzles are: those of puzzledCustomers, and three with one behind each.
func demoPuzzleCommands() int { return len(puzzledCustomers()) + 3*2 }

// addPuzzles makes the puzzles and sends them, late but not last.
func (s *demoScript) addPuzzles() {
	for _, customer := range puzzledCustomers() {
		s.puzzles = append(s.puzzles, demoPuzzle{sending: s.renewal(customer), hangs: sandbox.HangAfter, clerk: true})
	}
	amended, swapped := newDemoContract(puzzledAmend), newDemoContract(puzzledSwap)
	s.hold(sandbox.HangAfter, true, s.amendNow(amended, "KIDS"), s.swap(amended))
	s.hold(sandbox.HangAfter, true, s.swap(swapped), s.swap(swapped))
	s.hold(sandbox.Hang, false, s.order(events.NetflixCreate, puzzledNetflix, s.creation(puzzledNetflix)),
		s.order(events.NetflixSuspend, puzzledNetflix, events.NetflixCustomerData{BillingSystemCustomerIdentifier: puzzledNetflix}))
	for _, p := range s.puzzles {
		at := s.insert(s.at(demoPuzzles), s.at(demoPuzzlesEnd), p.sending)
		if p.after != nil {
			s.insert(at+1, s.at(demoLosingEnd), *p.after)
		}
	}
}

func (s *demoScript) hold(hangs sandbox.FaultKind, clerk bool, first, after sending) {
	s.puzzles = append(s.puzzles, demoPuzzle{sending: first, hangs: hangs, clerk: clerk, after: &after})
}

// held is the puzzles that hold their key until a person resolves them.
func (s *demoScript) held() []demoPuzzle {
	var held []demoPuzzle
	for _, p := range s.puzzles {
		if p.after != nil {
			held = append(held, p)
		}
	}
	return held
}
