package events

import (
	"errors"
	"fmt"
	"time"
)

// ErrorKind says what to do next, not what went wrong. Code branches on the kind alone.
type ErrorKind int

// The kinds of error.
const (
	// Internal is our own fault, and the zero value: treated as Unavailable, or as Unknown once a request may have
	// gone out.
	Internal ErrorKind = iota
	// Refused says that the upstream, or our own check, will never accept this command. Nothing happened.
	Refused
	// Unavailable says that surely nothing happened, and that trying later makes sense.
	Unavailable
	// Unknown says that the effect may have happened. It must be settled, never retried blindly.
	Unknown
	// Conflict says that somebody was there first: a conditional write lost against another writer, or an upstream has
	// seen the reference of a call before.
	Conflict
)

func (k ErrorKind) String() string {
	switch k {
	case Refused:
		return "refused"
	case Unavailable:
		return "unavailable"
	case Unknown:
		return "unknown"
	case Conflict:
		return "conflict"
	default:
		return "internal"
	}
}

// Error carries what three readers need: the Kind for the program, Code and Message for people outside (they may
// travel in an event, so they never hold a secret), Op and Cause for the log.
type Error struct {
	Kind ErrorKind
	// Code is stable and documented, such as "upstream_refused". See Codes.
	Code string
	// Message is safe to show.
	Message string
	// Problems are the parts of it, such as each item that was refused; safe to show.
	Problems []string
	// UpstreamCode is the upstream's own code for the failure: an HTTP status, or a code of its envelope.
	UpstreamCode string
	// Upstream says that the failure speaks of the upstream as a whole (connection, TLS, DNS, credentials, rate): it
	// counts for the breaker and uses up no attempt.
	Upstream bool
	// RetryAfter is how long the upstream asked us to wait; zero when it did not.
	RetryAfter time.Duration
	// Op is what was being done, for the log.
	Op string
	// Cause is for the log, never for an event.
	Cause error
}

func (e *Error) Error() string {
	s := e.Message
	if s == "" {
		s = e.Code
	}
	if e.Op != "" {
		s = e.Op + ": " + s
	}
	if e.Cause != nil {
		s = fmt.Sprintf("%s (%v)", s, e.Cause)
	}
	return s
}

func (e *Error) Unwrap() error { return e.Cause }

// KindOf is the kind of err: that of the first *Error in its chain, else Internal.
func KindOf(err error) ErrorKind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// AsError finds the *Error in err's chain, or wraps err as an Internal one whose message shows nothing of it.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Kind: Internal, Code: CodeInternal, Message: "an internal error; see the worker's log", Cause: err}
}

// The codes of errors, as they stand in outcomes and dead letters. They are stable: programs may branch on them.
const (
	CodeInternal           = "internal"             // our own fault
	CodeSchema             = "schema_invalid"       // the data does not satisfy the schema of its type
	CodeCredentials        = "credentials_in_data"  // the command carries a credential; it must not
	CodeKeyMismatch        = "key_mismatch"         // the subject is not the customer, subscription or account that the data names
	CodeNotConfigured      = "not_configured"       // the kind or a needed setting is not configured
	CodeExpired            = "expired"              // not started before expirytime
	CodeRefused            = "upstream_refused"     // the upstream refused the command for good
	CodeUnreachable        = "upstream_unreachable" // no connection, TLS or DNS
	CodeUnauthorized       = "upstream_credentials" // the upstream refused our credentials
	CodeThrottled          = "upstream_throttled"   // 429
	CodeUnavailable        = "upstream_unavailable" // a status or code that the operator lists as not applied; to a query, that the breaker is open
	CodeUpstreamError      = "upstream_error"       // a 5xx, or a listed code or state: the effect may have happened
	CodeTimeout            = "upstream_timeout"     // no reply in time after the request began to go out
	CodeBroken             = "upstream_broken"      // the connection broke after the request began to go out
	CodeUnreadable         = "upstream_unreadable"  // a reply that says nothing we understand
	CodeRead               = "read_failed"          // a read has failed: one that settling needs, or a query
	CodeExhausted          = "attempts_exhausted"   // attempts or their total time used up
	CodeNotApplied         = "not_applied"          // a doubt settled as not applied
	CodeDuplicate          = "duplicate_reference"  // the upstream has seen the reference of the call before
	CodeRelease            = "not_in_release"       // a parameter or method that the installed release does not know
	CodeNotFound           = "not_found"            // the upstream knows no such subscription or customer
	CodeItemsRefused       = "all_items_refused"    // every item of the call was refused
	CodeNoMeans            = "cannot_settle"        // nothing can tell whether the effect happened
	CodeUnclear            = "unclear_state"        // what was read matches neither the state before nor the target, or not what the upstream says
	CodeInterrupted        = "worker_interrupted"   // the worker that made the call did not report
	CodeLate               = "started_too_late"     // the start was stored too late to call in time
	CodeShutdown           = "worker_stopping"      // the worker stopped before it called
	CodeConflict           = "history_moved"        // another writer was first
	CodeStorage            = "storage_unavailable"  // the broker did not store the record
	CodeStorageFull        = "storage_full"         // the stream is too full to start anything new
	CodeUndecodable        = "undecodable"          // no CloudEvent could be read
	CodeSubjectMismatch    = "subject_mismatch"     // key or kind of the NATS subject and of the event differ
	CodeUnknownType        = "unknown_type"         // the type names no kind of this version
	CodeStale              = "stale"                // time outside what the ledger remembers, or in the future
	CodeIDReused           = "id_reused"            // the same id with other data
	CodeLateResult         = "late_result"          // a result arrived after another was recorded
	CodeUnsupportedRoute   = "route_not_supported"  // the configured route does not exist
	CodeResponseTooLarge   = "response_too_large"   // the reply exceeds the limit
	CodeRedirect           = "upstream_redirect"    // the upstream answered with a redirect
	CodeRequestNotPossible = "request_invalid"      // the request could not be built
	CodeTopology           = "topology_refused"     // the server holds streams or consumers that must not be changed so
	CodeTooLarge           = "command_too_large"    // the command exceeds the size limit of the stream or the connection
	CodeNotPermitted       = "not_permitted"        // the NATS user may not publish there
	CodeHeldBack           = "held_back"            // not published, because an earlier command of the same key was not
	CodeBadRequest         = "bad_request"          // a query that asks for nothing we understand
	CodeBusy               = "busy"                 // too many queries wait already
	CodeDeadline           = "deadline_exceeded"    // the time given for a query was over before its answer came
	CodeNoWorker           = "no_worker"            // no worker answers the query
)
