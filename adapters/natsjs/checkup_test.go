package natsjs

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
	"subrelay/events/checkup"
)

// clinic is a broker with the whole topology, to be checked up.
type clinic struct {
	t        *testing.T
	js       jetstream.JetStream
	top      *Topology
	settings CheckupSettings
}

func newClinic(t *testing.T, edit func(*TopologySettings)) *clinic {
	t.Helper()
	s := startServer(t)
	_, js := connect(t, s)
	c := &clinic{t: t, js: js, top: topology(t, edit)}
	apply(t, js, c.top)
	return c
}

// find runs every check and lists what they found.
func (c *clinic) find() []checkup.Finding {
	c.t.Helper()
	c.settings.Topology = c.top
	k := NewCheckup(c.js, c.settings)
	checks := append(append(k.Checks(), k.OpenChecks()...), k.AuditCheck(AuditQuery{}, time.Minute))
	return checkup.Run(c.t.Context(), checks)
}

// wantFinding fails the test unless there is a finding of this severity and code, about of, that says words.
func wantFinding(t *testing.T, found []checkup.Finding, severity checkup.Severity, code, of, words string) checkup.Finding {
	t.Helper()
	for _, f := range found {
		if f.Code == code && f.Severity == severity && strings.Contains(f.Of, of) && strings.Contains(f.What, words) {
			if severity > checkup.Note && (f.Why == "" || f.Do == "") {
				t.Errorf("%s does not say why, or what to do: %+v", code, f)
			}
			return f
		}
	}
	t.Errorf("there is no %s %s (%s) that says %q in\n%s", severity, code, of, words, listing(found))
	return checkup.Finding{}
}

// wantSilence fails the test for a finding of this code that is worse than a note.
func wantSilence(t *testing.T, found []checkup.Finding, code string) {
	t.Helper()
	for _, f := range found {
		if strings.HasPrefix(f.Code, code) && f.Severity > checkup.Note {
			t.Errorf("%s %s (%s): %s", f.Severity, f.Code, f.Of, f.What)
		}
	}
}

func listing(found []checkup.Finding) string {
	var b strings.Builder
	for _, f := range found {
		fmt.Fprintf(&b, "%s %s (%s): %s\n", f.Severity, f.Code, f.Of, f.What)
	}
	return b.String()
}

