package crmcom

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

// reader is the wire of a client whose lists of codes hold one code each.
func reader(t testing.TB) *wire {
	s := settings(base)
	s.Codes = Codes{
		InvalidToken: []string{"TOKEN"}, Duplicate: []string{"TWICE"}, NotFound: []string{"NOBODY"}, NotApplied: []string{"LATER"},
		Refused: []string{"NEVER"}, Unknown: []string{"PERHAPS"}, HTTPInvalidToken: []int{401}, HTTPNotApplied: []int{302, 409, 503},
	}
	return clients(t, s, NetflixSettings{}, upstream.Settings{}).client.wire
}

// The statuses of the columns of the package comment, and one that the reader lists.
var (
	goodStatuses       = []int{200, 201, 202, 204, 299}
	credentialStatuses = []int{403, 429} // of our credentials, or of our haste
	otherStatuses      = []int{400, 404, 406, 408, 418, 422}
	openStatuses       = []int{100, 199, 300, 301, 304, 307, 500, 502, 504, 599}
	listedStatuses     = []int{302, 409, 503}
)

// The table of the package comment, every cell of it.
func TestWhatRepliesMean(t *testing.T) {
	const (
		done       = "done"
		refused    = "refused upstream_refused"
		notFound   = "refused not_found"
		duplicate  = "conflict duplicate_reference"
		unknown    = "unknown"
		notApplied = "unavailable upstream_unavailable"
		token      = "unavailable upstream_credentials for all, a new token"
		all        = "for all"
	)
	any401 := map[string]string{"TOKEN": token, "TWICE": duplicate, "NOBODY": notFound, "LATER": notApplied, "PERHAPS": unknown, "NEVER": refused}
	rows := map[string]struct {
		body                                   string
		success, refusing, other, open, listed string
	}{
		"on a list: TOKEN":   {coded("TOKEN", ""), token, token, token, token, token},
		"on a list: TWICE":   {coded("TWICE", ""), duplicate, duplicate, duplicate, duplicate, duplicate},
		"on a list: NOBODY":  {coded("NOBODY", ""), notFound, notFound, notFound, notFound, notFound},
		"on a list: NEVER":   {coded("NEVER", ""), refused, refused, refused, refused, refused},
		"NEVER, no data":     {`{"status":{"code":"NEVER"}}`, refused, refused, refused, refused, refused},
		"on a list: LATER":   {coded("LATER", ""), notApplied, notApplied, notApplied, notApplied, notApplied},
		"on a list: PERHAPS": {coded("PERHAPS", ""), unknown, unknown, unknown, unknown, unknown},
		"OK":                 {coded("OK", ""), done, all, unknown, unknown, notApplied},
		"any other code":     {coded("SOME_ERROR_CODE", ""), refused, all, refused, unknown, notApplied},
		"no envelope":        {"<html>", unknown, all, unknown, unknown, notApplied},
		"empty":              {"", unknown, all, unknown, unknown, notApplied},
		"a code, no data":    {`{"status":{"code":"SOME_ERROR_CODE"}}`, unknown, all, unknown, unknown, notApplied},
		"OK, no data":        {`{"status":{"code":"OK"}}`, unknown, all, unknown, unknown, notApplied},
		"TOKEN, no data":     {`{"status":{"code":"TOKEN"}}`, token, token, token, token, token},
		"PERHAPS, no data":   {`{"status":{"code":"PERHAPS"}}`, unknown, unknown, unknown, unknown, unknown},
		"OK in small":        {coded("ok", ""), unknown, all, unknown, unknown, notApplied},
	}
	w := reader(t)
	for name, row := range rows {
		for _, column := range []struct {
			statuses []int
			want     string
		}{{goodStatuses, row.success}, {credentialStatuses, row.refusing}, {otherStatuses, row.other}, {openStatuses, row.open}, {listedStatuses, row.listed}} {
			for _, status := range column.statuses {
				_, err := w.read(upstream.Reply{Status: status, Body: []byte(row.body)}, personal{})
				got := meaning(err)
				switch column.want {
				case all:
					got, _, _ = strings.Cut(got, "\n")
					got = strings.TrimPrefix(strings.TrimPrefix(got, "unavailable upstream_credentials "), "unavailable upstream_throttled ")
				case unknown:
					got, _, _ = strings.Cut(got, " ")
				}
				if got != column.want {
					t.Errorf("%s, %d: %s, want %s", name, status, got, column.want)
				}
			}
		}
		_, err := w.read(upstream.Reply{Status: 401, Body: []byte(row.body)}, personal{})
		want := token
		for code, by := range any401 {
			if strings.Contains(row.body, code) {
				want = by
			}
		}
		if got := meaning(err); !strings.HasPrefix(got, want) {
			t.Errorf("%s, 401: %s, want %s", name, got, want)
		}
	}
}

