package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
	"subrelay/handlers"
)

// till lists charges as CRM.COM does: those that were not acknowledged, the oldest first, page by page, so that the pages
// behind move up when somebody acknowledges between two of them.
type till struct {
	charges []events.NetflixCharge
	between func() // called between pages
	err     error
	read    int // how many are read beside the error
	panics  bool
}

func (c *till) add(number, state string) {
	at := time.Date(2026, 3, 1, 0, len(c.charges), 0, 0, time.UTC)
	c.charges = append(c.charges, events.NetflixCharge{Number: number, BillingSystemCustomerIdentifier: "c", ChargeStatus: state, ReceivedOn: &at})
}

func (c *till) set(number, state string) {
	i := slices.IndexFunc(c.charges, func(ch events.NetflixCharge) bool { return ch.Number == number })
	c.charges[i].ChargeStatus = state
}

func (c *till) acknowledge(numbers ...string) {
	c.charges = slices.DeleteFunc(c.charges, func(ch events.NetflixCharge) bool { return slices.Contains(numbers, ch.Number) })
}

func (c *till) ListCharges(context.Context) ([]events.NetflixCharge, error) {
	if c.panics {
		panic("a reply that nobody has thought of")
	}
	if c.err != nil {
		return slices.Clone(c.charges[:c.read]), c.err
	}
	const page = 2
	var all []events.NetflixCharge
	for offset := 0; offset < len(c.charges); offset += page {
		all = append(all, c.charges[offset:min(offset+page, len(c.charges))]...)
		if c.between != nil {
			c.between()
		}
	}
	return all, nil
}

// notices is what was published, once per charge and state, by whomever.
type notices struct {
	stored []string
	asked  int
	fail   func(c *events.NetflixCharge) error // asked before storing
	after  func(c *events.NetflixCharge) error // asked after storing
}

func (n *notices) Publish(ctx context.Context, c *events.NetflixCharge) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	n.asked++
	if n.fail != nil {
		if err := n.fail(c); err != nil {
			return false, err
		}
	}
	name := c.Number + " " + events.ChargeStatus(c.ChargeStatus)
	there := slices.Contains(n.stored, name)
	if !there {
		n.stored = append(n.stored, name)
	}
	if n.after != nil {
		if err := n.after(c); err != nil {
			return false, err
		}
	}
	return !there, nil
}

// tally is a ChargeObserver.
type tally struct {
	published map[string]int
	skipped   int
	rounds    []bool // how they ended
}

func (o *tally) ChargePublished(status string) {
	if o.published == nil {
		o.published = map[string]int{}
	}
	o.published[status]++
}
func (o *tally) ChargeSkipped()        { o.skipped++ }
func (o *tally) ChargeRound(err error) { o.rounds = append(o.rounds, err == nil) }

// slip is a permit that notes what came of it, first.
type slip struct {
	spent, cancelled bool
	result           error
}

func (s *slip) Done(err error) {
	if !s.spent {
		s.spent, s.result = true, err
	}
}

func (s *slip) Cancel() {
	if !s.spent {
		s.spent, s.cancelled = true, true
	}
}

func newFeed(c *till, n *notices) (*handlers.ChargeFeed, *tally) {
	o := &tally{}
	acquire := func(context.Context) (handlers.Permit, error) { return &slip{}, nil }
	return &handlers.ChargeFeed{Lister: c, Publisher: n, Acquire: acquire, Observer: o, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}, o
}

func mustRound(t *testing.T, f *handlers.ChargeFeed) {
	t.Helper()
	if err := f.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (n *notices) want(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, n.stored); diff != "" {
		t.Errorf("published: -want +got\n%s", diff)
	}
}

func TestChargesAreTold(t *testing.T) {
	c, n := &till{}, &notices{}
	f, o := newFeed(c, n)
	c.add("1", "PENDING")
	c.add("2", "APPROVED")
	mustRound(t, f)
	mustRound(t, f)
	c.add("3", "PENDING")
	c.set("1", "DECLINED")
	mustRound(t, f)
	n.want(t, "1 pending", "2 approved", "1 declined", "3 pending")
	if n.asked != 4 {
		t.Errorf("the publisher was asked %d times", n.asked)
	}
	if diff := cmp.Diff(map[string]int{"pending": 2, "approved": 1, "declined": 1}, o.published); diff != "" {
		t.Errorf("counted: %s", diff)
	}
	if diff := cmp.Diff([]bool{true, true, true}, o.rounds); diff != "" {
		t.Errorf("rounds: %s", diff)
	}
}

