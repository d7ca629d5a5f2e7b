package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"subrelay/adapters/upstream"
)

// envConfigFile names the configuration file where --config does not.
const envConfigFile = envPrefix + "CONFIG"

// loadConfig is the configuration by file, environment and flags, each over the one before, with its defaults.
func (c *cli) loadConfig() (Config, error) {
	env := environment(c.environ)
	var cfg Config
	if file := cmp.Or(c.configFile, env[envConfigFile]); file != "" {
		raw, err := os.ReadFile(file)
		if err != nil {
			return cfg, hinted(fmt.Errorf("the configuration cannot be read: %w", err), "name another file with --config")
		}
		if cfg, err = parseConfig(file, raw); err != nil {
			return cfg, err
		}
	}
	if err := applyEnv(&cfg, env); err != nil {
		return cfg, err
	}
	cfg.NATS = cfg.NATS.over(c.natsURL, c.nats)
	cfg = cfg.withDefaults()
	return cfg, cfg.check()
}

// over is n with what the flags say. Whoever the flags name takes the place of whoever the configuration does.
func (n NATSConfig) over(url string, flags NATSConfig) NATSConfig {
	n.URL = cmp.Or(url, n.URL)
	switch {
	case flags.Creds != "" || flags.NKeyFile != "":
		n.Creds, n.NKeyFile, n.User, n.Token, n.TokenFile = flags.Creds, flags.NKeyFile, "", upstream.Secret{}, ""
		n.Password, n.PasswordFile = upstream.Secret{}, ""
	case flags.User != "":
		n.Creds, n.NKeyFile, n.User, n.Token, n.TokenFile = "", "", flags.User, upstream.Secret{}, ""
	}
	if flags.PasswordFile != "" {
		n.Password, n.PasswordFile = upstream.Secret{}, flags.PasswordFile
	}
	if flags.CertFile != "" || flags.KeyFile != "" {
		n.CertFile, n.KeyFile = flags.CertFile, flags.KeyFile
	}
	n.CAFile, n.InboxPrefix = cmp.Or(flags.CAFile, n.CAFile), cmp.Or(flags.InboxPrefix, n.InboxPrefix)
	return n
}

// parseConfig reads YAML. Unknown and repeated keys are errors; every error names file, line and column, and shows
// nothing of the file but keys, since what stands beside them may be a secret.
func parseConfig(file string, raw []byte) (Config, error) {
	var cfg Config
	err := yaml.NewDecoder(bytes.NewReader(raw), yaml.Strict()).Decode(&cfg)
	if errors.Is(err, io.EOF) { // nothing but comments
		return cfg, nil
	}
	var at yaml.Error
	if err == nil || !errors.As(err, &at) || at.GetToken() == nil {
		return cfg, cmp.Or(misread(file, raw), err)
	}
	where := place(file, at.GetToken())
	var unknown *yaml.UnknownFieldError
	var wrong *yaml.TypeError
	switch {
	case errors.As(err, &unknown):
		return cfg, unknownKey(where, at.GetToken().Value)
	case errors.As(err, &wrong):
		return cfg, fmt.Errorf("%s: a %s cannot be read from this", where, typeWord(wrong.DstType.String()))
	}
	return cfg, fmt.Errorf("%s: %s", where, at.GetMessage())
}

func place(file string, t *token.Token) string {
	return fmt.Sprintf("%s:%d:%d", file, t.Position.Line, t.Position.Column)
}

// misread finds the first setting whose value the decoder has no position for (it is none for errors of a duration or
// a level), or reads as a number where text is wanted: 0123 would become 83.
func misread(file string, raw []byte) error {
	parsed, err := parser.ParseBytes(raw, 0)
	if err != nil {
		return err
	}
	for _, s := range settingsOf(&Config{}) {
		path, err := yaml.PathString("$." + s.name())
		if err != nil {
			return err
		}
		node, err := path.FilterFile(parsed)
		if err != nil || node.Type() == ast.NullType {
			continue // not there
		}
		where := place(file, node.GetToken())
		if s.isText() {
			if number := numberIn(node); number != nil {
				return fmt.Errorf("%s: %s is text, and this is a number: put it in quotes", place(file, number.GetToken()), s.name())
			}
		}
		if yaml.NodeToValue(node, s.value.Addr().Interface()) != nil {
			return fmt.Errorf("%s: %s: a %s cannot be read from this", where, s.name(), typeWord(s.value.Type().String()))
		}
	}
	return nil
}

// numberIn is node, or the first item of the list that it is, if that reads as a number.
func numberIn(node ast.Node) ast.Node {
	if list, ok := node.(*ast.SequenceNode); ok {
		for _, item := range list.Values {
			if n := numberIn(item); n != nil {
				return n
			}
		}
		return nil
	}
	if slices.Contains([]ast.NodeType{ast.IntegerType, ast.FloatType, ast.TagType}, node.Type()) {
		return node
	}
	return nil
}

func unknownKey(where, key string) error {
	err := fmt.Errorf("%s: unknown key %q", where, key)
	var keys, elsewhere []string
	for _, s := range settingsOf(&Config{}) {
		keys = append(keys, s.path...)
		if s.path[len(s.path)-1] == key {
			elsewhere = append(elsewhere, strings.Join(s.path, "."))
		}
	}
	if len(elsewhere) > 0 {
		return hinted(err, "not here; there is %s", strings.Join(elsewhere[:min(4, len(elsewhere))], ", "))
	}
	if near := nearest(key, keys); near != "" {
		return hinted(err, "did you mean %q?", near)
	}
	return hinted(err, "subrelay.example.yaml lists every key")
}

func typeWord(goType string) string {
	goType = strings.TrimPrefix(goType, "*")
	switch {
	case strings.HasPrefix(goType, "[]"):
		return "list"
	case strings.Contains(goType, "Duration"):
		return "duration, such as 1m30s,"
	case strings.Contains(goType, "int"):
		return "whole number"
	case strings.Contains(goType, "float"):
		return "number"
	case strings.HasSuffix(goType, "Level"):
		return "level (debug, info, warn or error)"
	case goType == "bool":
		return "yes or no (true or false)"
	case strings.HasSuffix(goType, "string"), strings.HasSuffix(goType, "Secret"):
		return "text"
	}
	return "group of settings"
}

// nearest is the candidate that differs least from word, "" if none is near.
func nearest(word string, candidates []string) string {
	best, least := "", max(2, len(word)/3)+1
	for _, c := range candidates {
		if d := distance(word, c); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance is the Levenshtein distance: how many bytes must be changed, added or removed to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
