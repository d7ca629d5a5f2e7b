package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// constructors lists every command of the program.
func constructors() []func(*cli) *cobra.Command {
	return []func(*cli) *cobra.Command{
		newDemoCommand,
		newUpCommand,
		newWorkerCommand,
		newSandboxCommand,
		newHealthCommand,
		newPublishCommand,
		newOutcomesCommand,
		newChargesCommand,
		newShowCommand,
		newQueryCommand,
		newReplayCommand,
		newDoubtsCommand,
		newDeadCommand,
		newWorkersCommand,
		newTopologyCommand,
		newDoctorCommand,
		newValidateCommand,
		newSubjectCommand,
		newBenchCommand,
		newVersionCommand,
	}
}

// cli is what every command shares: the streams, the environment and the common flags.
type cli struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string // as os.Environ gives it

	natsURL    string     // --nats
	nats       NATSConfig // --creds, --nkey, --nats-user, ...; empty where the configuration is to decide
	configFile string     // --config
	output     string     // -o
	wantJSON   bool       // output is json
	reveal     bool       // --reveal, of commands that show results

	abort context.CancelCauseFunc // ends the command, for a reason that its own error would not tell
}

func newCLI(stdin io.Reader, stdout, stderr io.Writer, environ []string) *cli {
	return &cli{stdin: stdin, stdout: stdout, stderr: stderr, environ: environ, abort: func(error) {}}
}

// newRoot is the root command with all others.
func newRoot(c *cli) *cobra.Command {
	root := &cobra.Command{
		Use:   "subrelay",
		Short: "Carry out billing's subscription commands, each exactly once or said otherwise",
		Long: `subrelay stands between a billing system and the systems that hold subscriptions. Billing publishes a command as a
CloudEvent on a NATS JetStream subject; subrelay calls the upstream once, behind a circuit breaker, and publishes one
final outcome, which anybody may subscribe to or replay.

` + exitHelp,
		Example: `  subrelay up                                        # everything at once, to try it
  subrelay publish renew --customer C-10042 --months 1 --wait
  subrelay publish swap --subscription S0000012345 --from code=INTERNET_100 --to code=INTERNET_200 --wait
  subrelay query subscription subscription=S0000012345
  subrelay outcomes --follow`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          chooseCommand,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return c.checkOutput()
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&c.natsURL, "nats", "", "URL of the NATS server, several comma-separated (default nats://127.0.0.1:4222)")
	flags.StringVar(&c.nats.Creds, "creds", "", "NATS credentials file (.creds)")
	flags.StringVar(&c.nats.NKeyFile, "nkey", "", "file with the seed of a NATS NKey")
	flags.StringVar(&c.nats.User, "nats-user", "", "NATS user; the password from --nats-password-file or $SUBRELAY_NATS_PASSWORD")
	flags.StringVar(&c.nats.PasswordFile, "nats-password-file", "", "file with the password of the NATS user")
	flags.StringVar(&c.nats.CAFile, "tls-ca", "", "PEM file of the authorities to trust for NATS (default the system's)")
	flags.StringVar(&c.nats.CertFile, "tls-cert", "", "PEM file of the client certificate for NATS, with --tls-key")
	flags.StringVar(&c.nats.KeyFile, "tls-key", "", "PEM file of its key")
	flags.StringVar(&c.nats.InboxPrefix, "inbox-prefix", "", "where NATS replies go, by the user's permissions (default _INBOX)")
	flags.StringVar(&c.configFile, "config", "", "configuration file, YAML (default $SUBRELAY_CONFIG)")
	flags.StringVarP(&c.output, "output", "o", outputTable, "output: table or json (one object per line)")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]cobra.Completion{outputTable, outputJSON}, cobra.ShellCompDirectiveNoFileComp))
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%w", err) })
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	for _, construct := range constructors() {
		root.AddCommand(construct(c))
	}
	return root
}

func (c *cli) checkOutput() error {
	if c.output != outputTable && c.output != outputJSON {
		return usagef("-o is %q, and must be table or json", c.output)
	}
	c.wantJSON = c.output == outputJSON
	return nil
}

// chooseCommand is what a command that only groups others does when it is called itself.
func chooseCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	var near string
	cmd.SuggestionsMinimumDistance = 2
	if found := cmd.SuggestionsFor(args[0]); len(found) > 0 {
		near = fmt.Sprintf("; did you mean %s?", strings.Join(found, ", "))
	}
	return usagef("there is no command %q%s", args[0], near)
}

// orList has a command that groups others do what its list command does when it is called alone.
func orList(list *cobra.Command) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return list.RunE(cmd, nil)
		}
		return chooseCommand(cmd, args)
	}
}

// wantArgs checks that a command has exactly the named arguments, such as "KIND", "KEY".
func wantArgs(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usagef("missing: %s", strings.Join(names[len(args):], " "))
		case len(args) > len(names) && len(names) == 0:
			return usagef("takes no arguments, and got %q", args[0])
		case len(args) > len(names):
			return usagef("takes only %s, and got %q too", strings.Join(names, " and "), args[len(names)])
		}
		return nil
	}
}
