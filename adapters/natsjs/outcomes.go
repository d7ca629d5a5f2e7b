package natsjs

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

// Query selects records of the ledger. The zero value selects all there are at the time of the call.
type Query struct {
	Since   time.Time // stored then or later
	Until   time.Time // stored before
	FromSeq uint64    // from this sequence on
	ToSeq   uint64    // up to and with this sequence
	// Kinds and Statuses select by the kind of the command and by what the record says; none selects all.
	Kinds    []events.Kind
	Statuses []events.Status
	Key      string // the command's subject, uncoded
	CID      string
	Limit    int // the most records to read; 0: no limit
	// Follow goes on with new records until the context ends. ToSeq and Until then end the read with the first record
	// of the selection that lies behind them.
	Follow bool
}

// Stored is a record, the event it stands in as it was stored, and where it stands.
type Stored struct {
	events.Record
	Time    time.Time // when it was stored
	Raw     []byte    // the event, structured JSON
	Pending uint64    // how many records of the selection the stream had behind it, by number: an estimate of progress
}

// Outcomes reads the ledger as anybody may who is allowed to read the stream: selected records in order, histories by
// command id, and what a command has come to. It may be shared.
type Outcomes struct {
	js     jetstream.JetStream
	names  Names
	ledger *Ledger
}

// NewOutcomes makes a reader of the ledger l.
func NewOutcomes(l *Ledger) *Outcomes {
	return &Outcomes{js: l.js, names: l.settings.Names, ledger: l}
}

// Read calls fn for each record that q selects, in the order of the ledger, each once, over reconnects too. It ends with
// the last record at the time of the call, or with q.Follow when ctx ends, whose error it then returns. An error of fn
// ends it and is returned. Its other errors are of kind Unavailable, Refused for a key that cannot be one, or Internal
// for a record that cannot be read.
func (o *Outcomes) Read(ctx context.Context, q Query, fn func(Stored) error) error {
	subjects, err := o.subjects(q)
	if err != nil {
		return err
	}
	s := scan{
		js: o.js, stream: o.names.Outcomes(), subjects: subjects,
		fromSeq: q.FromSeq, toSeq: q.ToSeq, since: q.Since, until: q.Until, follow: q.Follow,
	}
	return s.run(ctx, limit(q.Limit, func(m Message, pending uint64) error {
		r, err := readRecord(m.Seq, m.Data)
		if err != nil {
			return err
		}
		return fn(Stored{Record: r, Time: m.Time, Raw: m.Data, Pending: pending})
	}))
}

// subjects is the filters of q: every selected kind with every selected status.
func (o *Outcomes) subjects(q Query) ([]string, error) {
	key, err := keyFilter(q.Key)
	if err != nil {
		return nil, err
	}
	cid := q.CID
	if cid == "" {
		cid = "*"
	}
	var subjects []string
	for _, kind := range distinctOrAny(q.Kinds) {
		for _, status := range distinctOrAny(q.Statuses) {
			subjects = append(subjects, o.names.Outcome(kind, status, key, cid))
		}
	}
	return subjects, nil
}

// distinctOrAny is the values without repetitions, which the server would refuse, or "*" for none.
func distinctOrAny[T ~string](values []T) []string {
	if len(values) == 0 {
		return []string{"*"}
	}
	var out []string
	seen := map[T]bool{}
	for _, v := range values {
		if !seen[v] {
			seen[v] = true
			out = append(out, string(v))
		}
	}
	return out
}

// ByCID is the history of the command with this cid, whatever its key; empty where the ledger remembers none. The
// server looks through all its subjects for it: fit for a person's question, not for a loop.
func (o *Outcomes) ByCID(ctx context.Context, cid string) (events.History, error) {
	if !events.IsCID(cid) {
		return nil, &events.Error{Kind: events.Refused, Code: events.CodeUndecodable, Message: cid + " has not the shape of a cid"}
	}
	msg, err := o.ledger.last(ctx, o.names.History("*", cid))
	if msg == nil || err != nil {
		return nil, err
	}
	_, _, key, _, err := o.names.ParseOutcome(msg.Subject)
	if err != nil {
		return nil, unwritable("the ledger holds a subject of an unknown form", err)
	}
	return o.ledger.History(ctx, key, cid)
}

// Begun reports whether the ledger holds any record of a command that can be read, whatever Last says: where the newest
// is damaged on the server's disk, Last finds none, and neither does the fence. It costs one request.
func (o *Outcomes) Begun(ctx context.Context, key, cid string) (bool, error) {
	msg, err := o.ledger.get(ctx, func(ctx context.Context, s jetstream.Stream) (*jetstream.RawStreamMsg, error) {
		return s.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(o.names.History(key, cid)))
	})
	return msg != nil, err
}

// LastOf is a command's newest record of one status, nil where there is none. It costs one request.
func (o *Outcomes) LastOf(ctx context.Context, kind events.Kind, status events.Status, key, cid string) (*events.Record, error) {
	return o.read(ctx, o.names.Outcome(string(kind), string(status), key, cid))
}

// Last is the newest record of a command, nil where there is none; key is the coded key. It costs one request.
func (o *Outcomes) Last(ctx context.Context, key, cid string) (*events.Record, error) {
	return o.read(ctx, o.names.History(key, cid))
}

func (o *Outcomes) read(ctx context.Context, filter string) (*events.Record, error) {
	msg, err := o.ledger.last(ctx, filter)
	if msg == nil || err != nil {
		return nil, err
	}
	r, err := readRecord(msg.Sequence, msg.Data)
	if err != nil {
		return nil, err
	}
	return &r, nil
}
