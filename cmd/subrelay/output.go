package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

const (
	outputTable = "table"
	outputJSON  = "json"
)

// printJSON prints v as one line on stdout.
func (c *cli) printJSON(v any) error {
	enc := json.NewEncoder(c.stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printEvent prints an event, as it was stored, as one line on stdout.
func (c *cli) printEvent(raw []byte) error {
	var line bytes.Buffer
	if err := json.Compact(&line, raw); err != nil {
		return err
	}
	line.WriteByte('\n')
	_, err := c.stdout.Write(line.Bytes())
	return err
}

// printLine prints one line for people on stdout.
func (c *cli) printLine(format string, args ...any) error {
	_, err := fmt.Fprintf(c.stdout, format+"\n", args...)
	return err
}

// printTable prints rows under a header on stdout, cut to the terminal's width where there is one.
func (c *cli) printTable(header []string, rows [][]string) error {
	t := table.NewWriter()
	style := table.StyleLight
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	if width, ok := terminalWidth(c.stdout); ok {
		t.Style().Size.WidthMax = width
	}
	t.AppendHeader(tableRow(header))
	for _, r := range rows {
		t.AppendRow(tableRow(r))
	}
	_, err := fmt.Fprintln(c.stdout, t.Render())
	return err
}

func tableRow(cells []string) table.Row {
	row := make(table.Row, len(cells))
	for i, cell := range cells {
		row[i] = plain(cell)
	}
	return row
}

// plain is text that came from outside, fit for a terminal: a control character in it could move the cursor, or worse.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// terminalWidth reports whether stream is a terminal, and its width in characters.
func terminalWidth(stream any) (width int, ok bool) {
	f, isFile := stream.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	return width, err == nil
}

// progress is a bar on stderr, only on a terminal and never with -o json. total is -1 where it is not known. The
// caller must call Finish on it.
func (c *cli) progress(total int64, what string) *progressbar.ProgressBar {
	_, seen := terminalWidth(c.stderr)
	return progressbar.NewOptions64(total,
		progressbar.OptionSetVisibility(seen && !c.wantJSON),
		progressbar.OptionSetWriter(c.stderr),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)
}

// stamp is a time as tables show it.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}
