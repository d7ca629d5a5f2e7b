package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"subrelay/events"
)

// printWorkers prints an overview for people.
func (c *cli) printWorkers(o overview) error {
	var rows [][]string
	for _, w := range o.Workers {
		rows = append(rows, w.rows()...)
	}
	err := c.printRows("no worker is there",
		[]string{"WORKER", "VERSION", "UP", "UPSTREAM", "BREAKER", "OWNS", "TO GET", "TO GIVE", "WAITING", "CALLS", "RATE", "LONGEST", "OLDEST"}, rows)
	if err != nil || len(o.Upstreams) == 0 {
		return err
	}
	rows = nil
	for _, u := range o.Upstreams {
		rows = append(rows, []string{string(u.Upstream), strconv.Itoa(u.Partitions), strconv.Itoa(len(u.Serving)), orDash(ranges(u.Unowned)),
			strconv.FormatUint(u.Undelivered, 10), strconv.Itoa(u.Unfinished), strconv.Itoa(u.Redelivered)})
	}
	if err := c.printLine(""); err != nil {
		return err
	}
	if err := c.printTable([]string{"UPSTREAM", "PARTITIONS", "WORKERS", "OWNED BY NOBODY", "UNDELIVERED", "UNFINISHED", "REDELIVERED"}, rows); err != nil {
		return err
	}
	for i, remark := range o.Remarks {
		if i == 0 {
			if err := c.printLine(""); err != nil {
				return err
			}
		}
		if err := c.printLine("%s", plain(remark)); err != nil {
			return err
		}
	}
	return nil
}

// rows are a worker's rows, one for each upstream; what is said of the worker as a whole stands in the first.
func (w workerLine) rows() [][]string {
	name, version, up := w.Worker, cmp.Or(w.Version, "?"), "?"
	if w.Host != "" && !strings.HasPrefix(w.Worker, w.Host) {
		name += "@" + w.Host
	}
	if w.Since != nil {
		up = ageOf(*w.Since)
	}
	var rows [][]string
	for _, l := range w.Upstreams {
		row := []string{name, version, up, string(l.Upstream), cmp.Or(l.Breaker, "?"), orDash(ranges(l.Owns)),
			orDash(ranges(lacking(l.Prefers, l.Owns))), orDash(ranges(lacking(l.Owns, l.Prefers)))}
		if l.Breaker == "" {
			row = append(row, "?", "?", "?", "?", "?")
		} else {
			row = append(row, strconv.Itoa(l.Waiting), fmt.Sprintf("%d of %d", l.Calls, l.Concurrency), rateWord(l.Rate), l.longestWord(), l.oldestWord())
		}
		rows = append(rows, row)
		name, version, up = "", "", ""
	}
	if len(rows) == 0 {
		rows = append(rows, []string{name, version, up, "-", "", "", "", "", "", "", "", "", ""})
	}
	return rows
}

func rateWord(perSecond float64) string {
	if perSecond == 0 {
		return "no limit"
	}
	return strconv.FormatFloat(perSecond, 'f', -1, 64) + "/s"
}

func (l *workerOfLine) longestWord() string {
	if l.Longest == nil {
		return "-"
	}
	return fmt.Sprintf("%d of %s", l.Longest.Waiting, l.Longest.Key)
}

func (l *workerOfLine) oldestWord() string {
	if l.Oldest == nil {
		return "-"
	}
	return fmt.Sprintf("%s: %s of %s, partition %d", ageOf(l.Oldest.Stored), l.Oldest.Kind, l.Oldest.Key, l.Oldest.Partition)
}

// lacking is what of a is not in b.
func lacking(a, b []int) []int {
	var left []int
	for _, n := range a {
		if !slices.Contains(b, n) {
			left = append(left, n)
		}
	}
	return left
}

// ranges writes sorted numbers for people, such as "0-3,7".
func ranges(numbers []int) string {
	var parts []string
	for i := 0; i < len(numbers); {
		end := i
		for end+1 < len(numbers) && numbers[end+1] == numbers[end]+1 {
			end++
		}
		part := strconv.Itoa(numbers[i])
		if end > i {
			part += "-" + strconv.Itoa(numbers[end])
		}
		parts = append(parts, part)
		i = end + 1
	}
	return strings.Join(parts, ",")
}

// remarks are what somebody should look at, and what to do.
func (o *overview) remarks() []string {
	var all []string
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for _, u := range o.Upstreams {
		backlog := u.Undelivered + uint64(u.Unfinished)
		switch {
		case len(u.Serving) == 0 && backlog > 0:
			say("%s: no worker serves it, and %s: start one that does", u.Upstream, waitWord(backlog))
		case len(u.Serving) > 0 && len(u.Unowned) > 0:
			say("%s: nobody owns %s, where %s: look again in 5 seconds; if it stays so, look at the logs of %s",
				u.Upstream, partitionWord(u.Unowned), waitWord(u.Stuck), joined(u.Serving))
		}
		for _, w := range o.Workers {
			for _, why := range w.failing(u.Upstream) {
				say("%s: %s is delivered nothing of %s", u.Upstream, w.Worker, why)
			}
		}
		if shut := o.shutAt(u.Upstream); len(shut) > 0 {
			say("%s: its breaker is not closed at %s: commands wait until it answers again", u.Upstream, joined(shut))
		}
		if len(u.Full) > 0 {
			say("%s: the window of %s is full, and delays all keys there%s", u.Upstream, partitionWord(u.Full), o.longestIn(u.Upstream))
		}
	}
	return all
}

func waitWord(n uint64) string { return count(int(n), "command waits", "commands wait") }

func partitionWord(numbers []int) string {
	return plural(len(numbers), "partition ", "partitions ") + ranges(numbers)
}

// shutAt names the workers whose breaker of an upstream is not closed.
func (o *overview) shutAt(name events.Upstream) []string {
	var shut []string
	for _, w := range o.Workers {
		for _, l := range w.Upstreams {
			if l.Upstream == name && l.Breaker != "" && l.Breaker != "closed" {
				shut = append(shut, w.Worker)
			}
		}
	}
	return shut
}

// failing says which partitions of an upstream deliver nothing to the worker, and why.
func (w *workerLine) failing(name events.Upstream) (all []string) {
	for _, l := range w.Upstreams {
		if l.Upstream == name {
			all = append(all, l.Failing...)
		}
	}
	return all
}

// longestIn tells of the key that most commands of an upstream wait for, "" where no worker tells.
func (o *overview) longestIn(name events.Upstream) string {
	text, most := "", 0
	for _, w := range o.Workers {
		for _, l := range w.Upstreams {
			if l.Upstream == name && l.Longest != nil && l.Longest.Waiting > most {
				most = l.Longest.Waiting
				text = fmt.Sprintf("; %s has %s at %s", l.Longest.Key, waitingWord(most), w.Worker)
			}
		}
	}
	return text
}

func waitingWord(n int) string { return count(n, "command waiting", "commands waiting") }
