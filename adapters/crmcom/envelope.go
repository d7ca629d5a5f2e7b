package crmcom

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

// codeOK is the only code that the vendor's pages name.
const codeOK = "OK"

// errToken is in the chain of the error of an answer that refuses the token.
var errToken = errors.New("the token was refused")

// envelope is what every reply is.
type envelope struct {
	code    string
	message string
	data    json.RawMessage // an object, an array or null
}

// openEnvelope reads a body that is one whole envelope: an object that holds each of data and status once, status with
// one text as its code. Beside an error it returns what has a code all the same: status as it should be, and data
// missing. The declared content type is not asked.
func openEnvelope(body []byte) (envelope, error) {
	body = bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(body), []byte("\xef\xbb\xbf")))
	outer, err := object(body)
	if err != nil {
		return envelope{}, fmt.Errorf("the body %w", err)
	}
	status, err := object(outer["status"])
	if err != nil {
		return envelope{}, fmt.Errorf("status %w", err)
	}
	e := envelope{data: outer["data"]}
	if json.Unmarshal(status["code"], &e.code) != nil || strings.TrimSpace(e.code) == "" {
		return envelope{}, errors.New("status.code is no text")
	}
	for _, name := range []string{"message", "description"} {
		if e.message == "" {
			e.message, _ = textOf(status[name])
		}
	}
	switch _, there := outer["data"]; {
	case !there:
		return e, errors.New("there is no data")
	case !isObject(e.data) && !isArray(e.data) && !isNull(e.data):
		return envelope{}, errors.New("data is neither object nor array")
	case e.code != codeOK && strings.EqualFold(strings.TrimSpace(e.code), codeOK):
		return envelope{}, errors.New("status.code is not spelled OK")
	}
	return e, nil
}

// The ways in which a text is not what was expected.
var (
	errNoObject = errors.New("is no JSON object")
	errNoArray  = errors.New("is no JSON array")
	errTwice    = errors.New("holds a member twice")
)

// object reads one whole JSON object. Names count exactly, and none may stand there twice: two readers might take
// different ones.
func object(raw []byte) (map[string]json.RawMessage, error) {
	var members map[string]json.RawMessage
	if !isObject(raw) || json.Unmarshal(raw, &members) != nil {
		return nil, errNoObject
	}
	if count(raw) != len(members) { // of those that are one name, the last alone is there
		return nil, errTwice
	}
	return members, nil
}

// count is how many members a valid JSON object has, without those within them.
func count(raw []byte) (n int) {
	depth, quoted := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			depth++
		case c == '}', c == ']':
			depth--
		case c == ':' && depth == 1:
			n++
		}
	}
	return n
}

// array reads one whole JSON array.
func array(raw []byte) ([]json.RawMessage, error) {
	var items []json.RawMessage
	if !isArray(raw) || json.Unmarshal(raw, &items) != nil {
		return nil, errNoArray
	}
	return items, nil
}

func isObject(raw []byte) bool { return len(raw) > 0 && raw[0] == '{' }
func isArray(raw []byte) bool  { return len(raw) > 0 && raw[0] == '[' }
func isNull(raw []byte) bool   { return string(raw) == "null" }

// isNone reports whether raw says that there is nothing: null, or an absent member.
func isNone(raw []byte) bool { return len(raw) == 0 || isNull(raw) }

// textOf is a JSON text, or a number as it is written.
func textOf(raw json.RawMessage) (string, bool) {
	if len(raw) == 0 {
		return "", false
	}
	var text string
	if json.Unmarshal(raw, &text) == nil && !isNull(raw) {
		return text, true
	}
	var number json.Number
	if json.Unmarshal(raw, &number) == nil && !isNull(raw) {
		return number.String(), true
	}
	return "", false
}

// textIn is the text of a member of an object.
func textIn(raw json.RawMessage, name string) (string, bool) {
	members, err := object(raw)
	if err != nil {
		return "", false
	}
	return textOf(members[name])
}

