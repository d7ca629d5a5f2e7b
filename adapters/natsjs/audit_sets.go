package natsjs

import (
	"encoding/binary"
	"hash/fnv"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

// cidState is how far a command has come, as a cidSet knows it.
type cidState uint64

const (
	cidUnknown cidState = iota
	cidOpen             // started or deferred
	cidDoubt
	cidFinal

	cidStateMask = 3
)

// cidSet knows of millions of commands how far each has come, with 8 to 16 bytes for each: it keeps the first 62 bits of
// the cid, which is a hash, and the furthest state. Add everything, sort, then look up.
type cidSet struct {
	entries []uint64
	dense   int // entries are at least so many before they are compacted again
}

// minDense is how many entries are not worth compacting.
const minDense = 1 << 16

func (s *cidSet) add(cid string, status events.Status) {
	state := cidOpen
	switch {
	case status.Final():
		state = cidFinal
	case status == events.InDoubt:
		state = cidDoubt
	}
	if len(s.entries) == cap(s.entries) && len(s.entries) >= max(minDense, s.dense) {
		s.sort()
		s.dense = 2 * len(s.entries)
	}
	s.entries = append(s.entries, cidKey(cid)|uint64(state))
}

// sort makes the set fit for look-ups: of each command the furthest state is left.
func (s *cidSet) sort() {
	slices.Sort(s.entries)
	kept := s.entries[:0]
	for i, e := range s.entries {
		if i+1 < len(s.entries) && s.entries[i+1]&^cidStateMask == e&^cidStateMask {
			continue // a further state follows
		}
		kept = append(kept, e)
	}
	s.entries = kept
}

func (s *cidSet) state(cid string) cidState {
	key := cidKey(cid)
	i, _ := slices.BinarySearch(s.entries, key)
	if i < len(s.entries) && s.entries[i]&^cidStateMask == key {
		return cidState(s.entries[i] & cidStateMask)
	}
	return cidUnknown
}

// cidKey is 62 bits of a cid, which has 130 that are as good as random, with room for a state.
func cidKey(cid string) uint64 {
	h := fnv.New128a()
	_, _ = h.Write([]byte(cid)) // a hash takes everything
	var sum [16]byte
	return binary.BigEndian.Uint64(h.Sum(sum[:0])) &^ cidStateMask
}

// gapFinder finds runs of sequences that are missing between those that it sees, in order.
type gapFinder struct {
	all   []Gap
	last  Message // seen, or before the first that there must be
	known bool    // last is
	end   uint64  // the last sequence that there must be
}

// newGapFinder expects every sequence that the stream says it has, the earlier ones left out where only a part is read.
// Where the stream is younger than keep, before which nothing is removed from it, none may be missing from its beginning.
func newGapFinder(info *jetstream.StreamInfo, keep time.Duration, all bool) *gapFinder {
	g := &gapFinder{end: info.State.LastSeq}
	st := info.State
	if !all || st.LastSeq == 0 {
		return g
	}
	first := max(1, info.Config.FirstSeq)
	if st.FirstSeq > first && time.Since(info.Created) < keep {
		g.all = append(g.all, Gap{First: first, Last: st.FirstSeq - 1, Before: st.FirstTime, beginning: true})
	}
	if st.FirstSeq > 0 {
		g.last.Seq, g.known = st.FirstSeq-1, true
	}
	return g
}

func (g *gapFinder) saw(m Message) {
	if g.known && m.Seq > g.last.Seq+1 {
		g.all = append(g.all, Gap{First: g.last.Seq + 1, Last: m.Seq - 1, After: g.last.Time, Before: m.Time})
	}
	g.last, g.known = Message{Seq: m.Seq, Time: m.Time}, true
}

// close adds what is missing between the last one seen and the end.
func (g *gapFinder) close() []Gap {
	if g.known && g.end > g.last.Seq {
		g.all = append(g.all, Gap{First: g.last.Seq + 1, Last: g.end, After: g.last.Time})
	}
	return g.all
}
