package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
)

// shortageEvery is how often a worker looks whether the streams have room.
const shortageEvery = 5 * time.Second

// shortage is what the last look at the streams found. Its zero value is before the first.
type shortage struct {
	mu                 sync.Mutex
	blocking, warnings []string
}

func (s *shortage) found(blocking, warnings []string) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed = len(blocking) != len(s.blocking) || len(warnings) != len(s.warnings)
	s.blocking, s.warnings = blocking, warnings
	return changed
}

// standing is why the worker is not ready, and what else its operator should know.
func (s *shortage) standing() (blocking, warnings []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.blocking), slices.Clone(s.warnings)
}

// watchShortage looks at the streams, now and again, until ctx ends. What begins and what ends is logged once.
func (a *App) watchShortage(ctx context.Context, js jetstream.JetStream) error {
	if a.WatchEvery < 0 {
		return nil
	}
	return a.every(ctx, min(a.WatchEvery, shortageEvery), "looking at the streams", func(ctx context.Context) error {
		blocking, warnings, err := natsjs.Shortage(ctx, js, a.Config.names())
		if err != nil || !a.shortage.found(blocking, warnings) {
			return err
		}
		for _, what := range slices.Concat(blocking, warnings) {
			a.Logger.Warn(what)
		}
		if len(blocking)+len(warnings) == 0 {
			a.Logger.Info("all streams have room again")
		}
		return nil
	})
}
