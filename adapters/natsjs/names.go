package natsjs

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"subrelay/events"
)

// DefaultPrefix is the first token of every subject of ours.
const DefaultPrefix = "subrelay"

// Names builds every subject, stream, bucket and consumer name from the prefix. It is the only place that does.
// The zero value uses DefaultPrefix. The prefix never changes event types.
type Names struct {
	Prefix string // one subject token; default DefaultPrefix
}

func (n Names) prefix() string {
	if n.Prefix == "" {
		return DefaultPrefix
	}
	return n.Prefix
}

// Validate says what is wrong with the prefix: it must be one token of lower-case letters, digits, "-" and "_", because
// streams and buckets are named after it too.
func (n Names) Validate() error {
	for _, c := range n.prefix() {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return fmt.Errorf("the subject prefix %q must consist of lower-case letters, digits, - and _", n.Prefix)
		}
	}
	if len(n.prefix()) > maxPrefix {
		return errors.New("the subject prefix is longer than 32 characters")
	}
	return nil
}

const maxPrefix = 32

// stream names the stream or bucket of this installation, such as SUBRELAY_COMMANDS.
func (n Names) stream(what string) string {
	return strings.ToUpper(strings.ReplaceAll(n.prefix(), "-", "_")) + "_" + what
}

// Commands is the name of the stream that holds commands.
func (n Names) Commands() string { return n.stream("COMMANDS") }

// Outcomes is the name of the stream that holds outcomes: the ledger.
func (n Names) Outcomes() string { return n.stream("OUTCOMES") }

// DeadLetters is the name of the stream that holds dead letters.
func (n Names) DeadLetters() string { return n.stream("DEADLETTERS") }

// Tasks is the name of the stream that holds the ticks of tasks.
func (n Names) Tasks() string { return n.stream("TASKS") }

// Streams is the names of all streams, without that under the presence bucket.
func (n Names) Streams() []string {
	return []string{n.Commands(), n.Outcomes(), n.DeadLetters(), n.Tasks()}
}

// Workers is the name of the presence bucket.
func (n Names) Workers() string { return n.prefix() + "-workers" }

// presence is what comes before a worker's key in the subjects of the presence bucket.
func (n Names) presence() string { return "$KV." + n.Workers() + "." }

// topologyLock is the key of the presence bucket that whoever changes the topology holds for moments. It is no worker:
// names of workers have no dot.
func (n Names) topologyLock() string { return "lock.topology" }

func isWorker(presenceKey string) bool { return !strings.Contains(presenceKey, ".") }

// WorkersChanged is the core subject on which workers tell each other that one has come or gone.
func (n Names) WorkersChanged() string { return n.prefix() + ".workers.changed" }

// Command is where billing publishes a command: <prefix>.cmd.<kind>.<key>. kind and key may be wildcards.
func (n Names) Command(kind events.Kind, key string) string {
	return n.prefix() + ".cmd." + string(kind) + "." + key
}

// Stored is where the command stream keeps it: <prefix>.cmdp.<partition>.<kind>.<key>.
func (n Names) Stored(partition int, kind events.Kind, key string) string {
	return n.prefix() + ".cmdp." + strconv.Itoa(partition) + "." + string(kind) + "." + key
}

// Partition is the partition of a key token among partitions: FNV-1a modulo partitions, as the server's subject
// transform computes it.
func (n Names) Partition(key string, partitions int) int { return PartitionOf(key, partitions) }

// PartitionOf is Names.Partition, which does not depend on the names.
func PartitionOf(key string, partitions int) int {
	const offset, prime = 2166136261, 16777619
	h := uint32(offset)
	for i := range len(key) {
		h = (h ^ uint32(key[i])) * prime
	}
	return int(h % uint32(partitions))
}

// commandTransform is how the command stream rewrites the subjects it listens on to those it stores.
func (n Names) commandTransform(partitions int) (source, destination string) {
	return n.Command("*", "*"),
		fmt.Sprintf("%s.cmdp.{{partition(%d,2)}}.{{wildcard(1)}}.{{wildcard(2)}}", n.prefix(), partitions)
}

// ledgerTransform is how the outcome stream rewrites the records of the ledger.
func (n Names) ledgerTransform() (source, destination string) {
	return n.prefix() + ".ledger.>", n.AllOutcomes()
}

// AllOutcomes matches every stored record of the ledger.
func (n Names) AllOutcomes() string { return n.prefix() + ".outcome.>" }

// AllEvents matches what the outcome stream keeps beside the ledger.
func (n Names) AllEvents() string { return n.prefix() + ".event.>" }

// ChargeEvent is where the outcome stream keeps what is told of a Netflix charge:
// <prefix>.event.netflix-charge.<status>.<key>.<number>. Every part is a token, and may be "*".
func (n Names) ChargeEvent(status, key, number string) string {
	return n.prefix() + ".event.netflix-charge." + status + "." + key + "." + number
}

// Task is the subject of a task's tick: <prefix>.task.<task>. The task may be "*".
func (n Names) Task(task string) string { return n.prefix() + ".task." + task }

// AllDead matches every dead letter and closing of one.
func (n Names) AllDead() string { return n.prefix() + ".dead.>" }

// Query is where a query is asked, by request-reply: <prefix>.query.<name>.
func (n Names) Query(name events.QueryName) string { return n.prefix() + ".query." + string(name) }

