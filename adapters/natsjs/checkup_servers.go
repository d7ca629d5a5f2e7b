package natsjs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"subrelay/events/checkup"
)

// Versions of the server, as {major, minor}.
var (
	needed = [2]int{2, 11} // pinned clients, without which partitions have no owner
	proved = [2]int{2, 15} // what subrelay is tested on, under faults
)

// The skews of clocks that are worth a word, and an alarm.
const (
	skewNoted = 2 * time.Second
	skewWrong = time.Minute
)

// seenServer is what a server says of itself to a user without special rights.
type seenServer struct {
	Name      string    `json:"name"`
	Version   string    `json:"ver"`
	JetStream bool      `json:"jetstream"`
	Time      time.Time `json:"time"`
	skew      time.Duration
	within    time.Duration // of the skew: half the time that the answer took
}

// accountPing asks every server of the cluster for the statistics of our own account. Servers answer it to everybody
// who may publish there; their answers name version and time.
const accountPing = "$SYS.REQ.ACCOUNT.PING.STATZ"

// servers asks all servers. None answers where the user may not ask.
func (c *Checkup) servers(ctx context.Context) ([]seenServer, error) {
	conn := c.js.Conn()
	inbox := conn.NewRespInbox()
	sub, err := conn.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	asked := time.Now()
	if err := conn.PublishRequest(accountPing, inbox, []byte(`{"include_unused":true}`)); err != nil {
		return nil, err
	}
	var all []seenServer
	wait := 2 * time.Second // for the first; the others come soon after it
	for {
		limited, cancel := context.WithTimeout(ctx, wait)
		msg, err := sub.NextMsgWithContext(limited)
		cancel()
		if err != nil {
			if ctx.Err() != nil {
				return all, ctx.Err()
			}
			slices.SortFunc(all, func(a, b seenServer) int { return strings.Compare(a.Name, b.Name) })
			return all, nil
		}
		var answer struct {
			Server seenServer `json:"server"`
		}
		if json.Unmarshal(msg.Data, &answer) == nil && answer.Server.Version != "" {
			s, now := answer.Server, time.Now()
			s.within = now.Sub(asked) / 2
			s.skew = s.Time.Sub(asked.Add(s.within))
			all = append(all, s)
		}
		wait = 300 * time.Millisecond
	}
}

// checkServers looks at versions, JetStream and clocks.
func (c *Checkup) checkServers(ctx context.Context, found *checkup.Found) error {
	c.checkJetStream(ctx, found)
	all, err := c.servers(ctx)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		conn := c.js.Conn()
		found.Add(checkup.Finding{Severity: checkup.Note, Code: "server.others_unseen", Of: conn.ConnectedServerName(),
			What: "only the server that is connected to could be seen, and not its clock", Why: "another one may be older, or its clock wrong",
			Do: "let this user publish " + accountPing + ", or look with: nats server list"})
		all = []seenServer{{Name: conn.ConnectedServerName(), Version: conn.ConnectedServerVersion(), JetStream: true}}
	}
	for _, s := range all {
		checkVersion(s, found)
		checkClock(s, found)
		if !s.JetStream {
			found.Add(checkup.Finding{Severity: checkup.Note, Code: "server.without_jetstream", Of: s.Name, What: "it has no JetStream", Why: "it holds no replica of anything"})
		}
	}
	return nil
}

func (c *Checkup) checkJetStream(ctx context.Context, found *checkup.Found) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	_, err := c.js.Stream(ctx, c.names.Commands())
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) || errors.Is(err, nats.ErrNoResponders) {
		found.Add(checkup.Finding{Severity: checkup.Error, Code: "server.no_jetstream", Of: c.js.Conn().ConnectedServerName(),
			What: "JetStream does not answer there", Why: "commands and outcomes are kept in it",
			Do: "enable it on the server (jetstream { store_dir: ..., sync_interval: always }) and for this account"})
	} // what else is wrong with the stream, others say
}

