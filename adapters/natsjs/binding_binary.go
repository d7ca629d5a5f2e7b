package natsjs

import (
	"errors"
	"fmt"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/nats-io/nats.go"
)

// decodeBinary reads an event whose attributes, by name and still coded, are headers.
func decodeBinary(contentType string, attributes map[string]string, data []byte) (*event.Event, error) {
	ctx := &event.EventContextV1{}
	if contentType != "" {
		if err := ctx.SetDataContentType(contentType); err != nil {
			return nil, undecodable("the header content-type: %v", err)
		}
	}
	version, ok := attributes["specversion"]
	if !ok {
		return nil, undecodable(`the message has ce- headers, but no ce-specversion, which should be "1.0"`)
	}
	for name, coded := range attributes {
		value, err := decodeHeaderValue(coded)
		if err != nil {
			return nil, undecodable("the header ce-%s: %v", bounded(name), err)
		}
		if name == "specversion" {
			version = value
		} else if err := setAttribute(ctx, name, value); err != nil {
			return nil, undecodable("the header ce-%s: %v", bounded(name), err)
		}
	}
	if version != event.CloudEventsVersionV1 {
		return nil, specVersionError(version)
	}
	e := &event.Event{Context: ctx}
	if len(data) > 0 {
		e.DataEncoded = data
		e.DataBase64 = !isJSON(ctx.GetDataContentType()) && !utf8.Valid(data)
	}
	return e, nil
}

func setAttribute(ctx *event.EventContextV1, name, value string) error {
	switch name {
	case "id":
		return ctx.SetID(value)
	case "type":
		return ctx.SetType(value)
	case "source":
		if err := ctx.SetSource(value); err != nil {
			return errors.New("it is no URI reference")
		}
	case "subject":
		return ctx.SetSubject(value)
	case "datacontenttype":
		return ctx.SetDataContentType(value)
	case "dataschema":
		if err := ctx.SetDataSchema(value); err != nil {
			return errors.New("it is no URI")
		}
	case "time":
		t, err := types.ParseTime(value)
		if err != nil {
			return errors.New("it is no RFC 3339 time")
		}
		return ctx.SetTime(t)
	case "data", "data_base64":
		return errors.New("data is no attribute; in binary mode it is the message's payload")
	default:
		return ctx.SetExtension(name, value)
	}
	return nil
}

// isJSON reports whether a media type, absent in a JSON event, is one of JSON.
func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return contentType == "" || err == nil && (media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json"))
}

// EncodeStructured writes an event as one JSON document. It fails where the event is not valid.
func EncodeStructured(e *event.Event) (nats.Header, []byte, error) {
	if err := e.Validate(); err != nil {
		return nil, nil, undecodable("no valid CloudEvent: %v", err)
	}
	data, err := e.MarshalJSON()
	if err != nil {
		return nil, nil, undecodable("the event cannot be written as JSON: %v", err)
	}
	return nats.Header{headerContentType: {mediaStructured}}, data, nil
}

// EncodeBinary writes an event's attributes as headers, and its data as they are. Extensions of other types than
// string come back from DecodeMessage in their canonical string form. It fails where the event is not valid.
func EncodeBinary(e *event.Event) (nats.Header, []byte, error) {
	if err := e.Validate(); err != nil {
		return nil, nil, undecodable("no valid CloudEvent: %v", err)
	}
	header := make(nats.Header, 10)
	set := func(name, value string) {
		if value != "" {
			header[attributePrefix+name] = []string{encodeHeaderValue(value)}
		}
	}
	set("specversion", e.SpecVersion())
	set("id", e.ID())
	set("source", e.Source())
	set("type", e.Type())
	set("subject", e.Subject())
	set("datacontenttype", e.DataContentType())
	set("dataschema", e.DataSchema())
	if !e.Time().IsZero() {
		set("time", types.FormatTime(e.Time()))
	}
	for name, value := range e.Extensions() {
		text, err := types.Format(value)
		if err != nil {
			return nil, nil, undecodable("the extension %s cannot be written: %v", name, err)
		}
		set(name, text)
	}
	return header, e.Data(), nil
}

const upperHexDigits = "0123456789ABCDEF"

// encodeHeaderValue percent-codes space, double quote, percent, and every byte outside of printable ASCII.
func encodeHeaderValue(s string) string {
	plain := func(c byte) bool { return c > ' ' && c < 0x7f && c != '"' && c != '%' }
	i := 0
	for i < len(s) && plain(s[i]) {
		i++
	}
	if i == len(s) {
		return s
	}
	out := append(make([]byte, 0, len(s)+16), s[:i]...)
	for ; i < len(s); i++ {
		if c := s[i]; plain(c) {
			out = append(out, c)
		} else {
			out = append(out, '%', upperHexDigits[c>>4], upperHexDigits[c&15])
		}
	}
	return string(out)
}

// decodeHeaderValue undoes double quotes around the whole value, and then one round of percent-coding. A percent sign
// that begins no code stands for itself: the CloudEvents SDK sends values uncoded. Codes that are no UTF-8 are refused.
func decodeHeaderValue(s string) (string, error) {
	s = strings.Trim(s, " \t")
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = unquote(s[1 : len(s)-1])
	}
	if !utf8.ValidString(s) {
		return "", errors.New("it is not UTF-8")
	}
	if !strings.Contains(s, "%") {
		return s, nil
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		run := codedRun(s[i:])
		if len(run) == 0 {
			out = append(out, s[i])
			i++
			continue
		}
		if !utf8.Valid(run) {
			return "", fmt.Errorf("the percent-coded bytes %s are not UTF-8", bounded(s[i:i+3*len(run)]))
		}
		out = append(out, run...)
		i += 3 * len(run)
	}
	return string(out), nil
}

// codedRun decodes the percent codes at the beginning of s.
func codedRun(s string) []byte {
	var run []byte
	for ; len(s) >= 3 && s[0] == '%'; s = s[3:] {
		hi, ok1 := hexDigit(s[1])
		lo, ok2 := hexDigit(s[2])
		if !ok1 || !ok2 {
			break
		}
		run = append(run, hi<<4|lo)
	}
	return run
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

// unquote undoes the backslash escapes of a quoted string (RFC 7230, section 3.2.6).
func unquote(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		out = append(out, s[i])
	}
	return string(out)
}
