package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/natsjs/natstest"
)

// A second worker of a living one's name, of whatever upstreams, would take the same part of the rate once more: it does
// not start. One of a killed worker's name does, once that can no longer be alive; one that left in order frees its name.
func TestWorkerNameIsTaken(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T) {
		w := newWorld(t, 1, simConfig())
		defer w.close()
		first := w.start()
		w.config.withCRMCOM()
		second := w.launch(first.app.Name(), func(*App) {})
		select {
		case <-second.ended:
		case <-time.After(time.Minute):
			second.stop()
			t.Fatal("a second worker of the same name works")
		}
		var taken *natsjs.NameTakenError
		var told *problem
		if !errors.As(second.err, &taken) || taken.Since.IsZero() || !errors.As(second.err, &told) || !strings.Contains(told.hint, "worker.name") {
			t.Fatalf("the second worker ended with: %v", second.err)
		}
		w.good()
		w.wantReason(first, "")

		w.kill(first)
		time.Sleep(100 * time.Millisecond)
		again := w.ready(first.app.Name(), natsjs.PresenceTTL+500*time.Millisecond)
		again.stop()
		w.ready(first.app.Name(), 100*time.Millisecond).stop()
	})
}

// ready starts a worker of this name, which must take commands within a limit.
func (w *world) ready(name string, limit time.Duration) *simWorker {
	w.Helper()
	began := time.Now()
	k := w.launch(name, func(*App) {})
	select {
	case <-k.ended:
		w.Fatalf("it ended at its start: %v", k.err)
	case <-k.app.Ready():
	}
	if took := time.Since(began); took > limit {
		w.Errorf("it took commands after %s", took)
	}
	return k
}

// A worker that was frozen comes back when another has its name: the one that works says so for as long as both are there.
// So it is with a namesake of a version that tells nothing of itself.
func TestNamesakeComesBack(t *testing.T) {
	for name, value := range map[string]string{"another instance": `{"instance":"other","host":"node-7"}`, "the version before": ""} {
		t.Run(name, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T) {
				w := newWorld(t, 1, simConfig())
				defer w.close()
				k := w.start()
				time.Sleep(5 * time.Second)
				w.wantReason(k, "")
				bucket, err := w.cl.js.KeyValue(t.Context(), w.cl.names.Workers())
				if err != nil {
					t.Fatal(err)
				}
				for range 5 {
					w.put(bucket, k.app.Name()+"/tvms", value)
					time.Sleep(time.Second)
				}
				w.wantReason(k, "another worker named \"w1\" is at work")
				time.Sleep(10 * time.Second)
				w.wantReason(k, "")
			})
		})
	}
}

func (w *world) put(bucket jetstream.KeyValue, key, value string) {
	w.Helper()
	if _, err := bucket.Put(w.Context(), key, []byte(value)); err != nil {
		w.Fatal(err)
	}
}
