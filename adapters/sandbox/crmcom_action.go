package sandbox

import (
	"cmp"
	"strings"
	"time"

	"subrelay/events"
)

// amendSets are the sets of amend that are no swaps, and chargeSets those of the methods for charges.
var (
	amendSets  = [...]string{"services_to_add_set", "services_to_remove_set", "installed_items_to_add_set", "installed_items_to_remove_set"}
	chargeSets = [...]string{"acknowledged_charges_set", "accepted_charges_set", "declined_charges_set"}
)

// The life-cycle states that the imitation sets (vendor: subscription and service response objects).
const (
	effective    = "EFFECTIVE"
	swapped      = "SWAPPED"
	removed      = "REMOVED"
	scheduled    = "SCHEDULED"
	executed     = "EXECUTED"
	rejected     = "REJECTED"
	behavesAmend = "AMEND_SERVICES_INSTALLED_ITEMS" // vendor: behaviour codes of get_scheduled
	behavesSwap  = "SWAP_SERVICE"
)

// action is what an amend or a swap asks for.
type action struct {
	reference string
	behaviour string
	business  string
	scheduled time.Time // zero: at once

	add, remove           []placing[events.ServiceIdentifier]
	itemsAdd, itemsRemove []placing[events.ItemIdentifier]
	swaps                 []swapping
}

// placing is a service or an item, and the distributors it goes to or leaves; none: it comes to the subscription or
// leaves it.
type placing[T any] struct {
	what T
	at   []string
}

// swapping is one swap.
type swapping struct {
	instance string // the id of the service that goes, or
	from     events.ServiceIdentifier
	to       placing[events.ServiceIdentifier]
}

// readAction reads what a call asks for, which was checked.
func readAction(q *request, swapSet string, zone *time.Location) *action {
	p := &q.params
	a := &action{
		reference: strings.Clone(p.string("transaction_reference_number")), behaviour: behavesAmend,
		business: strings.Clone(p.string("business_classification_code")),
	}
	if q.entry != nil && q.kindOf(swapSet) == events.Swap {
		a.behaviour = behavesSwap
	}
	if date := p.string("scheduled_date"); date != "" {
		a.scheduled, _ = time.ParseInLocation(wireDate, date, zone) // it was checked
	}
	a.add = placings(p.elements(amendSets[0]), "services_distribution_set", productOf)
	a.remove = placings(p.elements(amendSets[1]), "services_distribution_set", productOf)
	a.itemsAdd = placings(p.elements(amendSets[2]), "installed_items_distribution_set", itemOf)
	a.itemsRemove = placings(p.elements(amendSets[3]), "installed_items_distribution_set", itemOf)
	swaps := p.elements(swapSet)
	for i := range swaps {
		from, to := swaps[i].get("from_service"), swaps[i].get("to_service")
		s := swapping{
			instance: strings.Clone(from.string("subscription_service_id")),
			to:       placing[events.ServiceIdentifier]{what: productOf(to), at: distributors(to, "services_distribution_set")},
		}
		if s.instance == "" {
			s.from = productOf(from)
		}
		a.swaps = append(a.swaps, s)
	}
	return a
}

func placings[T any](set []value, distribution string, what func(*value) T) []placing[T] {
	var list []placing[T]
	for i := range set {
		list = append(list, placing[T]{what: what(&set[i]), at: distributors(&set[i], distribution)})
	}
	return list
}

func productOf(v *value) events.ServiceIdentifier {
	id := v.get("service_identifier")
	return events.ServiceIdentifier{
		ID: strings.Clone(id.string("id")), Code: strings.Clone(id.string("code")), AlternativeCode: strings.Clone(id.string("alternative_code")),
	}
}

func itemOf(v *value) events.ItemIdentifier {
	id := v.get("installed_item_identifier")
	return events.ItemIdentifier{
		ID: strings.Clone(id.string("id")), SerialNumber: strings.Clone(id.string("serial_number")), AlternativeCode: strings.Clone(id.string("alternative_code")),
	}
}

// distributors are by whatever each is named.
func distributors(v *value, set string) []string {
	var list []string
	for _, each := range v.elements(set) {
		list = append(list, strings.Clone(each.get("provisioning_distributor_identifier").of[0].text))
	}
	return list
}

// detail is what the book tells of the action.
func (a *action) detail(code string) pairs {
	p := pairs{{"code", code}, {"reference", a.reference}}
	if !a.scheduled.IsZero() {
		p = append(p, [2]string{"scheduled", a.scheduled.UTC().Format(time.RFC3339)})
	}
	for _, set := range []struct {
		name string
		text string
	}{
		{"add", tell(a.add, productName)}, {"remove", tell(a.remove, productName)}, {"items_add", tell(a.itemsAdd, itemName)},
		{"items_remove", tell(a.itemsRemove, itemName)}, {"swap", tellSwaps(a.swaps)},
	} {
		if set.text != "" {
			p = append(p, [2]string{set.name, set.text})
		}
	}
	return p
}

func tell[T any](list []placing[T], name func(T) string) string {
	var b strings.Builder
	for i, p := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(name(p.what))
		if len(p.at) > 0 {
			b.WriteString(" at " + strings.Join(p.at, " "))
		}
	}
	return b.String()
}

func tellSwaps(list []swapping) string {
	var b strings.Builder
	for i := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		from := list[i].instance
		if from == "" {
			from = productName(list[i].from)
		}
		b.WriteString(from + " > " + tell([]placing[events.ServiceIdentifier]{list[i].to}, productName))
	}
	return b.String()
}

func productName(p events.ServiceIdentifier) string { return cmp.Or(p.Code, p.AlternativeCode, p.ID) }

func itemName(i events.ItemIdentifier) string { return cmp.Or(i.SerialNumber, i.AlternativeCode, i.ID) }
