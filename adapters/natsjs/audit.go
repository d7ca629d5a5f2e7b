package natsjs

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"subrelay/events"
)

// AuditQuery says what an audit looks at. The zero value is all there is.
type AuditQuery struct {
	Since time.Time // commands stored then or later
	// Progress is called now and again, with the number of messages read so far. Default: nothing.
	Progress func(read int)
}

// AuditState says how a command stands that should be done, and is not.
type AuditState string

// The states of an AuditCase.
const (
	// AuditLost is a command that was acknowledged as done, and of which the ledger holds nothing.
	AuditLost AuditState = "lost"
	// AuditUnfinished is one that was acknowledged as done, and whose last record is not final.
	AuditUnfinished AuditState = "unfinished"
	// AuditDamaged is one that was begun, and whose newest record the server holds and cannot read. Worse than lost: the
	// fence does not see it either, so that the command would be done again if it were sent again.
	AuditDamaged AuditState = "damaged"
	// AuditUnheld is one in doubt that was acknowledged, though its kind holds its key until the doubt is resolved.
	AuditUnheld AuditState = "unheld"
	// AuditGone is a sequence that the command stream no longer holds, though it holds earlier ones, and of which neither
	// the ledger nor the dead letters know anything.
	AuditGone AuditState = "gone"
)

// AuditCase is one command that should be done and is not known to be.
type AuditCase struct {
	State  AuditState    `json:"state"`
	Seq    uint64        `json:"seq"` // in the command stream
	Stored time.Time     `json:"stored,omitzero"`
	Kind   events.Kind   `json:"kind,omitempty"`
	Key    string        `json:"key,omitempty"` // the coded key
	CID    string        `json:"cid,omitempty"`
	Status events.Status `json:"status,omitempty"` // of the last record, of an unfinished one
}

// Gap is a run of sequences that a stream does not hold between those that it holds.
type Gap struct {
	First  uint64    `json:"first"`
	Last   uint64    `json:"last"`
	After  time.Time `json:"after,omitzero"`  // when the message before it was stored
	Before time.Time `json:"before,omitzero"` // when the message behind it was stored

	beginning bool // of the stream, where nothing can have been removed yet
}

// Len is how many sequences are missing.
func (g Gap) Len() uint64 { return g.Last - g.First + 1 }

// Audit is what an audit found.
type Audit struct {
	Commands int `json:"commands"` // looked at
	Records  int `json:"records"`  // looked at
	Done     int `json:"done"`     // final, in doubt and of a kind that goes on, or dead letters that are all that becomes of them
	Waiting  int `json:"waiting"`  // not acknowledged yet
	// Unknowable are older than the ledger remembers; Undelivered are of kinds that no consumer delivers.
	Unknowable  int `json:"unknowable"`
	Undelivered int `json:"undelivered"`

	Cases   []AuditCase `json:"cases,omitempty"` // of each state the first auditListed
	Lost    int         `json:"lost"`
	Unended int         `json:"unfinished"`
	Damaged int         `json:"damaged"`
	Unheld  int         `json:"unheld"`
	Gone    int         `json:"gone"`

	CommandGaps []Gap `json:"command_gaps,omitempty"`
	LedgerGaps  []Gap `json:"ledger_gaps,omitempty"`
	// GapsDone is how many of the sequences missing in the command stream are known to the ledger or the dead letters.
	GapsDone int `json:"gaps_done"`
}

// auditListed is how many cases, or gaps, are named; the rest is counted.
const auditListed = 20

// audit is one run.
type audit struct {
	checkup *Checkup
	query   AuditQuery
	result  Audit
	read    int

	floors  map[string]uint64 // by the filter of a consumer: up to where its messages are acknowledged
	memory  time.Time         // of commands stored before, the ledger may have forgotten
	ledger  *Ledger
	records cidSet
	dead    []uint64 // sorted: commands whose dead letter is all that becomes of them
}

// Audit holds the commands against the ledger and the dead letters: whatever was acknowledged must have a final record,
// an in_doubt record of a kind that goes on, or a dead letter that stands in place of one; and neither stream may have
// lost a message from its middle, since commands are purged and records expire only from their beginnings. A bit that
// flips in a server's block file shows nowhere else: the message reads as "not found", and consumers skip it.
//
// It changes nothing. Its memory is about 16 bytes for each command in the ledger, whatever they hold.
func (c *Checkup) Audit(ctx context.Context, q AuditQuery) (Audit, error) {
	ledger, err := NewLedger(c.js, LedgerSettings{Names: c.names})
	if err != nil {
		return Audit{}, err
	}
	a := &audit{checkup: c, query: q, ledger: ledger, floors: map[string]uint64{}}
	// The floors first: what is acknowledged by now is in the ledger by now.
	for _, step := range []func(context.Context) error{a.readFloors, a.readRecords, a.readDead, a.readCommands, a.explainGaps} {
		if err := step(ctx); err != nil {
			return a.result, err
		}
	}
	slices.SortStableFunc(a.result.Cases, func(x, y AuditCase) int { return int(x.Seq) - int(y.Seq) }) //nolint:gosec // sequences are smaller
	return a.result, nil
}

