package events

import (
	"slices"
	"time"
)

// QueryName names a question about the present state of an upstream. It stands in NATS subjects.
type QueryName string

// The queries.
const (
	NetflixPromotionsQuery   QueryName = "netflix-promotions"
	NetflixSubscriptionQuery QueryName = "netflix-subscription"
	SubscriptionQuery        QueryName = "subscription"
	TVMSCustomerQuery        QueryName = "tvms-customer"
)

// QuerySpec says what a query asks for. A request is a flat JSON object of strings.
type QuerySpec struct {
	Name     QueryName
	Upstream Upstream
	Summary  string
	// Choice lists the members of which a request holds exactly one. Empty: a request needs none.
	Choice []QueryMember
	// Optional lists the members that may be given besides.
	Optional []QueryMember
}

// QueryMember is a member of a request.
type QueryMember struct {
	Name    string
	Means   string
	Example string
}

// MaxQueryValue is the longest value of a request's member, in bytes.
const MaxQueryValue = 256

// QuerySpecs lists the queries this version knows.
func QuerySpecs() []QuerySpec {
	return []QuerySpec{
		{
			Name: NetflixPromotionsQuery, Upstream: Netflix,
			Summary: "the Netflix promotions that a subscriber can be created with",
		},
		{
			Name: NetflixSubscriptionQuery, Upstream: Netflix,
			Summary: "a customer's Netflix subscriptions: their states, promotions and prices",
			Choice: []QueryMember{
				{Name: "customer", Means: "billing_system_customer_identifier", Example: "cust-77"},
				{Name: "pai", Means: "netflix_customer_identifier, the id that Netflix has for the customer"},
			},
		},
		{
			Name: SubscriptionQuery, Upstream: CRMCOM,
			Summary: "a CRM.COM subscription: its state and its services",
			Choice: []QueryMember{
				{Name: "subscription", Means: "the subscription's number", Example: "S0000012345"},
				{Name: "id", Means: "the subscription's id in CRM.COM"},
			},
		},
		{
			Name: TVMSCustomerQuery, Upstream: TVMS,
			Summary: "a TVMS customer: the status and, where the worker can read it, until when the subscription runs",
			Choice: []QueryMember{
				{Name: "customer", Means: "customer_mapping_id, the customer's id in billing", Example: "C-10042"},
				{Name: "user_id", Means: "the login on the TV device"},
			},
			Optional: []QueryMember{{Name: "crm_service", Means: "name of the CRM; default the worker's tvms.crm_service"}},
		},
	}
}

// QuerySpecOf finds a query.
func QuerySpecOf(name QueryName) (QuerySpec, bool) {
	specs := QuerySpecs()
	i := slices.IndexFunc(specs, func(s QuerySpec) bool { return s.Name == name })
	if i < 0 {
		return QuerySpec{}, false
	}
	return specs[i], true
}

// Members is every member that a request may hold.
func (s *QuerySpec) Members() []QueryMember { return slices.Concat(s.Choice, s.Optional) }

// TVMSCustomer is the answer to tvms-customer. It holds nothing personal.
type TVMSCustomer struct {
	Status string `json:"status"` // such as Active, Expired, Pending, Disabled or Trial
	// ExpiresAt is until when the subscription runs; absent where tvms.read_back is not switched on.
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// NetflixSubscriptions is the answer to netflix-subscription: none where CRM.COM knows no such customer.
type NetflixSubscriptions struct {
	Subscriptions []NetflixSubscription `json:"subscriptions"`
}

// NetflixPromotions is the answer to netflix-promotions.
type NetflixPromotions struct {
	Promotions []NetflixPromotion `json:"promotions"`
}

// QueryFailure is the body of an answer that is an error.
type QueryFailure struct {
	Code         string `json:"code"` // see Codes
	Message      string `json:"message"`
	UpstreamCode string `json:"upstream_code,omitempty"`
	// RetryAfter is in how many seconds it makes sense to ask again, where that is known.
	RetryAfter int `json:"retry_after,omitempty"`
}
