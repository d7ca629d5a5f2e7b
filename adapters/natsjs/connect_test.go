package natsjs

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func TestRedactURL(t *testing.T) {
	tests := map[string]string{
		"nats://host:4222":                      "nats://host:4222",
		"nats://user:secret@host:4222":          "nats://***@host:4222",
		"nats://secret@host":                    "nats://***@host",
		"user:secret@host":                      "***@host",
		"nats://u:secret@a, tls://v:secret@b,c": "nats://***@a,tls://***@b,c",
		"nats://a,nats://v:secret@b":            "nats://a,nats://***@b",
		"nats://u:se@cret@host":                 "nats://***@host",
		"nats://u:sec,ret@host":                 "nats://***@host",
		"nats://u:sec/ret@host":                 "nats://***@host",
	}
	for in, want := range tests {
		if got := RedactURL(in); got != want {
			t.Errorf("RedactURL(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestConnectErrorsShowNoSecret(t *testing.T) {
	for _, target := range []string{
		"nats://user:hunter2@127.0.0.1:1", "nats://user:hunter2/x@127.0.0.1:1", "nats://user:hunter2%zz@host:1",
		"nats://user:hunter2@:bad", "nats://user:hunter2,x@127.0.0.1:1", "://user:hunter2@x",
	} {
		_, err := Connect(ConnectOptions{URL: target, Timeout: time.Second})
		if err == nil {
			t.Fatalf("%s: connected", target)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func TestConnectNothingIsKeptForLater(t *testing.T) {
	s := startServer(t)
	disconnected := make(chan struct{})
	nc, err := Connect(ConnectOptions{InProcess: s, OnDisconnect: func(error) { close(disconnected) }})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	s.Shutdown()
	<-disconnected
	if err := nc.Publish("x", nil); !errors.Is(err, nats.ErrReconnectBufExceeded) {
		t.Errorf("publishing without a connection: %v", err)
	}
	if _, err := s.Connect(); err == nil || !strings.Contains(err.Error(), "embedded NATS server") {
		t.Errorf("connecting to a server that was shut down: %v", err)
	}
}

func TestConnectReportsMissingFiles(t *testing.T) {
	for name, o := range map[string]ConnectOptions{
		"nkey": {NKeyFile: "/no/such/file"}, "creds": {Creds: "/no/such/file"}, "ca": {CAFile: "/no/such/file"},
		"cert": {CertFile: "/no/such/file", KeyFile: "/no/such/file"},
	} {
		o.InProcess = startServer(t)
		if nc, err := Connect(o); err == nil {
			nc.Close()
			t.Errorf("%s: connected", name)
		} else if !strings.Contains(err.Error(), "/no/such/file") {
			t.Errorf("%s: the error does not name the file: %v", name, err)
		}
	}
}
