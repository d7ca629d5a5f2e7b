package natsjs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs/natstest"
	"subrelay/events"
	"subrelay/events/checkup"
)

// ackAll acknowledges n commands as a worker would, whatever became of them. It goes by what is delivered: the server
// counts what is pending a moment late.
func ackAll(t testing.TB, js jetstream.JetStream, top *Topology, n int) {
	t.Helper()
	var consumers []jetstream.Consumer // each keeps its pin
	for p := range top.settings.Partitions {
		k, err := js.Consumer(t.Context(), "SUBRELAY_COMMANDS", top.settings.Names.Consumer(events.TVMS, p))
		if err != nil {
			t.Fatal(err)
		}
		consumers = append(consumers, k)
	}
	for deadline := time.Now().Add(5 * time.Minute); n > 0; {
		for _, k := range consumers {
			batch, err := k.Fetch(500, jetstream.FetchMaxWait(100*time.Millisecond), jetstream.FetchPriorityGroup(PinGroup))
			if err != nil {
				t.Fatal(err)
			}
			for m := range batch.Messages() {
				if err := m.DoubleAck(t.Context()); err != nil {
					t.Fatal(err)
				}
				n--
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d commands were not delivered", n)
		}
	}
}

// audited runs an audit once the acknowledgements have arrived.
func audited(t testing.TB, js jetstream.JetStream, top *Topology, waiting int) Audit {
	t.Helper()
	k := NewCheckup(js, CheckupSettings{Topology: top})
	deadline := time.Now().Add(20 * time.Second)
	for {
		a, err := k.Audit(t.Context(), AuditQuery{})
		if err != nil {
			t.Fatal(err)
		}
		if a.Waiting == waiting || time.Now().After(deadline) {
			return a
		}
		sleep(t.Context(), 20*time.Millisecond)
	}
}

// record writes the history of a command of the clinic's, up to the statuses given.
func (c *clinic) record(id, customer string, seq uint64, statuses ...events.Status) {
	c.t.Helper()
	l := newTestLedger(c.t, c.js, LedgerSettings{})
	after, at := uint64(0), time.Now()
	for _, s := range statuses {
		o := events.Outcome{Status: s, Attempt: 1, Upstream: events.TVMS, StartedAt: &at,
			Command: events.Ref{ID: id, Source: "clinic", Kind: events.Renew, Key: customer, CID: events.CID("clinic", id, customer), Seq: seq}}
		if s == events.Started {
			o.Start = &events.Start{Worker: "w1", Deadline: at}
		}
		var err error
		if after, err = l.Append(c.t.Context(), o, after); err != nil {
			c.t.Fatal(err)
		}
	}
}

// TestAudit has one command of each fate.
func TestAudit(t *testing.T) {
	c := newClinic(t, nil)
	letters := NewDeadLetters(c.js, DeadSettings{})
	letter := func(seq uint64, reason events.Reason) {
		t.Helper()
		if err := letters.Put(t.Context(), deadLetter(seq, reason)); err != nil {
			t.Fatal(err)
		}
	}
	sent := map[string]uint64{}
	for _, id := range []string{"done", "doubted", "stale", "lost", "lost with a letter", "unfinished", "removed and done", "removed", "also removed"} {
		sent[id] = c.publishRenewal(id, "C-1")
	}
	again := c.publishRenewal("done", "C-1") // a repetition
	c.record("done", "C-1", sent["done"], events.Started, events.Succeeded)
	c.record("doubted", "C-1", sent["doubted"], events.Started, events.InDoubt)
	c.record("unfinished", "C-1", sent["unfinished"], events.Started, events.Deferred)
	c.record("removed and done", "C-1", sent["removed and done"], events.Started, events.Succeeded)
	letter(sent["stale"], events.DeadStale)
	letter(sent["lost with a letter"], events.DeadInvalid) // an outcome should have followed
	ackAll(t, c.js, c.top, len(sent)+1)
	s, err := c.js.Stream(t.Context(), "SUBRELAY_COMMANDS")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"removed and done", "removed", "also removed"} {
		if err := s.DeleteMsg(t.Context(), sent[id]); err != nil {
			t.Fatal(err)
		}
	}
	waiting := c.publishRenewal("waiting", "C-2")
	want := Audit{
		Commands: 8, Records: 8, Done: 4, Waiting: 1, Lost: 2, Unended: 1, Gone: 2, GapsDone: 1,
		CommandGaps: []Gap{{First: sent["removed and done"], Last: sent["also removed"]}},
		Cases: []AuditCase{
			{State: AuditLost, Seq: sent["lost"], Kind: events.Renew, Key: "C-1", CID: events.CID("clinic", "lost", "C-1")},
			{State: AuditLost, Seq: sent["lost with a letter"], Kind: events.Renew, Key: "C-1", CID: events.CID("clinic", "lost with a letter", "C-1")},
			{State: AuditUnfinished, Seq: sent["unfinished"], Kind: events.Renew, Key: "C-1", CID: events.CID("clinic", "unfinished", "C-1"), Status: events.Deferred},
			{State: AuditGone, Seq: sent["removed"]}, {State: AuditGone, Seq: sent["also removed"]},
		},
	}
	got := audited(t, c.js, c.top, 1)
	times := cmpopts.IgnoreTypes(time.Time{})
	if diff := cmp.Diff(want, got, times, cmpopts.IgnoreUnexported(Gap{})); diff != "" {
		t.Errorf("-want +got (%d is the repetition, %d waits)\n%s", again, waiting, diff)
	}
}

