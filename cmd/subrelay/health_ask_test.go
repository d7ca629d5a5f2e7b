package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHealthAsksAWorker(t *testing.T) {
	r := newRig(t)
	at := "http://" + r.app.HTTPAddr()
	runLine(t, "", "health", "--url", at+"/readyz").want(t, exitDone, at+"/readyz: well", "")
	runLine(t, "", "health", "--url", at+"/healthz", "--url", at+"/nowhere").want(t, exitError, "/healthz: well", "404 Not Found")
	if got := runLine(t, "", "health", "-o", "json", "--url", at+"/readyz").lines(t); len(got) != 1 || got[0]["ready"] != true {
		t.Errorf("%v", got)
	}

	c := newCLI(strings.NewReader(""), t.Output(), t.Output(), []string{"SUBRELAY_WORKER_HTTP_ADDR=" + strings.Replace(r.app.HTTPAddr(), "127.0.0.1", "0.0.0.0", 1)})
	if code := c.run(t.Context(), []string{"health"}); code != exitDone {
		t.Errorf("exit code %d for the configured address", code)
	}
}

func TestHealthTellsWhatIsWrong(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/readyz":
			reply(w, http.StatusServiceUnavailable, readiness{Reasons: []string{"NATS was not reached yet", "the worker is stopping"}})
		case "/hangs":
			<-r.Context().Done()
		}
	}))
	defer page.Close()
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"--url " + page.URL + "/readyz", exitError, "not ready: NATS was not reached yet; the worker is stopping"},
		{"--url " + page.URL + "/hangs --timeout 50ms", exitError, "does not answer: context deadline exceeded"},
		{"--url http://u:s3cr3t@127.0.0.1:1/readyz", exitError, "http://u:xxxxx@127.0.0.1:1/readyz does not answer"},
		{"--url 127.0.0.1:8480", exitUsage, "must be an address such as"},
		{"--timeout 0s", exitUsage, "must be positive"},
		{"extra", exitUsage, "takes no arguments"},
	} {
		got := runLine(t, "", append([]string{"health"}, strings.Fields(tt.args)...)...)
		got.want(t, tt.code, "", tt.want)
		if strings.Contains(got.stderr, "s3cr3t") {
			t.Errorf("a password is shown: %s", got.stderr)
		}
	}
	c := newCLI(strings.NewReader(""), t.Output(), t.Output(), []string{"SUBRELAY_WORKER_HTTP_ADDR=none"})
	if code := c.run(t.Context(), []string{"health"}); code != exitUsage {
		t.Errorf("exit code %d where no health is served", code)
	}
}
