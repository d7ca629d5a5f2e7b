package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"subrelay/events"
)

// structured is a good command in structured mode, with changes: pairs of old and new text.
func structured(changes ...string) string {
	return strings.NewReplacer(changes...).Replace(`{"specversion":"1.0","id":"bad","source":"billing",` +
		`"type":"subrelay.renew.v1","subject":"C-1","data":{"customer_mapping_id":"C-1","months":1}}`)
}

var (
	inStructured = nats.Header{"Content-Type": {"application/cloudevents+json"}}
	noHeader     = nats.Header{}
)

const toC1 = "subrelay.cmd.renew.C-1"

var badCID = events.CID("billing", "bad", "C-1")

// What can never run: one dead letter with the original bytes, and no outcome.
func TestBadInputWithoutIdentity(t *testing.T) {
	for name, c := range map[string]struct {
		subject string
		header  nats.Header
		data    string
		reason  events.Reason
		message string
		cid     string
	}{
		"not JSON":                    {toC1, noHeader, `renew C-1, please`, events.DeadUndecodable, "the message is no JSON: at byte 1, invalid character 'r' looking for beginning of value", ""},
		"empty":                       {toC1, noHeader, ``, events.DeadUndecodable, "the message is empty: it should be a CloudEvent in JSON, or have ce- headers", ""},
		"cut off":                     {toC1, inStructured, structured()[:60], events.DeadUndecodable, "the message is no JSON: at byte 60, unexpected end of JSON input", ""},
		"no UTF-8":                    {toC1, inStructured, structured("billing", "b\xffling"), events.DeadUndecodable, "the message is not UTF-8", ""},
		"JSON but no CloudEvent":      {toC1, noHeader, `{"customer_mapping_id":"C-1","months":1}`, events.DeadUndecodable, `the message is JSON, but no CloudEvent: it has no specversion, which should be "1.0"`, ""},
		"JSON but no object":          {toC1, noHeader, `42`, events.DeadUndecodable, "the message is JSON, but no object, and so no CloudEvent", ""},
		"no id":                       {toC1, inStructured, structured(`"id":"bad",`, ""), events.DeadUndecodable, "no valid CloudEvent: id: MUST be a non-empty string", ""},
		"unknown type":                {toC1, inStructured, structured("renew.v1", "gift.v1"), events.DeadUnknownType, `the type "subrelay.gift.v1" names no kind that this worker serves`, badCID},
		"foreign type":                {toC1, inStructured, structured("subrelay.renew.v1", "com.example.renew"), events.DeadUnknownType, `the type "com.example.renew" is not that of a command, subrelay.<kind>.v1`, ""},
		"another version's type":      {toC1, inStructured, structured("renew.v1", "renew.v2"), events.DeadUnknownType, `the type "subrelay.renew.v2" is not that of a command, subrelay.<kind>.v1`, ""},
		"wrong specversion":           {toC1, inStructured, structured(`"1.0"`, `"0.3"`), events.DeadUndecodable, `the specversion "0.3" is not understood; it must be "1.0"`, ""},
		"no specversion":              {toC1, inStructured, structured(`"specversion":"1.0",`, ""), events.DeadUndecodable, `the message is JSON, but no CloudEvent: it has no specversion, which should be "1.0"`, ""},
		"wrong specversion, binary":   {toC1, binary("ce-specversion", "2.0"), `{"customer_mapping_id":"C-1","months":1}`, events.DeadUndecodable, `the specversion "2.0" is not understood; it must be "1.0"`, ""},
		"no subject":                  {toC1, inStructured, structured(`"subject":"C-1",`, ""), events.DeadSubjectMismatch, "the subject is empty: it must name what stays in order, such as the customer", ""},
		"another key":                 {"subrelay.cmd.renew.C-2", inStructured, structured(), events.DeadSubjectMismatch, `published for kind "renew" and key "C-2", but the event is of kind "renew" and key "C-1"`, badCID},
		"a key in lower-case hex":     {"subrelay.cmd.renew.C%2f1", inStructured, structured("C-1", "C/1"), events.DeadSubjectMismatch, `published for kind "renew" and key "C%2f1", but the event is of kind "renew" and key "C%2F1"`, events.CID("billing", "bad", "C/1")},
		"an uncoded wildcard":         {"subrelay.cmd.renew.*", inStructured, structured("C-1", "*"), events.DeadSubjectMismatch, `published for kind "renew" and key "*", but the event is of kind "renew" and key "%2A"`, events.CID("billing", "bad", "*")},
		"an uncoded wildcard >":       {"subrelay.cmd.renew.>", inStructured, structured("C-1", ">"), events.DeadSubjectMismatch, `published for kind "renew" and key ">", but the event is of kind "renew" and key "%3E"`, events.CID("billing", "bad", ">")},
		"an uncoded emoji":            {"subrelay.cmd.renew.😀", inStructured, structured("C-1", "😀"), events.DeadSubjectMismatch, `published for kind "renew" and key "😀", but the event is of kind "renew" and key "%F0%9F%98%80"`, events.CID("billing", "bad", "😀")},
		"a key of 3 kB":               {"subrelay.cmd.renew." + strings.Repeat("k", 3000), inStructured, structured("C-1", strings.Repeat("k", 3000)), events.DeadSubjectMismatch, "the subject takes 3000 bytes after coding, and 128 is the most", ""},
		"a key of 10 kB in the event": {toC1, inStructured, structured("C-1", strings.Repeat("k", 10_000)), events.DeadSubjectMismatch, "the subject takes 10000 bytes after coding, and 128 is the most", ""},
		"a batch":                     {toC1, nats.Header{"Content-Type": {"application/cloudevents-batch+json"}}, "[" + structured() + "," + structured() + "]", events.DeadUndecodable, "a batch of events is not accepted: the NATS binding knows none; publish each event as a message of its own", ""},
		"a batch without a type":      {toC1, noHeader, "[" + structured() + "]", events.DeadUndecodable, "a batch of events is not accepted: publish each event as a message of its own", ""},
		"expirytime is no time":       {toC1, inStructured, structured(`"subject"`, `"expirytime":"tomorrow","subject"`), events.DeadUndecodable, "the extension expirytime is no RFC 3339 time: tomorrow", ""},
		"a header given twice":        {toC1, nats.Header{"ce-id": {"a", "b"}, "ce-specversion": {"1.0"}}, `{}`, events.DeadUndecodable, "the header ce-id is given more than once", ""},
	} {
		t.Run(name, func(t *testing.T) {
			badly(t, func(w *world) {
				w.between(func() {
					seq := w.mustRaw(c.subject, c.header, c.data).Seq
					key := strings.TrimPrefix(c.subject, "subrelay.cmd.renew.")
					if len(key) > 256 {
						key = key[:253] + "…"
					}
					w.wantLetter(seq, telling{
						Reason: c.reason, Error: events.Failure{Code: string(c.reason), Message: c.message},
						Kind: events.Renew, Key: key, CID: c.cid, Data: c.data,
					})
					w.noRecord(seq)
				})
			})
		})
	}
}

