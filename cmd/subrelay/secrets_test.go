package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/sandbox"
	"subrelay/adapters/upstream"
	"subrelay/events"
)

// The secrets of this test, with characters that need coding wherever they may be written.
var testSecrets = map[string]string{
	"the token of TVMS":              "tv#T0k+en/=&s3cr3t",
	"a wrong token of TVMS":          "wr0ng#T0k+en/=&s3cr3t",
	"the customers' password":        `p@ss"w<o>rd(%)=1`,
	"the password of NATS":           "n@ts:pa/ss#w0rd%7",
	"a token in a command":           `c0mm@nd "tok"en+1`,
	"a password in a command":        "c0mm@nd&pass/w0rd",
	"a header's token":               "h3@der/t0ken+1",
	"the web API key of CRM.COM":     `w#b/k3y+&"=<>%1`,
	"the password of CRM.COM":        `cr#m p/ss+&"=<>%`,
	"a setting in the wrong place":   "m1spl@ced s3cr3t",
	"a setting with a wrong name":    "m1sn@med-s3cr3t",
	"a setting that breaks the file": "br0ken@s3cr3t",
}

// spellings are the ways in which a secret may be written, worked out here and not by the code under test.
func spellings(secret string) []string {
	quoted, _ := json.Marshal(secret)
	twice, _ := json.Marshal(string(quoted))
	query := url.QueryEscape(secret)
	all := []string{
		secret, query, strings.ReplaceAll(query, "+", "%20"), url.PathEscape(secret), url.QueryEscape(query), url.UserPassword("x", secret).String()[2:],
		strings.Trim(string(quoted), `"`), strings.Trim(string(twice), `\"`), strings.Trim(strconv.Quote(secret), `"`), html.EscapeString(secret),
		fmt.Sprintf("%x", secret), base64.StdEncoding.EncodeToString([]byte(secret)), base64.URLEncoding.EncodeToString([]byte(secret)),
	}
	for _, s := range all[:len(all)-2] {
		all = append(all, strings.ToLower(s))
	}
	return all
}

// leaks is everything that has left the process, by where it came out.
type leaks struct {
	t    *testing.T
	seen int    // how many places were searched
	said []said // them all, for secrets that are not known before the end
	// secrets are what is searched for, by what they are; nil is testSecrets.
	secrets map[string]string
}

type said struct{ where, text string }

// search fails where text shows a secret, and looks also into what is base64 in it.
func (l *leaks) search(where, text string) {
	l.t.Helper()
	l.seen++
	l.said = append(l.said, said{where, text})
	secrets := l.secrets
	if secrets == nil {
		secrets = testSecrets
	}
	for name, secret := range secrets {
		l.searchFor(name, secret, where, text)
	}
}

func (l *leaks) searchFor(name, secret, where, text string) {
	l.t.Helper()
	for _, view := range []string{text, decodedBase64(text)} {
		for _, form := range spellings(secret) {
			if i := strings.Index(view, form); i >= 0 {
				l.t.Errorf("%s shows %s, as %q:\n…%s…", where, name, form, view[max(0, i-200):min(len(view), i+len(form)+100)])
				break
			}
		}
	}
}

