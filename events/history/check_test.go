package history_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
	"subrelay/events/history"
)

// suspend is a kind that holds its key after a doubt; swap is another, whose calls carry a reference.
const (
	suspend events.Kind = "suspend"
	swap    events.Kind = "swap"
)

var specs = []events.Spec{
	{Kind: events.Renew, Upstream: events.TVMS},
	{Kind: suspend, Upstream: "netflix", HoldsAfterDoubt: true},
	{Kind: swap, Upstream: "crmcom", HoldsAfterDoubt: true, Referenced: true},
}

// scene builds evidence as it would come about, one step after the other.
type scene struct {
	history.Evidence
	seq, ledger uint64
	tick        int64
}

// command is accepted under a name; its cid is derived from it.
type command struct {
	history.Command
	s *scene
}

func cid(name string) string { return events.CID("/test", name, "") }

func (s *scene) accept(name, key string, kind events.Kind) *command {
	s.seq++
	c := history.Command{CID: cid(name), Key: key, Kind: kind, Seq: s.seq}
	s.Commands = append(s.Commands, c)
	spec, _ := events.SpecOf(specs, kind)
	c.Upstream = spec.Upstream
	return &command{c, s}
}

// renew accepts a renewal of the customer K.
func (s *scene) renew(name string) *command { return s.accept(name, "K", events.Renew) }

// again accepts the same command once more.
func (c *command) again() {
	c.s.seq++
	copied := c.Command
	copied.Seq = c.s.seq
	c.s.Commands = append(c.s.Commands, copied)
}

func (c *command) record(status events.Status, attempt int) *command {
	c.s.ledger++
	r := events.Record{Seq: c.s.ledger, Outcome: events.Outcome{Status: status, Attempt: attempt, Upstream: c.Upstream}}
	r.Command = events.Ref{CID: c.CID, Key: c.Key, Kind: c.Kind}
	if status == events.InDoubt {
		r.Error = &events.Failure{Code: events.CodeTimeout}
	}
	c.s.Records = append(c.s.Records, r)
	return c
}

// settled is "deferred" because the attempt was unclear, and then seen to have changed nothing.
func (c *command) settled(attempt int) *command {
	c.record(events.Deferred, attempt)
	c.s.Records[len(c.s.Records)-1].Error = &events.Failure{Code: events.CodeNotApplied}
	return c
}

func (c *command) letter(reason events.Reason) *command {
	c.s.Dead = append(c.s.Dead, history.Dead{Reason: reason, CID: c.CID, Seq: c.Seq})
	return c
}

// begin is a call that is going on; end and effect go on with it.
func (c *command) begin(attempt int) *command {
	c.s.tick++
	c.s.Effects = append(c.s.Effects, history.Effect{
		Upstream: c.Upstream, Kind: c.Kind, Key: c.Key, Ref: fmt.Sprintf("%s.%d", c.CID, attempt), BeginOrder: c.s.tick,
	})
	return c
}

func (c *command) call() *history.Effect {
	for i, e := range slices.Backward(c.s.Effects) {
		if strings.HasPrefix(e.Ref, c.CID) {
			return &c.s.Effects[i]
		}
	}
	panic("no call")
}

func (c *command) effect() *command {
	c.s.tick++
	c.call().Applied, c.call().Order = true, c.s.tick
	return c
}

func (c *command) end() *command {
	c.s.tick++
	c.call().EndOrder = c.s.tick
	return c
}

func (c *command) applied(attempt int) *command { return c.begin(attempt).effect().end() }

func (c *command) succeeds() *command {
	return c.record(events.Started, 1).applied(1).record(events.Succeeded, 1)
}

func (c *command) doubted(attempt int) *command {
	return c.letter(events.DeadInDoubt).record(events.InDoubt, attempt)
}

