package natsjs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs/natstest"
	"subrelay/events/checkup"
)

// allowed is a user's permissions in the server's language.
func allowed(a Access) string {
	list := func(subjects []string) string { return `["` + strings.Join(subjects, `", "`) + `"]` }
	deny := ""
	if len(a.Publish.Deny) > 0 {
		deny = ", deny: " + list(a.Publish.Deny)
	}
	return fmt.Sprintf("{ publish: { allow: %s%s }, subscribe: { allow: %s } }", list(a.Publish.Allow), deny, list(a.Subscribe.Allow))
}

// TestCheckupFindsMissingRights checks up as users who may all they need, less, and everything.
func TestCheckupFindsMissingRights(t *testing.T) {
	top := topology(t, nil)
	users, inboxes := []string{`{ user: admin, password: p }`}, map[string]string{}
	for _, a := range top.Access(AccessOptions{}) {
		users = append(users, fmt.Sprintf("{ user: %s, password: p, permissions: %s }", a.Role, allowed(a)))
		inboxes[string(a.Role)] = a.InboxPrefix
		if a.Role == RoleWorker {
			a.Publish.Allow = a.Publish.Allow[:len(a.Publish.Allow)-1]
			a.Publish.Deny = append(a.Publish.Deny, "$SYS.REQ.ACCOUNT.PING.STATZ", "subrelay.>")
			users = append(users, fmt.Sprintf("{ user: limited, password: p, permissions: %s }", allowed(a)))
			inboxes["limited"] = a.InboxPrefix
			a.Publish.Deny = []string{"subrelay.ledger.renew.>"}
			users = append(users, fmt.Sprintf("{ user: narrowed, password: p, permissions: %s }", allowed(a)))
			inboxes["narrowed"] = a.InboxPrefix
			a.Publish.Deny = []string{userInfo}
			users = append(users, fmt.Sprintf("{ user: blind, password: p, permissions: %s }", allowed(a)))
			inboxes["blind"] = a.InboxPrefix
		}
	}
	s := natstest.StartConfigured(t, "accounts { A { jetstream: enabled, users: ["+strings.Join(users, ", ")+"] } }")
	manage := false
	check := func(user string, role Role) []checkup.Finding {
		t.Helper()
		options := []nats.Option{nats.UserInfo(user, "p")}
		if inboxes[user] != "" {
			options = append(options, nats.CustomInboxPrefix(inboxes[user]))
		}
		conn, err := nats.Connect(s.URL(), options...)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		js, err := jetstream.New(conn)
		if err != nil {
			t.Fatal(err)
		}
		if user == "admin" {
			apply(t, js, top)
		}
		k := NewCheckup(js, CheckupSettings{Topology: top, Role: role, Manage: manage})
		if user == string(RoleOperator) { // may look at everything
			found := checkup.Run(t.Context(), append(append(k.Checks(), k.OpenChecks()...), k.AuditCheck(AuditQuery{}, 0)))
			wantSilence(t, found, checkup.CodeFailed)
			wantSilence(t, found, "server.others")
			return found
		}
		if user == string(RoleWorker) { // may make the checks of its start
			found := checkup.Run(t.Context(), k.PromiseChecks())
			wantSilence(t, found, checkup.CodeFailed)
			wantFinding(t, found, checkup.OK, "clock.server", "", "")
		}
		return checkup.Run(t.Context(), []checkup.Check{{Name: "rights", Run: k.checkRights}})
	}
	wantFinding(t, check("admin", RoleOperator), checkup.Note, "rights.all", "admin", "everything")
	for _, r := range Roles() {
		wantFinding(t, check(string(r), r), checkup.OK, "rights.role", string(r), "")
	}
	wantFinding(t, check("limited", RoleWorker), checkup.Error, "rights.missing", "limited", "publish subrelay.ledger.>")
	wantFinding(t, check("subscriber", RoleBilling), checkup.Error, "rights.missing", "subscriber", "publish subrelay.cmd.")
	wantFinding(t, check("narrowed", RoleWorker), checkup.Error, "rights.missing", "narrowed", "publish subrelay.ledger.>")
	manage = true
	wantFinding(t, check("worker", RoleWorker), checkup.Error, "rights.missing", "worker", "publish $JS.API.STREAM.CREATE.")
	wantFinding(t, check("billing", RoleBilling), checkup.OK, "rights.role", "billing", "")
	wantFinding(t, check("blind", RoleWorker), checkup.Note, "rights.unseen", "", "cannot be seen")
}
