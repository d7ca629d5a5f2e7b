package handlers

import "subrelay/events"

// Unconnected is the family of every kind without its upstream: enough to check commands, and to say what their kinds
// need. Its operations must not be called.
func Unconnected() []Family {
	return []Family{
		Renew{}, Amend{}, Swap{}, NetflixCreate{},
		NetflixState{Kind: events.NetflixSuspend}, NetflixState{Kind: events.NetflixUnsuspend}, NetflixState{Kind: events.NetflixCancel},
		NetflixCharges{Kind: events.NetflixAcknowledge}, NetflixCharges{Kind: events.NetflixAccept}, NetflixCharges{Kind: events.NetflixDecline},
	}
}

func specOf(kind events.Kind) events.Spec {
	spec, _ := events.SpecOf(events.Specs(), kind)
	return spec
}
