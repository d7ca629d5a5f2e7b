package natsjs

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Servers are NATS servers with JetStream inside this process that form one cluster, over loopback. They share one
// process's fate, and so keep nothing safer than one server does: they are there to measure and to try what replicas
// cost.
type Servers struct{ all []*Server }

// StartServers starts a cluster of n embedded servers, each by the settings, which must have an Addr; its port is the
// first one's, and the others pick theirs. A StoreDir gets a directory for each. It returns when every server knows the
// cluster's leader. The caller must call Shutdown. One server is no cluster.
func StartServers(n int, settings ServerSettings) (*Servers, error) {
	if n == 1 {
		one, err := StartServer(settings)
		if err != nil {
			return nil, err
		}
		return &Servers{all: []*Server{one}}, nil
	}
	members, err := newMembers(n)
	if err != nil {
		return nil, err
	}
	s := &Servers{}
	for i := range members {
		own := settings
		if settings.StoreDir != "" {
			own.StoreDir = filepath.Join(settings.StoreDir, members[i].name)
		}
		if i > 0 {
			host, _, _ := net.SplitHostPort(settings.Addr) // the first server has refused what is none
			own.Addr = net.JoinHostPort(host, "0")
		}
		one, err := startMember(own, &members[i])
		if err != nil {
			s.Shutdown()
			return nil, err
		}
		s.all = append(s.all, one)
	}
	if err := s.awaitLeader(); err != nil {
		s.Shutdown()
		return nil, err
	}
	return s, nil
}

// awaitLeader waits until every server is part of the cluster's own group.
func (s *Servers) awaitLeader() error {
	for until := time.Now().Add(startTimeout); ; {
		current, leaders := 0, 0
		for _, one := range s.all {
			if one.ns.JetStreamIsCurrent() {
				current++
			}
			if one.ns.JetStreamIsLeader() && len(one.ns.JetStreamClusterPeers()) == len(s.all) {
				leaders++
			}
		}
		if current == len(s.all) && leaders == 1 {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("%d of %d embedded NATS servers had found each other after %s", current, len(s.all), startTimeout)
		}
		pause(context.Background(), 10*time.Millisecond)
	}
}

// URL is where the servers can be reached, comma-separated.
func (s *Servers) URL() string {
	var urls []string
	for _, one := range s.all {
		urls = append(urls, one.URL())
	}
	return strings.Join(urls, ",")
}

// Shutdown stops all servers, as Server.Shutdown does.
func (s *Servers) Shutdown() {
	var stopping sync.WaitGroup
	for _, one := range s.all {
		stopping.Go(one.Shutdown)
	}
	stopping.Wait()
}

// member is a server's place in a cluster; nil is none.
type member struct {
	name   string
	port   int // for the others
	routes []*url.URL
}

// newMembers finds places for n servers.
func newMembers(n int) ([]member, error) {
	members := make([]member, n)
	var routes []*url.URL
	for i := range members {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("no port is free for the embedded NATS servers' cluster: %w", err)
		}
		defer l.Close()
		port := l.Addr().(*net.TCPAddr).Port
		members[i] = member{name: "n" + strconv.Itoa(i+1), port: port}
		routes = append(routes, &url.URL{Scheme: "nats", Host: l.Addr().String()})
	}
	for i := range members {
		members[i].routes = routes
	}
	return members, nil
}

func (m *member) join(opts *server.Options) {
	if m == nil {
		return
	}
	opts.ServerName = m.name
	opts.Cluster = server.ClusterOpts{Name: "embedded", Host: "127.0.0.1", Port: m.port}
	opts.Routes = m.routes
}
