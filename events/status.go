package events

// Status is what a record of the ledger says about its command.
type Status string

// The statuses, in the order of a command's life. A final status is never followed by another.
const (
	// Started says that an attempt is about to call the upstream.
	Started Status = "started"
	// Deferred says that the attempt is known to have changed nothing; another is due later.
	Deferred Status = "deferred"
	// InDoubt says that the attempt may have changed something and nothing could tell. Not final: the truth is owed.
	InDoubt Status = "in_doubt"
	// Succeeded says that the effect happened once. Final.
	Succeeded Status = "succeeded"
	// Rejected says that nothing happened and nothing will: invalid, or refused by the upstream. Final.
	Rejected Status = "rejected"
	// Failed says that nothing happened: attempts used up, or a doubt settled as not applied. Final.
	Failed Status = "failed"
	// Expired says that the command was not started before its expirytime. Final.
	Expired Status = "expired"
	// Cancelled says that the command was withdrawn before it started. Final; reserved.
	Cancelled Status = "cancelled"
)

// Statuses lists every status.
func Statuses() []Status {
	return []Status{Started, Deferred, InDoubt, Succeeded, Rejected, Failed, Expired, Cancelled}
}

// Final reports whether no record may follow one of this status.
func (s Status) Final() bool {
	switch s {
	case Succeeded, Rejected, Failed, Expired, Cancelled:
		return true
	}
	return false
}
