package crmcom

import (
	"regexp"
	"strconv"
	"strings"

	"subrelay/events"
)

// What Reference.Format may hold for the cid.
const (
	smallCID   = "{cid}"
	capitalCID = "{CID}"
)

const (
	cidLength = 26
	minCID    = 16 // 80 bits: what is left of a cid must still tell commands apart
)

// chargeSuffix is the room for "-<n>", n up to events.MaxCharges.
var chargeSuffix = len("-" + strconv.Itoa(events.MaxCharges))

// of is the reference of the command cid: the same in every attempt, and another for every other command.
func (r *Reference) of(cid string) string {
	if n := r.keeps(); len(cid) > n {
		cid = cid[:n]
	}
	if strings.Contains(r.Format, capitalCID) {
		return strings.Replace(r.Format, capitalCID, strings.ToUpper(cid), 1)
	}
	return strings.Replace(r.Format, smallCID, cid, 1)
}

// ofCharge is the reference of the charge at place n, from 1, of the command cid.
func (r *Reference) ofCharge(cid string, n int) string { return r.of(cid) + "-" + strconv.Itoa(n) }

// keeps is how many characters of a cid fit, which may be more than it has.
func (r *Reference) keeps() int {
	if r.MaxLength == 0 {
		return cidLength
	}
	return r.MaxLength - chargeSuffix - (len(r.Format) - len(smallCID))
}

var formatPattern = regexp.MustCompile(`^[A-Za-z0-9_.:/-]*(\{cid\}|\{CID\})[A-Za-z0-9_.:/-]*$`)

func (r *Reference) check(p *problems) {
	if !formatPattern.MatchString(r.Format) {
		p.refuse("crmcom.reference.format %q must hold %s or %s once, and else letters, digits and _ . : / -", r.Format, smallCID, capitalCID)
		return
	}
	if r.keeps() < minCID {
		p.refuse("crmcom.reference.max_length is %d: with %q, and a charge's %q behind it, it must be 0 (no limit) or at least %d, "+
			"so that %d characters of the cid are left", r.MaxLength, r.Format, "-"+strconv.Itoa(events.MaxCharges),
			minCID+chargeSuffix+len(r.Format)-len(smallCID), minCID)
	}
	if r.Enforced && r.Omit {
		p.refuse("crmcom.reference.enforced and crmcom.reference.omit contradict each other")
	}
}
