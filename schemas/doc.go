// Package schemas holds the contract of the events as data: a JSON Schema 2020-12 per event type, and the AsyncAPI
// description of channels and messages, all embedded. It imports nothing of ours; its tests keep it in step with package
// events.
//
// The schema of the event type "subrelay.<x>.v1" is the file "<x>.v1.json". Every outcome shares the frame
// outcome.v1.json, which the file of each status refines.
//
// The commands for CRM.COM refer to parts that crmcom.v1.json holds. All outcomes, those commands and asyncapi.yaml are
// written from testdata/templates; a test holds them to it, and go generate writes them anew.
//
// In these files the title of a subschema that holds anyOf, oneOf, not, pattern or false is the sentence shown to people
// when that rule is broken: "exactly one of months, days must be given and positive" says more than "oneOf failed".
package schemas

//go:generate go test -run ^TestSchemasAreAsTheirTemplatesHaveThem$ -update .
