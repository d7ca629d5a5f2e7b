package upstream

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"subrelay/events"
)

// Classify reads what a status means for every upstream; nil says that the API itself must tell. notApplied lists the
// statuses that the operator knows to mean "not applied". The errors are *events.Error:
//
//   - 401, 403: Unavailable, the upstream as a whole: our credentials are wrong, which is no fault of the customer
//   - 429: Unavailable, the upstream as a whole
//   - in notApplied: Unavailable
//   - 3xx: Unknown, because some servers act and then redirect
//   - 5xx, and 1xx that came as a reply: Unknown
//
// What may have come of the call is said by the kind alone: the message is shown for reads and logins too, which change
// nothing.
func (g *Guard) Classify(r Reply, notApplied ...int) error {
	e := g.fail(events.Unknown, events.CodeUpstreamError, "")
	said := "an error of its own"
	switch {
	case r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden:
		e.Kind, e.Code, e.Upstream, said = events.Unavailable, events.CodeUnauthorized, true, "our credentials were refused"
	case r.Status == http.StatusTooManyRequests:
		e.Kind, e.Code, e.Upstream, said = events.Unavailable, events.CodeThrottled, true, "too many requests"
	case slices.Contains(notApplied, r.Status):
		e.Kind, e.Code, said = events.Unavailable, events.CodeUnavailable, "listed as not applied"
	case r.Status >= 300 && r.Status < 400:
		e.Code, said = events.CodeRedirect, "a redirect, which is not followed"
	case r.Status < 200:
		e.Code, said = events.CodeUnreadable, "no final reply"
	case r.Status < 500:
		return nil
	}
	e.Message = fmt.Sprintf("%s answered %d: %s", g.settings.Name, r.Status, said)
	e.UpstreamCode = strconv.Itoa(r.Status)
	e.RetryAfter = g.retryAfter(r)
	return e
}

// clearByStatus lists the statuses that Classify needs no body for, whatever the API.
func clearByStatus(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusTooManyRequests
}

// retryAfter is the capped Retry-After of a 429 or 503, else 0.
func (g *Guard) retryAfter(r Reply) time.Duration {
	if r.Status != http.StatusTooManyRequests && r.Status != http.StatusServiceUnavailable {
		return 0
	}
	return min(RetryAfter(r.Header.Get("Retry-After"), time.Now()), g.settings.MaxRetryAfter)
}

// RetryAfter reads the value of a Retry-After header (RFC 9110, section 10.2.3): seconds, or a date, which is compared
// with now. What is past or unreadable is 0; it is never negative.
func RetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(longest/time.Second) {
			return longest
		}
		return time.Duration(seconds) * time.Second
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(0, min(date.Sub(now), longest))
}

// longest is the most that RetryAfter answers.
const longest = 365 * 24 * time.Hour
