package handlers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/events"
	"subrelay/events/history"
	"subrelay/handlers"
	"subrelay/schemas"
)

// reply is what the upstream does with one call.
type reply struct {
	effect time.Duration // after how long it has its effect, if it applies
	took   time.Duration // after how long it answers
	err    error         // the answer; nil confirms
	applies,
	panics,
	dies bool // our side panics, or the worker ends, after the effect
	freezes bool // our side goes on 90 s later, whatever its time-out
}

var (
	confirmed   = reply{applies: true}
	refused     = reply{err: &events.Error{Kind: events.Refused, Code: events.CodeRefused, Message: "unknown customer", UpstreamCode: "400"}}
	unreachable = reply{err: &events.Error{Kind: events.Unavailable, Upstream: true, Code: events.CodeUnreachable, Message: "no connection"}}
	busy        = reply{err: &events.Error{Kind: events.Unavailable, Code: events.CodeUnavailable, Message: "listed as not applied", UpstreamCode: "503"}}
	lost        = reply{applies: true, err: errUnclear}
	lostBefore  = reply{err: errUnclear}
	errUnclear  = &events.Error{Kind: events.Unknown, Code: events.CodeBroken, Message: "the connection broke"}
)

// upstream counts effects per key, and keeps the book that histories are checked against. It answers by script, and
// when that is used up, confirms.
type upstream struct {
	name events.Upstream
	kind events.Kind
	mu   sync.Mutex
	refs map[string]bool // the references that had an effect; nil where the upstream does not look at them
	// possible, where set, says whether a call is possible at all; a reference that was used is looked at only then.
	possible func() bool
	tick     int64
	count    map[string]int
	book     []history.Effect
	script   []reply
	reads    []error // what reads answer, one by one; then they work
	read     int     // how many reads there were
	hangs    int     // how many reads, the first ones, answer never
	onCall   func(ref string) *reply
	onRead   func() error
}

func (u *upstream) now() int64 { u.tick++; return u.tick }

func (u *upstream) next(ref string) reply {
	if u.onCall != nil {
		if r := u.onCall(ref); r != nil {
			return *r
		}
	}
	if len(u.script) == 0 {
		return confirmed
	}
	r := u.script[0]
	u.script = u.script[1:]
	return r
}

// arrive books a call and returns what becomes of it.
func (u *upstream) arrive(key, ref string) (r reply, entry int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	r = u.next(ref)
	u.book = append(u.book, history.Effect{
		Upstream: u.name, Kind: u.kind, Key: key, Ref: ref, Begin: time.Now(), BeginOrder: u.now(),
	})
	return r, len(u.book) - 1
}

// apply has the effect, whether or not the caller still waits; but only one under each reference. It returns why the
// upstream does not want it.
func (u *upstream) apply(entry int, effect func() error) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	e := &u.book[entry]
	cid, _, _ := e.Attempt()
	err := errDuplicate
	if !u.refs[cid] {
		err = effect()
	} else if u.possible != nil && !u.possible() {
		err = refused.err
	}
	if err == nil {
		e.Applied, e.Order = true, u.now()
		if u.refs != nil {
			u.refs[cid] = true
		}
	}
	e.End, e.EndOrder = time.Now(), u.now()
	return err
}

var errDuplicate error = &events.Error{Kind: events.Conflict, Code: events.CodeDuplicate, Message: "the reference was used before"}

func (u *upstream) leave(entry int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if e := &u.book[entry]; e.EndOrder == 0 {
		e.End, e.EndOrder = time.Now(), u.now()
	}
}

func (u *upstream) call(ctx context.Context, key string) error {
	return u.do(ctx, key, func() error { u.count[key]++; return nil })
}

