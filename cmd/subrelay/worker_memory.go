package main

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

// While an upstream is away a worker holds every command that the broker lets out, and the garbage collector's habit of
// letting the heap grow to twice what is alive would cost more than the commands do. So the collector is asked to stay
// below workerMemory as long as what is alive leaves it room to do so cheaply; a worker that holds more, because its
// commands are large or its window wide, is left to the collector's habit.
const (
	workerMemory = 76 << 20
	workerLive   = 64 << 20
	memoryEvery  = 2 * time.Second
)

// keepSmall adjusts the memory limit of this process until ctx ends, and lifts it then. It does nothing where the
// operator has set GOMEMLIMIT.
func keepSmall(ctx context.Context) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	defer debug.SetMemoryLimit(math.MaxInt64)
	live := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for {
		runtimemetrics.Read(live)
		debug.SetMemoryLimit(memoryLimit(live[0].Value.Uint64()))
		if !sleep(ctx, memoryEvery) {
			return
		}
	}
}

// memoryLimit is the limit for a process with so many bytes alive after its last collection.
func memoryLimit(live uint64) int64 {
	if live > workerLive {
		return math.MaxInt64
	}
	return workerMemory
}
