package natsjs

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Refusal says that the server has not let this user publish or subscribe. The server tells it of its own accord, some
// time after: whoever waits for an answer would wait in vain.
type Refusal struct {
	Subscribe bool
	Subject   string
	Who       string // who we are to the server, such as: user billing
}

func (r Refusal) Error() string {
	what := "publish to"
	if r.Subscribe {
		what = "subscribe to"
	}
	return fmt.Sprintf("not permitted by NATS: %s %s as %s", what, r.Subject, r.Who)
}

// Inbox reports whether it is replies that cannot be received.
func (r Refusal) Inbox() bool { return r.Subscribe && strings.HasPrefix(r.Subject, "_INBOX") }

// Dooms reports whether who asks on one of these subjects, which may have wildcards, waits for an answer in vain.
func (r Refusal) Dooms(subjects []string) bool {
	if r.Subscribe {
		return r.Inbox() && len(subjects) > 0
	}
	return slices.ContainsFunc(subjects, func(s string) bool { return server.SubjectsCollide(s, r.Subject) })
}

// Pattern is the subject without what differs from one request to the next: names of consumers, and of inboxes.
func (r Refusal) Pattern() string {
	if r.Inbox() {
		prefix, _, _ := strings.Cut(r.Subject, ".")
		return prefix + ".>"
	}
	for _, api := range []struct {
		prefix, rest string
		stream       int // the token that names it
	}{{"$JS.API.CONSUMER.CREATE.", ".>", 4}, {"$JS.API.CONSUMER.MSG.NEXT.", ".*", 5}, {"$JS.API.CONSUMER.INFO.", ".*", 4}, {"$JS.API.CONSUMER.DELETE.", ".*", 4}} {
		tokens := strings.Split(r.Subject, ".")
		if strings.HasPrefix(r.Subject, api.prefix) && len(tokens) > api.stream {
			return api.prefix + tokens[api.stream] + api.rest
		}
	}
	return r.Subject
}

var violation = regexp.MustCompile(`(?i)permissions violation for (publish|subscription)[^"]*("(?:[^"\\]|\\.)*")`)

// refusalOf reads what the server has complained about, if that is the like.
func refusalOf(err error, who string) (Refusal, bool) {
	if err == nil {
		return Refusal{}, false
	}
	m := violation.FindStringSubmatch(err.Error())
	if m == nil {
		return Refusal{}, false
	}
	subject, err := strconv.Unquote(m[2])
	if err != nil {
		subject = strings.Trim(m[2], `"`)
	}
	return Refusal{Subscribe: strings.EqualFold(m[1], "subscription"), Subject: subject, Who: who}, true
}

// LastRefusal is what the server has refused this connection last, if anything.
func LastRefusal(nc *nats.Conn, who string) (Refusal, bool) { return refusalOf(nc.LastError(), who) }

// Who is whom the options say we are, for messages. It shows no secret.
func (o *ConnectOptions) Who() string {
	switch {
	case o.Creds != "":
		return "the user of the credentials " + o.Creds
	case o.NKeyFile != "":
		return "the user of the NKey in " + o.NKeyFile
	case o.User != "":
		return "user " + o.User
	case o.Token != "":
		return "the user of the token"
	case userIn(o.URL) != "":
		return "user " + userIn(o.URL)
	case o.CertFile != "":
		return "the user of the certificate " + o.CertFile
	}
	return "nobody (no credentials are set)"
}

// userIn is the user that a URL names; "" where there is none, or a token in its place.
func userIn(list string) string {
	first, _, _ := strings.Cut(list, ",")
	_, rest, found := strings.Cut(first, "://")
	if !found {
		rest = first
	}
	at := strings.LastIndex(rest, "@")
	if at < 0 {
		return ""
	}
	user, _, found := strings.Cut(rest[:at], ":")
	if !found {
		return ""
	}
	return user
}

// Rights is what the server says of a connection's user. The zero value may do everything.
type Rights struct {
	User      string
	Account   string
	Publish   *server.SubjectPermission // nil: everything
	Subscribe *server.SubjectPermission
}

// ReadRights asks the server who we are and what we may. A server that does not say so is taken to allow everything: what
// is refused all the same, it says by itself.
func ReadRights(ctx context.Context, nc *nats.Conn) Rights {
	reply, err := nc.RequestWithContext(ctx, "$SYS.REQ.USER.INFO", nil)
	if err != nil {
		return Rights{}
	}
	var answer struct {
		Data server.UserInfo `json:"data"`
	}
	if json.Unmarshal(reply.Data, &answer) != nil {
		return Rights{}
	}
	r := Rights{User: answer.Data.UserID, Account: answer.Data.Account}
	if p := answer.Data.Permissions; p != nil {
		r.Publish, r.Subscribe = p.Publish, p.Subscribe
	}
	return r
}

// MayPublish reports whether the user may publish to a subject.
func (r Rights) MayPublish(subject string) bool { return allows(r.Publish, subject, nil) }

// MaySubscribe reports whether the user may subscribe to a subject.
func (r Rights) MaySubscribe(subject string) bool { return allows(r.Subscribe, subject, nil) }

// allows reports whether all that a subject, which may have wildcards, stands for is allowed. Where nothing is listed,
// everything is. A denial counts that takes any of it away, unless it is one that the role is to have: known.
func allows(p *server.SubjectPermission, subject string, known []string) bool {
	if p == nil {
		return true
	}
	allowed := len(p.Allow) == 0 || slices.ContainsFunc(p.Allow, func(a string) bool { return server.SubjectMatchesFilter(subject, withoutQueue(a)) })
	return allowed && !slices.ContainsFunc(p.Deny, func(d string) bool {
		d = withoutQueue(d)
		return server.SubjectsCollide(subject, d) && !slices.ContainsFunc(known, func(k string) bool { return server.SubjectMatchesFilter(d, k) })
	})
}

// withoutQueue is the subject of a permission, whose rest names a queue.
func withoutQueue(permission string) string {
	subject, _, _ := strings.Cut(permission, " ")
	return subject
}
