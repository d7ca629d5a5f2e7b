package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/sandbox"
	"subrelay/events"
	"subrelay/schemas"
)

const examplesPage = "../../schemas/README.md"

// recorder passes calls on, and keeps those that may change something.
type recorder struct {
	mu    sync.Mutex
	calls []string // as on the page
}

// before is an address whose calls go to the one given.
func (r *recorder) before(t *testing.T, address string) string {
	t.Helper()
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(at) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			t.Error(err)
		}
		q.Body = io.NopCloser(bytes.NewReader(body))
		if q.Method == http.MethodPost && !strings.Contains(q.URL.Path, "authentication/") {
			r.keep(q, body)
		}
		forward.ServeHTTP(w, q)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func (r *recorder) keep(q *http.Request, body []byte) {
	uri := *q.URL
	for _, secret := range []string{"authToken", "password"} {
		if values := uri.Query(); values.Has(secret) && values.Get(secret) != "0" {
			uri.RawQuery = strings.Replace(uri.RawQuery, secret+"="+url.QueryEscape(values.Get(secret)), secret+"=***", 1)
		}
	}
	text := q.Method + " " + uri.RequestURI() + " HTTP/1.1"
	if len(body) > 0 {
		var token struct {
			Token string `json:"token"`
		}
		_ = json.Unmarshal(body, &token) // what is no JSON shows on the page
		body = bytes.Replace(body, []byte(`"`+token.Token+`"`), []byte(`"***"`), 1)
		text += "\nContent-Type: " + q.Header.Get("Content-Type") + "\n\n" + layout(body, "")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, text)
}

// take is what was kept since the last time.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.calls = nil
	return calls
}

// layout writes JSON for people: in one line what has room there, else a line for each member.
func layout(raw []byte, indent string) string {
	var members []string
	d := json.NewDecoder(bytes.NewReader(raw))
	open, _ := d.Token()
	if _, composed := open.(json.Delim); !composed {
		return string(raw)
	}
	for d.More() {
		name := ""
		if open == json.Delim('{') {
			token, _ := d.Token()
			name = fmt.Sprintf("%q: ", token)
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return string(raw)
		}
		members = append(members, name+layout(value, indent+"  "))
	}
	brackets := [2]string{"{", "}"}
	if open == json.Delim('[') {
		brackets = [2]string{"[", "]"}
	}
	line := brackets[0] + strings.Join(members, ", ") + brackets[1]
	if indent != "" && len(indent)+len(line) <= 110 && !strings.Contains(line, "\n") {
		return line
	}
	return brackets[0] + "\n" + indent + "  " + strings.Join(members, ",\n"+indent+"  ") + "\n" + indent + brackets[1]
}

// without is an object in which some members are left out, the others in their order.
func without(t *testing.T, raw []byte, names ...string) []byte {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		t.Fatalf("%s is no object: %v", raw, err)
	}
	var members []string
	for d.More() {
		name, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			t.Fatal(err)
		}
		if text, _ := name.(string); !slices.Contains(names, text) {
			members = append(members, fmt.Sprintf("%q:%s", name, value))
		}
	}
	return []byte("{" + strings.Join(members, ",") + "}")
}

// TestWorkedExamples runs every example of schemas/README.md, in their order, and holds the page to what happens.
// -update writes the page's events, requests and outcomes anew.
func TestWorkedExamples(t *testing.T) {
	r := newRigWithoutWorker(t)
	crm := r.addCRMCOM(func(o *sandbox.CRMCOMOptions) { o.CancelPath = "netflix/subscriptions/cancel" })
	var wire recorder
	r.config.TVMS.API.BaseURL = wire.before(t, r.config.TVMS.API.BaseURL)
	r.config.CRMCOM.API.BaseURL = wire.before(t, r.config.CRMCOM.API.BaseURL)
	r.config.CRMCOM.API.TimeZone = "Europe/Nicosia"
	r.config.Netflix.API.CancelPath = "netflix/subscriptions/cancel"
	for number, customer := range map[string]string{"I00002706": "cust-77", "I00002707": "cust-78"} {
		if err := crm.PutCharges(sandbox.Charge{NetflixCharge: events.NetflixCharge{Number: number, BillingSystemCustomerIdentifier: customer}}); err != nil {
			t.Fatal(err)
		}
	}
	r.startWorker()
	set, err := schemas.New()
	if err != nil {
		t.Fatal(err)
	}
	page := content(t, examplesPage)
	parts := strings.Split(page, "\n## ")
	var kinds []string
	for i, part := range parts[1:] {
		kind, _, _ := strings.Cut(part, "\n")
		kinds = append(kinds, kind)
		parts[i+1] = r.example(set, &wire, part)
	}
	for _, spec := range events.Specs() {
		if !slices.Contains(kinds, string(spec.Kind)) {
			t.Errorf("%s has no example", spec.Kind)
		}
	}
	got := strings.Join(parts, "\n## ")
	if *update {
		if err := os.WriteFile(examplesPage, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Split(page, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("-page +what happens (-update writes it anew)\n%s", diff)
	}
}

// example runs one example, and returns its part of the page as it should be.
func (r *rig) example(set *schemas.Set, wire *recorder, part string) string {
	r.t.Helper()
	before, rest, _ := strings.Cut(part, "```sh\nsubrelay ")
	line, _, ok := strings.Cut(rest, "\n```")
	if !ok {
		r.t.Fatalf("no command line in %q", part)
	}
	done := r.run(append(strings.Fields(line), "-o", "json")...)
	done.want(r.t, exitDone, "", "")
	cid, _ := done.lines(r.t)[0]["cid"].(string)
	command := r.lastOf("SUBRELAY_COMMANDS", ">")
	event := r.lastOf("SUBRELAY_OUTCOMES", "subrelay.outcome.*.*.*."+cid)
	var outcome struct {
		Type string
		Data json.RawMessage
	}
	if err := json.Unmarshal(event, &outcome); err != nil {
		r.t.Fatal(err)
	}
	value, err := schemas.Decode(outcome.Data)
	if err != nil {
		r.t.Fatal(err)
	}
	if problems := set.Validate(outcome.Type, value); len(problems) > 0 {
		r.t.Errorf("%s: %v", outcome.Type, schemas.Strings(problems))
	}
	calls := wire.take()
	if len(calls) != 1 {
		r.t.Fatalf("%s called %d times: %q", line, len(calls), calls)
	}
	return before + "```sh\nsubrelay " + line + "\n```\n\n" +
		"```json\n" + layout(without(r.t, command, "time"), "") + "\n```\n\n" +
		"```http\n" + calls[0] + "\n```\n\n" +
		"```json\n" + layout(without(r.t, outcome.Data, "command", "started_at", "finished_at", "token"), "") + "\n```\n"
}

// lastOf is the last message of a stream on a subject, as it is stored.
func (r *rig) lastOf(stream, subject string) []byte {
	r.t.Helper()
	conn, err := nats.Connect(r.server.URL())
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := js.Stream(r.t.Context(), stream)
	if err != nil {
		r.t.Fatal(err)
	}
	msg, err := s.GetLastMsgForSubject(r.t.Context(), subject)
	if err != nil {
		r.t.Fatal(err)
	}
	return msg.Data
}
