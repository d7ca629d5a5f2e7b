package natsjs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

const whyTimeout = 2 * time.Second

func refusedPublish(code, message string, cause error) *events.Error {
	return &events.Error{Kind: events.Refused, Code: code, Op: "publish", Message: message, Cause: cause}
}

func unavailablePublish(code, message string, cause error) *events.Error {
	return &events.Error{Kind: events.Unavailable, Code: code, Op: "publish", Message: message, Cause: cause}
}

const publishAgain = "; it may have been stored all the same, and publishing it again is safe: it is done once"

// publishError says what a failed publish means for whoever published.
func (p *Publisher) publishError(ctx context.Context, subject string, err error) error {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		return p.nobodyListens(ctx, subject, err)
	case hasCode(err, jetstream.JSErrCodeStreamMessageExceedsMaximum), errors.Is(err, nats.ErrMaxPayload):
		return refusedPublish(events.CodeTooLarge, p.tooLarge(ctx), err)
	case noRoom(err):
		return unavailablePublish(events.CodeStorageFull, "the stream is full: nothing was stored; publish again when there is room", err)
	case InProcess(err):
		return unavailablePublish(events.CodeStorage, "an earlier try is still on its way"+publishAgain, err)
	case errors.As(err, &api) && api.Code < 500:
		return refusedPublish(events.CodeStorage, "NATS refuses the message: "+api.Description, err)
	case errors.Is(err, nats.ErrBadSubject):
		return notASubject(subject, err)
	case p.forbidden(subject):
		return refusedPublish(events.CodeNotPermitted, "this NATS user may not publish to "+subject, err)
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrDisconnected),
		!p.js.Conn().IsConnected():
		return unavailablePublish(events.CodeStorage, "there is no connection to NATS"+publishAgain, err)
	}
	return unavailablePublish(events.CodeStorage, "NATS did not confirm in time"+publishAgain, err)
}

// InProcess reports whether the server refused a message because one with the same id is on its way into a replicated
// stream, such as an earlier try whose acknowledgement was lost with the stream's leader. Whether that one will be stored
// is open: try again.
func InProcess(err error) bool { return hasCode(err, errCodeInProcess) }

func (p *Publisher) tooLarge(ctx context.Context) string {
	s := fmt.Sprintf("the message is too large: NATS takes at most %d bytes", p.js.Conn().MaxPayload())
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), whyTimeout)
	defer cancel()
	if stream, err := p.js.Stream(ctx, p.settings.Names.Commands()); err == nil {
		if most := stream.CachedInfo().Config.MaxMsgSize; most > 0 {
			s = fmt.Sprintf("the command is too large: at most %d bytes with its headers", most)
		}
	}
	return s
}

// forbidden reports whether the server complained, asynchronously, as is its way, that this user may not publish there.
func (p *Publisher) forbidden(subject string) bool {
	last := p.js.Conn().LastError()
	return errors.Is(last, nats.ErrPermissionViolation) && strings.Contains(last.Error(), `"`+subject+`"`)
}

func notASubject(subject string, cause error) error {
	return refusedPublish(events.CodeSubjectMismatch, fmt.Sprintf("%q is no subject to publish to", bounded(subject)), cause)
}

// nobodyListens tells a kind that does not exist from a stream that does not answer at the moment.
func (p *Publisher) nobodyListens(ctx context.Context, subject string, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), whyTimeout)
	defer cancel()
	n := p.settings.Names
	if slices.Contains(strings.Split(subject, "."), "") {
		return notASubject(subject, cause)
	}
	kind, ours := n.kindOfCommand(subject)
	if !ours {
		return refusedPublish(events.CodeStorage, "no stream listens on "+subject, cause)
	}
	stream, err := p.js.Stream(ctx, n.Commands())
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return unavailablePublish(events.CodeStorage,
			fmt.Sprintf("there is no stream %s yet: start a worker, or apply the topology, and publish again", n.Commands()), cause)
	case err != nil:
		return unavailablePublish(events.CodeStorage, fmt.Sprintf(
			"nobody takes commands of the kind %s: either there is no such kind, or NATS has no leader for the stream at the moment", kind), cause)
	}
	subjects := stream.CachedInfo().Config.Subjects
	if slices.Contains(subjects, n.Command(kind, "*")) {
		return unavailablePublish(events.CodeStorage, "the stream has no leader at the moment; nothing was stored, publish again", cause)
	}
	return refusedPublish(events.CodeUnknownType, fmt.Sprintf("no worker knows the kind %s: known are %s", kind, n.knownKinds(subjects)), cause)
}

func (n Names) knownKinds(subjects []string) string {
	var kinds []string
	for _, s := range subjects {
		if kind, ok := n.kindOfCommand(s); ok {
			kinds = append(kinds, string(kind))
		}
	}
	slices.Sort(kinds)
	return strings.Join(kinds, ", ")
}
