//go:build cluster

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/sandbox"
)

// soak is a field in which something goes wrong all the time.
type soak struct {
	*field
	crew     *crew
	random   *rand.Rand
	operator *nats.Conn // of the servers

	frozen  map[*fieldWorker]time.Time   // and until when
	down    map[*natstest.Node]time.Time // killed servers, and when they come back
	stiff   map[*natstest.Node]time.Time // frozen servers, and until when
	ill     time.Time                    // until when the upstream misbehaves
	counts  map[string]int               // mishaps by name
	sending sync.WaitGroup               // of duplicates
	log     []string                     // mishaps with times, for who looks into a failure
}

const soakWorkers = 3

// soakOf is how long to soak, and by which seed.
func soakOf(t *testing.T) (time.Duration, uint64) {
	t.Helper()
	d, seed := 30*time.Second, uint64(time.Now().UnixNano())
	var err error
	if given := os.Getenv("SUBRELAY_SOAK"); given != "" {
		d, err = time.ParseDuration(given)
	}
	if given := os.Getenv("SUBRELAY_SOAK_SEED"); given != "" && err == nil {
		seed, err = strconv.ParseUint(given, 10, 64)
	}
	if err != nil {
		t.Fatalf("SUBRELAY_SOAK is a duration, SUBRELAY_SOAK_SEED a number: %v", err)
	}
	return d, seed
}

// TestFieldSoak lets workers, servers, connections and the upstream fail at random for as long as SUBRELAY_SOAK says
// (default 30s), with commands and duplicates coming in, and then lets everything recover. SUBRELAY_SOAK_SEED repeats
// the choices of a run. A reply that never comes at all is left out: one that hangs until a frozen caller thaws would
// count as a call that overlaps with those after it, though its effect is long past.
func TestFieldSoak(t *testing.T) {
	lasts, seed := soakOf(t)
	t.Logf("SUBRELAY_SOAK=%s SUBRELAY_SOAK_SEED=%d", lasts, seed)
	s := newSoak(t, seed)
	flow := s.flow(100, 40*time.Millisecond)
	s.calls(20)
	for until := time.Now().Add(lasts); time.Now().Before(until); {
		s.mishap()
		for range 1 + s.random.IntN(6) {
			sleep(t.Context(), 250*time.Millisecond)
			s.tend(time.Now())
		}
	}
	s.tend(time.Now().Add(time.Hour))
	for _, n := range s.cluster.Nodes {
		n.WaitHealthy(2 * time.Minute)
	}
	flow.stop()
	s.sending.Wait()
	s.judge(lasts, seed)
}

func newSoak(t *testing.T, seed uint64) *soak {
	t.Helper()
	f := newField(t, fieldOptions{readBack: true, customers: 100,
		tvms: sandbox.TVMSOptions{Latency: 20 * time.Millisecond, Seed: seed},
		ClusterOptions: natstest.ClusterOptions{Extra: `
accounts { SYS { users: [{user: sys, password: sys}] }, APP { jetstream: enabled, users: [{user: app, password: app}] } }
system_account: SYS
no_auth_user: app
`},
		change: func(config map[string]any) {
			config["worker"].(map[string]any)["election"] = "8s"
			config["tvms"].(map[string]any)["read_back"].(map[string]any)["settle_after"] = "8s"
		}})
	s := &soak{field: f, random: rand.New(rand.NewPCG(seed, 1)), frozen: map[*fieldWorker]time.Time{},
		down: map[*natstest.Node]time.Time{}, stiff: map[*natstest.Node]time.Time{}, counts: map[string]int{}}
	var err error
	if s.operator, err = nats.Connect(f.cluster.URL(), nats.UserInfo("sys", "sys"), nats.MaxReconnects(-1)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.operator.Close)
	s.topology()
	s.crew = f.crew(soakWorkers)
	return s
}

