package main

import (
	"math/rand/v2"
	"slices"
	"time"

	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// simulated is how one simulation is set up: which kinds are sent, and all that may be so or otherwise in our settings
// and at the upstreams.
type simulated struct {
	cfg     Config
	crm     func(*sandbox.CRMCOMOptions)
	kinds   []events.Kind
	onSight bool // CRM.COM makes subscriptions on sight
	reacts  bool // billing acknowledges the charges that it is told of
}

// setUp makes the choices of a seed: every third has all kinds, the others a few.
func setUp(seed uint64) simulated {
	r := rand.New(rand.NewPCG(seed, 2))
	coin := func() bool { return r.IntN(2) == 0 }
	s := simulated{cfg: shortConfig(), crm: func(*sandbox.CRMCOMOptions) {}, kinds: someKinds(r, seed%3 == 0), onSight: coin()}
	if s.serves(events.TVMS) {
		s.cfg.withTVMS()
		if coin() {
			s.cfg.withReadBack()
		}
	}
	if s.serves(events.CRMCOM) || s.serves(events.Netflix) {
		s.cfg.Streams.Partitions = 2 // of each upstream: idle ones take their time too
		s.cfg.withCRMCOM()
		s.varyCRMCOM(r, coin)
	}
	s.cfg.Netflix.API.Disabled = !s.serves(events.Netflix)
	return s
}

func someKinds(r *rand.Rand, all bool) []events.Kind {
	var kinds []events.Kind
	for _, spec := range events.Specs() {
		kinds = append(kinds, spec.Kind)
	}
	if !all {
		r.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		kinds = kinds[:1+r.IntN(4)]
	}
	if slices.Contains(kinds, events.NetflixSuspend) || slices.Contains(kinds, events.NetflixUnsuspend) {
		kinds = append(kinds, events.NetflixSuspend, events.NetflixUnsuspend) // one alone soon has nothing to do
	}
	return kinds
}

func (s *simulated) serves(upstream events.Upstream) bool {
	return slices.ContainsFunc(s.kinds, func(kind events.Kind) bool {
		spec, _ := events.SpecOf(events.Specs(), kind)
		return spec.Upstream == upstream
	})
}

// varyCRMCOM chooses what the vendor's pages leave open, in the settings and at the imitation alike.
func (s *simulated) varyCRMCOM(r *rand.Rand, coin func() bool) {
	var o sandbox.CRMCOMOptions
	api, netflix := &s.cfg.CRMCOM.API, &s.cfg.Netflix.API
	releases := []string{"R13.0.0", "R14.1.0", "R16.1.0", "R18.0.0"}
	api.Release = releases[r.IntN(len(releases))]
	if api.Reference.Enforced = coin(); !api.Reference.Enforced {
		o.IgnoreReferences, api.Reference.Omit = coin(), coin()
	}
	if coin() {
		api.Reference.Format, api.Reference.MaxLength = "SR-{CID}", 24
	}
	if coin() {
		api.Swap.Carrier = "method"
	}
	if coin() {
		netflix.CancelPath = "netflix/subscriptions/cancel"
	}
	readBack := coin()
	netflix.ReadBack = &readBack
	o.Release, o.CancelPath, o.ReplyAction, o.RejectedUsesReference = api.Release, netflix.CancelPath, coin(), coin()
	o.AutoCreate = s.onSight
	o.StateField = []string{"netflix_sate", "netflix_state"}[r.IntN(2)]
	o.ShowData = []string{"", "object", "array"}[r.IntN(3)]
	o.SecondCreate = []string{"", "token", "subscription"}[r.IntN(3)]
	o.TokenStatus = []int{200, 401}[r.IntN(2)]
	if coin() { // then a service of no such product is refused, and what it would have done can be foreseen
		for _, code := range slices.Concat(simSpeeds, simExtras) {
			if code != simNoProduct {
				o.Products = append(o.Products, coded(code))
			}
		}
	}
	if coin() {
		o.TokenLifetime = time.Duration(10+r.IntN(60)) * time.Second
		if coin() { // else it is found out by a refusal
			api.TokenLifetime, api.TokenMargin = o.TokenLifetime, 2*time.Second
		}
	}
	// Where Netflix approves a charge by itself, and accepting it is read back, the two cannot be told apart.
	if coin() && (!readBack || !slices.Contains(s.kinds, events.NetflixAccept)) {
		o.NetflixProcessing = time.Duration(1+r.IntN(60)) * time.Second
	}
	feed := coin()
	netflix.Charges.Feed, netflix.Charges.Interval, netflix.Charges.PageSize = &feed, 5*time.Second, 2+r.IntN(49)
	s.reacts = feed && coin()
	s.crm = func(options *sandbox.CRMCOMOptions) {
		o.WebAPIKey, o.Seed, o.Latency, o.Book = options.WebAPIKey, options.Seed, options.Latency, options.Book
		*options = o
	}
}
