package events

import (
	"slices"
	"strings"
)

// Kind names what a command asks for, such as "renew". It stands in event types and in NATS subjects.
type Kind string

// The kinds.
const (
	Renew              Kind = "renew"               // adds months or days to a TVMS subscription
	Amend              Kind = "amend"               // adds and removes services and items of a CRM.COM subscription
	Swap               Kind = "swap"                // puts services in the place of others on a CRM.COM subscription
	NetflixCreate      Kind = "netflix-create"      // creates a Netflix subscriber
	NetflixSuspend     Kind = "netflix-suspend"     // suspends one
	NetflixUnsuspend   Kind = "netflix-unsuspend"   // undoes that
	NetflixCancel      Kind = "netflix-cancel"      // the seed pages' third method of that shape; see the Netflix settings
	NetflixAcknowledge Kind = "netflix-acknowledge" // takes charges off the list of new ones
	NetflixAccept      Kind = "netflix-accept"      // accepts charges that Netflix has not processed yet
	NetflixDecline     Kind = "netflix-decline"     // declines them
)

// Upstream names a system that subrelay calls. Each upstream has its own breaker, limits and consumers.
type Upstream string

// The upstreams.
const (
	TVMS    Upstream = "tvms"    // the IPTV middleware (docs.tvms.io)
	CRMCOM  Upstream = "crmcom"  // the CRM and billing suite CRM.COM
	Netflix Upstream = "netflix" // CRM.COM's Netflix methods: the same host, with a breaker and consumers of its own
)

// Spec says what the life of a command needs to know of its kind.
type Spec struct {
	Kind     Kind
	Upstream Upstream
	// HoldsAfterDoubt says that a command in doubt keeps its key until the doubt is resolved. False for kinds that
	// commute, such as renewals: after a doubt the key goes on.
	HoldsAfterDoubt bool
	// Referenced says that every attempt of a command carries one reference, under which the upstream has at most one
	// effect. Where the operator has seen it enforce that, an unclear attempt is settled by calling again: several calls
	// of one attempt may then be under way at once.
	Referenced bool
}

// Specs lists the kinds this version knows.
func Specs() []Spec {
	return []Spec{
		{Kind: Renew, Upstream: TVMS},
		{Kind: Amend, Upstream: CRMCOM, HoldsAfterDoubt: true, Referenced: true},
		{Kind: Swap, Upstream: CRMCOM, HoldsAfterDoubt: true, Referenced: true},
		{Kind: NetflixCreate, Upstream: Netflix, HoldsAfterDoubt: true},
		{Kind: NetflixSuspend, Upstream: Netflix, HoldsAfterDoubt: true},
		{Kind: NetflixUnsuspend, Upstream: Netflix, HoldsAfterDoubt: true},
		{Kind: NetflixCancel, Upstream: Netflix, HoldsAfterDoubt: true},
		{Kind: NetflixAcknowledge, Upstream: Netflix},
		{Kind: NetflixAccept, Upstream: Netflix},
		{Kind: NetflixDecline, Upstream: Netflix},
	}
}

// SpecOf finds a kind in specs.
func SpecOf(specs []Spec, kind Kind) (Spec, bool) {
	i := slices.IndexFunc(specs, func(s Spec) bool { return s.Kind == kind })
	if i < 0 {
		return Spec{}, false
	}
	return specs[i], true
}

const (
	typePrefix = "subrelay."
	typeSuffix = ".v1"
)

// CommandType is the CloudEvents type of a command, "subrelay.<kind>.v1".
func CommandType(k Kind) string { return typePrefix + string(k) + typeSuffix }

// OutcomeType is the CloudEvents type of an outcome, "subrelay.<kind>.<status>.v1".
func OutcomeType(k Kind, s Status) string {
	return typePrefix + string(k) + "." + string(s) + typeSuffix
}

// KindOfType reads the kind from a command's type. It does not say whether the kind is known.
func KindOfType(typ string) (Kind, bool) {
	kind, ok := strings.CutPrefix(typ, typePrefix)
	if !ok {
		return "", false
	}
	kind, ok = strings.CutSuffix(kind, typeSuffix)
	if !ok || kind == "" || strings.Contains(kind, ".") {
		return "", false
	}
	return Kind(kind), true
}
