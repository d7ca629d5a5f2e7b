package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// reopenFor is how long a Server tries to get its port back.
const reopenFor = 5 * time.Second

// Server runs a handler on a TCP address, and can make that address refuse connections.
type Server struct {
	gate *gate
	http *http.Server

	turning sync.Mutex // one SetDown at a time
}

// Listen opens addr, such as "127.0.0.1:0" (port 0 picks a free one), for handler. Connections wait until Run.
func Listen(addr string, handler http.Handler) (*Server, error) {
	ln, err := listen(addr)
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	g := &gate{ln: ln, addr: ln.Addr(), turned: make(chan struct{}), conns: map[net.Conn]bool{}}
	return &Server{gate: g, http: &http.Server{
		Handler:           handler,
		ConnState:         g.follow,
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // it would speak of the faults that are played
	}}, nil
}

// Addr is the address, with the port that was picked. It stays the same while the server is down.
func (s *Server) Addr() string { return s.gate.addr.String() }

// URL is the base URL of the server, "http://host:port".
func (s *Server) URL() string { return "http://" + s.Addr() }

// Run serves until ctx is done, then closes the address and every connection, and returns nil; calls in progress are
// cut. It returns an error if serving has failed for another reason. It must be called once.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.http.Close() }) // errors of closing help nobody here
	defer stop()
	err := s.http.Serve(s.gate)
	_ = s.http.Close()
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("sandbox: %w", err)
}

// SetDown closes the address and every connection, so that new connections are refused and calls in progress are cut;
// or opens the same port again. It returns when that is so. Another process may have taken the port meanwhile: then
// SetDown(false) tries for five seconds, returns the error, and the server stays down.
func (s *Server) SetDown(down bool) error {
	s.turning.Lock() // it guards no data, and so may be held while the port is opened
	defer s.turning.Unlock()
	if down {
		s.gate.shut()
		return nil
	}
	if !s.gate.isDown() {
		return nil
	}
	ln, err := reopen(s.gate.addr)
	if err != nil {
		return fmt.Errorf("sandbox: the port is gone: %w", err)
	}
	s.gate.open(ln)
	return nil
}

func listen(addr string) (net.Listener, error) {
	var how net.ListenConfig
	return how.Listen(context.Background(), "tcp", addr) // nothing to wait for but a name of this machine
}

func reopen(addr net.Addr) (net.Listener, error) {
	for until := time.Now().Add(reopenFor); ; {
		ln, err := listen(addr.String())
		if err == nil || time.Now().After(until) {
			return ln, err
		}
		<-time.After(20 * time.Millisecond)
	}
}

// gate is a listener whose port can be closed and opened while it is being served.
type gate struct {
	addr net.Addr

	mu     sync.Mutex
	ln     net.Listener // nil while down
	closed bool
	turned chan struct{} // closed when ln or closed changes
	conns  map[net.Conn]bool
}

// Accept waits while the gate is down.
func (g *gate) Accept() (net.Conn, error) {
	for {
		ln, turned, err := g.current()
		if err != nil {
			return nil, err
		}
		if ln == nil {
			<-turned
			continue
		}
		conn, err := ln.Accept()
		if !g.admit(ln, conn) {
			continue
		}
		return conn, err
	}
}

func (g *gate) current() (net.Listener, <-chan struct{}, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, nil, net.ErrClosed
	}
	return g.ln, g.turned, nil
}

// admit reports whether what ln's Accept returned still counts. conn is nil where that was an error.
func (g *gate) admit(ln net.Listener, conn net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	stands := g.ln == ln && !g.closed
	switch {
	case conn == nil:
	case stands:
		g.conns[conn] = true
	default:
		_ = conn.Close()
	}
	return stands
}

// follow forgets connections that are gone.
func (g *gate) follow(conn net.Conn, state http.ConnState) {
	if state == http.StateClosed || state == http.StateHijacked {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.conns, conn)
	}
}

func (g *gate) isDown() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ln == nil
}

// shut closes the port and all connections.
func (g *gate) shut() {
	ln, conns := g.turn(nil, false)
	if ln != nil {
		_ = ln.Close()
	}
	for conn := range conns {
		_ = conn.Close()
	}
}

func (g *gate) open(ln net.Listener) {
	if _, _ = g.turn(ln, false); g.ended() {
		_ = ln.Close()
	}
}

func (g *gate) ended() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// turn puts next in the place of the listener, and hands over what was there.
func (g *gate) turn(next net.Listener, last bool) (net.Listener, map[net.Conn]bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	ln, conns := g.ln, g.conns
	g.ln, g.conns, g.closed = next, map[net.Conn]bool{}, g.closed || last
	close(g.turned)
	g.turned = make(chan struct{})
	return ln, conns
}

// Close closes the port for good. Connections are left to the http.Server.
func (g *gate) Close() error {
	if ln, _ := g.turn(nil, true); ln != nil {
		return ln.Close()
	}
	return nil
}

// Addr is the address, whether open or not.
func (g *gate) Addr() net.Addr { return g.addr }
