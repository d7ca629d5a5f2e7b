package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// reader is a stream that a reader of outcomes has for its own.
func (r *rig) reader(subjects ...string) jetstream.Stream {
	r.t.Helper()
	s, err := r.client().js.CreateStream(r.t.Context(), jetstream.StreamConfig{Name: "REBUILD", Subjects: subjects, Storage: jetstream.MemoryStorage})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// kept is everything in a stream, in order.
func kept(t *testing.T, s jetstream.Stream) []*jetstream.RawStreamMsg {
	t.Helper()
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []*jetstream.RawStreamMsg
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

// ledger is every stored outcome, in order.
func (r *rig) ledger() []natsjs.Stored {
	r.t.Helper()
	var all []natsjs.Stored
	err := r.client().outcomes.Read(r.t.Context(), natsjs.Query{}, func(s natsjs.Stored) error {
		all = append(all, s)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

func TestReplayOutcomes(t *testing.T) {
	r := filled(t)
	ledger := r.ledger()

	t.Run("a stream gets them in order, as they are", func(t *testing.T) {
		s := r.reader("rebuild.>")
		got := r.run("replay", "outcomes", "--to", "rebuild.{kind}.{status}.{key}.{cid}", "-o", "json")
		got.want(t, exitDone, `"replayed":6`, "")
		if sum := got.lines(t); len(sum) != 1 || sum[0]["acknowledged"] != true || sum[0]["stream"] != "REBUILD" {
			t.Errorf("got %v", sum)
		}
		all := kept(t, s)
		if len(all) != len(ledger) {
			t.Fatalf("the reader has %d of %d", len(all), len(ledger))
		}
		for i, m := range all {
			want := ledger[i]
			subject := strings.Join([]string{"rebuild", string(want.Command.Kind), string(want.Status), want.Command.Key, want.Command.CID}, ".")
			if m.Subject != subject || string(m.Data) != string(want.Raw) || m.Header.Get(headerReplay) != strconv.FormatUint(want.Seq, 10) {
				t.Errorf("message %d: %s %v %s", i, m.Subject, m.Header, m.Data)
			}
		}
		r.run("replay", "outcomes", "--to", "rebuild.x").want(t, exitDone, "6 outcomes sent to rebuild.x, each acknowledged by the stream REBUILD", "")
		if n := len(kept(t, s)); n != 12 {
			t.Errorf("a second rebuild within the duplicate window is not complete: %d messages", n)
		}
	})
	t.Run("selected, and only said", func(t *testing.T) {
		lines := r.run("replay", "outcomes", "--to", "elsewhere.{key}", "--status", "succeeded,in_doubt", "--to-seq", "5", "--dry-run", "-o", "json").lines(t)
		if len(lines) != 2 || lines[0]["subject"] != "elsewhere.C-1" || lines[1]["dry_run"] != true || lines[1]["replayed"] != 1.0 {
			t.Errorf("got %v", lines)
		}
	})
	t.Run("plain subscribers, said to be so", func(t *testing.T) {
		cl := r.client()
		sub, err := cl.conn.SubscribeSync("plain")
		if err != nil {
			t.Fatal(err)
		}
		if err := cl.conn.Flush(); err != nil {
			t.Fatal(err)
		}
		r.run("replay", "outcomes", "--to", "plain", "--kind", "renew", "--limit", "3", "--rate", "100").want(t, exitDone, "3 outcomes sent to plain subscribers", "nobody acknowledges")
		for i := range 3 {
			m, err := sub.NextMsg(5 * time.Second)
			if err != nil || string(m.Data) != string(ledger[i].Raw) {
				t.Fatalf("message %d: %v %v", i, m, err)
			}
		}
	})
}

func TestReplayOutcomesResumed(t *testing.T) {
	r := filled(t)
	s := r.reader("rebuild")
	state := filepath.Join(t.TempDir(), "state.json")
	args := []string{"replay", "outcomes", "--to", "rebuild", "--since", "1h", "--state", state}
	r.run(append(args, "--limit", "4")...).want(t, exitDone, "4 outcomes", "")
	r.run(args...).want(t, exitDone, "2 outcomes sent to rebuild, each acknowledged by the stream REBUILD; sequences 5 to 6", "")
	r.run(args...).want(t, exitDone, "0 outcomes", "")
	var got []string
	for _, m := range kept(t, s) {
		got = append(got, m.Header.Get(headerReplay))
	}
	if diff := cmp.Diff([]string{"1", "2", "3", "4", "5", "6"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.run("replay", "outcomes", "--to", "other", "--since", "1h", "--state", state).want(t, exitUsage, "", "belongs to another replay, to rebuild")
	r.run("replay", "outcomes", "--to", "rebuild", "--state", state).want(t, exitUsage, "", "belongs to another replay")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stderr strings.Builder
	c := newCLI(strings.NewReader(""), &strings.Builder{}, &stderr, nil)
	code := c.run(ctx, []string{"--nats", r.server.URL(), "replay", "outcomes", "--to", "elsewhere", "--state", filepath.Join(t.TempDir(), "new")})
	ran{code: code, stderr: stderr.String()}.want(t, exitError, "", "interrupted")
}

func TestReplayOutcomesRefusesOurOwnSubjects(t *testing.T) {
	r := newRig(t)
	for _, to := range []string{
		"subrelay.cmd.renew.C-1", "subrelay.cmdp.1.renew.C-1", "subrelay.ledger.{kind}.{status}.{key}.{cid}", "subrelay.outcome.x",
		"subrelay.dead.x.1", "subrelay.event.x", "subrelay", "subrelay.anything", "{kind}.cmd.renew.C-1", "sub{kind}.cmd.renew.C-1",
		"$KV.subrelay-workers.worker.x", "$JS.API.STREAM.DELETE.SUBRELAY_OUTCOMES", "_INBOX.x", "{key}",
	} {
		got := r.run("replay", "outcomes", "--to", to)
		got.want(t, exitUsage, "", "must not be sent again")
	}
	r.reader("rebuild.renew.*")
	r.run("replay", "outcomes", "--to", "rebuild.{kind}.{key}").want(t, exitUsage, "", "listen to only some of its subjects")
}

// lose has every consumer forget what it was to deliver, as a worker would that acknowledges without doing.
func (r *rig) lose() {
	r.t.Helper()
	cl, ctx := r.client(), r.t.Context()
	stream, err := cl.js.Stream(ctx, cl.names.Commands())
	if err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, "the consumers know of every command", func() bool { return allKnown(ctx, stream) })
	for name := range stream.ConsumerNames(ctx).Name() {
		consumer, err := stream.Consumer(ctx, name)
		if err != nil {
			r.t.Fatal(err)
		}
		pending := consumer.CachedInfo().NumPending
		if pending == 0 {
			continue
		}
		batch, err := consumer.Fetch(int(pending), jetstream.FetchPriorityGroup(natsjs.PinGroup), jetstream.FetchMaxWait(10*time.Second))
		if err != nil {
			r.t.Fatal(err)
		}
		acked := uint64(0)
		for m := range batch.Messages() {
			if err := m.DoubleAck(ctx); err != nil {
				r.t.Fatal(err)
			}
			acked++
		}
		if acked != pending {
			r.t.Fatalf("%s: %d of %d were lost: %v", name, acked, pending, batch.Error())
		}
		if err := stream.UnpinConsumer(ctx, name, natsjs.PinGroup); err != nil {
			r.t.Fatal(err)
		}
	}
}

// allKnown reports whether each message of the stream is pending in a consumer, or was delivered by it: the server counts
// what is pending a little late.
func allKnown(ctx context.Context, stream jetstream.Stream) bool {
	info, err := stream.Info(ctx)
	if err != nil {
		return false
	}
	known := uint64(0)
	for c := range stream.ListConsumers(ctx).Info() {
		known += c.NumPending + c.Delivered.Consumer
	}
	return known >= info.State.Msgs
}

// withStreams is a rig that has streams and no worker yet.
func withStreams(t *testing.T) *rig {
	t.Helper()
	r := newRigWithoutWorker(t)
	r.applyTopology()
	return r
}

func (r *rig) applyTopology() {
	r.t.Helper()
	config := r.config.withDefaults()
	topology, err := config.topology()
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := topology.Apply(r.t.Context(), r.client().js); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) send(lines ...string) {
	r.t.Helper()
	r.run("publish", "--no-validate", "-f", file(r.t, strings.Join(lines, ""))).want(r.t, exitDone, "", "")
}

// states counts the lines of a replay of what is missing, by state.
func states(t *testing.T, lines []map[string]any) map[string]int {
	t.Helper()
	all := map[string]int{}
	for _, l := range lines[:len(lines)-1] {
		all[l["state"].(string)]++
	}
	return all
}

func TestReplayMissing(t *testing.T) {
	r := withStreams(t)
	r.send(renewalLine("lost-1", "C-1", oneMonth("C-1")), renewalLine("lost-2", "C-1", oneMonth("C-1")), renewalLine("lost-3", "C-2", oneMonth("C-2")))
	r.lose()
	r.send(renewalLine("waits", "C-4", oneMonth("C-4")))

	t.Run("first only said", func(t *testing.T) {
		lines := r.run("replay", "commands", "--missing", "--dry-run", "-o", "json").lines(t)
		if diff := cmp.Diff(map[string]int{stateMissing: 3, stateWaiting: 1}, states(t, lines)); diff != "" {
			t.Errorf("(-want +got):\n%s\n%v", diff, lines)
		}
		if lines[len(lines)-1]["requeued"] != 3.0 || lines[0]["action"] == actionRequeued {
			t.Errorf("got %v", lines)
		}
	})
	t.Run("then requeued, in order, as they were", func(t *testing.T) {
		r.run("replay", "commands", "--missing", "--key", "C-1", "--limit", "1").want(t, exitDone, "1 command requeued", "")
		got := r.run("replay", "commands", "--missing", "--rate", "1000")
		got.want(t, exitDone, "2 commands requeued", "")
		again := r.run("replay", "commands", "--missing", "-o", "json").lines(t)
		if n := again[len(again)-1]["requeued"]; n != 0.0 {
			t.Errorf("repeated: %v requeued, %v", n, again)
		}
	})
	r.app = r.startWorker()
	for _, id := range []string{"lost-1", "lost-2"} {
		r.becomes(events.CID("billing", id, "C-1"), "succeeded")
	}
	r.becomes(events.CID("billing", "lost-3", "C-2"), "succeeded")
	r.becomes(events.CID("billing", "waits", "C-4"), "succeeded")
	var order []string
	for _, s := range r.ledger() {
		if s.Status == events.Succeeded && s.Command.Key == "C-1" {
			order = append(order, s.Command.ID)
		}
	}
	if diff := cmp.Diff([]string{"lost-1", "lost-2"}, order); diff != "" {
		t.Errorf("order of C-1 (-want +got):\n%s", diff)
	}
	if r.effects("C-1") != 2 || r.effects("C-2") != 1 || r.effects("C-4") != 1 {
		t.Errorf("effects: %v", r.tvms.Book().Effects())
	}
	t.Run("nothing is missing any more", func(t *testing.T) {
		eventually(t, "all is acknowledged", func() bool {
			lines := r.run("replay", "commands", "--missing", "-o", "json").lines(t)
			s := states(t, lines)
			return lines[len(lines)-1]["requeued"] == 0.0 && s[stateDone] == 7
		})
	})
	r.judge()
}

func TestReplayMissingThatIsNoCommand(t *testing.T) {
	r := withStreams(t)
	cl := r.client()
	if _, err := cl.publisher.PublishRaw(t.Context(), cl.names.Command(events.Renew, "C-3"), nats.Header{}, []byte("lost, and no event")); err != nil {
		t.Fatal(err)
	}
	r.lose()
	r.run("replay", "commands", "--missing").want(t, exitDone, "1 command requeued", "")
	r.run("replay", "commands", "--missing").want(t, exitDone, "0 commands requeued; 2 waiting", "")
	r.app = r.startWorker()
	eventually(t, "the dead letter", func() bool { return r.deadSeqs()["undecodable"] == "2" })
	eventually(t, "it is acknowledged", func() bool {
		got := r.run("replay", "commands", "--missing")
		got.want(t, exitDone, "0 commands requeued", "")
		return strings.Contains(got.stdout, "2 dead")
	})
}

func TestReplayMissingReportsWhatWasBegun(t *testing.T) {
	r := withStreams(t)
	r.send(renewalLine("begun", "C-1", oneMonth("C-1")))
	now := time.Now()
	_, err := r.client().ledger.Append(t.Context(), events.Outcome{
		Command: events.Ref{ID: "begun", Source: "billing", Kind: events.Renew, Key: "C-1", CID: events.CID("billing", "begun", "C-1"), Seq: 1},
		Status:  events.Started, Attempt: 1, Upstream: events.TVMS, StartedAt: &now, FinishedAt: &now, Source: "subrelay", Token: "t",
		Start: &events.Start{Worker: "gone", Deadline: now},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.run("replay", "commands", "--missing").want(t, exitDone, "0 commands requeued; 1 waiting", "")
	r.lose()
	r.run("replay", "commands", "--missing").want(t, exitDone, "0 commands requeued; 1 unfinished", "")
	r.run("replay", "commands", "--missing", "--unfinished").want(t, exitDone, "1 command requeued; 1 unfinished", "")
}

func TestReplayMissingKnowsWhatItCannotKnow(t *testing.T) {
	r := withStreams(t)
	r.send(renewalLine("one", "C-1", oneMonth("C-1")))
	r.lose()
	cl := r.client()
	if err := cl.js.DeleteStream(t.Context(), cl.names.Outcomes()); err != nil {
		t.Fatal(err)
	}
	r.run("replay", "commands", "--missing").want(t, exitError, "", "topology apply")
	r.applyTopology()
	got := r.run("replay", "commands", "--missing", "-o", "json")
	got.want(t, exitDone, `"state":"unknowable"`, "")
	if n := got.lines(t)[1]["requeued"]; n != 0.0 {
		t.Errorf("%v requeued", n)
	}
}

func TestMemoryOfTheLedger(t *testing.T) {
	created, first, now := time.Unix(1, 0), time.Unix(2, 0), time.Unix(3, 0)
	for name, tt := range map[string]struct {
		state jetstream.StreamState
		want  time.Time
	}{
		"nothing was ever stored":   {jetstream.StreamState{}, created},
		"everything is there":       {jetstream.StreamState{FirstSeq: 1, LastSeq: 9, Msgs: 9, FirstTime: first}, created},
		"the first have aged out":   {jetstream.StreamState{FirstSeq: 5, LastSeq: 9, Msgs: 5, FirstTime: first}, first},
		"everything was taken away": {jetstream.StreamState{FirstSeq: 10, LastSeq: 9}, now},
	} {
		if got := memoryOf(&jetstream.StreamInfo{Created: created, TimeStamp: now, State: tt.state}); !got.Equal(tt.want) {
			t.Errorf("%s: since %v, want %v", name, got, tt.want)
		}
	}
}

func TestReplayAgain(t *testing.T) {
	r := newRig(t)
	for i, customer := range []string{"C-1", "C-2", "C-1"} {
		r.publish(customer, "inv-"+strconv.Itoa(i+1), exitDone)
	}
	r.publish("C-404", "refused", exitRejected)
	r.doubtful("C-3", "doubt", true)
	plan := filepath.Join(t.TempDir(), "plan.jsonl")
	args := []string{"replay", "commands", "--again", "--reason", "restored from backup", "--since", "1h", "--plan", plan}

	t.Run("first only said, and left if not confirmed", func(t *testing.T) {
		got := r.run("replay", "commands", "--again", "--reason", "x", "--dry-run")
		got.want(t, exitDone, "3 commands would run again, 1 in doubt are no part of it", "")
		if !strings.Contains(got.stdout, "inv-1~1") || !strings.Contains(got.stdout, `"months":1`) {
			t.Errorf("the effects are not listed:\n%s", got.stdout)
		}
		r.answering("n", args...).want(t, exitError, "", "nothing was changed")
		if _, err := os.Stat(plan); err == nil {
			t.Error("a plan was left behind")
		}
	})
	t.Run("then once each, in order, with the reason", func(t *testing.T) {
		r.answering("y", args...).want(t, exitDone, "3 commands published to run again", "Run 3 commands again?")
		for id, customer := range map[string]string{"inv-1~1": "C-1", "inv-2~1": "C-2", "inv-3~1": "C-1"} {
			r.becomes(events.CID("billing", id, customer), "succeeded")
		}
		var ids []string
		cl := r.client()
		err := cl.commands.Scan(t.Context(), natsjs.CommandQuery{FromSeq: 6}, func(m natsjs.StoredCommand) error {
			var e struct{ ID, Replayreason, Causationid string }
			ids = append(ids, string(json.RawMessage(m.Data)))
			if err := json.Unmarshal(m.Data, &e); err != nil || e.Replayreason != "restored from backup" || !events.IsCID(e.Causationid) {
				t.Errorf("%v: %s", err, m.Data)
			}
			ids[len(ids)-1] = e.ID
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"inv-1~1", "inv-2~1", "inv-3~1"}, ids); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("the same plan again changes nothing", func(t *testing.T) {
		r.run("replay", "commands", "--again", "--plan", plan, "--yes").want(t, exitDone, "0 commands published to run again, 3 were published before", "")
		r.run("replay", "commands", "--again", "--plan", plan, "--reason", "other", "--yes").want(t, exitUsage, "", "for another reason")
		if r.effects("C-1") != 4 || r.effects("C-2") != 2 {
			t.Errorf("%d effects for C-1, %d for C-2", r.effects("C-1"), r.effects("C-2"))
		}
	})
	t.Run("another plan takes the next numbers", func(t *testing.T) {
		lines := r.run("replay", "commands", "--again", "--reason", "once more", "--key", "C-2", "--dry-run", "-o", "json").lines(t)
		if len(lines) != 3 || lines[0]["id"] != "inv-2~2" || lines[1]["id"] != "inv-2~3" {
			t.Errorf("got %v", lines)
		}
	})
	t.Run("a damaged plan is refused", func(t *testing.T) {
		raw, err := os.ReadFile(plan)
		if err != nil {
			t.Fatal(err)
		}
		rows := strings.SplitAfter(string(raw), "\n")
		for name, content := range map[string]string{
			"holds 2 of 3 commands":       strings.Join(rows[:3], ""),
			"is damaged at its command 1": rows[0] + strings.ReplaceAll(rows[1], "inv-1~1", "inv-9~1"),
			"is no plan":                  rows[1],
		} {
			got := r.run("replay", "commands", "--again", "--plan", file(t, content), "--yes")
			if got.code == exitDone || !strings.Contains(got.stderr, name) {
				t.Errorf("%s: exit code %d, %s", name, got.code, got.stderr)
			}
		}
	})
	t.Run("what is no longer stored is told", func(t *testing.T) {
		stream, err := r.client().js.Stream(t.Context(), "SUBRELAY_COMMANDS")
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.DeleteMsg(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		r.run("replay", "commands", "--again", "--reason", "x", "--key", "C-2", "--to-seq", "4", "--dry-run").want(t, exitError, "0 commands would run again", "cannot run again")
	})
}