func TestChargesAreToldOldestFirst(t *testing.T) {
	c, n := &till{}, &notices{}
	f, _ := newFeed(c, n)
	for i := range 4 {
		c.add(fmt.Sprint(i), "APPROVED")
	}
	slices.Reverse(c.charges)
	pending := c.charges[1] // it was on both lists
	pending.ChargeStatus = events.ChargePending
	undated := events.NetflixCharge{Number: "undated", BillingSystemCustomerIdentifier: "c", ChargeStatus: "APPROVED"}
	c.charges = append(c.charges, pending, undated)
	mustRound(t, f)
	n.want(t, "undated approved", "0 approved", "1 approved", "2 pending", "2 approved", "3 approved")
}

// What one round misses, because somebody acknowledges while it reads the pages, the next one sees.
func TestChargesHiddenByAcknowledgementsComeNext(t *testing.T) {
	c, n := &till{}, &notices{}
	f, _ := newFeed(c, n)
	for i := range 7 {
		c.add(fmt.Sprint(i), "APPROVED")
	}
	c.between = func() { c.acknowledge("0", "1") }
	mustRound(t, f)
	n.want(t, "0 approved", "1 approved", "4 approved", "5 approved", "6 approved") // 2 and 3 moved to the page that was read
	c.between = nil
	mustRound(t, f)
	n.want(t, "0 approved", "1 approved", "4 approved", "5 approved", "6 approved", "2 approved", "3 approved")

	// Billing acknowledges whatever it is told, at once, while rounds go on and new charges come.
	n.after = func(ch *events.NetflixCharge) error { c.acknowledge(ch.Number); return nil }
	c.between = func() { c.acknowledge(c.charges[0].Number) } // somebody else's command
	for i := range 30 {
		c.add(fmt.Sprint("new-", i), "APPROVED")
		if i%3 == 0 {
			mustRound(t, f)
		}
	}
	c.between = nil
	for range 20 {
		mustRound(t, f)
	}
	if len(c.charges) > 0 {
		t.Errorf("never told: %v", c.charges)
	}
}

// A round that is cut off anywhere loses nothing, and nothing is told twice.
func TestChargesOutlastACrashAnywhere(t *testing.T) {
	away := &events.Error{Kind: events.Unavailable, Code: events.CodeStorage, Message: "away"}
	const charges = 4
	want := []string{"0 pending", "1 pending", "2 pending", "3 pending"}
	for _, how := range []string{"killed", "error", "panic"} {
		for at := range 2*charges + 1 { // before listing, then before and after each is stored
			t.Run(fmt.Sprintf("%s at %d", how, at), func(t *testing.T) {
				c, n := &till{}, &notices{}
				for i := range charges {
					c.add(fmt.Sprint(i), "PENDING")
				}
				ctx, kill := context.WithCancel(t.Context())
				point := 0
				crash := func(*events.NetflixCharge) error {
					if point++; point != at {
						return nil
					}
					switch how {
					case "killed":
						kill()
						return context.Canceled
					case "panic":
						panic("at a point")
					}
					return away
				}
				n.fail, n.after = crash, crash
				if at == 0 && how == "killed" {
					kill()
				} else if at == 0 {
					c.err, c.panics = away, how == "panic"
				}
				f, o := newFeed(c, n)
				if err := f.Round(ctx); err == nil {
					t.Error("no error")
				}
				if counted := len(o.rounds) > 0; counted == (how == "killed") {
					t.Errorf("rounds: %v", o.rounds)
				}
				n.fail, n.after, c.err, c.panics = nil, nil, nil, false
				if how == "killed" { // another process
					f, _ = newFeed(c, n)
				}
				mustRound(t, f)
				n.want(t, want...)
			})
		}
	}
}

func TestChargesThatCannotBeToldHoldUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, n := &till{}, &notices{}
		f, o := newFeed(c, n)
		for _, number := range []string{"1", "bad", "2"} {
			c.add(number, "PENDING")
		}
		n.fail = func(ch *events.NetflixCharge) error {
			if ch.Number == "bad" {
				return &events.Error{Kind: events.Refused, Code: events.CodeSubjectMismatch, Message: "no subject"}
			}
			return nil
		}
		for range 5 {
			mustRound(t, f)
			time.Sleep(time.Minute)
		}
		n.want(t, "1 pending", "2 pending")
		if o.skipped != 1 {
			t.Errorf("skipped %d times within the hour", o.skipped)
		}
		time.Sleep(time.Hour)
		mustRound(t, f)
		if o.skipped != 2 {
			t.Errorf("skipped %d times in two hours", o.skipped)
		}
	})
}

// What could be read of a list that failed is told, and what could not stays known.
func TestChargesAreToldAsFarAsTheListIsRead(t *testing.T) {
	c, n := &till{}, &notices{}
	f, o := newFeed(c, n)
	for _, number := range []string{"1", "2", "3"} {
		c.add(number, "PENDING")
	}
	mustRound(t, f)
	c.add("4", "PENDING")
	c.acknowledge("3")
	c.charges[0], c.charges[2] = c.charges[2], c.charges[0] // 4, 2, and 1 is not read
	c.err, c.read = &events.Error{Kind: events.Unavailable, Code: events.CodeRead, Message: "one cannot be read"}, 2
	if err := f.Round(t.Context()); !errors.Is(err, c.err) {
		t.Errorf("got %v", err)
	}
	n.want(t, "1 pending", "2 pending", "3 pending", "4 pending")
	c.err = nil
	mustRound(t, f)
	if n.asked != 4 {
		t.Errorf("the publisher was asked %d times", n.asked)
	}
	if diff := cmp.Diff([]bool{true, false, true}, o.rounds); diff != "" {
		t.Errorf("rounds: %s", diff)
	}
}

// What the store has lost is told again within an hour or so; and what has left the list is forgotten.
func TestChargesAreLookedAtAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, n := &till{}, &notices{}
		f, _ := newFeed(c, n)
		c.add("1", "PENDING")
		mustRound(t, f)
		n.stored = nil // restored from a backup, say
		for range 61 {
			mustRound(t, f)
			time.Sleep(time.Minute)
		}
		n.want(t, "1 pending")
		if n.asked != 2 {
			t.Errorf("the publisher was asked %d times", n.asked)
		}
		gone := c.charges
		c.charges = nil
		mustRound(t, f)
		c.charges = gone
		mustRound(t, f)
		if n.asked != 3 {
			t.Errorf("the publisher was asked %d times", n.asked)
		}
	})
}

func TestChargesAreListedWithPermission(t *testing.T) {
	broken := &events.Error{Kind: events.Unavailable, Code: events.CodeUnreachable, Upstream: true}
	for name, tt := range map[string]struct {
		till *till
		want slip
	}{
		"Listed": {&till{}, slip{spent: true}},
		"Failed": {&till{err: broken}, slip{spent: true, result: broken}},
		"Panic":  {&till{panics: true}, slip{spent: true, cancelled: true}},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := newFeed(tt.till, &notices{})
			var given []*slip
			f.Acquire = func(context.Context) (handlers.Permit, error) {
				given = append(given, &slip{})
				return given[0], nil
			}
			err := f.Round(t.Context())
			if len(given) != 1 || *given[0] != tt.want {
				t.Errorf("the permit was given back as %+v, after %v", *given[0], err)
			}
		})
	}
}

func TestChargesWaitOnlySoLongForPermission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, o := newFeed(&till{}, &notices{})
		f.Acquire = func(ctx context.Context) (handlers.Permit, error) { <-ctx.Done(); return nil, ctx.Err() }
		began := time.Now()
		err := f.Round(t.Context())
		if events.KindOf(err) != events.Unavailable || time.Since(began) != 30*time.Second || len(o.rounds) != 1 || o.rounds[0] {
			t.Errorf("%v after %s, rounds %v", err, time.Since(began), o.rounds)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.Round(ctx); !errors.Is(err, context.DeadlineExceeded) || len(o.rounds) != 1 {
			t.Errorf("%v, rounds %v", err, o.rounds)
		}
	})
}
