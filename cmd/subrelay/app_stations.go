package main

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"subrelay/adapters/crmcom"
	"subrelay/adapters/natsjs"
	"subrelay/adapters/tvms"
	"subrelay/adapters/upstream"
	"subrelay/events"
	"subrelay/handlers"
)

// The adapters satisfy the ports of handlers, which they must not import.
var (
	_ handlers.Renewer            = (*tvms.Client)(nil)
	_ handlers.ExpiryReader       = (*tvms.Client)(nil)
	_ handlers.Amender            = (*crmcom.Client)(nil)
	_ handlers.Swapper            = (*crmcom.Client)(nil)
	_ handlers.SubscriptionReader = (*crmcom.Client)(nil)
	_ handlers.NetflixCreator     = (*crmcom.Netflix)(nil)
	_ handlers.NetflixSetter      = (*crmcom.Netflix)(nil)
	_ handlers.NetflixReader      = (*crmcom.Netflix)(nil)
	_ handlers.ChargeTaker        = (*crmcom.Netflix)(nil)
	_ handlers.ChargeReader       = (*crmcom.Netflix)(nil)
)

// station is one upstream as this worker serves it. Stations share nothing that could make one wait for another.
type station struct {
	name     events.Upstream
	guard    *upstream.Guard
	families []handlers.Family
	lanes    atomic.Pointer[natsjs.Lanes] // nil until connected

	part, due float64 // of the rate: what this worker has, and what it will have; App.share's own
}

func (s *station) kinds() []events.Kind {
	var kinds []events.Kind
	for _, f := range s.families {
		kinds = append(kinds, f.Spec().Kind)
	}
	return kinds
}

// clients are those of the upstreams; nil where this worker does not serve one.
type clients struct {
	tvms    *tvms.Client
	crmcom  *crmcom.Client
	netflix *crmcom.Netflix
}

// buildStations builds every upstream that is configured. There must be one.
func (a *App) buildStations() error {
	c := &a.Config
	var builders []func() (*station, error)
	if c.TVMS.API.BaseURL != "" {
		builders = append(builders, a.newTVMS)
	}
	if c.CRMCOM.API.BaseURL != "" {
		session, err := crmcom.NewSession(c.CRMCOM.API)
		if err != nil {
			return fmt.Errorf("settings of upstream crmcom: %w", err)
		}
		builders = append(builders, func() (*station, error) { return a.newCRMCOM(session) })
		if !c.Netflix.API.Disabled {
			builders = append(builders, func() (*station, error) { return a.newNetflix(session) })
		}
	}
	if len(builders) == 0 {
		return hinted(fmt.Errorf("no upstream is configured: tvms.base_url and crmcom.base_url are both empty"),
			"set one in the configuration file, or as SUBRELAY_TVMS_BASE_URL or SUBRELAY_CRMCOM_BASE_URL; 'subrelay up' runs with imitations")
	}
	for _, build := range builders {
		s, err := build()
		if err != nil {
			return err
		}
		a.stations = append(a.stations, s)
	}
	return nil
}

// newGuard is the guard before an upstream, by that upstream's own settings.
func (a *App) newGuard(name events.Upstream, settings upstream.Settings) (*upstream.Guard, error) {
	settings.Name, settings.Logger, settings.DialContext = name, a.Logger, a.dials.open
	return upstream.New(settings)
}

// newTVMS builds the upstream tvms, and what it serves.
func (a *App) newTVMS() (*station, error) {
	guard, err := a.newGuard(events.TVMS, a.Config.TVMS.Guard)
	if err != nil {
		return nil, err
	}
	client, _, err := tvms.New(a.Config.TVMS.API, guard) // its warnings are logged too
	if err != nil {
		return nil, fmt.Errorf("settings of upstream tvms: %w", err)
	}
	a.clients.tvms = client
	renew := handlers.Renew{Renewer: client}
	if client.ReadBack() && !client.Async() {
		renew.Reader, renew.SettleAfter, renew.GiveUp = client, client.SettleAfter(), client.GiveUpAfter()
	}
	return &station{name: events.TVMS, guard: guard, families: []handlers.Family{renew}}, nil
}

