package natsjs

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// shortageTimeout is how long one look at a stream may take.
const shortageTimeout = 5 * time.Second

// Shortage looks at every stream and says what is nearly full, in words for operators. blocking is why commands do not
// come to their end, in the ledger or the dead letters; warnings are what holds up no command that is stored: publishers
// and tasks are refused. Its error is of kind Unavailable where a stream does not answer.
func Shortage(ctx context.Context, js jetstream.JetStream, n Names) (blocking, warnings []string, err error) {
	for _, stream := range []struct {
		name, what string
		blocks     bool
	}{
		{n.Outcomes(), "nothing new is started, and a result waits where it finds no room", true},
		{n.DeadLetters(), "a command that must be copied there waits once it is full", true},
		{n.Commands(), "publishers are refused once it is full", false},
		{n.Tasks(), "a task may not get its tick", false},
	} {
		info, err := lookAt(ctx, js, stream.name)
		if err != nil {
			return nil, nil, storageError("find stream "+stream.name, err)
		}
		if !nearlyFull(info, nearlyGone) {
			continue
		}
		told := fmt.Sprintf("the stream %s is nearly full (%s): %s; raise its max_bytes", stream.name, fillOf(info), stream.what)
		if stream.blocks {
			blocking = append(blocking, told)
		} else {
			warnings = append(warnings, told)
		}
	}
	return blocking, warnings, nil
}

func lookAt(ctx context.Context, js jetstream.JetStream, stream string) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, shortageTimeout)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	return s.CachedInfo(), nil
}
