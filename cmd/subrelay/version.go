package main

import (
	"cmp"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersionCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this binary",
		Example: `  subrelay version
  subrelay version -o json`,
		Args: wantArgs(),
		RunE: func(*cobra.Command, []string) error {
			b := readBuild()
			if c.wantJSON {
				return c.printJSON(b)
			}
			if b.Revision != "" {
				return c.printLine("subrelay %s (%s, %s)", b.Version, b.Revision, b.Go)
			}
			return c.printLine("subrelay %s (%s)", b.Version, b.Go)
		},
	}
}

// Where the Go tool saw no repository, as in an image's build, whoever builds says what this is:
// -ldflags "-X main.version=v1.2.3 -X main.revision=0123abc".
var version, revision string

// build says what this binary is.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
}

func readBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return build{Version: "unknown"}
	}
	b := build{Version: cmp.Or(version, info.Main.Version, "(devel)"), Revision: revision, Go: info.GoVersion}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Revision = cmp.Or(revision, s.Value)
		}
	}
	return b
}
