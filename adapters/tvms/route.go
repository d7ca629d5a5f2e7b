package tvms

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"subrelay/events"
)

// unused is what a parameter without a value is sent as (TVMS manual, Billing integration with TVMS).
const unused = "0"

const defaultRoute = "post-v2"

// route is one documented way to call RenewCustomer.
type route struct {
	method string
	path   string
	async  bool
}

// routes are those of the TVMS manual, RenewCustomer.
var routes = map[string]route{
	"post-v1":       {method: http.MethodPost, path: "/api/RenewCustomer/renewCustomer"},
	"post-v2":       {method: http.MethodPost, path: "/api/RenewCustomer/renewCustomerV2"},
	"get-v2":        {method: http.MethodGet, path: "/api/RenewCustomer/renewCustomerV2"},
	"post-v2-async": {method: http.MethodPost, path: "/api/RenewCustomer/renewCustomerV2Async", async: true},
	"get-v2-async":  {method: http.MethodGet, path: "/api/RenewCustomer/renewCustomerV2Async", async: true},
}

func routeNames() []string { return slices.Sorted(maps.Keys(routes)) }

// The reads. GetCustomerStatus is in the TVMS manual, CustomerStatus; getCustomer_V2 is only seen in use by others.
const (
	methodGetCustomer = "getCustomer_V2"
	methodStatus      = "GetCustomerStatus"
)

var readPaths = map[string]string{
	methodGetCustomer: "/api/GetCustomer/getCustomer_V2",
	methodStatus:      "/api/CustomerStatus/GetCustomerStatus",
}

// query is a query string in the order its parameters are added, which is the manual's.
type query struct{ b strings.Builder }

func (q *query) add(name, value string) {
	if q.b.Len() > 0 {
		q.b.WriteByte('&')
	}
	q.b.WriteString(name)
	q.b.WriteByte('=')
	if value == "" {
		value = unused
	}
	// A space as %20 is read alike everywhere; "+" is not.
	q.b.WriteString(strings.ReplaceAll(url.QueryEscape(value), "+", "%20"))
}

// renewQuery holds the eight parameters of TVMS manual, RenewCustomer.
func (c *Client) renewQuery(r *events.RenewData, crm string) string {
	var q query
	q.add("customermappingid", r.CustomerMappingID)
	q.add("userid", r.UserID)
	q.add("months", strconv.Itoa(r.Months))
	q.add("days", strconv.Itoa(r.Days))
	q.add("crmServices", crm)
	q.add("fromExpireDate", strconv.FormatBool(r.FromExpiry()))
	q.add("authToken", c.settings.AuthToken.Reveal())
	q.add("password", c.settings.Password.Reveal())
	return q.b.String()
}

// readQuery holds the parameters of TVMS manual, CustomerStatus. The CRM is named in the singular there.
func (c *Client) readQuery(r *events.RenewData, crm string) string {
	var q query
	q.add("customermappingid", r.CustomerMappingID)
	q.add("userid", r.UserID)
	q.add("password", c.settings.Password.Reveal())
	q.add("crmService", crm)
	q.add("authToken", c.settings.AuthToken.Reveal())
	return q.b.String()
}

// request builds a call without a body.
func (c *Client) request(method, path, rawQuery string) *http.Request {
	u := *c.base
	u.Path = c.base.Path + path
	u.RawQuery = rawQuery
	return &http.Request{
		Method: method, URL: &u, Host: u.Host,
		Header: http.Header{"Accept": {"application/json"}},
		Body:   http.NoBody,
	}
}
