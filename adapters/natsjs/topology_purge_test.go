package natsjs

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

// day is short here: the server wakes up every second, and a month of that takes long even in virtual time.
const day = time.Minute

// purgeFixture is a command stream in virtual time, with one partition and two upstreams.
type purgeFixture struct {
	*testing.T
	js  jetstream.JetStream
	top *Topology
}

// inVirtualTime runs a test of the janitor in a bubble.
func inVirtualTime(t *testing.T, test func(purgeFixture)) {
	synctest.Test(t, func(t *testing.T) {
		_, js := connect(t, startServer(t), nats.PingInterval(time.Hour))
		f := purgeFixture{t, js, topology(t, func(s *TopologySettings) {
			s.Partitions, s.CommandsKeep, s.Specs = 1, 30*day, []events.Spec{renewSpec, amendSpec}
		})}
		apply(t, js, f.top)
		test(f)
	})
}

func (f purgeFixture) publish(kinds ...events.Kind) {
	f.Helper()
	for _, kind := range kinds {
		if _, err := f.js.Publish(f.Context(), f.top.settings.Names.Command(kind, "C-1"), nil); err != nil {
			f.Fatal(err)
		}
	}
}

// purge purges, and compares what it did and what is left.
func (f purgeFixture) purge(messages, first uint64, limitedBy string) {
	f.Helper()
	got, err := f.top.Purge(f.Context(), f.js)
	if err != nil {
		f.Fatal(err)
	}
	if got.Messages != messages || got.First != first || !strings.HasPrefix(got.LimitedBy, limitedBy) {
		f.Errorf("purged %+v, want %d messages, first %d, limited by %s", got, messages, first, limitedBy)
	}
	state := stream(f, f.js, f.top.settings.Names.Commands()).CachedInfo().State
	if state.FirstSeq != first {
		f.Errorf("the stream begins with %d, want %d", state.FirstSeq, first)
	}
}

func TestPurgeOldAndDone(t *testing.T) {
	inVirtualTime(t, func(f purgeFixture) {
		f.publish("renew", "amend", "renew")
		drain(f, f.js, "tvms-00", 2)
		drain(f, f.js, "crmcom-00", 1)
		f.purge(0, 1, "age")
		time.Sleep(20 * day)
		f.publish("amend")
		drain(f, f.js, "crmcom-00", 1)
		time.Sleep(10*day - time.Second)
		f.purge(0, 1, "age")
		time.Sleep(2 * time.Second)
		f.purge(3, 4, "age") // tvms has been idle since 3, and limits nothing
		f.purge(0, 4, "age")
		time.Sleep(21 * day)
		f.purge(1, 5, "age")
		f.purge(0, 5, "age") // an empty stream
		f.publish("renew")
		f.purge(0, 5, "age")
	})
}

func TestPurgeKeepsWhatIsNotDone(t *testing.T) {
	inVirtualTime(t, func(f purgeFixture) {
		f.publish("renew", "renew", "amend", "renew")
		drain(f, f.js, "tvms-00", 3)
		time.Sleep(100 * day)
		f.purge(2, 3, "consumer crmcom-00: 1 not delivered")

		c, err := f.js.Consumer(f.Context(), "SUBRELAY_COMMANDS", "crmcom-00")
		if err != nil {
			f.Fatal(err)
		}
		batch, err := c.Fetch(1, jetstream.FetchPriorityGroup(PinGroup))
		if err != nil {
			f.Fatal(err)
		}
		msg := <-batch.Messages()
		f.purge(0, 3, "consumer crmcom-00: 0 not delivered, 1 not acknowledged")
		if err := msg.DoubleAck(f.Context()); err != nil {
			f.Fatal(err)
		}
		f.purge(2, 5, "age")
	})
}

func TestPurgeStopsAtTheFloorOfABusyConsumer(t *testing.T) {
	inVirtualTime(t, func(f purgeFixture) {
		f.publish("renew", "renew", "renew")
		c, err := f.js.Consumer(f.Context(), "SUBRELAY_COMMANDS", "tvms-00")
		if err != nil {
			f.Fatal(err)
		}
		batch, err := c.Fetch(3, jetstream.FetchPriorityGroup(PinGroup))
		if err != nil {
			f.Fatal(err)
		}
		for msg := range batch.Messages() { // the second is not finished
			if meta, err := msg.Metadata(); err != nil || meta.Sequence.Stream == 2 {
				continue
			}
			if err := msg.DoubleAck(f.Context()); err != nil {
				f.Fatal(err)
			}
		}
		time.Sleep(31 * day)
		f.purge(1, 2, "consumer tvms-00: 0 not delivered, 1 not acknowledged")
	})
}

func TestPurgeMindsEveryConsumer(t *testing.T) {
	inVirtualTime(t, func(f purgeFixture) {
		f.publish("renew", "renew")
		drain(f, f.js, "tvms-00", 2)
		if _, err := f.js.CreateConsumer(f.Context(), "SUBRELAY_COMMANDS", jetstream.ConsumerConfig{Durable: "auditor"}); err != nil {
			f.Fatal(err)
		}
		time.Sleep(31 * day)
		f.purge(0, 1, "consumer auditor: 2 not delivered")
	})
}

func TestPurgeKeepsWhatNobodyDelivers(t *testing.T) {
	inVirtualTime(t, func(f purgeFixture) {
		f.publish("renew", "amend", "renew")
		drain(f, f.js, "tvms-00", 2)
		if err := f.js.DeleteConsumer(f.Context(), "SUBRELAY_COMMANDS", "crmcom-00"); err != nil {
			f.Fatal(err)
		}
		time.Sleep(31 * day)
		f.purge(1, 2, "no consumer delivers subrelay.cmdp.0.amend.*")
	})
}

func TestPurgeWithoutTopology(t *testing.T) {
	_, js := connect(t, startServer(t))
	if _, err := topology(t, nil).Purge(t.Context(), js); events.KindOf(err) == events.Internal {
		t.Errorf("without a stream: %v", err)
	}
}
