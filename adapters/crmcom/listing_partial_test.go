package crmcom

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

// paged answers charges/list with these charges, page by page, all in the part of those that are processed.
func paged(charges ...string) handle {
	return func(w http.ResponseWriter, _ *http.Request, args map[string]any) {
		size, _ := strconv.Atoi(args["number_of_results"].(string))
		offset, _ := strconv.Atoi(args["offset"].(string))
		page := charges[min(offset, len(charges)):min(offset+size, len(charges))]
		if args["charge_status"] != "PROCESSED" {
			page = nil
		}
		ok(w, `{"charges_set":[`+strings.Join(page, ",")+`]}`)
	}
}

func approved(number string) string {
	return fmt.Sprintf(`{"number":%q,"billing_system_customer_identifier":"c","amount":1,"charge_status":"APPROVED"}`, number)
}

// A charge that cannot be read is told of, and hides no other, wherever on a page it stands.
func TestListChargesBesideWhatCannotBeRead(t *testing.T) {
	bad := []string{
		`{"number":"x","billing_system_customer_identifier":"c","amount":"nine","charge_status":"APPROVED"}`,
		`{"number":"y","billing_system_customer_identifier":"c","amount":1}`,
		`{"billing_system_customer_identifier":"c","amount":1,"charge_status":"APPROVED"}`,
		`{"number":"","billing_system_customer_identifier":"c","charge_status":"APPROVED","received_on":"soon"}`,
		`[]`, `7`,
	}
	n := NetflixSettings{Charges: ChargesSettings{PageSize: 3}}
	for place := range 8 {
		for _, broken := range append(each(bad), bad) {
			var list []string
			for i := range 7 {
				list = append(list, approved(strconv.Itoa(i)))
			}
			rest := append([]string(nil), list[place:]...)
			list = append(list[:place], broken...)
			list = append(list, rest...)
			s := settings(serve(t, &installation{t: t, answer: paged(list...)}))
			got, err := clients(t, s, n, upstream.Settings{}).netflix.ListCharges(t.Context())
			like(t, outcome{Kind: "unavailable", Code: events.CodeRead}, err)
			var numbers []string
			for _, c := range got {
				numbers = append(numbers, c.Number)
			}
			if diff := cmp.Diff([]string{"0", "1", "2", "3", "4", "5", "6"}, numbers); diff != "" {
				t.Errorf("%v at %d: %v\n%s", broken, place, err, diff)
			}
		}
	}
}

// Of several that cannot be read, the first is named.
func TestListChargesNamesTheFirst(t *testing.T) {
	s := settings(serve(t, &installation{t: t, answer: paged(`{"number":"1"}`, approved("2"), `{"number":"3"}`)}))
	_, err := clients(t, s, NetflixSettings{}, upstream.Settings{}).netflix.ListCharges(t.Context())
	like(t, outcome{Kind: "unavailable", Code: events.CodeRead, Message: `reading the Netflix charges: charge "1": has no number or no charge_status`}, err)
}

// A charge that is looked for must say its number and its state. Whatever else cannot be read of it, and what cannot be
// read of others, keeps nobody from taking charges off the list.
func TestFindChargesBesideWhatCannotBeRead(t *testing.T) {
	unreadable := func(what string) outcome {
		return outcome{Kind: "unavailable", Code: events.CodeRead, Message: "reading the Netflix charges: charge " + what}
	}
	const nameless = `"": has no number or no charge_status`
	for _, c := range []struct {
		charge string
		want   outcome
	}{
		{`{"number":"bad","charge_status":"APPROVED","amount":"nine"}`, outcome{}},
		{`{"number":"bad","charge_status":"APPROVED","received_on":"soon"}`, outcome{}},
		{`{"number":"other"}`, outcome{}},
		{`{"number":"other","charge_status":""}`, outcome{}},
		{`{"number":"other","charge_status":"APPROVED","amount":[]}`, outcome{}},
		{`{"number":"bad"}`, unreadable(`"bad": has no number or no charge_status`)},
		{`{"number":"bad","charge_status":null}`, unreadable(`"bad": has no number or no charge_status`)},
		{`{"charge_status":"APPROVED"}`, unreadable(nameless)},
		{`{"number":"","charge_status":"APPROVED"}`, unreadable(nameless)},
		{`{"number":["bad"],"charge_status":"APPROVED"}`, unreadable(nameless)},
		{`{"number":"bad","number":"other","charge_status":"APPROVED"}`, unreadable(`"": holds a member twice`)},
		{`7`, unreadable(`"": is no JSON object`)},
	} {
		for place := range 5 {
			list := []string{approved("0"), approved("1"), approved("2"), approved("3")}
			list = slices.Insert(list, place, c.charge)
			s := settings(serve(t, &installation{t: t, answer: paged(list...)}))
			b := clients(t, s, NetflixSettings{Charges: ChargesSettings{PageSize: 3}}, upstream.Settings{})
			got, err := b.netflix.FindCharges(t.Context(), []string{"3", "bad", "none"})
			like(t, c.want, err)
			if c.want.Kind != "" {
				continue
			}
			states := make(map[string]string)
			for number, charge := range got {
				states[number] = charge.Number + " " + charge.ChargeStatus
			}
			want := map[string]string{"3": "3 APPROVED"}
			if strings.Contains(c.charge, `"bad"`) {
				want["bad"] = "bad APPROVED"
			}
			if diff := cmp.Diff(want, states); diff != "" {
				t.Errorf("%s at %d: %s", c.charge, place, diff)
			}
		}
	}
}

// each is every item as a list of its own.
func each(items []string) (lists [][]string) {
	for _, item := range items {
		lists = append(lists, []string{item})
	}
	return lists
}

// A listing that ends early returns what it has read.
func TestListChargesAsFarAsItComes(t *testing.T) {
	var list []string
	for i := range 9 {
		list = append(list, approved(strconv.Itoa(i)))
	}
	s := settings(serve(t, &installation{t: t, answer: paged(list...)}))
	n := NetflixSettings{Charges: ChargesSettings{PageSize: 3, MaxPages: 3}} // one of them for the part that is empty
	got, err := clients(t, s, n, upstream.Settings{}).netflix.ListCharges(t.Context())
	like(t, outcome{Kind: "unavailable", Code: events.CodeRead}, err)
	if len(got) != 5 || got[4].Number != "4" {
		t.Errorf("%d charges: %v", len(got), got)
	}
}
