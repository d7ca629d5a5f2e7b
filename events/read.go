package events

import (
	"encoding/json"
	"fmt"
)

// readData decodes a command's data, which have passed their schema, into d. what names them: "the data are no <what>".
// Members that are given twice are refused: the schema has seen the last of them alone, and Go mixes both. The error has
// no cause: that of a date that cannot be read would quote it.
func readData(data json.RawMessage, d any, what string) error {
	if err := unmarshal(data, d); err != nil {
		return &Error{Kind: Refused, Code: CodeSchema, Message: "the data are no " + what + mistyped(err)}
	}
	if repeatsMembers(data) {
		return wrong("the data give a member twice: each may stand once in its object")
	}
	return nil
}

// wrong is the error for data that break a rule which the schema cannot state.
func wrong(format string, args ...any) error {
	return &Error{Kind: Refused, Code: CodeSchema, Message: fmt.Sprintf(format, args...)}
}

// keyIs refuses a command whose subject is not the key that the data name. member is where they name it.
func keyIs(subject, key, member string) error {
	if subject == key {
		return nil
	}
	return &Error{Kind: Refused, Code: CodeKeyMismatch, Message: fmt.Sprintf(
		"the event's subject is %q but the data name %q: the subject must equal %s", subject, key, member)}
}
