package natsjs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// bucketStream is the prefix that the client gives to the stream under a bucket.
const bucketStream = "KV_"

// streams is the declarative list of streams, the presence bucket's first.
func (t *Topology) streams() []jetstream.StreamConfig {
	s, n := t.settings, t.settings.Names
	base := jetstream.StreamConfig{
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew,
		Replicas: s.Replicas, MaxMsgSize: -1,
	}
	bucket := base
	bucket.Name, bucket.MaxAge, bucket.MaxBytes = bucketStream+n.Workers(), PresenceTTL, -1
	bucket.Subjects = []string{"$KV." + n.Workers() + ".>"}

	commands := base
	commands.Name, commands.MaxBytes, commands.MaxMsgSize = n.Commands(), s.CommandsMaxBytes, s.MaxMsgSize
	commands.Duplicates = s.DuplicateWindow
	commands.Description = "commands as billing published them, until done and for replays"
	for _, spec := range s.Specs {
		commands.Subjects = append(commands.Subjects, n.Command(spec.Kind, "*"))
	}
	commands.SubjectTransform = transform(n.commandTransform(s.Partitions))

	outcomes := base
	outcomes.Name, outcomes.MaxBytes, outcomes.MaxAge = n.Outcomes(), s.OutcomesMaxBytes, s.OutcomesMaxAge
	outcomes.Description = "the ledger: what became of each command"
	// A ledger that can be purged forgets what was done, and a redelivery would do it again.
	outcomes.DenyDelete, outcomes.DenyPurge = true, true
	outcomes.SubjectTransform = transform(n.ledgerTransform())
	outcomes.Subjects = []string{outcomes.SubjectTransform.Source, n.AllEvents()}
	outcomes.RePublish = &jetstream.RePublish{Source: n.AllOutcomes(), Destination: n.AllOutcomes()}

	dead := base
	dead.Name, dead.MaxBytes, dead.MaxAge = n.DeadLetters(), s.DeadMaxBytes, s.DeadMaxAge
	dead.Description = "commands that can never run or were given up, and why"
	dead.Subjects = []string{n.AllDead()}

	tasks := base
	tasks.Name, tasks.MaxBytes = n.Tasks(), tasksMaxBytes
	tasks.Description = "one tick per task: whoever was handed it does a round"
	tasks.Subjects = []string{n.Task("*")}
	tasks.MaxMsgsPerSubject, tasks.DiscardNewPerSubject = 1, true
	return []jetstream.StreamConfig{bucket, commands, outcomes, dead, tasks}
}

// tasksMaxBytes is far more than the ticks of all tasks take.
const tasksMaxBytes = 1 << 20

func transform(source, destination string) *jetstream.SubjectTransformConfig {
	return &jetstream.SubjectTransformConfig{Source: source, Destination: destination}
}

// planStream compares one stream with what is wanted of it. Subjects are merged, never narrowed.
func (t *Topology) planStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) (*step, []string, error) {
	object, name := "stream", want.Name
	if bucket, ok := strings.CutPrefix(want.Name, bucketStream); ok {
		object, name = "bucket", bucket
	}
	stream, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return &step{Change{Action: Create, Object: object, Name: name}, func(ctx context.Context) error {
			return t.createStream(ctx, js, want)
		}}, nil, nil
	}
	if err != nil {
		return nil, nil, brokerError("reading stream "+want.Name, err)
	}
	have := stream.CachedInfo().Config
	if refused := t.foreign(&have); refused != nil {
		return nil, refused, nil
	}
	want.Subjects = union(have.Subjects, want.Subjects)
	// Denials only ever tighten: the server refuses to cancel one, and an operator may want more of them.
	want.DenyDelete, want.DenyPurge = want.DenyDelete || have.DenyDelete, want.DenyPurge || have.DenyPurge
	changes, refused := merge("the stream "+want.Name, fieldsOf(object), &have, &want)
	if len(changes) == 0 {
		return nil, refused, nil
	}
	return &step{Change{Action: Update, Object: object, Name: name, Fields: changes}, func(ctx context.Context) error {
		_, err := js.UpdateStream(ctx, have)
		return err
	}}, refused, nil
}

func (t *Topology) createStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) error {
	if strings.HasPrefix(want.Name, bucketStream) {
		return t.createBucket(ctx, js)
	}
	if want.Name == t.settings.Names.Commands() {
		first, err := t.firstCommand(ctx, js)
		if err != nil {
			return err
		}
		want.FirstSeq = first
	}
	_, err := js.CreateStream(ctx, want)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return errLockLost // somebody was faster: compare again
	}
	return err
}

// firstCommand is the sequence that a new command stream begins with: 0, the server's default, where there is no other
// stream of ours or it is empty. Otherwise the stream was lost, and sequences must not begin again: records and dead
// letters name commands by them, and a worker may still acknowledge what it was delivered. The clock is ahead of them.
func (t *Topology) firstCommand(ctx context.Context, js jetstream.JetStream) (uint64, error) {
	for _, name := range []string{t.settings.Names.Outcomes(), t.settings.Names.DeadLetters()} {
		s, err := js.Stream(ctx, name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
		case err != nil:
			return 0, err
		case s.CachedInfo().State.LastSeq > 0:
			return uint64(time.Now().UnixMilli()), nil
		}
	}
	return 0, nil
}

