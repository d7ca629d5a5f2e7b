package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"subrelay/events/checkup"
)

// severityTitles are the headings of the groups, the worst first.
var severityTitles = []struct {
	severity checkup.Severity
	title    string
}{{checkup.Error, "ERRORS"}, {checkup.Warning, "WARNINGS"}, {checkup.Note, "NOTES"}, {checkup.OK, "AS IT SHOULD BE"}}

// pageWidth is how wide a table is where there is no terminal.
const pageWidth = 120

// printFindings prints findings, sorted, and the sum: grouped by severity for people, else one line each.
func (c *cli) printFindings(found []checkup.Finding, sum doctorSum) error {
	if c.wantJSON {
		for _, f := range found {
			if err := c.printJSON(f); err != nil {
				return err
			}
		}
		return c.printJSON(sum)
	}
	width, ok := terminalWidth(c.stdout)
	if !ok || width < 40 {
		width = pageWidth
	}
	for _, group := range severityTitles {
		if err := c.printGroup(group.title, group.severity, found, min(width, pageWidth)); err != nil {
			return err
		}
	}
	line := fmt.Sprintf("%s, %s, %s, %d as it should be; %.1f s", count(sum.Findings["error"], "error", "errors"),
		count(sum.Findings["warning"], "warning", "warnings"), count(sum.Findings["note"], "note", "notes"), sum.Findings["ok"], sum.Seconds)
	if sum.Refused {
		line += "\n* can break the promise: a worker with --production does not start on it"
	}
	if slices.ContainsFunc(found, seenByAudit) {
		line += "\n! can break the promise, too; only an audit sees it, and a worker starts on it all the same"
	}
	return c.printLine("%s", line)
}

// seenByAudit tells findings that can break the promise and that a worker does not look for at its start.
func seenByAudit(f checkup.Finding) bool {
	return f.Promise && f.Audited && f.Severity > checkup.Note
}

func (c *cli) printGroup(title string, severity checkup.Severity, found []checkup.Finding, width int) error {
	const gap = 3
	longest := 0
	for _, f := range found {
		longest = max(longest, len(codeWord(f)))
	}
	t := table.NewWriter()
	style := table.StyleLight
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 1, WidthMin: longest, WidthMax: longest},
		{Number: 2, WidthMax: max(30, width-longest-gap), WidthMaxEnforcer: wrapped},
	})
	rows := alike(found, severity)
	for _, f := range rows {
		t.AppendRow(table.Row{codeWord(f), findingText(f)})
	}
	if len(rows) == 0 {
		return nil
	}
	return c.printLine("%s\n%s\n", title, trailing.ReplaceAllString(t.Render(), ""))
}

// trailing is the spaces by which a table fills its last column.
var trailing = regexp.MustCompile(`(?m) +$`)

// alike is the findings of a severity, those that say the same of several things as one.
func alike(found []checkup.Finding, severity checkup.Severity) []checkup.Finding {
	var rows []checkup.Finding
	at := map[checkup.Finding]int{}
	for _, f := range found {
		if f.Severity != severity {
			continue
		}
		same := f
		same.Of = ""
		if i, known := at[same]; known && f.Of != "" {
			rows[i].Of += ", " + f.Of
			continue
		}
		at[same] = len(rows)
		rows = append(rows, f)
	}
	return rows
}

// codeWord is a finding's code, marked where it can break the promise.
func codeWord(f checkup.Finding) string {
	switch {
	case f.Refused():
		return f.Code + " *"
	case seenByAudit(f):
		return f.Code + " !"
	}
	return f.Code
}

// findingText is a finding for people, over several lines.
func findingText(f checkup.Finding) string {
	what := f.What
	if f.Of != "" {
		what = f.Of + ": " + what
	}
	lines := []string{plain(what)}
	if f.Why != "" {
		lines = append(lines, "why: "+plain(f.Why))
	}
	if f.Do != "" {
		lines = append(lines, "do:  "+plain(f.Do))
	}
	return strings.Join(lines, "\n")
}

// wrapped breaks text at spaces; what continues a line is indented.
func wrapped(s string, width int) string {
	var lines []string
	for line := range strings.SplitSeq(s, "\n") {
		indent := ""
		if strings.HasPrefix(line, "why: ") || strings.HasPrefix(line, "do:  ") {
			indent = "     "
		}
		rest := line[len(indent):]
		for i, part := range strings.Split(text.WrapSoft(rest, width-len(indent)), "\n") {
			start := line[:len(indent)]
			if i > 0 {
				start = indent
			}
			lines = append(lines, start+strings.Trim(part, " "))
		}
	}
	return strings.Join(lines, "\n")
}
