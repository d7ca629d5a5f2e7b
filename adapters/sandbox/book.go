package sandbox

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"subrelay/events"
	"subrelay/events/history"
)

// DefaultBookLimit is how many entries a book keeps unless told otherwise. An entry takes about 300 bytes, one of
// CRM.COM about 600.
const DefaultBookLimit = 1 << 20

// maxRef is the most that is kept of a call's reference, in bytes.
const maxRef = 256

// Book holds one entry per call of a route that changes state, in the order in which the calls began. It may be shared
// by goroutines and by imitations; its ticks then order the calls of all of them.
type Book struct {
	limit int
	block int
	ticks atomic.Int64

	mu      sync.Mutex
	blocks  [][]entry
	total   Totals
	present int // entries in blocks
}

// Totals counts a book's calls since it was made or cleared.
type Totals struct {
	Calls      int64 `json:"calls"`       // all calls of routes that change state
	Applied    int64 `json:"applied"`     // those that changed it
	InProgress int64 `json:"in_progress"` // those not over yet
	Dropped    int64 `json:"dropped"`     // those whose entries were dropped because of the limit
}

// BookQuery selects entries.
type BookQuery struct {
	Customer string // only this key; "" is all
	After    int64  // only entries whose BeginOrder is greater
	Limit    int    // at most so many; 0 is all
}

// BookPage is the answer to GET /_books.
type BookPage struct {
	Effects []history.Effect `json:"effects"` // by BeginOrder; times are UTC
	// Next is the After of the next page; absent on the last. An entry that was in progress when its page was read may
	// have ended since.
	Next int64 `json:"next,omitempty"`
	Totals
}

// entry is one call as the book keeps it. Its fields are guarded by the book's mutex.
type entry struct {
	upstream  events.Upstream
	kind      events.Kind
	key, ref  string
	began     int64 // nanoseconds since 1970
	ended     int64
	beginTick int64
	endTick   int64 // 0 while in progress
	order     int64 // 0 where nothing was applied
	status    int   // 0 where no status was sent
	fault     FaultKind
	note      note
}

// note is what an imitation adds to an entry's detail. It must not change once it is in the book.
type note interface {
	describe(detail map[string]string)
}

// NewBook makes a book that keeps about limit entries: beyond them it drops the oldest, in blocks, and counts them. 0
// is DefaultBookLimit; with a negative limit it keeps none and only counts.
func NewBook(limit int) *Book {
	if limit == 0 {
		limit = DefaultBookLimit
	}
	return &Book{limit: limit, block: min(max(limit, 1), 512)}
}

// tick draws the next number of the book's clock.
func (b *Book) tick() int64 { return b.ticks.Add(1) }

// begin opens an entry. The caller must end it exactly once.
func (b *Book) begin(up events.Upstream, kind events.Kind, key string, header http.Header, now time.Time) *entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total.Calls++
	b.total.InProgress++
	e := b.room()
	*e = entry{
		upstream: up, kind: kind, key: strings.Clone(key), ref: reference(header),
		began: now.UnixNano(), beginTick: b.tick(),
	}
	return e
}

// reference is the attempt that a call says it is.
func reference(header http.Header) string {
	ref := header["X-Request-Id"]
	if len(ref) == 0 {
		return ""
	}
	return strings.Clone(ref[0][:min(len(ref[0]), maxRef)])
}

// room is the place of the next entry. Blocks are never moved, so that entries stay where they are.
func (b *Book) room() *entry {
	if b.limit < 0 {
		b.total.Dropped++
		return new(entry)
	}
	last := len(b.blocks) - 1
	if last < 0 || len(b.blocks[last]) == b.block {
		if last >= 0 && b.present+1-len(b.blocks[0]) >= b.limit {
			b.drop()
		}
		b.blocks = append(b.blocks, make([]entry, 0, b.block))
		last = len(b.blocks) - 1
	}
	b.present++
	b.blocks[last] = b.blocks[last][:len(b.blocks[last])+1]
	return &b.blocks[last][len(b.blocks[last])-1]
}

func (b *Book) drop() {
	n := len(b.blocks[0])
	b.blocks[0] = nil
	b.blocks = b.blocks[1:]
	b.present -= n
	b.total.Dropped += int64(n)
}

// played writes down the fault that is played to a call.
func (b *Book) played(e *entry, kind FaultKind) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.fault = kind
}

// noted writes down what a call asked for, and its effect: order is the tick drawn where the state changed, 0 where it
// did not.
func (b *Book) noted(e *entry, order int64, n note) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.note = n
	if order != 0 && e.order == 0 {
		e.order = order
		b.total.Applied++
	}
}

// end closes an entry: the call is over, and status was sent (0: none).
func (b *Book) end(e *entry, status int, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.status, e.ended, e.endTick = status, now.UnixNano(), b.tick()
	b.total.InProgress--
}

// Clear forgets all entries and sets the totals to zero. Calls in progress end without a trace.
func (b *Book) Clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blocks, b.present = nil, 0
	b.total = Totals{InProgress: b.total.InProgress}
}

// Totals is the book's counts.
func (b *Book) Totals() Totals {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total
}

// Effects is the whole book, in the order in which the calls began.
func (b *Book) Effects() []history.Effect {
	var all []history.Effect
	q := BookQuery{Limit: 4096} // so that calls are not held up for long
	for {
		page := b.Page(q)
		all = append(all, page.Effects...)
		if page.Next == 0 {
			return all
		}
		q.After = page.Next
	}
}

// Page is the selected part of the book.
func (b *Book) Page(q BookQuery) BookPage {
	b.mu.Lock()
	defer b.mu.Unlock()
	page := BookPage{Effects: []history.Effect{}, Totals: b.total}
	for _, block := range b.blocks {
		if len(block) == 0 || block[len(block)-1].beginTick <= q.After {
			continue
		}
		for i := range block {
			e := &block[i]
			if e.beginTick <= q.After || q.Customer != "" && e.key != q.Customer {
				continue
			}
			if q.Limit > 0 && len(page.Effects) == q.Limit {
				page.Next = page.Effects[q.Limit-1].BeginOrder
				return page
			}
			page.Effects = append(page.Effects, e.effect())
		}
	}
	return page
}

func (e *entry) effect() history.Effect {
	out := history.Effect{
		Order: e.order, Upstream: e.upstream, Kind: e.kind, Key: e.key, Ref: e.ref,
		Begin: time.Unix(0, e.began).UTC(), BeginOrder: e.beginTick, EndOrder: e.endTick,
		Applied: e.order != 0, Detail: map[string]string{},
	}
	if e.endTick != 0 {
		out.End = time.Unix(0, e.ended).UTC()
		out.Detail["status"] = strconv.Itoa(e.status)
	}
	if e.fault != "" {
		out.Detail["fault"] = string(e.fault)
	}
	if e.note != nil {
		e.note.describe(out.Detail)
	}
	return out
}