// read says what a reply means; nil is an OK, with its data. The package comment has the table. Errors are
// *events.Error; that of a refused token wraps errToken.
func (w *wire) read(r upstream.Reply, p personal) (json.RawMessage, error) {
	env, err := openEnvelope(r.Body)
	readable := err == nil
	codes := &w.settings.Codes
	if listed := w.listed(r, env, p); listed != nil {
		return nil, listed
	}
	if slices.Contains(codes.HTTPInvalidToken, r.Status) {
		return nil, w.invalidToken(strconv.Itoa(r.Status))
	}
	if err := w.guard.Classify(r, codes.HTTPNotApplied...); err != nil {
		return nil, err
	}
	switch success := r.Status >= 200 && r.Status <= 299; {
	case !readable && !success:
		return nil, w.unknown(r, "without an envelope of CRM.COM; are crmcom.base_url and the method's path right? Once it is known "+
			"what it means, list it under crmcom.codes.http_not_applied")
	case !readable:
		return nil, w.unknown(r, "without an envelope of CRM.COM: "+err.Error())
	case env.code != codeOK:
		return nil, w.refusal(r, env, p, events.CodeRefused)
	case !success:
		return nil, w.unknown(r, "and OK in the body")
	}
	return env.data, nil
}

// listed is what a code means that is on one of the lists; nil for any other.
func (w *wire) listed(r upstream.Reply, env envelope, p personal) error {
	codes := &w.settings.Codes
	switch {
	case slices.Contains(codes.InvalidToken, env.code):
		return w.invalidToken(env.code)
	case slices.Contains(codes.Duplicate, env.code):
		e := w.refusal(r, env, p, events.CodeDuplicate)
		e.Kind = events.Conflict
		return e
	case slices.Contains(codes.NotFound, env.code):
		return w.refusal(r, env, p, events.CodeNotFound)
	case slices.Contains(codes.Refused, env.code):
		return w.refusal(r, env, p, events.CodeRefused)
	case slices.Contains(codes.NotApplied, env.code):
		e := w.refusal(r, env, p, events.CodeUnavailable)
		e.Kind = events.Unavailable
		return e
	case slices.Contains(codes.Unknown, env.code):
		e := w.refusal(r, env, p, events.CodeUpstreamError)
		e.Kind = events.Unknown
		return e
	}
	return nil
}

func (w *wire) invalidToken(code string) *events.Error {
	return &events.Error{Kind: events.Unavailable, Code: events.CodeUnauthorized, UpstreamCode: code, Upstream: true, Op: "call crmcom",
		Message: "CRM.COM refused the token with " + code, Cause: errToken}
}

// refusal is what an envelope says that is not OK.
func (w *wire) refusal(r upstream.Reply, env envelope, p personal, code string) *events.Error {
	e := refused(code, "")
	e.UpstreamCode = w.word(env.code, p)
	e.Message = "CRM.COM answered " + e.UpstreamCode
	if r.Status < 200 || r.Status > 299 {
		e.Message = fmt.Sprintf("CRM.COM answered %d, %s", r.Status, e.UpstreamCode)
	}
	if text := w.clean(env.message, p); text != "" && !p.unknown {
		e.Message += ": " + text
	}
	return e
}

// unknown is the error of a reply that leaves open what was done.
func (w *wire) unknown(r upstream.Reply, why string) *events.Error {
	return &events.Error{Kind: events.Unknown, Code: events.CodeUnreadable, UpstreamCode: strconv.Itoa(r.Status), Op: "call crmcom",
		Message: fmt.Sprintf("CRM.COM answered %d, %s", r.Status, why)}
}

// clean is text of CRM.COM that may travel: without secrets, without the command's personal values, short. Secrets go
// first, and again once they are plain: they are not found any more where a part of one was masked for being personal.
func (w *wire) clean(text string, p personal) string {
	if len(p.values) > 0 {
		text = p.mask(w.guard.Redact(plain(w.guard.Redact(text))))
	}
	return w.guard.Clean(text)
}

// maxWord is the most that is kept of a code, an id, a number or a state, in bytes.
const maxWord = 100

// word is a code, an id, a number or a state of CRM.COM that may travel.
func (w *wire) word(text string, p personal) string {
	text = w.clean(text, p)
	if len(text) > maxWord {
		text = strings.ToValidUTF8(text[:maxWord], "")
	}
	return text
}
