package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/sandbox"
	"subrelay/adapters/upstream"
	"subrelay/events"
)

// pipes is a listener whose connections never leave the process.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	down  atomic.Bool // no connection can be made
	// broken, if set, is what connecting comes to; it may connect by open.
	broken atomic.Pointer[func(ctx context.Context, open func(context.Context) (net.Conn, error)) (net.Conn, error)]
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if p.down.Load() {
		return nil, errors.New("connection refused")
	}
	if broken := p.broken.Load(); broken != nil {
		return (*broken)(ctx, p.open)
	}
	return p.open(ctx)
}

func (p *pipes) open(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// TestLongOutage runs a whole App in virtual time: TVMS is away for longer than a command may be tried. Nothing is
// lost, and nothing is used up.
func TestLongOutage(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T) {
		server, err := natsjs.StartServer(natsjs.ServerSettings{StoreDir: t.TempDir(), LazySync: true})
		if err != nil {
			t.Fatal(err)
		}
		defer server.Shutdown()
		tvms := sandbox.NewTVMS(sandbox.TVMSOptions{AutoCreate: time.Now().AddDate(1, 0, 0)})
		line := newPipes()
		web := &http.Server{Handler: tvms.Handler()}
		go func() { _ = web.Serve(line) }()
		defer web.Close()

		var cfg Config
		cfg.Worker.HTTPAddr, cfg.Worker.Name, cfg.Streams.Partitions = noListen, "w1", 2
		cfg.TVMS.API.BaseURL, cfg.TVMS.API.AuthToken, cfg.TVMS.API.CRMService = "http://127.0.0.1", upstream.NewSecret("bubble-token"), "crm"
		cfg.Retry.Renew.Attempts, cfg.Retry.Renew.Total = 2, time.Minute
		const outage = 5 * time.Minute
		app, err := NewApp(AppOptions{Config: cfg, Connect: connectTo(server), Dial: line.dial, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- app.Run(ctx) }()
		<-app.Ready()

		conn, err := server.Connect()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		cl, err := newClient(cfg.withDefaults(), conn)
		if err != nil {
			t.Fatal(err)
		}
		line.down.Store(true)
		e := event.New()
		e.SetID("one")
		e.SetSource("billing")
		e.SetType(events.CommandType(events.Renew))
		e.SetSubject("C-1")
		if err := e.SetData(event.ApplicationJSON, events.RenewData{CustomerMappingID: "C-1", Months: 1}); err != nil {
			t.Fatal(err)
		}
		receipt, err := cl.publisher.Publish(ctx, e)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		time.AfterFunc(outage, func() { line.down.Store(false) })
		record, err := cl.outcomes.Wait(ctx, "C-1", receipt.CID)
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		if record.Status != events.Succeeded || took < outage || took > outage+time.Minute {
			t.Errorf("%s after %s: %+v", record.Status, took, record.Error)
		}
		if opened := app.Guard("tvms").Opened(); opened < 1 {
			t.Errorf("the breaker opened %d times", opened)
		}
		applied := 0
		for _, effect := range tvms.Book().Effects() {
			if effect.Applied {
				applied++
			}
		}
		if applied != 1 {
			t.Errorf("%d effects", applied)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
