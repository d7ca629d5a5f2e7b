package upstream

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// TestACallThatIsOverIsForgotten has a call time out, and holds that its connection is broken off, so that the system
// delivers nothing of it any more: an orderly end would have it go on trying.
func TestACallThatIsOverIsForgotten(t *testing.T) {
	ended := make(chan error, 1)
	addr := speak(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		r, err := http.ReadRequest(in)
		if err == nil {
			io.Copy(io.Discard, r.Body)
			_, err = in.ReadByte()
		}
		ended <- err
	})
	g := newGuard(t, Settings{CallTimeout: 50 * time.Millisecond})
	if _, err := g.Do(t.Context(), post(t, "http://"+addr)); err == nil {
		t.Fatal("a call without a reply succeeded")
	}
	if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the upstream sees the end as %v", err)
	}
}