// meaning says in words what an error makes others do.
func meaning(err error) string {
	if err == nil {
		return "done"
	}
	e := events.AsError(err)
	text := e.Kind.String() + " " + e.Code
	if e.Upstream {
		text += " for all"
	}
	if events.AsError(err).Cause == errToken {
		text += ", a new token"
	}
	return text
}

// Reads change nothing: whatever goes wrong, they are asked again, but for a customer whom CRM.COM says it does not know.
func TestWhatRepliesToReadsMean(t *testing.T) {
	read := func(said string) outcome { return outcome{Kind: "unavailable", Code: events.CodeRead, Said: said} }
	whole := func(code, said string) outcome {
		return outcome{Kind: "unavailable", Code: code, Upstream: true, Said: said}
	}
	for name, c := range map[string]struct {
		answer handle
		want   outcome
	}{
		"not found":          {replying(200, coded("NOT_FOUND", "")), outcome{Kind: "refused", Code: events.CodeNotFound, Said: "NOT_FOUND"}},
		"not found as a 404": {replying(404, coded("NOT_FOUND", "")), outcome{Kind: "refused", Code: events.CodeNotFound, Said: "NOT_FOUND"}},
		"a 404 alone":        {replying(404, ""), read("404")},
		"another code":       {replying(200, coded("NO", "")), read("NO")},
		"duplicate":          {replying(200, coded("DUPLICATE_REFERENCE", "")), read("DUPLICATE_REFERENCE")},
		"HTML":               {replying(200, "<html>"), read("200")},
		"500":                {replying(500, ""), read("500")},
		"403":                {replying(403, ""), whole(events.CodeUnauthorized, "403")},
		"429":                {replying(429, ""), whole(events.CodeThrottled, "429")},
		"401":                {replying(401, ""), whole(events.CodeUnauthorized, "401")},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := against(t, settings(""), c.answer).client.Subscription(t.Context(), events.SubscriptionIdentifier{Number: "S1"})
			like(t, c.want, err)
		})
	}
}

