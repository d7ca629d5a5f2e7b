package tvms

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

// forms lists every way a secret may be spelled in output, worked out here and not by the code under test.
func forms(secret string) []string {
	quoted, _ := json.Marshal(secret)
	upper := url.QueryEscape(secret)
	all := []string{
		secret, upper, strings.ReplaceAll(upper, "+", "%20"), url.PathEscape(secret), url.QueryEscape(upper),
		strings.Trim(string(quoted), `"`), html.EscapeString(secret), strings.Trim(fmt.Sprintf("%q", secret), `"`),
		fmt.Sprintf("%x", secret), base64.StdEncoding.EncodeToString([]byte(secret)),
	}
	for _, form := range all {
		all = append(all, strings.ToLower(form))
	}
	return all
}

// shownBy is everything that can be printed of err and of what it wraps.
func shownBy(err error) string {
	var b strings.Builder
	for e := err; e != nil; e = errors.Unwrap(e) {
		fmt.Fprintf(&b, "%v\n%+v\n%#v\n%q\n", e, e, e, e.Error())
	}
	encoded, _ := json.Marshal(events.AsError(err))
	b.Write(encoded)
	return b.String()
}

// Every failure there is, with secrets in the URL and an upstream that repeats them wherever it can: nothing that
// leaves the client, be it an error, a field of one or a line of the log, holds a secret in any spelling.
func TestSecretsStayInside(t *testing.T) {
	echo := token + " " + password + " " + url.QueryEscape(token) + " " + url.QueryEscape(password) + " "
	inJSON, _ := json.Marshal(map[string]string{"Message": echo})
	status := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "1")
			w.Header().Set("Location", "/elsewhere?"+r.URL.RawQuery)
			w.WriteHeader(status)
			io.WriteString(w, strings.ReplaceAll(body, "{uri}", r.RequestURI))
		}
	}
	handlers := map[string]http.HandlerFunc{
		"reset": raw("", true), "closed": raw("", false),
		"no HTTP":       raw("SMTP "+echo+"\r\n\r\n", false),
		"bad status":    raw("HTTP/1.1 x "+echo+"\r\n\r\n", false),
		"bad header":    raw("HTTP/1.1 200 OK\r\n"+echo+"\r\n\r\n", false),
		"bad length":    raw("HTTP/1.1 200 OK\r\nContent-Length: "+echo+"\r\n\r\n", false),
		"half a body":   raw("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"+echo, false),
		"bad encoding":  raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: "+echo+"\r\n\r\n", false),
		"huge header":   raw("HTTP/1.1 200 OK\r\nX-A: "+strings.Repeat(echo, 5000)+"\r\n\r\n", false),
		"long at a cut": status(400, strings.Repeat("x", 400)+strings.Repeat(echo, 20)),
	}
	for _, code := range []int{200, 202, 204, 301, 302, 307, 400, 401, 403, 404, 406, 418, 429, 500, 502, 503} {
		handlers[fmt.Sprintf("%d with Message", code)] = status(code, string(inJSON))
		handlers[fmt.Sprintf("%d with text", code)] = status(code, "you asked for {uri} with "+echo)
		handlers[fmt.Sprintf("%d with a text", code)] = status(code, strings.TrimPrefix(string(inJSON), `{"Message":`))
		handlers[fmt.Sprintf("%d with a date", code)] = status(code, strings.Replace(string(inJSON), "Message", "ExpireDate", 1))
	}
	for name, handler := range handlers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewUnstartedServer(handler)
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.Start()
			defer server.Close()
			driveAll(t, server.URL, upstream.Settings{})
		})
	}
	t.Run("hang", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewServer(http.HandlerFunc(hang))
		defer server.Close()
		driveAll(t, server.URL, upstream.Settings{CallTimeout: 50 * time.Millisecond})
	})
	for name, dial := range map[string]upstream.Dial{
		"refused": func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("refused: " + echo) },
		"no host": func(_ context.Context, _, addr string) (net.Conn, error) {
			return nil, &net.DNSError{Err: echo, Name: addr, IsNotFound: true}
		},
		"hangs": func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			driveAll(t, "https://tvms.example", upstream.Settings{DialContext: dial, ConnectTimeout: 50 * time.Millisecond})
		})
	}
}

// driveAll makes every kind of call by every route, and searches all that comes out.
func driveAll(t *testing.T, base string, limits upstream.Settings) {
	limits.Name, limits.ConsecutiveFailures = events.TVMS, 1
	for _, route := range routeNames() {
		var logged bytes.Buffer
		var out strings.Builder
		limits.Logger = slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
		g := guard(t, limits)
		defer g.Close()
		s := readingBackAt(base)
		s.Route, s.ReadBack.ExpiryField = route, "ExpireDate"
		c, warnings, err := New(s, g)
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		renewed := c.Renew(t.Context(), renewal)
		p.Done(renewed)
		_, read := c.Expiry(t.Context(), renewal)
		_, status := c.Status(t.Context(), renewal)
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		fmt.Fprintf(&out, "%s %s %s %s %v %+v %#v", shownBy(renewed), shownBy(read), shownBy(status), shownBy(c.Renew(cancelled, renewal)), warnings, c, s)
		fmt.Fprintf(&out, "%+v %v", *c, g)
		for _, secret := range []string{token, password} {
			for _, form := range forms(secret) {
				shown := out.String() + logged.String()
				if i := strings.Index(shown, form); i >= 0 {
					t.Fatalf("%s: %q is shown in …%s…", route, form, shown[max(0, i-200):min(len(shown), i+200)])
				}
			}
		}
		if renewed == nil && read == nil {
			t.Error("nothing failed: the case tests nothing")
		}
	}
}
