package events

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// OpenMembers are members of an object that the vendor's pages, as far as read, do not describe, beside those that they
// do: texts, numbers and booleans, as they stand in JSON. They are passed on as they are.
type OpenMembers map[string]json.RawMessage

// AppendTo adds the members to an object in JSON, which has none of their names, in the order of these.
func (m OpenMembers) AppendTo(object []byte) ([]byte, error) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		member, err := PlainJSON(map[string]json.RawMessage{name: m[name]})
		if err != nil {
			return nil, err
		}
		object = bytes.TrimSuffix(object, []byte("}"))
		if !bytes.HasSuffix(object, []byte("{")) {
			object = append(object, ',')
		}
		object = append(object, member[1:]...)
	}
	return object, nil
}

// readOpen decodes an object into known, a pointer to a struct, and returns the members that it has no field for. Names
// count exactly, as they do in schemas: encoding/json would take "Type" for type.
func readOpen(raw []byte, known any) (more OpenMembers, err error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	own := make(map[string]json.RawMessage, len(members))
	names := memberNames(reflect.TypeOf(known).Elem())
	for name, value := range members {
		switch {
		case slices.Contains(names, name):
			own[name] = value
		case more == nil:
			more = OpenMembers{name: value}
		default:
			more[name] = value
		}
	}
	if raw, err = json.Marshal(own); err != nil {
		return nil, err
	}
	return more, json.Unmarshal(raw, known)
}

// writeOpen is the JSON of known, a struct, with further members behind its own.
func writeOpen(known any, more OpenMembers) ([]byte, error) {
	object, err := PlainJSON(known)
	if err != nil {
		return nil, err
	}
	return more.AppendTo(object)
}

// PlainJSON is the JSON of value. It leaves it to whoever writes the whole whether "<", ">" and "&" are escaped.
func PlainJSON(value any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// memberNames are the names of a struct's fields in JSON, those of embedded structs included.
func memberNames(t reflect.Type) (names []string) {
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		switch {
		case t.Field(i).Anonymous:
			names = append(names, memberNames(t.Field(i).Type)...)
		case name != "-":
			names = append(names, name)
		}
	}
	return names
}

// UnmarshalJSON takes members that the struct has no field for into More.
func (a *NetflixAddress) UnmarshalJSON(raw []byte) (err error) {
	type known NetflixAddress
	a.More, err = readOpen(raw, (*known)(a))
	return err
}

// MarshalJSON writes More behind the other members.
func (a NetflixAddress) MarshalJSON() ([]byte, error) {
	type known NetflixAddress
	return writeOpen(known(a), a.More)
}

// UnmarshalJSON takes members that the struct has no field for into More.
func (e *NetflixEmail) UnmarshalJSON(raw []byte) (err error) {
	type known NetflixEmail
	e.More, err = readOpen(raw, (*known)(e))
	return err
}

// MarshalJSON writes More behind the other members.
func (e NetflixEmail) MarshalJSON() ([]byte, error) {
	type known NetflixEmail
	return writeOpen(known(e), e.More)
}

// UnmarshalJSON takes members that the struct has no field for into More.
func (p *NetflixPhone) UnmarshalJSON(raw []byte) (err error) {
	type known NetflixPhone
	p.More, err = readOpen(raw, (*known)(p))
	return err
}

// MarshalJSON writes More behind the other members.
func (p NetflixPhone) MarshalJSON() ([]byte, error) {
	type known NetflixPhone
	return writeOpen(known(p), p.More)
}
