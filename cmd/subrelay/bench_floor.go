package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// benchSample is what subrelay was seen to send for one command: the floor sends the same bytes. It is filled by the
// warm-up.
type benchSample struct {
	once     sync.Once
	uri      string // of the request
	header   http.Header
	body     []byte
	token    string // in the body; "" where there is none
	attempt  string // the reference of the attempt
	key      string
	started  []byte // the two records
	finished []byte
}

// watch notes the first request that passes. A nil sample watches nothing.
func (s *benchSample) watch(next http.Handler) http.Handler {
	if s == nil || s.uri != "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/authentication/") {
			s.once.Do(func() { s.take(r) })
		}
		next.ServeHTTP(w, r)
	})
}

func (s *benchSample) take(r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the warm-up will fail
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.uri, s.header, s.body, s.attempt = r.URL.RequestURI(), r.Header.Clone(), body, r.Header.Get("X-Request-Id")
	var named struct {
		Token string `json:"token"`
	}
	if json.Unmarshal(body, &named) == nil {
		s.token = named.Token
	}
}

// cid is the command's.
func (s *benchSample) cid() string {
	cid, _, _ := strings.Cut(s.attempt, ".")
	return cid
}

// warmUp runs a small round of subrelay itself, and keeps what it has sent as the sample for the floor.
func (s *benchStage) warmUp(ctx context.Context) error {
	s.sample = &benchSample{}
	n := min(s.f.commands, 500)
	set, err := s.newSet(ctx, n, 0)
	if err != nil {
		return err
	}
	defer set.end(ctx)
	if err := set.fill(ctx, n, s.f.keys); err != nil {
		return err
	}
	if _, err := set.work(ctx, n); err != nil {
		return err
	}
	stream, err := s.js.Stream(ctx, set.names.Outcomes())
	if err != nil {
		return err
	}
	for status, into := range map[events.Status]*[]byte{events.Started: &s.sample.started, events.Succeeded: &s.sample.finished} {
		msg, err := stream.GetLastMsgForSubject(ctx, set.names.Outcome("*", string(status), "*", s.sample.cid()))
		if err != nil {
			return fmt.Errorf("the record %s of the warm-up: %w", status, err)
		}
		*into = msg.Data
		if _, _, s.sample.key, _, err = set.names.ParseOutcome(msg.Subject); err != nil {
			return err
		}
	}
	return nil
}

// floorAckWait is the floor's, which sends no heartbeats.
const floorAckWait = 10 * time.Minute

// floor is one round without subrelay.
func (s *benchStage) floor(ctx context.Context, n int) (benchRound, error) {
	set, err := s.newSet(ctx, n, floorAckWait)
	if err != nil {
		return benchRound{}, err
	}
	defer set.end(ctx)
	if err := set.fill(ctx, n, s.f.keys); err != nil {
		return benchRound{}, err
	}
	f, err := newBenchFloor(set, n)
	if err != nil {
		return benchRound{}, err
	}
	defer f.conn.Close()
	if login := s.kind.login; login != nil {
		if f.token, err = login(ctx, f.client, set.server.URL()); err != nil {
			return benchRound{}, err
		}
	}
	round, err := measured(n, func() (time.Duration, error) { return f.run(ctx, n) })
	if err == nil {
		err = set.count(ctx, n)
	}
	return round, err
}

// benchFloor does for each command what cannot be saved: it takes it from the consumers that subrelay uses, publishes
// under a condition, calls, publishes under a condition, and acknowledges.
type benchFloor struct {
	set    *benchSet
	sample *benchSample
	conn   *nats.Conn
	js     jetstream.JetStream
	client *http.Client
	url    benchForm // of the request, with the key
	body   benchForm // with the key, the cid and the token
	token  string
	queue  chan jetstream.Msg
	done   atomic.Int64
}

