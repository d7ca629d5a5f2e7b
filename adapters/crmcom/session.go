package crmcom

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

// Session is the login at one CRM.COM installation: the token that every call carries (space V4Development, API
// Authentication). It is kept in memory only. Clients share it; whichever needs a token first gets it, through its own
// guard and within its own call, and the others wait for that one.
type Session struct {
	settings Settings

	mu      sync.Mutex
	token   upstream.Secret // so that printing a Session does not show it
	due     time.Time       // when the token is to be renewed, or a renewal that failed is to be tried again
	expires time.Time       // when it ends
	renewal *renewal        // under way
	guards  []*upstream.Guard
}

// renewal is the getting of one token by one caller.
type renewal struct {
	done  chan struct{} // closed at the end
	token upstream.Secret
	err   error
	// kept says that no token could be had, and that the one from before is still good.
	kept bool
	// left says that the caller ended before it was known what came of it: another has to try.
	left bool
}

// NewSession is a session that has no token yet. The error names every setting of it that is wrong, and shows no secret.
func NewSession(s Settings) (*Session, error) {
	var err error
	if s.WebAPIKey, err = upstream.SecretOrFile("crmcom.web_api_key", s.WebAPIKey, s.WebAPIKeyFile); err != nil {
		return nil, err
	}
	if s.Password, err = upstream.SecretOrFile("crmcom.password", s.Password, s.PasswordFile); err != nil {
		return nil, err
	}
	s = s.WithDefaults(0)
	if err := s.checkSession(); err != nil {
		return nil, err
	}
	return &Session{settings: s}, nil
}

// attach makes the session's secrets, those to come included, known to a guard.
func (s *Session) attach(g *upstream.Guard) {
	g.Hide(s.settings.WebAPIKey, s.settings.Password)
	if key := s.settings.WebAPIKey.Reveal(); key != "" {
		g.Hide(upstream.NewSecret(base64.RawStdEncoding.EncodeToString([]byte(key + ":"))))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.guards = append(s.guards, g)
	if !s.token.IsZero() {
		g.HideLatest(tokenName, s.token)
	}
}

const tokenName = "the session's token"

// get is a token other than refused, which CRM.COM has refused ("" for none). fresh says that this call waited for it.
// Where nothing was kept from the last time, it is got by a call, which one caller makes for all. A token that is due is
// renewed by one caller while the others go on with it, and so does that one where no other is to be had yet. Errors say
// that nothing was submitted: Unavailable with Upstream set, also where ctx's time was over before there was a token; or
// Internal where ctx was cancelled, or had ended already.
func (s *Session) get(ctx context.Context, w *wire, refused string) (token string, fresh bool, err error) {
	if ctx.Err() != nil {
		return "", false, w.notSent(ctx)
	}
	for {
		kept, r, mine := s.look(refused)
		switch {
		case kept != "":
			return kept, false, nil
		case mine:
			s.renew(ctx, w, r)
		default:
			select {
			case <-r.done:
			case <-ctx.Done():
			}
		}
		switch {
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			return "", false, lateToken(ctx.Err())
		case ctx.Err() != nil:
			return "", false, w.notSent(ctx)
		case !r.left:
			return r.token.Reveal(), !r.kept, r.err
		}
	}
}

// look is the token, or the renewal that is under way, or, as mine, a new one that the caller has to make. A token that
// was refused is forgotten, unless another has come in its place: many calls may be refused at once.
func (s *Session) look(refused string) (token string, r *renewal, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.token.IsZero() && s.token.Reveal() == refused {
		s.token = upstream.Secret{}
	}
	now := time.Now()
	switch {
	case s.good(now) && (s.renewal != nil || now.Before(s.due)):
		return s.token.Reveal(), nil, false
	case s.renewal != nil:
		return "", s.renewal, false
	}
	s.renewal = &renewal{done: make(chan struct{}), left: true}
	return "", s.renewal, true
}

// good reports whether there is a token that has not ended. The caller holds the lock.
func (s *Session) good(now time.Time) bool { return !s.token.IsZero() && now.Before(s.expires) }

// renewAgain is how long after a renewal that failed the next is tried, while the token is still good.
const renewAgain = 15 * time.Second

// renew makes a renewal. Whatever happens, it ends, so that nobody waits for it in vain.
func (s *Session) renew(ctx context.Context, w *wire, r *renewal) {
	began := time.Now()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !r.token.IsZero() {
			for _, g := range s.guards {
				g.HideLatest(tokenName, r.token)
			}
			s.token, s.expires = r.token, began.Add(s.settings.TokenLifetime)
			s.due = s.expires.Add(-s.settings.TokenMargin)
		} else if now := time.Now(); s.good(now) {
			s.due = now.Add(renewAgain)
			if r.err != nil {
				w.warn("the token could not be renewed, and is still good until " + s.expires.UTC().Format(time.RFC3339) + ": " + r.err.Error())
				r.token, r.err, r.kept = s.token, nil, true
			}
		}
		s.renewal = nil
		close(r.done)
	}()
	token, err := s.login(ctx, w)
	if err != nil && ctx.Err() != nil {
		return
	}
	r.token, r.err, r.left = upstream.NewSecret(token), err, false
}

