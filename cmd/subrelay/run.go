package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"subrelay/adapters/natsjs"
)

// run is the whole program: it runs the command that args name and returns the exit code. It ends when the command is
// done, or gracefully when ctx ends.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return newCLI(stdin, stdout, stderr, os.Environ()).run(ctx, args)
}

// run runs one command line.
func (c *cli) run(ctx context.Context, args []string) int {
	root := newRoot(c)
	root.SetArgs(args)
	root.SetIn(c.stdin)
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	c.wantJSON = asksForJSON(args) // until the flags are parsed
	ctx, c.abort = context.WithCancelCause(ctx)
	defer c.abort(nil)
	cmd, err := root.ExecuteContextC(ctx)
	var refused natsjs.Refusal
	if why := context.Cause(ctx); errors.As(why, &refused) {
		err = why // what it stopped at, or was not told, is a consequence
	}
	c.report(cmd.CommandPath(), err)
	return exitCode(err)
}

// asksForJSON reports whether errors of reading the flags themselves are to be JSON.
func asksForJSON(args []string) bool {
	for i, a := range args {
		switch a {
		case "-ojson", "-o=json", "--output=json":
			return true
		case "-o", "--output":
			return slices.Equal(args[i+1:min(i+2, len(args))], []string{"json"})
		case "--":
			return false
		}
	}
	return false
}

// errorLine is how an error is printed with -o json, as one line on stderr.
type errorLine struct {
	Error    string `json:"error"`
	Hint     string `json:"hint,omitempty"`
	Command  string `json:"command"`
	ExitCode int    `json:"exit_code"`
}

// report prints an error, unless all has been said.
func (c *cli) report(command string, err error) {
	var silent ended
	if err == nil || errors.As(err, &silent) {
		return
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	line := errorLine{Error: err.Error(), Command: command, ExitCode: exitCode(err)}
	var p *problem
	if errors.As(err, &p) {
		line.Hint = p.hint
	}
	if line.Hint == "" && line.ExitCode == exitUsage {
		line.Hint = fmt.Sprintf("'%s --help' shows how", command)
	}
	if c.wantJSON {
		_ = json.NewEncoder(c.stderr).Encode(line) // nobody is left to tell
		return
	}
	c.sayf("%s: %s", command, line.Error)
	if line.Hint != "" {
		c.sayf("  %s", strings.ReplaceAll(line.Hint, "\n", "\n  "))
	}
}

// sayf tells people something, on stderr.
func (c *cli) sayf(format string, args ...any) {
	_, _ = fmt.Fprintf(c.stderr, format+"\n", args...) // nobody is left to tell
}
