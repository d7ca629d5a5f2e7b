package handlers

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
)

// services reads "1:INTERNET 2:SPORTS/SWAPPED": instance, product code, and the state if it is not EFFECTIVE. The
// product's id is "p" and its code, in lower case; a product named "-INTERNET" shows no code.
func services(text string) []events.SubscribedService {
	out := []events.SubscribedService{}
	for _, word := range strings.Fields(text) {
		id, rest, _ := strings.Cut(word, ":")
		code, state, _ := strings.Cut(rest, "/")
		s := events.SubscribedService{ID: id, LifeCycleState: "EFFECTIVE"}
		if state != "" {
			s.LifeCycleState = state
		}
		s.Product.ID = "p" + strings.ToLower(strings.TrimPrefix(code, "-"))
		if !strings.HasPrefix(code, "-") {
			s.Product.Code = code
		}
		out = append(out, s)
	}
	return out
}

func code(c string) events.ServiceIdentifier { return events.ServiceIdentifier{Code: c} }

func byID(c string) events.ServiceIdentifier { return events.ServiceIdentifier{ID: "p" + c} }

func codes(text string) (out []events.ServiceIdentifier) {
	for _, c := range strings.Fields(text) {
		out = append(out, code(c))
	}
	return out
}

func TestForesee(t *testing.T) {
	for name, c := range map[string]struct {
		change change
		before string
		want   string // the target in short: "CODE=n", "swapped ID"; or why there is none
	}{
		"add what is not there":          {change{add: codes("B")}, "1:A", "B=1"},
		"add a second":                   {change{add: codes("A")}, "1:A", "A=2"},
		"add two of one":                 {change{add: codes("A A")}, "", "A=2"},
		"what is gone does not count":    {change{add: codes("A")}, "1:A/REMOVED 2:A/SWAPPED 3:A/NOT_EFFECTIVE", "A=2"},
		"remove":                         {change{remove: codes("A")}, "1:A 2:B", "A=0"},
		"remove one of two":              {change{remove: codes("A")}, "1:A 2:A", "A=1"},
		"add and remove":                 {change{add: codes("B"), remove: codes("A")}, "1:A", "B=1 A=0"},
		"by id":                          {change{add: []events.ServiceIdentifier{byID("b")}, remove: []events.ServiceIdentifier{byID("a")}}, "1:A", "pb=1 pa=0"},
		"swap an instance":               {change{add: codes("B"), swap: []string{"1"}}, "1:A 2:A", "B=1 swapped 1"},
		"swap an instance for its like":  {change{add: codes("A"), swap: []string{"1"}}, "1:A 2:A", "A=2 swapped 1"},
		"swap by product":                {change{add: codes("B"), remove: codes("A")}, "1:A 2:B", "B=2 A=0"},
		"swap two, by either":            {change{add: codes("B C"), remove: codes("A"), swap: []string{"9"}}, "1:A 9:X", "B=1 C=1 A=0 swapped 9"},
		"swap by product for the same":   {change{add: codes("A"), remove: codes("A")}, "1:A", whySame},
		"remove what is not there":       {change{remove: codes("B")}, "1:A", whyAbsent},
		"remove what is gone":            {change{remove: codes("A")}, "1:A/REMOVED", whyAbsent},
		"remove more than there are":     {change{remove: codes("A A")}, "1:A", whyAbsent},
		"swap an instance that is gone":  {change{add: codes("B"), swap: []string{"1"}}, "1:A/SWAPPED", whyAbsent},
		"swap an unknown instance":       {change{add: codes("B"), swap: []string{"7"}}, "1:A", whyAbsent},
		"swap one instance twice":        {change{add: codes("B B"), swap: []string{"1", "1"}}, "1:A", whyAbsent},
		"two instances of one id":        {change{add: codes("B"), swap: []string{"1"}}, "1:A 1:C", whyAbsent},
		"two names of one product":       {change{add: []events.ServiceIdentifier{byID("a")}, remove: codes("A")}, "1:A", whyAmbiguous},
		"a product that shows no code":   {change{add: codes("B")}, "1:-A", "shows no code"},
		"a product that shows no name":   {change{add: []events.ServiceIdentifier{{AlternativeCode: "x"}}}, "1:A", "shows no alternative_code"},
		"one that is gone may show none": {change{add: codes("B")}, "1:-A/REMOVED", "B=1"},
		"distributors":                   {change{add: codes("B"), hidden: whyDistribution}, "1:A", whyDistribution},
		"components":                     {change{add: codes("B"), open: whyComponents}, "1:A", whyComponents},
		"nothing":                        {change{}, "1:A", whyNothing},
	} {
		t.Run(name, func(t *testing.T) {
			got, why := c.change.foresee(live(services(c.before)))
			if (got == nil) == (why == "") {
				t.Fatalf("the target is %+v, and why not: %q", got, why)
			}
			if short := shortTarget(got); got != nil && short != c.want || got == nil && !strings.Contains(why, c.want) {
				t.Errorf("foresees %q %q, want %q", short, why, c.want)
			}
		})
	}
}

