package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"subrelay/adapters/natsjs"
)

// headerReplay marks an outcome that is sent again; its value is the record's sequence in the ledger.
const headerReplay = "subrelay-replay"

// outcomesFlags say which outcomes are sent again, and where.
type outcomesFlags struct {
	replayFlags
	to, state string
}

func newReplayOutcomesCommand(c *cli) *cobra.Command {
	var f outcomesFlags
	cmd := &cobra.Command{
		Use:   "outcomes --to SUBJECT",
		Short: "Send outcomes again to a subject, to rebuild a reader",
		Long: `Send the selected outcomes again, in order, each the event as it was stored, with the header subrelay-replay beside it.
In SUBJECT, {kind}, {status}, {key} and {cid} stand for those of the outcome. Subjects of subrelay's own streams are
refused. Where a stream listens on SUBJECT, each is sent when the one before is stored; else they go to plain
subscribers, without acknowledgement, and it is said so.

With --state the last sequence is kept in a file, from which the same command line goes on after an interruption.
Sequences and times are those of the ledger.`,
		Example: `  subrelay replay outcomes --to billing.rebuild
  subrelay replay outcomes --to 'billing.rebuild.{kind}.{key}' --status succeeded,failed,rejected,expired --state rebuild.json
  subrelay replay outcomes --to billing.rebuild --since 24h --rate 500 --dry-run`,
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := f.query()
			if err != nil {
				return err
			}
			if err := subjectTemplate(f.to).check(); err != nil {
				return err
			}
			return c.replayOutcomes(cmd.Context(), f, q, selectionOf(cmd))
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&f.to, "to", "", "subject to send to; {kind}, {status}, {key} and {cid} are filled in")
	cmd.Flags().StringVar(&f.state, "state", "", "file that keeps how far the replay has come")
	return cmd
}

// outcomesReplay is one run of `replay outcomes`.
type outcomesReplay struct {
	cli    *cli
	client *client
	flags  outcomesFlags
	to     subjectTemplate
	stream string // that listens there; "" for plain subscribers
	state  *outcomesState
	pace   *rate.Limiter
	bar    *progressbar.ProgressBar

	first, sent uint64 // of this run
	before      uint64 // sent by earlier runs
	unflushed   uint64 // sent to plain subscribers since the last flush
	last        uint64 // the last sequence sent
	saved       time.Time
}

// outcomesReplayed is what a replay of outcomes says at its end.
type outcomesReplayed struct {
	Replayed     uint64 `json:"replayed"`
	To           string `json:"to"`
	Stream       string `json:"stream,omitempty"` // that has acknowledged each
	Acknowledged bool   `json:"acknowledged"`
	FirstSeq     uint64 `json:"first_seq,omitempty"`
	LastSeq      uint64 `json:"last_seq,omitempty"`
	DryRun       bool   `json:"dry_run,omitempty"`
}

func (c *cli) replayOutcomes(ctx context.Context, f outcomesFlags, q natsjs.Query, selection string) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	r := &outcomesReplay{cli: c, client: cl, flags: f, to: subjectTemplate(f.to), pace: f.limiter(), bar: c.progress(-1, "outcomes"), saved: time.Now()}
	if r.stream, err = cl.listener(ctx, r.to); err != nil {
		return err
	}
	if r.state, err = openState(f.state, f.to, selection, &q); err != nil {
		return err
	}
	r.before = r.state.Sent
	if !c.wantJSON && r.stream == "" && !f.dryRun {
		c.sayf("no stream listens on %s: sent to plain subscribers, and nobody acknowledges", f.to)
	}
	err = cl.outcomes.Read(ctx, q, func(s natsjs.Stored) error { return r.one(ctx, s) })
	_ = r.bar.Finish()
	if saving := r.save(ctx); err == nil {
		err = saving
	}
	if ctx.Err() != nil {
		return stopped("%s", r.goOn())
	}
	if err != nil {
		return hinted(err, "%s", r.goOn())
	}
	return r.finish()
}

// goOn says how to go on after an interruption.
func (r *outcomesReplay) goOn() string {
	switch {
	case r.flags.state != "":
		return "the same command line goes on behind sequence " + strconv.FormatUint(r.state.LastSeq, 10)
	case r.last == 0:
		return "nothing was sent"
	}
	return fmt.Sprintf("go on with --from-seq %d; --state FILE would remember it", r.state.LastSeq+1)
}

