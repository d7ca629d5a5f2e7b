package main

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/natsjs"
)

func TestTopologyPermissions(t *testing.T) {
	t.Run("as the server's configuration", func(t *testing.T) {
		got := runLine(t, "", "topology", "permissions", "--replay-to", "rebuild.>")
		got.want(t, exitDone, `{user: "subrelay-worker", password: $SUBRELAY_WORKER_PASSWORD, permissions: $SUBRELAY_WORKER}`, "")
		golden(t, "testdata/permissions.conf", got.stdout)
	})
	t.Run("one role as JSON", func(t *testing.T) {
		got := runLine(t, "", "topology", "permissions", "--role", "subscriber", "-o", "json")
		var a natsjs.Access
		if err := json.Unmarshal([]byte(got.stdout), &a); err != nil {
			t.Fatal(err)
		}
		want := natsjs.Subjects{Allow: []string{"_INBOX_subrelay_subscriber.>", "subrelay.outcome.>", "subrelay.event.>"}}
		if diff := cmp.Diff(want, a.Subscribe); a.Role != natsjs.RoleSubscriber || diff != "" {
			t.Errorf("%s: -want +got\n%s", a.Role, diff)
		}
	})
	runLine(t, "", "topology", "permissions", "--role", "biling").want(t, exitUsage, "", `there is no role "biling"; known: billing`)
	for _, subject := range []string{"subrelay.cmd.renew.*", ">", "*.x", "$JS.API.>", "_INBOX.>", ""} {
		runLine(t, "", "topology", "permissions", "--replay-to", subject+",x").want(t, exitUsage, "", "--replay-to is")
	}
}
