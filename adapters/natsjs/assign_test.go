package natsjs

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
)

// assigned is who has each partition. It fails where one is left out or given twice, or where the load is uneven.
func assigned(t *testing.T, workers []string, partitions int, salt string) []string {
	t.Helper()
	owner := make([]string, partitions)
	least, most := partitions, 0
	all := Assign(workers, partitions, salt)
	for _, w := range workers {
		own := all[w]
		least, most = min(least, len(own)), max(most, len(own))
		for _, n := range own {
			if owner[n] != "" {
				t.Fatalf("%d workers: partition %d is given to %s and %s", len(workers), n, owner[n], w)
			}
			owner[n] = w
		}
		if !slices.IsSorted(own) {
			t.Fatalf("%d workers: %s has %v", len(workers), w, own)
		}
	}
	if i := slices.Index(owner, ""); i >= 0 && len(workers) > 0 {
		t.Fatalf("%d workers: nobody has partition %d", len(workers), i)
	}
	if most-least > 1 {
		t.Fatalf("%d workers, %d partitions: one has %d, another %d", len(workers), partitions, most, least)
	}
	return owner
}

func someWorkers(r *rand.Rand, n int) []string {
	workers := make([]string, n)
	for i := range workers {
		workers[i] = fmt.Sprintf("host-%d-%x", i, r.Uint32())
	}
	return workers
}

// TestAssignMovesLittle has a worker join, or leave, which is the same read backwards. Of partitions/(n+1), which must
// move since it has none, to all: rendezvous hashing alone would move no more than it must, and the bound on the load
// costs a few more, which are bounded, too.
func TestAssignMovesLittle(t *testing.T) {
	const rounds = 12
	r := rand.New(rand.NewPCG(4, 1))
	for _, partitions := range []int{16, 50, 256} {
		for n := 1; n <= 12; n++ {
			must, sum := float64(partitions)/float64(n+1), 0
			for range rounds {
				workers := someWorkers(r, n+1)
				before, after := assigned(t, workers[:n], partitions, "tvms"), assigned(t, workers, partitions, "tvms")
				moved := 0
				for i := range before {
					if before[i] != after[i] {
						moved++
					}
				}
				if float64(moved) > must+float64(partitions)/8+7 {
					t.Errorf("%d of %d partitions moved when a worker came to %d: %.1f must", moved, partitions, n, must)
				}
				sum += moved
			}
			if mean := float64(sum) / rounds; mean > must+float64(partitions)/16+2.5 {
				t.Errorf("on average %.1f of %d partitions move when a worker comes to %d: %.1f must", mean, partitions, n, must)
			}
		}
	}
}

// TestAssignByUpstream has workers that serve different upstreams: each upstream is spread evenly over those that serve
// it, and whoever else comes moves nothing of it.
func TestAssignByUpstream(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 1))
	upstreams := []events.Upstream{events.TVMS, events.CRMCOM, events.Netflix}
	for range 30 {
		var present []Present
		for _, w := range someWorkers(r, 1+r.IntN(12)) {
			p := Present{Worker: w}
			for _, u := range upstreams {
				if r.IntN(2) == 0 {
					p.Upstreams = append(p.Upstreams, u)
				}
			}
			present = append(present, p)
		}
		partitions := 16 << r.IntN(3)
		for _, u := range upstreams {
			before := assigned(t, Serving(present, u), partitions, string(u))
			other := Present{Worker: "other", Upstreams: slices.DeleteFunc(slices.Clone(upstreams), func(o events.Upstream) bool { return o == u })}
			after := assigned(t, Serving(append(slices.Clone(present), other), u), partitions, string(u))
			if diff := cmp.Diff(before, after); diff != "" {
				t.Fatalf("a worker that does not serve %s moved its partitions:\n%s", u, diff)
			}
		}
	}
}
