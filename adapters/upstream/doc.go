// Package upstream is the guarded HTTP client that every upstream is called through. It answers two questions: whether
// a call may be made now (Guard.Acquire: concurrency, breaker, pause, rate), and what is known after one was made
// (Guard.Do: was anything written to the wire, was the whole reply read).
//
// Decisions that hold for every upstream:
//
//   - A request goes out at most once. net/http repeats a request by itself when a reused connection breaks; Do builds
//     requests so that it cannot once a byte was written. Redirects are never followed: Do uses the transport directly,
//     which has no code that could. There are no cookies, no proxy from the environment, and HTTP/1.1 only, where one
//     connection carries one request at a time and what was written can be counted.
//   - Whether the upstream may have seen a request is decided by the bytes written to its connection, see meter, never
//     by the text of an error. Nothing written is Unavailable; anything more is Unknown.
//   - A reply counts only if its first byte was read after one of the request was written. What a server sent too much
//     to the call before, such as a second reply, is not taken for the answer to the next.
//   - An idle connection is dropped after Settings.IdleTimeout, sooner than usual servers do, because a server that
//     closes one just as a request is being written leaves a doubt.
//   - The breaker, its pause and its clock are one mutex (gate). Logs and the OnState hook run outside it, in order.
//   - Errors keep no cause of net/http's: causes are flattened to text without secrets.
package upstream
