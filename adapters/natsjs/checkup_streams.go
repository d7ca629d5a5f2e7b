package natsjs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events/checkup"
)

// CodeNoStream is the code of the finding that a stream is missing.
const CodeNoStream = "stream.missing"

// Replicas, in production: so many that one server may be lost without a write.
const productionReplicas = 3

// The shares of a stream's limits from which on it is worth a word.
const (
	fillingUp  = 0.80
	nearlyGone = 0.95
)

// checkStreams holds each stream against the topology.
func (c *Checkup) checkStreams(ctx context.Context, found *checkup.Found) error {
	for _, want := range c.topology.streams() {
		s, err := c.stream(ctx, want.Name)
		if err != nil {
			return err
		}
		if s == nil {
			found.Add(checkup.Finding{
				Severity: checkup.Error, Code: CodeNoStream, Of: want.Name, What: "there is no such stream",
				Why: "without it nothing can be published, run or remembered", Do: "start a worker, or " + applyTopology + "; is the prefix right?",
			})
			continue
		}
		c.checkStream(s.CachedInfo(), want, found)
	}
	return nil
}

func (c *Checkup) checkStream(info *jetstream.StreamInfo, want jetstream.StreamConfig, found *checkup.Found) {
	have, name := info.Config, info.Config.Name
	if refused := c.topology.foreign(&have); refused != nil {
		found.Add(checkup.Finding{Severity: checkup.Error, Code: "stream.foreign", Of: name, What: refused[0], Promise: true,
			Why: "two installations in one stream run each other's commands", Do: "set prefix as it was, or choose another one"})
		return
	}
	before := found.Len()
	c.compareStream(&have, want, found)
	c.checkReplicas(info, found)
	checkPeers(info, found)
	checkFill(info, found)
	if have.AllowMsgTTL && c.carriesPromise(name) {
		found.Add(checkup.Finding{Severity: checkup.Warning, Code: "stream.message_ttl", Of: name, Promise: true,
			What: "it takes messages that bring an age limit of their own", Why: "whoever publishes can have a message vanish before it was done or remembered",
			Do: "the server cannot take it back: begin a new installation under another prefix, or let nobody set Nats-TTL"})
	}
	if found.Len() == before {
		found.OK("stream.settings", name, "as the settings say: %s, %s, %s",
			counted(have.Replicas, "replica", "replicas"), strings.ToLower(have.Storage.String()), fillOf(info))
	}
}

// carriesPromise tells the streams that hold what must not be lost from those that come again by themselves.
func (c *Checkup) carriesPromise(name string) bool {
	return slices.Contains([]string{c.names.Commands(), c.names.Outcomes(), c.names.DeadLetters()}, name)
}

// compareStream reports every setting that differs from the topology's.
func (c *Checkup) compareStream(have *jetstream.StreamConfig, want jetstream.StreamConfig, found *checkup.Found) {
	want.Subjects = union(have.Subjects, want.Subjects)
	want.DenyDelete, want.DenyPurge = want.DenyDelete || have.DenyDelete, want.DenyPurge || have.DenyPurge
	object := "stream"
	if strings.HasPrefix(want.Name, bucketStream) {
		object = "bucket"
	}
	for _, f := range fieldsOf(object) {
		from, to := f.show(have), f.show(&want)
		if from == to {
			continue
		}
		one := c.differs(f.name, have, &want)
		one.Of, one.What = have.Name, fmt.Sprintf("%s is %s, and the settings say %s", f.name, from, to)
		one.Code = "stream." + strings.ReplaceAll(f.name, " ", "_")
		switch {
		case f.take == nil:
			one.Do = "restore the setting as it was, or begin a new installation under another prefix: it cannot be changed"
		case one.Do == "":
			one.Do = applyTopology
		}
		found.Add(one)
	}
}

