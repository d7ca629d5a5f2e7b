package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"time"

	"subrelay/adapters/natsjs"
	"subrelay/adapters/upstream"
	"subrelay/events"
)

// Config is every setting of the program, as the configuration file spells it. The zero value of a field stands for
// its default; subrelay.example.yaml states them all. Each setting can be set by an environment variable too, see
// envName, which wins over the file.
type Config struct {
	// Prefix is the first token of every subject, and names streams, consumers and the bucket. Default "subrelay".
	Prefix  string        `yaml:"prefix"`
	NATS    NATSConfig    `yaml:"nats"`
	Worker  WorkerConfig  `yaml:"worker"`
	Streams StreamsConfig `yaml:"streams"`
	Retry   RetryConfig   `yaml:"retry"`
	TVMS    TVMSConfig    `yaml:"tvms"`
	CRMCOM  CRMCOMConfig  `yaml:"crmcom"`
	Netflix NetflixConfig `yaml:"netflix"`
	Log     LogConfig     `yaml:"log"`
}

// NATSConfig says where and as whom to connect to NATS.
type NATSConfig struct {
	URL          string          `yaml:"url"`   // several comma-separated; default nats://127.0.0.1:4222
	Creds        string          `yaml:"creds"` // path of a credentials file
	NKeyFile     string          `yaml:"nkey_file"`
	User         string          `yaml:"user"`
	Password     upstream.Secret `yaml:"password"`
	PasswordFile string          `yaml:"password_file"`
	Token        upstream.Secret `yaml:"token"`
	TokenFile    string          `yaml:"token_file"`
	CAFile       string          `yaml:"ca_file"`
	CertFile     string          `yaml:"cert_file"`
	KeyFile      string          `yaml:"key_file"`
	TLSFirst     bool            `yaml:"tls_first"`    // the server speaks TLS from the first byte on
	InboxPrefix  string          `yaml:"inbox_prefix"` // where replies go, by the role's permissions; default the library's, _INBOX
	Timeout      time.Duration   `yaml:"timeout"`      // for one attempt to connect; default 5s
	// MonitorURLs are the servers' monitoring ports, where doctor and production see whether each write is flushed.
	MonitorURLs []string `yaml:"monitor_urls"`
}

// WorkerConfig is how a worker behaves.
type WorkerConfig struct {
	Name     string        `yaml:"name"`      // unique among workers, or it does not start; default the host's name and a random part
	Source   string        `yaml:"source"`    // source of outcome events; default "subrelay"
	Grace    time.Duration `yaml:"grace"`     // how long what has started may take on shutdown; default 30s
	HTTPAddr string        `yaml:"http_addr"` // health and metrics; "none" for no listener; default 127.0.0.1:8480
	// PublishTimeout is the longest between deciding to start an attempt and calling; default 5s.
	PublishTimeout time.Duration `yaml:"publish_timeout"`
	// Election is how long the broker may take to elect a stream's leader; default 15s.
	Election time.Duration `yaml:"election"`
	// KeyAlarm is how many commands of one key may wait in a worker without a warning; default 100.
	KeyAlarm int `yaml:"key_alarm"`
	// Production has the worker refuse to start on what can break the promise; see doctor.
	Production bool `yaml:"production"`
}

// StreamsConfig is what the streams may hold and for how long; see natsjs.TopologySettings.
type StreamsConfig struct {
	// ManagedElsewhere says that workers neither create nor change streams. They remove old commands all the same.
	// Default false.
	ManagedElsewhere bool          `yaml:"managed_elsewhere"`
	Partitions       int           `yaml:"partitions"`
	Replicas         int           `yaml:"replicas"`
	CommandsMaxBytes int64         `yaml:"commands_max_bytes"`
	OutcomesMaxBytes int64         `yaml:"outcomes_max_bytes"`
	DeadMaxBytes     int64         `yaml:"dead_max_bytes"`
	OutcomesMaxAge   time.Duration `yaml:"outcomes_max_age"`
	DeadMaxAge       time.Duration `yaml:"dead_max_age"`
	CommandsKeep     time.Duration `yaml:"commands_keep"`
	DuplicateWindow  time.Duration `yaml:"duplicate_window"`
	MaxMsgSize       int32         `yaml:"max_msg_size"`
	AckWait          time.Duration `yaml:"ack_wait"`
	PinnedTTL        time.Duration `yaml:"pinned_ttl"`
	MaxAckPending    int           `yaml:"max_ack_pending"`
}

// LogConfig is how a worker logs, to stderr.
type LogConfig struct {
	Level  slog.Level `yaml:"level"`  // debug, info, warn or error; default info
	Format string     `yaml:"format"` // text or json; default text
}

