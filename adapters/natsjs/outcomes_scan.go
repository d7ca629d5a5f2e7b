package natsjs

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events"
)

const (
	// scanIdle is how long a scan waits for a message before it asks whether one is to be expected.
	scanIdle = time.Second
	// scanTimeout bounds each request of a scan.
	scanTimeout = 5 * time.Second
	// scanTries is how often a scan that does not follow tries to get on after the broker went away.
	scanTries = 8
	// clockSkew is how far a later message's time stamp may lie before an earlier one's, after a change of leader.
	clockSkew = time.Minute
)

// Message is a message as a stream holds it.
type Message struct {
	Seq     uint64
	Time    time.Time // when the stream stored it
	Subject string
	Header  map[string][]string
	Data    []byte
}

// scan is one pass over a stream, in order: each message on one of its subjects once, however often the connection
// breaks. It reads by an ephemeral consumer of its own without acknowledgements, and begins a new one behind the last
// message handled wherever the consumer sequence shows a gap. (nats.go's ordered consumer does the same, but holds on
// for 10 s and more after its context has ended while the broker is away.)
type scan struct {
	js          jetstream.JetStream
	stream      string
	subjects    []string // none may overlap another
	fromSeq     uint64   // 0: the first
	toSeq       uint64   // 0: the last at the time of the call
	since       time.Time
	until       time.Time // exclusive
	headersOnly bool
	follow      bool // go on for new messages, until ctx ends
}

// errScanEnd ends a scan without an error; errScanGap says that messages were lost on their way.
var (
	errScanEnd = errors.New("end of scan")
	errScanGap = errors.New("a gap in the delivery")
)

// run calls fn for each message; pending is how many the stream had left behind it. An error of fn ends the scan and is
// returned. Other errors are of kind Unavailable, or that of ctx.
func (s scan) run(ctx context.Context, fn func(m Message, pending uint64) error) error {
	end := s.toSeq
	if !s.follow {
		last, err := s.lastSeq(ctx)
		if err != nil {
			return err
		}
		if end == 0 || end > last {
			end = last
		}
		if end == 0 || s.fromSeq > end {
			return nil
		}
	}
	pos := &scanPosition{end: end}
	if s.fromSeq > 0 {
		pos.handled = s.fromSeq - 1
	}
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		before := pos.handled
		err := s.pass(ctx, pos, fn)
		switch {
		case errors.Is(err, errScanEnd):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case pos.failed:
			return err
		}
		if pos.handled != before {
			pause, pos.tries = 50*time.Millisecond, 0
		}
		pos.tries++
		if errors.Is(err, nats.ErrConnectionClosed) || !s.follow && pos.tries >= scanTries {
			return storageError("read "+s.stream, err)
		}
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
	}
}

// scanPosition is how far a scan has come.
type scanPosition struct {
	handled uint64 // the last sequence handled
	end     uint64 // the last to handle; 0: none
	tries   int    // passes since the last progress
	failed  bool   // fn has returned an error
}

func (s scan) lastSeq(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, scanTimeout)
	defer cancel()
	stream, err := s.js.Stream(ctx, s.stream)
	if err != nil {
		return 0, storageError("find stream "+s.stream, err)
	}
	return stream.CachedInfo().State.LastSeq, nil
}

// pass reads with one consumer until the end (errScanEnd), a gap, or an error.
func (s scan) pass(ctx context.Context, pos *scanPosition, fn func(Message, uint64) error) error {
	consumer, err := s.consumer(ctx, pos.handled)
	if err != nil {
		return err
	}
	defer s.drop(ctx, consumer.CachedInfo().Name)
	if !s.follow && consumer.CachedInfo().NumPending == 0 {
		return errScanEnd
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(500))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for received := uint64(0); ; {
		msg, err := s.nextMessage(ctx, consumer, messages, received)
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if received++; meta.Sequence.Consumer != received {
			return errScanGap
		}
		if err := s.handle(msg, meta, pos, fn); err != nil {
			return err
		}
	}
}

