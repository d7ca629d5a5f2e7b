package natsjs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

// PinGroup is the priority group of every command consumer; pulls must name it.
const PinGroup = "owner"

// The bounds and defaults of TopologySettings.
const (
	DefaultPartitions = 16
	MaxPartitions     = 256
	PresenceTTL       = 3 * time.Second
	// DefaultMaxAckPending is how many commands of one partition may be unfinished in a worker.
	DefaultMaxAckPending = 1000
)

// TopologySettings are what may differ between installations. The zero value of every field means its default.
type TopologySettings struct {
	Names Names
	Specs []events.Spec // the kinds this version knows; default events.Specs()
	// Partitions is fixed for the life of the command stream: it decides which worker runs a key. Default 16.
	Partitions int
	Replicas   int // default 1; 3 in production

	CommandsMaxBytes int64 // default 1 GiB; when it is reached, publishing commands fails
	OutcomesMaxBytes int64 // default 4 GiB; when it is nearly reached, nothing new is started
	DeadMaxBytes     int64 // default 512 MiB

	OutcomesMaxAge  time.Duration // how long a command is remembered; default 45 days
	DeadMaxAge      time.Duration // default 180 days
	CommandsKeep    time.Duration // how long a finished command is kept for replays; default 30 days
	DuplicateWindow time.Duration // of COMMANDS; default 10 minutes
	MaxMsgSize      int32         // of a command, in bytes with headers; default 256 KiB

	AckWait       time.Duration // default 5 s
	PinnedTTL     time.Duration // default 3 s; more than twice the expiry of pulls
	MaxAckPending int           // per consumer; default 1000
}

func (s TopologySettings) withDefaults() TopologySettings {
	const day = 24 * time.Hour
	if s.Specs == nil {
		s.Specs = events.Specs()
	}
	s.Partitions = cmp.Or(s.Partitions, DefaultPartitions)
	s.Replicas = cmp.Or(s.Replicas, 1)
	s.CommandsMaxBytes = cmp.Or(s.CommandsMaxBytes, 1<<30)
	s.OutcomesMaxBytes = cmp.Or(s.OutcomesMaxBytes, 4<<30)
	s.DeadMaxBytes = cmp.Or(s.DeadMaxBytes, 512<<20)
	s.OutcomesMaxAge = cmp.Or(s.OutcomesMaxAge, 45*day)
	s.DeadMaxAge = cmp.Or(s.DeadMaxAge, 180*day)
	s.CommandsKeep = cmp.Or(s.CommandsKeep, 30*day)
	s.DuplicateWindow = cmp.Or(s.DuplicateWindow, 10*time.Minute)
	s.MaxMsgSize = cmp.Or(s.MaxMsgSize, 256<<10)
	s.AckWait = cmp.Or(s.AckWait, 5*time.Second)
	s.PinnedTTL = cmp.Or(s.PinnedTTL, 3*time.Second)
	s.MaxAckPending = cmp.Or(s.MaxAckPending, DefaultMaxAckPending)
	return s
}

// Topology is everything subrelay needs to exist on a JetStream server, as one declarative list. It may be shared.
type Topology struct {
	settings TopologySettings
}

// NewTopology checks the settings and fills in the defaults.
func NewTopology(settings TopologySettings) (*Topology, error) {
	s := settings.withDefaults()
	if err := s.check(); err != nil {
		return nil, err
	}
	return &Topology{settings: s}, nil
}

var tokenShape = regexp.MustCompile(`^[a-z0-9_-]+$`)

