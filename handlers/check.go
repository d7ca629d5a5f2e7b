package handlers

import (
	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/events"
	"subrelay/schemas"
)

// Checked is what can be said of a command before it is sent.
type Checked struct {
	Command events.Command
	Hash    string // of its data, by which the same id with other data is told apart
	// Failure is why the command could never succeed, nil where nothing speaks against it. It is what a worker would
	// write into the dead letter or the outcome.
	Failure *events.Failure
}

// Check looks at a command as a dispatcher of these families would, without ledger and upstream. Whether its id was
// used before, its time and its expirytime are not looked at. e is nil where no event could be read, and unread why.
func Check(families []Family, set *schemas.Set, e *event.Event, unread error) Checked {
	d := &Dispatcher{Config: Config{Schemas: set}, families: make(map[events.Kind]Family, len(families))}
	for _, f := range families {
		d.families[f.Spec().Kind] = f
	}
	delivery := events.Delivery{Event: e, Undecodable: unread}
	if e != nil {
		if cmd, err := events.ReadCommand(e); err == nil {
			delivery.Kind, delivery.Key = cmd.Kind, cmd.Key
		}
	}
	j := d.Job(delivery)
	if err := j.read(); err != nil {
		return Checked{Command: j.cmd, Failure: failureOf(err)}
	}
	return Checked{Command: j.cmd, Hash: j.hash, Failure: j.check()}
}
