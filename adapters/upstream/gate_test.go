package upstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
)

var (
	errRefused = &events.Error{Kind: events.Refused, Code: events.CodeRefused}
	errUnknown = &events.Error{Kind: events.Unknown, Code: events.CodeTimeout}
	errDown    = &events.Error{Kind: events.Unavailable, Code: events.CodeUnreachable, Upstream: true}
	errListed  = &events.Error{Kind: events.Unavailable, Code: events.CodeUnavailable}
)

func newGuard(t testing.TB, s Settings) *Guard {
	t.Helper()
	g, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// acquire gets a permit that must be there at once (in virtual time: before anything else can happen).
func acquire(t *testing.T, g *Guard) *Permit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	p, err := g.Acquire(ctx)
	if err != nil {
		t.Fatalf("Acquire: %v, with the breaker %s", err, g.State())
	}
	return p
}

// mustWait checks that no permit is to be had now.
func mustWait(t *testing.T, g *Guard) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if p, err := g.Acquire(ctx); !errors.Is(err, context.DeadlineExceeded) {
		p.Cancel()
		t.Fatalf("Acquire = %v, want to wait", err)
	}
}

func report(t *testing.T, g *Guard, times int, result error) {
	t.Helper()
	for range times {
		acquire(t, g).Done(result)
	}
}

func wantState(t *testing.T, g *Guard, want string) {
	t.Helper()
	if got := g.State(); got != want {
		t.Fatalf("State() = %s, want %s", got, want)
	}
}

func TestBreakerOpensProbesAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		var g *Guard
		g = newGuard(t, Settings{OnState: func(from, to string) {
			told = append(told, from+">"+to+" "+g.State()) // calling back must not deadlock
		}})
		report(t, g, 4, errDown)
		wantState(t, g, "closed")
		report(t, g, 1, errUnknown)
		wantState(t, g, "open")
		mustWait(t, g)

		time.Sleep(9 * time.Second)
		mustWait(t, g)
		time.Sleep(2 * time.Second)
		wantState(t, g, "half-open")
		probe := acquire(t, g)
		if !probe.Probe() {
			t.Fatal("the first permit of a half-open breaker is its probe")
		}
		mustWait(t, g)
		probe.Done(errListed)
		wantState(t, g, "open")

		time.Sleep(11 * time.Second)
		probe = acquire(t, g)
		probe.Done(errRefused) // it answered: it lives
		wantState(t, g, "closed")
		if p := acquire(t, g); p.Probe() {
			t.Error("a permit of a closed breaker is no probe")
		}
		want := []string{"closed>open open", "open>half-open half-open", "half-open>open open", "open>half-open half-open", "half-open>closed closed"}
		if diff := cmp.Diff(want, told); diff != "" {
			t.Error(diff)
		}
		if g.Opened() != 1 {
			t.Errorf("Opened() = %d, want 1: a failed probe is the same outage", g.Opened())
		}
	})
}

func TestRatioOpensTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, Settings{MinRequests: 10, FailureRatio: 0.4})
		for range 3 {
			report(t, g, 1, errUnknown)
			report(t, g, 2, nil)
		}
		wantState(t, g, "closed") // 3 of 9
		report(t, g, 1, errUnknown)
		wantState(t, g, "open") // 4 of 10
	})
}

func TestFailuresLeaveTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, Settings{MinRequests: 4, ConsecutiveFailures: 100, CallTimeout: time.Second, Window: 10 * time.Second})
		report(t, g, 3, errUnknown)
		time.Sleep(12 * time.Second)
		report(t, g, 1, errUnknown)
		wantState(t, g, "closed")
	})
}

