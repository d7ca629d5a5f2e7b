package crmcom

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

// problems gathers what is wrong with settings.
type problems []error

func (p *problems) refuse(format string, args ...any) { *p = append(*p, fmt.Errorf(format, args...)) }

// check says what is wrong with completed settings, except those of the session. Every problem is reported.
func (s *Settings) check(callTimeout time.Duration) error {
	var p problems
	if _, err := parseRelease(s.Release); err != nil {
		p.refuse("crmcom.release %w", err)
	}
	if _, err := loadZone(s.TimeZone); err != nil {
		p.refuse("crmcom.time_zone %w", err)
	}
	for _, path := range s.KnownParameters {
		if !inTable(path) {
			p.refuse("crmcom.known_parameters: no release refuses or deprecates %q", path)
		}
	}
	s.Codes.check(&p)
	s.Reference.check(&p)
	if s.Reference.Enforced && len(s.Codes.Duplicate) == 0 {
		p.refuse("crmcom.reference.enforced needs crmcom.codes.duplicate_reference: how else is a duplicate known?")
	}
	s.Amend.check(&p)
	s.Swap.check(&p)
	p.path("crmcom.show.path", s.Show.Path)
	p.member("crmcom.show.services_field", s.Show.ServicesField)
	p.member("crmcom.show.product_field", s.Show.ProductField)
	p.path("crmcom.scheduled.path", s.Actions.Path)
	p.member("crmcom.scheduled.reference_field", s.Actions.ReferenceField)
	if s.Actions.SetField != "" {
		p.member("crmcom.scheduled.set_field", s.Actions.SetField)
	}
	p.settling("crmcom", s.SettleAfter, s.GiveUpAfter, callTimeout)
	return errors.Join(p...)
}

// checkSession says what is wrong with the completed settings of the session.
func (s *Settings) checkSession() error {
	var p problems
	key, user := !s.WebAPIKey.IsZero(), s.Username != "" || !s.Password.IsZero() || s.Organisation != ""
	switch {
	case key && user:
		p.refuse("crmcom.web_api_key and crmcom.username, crmcom.password, crmcom.organisation are two ways to log in: set one")
	case key:
		p.secret("crmcom.web_api_key", s.WebAPIKey)
		if strings.Contains(s.WebAPIKey.Reveal(), ":") {
			p.refuse("crmcom.web_api_key must not hold a colon: it is sent as the user name of HTTP Basic")
		}
	case user:
		if s.Username == "" {
			p.refuse("crmcom.username is missing")
		}
		if s.Organisation == "" {
			p.refuse("crmcom.organisation is missing")
		}
		p.secret("crmcom.password", s.Password)
	default:
		p.refuse("crmcom.web_api_key is missing (or crmcom.username, crmcom.password and crmcom.organisation)")
	}
	if !strings.HasPrefix(s.Path, "/") {
		p.refuse("crmcom.path %q must begin with a slash", s.Path)
	} else {
		p.path("crmcom.path", strings.Trim(s.Path, "/"))
	}
	if s.TokenMargin < 0 || s.TokenLifetime <= s.TokenMargin {
		p.refuse("crmcom.token_lifetime is %s: it must be more than crmcom.token_margin, %s, which must not be negative", s.TokenLifetime, s.TokenMargin)
	}
	return errors.Join(p...)
}

func (p *problems) secret(name string, value upstream.Secret) {
	switch n := len(value.Reveal()); {
	case n == 0:
		p.refuse("%s is missing", name)
	case n < upstream.MinSecret:
		p.refuse("%s has fewer than %d characters, which is too short to be kept out of logs", name, upstream.MinSecret)
	}
}

var (
	pathPattern   = regexp.MustCompile(`^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$`)
	memberPattern = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
)

func (p *problems) path(name, value string) {
	if !pathPattern.MatchString(value) || slices.Contains(strings.Split(value, "/"), "..") {
		p.refuse("%s %q is no path such as subscriptions/show", name, value)
	}
}

func (p *problems) member(name, value string) {
	if !memberPattern.MatchString(value) {
		p.refuse("%s %q is no name of a member", name, value)
	}
}

func (p *problems) settling(section string, after, giveUp, callTimeout time.Duration) {
	if after < callTimeout {
		p.refuse("%s.settle_after is %s: it must be at least the call time-out, %s, since a call may still be under way until then",
			section, after, callTimeout)
	}
	if giveUp <= after {
		p.refuse("%s.give_up_after is %s: it must be more than settle_after, %s", section, giveUp, after)
	}
}

