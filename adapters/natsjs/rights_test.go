package natsjs

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestRefusalOf(t *testing.T) {
	for text, want := range map[string]Refusal{
		`nats: permissions violation: Permissions Violation for Publish to "a.b"`:                               {Subject: "a.b"},
		`nats: permissions violation: Permissions Violation for Subscription to "a.>" using queue "q"`:          {Subject: "a.>", Subscribe: true},
		`nats: permissions violation: Permissions Violation for Subscription to "a.*" (sid "7")`:                {Subject: "a.*", Subscribe: true},
		`nats: permissions violation: Permissions Violation for Publish with Reply of "$JS.ACK.x"`:              {Subject: "$JS.ACK.x"},
		`nats: permissions violation: Permissions Violation for Publish to "a\"b\\c"`:                           {Subject: `a"b\c`},
		`nats: permissions violation: permissions violation for subscription to "_INBOX.x.*"`:                   {Subject: "_INBOX.x.*", Subscribe: true},
		`nats: permissions violation: Permissions Violation for Subscription to "subrelay.outcome.>", too many`: {Subject: "subrelay.outcome.>", Subscribe: true},
	} {
		got, ok := refusalOf(errors.New(text), "")
		if !ok || got != want {
			t.Errorf("%s: %+v, %v", text, got, ok)
		}
	}
	for _, err := range []error{nil, errors.New("nats: slow consumer"), errors.New(`nats: stale connection`)} {
		if r, ok := refusalOf(err, ""); ok {
			t.Errorf("%v is the refusal %+v", err, r)
		}
	}
}

