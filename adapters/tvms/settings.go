package tvms

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"subrelay/adapters/upstream"
)

// Settings say where TVMS is and what its replies mean. BaseURL, AuthToken and CRMService (or one in every command)
// are needed; for every other field the zero value stands for the stated default.
type Settings struct {
	// BaseURL is the address of the installation, without "/api": https://tvms.operator.example.
	BaseURL string `yaml:"base_url"`
	// AuthToken is the token from CRM > Settings > Company Info. AuthTokenFile names a file that holds it instead.
	AuthToken     upstream.Secret `yaml:"auth_token"`
	AuthTokenFile string          `yaml:"auth_token_file"`
	// Password is the device password that the API lists, one for all customers. PasswordFile names a file that holds
	// it instead. Default "0": the manual's word for "unused".
	Password     upstream.Secret `yaml:"password"`
	PasswordFile string          `yaml:"password_file"`
	// CRMService is the CRM of commands that name none. Default "": such commands are refused.
	CRMService string `yaml:"crm_service"`
	// Route is the way to call RenewCustomer: post-v1, post-v2, get-v2, post-v2-async or get-v2-async.
	// Default post-v2.
	Route string `yaml:"route"`

	Replies  Replies  `yaml:"replies"`
	ReadBack ReadBack `yaml:"read_back"`
}

// Replies says what replies to RenewCustomer mean.
type Replies struct {
	// Refused lists the statuses that refuse a command for good, with nothing applied. Default 400 and 406.
	Refused []int `yaml:"refused"`
	// NotApplied lists the statuses known to mean that nothing was applied and that trying again makes sense, such as
	// a 503 of the proxy in front. Default none.
	NotApplied []int `yaml:"not_applied"`
	// MessageField is the member of a JSON object that holds the text of a failure. In a 2xx it refuses the command.
	// Default "Message".
	MessageField string `yaml:"message_field"`
	// SuccessBodies lists what the body of a 2xx may be for the renewal to have succeeded: object, array, value (a
	// JSON string, number or boolean) or empty. Anything else is unknown. Default object.
	SuccessBodies []string `yaml:"success_bodies"`
	// SuccessField and SuccessValue, where set, name a member (like ReadBack.ExpiryField) that must hold this text for
	// the renewal to have succeeded. Default "": not asked for. They need success_bodies to be object or array.
	SuccessField string `yaml:"success_field"`
	SuccessValue string `yaml:"success_value"`
}

// ReadBack says how to read a customer's expiry date, by which unclear renewals are settled. The manual documents no
// read that returns it: switch it on only after trying it on the installation.
type ReadBack struct {
	// Enabled switches it on. Default false.
	Enabled bool `yaml:"enabled"`
	// Method is getCustomer_V2 or GetCustomerStatus. Default getCustomer_V2.
	Method string `yaml:"method"`
	// ExpiryField is where the reply holds the expiry date: names joined by dots (Customer.ExpireDate), or a JSON
	// pointer (/0/ExpireDate). No default.
	ExpiryField string `yaml:"expiry_field"`
	// StatusField is where the reply of GetCustomerStatus holds the status. Default "Status".
	StatusField string `yaml:"status_field"`
	// Format is how it is written: epoch_seconds, epoch_ms, rfc3339, aspnet (/Date(1672531200000)/), or a layout of
	// Go's time package (2006-01-02 15:04:05). No default.
	Format string `yaml:"format"`
	// TimeZone is the zone that TVMS counts in, as an IANA name: it says what a date without an offset means, and
	// where days and months begin. Default UTC, but a date that brings its own offset keeps it.
	TimeZone string `yaml:"time_zone"`
	// SettleAfter is how long after a call a read that shows no change proves that there will be none. Default: the
	// larger of 60 s and twice the call time-out. Less than the call time-out is refused.
	SettleAfter time.Duration `yaml:"settle_after"`
	// GiveUpAfter is how long after a call settling is given up. Default: the larger of 5 min and twice SettleAfter.
	GiveUpAfter time.Duration `yaml:"give_up_after"`
}

// minToken is the shortest token accepted: a shorter one could not be kept out of logs.
const minToken = upstream.MinSecret