func (a *audit) met() {
	if a.read++; a.read%1000 == 0 && a.query.Progress != nil {
		a.query.Progress(a.read)
	}
}

func (a *audit) readFloors(ctx context.Context) error {
	s, err := a.checkup.stream(ctx, a.checkup.names.Commands())
	if s == nil || err != nil {
		return err
	}
	all, err := consumersOf(ctx, s)
	if err != nil {
		return err
	}
	for _, info := range all {
		if !runsCommands(&info.Config) {
			continue
		}
		floor := info.AckFloor.Stream
		if info.NumAckPending == 0 {
			floor = max(floor, info.Delivered.Stream)
		}
		for _, filter := range filtersOf(&info.Config) {
			a.floors[filter] = floor
		}
	}
	return nil
}

// readRecords reads the subjects of all records, which say of each command how far it has come.
func (a *audit) readRecords(ctx context.Context) error {
	n := a.checkup.names
	s, err := a.checkup.stream(ctx, n.Outcomes())
	if s == nil || err != nil {
		return err
	}
	a.memory = since(s.CachedInfo())
	gaps := newGapFinder(s.CachedInfo(), a.checkup.topology.settings.OutcomesMaxAge, a.query.Since.IsZero())
	err = scan{js: a.checkup.js, stream: n.Outcomes(), subjects: []string{n.AllOutcomes(), n.AllEvents()}, since: a.from(), toSeq: gaps.end, headersOnly: true}.run(ctx,
		func(m Message, _ uint64) error {
			a.met()
			gaps.saw(m)
			if _, status, _, cid, err := n.ParseOutcome(m.Subject); err == nil {
				a.result.Records++
				a.records.add(cid, status)
			}
			return nil
		})
	a.records.sort()
	if err != nil {
		return err
	}
	a.result.LedgerGaps, err = a.settled(ctx, n.Outcomes(), gaps.close())
	return err
}

// from is since when records can be of commands that are looked at.
func (a *audit) from() time.Time {
	if a.query.Since.IsZero() {
		return time.Time{}
	}
	return a.query.Since.Add(-clockSkew)
}

// since is since when a stream of records has every one: since its beginning, unless some were removed.
func since(info *jetstream.StreamInfo) time.Time {
	switch st := info.State; {
	case st.LastSeq == 0 || st.FirstSeq <= 1 && st.Msgs > 0:
		return info.Created
	case st.Msgs == 0:
		return info.TimeStamp
	default:
		return st.FirstTime
	}
}

// settled is the gaps that are still there when the stream is looked at again, and no longer its beginning: what is
// removed from there while somebody reads looks like a gap, too.
func (a *audit) settled(ctx context.Context, stream string, gaps []Gap) ([]Gap, error) {
	s, err := a.checkup.stream(ctx, stream)
	if s == nil || err != nil {
		return gaps, err
	}
	first := s.CachedInfo().State.FirstSeq
	return slices.DeleteFunc(gaps, func(g Gap) bool { return g.Last < first && !g.beginning }), nil
}

func (a *audit) readDead(ctx context.Context) error {
	n := a.checkup.names
	s, err := a.checkup.stream(ctx, n.DeadLetters())
	if s == nil || err != nil {
		return err
	}
	err = scan{js: a.checkup.js, stream: n.DeadLetters(), subjects: []string{n.DeadAll("*")}, since: a.from(), headersOnly: true}.run(ctx,
		func(m Message, _ uint64) error {
			a.met()
			if reason, command, err := n.ParseDead(m.Subject); err == nil && reason.EndsWithoutOutcome() {
				a.dead = append(a.dead, command)
			}
			return nil
		})
	slices.Sort(a.dead)
	return err
}

// readCommands judges every command. What is not clear from the sets is asked of the ledger, some at a time.
func (a *audit) readCommands(ctx context.Context) error {
	n := a.checkup.names
	s, err := a.checkup.stream(ctx, n.Commands())
	if s == nil || err != nil {
		return err
	}
	gaps := newGapFinder(s.CachedInfo(), a.checkup.topology.settings.CommandsKeep, a.query.Since.IsZero())
	var unclear []AuditCase
	err = NewCommands(a.checkup.js, n).Scan(ctx, CommandQuery{Since: a.query.Since, ToSeq: gaps.end}, func(m StoredCommand) error {
		a.met()
		a.result.Commands++
		gaps.saw(m.Message)
		if one, ok := a.judge(m); !ok {
			unclear = append(unclear, one)
		}
		if len(unclear) < 256 {
			return nil
		}
		err := a.ask(ctx, unclear)
		unclear = unclear[:0]
		return err
	})
	if err == nil {
		err = a.ask(ctx, unclear)
	}
	if err != nil {
		return err
	}
	a.result.CommandGaps, err = a.settled(ctx, n.Commands(), gaps.close())
	return err
}

