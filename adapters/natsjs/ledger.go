package natsjs

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

// defaultSource is the source of outcome events where no setting names one.
const defaultSource = "subrelay"

// LedgerSettings configures a Ledger. The zero value works.
type LedgerSettings struct {
	Names Names
	// Source is the source of outcome events that name none themselves; default "subrelay".
	Source string
	// PublishTimeout is how long one try of a write, or one read, waits for its answer; default 5 s.
	PublishTimeout time.Duration
	// FullAt is the share of the stream's limits, in bytes or messages, from which on no started record is taken, so
	// that there stays room for results; default 0.95.
	FullAt float64
	// FullEvery is how old the last look at the stream's size may be; default 1 s.
	FullEvery time.Duration
}

// Ledger is the conditional store of records on the outcome stream. It may be shared by any number of goroutines.
//
// A command's history is the records on Names.History(key, cid). Every write names the record it follows, and the
// server lets one writer win; reads only advise.
type Ledger struct {
	js       jetstream.JetStream
	settings LedgerSettings
	// plainSource says that the source needs no normalising and no escaping in JSON.
	plainSource bool
	room        *room

	mu     sync.Mutex
	stream jetstream.Stream // nil until first used
}

// NewLedger makes a Ledger on the connection of js. It asks nothing of the server yet.
func NewLedger(js jetstream.JetStream, s LedgerSettings) (*Ledger, error) {
	if s.Source == "" {
		s.Source = defaultSource
	}
	if s.PublishTimeout == 0 {
		s.PublishTimeout = 5 * time.Second
	}
	if s.FullAt == 0 {
		s.FullAt = 0.95
	}
	if s.FullEvery == 0 {
		s.FullEvery = time.Second
	}
	if s.PublishTimeout < 0 || s.FullAt < 0 || s.FullAt > 1 || s.FullEvery < 0 {
		return nil, fmt.Errorf("ledger: publish time-out %s, full at %g, looked at every %s: none may be negative, and a share is at most 1",
			s.PublishTimeout, s.FullAt, s.FullEvery)
	}
	u, err := url.Parse(s.Source)
	if err != nil {
		return nil, fmt.Errorf("ledger: the source %q is no URI reference: %w", s.Source, err)
	}
	l := &Ledger{js: js, settings: s, plainSource: u.String() == s.Source && isPlain(s.Source)}
	l.room = newRoom(l)
	return l, nil
}

// History is all records of a command at the moment of the call, in order; key is the coded key. It is read from the
// stream's leader. A history of n records costs n+1 requests.
//
// A view that turns out incomplete is an error, never a shorter history. Its errors are of kind Unavailable, or
// Internal for a record that cannot be read.
func (l *Ledger) History(ctx context.Context, key, cid string) (events.History, error) {
	filter := l.settings.Names.History(key, cid)
	// The newest first: it bounds the walk. Walking until "not found" instead would make the server look through every
	// later block of the stream, and could not tell an incomplete view from a complete one.
	last, err := l.last(ctx, filter)
	if last == nil || err != nil {
		return nil, err
	}
	var h events.History
	for from := uint64(0); ; {
		msg, err := l.next(ctx, filter, from, last)
		if err != nil {
			return nil, err
		}
		r, err := readRecord(msg.Sequence, msg.Data)
		if err != nil {
			return nil, err
		}
		h = append(h, r)
		if msg.Sequence == last.Sequence {
			return h, nil
		}
		from = msg.Sequence + 1
	}
}

// next is the first message on filter at or behind from, which must exist since last does.
func (l *Ledger) next(ctx context.Context, filter string, from uint64, last *jetstream.RawStreamMsg) (*jetstream.RawStreamMsg, error) {
	if from == last.Sequence {
		return last, nil
	}
	msg, err := l.get(ctx, func(ctx context.Context, s jetstream.Stream) (*jetstream.RawStreamMsg, error) {
		return s.GetMsg(ctx, from, jetstream.WithGetMsgSubject(filter))
	})
	if err == nil && (msg == nil || msg.Sequence > last.Sequence) {
		return nil, storageError("read history", fmt.Errorf("%s: record %d was there and is not found behind %d", filter, last.Sequence, from))
	}
	return msg, err
}

// last is the newest message on filter, nil where there is none.
func (l *Ledger) last(ctx context.Context, filter string) (*jetstream.RawStreamMsg, error) {
	return l.get(ctx, func(ctx context.Context, s jetstream.Stream) (*jetstream.RawStreamMsg, error) {
		return s.GetLastMsgForSubject(ctx, filter)
	})
}

// get asks the stream's leader for a message; nil, nil where it has none.
func (l *Ledger) get(ctx context.Context, ask func(context.Context, jetstream.Stream) (*jetstream.RawStreamMsg, error)) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, l.settings.PublishTimeout)
	defer cancel()
	s, err := l.outcomes(ctx)
	if err != nil {
		return nil, err
	}
	msg, err := ask(ctx, s)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, storageError("read ledger", err)
	}
	return msg, nil
}

// outcomes is the outcome stream. One with AllowDirect is refused, since its reads may come from a stale replica.
func (l *Ledger) outcomes(ctx context.Context) (jetstream.Stream, error) {
	l.mu.Lock()
	s := l.stream
	l.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, err := l.js.Stream(ctx, l.settings.Names.Outcomes())
	if err != nil {
		return nil, storageError("find stream "+l.settings.Names.Outcomes(), err)
	}
	if s.CachedInfo().Config.AllowDirect {
		return nil, &events.Error{Kind: events.Internal, Code: events.CodeInternal, Op: "ledger",
			Message: "stream " + l.settings.Names.Outcomes() + " has allow_direct: the ledger must be read from its leader"}
	}
	l.mu.Lock()
	l.stream = s
	l.mu.Unlock()
	return s, nil
}

// storageError says that the broker did not answer, or not with what was asked.
func storageError(op string, cause error) *events.Error {
	message := "the broker did not answer in time"
	if errors.Is(cause, jetstream.ErrStreamNotFound) {
		message = "there is no such stream yet: start a worker, or apply the topology; is the prefix right?"
	}
	return &events.Error{Kind: events.Unavailable, Code: events.CodeStorage, Message: message, Op: op, Cause: cause}
}
