package main

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"subrelay/adapters/upstream"
)

// envPrefix begins every environment variable of ours.
const envPrefix = "SUBRELAY_"

// setting is one setting of a Config: where it stands in the file, and its value.
type setting struct {
	path  []string // its key and those above it, such as "tvms", "auth_token"
	value reflect.Value
}

// name is the setting as messages name it, such as tvms.auth_token.
func (s setting) name() string { return strings.Join(s.path, ".") }

// envName is the environment variable of a setting: SUBRELAY_ and its keys in capitals, joined by underscores.
func (s setting) envName() string { return envPrefix + strings.ToUpper(strings.Join(s.path, "_")) }

// settingsOf lists every setting of the struct that cfg points to, in the order of its fields.
func settingsOf(cfg any) []setting {
	return appendSettings(nil, nil, reflect.ValueOf(cfg).Elem())
}

// isText reports whether the value is text, or a list of it: strings or a secret.
func (s setting) isText() bool {
	return s.value.Kind() == reflect.String || s.value.Type() == reflect.TypeFor[upstream.Secret]() || s.isTexts()
}

func (s setting) isTexts() bool { return s.value.Type() == reflect.TypeFor[[]string]() }

func appendSettings(found []setting, path []string, v reflect.Value) []setting {
	if v.Kind() != reflect.Struct || readsText(v) {
		return append(found, setting{path: path, value: v})
	}
	for i := range v.NumField() {
		name, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		switch {
		case name == "-":
		case options == "inline":
			found = appendSettings(found, path, v.Field(i))
		default:
			found = appendSettings(found, append(slices.Clone(path), name), v.Field(i))
		}
	}
	return found
}

func readsText(v reflect.Value) bool {
	_, ok := v.Addr().Interface().(encoding.TextUnmarshaler)
	return ok
}

// environment is the variables of ours in environ.
func environment(environ []string) map[string]string {
	out := make(map[string]string)
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, envPrefix) {
			out[name] = value
		}
	}
	return out
}

// applyEnv sets every setting whose variable is in env. Errors name the variable, never its value. Variables that name
// no setting are left alone: Kubernetes sets some of its own with this prefix. See strayEnv.
func applyEnv(cfg *Config, env map[string]string) error {
	for _, s := range settingsOf(cfg) {
		text, ok := env[s.envName()]
		if !ok {
			continue
		}
		if err := s.set(text); err != nil {
			return fmt.Errorf("the environment variable %s: a %s cannot be read from its value", s.envName(), typeWord(s.value.Type().String()))
		}
	}
	return nil
}

// set reads the value from text. A list is comma-separated.
func (s setting) set(text string) error {
	target := s.value
	if target.Kind() == reflect.Pointer {
		target.Set(reflect.New(target.Type().Elem()))
		target = target.Elem()
	}
	if t, ok := target.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return t.UnmarshalText([]byte(text))
	}
	if target.Type() == reflect.TypeFor[time.Duration]() {
		d, err := time.ParseDuration(text)
		target.SetInt(int64(d))
		return err
	}
	switch {
	case target.Kind() == reflect.String:
		target.SetString(text)
		return nil
	case s.isTexts():
		list := []string{}
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				list = append(list, item)
			}
		}
		target.Set(reflect.ValueOf(list))
		return nil
	case target.Kind() == reflect.Slice:
		text = "[" + text + "]"
	}
	return yaml.Unmarshal([]byte(text), target.Addr().Interface())
}

// strayEnv lists the variables that have our prefix and name no setting, each with the one that may be meant.
func strayEnv(env map[string]string) []string {
	known := []string{envConfigFile}
	for _, s := range settingsOf(&Config{}) {
		known = append(known, s.envName())
	}
	var stray []string
	for name := range env {
		if slices.Contains(known, name) {
			continue
		}
		if near := nearest(name, known); near != "" {
			stray = append(stray, name+" (did you mean "+near+"?)")
		}
	}
	slices.Sort(stray)
	return stray
}
