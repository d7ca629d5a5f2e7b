package main

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"subrelay/adapters/crmcom"
	"subrelay/adapters/natsjs"
	"subrelay/adapters/tvms"
	"subrelay/adapters/upstream"
	"subrelay/events"
	"subrelay/handlers"
	"subrelay/schemas"
)

var (
	_ handlers.StatusReader       = (*tvms.Client)(nil)
	_ handlers.SubscriptionViewer = (*crmcom.Client)(nil)
	_ handlers.NetflixViewer      = (*crmcom.Netflix)(nil)
	_ handlers.PromotionLister    = (*crmcom.Netflix)(nil)
	_ handlers.Permit             = (*upstream.Permit)(nil)
)

const (
	// queryShare is the part of an upstream's permits that queries may hold at a time: one in so many, but at least one.
	queryShare = 4
	// queryQueue is how many queries may wait for each that is answered.
	queryQueue = 8
	// queryPatience is how much longer than a call whoever asks may wait.
	queryPatience = 10 * time.Second
)

// queries are the questions that this worker can answer: those about the upstreams that it serves.
func (a *App) queries() []handlers.Query {
	var all []handlers.Query
	if c := a.clients.tvms; c != nil {
		var expiry handlers.ExpiryReader
		if c.ReadBack() {
			expiry = c
		}
		all = append(all, handlers.TVMSCustomer(c, expiry))
	}
	if c := a.clients.crmcom; c != nil {
		all = append(all, handlers.Subscription(c))
	}
	if c := a.clients.netflix; c != nil {
		all = append(all, handlers.NetflixSubscription(c), handlers.NetflixPromotions(c))
	}
	return all
}

// queryNames names them.
func (a *App) queryNames() []string {
	names := []string{}
	for _, q := range a.queries() {
		names = append(names, string(q.Spec.Name))
	}
	return names
}

// newQueries begins to answer queries.
func (a *App) newQueries(conn *nats.Conn) (*natsjs.Queries, error) {
	questions, err := a.questions()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range a.upstreams() {
		names = append(names, string(name))
	}
	return natsjs.NewQueries(natsjs.QuerySettings{
		Names: a.Config.names(), Conn: conn, Version: readBuild().Version, Queries: questions,
		Metadata: map[string]string{natsjs.MetadataWorker: a.name, "upstreams": strings.Join(names, ",")},
		Grace:    a.Config.Worker.Grace, Killed: a.killed, Logger: a.Logger, Answered: a.metrics.asked,
	})
}

// questions binds each query to its upstream's guard. The queries of one upstream share their places.
func (a *App) questions() ([]natsjs.Question, error) {
	var all []natsjs.Question
	rooms := make(map[events.Upstream]*natsjs.QueryRoom)
	for _, q := range a.queries() {
		s := a.station(q.Spec.Upstream)
		if rooms[s.name] == nil {
			places := max(1, s.guard.Concurrency()/queryShare)
			rooms[s.name] = natsjs.NewQueryRoom(places, queryQueue*places)
		}
		request, reply, err := schemas.Query(string(q.Spec.Name))
		if err != nil {
			return nil, err
		}
		q.Acquire = s.acquireForQuery
		all = append(all, natsjs.Question{
			Name: q.Spec.Name, Room: rooms[s.name], MaxTimeout: s.guard.CallTimeout() + queryPatience, Answer: q.Answer,
			Metadata: map[string]string{"description": q.Spec.Summary, "upstream": string(s.name), "request": request, "reply": reply},
		})
	}
	return all, nil
}

func (a *App) station(name events.Upstream) *station {
	for _, s := range a.stations {
		if s.name == name {
			return s
		}
	}
	return nil
}

// acquireForQuery gets one of the permits that commands need too, but does not wait for an upstream that is away.
func (s *station) acquireForQuery(ctx context.Context) (handlers.Permit, error) {
	permit, err := s.guard.AcquireUnlessOpen(ctx)
	if err != nil {
		return nil, err // a nil *Permit would be no nil Permit
	}
	return permit, nil
}
