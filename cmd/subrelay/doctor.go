package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"subrelay/adapters/natsjs"
	"subrelay/events/checkup"
)

// doctorFlags say what doctor looks at.
type doctorFlags struct {
	monitors     []string
	production   bool
	authenticate bool
	noAudit      bool
	auditSince   string
	role         string
	timeout      time.Duration
}

func newDoctorCommand(c *cli) *cobra.Command {
	var f doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check a running installation, and say what to do about each finding",
		Long: `Check a running installation: the NATS servers, the streams and consumers, the workers, the upstreams, secrets and
settings, and, as an auditor, every command against the ledger. It changes nothing, and calls no upstream: it connects
to them, and looks at their certificates. Each finding has a stable code, a severity, what is so, why it matters, and
what to do.

The audit names commands that were acknowledged as done and of which the ledger knows no end, and messages that are
missing from the middle of a stream. A bit that flips on a server's disk shows nowhere else. It takes about 16 bytes of
memory for each command in the ledger.

It takes the rights of an operator (subrelay topology permissions): what its user may not look at is a warning.

Whether a server flushes each write (sync_interval) only its monitoring port tells: --monitor, or nats.monitor_urls.

Findings that can break the promise are marked; with --production, or worker.production, they are errors. A worker
refuses to start on those marked *. It does not look for those marked !, which only an audit sees.

Exit codes:
  0  nothing worse than notes
  1  errors, or doctor itself could not run
  6  warnings, and no errors`,
		Example: `  subrelay doctor --config subrelay.yaml
  subrelay doctor --config subrelay.yaml --production --monitor http://nats-1:8222 --monitor http://nats-2:8222 --monitor http://nats-3:8222
  subrelay doctor --nats-user subrelay-operator --nats-password-file op.pass --inbox-prefix _INBOX_subrelay_operator
  subrelay doctor --audit-since 24h -o json | jq -r 'select(.severity == "error") | .do'
  subrelay doctor --no-audit --authenticate --config subrelay.yaml`,
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.doctor(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.monitors, "monitor", nil, "monitoring address of a NATS server, repeatable (default nats.monitor_urls)")
	flags.BoolVar(&f.production, "production", false, "take what can break the promise for errors (default worker.production)")
	flags.StringVar(&f.role, "role", string(natsjs.RoleOperator), "whose rights the NATS user is to have: billing, subscriber, operator or worker")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(roleNames(), cobra.ShellCompDirectiveNoFileComp))
	flags.BoolVar(&f.authenticate, "authenticate", false, "get a token from CRM.COM, to see that our credentials are good")
	flags.BoolVar(&f.noAudit, "no-audit", false, "leave out the audit of commands against the ledger")
	flags.StringVar(&f.auditSince, "audit-since", "", "audit only commands stored since: a time, or a duration such as 24h (default all)")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Minute, "how long all checks together may take; most of it is the audit's")
	return cmd
}

// doctorSum is what doctor says at its end.
type doctorSum struct {
	Summary  bool           `json:"summary"`
	Findings map[string]int `json:"findings"` // by severity
	// Refused says that a worker would not start in production.
	Refused  bool    `json:"production_refused"`
	Seconds  float64 `json:"seconds"`
	ExitCode int     `json:"exit_code"`
}

