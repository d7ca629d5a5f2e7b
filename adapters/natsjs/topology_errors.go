package natsjs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

// More of the server's error codes that nats.go does not name.
const (
	errCodeSubjectsOverlap jetstream.ErrorCode = 10065
	errCodeReplicas        jetstream.ErrorCode = 10074 // more than one replica on a server without cluster
	errCodeInProcess       jetstream.ErrorCode = 10158 // a message with this id is on its way into a replicated stream
)

// refusal is the error of a topology that the server holds otherwise.
func refusal(reasons []string) error {
	return &events.Error{
		Kind: events.Refused, Code: events.CodeTopology, Op: "topology",
		Message: "the server holds what must not be changed: " + strings.Join(reasons, "; "),
	}
}

// brokerError says what a failed request to JetStream means. It keeps an *events.Error, and errLockLost, as they are.
func brokerError(op string, err error) error {
	var known *events.Error
	if err == nil || errors.As(err, &known) || errors.Is(err, errLockLost) {
		return err
	}
	kind, code, message := events.Unavailable, events.CodeStorage, "NATS did not do it"
	var api *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		kind, message = events.Refused, "the NATS server runs without JetStream, or this account may not use it"
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse):
		message = "nobody answers for JetStream there: it is not enabled, or the stream has no leader at the moment"
	case errors.As(err, &api):
		kind, code, message = apiMessage(api)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		message = "NATS did not answer in time"
	case errors.Is(err, context.Canceled):
		message = "it was cancelled"
	}
	return &events.Error{Kind: kind, Code: code, Op: op, Message: message, Cause: err}
}

func apiMessage(api *jetstream.APIError) (events.ErrorKind, string, string) {
	switch api.ErrorCode {
	case errCodeInsufficientResources, errCodeStorageExceeded:
		return events.Refused, events.CodeTopology, "the server, or the account, allows fewer bytes than the streams are to reserve: " +
			"lower their max bytes in the settings, or raise the limit"
	case errCodeReplicas:
		return events.Refused, events.CodeTopology, "this server is no cluster, and cannot keep more than one replica"
	case errCodeSubjectsOverlap:
		return events.Refused, events.CodeTopology, "another stream listens on some of these subjects already: remove it, or choose another prefix"
	default:
		if api.Code >= 500 {
			return events.Unavailable, events.CodeStorage, fmt.Sprintf("NATS cannot do it now: %s", api.Description)
		}
		return events.Refused, events.CodeTopology, fmt.Sprintf("NATS refuses it: %s", api.Description)
	}
}
