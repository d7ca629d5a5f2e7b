//go:build cluster

package main

import "testing"

// TestFieldRefusedRecordUnseen is TestRefusedRecordUnseen on three servers, which refuse a write also while another on the
// same history is under way.
func TestFieldRefusedRecordUnseen(t *testing.T) {
	f := newField(t, fieldOptions{})
	f.topology()
	a := listen(t, f.cl)
	var writers rivals
	for range 8 {
		writers = append(writers, ledgerOn(t, f.connect().js.Conn()))
	}
	contend(t, a, writers, 25)
}
