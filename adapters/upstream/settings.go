package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/textproto"
	"strings"
	"time"

	"subrelay/events"
)

// Dial opens a connection, as net.Dialer.DialContext does.
type Dial func(ctx context.Context, network, addr string) (net.Conn, error)

// Settings are the limits of one upstream. The zero value works: every field states its default, which 0 stands for.
type Settings struct {
	// Name names the upstream in errors and logs. Default "upstream".
	Name events.Upstream `yaml:"-"`

	// Concurrency is how many permits may be out at a time. Default 16.
	Concurrency int `yaml:"concurrency"`
	// Rate is how many calls go out per second, by all workers together (see Guard.Share): on the average, since what one
	// command calls, its reads included, goes out at once, and those who come next wait for it. Default 0: unlimited.
	Rate float64 `yaml:"rate"`
	// Burst is how many permits may be given at once after a quiet time. Default: Rate, rounded up.
	Burst int `yaml:"burst"`

	// ConnectTimeout bounds DNS and TCP connect. Default 5 s.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// TLSTimeout bounds the TLS handshake. Default 5 s.
	TLSTimeout time.Duration `yaml:"tls_timeout"`
	// HeaderTimeout bounds the wait for the reply's headers after the request was written. Default: CallTimeout.
	HeaderTimeout time.Duration `yaml:"header_timeout"`
	// CallTimeout bounds the whole call, to the last byte of the reply. Default 30 s.
	CallTimeout time.Duration `yaml:"call_timeout"`
	// IdleTimeout is how long an unused connection is kept. Default 4 s: below the 5 s of the most impatient usual
	// servers, since a request written while the server closes the connection is a doubt.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	// MaxResponse is the longest reply accepted, in bytes after decompression. Default 1 MiB.
	MaxResponse int64 `yaml:"max_response"`
	// MaxHeader is the longest reply header accepted, in bytes. Default 64 KiB.
	MaxHeader int64 `yaml:"max_header"`

	// Window is the time over which FailureRatio and MinRequests are counted. A result older than the window is
	// dropped, so it must be at least four times CallTimeout. Default: the larger of 1 min and 4 × CallTimeout.
	Window time.Duration `yaml:"window"`
	// FailureRatio is the share of failures in the window, 0 to 1, at which the breaker opens. Default 0.5.
	FailureRatio float64 `yaml:"failure_ratio"`
	// MinRequests is how many results the window must hold before FailureRatio counts. Default 20.
	MinRequests int `yaml:"min_requests"`
	// ConsecutiveFailures is how many failures in a row open the breaker. Default 5.
	ConsecutiveFailures int `yaml:"consecutive_failures"`
	// OpenFor is how long the breaker stays open before it lets one probe through. Default 10 s.
	OpenFor time.Duration `yaml:"open_for"`
	// MaxRetryAfter caps the pause that a Retry-After of the upstream asks for. Default 5 min.
	MaxRetryAfter time.Duration `yaml:"max_retry_after"`

	// RequestIDHeader carries the attempt's reference "<cid>.<attempt>". Default X-Request-ID; "" sends none.
	RequestIDHeader *string `yaml:"request_id_header"`

	// AllowPlainHTTP accepts an http:// base URL for hosts other than the loopback. Default false.
	AllowPlainHTTP bool `yaml:"allow_plain_http"`
	// TLSCAFile holds the authorities to trust, in PEM, in place of the system's. Default "": the system's.
	TLSCAFile string `yaml:"tls_ca_file"`
	// TLSCertFile and TLSKeyFile hold a client certificate, in PEM. Default "": none. Both or neither.
	TLSCertFile string `yaml:"tls_cert_file"`
	TLSKeyFile  string `yaml:"tls_key_file"`
	// TLSInsecureSkipVerify accepts any certificate, and so anybody in between. For trials only. Default false.
	TLSInsecureSkipVerify bool `yaml:"tls_insecure_skip_verify"`

	// Secrets are kept out of every error and log; more can be added by Guard.Hide.
	Secrets []Secret `yaml:"-"`
	// DialContext opens connections. Default: a net.Dialer.
	DialContext Dial `yaml:"-"`
	// Logger gets state changes and pauses. Default: none.
	Logger *slog.Logger `yaml:"-"`
	// OnState is told of every change of the breaker's state ("closed", "open", "half-open"), in order, by the
	// goroutine that caused it and outside any lock. It must not block. Default: none.
	OnState func(from, to string) `yaml:"-"`
}

