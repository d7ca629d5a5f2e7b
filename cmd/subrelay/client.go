package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
	"subrelay/schemas"
)

// client is a connection to NATS as the tools use it: to publish, to read, to mend.
type client struct {
	config    Config
	names     natsjs.Names
	conn      *nats.Conn
	js        jetstream.JetStream
	ledger    *natsjs.Ledger
	outcomes  *natsjs.Outcomes
	letters   *natsjs.DeadLetters
	commands  *natsjs.Commands
	publisher *natsjs.Publisher
	closing   func() // called before the connection is closed; nil: nothing
	rights    func() natsjs.Rights
}

// connect connects as the flags and the configuration say. The caller must close the client.
func (c *cli) connect(ctx context.Context) (*client, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cfg, err := c.loadConfig()
	if err != nil {
		return nil, err
	}
	options, err := cfg.NATS.connectOptions()
	if err != nil {
		return nil, err
	}
	options.Name = "subrelay command line"
	if natsjs.RedactURL(c.natsURL) != c.natsURL {
		c.sayf("whoever may list the processes of this machine can read the password in --nats: use --nats-user and --nats-password-file")
	}
	who := options.Who()
	options.OnRefused = func(r natsjs.Refusal) { c.abort(notPermitted(r)) }
	conn, err := natsjs.Connect(options)
	switch {
	case err == nil:
	case unreachable(err):
		return nil, hinted(err, "is it running there? --nats names another server; 'subrelay up' starts one to try")
	default:
		return nil, err
	}
	cl, err := newClient(cfg, conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	cl.closing = func() { // the complaint about what was sent last may not have been told yet
		if r, ok := natsjs.LastRefusal(conn, who); ok {
			c.abort(notPermitted(r))
		}
	}
	return cl, nil
}

// notPermitted is what to do about a refusal.
func notPermitted(r natsjs.Refusal) error {
	if r.Inbox() {
		return hinted(r, "replies go to an inbox that this user may not use: set nats.inbox_prefix to the one of its role, such as _INBOX_subrelay_billing")
	}
	return hinted(r, "'subrelay topology permissions' prints what each role may do; --nats-user, --creds and --nkey say who you are")
}

func newClient(cfg Config, conn *nats.Conn) (*client, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, err
	}
	names := cfg.names()
	ledger, err := natsjs.NewLedger(js, natsjs.LedgerSettings{Names: names, Source: cfg.Worker.Source})
	if err != nil {
		return nil, err
	}
	return &client{
		config: cfg, names: names, conn: conn, js: js, ledger: ledger,
		outcomes:  natsjs.NewOutcomes(ledger),
		letters:   natsjs.NewDeadLetters(js, natsjs.DeadSettings{Names: names}),
		commands:  natsjs.NewCommands(js, names),
		publisher: natsjs.NewPublisher(js, natsjs.PublisherSettings{Names: names}),
		rights: sync.OnceValue(func() natsjs.Rights {
			ctx, cancel := context.WithTimeout(context.Background(), rightsTimeout)
			defer cancel()
			return natsjs.ReadRights(ctx, conn)
		}),
	}, nil
}

// rightsTimeout bounds the question what this user may; who gets no answer tries.
const rightsTimeout = 3 * time.Second

func (cl *client) close() {
	if cl.closing != nil {
		cl.closing()
	}
	cl.conn.Close()
}

// may reports whether this user may publish to a subject. For what is a convenience only: else ask, and be refused.
func (cl *client) may(subject string) bool { return cl.rights().MayPublish(subject) }

func compileSchemas() (*schemas.Set, error) {
	set, err := schemas.New()
	if err != nil {
		return nil, fmt.Errorf("the embedded schemas: %w", err)
	}
	return set, nil
}
