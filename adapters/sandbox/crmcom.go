package sandbox

import (
	"net/http"
	"strings"
	"time"

	"subrelay/events"
)

// CRMCOMOptions says how an imitation of CRM.COM behaves. Its zero value knows no records and accepts any credentials.
type CRMCOMOptions struct {
	// WebAPIKey is the key that gives tokens, and Username, Password and Organisation are the user that does. With none of
	// the two any key and any user do; with one of them only that.
	WebAPIKey                        string
	Username, Password, Organisation string
	// TokenLifetime is how long a token is valid, by Clock, whether used or not. Default 2 h.
	TokenLifetime time.Duration
	// TokenStatus is the HTTP status of an answer that refuses a token or credentials. Default 200: the refusal is in the
	// envelope.
	TokenStatus int

	// Release is the release that is installed: what came later it does not know. Default R18.0.0.
	Release string
	// RefuseDeprecated says that parameters are not known any more in the release that deprecated them. By default they
	// are.
	RefuseDeprecated bool
	// Path stands before the methods' names. Default "/crmapi/rest/v2".
	Path string
	// SwapSet is the name of the set of swaps, in both methods. Default services_to_swap_set.
	SwapSet string
	// SwapPath is that of the swap services method. Default subscriptions/swap_services.
	SwapPath string
	// CancelPath is that of a method that cancels a Netflix subscriber. Default "": there is none.
	CancelPath string
	// StateField is how a Netflix subscription's state is spelled. Default netflix_sate, as in the documentation.
	StateField string
	// ShowData is "object" or "array": what data is in the replies of both show methods. Default "": an object for
	// subscriptions, an array for Netflix subscriptions. Several Netflix subscriptions are an array always.
	ShowData string
	// ReplyAction has amend and swap return the action in place of the subscription.
	ReplyAction bool
	// Zone is that of dates, which name none. Default UTC.
	Zone *time.Location

	// IgnoreReferences has the imitation take a transaction_reference_number and a reference_number as often as they come:
	// an installation at which a repeated call is a second effect.
	IgnoreReferences bool
	// RejectedUsesReference says that an action that was understood and rejected has used its reference up. By default
	// only one that was taken has.
	RejectedUsesReference bool
	// SecondCreate says what the creation of a Netflix subscriber who exists does: "token" gives a new token, and
	// "subscription" makes a second subscription. Default "": it is refused.
	SecondCreate string

	// AutoCreate has subscriptions made when they are first named by their number, and Netflix subscribers when they are
	// first suspended, unsuspended or cancelled. A subscription that was made so has AutoServices, and whatever service or
	// item a call wants to take away from it. By default unknown ones are refused.
	AutoCreate bool
	// AutoServices are product codes. Default INTERNET_100 and SPORTS_BASIC.
	AutoServices []string
	// Products are what services can be of: however one is named, it is this product. With none, any product exists, and
	// is known only as it was named first.
	Products []events.ServiceIdentifier
	// Promotions are those of promotions/list. Default: one with the code "14".
	Promotions []events.NetflixPromotion
	// Subscriptions, Netflix and Charges are there from the beginning. NewCRMCOM panics on one that the Put method of its
	// kind refuses.
	Subscriptions []Subscription
	Netflix       []NetflixCustomer
	Charges       []Charge

	// ApplyDelay is how long after its effect a change of a subscription or of a Netflix subscriber is seen by the reads of
	// the API, by Clock. Default: at once.
	ApplyDelay time.Duration
	// NetflixProcessing is how long after its receipt Netflix approves a charge that is still PENDING, by Clock. Default:
	// never; see SetCharge.
	NetflixProcessing time.Duration
	// Clock is the upstream's own clock: for tokens, scheduled actions, dates, and the times in the book. Default time.Now.
	// Delays of replies are timers, whatever the clock says.
	Clock func() time.Time
	// Latency is how long every API call takes at least. A client that leaves meanwhile is not noticed: see Slow.
	Latency time.Duration
	// Seed decides which calls the rates of a fault plan hit, and what ids and tokens look like.
	Seed uint64
	// BookLimit is that of NewBook.
	BookLimit int
	// Book and Faults are shared with other imitations. Default: its own, by BookLimit and Seed.
	Book   *Book
	Faults *Faults
}

