package natsjs

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"subrelay/adapters/natsjs/natstest"
	"subrelay/events"
)

// mays says of operations on a server who may do them: b(illing), s(ubscriber), o(perator), w(orker), and m, a worker
// that manages the streams. What is not in a row is not permitted to anybody.
var mays = []struct{ publish, subscribe, who string }{
	{publish: "subrelay.cmd.renew.C-1", who: "bo"},
	{publish: "subrelay.cmd.netflix-create.C-1", who: "bo"},
	{publish: "subrelay.cmd.refund.C-1"}, // no kind of ours
	{publish: "subrelay.cmd.renew.C-1.more"},
	{publish: "subrelay.cmdp.3.renew.C-1"},
	{publish: "subrelay.ledger.renew.started.C-1.cid", who: "wm"},
	{publish: "subrelay.ledger.renew.succeeded.C-1.cid", who: "owm"},
	{publish: "subrelay.ledger.renew.failed.C-1.cid", who: "owm"},
	{publish: "subrelay.ledger.renew.in_doubt.C-1.cid", who: "wm"},
	{publish: "subrelay.ledger.renew.rejected.C-1.cid", who: "wm"},
	{publish: "subrelay.ledger.renew.succeeded.C-1.cid.more", who: "wm"},
	{publish: "subrelay.ledger.renew.failed.C-1.cid.more", who: "wm"},
	{publish: "subrelay.outcome.renew.succeeded.C-1.cid"},
	{publish: "subrelay.event.netflix-charge.pending.C-1.I1", who: "wm"},
	{publish: "subrelay.dead.in_doubt.7", who: "wm"},
	{publish: "subrelay.dead.closed.7", who: "o"},
	{publish: "subrelay.task.charges", who: "wm"},
	{publish: "subrelay.task.other"},
	{publish: "subrelay.workers.changed", who: "wm"},
	{publish: "subrelay.workers.other"},
	{publish: "subrelay.query.subscription", who: "bo"},
	{publish: "subrelay.query.other"},
	{publish: "$SRV.PING", who: "o"},
	{publish: "$SRV.STATS.subrelay-query", who: "o"},
	{publish: "$SRV.STATS.subrelay-query.ID", who: "o"},
	{publish: "$SRV.STATS.other"},
	{publish: "$KV.subrelay-workers.w1/tvms", who: "wm"},
	{publish: "$KV.subrelay-workers.lock.topology", who: "om"},
	{publish: "$KV.subrelay-workers.lock.other"},
	{publish: "$KV.other.w1"},
	{publish: "other.subject"},
	{publish: "replay.renew.succeeded", who: "o"}, // by --replay-to
	{publish: "$SYS.REQ.USER.INFO", who: "bsowm"},
	{publish: "$SYS.REQ.USER.KICK"},
	{publish: "$SYS.REQ.ACCOUNT.PING.STATZ", who: "owm"},
	{publish: "$SYS.REQ.ACCOUNT.PING.CONNZ"},
	{publish: "$SYS.REQ.SERVER.PING"},

	{publish: "_INBOX_subrelay_billing.x.1", who: "wm"}, // the answer to a query
	{publish: "_INBOX_subrelay_subscriber.x.1"},
	{publish: "_INBOX_subrelay_operator.x.1", who: "wm"},
	{publish: "_INBOX_subrelay_worker.x.1"},
	{publish: "_INBOX.x.1"},
	{subscribe: "_INBOX_subrelay_billing.>", who: "b"},
	{subscribe: "_INBOX_subrelay_subscriber.>", who: "s"},
	{subscribe: "_INBOX_subrelay_operator.>", who: "o"},
	{subscribe: "_INBOX_subrelay_worker.>", who: "wm"},
	{subscribe: "_INBOX.>"},
	{subscribe: "_INBOX.x.1"},
	{subscribe: ">"},
	{subscribe: "*.>"},

	{subscribe: "subrelay.outcome.>", who: "bso"},
	{subscribe: "subrelay.event.>", who: "bso"},
	{subscribe: "subrelay.>"},
	{subscribe: "subrelay.cmd.>"},
	{subscribe: "subrelay.cmd.renew.*"},
	{subscribe: "subrelay.ledger.>"},
	{subscribe: "subrelay.dead.>"},
	{subscribe: "subrelay.task.*"},
	{subscribe: "subrelay.query.subscription", who: "wm"},
	{subscribe: "subrelay.query.>"},
	{subscribe: "subrelay.workers.changed", who: "wm"},
	{subscribe: "subrelay.workers.other"},
	{subscribe: "$SRV.PING", who: "wm"},
	{subscribe: "$SRV.STATS.subrelay-query.ID", who: "wm"},
	{subscribe: "$SRV.PING.other"},
	{subscribe: "$SRV.INFO.other"},
	{subscribe: "$SRV.STATS.other"},
	{subscribe: "$SRV.>"},
	{subscribe: "$KV.subrelay-workers.>"},
	{subscribe: "$JS.ACK.>"},
	{subscribe: "$JS.API.>"},
	{subscribe: "other.>"},
}

