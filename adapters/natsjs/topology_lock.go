package natsjs

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const (
	lockPoll    = 100 * time.Millisecond
	lockRefresh = 500 * time.Millisecond
	lockRelease = 2 * time.Second
)

// errLockLost says that another worker changed something meanwhile: compare again.
var errLockLost = errors.New("another worker changed the topology at the same time")

// topologyLock is a key of the presence bucket, which lives PresenceTTL after its last refresh: the lock of a worker
// that died frees itself.
type topologyLock struct {
	kv       jetstream.KeyValue
	key      string
	revision uint64
	fresh    time.Time
}

// lock waits until ctx ends for the lock.
func (t *Topology) lock(ctx context.Context, js jetstream.JetStream) (*topologyLock, error) {
	kv, err := js.KeyValue(ctx, t.settings.Names.Workers())
	if err != nil {
		return nil, brokerError("opening the presence bucket", err)
	}
	l := &topologyLock{kv: kv, key: t.settings.Names.topologyLock()}
	for {
		l.fresh = time.Now()
		l.revision, err = kv.Create(ctx, l.key, []byte(nuid.Next()))
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, jetstream.ErrKeyExists) {
			return nil, brokerError("locking the topology", err)
		}
		select {
		case <-ctx.Done():
			return nil, brokerError("waiting for another worker that changes the topology", ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}

// extend keeps the lock for another PresenceTTL, or fails with errLockLost.
func (l *topologyLock) extend(ctx context.Context) error {
	if time.Since(l.fresh) < lockRefresh {
		return nil
	}
	now := time.Now()
	revision, err := l.kv.Update(ctx, l.key, nil, l.revision)
	if errors.Is(err, jetstream.ErrKeyExists) || isConflict(err) {
		return errLockLost
	}
	if err != nil {
		return brokerError("keeping the lock on the topology", err)
	}
	l.revision, l.fresh = revision, now
	return nil
}

// release gives the lock back, unless somebody else has it by now. It works when ctx has ended, too.
func (l *topologyLock) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockRelease)
	defer cancel()
	_ = l.kv.Purge(ctx, l.key, jetstream.LastRevision(l.revision)) // else it frees itself after PresenceTTL
}

// createBucket makes the presence bucket, where there is none.
func (t *Topology) createBucket(ctx context.Context, js jetstream.JetStream) error {
	_, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: t.settings.Names.Workers(), Description: "which workers are there",
		TTL: PresenceTTL, Storage: jetstream.FileStorage, Replicas: t.settings.Replicas,
	})
	if err != nil && !errors.Is(err, jetstream.ErrBucketExists) {
		return brokerError("creating the presence bucket", err)
	}
	return nil
}

func bucketChange(steps []step) []Change {
	if len(steps) > 0 && steps[0].change.Object == "bucket" && steps[0].change.Action == Create {
		return []Change{steps[0].change}
	}
	return nil
}
