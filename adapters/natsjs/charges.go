package natsjs

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

// Charges publishes and reads the events of Netflix charges. They stand beside the ledger in the stream of outcomes,
// which keeps them for OutcomesMaxAge. It may be shared.
type Charges struct {
	ledger *Ledger
}

// NewCharges makes Charges on the stream, with the source and the time-outs, of the ledger l.
func NewCharges(l *Ledger) *Charges { return &Charges{ledger: l} }

// chargeTries is how often a charge is sent whose storing is not confirmed.
const chargeTries = 4

// Publish stores the event of a charge, unless there is one of this charge in this state: whoever reads the stream gets
// each once. Plain subscribers of the subject may get it again, where two workers publish it at the same moment: the
// server lets one of them be stored, and shows both. An event that has aged out of the stream while its charge was still
// not acknowledged is stored again.
//
// stored says that this call did it, as far as can be told. The errors are *events.Error: of kind Refused where the
// charge cannot make a subject, or is larger than the broker takes; of kind Unavailable where it is not known to be
// stored, or the stream is nearly full (code storage_full).
func (c *Charges) Publish(ctx context.Context, charge *events.NetflixCharge) (stored bool, err error) {
	msg, err := c.message(charge)
	if err != nil {
		return false, err
	}
	// A publish that the condition refuses still reaches plain subscribers. Asking first spares them what is stored.
	there, err := c.ledger.last(ctx, msg.Subject)
	if there != nil || err != nil {
		return false, err
	}
	if c.ledger.room.full(ctx) {
		return false, storageFull(nil)
	}
	sent := false // an earlier try has perhaps stored it
	for try, pause := 1, appendPauseMin; ; try, pause = try+1, min(2*pause, appendPauseMax) {
		failed := c.send(ctx, msg)
		switch {
		case failed == nil:
			return true, nil
		case hasCode(failed, jetstream.JSErrCodeStreamWrongLastSequence):
			return sent, nil
		case tooLarge(failed):
			return false, refusedPublish(events.CodeTooLarge, "the charge is larger than the broker takes", failed)
		case noRoom(failed):
			c.ledger.room.noteFull()
			return false, storageFull(failed)
		case refusedByServer(failed):
			return false, refusedPublish(events.CodeStorage, "NATS refuses the charge", failed)
		}
		sent = sent || !isConflict(failed)
		if try == chargeTries || errors.Is(failed, nats.ErrConnectionClosed) || !sleep(ctx, pause) {
			return false, storageError("publish charge", failed)
		}
	}
}

// refusedByServer reports whether the server has answered that it will not store the message, for a reason of the
// message's own.
func refusedByServer(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.Code < 500 && !isConflict(err)
}

func (c *Charges) send(ctx context.Context, msg *nats.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, c.ledger.settings.PublishTimeout)
	defer cancel()
	_, err := c.ledger.js.PublishMsg(ctx, msg)
	return err
}

// message is the conditional publish. It carries no Msg-Id, as the ledger's: a repeat must meet the condition.
func (c *Charges) message(charge *events.NetflixCharge) (*nats.Msg, error) {
	e, err := charge.Event(c.ledger.settings.Source)
	if err != nil {
		return nil, refusedPublish(events.CodeSubjectMismatch, err.Error(), nil)
	}
	var tokens [3]string
	for i, part := range []string{events.ChargeStatus(charge.ChargeStatus), charge.BillingSystemCustomerIdentifier, charge.Number} {
		if tokens[i], err = events.KeyToken(part); err != nil {
			return nil, refusedPublish(events.CodeSubjectMismatch, "the charge's status, customer or number: "+err.Error(), nil)
		}
	}
	header, data, err := EncodeStructured(&e)
	if err != nil {
		return nil, err
	}
	header[jetstream.ExpectedLastSubjSeqHeader] = []string{"0"}
	return &nats.Msg{Subject: c.ledger.settings.Names.ChargeEvent(tokens[0], tokens[1], tokens[2]), Header: header, Data: data}, nil
}

// ChargeQuery selects events of charges. The zero value selects all there are at the time of the call.
type ChargeQuery struct {
	Since    time.Time // stored then or later
	Until    time.Time // stored before
	FromSeq  uint64    // from this sequence on
	Statuses []string  // as of events.ChargeStatus, or as CRM.COM names them; none selects all
	Customer string    // uncoded
	Number   string    // uncoded
	Limit    int       // the most events to read; 0: no limit
	Follow   bool      // go on with new ones until the context ends
}

// StoredCharge is a charge as its event told of it, and the event as it was stored.
type StoredCharge struct {
	events.NetflixCharge
	Seq  uint64
	Time time.Time // when it was stored
	Raw  []byte    // the event, structured JSON
}

// Read calls fn for each event that q selects, in the order of the stream, as Outcomes.Read does.
func (c *Charges) Read(ctx context.Context, q ChargeQuery, fn func(StoredCharge) error) error {
	subjects, err := c.subjects(q)
	if err != nil {
		return err
	}
	s := scan{
		js: c.ledger.js, stream: c.ledger.settings.Names.Outcomes(), subjects: subjects,
		fromSeq: q.FromSeq, since: q.Since, until: q.Until, follow: q.Follow,
	}
	return s.run(ctx, limit(q.Limit, func(m Message, _ uint64) error {
		e, err := DecodeMessage(m.Header, m.Data)
		if err != nil {
			return err
		}
		charge, err := events.ReadCharge(e)
		if err != nil {
			return unwritable("the stream holds a charge that cannot be read", err)
		}
		return fn(StoredCharge{NetflixCharge: charge, Seq: m.Seq, Time: m.Time, Raw: m.Data})
	}))
}

func (c *Charges) subjects(q ChargeQuery) ([]string, error) {
	key, err := keyFilter(q.Customer)
	if err != nil {
		return nil, err
	}
	number, err := keyFilter(q.Number)
	if err != nil {
		return nil, err
	}
	var statuses, subjects []string
	for _, s := range q.Statuses {
		statuses = append(statuses, events.ChargeStatus(strings.TrimSpace(s)))
	}
	for _, s := range distinctOrAny(statuses) {
		subjects = append(subjects, c.ledger.settings.Names.ChargeEvent(s, key, number))
	}
	return subjects, nil
}
