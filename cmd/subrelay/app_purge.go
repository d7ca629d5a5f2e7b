package main

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// purgeEvery is how often commands that are done and old are removed from their stream.
const purgeEvery = time.Hour

// purge removes commands that are done and old, now and again, until ctx ends: where streams are managed elsewhere, too,
// since nobody else does.
func (a *App) purge(ctx context.Context, js jetstream.JetStream) error {
	return a.every(ctx, purgeEvery, "purging old commands", func(ctx context.Context) error {
		purged, err := a.topology.Purge(ctx, js)
		if err == nil && purged.Messages > 0 {
			a.Logger.Info("old commands purged", "messages", purged.Messages, "first", purged.First, "limited_by", purged.LimitedBy)
		}
		return err
	})
}
