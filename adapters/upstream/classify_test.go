package upstream

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
)

func TestClassify(t *testing.T) {
	g := newGuard(t, Settings{})
	unknown := func(code string) failure { return failure{Kind: events.Unknown, Code: code} }
	want := map[int]failure{
		101: unknown(events.CodeUnreadable),
		301: unknown(events.CodeRedirect), 302: unknown(events.CodeRedirect), 308: unknown(events.CodeRedirect),
		401: {Kind: events.Unavailable, Code: events.CodeUnauthorized, Upstream: true},
		403: {Kind: events.Unavailable, Code: events.CodeUnauthorized, Upstream: true},
		429: {Kind: events.Unavailable, Code: events.CodeThrottled, Upstream: true},
		500: unknown(events.CodeUpstreamError), 502: unknown(events.CodeUpstreamError),
		503: {Kind: events.Unavailable, Code: events.CodeUnavailable},
		504: unknown(events.CodeUpstreamError), 599: unknown(events.CodeUpstreamError), 999: unknown(events.CodeUpstreamError),
		308 + 1: {Kind: events.Unavailable, Code: events.CodeUnavailable},
	}
	for status, w := range want {
		w.Status = strconv.Itoa(status)
		if diff := cmp.Diff(w, failureOf(g.Classify(Reply{Status: status}, 503, 309, 401))); diff != "" {
			t.Errorf("%d: %s", status, diff)
		}
	}
	for _, status := range []int{101, 302, 500, 502} { // a read and a login get these too
		if got := events.AsError(g.Classify(Reply{Status: status})).Message; !strings.Contains(got, strconv.Itoa(status)+": ") || strings.Contains(got, "effect") {
			t.Errorf("%d: %q must say what was answered, and nothing of an effect", status, got)
		}
	}
	for _, status := range []int{200, 204, 299, 400, 404, 406, 422, 499} {
		if err := g.Classify(Reply{Status: status}, 503); err != nil {
			t.Errorf("%d: %v, want to leave it to the API", status, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                               0,
		"0":                              0,
		"120":                            2 * time.Minute,
		" 7 ":                            7 * time.Second,
		"-5":                             0,
		"1.5":                            0,
		"soon":                           0,
		"99999999999999999999999":        longest,
		"9223372036854775807":            longest,
		"Sun, 01 Mar 2026 12:01:30 GMT":  90 * time.Second,
		"Sun, 01 Mar 2026 11:00:00 GMT":  0,
		"Sunday, 01-Mar-26 12:00:10 GMT": 10 * time.Second,
		"Sun Mar  1 12:00:10 2026":       10 * time.Second,
		"Fri, 31 Dec 9999 23:59:59 GMT":  longest,
	} {
		if got := RetryAfter(value, now); got != want {
			t.Errorf("RetryAfter(%q) = %s, want %s", value, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "1", "-1", "99999999999999999999", "Sun, 01 Mar 2026 12:01:30 GMT", "Sun, 01 Mar 0000 12:01:30 GMT", "٣"} {
		f.Add(seed, int64(1772366400))
	}
	f.Fuzz(func(t *testing.T, value string, now int64) {
		now %= math.MaxInt32
		if d := RetryAfter(value, time.Unix(now, 0)); d < 0 || d > longest {
			t.Errorf("RetryAfter(%q) = %s", value, d)
		}
	})
}

// serving is a guard whose upstream is handler, over connections in memory, for virtual time.
func serving(t *testing.T, s Settings, handler http.HandlerFunc) *Guard {
	t.Helper()
	l := newPipeListener()
	server := &http.Server{Handler: handler}
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(l) }()
	s.DialContext, s.AllowPlainHTTP = l.dial, true
	g := newGuard(t, s)
	t.Cleanup(func() { g.Close(); server.Close(); <-done })
	return g
}

// call acquires, calls and reports, as a worker does.
func call(t *testing.T, g *Guard) (time.Duration, error) {
	t.Helper()
	begin := time.Now()
	p, err := g.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Cancel()
	waited := time.Since(begin)
	reply, err := g.Do(t.Context(), post(t, "http://upstream.test/"))
	if err == nil {
		err = g.Classify(reply)
	}
	p.Done(err)
	return waited, err
}

func TestRetryAfterPausesTheWholeUpstream(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		header string
		want   time.Duration
	}{
		"429 with seconds":     {429, "30", 30 * time.Second},
		"503 with seconds":     {503, "45", 45 * time.Second},
		"503 with a date":      {503, time.Date(2000, 1, 1, 0, 1, 0, 0, time.UTC).Format(http.TimeFormat), time.Minute},
		"capped":               {429, "86400", 5 * time.Minute},
		"nothing said":         {429, "", 0},
		"not on other replies": {500, "30", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := serving(t, Settings{}, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Retry-After", c.header)
					w.WriteHeader(c.status)
				})
				_, err := call(t, g)
				var e *events.Error
				if !errors.As(err, &e) || e.RetryAfter != c.want {
					t.Errorf("%+v, want a Retry-After of %s", e, c.want)
				}
				waited, _ := call(t, g)
				if waited != c.want {
					t.Errorf("the next call waited %s, want %s", waited, c.want)
				}
			})
		})
	}
}

// An outage from beginning to end, in virtual time: few calls are made, and none is lost.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var calls atomic.Int32
		g := serving(t, Settings{CallTimeout: 2 * time.Second}, func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			if time.Since(begin) < time.Minute {
				<-r.Context().Done() // hangs
			}
		})
		failed := 0
		for ; ; failed++ {
			if _, err := call(t, g); err == nil {
				break
			} else if diff := cmp.Diff(timeout, failureOf(err)); diff != "" {
				t.Fatal(err, diff)
			}
		}
		// 5 × 2 s, then a probe of 2 s after every 10 s open.
		if took := time.Since(begin).Round(10 * time.Millisecond); failed != 9 || took != 68*time.Second || calls.Load() != 10 {
			t.Errorf("%d calls failed and %d were made in %s; want 9, 10, 1m8s", failed, calls.Load(), took)
		}
		if g.State() != "closed" || g.Opened() != 1 {
			t.Errorf("%s after %d openings", g.State(), g.Opened())
		}
	})
}

func BenchmarkAcquireDone(b *testing.B) {
	g := newGuard(b, Settings{})
	b.ReportAllocs()
	for b.Loop() {
		p, err := g.Acquire(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		p.Done(nil)
	}
}