func TestWhatCounts(t *testing.T) {
	read := func(cause error) error {
		return &events.Error{Kind: events.Unavailable, Code: events.CodeRead, Cause: cause}
	}
	for name, c := range map[string]struct {
		err  error
		want verdict
	}{
		"success":                {nil, lives},
		"refused":                {errRefused, lives},
		"unknown":                {errUnknown, fails},
		"unreachable":            {errDown, fails},
		"listed status":          {errListed, fails},
		"wrapped":                {fmt.Errorf("attempt 3: %w", errDown), fails},
		"read refused":           {read(errRefused), lives},
		"read unknown":           {read(errUnknown), fails},
		"read, our own check":    {read(nil), silent},
		"internal":               {&events.Error{Code: events.CodeInternal}, silent},
		"conflict":               {&events.Error{Kind: events.Conflict}, silent},
		"broker unavailable":     {&events.Error{Kind: events.Unavailable, Code: events.CodeStorage}, silent},
		"cancelled":              {context.Canceled, silent},
		"cancelled after it was": {&events.Error{Kind: events.Unknown, Cause: context.Canceled}, silent},
		"deadline of ours":       {context.DeadlineExceeded, silent},
		"unused":                 {errUnused, silent},
	} {
		if got := verdictOn(c.err); got != c.want {
			t.Errorf("%s: verdict %d, want %d", name, got, c.want)
		}
	}
}

func TestSilentResultsLeaveTheBreakerAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, Settings{})
		report(t, g, 4, errDown)
		report(t, g, 50, context.Canceled)
		wantState(t, g, "closed")
		report(t, g, 1, errDown)
		wantState(t, g, "open")
	})
}

// A probe that says nothing must make room for the next, whoever waits, even where a pause began meanwhile.
func TestUnusedProbeFreesTheNext(t *testing.T) {
	for name, during := range map[string]func(*Guard){
		"plain":        func(*Guard) {},
		"with a pause": func(g *Guard) { g.gate.pause(time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGuard(t, Settings{})
				report(t, g, 5, errDown)
				time.Sleep(11 * time.Second)
				first := acquire(t, g)
				next := make(chan *Permit)
				go func() {
					p, _ := g.Acquire(t.Context())
					next <- p
				}()
				synctest.Wait()
				during(g)
				time.Sleep(2 * time.Second)
				first.Cancel()
				if p := <-next; !p.Probe() {
					t.Error("the next permit is the next probe")
				} else {
					p.Done(nil)
				}
				wantState(t, g, "closed")
			})
		})
	}
}

func TestWaitersWakeWhenTheBreakerCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, Settings{Concurrency: 8})
		report(t, g, 5, errDown)
		begin := time.Now()
		var probes, through atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				p, err := g.Acquire(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				defer p.Cancel()
				if p.Probe() {
					probes.Add(1)
					time.Sleep(3 * time.Second)
				}
				through.Add(1)
				p.Done(nil)
			})
		}
		wg.Wait()
		took := time.Since(begin)
		if probes.Load() != 1 || through.Load() != 8 || took > 13*time.Second+time.Millisecond {
			t.Errorf("%d probes, %d through, after %s; want 1, 8, 13s", probes.Load(), through.Load(), took)
		}
	})
}

func TestAcquireEndsWithItsContextAndKeepsNothing(t *testing.T) {
	end := func(t *testing.T, g *Guard) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := g.Acquire(ctx); err != context.DeadlineExceeded {
			t.Fatalf("Acquire = %v, want the context's error", err)
		}
	}
	t.Run("at the slots", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newGuard(t, Settings{Concurrency: 1})
			held := acquire(t, g)
			end(t, g)
			held.Cancel()
			acquire(t, g).Done(nil)
		})
	})
	t.Run("at the breaker", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newGuard(t, Settings{Concurrency: 1})
			report(t, g, 5, errDown)
			end(t, g)
			time.Sleep(11 * time.Second)
			acquire(t, g).Done(nil)
		})
	})
	t.Run("at the rate, as the probe", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newGuard(t, Settings{Concurrency: 1, Rate: 0.05, Burst: 5})
			report(t, g, 5, errDown)
			time.Sleep(11 * time.Second)
			end(t, g)
			time.Sleep(20 * time.Second)
			p := acquire(t, g)
			if !p.Probe() {
				t.Error("the probe was lost")
			}
			p.Done(nil)
		})
	})
	t.Run("already over", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := newGuard(t, Settings{}).Acquire(ctx); err != context.Canceled {
			t.Fatalf("Acquire = %v", err)
		}
	})
}

func TestConcurrencyAndInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, Settings{Concurrency: 2})
		a, b := acquire(t, g), acquire(t, g)
		mustWait(t, g)
		if g.InFlight() != 2 {
			t.Errorf("InFlight() = %d", g.InFlight())
		}
		a.Done(nil)
		a.Done(errDown) // ignored, as is Cancel
		a.Cancel()
		c := acquire(t, g)
		mustWait(t, g)
		b.Cancel()
		c.Cancel()
		if g.InFlight() != 0 {
			t.Errorf("InFlight() = %d", g.InFlight())
		}
	})
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, Settings{Rate: 10, Burst: 2})
		begin := time.Now()
		for range 12 {
			p, err := g.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			p.Done(nil)
		}
		if took := time.Since(begin).Round(time.Millisecond); took != time.Second {
			t.Errorf("12 permits at 10/s with a burst of 2 took %s, want 1s", took)
		}
	})
}

// A permission that waited for the rate while the breaker opened is not used.
func TestNoCallSlipsThroughWhileWaitingForTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, Settings{Rate: 1, Burst: 6})
		held := acquire(t, g)
		report(t, g, 4, errDown)
		acquire(t, g).Cancel() // the burst is used up
		got := make(chan bool)
		go func() {
			p, err := g.Acquire(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- p.Probe()
			p.Done(nil)
		}()
		synctest.Wait()
		held.Done(errDown) // opens
		if !<-got {
			t.Error("the permit should have waited for the half-open breaker, and be its probe")
		}
	})
}

func TestPauseHoldsEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, Settings{})
		old := acquire(t, g)
		if old.Stale() {
			t.Error("a fresh permit is stale")
		}
		if !g.gate.pause(30*time.Second) || g.gate.pause(10*time.Second) {
			t.Error("only the longer pause is new")
		}
		if !old.Stale() {
			t.Error("a permit from before the pause is not stale")
		}
		old.Cancel()
		time.Sleep(29 * time.Second)
		mustWait(t, g)
		time.Sleep(2 * time.Second)
		acquire(t, g).Done(nil)
	})
}

func TestPauseLengthensTheOpenTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, Settings{})
		report(t, g, 5, errDown)
		g.gate.pause(time.Minute)
		begin := time.Now()
		p, err := g.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer p.Cancel()
		if took := time.Since(begin); took < time.Minute || took > time.Minute+time.Second {
			t.Errorf("waited %s, want a minute", took)
		}
	})
}

func TestClosedForRunsOnlyWhileCallsArePermitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, Settings{})
		want := func(d time.Duration) {
			t.Helper()
			if got := g.ClosedFor(); got != d {
				t.Errorf("ClosedFor() = %s, want %s", got, d)
			}
		}
		time.Sleep(7 * time.Second)
		want(7 * time.Second)
		g.gate.pause(20 * time.Second)
		time.Sleep(10 * time.Second)
		want(7 * time.Second)
		time.Sleep(13 * time.Second)
		want(10 * time.Second) // 3 s after the pause
		report(t, g, 5, errDown)
		time.Sleep(time.Hour)
		want(10 * time.Second)
		acquire(t, g).Done(nil)
		time.Sleep(time.Second)
		want(11 * time.Second)
	})
}

// Whatever results come in whatever order, there is never more than one probe, and nobody waits for ever.
func TestOneProbeWhateverHappens(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			g := newGuard(t, Settings{Concurrency: 6, ConsecutiveFailures: 2, OpenFor: 50 * time.Millisecond})
			results := []error{nil, errDown, errUnknown, errRefused, context.Canceled, errUnused}
			var probes, calls atomic.Int32
			var wg sync.WaitGroup
			for worker := range uint64(12) {
				wg.Go(func() {
					random := rand.New(rand.NewPCG(seed, worker))
					for range 60 {
						ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+random.IntN(200))*time.Millisecond)
						p, err := g.Acquire(ctx)
						cancel()
						if err != nil {
							continue
						}
						if p.Probe() && probes.Add(1) > 1 {
							t.Error("two probes at once")
						}
						time.Sleep(time.Duration(random.IntN(10)) * time.Millisecond)
						if random.IntN(20) == 0 {
							g.gate.pause(time.Duration(random.IntN(80)) * time.Millisecond)
						}
						if p.Probe() {
							probes.Add(-1)
						}
						calls.Add(1)
						p.Done(results[random.IntN(len(results))])
					}
				})
			}
			wg.Wait()
			if g.InFlight() != 0 || len(g.slots) != 0 || calls.Load() == 0 {
				t.Errorf("%d permits and %d slots left after %d calls", g.InFlight(), len(g.slots), calls.Load())
			}
			p, err := g.Acquire(t.Context()) // and it still opens up by itself
			if err != nil {
				t.Fatal(err)
			}
			p.Done(nil)
		})
	}
}

