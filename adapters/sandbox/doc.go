// Package sandbox imitates upstreams on real HTTP: it keeps state, keeps books of every call that changes state, and
// fails on command. Tests, the demo, `subrelay up`, `subrelay sandbox` and the bench call it in place of TVMS.
//
// An imitation (TVMS) is a plain http.Handler. Three things are shared by all imitations, and may be shared between
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
//	GET    /_customers  CustomerList; ?customer=ID
//	PUT    /_customers  adds or replaces the customers listed
//	GET    /_health     Health; 200 even while the API is down
//
// The control endpoints ask for no credentials: a sandbox is a test tool, not to be reachable by strangers. Values of
// authToken and password are compared or skipped, never kept, booked or logged.
//
// Everything works inside a testing/synctest bubble over net.Pipe. Delays are timers; no goroutine outlives its
// request. What an upstream does after its client has left (see Slow, TVMSOptions.AsyncDelay) is a timer as well.
package sandbox