// What is an envelope, and what is none.
func TestEnvelopes(t *testing.T) {
	const bom = "\xef\xbb\xbf"
	status := `"status":{"code":"OK","description":"","message":""}`
	for name, c := range map[string]struct {
		body string
		data string // "" where it is no envelope
	}{
		"as the vendor has it":       {`{"data":{},` + status + `}`, "{}"},
		"the other way round":        {`{` + status + `,"data":[1, 2]}`, "[1, 2]"},
		"data null":                  {`{"data":null,` + status + `}`, "null"},
		"spaces everywhere":          {" \r\n{ \"data\" : \t{ \"a\" : 1 } \n, \"status\" : { \"code\" : \"OK\" } } \n", `{ "a" : 1 }`},
		"spaces around null":         {`{"data" :  null  , "status" : {"code" : "OK"}}`, "null"},
		"byte order mark":            {bom + `{"data":{},` + status + `}`, "{}"},
		"spaces and the mark":        {"\n" + bom + "\n" + `{"data":{},` + status + `}`, "{}"},
		"more members":               {`{"data":{},` + status + `,"took":7}`, "{}"},
		"a code and nothing else":    {`{"data":{},"status":{"code":"OK"}}`, "{}"},
		"a message that is no text":  {`{"data":{},"status":{"code":"OK","message":{"a":1},"description":7}}`, "{}"},
		"text with OK":               {`{"data":{},"status":{"code":"OK","message":"failed"}}`, "{}"},
		"names in escapes":           {`{"d\u0061ta":{},"status":{"c\u006fde":"O\u004b"}}`, "{}"},
		"huge":                       {`{"data":{"a":"` + strings.Repeat("x", 1<<20) + `"},` + status + `}`, `{"a":"` + strings.Repeat("x", 1<<20) + `"}`},
		"two marks":                  {bom + bom + `{"data":{},` + status + `}`, ""},
		"empty":                      {"", ""},
		"a mark alone":               {bom, ""},
		"null":                       {"null", ""},
		"a scalar":                   {`"OK"`, ""},
		"a number":                   {"0", ""},
		"an array":                   {`[{"data":{},` + status + `}]`, ""},
		"HTML":                       {"<html>OK</html>", ""},
		"an empty object":            {"{}", ""},
		"half":                       {`{"data":{},"status":{"code":"OK"`, ""},
		"half, the status whole":     {`{` + status + `,"data":{`, ""},
		"two of them":                {`{"data":{},` + status + `}{"data":{},` + status + `}`, ""},
		"something behind":           {`{"data":{},` + status + `} OK`, ""},
		"too deep":                   {`{"data":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `,` + status + `}`, ""},
		"no status":                  {`{"data":{}}`, ""},
		"status null":                {`{"data":{},"status":null}`, ""},
		"status a text":              {`{"data":{},"status":"OK"}`, ""},
		"status an array":            {`{"data":{},"status":[{"code":"OK"}]}`, ""},
		"no code":                    {`{"data":{},"status":{"message":"OK"}}`, ""},
		"code null":                  {`{"data":{},"status":{"code":null}}`, ""},
		"code empty":                 {`{"data":{},"status":{"code":""}}`, ""},
		"code spaces":                {`{"data":{},"status":{"code":" "}}`, ""},
		"code a number":              {`{"data":{},"status":{"code":0}}`, ""},
		"code true":                  {`{"data":{},"status":{"code":true}}`, ""},
		"code an object":             {`{"data":{},"status":{"code":{"code":"OK"}}}`, ""},
		"code in small letters":      {`{"data":{},"status":{"code":"ok"}}`, ""},
		"code with a space":          {`{"data":{},"status":{"code":"OK "}}`, ""},
		"Code":                       {`{"data":{},"status":{"Code":"OK"}}`, ""},
		"Status":                     {`{"data":{},"Status":{"code":"OK"}}`, ""},
		"no data":                    {`{` + status + `}`, ""},
		"Data":                       {`{"Data":{},` + status + `}`, ""},
		"data a text":                {`{"data":"x",` + status + `}`, ""},
		"data a number":              {`{"data":7,` + status + `}`, ""},
		"data false":                 {`{"data":false,` + status + `}`, ""},
		"status twice":               {`{"data":{},` + status + `,` + status + `}`, ""},
		"two statuses":               {`{"data":{},"status":{"code":"NO"},` + status + `}`, ""},
		"two codes":                  {`{"data":{},"status":{"code":"NO","code":"OK"}}`, ""},
		"two codes, the other way":   {`{"data":{},"status":{"code":"OK","code":"NO"}}`, ""},
		"two codes, one in escapes":  {`{"data":{},"status":{"code":"OK","c\u006fde":"NO"}}`, ""},
		"data twice":                 {`{"data":{},"data":[],` + status + `}`, ""},
		"message twice":              {`{"data":{},"status":{"code":"OK","message":"","message":"no"}}`, ""},
		"another member twice":       {`{"data":{},"a":1,"a":2,` + status + `}`, ""},
		"zero bytes":                 {strings.Repeat("\x00", 100), ""},
		"UTF-16":                     {"\xff\xfe{\x00}\x00", ""},
		"gzip that was not asked of": {string(zipped(`{"data":{},` + status + `}`)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := reader(t)
			data, err := w.read(upstream.Reply{Status: 200, Body: []byte(c.body)}, personal{})
			want := outcome{}
			if c.data == "" {
				want = outcome{Kind: "unknown", Code: events.CodeUnreadable, Said: "200"}
			}
			like(t, want, err)
			if string(data) != c.data {
				t.Errorf("data %.100q", data)
			}
		})
	}
}

// A refusal is believed in an envelope alone; any other text with a code leaves open what was done.
func TestUnknownCodesRefuseInEnvelopesAlone(t *testing.T) {
	w := reader(t)
	for body, want := range map[string]outcome{
		`{"data":{},"status":{"code":"NEW"}}`:                  {Kind: "refused", Code: events.CodeRefused, Said: "NEW"},
		`{"data":[],"status":{"code":" NEW "}}`:                {Kind: "refused", Code: events.CodeRefused, Said: "NEW"},
		`{"data":null,"status":{"code":"NEW"}}`:                {Kind: "refused", Code: events.CodeRefused, Said: "NEW"},
		`{"status":{"code":"NEW"}}`:                            {Kind: "unknown", Code: events.CodeUnreadable, Said: "200"},
		`{"data":"","status":{"code":"NEW"}}`:                  {Kind: "unknown", Code: events.CodeUnreadable, Said: "200"},
		`{"data":"","status":{"code":"TOKEN"}}`:                {Kind: "unknown", Code: events.CodeUnreadable, Said: "200"},
		`{"data":{},"status":{"code":"TOKEN","code":"NEW"}}`:   {Kind: "unknown", Code: events.CodeUnreadable, Said: "200"},
		`{"data":{},"data":{},"status":{"code":"TOKEN"}}`:      {Kind: "unknown", Code: events.CodeUnreadable, Said: "200"},
		`{"data":{},"status":{"code":"NEW"}} and so on`:        {Kind: "unknown", Code: events.CodeUnreadable, Said: "200"},
		`{"code":"NEW","message":"no"}`:                        {Kind: "unknown", Code: events.CodeUnreadable, Said: "200"},
		`{"error":{"code":"NEW"},"data":{}}`:                   {Kind: "unknown", Code: events.CodeUnreadable, Said: "200"},
		`{"data":{"status":{"code":"NEW"}}}`:                   {Kind: "unknown", Code: events.CodeUnreadable, Said: "200"},
		`<status><code>NEW</code></status>`:                    {Kind: "unknown", Code: events.CodeUnreadable, Said: "200"},
		`callback({"data":{},"status":{"code":"NEW"}})`:        {Kind: "unknown", Code: events.CodeUnreadable, Said: "200"},
		`{"data":{},"status":{"code":"NEW"}`:                   {Kind: "unknown", Code: events.CodeUnreadable, Said: "200"},
		`{"data":{},"status":{"code":"NEW",}}`:                 {Kind: "unknown", Code: events.CodeUnreadable, Said: "200"},
		`{'data':{},'status':{'code':'NEW'}}`:                  {Kind: "unknown", Code: events.CodeUnreadable, Said: "200"},
		`{"data":{},"status":{"code":"new"}}`:                  {Kind: "refused", Code: events.CodeRefused, Said: "new"},
		`{"data":{},"status":{"code":"token"}}`:                {Kind: "refused", Code: events.CodeRefused, Said: "token"},
		`{"data":{},"status":{"code":"NOBODY"}}`:               {Kind: "refused", Code: events.CodeNotFound, Said: "NOBODY"},
		`{"data":{"a":{"b":[]}},"status":{"code":"TWICE"}}`:    {Kind: "conflict", Code: events.CodeDuplicate, Said: "TWICE"},
		`{"data":{},"status":{"code":"` + xs(500) + `"}}`:      {Kind: "refused", Code: events.CodeRefused, Said: xs(maxWord)},
		`{"data":{},"status":{"code":"a\u0000\u001b[31mb\n"}}`: {Kind: "refused", Code: events.CodeRefused, Said: "a[31mb"},
	} {
		_, err := w.read(upstream.Reply{Status: 200, Body: []byte(body)}, personal{})
		like(t, want, err)
	}
}

func xs(n int) string { return strings.Repeat("x", n) }

func TestMessagesOfRefusals(t *testing.T) {
	w := reader(t)
	for _, c := range []struct {
		status int
		body   string
		want   string
	}{
		{200, coded("NO", "not today"), "CRM.COM answered NO: not today"},
		{422, coded("NO", "not today"), "CRM.COM answered 422, NO: not today"},
		{200, `{"data":{},"status":{"code":"NO","description":"closed","message":""}}`, "CRM.COM answered NO: closed"},
		{200, `{"data":{},"status":{"code":"NO","description":"closed","message":"not today"}}`, "CRM.COM answered NO: not today"},
		{200, `{"data":{},"status":{"code":"NO","message":7}}`, "CRM.COM answered NO: 7"},
		{200, coded("NO", ""), "CRM.COM answered NO"},
		{200, coded("NO", "two\nlines\x00 and\tmore"), "CRM.COM answered NO: two lines and more"},
		{200, coded("NO", xs(1<<20)), "CRM.COM answered NO: " + xs(497) + "…"},
		{200, "<html>", "CRM.COM answered 200, without an envelope of CRM.COM: the body is no JSON object"},
		{200, `{"data":{},"status":7}`, "CRM.COM answered 200, without an envelope of CRM.COM: status is no JSON object"},
		{200, `{"status":{"code":"OK"}}`, "CRM.COM answered 200, without an envelope of CRM.COM: there is no data"},
		{200, coded("Ok", ""), "CRM.COM answered 200, without an envelope of CRM.COM: status.code is not spelled OK"},
		{400, coded("OK", ""), "CRM.COM answered 400, and OK in the body"},
	} {
		_, err := w.read(upstream.Reply{Status: c.status, Body: []byte(c.body)}, personal{})
		if got := events.AsError(err).Message; got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func zipped(text string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, text)
	z.Close()
	return b.Bytes()
}

// What HTTP does to a body on its way.
func TestBodiesOnTheWay(t *testing.T) {
	with := func(header, value string, body []byte) handle {
		return func(w http.ResponseWriter, r *http.Request, _ map[string]any) {
			if value == "gzip" && !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
				panic("gzip was not asked for")
			}
			w.Header().Set(header, value)
			w.Write(body)
		}
	}
	var deflated bytes.Buffer
	z, _ := flate.NewWriter(&deflated, flate.DefaultCompression)
	io.WriteString(z, coded("OK", ""))
	z.Close()
	unreadable := outcome{Kind: "unknown", Code: events.CodeUnreadable, Said: "200"}
	for name, c := range map[string]struct {
		answer handle
		want   outcome
	}{
		"gzip":                   {with("Content-Encoding", "gzip", zipped(coded("OK", ""))), outcome{}},
		"gzip of a refusal":      {with("Content-Encoding", "gzip", zipped(coded("NO", ""))), outcome{Kind: "refused", Code: events.CodeRefused, Said: "NO"}},
		"gzip cut off":           {with("Content-Encoding", "gzip", zipped(coded("OK", ""))[:20]), outcome{Kind: "unknown", Code: events.CodeBroken, Said: "200"}},
		"gzip that is none":      {with("Content-Encoding", "gzip", []byte(coded("OK", ""))), outcome{Kind: "unknown", Code: events.CodeBroken, Said: "200"}},
		"gzip of far too much":   {with("Content-Encoding", "gzip", zipped(strings.Repeat(" ", 4<<20))), outcome{Kind: "unknown", Code: events.CodeResponseTooLarge, Said: "200"}},
		"deflate":                {with("Content-Encoding", "deflate", deflated.Bytes()), unreadable},
		"text/html and JSON":     {with("Content-Type", "text/html", []byte(coded("OK", ""))), outcome{}},
		"JSON and HTML":          {with("Content-Type", "application/json", []byte("<html>OK</html>")), unreadable},
		"no content type":        {with("Content-Type", "", []byte(coded("OK", ""))), outcome{}},
		"too long":               {replying(200, coded("OK", xs(2<<20))), outcome{Kind: "unknown", Code: events.CodeResponseTooLarge, Said: "200"}},
		"204":                    {replying(204, ""), outcome{Kind: "unknown", Code: events.CodeUnreadable, Said: "204"}},
		"201":                    {replying(201, coded("OK", "")), outcome{}},
		"too long, and a 429":    {replying(429, xs(2<<20)), outcome{Kind: "unavailable", Code: events.CodeThrottled, Upstream: true, Said: "429"}},
		"cut off, and a 401":     {raw("HTTP/1.1 401 Unauthorized\r\nContent-Length: 9\r\n\r\n{}", false), outcome{Kind: "unavailable", Code: events.CodeUnauthorized, Upstream: true, Said: "401"}},
		"too long, and a code":   {replying(200, `{"status":{"code":"INVALID_TOKEN"},"data":{"a":"`+xs(2<<20)+`"}}`), outcome{Kind: "unknown", Code: events.CodeResponseTooLarge, Said: "200"}},
		"100 and then the reply": {raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 45\r\n\r\n"+fmt.Sprintf("%-45s", `{"data":{},"status":{"code":"OK"}}`), false), outcome{}},
	} {
		t.Run(name, func(t *testing.T) {
			like(t, c.want, against(t, settings(""), c.answer).amend(t.Context()))
		})
	}
}

// An object of a million members, or of as many levels, takes no longer than its length asks for.
func TestEnvelopesTakeNoLongerThanTheyAreLong(t *testing.T) {
	w := reader(t)
	var members strings.Builder
	for n := range 80000 {
		fmt.Fprintf(&members, `"m%d":0,`, n)
	}
	for name, body := range map[string]string{
		"members": `{` + members.String() + `"data":{},"status":{"code":"NO"}}`,
		"levels":  `{"data":` + strings.Repeat(`{"a":[`, 4000) + strings.Repeat("]}", 4000) + `,"status":{"code":"NO"}}`,
		"message": coded("NO", strings.Repeat("é1", 1<<18)),
		"escapes": `{"data":{},"status":{"code":"NO","message":"` + strings.Repeat(`\u0000`, 170000) + `"}}`,
	} {
		began := time.Now()
		_, err := w.read(upstream.Reply{Status: 200, Body: []byte(body)}, personal{})
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: %s for %d bytes", name, took, len(body))
		}
		like(t, outcome{Kind: "refused", Code: events.CodeRefused, Said: "NO"}, err)
	}
}