// do answers a call that asks for an effect.
func (u *upstream) do(ctx context.Context, key string, effect func() error) error {
	r, entry := u.arrive(key, events.TraceOf(ctx).Ref)
	refusal := make(chan error, 1)
	switch {
	case r.applies && r.effect == 0:
		refusal <- u.apply(entry, effect)
	case r.applies:
		time.AfterFunc(r.effect, func() { refusal <- u.apply(entry, effect) })
	default:
		u.leave(entry)
	}
	switch {
	case r.panics:
		panic("our side panics after the effect")
	case r.dies:
		runtime.Goexit()
	case r.took > 0:
		select {
		case <-time.After(r.took):
		case <-ctx.Done():
			return &events.Error{Kind: events.Unknown, Code: events.CodeTimeout, Message: "no reply in time", Cause: ctx.Err()}
		}
	}
	if r.freezes {
		time.Sleep(90 * time.Second)
	}
	if r.applies && r.err == nil {
		return <-refusal
	}
	return r.err
}

// state reads how often the key had an effect.
func (u *upstream) state(ctx context.Context, key string) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.read++
	if u.read <= u.hangs {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if u.onRead != nil {
		if err := u.onRead(); err != nil {
			return 0, err
		}
	}
	if len(u.reads) > 0 {
		err := u.reads[0]
		u.reads = u.reads[1:]
		if err != nil {
			return 0, err
		}
	}
	return u.count[key], nil
}

func (u *upstream) calls() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.book)
}

func (u *upstream) effects() (n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, e := range u.book {
		if e.Applied {
			n++
		}
	}
	return n
}

// family is a kind whose upstream counts. Its schema is that of renew.
type family struct {
	spec     events.Spec
	settling handlers.Settling
	upstream *upstream
	open     func() error
}

func (f *family) Spec() events.Spec           { return f.spec }
func (f *family) Settling() handlers.Settling { return f.settling }

func (f *family) Open(c *events.Command) (handlers.Operation, error) {
	if f.open != nil {
		if err := f.open(); err != nil {
			return nil, err
		}
	}
	return &operation{family: f, key: c.Subject}, nil
}

type operation struct {
	*family
	key string
}

type plan struct{ Before, Target int }

func (o *operation) Plan(ctx context.Context, _ handlers.Try) (json.RawMessage, error) {
	n, err := o.upstream.state(ctx, o.key)
	if err != nil {
		return nil, err
	}
	return mustJSON(plan{Before: n, Target: n + 1}), nil
}

func (o *operation) Call(ctx context.Context, try handlers.Try) (json.RawMessage, error) {
	err := o.upstream.call(ctx, o.key)
	if o.settling.Repeats && events.KindOf(err) == events.Conflict {
		kind := events.Unknown
		if try.Number == 1 {
			kind = events.Refused
		}
		return nil, &events.Error{Kind: kind, Code: events.CodeDuplicate, Message: "the reference was used before"}
	}
	if err != nil {
		return nil, err
	}
	return json.RawMessage(`{"months":1}`), nil
}

var settledResult = json.RawMessage(`{"months":1,"settled_by":"read_back"}`)

func (o *operation) Settle(ctx context.Context, try handlers.Try) (handlers.Finding, error) {
	var p plan
	if json.Unmarshal(try.Plan, &p) != nil {
		return handlers.Finding{Detail: "no plan"}, nil
	}
	as := handlers.Unchanged
	if o.settling.Repeats {
		switch err := o.upstream.call(ctx, o.key); events.KindOf(err) {
		case events.Conflict:
			as = handlers.Pending
		case events.Refused:
		default:
			return handlers.Finding{Verdict: handlers.Applied, Result: settledResult}, err
		}
	}
	n, err := o.upstream.state(ctx, o.key)
	if err != nil {
		return handlers.Finding{}, err
	}
	switch n {
	case p.Target:
		return handlers.Finding{Verdict: handlers.Applied, Result: settledResult}, nil
	case p.Before:
		return handlers.Finding{Verdict: as, Detail: "as before"}, nil
	}
	return handlers.Finding{Detail: fmt.Sprintf("%d", n)}, nil
}