// update changes a stream behind the topology's back.
func (c *clinic) update(stream string, edit func(*jetstream.StreamConfig)) {
	c.t.Helper()
	s, err := c.js.Stream(c.t.Context(), stream)
	if err != nil {
		c.t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	edit(&cfg)
	if _, err := c.js.UpdateStream(c.t.Context(), cfg); err != nil {
		c.t.Fatal(err)
	}
}

// TestCheckupOfASoundBroker is the case in which every check is silent, but for what one server without workers lacks.
func TestCheckupOfASoundBroker(t *testing.T) {
	c := newClinic(t, nil)
	found := c.find()
	for _, f := range found {
		if f.Severity > checkup.Note && f.Code != "stream.few_replicas" && f.Code != "settings.replicas" {
			t.Errorf("%s %s (%s): %s", f.Severity, f.Code, f.Of, f.What)
		}
		if f.Severity == checkup.Note && f.Code != "worker.none" && f.Code != "sync.unknown" {
			t.Errorf("%s (%s): %s", f.Code, f.Of, f.What)
		}
	}
	for _, code := range []string{"server.version", "clock.server", "account.limits", "nats.connection", "consumer.settings",
		"commands.waiting", "audit.complete", "doubts.open", "dead_letters.open"} {
		wantFinding(t, found, checkup.OK, code, "", "")
	}
}

func TestCheckupFindsWhatIsMissing(t *testing.T) {
	s := startServer(t)
	_, js := connect(t, s)
	found := (&clinic{t: t, js: js, top: topology(t, nil)}).find()
	wantFinding(t, found, checkup.Error, CodeNoStream, "SUBRELAY_COMMANDS", "no such stream")
	wantFinding(t, found, checkup.Error, CodeNoStream, "SUBRELAY_OUTCOMES", "no such stream")
	wantSilence(t, found, checkup.CodeFailed)
}

// TestCheckupFindsChangedStreams changes one setting after the other.
func TestCheckupFindsChangedStreams(t *testing.T) {
	for _, tc := range []struct {
		name, stream, code string
		severity           checkup.Severity
		promise            bool
		edit               func(*jetstream.StreamConfig)
	}{
		{"commands drop the oldest", "SUBRELAY_COMMANDS", "stream.discard", checkup.Error, true, func(s *jetstream.StreamConfig) { s.Discard = jetstream.DiscardOld }},
		{"commands expire", "SUBRELAY_COMMANDS", "stream.max_age", checkup.Error, true, func(s *jetstream.StreamConfig) { s.MaxAge = time.Hour }},
		{"one command per key", "SUBRELAY_COMMANDS", "stream.max_msgs_per_subject", checkup.Error, true, func(s *jetstream.StreamConfig) { s.MaxMsgsPerSubject = 1 }},
		{"another window", "SUBRELAY_COMMANDS", "stream.duplicate_window", checkup.Note, false, func(s *jetstream.StreamConfig) { s.Duplicates = time.Minute }},
		{"smaller", "SUBRELAY_COMMANDS", "stream.max_bytes", checkup.Warning, false, func(s *jetstream.StreamConfig) { s.MaxBytes = 1 << 20 }},
		{"the ledger drops the oldest", "SUBRELAY_OUTCOMES", "stream.discard", checkup.Error, true, func(s *jetstream.StreamConfig) { s.Discard = jetstream.DiscardOld }},
		{"the ledger forgets sooner", "SUBRELAY_OUTCOMES", "stream.max_age", checkup.Error, true, func(s *jetstream.StreamConfig) { s.MaxAge = 24 * time.Hour }},
		{"the ledger forgets later", "SUBRELAY_OUTCOMES", "stream.max_age", checkup.Warning, false, func(s *jetstream.StreamConfig) { s.MaxAge = 9000 * time.Hour }},
		{"the ledger is read from anywhere", "SUBRELAY_OUTCOMES", "stream.allow_direct", checkup.Error, true, func(s *jetstream.StreamConfig) { s.AllowDirect = true }},
		{"nobody is told", "SUBRELAY_OUTCOMES", "stream.republish", checkup.Error, false, func(s *jetstream.StreamConfig) { s.RePublish = nil }},
		{"commands with an age", "SUBRELAY_COMMANDS", "stream.message_ttl", checkup.Warning, true, func(s *jetstream.StreamConfig) { s.AllowMsgTTL = true }},
		{"commands can be rolled up", "SUBRELAY_COMMANDS", "stream.allow_rollup_hdrs", checkup.Error, true, func(s *jetstream.StreamConfig) { s.AllowRollup = true }},
		{"letters can be rolled up", "SUBRELAY_DEADLETTERS", "stream.allow_rollup_hdrs", checkup.Error, true, func(s *jetstream.StreamConfig) { s.AllowRollup = true }},
		{"ticks can be rolled up", "SUBRELAY_TASKS", "stream.allow_rollup_hdrs", checkup.Warning, false, func(s *jetstream.StreamConfig) { s.AllowRollup = true }},
		{"nothing is acknowledged", "SUBRELAY_OUTCOMES", "stream.no_ack", checkup.Error, false, func(s *jetstream.StreamConfig) { s.NoAck = true }},
		{"consumers end", "SUBRELAY_COMMANDS", "stream.consumer_limits.inactive_threshold", checkup.Warning, false, func(s *jetstream.StreamConfig) { s.ConsumerLimits.InactiveThreshold = time.Hour }},
		{"letters forgotten", "SUBRELAY_DEADLETTERS", "stream.max_age", checkup.Warning, false, func(s *jetstream.StreamConfig) { s.MaxAge = time.Hour }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newClinic(t, nil)
			k := NewCheckup(c.js, CheckupSettings{Topology: c.top})
			check := []checkup.Check{{Name: "streams", Run: k.checkStreams}}
			wantSilence(t, checkup.Run(t.Context(), check), tc.code)
			c.update(tc.stream, tc.edit)
			f := wantFinding(t, checkup.Run(t.Context(), check), tc.severity, tc.code, tc.stream, "")
			if f.Promise != tc.promise {
				t.Errorf("breaks the promise: %t", f.Promise)
			}
		})
	}
}