// asks says who may ask JetStream what of each stream, in the order of the headline.
var asks = []struct {
	what                                                      string
	commands, outcomes, deadLetters, tasks, presence, foreign string
}{
	{"STREAM.INFO.%s", "bowm", "bsowm", "owm", "owm", "owm", ""},
	{"STREAM.MSG.GET.%s", "owm", "bsowm", "owm", "owm", "o", ""},
	{"DIRECT.GET.%s", "", "", "", "", "", ""},
	{"DIRECT.GET.%s.$KV.subrelay-workers.lock.topology", "", "", "", "", "om", ""},
	{"DIRECT.GET.%s.$KV.subrelay-workers.lock.other", "", "", "", "", "o", ""},
	{"DIRECT.GET.%s.$KV.other.x", "", "", "", "", "", ""},
	{"DIRECT.GET.%s.$KV.subrelay-workers.w1/tvms", "", "", "", "", "owm", ""},
	{"CONSUMER.CREATE.%s.mine", "om", "bsowm", "owm", "om", "o", ""},
	{"CONSUMER.CREATE.%s.mine.a.filter", "om", "bsowm", "owm", "om", "o", ""},
	{"CONSUMER.DURABLE.CREATE.%s.mine", "", "", "", "", "", ""},
	{"CONSUMER.INFO.%s.tvms-00", "owm", "bsowm", "owm", "owm", "o", ""},
	{"CONSUMER.MSG.NEXT.%s.tvms-00", "owm", "bsowm", "owm", "owm", "o", ""},
	{"CONSUMER.LIST.%s", "owm", "o", "o", "owm", "o", ""},
	{"CONSUMER.NAMES.%s", "o", "o", "o", "o", "o", ""},
	{"CONSUMER.DELETE.%s.tvms-00", "o", "o", "o", "o", "o", ""},
	{"CONSUMER.UNPIN.%s.tvms-00", "wm", "", "", "", "", ""},
	{"CONSUMER.PAUSE.%s.tvms-00", "", "", "", "", "", ""},
	{"CONSUMER.RESET.%s.tvms-00", "", "", "", "", "", ""},
	{"CONSUMER.LEADER.STEPDOWN.%s.tvms-00", "", "", "", "", "", ""},
	{"STREAM.CREATE.%s", "om", "om", "om", "om", "om", ""},
	{"STREAM.UPDATE.%s", "om", "om", "om", "om", "om", ""},
	{"STREAM.DELETE.%s", "", "", "", "", "", ""},
	{"STREAM.PURGE.%s", "wm", "", "", "", "wm", ""},
	{"STREAM.MSG.DELETE.%s", "", "", "", "wm", "", ""},
	{"STREAM.SNAPSHOT.%s", "", "", "", "", "", ""},
	{"STREAM.RESTORE.%s", "", "", "", "", "", ""},
	{"STREAM.LEADER.STEPDOWN.%s", "", "", "", "", "", ""},
	{"STREAM.PEER.REMOVE.%s", "", "", "", "", "", ""},
	{"ACK %s.tvms-00.1.1.1.1.1", "wm", "bso", "", "wm", "", ""},
	{"INFO", "om", "", "", "", "", ""},
	{"STREAM.NAMES", "o", "", "", "", "", ""},
	{"STREAM.LIST", "o", "", "", "", "", ""},
	{"ACCOUNT.PURGE.SUBRELAY", "", "", "", "", "", ""},
	{"META.LEADER.STEPDOWN", "", "", "", "", "", ""},
}

