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
	"sync"

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

// Set is the schemas of every event type. It may be shared.
type Set struct {
	byType map[string]func() (*schema, error)
}

// schema is one compiled schema and the sentences for the rules that it may find broken.
type schema struct {
	compiled *jsonschema.Schema
	quick    *quick
	titles   titles
}

// New is the schemas of this package. Each is compiled, with formats asserted, when it is first needed, once in a process.
func New() (*Set, error) { return embedded() }

var embedded = sync.OnceValues(newSet)

func newSet() (*Set, error) {
	names, err := fs.Glob(files, "*"+fileSuffix)
	if err != nil {
		return nil, err
	}
	c := &compiler{Compiler: jsonschema.NewCompiler()}
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.UseLoader(loader{})
	set := &Set{byType: make(map[string]func() (*schema, error), len(names))}
	for _, name := range names {
		if !slices.Contains(shared, name) {
			set.byType[typeOf(name)] = sync.OnceValues(func() (*schema, error) { return c.compile(name) })
		}
	}
	return set, nil
}

// compiler is one for all schemas, since many of them refer to the same.
type compiler struct {
	*jsonschema.Compiler
	mu sync.Mutex
}

func (c *compiler) compile(name string) (*schema, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	compiled, err := c.Compile(baseURL + name)
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", name, err)
	}
	return &schema{compiled: compiled, quick: quickOf(compiled), titles: titlesOf(compiled)}, nil
}

// loader reads what is embedded, and nothing else: a reference to anything else is a mistake.
type loader struct{}

func (loader) Load(url string) (any, error) {
	name, ours := strings.CutPrefix(url, baseURL)
	raw, err := files.ReadFile(name)
	if !ours || err != nil {
		return nil, fmt.Errorf("%s is not among the embedded schemas", url)
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(raw))
}

// typeOf is the event type whose schema the file holds.
func typeOf(file string) string { return typePrefix + strings.TrimSuffix(file, fileSuffix) }

// Known reports whether there is a schema for the data of events of this type.
func (s *Set) Known(eventType string) bool {
	_, ok := s.byType[eventType]
	return ok
}

// Validate checks the data of an event of the given type and returns every violation, sorted, or nil. value is JSON as
// Decode returns it. A type that is not Known is itself a violation.
func (s *Set) Validate(eventType string, value any) []Problem {
	get, ok := s.byType[eventType]
	if !ok {
		return []Problem{{Message: fmt.Sprintf("no schema for events of type %q", eventType)}}
	}
	sch, err := get()
	if err != nil {
		return []Problem{{Message: err.Error()}}
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
