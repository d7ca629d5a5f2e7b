package sandbox

import (
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"
	"time"

	"subrelay/events"
)

// TVMSOptions says how an imitation of TVMS behaves. Its zero value knows no customers and accepts any token.
type TVMSOptions struct {
	// AuthToken is the token that calls must carry; with another a call gets 401. "" accepts any.
	AuthToken string
	// CRMServices are the names accepted as crmServices and crmService; others get 406. None accepts any that is not
	// empty.
	CRMServices []string
	// Customers are there from the beginning. NewTVMS panics on one that TVMS.PutCustomers refuses.
	Customers []Customer
	// AutoCreate, if not zero, is the expiry date with which an unknown customer is created at its first call. Zero
	// refuses unknown customers with 400.
	AutoCreate time.Time
	// Clock is the upstream's own clock: for renewals that count from now, statuses, and the times in the book. Default
	// time.Now. Delays are timers, whatever the clock says.
	Clock func() time.Time
	// Latency is how long every API call takes at least. A client that leaves meanwhile is not noticed: see Slow.
	Latency time.Duration
	// AsyncDelay is how long after its reply a call of a V2Async route has its effect. 0 is at once, before the reply.
	AsyncDelay time.Duration
	// ExpiryField names the expiry date in the replies of getCustomer_V2. Default "ExpireDate".
	ExpiryField string
	// ExpiryFormat is "unix" (seconds, a number; the default), "unix_ms", or a layout of package time.
	ExpiryFormat string
	// ExpiryZone is the zone of a layout, and that in which months are counted. Default UTC.
	ExpiryZone *time.Location
	// Seed decides which calls the rates of a fault plan hit.
	Seed uint64
	// BookLimit is that of NewBook.
	BookLimit int
	// Book and Faults are shared with other imitations. Default: its own, by BookLimit and Seed.
	Book   *Book
	Faults *Faults
}

// TVMS imitates the part of the TVMS API that renewing a customer needs (docs.tvms.io, pages RenewCustomer and
// CustomerStatus; getCustomer_V2 and getProducts_V2 as a public billing plug-in calls them). What the pages leave open
// is decided here as doc comments say, on the strict side, so that a client's mistakes show. All methods may be called
// from several goroutines.
type TVMS struct {
	stage
	opts      TVMSOptions
	customers *customers
	routes    map[string]route
	control   http.Handler
}

// route is one path of the API.
type route struct {
	get, post bool
	write     bool
	async     bool
	read      func(*TVMS, *query) reply // for routes that only read
}

// tvmsRoutes is the API.
func tvmsRoutes() map[string]route {
	return map[string]route{
		"/api/RenewCustomer/renewCustomer":        {post: true, write: true},
		"/api/RenewCustomer/renewCustomerV2":      {get: true, post: true, write: true},
		"/api/RenewCustomer/renewCustomerV2Async": {get: true, post: true, write: true, async: true},
		"/api/CustomerStatus/GetCustomerStatus":   {get: true, post: true, read: (*TVMS).status},
		"/api/GetCustomer/getCustomer_V2":         {get: true, read: (*TVMS).customer},
		"/api/GetProducts/getProducts_V2":         {get: true, read: (*TVMS).products},
	}
}

// NewTVMS makes an imitation. It starts nothing and needs no closing.
func NewTVMS(opts TVMSOptions) *TVMS {
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.ExpiryField == "" {
		opts.ExpiryField = "ExpireDate"
	}
	if opts.ExpiryZone == nil {
		opts.ExpiryZone = time.UTC
	}
	if opts.Book == nil {
		opts.Book = NewBook(opts.BookLimit)
	}
	if opts.Faults == nil {
		opts.Faults = NewFaults(opts.Seed)
	}
	t := &TVMS{
		stage: stage{
			book: opts.Book, faults: opts.Faults, latency: opts.Latency, clock: opts.Clock,
			say:    func(status int, _, text string) reply { return message(status, text) },
			expire: func() (reply, bool) { return denied(), false },
		},
		opts:      opts,
		customers: newCustomers(opts.AutoCreate),
		routes:    tvmsRoutes(),
	}
	if err := t.customers.put(opts.Customers); err != nil {
		panic("sandbox: " + err.Error())
	}
	for path := range t.routes {
		t.faults.know(path)
	}
	t.control = t.newControl(map[string]endpoint{
		"GET /_customers": t.readCustomers,
		"PUT /_customers": t.putCustomers,
	})
	return t
}

// Book is the book of the imitation's calls.
func (t *TVMS) Book() *Book { return t.book }

// Faults is what goes wrong with the imitation's calls.
func (t *TVMS) Faults() *Faults { return t.faults }

// PutCustomers adds customers, or replaces those that have one of the ids. Either all are taken or none.
func (t *TVMS) PutCustomers(list ...Customer) error { return t.customers.put(list) }

// Customers is all customers as they are now, by mapping id, then user id.
func (t *TVMS) Customers() []Customer { return t.customers.list("", t.clock()) }

// Customer is the customer with this mapping id or, where there is none, with this user id.
func (t *TVMS) Customer(id string) (Customer, bool) { return t.customers.get(id, t.clock()) }

// Handler serves the API and the control endpoints.
func (t *TVMS) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_") {
			t.control.ServeHTTP(w, r)
			return
		}
		t.serveAPI(w, r)
	})
}

// Control serves the control endpoints alone, for an address that stays reachable while the API's is down.
func (t *TVMS) Control() http.Handler { return t.control }

func (t *TVMS) serveAPI(w http.ResponseWriter, r *http.Request) {
	rt, found := t.routes[r.URL.Path]
	allowed := rt.get && r.Method == http.MethodGet || rt.post && r.Method == http.MethodPost
	q, err := parseQuery(r.URL.RawQuery)
	c := call{stage: &t.stage, w: w, r: r, class: Reads}
	if found && allowed && rt.write {
		c.class = Writes
		c.entry = t.book.begin(events.TVMS, events.Renew, q.customer(), r.Header, t.clock())
	}
	c.work = func() reply {
		switch {
		case !found:
			return message(http.StatusNotFound, "No HTTP resource was found that matches the request URI.")
		case !allowed:
			return message(http.StatusMethodNotAllowed, "The requested resource does not support this http method.")
		case err != nil:
			return message(http.StatusBadRequest, err.Error())
		case rt.write:
			return t.renew(&q, c.entry, rt.async)
		}
		return t.look(rt, &q)
	}
	c.serve(r.URL.Path, q.customer())
}

// admit checks what every call must carry. It returns the reply to a call that is not admitted.
func (t *TVMS) admit(q *query, crm string) (reply, bool) {
	if t.opts.AuthToken != "" && subtle.ConstantTimeCompare([]byte(q.authToken), []byte(t.opts.AuthToken)) != 1 {
		return denied(), false
	}
	if crm == "" || len(t.opts.CRMServices) > 0 && !slices.Contains(t.opts.CRMServices, crm) {
		return message(http.StatusNotAcceptable, "The CRM service is missing or not known."), false
	}
	return reply{}, true
}

func denied() reply {
	return message(http.StatusUnauthorized, "Authorization has been denied for this request.")
}