// TestCheckupFindsWhatCannotBeChanged looks at streams that were made otherwise, and so stay.
func TestCheckupFindsWhatCannotBeChanged(t *testing.T) {
	s := startServer(t)
	_, js := connect(t, s)
	top := topology(t, nil)
	for _, cfg := range top.streams() {
		switch {
		case strings.HasSuffix(cfg.Name, "_COMMANDS"):
			cfg.Storage = jetstream.MemoryStorage
			cfg.MaxBytes = 1 << 20
			cfg.SubjectTransform.Destination = strings.Replace(cfg.SubjectTransform.Destination, "partition(4", "partition(8", 1)
		case strings.HasSuffix(cfg.Name, "_OUTCOMES"):
			cfg.DenyPurge = false
		case strings.HasPrefix(cfg.Name, bucketStream):
			continue
		}
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	found := (&clinic{t: t, js: js, top: top}).find()
	for _, code := range []string{"stream.storage", "stream.subject_transform"} {
		if f := wantFinding(t, found, checkup.Error, code, "SUBRELAY_COMMANDS", ""); !f.Promise {
			t.Errorf("%s does not break the promise", code)
		}
	}
	wantFinding(t, found, checkup.Warning, "stream.deny_purge", "SUBRELAY_OUTCOMES", "")
	wantFinding(t, found, checkup.Error, "consumer.missing", "tvms-00", "")
}

func TestCheckupFindsAForeignStream(t *testing.T) {
	c := newClinic(t, nil)
	if err := c.js.DeleteStream(t.Context(), "SUBRELAY_COMMANDS"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "SUBRELAY_COMMANDS", Subjects: []string{"elsewhere.>"}}); err != nil {
		t.Fatal(err)
	}
	wantFinding(t, c.find(), checkup.Error, "stream.foreign", "SUBRELAY_COMMANDS", "another installation")
}

