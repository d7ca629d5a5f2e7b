package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
	"subrelay/handlers"
)

// fakeReads is an upstream that answers what it is told to, and remembers what it was asked.
type fakeReads struct {
	err   error // of whatever is read
	delay time.Duration
	asked []any
}

func (f *fakeReads) read(what any) error {
	f.asked = append(f.asked, what)
	time.Sleep(f.delay)
	return f.err
}

func (f *fakeReads) Status(_ context.Context, r events.RenewData) (string, error) {
	return "Active", f.read(r)
}

func (f *fakeReads) Expiry(_ context.Context, r events.RenewData) (time.Time, error) {
	return time.Date(2030, 1, 31, 0, 0, 0, 0, time.UTC), f.read(r)
}

func (f *fakeReads) Subscription(_ context.Context, id events.SubscriptionIdentifier) (events.Subscription, error) {
	return events.Subscription{Number: "S1", LifeCycleState: "EFFECTIVE"}, f.read(id)
}

func (f *fakeReads) NetflixSubscriptionsOf(_ context.Context, who events.NetflixCustomerIdentifier) ([]events.NetflixSubscription, error) {
	return nil, f.read(who)
}

func (f *fakeReads) Promotions(context.Context) ([]events.NetflixPromotion, error) {
	return []events.NetflixPromotion{{Code: "P1"}}, f.read("promotions")
}

// fakePermits gives one permit, after a while, and remembers what came back.
type fakePermits struct {
	err   error
	after time.Duration
	out   int
	done  []error
}

func (p *fakePermits) acquire(ctx context.Context) (handlers.Permit, error) {
	select {
	case <-time.After(p.after):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if p.err != nil {
		return nil, p.err
	}
	p.out++
	return &fakePermit{p: p}, nil
}

type fakePermit struct {
	p     *fakePermits
	spent bool
}

func (p *fakePermit) give(err error) {
	if !p.spent {
		p.spent = true
		p.p.out--
		p.p.done = append(p.p.done, err)
	}
}

var errUnused = errors.New("unused")

func (p *fakePermit) Done(err error) { p.give(err) }
func (p *fakePermit) Cancel()        { p.give(errUnused) }

func everyQuery(f *fakeReads, p *fakePermits) map[events.QueryName]handlers.Query {
	all := make(map[events.QueryName]handlers.Query)
	for _, q := range []handlers.Query{
		handlers.TVMSCustomer(f, f), handlers.Subscription(f), handlers.NetflixSubscription(f), handlers.NetflixPromotions(f),
	} {
		q.Acquire = p.acquire
		all[q.Spec.Name] = q
	}
	return all
}

func in(d time.Duration) time.Time { return time.Now().Add(d) }

func TestEveryQueryIsAnswered(t *testing.T) {
	cases := map[events.QueryName]map[string]struct {
		asked  []any
		answer string
	}{
		events.TVMSCustomerQuery: {
			`{"customer":"C-1"}`: {
				[]any{events.RenewData{CustomerMappingID: "C-1"}, events.RenewData{CustomerMappingID: "C-1"}}, `{"status":"Active","expires_at":"2030-01-31T00:00:00Z"}`},
			`{"user_id":"tv1","crm_service":"crm"}`: {
				[]any{events.RenewData{UserID: "tv1", CRMService: "crm"}, events.RenewData{UserID: "tv1", CRMService: "crm"}}, `{"status":"Active","expires_at":"2030-01-31T00:00:00Z"}`},
		},
		events.SubscriptionQuery: {
			`{"subscription":"S1"}`: {[]any{events.SubscriptionIdentifier{Number: "S1"}}, `{"number":"S1","life_cycle_state":"EFFECTIVE","services":[]}`},
			`{"id":"7"}`:            {[]any{events.SubscriptionIdentifier{ID: "7"}}, `{"number":"S1","life_cycle_state":"EFFECTIVE","services":[]}`},
		},
		events.NetflixSubscriptionQuery: {
			`{"customer":"cust-77"}`: {[]any{events.NetflixCustomerIdentifier{BillingSystemCustomerIdentifier: "cust-77"}}, `{"subscriptions":[]}`},
			`{"pai":"PAI 7"}`:        {[]any{events.NetflixCustomerIdentifier{NetflixCustomerIdentifier: "PAI 7"}}, `{"subscriptions":[]}`},
		},
		events.NetflixPromotionsQuery: {`{}`: {[]any{"promotions"}, `{"promotions":[{"code":"P1"}]}`}, ``: {[]any{"promotions"}, `{"promotions":[{"code":"P1"}]}`}},
	}
	for _, spec := range events.QuerySpecs() {
		if len(cases[spec.Name]) == 0 {
			t.Errorf("%s is not tested", spec.Name)
		}
		for request, want := range cases[spec.Name] {
			t.Run(string(spec.Name)+request, func(t *testing.T) {
				f, p := &fakeReads{}, &fakePermits{}
				answer, err := everyQuery(f, p)[spec.Name].Answer(t.Context(), []byte(request), in(time.Second))
				if err != nil {
					t.Fatal(err)
				}
				raw, err := json.Marshal(answer)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want.answer, string(raw)); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(want.asked, f.asked); diff != "" {
					t.Error(diff)
				}
				if p.out != 0 || len(p.done) != 1 || p.done[0] != nil {
					t.Errorf("permits: %+v", p)
				}
			})
		}
	}
}