func (c *cli) doctor(ctx context.Context, f doctorFlags) error {
	began := time.Now()
	cfg, err := c.loadConfig()
	if err != nil {
		return err
	}
	if len(f.monitors) > 0 {
		cfg.NATS.MonitorURLs = f.monitors
	}
	var since time.Time
	if f.auditSince != "" {
		if since, err = timeAgo(f.auditSince, began); err != nil {
			return usagef("--audit-since is %q, and must be a time such as %s, or a duration back from now such as 24h", f.auditSince, began.UTC().Format(time.RFC3339))
		}
	}
	if !slices.Contains(roleNames(), f.role) {
		return usagef("there is no role %q; known: %s", f.role, joined(roleNames()))
	}
	if f.timeout <= 0 {
		return usagef("--timeout is %s, and must be positive", f.timeout)
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	found := c.examine(ctx, cfg, f, since)
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	if f.production || cfg.Worker.Production {
		for i := range found {
			found[i] = found[i].Strict()
		}
	}
	checkup.Sort(found)
	sum := sumOf(found, time.Since(began))
	if err := c.printFindings(found, sum); err != nil {
		return err
	}
	return endWith(sum.ExitCode)
}

// examine makes every check that can be made.
func (c *cli) examine(ctx context.Context, cfg Config, f doctorFlags, since time.Time) []checkup.Finding {
	checks := append(c.fileChecks(&cfg), upstreamChecks(cfg, f.authenticate)...)
	denied := &denials{names: cfg.names()}
	cl, err := c.connectAs(ctx, cfg, denied)
	if err != nil {
		checks = append(checks, natsAway(cfg, err))
		return checkup.Run(ctx, checks)
	}
	defer cl.close()
	broker, err := cl.checkup(natsjs.Role(f.role))
	if err != nil {
		return append(checkup.Run(ctx, checks), checkup.Finding{Severity: checkup.Error, Code: "settings.streams", Of: "streams", What: err.Error()})
	}
	asking := append(broker.Checks(), broker.OpenChecks()...)
	if !f.noAudit {
		bar := c.progress(-1, "audit")
		defer func() { _ = bar.Finish() }()
		asking = append(asking, broker.AuditCheck(natsjs.AuditQuery{Since: since, Progress: func(read int) { _ = bar.Set(read) }}, f.timeout))
	}
	return append(checkup.Run(ctx, append(checks, denied.guard(asking)...)), denied.findings()...)
}

// checkup is the broker's, by the client's settings.
func (cl *client) checkup(role natsjs.Role) (*natsjs.Checkup, error) {
	cfg := &cl.config
	t, err := cfg.topology()
	if err != nil {
		return nil, err
	}
	return natsjs.NewCheckup(cl.js, natsjs.CheckupSettings{
		Topology: t, URL: cfg.NATS.URL, Upstreams: cfg.upstreams(), Monitors: cfg.NATS.MonitorURLs, MonitorCAFile: cfg.NATS.CAFile,
		Role: role, Manage: !cfg.Streams.ManagedElsewhere,
	}), nil
}

// connectAs connects, and has refused rights kept in denied.
func (c *cli) connectAs(ctx context.Context, cfg Config, denied *denials) (*client, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	options, err := cfg.NATS.connectOptions()
	if err != nil {
		return nil, err
	}
	options.Name, options.Logger = "subrelay doctor", slog.New(slog.NewTextHandler(io.Discard, nil))
	options.OnRefused = denied.add
	conn, err := natsjs.Connect(options)
	if err != nil {
		return nil, err
	}
	cl, err := newClient(cfg, conn)
	if err != nil {
		conn.Close()
	}
	return cl, err
}

// natsAway is the finding that there is no connection.
func natsAway(cfg Config, err error) checkup.Check {
	return checkup.Check{Name: "connection", Run: func(_ context.Context, found *checkup.Found) error {
		found.Add(checkup.Finding{Severity: checkup.Error, Code: "nats.connection", Of: natsjs.RedactURL(cfg.NATS.URL), What: err.Error(),
			Why: "nothing that the broker holds could be looked at, and no worker can work", Do: "is it running there? set nats.url, or name another server with --nats; are the credentials right?"})
		return nil
	}}
}

func sumOf(found []checkup.Finding, took time.Duration) doctorSum {
	sum := doctorSum{Summary: true, Findings: map[string]int{}, Seconds: took.Round(time.Millisecond).Seconds()}
	for _, s := range []checkup.Severity{checkup.OK, checkup.Note, checkup.Warning, checkup.Error} {
		sum.Findings[s.String()] = 0
	}
	for _, f := range found {
		sum.Findings[f.Severity.String()]++
		sum.Refused = sum.Refused || f.Refused()
	}
	switch checkup.Worst(found) {
	case checkup.Error:
		sum.ExitCode = exitError
	case checkup.Warning:
		sum.ExitCode = exitWarnings
	}
	return sum
}
