package upstream

import (
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"subrelay/events"
)

// Guard stands before one upstream. It may be shared by any number of goroutines, and has none of its own.
type Guard struct {
	settings  Settings
	transport *http.Transport
	redactor  *redactor // a pointer, so that printing a Guard shows no secrets
	gate      *gate
	slots     chan struct{}
	pace      *pace // nil: unlimited
	inFlight  atomic.Int64
}

// New is a closed Guard. Its errors name the settings that are wrong.
func New(s Settings) (*Guard, error) {
	s = s.WithDefaults()
	if err := s.check(); err != nil {
		return nil, err
	}
	g := &Guard{settings: s, redactor: new(redactor), slots: make(chan struct{}, s.Concurrency)}
	g.gate = newGate(&g.settings)
	g.redactor.hide(s.Secrets...)
	g.pace = newPace(&g.settings)
	transport, err := newTransport(&g.settings)
	if err != nil {
		return nil, err
	}
	g.transport = transport
	if s.TLSInsecureSkipVerify {
		s.Logger.Warn("certificates of the upstream are not verified: anybody in between can read the credentials",
			"upstream", s.Name, "setting", "tls_insecure_skip_verify")
	}
	return g, nil
}

// Name is the upstream's name.
func (g *Guard) Name() events.Upstream { return g.settings.Name }

// State is the breaker's state: "closed", "open" or "half-open".
func (g *Guard) State() string {
	state := g.gate.now()
	g.tell()
	return state.String()
}

// ClosedFor is the total time since New in which calls were permitted: the breaker closed, and no pause on that the
// upstream asked for. It never runs backwards. Retry budgets are measured with it.
func (g *Guard) ClosedFor() time.Duration { return g.gate.closedFor() }

// Opened is how often the closed breaker has opened. A failed probe does not count again.
func (g *Guard) Opened() int { return g.gate.timesOpened() }

// CallTimeout is the longest a call can take.
func (g *Guard) CallTimeout() time.Duration { return g.settings.CallTimeout }

// Concurrency is how many permits may be out at a time.
func (g *Guard) Concurrency() int { return g.settings.Concurrency }

// Share sets this worker's part of Rate and Burst, above 0 and at most 1, where several workers call one upstream; a
// Guard begins with the whole. The parts of all must not sum to more than 1: lower one before another is raised. It counts
// at once for those who wait already. Each part of the burst is rounded down, and at least 1.
func (g *Guard) Share(part float64) {
	if g.pace != nil {
		g.pace.setPart(part)
	}
}

// Rate is how many calls may be made per second at present, 0 for any number.
func (g *Guard) Rate() float64 {
	if g.pace == nil {
		return 0
	}
	return g.pace.now()
}

// InFlight is how many permits are out.
func (g *Guard) InFlight() int { return int(g.inFlight.Load()) }

// Logger is Settings.Logger, never nil.
func (g *Guard) Logger() *slog.Logger { return g.settings.Logger }

// Hide adds secrets to those that are kept out of errors and logs. Secrets shorter than MinSecret cannot be kept out.
func (g *Guard) Hide(secrets ...Secret) { g.redactor.hide(secrets...) }

// HideLatest hides a secret that is replaced from time to time, such as a session's token. Of the secrets of one name the
// newest eight are hidden; older ones are forgotten, so that a worker that runs for years does not gather them.
func (g *Guard) HideLatest(name string, s Secret) { g.redactor.rotate(name, s) }

// Redact is text with every known secret, raw or encoded, replaced by "***".
func (g *Guard) Redact(text string) string { return g.redactor.redact(text) }

// Clean is text of the upstream made fit for an outcome: redacted, on one line, without control characters, at most
// 500 bytes.
func (g *Guard) Clean(text string) string { return g.redactor.clean(text) }

// Close drops idle connections. Calls under way are not touched.
func (g *Guard) Close() { g.transport.CloseIdleConnections() }

// tell logs and reports changes of state. It must be called without the gate's lock after whatever may change it.
func (g *Guard) tell() {
	g.gate.tell(func(from, to string) {
		log := g.settings.Logger.Info
		if to == "open" {
			log = g.settings.Logger.Warn
		}
		log("breaker "+to, "upstream", g.settings.Name, "from", from, "to", to)
		if g.settings.OnState != nil {
			g.settings.OnState(from, to)
		}
	})
}
