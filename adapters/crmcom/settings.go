package crmcom

import (
	"time"

	"subrelay/adapters/upstream"
)

// Settings are those of one CRM.COM installation. The zero value of a field stands for its default. What the vendor's
// pages leave open is a setting here; its default is the reading that the project's reference of the API gives.
type Settings struct {
	// BaseURL is the address of the installation, without the path: https://crm.operator.example. Required.
	BaseURL string `yaml:"base_url"`
	// Path stands between the address and a method's name. Default "/crmapi/rest/v2".
	Path string `yaml:"path"`
	// Release is the installed release, such as R14.1.0, from R13.0.0 to R18.0.0: what it does not know is refused before
	// a call. Required.
	Release string `yaml:"release"`
	// TimeZone is the zone of the dates on the wire, which name none. Default UTC.
	TimeZone string `yaml:"time_zone"`

	// WebAPIKey is the key of POST authentication/web_api_key/token, the way that the vendor recommends.
	WebAPIKey     upstream.Secret `yaml:"web_api_key"`
	WebAPIKeyFile string          `yaml:"web_api_key_file"`
	// Username, Password and Organisation are those of POST authentication/token, in place of WebAPIKey.
	Username     string          `yaml:"username"`
	Password     upstream.Secret `yaml:"password"`
	PasswordFile string          `yaml:"password_file"`
	Organisation string          `yaml:"organisation"`
	// Unit is the id of the unit to work at. Default: the user's.
	Unit string `yaml:"unit"`
	// TokenLifetime is how long after its issue a token expires. Default 2 h.
	TokenLifetime time.Duration `yaml:"token_lifetime"`
	// TokenMargin is how long before that it is renewed. Default 5 min.
	TokenMargin time.Duration `yaml:"token_margin"`

	// KnownParameters are parameters that the installation is known to take whatever its release, by the path that a
	// refusal names. Default none.
	KnownParameters []string `yaml:"known_parameters"`

	Codes     Codes           `yaml:"codes"`
	Reference Reference       `yaml:"reference"`
	Amend     AmendSettings   `yaml:"amend"`
	Swap      SwapSettings    `yaml:"swap"`
	Show      ShowSettings    `yaml:"show"`
	Actions   ActionsSettings `yaml:"scheduled"`

	// SettleAfter is how long after an unclear call an unchanged state means that nothing was done. Default: the larger
	// of 1 min and twice the call time-out.
	SettleAfter time.Duration `yaml:"settle_after"`
	// GiveUpAfter is how long settling is tried. Default 5 min, and more than SettleAfter.
	GiveUpAfter time.Duration `yaml:"give_up_after"`
}

// Codes says what status.code in a reply's envelope means. The vendor's pages, as far as read, name no code but OK. A
// well-formed envelope with a code that is on no list refuses the command.
type Codes struct {
	// InvalidToken: the token is not valid (any more); nothing was done. Default INVALID_TOKEN, TOKEN_EXPIRED.
	InvalidToken []string `yaml:"invalid_token"`
	// Duplicate: the reference was used before. Default DUPLICATE_REFERENCE, also as error_code of a charge.
	Duplicate []string `yaml:"duplicate_reference"`
	// NotFound: there is no such subscription or customer. Default NOT_FOUND.
	NotFound []string `yaml:"not_found"`
	// Refused: the command is refused, and nothing was done, whatever the HTTP status and the rest of the reply. Default
	// none.
	Refused []string `yaml:"refused"`
	// NotApplied: surely nothing was done, and trying later makes sense. Default none.
	NotApplied []string `yaml:"not_applied"`
	// Unknown: something may have been done. Default none.
	Unknown []string `yaml:"unknown"`
	// HTTPInvalidToken lists HTTP statuses that mean as much as a code of InvalidToken, where the reply has no code of a
	// list. Only 401 and 403 can be listed. Default 401.
	HTTPInvalidToken []int `yaml:"http_invalid_token"`
	// HTTPNotApplied lists HTTP statuses that are known to mean that nothing was done. Default none.
	HTTPNotApplied []int `yaml:"http_not_applied"`
}

// Reference is how transaction_reference_number and reference_number are made and used.
type Reference struct {
	// Enforced says that the operator has seen the installation refuse a reference that was used before. Only then is an
	// unclear amend or swap repeated with the same reference; else it is in doubt. Default false.
	Enforced bool `yaml:"enforced"`
	// Omit says that the installation takes no transaction_reference_number with an action: none is sent. Default false.
	Omit bool `yaml:"omit"`
	// Format holds {cid}, or {CID} for capitals: 26 letters and digits. Default "{cid}".
	Format string `yaml:"format"`
	// MaxLength cuts the cid so that the whole reference, with a charge's "-NN", is not longer. At least 16 characters of
	// the cid must be left. Default 0: no limit.
	MaxLength int `yaml:"max_length"`
}

