package main

import (
	"context"
	"math"
	"runtime/debug"
	"testing"
)

func TestKeepSmall(t *testing.T) {
	if memoryLimit(workerLive) != workerMemory || memoryLimit(workerLive+1) != math.MaxInt64 {
		t.Error("the limit must stand until so much is alive that keeping it would cost too much, and no longer")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { keepSmall(ctx); close(ended) }()
	limit := func() int64 { return debug.SetMemoryLimit(-1) }
	eventually(t, "a limit is set", func() bool { return limit() == workerMemory })
	cancel()
	<-ended
	if limit() != math.MaxInt64 {
		t.Error("the limit is still there")
	}
	t.Setenv("GOMEMLIMIT", "1GiB")
	keepSmall(t.Context()) // returns at once: the operator's setting stands
}
