package main

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/natsjs/natstest"
	"subrelay/adapters/upstream"
)

// TestReadyOnlyWhileNATSStores takes away what a worker writes to each second, as a full disk does to all streams: the
// connection stands, and the worker says all the same that it is not ready, until NATS stores again.
func TestReadyOnlyWhileNATSStores(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T) {
		server, err := natsjs.StartServer(natsjs.ServerSettings{StoreDir: t.TempDir(), LazySync: true})
		if err != nil {
			t.Fatal(err)
		}
		defer server.Shutdown()
		cfg := Config{Prefix: "subrelay"}
		cfg.Worker.HTTPAddr, cfg.Worker.Name, cfg.Streams.Partitions = noListen, "w1", 2
		cfg.TVMS.API.BaseURL, cfg.TVMS.API.AuthToken, cfg.TVMS.API.CRMService = "http://127.0.0.1", upstream.NewSecret("bubble-token"), "crm"
		app, err := NewApp(AppOptions{Config: cfg, Connect: connectTo(server), Dial: newPipes().dial, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- app.Run(ctx) }()
		defer func() { stop(); <-ended }()
		<-app.Ready()
		time.Sleep(time.Minute)
		if r := app.readiness(); !r.Ready {
			t.Fatalf("%q", r.Reasons)
		}

		conn, err := connectTo(server)(natsjs.ConnectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		js, err := jetstream.New(conn)
		if err != nil {
			t.Fatal(err)
		}
		bucket := "KV_" + cfg.names().Workers()
		stream, err := js.Stream(t.Context(), bucket)
		if err != nil {
			t.Fatal(err)
		}
		if err := js.DeleteStream(t.Context(), bucket); err != nil {
			t.Fatal(err)
		}
		time.Sleep(storesWithin - 2*time.Second)
		if r := app.readiness(); !r.Ready {
			t.Errorf("after a short while already: %q", r.Reasons)
		}
		time.Sleep(10 * time.Second)
		if r := app.readiness(); r.Ready || !strings.Contains(strings.Join(r.Reasons, ""), "NATS has stored nothing for") {
			t.Errorf("ready: %t, %q", r.Ready, r.Reasons)
		}
		if _, err := js.CreateStream(t.Context(), stream.CachedInfo().Config); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if r := app.readiness(); !r.Ready {
			t.Errorf("after it stores again: %q", r.Reasons)
		}
	})
}
