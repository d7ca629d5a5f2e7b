package natsjs

import (
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/micro"

	"subrelay/events"
)

// Role is what a NATS user does with an installation. Each has permissions of its own.
type Role string

// The roles.
const (
	// RoleBilling publishes commands of the known kinds, reads outcomes, and asks queries.
	RoleBilling Role = "billing"
	// RoleSubscriber reads outcomes and what is told of charges, and nothing else.
	RoleSubscriber Role = "subscriber"
	// RoleOperator settles doubts, closes and redrives dead letters, replays, and applies the topology.
	RoleOperator Role = "operator"
	// RoleWorker is a worker: the only one that writes the ledger and calls upstreams.
	RoleWorker Role = "worker"
)

// Roles lists the roles.
func Roles() []Role { return []Role{RoleBilling, RoleSubscriber, RoleOperator, RoleWorker} }

// Subjects is what may be published, or subscribed to, in the shape of a NATS user's JWT. Nothing else may; what Deny
// lists may not, whatever Allow says.
type Subjects struct {
	Allow []string `json:"allow"`
	Deny  []string `json:"deny,omitempty"`
}

// Access is what the users of one role may do.
type Access struct {
	Role Role `json:"role"`
	// InboxPrefix is where replies go to these users, whose clients must be told so. The inboxes that clients have by
	// default would let each role read the replies to every other.
	InboxPrefix string   `json:"inbox_prefix"`
	Publish     Subjects `json:"pub"`
	Subscribe   Subjects `json:"sub"`
}

// AccessOptions change what Access gives.
type AccessOptions struct {
	// Manage lets workers create and change streams and consumers. Without it they run with streams.managed_elsewhere,
	// and an operator applies the topology.
	Manage bool
	// ReplayTo are subjects outside of the prefix to which operators may send outcomes again.
	ReplayTo []string
}

// Inbox is the prefix of the inboxes of a role's users.
func (n Names) Inbox(r Role) string { return "_INBOX_" + n.prefix() + "_" + string(r) }

// Access is the permissions that each role needs with this topology, and no more than NATS lets be told apart.
//
// Three things it does not tell apart. Users of one role are alike: they share inboxes, and one may take from another's
// consumer. Whoever may create a consumer on a stream may have the server deliver what it holds to any subject, and
// whoever may ask the server may have it answer to any; so no role is proof against a user who sets out to litter the
// streams, and what a litterer can write there is the server's words, never a command or a record of their own. And
// whoever reads the stream of outcomes reads all of it.
func (t *Topology) Access(o AccessOptions) []Access {
	var all []Access
	for _, r := range Roles() {
		g := &grants{topology: t, names: t.settings.Names, access: Access{Role: r, InboxPrefix: t.settings.Names.Inbox(r)}}
		g.publish("$SYS.REQ.USER.INFO") // who am I, and what may I?
		g.subscribe(g.access.InboxPrefix + ".>")
		switch r {
		case RoleBilling:
			g.billing()
		case RoleSubscriber:
			g.readOutcomes()
		case RoleOperator:
			g.operator(o.ReplayTo)
		case RoleWorker:
			g.worker()
			if o.Manage {
				g.manage()
			}
		}
		all = append(all, g.access)
	}
	return all
}

// grants collects one role's permissions.
type grants struct {
	topology *Topology
	names    Names
	access   Access
}

func (g *grants) publish(subjects ...string) { add(&g.access.Publish.Allow, subjects) }

func (g *grants) subscribe(subjects ...string) { add(&g.access.Subscribe.Allow, subjects) }

// add adds what is not listed yet.
func add(list *[]string, subjects []string) {
	for _, s := range subjects {
		if !slices.Contains(*list, s) {
			*list = append(*list, s)
		}
	}
}

// ask allows requests to JetStream's API; %s stands for each of the streams.
func (g *grants) ask(what string, streams ...string) {
	for _, s := range streams {
		g.publish("$JS.API." + fmt.Sprintf(what, s))
	}
}

func (g *grants) bucket() string { return bucketStream + g.names.Workers() }

// read allows to read streams, by sequence, by subject, and by consumers of one's own.
func (g *grants) read(streams ...string) {
	g.ask("STREAM.INFO.%s", streams...)
	g.ask("STREAM.MSG.GET.%s", streams...)
	g.consume(streams...)
}

// consume allows to make and use consumers. Deleting one is another matter: nothing tells one's own from others'.
func (g *grants) consume(streams ...string) {
	g.ask("CONSUMER.CREATE.%s.>", streams...)
	g.ask("CONSUMER.INFO.%s.*", streams...)
	g.ask("CONSUMER.MSG.NEXT.%s.*", streams...)
}

func (g *grants) acknowledge(streams ...string) {
	for _, s := range streams {
		g.publish("$JS.ACK." + s + ".>")
	}
}

