package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"subrelay/adapters/natsjs"
	"subrelay/events"
	"subrelay/handlers"
)

type queryFlags struct {
	timeout time.Duration
	stats   bool
}

func newQueryCommand(c *cli) *cobra.Command {
	var f queryFlags
	cmd := &cobra.Command{
		Use:   "query [NAME [MEMBER=VALUE...]]",
		Short: "Ask a worker how things stand at an upstream",
		Long: `Ask a worker how things stand at an upstream, now. A query changes nothing. Alone, the command lists the queries, what
each takes, and which workers answer it.

` + queryHelp() + `
Any program can ask the same by a NATS request to <prefix>.query.NAME, with a JSON object of the members.

Exit codes:
  0  answered
  1  error, such as an upstream or worker that is away, or too many queries
  2  usage: unknown query, wrong flags or members
  3  the upstream knows no such customer or subscription, or refuses to show it
  5  timed out`,
		Example: `  subrelay query
  subrelay query tvms-customer customer=C-10042
  subrelay query subscription subscription=S0000012345 -o json
  subrelay query netflix-subscription customer=cust-77 --timeout 3s
  nats request subrelay.query.tvms-customer '{"customer":"C-10042"}'`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeQuery,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case f.timeout <= 0:
				return usagef("--timeout is %s, and must be positive", f.timeout)
			case f.stats && len(args) > 0:
				return usagef("--stats shows all queries, and takes no arguments")
			case f.stats:
				return c.showQueryStats(cmd.Context())
			case len(args) == 0:
				return c.listQueries(cmd.Context())
			}
			return c.query(cmd.Context(), args, f.timeout)
		},
	}
	cmd.Flags().DurationVar(&f.timeout, "timeout", natsjs.DefaultQueryTimeout,
		"how long to wait for the answer; a worker allows the time-out of a call to its upstream and 10s (40s by default)")
	cmd.Flags().BoolVar(&f.stats, "stats", false, "show what each worker has answered")
	return cmd
}

// queryHelp lists the queries.
func queryHelp() string {
	var b strings.Builder
	for _, s := range events.QuerySpecs() {
		fmt.Fprintf(&b, "  %-21s %s\n", s.Name, s.Summary)
		for _, m := range s.Members() {
			fmt.Fprintf(&b, "  %-21s   %s: %s\n", "", m.Name, m.Means)
		}
	}
	return b.String()
}

func queryNames() []string {
	var names []string
	for _, s := range events.QuerySpecs() {
		names = append(names, string(s.Name))
	}
	return names
}

// completeQuery completes names of queries, and then of their members.
func completeQuery(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return queryNames(), cobra.ShellCompDirectiveNoFileComp
	}
	var members []cobra.Completion
	if spec, ok := events.QuerySpecOf(events.QueryName(args[0])); ok {
		for _, m := range spec.Members() {
			members = append(members, cobra.CompletionWithDesc(m.Name+"=", m.Means))
		}
	}
	return members, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// parseQuery reads a query and its request from arguments; what cannot be read is a usage error.
func parseQuery(args []string) (events.QuerySpec, []byte, error) {
	spec, ok := events.QuerySpecOf(events.QueryName(args[0]))
	if !ok {
		if near := nearest(args[0], queryNames()); near != "" {
			return spec, nil, usagef("there is no query %q; did you mean %s?", args[0], near)
		}
		return spec, nil, usagef("there is no query %q; known: %s", args[0], joined(queryNames()))
	}
	var members []string
	for _, m := range spec.Members() {
		members = append(members, m.Name)
	}
	asked := map[string]string{}
	for _, arg := range args[1:] {
		name, value, ok := strings.Cut(arg, "=")
		_, twice := asked[name]
		switch {
		case !ok:
			return spec, nil, usagef("%q is no MEMBER=VALUE, such as %s", arg, exampleOf(spec))
		case !slices.Contains(members, name):
			if near := nearest(name, members); near != "" {
				return spec, nil, usagef("%s has no member %q; did you mean %s?", spec.Name, name, near)
			}
			return spec, nil, usagef("%s has no member %q; known: %s", spec.Name, name, cmp.Or(joined(members), "none"))
		case twice:
			return spec, nil, usagef("%s is given twice", name)
		}
		asked[name] = value
	}
	request, err := json.Marshal(asked)
	if err != nil {
		return spec, nil, err
	}
	if _, err := handlers.ReadQuery(spec, request); err != nil {
		return spec, nil, usagef("%s", events.AsError(err).Message)
	}
	return spec, request, nil
}

func exampleOf(spec events.QuerySpec) string {
	for _, m := range spec.Choice {
		return m.Name + "=" + m.Example
	}
	return string(spec.Name) + " alone"
}

func (c *cli) query(ctx context.Context, args []string, timeout time.Duration) error {
	spec, request, err := parseQuery(args)
	if err != nil {
		return err
	}
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	began := time.Now()
	answer, err := natsjs.Ask(ctx, cl.conn, cl.names, spec.Name, request, timeout)
	if err != nil {
		return queryProblem(spec, err, time.Since(began) < timeout)
	}
	return c.printAnswer(spec, answer)
}

// queryProblem says to people why there is no answer. early says that the time given was not over yet: where a worker has
// answered that time is over, it allows no more.
func queryProblem(spec events.QuerySpec, err error, early bool) error {
	e := events.AsError(err)
	p := &problem{err: fmt.Errorf("%s: %s", spec.Name, plain(e.Message)), code: exitError}
	if e.UpstreamCode != "" {
		p.err = fmt.Errorf("%w (the upstream's code: %s)", p.err, plain(e.UpstreamCode))
	}
	switch e.Code {
	case events.CodeNoWorker:
		p.err = fmt.Errorf("no worker answers %s", spec.Name)
		p.hint = fmt.Sprintf("is a worker running that serves the upstream %s? 'subrelay query' lists which workers answer what", spec.Upstream)
	case events.CodeNotFound, events.CodeRefused:
		p.code = exitRejected
	case events.CodeDeadline:
		p.code = exitTimeout
		if !early {
			p.hint = "--timeout gives it longer"
		}
	case events.CodeTimeout:
		p.code = exitTimeout
	case events.CodeBusy, events.CodeUnavailable:
		if e.RetryAfter > 0 {
			p.hint = "ask again in " + e.RetryAfter.String()
		}
	case events.CodeNotConfigured:
		p.hint = "the worker's configuration lacks a setting"
	}
	return p
}

// printAnswer prints an answer: as it came, or as a table.
func (c *cli) printAnswer(spec events.QuerySpec, answer []byte) error {
	if c.wantJSON {
		return c.printJSON(json.RawMessage(answer))
	}
	show := map[events.QueryName]func([]byte) error{
		events.TVMSCustomerQuery: c.printTVMSCustomer, events.SubscriptionQuery: c.printSubscription,
		events.NetflixSubscriptionQuery: c.printNetflixSubscriptions, events.NetflixPromotionsQuery: c.printNetflixPromotions,
	}[spec.Name]
	if show == nil {
		return c.printLine("%s", plain(string(answer)))
	}
	return show(answer)
}

// decodeAnswer reads an answer into its type.
func decodeAnswer[T any](raw []byte) (T, error) {
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		return v, errors.New("the answer cannot be read; is the worker of another version?")
	}
	return v, nil
}
