package sandbox

import (
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
)

// Faults plays a plan. It may be shared by goroutines, and by imitations.
type Faults struct {
	seed   uint64
	active atomic.Bool // false: the plan is empty, and a call need not look

	turning sync.Mutex // guards no data; keeps the calls of onDown in the order of the changes

	mu      sync.Mutex
	plan    Plan              // what is left of it
	routes  map[string]bool   // the paths that faults may name
	calls   map[string]uint64 // per customer, since the plan was set; only while there are rates
	changed chan struct{}     // closed when the plan is set anew
	onDown  func(bool)
}

// NewFaults makes an empty plan. seed is for plans that name none.
func NewFaults(seed uint64) *Faults {
	return &Faults{seed: seed, routes: map[string]bool{}, changed: make(chan struct{})}
}

// OnDown has call called, in the goroutine of whoever set the plan, each time Plan.Down was set to another value. A
// Server.SetDown belongs here, so that connections are really refused; the plan must then be set in-process or through
// a control address of its own (TVMS.Control), because the API's address cannot be reached to lift it. call must not
// change the plan.
func (f *Faults) OnDown(call func(down bool)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onDown = call
}

// Set replaces the plan, and lifts every hang of the old one. A plan that cannot be played is refused and changes
// nothing.
func (f *Faults) Set(p Plan) error {
	return f.update(true, func(*Plan) Plan { return p })
}

// Lift empties the plan.
func (f *Faults) Lift() { _ = f.Set(Plan{}) } // an empty plan can be played

// SetDown changes nothing but Plan.Down.
func (f *Faults) SetDown(down bool) {
	_ = f.update(false, func(p *Plan) Plan { // the rest was checked before
		p.Down = down
		return *p
	})
}

// Next appends steps of one call each to the script.
func (f *Faults) Next(faults ...Fault) error {
	return f.update(false, func(p *Plan) Plan {
		for _, fault := range faults {
			p.Script = append(p.Script, Step{Fault: fault})
		}
		return *p
	})
}

// Plan is what is left to be played.
func (f *Faults) Plan() Plan {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.plan.clone()
}

func (f *Faults) update(fresh bool, change func(*Plan) Plan) error {
	f.turning.Lock()
	defer f.turning.Unlock()
	turned, err := f.replace(fresh, change)
	if turned != nil {
		turned()
	}
	return err
}

// replace changes the plan, and returns the call to be made because of it, if any, outside the mutex. fresh says that
// nothing of the old plan is to go on.
func (f *Faults) replace(fresh bool, change func(*Plan) Plan) (turned func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	draft := f.plan.clone()
	next := change(&draft)
	if err := next.check(f.routes); err != nil {
		return nil, err
	}
	if call := f.onDown; call != nil && next.Down != f.plan.Down {
		turned = func() { call(next.Down) }
	}
	f.plan = next.clone()
	f.refresh()
	if fresh {
		f.calls = map[string]uint64{}
		close(f.changed)
		f.changed = make(chan struct{})
	}
	return turned, nil
}

func (f *Faults) refresh() {
	f.active.Store(f.plan.Down || len(f.plan.Script)+len(f.plan.Standing)+len(f.plan.Rates) > 0)
}

func (f *Faults) know(route string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.routes[route] = true
}

// take is the fault for one call, the zero Fault for none, and a channel that is closed when the plan is set anew. class
// is Writes, Reads or Auth.
func (f *Faults) take(route, class, customer string) (Fault, <-chan struct{}) {
	if !f.active.Load() {
		return Fault{}, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.plan.Down {
		return Fault{Kind: Refuse}, f.changed
	}
	if fault, ok := f.step(route, class, customer); ok {
		return fault, f.changed
	}
	for i := range f.plan.Standing {
		if f.plan.Standing[i].matches(route, class, customer) {
			return f.plan.Standing[i], f.changed
		}
	}
	return f.draw(route, class, customer), f.changed
}

func (f *Faults) step(route, class, customer string) (Fault, bool) {
	for i := range f.plan.Script {
		s := &f.plan.Script[i]
		if !s.matches(route, class, customer) {
			continue
		}
		fault := s.Fault
		if s.Times > 1 {
			s.Times--
		} else {
			f.plan.Script = slices.Delete(f.plan.Script, i, i+1)
			f.refresh()
		}
		return fault, true
	}
	return Fault{}, false
}

func (f *Faults) draw(route, class, customer string) Fault {
	if len(f.plan.Rates) == 0 {
		return Fault{}
	}
	seed := f.plan.Seed
	if seed == 0 {
		seed = f.seed
	}
	h := fnv.New64a()
	_, _ = io.WriteString(h, customer)
	n := f.calls[customer]
	f.calls[customer] = n + 1
	left := rand.New(rand.NewPCG(seed^h.Sum64(), n)).Float64()
	for i := range f.plan.Rates {
		r := &f.plan.Rates[i]
		if !r.matches(route, class, customer) {
			continue
		}
		if left -= r.Rate; left < 0 {
			return r.Fault
		}
	}
	return Fault{}
}
