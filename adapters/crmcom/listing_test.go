package crmcom

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

// list plays the list of charges of an installation that others work on: before each page, it may change.
type list struct {
	charges []events.NetflixCharge
	change  func(l *list, call int) // from 1
	calls   []string                // what was asked for
	most    int                     // that a page holds, whatever is asked for; 0: any
}

func (l *list) answer(w http.ResponseWriter, _ *http.Request, args map[string]any) {
	part, _ := args["charge_status"].(string)
	l.calls = append(l.calls, fmt.Sprint(part, " ", args["offset"], "+", args["number_of_results"]))
	if l.change != nil {
		l.change(l, len(l.calls))
	}
	size, _ := strconv.Atoi(args["number_of_results"].(string))
	if l.most > 0 {
		size = min(size, l.most)
	}
	offset, _ := strconv.Atoi(args["offset"].(string))
	var items []string
	for _, c := range l.charges {
		if part == "" || (part == "NOT_PROCESSED") == (c.ChargeStatus == events.ChargePending) {
			items = append(items, fmt.Sprintf(`{"number":%q,"charge_status":%q}`, c.Number, c.ChargeStatus))
		}
	}
	ok(w, `{"charges_set":[`+strings.Join(items[min(offset, len(items)):min(offset+size, len(items))], ",")+`]}`)
}

// of adds charges of a state, numbered from first to last.
func (l *list) of(state string, first, last int) *list {
	for n := first; n <= last; n++ {
		l.charges = append(l.charges, events.NetflixCharge{Number: strconv.Itoa(n), ChargeStatus: state})
	}
	return l
}

// take takes the first charge of this number from the list.
func (l *list) take(number string) {
	l.charges = slices.DeleteFunc(l.charges, func(c events.NetflixCharge) bool { return c.Number == number })
}

func (l *list) set(number, state string) {
	for i := range l.charges {
		if l.charges[i].Number == number {
			l.charges[i].ChargeStatus = state
		}
	}
}

// client lists in pages of three.
func (l *list) client(t *testing.T, c ChargesSettings) *Netflix {
	t.Helper()
	c.PageSize = 3
	s := settings(serve(t, &installation{t: t, answer: l.answer}))
	return clients(t, s, NetflixSettings{Charges: c}, upstream.Settings{}).netflix
}

// states writes charges as "number state" for comparison.
func states(charges []events.NetflixCharge) (out []string) {
	for _, c := range charges {
		out = append(out, c.Number+" "+c.ChargeStatus)
	}
	return out
}

func numbered(state string, first, last int) (out []string) {
	return states(new(list).of(state, first, last).charges)
}

// Pages overlap by one, and a part ends with the page that has nothing new.
func TestListChargesPages(t *testing.T) {
	for n, want := range [][]string{
		{"PROCESSED 0+3"},
		{"PROCESSED 0+3", "PROCESSED 0+3"},
		{"PROCESSED 0+3", "PROCESSED 1+3"},
		{"PROCESSED 0+3", "PROCESSED 2+3"},
		{"PROCESSED 0+3", "PROCESSED 2+3", "PROCESSED 3+3"},
		{"PROCESSED 0+3", "PROCESSED 2+3", "PROCESSED 4+3"},
		{"PROCESSED 0+3", "PROCESSED 2+3", "PROCESSED 4+3", "PROCESSED 5+3"},
		{"PROCESSED 0+3", "PROCESSED 2+3", "PROCESSED 4+3", "PROCESSED 6+3"},
	} {
		l := new(list).of("APPROVED", 1, n)
		got, err := l.client(t, ChargesSettings{}).ListCharges(t.Context())
		like(t, outcome{}, err)
		if diff := cmp.Diff(numbered("APPROVED", 1, n), states(got)); diff != "" {
			t.Errorf("%d: %s", n, diff)
		}
		if diff := cmp.Diff(append([]string{"NOT_PROCESSED 0+3"}, want...), l.calls); diff != "" {
			t.Errorf("%d: %s", n, diff)
		}
	}
}

