package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"subrelay/adapters/upstream"
	"subrelay/events/checkup"
)

// fileChecks look at where secrets are kept. They ask nobody.
func (c *cli) fileChecks(cfg *Config) []checkup.Check {
	return []checkup.Check{{Name: "secrets", Run: func(_ context.Context, found *checkup.Found) error {
		c.checkSecrets(cfg, found)
		return nil
	}}}
}

// secretFiles are the settings that name a file with a secret in it.
func secretFiles(cfg *Config) []setting {
	return slices.DeleteFunc(settingsOf(cfg), func(s setting) bool {
		name := s.path[len(s.path)-1]
		keeps := name == "creds" || strings.HasSuffix(name, "key_file") || strings.HasSuffix(name, "token_file") || strings.HasSuffix(name, "password_file")
		return !keeps || s.value.String() == ""
	})
}

func (c *cli) checkSecrets(cfg *Config, found *checkup.Found) {
	before := found.Len()
	env := environment(c.environ)
	for _, s := range secretFiles(cfg) {
		checkSecretFile(s.name(), s.value.String(), found)
	}
	var inFile, inEnvironment []string
	for _, s := range settingsOf(cfg) {
		secret, isSecret := s.value.Interface().(upstream.Secret)
		switch _, given := env[s.envName()]; {
		case !isSecret || secret.IsZero() || s.name() == "tvms.password" && secret.Reveal() == "0": // "unused"
		case given:
			inEnvironment = append(inEnvironment, s.envName())
		default:
			inFile = append(inFile, s.name())
		}
	}
	if file := cmp.Or(c.configFile, env[envConfigFile]); file != "" && len(inFile) > 0 {
		checkSecretFile(strings.Join(inFile, ", "), file, found)
	}
	if len(inEnvironment) > 0 {
		found.Add(checkup.Finding{Severity: checkup.Note, Code: "secret.in_environment", Of: strings.Join(inEnvironment, ", "),
			What: "given in the environment", Why: "environments stand in the descriptions of containers, in crash reports and in /proc",
			Do: "give it as a file, by the setting of the same name with _file"})
	}
	if found.Len() == before {
		found.OK("secret.files", "", "no secret can be read or replaced by others")
	}
}

// checkSecretFile looks who may read a file in which a secret is kept.
func checkSecretFile(of, name string, found *checkup.Found) {
	info, err := os.Stat(name)
	if err != nil {
		found.Add(checkup.Finding{Severity: checkup.Error, Code: "secret.missing", Of: of, What: err.Error(), Why: "without it nothing can be called, or nobody connected to",
			Do: "put the file there, readable for the user that runs subrelay"})
		return
	}
	mode := info.Mode().Perm()
	add := func(severity checkup.Severity, code, why string) {
		found.Add(checkup.Finding{Severity: severity, Code: code, Of: of, What: fmt.Sprintf("%s has mode %04o", name, mode),
			Why: why, Do: "chmod 600 " + name + " (in Kubernetes: defaultMode: 0400 of the secret's volume)", Promise: severity == checkup.Error})
	}
	switch {
	case mode&0o004 != 0:
		add(checkup.Error, "secret.readable", "every user of the machine can read it")
	case mode&0o040 != 0:
		add(checkup.Note, "secret.readable", "its group can read it")
	}
	switch {
	case mode&0o002 != 0:
		add(checkup.Error, "secret.writable", "every user of the machine can put another in its place")
	case mode&0o020 != 0:
		add(checkup.Warning, "secret.writable", "its group can put another in its place")
	}
}
