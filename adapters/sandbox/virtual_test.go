package sandbox_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// pipes is a listener whose connections are in-memory pipes, as a synctest bubble needs them.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// inBubble runs test with an imitation behind pipes, in virtual time.
func inBubble(t *testing.T, opts sandbox.TVMSOptions, test func(*testing.T, *upstream)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		opts.Clock = nil
		opts.Customers = []sandbox.Customer{{MappingID: "C-1", UserID: "tv1", Expires: expiry}}
		tvms := sandbox.NewTVMS(opts)
		overPipes(t, tvms.Handler(), func(client *http.Client) {
			test(t, &upstream{TVMS: tvms, t: t, url: "http://tvms.test", client: client})
		})
	})
}

// overPipes serves h while use runs.
func overPipes(t *testing.T, h http.Handler, use func(*http.Client)) {
	t.Helper()
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	srv := &http.Server{Handler: h}
	served := make(chan error)
	go func() { served <- srv.Serve(p) }()
	client := &http.Client{Transport: &http.Transport{DialContext: p.dial}}
	use(client)
	client.CloseIdleConnections()
	_ = srv.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve: %v", err)
	}
}

// within is one renewal whose client leaves after d.
func (u *upstream) within(d time.Duration) answer {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.t.Context(), d)
	defer cancel()
	return u.call(ctx, "POST", v2, params())
}

func TestVirtualTime(t *testing.T) {
	hour := sandbox.Duration(time.Hour)
	for _, tc := range []struct {
		name    string
		fault   sandbox.Fault
		patient bool // the client waits
		takes   time.Duration
		applied bool          // when the client has gone or got its reply
		after   time.Duration // how long after that the effect comes, if it was not applied yet
	}{
		{name: "slow, patient", fault: sandbox.Fault{Kind: sandbox.Slow, Delay: hour}, patient: true, takes: time.Hour, applied: true},
		{name: "slow, impatient", fault: sandbox.Fault{Kind: sandbox.Slow, Delay: hour}, takes: time.Minute, after: 59 * time.Minute},
		{name: "slow after, patient", fault: sandbox.Fault{Kind: sandbox.SlowAfter, Delay: hour}, patient: true, takes: time.Hour, applied: true},
		{name: "slow after, impatient", fault: sandbox.Fault{Kind: sandbox.SlowAfter, Delay: hour}, takes: time.Minute, applied: true},
		{name: "hang", fault: sandbox.Fault{Kind: sandbox.Hang}, takes: time.Minute},
		{name: "hang after", fault: sandbox.Fault{Kind: sandbox.HangAfter}, takes: time.Minute, applied: true},
		{name: "reset", fault: sandbox.Fault{Kind: sandbox.ResetAfter}, applied: true},
		{name: "half a body", fault: sandbox.Fault{Kind: sandbox.HalfBody}, applied: true},
		{name: "refuse", fault: sandbox.Fault{Kind: sandbox.Refuse}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, options(), func(t *testing.T, u *upstream) {
				if err := u.Faults().Next(tc.fault); err != nil {
					t.Fatal(err)
				}
				start, patience := time.Now(), time.Minute
				if tc.patient {
					patience = 2 * time.Hour
				}
				a := u.within(patience)
				if took := time.Since(start); took != tc.takes {
					t.Errorf("the client waited %s, want %s", took, tc.takes)
				}
				if (a.Err == nil) != tc.patient {
					t.Errorf("the client saw %+v", a)
				}
				synctest.Wait()
				if e := u.Book().Effects()[0]; e.Applied != tc.applied || (e.EndOrder == 0) != (tc.after > 0) {
					t.Errorf("the book says %+v", e)
				}
				if tc.after > 0 {
					checkLate(t, u, start.Add(time.Hour))
				}
			})
		})
	}
}

