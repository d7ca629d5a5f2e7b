package schemas

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const (
	baseURL    = "https://subrelay.invalid/schemas/"
	typePrefix = "subrelay."
	fileSuffix = ".json"
)

// shared are the files that hold parts of other schemas, and the schema of no event.
var shared = []string{"outcome.v1.json", "crmcom.v1.json"}

//go:embed *.json queries/*.json asyncapi.yaml
var files embed.FS

// Files is every file of this package, the schemas and asyncapi.yaml, at the top.
func Files() fs.FS { return files }

// AsyncAPI is the AsyncAPI 3.0 document, in YAML, that describes channels, messages and operations.
func AsyncAPI() []byte {
	raw, err := files.ReadFile("asyncapi.yaml")
	if err != nil {
		panic(err) // it is embedded
	}
	return raw
}

// Set is the compiled schemas of every event type. It may be shared.
type Set struct {
	byType map[string]*schema
}

// schema is one compiled schema and the sentences for the rules that it may find broken.
type schema struct {
	compiled *jsonschema.Schema
	quick    *quick
	titles   titles
}

// New compiles every schema, with formats asserted. It takes some milliseconds: call it once.
func New() (*Set, error) {
	names, err := fs.Glob(files, "*"+fileSuffix)
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.UseLoader(noLoader{})
	if err := addFiles(c, names); err != nil {
		return nil, err
	}
	set := &Set{byType: make(map[string]*schema, len(names))}
	for _, name := range names {
		compiled, err := c.Compile(baseURL + name)
		if err != nil {
			return nil, fmt.Errorf("schema %s: %w", name, err)
		}
		if !slices.Contains(shared, name) {
			set.byType[typeOf(name)] = &schema{compiled: compiled, quick: quickOf(compiled), titles: titlesOf(compiled)}
		}
	}
	return set, nil
}

// typeOf is the event type whose schema the file holds.
func typeOf(file string) string { return typePrefix + strings.TrimSuffix(file, fileSuffix) }

func addFiles(c *jsonschema.Compiler, names []string) error {
	for _, name := range names {
		raw, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			return fmt.Errorf("schema %s: %w", name, err)
		}
		if err := c.AddResource(baseURL+name, doc); err != nil {
			return fmt.Errorf("schema %s: %w", name, err)
		}
	}
	return nil
}

// noLoader refuses to fetch: a reference to anything that is not embedded is a mistake.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s is not among the embedded schemas", url)
}

// Known reports whether there is a schema for the data of events of this type.
func (s *Set) Known(eventType string) bool {
	_, ok := s.byType[eventType]
	return ok
}

// Validate checks the data of an event of the given type and returns every violation, sorted, or nil. value is JSON as
// Decode returns it. A type that is not Known is itself a violation.
func (s *Set) Validate(eventType string, value any) []Problem {
	sch, ok := s.byType[eventType]
	if !ok {
		return []Problem{{Message: fmt.Sprintf("no schema for events of type %q", eventType)}}
	}
	if sch.quick.accepts(value) {
		return nil
	}
	return sch.check(value)
}

// check is Validate by the checker alone.
func (s *schema) check(value any) []Problem {
	err := s.compiled.Validate(tame(value))
	if err == nil {
		return nil
	}
	var violation *jsonschema.ValidationError
	if !errors.As(err, &violation) {
		return []Problem{{Message: "cannot be checked"}}
	}
	return s.titles.problems(violation)
}

// Decode reads one JSON value, its numbers as json.Number. Anything but white space behind the value is an error.
func Decode(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("no data")
		}
		return nil, fmt.Errorf("no JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("no JSON: something follows the value, at byte %d", d.InputOffset())
	}
	return v, nil
}