// An installation may answer with fewer than were asked for: that is not the end of the list.
func TestListChargesShortPages(t *testing.T) {
	for most := 2; most <= 4; most++ {
		l := new(list).of("APPROVED", 1, 10)
		l.most = most
		s := settings(serve(t, &installation{t: t, answer: l.answer}))
		b := clients(t, s, NetflixSettings{}, upstream.Settings{})
		got, err := b.netflix.ListCharges(t.Context())
		like(t, outcome{}, err)
		if diff := cmp.Diff(numbered("APPROVED", 1, 10), states(got)); diff != "" {
			t.Errorf("%d: %s", most, diff)
		}
		found, err := b.netflix.FindCharges(t.Context(), []string{"10", "none"})
		like(t, outcome{}, err)
		if found["10"].ChargeStatus != "APPROVED" {
			t.Errorf("%d: %v", most, found)
		}
	}
}

// Both parts are listed, those first that were not processed; where the release knows no parts, the list is one.
func TestListChargesParts(t *testing.T) {
	l := new(list).of("DECLINED", 1, 2).of("PENDING", 3, 6).of("REJECTED", 7, 7)
	got, err := l.client(t, ChargesSettings{}).ListCharges(t.Context())
	like(t, outcome{}, err)
	if diff := cmp.Diff([]string{"3 PENDING", "4 PENDING", "5 PENDING", "6 PENDING", "1 DECLINED", "2 DECLINED", "7 REJECTED"}, states(got)); diff != "" {
		t.Error(diff)
	}
	l.calls = nil
	never := false
	got, err = l.client(t, ChargesSettings{SendStatus: &never}).ListCharges(t.Context())
	like(t, outcome{}, err)
	if diff := cmp.Diff(states(l.charges), states(got)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{" 0+3", " 2+3", " 4+3", " 6+3"}, l.calls); diff != "" {
		t.Error(diff)
	}
}

// Whoever acknowledges charges while they are listed moves those behind them: none of the others is left out.
func TestListChargesWhileOthersLeave(t *testing.T) {
	for leaving := 1; leaving <= 10; leaving++ {
		for call := 2; call <= 6; call++ {
			number := strconv.Itoa(leaving)
			l := new(list).of("APPROVED", 1, 10)
			l.change = func(l *list, n int) {
				if n == call {
					l.take(number)
				}
			}
			got, err := l.client(t, ChargesSettings{}).ListCharges(t.Context())
			like(t, outcome{}, err)
			var stayed []string
			for _, c := range states(got) {
				if c != number+" APPROVED" {
					stayed = append(stayed, c)
				}
			}
			rest := slices.DeleteFunc(numbered("APPROVED", 1, 10), func(c string) bool { return c == number+" APPROVED" })
			if diff := cmp.Diff(rest, stayed); diff != "" {
				t.Errorf("%s left before call %d: %s", number, call, diff)
			}
		}
	}
}

// All that was read leaves at once, whole pages too.
func TestListChargesWhileManyLeave(t *testing.T) {
	for left := 1; left <= 10; left++ {
		l := new(list).of("APPROVED", 1, 10)
		l.change = func(l *list, n int) {
			if n == 4 { // the third page
				l.charges = l.charges[left:]
			}
		}
		got, err := l.client(t, ChargesSettings{}).ListCharges(t.Context())
		like(t, outcome{}, err)
		if diff := cmp.Diff(numbered("APPROVED", left+1, 10), states(got)); diff != "" {
			t.Errorf("%d: %s", left, diff)
		}
	}
}

// New charges come last, and a charge that comes in front is found out by what it moves.
func TestListChargesWhileOthersCome(t *testing.T) {
	l := new(list).of("APPROVED", 1, 6)
	l.change = func(l *list, n int) {
		switch n {
		case 3:
			l.of("APPROVED", 7, 8)
		case 4:
			l.charges = slices.Insert(l.charges, 0, events.NetflixCharge{Number: "0", ChargeStatus: "APPROVED"})
		}
	}
	got, err := l.client(t, ChargesSettings{}).ListCharges(t.Context())
	like(t, outcome{}, err)
	if diff := cmp.Diff(numbered("APPROVED", 0, 8), states(got)); diff != "" {
		t.Error(diff)
	}
}

