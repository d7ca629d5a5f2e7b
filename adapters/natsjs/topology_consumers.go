package natsjs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

// consumers is the declarative list of consumers: one for each upstream and partition.
func (t *Topology) consumers() []jetstream.ConsumerConfig {
	s := t.settings
	var all []jetstream.ConsumerConfig
	for _, u := range t.Upstreams() {
		for p := range s.Partitions {
			c := jetstream.ConsumerConfig{
				Durable: s.Names.Consumer(u, p), Description: fmt.Sprintf("commands for %s, partition %d", u, p),
				AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverAllPolicy, ReplayPolicy: jetstream.ReplayInstantPolicy,
				MaxDeliver: -1, AckWait: s.AckWait, MaxAckPending: s.MaxAckPending,
				PriorityPolicy: jetstream.PriorityPolicyPinned, PriorityGroups: []string{PinGroup}, PinnedTTL: s.PinnedTTL,
			}
			for _, kind := range t.kindsOf(u) {
				c.FilterSubjects = append(c.FilterSubjects, s.Names.Filters(p, kind)...)
			}
			all = append(all, c)
		}
	}
	return all
}

func (t *Topology) kindsOf(u events.Upstream) []events.Kind {
	var kinds []events.Kind
	for _, s := range t.settings.Specs {
		if s.Upstream == u {
			kinds = append(kinds, s.Kind)
		}
	}
	return kinds
}

// tasks is the declarative list of the consumers of tasks, one for each. A tick that was handed out stays pending, and
// no more than one is handed out: so one worker at a time has it, and another gets it AckWait after that one falls
// silent.
func (t *Topology) tasks() []jetstream.ConsumerConfig {
	var all []jetstream.ConsumerConfig
	for _, task := range Tasks() {
		all = append(all, jetstream.ConsumerConfig{
			Durable: task, Description: "the tick of the task " + task, FilterSubjects: []string{t.settings.Names.Task(task)},
			AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverAllPolicy, ReplayPolicy: jetstream.ReplayInstantPolicy,
			MaxDeliver: -1, AckWait: t.settings.AckWait, MaxAckPending: 1,
		})
	}
	return all
}

// planConsumers compares the consumers on the server with the lists. Filters are merged, never narrowed.
func (t *Topology) planConsumers(ctx context.Context, js jetstream.JetStream) (steps []step, refusals []string, err error) {
	n := t.settings.Names
	steps, refusals, err = t.planConsumersOf(ctx, js, n.Commands(), t.consumers())
	if err != nil {
		return nil, nil, err
	}
	more, refused, err := t.planConsumersOf(ctx, js, n.Tasks(), t.tasks())
	return append(steps, more...), append(refusals, refused...), err
}

func (t *Topology) planConsumersOf(ctx context.Context, js jetstream.JetStream, name string, wanted []jetstream.ConsumerConfig,
) (steps []step, refusals []string, err error) {
	have, stream, err := readConsumers(ctx, js, name)
	if err != nil {
		return nil, nil, err
	}
	for _, want := range wanted {
		if refused := takenElsewhere(want, have); refused != "" {
			refusals = append(refusals, refused)
			continue
		}
		s, refused, err := t.planConsumer(ctx, js, name, stream, have, want)
		if err != nil {
			return nil, nil, err
		}
		refusals = append(refusals, refused...)
		if s != nil {
			steps = append(steps, *s)
		}
	}
	return steps, refusals, nil
}

// readConsumers reads all consumers of a stream by name; none, and no stream, where it does not exist.
func readConsumers(ctx context.Context, js jetstream.JetStream, name string) (map[string]*jetstream.ConsumerInfo, jetstream.Stream, error) {
	stream, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, brokerError("reading stream "+name, err)
	}
	all, err := consumersOf(ctx, stream)
	return all, stream, err
}

func consumersOf(ctx context.Context, stream jetstream.Stream) (map[string]*jetstream.ConsumerInfo, error) {
	all := map[string]*jetstream.ConsumerInfo{}
	lister := stream.ListConsumers(ctx)
	for info := range lister.Info() {
		all[info.Name] = info
	}
	if err := lister.Err(); err != nil {
		return nil, brokerError("reading the consumers of "+stream.CachedInfo().Config.Name, err)
	}
	return all, nil
}

func (t *Topology) planConsumer(ctx context.Context, js jetstream.JetStream, name string, stream jetstream.Stream,
	all map[string]*jetstream.ConsumerInfo, want jetstream.ConsumerConfig,
) (*step, []string, error) {
	info, ok := all[want.Durable]
	if !ok {
		return &step{Change{Action: Create, Object: "consumer", Name: want.Durable}, func(ctx context.Context) error {
			_, err := js.CreateConsumer(ctx, name, want)
			if errors.Is(err, jetstream.ErrConsumerExists) {
				return errLockLost // somebody was faster: compare again
			}
			return err
		}}, nil, nil
	}
	have := info.Config
	added, err := t.overlooked(ctx, stream, &have, &want)
	if err != nil || added != "" {
		return nil, []string{added}, err
	}
	want.FilterSubjects = union(filtersOf(&have), want.FilterSubjects)
	changes, refused := merge("the consumer "+want.Durable, consumerFields(), &have, &want)
	if len(changes) == 0 {
		return nil, refused, nil
	}
	return &step{Change{Action: Update, Object: "consumer", Name: want.Durable, Fields: changes}, func(ctx context.Context) error {
		_, err := js.UpdateConsumer(ctx, name, have)
		return err
	}}, refused, nil
}

