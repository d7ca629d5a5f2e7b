package natsjs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// The client's settings that differ from the library's, which takes four minutes to notice a dead connection and
// keeps what is published meanwhile for later, when the fence it was written under no longer holds.
const (
	pingInterval     = 5 * time.Second
	pingsOutstanding = 2
	reconnectWait    = 250 * time.Millisecond
	reconnectJitter  = 250 * time.Millisecond
	connectTimeout   = 5 * time.Second
)

// ConnectOptions say where and as whom to connect. The zero value connects to nats.DefaultURL.
type ConnectOptions struct {
	URL       string  // one or several, comma-separated; default nats://127.0.0.1:4222
	InProcess *Server // connects to this embedded server instead of URL

	Creds    string // path of a credentials file (.creds)
	NKeyFile string // path of a file with an NKey seed
	User     string
	Password string
	Token    string

	CAFile   string // PEM file of the authorities to trust; default the system's
	CertFile string // PEM file of the client's certificate; with KeyFile
	KeyFile  string
	TLSFirst bool // the server speaks TLS from the first byte on

	// InboxPrefix is where replies go; see Access. Default: that of the library, "_INBOX".
	InboxPrefix string

	Name   string       // shown by the server's monitoring; default "subrelay"
	Logger *slog.Logger // gets disconnects, reconnects and asynchronous errors; default: discarded

	// OnRefused is told what the server does not permit. Default: it is logged.
	OnRefused func(Refusal)

	OnDisconnect func(error) // called, in order, from a goroutine of the connection
	OnReconnect  func()
	OnClosed     func()

	Dialer  nats.CustomDialer // how to reach the server; default TCP
	Timeout time.Duration     // for one attempt to connect; default 5 s
	Options []nats.Option     // applied last
}

// Connect connects once and then, after a loss, tries again for ever, four times a second or less. Nothing published
// while there is no connection is kept for later: it fails at once. A dead peer is noticed within 15 s. The caller must close
// the connection. Errors never show a password, not even one in the URL.
func Connect(o ConnectOptions) (*nats.Conn, error) {
	target := cmp.Or(o.URL, nats.DefaultURL)
	if err := checkURL(target); err != nil {
		return nil, err
	}
	if err := errors.Join(o.checkWho(), o.checkFiles()); err != nil {
		return nil, fmt.Errorf("no connection to NATS: %w", err)
	}
	nc, err := nats.Connect(target, append(o.natsOptions(), o.Options...)...)
	if err == nil {
		return nc, nil
	}
	err = o.explain(err)
	if o.InProcess != nil {
		return nil, fmt.Errorf("no connection to the embedded NATS server: %w", err)
	}
	return nil, fmt.Errorf("no connection to NATS at %s: %w", RedactURL(target), err)
}

func (o *ConnectOptions) natsOptions() []nats.Option {
	log := cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	opts := []nats.Option{
		nats.Name(cmp.Or(o.Name, "subrelay")),
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(pingsOutstanding),
		nats.MaxReconnects(-1), nats.ReconnectBufSize(-1),
		nats.ReconnectWait(reconnectWait), nats.ReconnectJitter(reconnectJitter, reconnectJitter),
		nats.Timeout(cmp.Or(o.Timeout, connectTimeout)),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // none when it is we who close
				log.Warn("disconnected from NATS", "error", err)
			}
			if o.OnDisconnect != nil {
				o.OnDisconnect(err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("connected to NATS again", "server", nc.ConnectedServerName())
			if o.OnReconnect != nil {
				o.OnReconnect()
			}
		}),
		nats.ClosedHandler(func(*nats.Conn) {
			if o.OnClosed != nil {
				o.OnClosed()
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			if refused, ok := refusalOf(err, o.Who()); ok && o.OnRefused != nil {
				o.OnRefused(refused)
				return
			}
			logAsync(log, sub, err)
		}),
	}
	return append(opts, o.whoAndWhere()...)
}

func (o *ConnectOptions) whoAndWhere() []nats.Option {
	var opts []nats.Option
	add := func(wanted bool, opt func() nats.Option) {
		if wanted {
			opts = append(opts, opt())
		}
	}
	add(o.InProcess != nil, func() nats.Option { return nats.InProcessServer(o.InProcess) })
	add(o.Dialer != nil, func() nats.Option { return nats.SetCustomDialer(o.Dialer) })
	add(o.Creds != "", func() nats.Option { return nats.UserCredentials(o.Creds) })
	add(o.NKeyFile != "", func() nats.Option { return nkeyOption(o.NKeyFile) })
	add(o.User != "", func() nats.Option { return nats.UserInfo(o.User, o.Password) })
	add(o.Token != "", func() nats.Option { return nats.Token(o.Token) })
	add(o.TLSFirst, nats.TLSHandshakeFirst)
	add(o.InboxPrefix != "", func() nats.Option { return nats.CustomInboxPrefix(o.InboxPrefix) })
	add(o.CAFile != "", func() nats.Option { return nats.RootCAs(o.CAFile) })
	add(o.CertFile != "", func() nats.Option { return nats.ClientCert(o.CertFile, o.KeyFile) })
	return opts
}

func nkeyOption(file string) nats.Option {
	opt, err := nats.NkeyOptionFromSeed(file)
	if err != nil {
		return func(*nats.Options) error { return fmt.Errorf("the NKey file %s: %w", file, err) }
	}
	return opt
}

func logAsync(log *slog.Logger, sub *nats.Subscription, err error) {
	attrs := []any{"error", err}
	if sub != nil {
		attrs = append(attrs, "subject", sub.Subject)
	}
	log.Log(context.Background(), asyncLevel(err), "asynchronous NATS error", attrs...)
}

// asyncLevel knows what nats.go repairs by itself and reports all the same.
func asyncLevel(err error) slog.Level {
	if errors.Is(err, nats.ErrConnectionClosed) || strings.Contains(strings.ToLower(err.Error()), "pin") {
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

func checkURL(list string) error {
	for part := range strings.SplitSeq(list, ",") {
		part = strings.TrimSpace(part)
		if !strings.Contains(part, "://") {
			part = "nats://" + part
		}
		if u, err := url.Parse(part); err != nil || u.Host == "" {
			return fmt.Errorf("%s is no NATS URL: it must be nats://host:port, and special characters of a user or password in it percent-coded",
				RedactURL(list))
		}
	}
	return nil
}

var nextURL = regexp.MustCompile(`,\s*[a-zA-Z]+://`)

// RedactURL is a comma-separated list of URLs without the users and passwords in it. In doubt, with characters in a
// password that should have been coded, it hides too much.
func RedactURL(list string) string {
	if next := nextURL.FindStringIndex(list); next != nil {
		return RedactURL(list[:next[0]]) + "," + RedactURL(strings.TrimSpace(list[next[0]+1:]))
	}
	at := strings.LastIndex(list, "@")
	if at < 0 {
		return list
	}
	scheme, _, found := strings.Cut(list[:at], "://")
	if !found {
		return "***" + list[at:]
	}
	return scheme + "://***" + list[at:]
}
