package main

import (
	"bytes"
	"io"
)

// foreignLog is where package log writes. We do not use it, but net/http does, and quotes there what an upstream sent
// unasked: a second reply, with all that is in it. That it came may be told, what it says may not.
type foreignLog struct{ to io.Writer }

func (f foreignLog) Write(line []byte) (int, error) {
	const unsolicited = "Unsolicited response received on idle HTTP channel"
	at := bytes.Index(line, []byte(unsolicited))
	if at < 0 {
		return f.to.Write(line)
	}
	if _, err := f.to.Write(append(bytes.Clone(line[:at+len(unsolicited)]), '\n')); err != nil {
		return 0, err
	}
	return len(line), nil
}
