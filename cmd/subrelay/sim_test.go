package main

import (
	"cmp"
	"flag"
	"maps"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/sandbox"
)

// The simulation runs -sim.seeds seeds, from -sim.seed on. A failure names its seed; the same seed makes the same
// choices again. (What the scheduler makes of them may differ: run it with -count.)
var (
	simSeed  = flag.Uint64("sim.seed", 1, "first seed of the simulation")
	simSeeds = flag.Int("sim.seeds", envInt("SUBRELAY_SIM_SEEDS", 24), "number of seeds of the simulation")
)

func envInt(name string, fallback int) int {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		return fallback
	}
	return n
}

func sortedKeys[M ~map[K]V, K cmp.Ordered, V any](m M) []K { return slices.Sorted(maps.Keys(m)) }

// TestSimulation lets workers, broker, lines and upstream fail at random, and then lets everything recover: nothing may
// be doubled, lost or out of order, and everything must end.
func TestSimulation(t *testing.T) {
	for n := range *simSeeds {
		seed := *simSeed + uint64(n)
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T) { simulate(t, seed) })
		})
	}
}

func simulate(t *testing.T, seed uint64) {
	choices := setUp(seed)
	w := newWorld(t, seed, choices.cfg, choices.crm)
	defer w.close()
	w.kinds, w.reacts, w.resolves = choices.kinds, choices.reacts, true
	w.putSubscriptions(choices.onSight)
	w.putSubscribers()
	for range 1 + w.random.IntN(3) {
		w.start()
	}
	for range 12 + w.random.IntN(12) {
		for range w.random.IntN(8) {
			w.ask()
		}
		w.trouble()
		w.tend()
		time.Sleep(time.Duration(w.random.IntN(3000)) * time.Millisecond)
	}
	w.recover()
	w.settle(4 * time.Hour)
	r := w.verdict()
	w.verdictOnCharges()
	t.Logf("seed %d, %v: %s%v", seed, choices.kinds, r.String(), w.settled())
}

// trouble is one random mishap.
func (w *world) trouble() {
	switch w.random.IntN(15) {
	case 0:
		w.lines[w.oneOf(tvmsAddr, crmAddr)].down.Store(true)
	case 1, 2:
		w.lines[w.oneOf(tvmsAddr, crmAddr)].down.Store(false)
	case 3, 4, 5:
		if w.random.IntN(2) == 0 {
			w.faults(w.tvms.Faults(), sandbox.Any)
		} else {
			w.faults(w.crm.Faults(), w.oneOf(sandbox.Any, sandbox.Any, sandbox.Writes, sandbox.Reads, sandbox.Auth))
		}
	case 6:
		w.again()
	case 7:
		if len(w.workers) < 4 {
			w.start()
		}
	case 8:
		w.withAny(w.kill)
	case 9:
		w.withAny(func(k *simWorker) { delete(w.workers, k.app.Name()); k.stop() })
	case 10:
		w.withAny(func(k *simWorker) { k.cable.Cut() })
	case 11: // what comes is lost: messages, acknowledgements
		w.withAny(func(k *simWorker) { k.cable.Deafen(); w.pause(8); k.cable.Cut() })
	case 12: // what goes is lost; for long, so that others take over from a worker that knows nothing of it
		w.withAny(func(k *simWorker) { k.cable.Mute(); w.pause(20); k.cable.Cut() })
	case 13:
		if w.random.IntN(3) == 0 {
			w.restartBroker(time.Duration(w.random.IntN(3000)) * time.Millisecond)
		}
	case 14:
		w.crm.ExpireTokens()
	}
}

func (w *world) withAny(do func(*simWorker)) {
	if k := w.any(); k != nil {
		do(k)
	}
}

// pause lets up to n seconds pass, with commands coming in.
func (w *world) pause(n int) {
	for range w.random.IntN(n) {
		w.ask()
		time.Sleep(time.Second)
	}
}

// faults has an upstream misbehave at random rates.
func (w *world) faults(of *sandbox.Faults, route string) {
	plan := sandbox.Plan{Seed: w.random.Uint64()}
	kinds := sandbox.FaultKinds()
	for range 1 + w.random.IntN(4) {
		kind := kinds[w.random.IntN(len(kinds))].Kind
		f := sandbox.Fault{Kind: kind, Route: route}
		if kind.Delayed() {
			f.Delay = sandbox.Duration(time.Duration(w.random.IntN(6000)+1) * time.Millisecond)
		}
		if kind == sandbox.Throttle || kind == sandbox.Unavailable {
			f.RetryAfter = sandbox.Duration(time.Duration(w.random.IntN(10)) * time.Second)
		}
		plan.Rates = append(plan.Rates, sandbox.Rate{Fault: f, Rate: 0.1 + 0.2*w.random.Float64()})
	}
	if err := of.Set(plan); err != nil {
		w.Fatal(err)
	}
}

// recover ends all trouble, and sees to it that somebody works.
func (w *world) recover() {
	for _, addr := range sortedKeys(w.lines) {
		w.lines[addr].down.Store(false)
	}
	w.tvms.Faults().Lift()
	w.crm.Faults().Lift()
	for _, name := range sortedKeys(w.workers) {
		w.workers[name].cable.Cut()
	}
	if len(w.workers) == 0 {
		w.start()
	}
}