// TestCheckupFindsFullStreams fills the dead letters.
func TestCheckupFindsFullStreams(t *testing.T) {
	c := newClinic(t, func(s *TopologySettings) { s.DeadMaxBytes = 10_000 })
	for _, tc := range []struct {
		upTo     float64
		severity checkup.Severity
	}{{0.82, checkup.Warning}, {0.96, checkup.Error}} {
		for n := 0; ; n++ {
			s, err := c.js.Stream(t.Context(), "SUBRELAY_DEADLETTERS")
			if err != nil {
				t.Fatal(err)
			}
			if nearlyFull(s.CachedInfo(), tc.upTo) {
				break
			}
			if _, err := c.js.Publish(t.Context(), c.top.settings.Names.Dead("stale", uint64(n)), make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
		}
		wantFinding(t, c.find(), tc.severity, "stream.nearly_full", "SUBRELAY_DEADLETTERS", "%")
	}
}

func TestCheckupFindsBrokenRetention(t *testing.T) {
	c := newClinic(t, func(s *TopologySettings) {
		s.OutcomesMaxAge, s.CommandsKeep, s.DeadMaxAge = 24*time.Hour, 48*time.Hour, time.Hour
	})
	found := c.find()
	if f := wantFinding(t, found, checkup.Error, "retention.ledger", "", "forgets after 24h"); !f.Promise {
		t.Error("it does not break the promise")
	}
	wantFinding(t, found, checkup.Warning, "retention.dead_letters", "", "sooner")
	c.top = topology(t, func(s *TopologySettings) { s.Replicas = 3 })
	k := NewCheckup(c.js, CheckupSettings{Topology: c.top})
	wantFinding(t, checkup.Run(t.Context(), []checkup.Check{{Run: k.checkRetention}}), checkup.OK, "retention.ledger", "", "")
}

func TestCheckupFindsChangedConsumers(t *testing.T) {
	c := newClinic(t, nil)
	ctx := t.Context()
	wantSilence(t, c.find(), "consumer.")
	edit := func(name string, change func(*jetstream.ConsumerConfig)) {
		t.Helper()
		k, err := c.js.Consumer(ctx, "SUBRELAY_COMMANDS", name)
		if err != nil {
			t.Fatal(err)
		}
		cfg := k.CachedInfo().Config
		change(&cfg)
		if _, err := c.js.UpdateConsumer(ctx, "SUBRELAY_COMMANDS", cfg); err != nil {
			t.Fatal(err)
		}
	}
	edit("tvms-00", func(k *jetstream.ConsumerConfig) { k.MaxDeliver = 3 })
	edit("tvms-01", func(k *jetstream.ConsumerConfig) { k.AckWait = time.Minute })
	edit("crmcom-01", func(k *jetstream.ConsumerConfig) { k.HeadersOnly = true })
	edit("netflix-00", func(k *jetstream.ConsumerConfig) { k.InactiveThreshold = time.Hour })
	edit("netflix-02", func(k *jetstream.ConsumerConfig) { k.BackOff = []time.Duration{time.Second, time.Hour} })
	edit("netflix-01", func(k *jetstream.ConsumerConfig) { k.FilterSubjects = k.FilterSubjects[:2] })
	if _, err := c.js.PauseConsumer(ctx, "SUBRELAY_COMMANDS", "tvms-02", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"crmcom-00", "crmcom-03"} {
		if err := c.js.DeleteConsumer(ctx, "SUBRELAY_COMMANDS", name); err != nil {
			t.Fatal(err)
		}
	}
	found := c.find()
	wantFinding(t, found, checkup.Error, "consumer.max_deliver", "tvms-00", "3")
	wantFinding(t, found, checkup.Warning, "consumer.ack_wait", "tvms-01", "1m0s")
	if f := wantFinding(t, found, checkup.Error, "consumer.headers_only", "crmcom-01", "true"); !f.Promise {
		t.Error("commands without their data keep the promise")
	}
	wantFinding(t, found, checkup.Warning, "consumer.inactive_threshold", "netflix-00", "1h0m0s")
	wantFinding(t, found, checkup.Warning, "consumer.backoff", "netflix-02", "[1s 1h0m0s]")
	wantFinding(t, found, checkup.Warning, "consumer.filters", "netflix-01", "")
	wantFinding(t, found, checkup.Error, "consumer.paused", "tvms-02", "")
	wantFinding(t, found, checkup.Error, "consumer.missing", "crmcom-00, crmcom-03", "")
}

// publishRenewal stores a command of a customer, and returns its sequence.
func (c *clinic) publishRenewal(id, customer string) uint64 {
	c.t.Helper()
	body := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"clinic","type":"subrelay.renew.v1","subject":%q,"data":{"customer_mapping_id":%q,"months":1}}`, id, customer, customer)
	ack, err := c.js.Publish(c.t.Context(), c.top.settings.Names.Command(events.Renew, customer), []byte(body))
	if err != nil {
		c.t.Fatal(err)
	}
	return ack.Sequence
}

func TestCheckupFindsWhatWaits(t *testing.T) {
	c := newClinic(t, nil)
	c.publishRenewal("one", "C-1")
	found := c.find()
	wantFinding(t, found, checkup.Error, "worker.none", "tvms", "1 command waits")
	wantFinding(t, found, checkup.Note, "worker.none", "crmcom", "")
	wantFinding(t, found, checkup.OK, "commands.waiting", "tvms", "renew of C-1")
	wantSilence(t, found, "partition.") // nobody is there at all
	c.settings.WaitingLong = time.Nanosecond
	c.settings.Upstreams = []events.Upstream{events.CRMCOM}
	found = c.find()
	wantFinding(t, found, checkup.Warning, "commands.waiting", "tvms", "renew of C-1")
	wantFinding(t, found, checkup.Warning, "worker.none", "crmcom", "")
}

// TestCheckupFindsForgettingLedgers has a command wait for nearly as long as the ledger remembers.
func TestCheckupFindsForgettingLedgers(t *testing.T) {
	c := &Checkup{topology: topology(t, nil), settings: CheckupSettings{WaitingLong: time.Minute}}
	for age, want := range map[time.Duration]checkup.Severity{time.Second: checkup.OK, time.Hour: checkup.Warning, 30 * 24 * time.Hour: checkup.Warning, 44 * 24 * time.Hour: checkup.Error} {
		found := &checkup.Found{}
		c.addWaiting(events.TVMS, oldest{seq: 1, time: time.Now().Add(-age), count: 1}, found)
		if got := found.All()[0].Severity; got != want {
			t.Errorf("after %s: %s, want %s", age, got, want)
		}
	}
}

// TestCheckupFindsAPartitionWithoutAnOwner has a worker that is present and takes nothing.
func TestCheckupFindsAPartitionWithoutAnOwner(t *testing.T) {
	c := newClinic(t, func(s *TopologySettings) { s.PinnedTTL = time.Second })
	kv, err := c.js.KeyValue(t.Context(), "subrelay-workers")
	if err != nil {
		t.Fatal(err)
	}
	present := func(value []byte) (stop func()) {
		if _, err := kv.Put(t.Context(), "idle/tvms", value); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for sleep(ctx, time.Second) {
				_, _ = kv.Put(ctx, "idle/tvms", value)
			}
		}()
		return func() { cancel(); <-done }
	}
	c.publishRenewal("one", "C-1")
	stop := present(nil)
	found := c.find()
	stop()
	wantFinding(t, found, checkup.Error, "partition.no_owner", "tvms-0", "1 partition")
	wantFinding(t, found, checkup.OK, "worker.present", "", "idle (tvms)")

	// A pin is gone with a consumer's leader, until the next delivery: the worker's own word counts.
	all := WorkerStatus{Upstreams: []UpstreamStatus{{Upstream: events.TVMS}}}
	for p := range 16 {
		all.Upstreams[0].Partitions = append(all.Upstreams[0].Partitions, PartitionStatus{Number: p})
	}
	value, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	stop = present(value)
	defer stop()
	for _, f := range c.find() {
		if f.Code == "partition.no_owner" {
			t.Errorf("found %+v", f)
		}
	}
}

func TestCheckupFindsUndeliveredCommands(t *testing.T) {
	c := newClinic(t, nil)
	c.publishRenewal("one", "C-1")
	for p := range 4 {
		if err := c.js.DeleteConsumer(t.Context(), "SUBRELAY_COMMANDS", c.top.settings.Names.Consumer(events.TVMS, p)); err != nil {
			t.Fatal(err)
		}
	}
	found := c.find()
	wantFinding(t, found, checkup.Error, "commands.undelivered", "SUBRELAY_COMMANDS", "command 1")
	wantFinding(t, found, checkup.Error, "audit.undelivered", "", "1 command")
}

// varzPage serves a server's monitoring page.
func varzPage(t *testing.T, status int, page string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/varz" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(page))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestCheckupReadsSyncInterval(t *testing.T) {
	c := newClinic(t, nil)
	name := c.js.Conn().ConnectedServerName()
	always := varzPage(t, 200, fmt.Sprintf(`{"server_name":%q,"jetstream":{"config":{"sync_always":true,"sync_interval":120000000000}}}`, name))
	lazy := varzPage(t, 200, fmt.Sprintf(`{"server_name":%q,"jetstream":{"config":{"sync_interval":120000000000}}}`, name))
	none := varzPage(t, 200, `{"server_name":"hub","jetstream":{}}`)
	for _, tc := range []struct {
		monitors []string
		severity checkup.Severity
		code     string
		silent   string
	}{
		{nil, checkup.Note, "sync.unknown", "sync.lazy"},
		{[]string{always}, checkup.OK, "sync.always", "sync."},
		{[]string{always + "/varz"}, checkup.OK, "sync.always", "sync."},
		{[]string{lazy + "/"}, checkup.Error, "sync.lazy", "sync.un"},
		{[]string{none}, checkup.Note, "sync.no_jetstream", "sync.lazy"},
		{[]string{none}, checkup.Warning, "sync.unknown", "sync.lazy"},
		{[]string{"http://127.0.0.1:1"}, checkup.Warning, "sync.unread", "sync.lazy"},
		{[]string{varzPage(t, 500, "")}, checkup.Warning, "sync.unread", "sync.lazy"},
		{[]string{varzPage(t, 200, "<html>")}, checkup.Warning, "sync.unread", "sync.lazy"},
		{[]string{"nats-1:8222"}, checkup.Warning, "sync.unread", "sync.lazy"},
	} {
		k := NewCheckup(c.js, CheckupSettings{Topology: c.top, Monitors: tc.monitors})
		found := checkup.Run(t.Context(), []checkup.Check{{Name: "sync", Run: k.checkSync}})
		wantFinding(t, found, tc.severity, tc.code, "", "")
		wantSilence(t, found, tc.silent)
	}
}

// TestCheckupReadsMonitorsAtOnce has monitors that hang before one that tells of a server that flushes now and then.
func TestCheckupReadsMonitorsAtOnce(t *testing.T) {
	c := newClinic(t, nil)
	stop := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stop }))
	defer hanging.Close()
	defer close(stop)
	lazy := varzPage(t, 200, `{"server_name":"n4","jetstream":{"config":{"sync_interval":120000000000}}}`)
	k := NewCheckup(c.js, CheckupSettings{Topology: c.top, Monitors: []string{hanging.URL + "/1", hanging.URL + "/2", hanging.URL + "/3", lazy}})
	found := checkup.Run(t.Context(), []checkup.Check{{Name: "sync", Run: k.checkSync}})
	wantFinding(t, found, checkup.Error, "sync.lazy", "n4", "")
	for _, path := range []string{"/1", "/2", "/3"} {
		if f := wantFinding(t, found, checkup.Warning, CodeUnread, path, ""); !f.Promise {
			t.Error("a worker starts in production with a server of which nobody knows whether it flushes")
		}
	}
	wantSilence(t, found, checkup.CodeFailed)
}

// TestCheckupOfAServerThatIsAway has a monitor that nobody answers at, and every server that is there read.
func TestCheckupOfAServerThatIsAway(t *testing.T) {
	c := newClinic(t, nil)
	here := varzPage(t, 200, fmt.Sprintf(`{"server_name":%q,"jetstream":{"config":{"sync_always":true}}}`, c.js.Conn().ConnectedServerName()))
	k := NewCheckup(c.js, CheckupSettings{Topology: c.top, Monitors: []string{"http://127.0.0.1:1", here}})
	found := checkup.Run(t.Context(), []checkup.Check{{Name: "sync", Run: k.checkSync}})
	if f := wantFinding(t, found, checkup.Warning, CodeUnread, "127.0.0.1:1", "the servers that are there were all read"); f.Promise {
		t.Error("a server that is away keeps workers from starting")
	}
	wantSilence(t, found, "sync.unknown")
}

// TestCheckupTrustsTheAuthorityOfNATS reads a server's monitoring over TLS.
func TestCheckupTrustsTheAuthorityOfNATS(t *testing.T) {
	c := newClinic(t, nil)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"server_name":%q,"jetstream":{"config":{"sync_always":true}}}`, c.js.Conn().ConnectedServerName())
	}))
	defer s.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	check := func(caFile string) []checkup.Finding {
		k := NewCheckup(c.js, CheckupSettings{Topology: c.top, Monitors: []string{s.URL}, MonitorCAFile: caFile})
		return checkup.Run(t.Context(), []checkup.Check{{Name: "sync", Run: k.checkSync}})
	}
	wantFinding(t, check(file), checkup.OK, "sync.always", "", "")
	wantFinding(t, check(""), checkup.Warning, CodeUnread, "https://127.0.0.1", "certificate")
	wantFinding(t, check("/nowhere"), checkup.Warning, checkup.CodeFailed, "sync", "/nowhere")
}

