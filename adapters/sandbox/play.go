package sandbox

import (
	"cmp"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// stage is what all imitations share.
type stage struct {
	book    *Book
	faults  *Faults
	latency time.Duration
	clock   func() time.Time
	// say is an error in the API's own shape. code is for APIs that have such codes.
	say func(status int, code, text string) reply
	// expire makes all tokens invalid. It reports whether the call goes on, to be refused for its token; else it gives the
	// reply that refuses it.
	expire func() (reply, bool)
}

// call is one API call on its way through a stage.
type call struct {
	*stage
	w      http.ResponseWriter
	r      *http.Request
	class  string // Writes, Reads or Auth
	entry  *entry // nil for a call that changes nothing, which is not booked
	lifted <-chan struct{}
	work   func() reply // does what the call asks for, once. It must not touch w and r.
	ended  bool
}

// serve plays the fault that is due for the call, around its work. route is its path, customer its key.
func (c *call) serve(route, customer string) {
	fault, lifted := c.faults.take(route, c.class, customer)
	if fault.Kind == "" && c.latency == 0 {
		if c.drain() {
			c.send(c.work())
		}
		return
	}
	c.lifted = lifted
	if c.entry != nil && fault.Kind != "" {
		c.book.played(c.entry, fault.Kind)
	}
	c.play(fault)
}

func (c *call) play(f Fault) {
	if f.Kind == Refuse {
		c.cut(false)
		return
	}
	if !c.drain() {
		return
	}
	lag := c.latency
	if f.Kind == Slow {
		lag += time.Duration(f.Delay)
	}
	if left := c.sleep(lag); left > 0 {
		c.finishLater(left, f.Kind)
		return
	}
	if c.before(f) {
		c.after(f, c.work())
	}
}

// before plays what goes wrong before the effect, and reports whether the call goes on.
func (c *call) before(f Fault) bool {
	switch f.Kind {
	case Hang:
		if !c.hang() {
			c.end(0)
			return false
		}
		return true
	case ResetBefore:
		c.cut(true)
	case ErrorBefore:
		c.send(c.failure(f))
	case Throttle:
		c.sendLater(f, http.StatusTooManyRequests)
	case Unavailable:
		c.sendLater(f, http.StatusServiceUnavailable)
	case HTMLBefore:
		c.send(page(f))
	case Refusal:
		c.send(c.fault(f, http.StatusOK, codeNotAllowed, "The operation was not completed."))
	case ExpireToken:
		refused, goesOn := c.expire()
		if !goesOn {
			c.send(refused)
		}
		return goesOn
	default:
		return true
	}
	return false
}

// after plays what goes wrong after the effect, or sends the reply.
func (c *call) after(f Fault, done reply) {
	switch f.Kind {
	case SlowAfter:
		c.sleep(time.Duration(f.Delay))
		c.send(done)
	case HangAfter:
		if !c.hang() {
			c.end(0)
			return
		}
		c.send(done)
	case ResetAfter:
		c.cut(true)
	case ErrorAfter:
		c.send(c.failure(f))
	case HalfBody:
		c.sendHalf(done)
	case HTMLAfter:
		c.send(page(f))
	case GzipBomb, HugeHeader, RedirectLoop, InfoFlood, Upgrade, ShortLength, TrailingGarbage, DoubleReply, SlowBody:
		c.abuse(f, done)
	default:
		c.send(done)
	}
}

// failure is what an API says when something in it has failed.
func (s *stage) failure(f Fault) reply {
	return s.fault(f, http.StatusInternalServerError, codeSystem, "An error has occurred.")
}

// fault is an error as the fault wants it, or as the rest says where it does not care.
func (s *stage) fault(f Fault, status int, code, text string) reply {
	return s.say(cmp.Or(f.Status, status), cmp.Or(f.Code, code), cmp.Or(f.Message, text))
}

// drain reads what is left of the body, so that the connection can be used again and net/http notices
// when the client leaves. A request that breaks off is not acted upon: then it cuts and returns false.
func (c *call) drain() bool {
	if c.r.Body == nil || c.r.Body == http.NoBody {
		return true
	}
	if _, err := io.Copy(io.Discard, c.r.Body); err != nil {
		c.cut(false)
		return false
	}
	return true
}

// sleep waits for d, or until the client has left: then it returns what is left of d, and 0 otherwise.
func (c *call) sleep(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	end := time.Now().Add(d)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return 0
	case <-c.r.Context().Done():
		return max(time.Until(end), 1)
	}
}

// hang waits until the client has left (false) or the faults were lifted (true).
func (c *call) hang() bool {
	select {
	case <-c.lifted:
		return true
	case <-c.r.Context().Done():
		return false
	}
}

// finishLater ends a call whose client has left: after d, with the effect if the fault has one.
func (c *call) finishLater(d time.Duration, kind FaultKind) {
	if !kind.Effect() {
		c.end(0)
		return
	}
	time.AfterFunc(d, func() {
		c.work()
		c.end(0)
	})
}

// end closes the call's entry. It comes before any byte of the reply is on its way, so that whatever a client does
// because of the reply begins later in the book.
func (c *call) end(status int) {
	if c.entry != nil && !c.ended {
		c.book.end(c.entry, status, c.clock())
	}
	c.ended = true
}

func (c *call) send(r reply) {
	c.end(r.status)
	r.write(c.w)
}

func (c *call) sendLater(f Fault, status int) {
	if f.RetryAfter > 0 {
		seconds := (time.Duration(f.RetryAfter) + time.Second - 1) / time.Second
		c.w.Header().Set("Retry-After", strconv.Itoa(int(seconds)))
	}
	c.send(c.fault(f, status, codeSystem, http.StatusText(status)))
}

// sendHalf promises the whole body, sends half of it, and closes the connection.
func (c *call) sendHalf(r reply) {
	c.end(r.status)
	half := len(r.body) / 2
	c.w.Header().Set("Content-Length", strconv.Itoa(max(len(r.body), half+1)))
	r.body = r.body[:half]
	r.write(c.w)
	_ = http.NewResponseController(c.w).Flush() // where that is not possible, closing is all there is
	c.cut(false)
}

// cut closes the connection without another byte; with reset, by RST where it is TCP.
func (c *call) cut(reset bool) {
	c.end(0)
	conn, _, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // net/http closes the connection, or resets the HTTP/2 stream
	}
	if tcp, ok := netConn(conn).(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0) // without it the close below is an orderly one, and cuts as well
	}
	_ = netConn(conn).Close() // below TLS, so that there is no farewell
}

func netConn(c net.Conn) net.Conn {
	if wrapped, ok := c.(interface{ NetConn() net.Conn }); ok {
		return wrapped.NetConn()
	}
	return c
}