// DefaultRequestIDHeader is the header of Settings.RequestIDHeader.
const DefaultRequestIDHeader = "X-Request-ID"

// windowFactor is how much longer than a call the breaker's window must be.
const windowFactor = 4

// WithDefaults is s with every default filled in.
func (s Settings) WithDefaults() Settings {
	orElse(&s.Name, "upstream")
	orElse(&s.Concurrency, 16)
	orElse(&s.Burst, max(1, int(math.Ceil(min(s.Rate, math.MaxInt32)))))
	orElse(&s.ConnectTimeout, 5*time.Second)
	orElse(&s.TLSTimeout, 5*time.Second)
	orElse(&s.CallTimeout, 30*time.Second)
	orElse(&s.HeaderTimeout, s.CallTimeout)
	orElse(&s.IdleTimeout, 4*time.Second)
	orElse(&s.MaxResponse, 1<<20)
	orElse(&s.MaxHeader, 64<<10)
	orElse(&s.Window, max(time.Minute, windowFactor*s.CallTimeout))
	orElse(&s.FailureRatio, 0.5)
	orElse(&s.MinRequests, 20)
	orElse(&s.ConsecutiveFailures, 5)
	orElse(&s.OpenFor, 10*time.Second)
	orElse(&s.MaxRetryAfter, 5*time.Minute)
	if s.RequestIDHeader == nil {
		header := DefaultRequestIDHeader
		s.RequestIDHeader = &header
	}
	if s.DialContext == nil {
		s.DialContext = (&net.Dialer{}).DialContext
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	return s
}

func orElse[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// check says what is wrong with s, whose defaults are filled in. Every problem is reported.
func (s *Settings) check() error {
	var problems []error
	refuse := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	for _, f := range []struct {
		name  string
		value float64
	}{
		{"concurrency", float64(s.Concurrency)}, {"burst", float64(s.Burst)},
		{"connect_timeout", float64(s.ConnectTimeout)}, {"tls_timeout", float64(s.TLSTimeout)},
		{"header_timeout", float64(s.HeaderTimeout)}, {"call_timeout", float64(s.CallTimeout)},
		{"idle_timeout", float64(s.IdleTimeout)}, {"max_response", float64(s.MaxResponse)},
		{"max_header", float64(s.MaxHeader)}, {"window", float64(s.Window)},
		{"min_requests", float64(s.MinRequests)}, {"consecutive_failures", float64(s.ConsecutiveFailures)},
		{"open_for", float64(s.OpenFor)}, {"max_retry_after", float64(s.MaxRetryAfter)},
	} {
		if f.value <= 0 {
			refuse("%s must be positive", f.name)
		}
	}
	if s.Rate < 0 || math.IsNaN(s.Rate) || math.IsInf(s.Rate, 0) {
		refuse("rate must be 0 (unlimited) or a positive number of calls per second, not %v", s.Rate)
	}
	if !(s.FailureRatio > 0 && s.FailureRatio <= 1) {
		refuse("failure_ratio must be above 0 and at most 1, not %v", s.FailureRatio)
	}
	if least := windowFactor * s.CallTimeout; s.Window < least {
		refuse("window is %s: it must be at least %s, %d times call_timeout (%s), because results older than the window are not counted",
			s.Window, least, windowFactor, s.CallTimeout)
	}
	if (s.TLSCertFile == "") != (s.TLSKeyFile == "") {
		refuse("tls_cert_file and tls_key_file must be set together")
	}
	if err := checkHeaderName(*s.RequestIDHeader); err != nil {
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("settings of upstream %s: %w", s.Name, err)
	}
	return nil
}

// checkHeaderName refuses the two headers by which net/http would take a POST for safe to repeat, and the ones Do sets.
func checkHeaderName(name string) error {
	switch textproto.CanonicalMIMEHeaderKey(name) {
	case "Idempotency-Key", "X-Idempotency-Key":
		return fmt.Errorf("request_id_header must not be %s: net/http repeats requests that carry it", name)
	case "Host", "Content-Length", "Transfer-Encoding", "Connection", "Authorization", "Traceparent", "Tracestate":
		return fmt.Errorf("request_id_header must not be %s, which has a meaning of its own", name)
	}
	for _, c := range name {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", c) {
			return fmt.Errorf("request_id_header %q is no header name", name)
		}
	}
	return nil
}
