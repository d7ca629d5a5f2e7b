package main

import (
	"net"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestNothingListensBeyondLoopbackByDefault looks at every address that has a default.
func TestNothingListensBeyondLoopbackByDefault(t *testing.T) {
	addresses := map[string]string{}
	for _, s := range settingsOf(new(Config{}.withDefaults())) {
		if strings.HasSuffix(s.name(), "_addr") {
			addresses[s.name()] = s.value.String()
		}
	}
	for _, cmd := range everyCommand() {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if strings.HasSuffix(f.Name, "addr") && f.DefValue != "" {
				addresses[cmd.CommandPath()+" --"+f.Name] = f.DefValue
			}
		})
	}
	if len(addresses) < 6 {
		t.Errorf("only these were found: %v", addresses)
	}
	for name, addr := range addresses {
		host, _, err := net.SplitHostPort(addr)
		if err != nil || !net.ParseIP(host).IsLoopback() {
			t.Errorf("%s is %q", name, addr)
		}
	}
}

func TestBeyondLoopbackIsTold(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:1": false, "[::1]:1": false, "localhost:1": false, "none": false,
		"0.0.0.0:1": true, ":1": true, "[::]:1": true, "10.0.0.7:1": true, "host.example:1": true,
	} {
		if got := beyondLoopback("x", addr); (got != "") != want {
			t.Errorf("%s: %q", addr, got)
		}
	}
	r := newRigWithoutWorker(t)
	r.config.Worker.HTTPAddr = "0.0.0.0:0"
	log := &watched{}
	r.startLogging(log)
	if !strings.Contains(log.String(), "worker.http_addr is 0.0.0.0:0, which other machines can reach") {
		t.Errorf("the worker does not warn:\n%s", log)
	}
}
