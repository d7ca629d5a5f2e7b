package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
	"subrelay/events/checkup"
)

// inProduction refuses to go on where anything was found that can break the promise; other findings are logged.
func (a *App) inProduction(found []checkup.Finding) error {
	for _, f := range found {
		if !f.Refused() && (f.Severity > checkup.Note || f.Code == "sync.unknown") {
			a.Logger.Warn("production: "+f.What, "code", f.Code, "of", f.Of, "do", f.Do)
		}
	}
	return refusal(refusing(found, nil))
}

// refusal is the error of a worker that does not start in production, nil for no findings.
func refusal(found []checkup.Finding) error {
	if len(found) == 0 {
		return nil
	}
	var lines []string
	for _, f := range found {
		line := f.Code
		if f.Of != "" {
			line += " (" + f.Of + ")"
		}
		lines = append(lines, line+": "+f.What+"\n  why: "+f.Why+"\n  do:  "+f.Do)
	}
	return hinted(fmt.Errorf("production is asked for, and %s can break the promise", count(len(found), "finding", "findings")),
		"%s\n'subrelay doctor --production' shows the same, and more; without --production the worker starts all the same", strings.Join(lines, "\n"))
}

// monitorPatience is how long a worker waits at its start for the monitoring of a server.
const monitorPatience = 30 * time.Second

// checkProduction looks at the broker before anything is changed or taken there. While something cannot be looked at it
// tries again: nothing is assumed of what nobody has seen.
func (a *App) checkProduction(ctx context.Context, js jetstream.JetStream) error {
	if !a.Config.Worker.Production {
		return nil
	}
	broker := natsjs.NewCheckup(js, natsjs.CheckupSettings{
		Topology: a.topology, URL: a.Config.NATS.URL, Upstreams: a.upstreams(), Monitors: a.Config.NATS.MonitorURLs, MonitorCAFile: a.Config.NATS.CAFile,
	})
	for began := time.Now(); ; {
		limited, cancel := a.refusals.orRefused(ctx)
		found := checkup.Run(limited, broker.PromiseChecks())
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		again, err := a.judge(found, time.Since(began))
		if refused, ok := a.refusals.first(); ok && len(again) > 0 {
			return notPermitted(refused)
		}
		if err != nil || len(again) == 0 {
			return err
		}
		for _, f := range again {
			a.Logger.Warn("production: it cannot be checked; trying again", "code", f.Code, "of", f.Of, "error", f.What, "pause", connectPause)
		}
		if !sleep(ctx, connectPause) {
			return nil
		}
	}
}

// judge refuses what can break the promise, and returns what could not be looked at, and must be.
func (a *App) judge(found []checkup.Finding, waited time.Duration) (again []checkup.Finding, err error) {
	again = unseenBy(found)
	if len(again) > 0 && waited < monitorPatience {
		return again, refusal(refusing(found, again))
	}
	return again, a.inProduction(found)
}

// unseenBy is what says that something could not be looked at: a check that could not be made, or the monitoring of a
// server that is there. The latter refuses the start where it stays so.
func unseenBy(found []checkup.Finding) []checkup.Finding {
	return slices.DeleteFunc(slices.Clone(found), func(f checkup.Finding) bool {
		return f.Code != checkup.CodeFailed && (f.Code != natsjs.CodeUnread || !f.Refused())
	})
}

// refusing is the findings on which a worker does not start, those left out that may be others at the next try.
func refusing(found, unseen []checkup.Finding) []checkup.Finding {
	return slices.DeleteFunc(slices.Clone(found), func(f checkup.Finding) bool { return !f.Refused() || slices.Contains(unseen, f) })
}

// errUpInProduction says what `up` is for.
var errUpInProduction = errors.New("worker.production is set, and up is for trials: one server, and imitations for upstreams")
