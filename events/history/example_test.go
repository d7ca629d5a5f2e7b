package history_test

import (
	"fmt"

	"subrelay/events"
	"subrelay/events/history"
)

// A success that the upstream's book does not confirm is a lost effect, whatever the worker believes.
func ExampleCheck() {
	cid := events.CID("/billing", "inv-42", "C-10042")
	command := events.Ref{CID: cid, Kind: events.Renew, Key: "C-10042"}
	report := history.Check(history.Evidence{
		Commands: []history.Command{{CID: cid, Key: "C-10042", Kind: events.Renew, Seq: 1}},
		Records: []events.Record{
			{Seq: 1, Outcome: events.Outcome{Command: command, Status: events.Started, Attempt: 1, Upstream: events.TVMS}},
			{Seq: 2, Outcome: events.Outcome{Command: command, Status: events.Succeeded, Attempt: 1, Upstream: events.TVMS}},
		},
	})
	fmt.Println(report.OK(), report.Succeeded, report.LostEffects)
	fmt.Println(report.Violations[0])
	// Output:
	// false 1 1
	// lost_effect key=C-10042 cid=76emlho77yqww4gm4he2yt2mu2: succeeded, and the upstream's book has no effect
}
