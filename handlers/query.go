package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"subrelay/events"
)

// MaxQuery is the longest request of a query, in bytes.
const MaxQuery = 4096

// StatusReader reads a TVMS customer's status. Its errors are *events.Error, of kind Unavailable, with the refusal of
// an upstream that knows no such customer as their cause.
type StatusReader interface {
	Status(ctx context.Context, r events.RenewData) (string, error)
}

// SubscriptionViewer reads a subscription's present state, as SubscriptionReader does.
type SubscriptionViewer interface {
	Subscription(ctx context.Context, id events.SubscriptionIdentifier) (events.Subscription, error)
}

// NetflixViewer reads a customer's Netflix subscriptions, as NetflixReader does, by either identifier.
type NetflixViewer interface {
	NetflixSubscriptionsOf(ctx context.Context, who events.NetflixCustomerIdentifier) ([]events.NetflixSubscription, error)
}

// PromotionLister lists the Netflix promotions. Its errors are *events.Error, of kind Unavailable.
type PromotionLister interface {
	Promotions(ctx context.Context) ([]events.NetflixPromotion, error)
}

// Permit is an upstream's permission for one query. Done gives it back with the result of the read, as the upstream's
// client has reported it: a read that fails speaks of the upstream whoever has asked. Cancel gives it back unused, and
// does nothing after Done.
type Permit interface {
	Done(err error)
	Cancel()
}

// Query answers one of the questions of events.QuerySpecs. It changes nothing upstream.
type Query struct {
	Spec events.QuerySpec
	// Acquire gets the upstream's permission, the same that commands need. It returns an *events.Error at once where
	// the upstream is known to be away, and the context's error where that ends first.
	Acquire func(context.Context) (Permit, error)

	read func(ctx context.Context, asked map[string]string) (any, error)
}

// TVMSCustomer answers tvms-customer. expiry is nil where the expiry date cannot be read.
func TVMSCustomer(status StatusReader, expiry ExpiryReader) Query {
	return newQuery(events.TVMSCustomerQuery, func(ctx context.Context, asked map[string]string) (any, error) {
		who := events.RenewData{CustomerMappingID: asked["customer"], UserID: asked["user_id"], CRMService: asked["crm_service"]}
		var answer events.TVMSCustomer
		var err error
		if answer.Status, err = status.Status(ctx, who); err != nil || expiry == nil {
			return answer, err
		}
		expires, err := expiry.Expiry(ctx, who)
		answer.ExpiresAt = &expires
		return answer, err
	})
}

// Subscription answers subscription.
func Subscription(viewer SubscriptionViewer) Query {
	return newQuery(events.SubscriptionQuery, func(ctx context.Context, asked map[string]string) (any, error) {
		answer, err := viewer.Subscription(ctx, events.SubscriptionIdentifier{Number: asked["subscription"], ID: asked["id"]})
		answer.Services = orNone(answer.Services)
		return answer, err
	})
}

// NetflixSubscription answers netflix-subscription.
func NetflixSubscription(viewer NetflixViewer) Query {
	return newQuery(events.NetflixSubscriptionQuery, func(ctx context.Context, asked map[string]string) (any, error) {
		list, err := viewer.NetflixSubscriptionsOf(ctx, events.NetflixCustomerIdentifier{
			BillingSystemCustomerIdentifier: asked["customer"], NetflixCustomerIdentifier: asked["pai"],
		})
		return events.NetflixSubscriptions{Subscriptions: orNone(list)}, err
	})
}

// NetflixPromotions answers netflix-promotions.
func NetflixPromotions(lister PromotionLister) Query {
	return newQuery(events.NetflixPromotionsQuery, func(ctx context.Context, _ map[string]string) (any, error) {
		list, err := lister.Promotions(ctx)
		return events.NetflixPromotions{Promotions: orNone(list)}, err
	})
}

func newQuery(name events.QueryName, read func(context.Context, map[string]string) (any, error)) Query {
	spec, _ := events.QuerySpecOf(name)
	return Query{Spec: spec, read: read}
}

// orNone is list, or an empty one, which JSON does not write as null.
func orNone[T any](list []T) []T {
	if list == nil {
		list = []T{}
	}
	return list
}

