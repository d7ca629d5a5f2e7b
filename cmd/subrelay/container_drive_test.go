//go:build container

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"subrelay/adapters/sandbox"
	"subrelay/events/history"
)

// freePort is a port of this machine that is free now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// environ is what the README tells whoever uses the program from outside to set.
func (in *installation) environ() []string {
	var urls []string
	for n := range 3 {
		urls = append(urls, "nats://127.0.0.1:"+in.ports[fmt.Sprintf("NATS_PORT_%d", n+1)])
	}
	return []string{"SUBRELAY_NATS_URL=" + strings.Join(urls, ","), "SUBRELAY_NATS_USER=subrelay", "SUBRELAY_NATS_PASSWORD=subrelay"}
}

// run runs a command line from outside, as JSON.
func (in *installation) run(stdin string, args ...string) ran {
	var stdout, stderr bytes.Buffer
	c := newCLI(strings.NewReader(stdin), &stdout, &stderr, in.environ())
	code := c.run(in.t.Context(), append(args, "-o", "json"))
	return ran{code: code, stdout: stdout.String(), stderr: stderr.String()}
}

// get reads JSON from a port of the installation's.
func (in *installation) get(variable, path string, into any) error {
	return in.ask(http.MethodGet, variable, path, "", into)
}

func (in *installation) ask(method, variable, path, body string, into any) error {
	req, err := http.NewRequestWithContext(in.t.Context(), method, "http://127.0.0.1:"+in.ports[variable]+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return errors.Join(err, fmt.Errorf("%s: %s: %s", path, resp.Status, raw))
	}
	return json.Unmarshal(raw, into)
}

// slow has every call of the imitations take a while, so that faults meet some on their way.
func (in *installation) slow(delay time.Duration) {
	in.t.Helper()
	plan := fmt.Sprintf(`{"standing":[{"kind":"slow","delay":%q}]}`, delay)
	for _, upstream := range []string{"TVMS_PORT", "CRMCOM_PORT"} {
		var now sandbox.Plan
		if err := in.ask(http.MethodPut, upstream, "/_faults", plan, &now); err != nil {
			in.t.Fatal(err)
		}
	}
}

// client is a connection from outside, as tools have it.
func (in *installation) client() (cl *client, closeIt func(), err error) {
	cl, err = newCLI(nil, nil, nil, in.environ()).connect(in.t.Context())
	if err != nil {
		return nil, nil, err
	}
	return cl, cl.close, nil
}

// report is the judge's verdict on all that the installation did so far. The books are read last: what the ledger calls
// done by then, they must hold.
func (in *installation) report() (history.Report, error) {
	cl, closeIt, err := in.client()
	if err != nil {
		return history.Report{}, err
	}
	defer closeIt()
	evidence, err := cl.evidence(in.t.Context())
	if err != nil {
		return history.Report{}, err
	}
	for _, upstream := range []string{"TVMS_PORT", "CRMCOM_PORT"} {
		var page sandbox.BookPage
		if err := in.get(upstream, "/_books?limit=100000", &page); err != nil {
			return history.Report{}, err
		}
		evidence.Effects = append(evidence.Effects, page.Effects...)
	}
	return history.Check(evidence), nil
}

// settle waits until every command that billing knows to be stored has come to its end, and fails for every violation.
func (in *installation) settle(stored int64) {
	in.t.Helper()
	const atMost = 3 * time.Minute
	deadline := time.Now().Add(atMost)
	for {
		r, err := in.report()
		if err == nil && r.Unresolved == 0 && int64(r.Commands) >= stored {
			if !r.OK() || r.Succeeded != r.Commands || int64(r.Commands) != stored {
				in.t.Errorf("of %d commands: %s", stored, r.String())
			}
			return
		}
		if time.Now().After(deadline) {
			in.t.Fatal(errors.Join(fmt.Errorf("of %d commands not all are done after %s: %s", stored, atMost, r.String()), err))
		}
		sleep(in.t.Context(), 300*time.Millisecond)
	}
}

// billing publishes batch after batch from outside, each again until it is stored as a whole.
type billing struct {
	in      *installation
	batches int          // so many were made
	ones    int          // so many single commands were stored
	stored  atomic.Int64 // commands
}

// batch is one command for each of 20 customers and 5 subscriptions, as a file for publish -f.
func (b *billing) batch() (text string, commands int) {
	var lines strings.Builder
	b.batches++
	line := func(kind, key, data string) {
		commands++
		fmt.Fprintf(&lines, `{"specversion":"1.0","id":"inv-%d","source":"billing","type":"subrelay.%s.v1","subject":%q,"datacontenttype":"application/json","data":%s}`+"\n",
			b.batches, kind, key, data)
	}
	for n := range 20 {
		customer := fmt.Sprintf("C-%d", n+1)
		line("renew", customer, fmt.Sprintf(`{"customer_mapping_id":%q,"months":1}`, customer))
	}
	for n := range 5 {
		subscription := fmt.Sprintf("S000000000%d", n+1)
		line("amend", subscription, fmt.Sprintf(`{"subscription_identifier":{"number":%q},"services_to_add_set":[{"service_identifier":{"code":"EXTRA_%d"}}]}`,
			subscription, b.batches))
	}
	return lines.String(), commands
}

// publish publishes one batch, until all of it is stored.
func (b *billing) publish() error {
	text, commands := b.batch()
	deadline := time.Now().Add(3 * time.Minute)
	for {
		got := b.in.run(text, "publish", "-f", "-")
		if got.code == exitDone {
			b.stored.Add(int64(commands))
			return nil
		}
		if time.Now().After(deadline) || b.in.t.Context().Err() != nil {
			return fmt.Errorf("publishing the batch %d: exit code %d\n%s%s", b.batches, got.code, got.stdout, got.stderr)
		}
		sleep(b.in.t.Context(), 100*time.Millisecond)
	}
}

// during publishes for as long as do takes, and some more, and has all that is stored then come to its end.
func (b *billing) during(do func()) {
	b.in.t.Helper()
	var wg sync.WaitGroup
	over, failed := make(chan struct{}), make(chan error, 1)
	wg.Go(func() {
		for last := false; !last; {
			select {
			case <-over:
				last = true
			default:
			}
			if err := b.publish(); err != nil {
				failed <- err
				return
			}
			sleep(b.in.t.Context(), 400*time.Millisecond) // the judge reads it all, again and again
		}
	})
	do()
	close(over)
	wg.Wait()
	select {
	case err := <-failed:
		b.in.t.Fatal(err)
	default:
	}
	b.in.settle(b.stored.Load())
}

// eventuallySlow is eventually for what containers take their time for.
func eventuallySlow(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to be: %s", what)
		}
		sleep(t.Context(), 300*time.Millisecond)
	}
}