func TestTVMSCustomerWithoutReadBack(t *testing.T) {
	f, p := &fakeReads{}, &fakePermits{}
	q := handlers.TVMSCustomer(f, nil)
	q.Acquire = p.acquire
	answer, err := q.Answer(t.Context(), []byte(`{"customer":"C-1"}`), in(time.Second))
	if diff := cmp.Diff(events.TVMSCustomer{Status: "Active"}, answer); diff != "" || err != nil || len(f.asked) != 1 {
		t.Errorf("%v, asked %v:\n%s", err, f.asked, diff)
	}
}

func TestBadRequestsOfQueries(t *testing.T) {
	const twoOf = "exactly one of subscription, id"
	for _, c := range []struct {
		query         events.QueryName
		request, says string
	}{
		{events.SubscriptionQuery, ``, "does not say what is asked for; subscription takes " + twoOf},
		{events.SubscriptionQuery, `{}`, twoOf},
		{events.SubscriptionQuery, `{"subscription":"S1","id":"7"}`, twoOf},
		{events.SubscriptionQuery, `{"subscription":"S1","customer":"C"}`, "a member that is not known"},
		{events.SubscriptionQuery, `{"Subscription":"S1"}`, "a member that is not known"},
		{events.SubscriptionQuery, `{"subscription":""}`, "1 to 256 bytes"},
		{events.SubscriptionQuery, `{"subscription":null}`, "1 to 256 bytes"},
		{events.SubscriptionQuery, `{"subscription":"` + strings.Repeat("x", 257) + `"}`, "1 to 256 bytes"},
		{events.SubscriptionQuery, `{"subscription":"a\nb"}`, "control characters"},
		{events.SubscriptionQuery, `{"subscription":7}`, "no JSON object of strings"},
		{events.SubscriptionQuery, `{"subscription":{"number":"S1"}}`, "no JSON object of strings"},
		{events.SubscriptionQuery, `["S1"]`, "no JSON object"},
		{events.SubscriptionQuery, `null`, "no JSON object"},
		{events.SubscriptionQuery, `{"subscription":"S1"} {}`, "no JSON object"},
		{events.SubscriptionQuery, `S1`, "no JSON object"},
		{events.SubscriptionQuery, strings.Repeat(" ", 5000), "5000 bytes, and may have 4096"},
		{events.NetflixPromotionsQuery, `{"customer":"x"}`, "netflix-promotions takes no member"},
		{events.TVMSCustomerQuery, `{"crm_service":"x"}`, "optionally crm_service"},
	} {
		f, p := &fakeReads{}, &fakePermits{}
		_, err := everyQuery(f, p)[c.query].Answer(t.Context(), []byte(c.request), in(time.Second))
		e := events.AsError(err)
		if e.Kind != events.Refused || e.Code != events.CodeBadRequest || !strings.Contains(e.Message, c.says) {
			t.Errorf("%s %.60s: %v, want %q", c.query, c.request, err, c.says)
		}
		if len(f.asked) > 0 || len(p.done) > 0 {
			t.Errorf("%s %.60s: asked %v with permits %v", c.query, c.request, f.asked, p.done)
		}
	}
}

func TestFailedReadsOfQueries(t *testing.T) {
	refused := &events.Error{Kind: events.Refused, Code: events.CodeRefused, Message: "no such customer", UpstreamCode: "400"}
	slow := &events.Error{Kind: events.Unknown, Code: events.CodeTimeout}
	down := &events.Error{Kind: events.Unavailable, Code: events.CodeUnreachable, Upstream: true}
	read := func(cause error) *events.Error {
		return &events.Error{Kind: events.Unavailable, Code: events.CodeRead, Message: "reading", Cause: cause}
	}
	unread := read(errors.New("no date"))
	for name, c := range map[string]struct {
		err, want error
	}{
		"refused":             {refused, refused},
		"a read refused":      {read(refused), refused},
		"a read of a read":    {read(read(slow)), slow},
		"upstream down":       {down, down},
		"unreadable":          {unread, unread},
		"a read without more": {read(nil), read(nil)},
	} {
		f, p := &fakeReads{err: c.err}, &fakePermits{}
		answer, err := everyQuery(f, p)[events.TVMSCustomerQuery].Answer(t.Context(), []byte(`{"customer":"C-1"}`), in(time.Second))
		if diff := cmp.Diff(events.AsError(c.want).Error(), events.AsError(err).Error()); diff != "" || answer != nil || events.KindOf(err) != events.KindOf(c.want) {
			t.Errorf("%s: %v\n%s", name, answer, diff)
		}
		if p.out != 0 || len(p.done) != 1 || p.done[0] != c.err {
			t.Errorf("%s: the permit came back with %v, want the error of the read as it was", name, p.done)
		}
		if len(f.asked) != 1 {
			t.Errorf("%s: asked %d times", name, len(f.asked))
		}
	}
}