// repeating is settling as CRM.COM has it where the operator has seen it enforce references.
var repeating = handlers.Settling{Means: true, Repeats: true, After: time.Minute, GiveUp: 10 * time.Minute}

// repeats makes the kind one whose upstream enforces references.
func (w *world) repeats() {
	w.family.settling, w.upstream.refs = repeating, map[string]bool{}
	w.family.spec.Referenced, w.family.spec.HoldsAfterDoubt = true, true
}

// readBack is settling as TVMS has it where the operator has confirmed a read.
var readBack = handlers.Settling{Means: true, After: time.Minute, GiveUp: 10 * time.Minute}

// world is one ledger, one upstream and the commands sent to it.
type world struct {
	t        *testing.T
	ledger   *ledger
	dead     *deadLetters
	upstream *upstream
	family   *family
	serves   handlers.Family // default: family
	log      *bytes.Buffer
	observer *observer

	config   func(*handlers.Config)
	probe    bool            // permissions are probes
	allow    <-chan struct{} // permission comes after this; nil: at once
	verdicts []error         // what attempts told the breaker

	sent []events.Delivery
}

// compiled is the schemas, which are slow to compile.
var compiled = sync.OnceValues(schemas.New)

func newWorld(t *testing.T) *world {
	t.Helper()
	set, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	up := &upstream{name: events.TVMS, kind: events.Renew, count: map[string]int{}}
	return &world{
		t: t, ledger: &ledger{t: t, schema: set}, dead: &deadLetters{}, upstream: up,
		family: &family{spec: events.Spec{Kind: events.Renew, Upstream: events.TVMS}, upstream: up},
		log:    &bytes.Buffer{}, observer: &observer{},
	}
}

// observer counts what it is told.
type observer struct {
	mu       sync.Mutex
	recorded map[events.Status]int
	called   int
	letters  int
	late     int
}

func (o *observer) Recorded(_ events.Kind, s events.Status) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.recorded == nil {
		o.recorded = map[events.Status]int{}
	}
	o.recorded[s]++
}

func (o *observer) count(n *int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	*n++
}

func (o *observer) Called(events.Kind, time.Duration, error) { o.count(&o.called) }
func (o *observer) DeadLettered(events.Reason)               { o.count(&o.letters) }
func (o *observer) Late(events.Kind)                         { o.count(&o.late) }

func (w *world) served() handlers.Family {
	if w.serves != nil {
		return w.serves
	}
	return w.family
}

