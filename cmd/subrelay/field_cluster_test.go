//go:build cluster

package main

import (
	"fmt"
	"testing"
	"time"
)

// TestFieldTakeover kills one of two workers of a real cluster in the middle of its work, freezes the other past every
// time-out, and lets a third take over.
func TestFieldTakeover(t *testing.T) {
	f := newField(t, fieldOptions{readBack: true})
	f.topology()
	one, two := f.start("one"), f.start("two")
	for n := range 150 {
		f.send(f.renewal(fmt.Sprint(n), n%50+1))
		switch n {
		case 50:
			one.kill()
		case 100:
			f.start("three")
			two.freeze()
		}
	}
	f.settle(2 * time.Minute)
	two.thaw()
	r := f.settle(time.Minute)
	two.stop()
	if r.Commands != 150 || r.Succeeded != 150 {
		t.Errorf("%d commands, %d succeeded", r.Commands, r.Succeeded)
	}
}
