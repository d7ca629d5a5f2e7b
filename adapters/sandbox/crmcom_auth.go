package sandbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"time"
)

// tokens is the tokens that were given out. Several are valid at once (the pages are silent on it).
type tokens struct {
	lifetime time.Duration
	key      [8]byte // for what signs them

	mu     sync.Mutex
	count  uint64
	expire map[string]time.Time
}

func newTokens(o *CRMCOMOptions) *tokens {
	t := &tokens{lifetime: o.TokenLifetime, expire: map[string]time.Time{}}
	binary.BigEndian.PutUint64(t.key[:], o.Seed)
	return t
}

func (t *tokens) valid(token string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	expires, known := t.expire[token]
	return known && now.Before(expires)
}

// issue gives out a token, and forgets those that have expired.
func (t *tokens) issue(user, unit string, now time.Time) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for token, expires := range t.expire {
		if !now.Before(expires) {
			delete(t.expire, token)
		}
	}
	t.count++
	expires := now.Add(t.lifetime)
	token := t.sign(t.count, user, unit, now, expires)
	t.expire[token] = expires
	return token
}

// sign makes the token: a JWT (vendor: POST authentication/token), whose exp and iat are texts as in the vendor's own
// example.
func (t *tokens) sign(n uint64, user, unit string, issued, expires time.Time) string {
	encode := base64.RawURLEncoding.EncodeToString
	claims, _ := json.Marshal(map[string]string{ // texts can be marshalled
		"jti": "session-" + strconv.FormatUint(n, 10), "usr": user, "org": "1", "oun": unit,
		"iat": strconv.FormatInt(issued.Unix(), 10), "exp": strconv.FormatInt(expires.Unix(), 10),
	})
	text := encode([]byte(`{"typ":"JWT","alg":"HS256"}`)) + "." + encode(claims)
	mac := hmac.New(sha256.New, t.key[:])
	mac.Write([]byte(text))
	return text + "." + encode(mac.Sum(nil))
}

func (t *tokens) release(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.expire, token)
}

// forget makes all tokens invalid.
func (t *tokens) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.expire)
}

// ExpireTokens makes all tokens invalid that were given out. See also the fault ExpireToken.
func (c *CRMCOM) ExpireTokens() { c.tokens.forget() }

// login is POST authentication/token.
func (c *CRMCOM) login(q *request) reply {
	o := &c.opts
	given := []string{q.params.string("username"), q.params.string("password"), q.params.string("organisation")}
	if !c.open() && (o.Username == "" || !same(given, []string{o.Username, o.Password, o.Organisation})) {
		return c.no(&refusal{codeInvalidCredentials, "The credentials are not valid."})
	}
	return c.welcome(given[0], q)
}

// loginByKey is POST authentication/web_api_key/token: the key is the user of HTTP Basic, whose password is empty.
func (c *CRMCOM) loginByKey(q *request) reply {
	welcome := c.open() || c.opts.WebAPIKey != "" && same([]string{q.user}, []string{c.opts.WebAPIKey})
	if !q.basic || q.user == "" || q.pass != "" || !welcome {
		return c.no(&refusal{codeInvalidCredentials, "The key is not valid."})
	}
	return c.welcome("web_api_key", q)
}

// open reports whether any credentials do.
func (c *CRMCOM) open() bool { return c.opts.WebAPIKey == "" && c.opts.Username == "" }

func same(given, wanted []string) bool {
	return subtle.ConstantTimeCompare([]byte(strings.Join(given, "\x00")), []byte(strings.Join(wanted, "\x00"))) == 1
}

func (c *CRMCOM) welcome(user string, q *request) reply {
	return done(map[string]string{"token": c.tokens.issue(user, q.params.string("unit"), c.clock())})
}

// releaseToken is POST authentication/token/release.
func (c *CRMCOM) releaseToken(q *request) reply {
	c.tokens.release(q.params.string("token"))
	return done(struct{}{})
}