// foreign refuses a stream that belongs to an installation with another prefix.
func (t *Topology) foreign(have *jetstream.StreamConfig) []string {
	prefix := t.settings.Names.prefix()
	for _, s := range have.Subjects {
		if !strings.HasPrefix(s, prefix+".") && !strings.HasPrefix(s, "$KV.") {
			return []string{fmt.Sprintf(
				"the stream %s listens on %s, which is not under the prefix %q: it belongs to another installation, or the prefix was changed; "+
					"a prefix is fixed for a stream's life, so restore it or choose another one", have.Name, s, prefix)}
		}
	}
	return nil
}

func union(have, want []string) []string {
	all := slices.Clone(have)
	for _, w := range want {
		if !slices.Contains(all, w) {
			all = append(all, w)
		}
	}
	slices.Sort(all)
	return all
}

func sorted(items []string) []string { return slices.Sorted(slices.Values(items)) }

func fieldsOf(object string) []field[jetstream.StreamConfig] {
	if object == "bucket" {
		return slices.DeleteFunc(streamFields(), func(f field[jetstream.StreamConfig]) bool {
			return !slices.Contains([]string{"storage", "replicas", "max_age"}, f.name)
		})
	}
	return streamFields()
}

// streamFields are the settings we care for. All others are the operator's, and stay as they are.
func streamFields() []field[jetstream.StreamConfig] {
	type C = jetstream.StreamConfig
	const perLife = "it is fixed for a stream's life; restore the setting, or begin a new installation under another prefix"
	show := func(get func(*C) any) func(*C) string { return func(c *C) string { return fmt.Sprint(get(c)) } }
	return []field[C]{
		{"storage", show(func(c *C) any { return c.Storage }), nil, perLife},
		{"retention", show(func(c *C) any { return c.Retention }), nil, "only the limits policy keeps commands and outcomes for replays; " + perLife},
		{"subject transform", showTransform, nil,
			"the partition count and the stored subjects decide which worker runs a key, and a change would let two run it at once; " + perLife},
		{"subjects", func(c *C) string { return list(sorted(c.Subjects)) }, func(d, s *C) { d.Subjects = s.Subjects }, ""},
		{"discard", show(func(c *C) any { return c.Discard }), func(d, s *C) { d.Discard = s.Discard }, ""},
		{"replicas", show(func(c *C) any { return c.Replicas }), func(d, s *C) { d.Replicas = s.Replicas }, ""},
		{"max_bytes", show(func(c *C) any { return c.MaxBytes }), func(d, s *C) { d.MaxBytes = s.MaxBytes }, ""},
		{"max_age", show(func(c *C) any { return c.MaxAge }), func(d, s *C) { d.MaxAge = s.MaxAge }, ""},
		{"max_msgs", func(c *C) string { return unlimited(c.MaxMsgs) }, func(d, s *C) { d.MaxMsgs = s.MaxMsgs }, ""},
		{"max_msgs_per_subject", func(c *C) string { return unlimited(c.MaxMsgsPerSubject) },
			func(d, s *C) {
				d.MaxMsgsPerSubject, d.DiscardNewPerSubject = s.MaxMsgsPerSubject, s.DiscardNewPerSubject
			}, ""},
		{"discard_new_per_subject", show(func(c *C) any { return c.DiscardNewPerSubject }),
			func(d, s *C) { d.DiscardNewPerSubject = s.DiscardNewPerSubject }, ""},
		{"max_msg_size", show(func(c *C) any { return c.MaxMsgSize }), func(d, s *C) { d.MaxMsgSize = s.MaxMsgSize }, ""},
		{"duplicate_window", showDuplicates, func(d, s *C) { d.Duplicates = s.Duplicates }, ""},
		{"republish", showRepublish, func(d, s *C) { d.RePublish = s.RePublish }, ""},
		{"allow_direct", show(func(c *C) any { return c.AllowDirect }), func(d, s *C) { d.AllowDirect = s.AllowDirect }, ""},
		{"allow_rollup_hdrs", show(func(c *C) any { return c.AllowRollup }), func(d, s *C) { d.AllowRollup = s.AllowRollup }, ""},
		{"no_ack", show(func(c *C) any { return c.NoAck }), func(d, s *C) { d.NoAck = s.NoAck }, ""},
		// The server gives it to every consumer that asks for none: these settle with the next application.
		{"consumer_limits.inactive_threshold", show(func(c *C) any { return c.ConsumerLimits.InactiveThreshold }),
			func(d, s *C) { d.ConsumerLimits.InactiveThreshold = s.ConsumerLimits.InactiveThreshold }, ""},
		{"deny_delete", show(func(c *C) any { return c.DenyDelete }), func(d, s *C) { d.DenyDelete = s.DenyDelete }, ""},
		{"deny_purge", show(func(c *C) any { return c.DenyPurge }), func(d, s *C) { d.DenyPurge = s.DenyPurge }, ""},
	}
}

func unlimited(n int64) string {
	if n <= 0 {
		return "unlimited"
	}
	return fmt.Sprint(n)
}

func showTransform(c *jetstream.StreamConfig) string {
	if c.SubjectTransform == nil {
		return "none"
	}
	return c.SubjectTransform.Source + " -> " + c.SubjectTransform.Destination
}

func showRepublish(c *jetstream.StreamConfig) string {
	if c.RePublish == nil {
		return "none"
	}
	return c.RePublish.Source + " -> " + c.RePublish.Destination
}

// showDuplicates shows the window where we ask for one, on COMMANDS; elsewhere the server's default will do.
func showDuplicates(c *jetstream.StreamConfig) string {
	if !strings.HasSuffix(c.Name, "_COMMANDS") {
		return "default"
	}
	return c.Duplicates.String()
}
