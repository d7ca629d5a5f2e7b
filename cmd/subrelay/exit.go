package main

import (
	"errors"
	"fmt"
	"slices"

	"subrelay/events"
)

// The exit codes. They are documented in the root command's help.
const (
	exitDone     = 0
	exitError    = 1
	exitUsage    = 2
	exitRejected = 3 // rejected, failed or expired
	exitInDoubt  = 4
	exitTimeout  = 5 // timed out waiting
	exitWarnings = 6 // of doctor: warnings, and nothing worse
)

const exitHelp = `Exit codes:
  0  done
  1  error
  2  usage: unknown command, wrong flags or arguments
  3  a command was rejected, failed or expired, or was refused before it was sent
  4  a command is in doubt
  5  timed out waiting
  6  doctor found warnings, and nothing worse
For a batch the worst of its commands counts, in the order 1, 4, 3, 5.`

// exitOrder lists the codes from the worst on, for batches. Usage errors end a batch before it begins.
var exitOrder = []int{exitUsage, exitError, exitInDoubt, exitRejected, exitTimeout, exitDone}

// worst is the worse of two exit codes.
func worst(a, b int) int {
	if slices.Index(exitOrder, b) < slices.Index(exitOrder, a) {
		return b
	}
	return a
}

// exitOf is the exit code for a command whose last record has this status.
func exitOf(s events.Status) int {
	switch {
	case s == events.Succeeded:
		return exitDone
	case s == events.InDoubt:
		return exitInDoubt
	case s.Final():
		return exitRejected
	}
	return exitTimeout
}

// problem is an error for people: what and where, what to do about it, and the exit code.
type problem struct {
	err  error
	hint string // what to do; "" where err says it
	code int
}

func (p *problem) Error() string { return p.err.Error() }
func (p *problem) Unwrap() error { return p.err }

// usagef is an error in how the program was called.
func usagef(format string, args ...any) error {
	return &problem{err: fmt.Errorf(format, args...), code: exitUsage}
}

// hinted is err with what to do about it.
func hinted(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &problem{err: err, hint: fmt.Sprintf(format, args...), code: exitCode(err)}
}

// ended ends the program with a code after everything has been said.
type ended int

func (e ended) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// endWith is nil for exitDone.
func endWith(code int) error {
	if code == exitDone {
		return nil
	}
	return ended(code)
}

// exitCode is the exit code for err, exitDone for nil.
func exitCode(err error) int {
	var e ended
	var p *problem
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &e):
		return int(e)
	case errors.As(err, &p):
		return p.code
	}
	return exitError
}
