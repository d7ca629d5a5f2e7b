package handlers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"subrelay/events"
	"subrelay/schemas"
)

// Ledger is where the history of commands is kept, and the fence between workers.
type Ledger interface {
	// History is every record of a command, in order. key is the key token.
	History(ctx context.Context, key, cid string) (events.History, error)
	// Append stores a record if the command's last one has sequence after (0: if there is none), and returns its
	// sequence. Kinds of error: Conflict where another record follows; Unavailable where the record is not known to
	// be stored.
	Append(ctx context.Context, o events.Outcome, after uint64) (uint64, error)
}

// DeadLetters keeps what can never run or was given up. Putting the same thing again changes nothing.
type DeadLetters interface {
	Put(ctx context.Context, d events.DeadLetter) error
}

// Observer is told what happens, for metrics. It must be quick and safe for concurrent use.
type Observer interface {
	Recorded(kind events.Kind, status events.Status)
	// Called is told of every call that may have an effect, also of one that settles an attempt by calling again.
	Called(kind events.Kind, took time.Duration, err error)
	DeadLettered(reason events.Reason)
	// Late is told of a result that arrived after another was recorded: an alarm.
	Late(kind events.Kind)
}

// Config is what a Dispatcher needs. All fields without a default must be set.
type Config struct {
	Families    []Family
	Ledger      Ledger
	DeadLetters DeadLetters
	Schemas     *schemas.Set
	Policies    map[events.Kind]Policy // default: Policy's defaults

	Worker string // the name in "started" records
	Source string // the source of outcome events; default "subrelay"

	Memory         time.Duration // how long the ledger remembers a command; default 45 days
	CallTimeout    time.Duration // the longest a call takes, by upstream client; default 30s
	PublishTimeout time.Duration // the longest between deciding to start and calling; default 5s
	Election       time.Duration // how long the broker may take to elect a leader; default 15s
	// ClosedFor is the total time an upstream's breaker has been closed: the clock of a policy's total time.
	// Default: the time since the dispatcher was made.
	ClosedFor func(events.Upstream) time.Duration

	// Clock is what time it is, as records say it and commands ask for it (time, expirytime). It may jump: how long
	// something takes or took is never measured with it. Default time.Now.
	Clock func() time.Time

	Logger   *slog.Logger // default: slog.Default
	Observer Observer     // default: none
}

// Dispatcher leads commands through their life. It is safe for concurrent use.
type Dispatcher struct {
	Config
	families map[events.Kind]Family
}

// NewDispatcher checks the configuration and fills its defaults.
func NewDispatcher(c Config) (*Dispatcher, error) {
	if c.Ledger == nil || c.DeadLetters == nil || c.Schemas == nil || len(c.Families) == 0 {
		return nil, errors.New("a dispatcher needs a ledger, dead letters, schemas and at least one family")
	}
	began := time.Now()
	setDefault(&c.Source, "subrelay")
	setDefault(&c.Memory, 45*24*time.Hour)
	setDefault(&c.CallTimeout, 30*time.Second)
	setDefault(&c.PublishTimeout, 5*time.Second)
	setDefault(&c.Election, 15*time.Second)
	if c.ClosedFor == nil {
		c.ClosedFor = func(events.Upstream) time.Duration { return time.Since(began) }
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Observer == nil {
		c.Observer = silent{}
	}
	d := &Dispatcher{Config: c, families: make(map[events.Kind]Family)}
	policies := make(map[events.Kind]Policy)
	for _, f := range c.Families {
		kind := f.Spec().Kind
		policy := c.Policies[kind].WithDefaults()
		if err := policy.Validate(); err != nil {
			return nil, fmt.Errorf("the retry policy of %s: %w", kind, err)
		}
		if s := f.Settling(); s.Means && (s.After <= 0 || s.GiveUp <= s.After) {
			return nil, fmt.Errorf("the settling of %s: an unchanged state counts after %s and reading is given up after %s; "+
				"the first must be positive, and the second longer", kind, s.After, s.GiveUp)
		}
		policies[kind], d.families[kind] = policy, f
	}
	d.Policies = policies
	return d, nil
}

type silent struct{}

func (silent) Recorded(events.Kind, events.Status)      {}
func (silent) Called(events.Kind, time.Duration, error) {}
func (silent) DeadLettered(events.Reason)               {}
func (silent) Late(events.Kind)                         {}

// callSlack is what a call may take beyond CallTimeout: the upstream client's own time-out comes first, since the
// client knows what was sent by then.
const callSlack = time.Second

// callLimit is the longest a call takes.
func (d *Dispatcher) callLimit() time.Duration { return d.CallTimeout + callSlack }

// SettleWait is how long after the first sight of another's "started" its call may still be under way.
func (d *Dispatcher) SettleWait() time.Duration {
	return d.callLimit() + d.PublishTimeout + d.Election
}

// Job begins the life of a delivered command in this worker. A Job is used by one goroutine at a time.
func (d *Dispatcher) Job(delivery events.Delivery) *Job {
	return &Job{d: d, delivery: delivery}
}

// Done reports whether nothing more will happen to a command by itself: it is done in the ledger, or can never run.
// Done never reverts. The broker side asks it of a command's predecessors.
func (d *Dispatcher) Done(ctx context.Context, delivery events.Delivery) (done bool, err error) {
	j := d.Job(delivery)
	defer j.recovered(func(events.Next) { done, err = false, errNotAsked })
	if _, ok := d.families[delivery.Kind]; !ok {
		return false, nil // another version's
	}
	if j.read() != nil {
		return true, nil
	}
	h, err := j.readHistory(ctx)
	switch {
	case err != nil:
		return false, err
	case len(h) == 0:
		return j.stale() != "", nil
	case h.Hash() != j.hash:
		return true, nil // id reused: this one never runs
	}
	return h.Done(j.family.Spec()), nil
}
