package sandbox

import (
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"strconv"
	"sync/atomic"
	"time"
)

// lagging is a state that changes at once, and whose changes are seen later. A state that was set must not change.
type lagging[T any] struct {
	latest T
	seen   T
	later  []seenFrom[T] // by time
}

type seenFrom[T any] struct {
	from  time.Time
	state T
}

// set changes the state. Readers see it from then on.
func (l *lagging[T]) set(state T, now, from time.Time) {
	l.look(now)
	l.latest = state
	if now.Before(from) {
		l.later = append(l.later, seenFrom[T]{from, state})
		return
	}
	l.seen, l.later = state, nil
}

// look is the state as readers see it now.
func (l *lagging[T]) look(now time.Time) T {
	for len(l.later) > 0 && !now.Before(l.later[0].from) {
		l.seen, l.later = l.later[0].state, l.later[1:]
	}
	return l.seen
}

// names makes ids and tokens. They follow from the seed, and from how many were made before.
type names struct {
	seed  uint64
	count atomic.Uint64
}

// id is 32 upper-case hex digits (vendor: examples).
func (n *names) id() string {
	var raw [16]byte
	n.fill(raw[:8])
	binary.BigEndian.PutUint64(raw[8:], n.count.Add(1))
	return upper(raw[:])
}

// idOf is the id of what has this number.
func (n *names) idOf(number string) string {
	var raw [16]byte
	n.fill(raw[:8])
	h := fnv.New64a()
	_, _ = h.Write([]byte(number))
	copy(raw[8:], h.Sum(nil))
	return upper(raw[:])
}

func (n *names) fill(raw []byte) {
	binary.BigEndian.PutUint64(raw, (n.seed+1)*0x9e3779b97f4a7c15)
}

// number is a number such as S0000000901.
func (n *names) number(prefix string) string {
	digits := strconv.FormatUint(n.count.Add(1), 10)
	const zeros = "0000000000"
	return prefix + zeros[:max(0, len(zeros)-len(digits))] + digits
}

func upper(raw []byte) string {
	digits := []byte(hex.EncodeToString(raw))
	for i, d := range digits {
		if d >= 'a' {
			digits[i] = d - 'a' + 'A'
		}
	}
	return string(digits)
}