// A charge that is processed while the parts are listed is in both, or moves within one: its later state counts.
func TestListChargesWhileProcessed(t *testing.T) {
	l := new(list).of("PENDING", 1, 2)
	l.change = func(l *list, n int) {
		if n == 3 { // the second part
			l.set("1", "APPROVED")
		}
	}
	got, err := l.client(t, ChargesSettings{}).ListCharges(t.Context())
	like(t, outcome{}, err)
	if diff := cmp.Diff([]string{"1 APPROVED", "2 PENDING"}, states(got)); diff != "" {
		t.Error(diff)
	}

	l = new(list).of("PENDING", 1, 5)
	l.change = func(l *list, n int) {
		if n == 2 { // in the middle of the first part
			l.set("1", "APPROVED")
		}
	}
	got, err = l.client(t, ChargesSettings{}).ListCharges(t.Context())
	like(t, outcome{}, err)
	if diff := cmp.Diff([]string{"2 PENDING", "3 PENDING", "4 PENDING", "5 PENDING", "1 APPROVED"}, states(got)); diff != "" {
		t.Error(diff)
	}
}

// A charge that is named twice within a page counts once; one that comes again on a later page says that the list moved.
func TestListChargesTwice(t *testing.T) {
	l := new(list).of("APPROVED", 1, 1).of("REJECTED", 1, 1).of("APPROVED", 2, 4)
	got, err := l.client(t, ChargesSettings{}).ListCharges(t.Context())
	like(t, outcome{}, err)
	if diff := cmp.Diff([]string{"1 REJECTED", "2 APPROVED", "3 APPROVED", "4 APPROVED"}, states(got)); diff != "" {
		t.Error(diff)
	}

	l = new(list).of("APPROVED", 1, 4).of("APPROVED", 1, 1)
	l.change = func(l *list, n int) {
		if n == 4 {
			l.charges = l.charges[:4]
		}
	}
	got, err = l.client(t, ChargesSettings{}).ListCharges(t.Context())
	like(t, outcome{}, err)
	if diff := cmp.Diff(numbered("APPROVED", 1, 4), states(got)); diff != "" || len(l.calls) != 6 {
		t.Errorf("%q: %s", l.calls, diff)
	}
}

// A list that never stays as it is, or is too long, ends a listing.
func TestListChargesWithoutEnd(t *testing.T) {
	tooMany := func(n int) outcome {
		return outcome{Kind: "unavailable", Code: events.CodeRead, Message: fmt.Sprintf("reading the Netflix charges: %d pages were not enough: "+
			"there are too many, or they keep changing; see netflix.charges.max_pages", n)}
	}
	l := new(list).of("APPROVED", 1, 1000)
	l.change = func(l *list, _ int) { l.charges = l.charges[1:] }
	_, err := l.client(t, ChargesSettings{MaxPages: 17}).ListCharges(t.Context())
	like(t, tooMany(17), err)
	if len(l.calls) != 17 {
		t.Errorf("%d calls", len(l.calls))
	}

	same := func(w http.ResponseWriter, _ *http.Request, _ map[string]any) { // whatever the offset
		ok(w, `[{"number":"1","charge_status":"APPROVED"},{"number":"2","charge_status":"APPROVED"},{"number":"3","charge_status":"APPROVED"}]`)
	}
	s := settings(serve(t, &installation{t: t, answer: same}))
	n := NetflixSettings{Charges: ChargesSettings{PageSize: 3, MaxPages: 5}}
	_, err = clients(t, s, n, upstream.Settings{}).netflix.ListCharges(t.Context())
	like(t, tooMany(5), err)

	l = new(list).of("APPROVED", 1, 7)
	got, err := l.client(t, ChargesSettings{MaxPages: 5}).ListCharges(t.Context()) // exactly as many as are needed
	like(t, outcome{}, err)
	if len(got) != 7 {
		t.Errorf("%q", states(got))
	}
	got, err = l.client(t, ChargesSettings{MaxPages: 5}).ListCharges(t.Context()) // which count anew for each listing
	like(t, outcome{}, err)
	if len(got) != 7 {
		t.Errorf("%q", states(got))
	}
}