var versionShape = regexp.MustCompile(`^v?(\d+)\.(\d+)\.`)

func checkVersion(s seenServer, found *checkup.Found) {
	m := versionShape.FindStringSubmatch(s.Version)
	if m == nil {
		found.Add(checkup.Finding{Severity: checkup.Note, Code: "server.version", Of: s.Name, What: fmt.Sprintf("its version %q cannot be read", s.Version)})
		return
	}
	major, _ := strconv.Atoi(m[1]) // the shape says that it is a number
	minor, _ := strconv.Atoi(m[2])
	f := checkup.Finding{Code: "server.version", Of: s.Name, What: "NATS server " + s.Version}
	switch have := [2]int{major, minor}; {
	case slices.Compare(have[:], needed[:]) < 0:
		f.Severity, f.Promise = checkup.Error, true
		f.Why = "it knows no pinned clients, by which partitions have owners"
	case slices.Compare(have[:], proved[:]) < 0:
		f.Severity = checkup.Warning
		f.Why = fmt.Sprintf("what subrelay promises was tested on %d.%d", proved[0], proved[1])
	}
	if f.Severity != checkup.OK {
		f.Do = fmt.Sprintf("update the server to %d.%d or newer", proved[0], proved[1])
	}
	found.Add(f)
}

// checkClock holds a server's clock against this machine's. What the answer took is uncertain, and does not count.
func checkClock(s seenServer, found *checkup.Found) {
	if s.Time.IsZero() {
		return
	}
	off := max(0, s.skew.Abs()-s.within)
	f := checkup.Finding{Code: "clock.server", Of: s.Name, What: fmt.Sprintf("its clock and this machine's agree within %s", max(s.within, time.Millisecond).Round(time.Millisecond))}
	if off >= skewNoted {
		word := "ahead of"
		if s.skew < 0 {
			word = "behind"
		}
		f.Severity, f.What = checkup.Warning, fmt.Sprintf("its clock is %s %s this machine's", off.Round(time.Millisecond), word)
		f.Why = "commands may expire early or late, and one with a time in the future is put aside as stale"
		f.Do = "let the machines keep their clocks by NTP: timedatectl status, chronyc tracking"
	}
	if off >= skewWrong {
		f.Severity, f.Promise = checkup.Error, true
	}
	found.Add(f)
}

// checkAccount looks at how much the account may store.
func (c *Checkup) checkAccount(ctx context.Context, found *checkup.Found) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	info, err := c.js.AccountInfo(ctx)
	if err != nil {
		return brokerError("asking for the account's limits", err)
	}
	tiers := map[string]jetstream.Tier{"": info.Tier}
	for name, t := range info.Tiers {
		tiers[name] = t
	}
	before := found.Len()
	for name, t := range tiers {
		checkTier(name, t, found)
	}
	if found.Len() == before {
		found.OK("account.limits", "", "the account has %s and %s stored", counted(info.Streams, "stream", "streams"), counted(info.Store, "byte", "bytes"))
	}
	return nil
}

func checkTier(name string, t jetstream.Tier, found *checkup.Found) {
	add := func(what string, have, limit float64) {
		if limit <= 0 || have < fillingUp*limit {
			return
		}
		f := checkup.Finding{Severity: checkup.Warning, Code: "account." + what, Of: name,
			What: fmt.Sprintf("the account has used %.0f of %.0f (%s)", have, limit, what),
			Why:  "the server refuses what goes beyond: streams that are to grow, or commands", Do: "raise the account's JetStream limits on the server"}
		if what == "storage" && have >= nearlyGone*limit {
			f.Severity = checkup.Error
		}
		found.Add(f)
	}
	add("storage", float64(t.Store), float64(t.Limits.MaxStore))
	add("streams", float64(t.Streams), float64(t.Limits.MaxStreams)+0.5) // all may be used, and no more are needed
	add("consumers", float64(t.Consumers), float64(t.Limits.MaxConsumers)+0.5)
}