// operation is something that a user tries.
type operation struct {
	subscribe bool
	subject   string
	who       string // may do it
}

func (o operation) String() string {
	if o.subscribe {
		return "subscribe to " + o.subject
	}
	return "publish to " + o.subject
}

func operations() []operation {
	var all []operation
	for _, m := range mays {
		if m.subscribe != "" {
			all = append(all, operation{true, m.subscribe, m.who})
		} else {
			all = append(all, operation{false, m.publish, m.who})
		}
	}
	for _, a := range asks {
		streams := map[string]string{
			"SUBRELAY_COMMANDS": a.commands, "SUBRELAY_OUTCOMES": a.outcomes, "SUBRELAY_DEADLETTERS": a.deadLetters,
			"SUBRELAY_TASKS": a.tasks, "KV_subrelay-workers": a.presence, "FOREIGN": a.foreign,
		}
		if !strings.Contains(a.what, "%s") {
			streams = map[string]string{"": a.commands}
		}
		for stream, who := range streams {
			subject := "$JS.API." + a.what
			if ack, ok := strings.CutPrefix(a.what, "ACK "); ok {
				subject = "$JS.ACK." + ack
			}
			all = append(all, operation{false, strings.Replace(subject, "%s", stream, 1), who})
		}
	}
	return all
}

