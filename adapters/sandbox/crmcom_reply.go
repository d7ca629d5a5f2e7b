package sandbox

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"
)

// The codes of status.code, all made up: the vendor's pages name none but OK.
const (
	codeOK                 = "OK"
	codeInvalidToken       = "INVALID_TOKEN"       // the token is unknown or has expired; nothing was done
	codeInvalidCredentials = "INVALID_CREDENTIALS" // no token is given for these
	codeDuplicateReference = "DUPLICATE_REFERENCE" // the reference was used before
	codeNotFound           = "NOT_FOUND"           // there is no such subscription, customer or charge
	codeMissingParameter   = "MISSING_PARAMETER"
	codeInvalidParameter   = "INVALID_PARAMETER"
	codeUnknownParameter   = "UNKNOWN_PARAMETER" // the release does not know it
	codeUnknownMethod      = "UNKNOWN_METHOD"    // the release does not know it, with the HTTP status 404 or 405
	codeNotAllowed         = "NOT_ALLOWED"       // the record's state does not allow it
	codeSystem             = "SYSTEM_ERROR"      // only by a fault
)

// envelope is every reply (vendor: all examples read).
type envelope struct {
	Data   any            `json:"data"`
	Status envelopeStatus `json:"status"`
}

type envelopeStatus struct {
	Code        string `json:"code"`
	Description string `json:"description"`
	Message     string `json:"message"`
}

// said is a failure.
func said(status int, code, text string) reply {
	return asJSON(status, envelope{Data: struct{}{}, Status: envelopeStatus{Code: code, Message: text}})
}

// done is a success.
func done(data any) reply {
	return asJSON(http.StatusOK, envelope{Data: data, Status: envelopeStatus{Code: codeOK}})
}

// doneWith is a success whose data holds only what the call's fields_set names, if it names anything. data is an object,
// or an array of objects.
func doneWith(q *request, data any) reply {
	picked, bad := pick(q, data)
	if bad != nil {
		return said(http.StatusOK, bad.code, bad.text)
	}
	return done(picked)
}

// pick is what the call's fields_set leaves of data. A name that is not there, such as a nested one, is refused where the
// call has changed nothing, and otherwise ignored.
func pick(q *request, data any) (any, *refusal) {
	if q.params.get("fields_set") == nil {
		return data, nil
	}
	names, strict := strings.Split(q.params.string("fields_set"), ","), q.class == Reads
	raw, err := json.Marshal(data)
	if err != nil {
		return nil, &refusal{codeSystem, err.Error()}
	}
	var list []map[string]json.RawMessage
	if json.Unmarshal(raw, &list) == nil {
		for i := range list {
			if bad := keepOnly(list[i], names, strict); bad != nil {
				return nil, bad
			}
		}
		return list, nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, &refusal{codeSystem, err.Error()}
	}
	return object, keepOnly(object, names, strict)
}

func keepOnly(object map[string]json.RawMessage, names []string, strict bool) *refusal {
	wanted := map[string]bool{}
	for _, name := range names {
		name = strings.TrimSpace(name)
		if _, ok := object[name]; !ok && strict {
			return &refusal{codeInvalidParameter, fmt.Sprintf("fields_set: there is no field %.100q", name)}
		}
		wanted[name] = true
	}
	maps.DeleteFunc(object, func(name string, _ json.RawMessage) bool { return !wanted[name] })
	return nil
}

// date is a date as the API writes it; null where there is none.
func date(at time.Time, zone *time.Location) *string {
	if at.IsZero() {
		return nil
	}
	text := at.In(zone).Format(wireDate)
	return &text
}

// orNull is a text, or null where it is empty.
func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// pairs is the detail of a call of CRM.COM in the book, by name. What is there depends on the kind:
//
//	code          the status.code of a refusal
//	reference     transaction_reference_number
//	add, remove, swap, items_add, items_remove
//	              what an amend or swap did or was to do: "A at D1, B", and swaps as "A > B"
//	scheduled     when that is to be done
//	subscription  the number of the subscription, or of the Netflix subscription that was made
//	before, netflix_state, life_cycle_state
//	              what the Netflix subscriptions were that the call was for, and what they are afterwards
//	taken, failed the numbers of charges, failed ones with their code
//
// Nothing personal is in it, and no token.
type pairs [][2]string

func (p pairs) describe(detail map[string]string) {
	for _, pair := range p {
		if pair[1] != "" {
			detail[pair[0]] = pair[1]
		}
	}
}
