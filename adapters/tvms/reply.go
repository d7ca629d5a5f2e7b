package tvms

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

// What the body of a reply may be.
const (
	bodyObject     = "object"
	bodyArray      = "array"
	bodyValue      = "value"
	bodyEmpty      = "empty"
	bodyUnreadable = "unreadable"
)

// body is what a reply's body turned out to be.
type body struct {
	kind    string
	members map[string]json.RawMessage // of an object
	raw     []byte
}

// readBody looks at what a body is. The declared content type is not asked: JSON is what parses whole as JSON.
func readBody(raw []byte) body {
	raw = bytes.TrimSpace(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")))
	b := body{kind: bodyUnreadable, raw: raw}
	switch {
	case len(raw) == 0:
		b.kind = bodyEmpty
	case raw[0] == '{':
		if json.Unmarshal(raw, &b.members) == nil {
			b.kind = bodyObject
		}
	case !json.Valid(raw) || bytes.Equal(raw, []byte("null")):
	case raw[0] == '[':
		b.kind = bodyArray
	default:
		b.kind = bodyValue
	}
	return b
}

// message is the member that holds the text of a failure: "" where there is none or it is null. unclear reports one
// that says nothing: an empty text, or a name that differs in case only, which nobody documents.
func (b *body) message(field string) (text string, unclear bool) {
	if raw, ok := b.members[field]; ok && !bytes.Equal(raw, []byte("null")) {
		if json.Unmarshal(raw, &text) != nil {
			text = string(raw)
		}
		return text, strings.TrimSpace(text) == ""
	}
	for name, raw := range b.members {
		if name != field && strings.EqualFold(name, field) && !bytes.Equal(raw, []byte("null")) {
			return "", true
		}
	}
	return "", false
}

// words is what a refusal says: its message, or else a body that is a JSON text or plain text, but no page.
func (b *body) words(message string) string {
	if message != "" || b.kind == bodyObject || b.kind == bodyArray || bytes.HasPrefix(b.raw, []byte("<")) {
		return message
	}
	if json.Unmarshal(b.raw, &message) != nil {
		message = string(b.raw)
	}
	return message
}

// renewed reads a reply to RenewCustomer; nil is a confirmed renewal. The package comment has the table.
func (c *Client) renewed(r upstream.Reply) error {
	b := readBody(r.Body)
	replies := &c.settings.Replies
	text, unclear := b.message(replies.MessageField)
	if slices.Contains(replies.Refused, r.Status) {
		return c.refused(r, b.words(text))
	}
	if err := c.guard.Classify(r, replies.NotApplied...); err != nil {
		return err
	}
	switch {
	case r.Status >= 300:
		return c.unknown(r, "not documented; is tvms.base_url right? Once it is known what it means, list it under "+
			"tvms.replies.not_applied or tvms.replies.refused")
	case unclear:
		return c.unknown(r, fmt.Sprintf("with a %s that says nothing", replies.MessageField))
	case text != "":
		return c.refused(r, text)
	case r.Status == http.StatusAccepted && !c.route.async:
		return c.unknown(r, "accepted, but not yet done")
	case !slices.Contains(replies.SuccessBodies, b.kind):
		return c.unknown(r, fmt.Sprintf("with a body of kind %s, which tvms.replies.success_bodies does not list", b.kind))
	case replies.SuccessField != "" && !b.confirms(replies):
		return c.unknown(r, "without the confirmation that tvms.replies.success_field asks for")
	}
	return nil
}

func (b *body) confirms(r *Replies) bool {
	value, err := member(b.raw, r.SuccessField)
	if err != nil {
		return false
	}
	text, ok := textOf(value)
	return ok && text == r.SuccessValue
}

// answered reads a reply to one of the reads; nil says that its body is JSON of a customer.
func (c *Client) answered(r upstream.Reply) error {
	b := readBody(r.Body)
	text, unclear := b.message(c.settings.Replies.MessageField)
	if err := c.guard.Classify(r, c.settings.Replies.NotApplied...); err != nil {
		return err
	}
	switch {
	case text != "" || slices.Contains(c.settings.Replies.Refused, r.Status):
		return c.refused(r, b.words(text))
	case r.Status >= 300 || unclear || b.kind != bodyObject && b.kind != bodyArray:
		return c.unknown(r, "no readable customer")
	}
	return nil
}

func (c *Client) refused(r upstream.Reply, text string) error {
	e := &events.Error{Kind: events.Refused, Code: events.CodeRefused, UpstreamCode: strconv.Itoa(r.Status), Op: "call tvms"}
	e.Message = fmt.Sprintf("TVMS refused with %d", r.Status)
	if text = c.guard.Clean(text); text != "" {
		e.Message += ": " + text
	}
	return e
}

func (c *Client) unknown(r upstream.Reply, why string) error {
	return &events.Error{Kind: events.Unknown, Code: events.CodeUnreadable, UpstreamCode: strconv.Itoa(r.Status), Op: "call tvms",
		Message: fmt.Sprintf("TVMS answered %d, %s", r.Status, why)}
}