func shortTarget(t *target) string {
	if t == nil {
		return ""
	}
	var out []string
	for _, l := range t.Live {
		out = append(out, fmt.Sprintf("%s%s=%d", l.Product.Code, l.Product.ID, l.Live))
	}
	for _, id := range t.Swapped {
		out = append(out, "swapped "+id)
	}
	return strings.Join(out, " ")
}

// What the services are now, and whether that is the target, the state before, or neither.
func TestReached(t *testing.T) {
	const reached, same, neither = "reached", "same", "neither"
	addB := change{add: codes("B")}
	removeA := change{remove: codes("A")}
	replace := change{add: codes("B"), remove: codes("A")}
	swap1 := change{add: codes("B"), swap: []string{"1"}}
	alike := change{add: codes("A"), swap: []string{"1"}}
	for name, c := range map[string]struct {
		change      change
		before, now string
		want        string
	}{
		"added":                             {addB, "1:A", "1:A 2:B", reached},
		"added, in another order":           {addB, "1:A", "2:B 1:A", reached},
		"added, not in effect yet":          {addB, "1:A", "1:A 2:B/NOT_EFFECTIVE", reached},
		"added, and the past is listed":     {addB, "1:A 8:C/REMOVED", "1:A 2:B 9:D/SWAPPED", reached},
		"added, by its id":                  {change{add: []events.ServiceIdentifier{byID("b")}}, "1:A", "1:A 2:B", reached},
		"added a second":                    {addB, "1:B", "1:B 2:B", reached},
		"not added":                         {addB, "1:A", "1:A", same},
		"not added, the past is forgotten":  {addB, "1:A 2:B/REMOVED", "1:A", same},
		"added twice":                       {addB, "1:A", "1:A 2:B 3:B", neither},
		"added another":                     {addB, "1:A", "1:A 2:C", neither},
		"added, and another":                {addB, "1:A", "1:A 2:B 3:C", neither},
		"added, and another gone":           {addB, "1:A 3:C", "1:A 2:B", neither},
		"added, and another's state":        {addB, "1:A", "1:A/NOT_EFFECTIVE 2:B", neither},
		"added, and another replaced":       {addB, "1:A", "7:A 2:B", neither},
		"added, and its like replaced":      {addB, "1:B", "7:B 2:B", neither},
		"added, and shows no code":          {addB, "1:A", "1:A 2:-B", neither},
		"added and gone":                    {addB, "1:A", "1:A 2:B/REMOVED", same},
		"removed":                           {removeA, "1:A 2:C", "1:A/REMOVED 2:C", reached},
		"removed, and not listed":           {removeA, "1:A 2:C", "2:C", reached},
		"removed the last":                  {removeA, "1:A", "", reached},
		"removed one of two":                {removeA, "1:A 2:A", "2:A", reached},
		"removed both":                      {removeA, "1:A 2:A", "", neither},
		"removed another":                   {removeA, "1:A 2:C", "1:A", neither},
		"replaced":                          {replace, "1:A 3:C", "2:B 3:C", reached},
		"replaced by half: added":           {replace, "1:A 3:C", "1:A 2:B 3:C", neither},
		"replaced by half: removed":         {replace, "1:A 3:C", "3:C", neither},
		"swapped":                           {swap1, "1:A 5:A", "1:A/SWAPPED 5:A 2:B", reached},
		"swapped the other":                 {swap1, "1:A 5:A", "1:A 5:A/SWAPPED 2:B", neither},
		"swapped, and the instance removed": {swap1, "1:A", "1:A/REMOVED 2:B", neither},
		"swapped, and it is not listed":     {swap1, "1:A", "2:B", neither},
		"swapped, and it is listed twice":   {swap1, "1:A", "1:A/SWAPPED 1:A/SWAPPED 2:B", neither},
		"swapped for nothing":               {swap1, "1:A", "1:A/SWAPPED", neither},
		"swapped for its like":              {alike, "1:A 5:A", "1:A/SWAPPED 5:A 2:A", reached},
		"not swapped for its like":          {alike, "1:A 5:A", "1:A 5:A", same},
	} {
		t.Run(name, func(t *testing.T) {
			before, now := live(services(c.before)), services(c.now)
			target, why := c.change.foresee(before)
			if target == nil {
				t.Fatalf("no target: %s", why)
			}
			got := neither
			switch r, s := c.change.reached(target, before, now), sameServices(before, now); {
			case r && s:
				t.Fatal("both the target and the state before")
			case r:
				got = reached
			case s:
				got = same
			}
			if got != c.want {
				t.Errorf("the services now are %s, want %s", got, c.want)
			}
		})
	}
}