// newCRMCOM builds the upstream crmcom, and what it serves.
func (a *App) newCRMCOM(session *crmcom.Session) (*station, error) {
	guard, err := a.newGuard(events.CRMCOM, a.Config.CRMCOM.Guard)
	if err != nil {
		return nil, err
	}
	client, _, err := crmcom.New(a.Config.CRMCOM.API, session, guard)
	if err != nil {
		return nil, fmt.Errorf("settings of upstream crmcom: %w", err)
	}
	a.clients.crmcom = client
	amend, swap := handlers.Amend{Amender: client}, handlers.Swap{Swapper: client}
	if client.Enforced() {
		amend.Reader, amend.SettleAfter, amend.GiveUp = client, client.SettleAfter(), client.GiveUpAfter()
		swap.Reader, swap.SettleAfter, swap.GiveUp = client, client.SettleAfter(), client.GiveUpAfter()
	}
	return &station{name: events.CRMCOM, guard: guard, families: []handlers.Family{amend, swap}}, nil
}

// newNetflix builds the upstream netflix, and what it serves. It is at the same address as crmcom and behind the same
// token, with a guard of its own.
func (a *App) newNetflix(session *crmcom.Session) (*station, error) {
	guard, err := a.newGuard(events.Netflix, a.Config.Netflix.Guard)
	if err != nil {
		return nil, err
	}
	client, _, err := crmcom.NewNetflix(a.Config.CRMCOM.API, a.Config.Netflix.API, session, guard)
	if err != nil {
		return nil, fmt.Errorf("settings of upstream netflix: %w", err)
	}
	a.clients.netflix = client
	ports := netflixPorts{
		creator: client, setter: client, taker: client, states: client.TakenStates,
		after: client.SettleAfter(), giveUp: client.GiveUpAfter(),
	}
	if client.ReadBack() {
		ports.reader, ports.charges = client, client
	}
	return &station{name: events.Netflix, guard: guard, families: ports.families()}, nil
}

// netflixPorts is what the families of the upstream netflix need.
type netflixPorts struct {
	creator       handlers.NetflixCreator
	setter        handlers.NetflixSetter
	taker         handlers.ChargeTaker
	reader        handlers.NetflixReader // nil: no read-back
	charges       handlers.ChargeReader  // nil: no read-back
	states        func(events.Kind) []string
	after, giveUp time.Duration
}

func (p netflixPorts) families() []handlers.Family {
	all := []handlers.Family{handlers.NetflixCreate{Creator: p.creator, Reader: p.reader, SettleAfter: p.after, GiveUp: p.giveUp}}
	for _, kind := range []events.Kind{events.NetflixSuspend, events.NetflixUnsuspend, events.NetflixCancel} {
		all = append(all, handlers.NetflixState{Kind: kind, Setter: p.setter, Reader: p.reader, SettleAfter: p.after, GiveUp: p.giveUp})
	}
	for _, kind := range []events.Kind{events.NetflixAcknowledge, events.NetflixAccept, events.NetflixDecline} {
		all = append(all, handlers.NetflixCharges{Kind: kind, Taker: p.taker, Reader: p.charges, States: p.states(kind), SettleAfter: p.after, GiveUp: p.giveUp})
	}
	return all
}

// upstreams names those that this worker serves.
func (a *App) upstreams() []events.Upstream {
	var names []events.Upstream
	for _, s := range a.stations {
		names = append(names, s.name)
	}
	return names
}

// waiting lists the kinds whose commands wait for another worker: this one does not serve their upstream.
func (a *App) waiting() []events.Kind {
	var kinds []events.Kind
	for _, s := range events.Specs() {
		if !slices.Contains(a.upstreams(), s.Upstream) {
			kinds = append(kinds, s.Kind)
		}
	}
	return kinds
}