// differs says what it means that a setting of a stream is not as it should be.
func (c *Checkup) differs(field string, have, want *jetstream.StreamConfig) checkup.Finding {
	broken := func(why string) checkup.Finding {
		return checkup.Finding{Severity: checkup.Error, Promise: true, Why: why}
	}
	ledger := have.Name == c.names.Outcomes()
	if c.carriesPromise(have.Name) {
		switch field {
		case "storage":
			return broken("what is kept in memory is gone when the server ends")
		case "retention":
			return broken("another policy than limits removes messages by itself, done or not")
		case "subject transform":
			return broken("it decides which worker runs a key: with another one two may run it at once")
		case "discard":
			return broken("a full stream then drops its oldest messages, without a word; it must refuse new ones")
		case "max_msgs_per_subject":
			return broken("an older message of the same subject is dropped for a newer one, done or not")
		case "allow_rollup_hdrs":
			return broken("whoever publishes with Nats-Rollup removes what was stored before, done or not")
		case "no_ack":
			return checkup.Finding{Severity: checkup.Error, Why: "the server does not say that it has stored anything: publishing fails, and nothing is started"}
		case "consumer_limits.inactive_threshold":
			return checkup.Finding{Severity: checkup.Warning, Why: "the server removes consumers when nobody has asked for so long, and all stored commands are delivered once more when they are made again"}
		case "max_age":
			return c.differsInAge(have, want)
		case "allow_direct":
			if ledger {
				return broken("the ledger could be read from a replica that lags behind, and workers refuse to use it")
			}
		case "deny_delete", "deny_purge":
			return checkup.Finding{Severity: checkup.Warning, Promise: ledger, Why: "a ledger that can be purged forgets what was done, and a redelivery would do it again"}
		case "republish":
			return checkup.Finding{Severity: checkup.Error, Why: "subscribers are told of outcomes by the republished copy: they hear nothing"}
		case "subjects":
			return checkup.Finding{Severity: checkup.Warning, Why: "whoever publishes on a subject that the stream does not listen on is refused"}
		case "duplicate_window":
			return checkup.Finding{Severity: checkup.Note, Why: "a command sent twice within it is stored once; beyond it the ledger sees to it"}
		}
	}
	return checkup.Finding{Severity: checkup.Warning, Why: "the installation does not behave as its settings say"}
}

func (c *Checkup) differsInAge(have, want *jetstream.StreamConfig) checkup.Finding {
	f := checkup.Finding{Severity: checkup.Warning, Why: "messages are kept longer or shorter than the settings say"}
	switch {
	case have.Name == c.names.Commands():
		f = checkup.Finding{Severity: checkup.Error, Promise: true, Why: "an age limit drops commands that were never run, and the acknowledgements pass them"}
	case have.Name == c.names.Outcomes() && have.MaxAge > 0 && have.MaxAge < want.MaxAge:
		f = checkup.Finding{Severity: checkup.Error, Promise: true,
			Why: "the ledger forgets sooner than workers believe: a command that comes again after that is done twice"}
	}
	return f
}

// checkReplicas says where the loss of one server's disk can lose what was acknowledged.
func (c *Checkup) checkReplicas(info *jetstream.StreamInfo, found *checkup.Found) {
	if n := info.Config.Replicas; c.carriesPromise(info.Config.Name) && n < productionReplicas {
		found.Add(checkup.Finding{
			Severity: checkup.Warning, Code: "stream.few_replicas", Of: info.Config.Name, Promise: true,
			What: fmt.Sprintf("it has %s", counted(n, "replica", "replicas")),
			Why:  "with fewer than 3 one lost disk loses acknowledged commands or the ledger, and one stopped server stops everything",
			Do:   "run three NATS servers, set streams.replicas: 3, and " + applyTopology,
		})
	}
}