// Answer reads what is asked, under a permit that must have come by until. The read itself may take longer, as long as
// the upstream's time-out: cut short, it would count as a failure of the upstream, and whoever asks with little patience
// would open the breaker for all commands. ctx ends it all the same.
//
// Errors are *events.Error: bad_request where nothing was asked that we understand; not_found or upstream_refused where
// the upstream has said no, of kind Refused; deadline_exceeded; and what the upstream's client reports.
func (q Query) Answer(ctx context.Context, request []byte, until time.Time) (any, error) {
	asked, err := ReadQuery(q.Spec, request)
	if err != nil {
		return nil, err
	}
	wait, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	permit, err := q.Acquire(wait)
	if err != nil {
		return nil, notPermitted(ctx, q.Spec.Upstream, err)
	}
	defer permit.Cancel()
	if wait.Err() != nil {
		return nil, notPermitted(ctx, q.Spec.Upstream, wait.Err())
	}
	answer, err := q.read(ctx, asked)
	permit.Done(err)
	if err != nil {
		return nil, failedQuery(err)
	}
	return answer, nil
}

// notPermitted is the error of a query that got no permit.
func notPermitted(ctx context.Context, u events.Upstream, err error) error {
	var e *events.Error
	switch {
	case errors.As(err, &e):
		return e
	case ctx.Err() != nil:
		return &events.Error{Kind: events.Unavailable, Code: events.CodeShutdown, Message: "the worker is stopping", Cause: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &events.Error{Kind: events.Unavailable, Code: events.CodeDeadline,
			Message: "the time given was over before " + string(u) + " could be asked", Cause: err}
	}
	return events.AsError(err)
}

// failedQuery says for people what the error of a read means. Reads wrap what the upstream has said, since for settling
// every failed read is the same; who asks wants to know whether it was a no.
func failedQuery(err error) error {
	e := events.AsError(err)
	for e.Code == events.CodeRead {
		var inner *events.Error
		if !errors.As(e.Cause, &inner) {
			break
		}
		e = inner
	}
	return e
}

// ReadQuery reads a request: a flat JSON object of strings, nothing for an empty one. Its errors are *events.Error, of
// kind Refused, and say what the query takes.
func ReadQuery(spec events.QuerySpec, request []byte) (map[string]string, error) {
	refuse := func(format string, args ...any) (map[string]string, error) {
		return nil, &events.Error{Kind: events.Refused, Code: events.CodeBadRequest, Message: fmt.Sprintf(format, args...) + "; " + takes(spec)}
	}
	if len(request) > MaxQuery {
		return refuse("the request has %d bytes, and may have %d", len(request), MaxQuery)
	}
	asked := map[string]string{}
	if len(strings.TrimSpace(string(request))) > 0 {
		if err := json.Unmarshal(request, &asked); err != nil || asked == nil {
			return refuse("the request is no JSON object of strings")
		}
	}
	for name, value := range asked {
		switch {
		case !slices.ContainsFunc(spec.Members(), func(m events.QueryMember) bool { return m.Name == name }):
			return refuse("the request has a member that is not known")
		case !plainValue(value):
			return refuse("%s must be text of 1 to %d bytes without control characters", name, events.MaxQueryValue)
		}
	}
	given := 0
	for _, m := range spec.Choice {
		if asked[m.Name] != "" {
			given++
		}
	}
	if given != min(1, len(spec.Choice)) {
		return refuse("the request does not say what is asked for")
	}
	return asked, nil
}

func plainValue(s string) bool {
	return s != "" && len(s) <= events.MaxQueryValue && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// takes says what a query takes.
func takes(spec events.QuerySpec) string {
	list := func(members []events.QueryMember) string {
		var names []string
		for _, m := range members {
			names = append(names, m.Name)
		}
		return strings.Join(names, ", ")
	}
	var parts []string
	switch len(spec.Choice) {
	case 0:
		parts = append(parts, "no member")
	case 1:
		parts = append(parts, list(spec.Choice))
	default:
		parts = append(parts, "exactly one of "+list(spec.Choice))
	}
	if len(spec.Optional) > 0 {
		parts = append(parts, "optionally "+list(spec.Optional))
	}
	return string(spec.Name) + " takes " + strings.Join(parts, ", and ")
}
