package natsjs

import (
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

// deadLetter is a dead letter of the command with sequence seq.
func deadLetter(seq uint64, reason events.Reason) events.DeadLetter {
	return events.DeadLetter{
		Reason: reason, CID: events.CID("/billing", "a", "C1"),
		Error: events.Failure{Code: string(reason), Message: "it cannot run", UpstreamCode: "406", Problems: []string{"/months: must be at least 1", "/x: unknown"}},
		Delivery: events.Delivery{
			Seq: seq, Stored: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Kind: events.Renew, Key: "C1",
			Raw:    []byte(`{"months":0}`),
			Header: map[string][]string{"Content-Type": {"application/json"}, "X-Two": {"1", "2"}, "Nats-Msg-Id": {"m"}, "nats-expected-stream": {"s"}},
		},
	}
}

func deadFixture(t testing.TB) (*ledgerBroker, jetstream.JetStream, *DeadLetters) {
	t.Helper()
	b, js, _ := ledgerFixture(t)
	return b, js, NewDeadLetters(js, DeadSettings{PublishTimeout: 300 * time.Millisecond})
}

func mustPut(t testing.TB, d *DeadLetters, l events.DeadLetter) {
	t.Helper()
	if err := d.Put(within(t, 20*time.Second), l); err != nil {
		t.Fatalf("put %d: %v", l.Delivery.Seq, err)
	}
}

// deadList is what q selects, as "command reason" and who closed it.
func deadList(t testing.TB, d *DeadLetters, q DeadQuery) (got []string) {
	t.Helper()
	err := d.List(within(t, 20*time.Second), q, func(l Letter) error {
		s := fmt.Sprint(l.Command, " ", l.Reason)
		if l.Closed != nil {
			s += " closed by " + l.Closed.By
		}
		got = append(got, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestDeadPutAndGet(t *testing.T) {
	_, js, d := deadFixture(t)
	l := deadLetter(7, events.DeadInvalid)
	mustPut(t, d, l)
	changed := l
	changed.Error.Message = "another worker's words"
	mustPut(t, d, changed) // there already: success, and the first stays
	got, err := d.Get(t.Context(), 7)
	if err != nil || len(got) != 1 {
		t.Fatalf("got %v, %v; want the one letter", got, err)
	}
	want := Letter{
		Seq: 1, Time: got[0].Time, Reason: events.DeadInvalid, Error: l.Error, Command: 7, Kind: events.Renew, Key: "C1", CID: l.CID,
		Stored: l.Delivery.Stored, Data: []byte(`{"months":0}`),
		Header: map[string][]string{
			"Content-Type": {"application/json"}, "X-Two": {"1", "2"}, "Nats-Expected-Last-Subject-Sequence": {"0"},
			HeaderReason: {"invalid"}, HeaderCode: {"invalid"}, HeaderUpstream: {"406"}, HeaderMessage: {"it cannot run"},
			HeaderProblems: {`["/months: must be at least 1","/x: unknown"]`}, HeaderKind: {"renew"}, HeaderKey: {"C1"},
			HeaderCID: {l.CID}, HeaderSeq: {"7"}, HeaderStored: {"2026-01-02T03:04:05.000000006Z"},
		},
	}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	s, err := js.Stream(t.Context(), Names{}.DeadLetters())
	if err != nil {
		t.Fatal(err)
	}
	if msg, err := s.GetMsg(t.Context(), 1); err != nil || msg.Subject != "subrelay.dead.invalid.7" {
		t.Errorf("stored as %v, %v", msg, err)
	}
	if _, err := d.Get(t.Context(), 8); events.AsError(err).Code != CodeNotFound {
		t.Errorf("an unknown command: got %v, want %s", err, CodeNotFound)
	}
}

// A command stream that was restored from a backup gives sequences out again. Another command's letter is no reason to
// lose one, nor is that it was closed.
func TestDeadPutOfAnotherCommandStream(t *testing.T) {
	_, _, d := deadFixture(t)
	first := deadLetter(7, events.DeadUndecodable)
	second := first
	second.Delivery.Stored = first.Delivery.Stored.Add(time.Hour)
	second.Error.Message = "the other one"
	mustPut(t, d, first)
	if err := d.Close(t.Context(), 7, "ann", "seen"); err != nil {
		t.Fatal(err)
	}
	mustPut(t, d, second)
	mustPut(t, d, second)
	if diff := cmp.Diff([]string{"7 undecodable closed by ann", "7 undecodable"}, deadList(t, d, DeadQuery{})); diff != "" {
		t.Errorf("the letters differ (-want +got):\n%s", diff)
	}
	got, err := d.Get(t.Context(), 7)
	if err != nil || len(got) != 1 || got[0].Error.Message != "the other one" || got[0].Closed != nil {
		t.Errorf("got %+v, %v; want the newest, open", got, err)
	}
	if err := d.Close(t.Context(), 7, "ben", "seen, too"); err != nil {
		t.Error(err)
	}
	if open, err := d.Open(t.Context()); len(open) != 0 || err != nil {
		t.Errorf("open: %v, %v", open, err)
	}
}

func TestDeadPutRacesAndLostAnswers(t *testing.T) {
	for name, fate := range map[string]replyFate{"Swallowed": swallowReply, "Cut": cutAtReply} {
		t.Run(name, func(t *testing.T) {
			b, _, d := deadFixture(t)
			b.tamper(times(2, fate))
			mustPut(t, d, deadLetter(7, events.DeadRefused))
			if diff := cmp.Diff([]string{"7 refused"}, deadList(t, d, DeadQuery{})); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
	t.Run("Race", func(t *testing.T) {
		b, _, d := deadFixture(t)
		var wg sync.WaitGroup
		for range 8 {
			other := NewDeadLetters(b.connect(), DeadSettings{})
			wg.Go(func() {
				if err := other.Put(within(t, 20*time.Second), deadLetter(7, events.DeadRefused)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if diff := cmp.Diff([]string{"7 refused"}, deadList(t, d, DeadQuery{})); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
	t.Run("OverRestart", func(t *testing.T) {
		b, _, d := deadFixture(t)
		b.stop()
		done := make(chan error, 1)
		go func() { done <- d.Put(within(t, 20*time.Second), deadLetter(7, events.DeadRefused)) }()
		b.start()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
	t.Run("ErrBrokerAway", func(t *testing.T) {
		b, _, d := deadFixture(t)
		b.stop()
		if err := d.Put(within(t, 100*time.Millisecond), deadLetter(7, events.DeadRefused)); err == nil || events.KindOf(err) != events.Unavailable {
			t.Errorf("got %v, want Unavailable", err)
		}
	})
	t.Run("ErrNoCommand", func(t *testing.T) {
		_, _, d := deadFixture(t)
		for _, l := range []events.DeadLetter{deadLetter(0, events.DeadRefused), deadLetter(7, ""), deadLetter(7, "closed")} {
			if err := d.Put(within(t, time.Second), l); err == nil || events.KindOf(err) != events.Internal {
				t.Errorf("got %v, want an Internal error", err)
			}
		}
	})
}

func TestDeadMasksSecrets(t *testing.T) {
	_, js, d := deadFixture(t)
	const secret = "hunter2"
	l := deadLetter(7, events.DeadInvalid)
	l.Delivery.Raw = []byte(`{"authToken":"hunter2","list":[{"pass_word":"hunter2"}],"months":1}`)
	l.Error.Message = "password=hunter2 is not allowed\r\nX-Evil: 1"
	l.Error.Problems = []string{"/authToken: \"hunter2\" is a credential", "authToken=hunter2"}
	l.Delivery.Header = map[string][]string{
		"Authorization": {"Bearer hunter2"}, "ce-authtoken": {"hunter2"}, "CE-Auth%54oken": {"hunter2"}, "X-Api-Key": {"hunter2", "hunter2"},
		"Cookie": {"s=hunter2"}, "ce-subject": {"token%3Dhunter2"}, "X-Query": {"a=1&authToken=hunter2&b=2"}, "ce-id": {"caf%C3%A9"},
		"subrelay-reason": {"forged"}, "Subrelay-Seq": {"999"},
	}
	mustPut(t, d, l)
	s, err := js.Stream(t.Context(), Names{}.DeadLetters())
	if err != nil {
		t.Fatal(err)
	}
	msg, err := s.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if all := fmt.Sprint(msg.Header, string(msg.Data)); strings.Contains(all, secret) || strings.Contains(all, "forged") {
		t.Errorf("a secret or a forged header is kept: %s", all)
	}
	if msg.Header.Get("ce-id") == "" && msg.Header["ce-id"] == nil || msg.Header["ce-id"][0] != "caf%C3%A9" {
		t.Errorf("a harmless header changed: %v", msg.Header)
	}
	if _, injected := msg.Header["X-Evil"]; injected || msg.Header.Get(HeaderSeq) != "7" {
		t.Errorf("the headers were tampered with: %v", msg.Header)
	}
}

// What is personal is masked in what was sent, and named in what we say of it: a problem that says "is required" of a
// masked member would help nobody.
func TestDeadMasksWhatIsPersonal(t *testing.T) {
	_, _, d := deadFixture(t)
	l := deadLetter(7, events.DeadInvalid)
	l.Delivery.Raw = []byte(`{"customer_first_name":"Anna","accounts_receivable_identifier":{"name":"Anna","number":"A1"},"months":1}`)
	l.Delivery.Header = map[string][]string{"ce-customeremail": {"Anna"}, "X-Query": {"customer_last_name=Anna Anna&n=1"}, "ce-id": {"Joanna"}}
	l.Error.Message = "the data do not satisfy the schema: #/customer_first_name: must not be empty"
	l.Error.Problems = []string{"#/customer_email/email_address: is required", "#/customer_first_name: must not be empty"}
	mustPut(t, d, l)
	got, err := d.Get(t.Context(), 7)
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	if diff := cmp.Diff(l.Error, got[0].Error); diff != "" {
		t.Errorf("the error (-want +got)\n%s", diff)
	}
	if want := `{"accounts_receivable_identifier":{"name":"***","number":"A1"},"customer_first_name":"***","months":1}`; string(got[0].Data) != want {
		t.Errorf("the body is %s", got[0].Data)
	}
	for name, want := range map[string]string{"ce-customeremail": "***", "X-Query": `customer_last_name="***"&n=1`, "ce-id": "Joanna"} {
		if diff := cmp.Diff([]string{want}, got[0].Header[name]); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

func TestDeadFitsTheBroker(t *testing.T) {
	l := deadLetter(7, events.DeadInvalid)
	for range 5000 {
		l.Error.Problems = append(l.Error.Problems, "/months: "+strings.Repeat("é", 20)+"\n\x00\xff")
	}
	l.Error.Message = strings.Repeat("ü", 9000)
	l.Delivery.Raw = []byte(strings.Repeat("x", 256<<10))
	l.Delivery.Header["X-Long"] = []string{strings.Repeat("y", 32<<10)}

	wire := func(msg *nats.Msg) int {
		msg.Subject = Names{}.Dead(l.Reason, 1<<63)
		msg.Header["Nats-Expected-Last-Subject-Sequence"] = []string{"18446744073709551615"}
		size := len(msg.Data) + len("NATS/1.0\r\n\r\n")
		for name, values := range msg.Header {
			for _, v := range values {
				size += len(name) + len(v) + 4
				if !utf8.ValidString(v) || strings.ContainsAny(v, "\r\n\x00") {
					t.Errorf("header %s cannot stand in one line: %q", name, v)
				}
			}
		}
		return size
	}
	whole := deadMessage(l, 1<<20)
	if len(whole.Data) != len(l.Delivery.Raw) || whole.Header["X-Long"] == nil || whole.Header[HeaderCut] != nil {
		t.Errorf("cut without need: %d bytes, headers %d", len(whole.Data), len(whole.Header))
	}
	if n := wire(whole); n > 1<<20 {
		t.Errorf("%d bytes", n)
	}
	for _, most := range []int{300 << 10, 256 << 10, 64 << 10, 32 << 10} {
		msg := deadMessage(l, most)
		if n := wire(msg); n > most {
			t.Errorf("%d bytes where %d is the most", n, most)
		}
		if msg.Header.Get(HeaderCut) != fmt.Sprint(len(l.Delivery.Raw)) {
			t.Errorf("at %d: it does not say that it is cut: %q", most, msg.Header.Get(HeaderCut))
		}
	}
	_, _, d := deadFixture(t)
	mustPut(t, d, l)
	manyHeaders := l
	manyHeaders.Delivery.Seq, manyHeaders.Delivery.Header = 8, map[string][]string{"X-Long": {strings.Repeat("y", 60<<10)}}
	mustPut(t, d, manyHeaders)
	got, err := d.Get(t.Context(), 7)
	if err != nil || got[0].Cut != 0 || len(got[0].Data) != len(l.Delivery.Raw) {
		t.Fatalf("got %v", err)
	}
	if got, err := d.Get(t.Context(), 8); err != nil || got[0].Cut != len(l.Delivery.Raw) || len(got[0].Data) != len(l.Delivery.Raw) {
		t.Errorf("more headers than the server takes: got %v", err)
	}
	last := got[0].Error.Problems[len(got[0].Error.Problems)-1]
	if !strings.HasPrefix(last, "and ") || !strings.HasSuffix(last, " more") || !strings.HasSuffix(got[0].Error.Message, "ü…") {
		t.Errorf("the end of the problems is %q, that of the message %q", last, got[0].Error.Message[len(got[0].Error.Message)-8:])
	}
}

func TestDeadCloseAndList(t *testing.T) {
	b, _, d := deadFixture(t)
	for i := range uint64(4) {
		mustPut(t, d, deadLetter(i+1, []events.Reason{events.DeadInvalid, events.DeadInDoubt}[i%2]))
	}
	if err := d.Close(t.Context(), 2, "ann", "was renewed"); err != nil {
		t.Fatal(err)
	}
	want := []string{"1 invalid", "2 in_doubt closed by ann", "3 invalid", "4 in_doubt"}
	if diff := cmp.Diff(want, deadList(t, d, DeadQuery{})); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	for name, c := range map[string]struct {
		q    DeadQuery
		want []string
	}{
		"Open":       {DeadQuery{OpenOnly: true}, []string{"1 invalid", "3 invalid", "4 in_doubt"}},
		"Reason":     {DeadQuery{Reason: events.DeadInDoubt}, []string{"2 in_doubt closed by ann", "4 in_doubt"}},
		"OpenReason": {DeadQuery{Reason: events.DeadInDoubt, OpenOnly: true}, []string{"4 in_doubt"}},
		"Limit":      {DeadQuery{OpenOnly: true, Limit: 2}, []string{"1 invalid", "3 invalid"}},
		"Since":      {DeadQuery{Since: time.Now().Add(time.Hour)}, nil},
	} {
		if diff := cmp.Diff(c.want, deadList(t, d, c.q)); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
	counts, err := d.Open(t.Context())
	if diff := cmp.Diff(map[events.Reason]int{events.DeadInvalid: 2, events.DeadInDoubt: 1}, counts); diff != "" || err != nil {
		t.Errorf("%v -want +got\n%s", err, diff)
	}

	t.Run("ErrClosed", func(t *testing.T) {
		err := d.Close(t.Context(), 2, "bob", "again")
		if events.KindOf(err) != events.Conflict || !strings.Contains(err.Error(), "ann") {
			t.Errorf("got %v, want a conflict that names ann", err)
		}
	})
	t.Run("ErrNotFound", func(t *testing.T) {
		if err := d.Close(t.Context(), 99, "bob", "x"); events.AsError(err).Code != CodeNotFound {
			t.Errorf("got %v", err)
		}
	})
	t.Run("LaterLetterIsOpen", func(t *testing.T) {
		mustPut(t, d, deadLetter(2, events.DeadLateResult))
		if diff := cmp.Diff([]string{"2 late_result"}, deadList(t, d, DeadQuery{Reason: events.DeadLateResult, OpenOnly: true})); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		if err := d.Close(t.Context(), 2, "bob", "seen"); err != nil {
			t.Fatal(err)
		}
		letters, err := d.Get(t.Context(), 2)
		if err != nil || len(letters) != 2 || letters[0].Closed.By != "bob" || letters[1].Closed.By != "bob" {
			t.Errorf("got %v, %v", letters, err)
		}
	})
	t.Run("LostAnswer", func(t *testing.T) {
		b.tamper(times(1, cutAtReply))
		if err := d.Close(within(t, 20*time.Second), 1, "eve", "x"); err != nil {
			t.Error(err)
		}
	})
	t.Run("OneCloser", func(t *testing.T) {
		var wg sync.WaitGroup
		won := make(chan string, 4)
		for i := range 4 {
			other := NewDeadLetters(b.connect(), DeadSettings{})
			wg.Go(func() {
				err := other.Close(within(t, 20*time.Second), 3, fmt.Sprint("p", i), "x")
				if err == nil {
					won <- fmt.Sprint("p", i)
				} else if events.KindOf(err) != events.Conflict {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Errorf("%d closers won", len(won))
		}
	})
}

func TestHeaderText(t *testing.T) {
	for _, c := range []struct {
		in   string
		most int
		want string
	}{
		{"plain", 10, "plain"},
		{" a\r\nb\x00c\t ", 20, "a  b c"},
		{"\xff\xfe", 20, "\uFFFD"},
		{"aüüü", 7, "aüüü"},
		{"aüüüü", 7, "aü…"},
		{"aüüüü", 8, "aüü…"},
	} {
		if got := headerText(c.in, c.most); got != c.want {
			t.Errorf("%q cut to %d: got %q, want %q", c.in, c.most, got, c.want)
		}
	}
}

func FuzzDeadMessage(f *testing.F) {
	f.Add("name", "value", "body", "message", 4000)
	f.Add("ce-token", "a%3Db", `{"password":"x"}`, "\xff\r\n", 100)
	f.Fuzz(func(t *testing.T, name, value, body, message string, most int) {
		most = 40<<10 + most&0xffff
		l := deadLetter(7, events.DeadInvalid)
		l.Delivery.Header = map[string][]string{name: {value}}
		l.Delivery.Raw, l.Error.Message, l.Error.Problems = []byte(body), message, []string{message, value}
		msg := deadMessage(l, most)
		if size := len(msg.Data) + headerSize(msg.Header); size > most {
			t.Errorf("%d bytes where %d is the most", size, most)
		}
		for _, own := range []string{HeaderMessage, HeaderProblems} {
			if v := textproto.MIMEHeader(msg.Header).Get(own); strings.ContainsAny(v, "\r\n") || !utf8.ValidString(v) {
				t.Errorf("%s: %q", own, v)
			}
		}
	})
}

func TestDeadListErrors(t *testing.T) {
	_, _, d := deadFixture(t)
	mustPut(t, d, deadLetter(1, events.DeadInvalid))
	stop := errors.New("enough")
	if err := d.List(t.Context(), DeadQuery{}, func(Letter) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

// forgetful finds no message, as a stream does whose messages have become too old since they were listed.
type forgetful struct{ jetstream.Stream }

func (forgetful) GetLastMsgForSubject(context.Context, string) (*jetstream.RawStreamMsg, error) {
	return nil, jetstream.ErrMsgNotFound
}

func TestDeadCloseOfWhatHasJustGone(t *testing.T) {
	_, _, d := deadFixture(t)
	mustPut(t, d, deadLetter(7, events.DeadInvalid))
	stream, err := d.stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.found = forgetful{stream}
	if err := d.Close(t.Context(), 7, "ann", "seen"); events.KindOf(err) != events.Refused || events.AsError(err).Code != CodeNotFound {
		t.Errorf("got %v, want Refused, %s", err, CodeNotFound)
	}
}