func TestCheck(t *testing.T) {
	for _, tc := range []struct {
		name string
		play func(s *scene)
		want history.Report // without the violations
		// violations are "<rule> <name of the command>: <part of the detail>"
		violations []string
	}{
		{"nothing", func(*scene) {}, history.Report{}, nil},
		{"succeeded", func(s *scene) { s.renew("a").succeeds() }, history.Report{Commands: 1, Succeeded: 1, Calls: 1, Effects: 1}, nil},
		{"duplicates are one command", func(s *scene) {
			a := s.renew("a")
			a.again()
			b := s.renew("b")
			a.succeeds()
			a.again()
			b.succeeds()
		}, history.Report{Commands: 2, Duplicates: 2, Succeeded: 2, Calls: 2, Effects: 2}, nil},
		{"deferred, then succeeded", func(s *scene) {
			s.renew("a").record(events.Started, 1).begin(1).end().record(events.Deferred, 1).
				record(events.Started, 2).applied(2).record(events.Succeeded, 2)
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 2, Effects: 1}, nil},
		{"a call without an effect has no place in the order", func(s *scene) {
			a, b := s.renew("a"), s.renew("b")
			a.succeeds()
			b.record(events.Started, 1).begin(1).end().record(events.Deferred, 1).record(events.Started, 2).applied(2).record(events.Succeeded, 2)
		}, history.Report{Commands: 2, Succeeded: 2, Calls: 3, Effects: 2}, nil},
		{"every other end", func(s *scene) {
			s.renew("invalid").letter(events.DeadInvalid).record(events.Rejected, 0)
			s.renew("refused").record(events.Started, 1).begin(1).end().letter(events.DeadRefused).record(events.Rejected, 1)
			s.renew("exhausted").record(events.Started, 1).record(events.Deferred, 1).letter(events.DeadExhausted).record(events.Failed, 1)
			s.renew("expired").record(events.Expired, 0)
			s.renew("expired later").record(events.Started, 1).record(events.Deferred, 1).record(events.Expired, 1)
			s.renew("cancelled").record(events.Cancelled, 0)
			s.renew("applied or not").record(events.Started, 1).applied(1).doubted(1)
			s.renew("never called").record(events.Started, 1).doubted(1)
			s.renew("resolved").record(events.Started, 1).applied(1).doubted(1).record(events.Succeeded, 1)
			s.renew("not applied").record(events.Started, 1).begin(1).end().doubted(1).record(events.Failed, 1)
			s.renew("stale").letter(events.DeadStale)
		}, history.Report{Commands: 11, Succeeded: 1, Rejected: 2, Failed: 2, Expired: 2, Cancelled: 1, InDoubt: 2, Dead: 1, Calls: 4, Effects: 2}, nil},
		{"dead letters that are all there is", func(s *scene) {
			s.renew("a").succeeds()
			reused := s.renew("a")
			reused.letter(events.DeadIDReused)
			s.renew("a").letter(events.DeadStale)
			s.seq++
			s.Commands = append(s.Commands, history.Command{Seq: s.seq})
			s.Dead = append(s.Dead, history.Dead{Reason: events.DeadUndecodable, Seq: s.seq})
		}, history.Report{Commands: 3, Duplicates: 1, Succeeded: 1, Dead: 2, Calls: 1, Effects: 1}, nil},
		{"a dead letter known by its sequence alone", func(s *scene) {
			s.renew("a").letter(events.DeadInvalid).record(events.Rejected, 0)
			s.Dead[0].CID = ""
		}, history.Report{Commands: 1, Rejected: 1}, nil},
		{"other keys and upstreams run at once", func(s *scene) {
			a, b, c := s.renew("a"), s.accept("b", "L", events.Renew), s.accept("c", "K", swap)
			for _, x := range []*command{c, b, a} {
				x.record(events.Started, 1).begin(1).effect()
			}
			for _, x := range []*command{c, b, a} {
				x.end().record(events.Succeeded, 1)
			}
		}, history.Report{Commands: 3, Succeeded: 3, Calls: 3, Effects: 3}, nil},
		{"after a doubt a renewal goes on, though the call goes on too", func(s *scene) {
			a, b := s.renew("a"), s.renew("b")
			a.record(events.Started, 1).begin(1).doubted(1)
			b.succeeds()
			a.effect().end()
		}, history.Report{Commands: 2, Succeeded: 1, InDoubt: 1, Calls: 2, Effects: 2}, nil},

		{"an attempt has two effects", func(s *scene) {
			s.renew("a").record(events.Started, 1).applied(1).applied(1).record(events.Succeeded, 1)
		},
			history.Report{Commands: 1, Succeeded: 1, Calls: 2, Effects: 2, DoubleEffects: 1},
			[]string{"double_effect a: had an effect, number 5"}},
		{"two attempts have an effect", func(s *scene) {
			s.renew("a").record(events.Started, 1).applied(1).record(events.Deferred, 1).record(events.Started, 2).applied(2).record(events.Succeeded, 2)
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 2, Effects: 2, DoubleEffects: 1, DeniedEffects: 1},
			[]string{"denied_effect a: the record says deferred", "double_effect a: number 5"}},
		{"a doubt has two effects", func(s *scene) { s.renew("a").record(events.Started, 1).applied(1).applied(1).doubted(1) },
			history.Report{Commands: 1, InDoubt: 1, Calls: 2, Effects: 2, DoubleEffects: 1},
			[]string{"double_effect a: had one before"}},
		{"a success without a call", func(s *scene) { s.renew("a").record(events.Started, 1).record(events.Succeeded, 1) },
			history.Report{Commands: 1, Succeeded: 1, LostEffects: 1}, []string{"lost_effect a: has no effect"}},
		{"a success whose call had no effect", func(s *scene) { s.renew("a").record(events.Started, 1).begin(1).end().record(events.Succeeded, 1) },
			history.Report{Commands: 1, Succeeded: 1, Calls: 1, LostEffects: 1}, []string{"lost_effect a: has no effect"}},
		{"rejected with an effect", func(s *scene) {
			s.renew("a").record(events.Started, 1).applied(1).letter(events.DeadRefused).record(events.Rejected, 1)
		}, history.Report{Commands: 1, Rejected: 1, Calls: 1, Effects: 1, DeniedEffects: 1}, []string{"denied_effect a: the outcome is rejected"}},
		{"failed with an effect", func(s *scene) { s.renew("a").record(events.Started, 1).applied(1).doubted(1).record(events.Failed, 1) },
			history.Report{Commands: 1, Failed: 1, Calls: 1, Effects: 1, DeniedEffects: 1}, []string{"denied_effect a: the outcome is failed"}},
		{"expired with an effect", func(s *scene) {
			s.renew("a").record(events.Started, 1).applied(1).record(events.Deferred, 1).record(events.Expired, 1)
		}, history.Report{Commands: 1, Expired: 1, Calls: 1, Effects: 1, DeniedEffects: 1}, []string{"denied_effect a: the outcome is expired"}},

		{"a call nobody ordered", func(s *scene) {
			s.renew("a").succeeds()
			s.Effects = append(s.Effects, history.Effect{Upstream: events.TVMS, Kind: events.Renew, Key: "K", BeginOrder: 90, EndOrder: 91})
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 2, Effects: 1, StrayCalls: 1}, []string{"stray_call : belongs to no command (it had no effect)"}},
		{"a call of an unknown command", func(s *scene) {
			s.renew("a").applied(1)
			s.Commands = nil
		}, history.Report{Calls: 1, Effects: 1, StrayCalls: 1}, []string{"stray_call : belongs to no command (it had its effect, number 2)"}},
		{"a call before its start is stored", func(s *scene) {
			s.renew("a").record(events.Started, 1).begin(1).end().record(events.Deferred, 1).applied(2).letter(events.DeadExhausted).record(events.Failed, 1)
		}, history.Report{Commands: 1, Failed: 1, Calls: 2, Effects: 1, StrayCalls: 1, DeniedEffects: 1},
			[]string{"denied_effect a: the outcome is failed", "stray_call a: attempt 2 called, and no start"}},
		{"a call for another customer", func(s *scene) {
			s.renew("a").succeeds()
			s.Effects[0].Key = "L"
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 1, Effects: 1, StrayCalls: 1}, []string{`stray_call a: for the customer "L"`}},

		{"a later command has its effect first", func(s *scene) {
			a, b := s.renew("a"), s.renew("b")
			b.succeeds()
			a.succeeds()
		}, history.Report{Commands: 2, Succeeded: 2, Calls: 2, Effects: 2, OrderViolations: 1}, []string{"order a: accepted as 1, came after that of"}},
		{"the order is that of the first acceptance", func(s *scene) {
			a, b := s.renew("a"), s.renew("b")
			a.again()
			b.succeeds()
			a.succeeds()
		}, history.Report{Commands: 2, Duplicates: 1, Succeeded: 2, Calls: 2, Effects: 2, OrderViolations: 1}, []string{"order a: accepted as 1"}},
		{"every command that was overtaken counts", func(s *scene) {
			a, b, c := s.renew("a"), s.renew("b"), s.renew("c")
			c.succeeds()
			a.succeeds()
			b.succeeds()
		}, history.Report{Commands: 3, Succeeded: 3, Calls: 3, Effects: 3, OrderViolations: 2}, []string{"order b:", "order a:"}},
		{"a doubt does not excuse those who went first", func(s *scene) {
			a, b := s.renew("a"), s.renew("b")
			b.record(events.Started, 1).applied(1).doubted(1)
			a.succeeds()
		}, history.Report{Commands: 2, Succeeded: 1, InDoubt: 1, Calls: 2, Effects: 2, OrderViolations: 1}, []string{"order a:"}},
		{"two calls overlap", func(s *scene) {
			a, b := s.renew("a"), s.renew("b")
			a.record(events.Started, 1).begin(1).effect()
			b.record(events.Started, 1).begin(1)
			a.end().record(events.Succeeded, 1)
			b.effect().end().record(events.Succeeded, 1)
		}, history.Report{Commands: 2, Succeeded: 2, Calls: 2, Effects: 2, Overlaps: 1}, []string{"overlap b: (3 to 6) began during the call"}},
		{"a call that never ends holds up all that follow", func(s *scene) {
			a, b := s.renew("a"), s.renew("b")
			a.record(events.Started, 1).begin(1).effect().record(events.Succeeded, 1)
			b.succeeds()
		}, history.Report{Commands: 2, Succeeded: 2, Calls: 2, Effects: 2, Overlaps: 1}, []string{"overlap b: (1 to now)"}},
		{"a short call within a long one hides nothing", func(s *scene) {
			a, b, c := s.renew("a"), s.renew("b"), s.renew("c")
			a.record(events.Started, 1).begin(1).effect()
			b.succeeds()
			c.succeeds()
			a.end().record(events.Succeeded, 1)
		}, history.Report{Commands: 3, Succeeded: 3, Calls: 3, Effects: 3, Overlaps: 2}, []string{"overlap b:", "overlap c:"}},
		{"a kind that holds its key may not go on in doubt", func(s *scene) {
			a, b := s.accept("a", "K", swap), s.accept("b", "K", swap)
			a.record(events.Started, 1).begin(1).doubted(1)
			b.succeeds()
			a.effect().end()
		}, history.Report{Commands: 2, Succeeded: 1, InDoubt: 1, Calls: 2, Effects: 2, Overlaps: 1, OrderViolations: 1, BrokenHolds: 1},
			[]string{"broken_hold b: began while", "order a:", "overlap b:"}},
		{"a doubt holds its key though nothing overlaps", func(s *scene) {
			a, b := s.accept("a", "K", suspend), s.accept("b", "K", suspend)
			a.record(events.Started, 1).applied(1).doubted(1)
			b.succeeds()
			a.record(events.Succeeded, 1)
		}, history.Report{Commands: 2, Succeeded: 2, Calls: 2, Effects: 2, BrokenHolds: 1},
			[]string{"broken_hold b: attempt 1, record 3, began while"}},
		{"a doubt that nobody resolves holds its key for good", func(s *scene) {
			a, b := s.accept("a", "K", suspend), s.accept("b", "K", suspend)
			a.record(events.Started, 1).doubted(1)
			b.record(events.Started, 1).begin(1).end().record(events.Deferred, 1).record(events.Started, 2).applied(2).record(events.Succeeded, 2)
		}, history.Report{Commands: 2, Succeeded: 1, InDoubt: 1, Calls: 2, Effects: 1, BrokenHolds: 2},
			[]string{"broken_hold b: attempt 1, record 3", "broken_hold b: attempt 2, record 5"}},
		{"a doubt holds no other key, no other upstream, and nobody who went before or comes after", func(s *scene) {
			before, a, after := s.accept("before", "K", suspend), s.accept("a", "K", suspend), s.accept("after", "K", suspend)
			other, elsewhere := s.accept("other", "L", suspend), s.renew("elsewhere")
			before.succeeds()
			a.record(events.Started, 1).applied(1).doubted(1)
			other.succeeds()
			elsewhere.succeeds()
			a.record(events.Succeeded, 1)
			after.succeeds()
		}, history.Report{Commands: 5, Succeeded: 5, Calls: 5, Effects: 5}, nil},

		{"a repetition under a reference, while the first call goes on", func(s *scene) {
			a := s.accept("a", "K", swap)
			a.record(events.Started, 1).begin(1)
			first := len(s.Effects) - 1
			a.applied(1).record(events.Succeeded, 1)
			s.tick++
			s.Effects[first].EndOrder = s.tick
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 2, Effects: 1}, nil},
		{"a repetition without a reference", func(s *scene) {
			a := s.accept("a", "K", suspend)
			a.record(events.Started, 1).begin(1)
			first := len(s.Effects) - 1
			a.applied(1).record(events.Succeeded, 1)
			s.tick++
			s.Effects[first].EndOrder = s.tick
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 2, Effects: 1, Overlaps: 1}, []string{"overlap a: began during the call"}},
		{"a repetition under a reference that has an effect of its own", func(s *scene) {
			s.accept("a", "K", swap).record(events.Started, 1).applied(1).applied(1).record(events.Succeeded, 1)
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 2, Effects: 2, DoubleEffects: 1}, []string{"double_effect a:"}},
		{"another attempt under a reference, while the first call goes on", func(s *scene) {
			a := s.accept("a", "K", swap)
			a.record(events.Started, 1).begin(1)
			first := len(s.Effects) - 1
			a.record(events.Deferred, 1).record(events.Started, 2).applied(2).record(events.Succeeded, 2)
			s.tick++
			s.Effects[first].EndOrder = s.tick
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 2, Effects: 1, Overlaps: 1}, []string{"overlap a: began during the call"}},
		{"a repetition that succeeds behind deferred", func(s *scene) {
			s.accept("a", "K", swap).record(events.Started, 1).begin(1).end().applied(1).record(events.Deferred, 1).record(events.Succeeded, 1)
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 2, Effects: 1}, nil},
		{"a repetition that nobody reported, found by the next attempt", func(s *scene) {
			s.accept("a", "K", swap).record(events.Started, 1).applied(1).record(events.Deferred, 1).
				record(events.Started, 2).begin(2).end().record(events.Succeeded, 2)
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 2, Effects: 1}, nil},
		{"an effect under a reference, deferred and then denied", func(s *scene) {
			s.accept("a", "K", swap).record(events.Started, 1).applied(1).record(events.Deferred, 1).record(events.Expired, 1)
		}, history.Report{Commands: 1, Expired: 1, Calls: 1, Effects: 1, DeniedEffects: 1}, []string{"denied_effect a: the outcome is expired"}},
		{"a success of an attempt that is still to come", func(s *scene) {
			s.accept("a", "K", swap).record(events.Started, 1).applied(1).record(events.Deferred, 1).record(events.Succeeded, 2)
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 1, Effects: 1, BadRecords: 1}, []string{"bad_record a: succeeded of attempt 2"}},
		{"a success behind deferred, without a reference", func(s *scene) {
			s.renew("a").record(events.Started, 1).applied(1).record(events.Deferred, 1).record(events.Succeeded, 1)
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 1, Effects: 1, DeniedEffects: 1, BadRecords: 1},
			[]string{"bad_record a: succeeded of attempt 1, follows deferred", "denied_effect a: the record says deferred"}},

		{"lost without a record", func(s *scene) { s.renew("a") },
			history.Report{Commands: 1, Unresolved: 1}, []string{"unresolved a: accepted as 1, and nothing more is known of it"}},
		{"lost while deferred", func(s *scene) { s.renew("a").record(events.Started, 1).record(events.Deferred, 1) },
			history.Report{Commands: 1, Unresolved: 1}, []string{"unresolved a: its last record is deferred of attempt 1"}},
		{"lost though a copy was dead-lettered", func(s *scene) {
			a := s.renew("a")
			a.letter(events.DeadStale)
			a.again()
		}, history.Report{Commands: 1, Duplicates: 1, Unresolved: 1}, []string{"unresolved a:"}},
		{"no identity and no dead letter", func(s *scene) { s.Commands = []history.Command{{Seq: 7}} },
			history.Report{Commands: 1, Unresolved: 1}, []string{"unresolved : the message 7 has no identity"}},

		{"two final outcomes", func(s *scene) { s.renew("a").succeeds().record(events.Failed, 1) },
			history.Report{Commands: 1, Succeeded: 1, Calls: 1, Effects: 1, FinalTwice: 1}, []string{"final_twice a: failed of attempt 1, is behind a final one"}},
		{"a start behind the end", func(s *scene) { s.renew("a").succeeds().record(events.Started, 2) },
			history.Report{Commands: 1, Succeeded: 1, Calls: 1, Effects: 1, FinalTwice: 1}, []string{"final_twice a: started of attempt 2"}},
		{"a doubt without a start", func(s *scene) { s.renew("a").doubted(1) },
			history.Report{Commands: 1, InDoubt: 1, BadDoubts: 1}, []string{"bad_doubt a: attempt 1 is in doubt behind nothing"}},
		{"a doubt of another attempt", func(s *scene) { s.renew("a").record(events.Started, 1).doubted(2) },
			history.Report{Commands: 1, InDoubt: 1, BadDoubts: 1}, []string{"bad_doubt a: attempt 2 is in doubt behind started of attempt 1"}},
		{"a doubt about what was known", func(s *scene) {
			s.renew("a").record(events.Started, 1).record(events.Deferred, 1).doubted(1)
		}, history.Report{Commands: 1, InDoubt: 1, BadDoubts: 1}, []string{"bad_doubt a: behind deferred of attempt 1"}},
		{"a doubt about what was settled", func(s *scene) { s.renew("a").record(events.Started, 1).settled(1).doubted(1) },
			history.Report{Commands: 1, InDoubt: 1}, nil},
		{"an effect after it was settled, found", func(s *scene) {
			s.renew("a").record(events.Started, 1).settled(1).applied(1).record(events.Succeeded, 1)
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 1, Effects: 1}, nil},
		{"an effect after it was settled, and another", func(s *scene) {
			s.renew("a").record(events.Started, 1).settled(1).applied(1).record(events.Started, 2).applied(2).record(events.Succeeded, 2)
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 2, Effects: 2, DoubleEffects: 1}, []string{"double_effect a:"}},
		{"an effect after it was settled, behind a failure that was sure", func(s *scene) {
			s.renew("a").record(events.Started, 1).settled(1).record(events.Started, 2).record(events.Deferred, 2).applied(1).record(events.Succeeded, 2)
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 1, Effects: 1}, nil},
		{"a doubt of what was settled, behind a failure that was sure", func(s *scene) {
			s.renew("a").record(events.Started, 1).settled(1).record(events.Started, 2).record(events.Deferred, 2).doubted(2)
		}, history.Report{Commands: 1, InDoubt: 1}, nil},
		{"an effect after it was settled, for which the next is refused", func(s *scene) {
			s.renew("a").record(events.Started, 1).settled(1).record(events.Started, 2).applied(1).record(events.Succeeded, 2)
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 1, Effects: 1}, nil},
		{"an effect after it was settled, and denied", func(s *scene) {
			s.renew("a").record(events.Started, 1).settled(1).record(events.Started, 2).applied(1).record(events.Rejected, 2).letter(events.DeadRefused)
		}, history.Report{Commands: 1, Rejected: 1, Calls: 1, Effects: 1, DeniedEffects: 1}, []string{"denied_effect a:"}},
		{"an effect of what was surely none, behind what was settled", func(s *scene) {
			s.renew("a").record(events.Started, 1).settled(1).record(events.Started, 2).record(events.Deferred, 2).applied(2).record(events.Succeeded, 2)
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 1, Effects: 1, DeniedEffects: 1}, []string{"denied_effect a:"}},
		{"a success behind what was known", func(s *scene) {
			s.renew("a").record(events.Started, 1).record(events.Deferred, 1).applied(1).record(events.Succeeded, 1)
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 1, Effects: 1, DeniedEffects: 1, BadRecords: 1}, []string{"bad_record a:", "denied_effect a:"}},
		{"a doubt without a reason", func(s *scene) {
			s.renew("a").record(events.Started, 1).doubted(1)
			s.Records[1].Error = nil
		}, history.Report{Commands: 1, InDoubt: 1, BadDoubts: 1}, []string{"bad_doubt a: without a reason"}},
		{"a doubt nobody hears of", func(s *scene) { s.renew("a").record(events.Started, 1).record(events.InDoubt, 1) },
			history.Report{Commands: 1, InDoubt: 1, BadDoubts: 1}, []string{"bad_doubt a: not in the dead letters"}},
		{"rejected silently", func(s *scene) { s.renew("a").record(events.Rejected, 0) },
			history.Report{Commands: 1, Rejected: 1, GivenUpSilently: 1}, []string{"given_up_silently a: rejected, and no dead letter"}},
		{"failed silently", func(s *scene) { s.renew("a").record(events.Started, 1).record(events.Failed, 1) },
			history.Report{Commands: 1, Failed: 1, GivenUpSilently: 1}, []string{"given_up_silently a: failed, and no dead letter"}},

		{"a success without a start", func(s *scene) { s.renew("a").record(events.Succeeded, 1) },
			history.Report{Commands: 1, Succeeded: 1, LostEffects: 1, BadRecords: 1}, []string{"bad_record a: succeeded of attempt 1, follows nothing", "lost_effect a:"}},
		{"a refusal of an attempt that never began", func(s *scene) { s.renew("a").letter(events.DeadRefused).record(events.Rejected, 1) },
			history.Report{Commands: 1, Rejected: 1, BadRecords: 1}, []string{"bad_record a: rejected of attempt 1, follows nothing"}},
		{"a result of another attempt", func(s *scene) {
			s.renew("a").record(events.Started, 1).letter(events.DeadExhausted).record(events.Failed, 2)
		}, history.Report{Commands: 1, Failed: 1, BadRecords: 1}, []string{"bad_record a: failed of attempt 2, follows started of attempt 1"}},
		{"an attempt started twice", func(s *scene) {
			s.renew("a").record(events.Started, 1).record(events.Started, 1).applied(1).record(events.Succeeded, 1)
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 1, Effects: 1, BadRecords: 1}, []string{"bad_record a: follows started of attempt 1"}},
		{"a blind retry", func(s *scene) {
			s.renew("a").record(events.Started, 1).record(events.Started, 2).applied(2).record(events.Succeeded, 2)
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 1, Effects: 1, BadRecords: 1}, []string{"bad_record a: started of attempt 2, follows started of attempt 1"}},
		{"a retry in doubt", func(s *scene) {
			s.renew("a").record(events.Started, 1).doubted(1).record(events.Started, 2).applied(2).record(events.Succeeded, 2)
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 1, Effects: 1, BadRecords: 1}, []string{"bad_record a: started of attempt 2, follows in_doubt of attempt 1"}},
		{"a skipped attempt", func(s *scene) {
			s.renew("a").record(events.Started, 1).record(events.Deferred, 1).record(events.Started, 3).applied(3).record(events.Succeeded, 3)
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 1, Effects: 1, BadRecords: 1}, []string{"bad_record a: started of attempt 3"}},
		{"expired behind a start", func(s *scene) { s.renew("a").record(events.Started, 1).record(events.Expired, 1) },
			history.Report{Commands: 1, Expired: 1, BadRecords: 1}, []string{"bad_record a: expired of attempt 1, follows started"}},
		{"a record of nobody", func(s *scene) {
			s.renew("a").succeeds()
			s.renew("b").record(events.Expired, 0)
			s.Commands = s.Commands[:1]
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 1, Effects: 1, BadRecords: 1}, []string{"bad_record b: belongs to no command"}},
		{"a record of another key", func(s *scene) {
			s.renew("a").succeeds()
			s.Records[1].Command.Key = "L"
		}, history.Report{Commands: 1, Succeeded: 1, Calls: 1, Effects: 1, BadRecords: 1}, []string{`bad_record a: for "L"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &scene{}
			s.Specs = specs
			tc.play(s)
			for _, order := range []string{"as it came", "backwards"} {
				checkReport(t, order, history.Check(s.Evidence), tc.want, tc.violations)
				slices.Reverse(s.Commands)
				slices.Reverse(s.Effects)
				slices.Reverse(s.Records)
				slices.Reverse(s.Dead)
			}
		})
	}
}

func checkReport(t *testing.T, order string, got, want history.Report, violations []string) {
	t.Helper()
	found := got.Violations
	if got.OK() != (len(violations) == 0) {
		t.Errorf("%s: OK() = %v", order, got.OK())
	}
	sum := got.Succeeded + got.Rejected + got.Failed + got.Expired + got.Cancelled + got.InDoubt + got.Dead + got.Unresolved
	if sum != got.Commands {
		t.Errorf("%s: the fates add up to %d of %d commands", order, sum, got.Commands)
	}
	got.Violations = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: (-want +got):\n%s", order, diff)
	}
	if len(found) != len(violations) {
		t.Fatalf("%s: %d violations, want %d:\n%v", order, len(found), len(violations), found)
	}
	for i, v := range found {
		head, part, _ := strings.Cut(violations[i], ":")
		rule, name, _ := strings.Cut(head, " ")
		id := ""
		if name != "" {
			id = cid(name)
		}
		if string(v.Rule) != rule || v.CID != id || !strings.Contains(v.Detail, strings.TrimSpace(part)) {
			t.Errorf("%s: violation %d is %q, want %q", order, i, v, violations[i])
		}
	}
}

func TestAcceptedKeepsTheIdentity(t *testing.T) {
	c := events.Command{CID: cid("a"), Subject: "K 1", Key: "K%201", Kind: events.Renew}
	want := history.Command{CID: cid("a"), Key: "K 1", Kind: events.Renew, Seq: 9}
	if diff := cmp.Diff(want, history.Accepted(&c, 9)); diff != "" {
		t.Error(diff)
	}
}

func TestEffectAttempt(t *testing.T) {
	id := cid("a")
	for ref, want := range map[string]int{
		id + ".1": 1, id + ".12": 12, id + ".0": 0, id + ".-1": 0, id + ".": 0, id: 0, "": 0, ".1": 0, "x.1": 0, id + ".1.2": 0,
	} {
		e := history.Effect{Ref: ref}
		gotCID, got, ok := e.Attempt()
		if got != want || ok != (want > 0) || ok != (gotCID == id) {
			t.Errorf("Attempt of %q = %q, %d, %v", ref, gotCID, got, ok)
		}
	}
}

func TestEffectJSON(t *testing.T) {
	at := time.Date(2026, 11, 22, 1, 2, 3, 4, time.UTC)
	e := history.Effect{Order: 2, Upstream: events.TVMS, Kind: events.Renew, Key: "K", Ref: "r.1", Begin: at, End: at.Add(1), BeginOrder: 1, EndOrder: 3,
		Applied: true, Detail: map[string]string{"months": "1"}}
	raw, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"order":2,"upstream":"tvms","kind":"renew","key":"K","ref":"r.1","begin":"2026-11-22T01:02:03.000000004Z",` +
		`"end":"2026-11-22T01:02:03.000000005Z","begin_order":1,"end_order":3,"applied":true,"detail":{"months":"1"}}`
	if diff := cmp.Diff(want, string(raw)); diff != "" {
		t.Error(diff)
	}
	var back history.Effect
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, back); diff != "" {
		t.Error(diff)
	}
}

func TestReportString(t *testing.T) {
	s := &scene{}
	for i := range 60 {
		s.renew(fmt.Sprint("lost", i))
	}
	s.renew("a").succeeds()
	report := history.Check(s.Evidence)
	text := report.String()
	for _, want := range []string{
		"commands 61 (and 0 duplicates): succeeded 1,", "unresolved 60\n", "calls 1, effects 1:", "60 violations\n",
		"  unresolved key=K cid=" + cid("lost0") + ": accepted as 1, and nothing more is known of it\n", "  and 10 more\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	clean := history.Check(history.Evidence{})
	if !strings.HasSuffix(clean.String(), "no violation\n") {
		t.Errorf("a clean report says\n%s", clean.String())
	}
}
