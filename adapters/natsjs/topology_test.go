package natsjs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

// topology makes a topology of few partitions; edit changes its settings.
func topology(t testing.TB, edit func(*TopologySettings)) *Topology {
	t.Helper()
	s := TopologySettings{Partitions: 4}
	if edit != nil {
		edit(&s)
	}
	top, err := NewTopology(s)
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// apply applies a topology.
func apply(t testing.TB, js jetstream.JetStream, top *Topology) []Change {
	t.Helper()
	changes, err := top.Apply(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

func kinds(specs ...events.Spec) func(*TopologySettings) {
	return func(s *TopologySettings) { s.Specs = specs }
}

var (
	renewSpec = events.Spec{Kind: events.Renew, Upstream: events.TVMS}
	swapSpec  = events.Spec{Kind: "swap", Upstream: events.TVMS, HoldsAfterDoubt: true}
	amendSpec = events.Spec{Kind: "amend", Upstream: "crmcom"}
)

// refused fails the test unless err is a refusal that says all of words.
func refused(t testing.TB, err error, words ...string) {
	t.Helper()
	var e *events.Error
	if !errors.As(err, &e) || e.Kind != events.Refused || e.Code != events.CodeTopology {
		t.Fatalf("the error is no refusal of a topology: %v", err)
	}
	for _, w := range words {
		if !strings.Contains(e.Message, w) {
			t.Errorf("the message does not say %q: %s", w, e.Message)
		}
	}
}

func TestTopologyOnAnEmptyServer(t *testing.T) {
	_, js := connect(t, startServer(t))
	top := topology(t, kinds(renewSpec))
	planned, err := top.Plan(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	done := apply(t, js, top)
	if diff := cmp.Diff(planned, done); diff != "" {
		t.Errorf("planned and done differ:\n%s", diff)
	}
	var got []string
	for _, c := range done {
		got = append(got, c.String())
	}
	want := []string{
		"create bucket subrelay-workers", "create stream SUBRELAY_COMMANDS", "create stream SUBRELAY_OUTCOMES", "create stream SUBRELAY_DEADLETTERS",
		"create stream SUBRELAY_TASKS",
		"create consumer tvms-00", "create consumer tvms-01", "create consumer tvms-02", "create consumer tvms-03",
		"create consumer charges",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes:\n%s", diff)
	}
	if again := apply(t, js, top); len(again) != 0 {
		t.Errorf("the second time it did: %v", again)
	}
}

func TestTopologyDefaultsFitAnEmbeddedServer(t *testing.T) {
	_, js := connect(t, startServer(t))
	top, err := NewTopology(TopologySettings{})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, js, top)
	c, err := js.Consumer(t.Context(), "SUBRELAY_COMMANDS", "tvms-15")
	if err != nil {
		t.Fatal(err)
	}
	got := c.CachedInfo().Config
	got.Metadata, got.MaxWaiting, got.Replicas = nil, 0, 0 // the server's own
	want := jetstream.ConsumerConfig{
		Name: "tvms-15", Durable: "tvms-15", Description: "commands for tvms, partition 15",
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: 5 * time.Second, MaxDeliver: -1, MaxAckPending: 1000,
		FilterSubjects: []string{"subrelay.cmdp.15.renew.*"},
		PriorityPolicy: jetstream.PriorityPolicyPinned, PriorityGroups: []string{"owner"}, PinnedTTL: 3 * time.Second,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the consumer:\n%s", diff)
	}
}

// Each upstream has its consumers, on which its kinds arrive and no others.
func TestTopologyGivesEachUpstreamItsKinds(t *testing.T) {
	_, js := connect(t, startServer(t))
	apply(t, js, topology(t, nil))
	n := Names{}
	var upstreams []events.Upstream
	for _, spec := range events.Specs() {
		upstreams = append(upstreams, spec.Upstream)
		if _, err := js.Publish(t.Context(), n.Command(spec.Kind, "C-1"), nil); err != nil {
			t.Fatal(err)
		}
	}
	p := n.Partition("C-1", 4)
	for _, u := range []events.Upstream{events.TVMS, events.CRMCOM, events.Netflix} {
		var want []string
		for _, spec := range events.Specs() {
			if spec.Upstream == u {
				want = append(want, n.Stored(p, spec.Kind, "C-1"))
			}
		}
		if diff := cmp.Diff(want, drain(t, js, n.Consumer(u, p), len(want))); diff != "" || !slices.Contains(upstreams, u) {
			t.Errorf("%s:\n%s", u, diff)
		}
	}
}

func TestTopologyStoresCommandsByThePartitionOfTheirKey(t *testing.T) {
	_, js := connect(t, startServer(t))
	for _, n := range []int{1, 3, 16} {
		names := Names{Prefix: fmt.Sprintf("p%d", n)}
		apply(t, js, topology(t, func(s *TopologySettings) {
			s.Names, s.Partitions, s.Specs = names, n, []events.Spec{renewSpec, amendSpec}
		}))
		for i, key := range []string{"C-10042", "a", "%C3%BC", "-", "user_1", strings.Repeat("k", 128)} {
			kind := []events.Kind{"renew", "amend"}[i%2]
			ack, err := js.Publish(t.Context(), names.Command(kind, key), nil)
			if err != nil {
				t.Fatal(err)
			}
			msg, err := stream(t, js, names.Commands()).GetMsg(t.Context(), ack.Sequence)
			if err != nil {
				t.Fatal(err)
			}
			want := names.Stored(names.Partition(key, n), kind, key)
			if msg.Subject != want {
				t.Errorf("%d partitions: stored as %s, want %s", n, msg.Subject, want)
			}
		}
	}
}

func stream(t testing.TB, js jetstream.JetStream, name string) jetstream.Stream {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTopologyRepublishesTheLedgerAfterStoring(t *testing.T) {
	nc, js := connect(t, startServer(t))
	n := Names{}
	apply(t, js, topology(t, nil))
	sub, err := nc.SubscribeSync(n.AllOutcomes())
	if err != nil {
		t.Fatal(err)
	}
	cid := events.CID("s", "1", "C-1")
	filter := jetstream.WithExpectLastSequenceForSubject(0, n.History("C-1", cid))
	if _, err := js.Publish(t.Context(), n.Ledger("renew", "started", "C-1", cid), []byte("x"), filter); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), n.Ledger("renew", "failed", "C-1", cid), []byte("y"), filter); !isConflict(err) {
		t.Fatalf("the second conditional write: %v", err)
	}
	msg, err := sub.NextMsg(time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if want := n.Outcome("renew", "started", "C-1", cid); msg.Subject != want {
		t.Errorf("republished as %s, want %s", msg.Subject, want)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if pending, _, _ := sub.Pending(); pending != 0 {
		t.Error("a subscriber of outcomes saw a record that was not stored")
	}
	if err := stream(t, js, n.Outcomes()).Purge(t.Context()); err == nil {
		t.Error("the ledger could be purged")
	}
}

func TestTopologyRefusesWhatMustNotChange(t *testing.T) {
	tests := map[string]struct {
		before func(*testing.T, jetstream.JetStream)
		edit   func(*TopologySettings)
		words  []string
	}{
		"another partition count": {
			func(t *testing.T, js jetstream.JetStream) { apply(t, js, topology(t, nil)) },
			func(s *TopologySettings) { s.Partitions = 8 },
			[]string{"SUBRELAY_COMMANDS", "partition(4,2)", "partition(8,2)", "fixed for a stream's life"},
		},
		"memory storage": {
			func(t *testing.T, js jetstream.JetStream) {
				create(t, js, jetstream.StreamConfig{Name: "SUBRELAY_DEADLETTERS", Subjects: []string{"subrelay.dead.>"}, Storage: jetstream.MemoryStorage})
			}, nil, []string{"SUBRELAY_DEADLETTERS", "storage Memory", "File"},
		},
		"a work queue": {
			func(t *testing.T, js jetstream.JetStream) {
				create(t, js, jetstream.StreamConfig{Name: "SUBRELAY_DEADLETTERS", Subjects: []string{"subrelay.dead.>"}, Retention: jetstream.WorkQueuePolicy})
			}, nil, []string{"retention", "limits policy"},
		},
		"a stream without transform": {
			func(t *testing.T, js jetstream.JetStream) {
				create(t, js, jetstream.StreamConfig{Name: "SUBRELAY_COMMANDS", Subjects: []string{"subrelay.cmd.renew.*"}})
			}, nil, []string{"subject transform none"},
		},
		"another prefix": {
			func(t *testing.T, js jetstream.JetStream) {
				apply(t, js, topology(t, func(s *TopologySettings) { s.Names.Prefix = "a-b" }))
			},
			func(s *TopologySettings) { s.Names.Prefix = "a_b" },
			[]string{"A_B_COMMANDS", "a-b.cmd", "another installation"},
		},
		"subjects of another stream": {
			func(t *testing.T, js jetstream.JetStream) {
				create(t, js, jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"subrelay.>"}})
			}, nil, []string{"another stream listens on some of these subjects"},
		},
		"replicas on a single server": {
			func(*testing.T, jetstream.JetStream) {}, func(s *TopologySettings) { s.Replicas = 3 }, []string{"no cluster"},
		},
		"more bytes than the server has": {
			func(*testing.T, jetstream.JetStream) {}, func(s *TopologySettings) { s.OutcomesMaxBytes = 1 << 50 }, []string{"allows fewer bytes"},
		},
		"a kind that moves to another upstream": {
			func(t *testing.T, js jetstream.JetStream) { apply(t, js, topology(t, nil)) },
			kinds(events.Spec{Kind: events.Renew, Upstream: "other"}), []string{"subrelay.cmdp.0.renew.*", "tvms-00", "run twice"},
		},
		"a consumer with another ack policy": {
			func(t *testing.T, js jetstream.JetStream) {
				apply(t, js, topology(t, nil))
				ctx := t.Context()
				if err := js.DeleteConsumer(ctx, "SUBRELAY_COMMANDS", "tvms-02"); err != nil {
					t.Fatal(err)
				}
				if _, err := js.CreateConsumer(ctx, "SUBRELAY_COMMANDS", jetstream.ConsumerConfig{
					Durable: "tvms-02", AckPolicy: jetstream.AckAllPolicy, FilterSubjects: []string{"subrelay.cmdp.2.renew.*"},
				}); err != nil {
					t.Fatal(err)
				}
			}, nil, []string{"tvms-02", "ack_policy"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, js := connect(t, startServer(t))
			tt.before(t, js)
			_, err := topology(t, tt.edit).Apply(t.Context(), js)
			refused(t, err, tt.words...)
		})
	}
}

func create(t testing.TB, js jetstream.JetStream, cfg jetstream.StreamConfig) {
	t.Helper()
	if _, err := js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

func TestTopologyUpdatesWhatMayChange(t *testing.T) {
	_, js := connect(t, startServer(t))
	apply(t, js, topology(t, kinds(renewSpec)))
	cfg := stream(t, js, "SUBRELAY_COMMANDS").CachedInfo().Config
	cfg.Description, cfg.DenyDelete, cfg.Discard = "the operator's", true, jetstream.DiscardOld
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	changes := apply(t, js, topology(t, func(s *TopologySettings) {
		s.Specs, s.CommandsMaxBytes, s.AckWait, s.OutcomesMaxAge = []events.Spec{renewSpec}, 2<<30, 9*time.Second, 10*24*time.Hour
	}))
	text, err := json.Marshal(changes[:2])
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"action":"update","object":"consumer","name":"tvms-00","fields":[{"name":"ack_wait","from":"5s","to":"9s"}]},` +
		`{"action":"update","object":"consumer","name":"tvms-01","fields":[{"name":"ack_wait","from":"5s","to":"9s"}]}]`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("the first changes:\n%s", diff)
	}
	got := changes[5].String() // behind the tasks' consumer
	if want := "update stream SUBRELAY_COMMANDS: discard DiscardOld -> DiscardNew, max_bytes 1073741824 -> 2147483648"; got != want {
		t.Errorf("change %q, want %q", got, want)
	}
	cfg = stream(t, js, "SUBRELAY_COMMANDS").CachedInfo().Config
	if cfg.Description != "the operator's" || !cfg.DenyDelete {
		t.Errorf("what was the operator's has changed: %+v", cfg)
	}
}

// TestTopologyPutsRightWhatLosesCommands changes, behind the topology's back, settings by which commands are lost without
// a word, and has them put right.
func TestTopologyPutsRightWhatLosesCommands(t *testing.T) {
	_, js := connect(t, startServer(t))
	top := topology(t, kinds(renewSpec))
	apply(t, js, top)
	for _, name := range []string{"SUBRELAY_COMMANDS", "SUBRELAY_DEADLETTERS"} {
		cfg := stream(t, js, name).CachedInfo().Config
		cfg.AllowRollup, cfg.NoAck, cfg.ConsumerLimits.InactiveThreshold = true, true, time.Hour
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	k, err := js.Consumer(t.Context(), "SUBRELAY_COMMANDS", "tvms-00")
	if err != nil {
		t.Fatal(err)
	}
	cfg := k.CachedInfo().Config
	cfg.HeadersOnly, cfg.InactiveThreshold, cfg.BackOff = true, time.Minute, []time.Duration{time.Second, time.Hour}
	if _, err := js.UpdateConsumer(t.Context(), "SUBRELAY_COMMANDS", cfg); err != nil {
		t.Fatal(err)
	}
	changes := joined(apply(t, js, top))
	for _, words := range []string{"headers_only true -> false", "inactive_threshold 1m0s -> 0s", "backoff [1s 1h0m0s] -> []", "ack_wait 1s -> 5s",
		"update stream SUBRELAY_DEADLETTERS: allow_rollup_hdrs true -> false, no_ack true -> false", "consumer_limits.inactive_threshold 1h0m0s -> 0s"} {
		if !strings.Contains(changes, words) {
			t.Errorf("the changes do not say %q:\n%s", words, changes)
		}
	}
	apply(t, js, top) // consumers had the streams' limit until that was gone
	left, err := top.Plan(t.Context(), js)
	if err != nil || len(left) > 0 {
		t.Errorf("left: %s, %v", joined(left), err)
	}
}

func joined(changes []Change) string {
	var lines []string
	for _, c := range changes {
		lines = append(lines, c.String())
	}
	return strings.Join(lines, "\n")
}

func TestTopologyAddsAKindWhileCommandsWait(t *testing.T) {
	_, js := connect(t, startServer(t))
	n := Names{}
	apply(t, js, topology(t, kinds(renewSpec)))
	if _, err := js.Publish(t.Context(), n.Command("renew", "C-1"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), n.Command("swap", "C-1"), nil, jetstream.WithRetryAttempts(0)); !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Fatalf("publishing a kind that is not known: %v", err)
	}
	changes := apply(t, js, topology(t, kinds(renewSpec, swapSpec, amendSpec)))
	last := changes[len(changes)-1].String()
	if !strings.HasPrefix(last, "update stream SUBRELAY_COMMANDS: subjects") || len(changes) != 9 {
		t.Errorf("the stream's subject must come last, after 8 consumers; changes: %v", changes)
	}
	for _, kind := range []events.Kind{"swap", "amend"} {
		if _, err := js.Publish(t.Context(), n.Command(kind, "C-1"), nil); err != nil {
			t.Fatal(err)
		}
	}
	p := n.Partition("C-1", 4)
	if got := drain(t, js, n.Consumer(events.TVMS, p), 2); !cmp.Equal(got, []string{n.Stored(p, "renew", "C-1"), n.Stored(p, "swap", "C-1")}) {
		t.Errorf("tvms got %v", got)
	}
	if got := drain(t, js, n.Consumer("crmcom", p), 1); !cmp.Equal(got, []string{n.Stored(p, "amend", "C-1")}) {
		t.Errorf("crmcom got %v", got)
	}
}

// drain fetches, acknowledges and lists n messages of a consumer. (How many wait, the server knows only a moment later.)
func drain(t testing.TB, js jetstream.JetStream, consumer string, n int) (subjects []string) {
	t.Helper()
	c, err := js.Consumer(t.Context(), "SUBRELAY_COMMANDS", consumer)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		batch, err := c.Fetch(1, jetstream.FetchMaxWait(5*time.Second), jetstream.FetchPriorityGroup(PinGroup))
		if err != nil {
			t.Fatal(err)
		}
		for msg := range batch.Messages() {
			subjects = append(subjects, msg.Subject())
			if err := msg.DoubleAck(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if batch.Error() != nil {
			t.Fatal(batch.Error())
		}
	}
	return subjects
}

func TestTopologyRefusesToWidenAFilterPastStoredCommands(t *testing.T) {
	_, js := connect(t, startServer(t))
	n := Names{}
	apply(t, js, topology(t, kinds(renewSpec)))
	cfg := stream(t, js, n.Commands()).CachedInfo().Config
	cfg.Subjects = append(cfg.Subjects, n.Command("swap", "*"))
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), n.Command("swap", "C-1"), nil); err != nil {
		t.Fatal(err)
	}
	top := topology(t, kinds(renewSpec, swapSpec))
	_, err := top.Apply(t.Context(), js)
	consumer := n.Consumer(events.TVMS, n.Partition("C-1", 4))
	refused(t, err, "would never deliver them", consumer)

	if err := js.DeleteConsumer(t.Context(), n.Commands(), consumer); err != nil { // as the message says
		t.Fatal(err)
	}
	apply(t, js, top)
	if got := drain(t, js, consumer, 1); len(got) != 1 {
		t.Errorf("delivered after all: %v", got)
	}
}

func TestTopologyOldAndNewSideBySide(t *testing.T) {
	_, js := connect(t, startServer(t))
	n := Names{}
	older, newer := topology(t, kinds(renewSpec)), topology(t, kinds(renewSpec, swapSpec, amendSpec))
	apply(t, js, older)
	apply(t, js, newer)
	if changes := apply(t, js, older); len(changes) != 0 {
		t.Errorf("the older version changed the newer's: %v", changes)
	}
	if changes := apply(t, js, newer); len(changes) != 0 {
		t.Errorf("the newer version had to repair: %v", changes)
	}
	want := []string{n.Command("amend", "*"), n.Command("renew", "*"), n.Command("swap", "*")}
	if got := stream(t, js, n.Commands()).CachedInfo().Config.Subjects; !cmp.Equal(want, got) {
		t.Errorf("the subjects are %v", got)
	}
}

func TestTopologyAppliedConcurrently(t *testing.T) {
	s := startServer(t)
	var specs []events.Spec
	for i := range 6 {
		specs = append(specs, events.Spec{Kind: events.Kind(fmt.Sprintf("kind%d", i)), Upstream: events.Upstream(fmt.Sprintf("up%d", i%2))})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for i := range specs { // each worker knows a kind of its own, and all know the first
		_, js := connect(t, s)
		top := topology(t, kinds(slices.Compact([]events.Spec{specs[0], specs[i]})...))
		wg.Go(func() {
			if _, err := top.Apply(ctx, js); err != nil {
				t.Errorf("worker %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	_, js := connect(t, s)
	left, err := topology(t, kinds(specs...)).Plan(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 0 {
		t.Errorf("after all have applied, these are missing: %v", left)
	}
}

func TestTopologyLockOfADeadWorkerFreesItself(t *testing.T) {
	_, js := connect(t, startServer(t))
	top := topology(t, nil)
	if err := top.createBucket(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	dead, err := top.lock(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, js, top)
	dead.fresh = time.Time{}
	if err := dead.extend(t.Context()); !errors.Is(err, errLockLost) {
		t.Errorf("the dead worker keeps its lock: %v", err)
	}
}

func TestTopologyLockIsNoWorker(t *testing.T) {
	_, js := connect(t, startServer(t))
	top := topology(t, nil)
	apply(t, js, top)
	if _, err := top.lock(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var views [][]Present
	p := Presence{JetStream: js, Worker: "w", Upstreams: []events.Upstream{"a", "b"}, Changed: func(present []Present) {
		views = append(views, present)
		cancel()
	}}
	if err := p.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]Present{{{Worker: "w", Upstreams: []events.Upstream{"a", "b"}}}}, views); diff != "" {
		t.Errorf("who is there:\n%s", diff)
	}
}

func TestTopologyFullStreamFailsThePublish(t *testing.T) {
	_, js := connect(t, startServer(t))
	apply(t, js, topology(t, func(s *TopologySettings) { s.CommandsMaxBytes, s.MaxMsgSize = 10_000, 1000 }))
	var full error
	stored := 0
	for full == nil {
		if _, full = js.Publish(t.Context(), "subrelay.cmd.renew.C-1", make([]byte, 500)); full == nil {
			stored++
		}
	}
	var api *jetstream.APIError
	if !errors.As(full, &api) || api.ErrorCode != errCodeStoreFailed {
		t.Errorf("the error of a full stream: %v", full)
	}
	if got := stream(t, js, "SUBRELAY_COMMANDS").CachedInfo().State; got.Msgs != uint64(stored) || got.FirstSeq != 1 {
		t.Errorf("%d were stored, and the stream holds %d from %d", stored, got.Msgs, got.FirstSeq)
	}
	if _, err := js.Publish(t.Context(), "subrelay.cmd.renew.C-1", make([]byte, 1001)); err == nil || !strings.Contains(err.Error(), "10054") {
		t.Errorf("over the size limit: %v", err)
	}
}

func TestTopologySettingsAreChecked(t *testing.T) {
	for want, s := range map[string]TopologySettings{
		"partitions must be 1 to 256": {Partitions: 257},
		"lower-case letters":          {Names: Names{Prefix: "Sub.relay"}},
		"listed twice":                {Specs: []events.Spec{renewSpec, renewSpec}},
		"cannot be a token":           {Specs: []events.Spec{{Kind: "a.b", Upstream: "u"}}},
		"no kind of command":          {Specs: []events.Spec{}},
		"at most 900 KiB":             {MaxMsgSize: 1 << 20},
		"replicas must be":            {Replicas: -1},
	} {
		if _, err := NewTopology(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("settings that are wrong (%s): %v", want, err)
		}
	}
}

func TestTopologyWithoutAServer(t *testing.T) {
	s := startServer(t)
	_, js := connect(t, s)
	s.Shutdown()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := topology(t, nil).Apply(ctx, js); events.KindOf(err) != events.Unavailable {
		t.Errorf("without a server: %v", err)
	}
}
