package natsjs

import "sync"

// queue is an unbounded first-in-first-out queue of lanes. What bounds it is the number of messages the broker lets
// out. A lane stands in it at most once; remove takes it out again.
type queue struct {
	mu     sync.Mutex
	more   sync.Cond
	lanes  []*lane // a ring would save the moves; the head index does
	head   int
	closed bool
	count  int
}

func (q *queue) init() { q.more.L = &q.mu }

// push appends ln. Its queued mark must be set by the caller's lock before.
func (q *queue) push(ln *lane) {
	q.mu.Lock()
	q.lanes = append(q.lanes, ln)
	ln.slot = len(q.lanes) - 1
	q.count++
	q.mu.Unlock()
	q.more.Signal()
}

// remove takes ln out, and reports whether it was still in.
func (q *queue) remove(ln *lane) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if ln.slot < q.head || ln.slot >= len(q.lanes) || q.lanes[ln.slot] != ln {
		return false
	}
	q.lanes[ln.slot] = nil
	q.count--
	return true
}

// pop waits for a lane; ok is false once the queue is closed.
func (q *queue) pop() (ln *lane, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.count == 0 && !q.closed {
		q.more.Wait()
	}
	if q.closed {
		return nil, false
	}
	return q.take(), true
}

// wait waits until the queue is not empty, and answers false once it is closed.
func (q *queue) wait() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.count == 0 && !q.closed {
		q.more.Wait()
	}
	return !q.closed
}

// tryPop takes the first lane, if there is one.
func (q *queue) tryPop() (*lane, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.count == 0 || q.closed {
		return nil, false
	}
	return q.take(), true
}

// take needs the lock and a count above zero.
func (q *queue) take() *lane {
	for q.lanes[q.head] == nil {
		q.head++
	}
	ln := q.lanes[q.head]
	q.lanes[q.head] = nil
	q.head++
	q.count--
	if q.count == 0 {
		q.lanes, q.head = q.lanes[:0], 0
	} else if q.head > 1024 && q.head > len(q.lanes)/2 {
		q.compact()
	}
	if q.count > 0 {
		q.more.Signal() // a waiter may have found the place taken
	}
	return ln
}

func (q *queue) compact() {
	n := copy(q.lanes, q.lanes[q.head:])
	clear(q.lanes[n:])
	q.lanes, q.head = q.lanes[:n], 0
	for i, ln := range q.lanes {
		if ln != nil {
			ln.slot = i
		}
	}
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.more.Broadcast()
}
