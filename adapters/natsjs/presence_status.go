package natsjs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

// WorkerStatus is what a worker tells of itself: the value of its entry in the presence bucket, for people to look at.
// Who prefers what is decided by the keys alone, so workers of any version understand each other: the version before
// left the value empty, and a later one may say more. It holds no personal data but keys.
type WorkerStatus struct {
	Instance  string           `json:"instance,omitempty"` // random; tells it from another worker of its name
	Version   string           `json:"version,omitempty"`
	Host      string           `json:"host,omitempty"`
	HTTP      string           `json:"http,omitempty"` // where it serves health and metrics
	Since     time.Time        `json:"since"`          // when it began, by its own clock
	Upstreams []UpstreamStatus `json:"upstreams"`
}

// takes reports whether the worker says that it takes the commands of a partition.
func (s *WorkerStatus) takes(u events.Upstream, partition int) bool {
	return s != nil && slices.ContainsFunc(s.Upstreams, func(told UpstreamStatus) bool {
		return told.Upstream == u && slices.ContainsFunc(told.Partitions, func(p PartitionStatus) bool {
			return p.Number == partition && p.Failed == ""
		})
	})
}

// UpstreamStatus is how things stand with one upstream in one worker.
type UpstreamStatus struct {
	Upstream    events.Upstream   `json:"upstream"`
	Breaker     string            `json:"breaker"`
	Concurrency int               `json:"concurrency"`    // calls at a time
	Calls       int               `json:"calls"`          // permits that are out
	Rate        float64           `json:"rate,omitempty"` // this worker's share of the calls per second; 0 is unlimited
	Waiting     int               `json:"waiting"`        // delivered and not finished
	Gated       int               `json:"gated,omitempty"`
	Longest     *LongestLane      `json:"longest,omitempty"`
	Oldest      *OldestWaiting    `json:"oldest,omitempty"`
	Partitions  []PartitionStatus `json:"partitions"` // that it serves
}

// LongestLane is the key with the most unfinished commands.
type LongestLane struct {
	Key     string `json:"key"`
	Waiting int    `json:"waiting"`
}

// OldestWaiting is the unfinished command that was stored first.
type OldestWaiting struct {
	Key       string      `json:"key"`
	Kind      events.Kind `json:"kind"`
	Partition int         `json:"partition"`
	Stored    time.Time   `json:"stored"`
}

// PartitionStatus is one partition that a worker serves.
type PartitionStatus struct {
	Number  int    `json:"n"`
	Pin     string `json:"pin,omitempty"` // that the worker saw last; "" before the first command
	Waiting int    `json:"waiting,omitempty"`
	Failed  string `json:"failed,omitempty"` // its consumer, and why it delivers nothing; "" while all is well
}

// Status tells of the lanes; the caller adds what the upstream's guard knows.
func (l *Lanes) Status() UpstreamStatus {
	d := l.Depth()
	s := UpstreamStatus{Upstream: d.Upstream, Waiting: d.Waiting, Gated: d.Gated, Partitions: d.parts}
	if d.Longest > 0 {
		s.Longest = &LongestLane{Key: d.LongestKey, Waiting: d.Longest}
	}
	if !d.Oldest.IsZero() {
		s.Oldest = d.oldest
	}
	return s
}

// Entry is a worker's entry in the presence bucket.
type Entry struct {
	Present
	Told   time.Time     // when it last told, by the server's clock
	Status *WorkerStatus // nil where it tells nothing of itself: a version before this
}

// ReadWorkers reads who is there, by name. It only reads.
func ReadWorkers(ctx context.Context, js jetstream.JetStream, names Names) ([]Entry, error) {
	stream, err := js.Stream(ctx, bucketStream+names.Workers())
	if err != nil {
		return nil, fmt.Errorf("the bucket %s: %w", names.Workers(), err)
	}
	keys, err := workerKeys(ctx, stream, names)
	if err != nil {
		return nil, err
	}
	var all []Entry
	for _, key := range keys {
		msg, err := stream.GetLastMsgForSubject(ctx, names.presence()+key)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // it has just left
		}
		if err != nil {
			return nil, fmt.Errorf("the entry of a worker: %w", err)
		}
		e := Entry{Present: presentOf(key), Told: msg.Time}
		var status WorkerStatus
		if len(msg.Data) > 0 && json.Unmarshal(msg.Data, &status) == nil && status.Upstreams != nil {
			e.Status = &status
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b Entry) int { return strings.Compare(a.Worker, b.Worker) })
	return all, nil
}

// workerKeys lists the keys of all workers by the bucket's subjects, in order.
func workerKeys(ctx context.Context, stream jetstream.Stream, names Names) ([]string, error) {
	prefix := names.presence()
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(prefix+">"))
	if err != nil {
		return nil, fmt.Errorf("the workers' bucket: %w", err)
	}
	var keys []string
	for subject := range info.State.Subjects {
		if key := strings.TrimPrefix(subject, prefix); isWorker(key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys, nil
}