// WithDefaults is s with every default filled in, except that of the password. callTimeout is the guard's.
func (s Settings) WithDefaults(callTimeout time.Duration) Settings {
	orElse(&s.Route, defaultRoute)
	if s.Replies.Refused == nil {
		s.Replies.Refused = []int{400, 406}
	}
	orElse(&s.Replies.MessageField, "Message")
	if s.Replies.SuccessBodies == nil {
		s.Replies.SuccessBodies = []string{bodyObject}
	}
	r := &s.ReadBack
	orElse(&r.Method, methodGetCustomer)
	orElse(&r.StatusField, "Status")
	orElse(&r.SettleAfter, max(time.Minute, 2*callTimeout))
	orElse(&r.GiveUpAfter, max(5*time.Minute, 2*r.SettleAfter))
	return s
}

// complete reads the secrets' files and fills in the defaults. callTimeout is the guard's.
func (s *Settings) complete(callTimeout time.Duration) error {
	var err error
	if s.AuthToken, err = upstream.SecretOrFile("tvms.auth_token", s.AuthToken, s.AuthTokenFile); err != nil {
		return err
	}
	if s.Password, err = upstream.SecretOrFile("tvms.password", s.Password, s.PasswordFile); err != nil {
		return err
	}
	if s.Password.IsZero() {
		s.Password = upstream.NewSecret(unused)
	}
	*s = s.WithDefaults(callTimeout)
	return nil
}

func orElse[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// check says what is wrong with completed settings. Every problem is reported.
func (s *Settings) check(callTimeout time.Duration) error {
	problems := s.Replies.check()
	refuse := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	switch n := len(s.AuthToken.Reveal()); {
	case n == 0:
		refuse("tvms.auth_token is missing")
	case n < minToken:
		refuse("tvms.auth_token has fewer than %d characters, which is too short to be kept out of logs", minToken)
	}
	if _, ok := routes[s.Route]; !ok {
		refuse("tvms.route %q is none of %s", s.Route, strings.Join(routeNames(), ", "))
	}
	if s.ReadBack.Enabled {
		problems = append(problems, s.ReadBack.check(callTimeout)...)
	}
	return errors.Join(problems...)
}

func (r *Replies) check() (problems []error) {
	refuse := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	for _, status := range r.Refused {
		if !mayList(status, 400) {
			refuse("tvms.replies.refused must not hold %d: only 4xx and 5xx other than 401, 403, 429 can refuse a command", status)
		}
		if slices.Contains(r.NotApplied, status) {
			refuse("tvms.replies.refused and tvms.replies.not_applied both hold %d", status)
		}
	}
	for _, status := range r.NotApplied {
		if !mayList(status, 300) {
			refuse("tvms.replies.not_applied must not hold %d: only 3xx, 4xx and 5xx other than 401, 403, 429 can be listed", status)
		}
	}
	for _, body := range r.SuccessBodies {
		if !slices.Contains([]string{bodyObject, bodyArray, bodyValue, bodyEmpty}, body) {
			refuse("tvms.replies.success_bodies: %q is none of object, array, value, empty", body)
		}
		if r.SuccessField != "" && (body == bodyValue || body == bodyEmpty) {
			refuse("tvms.replies.success_bodies: a body of kind %s has no members, and success_field asks for one", body)
		}
	}
	if len(r.SuccessBodies) == 0 {
		refuse("tvms.replies.success_bodies is empty: nothing could ever succeed")
	}
	if r.SuccessField == "" && r.SuccessValue != "" {
		refuse("tvms.replies.success_value is set without success_field")
	}
	return problems
}

// mayList reports whether an operator may say what status means: 401, 403 and 429 speak of us, not of a customer.
func mayList(status, least int) bool {
	return status >= least && status <= 599 && status != 401 && status != 403 && status != 429
}

func (r *ReadBack) check(callTimeout time.Duration) (problems []error) {
	refuse := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if _, ok := readPaths[r.Method]; !ok {
		refuse("tvms.read_back.method %q is neither %s nor %s", r.Method, methodGetCustomer, methodStatus)
	}
	if r.ExpiryField == "" {
		refuse("tvms.read_back.expiry_field is missing: where does the reply hold the expiry date?")
	}
	if _, err := newExpiryFormat(r.Format, r.TimeZone); err != nil {
		problems = append(problems, err)
	}
	if r.SettleAfter < callTimeout {
		refuse("tvms.read_back.settle_after is %s: it must be at least the call time-out, %s, since a call may still be under way until then",
			r.SettleAfter, callTimeout)
	}
	if r.GiveUpAfter < r.SettleAfter {
		refuse("tvms.read_back.give_up_after is %s: it must not be less than settle_after, %s", r.GiveUpAfter, r.SettleAfter)
	}
	return problems
}
