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
	// Refusal: a 200, or Status, whose body is the API's own way of saying no: a Message of TVMS, an envelope of CRM.COM.
	// No effect.
	Refusal FaultKind = "refusal"
	// ExpireToken: the call's token is refused. CRM.COM forgets all tokens before the call, so that the next call needs a
	// new one; a call for a token gets it. TVMS, whose token does not expire, replies 401. No effect.
	ExpireToken FaultKind = "expire_token"
)

// The kinds of fault that a broken or hostile server plays to its clients. The effect happens, and a client that trusts
// what it reads, or waits as long as it is made to, does something worse than not to know of it.
const (
	// GzipBomb: the reply is JSON of 64 MiB, in gzip of 64 KiB. To a client that takes no gzip it goes unpacked.
	GzipBomb FaultKind = "gzip_bomb"
	// HugeHeader: the normal reply has a header of 1 MiB.
	HugeHeader FaultKind = "huge_header"
	// RedirectLoop: a 307, or Status, that sends the client to where it was. One that follows has the effect again.
	RedirectLoop FaultKind = "redirect_loop"
	// InfoFlood: before the normal reply come interim replies (103), for 4 MiB.
	InfoFlood FaultKind = "info_flood"
	// Upgrade: a 101 to a client that has not asked for another protocol, and then silence until the client leaves.
	Upgrade FaultKind = "upgrade"
	// ShortLength: the normal reply says that it is half as long as it is.
	ShortLength FaultKind = "short_length"
	// TrailingGarbage: behind the JSON of the normal reply there is more.
	TrailingGarbage FaultKind = "trailing_garbage"
	// DoubleReply: the normal reply comes twice. Whoever calls by the same connection again may take the second for the
	// answer; the connection is then closed, and that call has no effect and no entry in the book.
	DoubleReply FaultKind = "double_reply"
	// SlowBody: the body of the normal reply drips in byte by byte, and takes Delay.
	SlowBody FaultKind = "slow_body"
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
		{Refusal, false, "replies 200, or status, and says no as the API does"},
		{ExpireToken, false, "refuses the call's token; CRM.COM forgets all tokens"},
		{GzipBomb, true, "the effect, then 64 MiB of JSON in 64 KiB of gzip"},
		{HugeHeader, true, "the effect, then a reply with a header of 1 MiB"},
		{RedirectLoop, true, "the effect, then a 307, or status, to the same place"},
		{InfoFlood, true, "the effect, then 4 MiB of interim replies before the reply"},
		{Upgrade, true, "the effect, then 101 and no more until the client leaves"},
		{ShortLength, true, "the effect, then a reply that says it is half as long as it is"},
		{TrailingGarbage, true, "the effect, then a reply with more behind its JSON"},
		{DoubleReply, true, "the effect, then the reply twice on the same connection"},
		{SlowBody, true, "the effect, then a reply whose body takes delay, byte by byte"},
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

// Delayed reports whether the kind needs a Fault.Delay.
func (k FaultKind) Delayed() bool { return k == Slow || k == SlowAfter || k == SlowBody }

// What Fault.Route may be beside a path.
const (
	Writes = ""     // all routes that change state: the default
	Reads  = "read" // all routes that only read
	Auth   = "auth" // the routes of CRM.COM that give and take tokens
	Any    = "any"
)

// Fault is one thing that goes wrong, and with which calls.
type Fault struct {
	Kind FaultKind `json:"kind"`
	// Route is Writes, Reads, Auth, Any, or the path of one route.
	Route string `json:"route,omitempty"`
	// Customer is the key of a call as the book has it. TVMS: the customermappingid, or the userid where that is not
	// given. CRM.COM: the subscription's number or id, whichever is given, or the Netflix customer. "" is every call.
	Customer string `json:"customer,omitempty"`
	// Delay is required by Slow, SlowAfter and SlowBody, and refused elsewhere.
	Delay Duration `json:"delay,omitempty"`
	// RetryAfter is for Throttle and Unavailable, rounded up to whole seconds; 0 sends no Retry-After.
	RetryAfter Duration `json:"retry_after,omitempty"`
	// Status replaces the status of the kinds that say so.
	Status int `json:"status,omitempty"`
	// Message replaces the text of an error's JSON body: the Message of TVMS, the status.message of CRM.COM.
	Message string `json:"message,omitempty"`
	// Code replaces the status.code of an error's body of CRM.COM. TVMS has none.
	Code string `json:"code,omitempty"`
}

// check says why the fault cannot be played. routes are the paths known; nil accepts all.
func (f *Fault) check(routes map[string]bool) error {
	if _, ok := f.Kind.Doc(); !ok {
		return fmt.Errorf("kind %q is none of %s", f.Kind, kindNames())
	}
	if f.Kind.Delayed() != (f.Delay > 0) {
		return fmt.Errorf("%s: a delay is required by slow, slow_after and slow_body, and by no other kind", f.Kind)
	}
	if f.RetryAfter < 0 || f.RetryAfter > 0 && f.Kind != Throttle && f.Kind != Unavailable {
		return fmt.Errorf("%s: retry_after is for throttle and unavailable, and not negative", f.Kind)
	}
	if f.Status != 0 && !f.takesStatus() {
		return fmt.Errorf("%s: a status is for error_before, error_after, html_before, html_after and refusal, and one of 200 to 599 that has a body; for redirect_loop one of 301 to 308", f.Kind)
	}
	switch f.Route {
	case Writes, Reads, Auth, Any:
		return nil
	}
	if routes != nil && !routes[f.Route] {
		return fmt.Errorf(`%s: route %q is no route of this sandbox; give "read", "auth", "any", a path, or nothing for all that change state`, f.Kind, f.Route)
	}
	return nil
}

func (f *Fault) takesStatus() bool {
	switch f.Kind {
	case ErrorBefore, ErrorAfter, HTMLBefore, HTMLAfter, Refusal:
		return f.Status >= 200 && f.Status <= 599 && f.Status != http.StatusNoContent && f.Status != http.StatusNotModified
	case RedirectLoop:
		return f.Status >= 301 && f.Status <= 308 && f.Status != http.StatusNotModified
	default:
		return false
	}
}

// matches reports whether the fault is for a call. class is Writes, Reads or Auth.
func (f *Fault) matches(route, class, customer string) bool {
	if f.Customer != "" && f.Customer != customer {
		return false
	}
	return f.Route == Any || f.Route == class || f.Route == route
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