func TestCheckupJudgesVersions(t *testing.T) {
	for version, want := range map[string]checkup.Severity{"2.10.29": checkup.Error, "2.12.1": checkup.Warning, "2.15.2": checkup.OK, "2.16.0-RC.1": checkup.OK, "3.0.0": checkup.OK, "dev": checkup.Note} {
		found := &checkup.Found{}
		checkVersion(seenServer{Name: "n1", Version: version}, found)
		if got := found.All()[0]; got.Severity != want || got.Promise != (want == checkup.Error) {
			t.Errorf("%s: %+v", version, got)
		}
	}
}

func TestCheckupJudgesClocks(t *testing.T) {
	for _, tc := range []struct {
		skew, within time.Duration
		want         checkup.Severity
	}{
		{time.Second, 0, checkup.OK}, {-3 * time.Second, time.Millisecond, checkup.Warning}, {2 * time.Minute, time.Second, checkup.Error},
		{3 * time.Second, 2 * time.Second, checkup.OK}, {-time.Hour, time.Second, checkup.Error},
	} {
		found := &checkup.Found{}
		checkClock(seenServer{Name: "n1", Time: time.Now(), skew: tc.skew, within: tc.within}, found)
		if got := found.All()[0]; got.Severity != tc.want || got.Refused() != (tc.want == checkup.Error) {
			t.Errorf("%s within %s: %+v", tc.skew, tc.within, got)
		}
	}
	for late, want := range map[time.Duration]checkup.Severity{time.Millisecond: checkup.OK, -3 * time.Second: checkup.Warning, 10 * time.Second: checkup.Warning, -time.Hour: checkup.Error} {
		found := &checkup.Found{}
		addWorkerClock("w1", late, found)
		if got := found.All()[0]; got.Severity != want {
			t.Errorf("%s late: %+v", late, got)
		}
	}
}

