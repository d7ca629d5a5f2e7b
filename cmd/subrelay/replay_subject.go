package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// subjectTemplate is where outcomes are sent again: a subject in which {kind}, {status}, {key} and {cid} stand for
// those of the outcome, the key as it is coded in subjects.
type subjectTemplate string

var placeholders = []string{"{kind}", "{status}", "{key}", "{cid}"}

// check refuses what is no subject to publish to.
func (t subjectTemplate) check() error {
	if t == "" {
		return usagef("where to? --to SUBJECT is missing")
	}
	for _, token := range strings.Split(string(t), ".") {
		rest := token
		for _, p := range placeholders {
			rest = strings.ReplaceAll(rest, p, "")
		}
		switch {
		case token == "":
			return usagef("--to is %q, and has an empty token", string(t))
		case strings.ContainsAny(rest, "{}"):
			return usagef("--to is %q: in braces there may be only %s", string(t), joined(placeholders))
		case strings.ContainsAny(rest, "*>"):
			return usagef("--to is %q, and nothing can be published to a subject with wildcards", string(t))
		case strings.ContainsAny(rest, " \t\r\n\x00"):
			return usagef("--to is %q, and a subject has no white space", string(t))
		}
	}
	return nil
}

// pattern matches every subject that the template can become.
func (t subjectTemplate) pattern() string {
	tokens := strings.Split(string(t), ".")
	for i, token := range tokens {
		if strings.Contains(token, "{") {
			tokens[i] = "*"
		}
	}
	return strings.Join(tokens, ".")
}

// expand is the subject for one record.
func (t subjectTemplate) expand(s natsjs.Stored) (string, error) {
	key, err := events.KeyToken(s.Command.Key)
	if err != nil {
		return "", err
	}
	return strings.NewReplacer("{kind}", string(s.Command.Kind), "{status}", string(s.Status), "{key}", key, "{cid}", s.Command.CID).
		Replace(string(t)), nil
}

// listener finds the stream that keeps whatever is published to the template's subjects; "" where there is none. It
// refuses subjects of our own: an outcome there would become a command, a record or a dead letter.
func (cl *client) listener(ctx context.Context, t subjectTemplate) (string, error) {
	pattern := t.pattern()
	first, _, _ := strings.Cut(pattern, ".")
	switch {
	case cl.names.Owns(pattern):
		return "", ours(t, "everything under its first token belongs to subrelay")
	case strings.HasPrefix(first, "$") || first == "_INBOX":
		return "", ours(t, "it belongs to the NATS server and its clients")
	}
	own := cl.names.Streams()
	names := cl.js.StreamNames(ctx, jetstream.WithStreamListSubject(pattern))
	var found []string
	for name := range names.Name() {
		found = append(found, name)
	}
	if err := names.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return "", fmt.Errorf("which streams listen on %s: %w", pattern, err)
	}
	for _, name := range found {
		if slices.Contains(own, name) {
			return "", ours(t, "the stream "+name+" listens there")
		}
		stream, err := cl.js.Stream(ctx, name)
		if err != nil {
			return "", fmt.Errorf("the stream %s: %w", name, err)
		}
		if slices.ContainsFunc(stream.CachedInfo().Config.Subjects, func(s string) bool { return server.SubjectMatchesFilter(pattern, s) }) {
			return name, nil
		}
	}
	if len(found) > 0 {
		return "", usagef("--to is %q, and the streams %s listen to only some of its subjects: some outcomes would be kept and others not", string(t), joined(found))
	}
	return "", nil
}

func ours(t subjectTemplate, why string) error {
	return &problem{err: fmt.Errorf("--to is %q, where outcomes must not be sent again: %s", string(t), why), code: exitUsage,
		hint: "choose a subject that only the reader to be rebuilt listens to"}
}
