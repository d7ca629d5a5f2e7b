package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/adapters/natsjs"
	"subrelay/events"
	"subrelay/handlers"
	"subrelay/schemas"
)

// draft is a command as it was read from a line of a file or from flags.
type draft struct {
	line    int          // from 1; 0 for flags
	event   *event.Event // nil where none could be read
	checked handlers.Checked
}

// checker reads and checks commands.
type checker struct {
	families []handlers.Family
	schemas  *schemas.Set
}

func newChecker() (*checker, error) {
	set, err := compileSchemas()
	return &checker{families: handlers.Unconnected(), schemas: set}, err
}

func (c *checker) check(line int, e *event.Event, unread error) draft {
	d := draft{line: line, event: e, checked: handlers.Check(c.families, c.schemas, e, unread)}
	if at, ok := maskedIn(e); ok {
		d.checked.Failure = &events.Failure{Code: events.CodeSchema, Message: fmt.Sprintf(
			"%s at %s stands where a value was masked, as in dead letters: put the value itself there", events.Masked, at)}
	}
	return d
}

// maskedIn finds what was masked in an event: somebody has copied it from where commands are shown or kept.
func maskedIn(e *event.Event) (at string, found bool) {
	if e == nil {
		return "", false
	}
	if value, err := schemas.Decode(e.Data()); err == nil {
		if p, ok := events.FindMasked(value); ok {
			return "#" + p, true
		}
	}
	attributes := e.Extensions()
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		if _, ok := events.FindMasked(attributes[name]); ok {
			return name, true
		}
	}
	return "", false
}

// drafts reads structured CloudEvents, one per line; empty lines are left out. After an error of reading it ends.
func (c *checker) drafts(r io.Reader) iter.Seq2[draft, error] {
	return func(yield func(draft, error) bool) {
		lines := bufio.NewReaderSize(r, 64<<10)
		for number := 1; ; number++ {
			line, err := lines.ReadBytes('\n')
			if err != nil && !errors.Is(err, io.EOF) {
				yield(draft{line: number}, fmt.Errorf("line %d cannot be read: %w", number, err))
				return
			}
			if text := bytes.TrimSpace(line); len(text) > 0 {
				e, unread := natsjs.DecodeMessage(nil, text)
				if !yield(c.check(number, e, wholeEvent(text, unread)), nil) {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
}

// wholeEvent tells those who give one event over several lines what is wrong.
func wholeEvent(line []byte, err error) error {
	if err != nil && bytes.Equal(line, []byte("{")) {
		return &events.Error{Kind: events.Refused, Code: events.CodeUndecodable, Message: "each line must hold one whole event, and this one only begins one"}
	}
	return err
}

// openInput opens a file, or stdin for "-".
func (c *cli) openInput(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(c.stdin), nil
	}
	return os.Open(name)
}

// problemsOf lists what is wrong with a command, each with its JSON pointer where it has one.
func problemsOf(f *events.Failure) []string {
	switch {
	case f == nil:
		return nil
	case len(f.Problems) > 0:
		return f.Problems
	}
	return []string{cmp.Or(f.Message, f.Code)}
}