// TestCheckupSeesWorkersClocks reads the clocks of workers from what they wrote.
func TestCheckupSeesWorkersClocks(t *testing.T) {
	c := newClinic(t, nil)
	l := newTestLedger(t, c.js, LedgerSettings{})
	for worker, off := range map[string]time.Duration{"good": 0, "ahead": time.Minute + 10*time.Second} {
		at := time.Now().Add(off)
		o := events.Outcome{Command: events.Ref{ID: worker, Source: "s", Kind: events.Renew, Key: "K", CID: events.CID("s", worker, "K")}, Status: events.Started,
			Attempt: 1, Upstream: events.TVMS, StartedAt: &at, Token: worker, Start: &events.Start{Worker: worker, Deadline: at.Add(time.Minute)}}
		if _, err := l.Append(t.Context(), o, 0); err != nil {
			t.Fatal(err)
		}
	}
	found := c.find()
	wantFinding(t, found, checkup.OK, "clock.worker", "good", "")
	wantFinding(t, found, checkup.Error, "clock.worker", "ahead", "ahead of")
}

func TestPasswordInURL(t *testing.T) {
	for list, want := range map[string]bool{"nats://a:b@n1:4222": true, "nats://n1:4222, nats://token@n2": true, "nats://n1,nats://n2": false, "n1:4222": false} {
		if passwordInURL(list) != want {
			t.Errorf("%s: %t", RedactURL(list), !want)
		}
	}
	for addr, want := range map[string]bool{"127.0.0.1:4222": true, "[::1]:4222": true, "pipe": true, "localhost:1": true, "10.0.0.1:4222": false, "nats:4222": false} {
		if isLoopback(addr) != want {
			t.Errorf("%s: %t", addr, !want)
		}
	}
}