func accessTopology(t testing.TB, s TopologySettings) *Topology {
	t.Helper()
	topology, err := NewTopology(s)
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

// startGuarded starts a server with an account's users, each with its role for a password.
func startGuarded(t testing.TB, config string) *natstest.Configured {
	t.Helper()
	for _, r := range Roles() {
		t.Setenv("SUBRELAY_"+strings.ToUpper(string(r))+"_PASSWORD", string(r))
	}
	return natstest.StartConfigured(t, config)
}

func guardedConnect(t testing.TB, s *natstest.Configured, n Names, r Role) *nats.Conn {
	t.Helper()
	nc, err := Connect(ConnectOptions{URL: s.URL(), User: n.User(r), Password: string(r), InboxPrefix: n.Inbox(r)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// permitted tries an operation, and reports whether the server lets it pass. Requests are malformed on purpose: what
// passes does nothing.
func permitted(t testing.TB, nc *nats.Conn, refused <-chan error, o operation) bool {
	t.Helper()
	var err error
	if o.subscribe {
		var sub *nats.Subscription
		if sub, err = nc.SubscribeSync(o.subject); err == nil {
			defer sub.Unsubscribe()
		}
	} else {
		err = nc.Publish(o.subject, []byte("{"))
	}
	if err == nil {
		err = nc.FlushTimeout(10 * time.Second) // the server's complaint comes before its pong
	}
	if err != nil {
		t.Fatalf("%s: %v", o, err)
	}
	if !errors.Is(nc.LastError(), nats.ErrPermissionViolation) || !strings.Contains(nc.LastError().Error(), `"`+o.subject+`"`) {
		return true
	}
	<-refused
	return false
}

func TestAccessOfEachRole(t *testing.T) {
	for who, tt := range map[string]struct {
		role   Role
		manage bool
	}{
		"b": {RoleBilling, false}, "s": {RoleSubscriber, false}, "o": {RoleOperator, false},
		"w": {RoleWorker, false}, "m": {RoleWorker, true},
	} {
		t.Run(string(tt.role), func(t *testing.T) {
			topology := accessTopology(t, TopologySettings{})
			s := startGuarded(t, Names{}.AccessConfig(topology.Access(AccessOptions{Manage: tt.manage, ReplayTo: []string{"replay.>"}})))
			refused := make(chan error, 1)
			nc := guardedConnect(t, s, Names{}, tt.role)
			nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err })
			for _, o := range operations() {
				if got, want := permitted(t, nc, refused, o), strings.Contains(o.who, who); got != want {
					t.Errorf("%s (%s) may %s: %v, want %v", tt.role, who, o, got, want)
				}
			}
		})
	}
}

// TestAccessCannotBeWiderUnnoticed widens each permission of each role, and wants the table above to name something
// that is then permitted and must not be.
func TestAccessCannotBeWiderUnnoticed(t *testing.T) {
	short := map[Role]string{RoleBilling: "b", RoleSubscriber: "s", RoleOperator: "o", RoleWorker: "w"}
	topology := accessTopology(t, TopologySettings{})
	noticed := func(role Role, subscribe bool, wider string) bool {
		for _, o := range operations() {
			if o.subscribe == subscribe && !strings.Contains(o.who, short[role]) && server.SubjectMatchesFilter(o.subject, wider) {
				return true
			}
		}
		return false
	}
	for _, a := range topology.Access(AccessOptions{}) {
		for _, way := range []struct {
			subscribe bool
			allowed   []string
		}{{false, a.Publish.Allow}, {true, a.Subscribe.Allow}} {
			for _, subject := range way.allowed {
				tokens := strings.Split(strings.TrimSuffix(subject, ".>"), ".")
				for n := range len(tokens) { // the first tokens kept
					wider := strings.Join(append(append([]string{}, tokens[:n]...), ">"), ".")
					within := func(allowed string) bool { return server.SubjectMatchesFilter(wider, allowed) }
					if wider == subject || n == len(tokens)-1 && tokens[n] == "*" || slices.ContainsFunc(way.allowed, within) {
						continue // as wide as it is, or permitted anyway
					}
					if !noticed(a.Role, way.subscribe, wider) {
						t.Errorf("%s: nobody would notice %s instead of %s", a.Role, wider, subject)
					}
				}
			}
		}
	}
}

func TestAccessFollowsTopology(t *testing.T) {
	specs := append(events.Specs(), events.Spec{Kind: "refund", Upstream: "bank"})
	n := Names{Prefix: "acme-2"}
	all := accessTopology(t, TopologySettings{Names: n, Specs: specs}).Access(AccessOptions{})
	text := n.AccessConfig(all)
	for _, want := range []string{
		`"acme-2.cmd.refund.*"`, `"$JS.API.STREAM.INFO.ACME_2_OUTCOMES"`, `"_INBOX_acme-2_billing.>"`, "ACME_2 {",
		`{user: "acme-2-billing", password: $ACME_2_BILLING_PASSWORD, permissions: $ACME_2_BILLING}`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the configuration lacks %s", want)
		}
	}
	if strings.Contains(strings.ToLower(text), "subrelay.") {
		t.Error("the configuration speaks of another prefix")
	}
	for _, stream := range (&Topology{settings: TopologySettings{Names: n}.withDefaults()}).streams() {
		if !strings.Contains(text, "STREAM.INFO."+stream.Name+`"`) {
			t.Errorf("nobody may look at the stream %s", stream.Name)
		}
	}
	for _, r := range Roles() {
		t.Setenv("ACME_2_"+strings.ToUpper(string(r))+"_PASSWORD", string(r))
	}
	guardedConnect(t, natstest.StartConfigured(t, text), n, RoleBilling)
}
