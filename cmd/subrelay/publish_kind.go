package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"subrelay/events"
	"subrelay/schemas"
)

// kindCommand is a subcommand of publish that sends one command of a kind.
type kindCommand struct {
	kind                 events.Kind
	short, long, example string
	// register adds the flags of the data. Their values may be personal: no error repeats them.
	register func(*pflag.FlagSet)
	// data is the command's key and data, as the flags say them. Its errors are usage errors.
	data func() (key string, data any, err error)
	// keyOf is the key that belongs to data given by --data; nil where there is no such flag.
	keyOf func(data map[string]any) string
	// freeKey says that the key may be another than the data's: there is a flag for it.
	freeKey bool
	// values are the known values of flags, for completion.
	values map[string][]string
}

// kindCommands lists them all, but for renew.
func kindCommands() []kindCommand {
	return []kindCommand{
		amendCommand(), swapCommand(), netflixCreateCommand(),
		netflixStateCommand(events.NetflixSuspend, "Suspend a Netflix subscriber", "Suspend a Netflix subscriber."),
		netflixStateCommand(events.NetflixUnsuspend, "Undo the suspension of a Netflix subscriber", "Undo the suspension of a Netflix subscriber."),
		netflixStateCommand(events.NetflixCancel, "Cancel a Netflix subscriber, where the worker knows how",
			"Cancel a Netflix subscriber. A worker refuses it as not_configured until netflix.cancel_path is set: the vendor's pages\nname the method no more."),
		chargesCommand(events.NetflixAcknowledge, "Take Netflix charges off the list of new ones", "Acknowledge Netflix charges: they leave the list of new ones."),
		chargesCommand(events.NetflixAccept, "Accept Netflix charges that are pending", "Accept Netflix charges that Netflix has not processed yet."),
		chargesCommand(events.NetflixDecline, "Decline Netflix charges that are pending", "Decline Netflix charges that Netflix has not processed yet."),
	}
}

// build makes the command. What its flags cannot say, --data or publish --file can.
func (k kindCommand) build(c *cli, common *publishFlags) *cobra.Command {
	var f attributes
	var file, key string
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	k.register(own)
	cmd := &cobra.Command{
		Use: string(k.kind), Short: k.short, Long: k.long, Example: k.example,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("takes no arguments, and got %d: does something lack its quotes?", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			named, data, err := k.read(c, file, own)
			if err != nil {
				return err
			}
			if key != "" {
				named = key
			}
			if named == "" && k.freeKey {
				return usagef("under which key? The data name none: give --key")
			}
			e, err := f.event(k.kind, named, data)
			if err != nil {
				return err
			}
			return c.publishOne(cmd.Context(), *common, e)
		},
	}
	flags := cmd.Flags()
	flags.AddFlagSet(own)
	if k.freeKey {
		flags.StringVar(&key, "key", "", "key of the command, within which order is kept (default by the data)")
	}
	if k.keyOf != nil {
		flags.StringVar(&file, "data", "", `file with the data as JSON, in place of the flags for them; "-" is stdin`)
	}
	f.register(flags)
	for flag, values := range k.values {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	return cmd
}

// read is the key and the data, from the file if one is named.
func (k kindCommand) read(c *cli, file string, own *pflag.FlagSet) (key string, data any, err error) {
	if file == "" {
		return k.data()
	}
	own.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			err = usagef("--data and --%s exclude each other", f.Name)
		}
	})
	if err != nil {
		return "", nil, err
	}
	in, err := c.openInput(file)
	if err != nil {
		return "", nil, fmt.Errorf("--data: %w", err)
	}
	defer in.Close() // only read
	raw, err := io.ReadAll(in)
	if err != nil {
		return "", nil, fmt.Errorf("--data: %w", err)
	}
	object, err := jsonObject(raw)
	if err != nil {
		return "", nil, usagef("--data: %w", err)
	}
	return k.keyOf(object), json.RawMessage(raw), nil
}

// jsonObject reads an object, its numbers as they stand: whether one is too large, the schema says. Its errors repeat
// nothing of it.
func jsonObject(raw []byte) (map[string]any, error) {
	var at *json.SyntaxError
	if err := json.Unmarshal(raw, new(json.RawMessage)); errors.As(err, &at) {
		return nil, fmt.Errorf("this is not JSON, at its byte %d", at.Offset)
	}
	value, _ := schemas.Decode(raw)
	object, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("this is no JSON object")
	}
	return object, nil
}

// textAt is the text at a path of members, "" where there is none.
func textAt(object map[string]any, path ...string) string {
	for _, name := range path[:len(path)-1] {
		object, _ = object[name].(map[string]any)
	}
	text, _ := object[path[len(path)-1]].(string)
	return text
}
