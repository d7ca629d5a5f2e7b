package crmcom

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

// wire is what Client and Netflix share: an installation, as it is called through one guard.
type wire struct {
	settings Settings
	session  *Session
	guard    *upstream.Guard
	base     *url.URL
	clock    clock
	rules    *rules
	release  release
}

// newWire checks the settings of the installation. The error names every one that is wrong.
func newWire(s Settings, session *Session, guard *upstream.Guard) (*wire, error) {
	s = s.WithDefaults(guard.CallTimeout())
	session.attach(guard)
	base, urlErr := guard.BaseURL("crmcom.base_url", s.BaseURL)
	if urlErr == nil && strings.HasSuffix(strings.TrimRight(base.Path, "/"), strings.TrimRight(s.Path, "/")) {
		urlErr = errors.New("crmcom.base_url must not end in " + s.Path + ", which is added (crmcom.path)")
	}
	if err := errors.Join(urlErr, s.check(guard.CallTimeout())); err != nil {
		return nil, err
	}
	base.Path, base.RawPath = strings.TrimRight(base.Path, "/")+"/"+strings.Trim(s.Path, "/"), ""
	w := &wire{settings: s, session: session, guard: guard, base: base}
	zone, _ := loadZone(s.TimeZone)        // checked above
	w.release, _ = parseRelease(s.Release) // checked above
	w.clock = clock{zone}
	w.rules = newRules(w.release, s.KnownParameters, w.warn)
	return w, nil
}

func (w *wire) warn(message string) { w.guard.Logger().Warn(message, "upstream", w.guard.Name()) }

// call makes one call with a token, and reads its reply: the data of an OK. A token that CRM.COM refuses is renewed
// once, and the call made again, since nothing was done. p is what must not travel in an error.
func (w *wire) call(ctx context.Context, p personal, build func(token string) (*http.Request, error)) (json.RawMessage, error) {
	began := time.Now()
	token, fresh, err := w.session.get(ctx, w, "")
	for err == nil {
		if late := w.late(ctx, began); late != nil {
			return nil, late
		}
		req, failed := build(token)
		if failed != nil {
			return nil, failed
		}
		reply, failed := w.guard.Do(ctx, req)
		if failed != nil {
			return nil, failed
		}
		data, failed := w.read(reply, p)
		if fresh || !errors.Is(failed, errToken) {
			return data, failed
		}
		token, _, err = w.session.get(ctx, w, token)
		fresh = true
	}
	return nil, err
}

// late refuses to send a request when getting a token has used up so much of ctx's time that its reply would hardly come
// in time: that would be a doubt, for nothing.
func (w *wire) late(ctx context.Context, began time.Time) error {
	end, limited := ctx.Deadline()
	if !limited || time.Until(end) >= min(w.guard.CallTimeout(), end.Sub(began))/2 {
		return nil
	}
	return lateToken(nil)
}

// notSent is the error of a call whose ctx ended before it was made, as the guard has it.
func (w *wire) notSent(ctx context.Context) error {
	e := &events.Error{Kind: events.Internal, Code: events.CodeShutdown, Op: "call crmcom", Cause: ctx.Err(),
		Message: "the call was cancelled before it was sent"}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.Code, e.Message = events.CodeLate, "the time for the call was over before it was sent"
	}
	return e
}

// post is a call with its parameters in the body.
func (w *wire) post(path string, body any) (*http.Request, error) {
	content, err := events.PlainJSON(body)
	if err != nil {
		return nil, refused(events.CodeRequestNotPossible, "the command cannot be written as JSON")
	}
	req := w.request(http.MethodPost, path, "")
	req.Header.Set("Content-Type", "application/json")
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(content)), int64(len(content))
	return req, nil
}

// get is a call with its parameters in the address, the token first.
func (w *wire) get(path, token string, q query) *http.Request {
	return w.request(http.MethodGet, path, "token="+escape(token)+q.text)
}

func (w *wire) request(method, path, rawQuery string) *http.Request {
	u := *w.base
	u.Path = w.base.Path + "/" + path
	u.RawQuery = rawQuery
	return &http.Request{Method: method, URL: &u, Host: u.Host, Header: http.Header{"Accept": {"application/json"}}, Body: http.NoBody}
}

// query is the parameters behind the token, each with a leading ampersand.
type query struct{ text string }

// with adds a parameter.
func (q query) with(name, value string) query {
	return query{q.text + "&" + name + "=" + escape(value)}
}

// withField adds an object parameter of one field: <name>=<field>=<value>, the inner "=" as it is (space V4Development,
// Introduction).
func (q query) withField(name, field, value string) query {
	return query{q.text + "&" + name + "=" + field + "=" + escape(value)}
}

// escape writes a space as %20, which is read alike everywhere; "+" is not.
func escape(value string) string { return strings.ReplaceAll(url.QueryEscape(value), "+", "%20") }

// asRead turns the error of a read into what it means where nothing was to be changed.
func asRead(what string, err error) error {
	inner := events.AsError(err)
	outer := readFailed(what, inner.Message, err)
	outer.UpstreamCode, outer.RetryAfter = inner.UpstreamCode, inner.RetryAfter
	if inner.Code == events.CodeRefused {
		outer.Message += " (where this says that there is none, list the code under crmcom.codes.not_found)"
	}
	if inner.Upstream {
		outer.Upstream, outer.Code = true, inner.Code
	}
	return outer
}

func readFailed(what, message string, cause error) *events.Error {
	return &events.Error{Kind: events.Unavailable, Code: events.CodeRead, Message: "reading " + what + ": " + message, Op: "read crmcom", Cause: cause}
}

func refused(code, message string) *events.Error {
	return &events.Error{Kind: events.Refused, Code: code, Message: message, Op: "call crmcom"}
}
