package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"subrelay/adapters/natsjs"
)

// permissionsFlags say whose permissions are printed.
type permissionsFlags struct {
	role    string
	options natsjs.AccessOptions
}

func newPermissionsCommand(c *cli) *cobra.Command {
	var f permissionsFlags
	cmd := &cobra.Command{
		Use:   "permissions",
		Short: "Print what each role's NATS users may do, as the server's configuration",
		Long: `Print the least permissions of the four roles, for the prefix and the kinds of the configuration: billing, subscriber,
operator, worker. It asks no server. The output is the NATS server's configuration, to be included in it: an account
with a user per role, whose passwords come from the server's environment (SUBRELAY_BILLING_PASSWORD and so on), which it
reads as configuration: what is no plain word needs double quotes within the variable ('"12345678"'). With --role it is
that role's permissions alone, as a variable for an account of your own.

Each role has inboxes of its own, which its clients must be told: nats.inbox_prefix, or nats --inbox-prefix.

With -o json it is one object per role; pub and sub are as a user's JWT has them, for nsc --allow-pub and --allow-sub.

Workers may not create or change streams: set streams.managed_elsewhere for them, and have an operator run 'subrelay
topology apply' first and after each upgrade. With --manage they may, and do so at their start.`,
		Example: `  subrelay topology permissions > permissions.conf
  subrelay topology permissions --role billing
  subrelay topology permissions --role worker --manage -o json
  subrelay topology permissions --role subscriber -o json | jq -r '.pub.allow | join(",")'`,
		Args: wantArgs(),
		RunE: func(*cobra.Command, []string) error { return c.permissions(f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.role, "role", "", "only this role: billing, subscriber, operator or worker")
	flags.BoolVar(&f.options.Manage, "manage", false, "workers create and change streams themselves")
	flags.StringSliceVar(&f.options.ReplayTo, "replay-to", nil, "subjects to which operators may 'replay outcomes --to', with wildcards, comma-separated")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(roleNames(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func roleNames() []string {
	var names []string
	for _, r := range natsjs.Roles() {
		names = append(names, string(r))
	}
	return names
}

func (c *cli) permissions(f permissionsFlags) error {
	if f.role != "" && !slices.Contains(roleNames(), f.role) {
		return usagef("there is no role %q; known: %s", f.role, joined(roleNames()))
	}
	cfg, err := c.loadConfig()
	if err != nil {
		return err
	}
	t, err := cfg.topology()
	if err != nil {
		return err
	}
	for _, subject := range f.options.ReplayTo {
		if first, _, _ := strings.Cut(subject, "."); cfg.names().Owns(subject) || first == "" || strings.HasPrefix(first, "$") || strings.HasPrefix(first, "_INBOX") {
			return usagef("--replay-to is %q: outcomes must not be sent again to subjects of subrelay, of the server, or of clients", subject)
		}
	}
	all := t.Access(f.options)
	if f.role != "" {
		all = slices.DeleteFunc(all, func(a natsjs.Access) bool { return string(a.Role) != f.role })
	}
	switch {
	case c.wantJSON:
		for _, a := range all {
			if err := c.printJSON(a); err != nil {
				return err
			}
		}
		return nil
	case f.role != "":
		return c.printLine("%s", cfg.names().RoleConfig(all[0]))
	}
	return c.printLine("%s", cfg.names().AccessConfig(all))
}
