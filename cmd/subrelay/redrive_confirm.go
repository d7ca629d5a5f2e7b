package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"
)

var errDeclined = errors.New("not confirmed: nothing was changed")

// needSomebody refuses, before anything is done, what would have to be confirmed where nobody is there to ask.
func (c *cli) needSomebody(yes bool) error {
	if f, isFile := c.stdin.(*os.File); !yes && isFile && !term.IsTerminal(int(f.Fd())) {
		return &problem{err: errors.New("this must be confirmed, and there is no terminal to ask at"), hint: "--yes confirms beforehand", code: exitUsage}
	}
	return nil
}

// confirm asks on stderr whether to go on, and reads the answer from stdin, unless yes was said beforehand.
func (c *cli) confirm(yes bool, format string, args ...any) error {
	if yes {
		return nil
	}
	if err := c.needSomebody(yes); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(c.stderr, format+" [y/N] ", args...) // nobody is left to tell
	answer, err := readAnswer(c.stdin)
	if err != nil && answer == "" {
		c.sayf("")
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errDeclined
}

// readAnswer reads one line and nothing behind it.
func readAnswer(in io.Reader) (string, error) {
	var line []byte
	for one := make([]byte, 1); ; {
		n, err := in.Read(one)
		if n == 1 && one[0] != '\n' {
			line = append(line, one[0])
		}
		if err != nil || n == 1 && one[0] == '\n' {
			return string(line), err
		}
	}
}

// shownLater is how many later commands are told one by one before the question.
const shownLater = 20

// tellReruns shows, on stderr, what is to run again and what came after each: running it now puts it behind those.
func (c *cli) tellReruns(reruns []rerun) {
	shown, all := 0, 0
	for _, r := range reruns {
		if shown++; shown <= shownLater {
			c.sayf("%s %s of %s: runs again as %s", r.old.Kind, r.old.ID, r.old.Key, r.event.ID())
			if r.sent != 0 {
				c.sayf("  it was published before, as command %d; nothing new will run", r.sent)
			}
		}
		all += len(r.later)
		for _, l := range r.later {
			if shown++; shown <= shownLater {
				c.sayf("  later command of this key: %d  %s %s  %s  cid %s", l.Seq, l.Kind, l.ID, l.Status, l.CID)
			}
		}
	}
	switch {
	case shown > shownLater:
		c.sayf("%d commands, and %d later ones of their keys; not all are shown", len(reruns), all)
	case all == 0:
		c.sayf("no later command of %s", plural(len(reruns), "its key", "their keys"))
	}
}

// plural is one or many, by n.
func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// count is "1 command", "2 commands".
func count(n int, one, many string) string { return strconv.Itoa(n) + " " + plural(n, one, many) }
