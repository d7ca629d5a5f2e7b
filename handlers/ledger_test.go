package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"subrelay/events"
	"subrelay/schemas"
)

// fault is what a port does instead of, or besides, its work.
type fault int

const (
	works       fault = iota
	failsBefore       // nothing is done, and the caller is told that it is not known
	failsAfter        // it is done, and the caller is told that it is not known
	hangs             // nothing is done until the caller's time is up
	storesLate        // the caller's time is up first; a minute later it is done, if it still may be
	storesSoon        // the same, but within the time that a broker may take to elect a leader
	freezes           // it is done, and the caller goes on a minute later, whatever its time-out
	panics            // nothing is done
	panicsAfter
	dies // the worker ends before it is done
	diesAfter
)

var errBroker = &events.Error{Kind: events.Unavailable, Code: events.CodeStorage, Message: "the broker did not answer in time"}

// around does work under a fault.
func around[T any](ctx context.Context, f fault, work func() (T, error)) (none T, err error) {
	switch f {
	case failsBefore:
		return none, errBroker
	case hangs:
		<-ctx.Done()
		return none, errBroker
	case storesLate, storesSoon:
		after := time.Minute
		if f == storesSoon {
			after = 12 * time.Second
		}
		time.AfterFunc(after, func() { work() }) // nobody hears of it
		<-ctx.Done()
		return none, errBroker
	case panics:
		panic("a port panics before its work")
	case dies:
		runtime.Goexit()
	}
	if ctx.Err() != nil {
		return none, errBroker
	}
	v, err := work()
	switch f {
	case failsAfter:
		return none, errBroker
	case freezes:
		time.Sleep(time.Minute)
	case panicsAfter:
		panic("a port panics after its work")
	case diesAfter:
		runtime.Goexit()
	}
	return v, err
}

// ledger has the semantics of the port, and checks every record against its schema.
type ledger struct {
	t      *testing.T
	schema *schemas.Set

	mu      sync.Mutex
	seq     uint64
	records []events.Record
	// onAppend and onHistory choose the faults; nil means works.
	onAppend  func(o events.Outcome) fault
	onHistory func() fault
	// first is stored by another writer right before the append that it answers a record for.
	first func(o events.Outcome) *events.Outcome
}

func (l *ledger) History(ctx context.Context, key, cid string) (events.History, error) {
	f := works
	if l.onHistory != nil {
		f = l.onHistory()
	}
	return around(ctx, f, func() (events.History, error) { return l.history(key, cid), nil })
}

func (l *ledger) history(key, cid string) events.History {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.locked(key, cid)
}

// locked is history for a caller who has the lock.
func (l *ledger) locked(key, cid string) events.History {
	var h events.History
	for _, r := range l.records {
		if token, err := events.KeyToken(r.Command.Key); err == nil && token == key && r.Command.CID == cid {
			h = append(h, r)
		}
	}
	return h
}

func (l *ledger) Append(ctx context.Context, o events.Outcome, after uint64) (uint64, error) {
	f := works
	if l.onAppend != nil {
		f = l.onAppend(o)
	}
	if l.first != nil {
		if other := l.first(o); other != nil {
			if _, err := l.store(*other, after); err != nil {
				l.t.Errorf("the other writer's record: %v", err)
			}
		}
	}
	return around(ctx, f, func() (uint64, error) { return l.store(o, after) })
}

// store is the conditional write. What it keeps went through JSON, as on a broker.
func (l *ledger) store(o events.Outcome, after uint64) (uint64, error) {
	o = l.travelled(o)
	key, err := events.KeyToken(o.Command.Key)
	if err != nil {
		l.t.Errorf("a record without a usable key: %v", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.locked(key, o.Command.CID).LastSeq() != after {
		return 0, &events.Error{Kind: events.Conflict, Code: events.CodeConflict, Message: "the history has moved"}
	}
	l.seq++
	l.records = append(l.records, events.Record{Outcome: o, Seq: l.seq})
	return l.seq, nil
}

func (l *ledger) travelled(o events.Outcome) events.Outcome {
	e, err := o.Event()
	if err != nil {
		l.t.Errorf("record %s: %v", o.EventID(), err)
		return o
	}
	if err := e.Validate(); err != nil {
		l.t.Errorf("record %s is no valid event: %v", o.EventID(), err)
	}
	value, err := schemas.Decode(e.Data())
	if err != nil {
		l.t.Errorf("record %s: %v", o.EventID(), err)
	}
	if problems := l.schema.Validate(e.Type(), value); len(problems) > 0 {
		l.t.Errorf("record %s does not satisfy its schema: %v\n%s", o.EventID(), problems, e.Data())
	}
	back, err := events.ReadOutcome(&e)
	if err != nil {
		l.t.Errorf("record %s: %v", o.EventID(), err)
	}
	return back
}

// statuses is the history in short.
func (l *ledger) statuses() []events.Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]events.Status, 0, len(l.records))
	for _, r := range l.records {
		out = append(out, r.Status)
	}
	return out
}

func (l *ledger) last() events.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.records) == 0 {
		return events.Record{}
	}
	return l.records[len(l.records)-1]
}

// deadLetters has the semantics of the port.
type deadLetters struct {
	mu      sync.Mutex
	letters []events.DeadLetter
	onPut   func(events.DeadLetter) fault
}

func (d *deadLetters) Put(ctx context.Context, letter events.DeadLetter) error {
	f := works
	if d.onPut != nil {
		f = d.onPut(letter)
	}
	_, err := around(ctx, f, func() (struct{}, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if !slices.ContainsFunc(d.letters, func(l events.DeadLetter) bool {
			return l.Reason == letter.Reason && l.Delivery.Seq == letter.Delivery.Seq
		}) {
			d.letters = append(d.letters, letter)
		}
		return struct{}{}, nil
	})
	return err
}

func (d *deadLetters) reasons() []events.Reason {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []events.Reason
	for _, l := range d.letters {
		out = append(out, l.Reason)
	}
	return out
}

// once has a fault happen the n-th time, from 1, that it is asked for what match says.
func once(n int, f fault, match func(events.Outcome) bool) func(events.Outcome) fault {
	return func(o events.Outcome) fault {
		if !match(o) {
			return works
		}
		n--
		if n == 0 {
			return f
		}
		return works
	}
}

func status(s events.Status) func(events.Outcome) bool {
	return func(o events.Outcome) bool { return o.Status == s }
}

func mustJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

var errPlain = errors.New("an error that says nothing")
