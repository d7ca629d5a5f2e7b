package natsjs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events/checkup"
)

// checkConsumers holds the consumers against the topology. What is the same with several is one finding.
func (c *Checkup) checkConsumers(ctx context.Context, found *checkup.Found) error {
	for _, of := range []struct {
		stream string
		want   []jetstream.ConsumerConfig
	}{{c.names.Commands(), c.topology.consumers()}, {c.names.Tasks(), c.topology.tasks()}} {
		s, err := c.stream(ctx, of.stream)
		if err != nil {
			return err
		}
		if s == nil {
			continue // said elsewhere
		}
		have, err := consumersOf(ctx, s)
		if err != nil {
			return err
		}
		before := found.Len()
		compareConsumers(have, of.want, found)
		if found.Len() == before {
			found.OK("consumer.settings", of.stream, "all %d are there, as the settings say", len(of.want))
		}
		if of.stream == c.names.Commands() {
			if err := c.checkUndelivered(ctx, s, have, found); err != nil {
				return err
			}
		}
	}
	return nil
}

func compareConsumers(have map[string]*jetstream.ConsumerInfo, wanted []jetstream.ConsumerConfig, found *checkup.Found) {
	groups := consumerGroups{}
	for _, want := range wanted {
		name := want.Durable
		if elsewhere := takenElsewhere(want, have); elsewhere != "" {
			found.Add(checkup.Finding{Severity: checkup.Error, Code: "consumer.taken", Of: name, What: elsewhere, Promise: true,
				Why: "a kind that two consumers deliver runs twice", Do: "delete the consumer that should not be there: nats consumer rm"})
			continue
		}
		info, there := have[name]
		if !there {
			groups.add(checkup.Finding{Severity: checkup.Error, Code: "consumer.missing", What: "missing",
				Why: "commands of these partitions are not delivered to anybody", Do: "start a worker, or " + applyTopology}, name)
			continue
		}
		if info.Paused {
			groups.add(checkup.Finding{Severity: checkup.Error, Code: "consumer.paused", What: "paused",
				Why: "commands of these partitions wait until the pause is over", Do: "nats consumer resume " + info.Stream + " CONSUMER"}, name)
		}
		compareConsumer(&info.Config, want, groups)
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		g := groups[key]
		g.finding.Of = some(g.names)
		found.Add(g.finding)
	}
}

func compareConsumer(have *jetstream.ConsumerConfig, want jetstream.ConsumerConfig, groups consumerGroups) {
	want.FilterSubjects = union(filtersOf(have), want.FilterSubjects)
	for _, f := range consumerFields() {
		from, to := f.show(have), f.show(&want)
		if from == to {
			continue
		}
		one := checkup.Finding{Severity: checkup.Warning, Code: "consumer." + f.name, Do: applyTopology,
			What: fmt.Sprintf("%s is %s, and the settings say %s", f.name, from, to), Why: "deliveries do not go as the settings say"}
		switch f.name {
		case "max_deliver":
			one.Severity, one.Promise, one.Why = checkup.Error, true, "a command that was delivered so often is given up, without an outcome"
		case "ack_policy", "deliver_policy":
			one.Severity, one.Promise, one.Why = checkup.Error, true, "commands count as done that are not, or are never delivered"
		case "headers_only":
			one.Severity, one.Promise, one.Why = checkup.Error, true, "every command arrives without its data, and is given up as one that cannot be decoded"
		case "inactive_threshold":
			one.Why = "the server removes the consumer when nobody has asked for so long, and all stored commands are delivered once more when it is made again"
		case "priority_policy", "priority_groups":
			one.Severity, one.Promise, one.Why = checkup.Error, true, "a partition without one owner goes to several workers at once"
		case "filters":
			one.What, one.Why = "not all kinds are delivered", "commands of the other kinds wait"
		}
		if f.take == nil {
			one.Do = f.why
		}
		groups.add(one, have.Durable)
	}
}

// consumerGroups joins what is found of several consumers.
type consumerGroups map[string]*consumerGroup

type consumerGroup struct {
	finding checkup.Finding
	names   []string
}

func (g consumerGroups) add(f checkup.Finding, consumer string) {
	upstream, _, _ := strings.Cut(consumer, "-")
	key := f.Code + " " + upstream + " " + f.What
	if g[key] == nil {
		g[key] = &consumerGroup{finding: f}
	}
	g[key].names = append(g[key].names, consumer)
}

// checkUndelivered looks for commands on subjects that no consumer of workers delivers.
func (c *Checkup) checkUndelivered(ctx context.Context, s jetstream.Stream, have map[string]*jetstream.ConsumerInfo, found *checkup.Found) error {
	last := s.CachedInfo().State.LastSeq
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if d := have[name].Delivered.Stream; d > last && runsCommands(&have[name].Config) {
			found.Add(checkup.Finding{Severity: checkup.Error, Code: "stream.went_back", Of: c.names.Commands(),
				What: fmt.Sprintf("its last sequence is %d, and the consumer %s has had %d", last, name, d),
				Why:  "the stream is an older state than what was delivered from it, as after a lost disk or a restored backup: what is published now is not delivered until it is beyond",
				Do:   "stop the workers, delete the consumers of the stream, and " + applyTopology + ": all stored commands come once more, and what is done is only acknowledged"})
			break
		}
	}
	first, err := c.topology.orphan(ctx, s, have)
	if err != nil || first.seq == ^uint64(0) {
		return err
	}
	found.Add(checkup.Finding{Severity: checkup.Error, Code: "commands.undelivered", Of: c.names.Commands(),
		What: fmt.Sprintf("%s, and command %d waits there", first.by, first.seq),
		Why:  "such commands never run", Do: applyTopology})
	return nil
}