func (c *Codes) check(p *problems) {
	seen := make(map[string]string)
	for _, list := range []struct {
		name  string
		codes []string
	}{
		{"invalid_token", c.InvalidToken}, {"duplicate_reference", c.Duplicate}, {"not_found", c.NotFound}, {"refused", c.Refused},
		{"not_applied", c.NotApplied}, {"unknown", c.Unknown},
	} {
		for _, code := range list.codes {
			switch earlier := seen[code]; {
			case code == "" || strings.TrimSpace(code) != code:
				p.refuse("crmcom.codes.%s holds %q, which is no code", list.name, code)
			case code == codeOK:
				p.refuse("crmcom.codes.%s must not hold %s, which is success", list.name, code)
			case earlier != "" && earlier != list.name:
				p.refuse("crmcom.codes.%s and crmcom.codes.%s both hold %s", earlier, list.name, code)
			}
			seen[code] = list.name
		}
	}
	for _, status := range c.HTTPInvalidToken {
		if status != 401 && status != 403 {
			p.refuse("crmcom.codes.http_invalid_token must not hold %d: only 401 and 403 speak of our credentials", status)
		}
	}
	for _, status := range c.HTTPNotApplied {
		if status < 300 || status > 599 || status == 401 || status == 403 || status == 429 {
			p.refuse("crmcom.codes.http_not_applied must not hold %d: only 3xx, 4xx and 5xx other than 401, 403, 429 can be listed", status)
		}
	}
}

func (a *AmendSettings) check(p *problems) {
	p.path("crmcom.amend.path", a.Path)
	if strings.ContainsFunc(a.FieldsSet, func(r rune) bool { return r <= ' ' || r > '~' }) {
		p.refuse("crmcom.amend.fields_set must be names joined by commas, without spaces")
	}
	for _, list := range []struct {
		name   string
		states []string
	}{{"rejected_states", a.RejectedStates}, {"unclear_states", a.UnclearStates}} {
		if slices.Contains(list.states, "") {
			p.refuse("crmcom.amend.%s must not hold an empty text, which every reply without a state would be", list.name)
		}
	}
	for _, state := range a.RejectedStates {
		if state != "" && slices.Contains(a.UnclearStates, state) {
			p.refuse("crmcom.amend.rejected_states and crmcom.amend.unclear_states both hold %s", state)
		}
	}
}

func (s *SwapSettings) check(p *problems) {
	if s.Carrier != carrierAmend && s.Carrier != carrierMethod {
		p.refuse("crmcom.swap.carrier %q is neither %s nor %s", s.Carrier, carrierAmend, carrierMethod)
	}
	p.path("crmcom.swap.path", s.Path)
	p.member("crmcom.swap.set", s.Set)
	if isParameter(s.Set) {
		p.refuse("crmcom.swap.set must not be %s, which is another parameter", s.Set)
	}
}

// check says what is wrong with completed settings. Every problem is reported.
func (n *NetflixSettings) check(callTimeout time.Duration) error {
	var p problems
	if n.CancelPath != "" {
		p.path("netflix.cancel_path", n.CancelPath)
	}
	p.member("netflix.token_field", n.TokenField)
	p.settling("netflix", n.SettleAfter, n.GiveUpAfter, callTimeout)
	for _, list := range []struct {
		name   string
		states []string
	}{{"accepted_states", n.AcceptedStates}, {"declined_states", n.DeclinedStates}} {
		if slices.Contains(list.states, "") {
			p.refuse("netflix.%s holds an empty text, which is no state", list.name)
		}
		if slices.Contains(list.states, events.ChargePending) {
			p.refuse("netflix.%s must not hold %s, which every charge begins with", list.name, events.ChargePending)
		}
	}
	for _, state := range n.AcceptedStates {
		if state != "" && state != events.ChargePending && slices.Contains(n.DeclinedStates, state) {
			p.refuse("netflix.accepted_states and netflix.declined_states both hold %s", state)
		}
	}
	c := &n.Charges
	if c.PageSize < 2 || c.PageSize > events.MaxCharges {
		p.refuse("netflix.charges.page_size is %d: it must be from 2, since pages overlap by one, to %d", c.PageSize, events.MaxCharges)
	}
	if c.MaxPages < 1 {
		p.refuse("netflix.charges.max_pages is %d: it must be at least 1", c.MaxPages)
	}
	if c.Interval <= 0 {
		p.refuse("netflix.charges.interval is %s: it must be positive", c.Interval)
	}
	p.member("netflix.charges.set_field", c.SetField)
	p.member("netflix.charges.failed_field", c.FailedField)
	return errors.Join(p...)
}