// worker makes a dispatcher with this world's ports.
func (w *world) worker(name string) *handlers.Dispatcher {
	w.t.Helper()
	set, err := compiled()
	if err != nil {
		w.t.Fatal(err)
	}
	c := handlers.Config{
		Families: []handlers.Family{w.served()}, Ledger: w.ledger, DeadLetters: w.dead, Schemas: set,
		Worker: name, Observer: w.observer, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if w.config != nil {
		w.config(&c)
	}
	d, err := handlers.NewDispatcher(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// send is a renewal of C-1 by one month, as the broker side delivers it.
func (w *world) send(change ...func(*event.Event)) events.Delivery {
	w.t.Helper()
	e := event.New()
	e.SetID("r-1")
	e.SetSource("/billing")
	e.SetType("subrelay.renew.v1")
	e.SetSubject("C-1")
	if err := e.SetData(event.ApplicationJSON, json.RawMessage(`{"customer_mapping_id":"C-1","months":1}`)); err != nil {
		w.t.Fatal(err)
	}
	for _, c := range change {
		c(&e)
	}
	return w.deliver(&e)
}

func (w *world) deliver(e *event.Event) events.Delivery {
	key, err := events.KeyToken(e.Subject())
	if err != nil {
		key = "C-1"
	}
	d := events.Delivery{
		Seq: uint64(len(w.sent) + 1), Stored: time.Now(), Kind: w.served().Spec().Kind, Key: key, Event: e, Raw: []byte("raw"),
	}
	w.sent = append(w.sent, d)
	return d
}

// ending is how a worker was done with a command.
type ending string

const (
	acked    ending = "acked"
	released ending = "released"
	died     ending = "died"
	stuck    ending = "stuck" // nothing came of it in the time allowed
)

// patience is how long a command may take in a test, in virtual time.
const patience = 48 * time.Hour

// drive leads a delivery through the steps as a lane does, until it is done with.
func (w *world) drive(ctx context.Context, d *handlers.Dispatcher, delivery events.Delivery) ending {
	return w.driveJob(ctx, d.Job(delivery), false)
}

func (w *world) driveJob(ctx context.Context, j *handlers.Job, fresh bool) ending {
	until := time.Now().Add(patience)
	for time.Now().Before(until) {
		var next events.Next
		if !survives(func() { next = j.Prepare(ctx, fresh) }) {
			return died
		}
		if next.Action == events.Call {
			if at, waited := w.permission(ctx, next.At); waited && !at {
				continue // woken by the command's end, or by ours
			}
			if !survives(func() {
				var err error
				next, err = j.Attempt(ctx, w.probe)
				w.told(err)
			}) {
				return died
			}
		}
		switch next.Action {
		case events.Ack:
			return acked
		case events.Release:
			return released
		}
		if ctx.Err() != nil {
			return released // as a lane that is being left
		}
		pause := time.Until(next.At)
		select {
		case <-time.After(max(pause, time.Millisecond)):
		case <-ctx.Done():
		}
	}
	return stuck
}

func (w *world) told(err error) {
	w.observer.mu.Lock()
	defer w.observer.mu.Unlock()
	w.verdicts = append(w.verdicts, err)
}

// permission waits for the upstream's permission, or until at.
func (w *world) permission(ctx context.Context, at time.Time) (given, waited bool) {
	if w.allow == nil {
		return true, false
	}
	var due <-chan time.Time
	if !at.IsZero() {
		due = time.After(time.Until(at))
	}
	select {
	case <-w.allow:
		return true, true
	case <-due:
	case <-ctx.Done():
	}
	return false, true
}

// survives runs a step, and reports whether the worker lived to its end.
func survives(step func()) bool {
	alive := make(chan bool, 1)
	go func() {
		done := false
		defer func() { alive <- done }()
		step()
		done = true
	}()
	return <-alive
}

// check has the whole history judged.
func (w *world) check() history.Report {
	w.t.Helper()
	w.ledger.mu.Lock()
	w.dead.mu.Lock()
	w.upstream.mu.Lock()
	defer func() { w.ledger.mu.Unlock(); w.dead.mu.Unlock(); w.upstream.mu.Unlock() }()
	e := history.Evidence{Records: w.ledger.records, Effects: w.upstream.book, Specs: []events.Spec{w.served().Spec()}}
	for _, d := range w.sent {
		cmd := history.Command{Kind: d.Kind, Seq: d.Seq, Upstream: w.served().Spec().Upstream}
		if d.Event != nil {
			if c, err := events.ReadCommand(d.Event); err == nil {
				cmd = history.Accepted(&c, d.Seq)
			}
		}
		e.Commands = append(e.Commands, cmd)
	}
	for _, l := range w.dead.letters {
		e.Dead = append(e.Dead, history.Dead{Reason: l.Reason, CID: l.CID, Seq: l.Delivery.Seq})
	}
	report := history.Check(e)
	if !report.OK() {
		w.t.Errorf("the history does not keep the promise: %s", report.String())
		for _, r := range e.Records {
			w.t.Logf("%d %s attempt %d %+v", r.Seq, r.Status, r.Attempt, r.Error)
		}
	}
	return report
}

// inTime runs a test in virtual time.
func inTime(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newWorld(t)) })
}
