// Package sandbox imitates upstreams on real HTTP: it keeps state, keeps books of every call that changes state, and
// fails on command. Tests, the demo, `subrelay up`, `subrelay sandbox` and the bench call it in place of TVMS and of
// CRM.COM.
//
// An imitation (TVMS, CRMCOM) is a plain http.Handler; Join serves both at one address. Three things are shared by all imitations, and may be shared between
// them: a Book (what happened, as history.Effect), Faults (what shall go wrong), and Server (an address to be reached
// at, and to be unreachable at). Book and Faults know nothing of any API.
//
// Beside the API a handler serves control endpoints, all JSON, errors as {"error": "..."}:
//
//	GET    /_books      the book: BookPage; ?customer=KEY&after=BEGIN_ORDER&limit=N
//	DELETE /_books      forgets all entries; the ticks go on
//	GET    /_faults     what is still to go wrong: Plan
//	PUT    /_faults     replaces the plan; an unknown field or a plan that cannot be played is refused (400)
//	DELETE /_faults     lifts everything
//	GET    /_faults/kinds  what each kind of fault does: []KindDoc
//	GET    /_health     Health; 200 even while the API is down
//
// TVMS alone has
//
//	GET    /_customers  CustomerList; ?customer=ID
//	PUT    /_customers  adds or replaces the customers listed
//
// and CRMCOM alone
//
//	GET    /_subscriptions  SubscriptionList; ?number=NUMBER
//	PUT    /_subscriptions  adds or replaces the subscriptions listed
//	GET    /_netflix        NetflixList; ?customer=ID
//	PUT    /_netflix        adds or replaces the Netflix customers listed
//	GET    /_charges        ChargeList, acknowledged ones too; ?customer=ID
//	PUT    /_charges        adds or replaces the charges listed
//	DELETE /_tokens         makes all tokens invalid
//
// such as
//
//	PUT /_subscriptions
//	{"subscriptions": [{"number": "S0000012345", "services": [{"product": {"code": "INTERNET_100"}}]}]}
//
//	PUT /_netflix
//	{"customers": [{"billing_system_customer_identifier": "cust-77", "subscriptions": [{"netflix_state": "EFFECTIVE"}]}]}
//
//	PUT /_charges
//	{"charges": [{"number": "I00002706", "billing_system_customer_identifier": "cust-77", "amount": 9.99, "currency": "EUR"}]}
//
// The book has an entry for each call of TVMS that renews, and for each POST of CRM.COM beside those of authentication.
// A call that is refused, for its token too, is an entry that was not applied; its attempt may call again with another
// token. Only a call that breaks off in its body leaves none at CRM.COM, where the body says what it is.
//
// The control endpoints ask for no credentials: a sandbox is a test tool, not to be reachable by strangers. Values of
// authToken and password, and credentials, tokens and personal data that go to CRM.COM, are compared or skipped, never
// booked or logged. The accounts of subscriptions are what was put there.
//
// Everything works inside a testing/synctest bubble over net.Pipe. Delays are timers; no goroutine outlives its
// request. What an upstream does after its client has left (see Slow, TVMSOptions.AsyncDelay) is a timer as well; what CRMCOM does later
// it does by its clock, when it is next asked.
package sandbox