// checkLate proves that the first call has its effect, and its end, at the moment due and not before.
func checkLate(t *testing.T, u *upstream, due time.Time) {
	t.Helper()
	<-time.After(time.Until(due) - 1)
	if u.Book().Totals().Applied != 0 {
		t.Error("the effect came too early")
	}
	<-time.After(1)
	synctest.Wait()
	e := u.Book().Effects()[0]
	if !e.Applied || e.EndOrder < e.Order || !e.End.Equal(due) {
		t.Errorf("the late effect: %+v", e)
	}
	if !u.expires("C-1").Equal(events.AddMonths(expiry, 1)) {
		t.Errorf("C-1 expires %s", u.expires("C-1"))
	}
}

// A hang ends when a new plan is set, and the call goes on; other changes leave it hanging.
func TestAHangIsLifted(t *testing.T) {
	for _, kind := range []sandbox.FaultKind{sandbox.Hang, sandbox.HangAfter} {
		inBubble(t, options(), func(t *testing.T, u *upstream) {
			if err := u.Faults().Set(sandbox.Plan{Standing: []sandbox.Fault{{Kind: kind}}}); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Hour, func() { _ = u.Faults().Next(sandbox.Fault{Kind: sandbox.Throttle}) })
			time.AfterFunc(2*time.Hour, u.Faults().Lift)
			start := time.Now()
			a := u.within(3 * time.Hour)
			if a.Status != 200 || time.Since(start) != 2*time.Hour {
				t.Errorf("%s: after %s the client saw %+v", kind, time.Since(start), a)
			}
			if n := u.Book().Totals(); n.Applied != 1 || n.InProgress != 0 {
				t.Errorf("%s: %+v", kind, n)
			}
		})
	}
}

// Latency is taken by every call; a client that leaves meanwhile is not noticed, unless the call had no effect anyway.
func TestLatency(t *testing.T) {
	opts := options()
	opts.Latency = 20 * time.Millisecond
	inBubble(t, opts, func(t *testing.T, u *upstream) {
		start := time.Now()
		if a := u.within(time.Second); a.Status != 200 || time.Since(start) != opts.Latency {
			t.Errorf("%+v after %s", a, time.Since(start))
		}
		if err := u.Faults().Set(sandbox.Plan{Script: []sandbox.Step{{Fault: sandbox.Fault{Kind: sandbox.ErrorBefore}}}}); err != nil {
			t.Fatal(err)
		}
		u.within(time.Millisecond) // meets the fault
		u.within(time.Millisecond)
		<-time.After(opts.Latency)
		synctest.Wait()
		if n := u.Book().Totals(); n.Calls != 3 || n.Applied != 2 || n.InProgress != 0 {
			t.Errorf("%+v", n)
		}
	})
}

// With a delay, V2Async says yes at once, and the effect comes later; what can be refused is refused at once.
func TestAsync(t *testing.T) {
	opts := options()
	opts.AsyncDelay = time.Minute
	inBubble(t, opts, func(t *testing.T, u *upstream) {
		start := time.Now()
		a := u.call(t.Context(), "POST", v2Async, params())
		b := u.call(t.Context(), "POST", v2Async, params("customermappingid", "C-2"))
		if a.Status != 200 || b.Status != 400 || time.Since(start) != 0 {
			t.Errorf("%+v, %+v after %s", a, b, time.Since(start))
		}
		if e := u.Book().Effects()[0]; e.Applied || e.EndOrder == 0 || !u.expires("C-1").Equal(expiry) {
			t.Errorf("at once: %+v", e)
		}
		<-time.After(opts.AsyncDelay)
		synctest.Wait()
		if e := u.Book().Effects()[0]; !e.Applied || e.Order < e.EndOrder || e.Detail["route"] != "async" {
			t.Errorf("later: %+v", e)
		}
		if u.call(t.Context(), "POST", v2, params()); u.Book().Totals().Applied != 2 {
			t.Error("V2 is not at once")
		}
	})
}
