package main

import (
	"subrelay/adapters/natsjs"
)

// topology is everything that the streams' settings ask of the server.
func (c *Config) topology() (*natsjs.Topology, error) {
	s := c.Streams
	return natsjs.NewTopology(natsjs.TopologySettings{
		Names: c.names(), Partitions: s.Partitions, Replicas: s.Replicas,
		CommandsMaxBytes: s.CommandsMaxBytes, OutcomesMaxBytes: s.OutcomesMaxBytes, DeadMaxBytes: s.DeadMaxBytes,
		OutcomesMaxAge: s.OutcomesMaxAge, DeadMaxAge: s.DeadMaxAge, CommandsKeep: s.CommandsKeep,
		DuplicateWindow: s.DuplicateWindow, MaxMsgSize: s.MaxMsgSize,
		AckWait: s.AckWait, PinnedTTL: s.PinnedTTL, MaxAckPending: s.MaxAckPending,
	})
}

// withDefaults fills in the topology's defaults.
func (s StreamsConfig) withDefaults(t natsjs.TopologySettings) StreamsConfig {
	return StreamsConfig{
		ManagedElsewhere: s.ManagedElsewhere, Partitions: t.Partitions, Replicas: t.Replicas,
		CommandsMaxBytes: t.CommandsMaxBytes, OutcomesMaxBytes: t.OutcomesMaxBytes, DeadMaxBytes: t.DeadMaxBytes,
		OutcomesMaxAge: t.OutcomesMaxAge, DeadMaxAge: t.DeadMaxAge, CommandsKeep: t.CommandsKeep,
		DuplicateWindow: t.DuplicateWindow, MaxMsgSize: t.MaxMsgSize,
		AckWait: t.AckWait, PinnedTTL: t.PinnedTTL, MaxAckPending: t.MaxAckPending,
	}
}
