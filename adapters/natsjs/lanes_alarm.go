package natsjs

import (
	"context"
	"time"
)

// Alarm is what may be wrong with a partition's lanes.
type Alarm string

// The alarms.
const (
	// AlarmWindow says that a partition has nearly as many unfinished commands as it may: soon none of its keys gets on
	// but those that are in it.
	AlarmWindow Alarm = "window"
	// AlarmKey says that very many commands of one key wait.
	AlarmKey Alarm = "key"
)

const (
	// DefaultKeyAlarm is how many commands of one key may wait without an alarm.
	DefaultKeyAlarm = 100
	// windowAlarm is the part of a partition's window that may be used without an alarm, in percent.
	windowAlarm = 90
	alarmCheck  = 5 * time.Second
	alarmPause  = time.Minute // between two alarms of a sort: while an upstream is away there is one for it every minute
)

// crowd is how full a partition is.
type crowd struct {
	partition, waiting int
	key                string // with the most commands
	longest            int
	oldest             time.Time
}

func (p *partition) crowd() crowd {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := crowd{partition: p.number, waiting: len(p.bySeq)}
	for key, ln := range p.byKey {
		if len(ln.items) > c.longest {
			c.key, c.longest = key, len(ln.items)
		}
		if len(ln.items) > 0 && (c.oldest.IsZero() || ln.items[0].stored.Before(c.oldest)) {
			c.oldest = ln.items[0].stored
		}
	}
	return c
}

// watchDepth raises alarms until ctx ends. Each is logged and counted, at most once in alarmPause for the upstream.
func (l *Lanes) watchDepth(ctx context.Context) {
	raised := make(map[Alarm]time.Time)
	tick := time.NewTicker(alarmCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var fullest, longest crowd
		for _, p := range l.partitions() {
			c := p.crowd()
			if c.waiting > fullest.waiting {
				fullest = c
			}
			if c.longest > longest.longest {
				longest = c
			}
		}
		l.alarm(raised, AlarmWindow, "a partition's window is nearly full: later commands of all its keys wait", fullest,
			fullest.waiting*100 >= l.Window*windowAlarm)
		l.alarm(raised, AlarmKey, "many commands of one key wait", longest, longest.longest > l.KeyAlarm)
	}
}

// alarm raises an alarm, unless there is no need to, or it was raised a short time ago.
func (l *Lanes) alarm(raised map[Alarm]time.Time, a Alarm, what string, c crowd, on bool) {
	last, before := raised[a]
	switch {
	case !on && before:
		delete(raised, a)
		l.Logger.Info("no longer: "+what, "upstream", l.Upstream)
	case on && (!before || time.Since(last) >= alarmPause):
		raised[a] = time.Now()
		l.Logger.Warn(what, "upstream", l.Upstream, "partition", c.partition, "waiting", c.waiting, "window", l.Window,
			"key", c.key, "of_key", c.longest, "oldest", time.Since(c.oldest).Truncate(time.Second))
		if l.Alarmed != nil {
			l.Alarmed(a)
		}
	}
}
