package natsjs

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
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
	for n := range partitions {
		byWeight := slices.Clone(sorted)
		slices.SortStableFunc(byWeight, func(a, b string) int {
			return cmp.Compare(weight(b, n, salt), weight(a, n, salt))
		})
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

// Presence announces a worker in the presence bucket and tells it of changes among the workers. Safety does not depend
// on it: it only says who prefers what. If the bucket cannot be read, the last view stands.
type Presence struct {
	JetStream jetstream.JetStream
	Names     Names
	Worker    string        // unique among workers; letters, digits, - and _
	Every     time.Duration // default 1s, a third of the bucket's TTL
	Logger    *slog.Logger  // default: slog.Default
	// Changed is called with all workers present, this one included, at the start and after each change.
	Changed func(workers []string)
}

// Run announces until ctx ends, and withdraws then. It returns nil after such an end.
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
	what := "the bucket " + p.Names.Workers()
	bucket, err := untilAnswered(ctx, p.Logger, what, func(ctx context.Context) (jetstream.KeyValue, error) {
		return p.JetStream.KeyValue(ctx, p.Names.Workers())
	})
	if err != nil {
		return unlessEnded(ctx, err)
	}
	stream, err := untilAnswered(ctx, p.Logger, what, func(ctx context.Context) (jetstream.Stream, error) {
		return p.JetStream.Stream(ctx, "KV_"+p.Names.Workers())
	})
	if err != nil {
		return unlessEnded(ctx, err)
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
	for {
		now, err := p.refresh(ctx, bucket, stream)
		switch {
		case err != nil && ctx.Err() == nil:
			p.Logger.Debug("the workers' bucket could not be used; the last view stands", "error", err)
			if view == nil { // alone, as far as we know
				view = []string{p.Worker}
				p.Changed(slices.Clone(view))
			}
		case err == nil && !slices.Equal(now, view):
			if view == nil {
				p.nudge()
			}
			view = now
			p.Changed(slices.Clone(view))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-nudged:
		}
	}
}

// refresh renews our own entry and reads all.
func (p *Presence) refresh(ctx context.Context, bucket jetstream.KeyValue, stream jetstream.Stream) ([]string, error) {
	limited, cancel := context.WithTimeout(ctx, 2*p.Every)
	defer cancel()
	if _, err := bucket.Put(limited, p.Worker, nil); err != nil {
		return nil, err
	}
	prefix := "$KV." + p.Names.Workers() + "."
	info, err := stream.Info(limited, jetstream.WithSubjectFilter(prefix+">"))
	if err != nil {
		return nil, err
	}
	workers := []string{p.Worker}
	for subject := range info.State.Subjects {
		if key := strings.TrimPrefix(subject, prefix); isWorker(key) && key != p.Worker {
			workers = append(workers, key)
		}
	}
	slices.Sort(workers)
	return workers, nil
}

// withdraw takes our entry away, so that others need not wait for its TTL.
func (p *Presence) withdraw(stream jetstream.Stream) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = stream.Purge(ctx, jetstream.WithPurgeSubject("$KV."+p.Names.Workers()+"."+p.Worker)) // the TTL does it otherwise
	p.nudge()
}

// nudge has the others look.
func (p *Presence) nudge() {
	_ = p.JetStream.Conn().Publish(p.Names.WorkersChanged(), nil) // they look soon anyway
}