// checkPeers reports replicas that are away or behind. A server without a cluster has none.
func checkPeers(info *jetstream.StreamInfo, found *checkup.Found) {
	cl := info.Cluster
	if cl == nil || info.Config.Replicas == 1 {
		return
	}
	if cl.Leader == "" {
		found.Add(checkup.Finding{Severity: checkup.Error, Code: "stream.no_leader", Of: info.Config.Name, What: "it has no leader",
			Why: "nothing can be stored in it or read from it", Do: "start the NATS servers that are down: nats server report jetstream"})
	}
	var bad []string
	for _, p := range cl.Replicas {
		switch {
		case p.Offline:
			bad = append(bad, p.Name+" is offline")
		case !p.Current && p.Lag > 0:
			bad = append(bad, fmt.Sprintf("%s is %d behind", p.Name, p.Lag))
		case p.Active > time.Minute:
			bad = append(bad, fmt.Sprintf("%s was last heard of %s ago", p.Name, p.Active.Round(time.Second)))
		}
	}
	if len(bad) > 0 {
		found.Add(checkup.Finding{Severity: checkup.Warning, Code: "stream.replica_away", Of: info.Config.Name, What: some(bad),
			Why: "one more that is lost, and nothing can be stored any more", Do: "start that server, or look at its log: nats server report jetstream"})
	}
}

// checkFill reports streams near their limits.
func checkFill(info *jetstream.StreamInfo, found *checkup.Found) {
	f := checkup.Finding{Code: "stream.nearly_full", Of: info.Config.Name, What: "it is nearly full: " + fillOf(info),
		Why: "publishing to a full stream fails, and from 95 % of the ledger on nothing new is started",
		Do:  "raise its max_bytes in the section streams, and " + applyTopology}
	switch {
	case nearlyFull(info, nearlyGone):
		f.Severity = checkup.Error
	case nearlyFull(info, fillingUp):
		f.Severity = checkup.Warning
	default:
		return
	}
	found.Add(f)
}

// fillOf is how much of a stream's limit is used, in words.
func fillOf(info *jetstream.StreamInfo) string {
	if info.Config.MaxBytes <= 0 {
		return counted(info.State.Msgs, "message", "messages")
	}
	return fmt.Sprintf("%s, %.1f %% of %d bytes", counted(info.State.Msgs, "message", "messages"),
		100*float64(info.State.Bytes)/float64(info.Config.MaxBytes), info.Config.MaxBytes)
}

// checkRetention holds the ledger's memory against how long commands can come again.
func (c *Checkup) checkRetention(_ context.Context, found *checkup.Found) error {
	s := c.topology.settings
	before := found.Len()
	if s.OutcomesMaxAge <= s.CommandsKeep {
		found.Add(checkup.Finding{
			Severity: checkup.Error, Code: "retention.ledger", Of: "streams.outcomes_max_age", Promise: true,
			What: fmt.Sprintf("the ledger forgets after %s, and commands are kept for %s", s.OutcomesMaxAge, s.CommandsKeep),
			Why:  "of a command that is still in its stream and no longer in the ledger nobody knows whether it was done: it is not run any more, but put into the dead letters (stale)",
			Do:   fmt.Sprintf("set streams.outcomes_max_age above streams.commands_keep, at %s or more", s.CommandsKeep+s.CommandsKeep/2),
		})
	}
	if s.DeadMaxAge < s.OutcomesMaxAge {
		found.Add(checkup.Finding{
			Severity: checkup.Warning, Code: "retention.dead_letters", Of: "streams.dead_max_age",
			What: fmt.Sprintf("dead letters are forgotten after %s, sooner than their outcomes (%s)", s.DeadMaxAge, s.OutcomesMaxAge),
			Why:  "a doubt or a failure may outlive the only copy of its command", Do: "set streams.dead_max_age to streams.outcomes_max_age or more",
		})
	}
	if s.Replicas < productionReplicas {
		found.Add(checkup.Finding{
			Severity: checkup.Warning, Code: "settings.replicas", Of: "streams.replicas", Promise: true,
			What: fmt.Sprintf("the settings ask for %s", counted(s.Replicas, "replica", "replicas")),
			Why:  "with fewer than 3 one lost disk loses acknowledged commands or the ledger", Do: "set streams.replicas: 3, with three NATS servers",
		})
	}
	if found.Len() == before {
		found.OK("retention.ledger", "", "the ledger remembers for %s, commands are kept for %s, dead letters for %s", s.OutcomesMaxAge, s.CommandsKeep, s.DeadMaxAge)
	}
	return nil
}
