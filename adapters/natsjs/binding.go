package natsjs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"subrelay/events"
)

// The binding follows the NATS Protocol Binding for CloudEvents, versions 1.0.2 (structured mode) and 1.0.3-wip (which
// adds binary mode):
// https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/nats-protocol-binding.md
const (
	headerContentType = "Content-Type"
	attributePrefix   = "ce-"

	mediaCloudEvents = "application/cloudevents"
	mediaStructured  = "application/cloudevents+json"
	mediaBatch       = "application/cloudevents-batch"
)

// DecodeMessage reads a CloudEvent from a NATS message.
//
// The mode is structured where Content-Type is application/cloudevents or application/cloudevents+json (header names
// and media types match without case, parameters are allowed), and binary where it is not. A message without
// CloudEvents content type and without any "ce-" header is read as structured: version 1.0.2 knows nothing else, and the
// CloudEvents SDK sends structured messages without a header. In binary mode a Content-Type stands in for an
// absent ce-datacontenttype.
//
// The event is not validated beyond what reading needs; its data may alias data. Errors are *events.Error, Refused with
// code undecodable: a batch, another event format, a specversion other than 1.0, a header given twice, bytes that are
// no UTF-8, and whatever is no JSON. They may quote an attribute, but never the data.
func DecodeMessage(header nats.Header, data []byte) (*event.Event, error) {
	contentType, attributes, err := readHeader(header)
	if err != nil {
		return nil, err
	}
	structured, err := structuredMode(contentType)
	if err != nil {
		return nil, err
	}
	if structured || len(attributes) == 0 {
		return decodeStructured(data)
	}
	return decodeBinary(contentType, attributes, data)
}

func undecodable(format string, args ...any) *events.Error {
	return &events.Error{Kind: events.Refused, Code: events.CodeUndecodable, Message: fmt.Sprintf(format, args...)}
}

// readHeader picks the content type and the attributes, by lower-case name and still coded, from the headers.
func readHeader(header nats.Header) (contentType string, attributes map[string]string, err error) {
	seen := false
	for name, values := range header {
		isType := strings.EqualFold(name, headerContentType)
		isAttribute := len(name) > len(attributePrefix) && strings.EqualFold(name[:len(attributePrefix)], attributePrefix)
		if !isType && !isAttribute || len(values) == 0 {
			continue
		}
		lower := strings.ToLower(name)
		if _, twice := attributes[lower[len(attributePrefix):]]; len(values) > 1 || isType && seen || isAttribute && twice {
			return "", nil, undecodable("the header %s is given more than once", lower)
		}
		if isType {
			contentType, seen = strings.TrimSpace(values[0]), true
			continue
		}
		if attributes == nil {
			attributes = make(map[string]string, len(header))
		}
		attributes[lower[len(attributePrefix):]] = values[0]
	}
	return contentType, attributes, nil
}

// structuredMode decides the mode by the content type, and refuses what is neither mode.
func structuredMode(contentType string) (bool, error) {
	if contentType == mediaStructured { // what nearly everybody sends
		return true, nil
	}
	if len(contentType) < len(mediaCloudEvents) || !strings.EqualFold(contentType[:len(mediaCloudEvents)], mediaCloudEvents) {
		return false, nil
	}
	media, params, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil:
		return false, undecodable("the Content-Type cannot be read: it should be %s", mediaStructured)
	case strings.HasPrefix(media, mediaBatch):
		return false, undecodable("a batch of events is not accepted: the NATS binding knows none; publish each event as a message of its own")
	case media != mediaCloudEvents && media != mediaStructured:
		return false, undecodable("the event format of this Content-Type is not understood, only %s is", mediaStructured)
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "us-ascii") {
		return false, undecodable("the charset of the Content-Type must be utf-8")
	}
	return true, nil
}

func decodeStructured(data []byte) (*event.Event, error) {
	if err := checkJSON(data); err != nil {
		return nil, err
	}
	var e event.Event
	if err := e.UnmarshalJSON(data); err != nil && !decodeApart(data, &e) {
		return nil, structuredError(data, err)
	}
	if e.SpecVersion() != event.CloudEventsVersionV1 {
		return nil, specVersionError(e.SpecVersion())
	}
	return &e, nil
}

// decodeApart reads an event whose data the SDK's reader cannot skip, as it cannot where they hold a number beyond a
// float64, without them, and puts them in as they are: what is wrong with data, their schema says. It reports whether
// that was all that was wrong.
func decodeApart(raw []byte, e *event.Event) bool {
	from, to, ok := extentOfData(raw)
	if !ok {
		return false
	}
	frame := slices.Concat(raw[:from], []byte("null"), raw[to:])
	*e = event.Event{}
	if e.UnmarshalJSON(frame) != nil || e.DataBase64 || !isJSON(e.DataContentType()) {
		return false
	}
	e.DataEncoded = raw[from:to]
	return true
}

// extentOfData is where the value of data begins and ends in an object; not ok where there is not just one.
func extentOfData(raw []byte) (from, to int, ok bool) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if _, err := d.Token(); err != nil {
		return 0, 0, false
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return 0, 0, false
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return 0, 0, false
		}
		if name != "data" {
			continue
		}
		if ok {
			return 0, 0, false
		}
		to = int(d.InputOffset())
		from, ok = to-len(value), true
	}
	return from, to, ok
}

// checkJSON refuses what the SDK's reader, which is fast, would read carelessly.
func checkJSON(data []byte) error {
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	switch {
	case len(trimmed) == 0:
		return undecodable("the message is empty: it should be a CloudEvent in JSON, or have ce- headers")
	case !utf8.Valid(data):
		return undecodable("the message is not UTF-8")
	case !json.Valid(data):
		return undecodable("the message is no JSON: %s", syntaxError(data))
	case trimmed[0] == '[':
		return undecodable("a batch of events is not accepted: publish each event as a message of its own")
	case trimmed[0] != '{':
		return undecodable("the message is JSON, but no object, and so no CloudEvent")
	}
	return nil
}

func syntaxError(data []byte) string {
	var v any
	var syntax *json.SyntaxError
	if errors.As(json.Unmarshal(data, &v), &syntax) {
		return fmt.Sprintf("at byte %d, %s", syntax.Offset, syntax.Error())
	}
	return "it cannot be read"
}

// structuredError says what is wrong with a JSON object that is no event. The reader's own text shows a piece of the
// message, which may hold anything, so only what comes before is kept.
func structuredError(data []byte, err error) error {
	var frame struct {
		SpecVersion json.RawMessage `json:"specversion"`
	}
	if json.Unmarshal(data, &frame) == nil {
		var version string
		switch {
		case frame.SpecVersion == nil:
			return undecodable(`the message is JSON, but no CloudEvent: it has no specversion, which should be "1.0"`)
		case json.Unmarshal(frame.SpecVersion, &version) != nil:
			return undecodable(`specversion is no string; it should be "1.0"`)
		case version != event.CloudEventsVersionV1:
			return specVersionError(version)
		}
	}
	reason, _, _ := strings.Cut(err.Error(), ", error found in")
	return undecodable("the message is no CloudEvent: %s", bounded(string(events.Mask([]byte(reason)))))
}

func specVersionError(version string) error {
	return undecodable(`the specversion %q is not understood; it must be "1.0"`, bounded(version))
}

// bounded keeps a quotation short.
func bounded(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
