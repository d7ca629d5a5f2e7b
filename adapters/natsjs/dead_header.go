package natsjs

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"subrelay/events"
)

// The headers of a dead letter, beside the original's own. Of those, what controls the broker (Nats-*) and what has one
// of the names below is left out, and credentials and what is personal are masked.
const (
	HeaderReason   = "Subrelay-Reason"   // why it lies here
	HeaderCode     = "Subrelay-Code"     // the code of the error
	HeaderUpstream = "Subrelay-Upstream" // the upstream's own code, if it gave one
	HeaderMessage  = "Subrelay-Message"  // safe to show
	HeaderProblems = "Subrelay-Problems" // JSON array of strings: the schema violations, or the items that were refused
	HeaderKind     = "Subrelay-Kind"     // the kind token of the command's subject
	HeaderKey      = "Subrelay-Key"      // the key token of the command's subject
	HeaderCID      = "Subrelay-Cid"      // absent where no identity could be read
	HeaderSeq      = "Subrelay-Seq"      // the command's sequence in COMMANDS
	HeaderStored   = "Subrelay-Stored"   // when the broker stored the command, RFC 3339
	HeaderCut      = "Subrelay-Cut"      // the original body's size, where its headers or body had to be cut to fit
)

// The most that our own headers take, in bytes.
const (
	maxDeadToken    = 256
	maxDeadMessage  = 4 << 10
	maxDeadProblems = 16 << 10

	// maxHeaders is the most that JetStream takes of headers in one message.
	maxHeaders = 1<<16 - 1
	// conditionSize is what the condition of the publish adds.
	conditionSize = 256
)

// deadMessage is the letter as a message of at most most bytes, headers included, without its subject. Where the
// original's headers do not fit they are left out, and then the body is cut: the original stands in COMMANDS.
func deadMessage(l events.DeadLetter, most int) *nats.Msg {
	h, kept := deadHeader(l), MaskHeader(l.Delivery.Header)
	body := events.Mask(l.Delivery.Raw)
	room := most - conditionSize - headerSize(h)
	cut := false
	if size := headerSize(kept); size+len(body) <= room && size+headerSize(h)+conditionSize <= maxHeaders {
		maps.Copy(h, kept)
	} else {
		cut = true
	}
	if cut && len(body) > room {
		body = body[:max(room, 0)]
	}
	if cut {
		h[HeaderCut] = []string{strconv.Itoa(len(l.Delivery.Raw))}
	}
	return &nats.Msg{Header: h, Data: body}
}

func deadHeader(l events.DeadLetter) nats.Header {
	h := nats.Header{}
	set := func(name, value string, most int) {
		if value = headerText(value, most); value != "" {
			h[name] = []string{value}
		}
	}
	set(HeaderReason, string(l.Reason), maxDeadToken)
	set(HeaderCode, l.Error.Code, maxDeadToken)
	set(HeaderUpstream, l.Error.UpstreamCode, maxDeadToken)
	set(HeaderMessage, string(events.MaskSecrets([]byte(l.Error.Message))), maxDeadMessage)
	set(HeaderProblems, problemList(l.Error.Problems), maxDeadProblems)
	set(HeaderKind, string(l.Delivery.Kind), maxDeadToken)
	set(HeaderKey, l.Delivery.Key, maxDeadToken)
	set(HeaderCID, l.CID, maxDeadToken)
	set(HeaderSeq, strconv.FormatUint(l.Delivery.Seq, 10), maxDeadToken)
	if !l.Delivery.Stored.IsZero() {
		set(HeaderStored, l.Delivery.Stored.UTC().Format(time.RFC3339Nano), maxDeadToken)
	}
	return h
}

// problemList is problems as a JSON array of at most maxDeadProblems bytes; what does not fit is counted in a last line.
// They name personal members, and never hold their values: masked, they would say nothing.
func problemList(problems []string) string {
	if len(problems) == 0 {
		return ""
	}
	size, fit := len(`["and 1000000 more"]`), 0
	kept := make([]string, 0, len(problems))
	for _, p := range problems {
		p = headerText(string(events.MaskSecrets([]byte(p))), maxDeadMessage/4)
		quoted, _ := json.Marshal(p)
		if size += len(quoted) + 1; size > maxDeadProblems {
			break
		}
		kept = append(kept, p)
		fit++
	}
	if fit < len(problems) {
		kept = append(kept, fmt.Sprintf("and %d more", len(problems)-fit))
	}
	list, _ := json.Marshal(kept)
	return string(list)
}

// headerText is s as it may stand in a header: one line of valid UTF-8 without control characters, at most most bytes.
func headerText(s string, most int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s))
	if len(s) <= most {
		return s
	}
	s = s[:most-len("…")]
	for len(s) > 0 {
		if r, n := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || n > 1 {
			break
		}
		s = s[:len(s)-1]
	}
	return s + "…"
}

// MaskHeader is a message's headers without those that control the broker or bear our names, credentials and what is
// personal masked.
func MaskHeader(original map[string][]string) nats.Header {
	out := nats.Header{}
	for name, values := range original {
		if folded := strings.ToLower(name); strings.HasPrefix(folded, "nats-") || ownHeader(name) {
			continue
		}
		for _, v := range values {
			if hiddenHeader(name) {
				v = events.Masked
			} else {
				v = maskHeaderValue(v)
			}
			out[name] = append(out[name], v)
		}
	}
	return out
}

func ownHeader(name string) bool {
	for _, own := range []string{HeaderReason, HeaderCode, HeaderUpstream, HeaderMessage, HeaderProblems, HeaderKind, HeaderKey,
		HeaderCID, HeaderSeq, HeaderStored, HeaderCut} {
		if strings.EqualFold(name, own) {
			return true
		}
	}
	return false
}

// hiddenHeader reports whether a header of this name holds a credential or what is personal: the names that
// events.IsSecretName and events.IsPersonalName know, as an attribute (ce-) or experimental (x-) too, and those of HTTP.
func hiddenHeader(name string) bool {
	name = strings.ToLower(name)
	if plain, err := url.PathUnescape(name); err == nil {
		name = plain
	}
	switch name = strings.TrimPrefix(name, "x-"); name {
	case "cookie", "set-cookie", "proxy-authorization":
		return true
	}
	return events.IsSecretName(name) || events.IsPersonalName(name)
}

// maskHeaderValue masks a value, which in binary mode may be percent-coded. A value with nothing to mask comes back as
// it is.
func maskHeaderValue(v string) string {
	masked := string(events.Mask([]byte(v)))
	plain, err := url.PathUnescape(masked)
	if err != nil || plain == masked {
		return masked
	}
	if again := string(events.Mask([]byte(plain))); again != plain {
		return url.PathEscape(again)
	}
	return masked
}

// headerSize is what h takes on the wire, generously.
func headerSize(h nats.Header) int {
	size := len("NATS/1.0\r\n\r\n")
	for name, values := range h {
		for _, v := range values {
			size += len(name) + len(v) + len(": \r\n")
		}
	}
	return size
}