// Owns reports whether a subject, which may have wildcards, lies under the prefix: only we publish there.
func (n Names) Owns(subject string) bool {
	first, _, _ := strings.Cut(subject, ".")
	return first == n.prefix() || first == "*" || first == ">"
}

// kindOfCommand reads the kind from a subject of the command stream, <prefix>.cmd.<kind>.*.
func (n Names) kindOfCommand(subject string) (events.Kind, bool) {
	t := strings.Split(subject, ".")
	if len(t) != 4 || t[0] != n.prefix() || t[1] != "cmd" {
		return "", false
	}
	return events.Kind(t[2]), true
}

// strayPartition takes the commands that the server has kept on the subject they were published on: it transforms no
// subject with a wildcard for a token, "*" or ">". Such a command never runs, since no coded key is a wildcard.
const strayPartition = 0

func wildcardKey(key string) bool { return key == "*" || key == ">" }

// Filters are the subjects of one partition's commands of a kind.
func (n Names) Filters(partition int, kind events.Kind) []string {
	filters := []string{n.Stored(partition, kind, "*")}
	if partition == strayPartition {
		filters = append(filters, n.Command(kind, "*"))
	}
	return filters
}

// kept is the subject on which the command stream has a command with this key token.
func (n Names) kept(partition int, kind events.Kind, key string) string {
	if wildcardKey(key) {
		return n.Command(kind, key)
	}
	return n.Stored(partition, kind, key)
}

// ParseStored reads partition, kind and key token from a stored command's subject.
func (n Names) ParseStored(subject string) (partition int, kind events.Kind, key string, err error) {
	if t := strings.Split(subject, "."); len(t) == 4 && wildcardKey(t[3]) {
		if kind, ok := n.kindOfCommand(subject); ok {
			return strayPartition, kind, t[3], nil
		}
	}
	rest, ok := strings.CutPrefix(subject, n.prefix()+".cmdp.")
	t := strings.Split(rest, ".")
	if !ok || len(t) != 3 {
		return 0, "", "", fmt.Errorf("%q is no subject of a stored command", subject)
	}
	partition, err = strconv.Atoi(t[0])
	if err != nil {
		return 0, "", "", fmt.Errorf("%q is no subject of a stored command: its partition is no number", subject)
	}
	return partition, events.Kind(t[1]), t[2], nil
}

// Ledger is where workers, and nobody else, publish records: <prefix>.ledger.<kind>.<status>.<key>.<cid>.
func (n Names) Ledger(kind events.Kind, status events.Status, key, cid string) string {
	return n.prefix() + ".ledger." + string(kind) + "." + string(status) + "." + key + "." + cid
}

// Outcome is where the ledger keeps a record, and republishes it: <prefix>.outcome.<kind>.<status>.<key>.<cid>.
// Every part may be "*".
func (n Names) Outcome(kind, status, key, cid string) string {
	return n.prefix() + ".outcome." + kind + "." + status + "." + key + "." + cid
}

// History is the filter over the stored subjects of one command's records. Every conditional write names it, byte for
// byte the same: on a replicated stream the check is free of races only then.
func (n Names) History(key, cid string) string { return n.Outcome("*", "*", key, cid) }

// ParseOutcome reads the parts of a stored record's subject.
func (n Names) ParseOutcome(subject string) (kind events.Kind, status events.Status, key, cid string, err error) {
	rest, ok := strings.CutPrefix(subject, n.prefix()+".outcome.")
	t := strings.Split(rest, ".")
	if !ok || len(t) != 4 {
		return "", "", "", "", fmt.Errorf("%q is no subject of an outcome", subject)
	}
	return events.Kind(t[0]), events.Status(t[1]), t[2], t[3], nil
}

// StoredAnywhere filters stored commands in all partitions. kind and key may be "*".
func (n Names) StoredAnywhere(kind, key string) []string {
	filters := []string{n.prefix() + ".cmdp.*." + kind + "." + key}
	if key == "*" {
		filters = append(filters, n.Command(events.Kind(kind), key)) // strays
	}
	return filters
}

// Dead is the subject of a dead letter: <prefix>.dead.<reason>.<seq>.
func (n Names) Dead(reason events.Reason, seq uint64) string {
	return n.prefix() + ".dead." + string(reason) + "." + strconv.FormatUint(seq, 10)
}

// DeadAll filters the dead letters of a reason, which may be "*".
func (n Names) DeadAll(reason string) string { return n.prefix() + ".dead." + reason + ".*" }

// DeadOf filters everything the dead letters hold about the command with this sequence, the closing included.
func (n Names) DeadOf(seq uint64) string { return n.Dead("*", seq) }

// ParseDead reads the reason, or "closed", and the command's sequence from a dead letter's subject.
func (n Names) ParseDead(subject string) (reason events.Reason, seq uint64, err error) {
	rest, ok := strings.CutPrefix(subject, n.prefix()+".dead.")
	what, number, ok2 := strings.Cut(rest, ".")
	if seq, err = strconv.ParseUint(number, 10, 64); !ok || !ok2 || err != nil {
		return "", 0, fmt.Errorf("%q is no subject of a dead letter", subject)
	}
	return events.Reason(what), seq, nil
}

// DeadClosed is the subject that closes a dead letter.
func (n Names) DeadClosed(seq uint64) string { return n.Dead("closed", seq) }

// Consumer is the durable name of the consumer of one upstream's commands in one partition: <upstream>-<pp>.
func (n Names) Consumer(u events.Upstream, partition int) string {
	return fmt.Sprintf("%s-%02d", u, partition)
}
