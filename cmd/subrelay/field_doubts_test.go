//go:build cluster

package main

import "testing"

// TestFieldDoubtsInBulk is the incident of TestDoubtsInBulk at a larger size; SUBRELAY_FIELD_DOUBTS=50000 is a whole bad
// night, and takes two minutes on two cores, without the race detector.
func TestFieldDoubtsInBulk(t *testing.T) {
	newIncident(t).inBulk(envInt("SUBRELAY_FIELD_DOUBTS", 5_000))
}
