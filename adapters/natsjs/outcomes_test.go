package natsjs

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
)

// outcomesFixture is a broker, a ledger and a reader of it.
func outcomesFixture(t testing.TB) (*ledgerBroker, *Ledger, *Outcomes) {
	t.Helper()
	b, _, l := ledgerFixture(t)
	return b, l, NewOutcomes(l)
}

// line is how these tests write a record: id, status, attempt.
func line(r events.Record) string {
	return fmt.Sprintf("%s %s %d", r.Command.ID, r.Status, r.Attempt)
}

// lines reads what q selects.
func lines(t testing.TB, o *Outcomes, q Query) []string {
	t.Helper()
	var got []string
	err := o.Read(within(t, 20*time.Second), q, func(s Stored) error {
		got = append(got, line(s.Record))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// kindRecord is a record of a command of another kind.
func kindRecord(kind events.Kind, key, id string, status events.Status) events.Outcome {
	o := record(key, id, status, 1)
	o.Command.Kind = kind
	return o
}

func TestOutcomesRead(t *testing.T) {
	_, l, o := outcomesFixture(t)
	if got := lines(t, o, Query{}); got != nil {
		t.Fatalf("an empty ledger: %v", got)
	}
	a := mustAppend(t, l, record("C.1", "a", events.Started, 1), 0)
	mustAppend(t, l, kindRecord("swap", "C2", "s", events.Rejected), 0)
	mustAppend(t, l, record("C.1", "a", events.Succeeded, 1), a)
	mustAppend(t, l, record("C2", "b", events.InDoubt, 1), 0)
	d := mustAppend(t, l, record("C2", "d", events.Failed, 1), 0)

	for name, c := range map[string]struct {
		q    Query
		want []string
	}{
		"All":        {Query{}, []string{"a started 1", "s rejected 1", "a succeeded 1", "b in_doubt 1", "d failed 1"}},
		"Kind":       {Query{Kinds: []events.Kind{"swap"}}, []string{"s rejected 1"}},
		"Kinds":      {Query{Kinds: []events.Kind{"swap", events.Renew, "swap"}, Statuses: []events.Status{events.Rejected, events.Failed}}, []string{"s rejected 1", "d failed 1"}},
		"Status":     {Query{Statuses: []events.Status{events.Succeeded, events.InDoubt, events.InDoubt}}, []string{"a succeeded 1", "b in_doubt 1"}},
		"Key":        {Query{Key: "C.1"}, []string{"a started 1", "a succeeded 1"}},
		"CID":        {Query{CID: events.CID("/billing", "b", "C2")}, []string{"b in_doubt 1"}},
		"From":       {Query{FromSeq: 4}, []string{"b in_doubt 1", "d failed 1"}},
		"FromBehind": {Query{FromSeq: d + 1}, nil},
		"To":         {Query{ToSeq: 2}, []string{"a started 1", "s rejected 1"}},
		"FromTo":     {Query{FromSeq: 2, ToSeq: 3, Kinds: []events.Kind{events.Renew}}, []string{"a succeeded 1"}},
		"ToBehind":   {Query{ToSeq: 1 << 40, Key: "C.1"}, []string{"a started 1", "a succeeded 1"}},
		"Limit":      {Query{Limit: 2}, []string{"a started 1", "s rejected 1"}},
		"Nothing":    {Query{Statuses: []events.Status{events.Cancelled}}, nil},
		"Future":     {Query{Since: time.Now().Add(time.Hour)}, nil},
		"Past":       {Query{Until: time.Now().Add(-time.Hour)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, lines(t, o, c.q)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
	t.Run("Time", func(t *testing.T) {
		var times []time.Time
		var pending []uint64
		err := o.Read(t.Context(), Query{}, func(s Stored) error {
			times, pending = append(times, s.Time), append(pending, s.Pending)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"s rejected 1", "a succeeded 1"}
		if diff := cmp.Diff(want, lines(t, o, Query{Since: times[1], Until: times[3]})); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		if diff := cmp.Diff([]uint64{4, 3, 2, 1, 0}, pending); diff != "" {
			t.Errorf("pending: -want +got\n%s", diff)
		}
	})
	t.Run("ErrOfCallback", func(t *testing.T) {
		stop := errors.New("enough")
		if err := o.Read(t.Context(), Query{}, func(Stored) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("ErrKey", func(t *testing.T) {
		err := o.Read(t.Context(), Query{Key: string(make([]byte, 200))}, nil)
		if events.KindOf(err) != events.Refused {
			t.Errorf("got %v, want Refused", err)
		}
	})
}

// A read without Follow ends with what was there when it began, however much is written meanwhile.
func TestOutcomesReadEndsWithThePresent(t *testing.T) {
	_, l, o := outcomesFixture(t)
	for i := range 3 {
		mustAppend(t, l, record("C1", fmt.Sprint(i), events.Rejected, 0), 0)
	}
	n := 0
	err := o.Read(within(t, 20*time.Second), Query{}, func(Stored) error {
		mustAppend(t, l, record("C1", fmt.Sprint("new", n), events.Rejected, 0), 0)
		n++
		return nil
	})
	if err != nil || n != 3 {
		t.Errorf("read %d records, %v; want the 3 that were there", n, err)
	}
}

func TestOutcomesFollowOverRestartsAndCuts(t *testing.T) {
	b, l, o := outcomesFixture(t)
	const records, restartAt = 60, 20
	got := make(chan string, records)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- o.Read(ctx, Query{Follow: true}, func(s Stored) error {
			got <- line(s.Record)
			return nil
		})
	}()
	for i := range records {
		mustAppend(t, l, record("C1", fmt.Sprint(i), events.Succeeded, 1), 0)
		if want := fmt.Sprintf("%d succeeded 1", i); i < restartAt && <-got != want {
			t.Fatalf("want %s", want)
		}
		if i == restartAt {
			b.stop()
			b.start()
		}
		if i == 2*restartAt {
			if err := l.js.Conn().ForceReconnect(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := restartAt; i < records; i++ {
		select {
		case line := <-got:
			if want := fmt.Sprintf("%d succeeded 1", i); line != want {
				t.Fatalf("got %s, want %s", line, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("record %d is not delivered", i)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
}

// A message lost on its way is read again, whether another follows, which shows the gap, or none does.
func TestOutcomesFollowOverLostMessages(t *testing.T) {
	for name, following := range map[string]bool{"AnotherFollows": true, "NoneFollows": false} {
		t.Run(name, func(t *testing.T) {
			b, _, o := outcomesFixture(t)
			writer := newTestLedger(t, b.connect(), LedgerSettings{})
			got := make(chan string, 3)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				done <- o.Read(ctx, Query{Follow: true}, func(s Stored) error { got <- s.Command.ID; return nil })
			}()
			expect := func(want string) {
				t.Helper()
				select {
				case id := <-got:
					if id != want {
						t.Fatalf("got record %s, want %s", id, want)
					}
				case <-time.After(10 * time.Second):
					t.Fatalf("record %s is not read", want)
				}
			}
			mustAppend(t, writer, record("C1", "0", events.Succeeded, 1), 0)
			expect("0")
			lost := b.loseDelivery()
			mustAppend(t, writer, record("C1", "1", events.Succeeded, 1), 0)
			<-lost
			if following {
				mustAppend(t, writer, record("C1", "2", events.Succeeded, 1), 0)
			}
			expect("1")
			if following {
				expect("2")
			}
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
}

// The end of the context ends a read at once, with the broker away too.
func TestOutcomesFollowEndsWhileBrokerIsAway(t *testing.T) {
	b, l, o := outcomesFixture(t)
	mustAppend(t, l, record("C1", "a", events.Succeeded, 1), 0)
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- o.Read(ctx, Query{Follow: true}, func(Stored) error { close(seen); return nil })
	}()
	<-seen
	b.stop()
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	case <-time.After(4 * time.Second):
		t.Error("still reading 4 s after the end of its context")
	}
}

func TestOutcomesReadBrokerAway(t *testing.T) {
	b, _, o := outcomesFixture(t)
	b.stop()
	if err := o.Read(within(t, 20*time.Second), Query{}, nil); events.KindOf(err) != events.Unavailable {
		t.Errorf("got %v, want Unavailable", err)
	}
}

func TestByCID(t *testing.T) {
	_, l, o := outcomesFixture(t)
	a := mustAppend(t, l, record("C.1", "a", events.Started, 1), 0)
	mustAppend(t, l, record("C2", "b", events.Rejected, 0), 0)
	mustAppend(t, l, record("C.1", "a", events.Succeeded, 1), a)
	h, err := o.ByCID(t.Context(), events.CID("/billing", "a", "C.1"))
	if err != nil || len(h) != 2 || line(h[0]) != "a started 1" || line(h[1]) != "a succeeded 1" {
		t.Errorf("got %v, %v", h, err)
	}
	if h, err := o.ByCID(t.Context(), events.CID("/billing", "x", "C.1")); err != nil || h != nil {
		t.Errorf("an unknown command: %v, %v", h, err)
	}
	if _, err := o.ByCID(t.Context(), "*"); events.KindOf(err) != events.Refused {
		t.Errorf("a wildcard: %v, want Refused", err)
	}
}

func TestWait(t *testing.T) {
	cid := events.CID("/billing", "a", "C1")
	for _, end := range []events.Status{events.Succeeded, events.InDoubt} {
		t.Run("AlreadyThere/"+string(end), func(t *testing.T) {
			_, l, o := outcomesFixture(t)
			mustAppend(t, l, record("C1", "a", end, 1), 0)
			r, err := o.Wait(within(t, 5*time.Second), "C1", cid)
			if err != nil || r.Status != end {
				t.Errorf("got %s, %v", line(r), err)
			}
		})
	}
	t.Run("Later", func(t *testing.T) {
		_, l, o := outcomesFixture(t)
		seq := mustAppend(t, l, record("C1", "a", events.Started, 1), 0)
		got := make(chan string, 1)
		go func() {
			r, err := o.Wait(within(t, 20*time.Second), "C1", cid)
			got <- fmt.Sprint(line(r), " ", err)
		}()
		seq = mustAppend(t, l, record("C1", "a", events.Deferred, 1), seq)
		mustAppend(t, l, record("C1", "a", events.Failed, 2), seq)
		if g := <-got; g != "a failed 2 <nil>" {
			t.Error(g)
		}
	})
	t.Run("OverRestart", func(t *testing.T) {
		b, l, o := outcomesFixture(t)
		seq := mustAppend(t, l, record("C1", "a", events.Started, 1), 0)
		got := make(chan string, 1)
		go func() {
			r, err := o.Wait(within(t, 30*time.Second), "C1", cid)
			got <- fmt.Sprint(line(r), " ", err)
		}()
		b.stop()
		b.start()
		mustAppend(t, l, record("C1", "a", events.Succeeded, 1), seq)
		if g := <-got; g != "a succeeded 1 <nil>" {
			t.Error(g)
		}
	})
	t.Run("ErrContextEnds", func(t *testing.T) {
		_, _, o := outcomesFixture(t)
		if _, err := o.Wait(within(t, 100*time.Millisecond), "C1", cid); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestDoubts(t *testing.T) {
	_, l, o := outcomesFixture(t)
	settled := mustAppend(t, l, record("C1", "settled", events.InDoubt, 1), 0)
	mustAppend(t, l, record("C1", "open", events.InDoubt, 1), 0)
	mustAppend(t, l, kindRecord("swap", "C1", "other", events.InDoubt), 0)
	mustAppend(t, l, record("C1", "settled", events.Failed, 1), settled)
	doubts := func(q Query) (got []string) {
		for r, err := range o.Doubts(within(t, 20*time.Second), q) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, line(r))
		}
		return got
	}
	if diff := cmp.Diff([]string{"open in_doubt 1", "other in_doubt 1"}, doubts(Query{})); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if diff := cmp.Diff([]string{"other in_doubt 1"}, doubts(Query{Kinds: []events.Kind{"swap"}})); diff != "" {
		t.Errorf("kind: -want +got\n%s", diff)
	}
	if diff := cmp.Diff([]string{"open in_doubt 1"}, doubts(Query{Limit: 1})); diff != "" {
		t.Errorf("limit: -want +got\n%s", diff)
	}
	for r := range o.Doubts(t.Context(), Query{}) {
		if line(r) != "open in_doubt 1" {
			t.Errorf("got %s first", line(r))
		}
		break
	}
}

func TestLatest(t *testing.T) {
	_, l, o := outcomesFixture(t)
	const commands = 9
	for i := range commands {
		seq := mustAppend(t, l, record("C1", fmt.Sprint(i), events.Started, 1), 0)
		if i%3 > 0 {
			seq = mustAppend(t, l, record("C1", fmt.Sprint(i), events.Deferred, 1), seq)
		}
		if i%3 > 1 {
			mustAppend(t, l, record("C1", fmt.Sprint(i), events.Succeeded, 2), seq)
		}
	}
	got := map[string]int{}
	fn := func(s Stored) error { got[line(s.Record)]++; return nil }
	want := map[string]int{}
	for i := range commands {
		want[fmt.Sprintf("%d %s", i, []string{"started 1", "deferred 1", "succeeded 2"}[i%3])] = 1
	}
	if err := o.Latest(t.Context(), Query{}, fn); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	t.Run("HoldingFew", func(t *testing.T) {
		clear(got)
		f := newFold(o, 1, fn)
		err := o.Read(t.Context(), Query{}, func(s Stored) error { return f.add(t.Context(), s) })
		if err != nil {
			t.Fatal(err)
		}
		if err := f.flush(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
	t.Run("Limit", func(t *testing.T) {
		clear(got)
		if err := o.Latest(t.Context(), Query{Limit: 4}, fn); err != nil || len(got) != 4 {
			t.Errorf("got %v, %v; want 4", got, err)
		}
	})
	t.Run("OnlyStarted", func(t *testing.T) {
		clear(got)
		err := o.Latest(t.Context(), Query{Statuses: []events.Status{events.Started}}, fn)
		if diff := cmp.Diff(map[string]int{"0 started 1": 1, "3 started 1": 1, "6 started 1": 1}, got); diff != "" || err != nil {
			t.Errorf("%v -want +got\n%s", err, diff)
		}
	})
}
