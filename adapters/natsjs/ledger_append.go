package natsjs

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"subrelay/events"
)

// The pause between two tries of a write, doubled each time and spread at random over its upper half.
const (
	appendPauseMin = 5 * time.Millisecond
	appendPauseMax = 500 * time.Millisecond
)

// Error codes of the server that nats.go does not name.
const (
	errCodeAccountResources      jetstream.ErrorCode = 10002 // whatever fills the account, also streams that are not ours
	errCodeInsufficientResources jetstream.ErrorCode = 10023
	errCodeMemoryExceeded        jetstream.ErrorCode = 10028
	errCodeStorageExceeded       jetstream.ErrorCode = 10047
	errCodeStoreFailed           jetstream.ErrorCode = 10077
	errCodeHeaderTooLarge        jetstream.ErrorCode = 10097
)

// Append writes o behind the record with sequence after (0: it must be the command's first) and returns the sequence it
// was stored with. A record without a token or a source gets one.
//
// Append settles by itself what a lost answer leaves open: it reads the history again, knows its own record by event id
// and token, and tries again while nothing follows after. Its errors are of kind Conflict when somebody else's record
// follows; of kind Unavailable when the record is not known to be stored: at the end of ctx, or at once where the
// connection was closed for good, or where o is a started record and the stream is nearly full (code storage_full); and
// of kind Internal when the record can never be stored.
func (l *Ledger) Append(ctx context.Context, o events.Outcome, after uint64) (uint64, error) {
	if o.Source == "" {
		o.Source = l.settings.Source
	}
	if o.Token == "" {
		o.Token = nuid.Next()
	}
	key, err := events.KeyToken(o.Command.Key)
	if err != nil {
		return 0, unwritable("the record has no usable key: "+err.Error(), err)
	}
	if o.Status == events.Started && l.room.full(ctx) {
		return 0, storageFull(nil)
	}
	data, err := l.encode(&o)
	if err != nil {
		return 0, unwritable("the record cannot be written as an event", err)
	}
	w := write{ledger: l, o: &o, key: key, after: after, data: data}
	return w.run(ctx)
}

// write is one Append on its way.
type write struct {
	ledger *Ledger
	o      *events.Outcome
	key    string
	after  uint64
	data   []byte
}

func (w *write) run(ctx context.Context) (uint64, error) {
	for pause := appendPauseMin; ; pause = min(2*pause, appendPauseMax) {
		seq, failed := w.publish(ctx)
		if failed == nil {
			return seq, nil
		}
		end, err := w.judge(failed)
		if end {
			return 0, err
		}
		if stored, seq, err := w.settle(ctx, failed); stored || err != nil {
			return seq, err
		}
		if !sleep(ctx, pause) {
			return 0, err
		}
	}
}

// publish tries once.
func (w *write) publish(ctx context.Context) (uint64, error) {
	if limit := w.ledger.settings.PublishTimeout; !endsWithin(ctx, limit) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	ack, err := w.ledger.js.PublishMsg(ctx, w.message())
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// endsWithin reports whether ctx ends within d anyway, so that it needs no timer of its own.
func endsWithin(ctx context.Context, d time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) <= d
}

// message is the conditional publish. It carries no Msg-Id: a repeat must meet the condition, not the duplicate window.
func (w *write) message() *nats.Msg {
	n := w.ledger.settings.Names
	return &nats.Msg{
		Subject: n.Ledger(w.o.Command.Kind, w.o.Status, w.key, w.o.Command.CID),
		Header: nats.Header{
			"Content-Type":                          structuredContentType,
			jetstream.ExpectedLastSubjSeqHeader:     {strconv.FormatUint(w.after, 10)},
			jetstream.ExpectedLastSubjSeqSubjHeader: {n.History(w.key, w.o.Command.CID)},
		},
		Data: w.data,
	}
}

var structuredContentType = []string{mediaStructured}

// judge says whether the failure of a try ends the whole, and what to report if nothing better is learnt.
func (w *write) judge(failed error) (end bool, err error) {
	switch {
	case errors.Is(failed, nats.ErrConnectionClosed):
		return true, storageError("append "+w.o.EventID(), failed)
	case tooLarge(failed):
		return true, unwritable("the record is larger than the broker takes", failed)
	case noRoom(failed):
		w.ledger.room.noteFull()
		return w.o.Status == events.Started, storageFull(failed)
	}
	return false, storageError("append "+w.o.EventID(), failed)
}

// settle reads what has become of the write. It tries until it can tell, or ctx ends. Neither stored nor an error means
// that nothing follows after: the write is to be tried again.
func (w *write) settle(ctx context.Context, failed error) (stored bool, seq uint64, err error) {
	if noRoom(failed) {
		return false, 0, nil // the server has answered: nothing is stored
	}
	for pause := appendPauseMin; ; pause = min(2*pause, appendPauseMax) {
		h, err := w.ledger.History(ctx, w.key, w.o.Command.CID)
		if err == nil {
			return w.find(h, isConflict(failed))
		}
		if events.KindOf(err) != events.Unavailable || !sleep(ctx, pause) {
			return false, 0, err
		}
	}
}

// find looks for the record that follows after. Where the server has refused and the history does not reach after,
// the caller's view of it was wrong: a conflict too.
func (w *write) find(h events.History, refused bool) (stored bool, seq uint64, err error) {
	for i := range h {
		if h[i].Seq <= w.after {
			continue
		}
		if h[i].EventID() == w.o.EventID() && h[i].Token == w.o.Token {
			return true, h[i].Seq, nil
		}
		return false, 0, conflict(w.o, &h[i])
	}
	if refused && h.LastSeq() < w.after {
		return false, 0, conflict(w.o, h.Last())
	}
	return false, 0, nil
}

// isConflict reports whether the server refused the write because of its condition, which may be due to an earlier try
// of our own, stored or still on its way.
func isConflict(err error) bool {
	return hasCode(err, jetstream.JSErrCodeStreamWrongLastSequence) || hasCode(err, jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// noRoom reports whether the server refused the write because something is full.
func noRoom(err error) bool {
	return hasCode(err, errCodeStoreFailed) || hasCode(err, errCodeInsufficientResources) || hasCode(err, errCodeAccountResources) ||
		hasCode(err, errCodeMemoryExceeded) || hasCode(err, errCodeStorageExceeded)
}

// tooLarge reports whether the message can never be stored, whatever the room.
func tooLarge(err error) bool {
	return errors.Is(err, nats.ErrMaxPayload) || hasCode(err, jetstream.JSErrCodeStreamMessageExceedsMaximum) || hasCode(err, errCodeHeaderTooLarge)
}

// hasCode reports whether err is the server's error with this code.
func hasCode(err error, code jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == code
}

// sleep waits for about d, spread over its upper half so that writers do not march in step. False when ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	pause(ctx, d/2+rand.N(d/2+1))
	return ctx.Err() == nil
}

func conflict(o *events.Outcome, follows *events.Record) *events.Error {
	e := &events.Error{Kind: events.Conflict, Code: events.CodeConflict, Op: "append " + o.EventID(), Message: "the history has moved"}
	if follows != nil {
		e.Message = "another record is there: " + follows.EventID()
	}
	return e
}

func storageFull(cause error) *events.Error {
	return &events.Error{Kind: events.Unavailable, Code: events.CodeStorageFull, Op: "append",
		Message: "the stream is too full to take this record", Cause: cause}
}

func unwritable(message string, cause error) *events.Error {
	return &events.Error{Kind: events.Internal, Code: events.CodeInternal, Op: "append", Message: message, Cause: cause}
}
