package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// chargesRecipe answers every charge that is decided with a netflix-acknowledge command. The command's id follows from
// the charge and its state, so that the same charge makes the same command, which is done once.
const chargesRecipe = `  subrelay charges --follow --since 24h --status approved,declined,bad_request,rejected -o json |
    jq -c --unbuffered '{specversion: "1.0", id: ("acknowledge." + .id), source: "billing",
      type: "subrelay.netflix-acknowledge.v1", subject: .subject, datacontenttype: "application/json",
      data: {charges_set: [.data | {number, billing_system_customer_identifier}]}}' |
    subrelay publish -f -`

// chargeFlags select events of charges.
type chargeFlags struct {
	selectFlags
	customer, number string
	follow           bool
}

func newChargesCommand(c *cli) *cobra.Command {
	var f chargeFlags
	cmd := &cobra.Command{
		Use:   "charges",
		Short: "Read or follow the events of Netflix charges",
		Long: `Read the events of Netflix charges that are stored, in order, and with --follow go on with new ones until a signal.
--follow without a beginning (--since, --from-seq) shows only what is new. With -o json each line is the CloudEvent as it
was stored.

A worker that serves Netflix lists the charges that nobody has acknowledged, and tells of each once for each of its
states: pending (do not bill yet), approved (bill), declined, bad_request, rejected (do not bill). A charge that is
acknowledged leaves the list, and is told of no more: acknowledge none that is pending. The events stay as long as
outcomes do; a charge that is still not acknowledged then is told of again.

The last example acknowledges every charge that is decided; put your billing between its first two commands. Begun again
with a --since that covers the pause it repeats commands, and a command is done once, however often it is sent.`,
		Example: `  subrelay charges --since 24h --status approved,declined
  subrelay charges --follow --customer C-10042
` + chargesRecipe,
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := f.query()
			if err != nil {
				return err
			}
			return c.charges(cmd.Context(), q)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.follow, "follow", false, "go on with new events until a signal")
	f.registerRange(flags)
	flags.StringSliceVar(&f.statuses, "status", nil, "only these states, comma-separated")
	flags.StringVar(&f.customer, "customer", "", "only this customer's, by billing_system_customer_identifier")
	flags.StringVar(&f.number, "number", "", "only the charge with this number")
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(chargeStatuses(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// query reads the flags; what cannot be read is a usage error.
func (f *chargeFlags) query() (natsjs.ChargeQuery, error) {
	within := f.selectFlags
	within.statuses = nil // of charges, not of commands
	r, err := within.query()
	if err != nil {
		return natsjs.ChargeQuery{}, err
	}
	q := natsjs.ChargeQuery{
		Since: r.Since, Until: r.Until, FromSeq: r.FromSeq, Limit: r.Limit, Customer: f.customer, Number: f.number, Follow: f.follow,
	}
	for _, text := range f.statuses {
		status := events.ChargeStatus(text)
		if near := nearest(status, chargeStatuses()); near != "" && near != status {
			return q, usagef("there is no state %q of a charge; did you mean %s?", text, near)
		}
		q.Statuses = append(q.Statuses, status)
	}
	return q, nil
}

// chargeStatuses lists the states that are documented, as events name them.
func chargeStatuses() []string {
	var all []string
	for _, state := range events.ChargeStates() {
		all = append(all, events.ChargeStatus(state))
	}
	slices.Sort(all)
	return all
}

func (c *cli) charges(ctx context.Context, q natsjs.ChargeQuery) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	if q.Follow && q.FromSeq == 0 && q.Since.IsZero() {
		if q.FromSeq, err = cl.nextOutcome(ctx); err != nil {
			return err
		}
	}
	if !c.wantJSON {
		if err := c.printLine(chargeRow, "SEQ", "STORED", "STATUS", "NUMBER", "CUSTOMER", "AMOUNT", "PAID THROUGH"); err != nil {
			return err
		}
	}
	err = natsjs.NewCharges(cl.ledger).Read(ctx, q, c.printCharge)
	if q.Follow {
		return endedBy(ctx, err)
	}
	return err
}

// chargeRow is a row of charges, printed one by one.
const chargeRow = "%-8s  %-24s  %-11s  %-16s  %-20s  %-14s  %s"

func (c *cli) printCharge(s natsjs.StoredCharge) error {
	if c.wantJSON {
		if err := c.printEvent(s.Raw); err != nil {
			return fmt.Errorf("event %d: %w", s.Seq, err)
		}
		return nil
	}
	through := "-"
	if s.PaidThroughDate != nil {
		through = s.PaidThroughDate.UTC().Format(time.RFC3339)
	}
	return c.printLine(chargeRow, strconv.FormatUint(s.Seq, 10), stamp(s.Time), events.ChargeStatus(s.ChargeStatus), plain(s.Number),
		plain(s.BillingSystemCustomerIdentifier), plain(strings.TrimSpace(s.Amount.String()+" "+s.Currency)), through)
}
