package sandbox_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"subrelay/adapters/sandbox"
)

// run serves an imitation on an address of its own until the test ends.
func run(t *testing.T) (*sandbox.Server, *upstream) {
	t.Helper()
	tvms := sandbox.NewTVMS(options())
	srv, err := sandbox.Listen("127.0.0.1:0", tvms.Handler())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- srv.Run(ctx) }()
	u := &upstream{TVMS: tvms, t: t, url: srv.URL(), client: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(func() {
		u.client.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return srv, u
}

func TestAServerThatIsDownRefusesConnections(t *testing.T) {
	srv, u := run(t)
	for range 3 {
		if a := u.renew(); a.Status != 200 {
			t.Fatalf("up: %+v", a)
		}
		calls := u.Book().Totals().Calls
		if err := srv.SetDown(true); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the first may still meet the connection that was open
			_ = u.within(5 * time.Second)
		}
		if a := u.within(5 * time.Second); !errors.Is(a.Err, syscall.ECONNREFUSED) {
			t.Errorf("down: %+v", a)
		}
		if now := u.Book().Totals().Calls; now != calls {
			t.Errorf("%d calls came through", now-calls)
		}
		if err := srv.SetDown(false); err != nil {
			t.Fatal(err)
		}
		if "http://"+srv.Addr() != u.url {
			t.Errorf("the address is now %s", srv.Addr())
		}
	}
	if err := srv.SetDown(false); err != nil {
		t.Errorf("up twice: %v", err)
	}
}

// Going down cuts calls in progress, and their entries end.
func TestGoingDownCutsCalls(t *testing.T) {
	srv, u := run(t)
	if err := u.Faults().Next(sandbox.Fault{Kind: sandbox.HangAfter}); err != nil {
		t.Fatal(err)
	}
	got := make(chan answer)
	go func() { got <- u.renew() }()
	for u.Book().Totals().Applied == 0 {
		<-time.After(time.Millisecond)
	}
	if err := srv.SetDown(true); err != nil {
		t.Fatal(err)
	}
	if a := <-got; a.Err == nil {
		t.Errorf("the client saw %+v", a)
	}
	if e := u.booked(1); !e.Applied {
		t.Errorf("%+v", e)
	}
}

// A server that is down ends as well when it is told to.
func TestAServerEndsWhileDown(t *testing.T) {
	srv, _ := run(t)
	if err := srv.SetDown(true); err != nil {
		t.Fatal(err)
	}
}

// The down switch of the plan, wired to the server, with the control endpoints on an address of their own.
func TestDownSwitchClosesThePort(t *testing.T) {
	srv, u := run(t)
	control := &upstream{TVMS: u.TVMS, t: t, client: u.client}
	side := httptest.NewServer(u.Control())
	t.Cleanup(side.Close)
	control.url = side.URL
	u.Faults().OnDown(func(down bool) {
		if err := srv.SetDown(down); err != nil {
			t.Error(err)
		}
	})
	control.control("PUT", "/_faults", `{"down":true}`, nil)
	if a := u.renew(); !errors.Is(a.Err, syscall.ECONNREFUSED) {
		t.Errorf("down: %+v", a)
	}
	control.control("PUT", "/_faults", `{}`, nil)
	if a := u.renew(); a.Status != 200 {
		t.Errorf("up: %+v", a)
	}
}

func TestListenOnATakenPort(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	if _, err := sandbox.Listen(ln.Addr().String(), http.NotFoundHandler()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v", err)
	}
}

// Over TLS and HTTP/2 the faults that cut work as well.
func TestCutsOverTLS(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		tvms := sandbox.NewTVMS(options())
		srv := httptest.NewUnstartedServer(tvms.Handler())
		srv.EnableHTTP2 = http2
		srv.StartTLS()
		u := &upstream{TVMS: tvms, t: t, url: srv.URL, client: srv.Client()}
		if err := u.Faults().Next(sandbox.Fault{Kind: sandbox.ResetAfter}, sandbox.Fault{Kind: sandbox.HalfBody}); err != nil {
			t.Fatal(err)
		}
		if a := u.renew(); a.Err == nil || a.Status != 0 {
			t.Errorf("reset: %+v", a)
		}
		if a := u.renew(); a.Err == nil || a.Status != 200 || strings.Contains(a.Body, "}") {
			t.Errorf("half a body: %+v", a)
		}
		if n := tvms.Book().Totals(); n.Applied != 2 || n.InProgress != 0 {
			t.Errorf("%+v", n)
		}
		u.client.CloseIdleConnections()
		srv.Close()
	}
}
