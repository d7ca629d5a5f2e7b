package main

import (
	"context"
	"log/slog"
	"slices"

	"subrelay/adapters/crmcom"
	"subrelay/adapters/tvms"
	"subrelay/adapters/upstream"
	"subrelay/events"
	"subrelay/events/checkup"
)

// upstreams are those whose address is configured.
func (c *Config) upstreams() []events.Upstream {
	var all []events.Upstream
	if c.TVMS.API.BaseURL != "" {
		all = append(all, events.TVMS)
	}
	if c.CRMCOM.API.BaseURL != "" {
		all = append(all, events.CRMCOM)
		if !c.Netflix.API.Disabled {
			all = append(all, events.Netflix)
		}
	}
	return all
}

// upstreamChecks look whether the upstreams can be reached, and at what their settings leave open. The upstream netflix
// is at the address of crmcom.
func upstreamChecks(cfg Config, authenticate bool) []checkup.Check {
	checks := []checkup.Check{{Name: "settings of upstreams", Run: func(_ context.Context, found *checkup.Found) error {
		checkSettings(cfg, found)
		return nil
	}}}
	if cfg.TVMS.API.BaseURL != "" {
		checks = append(checks, upstream.Check("tvms", cfg.TVMS.Guard, cfg.TVMS.API.BaseURL))
	}
	if cfg.CRMCOM.API.BaseURL != "" {
		checks = append(checks, upstream.Check("crmcom", cfg.CRMCOM.Guard, cfg.CRMCOM.API.BaseURL))
		if authenticate {
			checks = append(checks, checkup.Check{Name: "authentication at CRM.COM", Timeout: cfg.CRMCOM.Guard.CallTimeout, Run: func(ctx context.Context, found *checkup.Found) error {
				return authenticateCRMCOM(ctx, cfg, found)
			}})
		}
	}
	return append(checks, netflixExposure(cfg)...)
}

// exposureChecks look at what the settings give away to whoever is on the way to an upstream. They ask nobody. netflix
// looks as crmcom does, unless it is told otherwise.
func exposureChecks(cfg Config) []checkup.Check {
	var checks []checkup.Check
	if cfg.TVMS.API.BaseURL != "" {
		checks = append(checks, upstream.SettingsCheck("tvms", cfg.TVMS.Guard, "tvms.base_url", cfg.TVMS.API.BaseURL))
	}
	if cfg.CRMCOM.API.BaseURL != "" {
		checks = append(checks, upstream.SettingsCheck("crmcom", cfg.CRMCOM.Guard, "crmcom.base_url", cfg.CRMCOM.API.BaseURL))
	}
	return append(checks, netflixExposure(cfg)...)
}

// netflixExposure is the check of netflix where its own settings say that the certificate is not looked at.
func netflixExposure(cfg Config) []checkup.Check {
	if !slices.Contains(cfg.upstreams(), events.Netflix) || !cfg.Netflix.Guard.TLSInsecureSkipVerify || cfg.CRMCOM.Guard.TLSInsecureSkipVerify {
		return nil
	}
	return []checkup.Check{upstream.SettingsCheck("netflix", cfg.Netflix.withDefaults(&cfg.CRMCOM).Guard, "crmcom.base_url", cfg.CRMCOM.API.BaseURL)}
}

// checkSettings builds every client that is configured, for what is wrong with the settings, or unconfirmed.
func checkSettings(cfg Config, found *checkup.Found) {
	if len(cfg.upstreams()) == 0 {
		found.Add(checkup.Finding{Severity: checkup.Note, Code: "upstream.none", What: "no upstream is configured here",
			Why: "a worker would not start with this configuration", Do: "name a worker's configuration with --config to have its upstreams checked"})
		return
	}
	app := &App{AppOptions: AppOptions{Config: cfg, Logger: slog.New(slog.DiscardHandler)}, dials: newDials(nil)}
	if cfg.TVMS.API.BaseURL != "" {
		guard, err := app.newGuard(events.TVMS, cfg.TVMS.Guard)
		var warnings []string
		if err == nil {
			_, warnings, err = tvms.New(cfg.TVMS.API, guard)
		}
		if !cfg.TVMS.API.ReadBack.Enabled {
			warnings = append(warnings, "tvms.read_back is off: a renewal whose reply was lost will be in doubt")
		}
		addUnconfirmed(found, "tvms", warnings, err)
	}
	if cfg.CRMCOM.API.BaseURL == "" {
		return
	}
	client, warnings, err := newCRMCOMClient(app, cfg)
	addUnconfirmed(found, "crmcom", warnings, err)
	if client != nil && !cfg.Netflix.API.Disabled {
		addNetflix(app, cfg, found)
	}
}

func newCRMCOMClient(app *App, cfg Config) (*crmcom.Client, []string, error) {
	session, err := crmcom.NewSession(cfg.CRMCOM.API)
	if err != nil {
		return nil, nil, err
	}
	guard, err := app.newGuard(events.CRMCOM, cfg.CRMCOM.Guard)
	if err != nil {
		return nil, nil, err
	}
	return crmcom.New(cfg.CRMCOM.API, session, guard)
}

func addNetflix(app *App, cfg Config, found *checkup.Found) {
	session, err := crmcom.NewSession(cfg.CRMCOM.API)
	var guard *upstream.Guard
	if err == nil {
		guard, err = app.newGuard(events.Netflix, cfg.Netflix.Guard)
	}
	var warnings []string
	if err == nil {
		_, warnings, err = crmcom.NewNetflix(cfg.CRMCOM.API, cfg.Netflix.API, session, guard)
	}
	addUnconfirmed(found, "netflix", warnings, err)
}

func addUnconfirmed(found *checkup.Found, section string, warnings []string, err error) {
	if err != nil {
		found.Add(checkup.Finding{Severity: checkup.Error, Code: "settings.refused", Of: section, What: err.Error(), Why: "a worker does not start with these settings",
			Do: "put them right; subrelay.example.yaml says what each means"})
		return
	}
	for _, w := range warnings {
		found.Add(checkup.Finding{Severity: checkup.Note, Code: "settings.unconfirmed", Of: section, What: w, Why: "until then more commands end in doubt than need be",
			Do: "find out at your installation, then set it; the README lists what to find out"})
	}
	if len(warnings) == 0 {
		found.OK("settings.confirmed", section, "nothing is left open")
	}
}

// authenticateCRMCOM gets a token, which changes nothing there.
func authenticateCRMCOM(ctx context.Context, cfg Config, found *checkup.Found) error {
	app := &App{AppOptions: AppOptions{Config: cfg, Logger: slog.New(slog.DiscardHandler)}, dials: newDials(cfg.CRMCOM.Guard.WithDefaults().DialContext)}
	defer app.dials.cut()
	client, _, err := newCRMCOMClient(app, cfg)
	if err != nil {
		return err
	}
	if err := client.Authenticate(ctx); err != nil {
		found.Add(checkup.Finding{Severity: checkup.Error, Code: "upstream.no_token", Of: "crmcom", What: events.AsError(err).Message,
			Why: "no call can be made without one, and commands wait", Do: "are crmcom.web_api_key, or username, password and organisation, right for this installation?"})
		return nil
	}
	found.OK("upstream.token", "crmcom", "it gives a token for our credentials")
	return nil
}