// AmendSettings are those of POST subscriptions/amend.
type AmendSettings struct {
	Path string `yaml:"path"` // default subscriptions/amend
	// FieldsSet is sent as fields_set. Default "": not sent.
	FieldsSet string `yaml:"fields_set"`
	// RejectedStates are states of the returned action that refuse the command. Default REJECTED, REJECTEDSYSTEMFAILURE,
	// REJECTEDSYSTEMVALIDATION, CANCELLED.
	RejectedStates []string `yaml:"rejected_states"`
	// UnclearStates are states of the returned action that leave open what was done. Default EXECUTEDWITHERRORS,
	// PENDING_VERIFICATION (from R15.0.0; a subscription may have it too, which says nothing of the action).
	UnclearStates []string `yaml:"unclear_states"`
}

// SwapSettings say how a swap is sent.
type SwapSettings struct {
	// Carrier is "amend" (a set of subscriptions/amend) or "method" (the swap services method). Default "amend".
	Carrier string `yaml:"carrier"`
	// Set is the name of the set that holds the swaps. Default services_to_swap_set.
	Set string `yaml:"set"`
	// Path is that of the swap services method. Default subscriptions/swap_services.
	Path string `yaml:"path"`
	// Confirmed says that the operator has seen the installation take swaps in this way, which the vendor's pages leave
	// open: a set that the installation does not know might be passed over, and the swap be taken for done. Default
	// false: swaps are refused as not_configured.
	Confirmed bool `yaml:"confirmed"`
}

// ShowSettings are those of GET subscriptions/show.
type ShowSettings struct {
	Path          string `yaml:"path"`           // default subscriptions/show
	ServicesField string `yaml:"services_field"` // default termed_services_set
	ProductField  string `yaml:"product_field"`  // of a service; default product
}

// ActionsSettings are those of GET subscriptions/actions/get_scheduled.
type ActionsSettings struct {
	Path string `yaml:"path"` // default subscriptions/actions/get_scheduled
	// SetField is the member of the reply's data that holds the actions. Default "": data is their array, or an object
	// of which every array holds actions.
	SetField       string `yaml:"set_field"`
	ReferenceField string `yaml:"reference_field"` // of an action; default transaction_reference_number
}

// NetflixSettings are those of the Netflix methods of the same installation.
type NetflixSettings struct {
	// Disabled says that this worker serves no Netflix commands. Default false.
	Disabled bool `yaml:"disabled"`
	// CancelPath is that of netflix-cancel, whose name the vendor's pages do not give any more. Default "": such commands
	// are refused as not_configured.
	CancelPath string `yaml:"cancel_path"`
	// TokenField is the member of a creation's reply that holds the Netflix token. Default netflix_token.
	TokenField string `yaml:"token_field"`
	// ReadBack says that unclear calls are settled by reading. Default true.
	ReadBack *bool `yaml:"read_back"`
	// SettleAfter and GiveUpAfter are as those of Settings.
	SettleAfter time.Duration `yaml:"settle_after"`
	GiveUpAfter time.Duration `yaml:"give_up_after"`
	// AcceptedStates are the states that a charge gets by being accepted, such as APPROVED, and only by that: Netflix
	// processes charges by itself too. Default none: an unclear acceptance is in doubt.
	AcceptedStates []string `yaml:"accepted_states"`
	// DeclinedStates are those that it gets by being declined, such as DECLINED. Default none: an unclear declination is in
	// doubt.
	DeclinedStates []string `yaml:"declined_states"`
	// Charges is the feed of new charges.
	Charges ChargesSettings `yaml:"charges"`
}

// ChargesSettings are those of GET netflix/charges/list, and of the feed of charges.
type ChargesSettings struct {
	// Feed says that this worker takes its turn in publishing charges as events. Default true.
	Feed *bool `yaml:"feed"`
	// Interval is how often charges are listed. Default 1 min.
	Interval time.Duration `yaml:"interval"`
	// PageSize is how many are listed by one call, from 2 on: pages overlap by one. Default 50, which is the most.
	PageSize int `yaml:"page_size"`
	// MaxPages is how many calls one listing makes at most, those included that begin anew because charges left the list
	// in between. Default 200.
	MaxPages int `yaml:"max_pages"`
	// SetField is the member of the reply's data that holds the charges. Default charges_set.
	SetField string `yaml:"set_field"`
	// FailedField is the member of the data of an OK to acknowledge, accept and decline that holds the charges which were
	// not taken. Default failed_charges_set.
	FailedField string `yaml:"failed_field"`
	// SendStatus says that the list is asked for by charge_status, in two parts. Default: from R14.1.0 on.
	SendStatus *bool `yaml:"send_status"`
}
