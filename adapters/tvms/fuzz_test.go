package tvms

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

func FuzzReply(f *testing.F) {
	for _, status := range []int{200, 202, 204, 301, 400, 401, 404, 429, 500, 503} {
		for _, body := range []string{"", "{}", "null", "[]", `{"Message":"x"}`, `{"message":""}`, "<html>", "\xef\xbb\xbf{}", `{"Message":null}`, `{"a":1}x`} {
			f.Add(status, []byte(body), "3")
		}
	}
	c := newClient(f, settings("https://tvms.example"), upstream.Settings{})
	f.Fuzz(func(t *testing.T, status int, body []byte, retryAfter string) {
		r := upstream.Reply{Status: status, Body: body, Header: http.Header{"Retry-After": {retryAfter}}}
		err := c.renewed(r)
		var object map[string]any
		readable := json.Unmarshal(bytes.TrimPrefix(bytes.TrimSpace(body), []byte("\xef\xbb\xbf")), &object) == nil && object != nil
		if err == nil && (!readable || object["Message"] != nil || status < 200 || status > 299) {
			t.Errorf("%d %q is taken for success", status, body)
		}
		if kind := events.KindOf(err); err != nil && kind != events.Refused && kind != events.Unavailable && kind != events.Unknown {
			t.Errorf("%d %q: kind %s", status, body, kind)
		}
		if status == 401 || status == 403 || status == 429 {
			if events.KindOf(err) != events.Unavailable {
				t.Errorf("%d: %v", status, err)
			}
		}
		if e := events.AsError(err); err != nil && (e.RetryAfter < 0 || len(e.Message) > 700) {
			t.Errorf("%s, %d bytes", e.RetryAfter, len(e.Message))
		}
		if c.answered(r) == nil && !json.Valid(bytes.TrimPrefix(bytes.TrimSpace(body), []byte("\xef\xbb\xbf"))) {
			t.Errorf("%d %q is taken for a customer", status, body)
		}
	})
}