// The methods that give tokens (space V4Development, POST authentication/token and
// POST authentication/web_api_key/token).
const (
	pathWebAPIKey = "authentication/web_api_key/token"
	pathLogin     = "authentication/token"
)

// loginRequest is the body of either method.
type loginRequest struct {
	Username     string `json:"username,omitempty"`
	Password     string `json:"password,omitempty"`
	Organisation string `json:"organisation,omitempty"`
	Unit         string `json:"unit,omitempty"`
}

// login gets a token. Its errors are Unavailable with Upstream set: whatever went wrong, no command was submitted.
func (s *Session) login(ctx context.Context, w *wire) (string, error) {
	set := &s.settings
	var req *http.Request
	var err error
	if key := set.WebAPIKey.Reveal(); key != "" {
		if req, err = w.post(pathWebAPIKey, loginRequest{Unit: set.Unit}); err == nil {
			req.SetBasicAuth(key, "")
		}
	} else {
		req, err = w.post(pathLogin, loginRequest{set.Username, set.Password.Reveal(), set.Organisation, set.Unit})
	}
	if err != nil {
		return "", noToken(err)
	}
	reply, err := w.guard.Do(ctx, req)
	if err != nil {
		return "", noToken(err)
	}
	return w.tokenOf(reply)
}

// tokenOf is the token of a reply to a login.
func (w *wire) tokenOf(reply upstream.Reply) (string, error) {
	data, err := w.read(reply, personal{})
	if err != nil {
		return "", noLogin(err)
	}
	token, ok := textIn(data, "token")
	if !ok || len(token) < upstream.MinSecret || len(token) > maxToken {
		return "", noToken(w.unknown(reply, "OK, but no token"))
	}
	return token, nil
}

// maxToken is the longest token that is believed: it has to fit into the address of a GET.
const maxToken = 8 << 10

// noLogin is why a reply gave no token. What CRM.COM answers in an envelope of its own refuses our credentials, unless
// the code is known to mean something else. So does what would refuse the token of another call: a login has none.
func noLogin(err error) error {
	e := noToken(err)
	if kind := events.KindOf(err); kind == events.Refused || kind == events.Conflict {
		e.Code = events.CodeUnauthorized
	}
	if errors.Is(err, errToken) {
		e.Message = "no token could be had: CRM.COM refused our credentials with " + e.UpstreamCode
	}
	return e
}

// lateToken is the error of a call whose time was over before there was a token for it.
func lateToken(cause error) *events.Error {
	return &events.Error{Kind: events.Unavailable, Code: events.CodeLate, Upstream: true, Op: "log in to crmcom", Cause: cause,
		Message: "getting a token took so long that the call was not made"}
}

func noToken(err error) *events.Error {
	inner := events.AsError(err)
	return &events.Error{Kind: events.Unavailable, Code: inner.Code, Upstream: true, UpstreamCode: inner.UpstreamCode,
		RetryAfter: inner.RetryAfter, Op: "log in to crmcom", Cause: err, Message: fmt.Sprintf("no token could be had: %s", inner.Message)}
}
