package main

import (
	"fmt"
	"strconv"
	"strings"

	"subrelay/events"
)

// demoTables prints what became of the commands, how those fared that were not down, what the books say, and the verdict.
func (c *cli) demoTables(tell *narrator, r *demoResult) error {
	for _, table := range []func(*demoResult) error{c.demoFates, c.demoKinds, c.demoIndependence, c.demoBooks} {
		if err := table(r); err != nil {
			return err
		}
	}
	for _, v := range r.Violations {
		if err := c.printLine("  VIOLATION  %s", v); err != nil {
			return err
		}
	}
	if err := c.printLine(""); err != nil {
		return err
	}
	switch {
	case r.OK:
		tell.sayf("OK: every command has its one outcome or a named doubt, and the books agree with all")
	case len(r.Violations) == 0:
		tell.sayf("FAILED: %d charges were not answered to the end", r.ChargesOpen)
	default:
		tell.sayf("FAILED: the books and the outcomes disagree")
	}
	return nil
}

// figures are rows of a name, a number, and what it means.
type figures [][]string

func (f *figures) add(name string, n int, format string, args ...any) {
	*f = append(*f, []string{name, strconv.Itoa(n), fmt.Sprintf(format, args...)})
}

func (c *cli) demoFates(r *demoResult) error {
	var f figures
	f.add("commands", r.Commands, "different ones that the broker accepted")
	f.add("duplicates", r.Duplicates, "sent again on purpose: done once all the same")
	f.add("succeeded", r.Succeeded, "the effect happened once; %d settled after an unclear call, %d by hand", r.Settled, r.Applied)
	f.add("  token lost", r.TokensLost, "of these: Netflix subscribers whose token was in the lost reply")
	f.add("rejected", r.Rejected, "invalid, or refused by the upstream: nothing happened")
	f.add("failed", r.Failed, "nothing happened: attempts used up, or a person found so")
	f.add("expired", r.Expired, "not started before their expirytime")
	f.add("dead", r.Dead, "could never run: in the dead letters, without an outcome")
	f.add("in doubt", r.InDoubt, "nobody can know: a person decides (subrelay doubts)")
	return c.titledTable([]string{"WHAT BECAME OF THEM", "", ""}, f)
}

func (c *cli) demoKinds(r *demoResult) error {
	var rows [][]string
	for _, k := range r.Kinds {
		row := []string{k.Name}
		for _, n := range []int{k.Commands, k.Succeeded, k.Settled, k.Rejected, k.Failed, k.Expired, k.InDoubt} {
			row = append(row, strconv.Itoa(n))
		}
		rows = append(rows, row)
	}
	return c.titledTable([]string{"KIND BY KIND", "commands", "succeeded", "settled", "rejected", "failed", "expired", "in doubt"}, rows)
}

func (c *cli) demoIndependence(r *demoResult) error {
	var rows [][]string
	for _, o := range r.Independence {
		rows = append(rows, []string{
			names(o.Down), fmt.Sprintf("%.1f s", float64(o.DownMS)/1000), names(o.Others), fmt.Sprintf("%d of %d", o.Done, o.Sent),
			millis(o.P50), millis(o.P95), millis(o.P50Before) + ", " + millis(o.P95Before),
		})
	}
	return c.titledTable([]string{"ONE DOWN, THE OTHERS FLOW", "for", "meanwhile", "done", "p50", "p95", "before that"}, rows)
}

func names(upstreams []events.Upstream) string {
	var list []string
	for _, u := range upstreams {
		list = append(list, string(u))
	}
	return strings.Join(list, ", ")
}

// millis is a time; none was measured where it is 0.
func millis(ms float64) string {
	if ms == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f ms", ms)
}

func (c *cli) demoBooks(r *demoResult) error {
	var by, opened []string
	for _, u := range r.Upstreams {
		by = append(by, fmt.Sprintf("%s %d", u.Name, u.Effects))
		opened = append(opened, fmt.Sprintf("%s %d", u.Name, u.BreakerOpened))
	}
	var f figures
	f.add("effects", r.Effects, "in the upstreams' own books: %s", strings.Join(by, ", "))
	f.add("double effects", r.DoubleEffects, "service given away, or billed twice")
	f.add("lost effects", r.LostEffects, "customers told that something was done, and it was not")
	f.add("denied effects", r.DeniedEffects, "done, and the outcomes say that it was not")
	f.add("order violations", r.OrderViolations+r.Overlaps+r.BrokenHolds, "of one key: out of order, at the same time, or past a doubt that holds it")
	f.add("attempts spent", r.AttemptsSpent, "by the outages; times a breaker opened: %s", strings.Join(opened, ", "))
	f.add("charges open", r.ChargesOpen, "of %d: the others were told of, answered and acknowledged", r.Charges)
	return c.titledTable([]string{"BOOKS AND OUTCOMES", "", ""}, f)
}

// titledTable prints an empty line and a table whose title is the first word of its header.
func (c *cli) titledTable(header []string, rows [][]string) error {
	if err := c.printLine(""); err != nil {
		return err
	}
	return c.printTable(header, rows)
}