// withDefaults is c with every default filled in, except the worker's name and those of secrets. Streams whose settings
// make no sense are left for check to refuse.
func (c Config) withDefaults() Config {
	c.Prefix = cmp.Or(c.Prefix, natsjs.DefaultPrefix)
	c.NATS.URL = cmp.Or(c.NATS.URL, "nats://127.0.0.1:4222")
	c.NATS.Timeout = cmp.Or(c.NATS.Timeout, 5*time.Second)
	w := &c.Worker
	w.Source = cmp.Or(w.Source, "subrelay")
	w.Grace = cmp.Or(w.Grace, 30*time.Second)
	w.HTTPAddr = cmp.Or(w.HTTPAddr, "127.0.0.1:8480")
	w.PublishTimeout = cmp.Or(w.PublishTimeout, 5*time.Second)
	w.Election = cmp.Or(w.Election, 15*time.Second)
	w.KeyAlarm = cmp.Or(w.KeyAlarm, natsjs.DefaultKeyAlarm)
	if t, err := c.topology(); err == nil {
		c.Streams = c.Streams.withDefaults(t.Settings())
	}
	c.Retry = c.Retry.withDefaults()
	c.TVMS, c.CRMCOM, c.Netflix = c.TVMS.withDefaults(), c.CRMCOM.withDefaults(), c.Netflix.withDefaults(&c.CRMCOM)
	c.Log.Format = cmp.Or(c.Log.Format, logText)
	return c
}

const (
	logText  = "text"
	logJSON  = "json"
	noListen = "none" // as WorkerConfig.HTTPAddr
)

// check reports every setting of ours that makes no sense. Adapters and handlers check their own.
func (c *Config) check() error {
	switch {
	case c.Log.Format != logText && c.Log.Format != logJSON:
		return fmt.Errorf("log.format is %q, and must be text or json", c.Log.Format)
	case c.Worker.Grace < 0 || c.Worker.PublishTimeout < 0 || c.Worker.Election < 0 || c.NATS.Timeout < 0:
		return fmt.Errorf("worker.grace, worker.publish_timeout, worker.election and nats.timeout must not be negative")
	case c.Worker.KeyAlarm < 0:
		return fmt.Errorf("worker.key_alarm is %d, and must be positive", c.Worker.KeyAlarm)
	}
	if err := c.NATS.check(); err != nil {
		return err
	}
	if c.Worker.Name != "" {
		if token, err := events.KeyToken(c.Worker.Name); err != nil || token != c.Worker.Name {
			return fmt.Errorf("worker.name is %q, and may hold only letters, digits, - and _", c.Worker.Name)
		}
	}
	if _, err := c.topology(); err != nil {
		return fmt.Errorf("streams: %w", err)
	}
	return nil
}

func (c *Config) names() natsjs.Names { return natsjs.Names{Prefix: c.Prefix} }

// check reports settings that make no sense together.
func (n *NATSConfig) check() error {
	if n.InboxPrefix != "" && !inboxShape.MatchString(n.InboxPrefix) {
		return fmt.Errorf("nats.inbox_prefix is %q, and must be a subject without wildcards, such as _INBOX_subrelay_billing", n.InboxPrefix)
	}
	if (n.CertFile == "") != (n.KeyFile == "") {
		return fmt.Errorf("nats.cert_file and nats.key_file go together: set both or neither")
	}
	return nil
}

var inboxShape = regexp.MustCompile(`^[^.*>\s]+(\.[^.*>\s]+)*$`)

// connectOptions reads the files of secrets.
func (n NATSConfig) connectOptions() (natsjs.ConnectOptions, error) {
	password, err := upstream.SecretOrFile("nats.password", n.Password, n.PasswordFile)
	if err != nil {
		return natsjs.ConnectOptions{}, err
	}
	token, err := upstream.SecretOrFile("nats.token", n.Token, n.TokenFile)
	return natsjs.ConnectOptions{
		URL: n.URL, Creds: n.Creds, NKeyFile: n.NKeyFile, User: n.User, Password: password.Reveal(), Token: token.Reveal(),
		CAFile: n.CAFile, CertFile: n.CertFile, KeyFile: n.KeyFile, TLSFirst: n.TLSFirst, InboxPrefix: n.InboxPrefix, Timeout: n.Timeout,
	}, err
}

// workerName is unique with all probability: the host's name, as far as it can be a token, and a random part.
func workerName(random string) string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "worker"
	}
	plain := strings.Map(func(r rune) rune {
		if token, err := events.KeyToken(string(r)); err != nil || token != string(r) {
			return '-'
		}
		return r
	}, host)
	return plain[:min(len(plain), 64)] + "-" + random
}
