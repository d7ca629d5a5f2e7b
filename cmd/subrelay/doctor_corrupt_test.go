package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"subrelay/adapters/natsjs"
)

// keptRig is a rig whose server can be stopped, and its store looked at.
type keptRig struct {
	*rig
	dir string
}

func newKeptRig(t *testing.T) *keptRig {
	t.Helper()
	r := &keptRig{rig: newRigWithoutWorker(t), dir: t.TempDir()}
	r.server.Shutdown()
	r.start("127.0.0.1:0")
	r.config.NATS.URL = r.server.URL()
	return r
}

func (r *keptRig) start(addr string) {
	r.t.Helper()
	server, err := natsjs.StartServer(natsjs.ServerSettings{StoreDir: r.dir, Addr: addr, LazySync: true})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(server.Shutdown)
	r.server = server
}

// flip stops the server, flips one bit in the message of a stream that holds text, and starts it again.
func (r *keptRig) flip(stream, text string) {
	r.t.Helper()
	addr := strings.TrimPrefix(r.server.URL(), "nats://")
	r.server.Shutdown()
	blocks, err := filepath.Glob(filepath.Join(r.dir, "jetstream", "*", "streams", stream, "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		r.t.Fatalf("the stream %s has no blocks: %v", stream, err)
	}
	hit := false
	for _, name := range blocks {
		raw, err := os.ReadFile(name)
		if err != nil {
			r.t.Fatal(err)
		}
		if at := bytes.Index(raw, []byte(text)); at >= 0 {
			raw[at+len(text)-1] ^= 1
			if err := os.WriteFile(name, raw, 0o600); err != nil {
				r.t.Fatal(err)
			}
			hit = true
		}
	}
	if !hit {
		r.t.Fatalf("no block of %s holds %q", stream, text)
	}
	r.start(addr)
}

// work runs a worker until the function that it returns is called.
func (r *rig) work() (stop func()) {
	r.t.Helper()
	app, err := NewApp(AppOptions{Config: r.config, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx) }()
	select {
	case <-app.Ready():
	case err := <-done:
		r.t.Fatalf("the worker ended: %v", err)
	}
	return func() {
		r.t.Helper()
		cancel()
		if err := <-done; err != nil && !errors.Is(err, errKilled) {
			r.t.Errorf("the worker ended with: %v", err)
		}
	}
}

// renew publishes a renewal of C-1 under an id.
func (r *rig) renew(id string, more ...string) {
	r.t.Helper()
	r.run(append([]string{"publish", "renew", "--customer", "C-1", "--months", "1", "--id", id, "--source", "corrupt"}, more...)...).want(r.t, exitDone, "", "")
}

// TestDoctorNamesACommandLostOnDisk flips a bit in a stored command that has not run. Nothing else notices: the consumer
// passes it by.
func TestDoctorNamesACommandLostOnDisk(t *testing.T) {
	r := newKeptRig(t)
	stop := r.work()
	r.renew("one", "--wait")
	stop()
	r.renew("two")
	r.renew("three")
	r.doctor().clean("audit.")
	r.flip("SUBRELAY_COMMANDS", `"id":"two"`)
	stop = r.work()
	r.renew("four", "--wait")
	if n := len(r.tvms.Book().Effects()); n != 3 {
		t.Fatalf("%d effects, want those of one, three and four", n)
	}
	found := r.doctor()
	found.want("error", "audit.gone", "2", "neither the ledger nor the dead letters")
	found.clean("audit.lost", "audit.unfinished", "audit.ledger_gap")

	// A done command that is damaged later is no alarm: the ledger knows it.
	stop()
	r.flip("SUBRELAY_COMMANDS", `"id":"three"`)
	found = r.doctor()
	found.want("note", "audit.commands_removed", "2-3", "1 command")
	found.want("error", "audit.gone", "2", "1 command")
}

// TestDoctorNamesARecordLostOnDisk flips a bit in the final record of a command. The server then finds no history of it,
// and the fence would let it run again: doctor names it, and replay leaves it alone.
func TestDoctorNamesARecordLostOnDisk(t *testing.T) {
	r := newKeptRig(t)
	stop := r.work()
	for _, id := range []string{"one", "two", "three"} {
		r.renew(id, "--wait")
	}
	r.doctor().clean("audit.")
	stop()
	r.flip("SUBRELAY_OUTCOMES", `.succeeded.1`) // that of one
	defer r.work()()
	found := r.doctor()
	found.want("error", "audit.ledger_gap", "2", "1 record")
	found.want("error", "audit.damaged", "1 ", "1 command")
	refusing := func() (codes []string) {
		for _, f := range found.found {
			if strings.HasPrefix(f.Code, "audit.") && f.Refused() {
				codes = append(codes, f.Code)
			}
		}
		return codes
	}
	if codes := refusing(); len(codes) > 0 {
		t.Errorf("a worker in production is said not to start on %s, for which it does not look", codes)
	}
	found.clean("audit.lost", "audit.gone")

	r.run("replay", "commands", "--missing", "--unfinished").want(t, exitDone, "damaged", "")
	r.renew("four", "--wait")
	if n := len(r.tvms.Book().Effects()); n != 4 {
		t.Errorf("%d effects of 4 commands", n)
	}
}

// TestDoctorNamesAStartLostOnDisk flips a bit in the started record of a command that succeeded: its end is still known.
func TestDoctorNamesAStartLostOnDisk(t *testing.T) {
	r := newKeptRig(t)
	stop := r.work()
	r.renew("one", "--wait")
	r.renew("two", "--wait")
	stop()
	r.flip("SUBRELAY_OUTCOMES", `.started.1`)
	found := r.doctor()
	found.want("error", "audit.ledger_gap", "1", "1 record")
	found.clean("audit.lost", "audit.unfinished", "audit.damaged")
}
