package natsjs

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"subrelay/events"
)

// Assign says which partitions each of the workers prefers, by rendezvous hashing with a bounded load: no worker has
// two partitions more than another, and a worker that comes or goes moves little. Every worker computes the same.
func Assign(workers []string, partitions int, salt string) map[string][]int {
	out := make(map[string][]int, len(workers))
	if len(workers) == 0 {
		return out
	}
	sorted := slices.Clone(workers)
	slices.Sort(sorted)
	sorted = slices.Compact(sorted)
	least, fuller := partitions/len(sorted), partitions%len(sorted)
	weights := make(map[string]uint64, len(sorted))
	for n := range partitions {
		for _, w := range sorted {
			weights[w] = weight(w, n, salt)
		}
		byWeight := slices.Clone(sorted)
		slices.SortStableFunc(byWeight, func(a, b string) int { return cmp.Compare(weights[b], weights[a]) })
		for _, w := range byWeight {
			load := len(out[w])
			if load < least || load == least && fuller > 0 {
				if load == least {
					fuller--
				}
				out[w] = append(out[w], n)
				break
			}
		}
	}
	return out
}

func weight(worker string, partition int, salt string) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\x00%d\x00%s", worker, partition, salt)
	x := h.Sum64() // FNV's high bits differ little between similar inputs: mix (splitmix64's finalizer)
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// Present is a worker that is there.
type Present struct {
	Worker    string
	Upstreams []events.Upstream // that it serves
}

// String is for the log, such as "w1 (tvms, crmcom)".
func (p Present) String() string {
	names := make([]string, len(p.Upstreams))
	for i, u := range p.Upstreams {
		names[i] = string(u)
	}
	return p.Worker + " (" + strings.Join(names, ", ") + ")"
}

// Serving names the workers that serve an upstream: only they may have a part of its partitions.
func Serving(present []Present, u events.Upstream) []string {
	var workers []string
	for _, p := range present {
		if slices.Contains(p.Upstreams, u) {
			workers = append(workers, p.Worker)
		}
	}
	return workers
}

// key is the worker's key in the presence bucket: its name and what it serves, so that a list of keys tells all.
func (p Present) key() string {
	parts := []string{p.Worker}
	for _, u := range p.Upstreams {
		parts = append(parts, string(u))
	}
	return strings.Join(parts, "/")
}

func presentOf(key string) Present {
	worker, rest, _ := strings.Cut(key, "/")
	p := Present{Worker: worker}
	for u := range strings.SplitSeq(rest, "/") {
		if u != "" {
			p.Upstreams = append(p.Upstreams, events.Upstream(u))
		}
	}
	return p
}

// Presence announces a worker in the presence bucket and tells it of changes among the workers. Safety does not depend
// on it: it only says who prefers what. If the bucket cannot be read, the last view stands.
type Presence struct {
	JetStream jetstream.JetStream
	Names     Names
	Worker    string            // unique among workers, see NameTakenError; letters, digits, - and _
	Upstreams []events.Upstream // that it serves
	Every     time.Duration     // default 1s, a third of the bucket's TTL
	Logger    *slog.Logger      // default: slog.Default
	// Changed is called with all workers present, this one included, at the start and after each change.
	Changed func(present []Present)
	// Settled is called once a view has stood for PresenceTTL after Changed: by then every other worker in it has it too,
	// or has been silent for so long that it would have fallen out of it. Default: nothing.
	Settled func()
	// Stored is called each time that the bucket has taken our entry and answered, about once in Every: the broker stores.
	Stored func()
	// Status is what the worker tells of itself, asked at each refresh. Default: nothing.
	Status func() WorkerStatus
	// Namesake is told while another worker of the same name is seen beside this one, and of nil once none is any more.
	// Default: nothing.
	Namesake func(other *NameTakenError)

	instance string    // tells this worker from a namesake
	doubled  time.Time // when a namesake was seen last; zero: none is there
}

func (p *Presence) key() string { return Present{Worker: p.Worker, Upstreams: p.Upstreams}.key() }

