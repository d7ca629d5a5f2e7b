package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"subrelay/events"
)

// planName says what a plan file is.
const planName = "subrelay replay commands --again"

// planHead is the first line of a plan file.
type planHead struct {
	Plan      string    `json:"plan"`
	Version   int       `json:"version"`
	Created   time.Time `json:"created"`
	Reason    string    `json:"reason"`
	Prefix    string    `json:"prefix"` // of the installation it was made for
	Selection string    `json:"selection"`
	Commands  int       `json:"commands"`
}

// planned is each further line of a plan file: one command that runs again, in order.
type planned struct {
	Seq       uint64          `json:"seq"`      // of the command that has succeeded, in the command stream
	AgainOf   string          `json:"again_of"` // its cid
	Kind      events.Kind     `json:"kind"`
	Key       string          `json:"key"`
	Succeeded time.Time       `json:"succeeded"`
	Result    json.RawMessage `json:"result,omitempty"` // of then
	ID        string          `json:"id"`               // of the new command
	CID       string          `json:"cid"`
	Event     *event.Event    `json:"event"`
}

// plan is a frozen selection.
type plan struct {
	planHead
	commands []planned
}

const planVersion = 1

// write writes the plan to a new file.
func (p *plan) write(name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("--plan: %w", err)
	}
	buffered := bufio.NewWriter(f)
	enc := json.NewEncoder(buffered)
	enc.SetEscapeHTML(false)
	err = enc.Encode(p.planHead)
	for i := 0; err == nil && i < len(p.commands); i++ {
		err = enc.Encode(p.commands[i])
	}
	for _, step := range []func() error{buffered.Flush, f.Sync} {
		if err == nil {
			err = step()
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("--plan: %w", err), os.Remove(name))
	}
	return nil
}

// readPlan reads a whole plan, made for the installation with this prefix.
func readPlan(name, prefix string) (*plan, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("--plan: %w", err)
	}
	defer f.Close() // only read
	p := &plan{}
	dec := json.NewDecoder(bufio.NewReader(f))
	if err := dec.Decode(&p.planHead); err != nil || p.Plan != planName {
		return nil, usagef("--plan: %s is no plan of %s", name, planName)
	}
	switch {
	case p.Version != planVersion:
		return nil, usagef("--plan: %s was written by another version of subrelay", name)
	case p.Prefix != prefix:
		return nil, usagef("--plan: %s was made for the installation %s, and this is %s", name, p.Prefix, prefix)
	}
	for {
		var one planned
		err := dec.Decode(&one)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || one.Event == nil || cidOf(one.Event) != one.CID {
			return nil, fmt.Errorf("--plan: %s is damaged at its command %d", name, len(p.commands)+1)
		}
		p.commands = append(p.commands, one)
	}
	if len(p.commands) != p.Commands {
		return nil, fmt.Errorf("--plan: %s is damaged: it holds %d of %d commands", name, len(p.commands), p.Commands)
	}
	return p, nil
}
