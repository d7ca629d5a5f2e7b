package sandbox

import (
	"net/http"
	"time"
)

// look answers a route that changes nothing.
func (t *TVMS) look(rt route, q *query) reply {
	if r, ok := t.admit(q, q.crmService); !ok {
		return r
	}
	return rt.read(t, q)
}

// status is GetCustomerStatus (page CustomerStatus): all five parameters are required there. The reply's shape is this
// imitation's guess.
func (t *TVMS) status(q *query) reply {
	const required = hasMappingID | hasUserID | hasPassword | hasCRMService
	if q.seen&required != required {
		return message(http.StatusBadRequest, "customermappingid, userid, password and crmService are required.")
	}
	c, ok := t.customers.read(q.mappingID, q.userID, t.clock())
	if !ok {
		return notFound()
	}
	return asJSON(http.StatusOK, struct{ Status string }{c.Status})
}

// customer is getCustomer_V2. No vendor page describes it; the reply's fields are this imitation's guess, and the expiry
// date is as the options say.
func (t *TVMS) customer(q *query) reply {
	c, ok := t.customers.read(q.mappingID, q.userID, t.clock())
	if !ok {
		return notFound()
	}
	return asJSON(http.StatusOK, map[string]any{
		"customermappingid": c.MappingID,
		"userid":            c.UserID,
		"Status":            c.Status,
		t.opts.ExpiryField:  t.expiry(c.Expires),
	})
}

func (t *TVMS) expiry(at time.Time) any {
	switch t.opts.ExpiryFormat {
	case "", "unix":
		return at.Unix()
	case "unix_ms":
		return at.UnixMilli()
	}
	return at.In(t.opts.ExpiryZone).Format(t.opts.ExpiryFormat)
}

// products is getProducts_V2: an array of objects with ProductID and ProductName.
func (t *TVMS) products(*query) reply {
	type product struct {
		ProductID   int
		ProductName string
	}
	return asJSON(http.StatusOK, []product{{1, "Basic"}, {2, "Family"}, {3, "Sports"}})
}