// Whoever does not want to wait for an upstream that is away is told so at once, wherever it waits when that comes.
func TestAcquireUnlessOpen(t *testing.T) {
	refused := func(t *testing.T, err error, after time.Duration, word string) {
		t.Helper()
		e := events.AsError(err)
		if e.Kind != events.Unavailable || e.Code != events.CodeUnavailable || e.RetryAfter != after || !strings.Contains(e.Message, word) {
			t.Errorf("%+v, want to be asked again after %s", e, after)
		}
	}
	t.Run("closed", func(t *testing.T) {
		p, err := newGuard(t, Settings{}).AcquireUnlessOpen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p.Done(nil)
	})
	t.Run("open, all places held by those who wait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newGuard(t, Settings{Concurrency: 2})
			report(t, g, 5, errDown)
			for range 2 {
				go func() {
					p, _ := g.Acquire(t.Context())
					p.Done(nil)
				}()
			}
			synctest.Wait()
			_, err := g.AcquireUnlessOpen(t.Context())
			refused(t, err, 10*time.Second+1, "breaker is open")
			time.Sleep(11 * time.Second)
		})
	})
	t.Run("paused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newGuard(t, Settings{})
			g.gate.pause(time.Minute)
			_, err := g.AcquireUnlessOpen(t.Context())
			refused(t, err, time.Minute, "asked us to wait")
		})
	})
	for name, shut := range map[string]func(*testing.T, *Guard, *Permit) time.Duration{
		"opens while it waits for a place": func(t *testing.T, _ *Guard, held *Permit) time.Duration {
			held.Done(errDown)
			return 10*time.Second + 1
		},
		"paused while it waits for a place": func(t *testing.T, g *Guard, held *Permit) time.Duration {
			g.gate.pause(time.Minute)
			t.Cleanup(held.Cancel)
			return time.Minute
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGuard(t, Settings{Concurrency: 1, ConsecutiveFailures: 1})
				held := acquire(t, g)
				got := make(chan error)
				go func() {
					_, err := g.AcquireUnlessOpen(t.Context())
					got <- err
				}()
				synctest.Wait()
				after := shut(t, g, held)
				synctest.Wait()
				select {
				case err := <-got:
					refused(t, err, after, "not called at the moment")
				default:
					t.Error("it goes on waiting")
					held.Cancel()
					<-got
				}
			})
		})
	}
	t.Run("waits for a probe, and hears what came of it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newGuard(t, Settings{})
			report(t, g, 5, errDown)
			for _, result := range []error{errDown, nil} {
				time.Sleep(11 * time.Second)
				probe := acquire(t, g)
				got := make(chan error)
				go func() {
					p, err := g.AcquireUnlessOpen(t.Context())
					if err == nil {
						p.Done(nil)
					}
					got <- err
				}()
				synctest.Wait()
				probe.Done(result)
				if err := <-got; result == nil && err != nil {
					t.Error(err)
				} else if result != nil {
					refused(t, err, 10*time.Second+1, "breaker is open")
				}
			}
		})
	})
	t.Run("its context ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newGuard(t, Settings{Concurrency: 1})
			held := acquire(t, g)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := g.AcquireUnlessOpen(ctx); err != context.DeadlineExceeded {
				t.Errorf("got %v", err)
			}
			held.Done(nil)
			acquire(t, g).Done(nil)
		})
	})
}
