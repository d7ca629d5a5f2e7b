package main

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"subrelay/adapters/natsjs"
)

func newTopologyCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "topology",
		Short: "Show, create or compare the streams and consumers on the server",
		Example: `  subrelay topology show
  subrelay topology diff --config subrelay.yaml
  subrelay topology apply --config subrelay.yaml
  subrelay topology permissions > permissions.conf`,
		Args: cobra.ArbitraryArgs,
		RunE: chooseCommand,
	}
	cmd.AddCommand(&cobra.Command{
		Use:     "show",
		Short:   "Show the streams and consumers on the server, and what they hold",
		Example: "  subrelay topology show\n  subrelay topology show -o json",
		Args:    wantArgs(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.topologyShow(cmd.Context()) },
	}, &cobra.Command{
		Use:     "diff",
		Short:   "Print what apply would do, and do nothing",
		Example: "  subrelay topology diff --config subrelay.yaml",
		Args:    wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.topologyChanges(cmd.Context(), (*natsjs.Topology).Plan)
		},
	}, &cobra.Command{
		Use:   "apply",
		Short: "Create what is missing and update what may be changed",
		Long: `Create what is missing and update what may be changed, and print what was done. What must not be changed, such as the
number of partitions, is refused with the reason. A worker does the same at its start.`,
		Example: "  subrelay topology apply --config subrelay.yaml",
		Args:    wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.topologyChanges(cmd.Context(), (*natsjs.Topology).Apply)
		},
	}, newPermissionsCommand(c))
	return cmd
}

// brokerTimeout bounds how long a tool asks for what is quick.
const brokerTimeout = 30 * time.Second

func (c *cli) topologyChanges(ctx context.Context, do func(*natsjs.Topology, context.Context, jetstream.JetStream) ([]natsjs.Change, error)) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	t, err := cl.config.topology()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	changes, err := do(t, ctx, cl.js)
	for _, change := range changes {
		if c.wantJSON {
			err = errors.Join(err, c.printJSON(change))
		} else {
			err = errors.Join(err, c.printLine("%s", change))
		}
	}
	if err == nil && len(changes) == 0 && !c.wantJSON {
		return c.printLine("no differences")
	}
	return err
}

// streamState is a stream as it stands on the server.
type streamState struct {
	Stream    string          `json:"stream"`
	Missing   bool            `json:"missing,omitempty"`
	Messages  uint64          `json:"messages"`
	Bytes     uint64          `json:"bytes"`
	MaxBytes  int64           `json:"max_bytes"`
	MaxAge    string          `json:"max_age,omitempty"`
	Replicas  int             `json:"replicas"`
	LastSeq   uint64          `json:"last_seq"`
	Consumers []consumerState `json:"consumers,omitempty"`
}

// consumerState is a durable consumer as it stands on the server.
type consumerState struct {
	Consumer   string `json:"consumer"`
	Waiting    uint64 `json:"waiting"`     // not delivered yet
	Unfinished int    `json:"unfinished"`  // delivered, not acknowledged
	AckFloor   uint64 `json:"ack_floor"`   // all up to this sequence is done
	Redeliver  int    `json:"redelivered"` // of the unfinished, delivered more than once
}

func (c *cli) topologyShow(ctx context.Context) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	var streams []streamState
	for _, name := range cl.names.Streams() {
		state, err := cl.streamState(ctx, name)
		if err != nil {
			return err
		}
		streams = append(streams, state)
	}
	if c.wantJSON {
		for _, s := range streams {
			if err := c.printJSON(s); err != nil {
				return err
			}
		}
		return nil
	}
	return c.printStreams(streams)
}

func (cl *client) streamState(ctx context.Context, name string) (streamState, error) {
	state := streamState{Stream: name}
	stream, err := cl.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		state.Missing = true
		return state, nil
	}
	if err != nil {
		return state, err
	}
	info := stream.CachedInfo()
	state.Messages, state.Bytes, state.LastSeq = info.State.Msgs, info.State.Bytes, info.State.LastSeq
	state.MaxBytes, state.Replicas = info.Config.MaxBytes, info.Config.Replicas
	if info.Config.MaxAge > 0 {
		state.MaxAge = daysWord(info.Config.MaxAge)
	}
	consumers := stream.ListConsumers(ctx)
	for i := range consumers.Info() {
		if i.Config.Durable != "" {
			state.Consumers = append(state.Consumers, consumerState{
				Consumer: i.Name, Waiting: i.NumPending, Unfinished: i.NumAckPending, AckFloor: i.AckFloor.Stream, Redeliver: i.NumRedelivered,
			})
		}
	}
	return state, consumers.Err()
}

func (c *cli) printStreams(streams []streamState) error {
	var rows, consumers [][]string
	for _, s := range streams {
		if s.Missing {
			rows = append(rows, []string{s.Stream, "missing", "", "", "", "", ""})
			continue
		}
		rows = append(rows, []string{s.Stream, strconv.FormatUint(s.Messages, 10), bytesWord(float64(s.Bytes)), bytesWord(float64(s.MaxBytes)),
			s.MaxAge, strconv.Itoa(s.Replicas), strconv.FormatUint(s.LastSeq, 10)})
		for _, k := range s.Consumers {
			consumers = append(consumers, []string{k.Consumer, strconv.FormatUint(k.Waiting, 10), strconv.Itoa(k.Unfinished),
				strconv.Itoa(k.Redeliver), strconv.FormatUint(k.AckFloor, 10)})
		}
	}
	if err := c.printTable([]string{"STREAM", "MESSAGES", "BYTES", "MAX BYTES", "MAX AGE", "REPLICAS", "LAST SEQ"}, rows); err != nil {
		return err
	}
	if len(consumers) == 0 {
		return nil
	}
	if err := c.printLine(""); err != nil {
		return err
	}
	return c.printTable([]string{"CONSUMER", "WAITING", "UNFINISHED", "REDELIVERED", "ACK FLOOR"}, consumers)
}

// bytesWord is a number of bytes as people read it.
func bytesWord(n float64) string {
	if n < 0 {
		return "no limit"
	}
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if n < 1024 {
			return strings.TrimSuffix(strconv.FormatFloat(n, 'f', 1, 64), ".0") + " " + unit
		}
		n /= 1024
	}
	return strconv.FormatFloat(n, 'f', 1, 64) + " TiB"
}

// daysWord is a duration in days, if it is whole days.
func daysWord(d time.Duration) string {
	const day = 24 * time.Hour
	if d%day != 0 {
		return d.String()
	}
	return strconv.Itoa(int(d/day)) + " days"
}
