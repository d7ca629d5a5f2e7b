package natsjs

import (
	"fmt"
	"strconv"
	"strings"
)

// AccessConfig is access in the language of the NATS server's configuration: permissions as one variable per role, such
// as SUBRELAY_BILLING, and an account with a user per role, whose passwords come from the server's environment. It is
// ready to be included.
func (n Names) AccessConfig(all []Access) string {
	var b strings.Builder
	for _, a := range all {
		b.WriteString(n.RoleConfig(a))
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "accounts {\n  %s {\n    jetstream: enabled\n    users: [\n", strings.TrimSuffix(n.stream(""), "_"))
	// Quotes here would have the server take $NAME for the password itself; they must be in the variable.
	b.WriteString("      # Passwords are read from the environment of the server, as configuration: one that is no plain word, such as\n" +
		"      # 12345678, true, \"p w\" or $ecret, needs double quotes within the variable: NAME='\"12345678\"'. In quotes, \\ and \"\n" +
		"      # have a \\ before them. A bcrypt hash of nats server passwd ($2a$...) needs none, and is safer. Instead of user and\n" +
		"      # password there may be nkey: U..., or, with tls { verify_and_map: true }, user: \"CN=...\", the subject of a\n" +
		"      # client's certificate.\n")
	for _, a := range all {
		fmt.Fprintf(&b, "      {user: %q, password: $%s_PASSWORD, permissions: $%s}\n", n.User(a.Role), n.variable(a.Role), n.variable(a.Role))
	}
	b.WriteString("    ]\n  }\n}\n")
	return b.String()
}

// User is the name of a role's user in AccessConfig.
func (n Names) User(r Role) string { return n.prefix() + "-" + string(r) }

// variable is the name of a role's permissions in the server's configuration.
func (n Names) variable(r Role) string { return n.stream(strings.ToUpper(string(r))) }

// RoleConfig is one role's permissions as a variable of the server's configuration, which must be used there: the server
// refuses one that is not.
func (n Names) RoleConfig(a Access) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n# Its users' inboxes: nats.inbox_prefix: %s, or nats --inbox-prefix=%[2]s\n", a.Role.does(), a.InboxPrefix)
	fmt.Fprintf(&b, "%s {\n", n.variable(a.Role))
	for _, way := range []struct {
		name     string
		subjects Subjects
	}{{"publish", a.Publish}, {"subscribe", a.Subscribe}} {
		fmt.Fprintf(&b, "  %s {\n", way.name)
		writeSubjects(&b, "allow", way.subjects.Allow)
		writeSubjects(&b, "deny", way.subjects.Deny)
		b.WriteString("  }\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func writeSubjects(b *strings.Builder, name string, subjects []string) {
	if len(subjects) == 0 {
		return
	}
	fmt.Fprintf(b, "    %s: [\n", name)
	for _, s := range subjects {
		fmt.Fprintf(b, "      %s\n", strconv.Quote(s))
	}
	b.WriteString("    ]\n")
}

// does says in a sentence what a role does.
func (r Role) does() string {
	switch r {
	case RoleBilling:
		return "billing publishes commands, reads outcomes, and asks queries"
	case RoleSubscriber:
		return "subscriber reads outcomes, plainly or by durable consumers, and nothing else"
	case RoleOperator:
		return "operator settles doubts, closes and redrives dead letters, replays, and applies the topology"
	}
	return "worker takes commands and writes outcomes"
}