// judge counts a command that stands as it should. Otherwise it is what to ask of the ledger.
func (a *audit) judge(m StoredCommand) (AuditCase, bool) {
	floor, delivered := a.floorOf(m)
	switch {
	case !delivered:
		a.result.Undelivered++
		return AuditCase{}, true
	case m.Seq > floor:
		a.result.Waiting++
		return AuditCase{}, true
	}
	if _, dead := slices.BinarySearch(a.dead, m.Seq); dead {
		a.result.Done++
		return AuditCase{}, true
	}
	one := AuditCase{State: AuditLost, Seq: m.Seq, Stored: m.Time, Kind: m.Kind, Key: m.Key}
	if e, err := DecodeMessage(m.Header, m.Data); err == nil {
		if cmd, err := events.ReadCommand(e); err == nil {
			one.CID = cmd.CID
		}
	}
	switch state := a.records.state(one.CID); {
	case state == cidFinal || state == cidDoubt && !a.holds(one.Kind):
		a.result.Done++
		return AuditCase{}, true
	case state >= cidOpen:
		one.State = AuditUnfinished
	}
	return one, false
}

// holds reports whether a doubt about a command of this kind holds its key until it is resolved: it is not done then.
func (a *audit) holds(kind events.Kind) bool {
	spec, ok := events.SpecOf(a.checkup.topology.settings.Specs, kind)
	return ok && spec.HoldsAfterDoubt
}

// floorOf is how far the consumer has come that delivers a command; delivered is false where none does.
func (a *audit) floorOf(m StoredCommand) (floor uint64, delivered bool) {
	for _, filter := range a.checkup.names.Filters(m.Partition, m.Kind) {
		if floor, delivered = a.floors[filter]; delivered {
			return floor, true
		}
	}
	return 0, false
}

// ask looks up single commands, since a repetition may have been done long before the records that were read.
func (a *audit) ask(ctx context.Context, unclear []AuditCase) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	done := make([]bool, len(unclear))
	outcomes := NewOutcomes(a.ledger)
	for i := range unclear {
		one := &unclear[i]
		if one.CID == "" {
			continue
		}
		group.Go(func() error {
			last, err := outcomes.Last(groupCtx, one.Key, one.CID)
			switch {
			case last == nil && one.State == AuditUnfinished: // there are earlier ones
				one.State = AuditDamaged
			case last != nil:
				done[i] = last.Status.Final() || last.Status == events.InDoubt && !a.holds(one.Kind)
				one.State, one.Status = AuditUnfinished, last.Status
				if last.Status == events.InDoubt {
					one.State = AuditUnheld
				}
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, one := range unclear {
		switch {
		case done[i]:
			a.result.Done++
		case one.State == AuditLost && one.Stored.Before(a.memory):
			a.result.Unknowable++
		default:
			a.result.found(one)
		}
	}
	return nil
}

// found counts a case, and keeps the first ones of each state.
func (r *Audit) found(one AuditCase) {
	counter := &r.Lost
	switch one.State {
	case AuditUnfinished:
		counter = &r.Unended
	case AuditDamaged:
		counter = &r.Damaged
	case AuditUnheld:
		counter = &r.Unheld
	}
	if *counter++; *counter <= auditListed {
		r.Cases = append(r.Cases, one)
	}
}

// explainGaps finds out which of the missing commands were done all the same: records and dead letters name sequences.
func (a *audit) explainGaps(ctx context.Context) error {
	if len(a.result.CommandGaps) == 0 {
		return nil
	}
	known := map[uint64]bool{}
	for _, seq := range a.dead {
		if inGaps(a.result.CommandGaps, seq) {
			known[seq] = true
		}
	}
	err := NewOutcomes(a.ledger).Read(ctx, Query{Since: a.from()}, func(s Stored) error {
		a.met()
		if (s.Status.Final() || s.Status == events.InDoubt) && inGaps(a.result.CommandGaps, s.Command.Seq) {
			known[s.Command.Seq] = true
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("looking for records of commands that are gone: %w", err)
	}
	a.result.GapsDone = len(known)
	for _, g := range a.result.CommandGaps {
		a.result.Gone += int(g.Len()) //nolint:gosec // bounded by what a stream can hold
		for seq := g.First; seq <= g.Last && len(a.result.Cases) < 4*auditListed; seq++ {
			if !known[seq] {
				a.result.Cases = append(a.result.Cases, AuditCase{State: AuditGone, Seq: seq})
			}
		}
	}
	a.result.Gone -= len(known)
	return nil
}

func inGaps(gaps []Gap, seq uint64) bool {
	i, found := slices.BinarySearchFunc(gaps, seq, func(g Gap, seq uint64) int {
		switch {
		case g.Last < seq:
			return -1
		case g.First > seq:
			return 1
		}
		return 0
	})
	return found && i >= 0
}
