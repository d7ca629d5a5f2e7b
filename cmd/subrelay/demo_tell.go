package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/schollz/progressbar/v3"
)

// narrator tells people what happens in the demonstration, above its progress bar. With -o json it is silent.
type narrator struct {
	c     *cli
	began time.Time
	bar   *progressbar.ProgressBar
}

func (c *cli) newNarrator(began time.Time) *narrator { return &narrator{c: c, began: began} }

// sayf prints one line with the time since the beginning.
func (n *narrator) sayf(format string, args ...any) {
	if n.c.wantJSON {
		return
	}
	if n.bar != nil {
		_ = n.bar.Clear() // a bar that cannot be drawn is no loss
	}
	_ = n.c.printLine("%6.1fs  %s", time.Since(n.began).Seconds(), fmt.Sprintf(format, args...))
}

// count begins a progress bar up to total.
func (n *narrator) count(total int, what string) { n.bar = n.c.progress(int64(total), what) }

func (n *narrator) done(k int) { _ = n.bar.Set(k) }

func (n *narrator) end() {
	_ = n.bar.Finish()
	_ = n.bar.Clear()
	n.bar = nil
}

// demoTables prints what became of the commands, what the books say, and the verdict.
func (c *cli) demoTables(tell *narrator, r *demoResult) error {
	rows := [][]string{}
	add := func(name string, n int, means string) { rows = append(rows, []string{name, strconv.Itoa(n), means}) }
	add("commands", r.Commands, "different ones that the broker accepted")
	add("duplicates", r.Duplicates, "sent again on purpose: done once all the same")
	add("succeeded", r.Succeeded, fmt.Sprintf("the effect happened once; %d of them settled by reading back", r.Settled))
	add("rejected", r.Rejected, "invalid, or refused by TVMS: nothing happened")
	add("failed", r.Failed, "attempts used up: nothing happened")
	add("expired", r.Expired, "not started before their expirytime")
	add("dead", r.Dead, "could never run: in the dead letters, without an outcome")
	add("in doubt", r.InDoubt, "nobody can know: a person decides (subrelay doubts)")
	if err := c.titledTable("WHAT BECAME OF THEM", rows); err != nil {
		return err
	}
	rows = nil
	add("effects", r.Effects, "renewals in TVMS's own book")
	add("double effects", r.DoubleEffects, "service given away")
	add("lost effects", r.LostEffects, "customers told they were renewed, and were not")
	add("denied effects", r.DeniedEffects, "renewals that the outcomes say did not happen")
	add("order violations", r.OrderViolations+r.Overlaps, "renewals of a customer out of order, or at the same time")
	add("attempts spent", r.AttemptsSpent, fmt.Sprintf("by the outage; the breaker opened %d times", r.BreakerOpened))
	if err := c.titledTable("TVMS'S BOOKS AGAINST THE OUTCOMES", rows); err != nil {
		return err
	}
	for _, v := range r.Violations {
		if err := c.printLine("  VIOLATION  %s", v); err != nil {
			return err
		}
	}
	if err := c.printLine(""); err != nil {
		return err
	}
	if !r.OK {
		tell.sayf("FAILED: the books and the outcomes disagree")
		return nil
	}
	tell.sayf("OK: every command has its one outcome or a named doubt, and the books agree with all of them")
	return nil
}

// titledTable prints an empty line and a table of three columns under its title.
func (c *cli) titledTable(title string, rows [][]string) error {
	if err := c.printLine(""); err != nil {
		return err
	}
	return c.printTable([]string{title, "", ""}, rows)
}
