package upstream

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
)

const reply200 = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"

// A server that says more than it was asked for must not have it taken for the answer to the next call: that would
// confirm an effect which never was.
func TestAReplyIsToTheRequest(t *testing.T) {
	t.Run("two replies at once", func(t *testing.T) {
		const calls = 100
		addr := speak(t, func(c net.Conn) {
			in := bufio.NewReader(c)
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			io.WriteString(c, reply200+"first"+reply200+"stray")
			in.ReadByte() // whoever comes after gets no answer
		})
		strays := map[string]int{}
		for range calls {
			g := newGuard(t, Settings{})
			for range 2 {
				reply, err := g.Do(t.Context(), post(t, "http://"+addr))
				strays[string(reply.Body)]++
				if err != nil {
					break
				}
			}
			g.Close()
		}
		if strays["stray"] > 0 || strays["first"] < calls {
			t.Errorf("of %d pairs of calls: %v", calls, strays)
		}
	})
	t.Run("a reply before the request", func(t *testing.T) {
		g, taken := newGuard(t, Settings{}), make(chan struct{})
		req := post(t, "http://"+speak(t, func(c net.Conn) {
			<-taken
			io.WriteString(c, reply200+"early")
			io.Copy(io.Discard, c)
		}))
		// It is read between the moment when the call takes the connection and its first byte. What comes later, but was
		// not asked for, nobody can tell from an answer.
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
			close(taken)
			for m := info.Conn.(*meter); m.heard.Load() == unheard; {
				runtime.Gosched()
			}
		}})
		if _, err := g.Do(ctx, req.WithContext(ctx)); err == nil { // it may be that it is not even sent; never may it be taken for done
			t.Error("it was taken for the answer")
		}
	})
}

// What has waited in a connection since the call before is told from an answer.
func TestWhatWaitedIsNoAnswer(t *testing.T) {
	f := &flight{conn: &meter{}}
	f.conn.heard.Store(unheard)
	f.firstByte()
	if !f.early.Load() {
		t.Error("nothing was read since the call began, and the reply counts")
	}
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	for written, early := range map[int64]bool{0: true, 1: false} {
		m := &meter{Conn: here}
		f := &flight{}
		f.take(m)
		m.count.Add(written)
		go io.WriteString(there, "x")
		if _, err := m.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		f.firstByte()
		if f.early.Load() != early {
			t.Errorf("read after %d bytes were written: early %v", written, f.early.Load())
		}
	}
}

// Another protocol, which nobody has asked for: what follows has no end, and net/http does not end it with the call.
func TestAnotherProtocol(t *testing.T) {
	left := make(chan error, 1)
	addr := speak(t, func(c net.Conn) {
		answer("HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")(c)
		c.SetReadDeadline(time.Now().Add(10 * time.Second)) // should the client never leave
		_, err := io.Copy(io.Discard, c)
		left <- err
	})
	g := newGuard(t, Settings{CallTimeout: 200 * time.Millisecond})
	reply, err := g.Do(t.Context(), post(t, "http://"+addr))
	if err == nil {
		err = g.Classify(reply)
	}
	if diff := cmp.Diff(failure{events.Unknown, events.CodeUnreadable, false, "101"}, failureOf(err)); diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if err := <-left; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the call went on until the server ended it: %v", err)
	}
}

// Interim replies without end are not endless for us.
func TestInterimRepliesAreBounded(t *testing.T) {
	g := newGuard(t, Settings{})
	flood := func(c net.Conn) {
		answer("")(c)
		for {
			if _, err := fmt.Fprintf(c, "HTTP/1.1 103 Early Hints\r\nLink: %s\r\n\r\n", strings.Repeat("x", 1000)); err != nil {
				return
			}
		}
	}
	_, err := g.Do(t.Context(), post(t, "http://"+speak(t, flood)))
	if diff := cmp.Diff(broken, failureOf(err)); diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

// A reply that unpacks to far more than may be read is not unpacked: 64 MiB here, of which a few are ever held.
func TestABombIsNotUnpacked(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	for range 64 {
		z.Write(make([]byte, 1<<20))
	}
	z.Close()
	addr := speak(t, answer(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", packed.Len(), packed.String())))
	g := newGuard(t, Settings{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := g.Do(t.Context(), post(t, "http://"+addr))
	runtime.ReadMemStats(&after)
	if diff := cmp.Diff(failure{events.Unknown, events.CodeResponseTooLarge, false, "200"}, failureOf(err)); diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 24<<20 {
		t.Errorf("%d MiB were allocated", took>>20)
	}
}
