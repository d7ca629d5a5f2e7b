package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

func newSubjectCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "subject KIND KEY",
		Short: "Print the NATS subject for a command",
		Long: `Print the NATS subject on which a command of this kind is published. KEY is the CloudEvents subject of the command, such
as the customer's id; whatever cannot stand in a NATS subject is percent-coded.`,
		Example: `  subrelay subject renew C-10042
  subrelay subject renew "ACME Ltd."
  nats request "$(subrelay subject renew C-10042)" "$(cat command.json)"`,
		Args:              wantArgs("KIND", "KEY"),
		ValidArgsFunction: cobra.FixedCompletions(kindNames(), cobra.ShellCompDirectiveNoFileComp),
		RunE: func(_ *cobra.Command, args []string) error {
			kind, err := parseKind(args[0])
			if err != nil {
				return err
			}
			token, err := events.KeyToken(args[1])
			if err != nil {
				return usagef("KEY: %w", err)
			}
			cfg, err := c.loadConfig()
			if err != nil {
				return err
			}
			return c.printSubject(cfg.names(), kind, args[1], token)
		},
	}
}

func (c *cli) printSubject(names natsjs.Names, kind events.Kind, key, token string) error {
	subject := names.Command(kind, token)
	if c.wantJSON {
		return c.printJSON(map[string]string{"subject": subject, "kind": string(kind), "key": key, "token": token})
	}
	return c.printLine("%s", subject)
}

func kindNames() []string {
	var names []string
	for _, s := range events.Specs() {
		names = append(names, string(s.Kind))
	}
	return names
}

// parseKind is a kind that this version knows, or a usage error.
func parseKind(text string) (events.Kind, error) {
	if _, ok := events.SpecOf(events.Specs(), events.Kind(text)); ok {
		return events.Kind(text), nil
	}
	err := fmt.Errorf("there is no kind %q; known: %s", text, strings.Join(kindNames(), ", "))
	if near := nearest(text, kindNames()); near != "" {
		err = fmt.Errorf("there is no kind %q; did you mean %s?", text, near)
	}
	return "", &problem{err: err, code: exitUsage}
}