func (s *TopologySettings) check() error {
	var errs []error
	must := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	must(s.Partitions > 0 && s.Partitions <= MaxPartitions, "partitions must be 1 to %d, not %d", MaxPartitions, s.Partitions)
	must(s.Replicas >= 1 && s.Replicas <= 5, "replicas must be 1 to 5, not %d", s.Replicas)
	must(len(s.Specs) > 0, "there is no kind of command")
	must(s.MaxMsgSize > 0 && s.MaxMsgSize <= 900<<10, "the largest message must leave room for a dead letter's headers: at most 900 KiB")
	must(s.CommandsMaxBytes > 0 && s.OutcomesMaxBytes > 0 && s.DeadMaxBytes > 0, "the sizes of streams must be positive")
	must(s.OutcomesMaxAge > s.DuplicateWindow, "outcomes must be kept longer than the duplicate window")
	must(s.CommandsKeep > 0, "commands must be kept for a positive time")
	errs = append(errs, s.Names.Validate())
	for i, spec := range s.Specs {
		must(tokenShape.MatchString(string(spec.Kind)) && tokenShape.MatchString(string(spec.Upstream)),
			"the kind %q of upstream %q cannot be a token of a subject", spec.Kind, spec.Upstream)
		must(!slices.ContainsFunc(s.Specs[:i], func(o events.Spec) bool { return o.Kind == spec.Kind }),
			"the kind %q is listed twice", spec.Kind)
	}
	return errors.Join(errs...)
}

// Settings are the settings with their defaults.
func (t *Topology) Settings() TopologySettings { return t.settings }

// Upstreams lists the upstreams of the known kinds, in order.
func (t *Topology) Upstreams() []events.Upstream {
	var all []events.Upstream
	for _, s := range t.settings.Specs {
		all = append(all, s.Upstream)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Plan says what Apply would do, in that order, and does nothing. It fails like Apply.
func (t *Topology) Plan(ctx context.Context, js jetstream.JetStream) ([]Change, error) {
	steps, err := t.plan(ctx, js)
	return changesOf(steps), err
}

// Apply creates what is missing, and updates what differs and may be changed; it returns what it did. Kinds and
// consumers that it does not know belong to another version, and stay. Any number of workers, of different versions
// too, may apply at once.
//
// Its errors are *events.Error: Refused, with code topology_refused, where the server holds what must not be changed
// (the message says what, and why); Unavailable where the server did not answer before ctx ended. What was done
// before an error stays done, is returned, and is harmless: Apply again.
func (t *Topology) Apply(ctx context.Context, js jetstream.JetStream) ([]Change, error) {
	steps, err := t.plan(ctx, js)
	if err != nil || len(steps) == 0 {
		return nil, err
	}
	if err := t.createBucket(ctx, js); err != nil {
		return nil, err
	}
	done := bucketChange(steps)
	for {
		lock, err := t.lock(ctx, js)
		if err != nil {
			return done, err
		}
		more, err := t.applyLocked(ctx, js, lock)
		lock.release(ctx)
		done = append(done, more...)
		if !errors.Is(err, errLockLost) {
			return done, err
		}
	}
}

// applyLocked does what is left to do. The lock makes "read, merge, write" safe against a worker of another version,
// for which the server offers no condition.
func (t *Topology) applyLocked(ctx context.Context, js jetstream.JetStream, lock *topologyLock) ([]Change, error) {
	steps, err := t.plan(ctx, js)
	if err != nil {
		return nil, err
	}
	for i, s := range steps {
		if err := lock.extend(ctx); err != nil {
			return changesOf(steps[:i]), err
		}
		if err := s.run(ctx); err != nil {
			return changesOf(steps[:i]), brokerError(s.change.String(), err)
		}
	}
	return changesOf(steps), nil
}

// plan compares the server with the list. The order matters: streams that do not exist, then consumers, and only then
// changes of streams: a kind's consumers must exist before its subject, because a filter that is widened later never
// sees older messages.
func (t *Topology) plan(ctx context.Context, js jetstream.JetStream) ([]step, error) {
	var create, update []step
	var refusals []string
	for _, want := range t.streams() {
		s, refused, err := t.planStream(ctx, js, want)
		if err != nil {
			return nil, err
		}
		refusals = append(refusals, refused...)
		switch {
		case s == nil:
		case s.change.Action == Create:
			create = append(create, *s)
		default:
			update = append(update, *s)
		}
	}
	consumers, refused, err := t.planConsumers(ctx, js)
	if err != nil {
		return nil, err
	}
	if refusals = append(refusals, refused...); len(refusals) > 0 {
		return nil, refusal(refusals)
	}
	return slices.Concat(create, consumers, update), nil
}