// TestAuditOfADoubtThatHolds has commands of kinds that hold their keys in doubt, and acknowledged all the same.
func TestAuditOfADoubtThatHolds(t *testing.T) {
	c := newClinic(t, func(s *TopologySettings) {
		s.Specs = []events.Spec{{Kind: events.Renew, Upstream: events.TVMS, HoldsAfterDoubt: true}}
	})
	for n, statuses := range [][]events.Status{
		{events.Started, events.InDoubt}, {events.Started, events.InDoubt, events.Failed}, {events.Started, events.Deferred},
	} {
		id, key := fmt.Sprint(n), fmt.Sprint("C-", n)
		c.record(id, key, c.publishRenewal(id, key), statuses...)
	}
	ackAll(t, c.js, c.top, 3)
	got := audited(t, c.js, c.top, 0)
	want := Audit{
		Commands: 3, Records: 7, Done: 1, Unended: 1, Unheld: 1,
		Cases: []AuditCase{
			{State: AuditUnheld, Seq: 1, Kind: events.Renew, Key: "C-0", CID: events.CID("clinic", "0", "C-0"), Status: events.InDoubt},
			{State: AuditUnfinished, Seq: 3, Kind: events.Renew, Key: "C-2", CID: events.CID("clinic", "2", "C-2"), Status: events.Deferred},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreTypes(time.Time{}), cmpopts.IgnoreUnexported(Gap{})); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	wantFinding(t, c.find(), checkup.Error, "audit.unheld", "1 "+events.CID("clinic", "0", "C-0"), "1 command in doubt")
}

// TestAuditOfWhatTheLedgerHasForgotten has a ledger whose records are gone because of their age: of an older command it
// cannot be said whether it was done.
func TestAuditOfWhatTheLedgerHasForgotten(t *testing.T) {
	c := newClinic(t, func(s *TopologySettings) { s.OutcomesMaxAge, s.DuplicateWindow = time.Second, 100*time.Millisecond })
	c.record("old", "C-1", c.publishRenewal("old", "C-1"), events.Started, events.Succeeded)
	for deadline := time.Now().Add(20 * time.Second); stream(t, c.js, "SUBRELAY_OUTCOMES").CachedInfo().State.Msgs > 0; {
		if time.Now().After(deadline) {
			t.Fatal("the ledger forgets nothing")
		}
		sleep(t.Context(), 20*time.Millisecond)
	}
	ackAll(t, c.js, c.top, 1)
	want := Audit{Commands: 1, Unknowable: 1}
	if diff := cmp.Diff(want, audited(t, c.js, c.top, 0)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	wantFinding(t, c.find(), checkup.Note, "audit.unknowable", "", "1 command is older")
}

// TestAuditSettlesGaps looks again at what seemed to be missing: what was removed from the beginning meanwhile is no gap.
func TestAuditSettlesGaps(t *testing.T) {
	c := newClinic(t, nil)
	for n := range 6 {
		c.publishRenewal(fmt.Sprint(n), "C-1")
	}
	if err := stream(t, c.js, "SUBRELAY_COMMANDS").Purge(t.Context(), jetstream.WithPurgeSequence(4)); err != nil {
		t.Fatal(err)
	}
	a := &audit{checkup: NewCheckup(c.js, CheckupSettings{Topology: c.top})}
	got, err := a.settled(t.Context(), "SUBRELAY_COMMANDS", []Gap{{First: 1, Last: 1, beginning: true}, {First: 2, Last: 3}, {First: 3, Last: 4}, {First: 5, Last: 5}})
	if err != nil {
		t.Fatal(err)
	}
	want := []Gap{{First: 1, Last: 1, beginning: true}, {First: 3, Last: 4}, {First: 5, Last: 5}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Gap{})); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestAuditOfABeginningThatIsGone purges what nobody may purge yet.
func TestAuditOfABeginningThatIsGone(t *testing.T) {
	c := newClinic(t, nil)
	for n := range 4 {
		c.publishRenewal(fmt.Sprint(n), "C-1")
	}
	c.record("0", "C-1", 1, events.Started, events.Succeeded)
	s, err := c.js.Stream(t.Context(), "SUBRELAY_COMMANDS")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context(), jetstream.WithPurgeSequence(3)); err != nil {
		t.Fatal(err)
	}
	got := audited(t, c.js, c.top, 2)
	if got.Gone != 1 || got.GapsDone != 1 || len(got.CommandGaps) != 1 || got.CommandGaps[0].Last != 2 {
		t.Errorf("%+v", got)
	}
	c.top = topology(t, func(s *TopologySettings) { s.CommandsKeep = time.Nanosecond }) // now purging is as it should be
	if got := audited(t, c.js, c.top, 2); got.Gone != 0 || len(got.CommandGaps) != 0 {
		t.Errorf("%+v", got)
	}
}

// TestCIDSet compares the set with a map, over its compactions.
func TestCIDSet(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	statuses := []events.Status{events.Started, events.Deferred, events.InDoubt, events.Succeeded, events.Failed}
	states := []cidState{cidOpen, cidOpen, cidDoubt, cidFinal, cidFinal}
	var set cidSet
	want := map[string]cidState{}
	for range 300_000 {
		cid, i := fmt.Sprint("cid", r.IntN(100_000)), r.IntN(len(statuses))
		set.add(cid, statuses[i])
		want[cid] = max(want[cid], states[i])
	}
	set.sort()
	if len(set.entries) != len(want) || cap(set.entries) > 3*len(want) {
		t.Errorf("%d entries in room for %d, of %d cids", len(set.entries), cap(set.entries), len(want))
	}
	for cid, state := range want {
		if got := set.state(cid); got != state {
			t.Fatalf("%s: %d, want %d", cid, got, state)
		}
	}
	if set.state("another") != cidUnknown {
		t.Error("what was never added is known")
	}
}

func TestGapFinder(t *testing.T) {
	info := func(first, last uint64) *jetstream.StreamInfo {
		return &jetstream.StreamInfo{Created: time.Now().Add(-time.Hour), State: jetstream.StreamState{FirstSeq: first, LastSeq: last}}
	}
	for _, tc := range []struct {
		name string
		info *jetstream.StreamInfo
		keep time.Duration
		all  bool
		seen []uint64
		want string
	}{
		{"whole", info(1, 3), time.Minute, true, []uint64{1, 2, 3}, ""},
		{"purged, and old enough", info(4, 6), time.Minute, true, []uint64{4, 5, 6}, ""},
		{"purged, and too young", info(4, 6), 2 * time.Hour, true, []uint64{4, 5, 6}, "1-3"},
		{"first, middle and last", info(1, 9), time.Minute, true, []uint64{2, 3, 6, 8}, "1-1 4-5 7-7 9-9"},
		{"nothing at all", info(1, 3), time.Minute, true, nil, "1-3"},
		{"empty", info(0, 0), time.Minute, true, nil, ""},
		{"purged whole", info(4, 3), time.Minute, true, nil, ""},
		{"a part", info(1, 9), time.Minute, false, []uint64{5, 7, 8}, "6-6 9-9"},
		{"a part with nothing in it", info(1, 9), time.Minute, false, nil, ""},
	} {
		g := newGapFinder(tc.info, tc.keep, tc.all)
		for _, seq := range tc.seen {
			g.saw(Message{Seq: seq})
		}
		var got []string
		for _, gap := range g.close() {
			got = append(got, fmt.Sprintf("%d-%d", gap.First, gap.Last))
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// BenchmarkAudit audits commands that are done, and says how fast, and what it holds in memory.
func BenchmarkAudit(b *testing.B) {
	const n = 200_000
	s := natstest.StartCluster(b, natstest.ClusterOptions{Nodes: 1, LazySync: true}) // so that the memory is the audit's alone
	conn, err := nats.Connect(s.URL())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		b.Fatal(err)
	}
	top := topology(b, func(s *TopologySettings) { s.Partitions = 1 })
	apply(b, js, top)
	names := top.settings.Names
	publish := func(subject, body string) {
		for {
			_, err := js.PublishAsync(subject, []byte(body))
			if err == nil {
				return
			}
			sleep(b.Context(), 10*time.Millisecond)
		}
	}
	for i := range n {
		id := fmt.Sprintf("invoice-%d", i)
		customer := fmt.Sprintf("C-%d", i%50_000)
		cid := events.CID("clinic", id, customer)
		publish(names.Command(events.Renew, customer), fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"clinic","type":"subrelay.renew.v1","subject":%q,"datacontenttype":"application/json","data":{"customer_mapping_id":%q,"months":1},"filler":%q}`,
			id, customer, customer, strings.Repeat("x", 350)))
		publish(names.Ledger(events.Renew, events.Started, customer, cid), "{}")
		publish(names.Ledger(events.Renew, events.Succeeded, customer, cid), "{}")
	}
	<-js.PublishAsyncComplete()
	ackAll(b, js, top, n)
	k := NewCheckup(js, CheckupSettings{Topology: top})
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		peak := uint64(0)
		began := time.Now()
		a, err := k.Audit(context.Background(), AuditQuery{Progress: func(read int) {
			if read%50_000 == 0 {
				runtime.GC()
				runtime.ReadMemStats(&after)
				peak = max(peak, after.HeapAlloc)
			}
		}})
		if err != nil || a.Done != n {
			b.Fatalf("%+v %v", a, err)
		}
		b.ReportMetric(3*n/time.Since(began).Seconds(), "messages/s")
		b.ReportMetric(float64(int64(peak)-int64(before.HeapAlloc))/1e6, "MB-more-heap") //nolint:gosec // both are small
	}
}