// binary is the headers of a good command in binary mode, with changes: pairs of names and values.
func binary(changes ...string) nats.Header {
	h := nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {"bad"}, "ce-source": {"billing"}, "ce-type": {"subrelay.renew.v1"},
		"ce-subject": {"C-1"}, "Content-Type": {"application/json"},
	}
	for i := 0; i < len(changes); i += 2 {
		h[changes[i]] = []string{changes[i+1]}
	}
	return h
}

// What is understood but wrong: one dead letter, one rejection, no call.
func TestBadInputRejected(t *testing.T) {
	const everything = `{"user_id":7,"months":"1","days":-1,"from_expire_date":"true","zzz":1}`
	violations := events.Failure{
		Code:    events.CodeSchema,
		Message: "the data do not satisfy the schema of subrelay.renew.v1: #: exactly one of months, days must be given and positive (and 5 more)",
		Problems: []string{
			"#: exactly one of months, days must be given and positive",
			"#/days: must be at least 0",
			"#/from_expire_date: must be a boolean, not a string",
			"#/months: must be an integer, not a string",
			"#/user_id: must be a string, not a number",
			"#/zzz: is not a member we know",
		},
	}
	for name, c := range map[string]struct {
		header nats.Header
		data   string
		want   events.Failure
	}{
		"schema violations":         {inStructured, structured(`{"customer_mapping_id":"C-1","months":1}`, everything), violations},
		"schema violations, binary": {binary(), everything, violations},
		"no data":                   {inStructured, structured(`,"data":{"customer_mapping_id":"C-1","months":1}`, ""), events.Failure{Code: events.CodeSchema, Message: "the data are not JSON: no data"}},
		"data that are no JSON":     {binary(), `<renew customer="C-1"/>`, events.Failure{Code: events.CodeSchema, Message: "the data are not JSON: no JSON: invalid character '<' looking for beginning of value"}},
		"another customer":          {inStructured, structured(`_id":"C-1"`, `_id":"C-2"`), events.Failure{Code: events.CodeKeyMismatch, Message: `the event's subject is "C-1" but the data name "C-2": the subject must equal customer_mapping_id (or user_id where that is absent)`}},
	} {
		t.Run(name, func(t *testing.T) {
			badly(t, func(w *world) {
				w.between(func() {
					seq := w.mustRaw(toC1, c.header, c.data).Seq
					w.wantLetter(seq, telling{Reason: events.DeadInvalid, Error: c.want, Kind: events.Renew, Key: "C-1", CID: badCID, Data: c.data})
					w.wantEnd(seq, events.Rejected, c.want)
				})
			})
		})
	}
}

// A command with a credential is refused, and neither its dead letter nor its outcome shows it.
func TestBadInputCredentials(t *testing.T) {
	for _, name := range []string{"authToken", "password", "token"} {
		for mode, c := range map[string]struct {
			header nats.Header
			frame  func(data string) string
		}{
			"structured": {inStructured, func(data string) string {
				return structured(`{"customer_mapping_id":"C-1","months":1}`, data)
			}},
			"binary": {binary(), func(data string) string { return data }},
		} {
			t.Run(name+", "+mode, func(t *testing.T) {
				data := func(value string) string {
					return c.frame(`{"customer_mapping_id":"C-1","months":1,"` + name + `":"` + value + `"}`)
				}
				want := events.Failure{Code: events.CodeCredentials, Message: "the data carry a credential at /" + name +
					"; credentials belong into the worker's configuration, never into a command"}
				badly(t, func(w *world) {
					w.between(func() {
						seq := w.mustRaw(toC1, c.header, data("hunter2")).Seq
						w.wantEnd(seq, events.Rejected, want)
						letter := w.letters()[0]
						if diff := cmp.Diff(decoded(t, data(events.Masked)), decoded(t, string(letter.Data))); diff != "" || len(w.letters()) != 1 {
							t.Errorf("%d letters; the data differ (-want +got):\n%s", len(w.letters()), diff)
						}
						if diff := cmp.Diff(want, letter.Error); diff != "" || letter.Reason != events.DeadInvalid || letter.CID != badCID {
							t.Errorf("%s of %s; the error differs (-want +got):\n%s", letter.Reason, letter.CID, diff)
						}
					})
				})
			})
		}
	}
}

func decoded(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}
