package main

import (
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/micro"

	"subrelay/adapters/natsjs"
	"subrelay/events"
	"subrelay/schemas"
)

// TestAsyncAPINamesTheHeadersOfDeadLetters keeps the description in step with the only headers of ours.
func TestAsyncAPINamesTheHeadersOfDeadLetters(t *testing.T) {
	var doc struct {
		Components struct {
			Messages struct {
				DeadLetter struct {
					Headers struct {
						Properties map[string]any
					}
				} `yaml:"deadLetter"`
			}
		}
	}
	if err := yaml.Unmarshal(schemas.AsyncAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	want := []string{
		natsjs.HeaderReason, natsjs.HeaderCode, natsjs.HeaderUpstream, natsjs.HeaderMessage, natsjs.HeaderProblems, natsjs.HeaderKind,
		natsjs.HeaderKey, natsjs.HeaderCID, natsjs.HeaderSeq, natsjs.HeaderStored, natsjs.HeaderCut,
	}
	slices.Sort(want)
	got := slices.Sorted(maps.Keys(doc.Components.Messages.DeadLetter.Headers.Properties))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-code +asyncapi.yaml):\n%s", diff)
	}
}

// TestAsyncAPIDescribesQueriesAsTheyAreAnswered keeps it in step with what package natsjs knows alone.
func TestAsyncAPIDescribesQueriesAsTheyAreAnswered(t *testing.T) {
	var doc struct {
		Operations map[string]struct {
			Reply    map[string]any
			Bindings struct{ NATS struct{ Queue string } }
		}
		Components struct {
			Messages map[string]struct {
				Headers struct {
					Properties map[string]struct{ Enum []string }
				}
			}
			Schemas struct {
				QueryHeaders struct {
					Schema struct{ Properties map[string]any }
				} `yaml:"queryHeaders"`
			}
		}
	}
	if err := yaml.Unmarshal(schemas.AsyncAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	answering := 0
	for name, o := range doc.Operations {
		if o.Reply != nil {
			answering++
			if o.Bindings.NATS.Queue != natsjs.QueryService {
				t.Errorf("%s: the queue group is %q", name, o.Bindings.NATS.Queue)
			}
		}
	}
	if answering != len(events.QuerySpecs()) {
		t.Errorf("%d operations have a reply", answering)
	}
	if _, ok := doc.Components.Schemas.QueryHeaders.Schema.Properties[natsjs.HeaderTimeout]; !ok {
		t.Errorf("%s is not described", natsjs.HeaderTimeout)
	}
	codes := map[string]bool{}
	for _, e := range []events.Error{
		{Kind: events.Refused, Code: events.CodeBadRequest}, {Kind: events.Refused, Code: events.CodeNotFound}, {Kind: events.Unavailable, Code: events.CodeBusy},
		{Kind: events.Internal}, {Kind: events.Unavailable}, {Kind: events.Unavailable, Code: events.CodeDeadline},
	} {
		codes[strconv.Itoa(natsjs.QueryStatus(&e))] = true
	}
	header := doc.Components.Messages["query.failure"].Headers.Properties[micro.ErrorCodeHeader]
	if diff := cmp.Diff(slices.Sorted(maps.Keys(codes)), header.Enum); diff != "" {
		t.Errorf("codes (-code +asyncapi.yaml):\n%s", diff)
	}
}
