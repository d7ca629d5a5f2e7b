package natsjs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Two workers of one name would have one entry in the presence bucket, and so each the whole share of it: twice the rate
// that an upstream may be called with. By the instance in its value a worker tells its own entry from a namesake's.

// NameTakenError says that another worker of the same name is at work.
type NameTakenError struct {
	Worker string
	Host   string    // "" where it does not tell
	Since  time.Time // when it began, by its own clock; zero where it does not tell
}

func (e *NameTakenError) Error() string {
	text := fmt.Sprintf("another worker named %q is at work", e.Worker)
	if e.Host != "" {
		text += " on " + e.Host
	}
	if !e.Since.IsZero() {
		text += ", since " + e.Since.UTC().Format(time.RFC3339)
	}
	return text
}

// namesake is another worker's entry under our name, as it was found.
type namesake struct {
	NameTakenError
	key string
	seq uint64 // of its last refresh
}

// namesakes are the entries under our name that are not ours.
func (p *Presence) namesakes(ctx context.Context, stream jetstream.Stream) ([]namesake, error) {
	keys, err := workerKeys(ctx, stream, p.Names)
	if err != nil {
		return nil, err
	}
	var all []namesake
	for _, key := range keys {
		if presentOf(key).Worker != p.Worker {
			continue
		}
		msg, err := stream.GetLastMsgForSubject(ctx, p.Names.presence()+key)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // it has just left
		}
		if err != nil {
			return nil, fmt.Errorf("the entry of this worker: %w", err)
		}
		var status WorkerStatus
		_ = json.Unmarshal(msg.Data, &status) // a version that tells nothing is a namesake as well
		if status.Instance != p.instance {
			all = append(all, namesake{NameTakenError{p.Worker, status.Host, status.Since}, key, msg.Sequence})
		}
	}
	return all, nil
}

const (
	namePoll = 250 * time.Millisecond
	// aliveAfter is how many refreshes prove that a namesake lives. A single one may have been there before: replicas
	// answer, and one of them may be behind.
	aliveAfter = 2
)

// claim waits until no other worker has our name: for at most a little more than the bucket's TTL where one was killed,
// whose entry is never refreshed. It fails with a NameTakenError where one lives. Where the bucket cannot be read, nothing
// is known of others, and it is left to refresh to find them.
func (p *Presence) claim(ctx context.Context, stream jetstream.Stream) error {
	seen, refreshed := map[string]uint64{}, map[string]int{}
	for deadline := time.Now().Add(2 * PresenceTTL); time.Now().Before(deadline); pause(ctx, namePoll) {
		others, err := p.namesakes(ctx, stream)
		if err != nil || len(others) == 0 {
			return nil
		}
		for _, other := range others {
			if last, known := seen[other.key]; known && last != other.seq {
				refreshed[other.key]++
			} else if !known {
				p.Logger.Info("there is an entry under this worker's name; waiting until it is gone", "worker", p.Worker, "host", other.Host)
			}
			seen[other.key] = other.seq
			if refreshed[other.key] >= aliveAfter {
				return &other.NameTakenError
			}
		}
		if ctx.Err() != nil {
			return nil
		}
	}
	return nil
}

// watchNamesakes looks for others under our name before each refresh, which hides them, and tells of them, and of their end.
func (p *Presence) watchNamesakes(ctx context.Context, stream jetstream.Stream) {
	others, err := p.namesakes(ctx, stream)
	switch {
	case err != nil:
	case len(others) > 0:
		if p.doubled.IsZero() {
			p.Logger.Error("another worker has this worker's name: together they exceed the rate of every upstream; give each a name of its own",
				"worker", p.Worker, "host", others[0].Host, "since", others[0].Since)
		}
		p.doubled = time.Now()
		p.namesake(&others[0].NameTakenError)
	case !p.doubled.IsZero() && time.Since(p.doubled) > PresenceTTL:
		p.doubled = time.Time{}
		p.Logger.Info("no other worker has this worker's name any more", "worker", p.Worker)
		p.namesake(nil)
	}
}

func (p *Presence) namesake(other *NameTakenError) {
	if p.Namesake != nil {
		p.Namesake(other)
	}
}
