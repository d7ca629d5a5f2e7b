package natsjs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

// PublisherSettings are the settings of a Publisher.
type PublisherSettings struct {
	Names Names
	// Timeout is for one publish where its context has no deadline of its own. Default 5 s.
	Timeout time.Duration
	// Binary sends events in binary mode. Default: structured.
	Binary bool
}

const defaultPublishTimeout = 5 * time.Second

// Publisher publishes commands as billing does. It may be shared by goroutines.
type Publisher struct {
	js       jetstream.JetStream
	settings PublisherSettings
}

// NewPublisher makes a publisher on a connection that it does not own.
func NewPublisher(js jetstream.JetStream, settings PublisherSettings) *Publisher {
	settings.Timeout = cmp.Or(settings.Timeout, defaultPublishTimeout)
	return &Publisher{js: js, settings: settings}
}

// Receipt says where a command was stored.
type Receipt struct {
	Stream    string `json:"stream"`
	Seq       uint64 `json:"seq"`
	Duplicate bool   `json:"duplicate"` // the same command was stored minutes ago, with this sequence
	CID       string `json:"cid,omitempty"`
	Subject   string `json:"subject"` // as published, not as stored
}

// PublishOption changes one publish.
type PublishOption func(*publishOptions)

type publishOptions struct{ msgID, mark string }

// Requeue marks a deliberate repetition of a command that may be in the stream already, so that the duplicate window
// does not swallow it. The same mark within the window is stored once.
func Requeue(mark string) PublishOption { return func(o *publishOptions) { o.mark = mark } }

// MsgID sets the id by which the duplicate window knows the message. PublishRaw sends none without it.
func MsgID(id string) PublishOption { return func(o *publishOptions) { o.msgID = id } }

// CommandMsgID is the id by which the duplicate window knows a command: its cid, and a hash of type and data. The hash
// lets the same id with other data through, so that it is noticed (id_reused) instead of silently dropped.
func CommandMsgID(e *event.Event) string {
	h := sha256.New()
	h.Write([]byte(e.Type()))
	h.Write([]byte{0})
	h.Write(e.Data())
	return events.CID(e.Source(), e.ID(), e.Subject()) + "." + hex.EncodeToString(h.Sum(nil))[:12]
}

// Publish publishes a command and waits until it is stored. It does not look at the data: the worker does.
//
// Errors are *events.Error. Refused: no valid event (undecodable), not the type of a command or of a kind that no
// stream takes (unknown_type), no usable key (subject_mismatch), too large (command_too_large), not_permitted.
// Unavailable: storage_full, or storage_unavailable where no answer came. After the latter the command may have been
// stored all the same; publishing it again is safe, it is done once.
func (p *Publisher) Publish(ctx context.Context, e event.Event, opts ...PublishOption) (Receipt, error) {
	msg, err := p.message(&e)
	if err != nil {
		return Receipt{}, err
	}
	o := options(opts)
	o.msgID = cmp.Or(o.msgID, CommandMsgID(&e))
	receipt, err := p.send(ctx, msg, o, jetstream.WithExpectStream(p.settings.Names.Commands()))
	if err != nil {
		return Receipt{}, p.publishError(ctx, msg.Subject, err)
	}
	receipt.CID = events.CID(e.Source(), e.ID(), e.Subject())
	return receipt, nil
}

// PublishRaw publishes bytes and headers as they are to a subject on which a stream listens, and waits until they are
// stored. Headers of the server's own ("Nats-…"), which a message read from a stream has, are left out. Errors are
// those of Publish.
func (p *Publisher) PublishRaw(ctx context.Context, subject string, header nats.Header, data []byte, opts ...PublishOption) (Receipt, error) {
	msg := &nats.Msg{Subject: subject, Header: nats.Header{}, Data: data}
	for name, values := range header {
		if len(name) < len(serverHeaders) || !strings.EqualFold(name[:len(serverHeaders)], serverHeaders) {
			msg.Header[name] = values
		}
	}
	receipt, err := p.send(ctx, msg, options(opts))
	if err != nil {
		return Receipt{}, p.publishError(ctx, subject, err)
	}
	return receipt, nil
}

const serverHeaders = "Nats-"

func options(opts []PublishOption) publishOptions {
	var o publishOptions
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// message writes the command's message.
func (p *Publisher) message(e *event.Event) (*nats.Msg, error) {
	kind, ok := events.KindOfType(e.Type())
	if !ok {
		return nil, refusedPublish(events.CodeUnknownType, "the type "+bounded(e.Type())+" is not that of a command, subrelay.<kind>.v1", nil)
	}
	key, err := events.KeyToken(e.Subject())
	if err != nil {
		return nil, refusedPublish(events.CodeSubjectMismatch, err.Error(), nil)
	}
	encode := EncodeStructured
	if p.settings.Binary {
		encode = EncodeBinary
	}
	header, data, err := encode(e)
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: p.settings.Names.Command(kind, key), Header: header, Data: data}, nil
}

func (p *Publisher) send(ctx context.Context, msg *nats.Msg, o publishOptions, expect ...jetstream.PublishOpt) (Receipt, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.settings.Timeout)
		defer cancel()
	}
	if o.mark != "" {
		o.msgID += "." + o.mark
	}
	if o.msgID != "" {
		expect = append(expect, jetstream.WithMsgID(o.msgID))
	}
	ack, err := p.js.PublishMsg(ctx, msg, expect...)
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{Stream: ack.Stream, Seq: ack.Sequence, Duplicate: ack.Duplicate, Subject: msg.Subject}, nil
}
