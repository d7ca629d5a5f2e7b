package main

import (
	"cmp"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"subrelay/events"
)

// attributes are the flags for the CloudEvents attributes of a single command.
type attributes struct {
	id, source, expires, at string
	correlation, parent     string
}

// cliSource is the source of commands that name none.
const cliSource = "subrelay-cli"

func (a *attributes) register(flags *pflag.FlagSet) {
	flags.StringVar(&a.id, "id", "", "id of the command; sent again with the same id it is not done again (default random)")
	flags.StringVar(&a.source, "source", cliSource, "source of the command, a URI reference")
	flags.StringVar(&a.expires, "expires", "", "do not start after this: a time (RFC 3339), or a duration from now, such as 10m")
	flags.StringVar(&a.at, "time", "", "time of the command, RFC 3339 (default now)")
	flags.StringVar(&a.correlation, "correlation-id", "", "correlationid of the command and its outcomes (default the cid)")
	flags.StringVar(&a.parent, "traceparent", "", "W3C trace context to be continued")
}

// event is a command of this kind, with data.
func (a *attributes) event(kind events.Kind, subject string, data any) (*event.Event, error) {
	e := event.New()
	e.SetID(cmp.Or(a.id, uuid.NewString()))
	e.SetSource(a.source)
	e.SetType(events.CommandType(kind))
	e.SetSubject(subject)
	now := time.Now().UTC()
	e.SetTime(now)
	if a.at != "" {
		t, err := time.Parse(time.RFC3339, a.at)
		if err != nil {
			return nil, usagef("--time is %q, and must be as RFC 3339 has it, such as %s", a.at, now.Format(time.RFC3339))
		}
		e.SetTime(t)
	}
	if a.expires != "" {
		t, err := timeOrDuration(a.expires, now)
		if err != nil {
			return nil, usagef("--expires is %q, and must be a time such as %s, or a duration such as 10m", a.expires, now.Format(time.RFC3339))
		}
		e.SetExtension(events.ExtExpiry, t)
	}
	for name, value := range map[string]string{events.ExtCorrelation: a.correlation, events.ExtTraceParent: a.parent} {
		if value != "" {
			e.SetExtension(name, value)
		}
	}
	return &e, e.SetData(event.ApplicationJSON, data)
}

// timeOrDuration reads a time, or a duration counted from now.
func timeOrDuration(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(d), nil
	}
	return time.Parse(time.RFC3339, text)
}

// renewFlags are the data of a renewal.
type renewFlags struct {
	attributes
	data       events.RenewData
	fromExpiry bool
}

func newPublishRenewCommand(c *cli, common *publishFlags) *cobra.Command {
	var f renewFlags
	cmd := &cobra.Command{
		Use:   "renew",
		Short: "Renew a TVMS subscription by months or days",
		Example: `  subrelay publish renew --customer C-10042 --months 1
  subrelay publish renew --customer C-10042 --months 1 --id invoice-2026-0815 --source billing --wait
  subrelay publish renew --user-id tv10042 --days 7 --expires 10m --wait -o json`,
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("from-expire-date") {
				f.data.FromExpireDate = &f.fromExpiry
			}
			if f.data.Customer() == "" {
				return usagef("who is to be renewed? Name the customer with --customer, or --user-id")
			}
			if f.data.Months == 0 && f.data.Days == 0 && !common.noValidate {
				return usagef("for how long? Give --months or --days")
			}
			e, err := f.event(events.Renew, f.data.Customer(), f.data)
			if err != nil {
				return err
			}
			return c.publishOne(cmd.Context(), *common, e)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.data.CustomerMappingID, "customer-mapping-id", "", "the customer's id in billing, the key of the command; short: --customer")
	flags.StringVar(&f.data.UserID, "user-id", "", "the login on the TV device; the key where there is no customer id")
	flags.IntVar(&f.data.Months, "months", 0, "months to add")
	flags.IntVar(&f.data.Days, "days", 0, "days to add")
	flags.StringVar(&f.data.CRMService, "crm-service", "", "name of the CRM (default the worker's tvms.crm_service)")
	flags.BoolVar(&f.fromExpiry, "from-expire-date", true, "count from the present expiry date; =false from now")
	flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "customer" {
			name = "customer-mapping-id"
		}
		return pflag.NormalizedName(name)
	})
	f.register(flags)
	return cmd
}

func joined(items []string) string { return strings.Join(items, ", ") }
