// Package natsjs is everything subrelay asks of NATS JetStream: topology, the CloudEvents binding, publisher, ledger,
// partitions and lanes, outcomes reader, dead letters, and the embedded server.
package natsjs
