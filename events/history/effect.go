package history

import (
	"strconv"
	"strings"
	"time"

	"subrelay/events"
)

// Effect is one call that changes state as the upstream's own book has it, whether or not it had its effect. The
// sandbox serves it as JSON.
//
// Order, BeginOrder and EndOrder are ticks of one clock per book: each begin, effect and end of any call draws the next
// number, from 1. They order what wall clocks cannot. A call's end draws its tick before the reply goes out, or when the
// caller is seen to be gone; otherwise the next call could seem to overlap.
type Effect struct {
	Order    int64           `json:"order"` // the tick of the effect; 0 where Applied is false
	Upstream events.Upstream `json:"upstream"`
	Kind     events.Kind     `json:"kind"`
	Key      string          `json:"key"` // the customer: the command's subject, uncoded
	// Ref is the attempt that made the call, "<cid>.<attempt>" (events.Trace); empty where the call did not say.
	Ref string `json:"ref"`

	// Begin and End are when the call arrived and when it was over for the upstream: replied to, refused, or given up.
	Begin      time.Time `json:"begin"`
	End        time.Time `json:"end,omitzero"` // zero while the call is in progress
	BeginOrder int64     `json:"begin_order"`
	EndOrder   int64     `json:"end_order,omitempty"` // 0 while the call is in progress

	Applied bool `json:"applied"` // the call changed the upstream's state
	// Detail is whatever else helps a reader: months, expiry before and after, the fault that was played.
	Detail map[string]string `json:"detail,omitempty"`
}

// Attempt reads the command and the attempt from e.Ref.
func (e *Effect) Attempt() (cid string, attempt int, ok bool) {
	cid, number, found := strings.Cut(e.Ref, ".")
	attempt, err := strconv.Atoi(number)
	if !found || err != nil || attempt < 1 || !events.IsCID(cid) {
		return "", 0, false
	}
	return cid, attempt, true
}