// tend undoes what was to last until now.
func (s *soak) tend(now time.Time) {
	s.t.Helper()
	for w, until := range s.frozen {
		if now.After(until) {
			w.thaw()
			delete(s.frozen, w)
		}
	}
	for n, until := range s.stiff {
		if now.After(until) {
			n.Thaw()
			delete(s.stiff, n)
		}
	}
	for n, until := range s.down {
		if now.After(until) {
			n.Start()
			delete(s.down, n)
		}
	}
	if !s.ill.IsZero() && now.After(s.ill) {
		s.tvms.Faults().Lift()
		s.ill = time.Time{}
	}
	for len(s.crew.workers) < soakWorkers {
		s.crew.add()
	}
}

// in is a moment up to so many seconds away.
func (s *soak) in(seconds float64) time.Time {
	return time.Now().Add(time.Duration(s.random.Float64() * seconds * float64(time.Second)))
}

func (s *soak) worker() *fieldWorker {
	names := sortedKeys(s.crew.workers)
	return s.crew.workers[names[s.random.IntN(len(names))]]
}

func (s *soak) forget(w *fieldWorker) {
	delete(s.crew.workers, w.name)
	delete(s.frozen, w)
}

// mishap is one thing that goes wrong.
func (s *soak) mishap() {
	s.t.Helper()
	all := []struct {
		what  string
		often int
		do    func()
	}{
		{"worker killed", 4, func() { w := s.worker(); w.kill(); s.forget(w) }},
		{"all workers killed", 1, func() {
			for _, name := range sortedKeys(s.crew.workers) {
				w := s.crew.workers[name]
				w.kill()
				s.forget(w)
			}
		}},
		{"worker restarted", 3, func() { w := s.worker(); w.thaw(); w.stop(); s.forget(w) }},
		{"worker frozen briefly", 3, func() { w := s.worker(); w.freeze(); s.frozen[w] = s.in(6) }},
		{"worker frozen past every time-out", 3, func() { w := s.worker(); w.freeze(); s.frozen[w] = s.in(10).Add(20 * time.Second) }},
		{"server killed", 3, func() { s.anyServer(func(n *natstest.Node) { n.Kill(); s.down[n] = s.in(6) }) }},
		{"server restarted", 2, func() { s.anyServer(func(n *natstest.Node) { n.Stop(); n.Start() }) }},
		{"server frozen", 2, func() { s.anyServer(func(n *natstest.Node) { n.Freeze(); s.stiff[n] = s.in(5) }) }},
		{"majority of the servers killed", 1, s.loseMajority},
		{"leader asked to step down", 3, s.stepDown},
		{"connections cut", 4, s.cut},
		{"upstream down", 2, func() { s.ail(sandbox.Plan{Down: true}, 5) }},
		{"upstream misbehaves", 5, s.misbehave},
		{"duplicates", 4, s.again},
	}
	sum := 0
	for _, m := range all {
		sum += m.often
	}
	pick := s.random.IntN(sum)
	for _, m := range all {
		if pick -= m.often; pick < 0 {
			s.counts[m.what]++
			s.log = append(s.log, time.Now().UTC().Format("15:04:05.000 ")+m.what)
			m.do()
			return
		}
	}
}

// anyServer hurts a server, unless another is hurt already: a majority stays.
func (s *soak) anyServer(hurt func(*natstest.Node)) {
	if n := s.cluster.Nodes[s.random.IntN(len(s.cluster.Nodes))]; len(s.down)+len(s.stiff) == 0 {
		hurt(n)
	}
}

func (s *soak) loseMajority() {
	if len(s.stiff) > 0 {
		return
	}
	back := s.in(6)
	for _, n := range s.cluster.Nodes[1:] {
		n.Kill()
		s.down[n] = back
	}
}

// stepDown has a stream, or the cluster's own group, choose another leader. It may fail, while there is none.
func (s *soak) stepDown() {
	names := s.cl.names
	conn, subject := s.cl.conn, "$JS.API.META.LEADER.STEPDOWN"
	switch s.random.IntN(3) {
	case 0:
		conn = s.operator
	case 1:
		subject = "$JS.API.STREAM.LEADER.STEPDOWN." + names.Commands()
	case 2:
		subject = "$JS.API.STREAM.LEADER.STEPDOWN." + names.Outcomes()
	}
	_, _ = conn.Request(subject, nil, 2*time.Second)
}

