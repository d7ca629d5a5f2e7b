package sandbox

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"
)

// FaultKind names one way to go wrong. Each has its effect before it goes wrong, or never.
type FaultKind string

// The kinds of fault.
const (
	// Slow: the call takes Delay longer. The effect happens at the end of the delay, even where the client has left by
	// then, because servers do not notice; then the normal reply.
	Slow FaultKind = "slow"
	// SlowAfter: the effect happens at once, the normal reply comes Delay later.
	SlowAfter FaultKind = "slow_after"
	// Hang: nothing happens until the client leaves, and then no effect either. Where a new fault plan is set before
	// that, the call goes on as if nothing had been.
	Hang FaultKind = "hang"
	// HangAfter: the effect happens, but no reply until the client leaves or a new fault plan is set.
	HangAfter FaultKind = "hang_after"
	// Refuse: the connection is closed without a reply. No effect. (A port that refuses connections: Server.SetDown.)
	Refuse FaultKind = "refuse"
	// ResetBefore: the connection is reset (RST on TCP) without a reply. No effect.
	ResetBefore FaultKind = "reset_before"
	// ResetAfter: the effect happens, then the connection is reset without a reply.
	ResetAfter FaultKind = "reset_after"
	// ErrorBefore: a 500, or Status. No effect.
	ErrorBefore FaultKind = "error_before"
	// ErrorAfter: the effect happens, and then a 500, or Status, is the reply.
	ErrorAfter FaultKind = "error_after"
	// HalfBody: the effect happens, the reply breaks off in the middle of its body.
	HalfBody FaultKind = "half_body"
	// Throttle: a 429 with Retry-After. No effect.
	Throttle FaultKind = "throttle"
	// Unavailable: a 503 with Retry-After. No effect.
	Unavailable FaultKind = "unavailable"
	// HTMLBefore: a 200, or Status, with a page of HTML where JSON is expected. No effect.
	HTMLBefore FaultKind = "html_before"
	// HTMLAfter: the effect happens, then the same page.
	HTMLAfter FaultKind = "html_after"
	// Refusal: a 200, or Status, whose body is JSON with a Message: how TVMS says no with the wrong status. No effect.
	Refusal FaultKind = "refusal"
)

// KindDoc says what a kind of fault does.
type KindDoc struct {
	Kind FaultKind `json:"kind"`
	// Effect says whether the call's effect happens (once, if the API allows the call).
	Effect bool   `json:"effect"`
	Does   string `json:"does"`
}

// FaultKinds lists all kinds.
func FaultKinds() []KindDoc {
	return []KindDoc{
		{Slow, true, "takes delay longer; the effect happens even where the client has left"},
		{SlowAfter, true, "the effect at once, the reply after delay"},
		{Hang, false, "no reply until the client leaves"},
		{HangAfter, true, "the effect, then no reply until the client leaves"},
		{Refuse, false, "closes the connection without a reply"},
		{ResetBefore, false, "resets the connection without a reply"},
		{ResetAfter, true, "the effect, then resets the connection without a reply"},
		{ErrorBefore, false, "replies 500, or status"},
		{ErrorAfter, true, "the effect, then replies 500, or status"},
		{HalfBody, true, "the effect, then half of the reply's body"},
		{Throttle, false, "replies 429 with Retry-After"},
		{Unavailable, false, "replies 503 with Retry-After"},
		{HTMLBefore, false, "replies 200, or status, with HTML"},
		{HTMLAfter, true, "the effect, then replies 200, or status, with HTML"},
		{Refusal, false, "replies 200, or status, with a JSON Message"},
	}
}

// Doc finds a kind's description.
func (k FaultKind) Doc() (KindDoc, bool) {
	for _, d := range FaultKinds() {
		if d.Kind == k {
			return d, true
		}
	}
	return KindDoc{}, false
}

// Effect reports whether the effect of a call happens under this fault. It does under no fault, "".
func (k FaultKind) Effect() bool {
	d, known := k.Doc()
	return d.Effect || !known
}

