package main

import (
	"net/http"
	"time"

	"subrelay/adapters/sandbox"
	"subrelay/adapters/upstream"
	"subrelay/events"
)

// demoRelease is the release of CRM.COM that is installed.
const demoRelease = "R17.0.0"

// demoConfig is a configuration for upstreams next door: everything is as always, only sooner.
func demoConfig() Config {
	const settleAfter = 2 * time.Second
	var cfg Config
	cfg.Worker.HTTPAddr = noListen
	for _, retry := range cfg.Retry.each() {
		retry.policy.Initial, retry.policy.Max, retry.policy.Multiplier = 500*time.Millisecond, 2*time.Second, 2
	}
	api := &cfg.TVMS.API
	api.AuthToken, api.CRMService = upstream.NewSecret(sandboxToken), "demo_crm"
	api.ReadBack.Enabled, api.ReadBack.ExpiryField, api.ReadBack.Format = true, "ExpireDate", "epoch_seconds"
	api.ReadBack.SettleAfter = settleAfter
	crm := &cfg.CRMCOM.API
	crm.WebAPIKey, crm.Release, crm.SettleAfter = upstream.NewSecret(sandboxToken), demoRelease, settleAfter
	crm.Reference.Enforced, crm.Swap.Confirmed = true, true
	cfg.Netflix.API.SettleAfter = settleAfter
	chargesShow(&cfg)
	cfg.Netflix.API.Charges.Interval = 500 * time.Millisecond
	for _, guard := range []*upstream.Settings{&cfg.TVMS.Guard, &cfg.CRMCOM.Guard, &cfg.Netflix.Guard} {
		guard.CallTimeout, guard.OpenFor = 1500*time.Millisecond, 500*time.Millisecond
	}
	return cfg
}

// chargesShow says what is true of the imitation: by its state a charge shows that it was accepted, or declined.
func chargesShow(cfg *Config) {
	states := &cfg.Netflix.API
	if states.AcceptedStates == nil {
		states.AcceptedStates = []string{"APPROVED"}
	}
	if states.DeclinedStates == nil {
		states.DeclinedStates = []string{"DECLINED"}
	}
}

// imitate makes the imitations, with the customers and subscriptions that the script speaks of.
func (s *demoStage) imitate() error {
	const latency = 3 * time.Millisecond
	s.tvms = sandbox.NewTVMS(sandbox.TVMSOptions{AuthToken: sandboxToken, Latency: latency, Seed: s.f.seed, Book: s.book})
	s.crmcom = sandbox.NewCRMCOM(sandbox.CRMCOMOptions{
		WebAPIKey: sandboxToken, Release: demoRelease, SecondCreate: "token", Latency: latency, Seed: s.f.seed, Book: s.book,
	})
	expires := s.script.began.UTC().Truncate(24*time.Hour).AddDate(0, 0, 10)
	for _, names := range [][]string{s.script.customers, puzzledCustomers()} {
		for _, name := range names {
			if err := s.tvms.PutCustomers(sandbox.Customer{MappingID: name, UserID: "tv-" + name, Expires: expires}); err != nil {
				return err
			}
		}
	}
	numbers := []string{puzzledAmend, puzzledSwap}
	for _, contract := range s.script.contracts {
		numbers = append(numbers, contract.number)
	}
	for _, number := range numbers {
		if err := s.crmcom.PutSubscriptions(demoSubscription(number)); err != nil {
			return err
		}
	}
	return s.crmcom.PutNetflix(sandbox.NetflixCustomer{Customer: puzzledNetflix, Subscriptions: []events.NetflixSubscription{{}}})
}

// demoSubscription is a subscription of CRM.COM as it is before billing's first order.
func demoSubscription(number string) sandbox.Subscription {
	sub := sandbox.Subscription{Number: number}
	for _, code := range newDemoContract(number).services() {
		sub.Services = append(sub.Services, sandbox.Service{Product: events.ServiceIdentifier{Code: code}})
	}
	return sub
}

// listenFor serves an imitation on a port of its own, which refuses connections while the imitation is down.
func listenFor(handler http.Handler, faults *sandbox.Faults) (*sandbox.Server, error) {
	server, err := sandbox.Listen("127.0.0.1:0", handler)
	if err != nil {
		return nil, err
	}
	faults.OnDown(func(down bool) { _ = server.SetDown(down) }) // it fails only at the end
	return server, nil
}
