package sandbox

import (
	"net/http"
	"strconv"
	"time"

	"subrelay/events"
)

// renewed is the body of a renewal that was accepted. The vendor's page shows none; a public client reads only that
// there is no Message in it.
var renewed = reply{status: http.StatusOK, typ: typeJSON, body: []byte("{}")}

// renewNote is the detail of a renewal in the book: "months", "days", "from" ("expiry" or "now"), "route" ("async" for
// V2Async), and where it had its effect the expiry "before" and "after", in RFC 3339. A call that was refused before it
// was understood has none.
type renewNote struct {
	renewal
	async         bool
	before, after time.Time
}

func (n *renewNote) describe(detail map[string]string) {
	detail["months"] = strconv.Itoa(n.months)
	detail["days"] = strconv.Itoa(n.days)
	detail["from"] = "now"
	if n.fromExpiry {
		detail["from"] = "expiry"
	}
	if n.async {
		detail["route"] = "async"
	}
	if !n.after.IsZero() {
		detail["before"] = n.before.UTC().Format(time.RFC3339)
		detail["after"] = n.after.UTC().Format(time.RFC3339)
	}
}

// renew does the work of the five RenewCustomer routes (docs.tvms.io, page RenewCustomer).
func (t *TVMS) renew(q *query, e *entry, async bool) reply {
	if r, ok := t.admit(q, q.crmServices); !ok {
		return r
	}
	asked, err := q.renewal()
	if err != nil {
		return message(http.StatusBadRequest, err.Error())
	}
	if !async || t.opts.AsyncDelay <= 0 {
		return t.apply(q, e, asked, async)
	}
	if _, ok := t.customers.read(q.mappingID, q.userID, t.clock()); !ok {
		return notFound()
	}
	t.book.noted(e, 0, &renewNote{renewal: asked, async: true})
	time.AfterFunc(t.opts.AsyncDelay, func() { t.apply(q, e, asked, true) })
	return renewed
}

// apply changes the customer's expiry date and books it.
func (t *TVMS) apply(q *query, e *entry, asked renewal, async bool) reply {
	n := &renewNote{renewal: asked, async: async}
	order, refused := t.extend(q, n)
	t.book.noted(e, order, n)
	if order == 0 {
		return refused
	}
	return renewed
}

// extend is the effect itself. Its tick is drawn while the customer is locked, so that the ticks of a customer's effects
// are in the order in which they happened.
func (t *TVMS) extend(q *query, n *renewNote) (order int64, refused reply) {
	now := t.clock()
	t.customers.mu.Lock()
	defer t.customers.mu.Unlock()
	c := t.customers.find(q.mappingID, q.userID)
	if c == nil {
		return 0, notFound()
	}
	from := c.Expires
	if !n.fromExpiry {
		from = now.Truncate(time.Second) // dates are told in seconds
	}
	until := from.In(t.opts.ExpiryZone).AddDate(0, 0, n.days)
	if n.months > 0 {
		until = events.AddMonths(from.In(t.opts.ExpiryZone), n.months)
	}
	if !presentable(until) {
		return 0, message(http.StatusBadRequest, "The expire date would be too far away.")
	}
	n.before, n.after = c.Expires, until
	c.Expires = until
	return t.book.tick(), reply{}
}

func notFound() reply { return message(http.StatusBadRequest, "Customer not found") }
