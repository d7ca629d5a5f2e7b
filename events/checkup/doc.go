// Package checkup is the language of findings: what was found about an installation, how bad it is, why it matters and
// what to do. It runs checks, each for itself, so that one that fails or hangs takes nothing from the others.
package checkup