// Run announces until ctx ends, and withdraws then. It returns nil after such an end, and a NameTakenError where another
// worker of the same name is at work at the start.
//
// It lists workers by the bucket's subjects: a KeyWatcher, which listing keys would take too, makes a consumer each
// time and holds a lock while it asks the server. Who joins or leaves says so on a core subject besides, which only
// spares the others the wait for their next look.
func (p *Presence) Run(ctx context.Context) error {
	if p.Every == 0 {
		p.Every = time.Second
	}
	if p.Logger == nil {
		p.Logger = slog.Default()
	}
	p.instance = nuid.Next()
	what := "the bucket " + p.Names.Workers()
	bucket, err := untilAnswered(ctx, p.Logger, what, func(ctx context.Context) (jetstream.KeyValue, error) {
		return p.JetStream.KeyValue(ctx, p.Names.Workers())
	})
	if err != nil {
		return unlessEnded(ctx, err)
	}
	stream, err := untilAnswered(ctx, p.Logger, what, func(ctx context.Context) (jetstream.Stream, error) {
		return p.JetStream.Stream(ctx, bucketStream+p.Names.Workers())
	})
	if err != nil {
		return unlessEnded(ctx, err)
	}
	if err := p.claim(ctx, stream); err != nil || ctx.Err() != nil {
		return err
	}
	nudged := make(chan *nats.Msg, 16)
	sub, err := p.JetStream.Conn().ChanSubscribe(p.Names.WorkersChanged(), nudged)
	if err != nil {
		return fmt.Errorf("the subject %s: %w", p.Names.WorkersChanged(), err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection may be gone
	defer p.withdraw(stream)
	p.announce(ctx, bucket, stream, nudged)
	return nil
}

func (p *Presence) announce(ctx context.Context, bucket jetstream.KeyValue, stream jetstream.Stream, nudged <-chan *nats.Msg) {
	tick := time.NewTicker(p.Every)
	defer tick.Stop()
	var view []string
	var since time.Time // when the view changed; zero once Settled was told
	for {
		now, err := p.refresh(ctx, bucket, stream)
		if err == nil && p.Stored != nil {
			p.Stored()
		}
		switch {
		case err != nil && ctx.Err() == nil:
			p.Logger.Debug("the workers' bucket could not be used; the last view stands", "error", err)
			if view == nil { // alone, as far as we know
				view = []string{p.key()}
				p.changed(view)
			}
		case err == nil && !slices.Equal(now, view):
			if view == nil {
				p.nudge()
			}
			view, since = now, time.Now()
			p.changed(view)
		case err == nil && !since.IsZero() && time.Since(since) >= PresenceTTL:
			since = time.Time{}
			p.settled()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-nudged:
		}
	}
}

func (p *Presence) changed(keys []string) {
	var all []Present
	for _, key := range keys {
		all = append(all, presentOf(key))
	}
	p.Changed(all)
}

func (p *Presence) settled() {
	if p.Settled != nil {
		p.Settled()
	}
}

// refresh renews our own entry and reads the keys of all.
func (p *Presence) refresh(ctx context.Context, bucket jetstream.KeyValue, stream jetstream.Stream) ([]string, error) {
	limited, cancel := context.WithTimeout(ctx, 2*p.Every)
	defer cancel()
	p.watchNamesakes(limited, stream)
	if _, err := bucket.Put(limited, p.key(), p.told()); err != nil {
		return nil, err
	}
	keys, err := workerKeys(limited, stream, p.Names)
	if err != nil {
		return nil, err
	}
	if at, found := slices.BinarySearch(keys, p.key()); !found {
		keys = slices.Insert(keys, at, p.key())
	}
	return keys, nil
}

// told is the value of our entry.
func (p *Presence) told() []byte {
	bare := fmt.Appendf(nil, `{"instance":%q}`, p.instance)
	if p.Status == nil {
		return bare
	}
	status := p.Status()
	status.Instance = p.instance
	value, err := json.Marshal(status)
	if err != nil || len(value) > maxStatus {
		p.Logger.Debug("this worker tells nothing of itself", "bytes", len(value), "error", err)
		return bare
	}
	return value
}

// maxStatus is the longest value of an entry, in bytes: what a thousand partitions take.
const maxStatus = 128 << 10

// withdraw takes our entry away, so that others need not wait for its TTL.
func (p *Presence) withdraw(stream jetstream.Stream) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = stream.Purge(ctx, jetstream.WithPurgeSubject(p.Names.presence()+p.key())) // the TTL does it otherwise
	p.nudge()
}

// nudge has the others look.
func (p *Presence) nudge() {
	_ = p.JetStream.Conn().Publish(p.Names.WorkersChanged(), nil) // they look soon anyway
}
