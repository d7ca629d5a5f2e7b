package natsjs

import (
	"context"
	"fmt"
	"strings"
)

// Action is what a Change does to its object.
type Action string

// The actions of a Change.
const (
	Create Action = "create"
	Update Action = "update"
)

// Change is one difference between the topology and the server.
type Change struct {
	Action Action `json:"action"`
	Object string `json:"object"` // "stream", "bucket" or "consumer"
	Name   string `json:"name"`
	// Fields are the settings that an update changes.
	Fields []FieldChange `json:"fields,omitempty"`
}

// FieldChange is one setting's difference, for people.
type FieldChange struct {
	Name string `json:"name"`
	From string `json:"from"`
	To   string `json:"to"`
}

func (c Change) String() string {
	s := fmt.Sprintf("%s %s %s", c.Action, c.Object, c.Name)
	for i, f := range c.Fields {
		sep := ": "
		if i > 0 {
			sep = ", "
		}
		s += fmt.Sprintf("%s%s %s -> %s", sep, f.Name, f.From, f.To)
	}
	return s
}

// step is a change and how to make it.
type step struct {
	change Change
	run    func(context.Context) error
}

func changesOf(steps []step) []Change {
	var changes []Change
	for _, s := range steps {
		changes = append(changes, s.change)
	}
	return changes
}

// field is one setting of a stream's or consumer's configuration C.
type field[C any] struct {
	name string
	// show writes the setting for people. Two that show alike are alike.
	show func(*C) string
	// take changes dst to what src has; nil where the setting must not change.
	take func(dst, src *C)
	// why says why it must not change.
	why string
}

// merge changes have, setting by setting, to what want has, and lists the differences, and the refusals.
func merge[C any](object string, fields []field[C], have, want *C) (changes []FieldChange, refusals []string) {
	for _, f := range fields {
		from, to := f.show(have), f.show(want)
		if from == to {
			continue
		}
		if f.take == nil {
			refusals = append(refusals, fmt.Sprintf("%s has %s %s and the settings say %s: %s", object, f.name, from, to, f.why))
			continue
		}
		f.take(have, want)
		changes = append(changes, FieldChange{Name: f.name, From: from, To: to})
	}
	return changes, refusals
}

func list(items []string) string { return "[" + strings.Join(items, " ") + "]" }