// one sends one record again.
func (r *outcomesReplay) one(ctx context.Context, s natsjs.Stored) error {
	subject, err := r.to.expand(s)
	if err != nil {
		return err
	}
	if r.flags.dryRun {
		return r.tell(s, subject)
	}
	if r.first == 0 {
		r.first = s.Seq
		r.bar.ChangeMax64(int64(min(s.Pending, 1<<62)) + 1) //nolint:gosec // bounded
	}
	if err := r.pace.Wait(ctx); err != nil {
		return err
	}
	msg := &nats.Msg{Subject: subject, Data: s.Raw, Header: nats.Header{
		"Content-Type": {"application/cloudevents+json"},
		headerReplay:   {strconv.FormatUint(s.Seq, 10)},
	}}
	if err := r.send(ctx, msg, s.EventID()); err != nil {
		return fmt.Errorf("outcome %d to %s: %w", s.Seq, subject, err)
	}
	r.last = s.Seq
	r.sent++
	_ = r.bar.Add(1) // only a picture
	if r.unflushed >= flushEvery || time.Since(r.saved) > saveEvery {
		return r.save(ctx)
	}
	return nil
}

const (
	flushEvery = 500         // messages to plain subscribers
	saveEvery  = time.Second // the state is kept
	sendTries  = 5
	sendWait   = 5 * time.Second
)

// send publishes msg and, where a stream listens, waits until it is stored. A try that is repeated is stored once: the
// id is that of the event and of this replay, so that another replay is not taken for a repetition.
func (r *outcomesReplay) send(ctx context.Context, msg *nats.Msg, eventID string) error {
	if r.stream == "" {
		r.unflushed++
		return r.client.conn.PublishMsg(msg)
	}
	for try := 1; ; try++ {
		limited, cancel := context.WithTimeout(ctx, sendWait)
		_, err := r.client.js.PublishMsg(limited, msg, jetstream.WithMsgID(eventID+".replay."+r.state.Run), jetstream.WithExpectStream(r.stream))
		cancel()
		var refused *jetstream.APIError
		if err == nil || ctx.Err() != nil || errors.As(err, &refused) && !natsjs.InProcess(err) || try == sendTries {
			return err
		}
		if !sleep(ctx, time.Duration(try)*100*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// save makes sure that all was sent, and keeps how far the replay has come.
func (r *outcomesReplay) save(ctx context.Context) error {
	if r.last == 0 || r.flags.dryRun {
		return nil
	}
	if r.unflushed > 0 {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendWait)
		defer cancel()
		if err := r.client.conn.FlushWithContext(limited); err != nil {
			return fmt.Errorf("NATS does not answer: %w", err)
		}
	}
	r.saved, r.unflushed = time.Now(), 0
	if r.last == r.state.LastSeq {
		return nil
	}
	r.state.Updated, r.state.LastSeq, r.state.Sent = time.Now().UTC(), r.last, r.before+r.sent
	if r.flags.state == "" {
		return nil
	}
	return replaceFile(r.flags.state, r.state)
}

const outcomeReplayRow = "%-8d  %-9s  %-19s  %-20s  %-26s  ->  %s"

// tell says what would be sent.
func (r *outcomesReplay) tell(s natsjs.Stored, subject string) error {
	r.sent++
	r.last = s.Seq
	if r.first == 0 {
		r.first = s.Seq
	}
	if r.cli.wantJSON {
		return r.cli.printJSON(map[string]any{"seq": s.Seq, "id": s.EventID(), "status": s.Status, "kind": s.Command.Kind,
			"key": s.Command.Key, "cid": s.Command.CID, "subject": subject})
	}
	return r.cli.printLine(outcomeReplayRow, s.Seq, s.Status, s.Command.Kind, s.Command.Key, s.Command.CID, subject)
}

// finish sums up.
func (r *outcomesReplay) finish() error {
	done := outcomesReplayed{Replayed: r.sent, To: r.flags.to, Stream: r.stream, Acknowledged: r.stream != "" && !r.flags.dryRun,
		FirstSeq: r.first, LastSeq: r.last, DryRun: r.flags.dryRun}
	if r.cli.wantJSON {
		return r.cli.printJSON(done)
	}
	where, did := "to plain subscribers of "+r.flags.to+", without acknowledgement", "sent"
	if r.stream != "" {
		where = "to " + r.flags.to + ", each acknowledged by the stream " + r.stream
	}
	if r.flags.dryRun {
		did, where = "would be sent", "to "+r.flags.to
	}
	line := fmt.Sprintf("%s %s %s", count(int(r.sent), "outcome", "outcomes"), did, where) //nolint:gosec // a count
	if r.sent > 0 {
		line += fmt.Sprintf("; sequences %d to %d", r.first, r.last)
	}
	return r.cli.printLine("%s", line)
}