// CRMCOM imitates the part of the CRM.COM Web API, V4, that amending and swapping subscriptions and the Netflix methods
// need. Names, nesting and limits are those of the vendor's pages (space V4Development: Introduction, API
// Authentication, POST authentication/token, POST authentication/web_api_key/token, POST subscriptions/amend, GET
// subscriptions/show, GET subscriptions/actions/get_scheduled, and the pages of the Netflix methods; space V4: the
// parameter objects of amend and of swaps, netflix_charge_short). What they leave open is decided here as doc comments
// and options say, on the strict side, so that a client's mistakes show:
//
//   - A failure is a reply with the HTTP status 200 and an envelope whose status.code is not OK. The pages name no code:
//     those here are made up. See the constants that begin with "code".
//   - An amend is applied whole or not at all, a set that is given is not empty, and at least one set is given.
//   - A reference is used up by an action that was taken. A repetition is refused, not answered with the first reply.
//   - Suspending what is suspended, and what is like it, is refused.
//   - Parameters of a POST in its query string, unknown and repeated ones, and null are refused.
//
// All methods may be called from several goroutines.
type CRMCOM struct {
	stage
	opts    CRMCOMOptions
	methods map[string]*method // by path
	tokens  *tokens
	subs    *subscriptions
	netflix *netflixCustomers
	charged *charges
	control http.Handler
}

// NewCRMCOM makes an imitation. It starts nothing and needs no closing. It panics on options that make no sense.
func NewCRMCOM(opts CRMCOMOptions) *CRMCOM {
	opts.setDefaults()
	installed, err := parseRelease(opts.Release)
	if err != nil {
		panic("sandbox: " + err.Error())
	}
	names := &names{seed: opts.Seed}
	c := &CRMCOM{
		opts:    opts,
		methods: map[string]*method{},
		tokens:  newTokens(&opts),
		subs:    newSubscriptions(&opts, names, installed),
		netflix: newNetflixCustomers(&opts, names),
		charged: newCharges(&opts),
	}
	c.stage = stage{
		book: opts.Book, faults: opts.Faults, latency: opts.Latency, clock: opts.Clock, say: said,
		expire: func() (reply, bool) { c.tokens.forget(); return reply{}, true },
	}
	for _, m := range (vocabulary{installed, opts.RefuseDeprecated}).methods(&opts) {
		if installed >= m.since {
			c.methods[opts.Path+"/"+m.path] = &m
			c.faults.know(opts.Path + "/" + m.path)
		}
	}
	for _, err := range []error{c.PutSubscriptions(opts.Subscriptions...), c.PutNetflix(opts.Netflix...), c.PutCharges(opts.Charges...)} {
		if err != nil {
			panic("sandbox: " + err.Error())
		}
	}
	c.control = c.newControl(c.endpoints())
	return c
}

func (o *CRMCOMOptions) setDefaults() {
	for _, text := range []struct {
		of    *string
		value string
	}{
		{&o.Release, "R18.0.0"}, {&o.Path, "/crmapi/rest/v2"}, {&o.SwapSet, "services_to_swap_set"},
		{&o.SwapPath, "subscriptions/swap_services"}, {&o.StateField, "netflix_sate"},
	} {
		if *text.of == "" {
			*text.of = text.value
		}
	}
	if o.TokenLifetime <= 0 {
		o.TokenLifetime = 2 * time.Hour
	}
	if o.TokenStatus == 0 {
		o.TokenStatus = http.StatusOK
	}
	if o.Zone == nil {
		o.Zone = time.UTC
	}
	if o.AutoServices == nil {
		o.AutoServices = []string{"INTERNET_100", "SPORTS_BASIC"}
	}
	if o.Promotions == nil {
		from := time.Date(2017, 1, 1, 0, 0, 0, 0, o.Zone)
		o.Promotions = []events.NetflixPromotion{{Code: "14", Name: "Spring", EffectiveFrom: &from}}
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Book == nil {
		o.Book = NewBook(o.BookLimit)
	}
	if o.Faults == nil {
		o.Faults = NewFaults(o.Seed)
	}
}

// Book is the book of the imitation's calls.
func (c *CRMCOM) Book() *Book { return c.book }

// Faults is what goes wrong with the imitation's calls.
func (c *CRMCOM) Faults() *Faults { return c.faults }

// Handler serves the API and the control endpoints.
func (c *CRMCOM) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_") {
			c.control.ServeHTTP(w, r)
			return
		}
		c.serveAPI(w, r)
	})
}

// Control serves the control endpoints alone, for an address that stays reachable while the API's is down.
func (c *CRMCOM) Control() http.Handler { return c.control }

// Join serves both imitations at one address, with the control endpoints of both. What these say of the book and the
// faults is said of those of crm: the two imitations had better share them. control is the endpoints alone.
func Join(tvms *TVMS, crm *CRMCOM) (all, control http.Handler) {
	control = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/_customers" {
			tvms.control.ServeHTTP(w, r)
			return
		}
		crm.control.ServeHTTP(w, r)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/_"):
			control.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, crm.opts.Path+"/"):
			crm.serveAPI(w, r)
		default:
			tvms.serveAPI(w, r)
		}
	}), control
}
