package tvms

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

// Client calls one TVMS installation. It may be shared.
type Client struct {
	settings Settings
	guard    *upstream.Guard
	base     *url.URL
	route    route
	format   *expiryFormat // nil: no read-back
}

// New is a client that calls through guard, to which it makes its secrets known. warnings are for the operator, and
// are logged by the guard's logger too. The error names every setting that is wrong, and shows no secret.
func New(s Settings, guard *upstream.Guard) (c *Client, warnings []string, err error) {
	if err := s.complete(guard.CallTimeout()); err != nil {
		return nil, nil, err
	}
	guard.Hide(s.AuthToken, s.Password)
	base, urlErr := guard.BaseURL("tvms.base_url", s.BaseURL)
	if urlErr == nil && strings.HasSuffix(strings.TrimRight(base.Path, "/"), "/api") {
		urlErr = errors.New("tvms.base_url must not end in /api, which is added")
	}
	if err := errors.Join(urlErr, s.check(guard.CallTimeout())); err != nil {
		return nil, nil, err
	}
	base.Path, base.RawPath = strings.TrimRight(base.Path, "/"), ""
	c = &Client{settings: s, guard: guard, base: base, route: routes[s.Route]}
	if s.ReadBack.Enabled {
		c.format, _ = newExpiryFormat(s.ReadBack.Format, s.ReadBack.TimeZone) // checked above
	}
	warnings = c.warnings()
	for _, w := range warnings {
		guard.Logger().Warn(w, "upstream", guard.Name())
	}
	return c, warnings, nil
}

func (c *Client) warnings() (w []string) {
	if c.route.method == http.MethodGet {
		w = append(w, fmt.Sprintf("tvms.route is %s: a GET that changes state. subrelay sends it once, but proxies, caches and "+
			"scanners in between take a GET for safe to repeat, and each repeat adds the period again; prefer post-v2", c.settings.Route))
	}
	if c.settings.CRMService == "" {
		w = append(w, "tvms.crm_service is not set: commands that name no crm_service will be refused")
	}
	if c.route.async {
		w = append(w, fmt.Sprintf("tvms.route is %s: it is not documented whether its reply comes after the work is done. A good "+
			"reply is taken for success, and an unclear call is never settled as not applied", c.settings.Route))
	}
	if p := c.settings.Password.Reveal(); p != unused && len(p) < upstream.MinSecret {
		w = append(w, fmt.Sprintf("tvms.password has fewer than %d characters: it cannot be recognised, and so not hidden, where TVMS "+
			"repeats it in a message", upstream.MinSecret))
	}
	return w
}

// Async reports whether the configured route may answer before the work is done, so that no read can prove that an
// unclear call was not applied.
func (c *Client) Async() bool { return c.route.async }

// ReadBack reports whether Expiry can be used.
func (c *Client) ReadBack() bool { return c.settings.ReadBack.Enabled }

// SettleAfter is how long after a call a read that shows no change proves that there will be none.
func (c *Client) SettleAfter() time.Duration { return c.settings.ReadBack.SettleAfter }

// GiveUpAfter is how long after a call settling is given up.
func (c *Client) GiveUpAfter() time.Duration { return c.settings.ReadBack.GiveUpAfter }

// Renew adds the command's months or days by one call (TVMS manual, RenewCustomer). nil says that TVMS confirmed it.
// Errors are *events.Error: Refused, Unavailable or Unknown as the package comment says; Internal where ctx ended
// before the request was sent. Renew must not be repeated after Unknown: the period would be added again.
func (c *Client) Renew(ctx context.Context, r events.RenewData) error {
	crm, err := c.address(&r)
	if err != nil {
		return err
	}
	reply, err := c.guard.Do(ctx, c.request(c.route.method, c.route.path, c.renewQuery(&r, crm)))
	if err != nil {
		return err
	}
	return c.renewed(reply)
}

// Expiry is the customer's present expiry date, read by the configured method. Every failure is Unavailable, with
// Upstream set where it speaks of the installation as a whole; without ReadBack it is Unavailable, not_configured.
// Only a command that no call can be made for, as it names no customer or CRM, is Refused, as by Renew.
func (c *Client) Expiry(ctx context.Context, r events.RenewData) (time.Time, error) {
	if c.format == nil {
		return time.Time{}, &events.Error{Kind: events.Unavailable, Code: events.CodeNotConfigured, Message: "tvms.read_back is not switched on"}
	}
	body, err := c.read(ctx, c.settings.ReadBack.Method, &r)
	if err != nil {
		return time.Time{}, err
	}
	value, err := member(body, c.settings.ReadBack.ExpiryField)
	if err != nil {
		return time.Time{}, readFailed(fmt.Sprintf("tvms.read_back.expiry_field: %v", err), nil)
	}
	t, err := c.format.parse(value)
	if err != nil {
		return time.Time{}, readFailed(c.guard.Clean(fmt.Sprintf("tvms.read_back.format: %v", err)), nil)
	}
	return t, nil
}

// Status is the customer's status, such as Active, Expired, Pending, Disabled or Trial (TVMS manual, CustomerStatus).
// It proves no renewal: who was active stays active. Its errors are those of Expiry.
func (c *Client) Status(ctx context.Context, r events.RenewData) (string, error) {
	body, err := c.read(ctx, methodStatus, &r)
	if err != nil {
		return "", err
	}
	value, err := member(body, c.settings.ReadBack.StatusField)
	if err != nil {
		return "", readFailed(fmt.Sprintf("tvms.read_back.status_field: %v", err), nil)
	}
	text, ok := textOf(value)
	if !ok {
		return "", readFailed("tvms.read_back.status_field holds no text", nil)
	}
	return c.guard.Clean(text), nil
}

// address names the CRM of a command, and checks that the command can be addressed at all.
func (c *Client) address(r *events.RenewData) (crm string, err error) {
	if absent(r.CustomerMappingID) && absent(r.UserID) {
		return "", &events.Error{Kind: events.Refused, Code: events.CodeRequestNotPossible,
			Message: "the command names no customer: TVMS takes the id 0 for none"}
	}
	crm = r.CRMService
	orElse(&crm, c.settings.CRMService)
	if crm == "" {
		return "", &events.Error{Kind: events.Refused, Code: events.CodeNotConfigured,
			Message: "the command names no crm_service, and tvms.crm_service gives no default"}
	}
	return crm, nil
}

func absent(id string) bool { return id == "" || id == unused }

// read makes one of the reads. Its errors are as those of Expiry.
func (c *Client) read(ctx context.Context, method string, r *events.RenewData) ([]byte, error) {
	crm, err := c.address(r)
	if err != nil {
		return nil, err
	}
	reply, err := c.guard.Do(ctx, c.request(http.MethodGet, readPaths[method], c.readQuery(r, crm)))
	if err == nil {
		err = c.answered(reply)
	}
	if err != nil {
		return nil, asRead(err)
	}
	return reply.Body, nil
}

// asRead turns the error of a read into what it means where nothing was to be changed.
func asRead(err error) error {
	inner := events.AsError(err)
	outer := readFailed(inner.Message, err)
	outer.UpstreamCode, outer.RetryAfter = inner.UpstreamCode, inner.RetryAfter
	if inner.Upstream {
		outer.Upstream, outer.Code = true, inner.Code
	}
	return outer
}

func readFailed(message string, cause error) *events.Error {
	return &events.Error{Kind: events.Unavailable, Code: events.CodeRead, Message: "reading the customer: " + message, Op: "read tvms", Cause: cause}
}
