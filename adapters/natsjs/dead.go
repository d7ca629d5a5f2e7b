package natsjs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"subrelay/events"
)

// DeadSettings configures DeadLetters. The zero value works.
type DeadSettings struct {
	Names Names
	// PublishTimeout is how long one try of a write, or one read, waits for its answer; default 5 s.
	PublishTimeout time.Duration
}

// DeadLetters keeps what can never run or was given up, as it came, and why. It may be shared.
type DeadLetters struct {
	js       jetstream.JetStream
	settings DeadSettings

	mu    sync.Mutex
	found jetstream.Stream // nil until first read
}

// NewDeadLetters makes DeadLetters on the connection of js. It asks nothing of the server yet.
func NewDeadLetters(js jetstream.JetStream, s DeadSettings) *DeadLetters {
	if s.PublishTimeout <= 0 {
		s.PublishTimeout = 5 * time.Second
	}
	return &DeadLetters{js: js, settings: s}
}

// Put stores d on the subject of its reason and command, unless the same command's is there already, which is success too:
// it is kept once for each reason. Where another command's is there, of an earlier command stream that had the sequence,
// it goes behind that. The body is the original's with credentials and what is personal
// masked; the headers are described at the Header constants.
//
// A lost answer is settled by trying again until ctx ends. The errors are of kind Unavailable when d is not known to be
// stored, or Internal when it can never be.
func (d *DeadLetters) Put(ctx context.Context, letter events.DeadLetter) error {
	if letter.Reason == "" || letter.Reason == closedReason || letter.Delivery.Seq == 0 {
		return unwritable("a dead letter needs a reason and the sequence of its command", nil)
	}
	msg := deadMessage(letter, int(d.js.Conn().MaxPayload()))
	msg.Subject = d.settings.Names.Dead(letter.Reason, letter.Delivery.Seq)
	after := uint64(0)
	for {
		if stored, err := d.publish(ctx, msg, after); stored || err != nil {
			return err
		}
		stream, err := d.stream(ctx)
		if err != nil {
			return err
		}
		there, err := d.last(ctx, stream, msg.Subject)
		switch {
		case err != nil:
			return err
		case there == nil: // somebody has removed it
			after = 0
		case there.Header.Get(HeaderStored) == msg.Header.Get(HeaderStored):
			return nil
		default:
			after = there.Sequence
		}
	}
}

// publish stores msg if the newest message on its subject has the sequence after. Neither stored nor an error means
// that another is there, which after a lost answer may be this one.
func (d *DeadLetters) publish(ctx context.Context, msg *nats.Msg, after uint64) (stored bool, err error) {
	msg.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(after, 10)}
	for pause := appendPauseMin; ; pause = min(2*pause, appendPauseMax) {
		try, cancel := context.WithTimeout(ctx, d.settings.PublishTimeout)
		_, failed := d.js.PublishMsg(try, msg)
		cancel()
		switch {
		case failed == nil:
			return true, nil
		case hasCode(failed, jetstream.JSErrCodeStreamWrongLastSequence):
			return false, nil
		case tooLarge(failed):
			return false, unwritable("the dead letter is larger than the broker takes", failed)
		case errors.Is(failed, nats.ErrConnectionClosed) || !sleep(ctx, pause):
			if noRoom(failed) {
				return false, storageFull(failed)
			}
			return false, storageError("publish "+msg.Subject, failed)
		}
	}
}

// closedReason stands in the place of the reason in the subject of a closing.
const closedReason = "closed"

// Closing says who closed a dead letter, and why.
type Closing struct {
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	Time   time.Time `json:"-"` // when it was stored
	Token  string    `json:"token"`

	seq uint64
}

// Close closes every dead letter that there is of the command with this sequence in COMMANDS. Its errors are of kind
// Refused where there is none (code not_found), Conflict where all of them are closed already, or another closes them
// at the same time, and Unavailable where the closing is not known to be stored.
func (d *DeadLetters) Close(ctx context.Context, seq uint64, by, reason string) error {
	return d.CloseFor(ctx, seq, "", by, reason)
}

// CodeOtherOpen is the code of the Refused error for letters that stay open, as one of them is for another reason.
const CodeOtherOpen = "other_open"

// CloseFor is Close, but where one of the letters that are open is for another reason than only ("" is any), nothing is
// closed, and the error is of kind Refused, code other_open.
func (d *DeadLetters) CloseFor(ctx context.Context, seq uint64, only events.Reason, by, reason string) error {
	letters, previous, err := d.get(ctx, seq)
	if err != nil {
		return err
	}
	for _, l := range letters {
		if only != "" && l.Closed == nil && l.Reason != only {
			return &events.Error{Kind: events.Refused, Code: CodeOtherOpen, Message: fmt.Sprintf("command %d has an open dead letter for %s", seq, l.Reason)}
		}
	}
	if c := letters[len(letters)-1].Closed; c != nil {
		return alreadyClosed(seq, c)
	}
	after := uint64(0)
	if previous != nil {
		after = previous.seq
	}
	c := Closing{By: by, Reason: reason, Token: nuid.Next()}
	body, err := json.Marshal(c)
	if err != nil {
		return unwritable("the closing cannot be written", err)
	}
	msg := &nats.Msg{Subject: d.settings.Names.DeadClosed(seq), Data: body, Header: nats.Header{"Content-Type": {"application/json"}}}
	stored, err := d.publish(ctx, msg, after)
	if stored || err != nil {
		return err
	}
	there, err := d.closing(ctx, seq)
	if err != nil {
		return err
	}
	if there == nil || there.Token != c.Token {
		return alreadyClosed(seq, there)
	}
	return nil
}

func alreadyClosed(seq uint64, c *Closing) error {
	e := &events.Error{Kind: events.Conflict, Code: events.CodeConflict, Op: "close dead letter", Message: fmt.Sprintf("the dead letters of command %d have changed", seq)}
	if c != nil {
		e.Message = fmt.Sprintf("the dead letters of command %d are closed already, by %q at %s: %s", seq, c.By, c.Time.UTC().Format(time.RFC3339), c.Reason)
	}
	return e
}

// closing is the newest closing of a command's dead letters, nil where there is none.
func (d *DeadLetters) closing(ctx context.Context, seq uint64) (*Closing, error) {
	stream, err := d.stream(ctx)
	if err != nil {
		return nil, err
	}
	msg, err := d.last(ctx, stream, d.settings.Names.DeadClosed(seq))
	if msg == nil || err != nil {
		return nil, err
	}
	c, err := readClosing(msg.Sequence, msg.Time, msg.Data)
	return &c, err
}

func readClosing(seq uint64, at time.Time, data []byte) (Closing, error) {
	c := Closing{Time: at, seq: seq}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, unwritable(fmt.Sprintf("closing %d of the dead letters cannot be read", seq), err)
	}
	return c, nil
}