// overlooked refuses to widen a filter by a kind of which messages are stored already: the consumer would never see
// them. It happens only when somebody added the kind's subject to the stream by hand, or changed the consumer.
func (t *Topology) overlooked(ctx context.Context, stream jetstream.Stream, have, want *jetstream.ConsumerConfig) (string, error) {
	for _, f := range want.FilterSubjects {
		if slices.Contains(filtersOf(have), f) {
			continue
		}
		first, err := nextOn(ctx, stream, f, 1)
		if err != nil {
			return "", err
		}
		if first == ^uint64(0) {
			continue
		}
		return fmt.Sprintf("commands on %s are stored already (the first has sequence %d), and the consumer %s does not listen there: "+
			"if its filter were widened now it would never deliver them. Stop the workers, delete the consumer %s, and apply again: "+
			"it will go through all stored commands once more, and what is done is only acknowledged", f, first, want.Durable, want.Durable), nil
	}
	return "", nil
}

// takenElsewhere refuses a kind that the consumers of another upstream deliver: it would run twice.
func takenElsewhere(want jetstream.ConsumerConfig, all map[string]*jetstream.ConsumerInfo) string {
	for name, info := range all {
		if name == want.Durable || !runsCommands(&info.Config) {
			continue
		}
		for _, f := range want.FilterSubjects {
			if slices.Contains(filtersOf(&info.Config), f) {
				return fmt.Sprintf("%s is delivered by the consumer %s already, and the settings give it to %s: "+
					"a kind cannot move to another upstream, because its commands would run twice", f, name, want.Durable)
			}
		}
	}
	return ""
}

// runsCommands tells a consumer of workers, of any version, from one that an operator made to look at commands.
func runsCommands(c *jetstream.ConsumerConfig) bool {
	return c.AckPolicy == jetstream.AckExplicitPolicy && c.PriorityPolicy == jetstream.PriorityPolicyPinned
}

func filtersOf(c *jetstream.ConsumerConfig) []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return c.FilterSubjects
}

// consumerFields are the settings we care for. All others stay as they are.
func consumerFields() []field[jetstream.ConsumerConfig] {
	type C = jetstream.ConsumerConfig
	const again = "the server cannot change it; stop the workers, delete the consumer, and apply again"
	show := func(get func(*C) any) func(*C) string { return func(c *C) string { return fmt.Sprint(get(c)) } }
	return []field[C]{
		{"ack_policy", show(func(c *C) any { return c.AckPolicy }), nil, again},
		{"deliver_policy", show(func(c *C) any { return c.DeliverPolicy }), nil, again},
		{"filters", func(c *C) string { return list(sorted(filtersOf(c))) },
			func(d, s *C) { d.FilterSubject, d.FilterSubjects = "", s.FilterSubjects }, ""},
		{"max_deliver", show(func(c *C) any { return c.MaxDeliver }), func(d, s *C) { d.MaxDeliver = s.MaxDeliver }, ""},
		{"ack_wait", show(func(c *C) any { return c.AckWait }), func(d, s *C) { d.AckWait = s.AckWait }, ""},
		{"max_ack_pending", show(func(c *C) any { return c.MaxAckPending }), func(d, s *C) { d.MaxAckPending = s.MaxAckPending }, ""},
		{"priority_policy", show(func(c *C) any { return c.PriorityPolicy }),
			func(d, s *C) {
				d.PriorityPolicy, d.PriorityGroups, d.PinnedTTL = s.PriorityPolicy, s.PriorityGroups, s.PinnedTTL
			}, ""},
		{"priority_groups", func(c *C) string { return list(c.PriorityGroups) }, func(d, s *C) { d.PriorityGroups = s.PriorityGroups }, ""},
		{"pinned_ttl", show(func(c *C) any { return c.PinnedTTL }), func(d, s *C) { d.PinnedTTL = s.PinnedTTL }, ""},
		{"headers_only", show(func(c *C) any { return c.HeadersOnly }), func(d, s *C) { d.HeadersOnly = s.HeadersOnly }, ""},
		{"backoff", show(func(c *C) any { return c.BackOff }), func(d, s *C) { d.BackOff, d.AckWait = s.BackOff, s.AckWait }, ""},
		{"inactive_threshold", show(func(c *C) any { return c.InactiveThreshold }), func(d, s *C) { d.InactiveThreshold = s.InactiveThreshold }, ""},
	}
}
