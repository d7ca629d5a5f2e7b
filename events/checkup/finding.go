package checkup

import (
	"cmp"
	"fmt"
	"slices"
)

// Severity says how bad a finding is. The larger, the worse.
type Severity int

// The severities.
const (
	OK      Severity = iota // as it should be
	Note                    // worth knowing; nothing need be done
	Warning                 // it works, and may not for ever, or not for everybody
	Error                   // the promise is broken or about to be, or nothing works
)

var severityNames = [...]string{"ok", "note", "warning", "error"}

func (s Severity) String() string {
	if s < OK || s > Error {
		return fmt.Sprintf("severity %d", int(s))
	}
	return severityNames[s]
}

// MarshalText writes the severity's name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a severity's name.
func (s *Severity) UnmarshalText(text []byte) error {
	i := slices.Index(severityNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("there is no severity %q", text)
	}
	*s = Severity(i)
	return nil
}

// Finding is one thing that was found. Its texts are for people, and hold no secrets.
type Finding struct {
	Severity Severity `json:"severity"`
	Code     string   `json:"code"`         // stable, such as stream.replicas
	Of       string   `json:"of,omitempty"` // what it was found of, such as a stream
	What     string   `json:"what"`         // what is so
	Why      string   `json:"why,omitempty"`
	Do       string   `json:"do,omitempty"` // the command, or the setting
	// Promise says that things as they are can break the promise: no worker may start in production on such a finding, as
	// far as it looks. Where it is a warning, it is one because a trial may well live with it.
	Promise bool `json:"breaks_promise,omitempty"`
	// Audited says that only an audit sees it, which takes too long for the start of a worker: that does not look for it.
	Audited bool `json:"audited,omitempty"`
}

// Refused reports whether a worker does not start in production on this finding.
func (f Finding) Refused() bool { return f.Promise && !f.Audited && f.Severity > Note }

// Strict is the finding as production has it: what can break the promise is an error there.
func (f Finding) Strict() Finding {
	if f.Promise {
		f.Severity = Error
	}
	return f
}

// Sort puts the worst first, and then by code and object.
func Sort(all []Finding) {
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Of, b.Of))
	})
}

// Worst is the severity of the worst, OK for none.
func Worst(all []Finding) Severity {
	worst := OK
	for _, f := range all {
		worst = max(worst, f.Severity)
	}
	return worst
}
