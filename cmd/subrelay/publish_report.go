package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// What publish says of a command that has no outcome, beside the statuses of events.
const (
	statusPublished = "published"
	statusNotSent   = "not_sent" // refused before it was sent, or not stored
	statusDead      = "dead"     // in the dead letters, without an outcome
	statusTimeout   = "timeout"
)

// postLine is what publish says of one command.
type postLine struct {
	Line      int             `json:"line,omitempty"`
	Status    string          `json:"status"`
	ID        string          `json:"id,omitempty"`
	Source    string          `json:"source,omitempty"`
	Kind      events.Kind     `json:"kind,omitempty"`
	Key       string          `json:"key,omitempty"`
	CID       string          `json:"cid,omitempty"`
	Subject   string          `json:"subject,omitempty"`
	Seq       uint64          `json:"seq,omitempty"`
	Duplicate bool            `json:"duplicate,omitempty"` // it was in the stream already
	Attempt   int             `json:"attempt,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *events.Failure `json:"error,omitempty"`
	Finished  *time.Time      `json:"finished_at,omitempty"`

	code int // the exit code that it asks for
}

func lineOf(d draft) postLine {
	l := postLine{Line: d.line}
	if d.event != nil {
		l.ID, l.Source, l.Key = d.event.ID(), d.event.Source(), d.event.Subject()
		l.CID = events.CID(l.Source, l.ID, l.Key)
		l.Kind, _ = events.KindOfType(d.event.Type())
	}
	return l
}

func refusedBefore(d draft) postLine {
	l := lineOf(d)
	l.Status, l.Error, l.code = statusNotSent, d.checked.Failure, exitRejected
	return l
}

func notStored(d draft, err error) postLine {
	l := lineOf(d)
	e := events.AsError(err)
	l.Status, l.Error, l.code = statusNotSent, &events.Failure{Code: e.Code, Message: e.Message}, exitError
	if e.Kind == events.Refused && e.Code != events.CodeNotPermitted {
		l.code = exitRejected
	}
	return l
}

func stored(d draft, r natsjs.Receipt) postLine {
	l := lineOf(d)
	l.Status, l.Subject, l.Seq, l.Duplicate = statusPublished, r.Subject, r.Seq, r.Duplicate
	return l
}

func outcome(s posted, r events.Record) postLine {
	l := stored(s.draft, s.receipt)
	l.Status, l.Attempt, l.Result, l.Error, l.Finished = string(r.Status), r.Attempt, r.Result, r.Error, r.FinishedAt
	l.code = exitOf(r.Status)
	return l
}

func buried(s posted, letter natsjs.Letter) postLine {
	l := stored(s.draft, s.receipt)
	l.Status, l.Error, l.code = statusDead, &letter.Error, exitRejected
	return l
}

func idReused(s posted, first events.Record) postLine {
	l := stored(s.draft, s.receipt)
	l.Status, l.code = statusDead, exitRejected
	l.Error = &events.Failure{Code: events.CodeIDReused, Message: fmt.Sprintf(
		"the id was used before with other data, and that command %s; this one goes to the dead letters", first.Status)}
	return l
}

func timedOut(s posted, after time.Duration) postLine {
	l := stored(s.draft, s.receipt)
	l.Status, l.code = statusTimeout, exitTimeout
	l.Error = &events.Failure{Code: statusTimeout, Message: fmt.Sprintf("no final outcome within %s; 'subrelay show %s' tells how it stands", after, l.CID)}
	return l
}

// postReport prints what publish says, and adds up the exit code. It may be shared.
type postReport struct {
	cli   *cli
	batch bool
	bar   *progressbar.ProgressBar

	mu     sync.Mutex
	code   int
	counts map[string]int
	order  []string // of counts, as they first came
	err    error    // the first of writing
}

func newPostReport(c *cli, batch bool) *postReport {
	return &postReport{cli: c, batch: batch, bar: c.progress(-1, "commands"), counts: make(map[string]int)}
}

func (r *postReport) add(l postLine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.code = worst(r.code, l.code)
	if r.counts[l.Status] == 0 {
		r.order = append(r.order, l.Status)
	}
	r.counts[l.Status]++
	l.Result = r.cli.shown(l.Result)
	if err := r.print(l); r.err == nil {
		r.err = err
	}
	if r.batch {
		_ = r.bar.Add(1) // only a picture
	}
}

// print prints the line: of a batch, for people, only what went wrong, on stderr.
func (r *postReport) print(l postLine) error {
	switch {
	case r.cli.wantJSON:
		return r.cli.printJSON(l)
	case !r.batch:
		return r.cli.printLine("%s", l.String())
	case l.code != exitDone:
		_ = r.bar.Clear()
		r.cli.sayf("line %d: %s", l.Line, l.String())
	}
	return nil
}

// String is the line for people.
func (l postLine) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s %s  id %s", l.Status, l.Kind, plain(l.Key), plain(l.ID))
	if l.CID != "" {
		fmt.Fprintf(&b, "  cid %s", l.CID)
	}
	if l.Seq != 0 && l.Status == statusPublished {
		fmt.Fprintf(&b, "  seq %d", l.Seq)
	}
	if l.Attempt > 0 {
		fmt.Fprintf(&b, "  attempt %d", l.Attempt)
	}
	if l.Duplicate {
		b.WriteString("  (sent before)")
	}
	if len(l.Result) > 0 {
		fmt.Fprintf(&b, "\n  result: %s", l.Result)
	}
	if l.Error != nil {
		fmt.Fprintf(&b, "\n  %s:", l.Error.Code)
		for _, p := range problemsOf(l.Error) {
			b.WriteString(" " + plain(p) + "\n ")
		}
		return strings.TrimSpace(b.String())
	}
	return b.String()
}

// close ends the bar.
func (r *postReport) close() { _ = r.bar.Finish() }

// finish prints the sums of a batch, and is the error with the exit code.
func (r *postReport) finish() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.bar.Clear()
	if r.err != nil {
		return r.err
	}
	if r.batch && !r.cli.wantJSON {
		var sums []string
		for _, status := range r.order {
			sums = append(sums, fmt.Sprintf("%d %s", r.counts[status], status))
		}
		if err := r.cli.printLine("%s", joined(sums)); err != nil {
			return err
		}
	}
	return endWith(r.code)
}
