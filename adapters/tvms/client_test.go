package tvms

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "rewrite the golden files")

// Both need encoding, and both are allowed by the manual.
const (
	token    = "a#b+c=d/token"
	password = "p@ss(word)=1+$"
)

var renewal = events.RenewData{CustomerMappingID: "C-10042", UserID: "tv 10042", Months: 1}

// settings are those of an installation at base.
func settings(base string) Settings {
	return Settings{BaseURL: base, AuthToken: upstream.NewSecret(token), Password: upstream.NewSecret(password), CRMService: "demo_crm"}
}

func newClient(t testing.TB, s Settings, g upstream.Settings) *Client {
	t.Helper()
	g.Name = events.TVMS
	guard, err := upstream.New(g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(guard.Close)
	c, _, err := New(s, guard)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// against is a client of a TVMS that handler plays.
func against(t testing.TB, s Settings, handler http.HandlerFunc) *Client {
	return within(t, 30*time.Second, s, handler)
}

// within is against with a call time-out.
func within(t testing.TB, timeout time.Duration, s Settings, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	s.BaseURL = server.URL
	return newClient(t, s, upstream.Settings{CallTimeout: timeout})
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func replying(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// raw says text after having read the request, and breaks the connection off.
func raw(text string, reset bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		io.WriteString(c, text)
		if reset {
			c.(*net.TCPConn).SetLinger(0)
		}
		c.Close()
	}
}

func TestRequestLines(t *testing.T) {
	var lines []string
	record := func(w http.ResponseWriter, r *http.Request) {
		lines = append(lines, fmt.Sprintf("%s %s %s\nAccept: %s\nContent-Length: %s\n", r.Method, r.RequestURI, r.Proto,
			r.Header.Get("Accept"), r.Header.Get("Content-Length")))
		io.WriteString(w, `{"Status":"Active","ExpireDate":1798761599}`)
	}
	no := false
	byUser := events.RenewData{UserID: "tv/100%42&x=?", Days: 30, CRMService: "Größe & Co", FromExpireDate: &no}
	for _, name := range routeNames() {
		s := settings("")
		s.Route = name
		c := against(t, s, record)
		for _, r := range []events.RenewData{renewal, byUser} {
			if err := c.Renew(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		if want := strings.HasSuffix(name, "-async"); c.Async() != want {
			t.Errorf("%s: Async() = %t", name, c.Async())
		}
	}
	plain := Settings{AuthToken: upstream.NewSecret("EXAMPLE-TOKEN"), CRMService: "demo_crm"}
	if err := against(t, plain, record).Renew(t.Context(), renewal); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{methodGetCustomer, methodStatus} {
		s := settings("")
		s.ReadBack = ReadBack{Enabled: true, Method: method, ExpiryField: "ExpireDate", Format: formatSeconds}
		if _, err := against(t, s, record).Expiry(t.Context(), byUser); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := against(t, settings(""), record).Status(t.Context(), renewal); err != nil {
		t.Fatal(err)
	}
	golden(t, "requests.golden", strings.Join(lines, "\n"))
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

func TestBaseURLWithAPath(t *testing.T) {
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.URL.Path
		io.WriteString(w, "{}")
	}))
	defer server.Close()
	if err := newClient(t, settings(server.URL+"/tv%20ms/"), upstream.Settings{}).Renew(t.Context(), renewal); err != nil {
		t.Fatal(err)
	}
	if got != "/tv ms/api/RenewCustomer/renewCustomerV2" {
		t.Errorf("path %q", got)
	}
}

// outcome is what a test compares of an error; the zero value is success.
type outcome struct {
	Kind     string
	Code     string
	Upstream bool
	Status   string
	Message  string
}

func outcomeOf(err error) outcome {
	if err == nil {
		return outcome{}
	}
	var e *events.Error
	if !errors.As(err, &e) {
		return outcome{Message: err.Error()}
	}
	return outcome{e.Kind.String(), e.Code, e.Upstream, e.UpstreamCode, e.Message}
}

// like compares without the message, if want has none.
func like(t *testing.T, want outcome, err error) {
	t.Helper()
	got := outcomeOf(err)
	if want.Message == "" {
		got.Message = ""
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func refused(status, message string) outcome {
	return outcome{"refused", events.CodeRefused, false, status, message}
}

func unknown(code, status string) outcome {
	return outcome{Kind: "unknown", Code: code, Status: status}
}

func TestWhatRepliesMean(t *testing.T) {
	unreadable := func(status string) outcome { return unknown(events.CodeUnreadable, status) }
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    outcome
	}{
		"empty object":       {replying(200, "{}"), outcome{}},
		"object":             {replying(200, ` {"ok":true,"Customer":{"Message":"inner"}} `), outcome{}},
		"object after a BOM": {replying(200, "\xef\xbb\xbf{}"), outcome{}},
		"created":            {replying(201, "{}"), outcome{}},
		"Message null":       {replying(200, `{"Message":null}`), outcome{}},
		"JSON declared as text": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, "{}")
		}, outcome{}},
		"Message in a 200":         {replying(200, `{"Message":"Customer not found"}`), refused("200", "TVMS refused with 200: Customer not found")},
		"Message in a 202":         {replying(202, `{"Message":"no"}`), refused("202", "TVMS refused with 202: no")},
		"Message that is no text":  {replying(200, `{"Message":{"a":1}}`), refused("200", `TVMS refused with 200: {"a":1}`)},
		"Message with the secrets": {replying(200, `{"Message":"bad `+token+` for `+password+`\u0007\n"}`), refused("200", "TVMS refused with 200: bad *** for ***")},
		"400 with Message":         {replying(400, `{"Message":"Customer not found"}`), refused("400", "TVMS refused with 400: Customer not found")},
		"400 with text":            {replying(400, `customer <unknown>`), refused("400", "TVMS refused with 400: customer <unknown>")},
		"400 with a JSON text":     {replying(400, `"customer unknown"`), refused("400", "TVMS refused with 400: customer unknown")},
		"400 with a page":          {replying(400, `<html>Bad Request</html>`), refused("400", "TVMS refused with 400")},
		"406 without a word":       {replying(406, ""), refused("406", "TVMS refused with 406")},
		"401":                      {replying(401, `{"Message":"denied"}`), outcome{"unavailable", events.CodeUnauthorized, true, "401", ""}},
		"403":                      {replying(403, "<html>"), outcome{"unavailable", events.CodeUnauthorized, true, "403", ""}},
		"429":                      {replying(429, `{"Message":"slow down"}`), outcome{"unavailable", events.CodeThrottled, true, "429", ""}},
		"500":                      {replying(500, `{"Message":"oops"}`), unknown(events.CodeUpstreamError, "500")},
		"503":                      {replying(503, ""), unknown(events.CodeUpstreamError, "503")},
		"302":                      {replying(302, ""), unknown(events.CodeRedirect, "302")},
		"404 with Message":         {replying(404, `{"Message":"No HTTP resource was found"}`), unreadable("404")},
		"404 with a page":          {replying(404, "<html>"), unreadable("404")},
		"405":                      {replying(405, ""), unreadable("405")},
		"422":                      {replying(422, "{}"), unreadable("422")},
		"202 on a sync route":      {replying(202, "{}"), unreadable("202")},
		"204":                      {replying(204, ""), unreadable("204")},
		"empty body":               {replying(200, ""), unreadable("200")},
		"white space":              {replying(200, " \n"), unreadable("200")},
		"HTML in a 200":            {replying(200, "<html>maintenance</html>"), unreadable("200")},
		"null":                     {replying(200, "null"), unreadable("200")},
		"false":                    {replying(200, "false"), unreadable("200")},
		"text":                     {replying(200, `"OK"`), unreadable("200")},
		"array":                    {replying(200, `[]`), unreadable("200")},
		"half JSON":                {replying(200, `{"a":`), unreadable("200")},
		"two objects":              {replying(200, `{}{}`), unreadable("200")},
		"message in small letters": {replying(200, `{"message":"done or failed?"}`), unreadable("200")},
		"empty Message":            {replying(200, `{"Message":""}`), unreadable("200")},
		"closed without a word":    {raw("", false), unknown(events.CodeBroken, "")},
		"reset without a word":     {raw("", true), unknown(events.CodeBroken, "")},
		"half a body":              {raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", false), unknown(events.CodeBroken, "200")},
		"too long":                 {replying(200, `{"a":"`+strings.Repeat("x", 2<<20)+`"}`), unknown(events.CodeResponseTooLarge, "200")},
	} {
		t.Run(name, func(t *testing.T) {
			like(t, c.want, against(t, settings(""), c.handler).Renew(t.Context(), renewal))
		})
	}
	t.Run("hang", func(t *testing.T) {
		like(t, unknown(events.CodeTimeout, ""), within(t, 50*time.Millisecond, settings(""), hang).Renew(t.Context(), renewal))
	})
}

func TestWhatTheOperatorSaysRepliesMean(t *testing.T) {
	success := outcome{}
	listed := outcome{Kind: "unavailable", Code: events.CodeUnavailable}
	for name, c := range map[string]struct {
		replies Replies
		status  int
		body    string
		want    outcome
	}{
		"404 refuses":             {Replies{Refused: []int{404}}, 404, `{"Message":"Customer not found"}`, refused("404", "TVMS refused with 404: Customer not found")},
		"400 no longer refuses":   {Replies{Refused: []int{404}}, 400, `{"Message":"x"}`, unknown(events.CodeUnreadable, "400")},
		"500 refuses":             {Replies{Refused: []int{500}}, 500, `{"Message":"Customer not found"}`, refused("500", "TVMS refused with 500: Customer not found")},
		"503 not applied":         {Replies{NotApplied: []int{503}}, 503, "", listed},
		"404 not applied":         {Replies{NotApplied: []int{404}}, 404, "<html>", listed},
		"another message field":   {Replies{MessageField: "error"}, 200, `{"error":"no"}`, refused("200", "TVMS refused with 200: no")},
		"and then not Message":    {Replies{MessageField: "error"}, 200, `{"Message":"renewed"}`, success},
		"empty is success":        {Replies{SuccessBodies: []string{"empty"}}, 204, "", success},
		"an object then is not":   {Replies{SuccessBodies: []string{"empty"}}, 200, "{}", unknown(events.CodeUnreadable, "200")},
		"a value is success":      {Replies{SuccessBodies: []string{"value", "array"}}, 200, `"OK"`, success},
		"HTML never is":           {Replies{SuccessBodies: []string{"value", "array", "object", "empty"}}, 200, "<html>", unknown(events.CodeUnreadable, "200")},
		"null never is":           {Replies{SuccessBodies: []string{"value", "array", "object", "empty"}}, 200, "null", unknown(events.CodeUnreadable, "200")},
		"confirmed":               {Replies{SuccessField: "Result.Code", SuccessValue: "0"}, 200, `{"Result":{"Code":0}}`, success},
		"not confirmed":           {Replies{SuccessField: "Result.Code", SuccessValue: "0"}, 200, `{"Result":{"Code":7}}`, unknown(events.CodeUnreadable, "200")},
		"confirmation is missing": {Replies{SuccessField: "Result.Code", SuccessValue: "0"}, 200, `{}`, unknown(events.CodeUnreadable, "200")},
	} {
		t.Run(name, func(t *testing.T) {
			s := settings("")
			s.Replies = c.replies
			if c.want == listed {
				c.want.Status = fmt.Sprint(c.status)
			}
			like(t, c.want, against(t, s, replying(c.status, c.body)).Renew(t.Context(), renewal))
		})
	}
}

func TestAcceptedOnAnAsyncRoute(t *testing.T) {
	s := settings("")
	s.Route = "post-v2-async"
	like(t, outcome{}, against(t, s, replying(202, "{}")).Renew(t.Context(), renewal))
}

func TestNoCRM(t *testing.T) {
	s := settings("")
	s.CRMService = ""
	c := against(t, s, func(http.ResponseWriter, *http.Request) { t.Error("called") })
	like(t, outcome{Kind: "refused", Code: events.CodeNotConfigured}, c.Renew(t.Context(), renewal))
}

// TVMS takes the id 0 for "no id", so a customer of that name cannot be told from nobody.
func TestCustomerZero(t *testing.T) {
	c := against(t, settings(""), func(http.ResponseWriter, *http.Request) { t.Error("called") })
	for _, r := range []events.RenewData{{CustomerMappingID: "0", Months: 1}, {UserID: "0", Months: 1}, {Months: 1}} {
		like(t, outcome{Kind: "refused", Code: events.CodeRequestNotPossible}, c.Renew(t.Context(), r))
	}
}

func readingBack(format string) Settings {
	s := settings("")
	s.ReadBack = ReadBack{Enabled: true, ExpiryField: "Customer.ExpireDate", Format: format}
	return s
}

func TestExpiry(t *testing.T) {
	c := against(t, readingBack(formatRFC3339), replying(200, `{"Customer":{"ExpireDate":"2026-12-31T23:59:59+01:00"}}`))
	got, err := c.Expiry(t.Context(), renewal)
	if err != nil || got.Format(time.RFC3339) != "2026-12-31T23:59:59+01:00" {
		t.Errorf("%s, %v", got, err)
	}
}

func TestFailedReads(t *testing.T) {
	read := func(status string) outcome {
		return outcome{Kind: "unavailable", Code: events.CodeRead, Status: status}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    outcome
	}{
		"no field":     {replying(200, `{"Customer":{}}`), read("")},
		"no date":      {replying(200, `{"Customer":{"ExpireDate":"soon"}}`), read("")},
		"null":         {replying(200, `{"Customer":{"ExpireDate":null}}`), read("")},
		"the year 1":   {replying(200, `{"Customer":{"ExpireDate":"0001-01-01T00:00:00Z"}}`), read("")},
		"Message":      {replying(200, `{"Message":"Customer not found"}`), read("200")},
		"400":          {replying(400, ""), read("400")},
		"404":          {replying(404, ""), read("404")},
		"500":          {replying(500, ""), read("500")},
		"302":          {replying(302, ""), read("302")},
		"HTML":         {replying(200, "<html>"), read("200")},
		"empty":        {replying(200, ""), read("200")},
		"401":          {replying(401, ""), outcome{"unavailable", events.CodeUnauthorized, true, "401", ""}},
		"429":          {replying(429, ""), outcome{"unavailable", events.CodeThrottled, true, "429", ""}},
		"reset":        {raw("", true), read("")},
		"half a reply": {raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", false), read("200")},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := against(t, readingBack(formatRFC3339), c.handler).Expiry(t.Context(), renewal)
			like(t, c.want, err)
		})
	}
	t.Run("hang", func(t *testing.T) {
		_, err := within(t, 50*time.Millisecond, readingBack(formatRFC3339), hang).Expiry(t.Context(), renewal)
		like(t, read(""), err)
	})
	t.Run("unreachable", func(t *testing.T) {
		c := newClient(t, readingBackAt("http://tvms.example"), upstream.Settings{AllowPlainHTTP: true,
			DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no route") }})
		_, err := c.Expiry(t.Context(), renewal)
		like(t, outcome{Kind: "unavailable", Code: events.CodeUnreachable, Upstream: true}, err)
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := against(t, readingBack(formatRFC3339), replying(200, "{}")).Expiry(ctx, renewal)
		like(t, read(""), err)
		if !errors.Is(err, context.Canceled) {
			t.Error("the chain has lost the cancellation, which the breaker must see")
		}
	})
	t.Run("not switched on", func(t *testing.T) {
		c := against(t, settings(""), replying(200, "{}"))
		_, err := c.Expiry(t.Context(), renewal)
		like(t, outcome{Kind: "unavailable", Code: events.CodeNotConfigured}, err)
		if c.ReadBack() {
			t.Error("ReadBack() = true")
		}
	})
}

func readingBackAt(base string) Settings {
	s := readingBack(formatRFC3339)
	s.BaseURL = base
	return s
}

func TestStatus(t *testing.T) {
	c := against(t, settings(""), replying(200, `{"Status":"Active"}`))
	if got, err := c.Status(t.Context(), renewal); got != "Active" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for body, want := range map[string]string{`{}`: events.CodeRead, `{"Status":{}}`: events.CodeRead} {
		_, err := against(t, settings(""), replying(200, body)).Status(t.Context(), renewal)
		like(t, outcome{Kind: "unavailable", Code: want}, err)
	}
}

// The state-changing GET goes out once even where net/http would repeat it.
func TestGETIsSentOnce(t *testing.T) {
	var requests atomic.Int32
	s := settings("")
	s.Route = "get-v2"
	c := against(t, s, func(w http.ResponseWriter, r *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
		requests.Add(1)
		if _, err := http.ReadRequest(bufio.NewReader(buf)); err == nil {
			requests.Add(1)
		}
	})
	like(t, outcome{}, c.Renew(t.Context(), renewal))
	like(t, unknown(events.CodeBroken, ""), c.Renew(t.Context(), renewal))
	if n := requests.Load(); n != 2 {
		t.Errorf("%d requests arrived, of 2", n)
	}
}
