package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"subrelay/adapters/natsjs"
)

// outcomesState is how far a replay of outcomes has come. It is kept in the file that --state names.
type outcomesState struct {
	To        string     `json:"to"`
	Selection string     `json:"selection"` // the flags that select
	Since     *time.Time `json:"since,omitempty"`
	Until     *time.Time `json:"until,omitempty"`
	Run       string     `json:"run"`      // part of the ids by which a stream knows what it has
	LastSeq   uint64     `json:"last_seq"` // of the ledger: up to and with it, all that is selected was sent
	Sent      uint64     `json:"sent"`
	Updated   time.Time  `json:"updated"`
}

// openState reads the state of a replay that is to be resumed, or begins a new one. q then says what is left.
func openState(file, to, selection string, q *natsjs.Query) (*outcomesState, error) {
	fresh := &outcomesState{To: to, Selection: selection, Run: uuid.NewString()[:8], Since: timeOrNil(q.Since), Until: timeOrNil(q.Until)}
	if file == "" {
		return fresh, nil
	}
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	}
	var s outcomesState
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("--state: %w", err)
	case s.To != to || s.Selection != selection || s.Run == "":
		return nil, usagef("--state: %s belongs to another replay, to %s (%s)", file, s.To, s.Selection)
	}
	q.FromSeq = max(q.FromSeq, s.LastSeq+1)
	if s.Since != nil {
		q.Since = *s.Since
	}
	if s.Until != nil {
		q.Until = *s.Until
	}
	return &s, nil
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// selectionOf is the selecting flags that were given, as text: what tells one replay from another.
func selectionOf(cmd *cobra.Command) string {
	var given []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		switch f.Name {
		case "since", "until", "from-seq", "to-seq", "kind", "status", "key", "cid":
			given = append(given, "--"+f.Name+" "+strings.Trim(f.Value.String(), "[]"))
		}
	})
	if len(given) == 0 {
		return "everything"
	}
	return strings.Join(given, " ")
}