// decodedBase64 is what the words of a text decode to.
func decodedBase64(text string) string {
	var b strings.Builder
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n\"',:{}[]<>", r) }) {
		if raw, err := base64.StdEncoding.DecodeString(word); err == nil && len(word) >= 8 {
			b.Write(raw)
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// run runs a command line and searches what it says.
func (l *leaks) run(env []string, args ...string) ran {
	l.t.Helper()
	var stdout, stderr strings.Builder
	c := newCLI(strings.NewReader(""), &stdout, &stderr, env)
	ctx, cancel := context.WithTimeout(l.t.Context(), 10*time.Second)
	defer cancel()
	o := ran{code: c.run(ctx, args), stdout: stdout.String(), stderr: stderr.String()}
	l.search(strings.Join(args[min(2, len(args)):], " "), o.stdout+"\n"+o.stderr)
	return o
}

// streams searches all that the broker holds but the commands as billing sent them.
func (l *leaks) streams(js jetstream.JetStream) {
	l.t.Helper()
	for name := range js.StreamNames(l.t.Context()).Name() {
		s, err := js.Stream(l.t.Context(), name)
		if err != nil {
			l.t.Fatal(err)
		}
		state := s.CachedInfo().State
		for seq := state.FirstSeq; name != (natsjs.Names{}).Commands() && seq != 0 && seq <= state.LastSeq; seq++ {
			m, err := s.GetMsg(l.t.Context(), seq)
			if err != nil {
				continue // the bucket keeps the last alone
			}
			l.search(fmt.Sprintf("%s %d", name, seq), fmt.Sprintf("%s\n%v\n%s", m.Subject, m.Header, m.Data))
		}
	}
}

// secretRig is a rig whose settings are all secrets, with a worker that logs everything.
func secretRig(t *testing.T) (*rig, *watched) {
	t.Helper()
	r := newRigWithoutWorker(t)
	r.config.NATS.URL = strings.Replace(r.server.URL(), "nats://", "nats://"+url.UserPassword("relay", testSecrets["the password of NATS"]).String()+"@", 1)
	tvms := sandbox.NewTVMS(sandbox.TVMSOptions{AuthToken: testSecrets["the token of TVMS"], AutoCreate: time.Date(2030, 1, 31, 0, 0, 0, 0, time.UTC)})
	imitation, err := sandbox.Listen("127.0.0.1:0", tvms.Handler())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- imitation.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	t.Cleanup(tvms.Faults().Lift)
	r.tvms = tvms
	api := &r.config.TVMS.API
	api.BaseURL, api.AuthToken, api.Password = imitation.URL(), upstream.NewSecret(testSecrets["the token of TVMS"]), upstream.NewSecret(testSecrets["the customers' password"])
	r.config.TVMS.Guard.CallTimeout = 300 * time.Millisecond
	r.config.TVMS.Guard.ConsecutiveFailures, r.config.TVMS.Guard.MinRequests = 1000, 1000
	r.config.Retry.Renew.Attempts = 1
	r.config.withReadBack()
	r.config.TVMS.API.ReadBack.SettleAfter, r.config.TVMS.API.ReadBack.GiveUpAfter = 400*time.Millisecond, time.Second
	return r, &watched{}
}

func (r *rig) startLogging(log *watched) *App {
	r.t.Helper()
	app, err := NewApp(AppOptions{
		Config: r.config, WatchEvery: 100 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true})),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	app.announce()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx) }()
	r.t.Cleanup(func() { cancel(); <-done })
	select {
	case <-app.Ready():
	case err := <-done:
		done <- err
		r.t.Fatalf("the worker ended: %v", err)
	}
	return app
}