func (s *soak) ail(p sandbox.Plan, seconds float64) {
	s.t.Helper()
	if err := s.tvms.Faults().Set(p); err != nil {
		s.t.Fatal(err)
	}
	s.ill = s.in(seconds)
}

// misbehave has the upstream fail at random rates, with and without the call's effect.
func (s *soak) misbehave() {
	var plan sandbox.Plan
	plan.Seed = s.random.Uint64()
	kinds := []sandbox.FaultKind{
		sandbox.Slow, sandbox.SlowAfter, sandbox.Refuse, sandbox.ResetBefore, sandbox.ResetAfter, sandbox.ErrorBefore, sandbox.ErrorAfter,
		sandbox.HalfBody, sandbox.Throttle, sandbox.Unavailable, sandbox.HTMLBefore, sandbox.HTMLAfter, sandbox.Refusal, sandbox.ExpireToken,
	}
	for range 1 + s.random.IntN(3) {
		f := sandbox.Fault{Kind: kinds[s.random.IntN(len(kinds))], Route: sandbox.Any}
		switch f.Kind {
		case sandbox.Slow, sandbox.SlowAfter:
			f.Delay = sandbox.Duration(time.Duration(1+s.random.IntN(3500)) * time.Millisecond)
		case sandbox.Throttle, sandbox.Unavailable:
			f.RetryAfter = sandbox.Duration(time.Second)
		}
		plan.Rates = append(plan.Rates, sandbox.Rate{Fault: f, Rate: 0.05 + 0.2*s.random.Float64()})
	}
	s.ail(plan, 8)
}

// again sends commands that were sent before, past the duplicate window and within it. It does not wait until they are
// stored: that may take until a server is back.
func (s *soak) again() {
	s.mu.Lock()
	sent := s.sent[:len(s.sent):len(s.sent)]
	s.mu.Unlock()
	for range 5 {
		e := sent[s.random.IntN(len(sent))]
		var options []natsjs.PublishOption
		if s.random.IntN(3) > 0 {
			options = append(options, natsjs.Requeue(strconv.Itoa(s.random.Int())))
		}
		s.sending.Go(func() {
			if err := s.post(e, options...); err != nil {
				s.t.Error(err)
			}
		})
	}
}

// cut has the servers close every second connection of workers and billing.
func (s *soak) cut() {
	replies := s.operator.NewRespInbox()
	sub, err := s.operator.SubscribeSync(replies)
	if err != nil {
		return
	}
	defer func() { _ = sub.Unsubscribe() }()
	if s.operator.PublishRequest("$SYS.REQ.SERVER.PING.CONNZ", replies, []byte(`{"auth": true}`)) != nil {
		return
	}
	for {
		msg, err := sub.NextMsg(300 * time.Millisecond)
		if err != nil {
			return
		}
		for server, connections := range connectionsIn(msg.Data) {
			for _, id := range connections {
				if s.random.IntN(2) == 0 {
					_ = s.operator.Publish("$SYS.REQ.SERVER."+server+".KICK", fmt.Appendf(nil, `{"cid": %d}`, id))
				}
			}
		}
	}
}

// connectionsIn lists a server's connections of accounts other than its own, by the server's id.
func connectionsIn(page []byte) map[string][]uint64 {
	var p struct {
		Server struct {
			ID string `json:"id"`
		} `json:"server"`
		Page struct {
			Connections []struct {
				ID      uint64 `json:"cid"`
				Account string `json:"account"`
			} `json:"connections"`
		} `json:"data"`
	}
	if json.Unmarshal(page, &p) != nil {
		return nil
	}
	var ids []uint64
	for _, c := range p.Page.Connections {
		if c.Account != "SYS" {
			ids = append(ids, c.ID)
		}
	}
	return map[string][]uint64{p.Server.ID: ids}
}
