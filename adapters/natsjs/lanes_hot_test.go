package natsjs

import (
	"bytes"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"subrelay/events"
)

// lateness is how late commands were done, at worst, by what they are.
type lateness struct {
	mu    sync.Mutex
	worst map[string]time.Duration
}

func (l *lateness) note(what string, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.worst[what] = max(l.worst[what], took)
}

// keysOf are n keys of a partition.
func keysOf(partition, partitions, n int, beginning string) []string {
	var keys []string
	for i := 0; len(keys) < n; i++ {
		if key := beginning + strconv.Itoa(i); PartitionOf(key, partitions) == partition {
			keys = append(keys, key)
		}
	}
	return keys
}

// TestLanesWithAHotKey has 10,000 commands of one key, of 5 ms each, while others come in. Its order is kept (the book
// looks after that); other partitions do not notice; its own partition's commands wait for at most what was stored before
// them; and there are alarms, not more than one a minute of each sort.
func TestLanesWithAHotKey(t *testing.T) {
	inBubble(t, 4, func(w *laneWorld) {
		const hot, slow = 10_000, 5 * time.Millisecond
		var log bytes.Buffer
		alarms := map[Alarm]int{}
		late := lateness{worst: map[string]time.Duration{}}
		key := keysOf(0, 4, 1, "HOT-")[0]
		w.slow = func() time.Duration { return slow }
		w.ended = func(d events.Delivery) {
			what := "other partitions"
			switch {
			case d.Key == key:
				what = "the key"
			case PartitionOf(d.Key, 4) == 0:
				what = "its partition"
			}
			late.note(what, time.Since(d.Stored))
		}
		w.settings = func(s *LaneSettings) {
			s.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
			s.Alarmed = func(a Alarm) { alarms[a]++ } // by one goroutine
		}
		for range hot {
			w.sendOne(events.Renew, key)
		}
		worker := w.start("a", 0, 1, 2, 3)
		began := time.Now()
		neighbours, others := keysOf(0, 4, 10, "N-"), keysOf(1, 4, 10, "O-")
		for n := range 200 {
			w.sendOne(events.Renew, neighbours[n%10])
			w.sendOne(events.Renew, others[n%10])
			time.Sleep(100 * time.Millisecond)
		}
		w.finish()
		w.settled()
		time.Sleep(2 * alarmCheck) // the all-clear
		took := time.Since(began)
		worker.stop()
		delete(w.workers, "a")
		w.Logf("all took %s; at worst %v; alarms %v", took, late.worst, alarms)
		if worst := late.worst["other partitions"]; worst > time.Second {
			w.Errorf("another partition's command took %s", worst)
		}
		if worst, limit := late.worst["its partition"], time.Duration(hot)*slow*3/2; worst > limit {
			w.Errorf("a command of the hot key's partition took %s, and what was stored before it takes %s", worst, limit)
		}
		for _, a := range []Alarm{AlarmWindow, AlarmKey} {
			if n := alarms[a]; n < 1 || n > 1+int(took/alarmPause) {
				w.Errorf("%d alarms %s in %s", n, a, took)
			}
		}
		for _, text := range []string{"partition=0", "key=" + key, "window is nearly full", "many commands of one key wait", "no longer: "} {
			if !strings.Contains(log.String(), text) {
				w.Errorf("the log says nothing of %q:\n%s", text, log.String())
			}
		}
		if strings.Contains(log.String(), "key=O-") {
			w.Errorf("the log speaks of others:\n%s", log.String())
		}
	})
}
