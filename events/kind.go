package events

import (
	"slices"
	"strings"
)

// Kind names what a command asks for, such as "renew". It stands in event types and in NATS subjects.
type Kind string

// Renew adds months or days to a TVMS subscription.
const Renew Kind = "renew"

// Upstream names a system that subrelay calls. Each upstream has its own breaker, limits and consumers.
type Upstream string

// TVMS is the IPTV middleware (docs.tvms.io).
const TVMS Upstream = "tvms"

// Spec says what the life of a command needs to know of its kind.
type Spec struct {
	Kind     Kind
	Upstream Upstream
	// HoldsAfterDoubt says that a command in doubt keeps its key until the doubt is resolved. False for kinds that
	// commute, such as renewals: after a doubt the key goes on.
	HoldsAfterDoubt bool
}

// Specs lists the kinds this version knows.
func Specs() []Spec {
	return []Spec{{Kind: Renew, Upstream: TVMS}}
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