// What Fault.Route may be beside a path.
const (
	Writes = ""     // all routes that change state: the default
	Reads  = "read" // all others
	Any    = "any"
)

// Fault is one thing that goes wrong, and with which calls.
type Fault struct {
	Kind FaultKind `json:"kind"`
	// Route is Writes, Reads, Any, or the path of one route.
	Route string `json:"route,omitempty"`
	// Customer is the customermappingid, or the userid where that is not given; "" is every customer.
	Customer string `json:"customer,omitempty"`
	// Delay is required by Slow and SlowAfter, and refused elsewhere.
	Delay Duration `json:"delay,omitempty"`
	// RetryAfter is for Throttle and Unavailable, rounded up to whole seconds; 0 sends no Retry-After.
	RetryAfter Duration `json:"retry_after,omitempty"`
	// Status replaces the status of the kinds that say so.
	Status int `json:"status,omitempty"`
	// Message replaces the Message of an error's JSON body.
	Message string `json:"message,omitempty"`
}

// check says why the fault cannot be played. routes are the paths known; nil accepts all.
func (f *Fault) check(routes map[string]bool) error {
	if _, ok := f.Kind.Doc(); !ok {
		return fmt.Errorf("kind %q is none of %s", f.Kind, kindNames())
	}
	if delayed := f.Kind == Slow || f.Kind == SlowAfter; delayed != (f.Delay > 0) {
		return fmt.Errorf("%s: a delay is required by slow and slow_after, and by no other kind", f.Kind)
	}
	if f.RetryAfter < 0 || f.RetryAfter > 0 && f.Kind != Throttle && f.Kind != Unavailable {
		return fmt.Errorf("%s: retry_after is for throttle and unavailable, and not negative", f.Kind)
	}
	if f.Status != 0 && !f.takesStatus() {
		return fmt.Errorf("%s: a status is for error_before, error_after, html_before, html_after and refusal, and one of 200 to 599 that has a body", f.Kind)
	}
	switch f.Route {
	case Writes, Reads, Any:
		return nil
	}
	if routes != nil && !routes[f.Route] {
		return fmt.Errorf(`%s: route %q is no route of this sandbox; give "read", "any", a path, or nothing for all that change state`, f.Kind, f.Route)
	}
	return nil
}

func (f *Fault) takesStatus() bool {
	switch f.Kind {
	case ErrorBefore, ErrorAfter, HTMLBefore, HTMLAfter, Refusal:
		return f.Status >= 200 && f.Status <= 599 && f.Status != http.StatusNoContent && f.Status != http.StatusNotModified
	default:
		return false
	}
}

func (f *Fault) matches(route string, write bool, customer string) bool {
	if f.Customer != "" && f.Customer != customer {
		return false
	}
	switch f.Route {
	case Writes:
		return write
	case Reads:
		return !write
	case Any:
		return true
	}
	return f.Route == route
}

func kindNames() string {
	var names []string
	for _, d := range FaultKinds() {
		names = append(names, string(d.Kind))
	}
	return strings.Join(names, ", ")
}

// Duration is a time.Duration whose JSON is a string such as "1.5s", or a number of seconds. At most 24 hours.
type Duration time.Duration

// MarshalJSON writes it as a string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON reads both forms.
func (d *Duration) UnmarshalJSON(raw []byte) error {
	var text string
	var seconds float64
	if json.Unmarshal(raw, &text) == nil {
		parsed, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is no duration such as \"1.5s\"", text)
		}
		seconds = parsed.Seconds()
		*d = Duration(parsed)
	} else if err := json.Unmarshal(raw, &seconds); err == nil {
		*d = Duration(math.Round(seconds * float64(time.Second)))
	} else {
		return fmt.Errorf("%s is neither a duration such as \"1.5s\" nor a number of seconds", raw)
	}
	if seconds < 0 || seconds > 24*60*60 {
		return fmt.Errorf("%s is no duration from 0 to 24h", raw)
	}
	return nil
}