// Finding ends as soon as all are found, and looks through both parts for those that are not.
func TestFindCharges(t *testing.T) {
	for name, c := range map[string]struct {
		numbers []string
		want    map[string]string
		calls   []string
	}{
		"on the first page":  {[]string{"1", "2"}, map[string]string{"1": "PENDING", "2": "PENDING"}, []string{"NOT_PROCESSED 0+3"}},
		"the same one twice": {[]string{"1", "1"}, map[string]string{"1": "PENDING"}, []string{"NOT_PROCESSED 0+3"}},
		"on the next page":   {[]string{"4"}, map[string]string{"4": "PENDING"}, []string{"NOT_PROCESSED 0+3", "NOT_PROCESSED 2+3"}},
		"in the other part":  {[]string{"5", "7"}, map[string]string{"5": "APPROVED", "7": "APPROVED"}, []string{"NOT_PROCESSED 0+3", "NOT_PROCESSED 2+3", "NOT_PROCESSED 3+3", "PROCESSED 0+3"}},
		"in both parts": {[]string{"1", "6"}, map[string]string{"1": "PENDING", "6": "APPROVED"},
			[]string{"NOT_PROCESSED 0+3", "NOT_PROCESSED 2+3", "NOT_PROCESSED 3+3", "PROCESSED 0+3", "PROCESSED 2+3"}},
		"nowhere": {[]string{"8", "1"}, map[string]string{"1": "PENDING"},
			[]string{"NOT_PROCESSED 0+3", "NOT_PROCESSED 2+3", "NOT_PROCESSED 3+3", "PROCESSED 0+3", "PROCESSED 2+3"}},
		"none": {nil, map[string]string{}, []string{"NOT_PROCESSED 0+3"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := new(list).of("PENDING", 1, 4).of("APPROVED", 5, 7)
			found, err := l.client(t, ChargesSettings{}).FindCharges(t.Context(), c.numbers)
			like(t, outcome{}, err)
			got := make(map[string]string)
			for number, charge := range found {
				got[number] = charge.ChargeStatus
				if charge.Number != number {
					t.Errorf("%s is under %s", charge.Number, number)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.calls, l.calls); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A charge that is looked for is not missed because others leave the list, nor because it is processed meanwhile.
func TestFindChargesWhileOthersLeave(t *testing.T) {
	for leaving := 1; leaving <= 9; leaving++ {
		for call := 2; call <= 6; call++ {
			l := new(list).of("APPROVED", 1, 10)
			l.change = func(l *list, n int) {
				if n == call {
					l.take(strconv.Itoa(leaving))
				}
			}
			found, err := l.client(t, ChargesSettings{}).FindCharges(t.Context(), []string{"10", "none"})
			like(t, outcome{}, err)
			if _, ok := found["10"]; !ok || len(found) != 1 {
				t.Errorf("%d left before call %d: %v", leaving, call, found)
			}
		}
	}
	l := new(list).of("PENDING", 1, 8)
	l.change = func(l *list, n int) {
		if n == 2 {
			l.set("1", "APPROVED")
			l.set("5", "DECLINED")
		}
	}
	found, err := l.client(t, ChargesSettings{}).FindCharges(t.Context(), []string{"1", "5", "8"})
	like(t, outcome{}, err)
	if found["1"].ChargeStatus != "APPROVED" || found["5"].ChargeStatus != "DECLINED" || found["8"].ChargeStatus != "PENDING" {
		t.Errorf("%v", found)
	}
}

// A charge that is named twice does not stand for another.
func TestFindChargesTwice(t *testing.T) {
	l := new(list).of("APPROVED", 1, 1).of("APPROVED", 1, 5)
	found, err := l.client(t, ChargesSettings{}).FindCharges(t.Context(), []string{"1", "5"})
	like(t, outcome{}, err)
	if len(found) != 2 {
		t.Errorf("%v", found)
	}
}

// A list that cannot be read to its end shows nothing of what it was read for.
func TestFindChargesFails(t *testing.T) {
	l := new(list).of("APPROVED", 1, 20)
	found, err := l.client(t, ChargesSettings{MaxPages: 4}).FindCharges(t.Context(), []string{"1", "20"})
	like(t, outcome{Kind: "unavailable", Code: events.CodeRead}, err)
	if found != nil {
		t.Errorf("%v", found)
	}
}

// Replies of every shape to charges/list.
func TestListChargesReplies(t *testing.T) {
	day := time.Date(2024, 3, 1, 2, 0, 0, 0, time.UTC)
	at := func(text string) *time.Time {
		d, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return &d
	}
	const example = `{"number":"I00002706","billing_system_customer_identifier":"cust-77","amount":9.99,"currency":"EUR",
		"paid_through_date":"2024-04-01T00:00:00","charge_status":"APPROVED","received_on":"2024-03-01T02:00:00","set_as_approved_on":"2024-03-01T02:05:00"}`
	read := events.NetflixCharge{
		Number: "I00002706", BillingSystemCustomerIdentifier: "cust-77", Amount: "9.99", Currency: "EUR", ChargeStatus: "APPROVED",
		PaidThroughDate: at("2024-04-01T00:00:00Z"), ReceivedOn: &day, SetAsApprovedOn: at("2024-03-01T02:05:00Z"),
	}
	one := events.NetflixCharge{Number: "1", ChargeStatus: "PENDING"}
	failed := func(why string) outcome {
		return outcome{Kind: "unavailable", Code: events.CodeRead, Message: "reading the Netflix charges: " + why}
	}
	for name, c := range map[string]struct {
		data string
		want []events.NetflixCharge
		err  outcome
	}{
		"the reference's example": {`{"charges_set":[` + example + `]}`, []events.NetflixCharge{read}, outcome{}},
		"an array":                {`[` + example + `]`, []events.NetflixCharge{read}, outcome{}},
		"null":                    {`null`, nil, outcome{}},
		"nothing":                 {`{}`, nil, outcome{}},
		"no items":                {`[]`, nil, outcome{}},
		"an empty set":            {`{"charges_set":[]}`, nil, outcome{}},
		"a set that is null":      {`{"charges_set":null,"total":0}`, nil, outcome{}},
		"every member": {`[{"number":17,"billing_system_customer_identifier":77,"amount":"9.90","currency":"EUR","local_currency_amount":-0.5e1,"local_currency":"CHF",
			"paid_through_date":"2024-04-01","charge_status":"BAD_REQUEST","received_on":"2024-03-01T02:00:00.5","set_as_approved_on":"2024-03-01T02:00:00Z",
			"set_as_declined_on":"2024-03-01T03:00:00+01:00","set_as_bad_request_on":"","set_as_rejected_request_on":"2024-03-01T02:00:00","notes":[]}]`,
			[]events.NetflixCharge{{
				Number: "17", BillingSystemCustomerIdentifier: "77", Amount: "9.90", Currency: "EUR", LocalCurrencyAmount: "-0.5e1", LocalCurrency: "CHF",
				PaidThroughDate: at("2024-04-01T00:00:00Z"), ChargeStatus: "BAD_REQUEST", ReceivedOn: at("2024-03-01T02:00:00.5Z"), SetAsApprovedOn: &day,
				SetAsDeclinedOn: &day, SetAsRejectedRequestOn: &day,
			}}, outcome{}},
		"null members": {`[{"number":"1","billing_system_customer_identifier":null,"amount":null,"currency":null,"local_currency_amount":null,"local_currency":null,
			"paid_through_date":null,"charge_status":"PENDING","received_on":null,"set_as_approved_on":null,"set_as_declined_on":null,"set_as_bad_request_on":null,
			"set_as_rejected_request_on":null}]`, []events.NetflixCharge{one}, outcome{}},
		"absent members":      {`[{"number":"1","charge_status":"PENDING"}]`, []events.NetflixCharge{one}, outcome{}},
		"other members only":  {`{"charges":[]}`, nil, failed("the reply has no charges_set: is netflix.charges.set_field right?")},
		"a single charge":     {example, nil, failed("the reply has no charges_set: is netflix.charges.set_field right?")},
		"a set without list":  {`{"charges_set":{}}`, nil, failed("charges_set is no JSON array")},
		"the set twice":       {`{"charges_set":[],"charges_set":[` + example + `]}`, nil, failed("data holds a member twice")},
		"an amount in words":  {`[{"number":"1","charge_status":"X","amount":"9,99"}]`, nil, failed(`charge "1": amount is no number`)},
		"no amount at all":    {`[{"number":"1","charge_status":"X","local_currency_amount":{}}]`, nil, failed(`charge "1": local_currency_amount is no number`)},
		"an empty amount":     {`[{"number":"1","charge_status":"X","amount":""}]`, nil, failed(`charge "1": amount is no number`)},
		"a hexadecimal one":   {`[{"number":"1","charge_status":"X","amount":"0x1p2"}]`, nil, failed(`charge "1": amount is no number`)},
		"a date that is none": {`[{"number":"1","charge_status":"X","received_on":"2024-02-30T00:00:00"}]`, nil, failed(`charge "1": received_on is no date`)},
		"a date as a number":  {`[{"number":"1","charge_status":"X","set_as_declined_on":1709258400}]`, nil, failed(`charge "1": set_as_declined_on is no date`)},
		"a date as an object": {`[{"number":"1","charge_status":"X","paid_through_date":{}}]`, nil, failed(`charge "1": paid_through_date is no date`)},
		"no number":           {`[{"charge_status":"X"}]`, nil, failed(`charge "": has no number or no charge_status`)},
		"no state":            {`[{"number":"1","charge_status":true}]`, nil, failed(`charge "1": has no number or no charge_status`)},
	} {
		t.Run(name, func(t *testing.T) {
			never := false
			s := settings(serve(t, &installation{t: t, answer: data(c.data)}))
			n := NetflixSettings{Charges: ChargesSettings{SendStatus: &never}}
			got, err := clients(t, s, n, upstream.Settings{}).netflix.ListCharges(t.Context())
			like(t, c.err, err)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The name of the set is a setting.
func TestListChargesOfAnotherSet(t *testing.T) {
	never := false
	s := settings(serve(t, &installation{t: t, answer: data(`{"charges_set":[],"items":[{"number":"1","charge_status":"PENDING"}]}`)}))
	n := NetflixSettings{Charges: ChargesSettings{SendStatus: &never, SetField: "items"}}
	got, err := clients(t, s, n, upstream.Settings{}).netflix.ListCharges(t.Context())
	like(t, outcome{}, err)
	if diff := cmp.Diff([]string{"1 PENDING"}, states(got)); diff != "" {
		t.Error(diff)
	}
}

// A list that is too long for the caller's time says nothing of CRM.COM, which has answered every page: the breaker does
// not count it. A page that does not come does count.
func TestListThatTakesTooLong(t *testing.T) {
	for _, c := range []struct {
		page   time.Duration
		counts bool
	}{{time.Second, false}, {time.Hour, true}} {
		synctest.Test(t, func(t *testing.T) {
			first := true
			i := &issuer{answer: func(w http.ResponseWriter, r *http.Request, _ string) {
				offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
				if !first {
					select {
					case <-time.After(c.page):
					case <-r.Context().Done():
						return
					}
				}
				first = false
				ok(w, fmt.Sprintf(`{"charges_set":[{"number":"%d","charge_status":"PENDING"},{"number":"%d","charge_status":"PENDING"}]}`, offset, offset+1))
			}}
			b := inMemory(t, i, upstream.Settings{CallTimeout: 10 * time.Second})
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second+time.Millisecond)
			defer cancel()
			_, err := b.netflix.ListCharges(ctx)
			e := events.AsError(err)
			var of *events.Error // what the breaker judges a failed read by
			if e.Kind != events.Unavailable || e.Code != events.CodeRead || errors.As(e.Cause, &of) != c.counts {
				t.Errorf("pages of %s: %+v, cause %v", c.page, e, e.Cause)
			}
		})
	}
}
