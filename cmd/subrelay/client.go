package main

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
	"subrelay/handlers"
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
	conn, err := natsjs.Connect(options)
	if err != nil {
		return nil, hinted(err, "is it running there? --nats names another server; 'subrelay up' starts one to try")
	}
	cl, err := newClient(cfg, conn)
	if err != nil {
		conn.Close()
	}
	return cl, err
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
	}, nil
}

func (cl *client) close() { cl.conn.Close() }

// families is the meaning of every kind, without its upstream: enough to check commands.
func families() []handlers.Family { return []handlers.Family{handlers.Renew{}} }

func compileSchemas() (*schemas.Set, error) {
	set, err := schemas.New()
	if err != nil {
		return nil, fmt.Errorf("the embedded schemas: %w", err)
	}
	return set, nil
}