func TestQueriesWaitForPermits(t *testing.T) {
	open := &events.Error{Kind: events.Unavailable, Code: events.CodeUnavailable, RetryAfter: time.Second}
	for name, c := range map[string]struct {
		permits fakePermits
		stop    time.Duration // of the worker
		code    string
		after   time.Duration
	}{
		"in time":         {permits: fakePermits{after: time.Second}, after: time.Second},
		"too late":        {permits: fakePermits{after: time.Minute}, code: events.CodeDeadline, after: 5 * time.Second},
		"breaker open":    {permits: fakePermits{err: open}, code: events.CodeUnavailable},
		"worker stopping": {permits: fakePermits{after: time.Minute}, stop: time.Second, code: events.CodeShutdown, after: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.stop > 0 {
					time.AfterFunc(c.stop, cancel)
				}
				f := &fakeReads{}
				begin := time.Now()
				_, err := everyQuery(f, &c.permits)[events.NetflixPromotionsQuery].Answer(ctx, nil, in(5*time.Second))
				if took := time.Since(begin); took != c.after {
					t.Errorf("after %s, want %s", took, c.after)
				}
				if code := events.AsError(err).Code; err == nil && c.code != "" || err != nil && code != c.code {
					t.Errorf("got %v, want %s", err, c.code)
				}
				if (len(f.asked) > 0) != (c.code == "") || c.permits.out != 0 {
					t.Errorf("asked %v, %d permits out", f.asked, c.permits.out)
				}
			})
		})
	}
}

// A permit may come in the moment in which the asker leaves: then nobody reads, and it comes back unused.
func TestNothingIsReadForAnAskerWhoLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := &fakeReads{}, &fakePermits{}
		q := handlers.NetflixPromotions(f)
		q.Acquire = func(ctx context.Context) (handlers.Permit, error) {
			<-ctx.Done()
			return p.acquire(context.Background())
		}
		_, err := q.Answer(t.Context(), nil, in(time.Second))
		if events.AsError(err).Code != events.CodeDeadline || len(f.asked) > 0 {
			t.Errorf("%v; read: %v", err, f.asked)
		}
		if p.out != 0 || len(p.done) != 1 || !errors.Is(p.done[0], errUnused) {
			t.Errorf("%d permits out, and they came back with %v", p.out, p.done)
		}
	})
}

// A read goes on when the asker has left: cut short, it would count as the upstream's failure.
func TestReadsOfQueriesAreNotCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := &fakeReads{delay: 10 * time.Second}, &fakePermits{}
		q := handlers.TVMSCustomer(deadlines{t, f}, nil)
		q.Acquire = p.acquire
		if _, err := q.Answer(t.Context(), []byte(`{"customer":"C-1"}`), in(time.Second)); err != nil || p.done[0] != nil {
			t.Errorf("%v; the permit came back with %v", err, p.done)
		}
	})
}

type deadlines struct {
	t *testing.T
	*fakeReads
}

func (d deadlines) Status(ctx context.Context, r events.RenewData) (string, error) {
	if at, ok := ctx.Deadline(); ok {
		d.t.Errorf("the read must end by %s", at)
	}
	return d.fakeReads.Status(ctx, r)
}

// A permit must not be lost to a panic.
func TestPanickingReadGivesItsPermitBack(t *testing.T) {
	p := &fakePermits{}
	q := handlers.TVMSCustomer(nil, nil)
	q.Acquire = p.acquire
	func() {
		defer func() { _ = recover() }()
		_, _ = q.Answer(t.Context(), []byte(`{"customer":"C-1"}`), in(time.Second))
	}()
	if p.out != 0 || len(p.done) != 1 {
		t.Errorf("%+v", p)
	}
}

func FuzzReadQuery(f *testing.F) {
	f.Add("subscription", `{"subscription":"S1"}`)
	f.Add("tvms-customer", `{"customer":"C-1","crm_service":"x"}`)
	f.Add("netflix-promotions", ``)
	f.Fuzz(func(t *testing.T, name, request string) {
		spec, ok := events.QuerySpecOf(events.QueryName(name))
		if !ok {
			return
		}
		asked, err := handlers.ReadQuery(spec, []byte(request))
		if err != nil {
			if events.KindOf(err) != events.Refused {
				t.Error(err)
			}
			return
		}
		for member, value := range asked {
			if value == "" || len(value) > events.MaxQueryValue || strings.ContainsAny(value, "\n\r\x00") {
				t.Errorf("%q: %q", member, value)
			}
		}
	})
}
