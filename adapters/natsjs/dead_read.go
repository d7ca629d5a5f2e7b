package natsjs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/textproto"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

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
	Data    []byte // the original, credentials and what is personal masked
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
	letters, _, err := d.get(ctx, seq)
	return letters, err
}

// get is Get, and the newest closing. There is one letter for each reason, so that the last of each subject is all there
// is to know, unless an earlier command stream had a command of this sequence; it costs a request more than there are subjects, and no consumer.
func (d *DeadLetters) get(ctx context.Context, seq uint64) (letters []Letter, closed *Closing, err error) {
	stream, err := d.stream(ctx)
	if err != nil {
		return nil, nil, err
	}
	limited, cancel := context.WithTimeout(ctx, d.settings.PublishTimeout)
	defer cancel()
	info, err := stream.Info(limited, jetstream.WithSubjectFilter(d.settings.Names.DeadOf(seq)))
	if err != nil {
		return nil, nil, storageError("read "+d.settings.Names.DeadLetters(), err)
	}
	for subject := range info.State.Subjects {
		m, err := d.last(ctx, stream, subject)
		switch {
		case err != nil:
			return nil, nil, err
		case m == nil: // it is too old by now, or damaged
			continue
		}
		l, err := d.readLetter(Message{Seq: m.Sequence, Time: m.Time, Subject: m.Subject, Header: m.Header, Data: m.Data})
		if err != nil {
			return nil, nil, err
		}
		if l.Reason != closedReason {
			letters = append(letters, l)
			continue
		}
		c, err := readClosing(m.Sequence, m.Time, m.Data)
		if err != nil {
			return nil, nil, err
		}
		closed = &c
	}
	if len(letters) == 0 {
		return nil, nil, &events.Error{Kind: events.Refused, Code: CodeNotFound, Message: fmt.Sprintf("command %d has no dead letter", seq)}
	}
	slices.SortFunc(letters, func(a, b Letter) int { return cmp.Compare(a.Seq, b.Seq) })
	for i := range letters {
		if closed != nil && closed.seq > letters[i].Seq {
			letters[i].Closed = closed
		}
	}
	return letters, closed, nil
}

// last is the newest message on a subject, nil where there is none.
func (d *DeadLetters) last(ctx context.Context, stream jetstream.Stream, subject string) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, d.settings.PublishTimeout)
	defer cancel()
	m, err := stream.GetLastMsgForSubject(ctx, subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, nil
	case err != nil:
		return nil, storageError("read "+d.settings.Names.DeadLetters(), err)
	}
	return m, nil
}

// stream is the dead letters' stream, asked for once.
func (d *DeadLetters) stream(ctx context.Context) (jetstream.Stream, error) {
	d.mu.Lock()
	s := d.found
	d.mu.Unlock()
	if s != nil {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, d.settings.PublishTimeout)
	defer cancel()
	s, err := d.js.Stream(ctx, d.settings.Names.DeadLetters())
	if err != nil {
		return nil, storageError("find stream "+d.settings.Names.DeadLetters(), err)
	}
	d.mu.Lock()
	d.found = s
	d.mu.Unlock()
	return s, nil
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