func (g *grants) command() {
	for _, spec := range g.topology.settings.Specs {
		g.publish(g.names.Command(spec.Kind, "*"))
	}
}

func (g *grants) queries() []string {
	var all []string
	for _, q := range events.QuerySpecs() {
		all = append(all, g.names.Query(q.Name))
	}
	return all
}

func (g *grants) readOutcomes() {
	g.subscribe(g.names.AllOutcomes(), g.names.AllEvents())
	g.read(g.names.Outcomes())
	g.acknowledge(g.names.Outcomes())
}

func (g *grants) billing() {
	g.command()
	g.publish(g.queries()...)
	g.readOutcomes()
	g.ask("STREAM.INFO.%s", g.names.Commands()) // which kinds are there, and how large may a command be
}

// operator reads everything, writes what settles a doubt and closes a dead letter, publishes commands anew, and applies
// the topology. It cannot remove a message or a stream, but who may change a stream can have it drop messages.
func (g *grants) operator(replayTo []string) {
	n := g.names
	g.command()
	for _, s := range []events.Status{events.Succeeded, events.Failed} {
		g.publish(n.Ledger("*", s, "*", "*"))
	}
	g.publish(n.DeadAll(closedReason))
	g.publish(g.queries()...)
	g.publish("$SRV.*", "$SRV.*."+QueryService, "$SRV.*."+QueryService+".*")
	g.publish(replayTo...)
	g.subscribe(n.AllOutcomes(), n.AllEvents())
	g.publish(accountPing) // which servers are there, for doctor
	g.publish("$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST")
	streams := append(n.Streams(), g.bucket())
	g.read(streams...)
	g.ask("CONSUMER.DELETE.%s.*", streams...)
	g.acknowledge(n.Outcomes())
	g.list(streams...)
	g.publish("$JS.API.DIRECT.GET." + g.bucket() + ".$KV." + n.Workers() + ".>") // what workers tell of themselves
	g.manage()
}

func (g *grants) list(streams ...string) {
	g.ask("CONSUMER.LIST.%s", streams...)
	g.ask("CONSUMER.NAMES.%s", streams...)
}

// manage allows what applying the topology takes.
func (g *grants) manage() {
	n := g.names
	all := append(n.Streams(), g.bucket())
	g.publish("$JS.API.INFO") // asked before a bucket is made
	g.ask("STREAM.CREATE.%s", all...)
	g.ask("STREAM.UPDATE.%s", all...)
	g.ask("CONSUMER.CREATE.%s.>", n.Commands(), n.Tasks())
	lock := "$KV." + n.Workers() + "." + n.topologyLock()
	g.publish(lock, "$JS.API.DIRECT.GET."+g.bucket()+"."+lock)
}

func (g *grants) worker() {
	n := g.names
	g.subscribe(n.WorkersChanged())
	g.subscribe(g.queries()...)
	for _, verb := range []micro.Verb{micro.PingVerb, micro.InfoVerb, micro.StatsVerb} {
		// Spelt out: where a user may subscribe to $SRV.*, the server lets it subscribe to $SRV.> as well.
		g.subscribe("$SRV."+verb.String(), "$SRV."+verb.String()+"."+QueryService, "$SRV."+verb.String()+"."+QueryService+".*")
	}
	g.publish(accountPing) // which servers are there, in production
	ledger, _ := n.ledgerTransform()
	g.publish(ledger, n.AllEvents(), n.DeadAll("*"), n.WorkersChanged(), "$KV."+n.Workers()+".*")
	g.access.Publish.Deny = []string{n.DeadAll(closedReason)} // a person's to say
	for _, task := range Tasks() {
		g.publish(n.Task(task))
	}
	for _, asker := range []Role{RoleBilling, RoleOperator} {
		g.publish(n.Inbox(asker) + ".>") // answers to queries
	}
	work := []string{n.Commands(), n.Tasks()}
	g.ask("STREAM.INFO.%s", append(n.Streams(), g.bucket())...)
	g.ask("STREAM.MSG.GET.%s", n.Streams()...)
	g.ask("DIRECT.GET.%s.$KV."+n.Workers()+".*", g.bucket()) // whether another worker has its name
	g.ask("CONSUMER.LIST.%s", work...)
	g.ask("CONSUMER.INFO.%s.*", work...)
	g.ask("CONSUMER.MSG.NEXT.%s.*", work...)
	g.ask("CONSUMER.UNPIN.%s.*", n.Commands())
	g.acknowledge(work...)
	g.consume(n.Outcomes(), n.DeadLetters())           // to count what is open
	g.ask("STREAM.PURGE.%s", n.Commands(), g.bucket()) // what is done and old; its own presence
	g.ask("STREAM.MSG.DELETE.%s", n.Tasks())           // a tick that somebody acknowledged
}
