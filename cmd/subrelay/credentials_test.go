package main

import (
	"fmt"
	"strings"
	"testing"

	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/upstream"
)

func TestFlagsSayWhoWeAre(t *testing.T) {
	configured := NATSConfig{URL: "nats://file:1", User: "file", Password: upstream.NewSecret("s3cr3t"), CertFile: "c", KeyFile: "k", CAFile: "ca", InboxPrefix: "_INBOX_a"}
	for _, tt := range []struct {
		flags NATSConfig
		want  string
	}{
		{NATSConfig{}, "nats://file:1 creds= nkey= user=file password=s3cr3t file= cert=c key=k ca=ca inbox=_INBOX_a"},
		{NATSConfig{User: "anna"}, "nats://file:1 creds= nkey= user=anna password=s3cr3t file= cert=c key=k ca=ca inbox=_INBOX_a"},
		{NATSConfig{User: "anna", PasswordFile: "p"}, "nats://file:1 creds= nkey= user=anna password= file=p cert=c key=k ca=ca inbox=_INBOX_a"},
		{NATSConfig{Creds: "x.creds"}, "nats://file:1 creds=x.creds nkey= user= password= file= cert=c key=k ca=ca inbox=_INBOX_a"},
		{NATSConfig{NKeyFile: "x.nk", CAFile: "b", InboxPrefix: "_INBOX_b"}, "nats://file:1 creds= nkey=x.nk user= password= file= cert=c key=k ca=b inbox=_INBOX_b"},
		{NATSConfig{CertFile: "x"}, "nats://file:1 creds= nkey= user=file password=s3cr3t file= cert=x key= ca=ca inbox=_INBOX_a"},
	} {
		n := configured.over("", tt.flags)
		got := fmt.Sprintf("%s creds=%s nkey=%s user=%s password=%s file=%s cert=%s key=%s ca=%s inbox=%s",
			n.URL, n.Creds, n.NKeyFile, n.User, n.Password.Reveal(), n.PasswordFile, n.CertFile, n.KeyFile, n.CAFile, n.InboxPrefix)
		if got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

func TestCredentialsOfTheCommandLine(t *testing.T) {
	s := natstest.StartConfigured(t, `authorization { users: [{user: anna, password: s3cr3t}] }`)
	password := file(t, "s3cr3t\n")
	show := []string{"topology", "show", "--nats", s.URL()}
	runLine(t, "", append(show, "--nats-user", "anna", "--nats-password-file", password)...).want(t, exitDone, "missing", "")
	runLine(t, "", append(show, "--nats-user", "anna", "--nats-password-file", file(t, "other"))...).want(t, exitError, "", "the server refuses user anna")
	runLine(t, "", show...).want(t, exitError, "", "the server refuses nobody (no credentials are set)")
	runLine(t, "", append(show, "--tls-cert", "x.pem")...).want(t, exitError, "", "nats.cert_file and nats.key_file go together")
	runLine(t, "", append(show, "--creds", "/no/such.creds")...).want(t, exitError, "", "the credentials file /no/such.creds does not exist")
	runLine(t, "", append(show, "--inbox-prefix", "a.>")...).want(t, exitError, "", "nats.inbox_prefix is")
	seen := runLine(t, "", "topology", "show", "--nats", strings.Replace(s.URL(), "nats://", "nats://anna:s3cr3t@", 1))
	seen.want(t, exitDone, "missing", "can read the password in --nats")
	if strings.Contains(seen.stderr, "s3cr3t") {
		t.Error("the password is shown")
	}
}
