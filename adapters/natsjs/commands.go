package natsjs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

// StoredCommand is a command's message as the command stream holds it. Whether a command can be read from it is another
// question.
type StoredCommand struct {
	Message
	Partition int
	Kind      events.Kind // the kind token of its subject
	Key       string      // the key token of its subject
	Pending   uint64      // how many the stream had behind it when it was scanned: an estimate of progress
}

// CommandQuery selects stored commands. The zero value selects all there are at the time of the call.
type CommandQuery struct {
	Since   time.Time // stored then or later
	Until   time.Time // stored before
	FromSeq uint64    // from this sequence on
	ToSeq   uint64    // up to and with this sequence
	Kinds   []events.Kind
	Key     string // the command's subject, uncoded
	Limit   int    // the most to report; 0: no limit
}

// Commands reads the command stream, for people and for replays; nothing is acknowledged or moved by it. It may be
// shared.
type Commands struct {
	js    jetstream.JetStream
	names Names
}

// NewCommands makes a reader of the command stream.
func NewCommands(js jetstream.JetStream, n Names) *Commands { return &Commands{js: js, names: n} }

// Get is the command with this sequence. Its errors are of kind Refused, code not_found, where the stream does not hold
// it (any longer), and Unavailable.
func (c *Commands) Get(ctx context.Context, seq uint64) (StoredCommand, error) {
	ctx, cancel := context.WithTimeout(ctx, scanTimeout)
	defer cancel()
	s, err := c.js.Stream(ctx, c.names.Commands())
	if err != nil {
		return StoredCommand{}, storageError("find stream "+c.names.Commands(), err)
	}
	msg, err := s.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) || seq == 0 {
		return StoredCommand{}, &events.Error{Kind: events.Refused, Code: CodeNotFound, Message: fmt.Sprintf("there is no command with sequence %d", seq)}
	}
	if err != nil {
		return StoredCommand{}, storageError("read command", err)
	}
	return c.read(Message{Seq: msg.Sequence, Time: msg.Time, Subject: msg.Subject, Header: msg.Header, Data: msg.Data}, 0)
}

// Scan calls fn for each command that q selects, in the order of the stream, each once, over reconnects too, up to the
// last at the time of the call. An error of fn ends it and is returned. Its other errors are of kind Unavailable, or
// Refused for a key that cannot be one.
func (c *Commands) Scan(ctx context.Context, q CommandQuery, fn func(StoredCommand) error) error {
	key, err := keyFilter(q.Key)
	if err != nil {
		return err
	}
	var subjects []string
	for _, kind := range distinctOrAny(q.Kinds) {
		subjects = append(subjects, c.names.StoredAnywhere(kind, key)...)
	}
	s := scan{js: c.js, stream: c.names.Commands(), subjects: subjects, fromSeq: q.FromSeq, toSeq: q.ToSeq, since: q.Since, until: q.Until}
	return s.run(ctx, limit(q.Limit, func(m Message, pending uint64) error {
		cmd, err := c.read(m, pending)
		if err != nil {
			return err
		}
		return fn(cmd)
	}))
}

func (c *Commands) read(m Message, pending uint64) (StoredCommand, error) {
	partition, kind, key, err := c.names.ParseStored(m.Subject)
	if err != nil {
		return StoredCommand{}, unwritable("the command stream holds a subject of an unknown form", err)
	}
	return StoredCommand{Message: m, Partition: partition, Kind: kind, Key: key, Pending: pending}, nil
}
