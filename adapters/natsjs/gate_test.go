package natsjs

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

func message(consumer, stream, delivered uint64) *jetstream.MsgMetadata {
	return &jetstream.MsgMetadata{
		Sequence:     jetstream.SequencePair{Consumer: consumer, Stream: stream},
		NumDelivered: delivered,
	}
}

func TestGateOpensWhenTheFloorReachesTheFirstNewMessage(t *testing.T) {
	var g gate
	g.restart()
	g.saw("a", message(7, 20, 2)) // a redelivery bounds nothing
	if g.learn(1000, g.epoch) {
		t.Fatal("opened without a bound")
	}
	g.saw("a", message(8, 31, 1))
	if !g.learn(29, g.epoch) {
		t.Fatal("closed, though a floor of 1000 is known: a stale one must not lower it")
	}
}

func TestGateStaysClosedBelowItsBound(t *testing.T) {
	var g gate
	g.restart()
	g.saw("a", message(1, 31, 1))
	if g.learn(29, g.epoch) {
		t.Fatal("opened with floor 29 and bound 30")
	}
	if !g.learn(30, g.epoch) {
		t.Fatal("closed with floor 30 and bound 30")
	}
}

func TestGateClosesWithANewEpoch(t *testing.T) {
	for name, disturb := range map[string]func(*gate){
		"another pin":         func(g *gate) { g.saw("b", message(2, 32, 1)) },
		"a gap":               func(g *gate) { g.saw("a", message(3, 33, 1)) },
		"a sequence again":    func(g *gate) { g.saw("a", message(1, 31, 1)) },
		"a reconnect":         func(g *gate) { g.restart() },
		"a message after one": func(g *gate) { g.restart(); g.saw("a", message(2, 32, 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			var g gate
			g.saw("a", message(1, 31, 1))
			g.learn(30, g.epoch)
			if !g.open {
				t.Fatal("closed at the start")
			}
			disturb(&g)
			if g.open {
				t.Fatal("open in a new epoch")
			}
		})
	}
	t.Run("not within one", func(t *testing.T) {
		var g gate
		g.saw("a", message(1, 31, 1))
		g.learn(30, g.epoch)
		g.saw("a", message(2, 31, 2))
		g.saw("a", message(3, 40, 1))
		if !g.open {
			t.Fatal("closed though pin and sequence go on")
		}
	})
}

func TestGateIgnoresAFloorOfAnEarlierEpoch(t *testing.T) {
	var g gate
	g.saw("a", message(1, 31, 1))
	epoch := g.epoch
	g.saw("b", message(9, 40, 1))
	if g.learn(100, epoch) || g.open {
		t.Fatal("a floor asked for in an earlier epoch opened the gate")
	}
}

// TestGateLooksThroughTheGap stores commands of two partitions in turn, so that the floor of one stands far below its
// next command.
func TestGateLooksThroughTheGap(t *testing.T) {
	pub, js := publisher(t, func(s *TopologySettings) { s.Partitions = 2 })
	keys := map[int]string{}
	for i := 0; len(keys) < 2; i++ {
		key := fmt.Sprintf("C-%d", i)
		keys[PartitionOf(key, 2)] = key
	}
	for n, partition := range []int{0, 1, 1, 1, 0, 1, 0} { // sequences 1 to 7: partition 0 has 1, 5 and 7
		key := keys[partition]
		data := fmt.Sprintf(`{"customer_mapping_id":%q,"months":1}`, key)
		if _, err := pub.Publish(t.Context(), renewal(fmt.Sprint(n), key, data)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name         string
		floor, first uint64
		open         bool
	}{
		{"nothing in between", 1, 5, true},
		{"nothing before", 0, 1, true},
		{"one in between", 1, 7, false},
		{"one before", 0, 5, false},
		{"nothing beyond that proves it", 7, 99, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPartition(&Lanes{
				LaneSettings: LaneSettings{Kinds: []events.Kind{events.Renew}},
				stream:       stream(t, js, "SUBRELAY_COMMANDS"),
			}, 0)
			p.gate.saw("a", message(1, tt.first, 1))
			p.gate.filters = Names{}.Filters(0, events.Renew)
			if p.learn(tt.floor, p.gate.epoch) {
				p.examineGap(t.Context(), p.gate.epoch)
			}
			if p.gate.open != tt.open {
				t.Errorf("floor %d, first new command %d: open is %t", tt.floor, tt.first, p.gate.open)
			}
			if p.learn(tt.floor, p.gate.epoch) {
				t.Error("it would look again with the same floor")
			}
		})
	}
}

func TestAssignIgnoresOrderAndRepeats(t *testing.T) {
	a := Assign([]string{"a", "b", "c"}, 16, "x")
	b := Assign([]string{"c", "a", "b", "a"}, 16, "x")
	for w := range a {
		if !slices.Equal(a[w], b[w]) {
			t.Errorf("%s: %v and %v", w, a[w], b[w])
		}
	}
	if len(Assign(nil, 16, "x")) != 0 {
		t.Error("an assignment to nobody")
	}
}

func TestLaneIsOrderedByTheStreamNotByArrival(t *testing.T) {
	for name, tt := range map[string]struct {
		doing activity
		want  []uint64
	}{
		"waiting":                        {waiting, []uint64{3, 4, 5, 9}},
		"attempting: the head stays one": {attempting, []uint64{5, 3, 4, 9}},
	} {
		t.Run(name, func(t *testing.T) {
			l := &Lanes{}
			l.prepare.init()
			l.call.init()
			p := newPartition(l, 0)
			p.enqueue("K", &item{seq: 5})
			ln, _ := l.prepare.tryPop()
			ln.doing, ln.busy = tt.doing, tt.doing == attempting
			for _, seq := range []uint64{9, 4, 3} {
				p.enqueue("K", &item{seq: seq})
			}
			var got []uint64
			for _, it := range ln.items {
				got = append(got, it.seq)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("the lane holds %v, want %v", got, tt.want)
			}
		})
	}
}

func TestQueueIsFirstInFirstOut(t *testing.T) {
	var q queue
	q.init()
	lanes := make([]*lane, 5000)
	for i := range lanes {
		lanes[i] = &lane{}
		q.push(lanes[i])
	}
	for i := 0; i < 5000; i += 3 {
		if !q.remove(lanes[i]) || q.remove(lanes[i]) {
			t.Fatalf("lane %d: remove must succeed once", i)
		}
	}
	for i := range lanes {
		if i%3 == 0 {
			continue
		}
		if got, ok := q.tryPop(); !ok || got != lanes[i] {
			t.Fatalf("lane %d is not next", i)
		}
		if q.remove(lanes[i]) {
			t.Fatalf("lane %d was removed after it was taken", i)
		}
	}
	if _, ok := q.tryPop(); ok {
		t.Fatal("the queue is not empty")
	}
}

func TestQueueWakesEveryWaiter(t *testing.T) {
	var q queue
	q.init()
	const all = 1000
	var taken atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for {
				if _, ok := q.pop(); !ok {
					return
				}
				if taken.Add(1) == all {
					q.close()
				}
			}
		})
	}
	for range all {
		q.push(&lane{})
	}
	group.Wait()
}