func TestWho(t *testing.T) {
	for want, o := range map[string]ConnectOptions{
		"user anna": {User: "anna", Password: "s3cr3t"}, "user bob": {URL: "nats://bob:s3cr3t@a:1,nats://bob:s3cr3t@b:1"},
		"the user of the token": {Token: "s3cr3t"}, "the user of the credentials x.creds": {Creds: "x.creds"},
		"the user of the NKey in x.nk": {NKeyFile: "x.nk"}, "the user of the certificate x.pem": {CertFile: "x.pem", KeyFile: "y"},
		"nobody (no credentials are set)": {URL: "nats://s3cr3t@a:1"},
	} {
		if got := o.Who(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestReadRights(t *testing.T) {
	topology := accessTopology(t, TopologySettings{})
	s := startGuarded(t, Names{}.AccessConfig(topology.Access(AccessOptions{})))
	worker := ReadRights(t.Context(), guardedConnect(t, s, Names{}, RoleWorker))
	if worker.User != "subrelay-worker" || worker.Account != "SUBRELAY" {
		t.Errorf("%+v", worker)
	}
	for subject, want := range map[string]bool{
		"subrelay.dead.refused.7": true, "subrelay.dead.closed.7": false, "subrelay.ledger.renew.started.C-1.x": true, "subrelay.cmd.renew.C-1": false,
	} {
		if got := worker.MayPublish(subject); got != want {
			t.Errorf("a worker may publish to %s: %v", subject, got)
		}
	}
	if !worker.MaySubscribe("$SRV.PING") || worker.MaySubscribe("subrelay.outcome.>") {
		t.Error("a worker's subscriptions")
	}
	nc, _ := connect(t, startServer(t))
	if all := ReadRights(t.Context(), nc); !all.MayPublish("x") || !all.MaySubscribe(">") {
		t.Errorf("without permissions: %+v", all)
	}
}

func TestRefusalPattern(t *testing.T) {
	for subject, want := range map[string]string{
		"$JS.API.CONSUMER.CREATE.S.kD8x.a.b": "$JS.API.CONSUMER.CREATE.S.>", "$JS.API.CONSUMER.MSG.NEXT.S.kD8x": "$JS.API.CONSUMER.MSG.NEXT.S.*",
		"$JS.API.CONSUMER.INFO.S.kD8x": "$JS.API.CONSUMER.INFO.S.*", "$JS.API.CONSUMER.DELETE.S.kD8x": "$JS.API.CONSUMER.DELETE.S.*",
		"$JS.API.STREAM.INFO.S": "$JS.API.STREAM.INFO.S", "$JS.API.CONSUMER.LIST.S": "$JS.API.CONSUMER.LIST.S",
	} {
		if got := (Refusal{Subject: subject}).Pattern(); got != want {
			t.Errorf("%s: %s", subject, got)
		}
	}
	inbox := Refusal{Subscribe: true, Subject: "_INBOX_x.aBc.*"}
	if got := inbox.Pattern(); got != "_INBOX_x.>" || !inbox.Dooms([]string{"a"}) || inbox.Dooms(nil) {
		t.Errorf("an inbox: %s", got)
	}
	if r := (Refusal{Subject: "$JS.API.CONSUMER.CREATE.S.kD8x.a.b"}); !r.Dooms([]string{"x", "$JS.API.CONSUMER.CREATE.S.>"}) || r.Dooms([]string{"$JS.API.CONSUMER.CREATE.T.>", "$JS.API.CONSUMER.LIST.S"}) {
		t.Error("a refusal ends the wrong checks")
	}
	if (Refusal{Subscribe: true, Subject: "a.>"}).Dooms([]string{"a.b"}) {
		t.Error("a subscription that is refused ends who publishes")
	}
}

func TestAllows(t *testing.T) {
	list := func(s ...string) []string { return s }
	for _, tc := range []struct {
		subject            string
		allow, deny, known []string
		want               bool
	}{
		{"a.b", nil, nil, nil, true}, {"a.*", list("a.>"), nil, nil, true}, {"a.>", list("a.*"), nil, nil, false},
		{"a.b", list("a.* q"), nil, nil, true}, {"a.b", nil, list("a.> q"), nil, false},
		{"a.>", nil, list("a.b.c"), nil, false}, {"a.*", nil, list("*.b"), nil, false}, {"a.*", nil, list("b.>"), nil, true},
		{"a.*.*", nil, list("a.closed.*"), list("a.closed.*"), true}, {"a.*.*", nil, list("a.closed.7"), list("a.closed.*"), true},
		{"a.*.*", nil, list("a.*.*"), list("a.closed.*"), false},
	} {
		if got := allows(&server.SubjectPermission{Allow: tc.allow, Deny: tc.deny}, tc.subject, tc.known); got != tc.want {
			t.Errorf("%+v: %t", tc, got)
		}
	}
	if !allows(nil, "a", nil) {
		t.Error("who has no list may not do everything")
	}
}

// TestScanRemovesOnlyWhatItMay reads as a user who may delete no consumer: that must not be tried.
func TestScanRemovesOnlyWhatItMay(t *testing.T) {
	topology := accessTopology(t, TopologySettings{})
	s := startGuarded(t, Names{}.AccessConfig(topology.Access(AccessOptions{})))
	operator, err := jetstream.New(guardedConnect(t, s, Names{}, RoleOperator))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topology.Apply(t.Context(), operator); err != nil {
		t.Fatal(err)
	}
	if _, err := operator.PublishMsg(t.Context(), &nats.Msg{Subject: "subrelay.ledger.renew.failed.C-1.x"}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		role Role
		left int
	}{{RoleOperator, 0}, {RoleSubscriber, 1}} {
		js, err := jetstream.New(guardedConnect(t, s, Names{}, tt.role))
		if err != nil {
			t.Fatal(err)
		}
		read := 0
		scan := scan{js: js, stream: Names{}.Outcomes(), subjects: []string{Names{}.AllOutcomes()}}
		if err := scan.run(t.Context(), func(Message, uint64) error { read++; return nil }); err != nil || read != 1 {
			t.Fatalf("%s: %d messages, %v", tt.role, read, err)
		}
		deadline := time.Now().Add(20 * time.Second)
		for left := -1; left != tt.left; {
			stream, err := operator.Stream(t.Context(), Names{}.Outcomes())
			if err != nil {
				t.Fatal(err)
			}
			if left = stream.CachedInfo().State.Consumers; left != tt.left && time.Now().After(deadline) {
				t.Fatalf("%s has left %d consumers", tt.role, left)
			}
		}
	}
	if v := s.Violations(); len(v) > 0 {
		t.Errorf("the server has refused: %v", v)
	}
}
