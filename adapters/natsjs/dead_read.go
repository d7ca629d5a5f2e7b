package natsjs

import (
	"context"
	"encoding/json"
	"fmt"
	"net/textproto"
	"strconv"
	"time"

	"subrelay/events"
)

// CodeNotFound is the code of the Refused error for something that a stream does not hold.
const CodeNotFound = "not_found"

// Letter is a dead letter as the stream holds it.
type Letter struct {
	Seq     uint64    // its own sequence
	Time    time.Time // when it was stored
	Reason  events.Reason
	Error   events.Failure
	Command uint64 // the command's sequence in COMMANDS
	Kind    events.Kind
	Key     string    // the coded key
	CID     string    // "" where no identity could be read
	Stored  time.Time // when the command was stored
	Cut     int       // the original body's size where Header or Data had to be cut; 0: they are whole
	Header  map[string][]string
	Data    []byte // the original, credentials masked
	Closed  *Closing
}

// DeadQuery selects dead letters. The zero value selects all there are.
type DeadQuery struct {
	Reason   events.Reason // "": any
	Since    time.Time     // stored then or later
	OpenOnly bool
	Limit    int // the most to report; 0: no limit
}

// List calls fn for each letter that q selects, in the order in which they were stored; with q.OpenOnly only for those
// not closed at the time of the call. Closed says who closed a letter. An error of fn ends it and is returned. Its other errors are of
// kind Unavailable, or Internal for a letter that cannot be read.
func (d *DeadLetters) List(ctx context.Context, q DeadQuery, fn func(Letter) error) error {
	closings, err := d.closings(ctx)
	if err != nil {
		return err
	}
	reason := string(q.Reason)
	if reason == "" {
		reason = "*"
	}
	s := scan{js: d.js, stream: d.settings.Names.DeadLetters(), subjects: []string{d.settings.Names.DeadAll(reason)}, since: q.Since}
	n := q.Limit
	return s.run(ctx, func(m Message, _ uint64) error {
		l, err := d.readLetter(m)
		if err != nil || l.Reason == closedReason {
			return err
		}
		if c, ok := closings[l.Command]; ok && c.seq > l.Seq {
			if q.OpenOnly {
				return nil
			}
			l.Closed = &c
		}
		if err := fn(l); err != nil {
			return err
		}
		if n--; n == 0 {
			return errScanEnd
		}
		return nil
	})
}

// closings is the newest closing of every command that has one.
func (d *DeadLetters) closings(ctx context.Context) (map[uint64]Closing, error) {
	out := map[uint64]Closing{}
	s := scan{js: d.js, stream: d.settings.Names.DeadLetters(), subjects: []string{d.settings.Names.DeadAll(closedReason)}}
	err := s.run(ctx, func(m Message, _ uint64) error {
		_, command, err := d.settings.Names.ParseDead(m.Subject)
		if err != nil {
			return err
		}
		out[command], err = readClosing(m.Seq, m.Time, m.Data)
		return err
	})
	return out, err
}

// Open counts the letters that are not closed, by reason. It reads no bodies.
func (d *DeadLetters) Open(ctx context.Context) (map[events.Reason]int, error) {
	open := map[uint64][]events.Reason{}
	s := scan{js: d.js, stream: d.settings.Names.DeadLetters(), subjects: []string{d.settings.Names.DeadAll("*")}, headersOnly: true}
	err := s.run(ctx, func(m Message, _ uint64) error {
		reason, command, err := d.settings.Names.ParseDead(m.Subject)
		switch {
		case err != nil:
			return err
		case reason == closedReason:
			delete(open, command)
		default:
			open[command] = append(open[command], reason)
		}
		return nil
	})
	counts := map[events.Reason]int{}
	for _, reasons := range open {
		for _, r := range reasons {
			counts[r]++
		}
	}
	return counts, err
}

// Get is every dead letter of the command with this sequence in COMMANDS, oldest first. Where there is none the error is
// of kind Refused, code not_found.
func (d *DeadLetters) Get(ctx context.Context, seq uint64) ([]Letter, error) {
	var letters []Letter
	s := scan{js: d.js, stream: d.settings.Names.DeadLetters(), subjects: []string{d.settings.Names.DeadOf(seq)}}
	err := s.run(ctx, func(m Message, _ uint64) error {
		l, err := d.readLetter(m)
		switch {
		case err != nil:
			return err
		case l.Reason != closedReason:
			letters = append(letters, l)
			return nil
		}
		c, err := readClosing(m.Seq, m.Time, m.Data)
		for i := range letters {
			letters[i].Closed = &c
		}
		return err
	})
	if err == nil && len(letters) == 0 {
		return nil, &events.Error{Kind: events.Refused, Code: CodeNotFound, Message: fmt.Sprintf("command %d has no dead letter", seq)}
	}
	return letters, err
}

// readLetter reads a letter; of a closing only Seq, Time, Reason and Command.
func (d *DeadLetters) readLetter(m Message) (Letter, error) {
	reason, command, err := d.settings.Names.ParseDead(m.Subject)
	if err != nil {
		return Letter{}, unwritable("the dead letters hold a subject of an unknown form", err)
	}
	h := textproto.MIMEHeader(m.Header)
	l := Letter{
		Seq: m.Seq, Time: m.Time, Reason: reason, Command: command, Header: m.Header, Data: m.Data,
		Error: events.Failure{Code: h.Get(HeaderCode), Message: h.Get(HeaderMessage), UpstreamCode: h.Get(HeaderUpstream)},
		Kind:  events.Kind(h.Get(HeaderKind)), Key: h.Get(HeaderKey), CID: h.Get(HeaderCID),
	}
	if v := h.Get(HeaderProblems); v != "" {
		if err := json.Unmarshal([]byte(v), &l.Error.Problems); err != nil {
			l.Error.Problems = []string{v}
		}
	}
	if v := h.Get(HeaderStored); v != "" {
		l.Stored, _ = time.Parse(time.RFC3339Nano, v)
	}
	l.Cut, _ = strconv.Atoi(h.Get(HeaderCut))
	return l, nil
}
