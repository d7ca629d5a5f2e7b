package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/upstream"
	"subrelay/events"
)

// connectPause is how long a worker waits before it tries again to reach NATS at its start.
const connectPause = 2 * time.Second

// connect connects, and tries again for as long as there is no server to be reached. It returns nil without an error
// where ctx ended meanwhile. What later ends the connection for good goes to lost.
func (a *App) connect(ctx context.Context, lost chan<- error) (*nats.Conn, error) {
	options, err := a.Config.NATS.connectOptions()
	if err != nil {
		return nil, err
	}
	options.Name = "subrelay worker " + a.name
	options.Logger = a.Logger
	options.OnReconnect = a.reconnected
	options.OnRefused = a.refusals.note
	options.OnDisconnect = func(error) { a.refusals.clear() }
	options.OnClosed = func() {
		select {
		case lost <- a.lostError():
		default:
		}
	}
	for {
		conn, err := a.Connect(options)
		if err == nil {
			a.setConn(conn)
			return conn, nil
		}
		if !unreachable(err) {
			return nil, err
		}
		a.Logger.Warn("NATS cannot be reached; trying again", "error", err, "pause", connectPause)
		if !sleep(ctx, connectPause) {
			return nil, nil
		}
	}
}

func (a *App) lostError() error {
	conn, _ := a.state()
	if conn != nil && conn.LastError() != nil {
		return fmt.Errorf("NATS has ended the connection: %w", conn.LastError())
	}
	return errors.New("the NATS connection was closed")
}

// unreachable reports whether err says that nobody answered, so that trying again makes sense.
func unreachable(err error) bool {
	var network net.Error
	return errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) || errors.As(err, &network)
}

// sleep pauses; false says that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// reconnected closes every lane's gate: messages may have been lost with the old connection.
func (a *App) reconnected() {
	for _, s := range a.stations {
		if lanes := s.lanes.Load(); lanes != nil {
			lanes.Reconnected()
		}
	}
}

// applyTopology creates and updates streams and consumers, or, where they are managed elsewhere, checks that nothing
// is left to do. While the broker does not answer it tries again.
func (a *App) applyTopology(ctx context.Context, js jetstream.JetStream) error {
	for {
		limited, cancel := a.refusals.orRefused(ctx)
		err := a.applyOnce(limited, js)
		cancel()
		if refused, ok := a.refusals.first(); ok && err != nil {
			return notPermitted(refused)
		}
		if events.KindOf(err) != events.Unavailable || ctx.Err() != nil {
			return err
		}
		a.Logger.Warn("JetStream does not answer; trying again", "error", err, "pause", connectPause)
		if !sleep(ctx, connectPause) {
			return nil
		}
	}
}

func (a *App) applyOnce(ctx context.Context, js jetstream.JetStream) error {
	do := a.topology.Apply
	if a.Config.Streams.ManagedElsewhere {
		do = a.topology.Plan
	}
	changes, err := do(ctx, js)
	if err != nil {
		return err
	}
	if a.Config.Streams.ManagedElsewhere && len(changes) > 0 {
		return hinted(fmt.Errorf("the streams are managed elsewhere, and are not as they must be: %s", joinChanges(changes)),
			"run 'subrelay topology apply' with the rights to do so")
	}
	for _, c := range changes {
		a.Logger.Info("topology: " + c.String())
	}
	return nil
}

func joinChanges(changes []natsjs.Change) string {
	var lines []string
	for _, c := range changes {
		lines = append(lines, c.String())
	}
	return strings.Join(lines, "; ")
}

// dials remembers the connections it has opened, to be able to cut them.
type dials struct {
	dial upstream.Dial

	mu    sync.Mutex
	down  bool
	conns map[*cutConn]struct{}
}

func newDials(dial upstream.Dial) *dials {
	return &dials{dial: dial, conns: make(map[*cutConn]struct{})}
}

// cutConn is a connection that its dials knows of.
type cutConn struct {
	net.Conn
	dials *dials
}

func (c *cutConn) Close() error {
	c.dials.mu.Lock()
	delete(c.dials.conns, c)
	c.dials.mu.Unlock()
	return c.Conn.Close()
}

func (d *dials) open(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := d.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &cutConn{Conn: conn, dials: d}
	d.mu.Lock()
	down := d.down
	d.conns[c] = struct{}{}
	d.mu.Unlock()
	if down {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	return c, nil
}

// cut closes every connection, and those that are still to come.
func (d *dials) cut() {
	d.mu.Lock()
	conns := d.conns
	d.conns, d.down = make(map[*cutConn]struct{}), true
	d.mu.Unlock()
	for c := range conns {
		_ = c.Conn.Close()
	}
}
