package upstream

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// permits notes when permits were given.
type permits struct {
	mu    sync.Mutex
	times []time.Time
}

// hammer takes permits by some callers, until ctx ends.
func (p *permits) hammer(ctx context.Context, g *Guard, callers int) *sync.WaitGroup {
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for {
				permit, err := g.Acquire(ctx)
				if err != nil {
					return
				}
				p.mu.Lock()
				p.times = append(p.times, time.Now())
				p.mu.Unlock()
				time.Sleep(time.Millisecond)
				permit.Done(nil)
			}
		})
	}
	return &group
}

// within checks that no span of time has more permits than rate and burst allow.
func (p *permits) within(t *testing.T, rate float64, burst int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.times {
		for j := i; j < len(p.times); j++ {
			span := p.times[j].Sub(p.times[i])
			if given := j - i + 1; float64(given) > rate*span.Seconds()+float64(burst)+1e-6 {
				t.Fatalf("%d permits in %s, at %v/s with a burst of %d", given, span, rate, burst)
			}
		}
	}
}

// TestSharesOfTheRate gives two workers changing parts of one rate, lowered before they are raised: together they never
// call more often than one alone might, and all but as often.
func TestSharesOfTheRate(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			const speed, burst = 10, 4
			r := rand.New(rand.NewPCG(seed, 1))
			settings := Settings{Rate: speed, Burst: burst, Concurrency: 16}
			a, b := newGuard(t, settings), newGuard(t, settings)
			ctx, stop := context.WithCancel(t.Context())
			var given permits
			first := given.hammer(ctx, a, 16)
			time.Sleep(time.Duration(r.IntN(5000)) * time.Millisecond)
			a.Share(0.75)
			b.Share(0.25) // comes, with an empty bucket
			second := given.hammer(ctx, b, 16)
			for range 20 {
				time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
				part := float64(1+r.IntN(7)) / 8
				if less, more := a, b; part*speed < a.Rate() {
					less.Share(part)
					more.Share(1 - part)
				} else {
					more.Share(1 - part)
					less.Share(part)
				}
			}
			stop()
			first.Wait()
			second.Wait()
			given.within(t, speed, burst+1) // of two parts each is rounded to a whole permit
			span := given.times[len(given.times)-1].Sub(given.times[0]).Seconds()
			if n := float64(len(given.times)); n < 0.95*speed*span {
				t.Errorf("seed %d: only %v permits in %.1f s", seed, n, span)
			}
		})
	}
}

// TestAShareCountsForThoseWhoWait raises the part of a worker whose caller waits for long already.
func TestAShareCountsForThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, Settings{Rate: 1, Burst: 1})
		g.Share(0.01)
		time.AfterFunc(time.Second, func() { g.Share(1) })
		began := time.Now()
		permit, err := g.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		permit.Done(nil)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it waited %s", took)
		}
		if g.Rate() != 1 {
			t.Errorf("the rate is %v", g.Rate())
		}
	})
}

func TestAShareOfNoLimit(t *testing.T) {
	g := newGuard(t, Settings{})
	g.Share(0.5)
	if g.Rate() != 0 {
		t.Errorf("the rate is %v", g.Rate())
	}
}

// What is called under a permit counts, however much it is: an upstream sees no more calls than its rate, on the average,
// and none has to wait in the middle of its command.
func TestEveryCallCounts(t *testing.T) {
	for name, calls := range map[string]int{"one": 1, "a read and a call": 2, "a long list": 20, "none": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const speed, lasting = 10, 100 * time.Second
				var dials int
				g := newGuard(t, Settings{
					Rate: speed, Burst: 1, Concurrency: 4, ConsecutiveFailures: 1 << 20, MinRequests: 1 << 20,
					DialContext: func(context.Context, string, string) (net.Conn, error) { dials++; return nil, errors.New("away") },
				})
				ctx, cancel := context.WithTimeout(t.Context(), lasting)
				defer cancel()
				permits := 0
				for {
					permit, err := g.Acquire(ctx)
					if err != nil {
						break
					}
					permits++
					began := time.Now()
					for range calls {
						_, _ = g.Do(ctx, post(t, "http://crm.example"))
					}
					if took := time.Since(began); took > 0 {
						t.Fatalf("the calls of a permit waited %s for the rate", took)
					}
					permit.Done(nil)
				}
				most := int(speed*lasting.Seconds()) + calls + 1
				if got := max(dials, permits); got > most || got < most*9/10 {
					t.Errorf("%d calls under %d permits in %s, at %d/s", dials, permits, lasting, speed)
				}
			})
		})
	}
}

// Permits that are given back unused leave no tokens behind, by which others could call more often.
func TestUnusedPermitsAreNotSavedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, Settings{
			Rate: 10, Burst: 1, ConsecutiveFailures: 1 << 20, MinRequests: 1 << 20,
			DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("away") },
		})
		for range 100 {
			unused, err := g.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			unused.Cancel()
		}
		permit, err := g.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 11 {
			_, _ = g.Do(t.Context(), post(t, "http://crm.example"))
		}
		permit.Cancel()
		began := time.Now()
		next, err := g.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		next.Cancel()
		if waited := time.Since(began); waited < time.Second {
			t.Errorf("after ten calls too many the next waits %s", waited)
		}
	})
}
