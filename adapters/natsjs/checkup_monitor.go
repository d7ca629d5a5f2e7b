package natsjs

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"subrelay/events/checkup"
)

// varz is what we read of a server's monitoring page of that name.
type varz struct {
	Name      string `json:"server_name"`
	JetStream struct {
		Config *struct {
			SyncAlways   bool          `json:"sync_always"`
			SyncInterval time.Duration `json:"sync_interval"`
		} `json:"config"`
	} `json:"jetstream"`
}

const whySync = "a power loss takes the last acknowledged writes with it, up to two minutes of them by default: commands are lost, and done ones are done again"

// CodeUnread is the code of the finding that a server's monitoring could not be read.
const CodeUnread = "sync.unread"

// checkSync asks each server's monitoring whether it flushes every write. Users cannot see it by NATS itself, those of
// the system account excepted, who have no JetStream.
func (c *Checkup) checkSync(ctx context.Context, found *checkup.Found) error {
	client, err := c.monitorClient()
	if err != nil {
		return err
	}
	pages, errs := make([]varz, len(c.settings.Monitors)), make([]error, len(c.settings.Monitors))
	var all sync.WaitGroup
	for i, address := range c.settings.Monitors {
		all.Go(func() { pages[i], errs[i] = readVarz(ctx, client, address) })
	}
	all.Wait()
	var known []string
	var unread []checkup.Finding
	for i, address := range c.settings.Monitors {
		if errs[i] != nil {
			unread = append(unread, checkup.Finding{Severity: checkup.Warning, Code: CodeUnread, Of: RedactURL(address), What: errs[i].Error(),
				Why: "whether that server flushes each write cannot be said",
				Do:  "is it the monitoring port (http: in the server's configuration), and may this machine reach it? For https with an authority of your own, set nats.ca_file"})
			continue
		}
		known = append(known, pages[i].Name)
		addSync(pages[i], found)
	}
	return c.syncUnseen(ctx, known, unread, found)
}

func addSync(page varz, found *checkup.Found) {
	config := page.JetStream.Config
	switch {
	case config == nil:
		found.Add(checkup.Finding{Severity: checkup.Note, Code: "sync.no_jetstream", Of: page.Name, What: "that server has no JetStream"})
	case config.SyncAlways:
		found.OK("sync.always", page.Name, "it flushes each write before it acknowledges it (sync_interval: always)")
	default:
		found.Add(checkup.Finding{Severity: checkup.Error, Code: "sync.lazy", Of: page.Name, Promise: true,
			What: fmt.Sprintf("it flushes writes every %s", cmp.Or(config.SyncInterval, 2*time.Minute)), Why: whySync,
			Do: "set jetstream { sync_interval: always } on that server and restart it"})
	}
}

// syncUnseen names the servers of which nothing was read, and the monitors that were not read. What such a monitor would
// have told can break the promise, unless every server that is there was read: then it is one that is away, and that
// must keep no worker from starting.
func (c *Checkup) syncUnseen(ctx context.Context, known []string, unread []checkup.Finding, found *checkup.Found) error {
	all, err := c.servers(ctx)
	all = slices.DeleteFunc(all, func(s seenServer) bool { return !s.JetStream })
	blind := len(all) == 0
	if blind {
		all = []seenServer{{Name: c.js.Conn().ConnectedServerName()}}
	}
	var unseen []string
	for _, s := range all {
		if !slices.Contains(known, s.Name) {
			unseen = append(unseen, s.Name)
		}
	}
	for _, f := range unread {
		if f.Promise = blind || len(unseen) > 0; !f.Promise {
			f.What += "; the servers that are there were all read"
		}
		found.Add(f)
	}
	if err != nil || len(unseen) == 0 {
		return err
	}
	f := checkup.Finding{Severity: checkup.Note, Code: "sync.unknown", Of: some(unseen), What: "whether it flushes each write cannot be seen with these rights",
		Why: whySync, Do: "see on the server that its configuration has jetstream { sync_interval: always }, or give doctor its monitoring: --monitor http://HOST:8222"}
	if len(c.settings.Monitors) > 0 {
		f.Severity = checkup.Warning
	}
	found.Add(f)
	return nil
}

// monitorClient asks servers' monitoring, and trusts the authority of the connection to NATS beside the system's.
func (c *Checkup) monitorClient() (*http.Client, error) {
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := c.settings.MonitorCAFile; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("the authority of the servers' monitoring: %w", err)
		}
		if secure.RootCAs, err = x509.SystemCertPool(); err != nil {
			secure.RootCAs = x509.NewCertPool()
		}
		if !secure.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the authority of the servers' monitoring: %s holds no certificate", file)
		}
	}
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: secure},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// readVarz reads a server's monitoring. address may be its root, or the page itself.
func readVarz(ctx context.Context, client *http.Client, address string) (varz, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return varz{}, fmt.Errorf("it is no address of a server's monitoring, such as http://nats-1:8222")
	}
	u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/varz") + "/varz"
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return varz{}, fmt.Errorf("it is no address of a server's monitoring")
	}
	resp, err := client.Do(req)
	if err != nil {
		return varz{}, fmt.Errorf("nobody answers there: %w", withoutURL(err))
	}
	defer resp.Body.Close()
	var page varz
	body := io.LimitReader(resp.Body, 1<<20)
	if resp.StatusCode != http.StatusOK {
		return varz{}, fmt.Errorf("it answers %s", resp.Status)
	}
	if err := json.NewDecoder(body).Decode(&page); err != nil || page.Name == "" {
		return varz{}, fmt.Errorf("what answers there is no NATS server's monitoring")
	}
	return page, nil
}

// withoutURL is an HTTP client's error without the address, which may hold a password.
func withoutURL(err error) error {
	if u, ok := err.(*url.Error); ok { //nolint:errorlint // http.Client returns this type itself
		return u.Err
	}
	return err
}
