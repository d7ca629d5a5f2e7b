package natsjs

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// lateAnswers is a JetStream whose answers about a stream are overtaken by what happens meanwhile.
type lateAnswers struct {
	jetstream.JetStream
	meanwhile func()
}

func (l *lateAnswers) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	s, err := l.JetStream.Stream(ctx, name)
	l.meanwhile()
	return s, err
}

// TestStreamIsKnownAgain has an answer about the stream come later than messages that were stored after it was given:
// it is the same stream still, and is not abandoned. One that has less than was seen before it was asked about is not.
func TestStreamIsKnownAgain(t *testing.T) {
	_, js := connect(t, startServer(t))
	apply(t, js, topology(t, nil))
	late := &lateAnswers{JetStream: js, meanwhile: func() {}}
	p := newPartition(&Lanes{LaneSettings: LaneSettings{JetStream: late}}, 0)
	look := func(want bool) {
		t.Helper()
		if got := p.sameStream(t.Context(), p.origin.epoch+1); got != want {
			t.Errorf("the same stream: %t", got)
		}
	}
	look(true)
	late.meanwhile = func() { p.origin.last += 100 } // as deliver does
	look(true)
	late.meanwhile = func() {}
	look(false)
}
