//go:build cluster

package main

import (
	"fmt"
	"iter"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/natsjs/natstest"
	"subrelay/events"
)

// rush counts the calls that an upstream sees at the same time, and within a second. It holds the first for a while.
type rush struct {
	next http.Handler
	hold time.Duration

	mu              sync.Mutex
	now, most       int
	second          int64
	inSecond, burst int
	began           time.Time // of the first call
	early           int       // calls beside the first while it was held
	let             bool      // the first is held no more
}

func (r *rush) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if first := r.enter(); first {
		time.Sleep(r.hold)
		r.letGo()
	}
	defer r.leave()
	r.next.ServeHTTP(w, req)
}

func (r *rush) enter() (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if first = r.began.IsZero(); first {
		r.began = time.Now()
	} else if !r.let {
		r.early++
	}
	if r.now++; r.now > r.most {
		r.most = r.now
	}
	if s := time.Now().Unix(); s != r.second {
		r.second, r.inSecond = s, 0
	}
	r.inSecond++
	r.burst = max(r.burst, r.inSecond)
	return first
}

func (r *rush) letGo() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.let = true
}

func (r *rush) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now--
}

// windowOf is how many commands of a partition a worker holds at most.
const windowOf = 1000

// TestFieldOutageOfAnHour lets TVMS be away for an hour with more commands waiting than the windows hold: no attempt is spent,
// what the worker holds and what a waiting command costs is bounded, and on its return the upstream meets one probe, and
// no other call until that has ended, and then no more than its limits.
func TestFieldOutageOfAnHour(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T) { outage(t, envInt("SUBRELAY_WAITING", 1500)) })
}

func outage(t *testing.T, waiting int) {
	cfg := simConfig()
	cfg.TVMS.Guard.Rate, cfg.TVMS.Guard.Burst = 200, 8
	cfg.Streams.Partitions = 1
	w := newWorld(t, 1, cfg)
	defer w.close()
	r := &rush{next: w.tvms.Handler(), hold: cfg.TVMS.Guard.CallTimeout / 2}
	w.serve(tvmsAddr, r)
	w.lines[tvmsAddr].down.Store(true)
	k := w.start()
	before := heap()
	w.publishMany(waiting)
	const away = time.Hour
	time.Sleep(away)
	if per := (int64(heap()) - int64(before)) / int64(waiting); per > 64<<10 {
		t.Errorf("a waiting command takes %d KiB, broker and worker together", per>>10)
	}
	held := k.app.stations[0].lanes.Load().Depth().Waiting
	if most := windowOf * cfg.Streams.Partitions; held > most || waiting >= 3*most/2 && held < most {
		t.Errorf("the worker holds %d commands, and %d fit into its windows", held, most)
	}
	back := time.Now()
	w.lines[tvmsAddr].down.Store(false)
	w.settle(time.Hour)
	report := w.verdict()
	if report.Succeeded != waiting || report.Effects != waiting || report.Calls != waiting {
		t.Errorf("%s", report.String())
	}
	w.nothingSpent()
	guard := k.app.Guard("tvms")
	if r.early > 0 {
		t.Errorf("%d calls beside the probe", r.early)
	}
	if limit := cfg.TVMS.Guard.Concurrency; r.most > limit {
		t.Errorf("%d calls at the same time, and %d is the limit", r.most, limit)
	}
	if limit := int(cfg.TVMS.Guard.Rate) + cfg.TVMS.Guard.Burst; r.burst > limit {
		t.Errorf("%d calls within a second, and %d is the limit", r.burst, limit)
	}
	if late := r.began.Sub(back); late > 2*cfg.TVMS.Guard.OpenFor {
		t.Errorf("the first call came %s after the return", late)
	}
	t.Logf("%d waited for %s; %d of them in the worker; on the return at most %d calls at once and %d within a second; breaker %s, opened %d times",
		waiting, away, held, r.most, r.burst, guard.State(), guard.Opened())
}

// publishMany publishes renewals for a tenth as many customers, so that each has some in order.
func (w *world) publishMany(n int) {
	w.Helper()
	var all iter.Seq[event.Event] = func(yield func(event.Event) bool) {
		for i := range n {
			if !yield(w.renewal(fmt.Sprintf("c%d", i), fmt.Sprintf("C-%d", i%(n/10)))) {
				return
			}
		}
	}
	result, err := w.cl.publisher.PublishAll(w.Context(), all, natsjs.Batch{InFlight: 32})
	if err != nil || result.Stored != n {
		w.Fatalf("%+v, %v", result, err)
	}
}

// nothingSpent fails for every record that says that an attempt was used.
func (w *world) nothingSpent() {
	w.Helper()
	spent := 0
	if err := w.cl.outcomes.Read(w.Context(), natsjs.Query{}, func(s natsjs.Stored) error {
		if s.Spent != nil && s.Spent.Attempts > 0 {
			spent++
		}
		if s.Status == events.Failed {
			w.Errorf("%s has failed: %+v", s.Command.ID, s.Error)
		}
		return nil
	}); err != nil {
		w.Fatal(err)
	}
	if spent > 0 {
		w.Errorf("%d records say that an attempt was used", spent)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
