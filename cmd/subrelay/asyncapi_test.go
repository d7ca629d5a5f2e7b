package main

import (
	"maps"
	"slices"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/natsjs"
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