func newBenchFloor(set *benchSet, n int) (*benchFloor, error) {
	options, err := set.config.NATS.connectOptions()
	if err != nil {
		return nil, err
	}
	f := &benchFloor{set: set, sample: set.stage.sample, queue: make(chan jetstream.Msg, n)}
	if f.conn, err = natsjs.Connect(options); err != nil {
		return nil, err
	}
	f.client = &http.Client{Transport: &http.Transport{MaxIdleConns: set.stage.f.concurrency, MaxIdleConnsPerHost: set.stage.f.concurrency}}
	f.url = newBenchForm([]byte(set.server.URL()+f.sample.uri), f.sample.key)
	f.body = newBenchForm(f.sample.body, f.sample.key, f.sample.cid(), f.sample.token)
	if f.js, err = jetstream.New(f.conn); err != nil {
		f.conn.Close()
	}
	return f, err
}

func (f *benchFloor) run(ctx context.Context, n int) (took time.Duration, err error) {
	defer f.client.CloseIdleConnections()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	workers, working := errgroup.WithContext(ctx)
	for range f.set.stage.f.concurrency {
		workers.Go(func() error { return f.work(working) })
	}
	workers.Go(func() error {
		defer stop()
		began := time.Now()
		defer func() { took = time.Since(began) }()
		return f.consume(working, n)
	})
	err = workers.Wait()
	return took, err
}

// consume takes commands from the consumers until n are done.
func (f *benchFloor) consume(ctx context.Context, n int) error {
	for p := range f.set.topology.Settings().Partitions {
		consumer, err := f.js.Consumer(ctx, f.set.names.Commands(), f.set.names.Consumer(f.set.stage.kind.upstream, p))
		if err != nil {
			return err
		}
		consuming, err := consumer.Consume(func(msg jetstream.Msg) { f.queue <- msg },
			jetstream.PullExpiry(time.Second), jetstream.PullPriorityGroup(natsjs.PinGroup))
		if err != nil {
			return err
		}
		defer consuming.Stop()
	}
	return awaitCount(ctx, n, func() int { return int(f.done.Load()) })
}

func (f *benchFloor) work(ctx context.Context) error {
	for {
		select {
		case msg := <-f.queue:
			if err := f.command(ctx, msg); err != nil {
				return err
			}
			f.done.Add(1)
		case <-ctx.Done():
			return nil
		}
	}
}

func (f *benchFloor) command(ctx context.Context, msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	key := msg.Subject()[strings.LastIndexByte(msg.Subject(), '.')+1:]
	id := fmt.Sprintf("%026d", meta.Sequence.Stream)
	seq, err := f.publish(ctx, events.Started, key, id, 0, f.sample.started)
	if err != nil {
		return err
	}
	if err := f.call(ctx, key, id); err != nil {
		return err
	}
	if _, err := f.publish(ctx, events.Succeeded, key, id, seq, f.sample.finished); err != nil {
		return err
	}
	return msg.Ack()
}

func (f *benchFloor) publish(ctx context.Context, status events.Status, key, id string, after uint64, data []byte) (uint64, error) {
	ack, err := f.js.PublishMsg(ctx, &nats.Msg{
		Subject: f.set.names.Ledger(f.set.stage.kind.kind, status, key, id),
		Header: nats.Header{
			"Content-Type":                          {"application/cloudevents+json"},
			jetstream.ExpectedLastSubjSeqHeader:     {strconv.FormatUint(after, 10)},
			jetstream.ExpectedLastSubjSeqSubjHeader: {f.set.names.History(key, id)},
		},
		Data: data,
	})
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

func (f *benchFloor) call(ctx context.Context, key, id string) error {
	var body io.Reader = http.NoBody
	if len(f.sample.body) > 0 {
		body = bytes.NewReader(f.body.with(key, id, f.token))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, string(f.url.with(key)), body)
	if err != nil {
		return err
	}
	for name, values := range f.sample.header {
		req.Header[name] = values
	}
	req.Header["X-Request-Id"] = []string{id + ".1"}
	resp, err := f.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the imitation answered %s", resp.Status)
	}
	return nil
}