// Services that are as before prove nothing where the change need not show in them.
func TestShows(t *testing.T) {
	some := &target{}
	for name, c := range map[string]struct {
		change change
		target *target
		before string
		want   bool
	}{
		"a target":                      {change{add: codes("B")}, some, "1:A", true},
		"a target, no ids":              {change{add: codes("B")}, some, ":A", true},
		"no target, instances are told": {change{add: codes("A"), remove: codes("A")}, nil, "1:A 2:B", true},
		"no target, no ids":             {change{add: codes("A"), remove: codes("A")}, nil, "1:B :A", false},
		"components":                    {change{add: codes("B"), open: whyComponents}, nil, "1:A", true},
		"distributors":                  {change{add: codes("B"), hidden: whyDistribution}, nil, "1:A", false},
	} {
		if got := c.change.shows(c.target, services(c.before)); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestChanges(t *testing.T) {
	distributed := []events.Distribution{{}}
	components := []events.Component{{}}
	for name, c := range map[string]struct {
		got, want change
	}{
		"amend": {amendment(&events.AmendData{
			ServicesToAddSet:    []events.ServiceToAdd{{ServiceIdentifier: code("B")}, {ServiceIdentifier: code("C")}},
			ServicesToRemoveSet: []events.ServiceToRemove{{ServiceIdentifier: code("A")}},
		}), change{add: codes("B C"), remove: codes("A")}},
		"amend, distributed": {amendment(&events.AmendData{
			ServicesToAddSet: []events.ServiceToAdd{{ServiceIdentifier: code("B"), ServicesDistributionSet: distributed}},
		}), change{add: codes("B"), hidden: whyDistribution}},
		"amend, removed from a distributor": {amendment(&events.AmendData{
			ServicesToRemoveSet: []events.ServiceToRemove{{ServiceIdentifier: code("B"), ServicesDistributionSet: distributed}},
		}), change{remove: codes("B"), hidden: whyDistribution}},
		"amend, a bundle": {amendment(&events.AmendData{
			ServicesToAddSet: []events.ServiceToAdd{{ServiceIdentifier: code("B"), ComponentsSet: components}},
		}), change{add: codes("B"), open: whyComponents}},
		"amend, items added": {amendment(&events.AmendData{
			ServicesToAddSet: []events.ServiceToAdd{{ServiceIdentifier: code("B")}}, InstalledItemsToAddSet: make([]events.InstalledItem, 1),
		}), change{add: codes("B"), hidden: whyItems}},
		"amend, items removed": {amendment(&events.AmendData{InstalledItemsToRemoveSet: make([]events.InstalledItem, 1)}), change{hidden: whyItems}},
		"swap": {swapping(&events.SwapData{ServicesToSwapSet: []events.ServiceSwap{
			{FromService: events.SwapFrom{SubscriptionServiceID: "1"}, ToService: events.SwapTo{ServiceIdentifier: code("B")}},
			{FromService: events.SwapFrom{ServiceIdentifier: new(code("A"))}, ToService: events.SwapTo{ServiceIdentifier: code("C")}},
		}}), change{add: codes("B C"), remove: codes("A"), swap: []string{"1"}}},
		"swap, distributed, a bundle": {swapping(&events.SwapData{ServicesToSwapSet: []events.ServiceSwap{{
			FromService: events.SwapFrom{SubscriptionServiceID: "1"},
			ToService:   events.SwapTo{ServiceIdentifier: code("B"), ServicesDistributionSet: distributed, ComponentsSet: components},
		}}}), change{add: codes("B"), swap: []string{"1"}, hidden: whyDistribution, open: whyComponents}},
	} {
		if diff := cmp.Diff(c.want, c.got, cmp.AllowUnexported(change{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
