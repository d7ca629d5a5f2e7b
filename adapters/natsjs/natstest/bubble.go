package natstest

import (
	"runtime"
	"testing"
	"testing/synctest"
)

// Bubble is synctest.Test for tests that use a NATS client or server. The client keeps timers in a pool for the whole
// process, and a timer of a bubble must not be met outside of it: two collections before and after empty the pool.
// Bubbles of one process must not run at the same time. The test binary must call ats.Register (nats-server, package
// server/ats) before.
func Bubble(t *testing.T, story func(t *testing.T)) {
	t.Helper()
	emptyPools()
	defer emptyPools()
	synctest.Test(t, story)
}

func emptyPools() {
	runtime.GC()
	runtime.GC()
}
