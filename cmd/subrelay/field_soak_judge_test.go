//go:build cluster

package main

import (
	"fmt"
	"strings"
	"time"

	"subrelay/events"
	"subrelay/events/history"
)

// judge waits until all is done, and says what became of it.
func (s *soak) judge(lasted time.Duration, seed uint64) {
	s.t.Helper()
	var r history.Report
	defer func() {
		if s.t.Failed() {
			s.explain(r)
		}
	}()
	deadline := time.Now().Add(10 * time.Minute)
	for {
		var err error
		if r, err = s.report(); err == nil && r.Unresolved == 0 {
			break
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("not all is done: %s (%v)", r.String(), err)
		}
		sleep(s.t.Context(), time.Second)
	}
	past := s.past()
	past.startedFirst(s.t)
	if !r.OK() {
		s.t.Error(r.String())
	}
	if min := int(lasted.Seconds()); r.Succeeded < min {
		s.t.Errorf("%d commands succeeded in %s", r.Succeeded, lasted)
	}
	var mishaps []string
	n := 0
	for _, what := range sortedKeys(s.counts) {
		mishaps = append(mishaps, fmt.Sprintf("%s %d", what, s.counts[what]))
		n += s.counts[what]
	}
	s.t.Logf("FIGURE soak of %s, seed %d: %d commands and %d duplicates, %d calls, %d effects; %d succeeded, %d rejected, %d failed, %d in doubt (%d settled by reading); %d mishaps, by which workers lost their connection %d times; %d violations",
		lasted, seed, r.Commands, r.Duplicates, r.Calls, r.Effects, r.Succeeded, r.Rejected, r.Failed, r.InDoubt,
		s.said("an unclear attempt is settled as applied"), n, s.said("disconnected from NATS"), len(r.Violations))
	s.t.Logf("mishaps: %s", strings.Join(mishaps, ", "))
	s.t.Logf("doubts: %v", past.doubts())
}

// explain tells all that is known of the commands that were violated, and of what went wrong around them.
func (s *soak) explain(r history.Report) {
	past := s.past()
	for i, v := range r.Violations {
		if i == 10 {
			break
		}
		s.t.Logf("%s", v)
		for _, rec := range past.records {
			if rec.Command.CID == v.CID {
				s.t.Logf("  record %d, %s: %s", rec.Seq, rec.Time.Format("15:04:05.000"), rec.Raw)
			}
		}
		for _, c := range past.calls {
			if strings.HasPrefix(c.Ref, v.CID) {
				s.t.Logf("  call %+v", c)
			}
		}
	}
	s.t.Logf("mishaps:\n%s", strings.Join(s.log, "\n"))
}

// said counts how often workers have logged a text.
func (s *soak) said(text string) int {
	n := 0
	for _, w := range s.crew.all {
		n += strings.Count(w.stderr.String(), text)
	}
	return n
}

// doubts counts the doubts that nobody could settle, by code.
func (p *past) doubts() map[string]int {
	codes := map[string]int{}
	for _, r := range p.records {
		if r.Status == events.InDoubt {
			codes[r.Error.Code]++
		}
	}
	return codes
}