func (s scan) handle(msg jetstream.Msg, meta *jetstream.MsgMetadata, pos *scanPosition, fn func(Message, uint64) error) error {
	if pos.end > 0 && meta.Sequence.Stream > pos.end {
		return errScanEnd
	}
	if !s.until.IsZero() && meta.Timestamp.After(s.until.Add(clockSkew)) {
		return errScanEnd
	}
	if !meta.Timestamp.Before(s.since) && (s.until.IsZero() || meta.Timestamp.Before(s.until)) {
		m := Message{Seq: meta.Sequence.Stream, Time: meta.Timestamp, Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data()}
		if err := fn(m, meta.NumPending); err != nil {
			pos.failed = true
			return err
		}
	}
	pos.handled = meta.Sequence.Stream
	if pos.end > 0 && pos.handled == pos.end || !s.follow && meta.NumPending == 0 {
		return errScanEnd
	}
	return nil
}

// nextMessage waits for the next message. When none comes it asks whether one is still to come: those that were
// pending may have been removed meanwhile, and those delivered may have gone down with a connection.
func (s scan) nextMessage(ctx context.Context, c jetstream.Consumer, messages jetstream.MessagesContext, received uint64) (jetstream.Msg, error) {
	for {
		wait, cancel := context.WithTimeout(ctx, scanIdle)
		msg, err := messages.Next(jetstream.NextContext(wait))
		idle := err != nil && wait.Err() != nil && ctx.Err() == nil
		cancel()
		if !idle {
			return msg, err
		}
		if err := s.expectMore(ctx, c, received); err != nil {
			return nil, err
		}
	}
}

// expectMore is an error where no message is to be waited for: the end, lost messages, or a consumer that has gone.
func (s scan) expectMore(ctx context.Context, c jetstream.Consumer, received uint64) error {
	ctx, cancel := context.WithTimeout(ctx, scanTimeout)
	defer cancel()
	info, err := c.Info(ctx)
	switch {
	case err != nil:
		return err
	case info.Delivered.Consumer > received:
		return errScanGap
	case info.NumPending == 0 && !s.follow:
		return errScanEnd
	}
	return nil
}

func (s scan) consumer(ctx context.Context, handled uint64) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, scanTimeout)
	defer cancel()
	cfg := jetstream.ConsumerConfig{
		FilterSubjects: s.subjects, AckPolicy: jetstream.AckNonePolicy, HeadersOnly: s.headersOnly,
		InactiveThreshold: 30 * time.Second, MemoryStorage: true, Replicas: 1,
		DeliverPolicy: jetstream.DeliverAllPolicy,
	}
	switch {
	case handled > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, handled+1
	case !s.since.IsZero():
		since := s.since
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	return s.js.CreateConsumer(ctx, s.stream, cfg)
}

// drop removes the consumer; should that fail, or not be permitted, the server removes it after its inactivity threshold.
func (s scan) drop(ctx context.Context, name string) {
	if s.js.Conn().Status() != nats.CONNECTED {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if ReadRights(ctx, s.js.Conn()).MayPublish("$JS.API.CONSUMER.DELETE." + s.stream + "." + name) {
		_ = s.js.DeleteConsumer(ctx, s.stream, name)
	}
}

// limit lets n messages through to fn and then ends the scan; 0 is no limit.
func limit(n int, fn func(Message, uint64) error) func(Message, uint64) error {
	if n <= 0 {
		return fn
	}
	return func(m Message, pending uint64) error {
		if err := fn(m, pending); err != nil {
			return err
		}
		if n--; n == 0 {
			return errScanEnd
		}
		return nil
	}
}

// keyFilter is the key token of an uncoded key, "*" for none.
func keyFilter(key string) (string, error) {
	if key == "" {
		return "*", nil
	}
	token, err := events.KeyToken(key)
	if err != nil {
		return "", &events.Error{Kind: events.Refused, Code: events.CodeSubjectMismatch, Message: err.Error()}
	}
	return token, nil
}
