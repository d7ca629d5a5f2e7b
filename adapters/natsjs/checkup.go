package natsjs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
	"subrelay/events/checkup"
)

// CheckupSettings say what a Checkup holds the broker against.
type CheckupSettings struct {
	Topology *Topology
	// URL is where the connection of the check-up was asked to go, as the settings have it.
	URL string
	// Upstreams are those that are configured: somebody should serve them.
	Upstreams []events.Upstream
	// Monitors are the addresses of the servers' monitoring, such as http://nats-1:8222: only there can be seen whether a
	// server flushes each write. Default none.
	Monitors []string
	// MonitorCAFile is a PEM file of the authorities to trust there, beside the system's. Default: the system's alone.
	MonitorCAFile string
	// Role is whose rights the user of the connection is to have; default: none are looked at.
	Role Role
	// Manage says that workers manage the streams themselves, which takes more rights; see AccessOptions.
	Manage bool
	// WaitingLong is the age from which a waiting command is worth a warning; default 10 minutes.
	WaitingLong time.Duration
}

// Checkup looks at a broker, and at what it holds of ours, as a person with the rights of the connection can. It changes
// nothing: it reads information, reads messages by ephemeral consumers without acknowledgements, and publishes nothing
// that a stream would store. It may be shared.
type Checkup struct {
	js       jetstream.JetStream
	settings CheckupSettings
	topology *Topology
	names    Names
}

// NewCheckup is a check-up over the connection of js.
func NewCheckup(js jetstream.JetStream, s CheckupSettings) *Checkup {
	if s.WaitingLong == 0 {
		s.WaitingLong = 10 * time.Minute
	}
	return &Checkup{js: js, settings: s, topology: s.Topology, names: s.Topology.settings.Names}
}

// Checks is everything but the audit.
func (c *Checkup) Checks() []checkup.Check {
	n := c.names
	bucket := bucketStream + n.Workers()
	return append(c.PromiseChecks(), []checkup.Check{
		{Name: "account limits", Run: c.checkAccount, Needs: requests("INFO")},
		{Name: "rights", Run: c.checkRights},
		{Name: "workers", Run: c.checkWorkers, Timeout: time.Minute,
			Needs: slices.Concat(c.toListConsumers(), requests("STREAM.INFO.%s", bucket), requests("STREAM.MSG.GET.%s", bucket), requests("DIRECT.GET.%s.>", bucket))},
		{Name: "waiting commands", Run: c.checkWaiting, Timeout: time.Minute, Needs: c.toFindWaiting()},
		{Name: "clocks of workers", Run: c.checkWorkerClocks, Needs: toRead(n.Outcomes())},
	}...)
}

// PromiseChecks are those that a worker makes at its start in production: quick, and about what can break the promise.
func (c *Checkup) PromiseChecks() []checkup.Check {
	n := c.names
	return []checkup.Check{
		{Name: "connection", Run: c.checkConnection},
		{Name: "servers", Run: c.checkServers},
		{Name: "sync_interval", Run: c.checkSync},
		{Name: "streams", Run: c.checkStreams, Needs: requests("STREAM.INFO.%s", append(n.Streams(), bucketStream+n.Workers())...)},
		{Name: "consumers", Run: c.checkConsumers, Needs: append(requests("CONSUMER.LIST.%s", n.Tasks()), c.toFindWaiting()...)},
		{Name: "retention", Run: c.checkRetention},
	}
}

// requests is the subjects of JetStream's API on which such requests go; %s stands for each of the streams.
func requests(what string, streams ...string) []string {
	if len(streams) == 0 {
		return []string{"$JS.API." + what}
	}
	var all []string
	for _, s := range streams {
		all = append(all, "$JS.API."+fmt.Sprintf(what, s))
	}
	return all
}

// toListConsumers is the subjects on which is asked for the consumers of commands, toFindWaiting those for commands, too.
func (c *Checkup) toListConsumers() []string {
	return append(requests("STREAM.INFO.%s", c.names.Commands()), requests("CONSUMER.LIST.%s", c.names.Commands())...)
}

func (c *Checkup) toFindWaiting() []string {
	return append(c.toListConsumers(), requests("STREAM.MSG.GET.%s", c.names.Commands())...)
}

// toRead is the subjects on which a scan of streams asks.
func toRead(streams ...string) []string {
	return slices.Concat(requests("STREAM.INFO.%s", streams...), requests("CONSUMER.CREATE.%s.>", streams...),
		requests("CONSUMER.MSG.NEXT.%s.*", streams...), requests("CONSUMER.INFO.%s.*", streams...))
}

// checkTimeout bounds each request of a check.
const checkTimeout = 5 * time.Second

// stream reads a stream's information; nil without an error where there is no such stream.
func (c *Checkup) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	s, err := c.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	return s, brokerError("reading stream "+name, err)
}

// some lists names for people, a few of them by name.
func some(names []string) string {
	const most = 5
	names = slices.Sorted(slices.Values(names))
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// counted is n things, in words.
func counted[N int | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

const applyTopology = "subrelay topology apply --config FILE (subrelay topology diff shows what it would do)"