// TestNoSecretLeavesTheProcess drives every way to fail with secrets in everything that is configured and sent, and
// searches everything that comes out for them.
func TestNoSecretLeavesTheProcess(t *testing.T) {
	r, log := secretRig(t)
	first := r.startLogging(log)
	l := &leaks{t: t}
	conn, err := nats.Connect(r.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cl, err := newClient(r.config.withDefaults(), conn)
	if err != nil {
		t.Fatal(err)
	}

	sent := 0
	for _, k := range sandbox.FaultKinds() { // one customer for each, for reads and for renewals
		for _, route := range []string{sandbox.Writes, sandbox.Reads} {
			fault := sandbox.Fault{Kind: k.Kind, Route: route, Customer: fmt.Sprintf("F-%d", sent)}
			if k.Kind.Delayed() {
				fault.Delay = sandbox.Duration(time.Second)
			}
			if k.Kind == sandbox.Refusal {
				fault.Message = "no customer with " + testSecrets["the token of TVMS"] + " and " + url.QueryEscape(testSecrets["the customers' password"])
			}
			r.fault(fault)
			r.publishFor(cl, fault.Customer)
			sent++
		}
	}
	for i, bad := range secretCommands() {
		if _, err := cl.publisher.PublishRaw(t.Context(), "subrelay.cmd.renew.B-"+strconv.Itoa(i), bad.header, []byte(bad.data)); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{T: t, cl: cl, config: r.config}
	eventually(t, "all is done", func() bool { n, err := w.open(); return err == nil && n == 0 })
	if got := len(w.letters()); got < len(secretCommands()) {
		t.Errorf("%d dead letters: the bad commands came through", got)
	}

	first.Kill()
	app := meetWrongToken(r, cl, log)
	for _, page := range []string{"/metrics", "/healthz", "/readyz"} {
		_, body := fetch(t, "http://"+app.HTTPAddr()+page)
		l.search(page, body)
	}
	l.searchTools(r, cl)
	l.streams(cl.js)
	l.search("the log", log.String())
	if l.seen < 100 || len(log.String()) < 2000 {
		t.Errorf("only %d places were searched, a log of %d bytes among them", l.seen, len(log.String()))
	}
}

func (r *rig) fault(f sandbox.Fault) {
	r.t.Helper()
	if err := r.tvms.Faults().Next(f); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) publishFor(cl *client, customer string) {
	r.t.Helper()
	w := &world{T: r.t, cl: cl}
	w.send(w.renewal("s-"+customer, customer))
}

// meetWrongToken replaces the worker by one that TVMS does not let in, and waits until that has shown.
func meetWrongToken(r *rig, cl *client, log *watched) *App {
	r.t.Helper()
	r.config.Worker.Name = "wrong-worker"
	r.config.TVMS.API.ReadBack.Enabled = false
	r.config.TVMS.API.AuthToken = upstream.NewSecret(testSecrets["a wrong token of TVMS"])
	app := r.startLogging(log)
	r.publishFor(cl, "W-1")
	eventually(r.t, "the token is refused", func() bool {
		last, err := cl.outcomes.Last(r.t.Context(), "W-1", events.CID("test", "s-W-1", "W-1"))
		return err == nil && last != nil && last.Error != nil && last.Error.Code == events.CodeUnauthorized
	})
	return app
}

type secretCommand struct {
	header nats.Header
	data   string
}

// secretCommands carry credentials wherever one can be put.
func secretCommands() []secretCommand {
	quote := func(name string) string {
		raw, _ := json.Marshal(testSecrets[name])
		return string(raw)
	}
	token, password, header := quote("a token in a command"), quote("a password in a command"), testSecrets["a header's token"]
	coded := url.PathEscape(header)
	var all []secretCommand
	add := func(h nats.Header, data string) { all = append(all, secretCommand{h, data}) }
	frame := func(data string) string {
		n := strconv.Itoa(len(all))
		return `{"specversion":"1.0","id":"s","source":"billing","type":"subrelay.renew.v1","subject":"B-` + n + `",` + data + `}`
	}
	here := func(h nats.Header) nats.Header {
		h["ce-subject"] = []string{"B-" + strconv.Itoa(len(all))}
		return h
	}
	for _, name := range []string{"authToken", "password", "token", "Auth_Token", "PASSWORD"} {
		data := `{"customer_mapping_id":"B","months":1,"` + name + `":` + token + `,"more":[{"password":` + password + `}]}`
		add(inStructured, frame(`"data":`+data))
		add(here(binary()), data)
		add(inStructured, frame(`"data_base64":"`+base64.StdEncoding.EncodeToString([]byte(data))+`"`))
	}
	add(here(binary("ce-token", coded, "ce-authtoken", header, "Authorization", "Bearer "+header, "X-Auth-Token", header,
		"X-Note", "token="+header, "ce-note", url.PathEscape(`{"password":"`+header+`"}`))), `{"customer_mapping_id":"B","months":0}`)
	add(inStructured, frame(`"token":`+token+`,"password":`+password+`,"data":{}`))
	add(inStructured, frame(`"data":"password=`+testSecrets["a password in a command"]+`"`))
	add(noHeader, `{"token":`+token+`,"password":`+password)
	add(noHeader, `token=`+testSecrets["a password in a command"])
	add(noHeader, `[{"token":`+token+`}]`)
	add(noHeader, `{"specversion":"0.3","token":`+token+`}`)
	add(inStructured, `{"specversion":"1.0","id":"s","source":"billing","type":"subrelay.renew.v1","subject":"other","data":{"token":`+token+`}}`)
	return all
}

// searchTools runs every command line that shows something, and every one that fails over a secret.
func (l *leaks) searchTools(r *rig, cl *client) {
	l.t.Helper()
	at := []string{"--nats", r.config.NATS.URL}
	for _, args := range [][]string{
		{"outcomes"}, {"outcomes", "--status", "rejected"}, {"doubts", "list"}, {"dead", "list", "--all"},
		{"replay", "commands", "--missing", "--dry-run"}, {"replay", "commands", "--again", "--reason", "x", "--dry-run"},
		{"replay", "outcomes", "--to", "elsewhere", "--dry-run"}, {"topology", "show"}, {"topology", "diff"},
	} {
		for _, format := range []string{"table", "json"} {
			if o := l.run([]string{"SUBRELAY_STREAMS_PARTITIONS=4"}, append(append(at[:2:2], args...), "-o", format)...); o.code != exitDone || o.stdout == "" && args[0] != "doubts" && args[0] != "topology" {
				l.t.Errorf("%v ends with %d: %s", args, o.code, o.stderr)
			}
		}
	}
	for _, format := range []string{"table", "json"} {
		if o := l.run([]string{"SUBRELAY_STREAMS_PARTITIONS=4"}, append(at[:2:2], "doctor", "-o", format)...); !strings.Contains(o.stdout, "audit.complete") {
			l.t.Errorf("doctor ends with %d: %s%s", o.code, o.stdout, o.stderr)
		}
	}
	w := &world{T: l.t, cl: cl}
	for _, letter := range w.letters() {
		for _, format := range []string{"table", "json"} {
			o := l.run(nil, append(at[:2:2], "dead", "show", strconv.FormatUint(letter.Command, 10), "-o", format)...)
			if o.code != exitDone || !strings.Contains(o.stdout, letter.Error.Code) {
				l.t.Errorf("dead show %d ends with %d: %s", letter.Command, o.code, o.stderr)
			}
			if letter.CID != "" {
				l.run(nil, append(at[:2:2], "show", letter.CID, "-o", format)...)
			}
		}
	}
	l.searchErrors(r)
}

// searchErrors runs command lines that must fail, with a secret within reach of the error.
func (l *leaks) searchErrors(r *rig) {
	l.t.Helper()
	misplaced, misnamed, broken := testSecrets["a setting in the wrong place"], testSecrets["a setting with a wrong name"], testSecrets["a setting that breaks the file"]
	nobody := "nats://" + url.UserPassword("relay", testSecrets["the password of NATS"]).String() + "@127.0.0.1:1"
	bad := "nats://relay:" + testSecrets["the password of NATS"] + "@127.0.0.1:1"
	for _, c := range []struct {
		env  []string
		args []string
	}{
		{nil, []string{"--nats", nobody, "outcomes"}},
		{nil, []string{"--nats", bad, "outcomes"}},
		{nil, []string{"--nats", nobody, "doctor"}},
		{nil, []string{"--nats", bad, "doctor", "--monitor", "http://u:" + misplaced + "@127.0.0.1:1"}},
		{[]string{"SUBRELAY_TVMS_BASE_URL=https://u:" + url.QueryEscape(misplaced) + "@tvms.example/?authToken=" + url.QueryEscape(misnamed), "SUBRELAY_TVMS_AUTH_TOKEN=" + broken}, []string{"--nats", nobody, "doctor"}},
		{[]string{"SUBRELAY_NATS_URL=" + bad}, []string{"", "", "worker"}},
		{[]string{"SUBRELAY_NATS_PASSWORD=" + misplaced, "SUBRELAY_NATS_PASSWORD_FILE=/nowhere"}, []string{"", "", "outcomes"}},
		{[]string{"SUBRELAY_TVMS_CALL_TIMEOUT=" + misplaced}, []string{"", "", "worker"}},
		{[]string{"SUBRELAY_TVMS_BASE_URL=https://u:" + url.QueryEscape(misplaced) + "@tvms.example/?authToken=" + url.QueryEscape(misnamed), "SUBRELAY_TVMS_AUTH_TOKEN=x"}, []string{"", "", "worker"}},
		{[]string{"SUBRELAY_TVMS_AUTH_TOKN=" + misnamed}, []string{"", "", "worker", "--http-addr", "none"}},
	} {
		args := c.args
		if args[0] == "" {
			args = args[2:]
		}
		l.fails(c.env, args...)
	}
	for _, yaml := range []string{
		"tvms:\n  auth_tokn: " + misnamed + "\n",
		"tvms:\n  auth_token: " + misplaced + "\n  auth_token: " + misnamed + "\n",
		"tvms:\n  call_timeout: " + misplaced + "\n",
		"tvms: " + misplaced + "\n",
		"retry:\n  renew:\n    attempts: " + misplaced + "\n",
		"tvms:\n  auth_token: \"" + broken + "\n",
		"tvms:\n  auth_token: [" + broken + "\n",
		"tvms:\n  auth_token: {a: " + broken + "}\n",
		"tvms:\n  auth_token: " + broken + ": x\n",
		"tvms:\n  auth_token: @" + broken + "\n",
		"tvms:\n  auth_token: !!int " + broken + "\n",
		"tvms:\n\tauth_token: " + broken + "\n",
		"auth_token " + broken + "\n",
		"crmcom:\n  base_url: https://crm.example\n  web_api_key: " + misplaced + "\n  web_api_key_file: /nowhere\n",
		"crmcom:\n  base_url: https://u:" + url.QueryEscape(misplaced) + "@crm.example\n  release: R18.0.0\n  web_api_key: " + misnamed + "\n",
		"crmcom:\n  base_url: https://crm.example\n  release: R18.0.0\n  web_api_key: " + misnamed + "\n  password: " + misplaced + "\n",
		"crmcom:\n  base_url: https://crm.example\n  release: R18.0.0\n  password: " + misplaced + "\n",
		"crmcom:\n  web_api_kye: " + misplaced + "\n",
		"log:\n  level: " + misplaced + "\n",
		"nats:\n  url: nats://relay:" + misnamed + "@127.0.0.1:x y\n",
	} {
		l.fails(nil, "worker", "--config", file(l.t, yaml))
	}
}

// fails runs a command line that must fail.
func (l *leaks) fails(env []string, args ...string) {
	l.t.Helper()
	for _, format := range []string{"table", "json"} {
		if o := l.run(env, append(args, "-o", format)...); o.code == exitDone && args[len(args)-1] != "none" {
			l.t.Errorf("%v does not fail: the case tests nothing", args)
		}
	}
}
