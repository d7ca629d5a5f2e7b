package main

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What an upstream sends unasked is told by net/http, and not shown by us.
func TestForeignLog(t *testing.T) {
	const secret = "s3cr3t-of-a-second-reply"
	var said watched
	before := log.Writer()
	log.SetOutput(foreignLog{&said})
	t.Cleanup(func() { log.SetOutput(before) })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nX-Token: "+secret+"\r\n\r\n")
		io.Copy(io.Discard, conn)
	}))
	t.Cleanup(server.Close)
	resp, err := (&http.Client{Transport: &http.Transport{}}).Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	eventually(t, "net/http tells of the reply", func() bool { return strings.Contains(said.String(), "Unsolicited response") })
	if text := said.String(); strings.Contains(text, secret) || !strings.HasSuffix(text, "\n") {
		t.Errorf("it says: %q", text)
	}
	var out bytes.Buffer
	if n, err := (foreignLog{&out}).Write([]byte("other\n")); n != 6 || err != nil || out.String() != "other\n" {
		t.Errorf("%d, %v, %q", n, err, out.String())
	}
}
