package sandbox

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// How much an abusive reply asks its client to bear.
const (
	bombSize  = 64 << 20 // unpacked
	hugeSize  = 1 << 20
	floodSize = 4 << 20
	infoSize  = 4 << 10 // of one interim reply
)

// abuse replies to a call that had its effect as a broken or hostile server would.
func (c *call) abuse(f Fault, done reply) {
	switch f.Kind {
	case GzipBomb:
		c.sendBomb()
	case HugeHeader:
		c.w.Header().Set("X-Huge", strings.Repeat("x", hugeSize))
		c.send(done)
	case RedirectLoop:
		c.w.Header().Set("Location", c.r.URL.RequestURI())
		c.send(page(Fault{Status: cmp.Or(f.Status, http.StatusTemporaryRedirect)}))
	case InfoFlood:
		c.end(done.status)
		for range floodSize / infoSize {
			c.w.Header().Set("Link", strings.Repeat("x", infoSize))
			c.w.WriteHeader(http.StatusEarlyHints)
		}
		c.w.Header().Del("Link")
		done.write(c.w)
	case TrailingGarbage:
		done.body = append(bytes.Clone(done.body), "\n<!-- 17 ms -->{}"...)
		c.send(done)
	case Upgrade:
		c.sendRaw(http.StatusSwitchingProtocols, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
	case ShortLength:
		c.sendRaw(done.status, raw(done, len(done.body)/2))
	case DoubleReply:
		c.sendRaw(done.status, strings.Repeat(raw(done, len(done.body)), 2))
	case SlowBody:
		c.drip(done, time.Duration(f.Delay))
	}
}

// bomb is JSON that says little at great length.
var bomb = sync.OnceValue(func() []byte {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	chunk := bytes.Repeat([]byte(" "), 1<<20)
	for range bombSize / len(chunk) {
		_, _ = w.Write(chunk) // a buffer takes everything
	}
	_, _ = w.Write([]byte("{}"))
	_ = w.Close()
	return packed.Bytes()
})

// sendBomb says what is JSON indeed, and true; only that nobody should read so much.
func (c *call) sendBomb() {
	r := reply{status: http.StatusOK, typ: typeJSON, body: bomb()}
	if strings.Contains(c.r.Header.Get("Accept-Encoding"), "gzip") {
		c.w.Header().Set("Content-Encoding", "gzip")
	} else {
		r.body = bytes.Repeat([]byte(" "), bombSize)
	}
	c.send(r)
}

// raw is a reply as it goes over the line, which says that its body has so many bytes.
func raw(r reply, length int) string {
	return fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		r.status, http.StatusText(r.status), r.typ[0], length, r.body)
}

// sendRaw writes what net/http would not, and then waits until the client leaves or says anything more: then it closes
// the connection.
func (c *call) sendRaw(status int, text string) {
	conn, _, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		c.cut(false) // HTTP/2 frames cannot lie so
		return
	}
	defer func() { _ = conn.Close() }()
	c.end(status)
	if _, err := conn.Write([]byte(text)); err == nil {
		c.awaitMore(conn)
	}
}

// awaitMore returns when the client has left or sent a byte.
func (c *call) awaitMore(conn net.Conn) {
	_, _ = conn.Read(make([]byte, 1)) // either is the end
}

// drip sends a body over a time, byte by byte, for as long as the client stays.
func (c *call) drip(r reply, over time.Duration) {
	c.end(r.status)
	c.w.Header()["Content-Type"] = r.typ
	c.w.WriteHeader(r.status)
	flush := http.NewResponseController(c.w).Flush
	for _, b := range r.body {
		_ = flush() // where that is not possible, the time passes all the same
		if c.sleep(over/time.Duration(len(r.body))) > 0 {
			return
		}
		_, _ = c.w.Write([]byte{b})
	}
}
