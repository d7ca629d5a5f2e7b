package main

import (
	"net/http/httptest"
	"strings"
	"testing"

	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/sandbox"
)

// TestDoctorOfUpstreams looks at settings that are wrong, or leave something open, and asks CRM.COM for a token.
func TestDoctorOfUpstreams(t *testing.T) {
	crm := sandbox.NewCRMCOM(sandbox.CRMCOMOptions{WebAPIKey: "the-right-k3y"})
	http := httptest.NewServer(crm.Handler())
	defer http.Close()
	look := func(key, more string, args ...string) diagnosis {
		t.Helper()
		config := file(t, "nats:\n  url: nats://127.0.0.1:1\ncrmcom:\n  base_url: "+http.URL+"\n  release: R18.0.0\n  web_api_key: "+key+"\n"+more)
		o := runLine(t, "", append([]string{"doctor", "--config", config, "-o", "json"}, args...)...)
		if strings.Contains(o.stdout+o.stderr, "k3y") {
			t.Errorf("a secret is printed:\n%s", o.stdout)
		}
		return diagnose(t, o)
	}
	d := look("the-right-k3y", "tvms:\n  base_url: https://127.0.0.1:1\n  auth_token: token\n  crm_service: c\n", "--authenticate")
	d.want("ok", "upstream.token", "crmcom", "")
	d.want("ok", "upstream.reached", "crmcom", "")
	d.want("note", "settings.unconfirmed", "crmcom", "crmcom.reference.enforced")
	d.want("note", "settings.unconfirmed", "crmcom", "crmcom.swap.confirmed")
	d.want("note", "settings.unconfirmed", "tvms", "tvms.read_back is off")
	d.want("error", "upstream.unreachable", "tvms", "127.0.0.1:1")
	d = look("the-wrong-k3y", "  reference:\n    enforced: true\n  swap:\n    confirmed: true\n", "--authenticate")
	d.want("error", "upstream.no_token", "crmcom", "")
	d.want("ok", "settings.confirmed", "crmcom", "")
	before := len(crm.Book().Effects())
	if d = look("the-right-k3y", "  time_zone: Nowhere/At_all\n"); len(crm.Book().Effects()) != before {
		t.Error("without --authenticate something was called")
	}
	d.want("error", "settings.refused", "crmcom", "time_zone")
}

// TestDoctorWithoutRights runs as a user who may nearly nothing: what cannot be looked at is a finding.
func TestDoctorWithoutRights(t *testing.T) {
	s := natstest.StartConfigured(t, `accounts { A { jetstream: enabled, users: [
		{ user: u, password: p, permissions: { publish: { allow: ["$JS.API.STREAM.INFO.*", "$JS.API.INFO"] }, subscribe: { allow: ["_INBOX.>"] } } } ] } }`)
	d := diagnose(t, runLine(t, "", "doctor", "--nats", "nats://u:p@"+s.Addr().String(), "-o", "json"))
	d.want("warning", "rights.denied", `publish to "$SYS.REQ.ACCOUNT.PING.STATZ"`, "")
	d.want("note", "server.others_unseen", "", "")
	d.want("error", "stream.missing", "SUBRELAY_COMMANDS", "")
	d.want("warning", "nats.credentials_in_url", "", "")
}
