package natsjs

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestStartServers stores something thrice, on a cluster and on one server that is none.
func TestStartServers(t *testing.T) {
	for _, n := range []int{1, 3} {
		servers, err := StartServers(n, ServerSettings{StoreDir: t.TempDir(), Addr: "127.0.0.1:0", LazySync: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(servers.Shutdown)
		if urls := strings.Split(servers.URL(), ","); len(urls) != n {
			t.Errorf("%d servers are reached at %v", n, urls)
		}
		conn, err := nats.Connect(servers.URL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: n})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), "s", nil); err != nil {
			t.Fatal(err)
		}
		info, err := stream.Info(t.Context())
		if err != nil || info.State.Msgs != 1 || info.Config.Replicas != n || n > 1 && len(info.Cluster.Replicas) != n-1 {
			t.Errorf("with %d servers: %+v (%v)", n, info, err)
		}
	}
}

func TestStartServersRefuses(t *testing.T) {
	if _, err := StartServers(3, ServerSettings{Addr: "nowhere"}); err == nil || !strings.Contains(err.Error(), "host:port") {
		t.Errorf("%v", err)
	}
}
