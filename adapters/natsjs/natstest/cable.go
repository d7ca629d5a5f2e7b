// Package natstest holds what tests of this module need to break the line between a client and an embedded server.
// Nothing but tests imports it.
package natstest

import (
	"errors"
	"net"
	"sync"
)

// Cable is the line between one client and an embedded server. Give it to the client with
// nats.InProcessServer(cable). Its zero value needs Server.
type Cable struct {
	Server interface{ InProcessConn() (net.Conn, error) }

	mu        sync.Mutex
	lines     []*line
	unplugged bool
	watch     func(sent []byte) (pass bool, then func())
}

// Watch has every write of the client seen before it goes out; watch may call Deafen and Mute, and answers whether it
// goes out at all, and what is to be done after it has. A write holds one or several protocol messages.
func (c *Cable) Watch(watch func(sent []byte) (pass bool, then func())) {
	c.mu.Lock()
	c.watch = watch
	c.mu.Unlock()
}

func (c *Cable) see(sent []byte) (pass bool, then func()) {
	c.mu.Lock()
	watch := c.watch
	c.mu.Unlock()
	if watch == nil {
		return true, func() {}
	}
	return watch(sent)
}

// InProcessConn makes a new line, unless the cable is unplugged.
func (c *Cable) InProcessConn() (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unplugged {
		return nil, errors.New("the cable is unplugged")
	}
	conn, err := c.Server.InProcessConn()
	if err != nil {
		return nil, err
	}
	l := &line{Conn: conn, cable: c}
	c.lines = append(c.lines, l)
	return l, nil
}

// Use plugs the far end into another server, such as one that was started again.
func (c *Cable) Use(server interface{ InProcessConn() (net.Conn, error) }) {
	c.mu.Lock()
	c.Server = server
	c.mu.Unlock()
	c.Cut()
}

// Cut closes the present line at once. The client may connect again.
func (c *Cable) Cut() {
	c.mu.Lock()
	lines := c.lines
	c.lines = nil
	c.mu.Unlock()
	for _, l := range lines {
		_ = l.Close()
	}
}

// Unplug cuts, and lets nobody connect until Plug.
func (c *Cable) Unplug() {
	c.mu.Lock()
	c.unplugged = true
	c.mu.Unlock()
	c.Cut()
}

// Plug ends Unplug.
func (c *Cable) Plug() {
	c.mu.Lock()
	c.unplugged = false
	c.mu.Unlock()
}

// Deafen loses everything that the server sends from now on. Messages and acknowledgements die on the line until Cut.
func (c *Cable) Deafen() { c.each(func(l *line) { l.deaf = true }) }

// Mute loses everything that the client sends from now on, until Cut.
func (c *Cable) Mute() { c.each(func(l *line) { l.mute = true }) }

func (c *Cable) each(change func(*line)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lines {
		l.mu.Lock()
		change(l)
		l.mu.Unlock()
	}
}

type line struct {
	net.Conn
	cable      *Cable
	mu         sync.Mutex
	deaf, mute bool
}

func (l *line) Read(p []byte) (int, error) {
	for {
		n, err := l.Conn.Read(p)
		l.mu.Lock()
		deaf := l.deaf
		l.mu.Unlock()
		if err != nil || !deaf {
			return n, err
		}
	}
}

func (l *line) Write(p []byte) (int, error) {
	l.mu.Lock()
	mute := l.mute
	l.mu.Unlock()
	if mute {
		return len(p), nil
	}
	pass, then := l.cable.see(p)
	defer then()
	if !pass {
		return len(p), nil
	}
	return l.Conn.Write(p)
}
